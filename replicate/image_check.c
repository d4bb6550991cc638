#include "replicate/image_private.h"

#include <string.h>

#include "include/check.h"

static void check_page(const struct image *image, uint32_t page)
{
    const struct page *entry = &image->pages[page];
    const uint8_t *frame = image_frame(image, page);
    CHECK((entry->state == PAGE_ABSENT) == (frame == NULL));
    CHECK(entry->hash != 0 || entry->shadow == SHADOW_NONE);
    CHECK(entry->state != PAGE_ABSENT || entry->hash == 0);
    CHECK(entry->shadow == SHADOW_NONE || image->shadows[entry->shadow].page == page);
    CHECK(image_scrub_page(image, page) == STATUS_OK);
    if (entry->state == PAGE_CLEAN && entry->shadow != SHADOW_NONE) {
        CHECK(memcmp(frame, image_shadow_content(image, entry->shadow), REPLICATE_PAGE_BYTES) == 0);
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
