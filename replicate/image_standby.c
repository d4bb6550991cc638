/* The standby's side of an image: complete deltas and whole pages. Also takes captured epochs back on a host that steps down. */
#include "replicate/image_private.h"

#include <string.h>

#include "include/check.h"
#include "replicate/delta.h"

/* The captured content of the CLEAN or ABSENT `page` is about to change. */
static void begin_change(struct image *image, uint32_t page)
{
    image->config.before_change(image->config.context, page, image_captured(image, page));
    image_shadow_release(image, page, true);
}

static void make_absent(struct image *image, uint32_t page)
{
    if (image->pages[page].state == PAGE_ABSENT) {
        return;
    }
    begin_change(image, page);
    image_set_hash(image, page, 0);
    image_remove_page(image, page);
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
            status = image_add_page(image, item.page);
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
            image_remove_page(image, item.page);
        }
    }
    image_flush_rights(image);
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

enum status image_scrub_items(const struct image *image, const uint8_t *items, size_t bytes)
{
    size_t offset = 0;
    struct page_item item;
    while (page_item_next(items, bytes, image->pages_max, &offset, &item) == STATUS_OK) {
        if (image_scrub_page(image, item.page) != STATUS_OK) {
            return STATUS_CORRUPT;
        }
    }
    return STATUS_OK;
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
        uint8_t *frame = image_frame(image, item.page);
        page_item_apply(&item, frame);
        image_set_hash(image, item.page, image_hash_or_zero(item.page, frame));
    }
    image_flush_rights(image);
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
        image_flush_rights(image);
        return STATUS_OK;
    }
    enum status status = image_touch_read(image, page);
    if (status != STATUS_OK) {
        return status;
    }
    begin_change(image, page);
    memcpy(image_frame(image, page), content, REPLICATE_PAGE_BYTES);
    image_set_hash(image, page, image_hash_or_zero(page, content));
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
    image_flush_rights(image);
}

void image_refresh_rights(struct image *image)
{
    CHECK(image->dirty_count == 0);
    CHECK(image->frozen_left == 0);
    for (uint32_t page = 0; page < image->pages_max; page++) {
        if (image->pages[page].state != PAGE_ABSENT) {
            image->pages[page].rights = (uint8_t)image->config.segment_rights(image->config.context, page);
            image_protect_page(image, page);
        }
    }
    image_flush_rights(image);
}
