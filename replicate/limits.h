/* Every bound of replicate/, with its reason. */
#ifndef EIDOLON_REPLICATE_LIMITS_H
#define EIDOLON_REPLICATE_LIMITS_H

#include <assert.h>

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
    /* One part of a delta, before sealing: 64 KiB take 1.6 ms to seal under software emulation, which bounds the handler. */
    DELTA_PART_BYTES_MAX = 64 * 1024,
    DELTA_PARTS_MAX = (DELTA_BYTES_MAX + DELTA_PART_BYTES_MAX - 1) / DELTA_PART_BYTES_MAX,
    /* Pages captured in one step of the event loop: about 100 us. */
    CAPTURE_STEP_PAGES = 32,
};

static_assert(SHADOW_PAGES_MAX >= 2 * DIRTY_PAGES_MAX, "open and frozen epoch have shadows at the same time");
static_assert(DELTA_PARTS_MAX < 256, "part numbers fit a byte");

#endif
