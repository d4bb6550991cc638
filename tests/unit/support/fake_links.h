/* Links between fake machines: a byte stream each way for each pair of nodes and lane, that takes a stated number of bytes and moves
 * them only when the test says so. Nothing is delivered from inside a call of a machine's function. */
#ifndef EIDOLON_TESTS_FAKE_LINKS_H
#define EIDOLON_TESTS_FAKE_LINKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/unit/support/fake_machine.h"

/* What happens on a link of `node` with `peer`. */
struct fake_links_events {
    void *context;
    void (*up)(void *context, unsigned node, unsigned peer, unsigned lane);
    void (*data)(void *context, unsigned node, unsigned peer, unsigned lane, const void *data, size_t bytes);
    void (*down)(void *context, unsigned node, unsigned peer, unsigned lane);
};

/* One direction. */
struct fake_pipe {
    bool open;                          /* the sender may send */
    bool ending;                        /* the receiver has yet to be told that the link has ended */
    bool stopped;                       /* bytes and news stay where they are */
    uint8_t *bytes;
    size_t count;
};

struct fake_links {
    struct fake_links_events events;
    size_t capacity;                    /* of each pipe */
    unsigned resets;                    /* links ended by a machine */
    struct fake_pipe pipes[MACHINE_PEERS_MAX + 1][MACHINE_PEERS_MAX + 1][MACHINE_LANES]; /* [from][to][lane] */
};

void fake_links_init(struct fake_links *links, size_t capacity, const struct fake_links_events *events);
void fake_links_destroy(struct fake_links *links);
/* Give `fake` the links of node `node`. */
void fake_links_attach(struct fake_links *links, struct fake_machine *fake, unsigned node);

/* Bring the link up and tell both ends. */
void fake_links_up(struct fake_links *links, unsigned a, unsigned b, unsigned lane);
/* End the link and tell both ends; what is under way is lost. */
void fake_links_down(struct fake_links *links, unsigned a, unsigned b, unsigned lane);
/* Deliver up to `bytes` bytes, or the news that the link has ended. False: there was nothing. */
bool fake_links_deliver(struct fake_links *links, unsigned from, unsigned to, unsigned lane, size_t bytes);
/* Deliver everything, and what that makes the ends send, in pieces of at most `piece` bytes. */
void fake_links_settle(struct fake_links *links, size_t piece);

#endif
