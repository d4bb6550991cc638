/* Invariants (image_check):
 *  1. digest is the sum of all page hashes; hash is 0 exactly when the captured content is absent or all zero.
 *  2. The dirty list holds every DIRTY page once. The frozen list holds every FROZEN page once; entries of it that were captured early are skipped.
 *  3. A DIRTY or FROZEN page whose hash is not 0 has a shadow, which is its captured content. The shadow of a CLEAN page equals its frame and
 *     stands in the list of kept shadows; those are given up, oldest first, when a shadow is needed.
 *  4. A page whose hash is 0 has no shadow. An ABSENT page has no frame and hash 0.
 *  5. Only DIRTY pages are writable by the world.
 *
 *   from           event                    to        function
 *   ABSENT         read                     CLEAN     image_touch_read
 *   ABSENT, CLEAN  write                    DIRTY     image_touch_write
 *   DIRTY          end of the epoch         FROZEN    image_freeze
 *   FROZEN         capture, or a write      CLEAN     capture_page
 *   DIRTY, FROZEN  undo of the open epoch   CLEAN     restore_page   (ABSENT if it was first touched in it)
 *   CLEAN, ABSENT  delta, undo of an epoch  CLEAN     image_apply, image_put_page (or ABSENT) */
#include "replicate/image_private.h"

#include <string.h>

#include "include/abi.h"
#include "include/check.h"
#include "replicate/delta.h"

static_assert((int)REPLICATE_PAGE_BYTES == (int)ABI_PAGE_BYTES, "one page size");

static const uint8_t zero_page[REPLICATE_PAGE_BYTES];

enum { SHADOW_STRETCHES_MAX = 24 }; /* with more changes copying a whole page costs less than applying them */

uint8_t *image_frame(const struct image *image, uint32_t page)
{
    return image->machine->page_frame(image->machine->context, page);
}

uint8_t *image_shadow_content(const struct image *image, uint32_t shadow)
{
    return image->shadow_pages + (size_t)shadow * REPLICATE_PAGE_BYTES;
}

/* -- shadows -- */

static void kept_append(struct image *image, uint32_t shadow)
{
    image->shadows[shadow].previous = image->kept_newest;
    image->shadows[shadow].next = SHADOW_NONE;
    if (image->kept_newest != SHADOW_NONE) {
        image->shadows[image->kept_newest].next = shadow;
    } else {
        image->kept_oldest = shadow;
    }
    image->kept_newest = shadow;
}

static void kept_remove(struct image *image, uint32_t shadow)
{
    struct shadow *entry = &image->shadows[shadow];
    if (entry->previous != SHADOW_NONE) {
        image->shadows[entry->previous].next = entry->next;
    } else {
        image->kept_oldest = entry->next;
    }
    if (entry->next != SHADOW_NONE) {
        image->shadows[entry->next].previous = entry->previous;
    } else {
        image->kept_newest = entry->previous;
    }
}

/* A shadow for `page`. Never fails: at most 2 * DIRTY_PAGES_MAX are in use by DIRTY and FROZEN pages. */
static void shadow_take(struct image *image, uint32_t page)
{
    uint32_t shadow = image->shadow_free;
    if (shadow != SHADOW_NONE) {
        image->shadow_free = image->shadows[shadow].next;
    } else {
        shadow = image->kept_oldest;
        CHECK(shadow != SHADOW_NONE);
        kept_remove(image, shadow);
        image->pages[image->shadows[shadow].page].shadow = SHADOW_NONE;
    }
    image->shadows[shadow].page = page;
    image->pages[page].shadow = shadow;
}

void image_shadow_release(struct image *image, uint32_t page, bool kept)
{
    uint32_t shadow = image->pages[page].shadow;
    if (shadow == SHADOW_NONE) {
        return;
    }
    if (kept) {
        kept_remove(image, shadow);
    }
    image->pages[page].shadow = SHADOW_NONE;
    image->shadows[shadow].next = image->shadow_free;
    image->shadow_free = shadow;
}

/* -- machine's side of a page -- */

