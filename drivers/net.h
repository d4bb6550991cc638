/* The node on the wire: sorts received frames, runs lwIP for the links between nodes, and drives its timers.
 *
 * Frames for the node's own address go to lwIP, but only from peers; others that try to connect are refused with a reset. Frames for the
 * world's address go to the world (drivers/world_port.h). Everything else is dropped. lwIP's timers run only while a connection has
 * something to wait for, so an idle node is not woken by them. */
#ifndef EIDOLON_DRIVERS_NET_H
#define EIDOLON_DRIVERS_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "include/boot_config.h"
#include "include/status.h"

/* What the loop gives to others: each function is called from net_poll only. */
struct net_events {
    void *context;
    /* A link (include/machine.h) is there. */
    void (*link_up)(void *context, unsigned peer, unsigned lane);
    /* Bytes arrived; borrowed for the call. */
    void (*link_data)(void *context, unsigned peer, unsigned lane, const void *data, size_t bytes);
    /* The link ended, not by links_reset. */
    void (*link_down)(void *context, unsigned peer, unsigned lane);
    /* A frame for the world, while this node holds its address; borrowed for the call. */
    void (*world_frame)(void *context, const void *frame, size_t bytes);
    /* Was a majority heard within the election timeout? Asked before the world's address is answered for. */
    bool (*majority)(void *context);
};

/* Start network device, lwIP and links. `boot` (checked) and `events` are borrowed for ever. After entropy_start; once.
 * NOT_FOUND, UNSUPPORTED, INVALID: the device, as virtio_net_start says. */
enum status net_start(const struct boot_config *boot, const struct net_events *events) MUST_CHECK;

/* Handle what arrived and what is due, and tell it. By the loop after every wake. True: more is waiting; do not halt. */
bool net_poll(void);

/* Let queued frames leave. By the loop at the end of a round, before the world runs or the processor halts. */
void net_flush(void);

/* When net_poll is due next by time, timer_now_ns; UINT64_MAX: only when something arrives. */
uint64_t net_next_deadline_ns(void);

/* Bring lwIP's clock up to date. Before any call that may send (links.c). */
void net_clock_catch_up(void);

#endif
