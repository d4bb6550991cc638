/* Giving the current checkpoint to a peer, and taking one from a peer. */
#include <string.h>

#include "include/check.h"
#include "replicate/store_private.h"

/* -- giving -- */

void store_pin(struct store *store)
{
    store_unpin(store);
    memcpy(store->pinned, store->current.pages, store->pages_max * sizeof *store->pinned);
    for (uint32_t page = 0; page < store->pages_max; page++) {
        if (store->pinned[page].slot != 0) {
            slot_mark(store, store->pinned[page].slot, SLOT_PINNED);
        }
    }
    store->pinned_checkpoint = store->checkpoint;
    store->pin = true;
}

void store_unpin(struct store *store)
{
    if (!store->pin) {
        return;
    }
    for (uint32_t page = 0; page < store->pages_max; page++) {
        if (store->pinned[page].slot != 0) {
            slot_unmark(store, store->pinned[page].slot, SLOT_PINNED);
        }
    }
    store->pin = false;
}

const struct checkpoint *store_pinned(const struct store *store)
{
    return store->pin ? &store->pinned_checkpoint : NULL;
}

uint64_t store_pinned_hash(const struct store *store, uint32_t page)
{
    return store->pin && page < store->pages_max ? store->pinned[page].hash : 0;
}

enum status store_pinned_page(struct store *store, uint32_t page, struct sealed_page *out)
{
    if (store_pinned_hash(store, page) == 0) {
        return STATUS_NOT_FOUND;
    }
    const struct store_page_reference *reference = &store->pinned[page];
    enum status status =
        store->machine->block_read(store->machine->context, store_slot_offset(store, reference->slot), store->read_buffer, STORE_BLOCK_BYTES);
    struct seal_context context = seal_context_page(WORLD_NUMBER, page);
    if (status == STATUS_OK) {
        status = seal_verify_body(store->config.keys, &context, reference->nonce, store->read_buffer, STORE_BLOCK_BYTES, reference->tag);
    }
    if (status != STATUS_OK) {
        return status;
    }
    *out = (struct sealed_page){.page = page, .hash = reference->hash};
    memcpy(out->nonce, reference->nonce, sizeof out->nonce);
    memcpy(out->tag, reference->tag, sizeof out->tag);
    memcpy(out->cipher, store->read_buffer, STORE_BLOCK_BYTES);
    return STATUS_OK;
}

/* -- taking -- */

static enum status check_manifest(const struct store *store, const struct checkpoint *checkpoint, const uint64_t *hashes)
{
    if (checkpoint->member_count > DISK_MEMBERS_MAX) {
        return STATUS_INVALID;
    }
    uint64_t digest = 0;
    for (uint32_t page = 0; page < store->pages_max; page++) {
        digest += hashes[page];
    }
    if (checkpoint->epoch == 0) {
        static const struct world_record nothing;
        bool empty = digest == 0 && checkpoint->digest == 0 && memcmp(&checkpoint->record, &nothing, sizeof nothing) == 0;
        return empty ? STATUS_OK : STATUS_INVALID;
    }
    if (world_record_check(&checkpoint->record, (uint64_t)store->pages_max * STORE_BLOCK_BYTES) != STATUS_OK ||
        checkpoint->record.epoch != checkpoint->epoch) {
        return STATUS_INVALID;
    }
    return digest + world_record_hash(&checkpoint->record) == checkpoint->digest ? STATUS_OK : STATUS_INVALID;
}

/* Is the page in `next` what the manifest wants? */
static bool page_there(const struct store *store, uint32_t page)
{
    return store->next.pages[page].hash == store->wanted[page];
}

/* Keep of `next` and `current` what matches; the rest is missing. */
static void choose_pages(struct store *store)
{
    store->missing_left = 0;
    for (uint32_t page = 0; page < store->pages_max; page++) {
        if (!page_there(store, page)) {
            const struct store_page_reference *held = &store->current.pages[page];
            map_set_next(store, page, held->hash == store->wanted[page] && held->slot != 0 ? held : NULL);
        }
        if (!page_there(store, page)) {
            store->missing_left++;
        }
    }
}

