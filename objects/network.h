/* The network stack inside the world: lwIP over the frame rings.
 *
 * Owns the interface, the rings' indexes and lwIP's timers. Its state is world memory, so connections survive a takeover with
 * everything else. Timers run only while something needs them (IDLE): an established idle connection, a listening socket or an ARP
 * entry needs none; ticks are made up for from the clock. A full transmit ring is back-pressure: lwIP keeps what it could not send and
 * sends it when slots are released. Received frames are always taken; one that finds no buffer is dropped, as a wire may. */
#ifndef OBJECTS_NETWORK_H
#define OBJECTS_NETWORK_H

#include <stdbool.h>
#include <stdint.h>

/* Bring lwIP and the interface up with the address of the ABI page. Once, at birth. */
void network_init(void);

/* Take in frames, run due timers, nudge connections after a takeover. */
void network_poll(uint64_t now_ns);

/* Plan the timers, after all that may have sent something. Returns when network_poll needs to be called again (world clock, ABI_NEVER: only
 * when a frame arrives). */
uint64_t network_plan(uint64_t now_ns);

/* Something has been sent since, so there are timers to plan or segments of the world's own to deliver. */
bool network_poll_is_due(void);

/* A connection for a program's socket, of a priority below that of the world's own port: when connections run out, closed
 * ones that only rest are forgotten, then programs' oldest idle ones are closed. NETWORK_CONNECTIONS_KEPT stay for the world's port. NULL: programs have as many as they may. */
struct tcp_pcb;
struct tcp_pcb *network_new_connection(void);

/* Is there memory for what a program wants to send? The last of it (NETWORK_MEMORY_KEPT_BYTES, NETWORK_SEGMENTS_KEPT) is for the world's port. */
bool network_may_send(void);

#endif
