/* Every bound of the kernel, with its reason. */
#ifndef EIDOLON_KERNEL_LIMITS_H
#define EIDOLON_KERNEL_LIMITS_H

#include <assert.h>

#include "include/machine.h"
#include "include/management.h"

enum {
    /* RAM ranges: QEMU reports about ten entries, of which at most three are RAM; each cut may add one. */
    MEMORY_REGIONS_MAX = 32,
    /* The C library's heap: what libraries ask for while they start, and raft's small messages. */
    LIBRARY_HEAP_BYTES = 16 * 1024 * 1024,
    /* A log line as handed over by the seam (include/machine.h), and the same with time and level before it. */
    LOG_LINE_BYTES_MAX = MACHINE_LOG_BYTES_MAX,
    LOG_RECORD_BYTES_MAX = LOG_LINE_BYTES_MAX + 48,
    /* Log lines of one round of the loop; more are written at once. */
    LOG_WAITING_BYTES = 8192,
    /* An epitaph holds a long file name with a long condition, or an exception with its registers. */
    EPITAPH_TEXT_BYTES_MAX = 240,
    /* A node that dies within ten seconds of its boot, as the boot before did, waits two seconds before the next one. */
    EPITAPH_REPEATED_MS = 10000,
    EPITAPH_PAUSE_MS = 2000,
    /* The same before there is a clock: ticks of a counter whose rate is 1 to 5 GHz. */
    EPITAPH_PAUSE_TICKS = 2000000000,
    /* A reason why a world was stopped (replicate/node.h). */
    FAULT_REASON_BYTES_MAX = 200,
    /* Longest halt or stay in ring 3 without an interrupt: the loop looks round at least once a second, whatever it was told. */
    LOOP_ROUND_NS_MAX = 1000000000,
    /* The world's least turn while the node has work of its own pending, so that neither starves the other. */
    WORLD_TURN_NS_MIN = 50000,
    /* World faults and calls handled before the loop looks at devices and deadlines again: some 200 us under emulation. */
    WORLD_TRAPS_PER_TURN_MAX = 64,
    /* Console text of the world is logged by lines; a longer one is logged in pieces. */
    CONSOLE_LINE_BYTES_MAX = 200,
    /* What the world may log at once: a traceback of some 300 lines. The serial line takes 2 us a byte under emulation, so 50 ms of the loop, less than a
     * heartbeat's interval. It comes back at 1 KiB a second: 0.2 % of the loop, 90 MB of log a day. A line costs its text and what stands
     * before it. A world that wrote too much is heard again when a quarter is back: two lines about it in 6 s. */
    CONSOLE_BURST_BYTES = 24 * 1024,
    CONSOLE_BYTES_PER_S = 1024,
    CONSOLE_RESUME_BYTES = CONSOLE_BURST_BYTES / 4,
    CONSOLE_LINE_COST_BYTES = 32,
    /* Management commands executed in one round, so that input at full speed cannot hold the loop. */
    MANAGEMENT_LINES_PER_ROUND_MAX = 2,
    /* Hardware entropy is slow under emulation; a ChaCha20 key could serve far more. */
    RANDOM_RESEED_BYTES = 1024 * 1024,
    RANDOM_DRAW_BYTES_MAX = 256,
};

static_assert(CONSOLE_RESUME_BYTES >= CONSOLE_LINE_COST_BYTES + CONSOLE_LINE_BYTES_MAX, "whoever is heard again can say a line");

#endif
