/* Slots and the writes into them. */
#include <string.h>

#include "include/check.h"
#include "replicate/store_private.h"

uint64_t store_slot_offset(const struct store *store, uint32_t slot)
{
    return store->superblock.store_offset + (uint64_t)(slot - 1) * STORE_BLOCK_BYTES;
}

void slot_mark(struct store *store, uint32_t slot, enum slot_flag flag)
{
    CHECK(slot >= 1);
    CHECK(slot <= store->slot_count);
    if (store->slot_flags[slot] == 0) {
        store->free_slots--;
    }
    store->slot_flags[slot] |= (uint8_t)flag;
}

void slot_unmark(struct store *store, uint32_t slot, enum slot_flag flag)
{
    CHECK(slot >= 1);
    CHECK(slot <= store->slot_count);
    CHECK((store->slot_flags[slot] & flag) != 0);
    store->slot_flags[slot] &= (uint8_t)~flag;
    if (store->slot_flags[slot] == 0) {
        store->free_slots++;
    }
}

void slots_clear(struct store *store)
{
    store->free_slots = 0;
    for (uint32_t slot = 1; slot <= store->slot_count; slot++) {
        store->slot_flags[slot] &= SLOT_MOVING;
        store->free_slots += store->slot_flags[slot] == 0;
    }
}

static struct store_batch *free_batch(const struct store *store)
{
    for (uint32_t i = 0; i < STORE_REQUESTS_MAX; i++) {
        if (store->batches[i].state == BATCH_FREE) {
            return (struct store_batch *)&store->batches[i];
        }
    }
    return NULL;
}

static bool filling_has_room(const struct store *store)
{
    return store->filling != NULL && store->filling->used < store->filling->slots;
}

bool store_block_room(const struct store *store)
{
    return filling_has_room(store) || (store->free_slots > 0 && free_batch(store) != NULL);
}

/* Take a run of consecutive free slots, from the cursor on: what is written together is read together. */
static void take_run(struct store *store, struct store_batch *batch)
{
    uint32_t slot = store->slot_cursor;
    for (uint32_t looked = 0; looked < store->slot_count && (slot < 1 || slot > store->slot_count || store->slot_flags[slot] != 0); looked++) {
        slot = slot >= store->slot_count ? 1 : slot + 1;
    }
    CHECK(slot >= 1);
    CHECK(slot <= store->slot_count);
    CHECK(store->slot_flags[slot] == 0);
    batch->first_slot = slot;
    batch->slots = 0;
    batch->used = 0;
    while (batch->slots < STORE_BATCH_BLOCKS && slot <= store->slot_count && store->slot_flags[slot] == 0) {
        slot_mark(store, slot, SLOT_MOVING);
        batch->slots++;
        slot++;
    }
    store->slot_cursor = slot;
}

static void batch_end(struct store *store, struct store_batch *batch)
{
    for (uint32_t i = 0; i < batch->used; i++) {
        slot_unmark(store, batch->first_slot + i, SLOT_MOVING);
    }
    batch->state = BATCH_FREE;
    store->writes_under_way--;
}

static void batch_done(struct block_request *request, enum status status)
{
    struct store_batch *batch = request->context;
    if (status != STATUS_OK) {
        batch->store->write_failed = true;
    }
    batch_end(batch->store, batch);
}

void store_blocks_submit(struct store *store)
{
    if (store->filling != NULL && !filling_has_room(store)) {
        store_blocks_end(store);
    }
    for (uint32_t i = 0; i < STORE_REQUESTS_MAX; i++) {
        struct store_batch *batch = &store->batches[i];
        if (batch->state != BATCH_READY) {
            continue;
        }
        batch->request = (struct block_request){
            .operation = BLOCK_WRITE,
            .offset = store_slot_offset(store, batch->first_slot),
            .buffer = batch->buffer,
            .bytes = (size_t)batch->used * STORE_BLOCK_BYTES,
            .done = batch_done,
            .context = batch,
        };
        enum status status = store->machine->block_submit(store->machine->context, &batch->request);
        if (status == STATUS_FULL) {
            return;
        }
        batch->state = BATCH_UNDER_WAY;
        store->written_bytes += batch->request.bytes;
        if (status != STATUS_OK) {
            batch_done(&batch->request, status);
        }
    }
}

void store_blocks_end(struct store *store)
{
    struct store_batch *batch = store->filling;
    if (batch == NULL) {
        return;
    }
    for (uint32_t i = batch->used; i < batch->slots; i++) {
        slot_unmark(store, batch->first_slot + i, SLOT_MOVING);
    }
    store->slot_cursor = batch->first_slot + batch->used;
    batch->slots = batch->used;
    batch->state = BATCH_READY;
    store->filling = NULL;
    store->writes_under_way++;
    store_blocks_submit(store);
}

void store_blocks_drop(struct store *store)
{
    store_blocks_end(store);
    for (uint32_t i = 0; i < STORE_REQUESTS_MAX; i++) {
        if (store->batches[i].state == BATCH_READY) {
            batch_end(store, &store->batches[i]);
        }
    }
}

uint8_t *store_block_take(struct store *store, uint32_t *slot)
{
    if (!store_block_room(store)) {
        return NULL;
    }
    if (!filling_has_room(store)) {
        store_blocks_end(store);
        store->filling = free_batch(store);
        store->filling->state = BATCH_FILLING;
        take_run(store, store->filling);
    }
    struct store_batch *batch = store->filling;
    uint32_t at = batch->used++;
    *slot = batch->first_slot + at;
    slot_mark(store, *slot, SLOT_NEXT);
    return batch->buffer + (size_t)at * STORE_BLOCK_BYTES;
}
