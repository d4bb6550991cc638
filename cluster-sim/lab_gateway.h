/* The way in and out: libslirp as the network's gateway (10.77.0.2, IPv4 only), and forwards from 127.0.0.1 to it.
 *
 * Promises: needs no privileges and changes nothing on the host's network; listens on 127.0.0.1 only. A program in the world can open
 * connections outwards, as under QEMU's user network. At most LAB_FORWARDS_MAX forwards. */
#ifndef EIDOLON_LAB_GATEWAY_H
#define EIDOLON_LAB_GATEWAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster-sim/lab_limits.h"
#include "cluster-sim/lab_poll.h"
#include "include/status.h"

struct Slirp;

enum { GATEWAY_TARGET_WORLD = 0 };

struct gateway_forward {
    unsigned target;             /* GATEWAY_TARGET_WORLD or a node */
    uint16_t port;               /* of the target */
    uint16_t host_port;          /* on 127.0.0.1 */
};

struct gateway {
    struct Slirp *slirp;
    struct poll_set *set;        /* while slirp fills or reads it */
    struct gateway_forward forwards[LAB_FORWARDS_MAX];
    unsigned forward_count;
    /* A frame from outside; borrowed. */
    void (*output)(void *context, const uint8_t *frame, size_t bytes);
    void *context;
};

/* `output` and `context` are set by the caller before. False: libslirp refused. */
bool gateway_init(struct gateway *gateway);

/* A frame that reached the gateway's port, at least LAB_FRAME_BYTES_MIN long; borrowed. One for somebody else's address is dropped. */
void gateway_input(struct gateway *gateway, const uint8_t *frame, size_t bytes);

void gateway_fill(struct gateway *gateway, struct poll_set *set);
void gateway_serve(struct gateway *gateway, struct poll_set *set, bool poll_failed);

/* Open a forward to `port` of `target`, on `host_port` (0: any free one), or find the one that is open already (on any port if
 * host_port is 0). FULL: LAB_FORWARDS_MAX are open. BUSY: the host port is taken. */
MUST_CHECK enum status gateway_forward(struct gateway *gateway, unsigned target, uint16_t port, uint16_t host_port, uint16_t *opened);

#endif