void image_protect_page(struct image *image, uint32_t page)
{
    const struct page *entry = &image->pages[page];
    enum page_rights rights = (enum page_rights)entry->rights;
    if (rights == PAGE_WRITE && entry->state != PAGE_DIRTY) {
        rights = PAGE_READ;
    }
    image->machine->page_protect(image->machine->context, page, rights);
}

void image_flush_rights(struct image *image)
{
    image->machine->pages_flush(image->machine->context);
}

enum status image_add_page(struct image *image, uint32_t page)
{
    struct page *entry = &image->pages[page];
    CHECK(entry->state == PAGE_ABSENT);
    enum status status = image->machine->page_add(image->machine->context, page);
    if (status != STATUS_OK) {
        return STATUS_NO_MEMORY;
    }
    entry->state = PAGE_CLEAN;
    entry->rights = (uint8_t)image->config.segment_rights(image->config.context, page);
    image->present++;
    image_protect_page(image, page);
    return STATUS_OK;
}

void image_remove_page(struct image *image, uint32_t page)
{
    image->machine->page_remove(image->machine->context, page);
    image->pages[page].state = PAGE_ABSENT;
    image->present--;
}

/* -- content -- */

void image_set_hash(struct image *image, uint32_t page, uint64_t hash)
{
    image->digest += hash - image->pages[page].hash;
    image->pages[page].hash = hash;
}

uint64_t image_hash_or_zero(uint32_t page, const uint8_t *content)
{
    uint64_t first;
    memcpy(&first, content, sizeof first);
    bool zero = first == 0 && memcmp(content, zero_page, REPLICATE_PAGE_BYTES) == 0;
    return zero ? 0 : image_hash_content(page, content);
}

const uint8_t *image_captured(const struct image *image, uint32_t page)
{
    const struct page *entry = &image->pages[page];
    if (entry->hash == 0) {
        return NULL;
    }
    return entry->shadow != SHADOW_NONE ? image_shadow_content(image, entry->shadow) : image_frame(image, page);
}

uint64_t image_page_hash(const struct image *image, uint32_t page)
{
    return image->pages[page].hash;
}

uint64_t image_digest(const struct image *image)
{
    return image->digest;
}

uint32_t image_present_pages(const struct image *image)
{
    return image->present;
}

enum status image_scrub_page(const struct image *image, uint32_t page)
{
    const struct page *entry = &image->pages[page];
    if (entry->state == PAGE_ABSENT) {
        return STATUS_OK;
    }
    if (entry->state == PAGE_CLEAN) {
        return image_hash_or_zero(page, image_frame(image, page)) == entry->hash ? STATUS_OK : STATUS_CORRUPT;
    }
    if (entry->hash == 0) {
        return STATUS_OK;
    }
    return image_hash_or_zero(page, image_shadow_content(image, entry->shadow)) == entry->hash ? STATUS_OK : STATUS_CORRUPT;
}

/* -- init -- */

enum status image_create(struct image **out, const struct image_config *config)
{
    const struct machine *machine = config->machine;
    struct image *image = machine->reserve(machine->context, sizeof *image, 64);
    if (image == NULL) {
        return STATUS_NO_MEMORY;
    }
    uint32_t pages_max = machine->pages_max;
    image->pages = machine->reserve(machine->context, (size_t)pages_max * sizeof *image->pages, 64);
    image->dirty = machine->reserve(machine->context, DIRTY_PAGES_MAX * sizeof *image->dirty, 64);
    image->frozen = machine->reserve(machine->context, DIRTY_PAGES_MAX * sizeof *image->frozen, 64);
    image->shadows = machine->reserve(machine->context, SHADOW_PAGES_MAX * sizeof *image->shadows, 64);
    image->shadow_pages = machine->reserve(machine->context, (size_t)SHADOW_PAGES_MAX * REPLICATE_PAGE_BYTES, REPLICATE_PAGE_BYTES);
    if (image->pages == NULL || image->dirty == NULL || image->frozen == NULL || image->shadows == NULL || image->shadow_pages == NULL) {
        return STATUS_NO_MEMORY;
    }
    image->machine = machine;
    image->config = *config;
    image->pages_max = pages_max;
    image->kept_oldest = SHADOW_NONE;
    image->kept_newest = SHADOW_NONE;
    for (uint32_t page = 0; page < pages_max; page++) {
        image->pages[page].shadow = SHADOW_NONE;
    }
    for (uint32_t shadow = 0; shadow < SHADOW_PAGES_MAX; shadow++) {
        image->shadows[shadow].next = shadow + 1 < SHADOW_PAGES_MAX ? shadow + 1 : SHADOW_NONE;
    }
    *out = image;
    return STATUS_OK;
}

