/* Inside of replicate/image: shared by image.c (content, host), image_standby.c and image_check.c alone. */
#ifndef EIDOLON_REPLICATE_IMAGE_PRIVATE_H
#define EIDOLON_REPLICATE_IMAGE_PRIVATE_H

#include "replicate/image.h"

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

/* The frame of a present page; NULL: absent. */
uint8_t *image_frame(const struct image *image, uint32_t page);
uint8_t *image_shadow_content(const struct image *image, uint32_t shadow);
/* Give the shadow of `page`, if any, back; `kept`: it stands in the kept list. */
void image_shadow_release(struct image *image, uint32_t page, bool kept);
/* Set the machine's rights from segment and state: the world may write only to DIRTY pages. */
void image_protect_page(struct image *image, uint32_t page);
void image_flush_rights(struct image *image);
/* ABSENT -> CLEAN, zero. NO_MEMORY. */
MUST_CHECK enum status image_add_page(struct image *image, uint32_t page);
/* CLEAN -> ABSENT; its hash and shadow are gone already. */
void image_remove_page(struct image *image, uint32_t page);
/* The captured content has changed to one of hash `hash`. */
void image_set_hash(struct image *image, uint32_t page, uint64_t hash);
/* Hash of `content`, 0 if it is all zero. */
uint64_t image_hash_or_zero(uint32_t page, const uint8_t *content);

#endif
