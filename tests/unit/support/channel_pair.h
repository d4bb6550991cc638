/* Two ends of a channel (crypto/channel) joined by a wire that the test holds: nothing moves but what the test carries. It owns the ends' machines, identities
 * and channels, and keeps what each end has given out last. What a step of a test needs to succeed is asserted here; what an end says to its input is not. */
#ifndef EIDOLON_TESTS_CHANNEL_PAIR_H
#define EIDOLON_TESTS_CHANNEL_PAIR_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/channel.h"
#include "tests/unit/support/fake_machine.h"

enum { PAIR_DEADLINE_NS = 1000 };

extern const uint8_t pair_cluster_id[16];

/* One end: a node's channel, and what it has given out last. */
struct pair_end {
    struct fake_machine fake;
    struct identity identity;
    struct channel_config config;
    struct channel *channel; /* NULL before it is opened for the first time */
    uint8_t hello[CHANNEL_HELLO_BYTES];
    /* Results of the last feed; ups and messages count on. */
    enum status status;
    unsigned ups, messages;
    uint8_t peer_hello[CHANNEL_HELLO_BYTES];
    uint8_t header[CHANNEL_HEADER_BYTES_MAX];
    size_t header_bytes;
    uint8_t body[CHANNEL_BODY_BYTES_MAX];
    size_t body_bytes;
};

struct pair {
    struct pair_end low, high; /* nodes 1, the initiator, and 2 */
};

/* Both ends, not opened: what their configuration says can still be changed. pair_free releases them. */
struct pair *pair_make(void);
void pair_free(struct pair *pair);
/* Run the handshake in pieces of `piece` bytes, as far as it goes. */
void pair_shake(struct pair *pair, size_t piece);
/* A pair that has shaken hands. */
struct pair *pair_up(void);

/* The identity of node `number`, always the same. */
struct identity pair_identity(unsigned number);
/* Begin a handshake, whatever was before, with the deadline PAIR_DEADLINE_NS. */
void pair_end_open(struct pair_end *end);
/* Give `bytes` bytes to the end in pieces of at most `piece` bytes, until it refuses one: end->status. */
void pair_end_feed(struct pair_end *end, const uint8_t *data, size_t bytes, size_t piece);
/* Move handshake bytes of `from` to `to`; how many. */
size_t pair_carry(struct pair_end *from, struct pair_end *to, size_t piece);
/* A whole message as it goes over the wire; free it. */
uint8_t *pair_record_make(struct pair_end *from, const void *header, size_t header_bytes, const void *body, size_t body_bytes, size_t *bytes);

#endif
