/* The world's place on the wire: its address is held by the node that runs it.
 *
 * The world's frames leave under its own addresses or not at all (RING). Requests for its hardware address are answered here, so that
 * they cost no epoch, and only while a majority was heard: a host that is cut off stops answering. */
#ifndef EIDOLON_DRIVERS_WORLD_PORT_H
#define EIDOLON_DRIVERS_WORLD_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/boot_config.h"

struct net_events;

/* `boot` and `events` are borrowed for ever. */
void world_port_start(const struct boot_config *boot, const struct net_events *events);

/* Hold or release the world's address. On true it is announced, WORLD_ANNOUNCEMENTS times. Announcing again is harmless. */
void world_port_hold(bool hold);

/* Put a frame of the world on the wire: for struct machine's world_frame_send. A frame that is malformed or not under the world's own
 * addresses is dropped and logged (at most once a second), as is one that finds no room (counted by the device). */
void world_port_send(const void *frame, size_t bytes);

/* Frames from net.c: for the world's hardware address; and requests for the world's address that came to all (a whole ARP packet). */
void world_port_receive(const uint8_t *frame, size_t bytes);
void world_port_answer(const uint8_t *frame);

/* Announcements: send what is due; when the next one is (UINT64_MAX: none). */
void world_port_tick(uint64_t now_ns);
uint64_t world_port_next_deadline_ns(void);

#endif
