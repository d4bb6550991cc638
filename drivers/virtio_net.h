/* The node's network device: virtio-net, one queue each way, plain frames.
 *
 * No offloads, no mergeable buffers: a received frame is one buffer. The device may say that its wire takes larger packets than usual
 * (VIRTIO_NET_F_MTU). Without a control queue the device passes frames to every address, so that the world's frames arrive too. What finds no
 * room is dropped, as a wire may. */
#ifndef EIDOLON_DRIVERS_VIRTIO_NET_H
#define EIDOLON_DRIVERS_VIRTIO_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/status.h"

/* Find the device and start it. After pci_start; once.
 * NOT_FOUND: there is none.  UNSUPPORTED: not version 1, or no message interrupts.  INVALID: the device is broken. */
enum status virtio_net_start(void) MUST_CHECK;

/* The largest packet (frame without its Ethernet header) that the wire takes: NET_MTU_DEFAULT to NET_MTU_MAX. After virtio_net_start. */
unsigned virtio_net_mtu(void);

/* Hand up to NET_POLL_FRAMES_MAX received frames to `received`; the frame is borrowed for the call.
 * Returns true if more are waiting. */
bool virtio_net_poll(void (*received)(const uint8_t *frame, size_t bytes));

/* A place for an outgoing frame of up to NET_FRAME_BYTES_MAX bytes: fill it, then virtio_net_commit. NULL: no room. The place
 * is the caller's until commit; asking again without commit gives the same. */
uint8_t *virtio_net_place(void);

/* Send the frame of `bytes` bytes in the place last given. It leaves at the next virtio_net_flush. */
void virtio_net_commit(size_t bytes);

/* Let what was committed leave. Cheap if nothing was. */
void virtio_net_flush(void);

#endif