/* -- host: the open epoch -- */

/* Bring the shadow of a page up to date: by the item at `offset` of the delta, its last, which says `stretches` changes. Most pages change little. */
static void update_shadow(const struct image *image, const uint8_t *frame, size_t offset, uint32_t stretches, uint8_t *shadow)
{
    const struct page_items *items = &image->delta->items;
    if (stretches > SHADOW_STRETCHES_MAX) {
        memcpy(shadow, frame, REPLICATE_PAGE_BYTES);
        return;
    }
    struct page_item item;
    enum status status = page_item_next(items->buffer, items->bytes, image->pages_max, &offset, &item);
    CHECK(status == STATUS_OK);
    page_item_apply(&item, shadow);
}

/* The frozen `page` becomes CLEAN; what changed goes into the delta and the undo record. */
static void capture_page(struct image *image, uint32_t page)
{
    struct page *entry = &image->pages[page];
    CHECK(entry->state == PAGE_FROZEN);
    const uint8_t *frame = image_frame(image, page);
    const uint8_t *captured = image_captured(image, page);
    size_t item_at = image->delta->items.bytes;
    uint32_t runs_before = image->delta->items.runs;
    if (delta_append_page(&image->delta->items, &image->undo->items, page, captured, frame)) {
        image->config.before_change(image->config.context, page, captured);
        image_set_hash(image, page, image_hash_or_zero(page, frame));
        if (entry->hash == 0) {
            image_shadow_release(image, page, false);
        } else if (entry->shadow != SHADOW_NONE) {
            update_shadow(image, frame, item_at, image->delta->items.runs - runs_before, image_shadow_content(image, entry->shadow));
        }
    }
    if (entry->shadow != SHADOW_NONE) {
        kept_append(image, entry->shadow);
    }
    entry->state = PAGE_CLEAN;
    image->frozen_left--;
}

enum status image_touch_write(struct image *image, uint32_t page)
{
    CHECK(page < image->pages_max);
    struct page *entry = &image->pages[page];
    if (entry->state == PAGE_DIRTY) {
        return STATUS_OK;
    }
    if (image->dirty_count == DIRTY_PAGES_MAX) {
        return STATUS_FULL;
    }
    if (entry->state == PAGE_ABSENT) {
        enum status status = image_add_page(image, page);
        if (status != STATUS_OK) {
            return status;
        }
    } else if (entry->state == PAGE_FROZEN) {
        capture_page(image, page);
    }
    if (entry->shadow != SHADOW_NONE) {
        kept_remove(image, entry->shadow);
    } else if (entry->hash != 0) {
        shadow_take(image, page);
        memcpy(image_shadow_content(image, entry->shadow), image_frame(image, page), REPLICATE_PAGE_BYTES);
    }
    entry->state = PAGE_DIRTY;
    image->dirty[image->dirty_count++] = page;
    image_protect_page(image, page);
    return STATUS_OK;
}

enum status image_touch_read(struct image *image, uint32_t page)
{
    CHECK(page < image->pages_max);
    return image->pages[page].state == PAGE_ABSENT ? image_add_page(image, page) : STATUS_OK;
}

static bool in_range(const struct image *image, uint64_t offset, size_t bytes)
{
    uint64_t end = (uint64_t)image->pages_max * REPLICATE_PAGE_BYTES;
    return offset <= end && bytes <= end - offset;
}

