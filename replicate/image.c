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
 *   CLEAN, ABSENT  delta, undo of an epoch  CLEAN     replace_content (or ABSENT) */
#include "replicate/image.h"

#include <string.h>

#include "include/abi.h"
#include "include/check.h"
#include "replicate/delta.h"

enum page_state { PAGE_ABSENT, PAGE_CLEAN, PAGE_DIRTY, PAGE_FROZEN };

#define SHADOW_NONE UINT32_MAX

struct page {
    uint64_t hash;
    uint32_t shadow;            /* in the pool, or SHADOW_NONE */
    uint32_t stamp;             /* of the last check pass that met this page */
    uint8_t state;
    uint8_t rights;             /* of its segment */
};

/* A shadow is free, in use by a DIRTY or FROZEN page, or kept for a CLEAN one (then it is in the kept list). */
struct shadow {
    uint32_t page;
    uint32_t previous, next;    /* in the kept list, or `next` in the free list */
};

struct image {
    const struct machine *machine;
    struct image_config config;
    struct page *pages;
    uint32_t pages_max;
    uint32_t present;
    uint32_t stamp;
    uint64_t digest;

    uint32_t *dirty;
    uint32_t dirty_count;
    uint32_t *frozen;
    uint32_t frozen_count, frozen_next, frozen_left;
    struct delta_writer *delta; /* of the frozen epoch */
    struct undo_record *undo;

    struct shadow *shadows;
    uint8_t *shadow_pages;
    uint32_t shadow_free;
    uint32_t kept_oldest, kept_newest;
};

static_assert((int)REPLICATE_PAGE_BYTES == (int)ABI_PAGE_BYTES, "one page size");

static const uint8_t zero_page[REPLICATE_PAGE_BYTES];

static uint8_t *frame_of(const struct image *image, uint32_t page)
{
    return image->machine->page_frame(image->machine->context, page);
}

static uint8_t *shadow_content(const struct image *image, uint32_t shadow)
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

/* Give the shadow of `page` back; `kept`: it stands in the kept list. */
static void shadow_release(struct image *image, uint32_t page, bool kept)
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

/* The world may write only to DIRTY pages; the rest of its rights come from the segment. */
static void protect_page(struct image *image, uint32_t page)
{
    const struct page *entry = &image->pages[page];
    enum page_rights rights = (enum page_rights)entry->rights;
    if (rights == PAGE_WRITE && entry->state != PAGE_DIRTY) {
        rights = PAGE_READ;
    }
    image->machine->page_protect(image->machine->context, page, rights);
}

static void flush_rights(struct image *image)
{
    image->machine->pages_flush(image->machine->context);
}

static enum status add_page(struct image *image, uint32_t page)
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
    protect_page(image, page);
    return STATUS_OK;
}

static void remove_page(struct image *image, uint32_t page)
{
    image->machine->page_remove(image->machine->context, page);
    image->pages[page].state = PAGE_ABSENT;
    image->present--;
}

/* -- content -- */

static void set_hash(struct image *image, uint32_t page, uint64_t hash)
{
    image->digest += hash - image->pages[page].hash;
    image->pages[page].hash = hash;
}

static uint64_t hash_of(uint32_t page, const uint8_t *content)
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
    return entry->shadow != SHADOW_NONE ? shadow_content(image, entry->shadow) : frame_of(image, page);
}

uint64_t image_page_hash(const struct image *image, uint32_t page)
{
    return image->pages[page].hash;
}

uint64_t image_digest(const struct image *image)
{
    return image->digest;
}

