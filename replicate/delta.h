/* The plain delta: what changed in an epoch, and its mirror, the undo record.
 *
 * Owns the format of a delta before sealing (and after opening), and the comparison of two versions of a page. Knows nothing of page states:
 * replicate/image appends to a writer and applies runs; replicate/world finishes a delta and hands it to sealing in parts of
 * DELTA_PART_BYTES_MAX; replicate/node decodes what it opened.
 *
 * Format, little-endian: struct delta_wire_header; page items; the world record as the runs in which it differs from zero.
 *   page item   u32 page number; u16 kind << 14 | run count; then
 *               RUNS: 3 bytes a run (12 bits offset, 12 bits length - 1; ascending, disjoint), then the new bytes of all runs
 *               RAW:  4096 bytes          ZERO: nothing: the page is absent from here on (an all-zero page is an absent one)
 *   record      u16 run count; runs and bytes as above
 * A page stands in a delta at most once, in any order (a write to a frozen page captures it at once). Runs hold *new* bytes, so that applying
 * twice is harmless; an undo record is the same items with the *old* bytes. */
#ifndef EIDOLON_REPLICATE_DELTA_H
#define EIDOLON_REPLICATE_DELTA_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/status.h"
#include "replicate/limits.h"
#include "replicate/world_record.h"

enum { DELTA_VERSION = 1, DELTA_ITEM_BYTES = 6, DELTA_RUN_BYTES = 3 };

enum delta_kind { DELTA_KIND_RUNS = 0, DELTA_KIND_RAW = 1, DELTA_KIND_ZERO = 2 };

struct delta_wire_header {
    uint32_t version;       /* DELTA_VERSION */
    uint32_t world;         /* 1 */
    uint64_t epoch;
    uint64_t digest;        /* after this delta: image_digest + world_record_hash */
    uint32_t pages;         /* page items */
    uint32_t run_bytes;     /* of all page items */
    uint32_t record_bytes;
    uint32_t reserved;      /* 0 */
};
static_assert(sizeof(struct delta_wire_header) == 40, "delta header layout");
static_assert((int)sizeof(struct delta_wire_header) + 2 + (int)sizeof(struct world_record) * 2 <= DELTA_HEADER_BYTES_MAX,
              "header and record fit, however the record is cut into runs");
static_assert(DELTA_ITEM_BYTES + REPLICATE_PAGE_BYTES <= REPLICATE_PAGE_BYTES + 16, "a raw page fits its share");

/* Page items, appended one after the other. */
struct page_items {
    uint8_t *buffer;
    size_t capacity;
    size_t bytes;
    uint32_t count;
    /* What they stand for, of the items that say content: bytes that differ, and in how many stretches. (A run may bridge bytes that do not.) */
    uint32_t runs, changed_bytes;
};

/* Embedded by value in its owner. */
struct delta_writer {
    uint8_t *buffer;            /* the whole delta; items stand behind the header */
    size_t capacity;
    struct page_items items;
};

struct undo_record {
    struct page_items items;
};

/* What delta_decode gives out; `items` is borrowed from the decoded bytes. */
struct delta {
    uint32_t world;
    uint64_t epoch;
    uint64_t digest;
    uint32_t pages;
    const uint8_t *items;       /* for image_apply */
    size_t item_bytes;
    struct world_record record;
};

/* Start an empty delta in `buffer` (borrowed until the delta is done with; `capacity` is at least DELTA_BYTES_MAX). */
void delta_writer_init(struct delta_writer *writer, void *buffer, size_t capacity);
/* Write the header and the record: the delta is complete, at writer->buffer. Returns its length. Nothing may be appended afterwards. */
size_t delta_finish(struct delta_writer *writer, uint32_t world, uint64_t epoch, uint64_t digest, const struct world_record *record);
/* Bytes of page items so far (0: no page changed). */
size_t delta_item_bytes(const struct delta_writer *writer);

/* Check and take apart a complete delta of `bytes` bytes. The record is checked against `memory_bytes`; page items are only delimited: image_apply
 * checks them. TRUNCATED, UNKNOWN_VERSION, INVALID (a length, a count, a record field; epoch of header and record differ): nothing is written. */
MUST_CHECK enum status delta_decode(const uint8_t *delta, size_t bytes, uint64_t memory_bytes, struct delta *out);

/* Start an empty undo record in `buffer` (borrowed as long as the record lives; `capacity` is at least UNDO_BYTES_MAX). */
void undo_record_init(struct undo_record *undo, void *buffer, size_t capacity);

/* -- for replicate/image -- */

/* Compare two versions of `page` (4096 bytes each; NULL: absent) and append the change to `now` and its mirror to `before`. Returns whether
 * they differ. Never more than DELTA_ITEM_BYTES + REPLICATE_PAGE_BYTES each. About 2 us for a page that changed little. */
bool delta_append_page(struct page_items *now, struct page_items *before, uint32_t page, const uint8_t *old_content, const uint8_t *new_content);

/* One item, delimited and checked. */
struct page_item {
    uint32_t page;
    enum delta_kind kind;
    uint32_t run_count;
    const uint8_t *runs;        /* run_count * DELTA_RUN_BYTES */
    const uint8_t *bytes;       /* new (or old) bytes of the runs, or the raw page */
};

/* Read the item at *offset of `items` and move *offset behind it. TRUNCATED: it ends early. INVALID: unknown kind, no runs, runs not ascending
 * or past the page, page >= pages_max. EMPTY: *offset is at the end. */
MUST_CHECK enum status page_item_next(const uint8_t *items, size_t bytes, uint32_t pages_max, size_t *offset, struct page_item *out);
/* Write an item of kind RUNS or RAW over `content` (4096 bytes). */
void page_item_apply(const struct page_item *item, uint8_t *content);

#endif