enum status image_write(struct image *image, uint64_t offset, const void *data, size_t bytes)
{
    if (!in_range(image, offset, bytes)) {
        return STATUS_INVALID;
    }
    if (bytes == 0) {
        return STATUS_OK;
    }
    uint32_t first = (uint32_t)(offset / REPLICATE_PAGE_BYTES), last = (uint32_t)((offset + bytes - 1) / REPLICATE_PAGE_BYTES);
    uint32_t fresh = 0;
    for (uint32_t page = first; page <= last; page++) {
        fresh += image->pages[page].state != PAGE_DIRTY;
    }
    if (fresh > DIRTY_PAGES_MAX - image->dirty_count) {
        return STATUS_FULL;
    }
    for (uint32_t page = first; page <= last; page++) {
        enum status status = image_touch_read(image, page);
        if (status != STATUS_OK) {
            return status;
        }
    }
    const uint8_t *at = data;
    for (uint32_t page = first; page <= last; page++) {
        enum status status = image_touch_write(image, page);
        CHECK(status == STATUS_OK);
        size_t in_page = offset % REPLICATE_PAGE_BYTES;
        size_t part = REPLICATE_PAGE_BYTES - in_page < bytes ? REPLICATE_PAGE_BYTES - in_page : bytes;
        memcpy(image_frame(image, page) + in_page, at, part);
        at += part;
        offset += part;
        bytes -= part;
    }
    return STATUS_OK;
}

enum status image_read(const struct image *image, uint64_t offset, void *data, size_t bytes)
{
    if (!in_range(image, offset, bytes)) {
        return STATUS_INVALID;
    }
    uint8_t *at = data;
    while (bytes > 0) {
        uint32_t page = (uint32_t)(offset / REPLICATE_PAGE_BYTES);
        size_t in_page = offset % REPLICATE_PAGE_BYTES;
        size_t part = REPLICATE_PAGE_BYTES - in_page < bytes ? REPLICATE_PAGE_BYTES - in_page : bytes;
        if (image->pages[page].state == PAGE_ABSENT) {
            memset(at, 0, part);
        } else {
            memcpy(at, image_frame(image, page) + in_page, part);
        }
        at += part;
        offset += part;
        bytes -= part;
    }
    return STATUS_OK;
}

uint32_t image_dirty_pages(const struct image *image)
{
    return image->dirty_count;
}

enum status image_freeze(struct image *image, struct delta_writer *delta, struct undo_record *undo)
{
    if (image->frozen_left > 0) {
        return STATUS_BUSY;
    }
    uint32_t *list = image->frozen;
    image->frozen = image->dirty;
    image->frozen_count = image->dirty_count;
    image->frozen_left = image->dirty_count;
    image->frozen_next = 0;
    image->dirty = list;
    image->dirty_count = 0;
    image->delta = delta;
    image->undo = undo;
    for (uint32_t i = 0; i < image->frozen_count; i++) {
        struct page *entry = &image->pages[image->frozen[i]];
        entry->state = PAGE_FROZEN;
        if (entry->rights == PAGE_WRITE) {
            image->machine->page_protect(image->machine->context, image->frozen[i], PAGE_READ);
        }
    }
    image_flush_rights(image);
    return STATUS_OK;
}

bool image_capture_step(struct image *image, uint32_t pages_max)
{
    while (pages_max > 0 && image->frozen_left > 0) {
        CHECK(image->frozen_next < image->frozen_count);
        uint32_t page = image->frozen[image->frozen_next++];
        if (image->pages[page].state == PAGE_FROZEN) {
            capture_page(image, page);
            pages_max--;
        }
    }
    return image->frozen_left == 0;
}

/* -- host: step-down -- */

static void restore_page(struct image *image, uint32_t page)
{
    struct page *entry = &image->pages[page];
    entry->state = PAGE_CLEAN;
    if (entry->hash == 0) {
        image_remove_page(image, page);
        return;
    }
    memcpy(image_frame(image, page), image_shadow_content(image, entry->shadow), REPLICATE_PAGE_BYTES);
    kept_append(image, entry->shadow);
    image_protect_page(image, page);
}

void image_undo_open(struct image *image)
{
    for (uint32_t i = 0; i < image->dirty_count; i++) {
        restore_page(image, image->dirty[i]);
    }
    image->dirty_count = 0;
    for (uint32_t i = image->frozen_next; i < image->frozen_count; i++) {
        if (image->pages[image->frozen[i]].state == PAGE_FROZEN) {
            restore_page(image, image->frozen[i]);
        }
    }
    image->frozen_count = 0;
    image->frozen_next = 0;
    image->frozen_left = 0;
    image->delta = NULL;
    image->undo = NULL;
    image_flush_rights(image);
}
