/* One authenticated channel to a peer, over one byte stream (peer and lane) that nobody trusts.
 *
 * Owns the handshake, the session keys and the receive buffer of one link. Promises: when a channel is up, the other side proved to hold the
 * identity key that is pinned for that node number, in this cluster, on this lane, in its role, just now; every message it gives out was
 * sent by it on this very link, in this order, unaltered, none left out. A stream that breaks any rule ends the channel, never the
 * node. Bounded: one message at a time, no allocation after channel_init. No I/O inside: the caller moves the bytes.
 *
 * A message is an encrypted header and an optional attached body. THE BODY TRAVELS AS IT IS, because it is sealed already: the channel
 * authenticates its length and place, not its bytes. The sender puts the tag of every sealed piece of the body into the header;
 * the receiver verifies each piece against its tag (seal_verify_body or seal_open_body) before it uses it, and ends the channel if one fails.
 *
 * Randomness comes from the machine that was given, so nodes that share a process stay reproducible.
 * Called by consensus/peers. Not callable from a trap. A handshake costs each side about 1 ms under software emulation. */
#ifndef EIDOLON_CRYPTO_CHANNEL_H
#define EIDOLON_CRYPTO_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/identity.h"
#include "crypto/limits.h"
#include "include/machine.h"
#include "include/status.h"

/* Of one channel; constant for its life. Pointers are borrowed for that long. */
struct channel_config {
    const struct machine *machine;     /* for entropy only */
    const struct identity *identity;   /* this node's */
    uint8_t peer_public_key[IDENTITY_PUBLIC_BYTES]; /* pinned */
    uint8_t cluster_id[16];
    uint8_t self;                      /* node number, 1..MACHINE_PEERS_MAX; the lower of the two initiates */
    uint8_t peer;                      /* node number, not `self` */
    uint8_t lane;                      /* 0..MACHINE_LANES-1 */
};

enum channel_state {
    CHANNEL_CLOSED,          /* no link, or the link broke a rule */
    CHANNEL_AWAITING_OFFER,  /* responder: nothing received yet */
    CHANNEL_AWAITING_ANSWER, /* initiator: offer made */
    CHANNEL_AWAITING_PROOF,  /* responder: answer given */
    CHANNEL_UP,
};

enum channel_event_kind {
    CHANNEL_NOTHING,         /* all input is used up; more is needed */
    CHANNEL_CAME_UP,         /* `hello` is the peer's */
    CHANNEL_MESSAGE,         /* `header` and `body` are the peer's */
};

/* What input has led to. Pointers go into the channel and hold until the next call of channel_input or channel_close. */
struct channel_event {
    enum channel_event_kind kind;
    const uint8_t *hello;    /* CHANNEL_HELLO_BYTES */
    const uint8_t *header;
    size_t header_bytes;
    const uint8_t *body;     /* not authenticated: see above */
    size_t body_bytes;
};

struct channel;

/* Memory that channel_init wants, to be reserved with alignment 64. */
size_t channel_memory_bytes(void);

/* Make a closed channel in `memory` (taken). `config` is copied; what it points to is borrowed. */
struct channel *channel_init(void *memory, const struct channel_config *config);

/* The link is up: start a handshake afresh that must end before `deadline_ns`. `hello` (borrowed, copied) is told to the peer,
 * encrypted and signed; a responder tells it to whoever opened the link, before that one has proved itself. Afterwards call channel_take_output. */
void channel_open(struct channel *channel, const uint8_t hello[CHANNEL_HELLO_BYTES], uint64_t deadline_ns);

/* The link has ended or shall end: forget the keys. */
void channel_close(struct channel *channel);

enum channel_state channel_state(const struct channel *channel);

/* The deadline of the handshake that is under way; UINT64_MAX: none is. */
uint64_t channel_deadline_ns(const struct channel *channel);

/* Copy the handshake bytes that must be sent now to `out` and return their number (0: none). Must be sent before anything else; so call
 * it after channel_open and after every channel_input, before acting on the event. */
size_t channel_take_output(struct channel *channel, uint8_t out[CHANNEL_HANDSHAKE_BYTES_MAX]);

/* Use up bytes of the stream until something has happened or none is left: `*data` and `*bytes` advance over what was used. Call again until
 * the event is CHANNEL_NOTHING. Any cutting of the stream into calls gives the same events.
 * A status other than OK has closed the channel, and the caller ends the link:
 *   INVALID: a length or a field is out of range.   UNKNOWN_VERSION: the peer speaks another version.
 *   FOREIGN: another node number or lane.   REFUSED: the peer did not prove its identity.
 *   CORRUPT: a message was altered, replayed, reordered or left out.   CLOSED: the channel is not open. */
MUST_CHECK enum status channel_input(struct channel *channel, const uint8_t **data, size_t *bytes, struct channel_event *event);

/* Seal the front of a message into `front`: the caller sends `*front_bytes` bytes of it and then exactly `body_bytes` bytes of body. Every front that
 * was made must be sent, in order.
 * INVALID: a length is out of its bound.   CLOSED: the channel is not up. */
MUST_CHECK enum status channel_seal_front(struct channel *channel, const void *header, size_t header_bytes, size_t body_bytes,
                                          uint8_t front[CHANNEL_FRONT_BYTES_MAX], size_t *front_bytes);

/* CHECK the invariants that open channel.c. For tests and the simulator, at each transition. */
void channel_check(const struct channel *channel);

/* Bytes on the link of a message with these lengths. */
static inline size_t channel_record_bytes(size_t header_bytes, size_t body_bytes)
{
    return CHANNEL_FRAMING_BYTES + header_bytes + body_bytes;
}

#endif
