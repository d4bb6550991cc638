/* The cluster's Ethernet: a learning switch inside the background process, on which cables can be cut.
 *
 * Ports: 0 the gateway (libslirp: everything outside), 1..5 the nodes, then taps (clients of `port`). Nodes and taps are stream
 * sockets with QEMU's framing: length of the frame in 4 bytes, big-endian, then the frame.
 *
 * Promises: a frame goes to the port where its destination was last heard, or to all if it was not; only over cables that are whole. Order
 * between two ports is kept. Queues are bounded: a frame that finds its port's queue full is dropped and counted, as a wire would.
 * A port that ends is forgotten with all that was learned on it. Broken framing ends a port, nothing else. */
#ifndef EIDOLON_LAB_SWITCH_H
#define EIDOLON_LAB_SWITCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster-sim/lab_limits.h"
#include "cluster-sim/lab_poll.h"

enum { SWITCH_GATEWAY = 0, SWITCH_TAP_FIRST = 1 + LAB_NODES_MAX };

struct switch_port {
    int descriptor;                 /* -1: nothing is attached (always for the gateway) */
    int poll_index;
    uint8_t *received;              /* LAB_READ_BYTES: start of a frame that is not whole yet */
    size_t received_bytes;
    uint8_t *queue;                 /* LAB_PORT_QUEUE_BYTES: framed, waiting to be written */
    size_t queue_start;
    size_t queue_bytes;
    uint64_t frames_in;
    uint64_t frames_out;
    uint64_t frames_dropped;
};

struct switch_address {
    uint8_t mac[6];
    bool known;
    unsigned port;
    uint64_t seen;                  /* `frames` of the switch when it was last heard */
};

struct ethernet_switch {
    struct switch_port ports[LAB_PORTS_MAX];
    struct switch_address addresses[LAB_ADDRESSES_MAX];
    bool cut[LAB_PORTS_MAX][LAB_PORTS_MAX];   /* [from][to] */
    bool isolated[LAB_PORTS_MAX];
    uint64_t frames;
    /* Frames for the gateway, and every frame that comes in; both borrow the frame for the call. */
    void (*to_gateway)(void *context, const uint8_t *frame, size_t bytes);
    void (*observe)(void *context, const uint8_t *frame, size_t bytes);
    void *context;
};

/* All memory is taken here. False: there is none. */
bool switch_init(struct ethernet_switch *sw);

/* Take `descriptor` (non-blocking) as the other end of `port`, which must be unattached. */
void switch_attach(struct ethernet_switch *sw, unsigned port, int descriptor);

/* A frame comes in at `port`. The frame is borrowed. */
void switch_input(struct ethernet_switch *sw, unsigned port, const uint8_t *frame, size_t bytes);

/* Before the poll, after it, and at the end of a round (writes out what the round has queued). */
void switch_fill(struct ethernet_switch *sw, struct poll_set *set);
void switch_serve(struct ethernet_switch *sw, const struct poll_set *set);
void switch_flush(struct ethernet_switch *sw);

/* Cables. heal mends all of them. */
void switch_cut(struct ethernet_switch *sw, unsigned from, unsigned to);
void switch_isolate(struct ethernet_switch *sw, unsigned port);
void switch_heal(struct ethernet_switch *sw);

#endif
