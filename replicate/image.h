/* The image of a world on this node, its page states, and its difference from epoch to epoch.
 *
 * Owns: the state of each page, the dirty list, the shadows, the hash of each page and the digest. The frames themselves belong
 * to the machine (page_frame). *Captured content* of a page is what the last closed-and-captured (host) or applied (standby) epoch
 * says it is: the frame of a CLEAN page, the shadow of a DIRTY or FROZEN one.
 *
 * Page states: ABSENT, CLEAN (read-only, equal to its captured content) -> DIRTY (writable, on the dirty list) -> FROZEN (read-only, belongs to
 * the epoch just closed, not captured yet) -> CLEAN. A write to a FROZEN page captures that one page first.
 *
 * Promises: no allocation after init; freeze is O(dirty); silent stores never enter a delta; all-zero pages count as absent in delta
 * and digest (ONE-STORY does not see who touched a page). Applying a delta twice is harmless.
 * Called by replicate/world (host side) and replicate/node (standby side), from the event loop only. */
#ifndef EIDOLON_REPLICATE_IMAGE_H
#define EIDOLON_REPLICATE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/hash64.h"
#include "include/machine.h"
#include "include/status.h"
#include "replicate/limits.h"

struct image;

/* The hash of a page's content (not NULL, not all zero: that one is 0 by definition). Never 0. */
static inline uint64_t image_hash_content(uint32_t page, const uint8_t *content)
{
    uint64_t hash = hash64(page, content, REPLICATE_PAGE_BYTES);
    return hash != 0 ? hash : 1;
}

struct delta_writer; /* replicate/delta.h */
struct undo_record;

/* Called just before the captured content of `page` changes, with that content (4096 bytes; NULL: absent or all zero). The
 * checkpoint copies the page out if it still needs it. */
typedef void image_before_change_fn(void *context, uint32_t page, const uint8_t *captured);

/* Rights of a page while clean/read-only and while dirty come from the world's segments. Returns PAGE_NONE outside every
 * segment. */
typedef enum page_rights image_segment_rights_fn(void *context, uint32_t page);

struct image_config {
    const struct machine *machine;      /* borrowed for the image's life */
    image_before_change_fn *before_change;
    image_segment_rights_fn *segment_rights;
    void *context;
};

/* Reserve everything and start with an empty image (every page absent, digest 0). NO_MEMORY: the machine has not that much. */
MUST_CHECK enum status image_create(struct image **out, const struct image_config *config);

/* -- content -- */

/* Captured content of `page`, or NULL if absent. Borrowed until the next call that changes the image. */
const uint8_t *image_captured(const struct image *image, uint32_t page);
/* Hash of the captured content: image_hash_content, or 0 for an absent or all-zero page. O(1). */
uint64_t image_page_hash(const struct image *image, uint32_t page);
/* Sum of all page hashes modulo 2^64. O(1). The world record is not in it: the caller adds world_record_hash. */
uint64_t image_digest(const struct image *image);
/* Recompute the hash of `page` from its captured content and compare. CORRUPT: a bit flipped in memory. */
MUST_CHECK enum status image_scrub_page(const struct image *image, uint32_t page);

/* -- host: the open epoch -- */

/* The world (or the kernel on its behalf) is about to write to `page`; its segment allows it. Makes it present, shadowed, DIRTY, writable.
 * FULL: DIRTY_PAGES_MAX pages are dirty, or no shadow is free: close the epoch, capture, try again. NO_MEMORY: no frame left. */
MUST_CHECK enum status image_touch_write(struct image *image, uint32_t page);
/* The world reads an absent page: make it present and zero. NO_MEMORY: no frame left. */
MUST_CHECK enum status image_touch_read(struct image *image, uint32_t page);
/* Copy bytes into the image with dirty marking; offset counts from ABI_WORLD_BASE; may cross pages. All or nothing.
 * INVALID: out of range. FULL, NO_MEMORY: as above, nothing written. */
MUST_CHECK enum status image_write(struct image *image, uint64_t offset, const void *data, size_t bytes);
/* Copy the current content out; absent pages read as zero. INVALID: out of range. */
MUST_CHECK enum status image_read(const struct image *image, uint64_t offset, void *data, size_t bytes);
uint32_t image_dirty_pages(const struct image *image);

/* Close the epoch: every DIRTY page becomes FROZEN and read-only; one pages_flush. O(dirty). BUSY: FROZEN pages of the previous freeze are left.
 * From here on captured pages are appended to `delta` and their old bytes to `undo` until capture ends; both are borrowed until then. */
MUST_CHECK enum status image_freeze(struct image *image, struct delta_writer *delta, struct undo_record *undo);
/* Capture up to `pages_max` frozen pages. True: none is left. (A write to a FROZEN page may have captured some already.) */
bool image_capture_step(struct image *image, uint32_t pages_max);

/* -- host: step-down -- */

/* Take back the open epoch and what is FROZEN but not captured, from the shadows; pages first touched in it vanish. If a capture is
 * under way, what it captured so far is taken back by image_undo_epoch with its undo record afterwards. */
void image_undo_open(struct image *image);
/* Take back one captured epoch; newest first. No DIRTY or FROZEN page may exist. */
void image_undo_epoch(struct image *image, const struct undo_record *undo);

/* -- standby -- */

/* Apply the page items of a delta (struct delta: items, item_bytes), checked entirely before anything changes. No DIRTY or FROZEN page may exist.
 * TRUNCATED/INVALID: malformed, nothing changed. NO_MEMORY: no frame left, nothing changed. */
MUST_CHECK enum status image_apply(struct image *image, const uint8_t *items, size_t bytes);
/* Does what stands in the pages that the items will change have the hash that it was captured or applied with? Malformed items are image_apply's to
 * tell. CORRUPT: a bit flipped in memory. One hash a page. */
MUST_CHECK enum status image_scrub_items(const struct image *image, const uint8_t *items, size_t bytes);
/* Put a whole page (content verified by the caller). NULL: it becomes absent. */
MUST_CHECK enum status image_put_page(struct image *image, uint32_t page, const uint8_t *content);
/* Every page becomes absent, whatever its state; digest 0. */
void image_clear(struct image *image);
/* Set the machine's rights of every present page from its segment (after the segments changed). No DIRTY or FROZEN page may exist. */
void image_refresh_rights(struct image *image);
/* Number of present (non-zero or touched) pages. */
uint32_t image_present_pages(const struct image *image);

/* All invariants: lists, states, hashes against contents (O(image)). For tests and the simulator. */
void image_check(const struct image *image);

#endif