enum status store_install_begin(struct store *store, const struct checkpoint *checkpoint, const uint64_t *hashes)
{
    bool restart = store->phase == PHASE_PULL;
    if ((store->phase != PHASE_IDLE && !restart) || store->control_under_way) {
        return STATUS_BUSY;
    }
    if (store->superblock_uncertain) {
        return STATUS_IO_ERROR;
    }
    enum status status = check_manifest(store, checkpoint, hashes);
    if (status != STATUS_OK) {
        return status;
    }
    store->phase = PHASE_PULL;
    store->installing = true;
    if (!restart) {
        store->write_failed = false;
        store->copies_overflowed = false;
    }
    store->next_step_ns = 0;
    store->next_checkpoint = *checkpoint;
    memcpy(store->wanted, hashes, store->pages_max * sizeof *store->wanted);
    choose_pages(store);
    uint32_t nodes = 1;
    for (uint32_t level = 0; level < store->levels; level++) {
        nodes += store->node_count[level];
    }
    if (store->missing_left + nodes > store->free_slots) {
        commit_abort(store);
        return STATUS_NO_SPACE;
    }
    return STATUS_OK;
}

uint32_t store_install_missing(struct store *store, uint32_t *cursor, uint32_t *pages, uint32_t max)
{
    uint32_t count = 0;
    while (store->phase == PHASE_PULL && *cursor < store->pages_max && count < max) {
        if (!page_there(store, *cursor)) {
            pages[count++] = *cursor;
        }
        (*cursor)++;
    }
    return count;
}

enum status store_install_page(struct store *store, const struct sealed_page *page)
{
    if (store->phase != PHASE_PULL || page->page >= store->pages_max || page->hash == 0 || store->wanted[page->page] != page->hash) {
        return STATUS_STALE;
    }
    if (page_there(store, page->page)) {
        return STATUS_OK;
    }
    if (!store_block_room(store)) {
        store_blocks_submit(store);
        return STATUS_FULL;
    }
    struct seal_context context = seal_context_page(WORLD_NUMBER, page->page);
    if (seal_open_body(store->config.keys, &context, page->nonce, page->cipher, STORE_BLOCK_BYTES, page->tag, store->scratch) != STATUS_OK ||
        image_hash_content(page->page, store->scratch) != page->hash) {
        return STATUS_CORRUPT;
    }
    struct store_page_reference reference = {.hash = page->hash};
    uint8_t *buffer = store_block_take(store, &reference.slot);
    CHECK(buffer != NULL);
    memcpy(buffer, page->cipher, STORE_BLOCK_BYTES);
    memcpy(reference.nonce, page->nonce, sizeof reference.nonce);
    memcpy(reference.tag, page->tag, sizeof reference.tag);
    map_set_next(store, page->page, &reference);
    store->missing_left--;
    store_blocks_submit(store);
    return STATUS_OK;
}

uint32_t store_install_left(const struct store *store)
{
    return store->phase == PHASE_PULL ? store->missing_left : 0;
}

static enum status pull_step(struct store *store)
{
    store_blocks_submit(store);
    if (store->missing_left == 0) {
        store_blocks_end(store);
        commit_begin(store);
    }
    return STATUS_OK;
}

enum status store_install_step(struct store *store)
{
    if (store->phase == PHASE_IDLE || !store->installing) {
        return STATUS_EMPTY;
    }
    uint64_t begun_ns = store_now_ns(store);
    if (begun_ns < store->next_step_ns) {
        return STATUS_OK;
    }
    enum status status;
    if (store->write_failed) {
        status = STATUS_IO_ERROR;
    } else {
        status = store->phase == PHASE_PULL ? pull_step(store) : commit_step(store);
    }
    store->next_step_ns = begun_ns + replicate_step_ns(begun_ns, store_now_ns(store)) * STORE_PACE;
    if (status != STATUS_OK && status != STATUS_EMPTY) {
        commit_abort(store);
    }
    return status;
}

void store_install_abort(struct store *store)
{
    if (store->installing && store->phase != PHASE_IDLE && store->phase <= PHASE_SETTLE) {
        commit_abort(store);
    }
}
