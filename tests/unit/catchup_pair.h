/* Two nodes' catch-up over a wire that the test owns; the group behind it is a stand-in that remembers what it was told.
 *
 * Linked with test_catchup_*.c alone: a library would give these stand-ins to programs that want the real group and peers. What a step of a
 * test needs to succeed is asserted here. */
#ifndef EIDOLON_TESTS_CATCHUP_PAIR_H
#define EIDOLON_TESTS_CATCHUP_PAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "replicate/catchup_private.h"
#include "replicate/delta.h"
#include "tests/unit/support/fake_machine.h"

enum { PAGE = REPLICATE_PAGE_BYTES, PAGES = 2000, LEADER = 1, FOLLOWER = 2, QUEUE_MAX = 64 };
#define DISK (64ull << 20)
#define MS 1000000ull

struct group {
    struct group_facts facts;
    uint64_t held;
    struct group_snapshot installed;
    unsigned installs;
    uint64_t checkpoint_done;
    uint64_t contradicted;          /* index of an entry that it has under another term than any checkpoint; 0: none */
    enum status install_status;
};

struct wire_message {
    uint8_t type;
    size_t header_bytes, body_bytes;
    uint8_t header[PEERS_HEADER_BYTES_MAX];
    uint8_t *body;
};

/* What a node has sent and the other has not received. */
struct peers {
    unsigned self;
    struct peers_hello hello;       /* the other's */
    bool up;
    struct wire_message queue[QUEUE_MAX];
    size_t count, limit;            /* limit: what it takes; 0: QUEUE_MAX */
};

struct node {
    struct fake_machine fake;
    struct seal_keys keys;
    struct image *image;
    struct store *store;
    struct group group;
    struct peers peers;
    struct catchup *catchup;
    unsigned self;
    uint64_t epoch;
    unsigned installed_calls, wanted_checkpoints;
    uint8_t *delta_buffer, *undo_buffer;
};

extern struct node *leader, *follower;

/* For cmocka, around each test: both nodes anew, the leader with 600 pages and a checkpoint of them, the follower blank. */
int pair_set_up(void **state);
int pair_tear_down(void **state);

uint64_t raft_id_of(unsigned number);
void write_page(struct node *node, uint32_t page, uint32_t value);
void make_checkpoint(struct node *node);

/* What is under way is lost. */
void clear_wire(struct peers *peers);
/* Deliver the oldest message of `from` to `to`. */
enum status deliver(struct node *from, struct node *to);
/* The node's loop goes round once, its disk completes a request. */
void tick(struct node *node);
/* One millisecond of both. */
void turn(void);
/* Does the node neither give nor take? */
bool quiet(const struct node *node);
/* Turns until both are quiet, at most so many; how many there were. */
unsigned run(unsigned turns);

/* The follower's image is filled from its checkpoint and is the leader's. */
void fill_and_compare(void);

#endif
