/* Making a checkpoint of an image. A page that changes before it was sealed is copied out at once (store_page_changing); if more change than
 * there is room for, the attempt ends and the next one starts over: its cost is bounded, the old checkpoint is intact. */
#include <string.h>

#include "include/check.h"
#include "replicate/store_private.h"

static bool page_differs(const struct store *store, const struct image *image, uint32_t page)
{
    return image_page_hash(image, page) != store->current.pages[page].hash;
}

/* What a checkpoint of `image` would write, in slots. */
static uint32_t slots_needed(struct store *store, const struct image *image)
{
    uint32_t pages = 0;
    map_unmark_all(store);
    for (uint32_t page = 0; page < store->pages_max; page++) {
        if (page_differs(store, image, page)) {
            pages += image_page_hash(image, page) != 0;
            bit_set(store->changed_nodes[0], page / STORE_FANOUT);
        }
    }
    return pages + map_mark_parents(store) + 1;
}

enum status store_checkpoint_begin(struct store *store, struct image *image, const struct checkpoint *checkpoint)
{
    if (store->phase != PHASE_IDLE || store->control_under_way) {
        return STATUS_BUSY;
    }
    if (store->superblock_uncertain) {
        return STATUS_IO_ERROR;
    }
    if (slots_needed(store, image) > store->free_slots) {
        return STATUS_NO_SPACE;
    }
    for (uint32_t page = 0; page < store->pages_max; page++) {
        if (!page_differs(store, image, page)) {
            continue;
        }
        map_set_next(store, page, NULL);
        if (image_page_hash(image, page) != 0) {
            store->wanted[page] = image_page_hash(image, page);
            bit_set(store->unwritten, page);
            store->unwritten_left++;
        }
    }
    store->unwritten_cursor = 0;
    store->copied_put = store->copied_taken = 0;
    store->copies_overflowed = false;
    store->write_failed = false;
    store->next_checkpoint = *checkpoint;
    store->image = image;
    store->installing = false;
    store->next_step_ns = 0;
    store->phase = PHASE_PAGES;
    return STATUS_OK;
}

void store_page_changing(void *context, uint32_t page, const uint8_t *captured)
{
    struct store *store = context;
    if (store->phase != PHASE_PAGES || store->copies_overflowed || !bit_get(store->unwritten, page)) {
        return;
    }
    CHECK(captured != NULL);
    if (store->copied_put - store->copied_taken == STORE_COPIES_MAX) {
        store->copies_overflowed = true;
        return;
    }
    uint32_t at = store->copied_put++ % STORE_COPIES_MAX;
    store->copied_page[at] = page;
    memcpy(store->copies + (size_t)at * STORE_BLOCK_BYTES, captured, STORE_BLOCK_BYTES);
    bit_clear(store->unwritten, page);
    store->unwritten_left--;
}

/* Seal one page into a slot. CORRUPT: the content is not what was hashed. FULL: no room for a block now. */
static enum status seal_page(struct store *store, uint32_t page, const uint8_t *content)
{
    if (content == NULL || image_hash_content(page, content) != store->wanted[page]) {
        return STATUS_CORRUPT;
    }
    struct store_page_reference reference = {.hash = store->wanted[page]};
    uint8_t *buffer = store_block_take(store, &reference.slot);
    if (buffer == NULL) {
        return STATUS_FULL;
    }
    struct seal_context context = seal_context_page(WORLD_NUMBER, page);
    store->machine->entropy(store->machine->context, reference.nonce, sizeof reference.nonce);
    seal_body(store->config.keys, &context, reference.nonce, content, STORE_BLOCK_BYTES, buffer, reference.tag);
    map_set_next(store, page, &reference);
    return STATUS_OK;
}

/* The next page: copies first, their room is scarce. EMPTY: none is left. */
static enum status seal_next_page(struct store *store)
{
    if (store->copied_taken != store->copied_put) {
        uint32_t at = store->copied_taken % STORE_COPIES_MAX;
        enum status status = seal_page(store, store->copied_page[at], store->copies + (size_t)at * STORE_BLOCK_BYTES);
        store->copied_taken += status == STATUS_OK;
        return status;
    }
    if (store->unwritten_left == 0) {
        return STATUS_EMPTY;
    }
    uint32_t page = store->unwritten_cursor;
    while (!bit_get(store->unwritten, page)) {
        page = page % 64 == 0 && store->unwritten[page / 64] == 0 ? page + 64 : page + 1;
        CHECK(page < store->pages_max);
    }
    store->unwritten_cursor = page;
    enum status status = seal_page(store, page, image_captured(store->image, page));
    if (status == STATUS_OK) {
        bit_clear(store->unwritten, page);
        store->unwritten_left--;
    }
    return status;
}

static void abort_checkpoint(struct store *store)
{
    memset(store->unwritten, 0, bit_words(store->pages_max) * sizeof(uint64_t));
    store->unwritten_left = 0;
    commit_abort(store);
}

static enum status pages_step(struct store *store)
{
    enum status status = STATUS_OK;
    for (uint32_t i = 0; i < STORE_STEP_BLOCKS && status == STATUS_OK; i++) {
        status = seal_next_page(store);
    }
    store_blocks_submit(store);
    if (status == STATUS_EMPTY) {
        commit_begin(store);
    }
    return status == STATUS_CORRUPT ? STATUS_CORRUPT : STATUS_OK;
}

enum status store_checkpoint_step(struct store *store)
{
    if (!store_checkpointing(store)) {
        return STATUS_EMPTY;
    }
    uint64_t begun_ns = store_now_ns(store);
    if (begun_ns < store->next_step_ns) {
        return STATUS_OK;
    }
    enum status status;
    if (store->write_failed) {
        status = STATUS_IO_ERROR;
    } else if (store->copies_overflowed) {
        status = STATUS_FULL;
    } else if (store->phase == PHASE_PAGES) {
        status = pages_step(store);
    } else {
        status = commit_step(store);
    }
    store->next_step_ns = begun_ns + replicate_step_ns(begun_ns, store_now_ns(store)) * (store->hurry ? STORE_PACE_HURRY : STORE_PACE);
    if (status != STATUS_OK && status != STATUS_EMPTY) {
        abort_checkpoint(store);
    }
    return status;
}

void store_hurry(struct store *store, bool hurry)
{
    store->hurry = hurry;
}

bool store_checkpointing(const struct store *store)
{
    return store->phase != PHASE_IDLE && !store->installing;
}

/* Could a step do anything now, apart from pace? */
static bool step_possible(const struct store *store)
{
    if (store->write_failed || store->copies_overflowed) {
        return true;
    }
    switch (store->phase) {
    case PHASE_IDLE:
        return false;
    case PHASE_PULL:
        return store->missing_left == 0;
    case PHASE_PAGES:
    case PHASE_NODES:
        return store_block_room(store);
    case PHASE_SETTLE:
        return store->writes_under_way == 0;
    case PHASE_FLUSH:
    case PHASE_SUPERBLOCK:
    case PHASE_SEAL:
        return !store->control_under_way;
    }
    return false;
}

uint64_t store_deadline_ns(const struct store *store)
{
    if (store->phase == PHASE_IDLE || !step_possible(store)) {
        return UINT64_MAX;
    }
    return store->next_step_ns;
}
