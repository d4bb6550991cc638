/* Every bound of the host command and of the background process, with its reason. */
#ifndef EIDOLON_LAB_LIMITS_H
#define EIDOLON_LAB_LIMITS_H

#include <assert.h>

#include "include/abi.h"
#include "include/boot_config.h"
#include "include/management.h"
#include "include/q35.h"

enum {
    LAB_NODES_MAX = BOOT_CONFIG_NODES_MAX,

    /* Options of `create`. */
    LAB_WORLD_MEMORY_MIB_MIN = 32,      /* the least in which the world of objects is born */
    LAB_WORLD_MEMORY_MIB_MAX = 2048,
    /* What a node needs beside its world's frames: kernel, buffers of the network, log ring, shadows and undo records; something for each page of the world;
     * something for each block of the disk. */
    LAB_NODE_MEMORY_MIB_BESIDE_WORLD = 120,
    LAB_NODE_MEMORY_WORLD_SHARE = 16,
    LAB_NODE_MEMORY_DISK_SHARE = 4096,
    LAB_NODE_MEMORY_MIB_MAX = 16384,
    /* A world's frames are one piece of a node's memory (include/q35.h); of the lower one the kernel takes its image, its heap and page tables. */
    LAB_NODE_MEMORY_MIB_LOWER_TAKEN = 64,
    LAB_DISK_MIB_MAX = 65536,           /* slot numbers of the page store are 32 bits; this is far below */

    /* Names and lines. */
    LAB_SESSION_NAME_BYTES_MAX = 32,
    LAB_CONTROL_LINE_BYTES_MAX = 12288, /* a request: a path, or LAB_RAW_BYTES_MAX bytes in hex */
    LAB_CONTROL_ANSWER_BYTES_MAX = 16384,
    LAB_RAW_BYTES_MAX = 4096,
    LAB_SMALL_FILE_BYTES_MAX = 65536,   /* configuration, pid files, lab state */
    LAB_SOURCE_BYTES_MAX = 256 << 10,   /* Python source given to `exec`: what the world takes */
    LAB_LOG_BYTES_MAX = 32 << 20,       /* a longer node log is set aside (one generation) when the node starts */

    /* The switch. A frame on the stream netdev is at most QEMU's own buffer; one on our Ethernet is a jumbo frame between nodes, an ordinary one to and
     * from the gateway. */
    LAB_STREAM_FRAME_BYTES_MAX = 69632,
    LAB_MTU = 9000,
    LAB_FRAME_BYTES_MAX = LAB_MTU + 14,
    LAB_GATEWAY_FRAME_BYTES_MAX = ABI_FRAME_BYTES_MAX,
    LAB_FRAME_BYTES_MIN = 14,
    LAB_TAPS_MAX = 8,                   /* clients of `port` at once */
    LAB_PORTS_MAX = 1 + LAB_NODES_MAX + LAB_TAPS_MAX,
    LAB_PORT_QUEUE_BYTES = 1 << 20,     /* frames that wait for a port; more are dropped and counted, as a wire would */
    LAB_ADDRESSES_MAX = 64,             /* learned MAC addresses; the least recently seen makes room */
    LAB_READ_BYTES = 1 << 18,           /* read from one port before the next one has its turn; holds any stream frame */
    LAB_CAPTURE_BYTES_MAX = 1 << 30,    /* a capture ends here */

    /* The way in from 127.0.0.1. */
    LAB_FORWARDS_MAX = 64,
    LAB_FORWARD_ATTEMPTS_MAX = 32,      /* free ports tried when none was asked for */

    /* The background process. */
    LAB_CLIENTS_MAX = 128,              /* control connections at once; more wait in line */
    LAB_REQUESTS_MAX = 32,              /* management requests that wait for one node */
    LAB_POLLS_MAX = 1000,               /* descriptors in one poll, under the usual limit of 1024 open files */
    LAB_RECONNECT_MS = 50,              /* pause before the next attempt to reach a node's socket */
    LAB_CLIENT_IDLE_MS = 60000,         /* a control client that sends nothing for so long is closed */

    /* `status`. */
    LAB_FAULTS_BYTES = 2048,            /* all cuts of five nodes and the outside in words: 30 times 32 bytes, and who is isolated */

    /* Deadlines, ms. They bound waits for something that normally takes a small part of it. */
    LAB_STATUS_DEADLINE_MS = 1500,      /* for a node's answer: they share the host's processors */
    LAB_ELECTION_WAIT_MS = 10000,       /* a command that needs the world waits so long for nodes that run to agree */
    LAB_RESET_DEADLINE_MS = 30000,
    LAB_CONTROL_DEADLINE_MS = 3000,
    LAB_MANAGEMENT_DEADLINE_MS = 5000,
    LAB_MANAGEMENT_RAW_DEADLINE_MS = 20000, /* kilobytes of lines, each answered, over a serial line of a busy emulator */
    LAB_SPAWN_DEADLINE_MS = 10000,
    LAB_TERMINATE_DEADLINE_MS = 10000,
    LAB_LOCK_DEADLINE_MS = 30000,
    LAB_START_TIMEOUT_S = 60,
    LAB_MOVE_DEADLINE_MS = 30000,
};

static_assert(LAB_READ_BYTES > 4 + LAB_STREAM_FRAME_BYTES_MAX, "a whole stream frame fits the read buffer");
static_assert(LAB_PORT_QUEUE_BYTES > LAB_READ_BYTES, "one turn of one port fits an empty queue");
static_assert(LAB_CONTROL_ANSWER_BYTES_MAX > MANAGEMENT_ANSWER_BYTES_MAX, "a node's answer fits ours");
static_assert(LAB_CONTROL_LINE_BYTES_MAX > 2 * LAB_RAW_BYTES_MAX + 64, "raw bytes in hex fit a request");

static_assert(LAB_WORLD_MEMORY_MIB_MAX + LAB_WORLD_MEMORY_MIB_MAX / LAB_NODE_MEMORY_WORLD_SHARE + LAB_DISK_MIB_MAX / LAB_NODE_MEMORY_DISK_SHARE +
                      LAB_NODE_MEMORY_MIB_BESIDE_WORLD < Q35_MEMORY_MIB_SPLIT,
              "whoever needs one piece can always have a node that is not split");

#endif
