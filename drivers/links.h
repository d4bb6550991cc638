/* Links to peers: one TCP connection for each peer and lane, kept up without being asked (include/machine.h).
 *
 * The node with the lower number connects, to port LINK_PORT_BASE + lane of the higher one, so that it is also the channel's initiator: a
 * node that was connected to says nothing first. Bytes are not trusted: the channel on top decides whether the other end is the
 * peer, and calls links_reset if it is not. A second connection from a peer's address does not touch the
 * healthy first one, as anybody can forge an address: it waits, and a probe on the first shows whether that one is still known to the
 * peer. If the peer has restarted, its answer is a reset, and the waiting one takes over. */
#ifndef EIDOLON_DRIVERS_LINKS_H
#define EIDOLON_DRIVERS_LINKS_H

#include <stddef.h>
#include <stdint.h>

#include "drivers/net.h"
#include "include/boot_config.h"
#include "include/status.h"

/* Listen, and start to connect. `boot` and `events` are borrowed for ever. From net_start. */
void links_start(const struct boot_config *boot, const struct net_events *events);

/* Tell events that happened, and do what is due. From net_poll. */
void links_poll(uint64_t now_ns);
uint64_t links_next_deadline_ns(void);

/* The four link functions of struct machine; `peer` 1..5, `lane` < MACHINE_LANES. */
size_t links_room(unsigned peer, unsigned lane);
enum status links_send(unsigned peer, unsigned lane, const void *data, size_t bytes) MUST_CHECK;
void links_flush(unsigned peer, unsigned lane);
void links_reset(unsigned peer, unsigned lane);

#endif