enum status image_scrub_page(const struct image *image, uint32_t page)
{
    const struct page *entry = &image->pages[page];
    if (entry->state == PAGE_ABSENT) {
        return STATUS_OK;
    }
    if (entry->state == PAGE_CLEAN) {
        return hash_of(page, frame_of(image, page)) == entry->hash ? STATUS_OK : STATUS_CORRUPT;
    }
    if (entry->hash == 0) {
        return STATUS_OK;
    }
    return hash_of(page, shadow_content(image, entry->shadow)) == entry->hash ? STATUS_OK : STATUS_CORRUPT;
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

/* The frozen `page` becomes CLEAN; what changed goes into the delta and the undo record. */
static void capture_page(struct image *image, uint32_t page)
{
    struct page *entry = &image->pages[page];
    CHECK(entry->state == PAGE_FROZEN);
    const uint8_t *frame = frame_of(image, page);
    const uint8_t *captured = image_captured(image, page);
    if (delta_append_page(&image->delta->items, &image->undo->items, page, captured, frame)) {
        image->config.before_change(image->config.context, page, captured);
        set_hash(image, page, hash_of(page, frame));
        if (entry->hash == 0) {
            shadow_release(image, page, false);
        } else if (entry->shadow != SHADOW_NONE) {
            memcpy(shadow_content(image, entry->shadow), frame, REPLICATE_PAGE_BYTES);
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
        enum status status = add_page(image, page);
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
        memcpy(shadow_content(image, entry->shadow), frame_of(image, page), REPLICATE_PAGE_BYTES);
    }
    entry->state = PAGE_DIRTY;
    image->dirty[image->dirty_count++] = page;
    protect_page(image, page);
    return STATUS_OK;
}

enum status image_touch_read(struct image *image, uint32_t page)
{
    CHECK(page < image->pages_max);
    return image->pages[page].state == PAGE_ABSENT ? add_page(image, page) : STATUS_OK;
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
        memcpy(frame_of(image, page) + in_page, at, part);
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
            memcpy(at, frame_of(image, page) + in_page, part);
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
    flush_rights(image);
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

bool image_capturing(const struct image *image)
{
    return image->frozen_left > 0;
}

/* -- host: step-down -- */

static void restore_page(struct image *image, uint32_t page)
{
    struct page *entry = &image->pages[page];
    entry->state = PAGE_CLEAN;
    if (entry->hash == 0) {
        remove_page(image, page);
        return;
    }
    memcpy(frame_of(image, page), shadow_content(image, entry->shadow), REPLICATE_PAGE_BYTES);
    kept_append(image, entry->shadow);
    protect_page(image, page);
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
    flush_rights(image);
}

/* -- standby -- */

/* The captured content of the CLEAN or ABSENT `page` is about to change. */
static void begin_change(struct image *image, uint32_t page)
{
    image->config.before_change(image->config.context, page, image_captured(image, page));
    shadow_release(image, page, true);
}

static void make_absent(struct image *image, uint32_t page)
{
    if (image->pages[page].state == PAGE_ABSENT) {
        return;
    }
    begin_change(image, page);
    set_hash(image, page, 0);
    remove_page(image, page);
}

/* Frames for all pages that an item will write to. NO_MEMORY: those added are taken away again. */
static enum status add_item_pages(struct image *image, const uint8_t *items, size_t bytes)
{
    size_t offset = 0;
    struct page_item item;
    enum status status = STATUS_OK;
    size_t failed_at = 0;
    while (page_item_next(items, bytes, image->pages_max, &offset, &item) == STATUS_OK) {
        if (item.kind != DELTA_KIND_ZERO && image->pages[item.page].state == PAGE_ABSENT) {
            status = add_page(image, item.page);
            if (status != STATUS_OK) {
                failed_at = offset;
                break;
            }
            image->pages[item.page].stamp = UINT32_MAX; /* added here */
        }
    }
    if (status == STATUS_OK) {
        return STATUS_OK;
    }
    offset = 0;
    while (offset < failed_at && page_item_next(items, bytes, image->pages_max, &offset, &item) == STATUS_OK) {
        if (image->pages[item.page].stamp == UINT32_MAX && image->pages[item.page].state == PAGE_CLEAN) {
            remove_page(image, item.page);
        }
    }
    flush_rights(image);
    return status;
}

/* Every item well-formed, no page twice. */
static enum status check_items(struct image *image, const uint8_t *items, size_t bytes)
{
    if (++image->stamp == UINT32_MAX) {
        image->stamp = 1;
        for (uint32_t page = 0; page < image->pages_max; page++) {
            image->pages[page].stamp = 0;
        }
    }
    size_t offset = 0;
    struct page_item item;
    enum status status;
    while ((status = page_item_next(items, bytes, image->pages_max, &offset, &item)) == STATUS_OK) {
        if (image->pages[item.page].stamp == image->stamp) {
            return STATUS_INVALID;
        }
        image->pages[item.page].stamp = image->stamp;
    }
    return status == STATUS_EMPTY ? STATUS_OK : status;
}

enum status image_apply(struct image *image, const uint8_t *items, size_t bytes)
{
    CHECK(image->dirty_count == 0);
    CHECK(image->frozen_left == 0);
    enum status status = check_items(image, items, bytes);
    if (status == STATUS_OK) {
        status = add_item_pages(image, items, bytes);
    }
    if (status != STATUS_OK) {
        return status;
    }
    size_t offset = 0;
    struct page_item item;
    while (page_item_next(items, bytes, image->pages_max, &offset, &item) == STATUS_OK) {
        if (item.kind == DELTA_KIND_ZERO) {
            make_absent(image, item.page);
            continue;
        }
        begin_change(image, item.page);
        uint8_t *frame = frame_of(image, item.page);
        page_item_apply(&item, frame);
        set_hash(image, item.page, hash_of(item.page, frame));
    }
    flush_rights(image);
    return STATUS_OK;
}

void image_undo_epoch(struct image *image, const struct undo_record *undo)
{
    enum status status = image_apply(image, undo->items.buffer, undo->items.bytes);
    CHECK(status == STATUS_OK);
}

enum status image_put_page(struct image *image, uint32_t page, const uint8_t *content)
{
    CHECK(page < image->pages_max);
    CHECK(image->pages[page].state == PAGE_ABSENT || image->pages[page].state == PAGE_CLEAN);
    if (content == NULL) {
        make_absent(image, page);
        flush_rights(image);
        return STATUS_OK;
    }
    enum status status = image_touch_read(image, page);
    if (status != STATUS_OK) {
        return status;
    }
    begin_change(image, page);
    memcpy(frame_of(image, page), content, REPLICATE_PAGE_BYTES);
    set_hash(image, page, hash_of(page, content));
    return STATUS_OK;
}

void image_clear(struct image *image)
{
    image_undo_open(image);
    for (uint32_t page = 0; page < image->pages_max; page++) {
        if (image->pages[page].state != PAGE_ABSENT) {
            make_absent(image, page);
        }
    }
    flush_rights(image);
}

void image_refresh_rights(struct image *image)
{
    CHECK(image->dirty_count == 0);
    CHECK(image->frozen_left == 0);
    for (uint32_t page = 0; page < image->pages_max; page++) {
        if (image->pages[page].state != PAGE_ABSENT) {
            image->pages[page].rights = (uint8_t)image->config.segment_rights(image->config.context, page);
            protect_page(image, page);
        }
    }
    flush_rights(image);
}

uint32_t image_present_pages(const struct image *image)
{
    return image->present;
}

/* -- check -- */

static void check_page(const struct image *image, uint32_t page)
{
    const struct page *entry = &image->pages[page];
    const uint8_t *frame = frame_of(image, page);
    CHECK((entry->state == PAGE_ABSENT) == (frame == NULL));
    CHECK(entry->hash != 0 || entry->shadow == SHADOW_NONE);
    CHECK(entry->state != PAGE_ABSENT || entry->hash == 0);
    CHECK(entry->shadow == SHADOW_NONE || image->shadows[entry->shadow].page == page);
    CHECK(image_scrub_page(image, page) == STATUS_OK);
    if (entry->state == PAGE_CLEAN && entry->shadow != SHADOW_NONE) {
        CHECK(memcmp(frame, shadow_content(image, entry->shadow), REPLICATE_PAGE_BYTES) == 0);
    }
    if (entry->state == PAGE_DIRTY || entry->state == PAGE_FROZEN) {
        CHECK(entry->hash == 0 || entry->shadow != SHADOW_NONE);
    }
}

void image_check(const struct image *image)
{
    uint64_t digest = 0;
    uint32_t counts[PAGE_FROZEN + 1] = {0};
    uint32_t kept = 0;
    for (uint32_t page = 0; page < image->pages_max; page++) {
        check_page(image, page);
        digest += image->pages[page].hash;
        counts[image->pages[page].state]++;
        kept += image->pages[page].state == PAGE_CLEAN && image->pages[page].shadow != SHADOW_NONE;
    }
    CHECK(digest == image->digest);
    CHECK(counts[PAGE_DIRTY] == image->dirty_count);
    CHECK(counts[PAGE_FROZEN] == image->frozen_left);
    CHECK(image->pages_max - counts[PAGE_ABSENT] == image->present);
    for (uint32_t i = 0; i < image->dirty_count; i++) {
        CHECK(image->pages[image->dirty[i]].state == PAGE_DIRTY);
    }
    uint32_t frozen = 0;
    for (uint32_t i = image->frozen_next; i < image->frozen_count; i++) {
        frozen += image->pages[image->frozen[i]].state == PAGE_FROZEN;
    }
    CHECK(frozen == image->frozen_left);
    uint32_t listed = 0;
    for (uint32_t shadow = image->kept_oldest; shadow != SHADOW_NONE; shadow = image->shadows[shadow].next) {
        CHECK(image->pages[image->shadows[shadow].page].state == PAGE_CLEAN);
        listed++;
        CHECK(listed <= SHADOW_PAGES_MAX);
    }
    CHECK(listed == kept);
}
