/* Every bound of the drivers, with its reason. */
#ifndef EIDOLON_DRIVERS_LIMITS_H
#define EIDOLON_DRIVERS_LIMITS_H

#include <assert.h>

#include "include/abi.h"
#include "include/machine.h"

enum {
    /* Serial ports. A management answer is a few kilobytes and must fit whole, as the loop never waits for the line. */
    SERIAL_RECEIVE_BYTES = 4096,
    SERIAL_TRANSMIT_BYTES = 65536,
    SERIAL_FIFO_BYTES = 16,
    SERIAL_POLL_ROUNDS = 64,           /* 1 KiB each way in one poll */
    SERIAL_LOOK_NS = 20000000,         /* to read a register is dear under emulation; a loop that takes no interrupts looks so often all the same */
    /* Reads of the status register before a log byte is given up: longer than any FIFO takes to drain under emulation, and
     * short enough that a dead line cannot stop the node. */
    SERIAL_LOG_SPINS = 20000,

    PCI_DEVICES_MAX = 32,
    PCI_WINDOW_BYTES_MAX = 1 << 24,    /* of a device that is used: those of virtio have some KiB */
    PCI_CAPABILITIES_MAX = (256 - 64) / 4, /* what a configuration space holds; a broken list may run in a circle */

    /* Block device: requests under way. machine.h promises at least 64. */
    BLOCK_REQUESTS_MAX = 128,
    BLOCK_SYNC_DEADLINE_MS = 10000,    /* of a read, a write or a flush that is waited for */

    /* Network device: frames in each direction. 256 frames of 1514 bytes are 3 ms of a gigabit line: more than the longest
     * step of the event loop. */
    NET_FRAMES_MAX = 256,
    /* Packets between nodes: as large as the device says that its wire takes, up to the usual jumbo frame, as each frame costs the same whatever its length.
     * The world's frames are ordinary ones. */
    NET_MTU_MAX = 9000,
    NET_MTU_DEFAULT = 1500,
    NET_FRAME_BYTES_MAX = NET_MTU_MAX + 14,
    NET_FRAME_BYTES_MIN = 14,
    /* Frames handled in one poll, so that a flood leaves time for everything else. */
    NET_POLL_FRAMES_MAX = 64,

    VIRTQUEUE_ENTRIES_MAX = 256,
    /* A device changes its registers by events outside (a disk is resized): not so often as it is read, by far. */
    VIRTIO_CONFIG_READS_MAX = 1000,

    /* Links. */
    LINK_PORT_BASE = 7401,             /* + lane */
    LINK_RETRY_MS_MIN = 100,           /* between attempts: base and random addition, so that pairs do not stay in step */
    LINK_RETRY_MS_SPREAD = 100,
    LINK_CONNECT_TIMEOUT_MS = 500,
    LINK_CANDIDATE_TIMEOUT_MS = 2000,  /* a connection that waits for the older one's end */
    LINK_HALF_OPEN_MS = 1000,          /* an accepted connection whose handshake does not end */
    /* Received packets that were not told yet. The loop tells all of them after each poll, which takes NET_POLL_FRAMES_MAX frames. */
    LINK_PACKETS_MAX = 128,
    LINK_CANDIDATE_BUFFERS_MAX = 16,   /* held by a connection that waits: the channel's first message is one or two, and wants an answer */
    /* What lwIP is given in one piece. A piece that is no longer than a segment is at most two buffers: one that fills up the last segment, one that begins the
     * next. So the number of buffers is bounded by the bytes: of a message the bulk in large pieces where segments are as long, the rest in small
     * ones, which fit a segment of any wire. Buffers come from two pools (lwip/lwippools.h), and lwIP counts them against TCP_SND_QUEUELEN. */
    LINK_LARGE_PIECE_BYTES = 8192,
    LINK_SMALL_PIECE_BYTES = NET_MTU_DEFAULT - 40,
    LINK_BUFFERS_PER_PIECE = 2,

    /* Announcements of the world's address after a takeover: at 0, 50, 150 and 350 ms. Each one lost costs the next delay. */
    WORLD_ANNOUNCEMENTS = 4,
};

static_assert(BLOCK_REQUESTS_MAX >= 64, "promised by machine.h");
static_assert(BLOCK_REQUESTS_MAX <= VIRTQUEUE_ENTRIES_MAX, "each request takes one ring entry");
static_assert(NET_FRAMES_MAX <= VIRTQUEUE_ENTRIES_MAX, "each frame takes one ring entry");
static_assert(LINK_PACKETS_MAX >= NET_POLL_FRAMES_MAX, "one poll's packets of one link fit");
static_assert(NET_MTU_DEFAULT + 14 == ABI_FRAME_BYTES_MAX, "a world's frame fits any wire and the reverse");

#endif
