/* Every bound of replicate/, with its reason. */
#ifndef EIDOLON_REPLICATE_LIMITS_H
#define EIDOLON_REPLICATE_LIMITS_H

#include <assert.h>
#include <stdint.h>

#include "include/disk_format.h"
#include "include/machine.h"

enum {
    REPLICATE_PAGE_BYTES = 4096,
    /* Pages that one epoch may change: bounds the freeze, the delta and the undo record. 1,024 pages are 4 MiB. */
    DIRTY_PAGES_MAX = 1024,
    /* Kept copies of pages as last captured: the open epoch and the frozen one in full, and as many again for pages that are
     * written often. */
    SHADOW_PAGES_MAX = 3 * DIRTY_PAGES_MAX,
    /* Closed epochs that are captured or on their way to commit. Past it the world waits. */
    EPOCHS_IN_FLIGHT_MAX = 4,
    /* A delta before sealing: each page raw with its header, and the header with the world record. */
    DELTA_HEADER_BYTES_MAX = 4096,
    DELTA_BYTES_MAX = DIRTY_PAGES_MAX * (REPLICATE_PAGE_BYTES + 16) + DELTA_HEADER_BYTES_MAX,
    /* Old bytes of one captured epoch, with a header for each run. */
    UNDO_BYTES_MAX = DIRTY_PAGES_MAX * (REPLICATE_PAGE_BYTES + 16),
    /* One part of a delta, before sealing: 64 KiB take 0.6 ms to seal under software emulation, which bounds the handler. */
    DELTA_PART_BYTES_MAX = 64 * 1024,
    DELTA_PARTS_MAX = (DELTA_BYTES_MAX + DELTA_PART_BYTES_MAX - 1) / DELTA_PART_BYTES_MAX,
    /* Pages captured in one step of the event loop: about 160 us. */
    CAPTURE_STEP_PAGES = 32,
    /* Page store: writes under way, and blocks of one write. Few, so that the log's own requests find room in the device's queue. */
    STORE_REQUESTS_MAX = 8,
    STORE_BATCH_BLOCKS = 16,
    /* Pages read, opened and put into the image in one step when a node starts: about 3 ms under software emulation. One request of the disk, if they stand in
     * consecutive slots. */
    STORE_FILL_PAGES = 64,
    /* Blocks sealed in one step: sealing one takes 0.04 ms under software emulation. Then as many times as long for others: a fifth of the time. */
    STORE_STEP_BLOCKS = 4,
    STORE_PACE = 5,
    /* ... where the log is nearly full: half of the time, as the world will wait for the end of it anyway. */
    STORE_PACE_HURRY = 2,
    /* Pages that may change while a checkpoint has not sealed them yet: two full epochs. */
    STORE_COPIES_MAX = 2 * DIRTY_PAGES_MAX,
    /* Dirty pages that only the kernel may still add to a full epoch: the ABI page, the receive ring's facts, a frame that crosses. */
    DIRTY_PAGES_RESERVE = 8,
    /* Frames for the world that arrived while its epoch had no room, or its ring was full. Beyond it they are dropped, as a wire may. */
    WORLD_FRAMES_QUEUED_MAX = 64,
    /* A world that waits closes an epoch that has been dirty for so long: a user's change is durable soon, and a busy timer thread does
     * not make an epoch of each tick. */
    WAITING_DIRTY_AGE_MS = 20,
    /* A world that runs closes its epoch after so long: bounds what a takeover repeats. */
    RUNNING_DIRTY_AGE_MS = 100,
    /* What the management port may put in its place, to measure what snapshots cost: from faster than a commit to hardly ever. */
    DIRTY_AGE_US_MIN = 100,
    DIRTY_AGE_US_MAX = 10 * 1000 * 1000,
    /* A running world that produces output closes epochs no more often than this while one is in flight; a waiting one at once. */
    RUNNING_OUTPUT_INTERVAL_MS = 2,
    /* While a capture is under way the world and the capture take turns of this length. */
    CAPTURE_SLICE_US = 100,

    /* A node looks at one page of its memory so often while it is awake anyway: hashing one is less than a thousandth of that time. */
    NODE_SCRUB_INTERVAL_MS = 10,
    /* A life younger than this began with reading what is wrong now: reading it once more helps nobody. */
    NODE_LIFE_YOUNG_MS = 60000,
    /* A checkpoint that failed is not begun again sooner. */
    NODE_CHECKPOINT_RETRY_MS = 1000,
    /* A planned move that takes longer is given up and the world goes on here: it takes milliseconds where nothing is wrong, and an election or two
     * where something is. */
    NODE_MOVE_DEADLINE_MS = 8000,
    /* What a move's target may lack of the log when the world is stopped for it: few enough for one message. */
    NODE_MOVE_LAG_ENTRIES = 16,
    /* Last words of the previous boot in the status, which is one line; longer ones are cut. */
    NODE_LAST_WORDS_BYTES = 160,
    /* Probes of a link: a number that comes back, and a body as large as a message's. Of the disk: as many requests as have blocks of their own. */
    NODE_PROBE_NUMBER_BYTES = 8,
    NODE_PROBE_BODY_BYTES_MAX = MACHINE_REQUEST_BYTES_MAX,
    NODE_PROBE_REQUESTS = DISK_PROBE_BULK_REQUESTS,
};

/* What a step that paces itself took; a machine that was held up in the middle of it did not work all that time. */
static inline uint64_t replicate_step_ns(uint64_t began_ns, uint64_t ended_ns)
{
    const uint64_t longest_ns = 50000000;
    uint64_t took_ns = ended_ns - began_ns;
    return took_ns < longest_ns ? took_ns : longest_ns;
}

static_assert(SHADOW_PAGES_MAX >= 2 * DIRTY_PAGES_MAX, "open and frozen epoch have shadows at the same time");
static_assert(DIRTY_PAGES_RESERVE < DIRTY_PAGES_MAX / 8, "the reserve is small");
static_assert(DELTA_PARTS_MAX < 256, "part numbers fit a byte");

#endif
