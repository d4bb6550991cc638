/* The map: reading it, changing it beside the current one, sealing what changed. */
#include <stdio.h>
#include <string.h>

#include "include/abi.h"
#include "include/check.h"
#include "replicate/store_private.h"

static const struct store_page_reference no_page;
static const struct disk_block_reference no_block;

/* -- reading -- */

static enum status read_block(struct store *store, const struct disk_block_reference *reference, const struct seal_context *context)
{
    enum status status =
        store->machine->block_read(store->machine->context, store_slot_offset(store, reference->slot), store->read_buffer, STORE_BLOCK_BYTES);
    if (status != STATUS_OK) {
        return status;
    }
    return seal_open_body(store->config.keys, context, reference->nonce, store->read_buffer, STORE_BLOCK_BYTES, reference->tag, store->scratch);
}

/* A slot that a verified node names must exist and be named once. */
static bool claim_slot(struct store *store, uint32_t slot)
{
    if (slot < 1 || slot > store->slot_count || (store->slot_flags[slot] & SLOT_CURRENT) != 0) {
        return false;
    }
    slot_mark(store, slot, SLOT_CURRENT);
    return true;
}

static bool load_leaf(struct store *store, uint32_t index)
{
    bool good = true;
    for (uint32_t i = 0; i < STORE_FANOUT; i++) {
        struct store_page_reference reference;
        memcpy(&reference, store->scratch + i * sizeof reference, sizeof reference);
        uint32_t page = index * STORE_FANOUT + i;
        if (reference.slot == 0) {
            continue;
        }
        if (page >= store->pages_max || reference.hash == 0 || !claim_slot(store, reference.slot)) {
            good = false;
            continue;
        }
        store->current.pages[page] = reference;
    }
    return good;
}

static bool load_inner(struct store *store, uint32_t level, uint32_t index)
{
    bool good = true;
    for (uint32_t i = 0; i < STORE_FANOUT; i++) {
        struct disk_block_reference reference;
        memcpy(&reference, store->scratch + i * sizeof reference, sizeof reference);
        uint32_t child = index * STORE_FANOUT + i;
        if (reference.slot == 0) {
            continue;
        }
        if (child >= store->node_count[level - 2] || !claim_slot(store, reference.slot)) {
            good = false;
            continue;
        }
        store->current.nodes[level - 2][child] = reference;
    }
    return good;
}

/* All nodes of one level; those that do not verify are left out, and the first of them is told. */
static enum status load_level(struct store *store, uint32_t level, char reason[REASON_BYTES_MAX])
{
    enum status first = STATUS_OK;
    for (uint32_t index = 0; index < store->node_count[level - 1]; index++) {
        const struct disk_block_reference *reference = &store->current.nodes[level - 1][index];
        if (reference->slot == 0) {
            continue;
        }
        struct seal_context context = seal_context_map_node(WORLD_NUMBER, level, index);
        enum status status = read_block(store, reference, &context);
        if (status == STATUS_OK && !(level == 1 ? load_leaf(store, index) : load_inner(store, level, index))) {
            status = STATUS_INVALID;
        }
        if (status != STATUS_OK && first == STATUS_OK) {
            snprintf(reason, REASON_BYTES_MAX, "page store: map node %u of level %u in slot %u: %s", (unsigned)index, (unsigned)level,
                     (unsigned)reference->slot, status_sentence(status));
            first = status == STATUS_IO_ERROR ? STATUS_IO_ERROR : STATUS_CORRUPT;
        }
    }
    return first;
}

static enum status load_record(struct store *store, const struct disk_superblock *superblock, char reason[REASON_BYTES_MAX])
{
    if (superblock->epoch == 0) {
        return STATUS_OK;
    }
    struct seal_context context = seal_context_world_record(WORLD_NUMBER);
    bool claimed = claim_slot(store, superblock->world_record.slot);
    enum status status = claimed ? STATUS_OK : STATUS_INVALID;
    if (status == STATUS_OK) {
        status = read_block(store, &superblock->world_record, &context);
    }
    struct world_record record;
    if (status == STATUS_OK) {
        memcpy(&record, store->scratch, sizeof record);
        status = world_record_check(&record, (uint64_t)store->pages_max * STORE_BLOCK_BYTES);
    }
    if (status != STATUS_OK && claimed) {
        slot_unmark(store, superblock->world_record.slot, SLOT_CURRENT);
    }
    if (status == STATUS_UNKNOWN_VERSION) {
        snprintf(reason, REASON_BYTES_MAX, "the world on this disk has record version %u and ABI version %u; this build knows %u and %u",
                 (unsigned)record.version, (unsigned)record.abi_version, WORLD_RECORD_VERSION, ABI_VERSION);
        return STATUS_UNKNOWN_VERSION;
    }
    if (status != STATUS_OK) {
        snprintf(reason, REASON_BYTES_MAX, "page store: world record in slot %u: %s", (unsigned)superblock->world_record.slot, status_sentence(status));
        return status == STATUS_IO_ERROR ? STATUS_IO_ERROR : STATUS_CORRUPT;
    }
    store->current.record = superblock->world_record;
    store->checkpoint.record = record;
    return STATUS_OK;
}

/* What tells more about the disk goes first: a version that nobody here knows, a device that fails, then corruption. */
static enum status worse(enum status a, enum status b)
{
    if (a == STATUS_UNKNOWN_VERSION || b == STATUS_OK) {
        return a;
    }
    return a == STATUS_IO_ERROR && b == STATUS_CORRUPT ? a : b;
}

enum status map_load(struct store *store, const struct disk_superblock *superblock, char reason[REASON_BYTES_MAX])
{
    map_clear_current(store);
    enum status status = load_record(store, superblock, reason);
    if (status == STATUS_UNKNOWN_VERSION) {
        return status;
    }
    if (superblock->map_levels != 0) {
        if (!claim_slot(store, superblock->map_root.slot)) {
            snprintf(reason, REASON_BYTES_MAX, "page store: the root of the map stands in slot %u", (unsigned)superblock->map_root.slot);
            return worse(status, STATUS_CORRUPT);
        }
        store->current.nodes[store->levels - 1][0] = superblock->map_root;
        for (uint32_t level = store->levels; level >= 1; level--) {
            status = worse(status, load_level(store, level, reason));
        }
    }
    if (status == STATUS_OK && map_page_count(store->current.pages, store->pages_max) != superblock->page_count) {
        snprintf(reason, REASON_BYTES_MAX, "page store: the map does not have the number of pages that the superblock names");
        status = STATUS_CORRUPT;
    }
    map_drop_next(store);
    return status;
}

static void copy_map(const struct store *store, struct store_map *to, const struct store_map *from)
{
    memcpy(to->pages, from->pages, store->pages_max * sizeof *to->pages);
    for (uint32_t level = 0; level < store->levels; level++) {
        memcpy(to->nodes[level], from->nodes[level], store->node_count[level] * sizeof *to->nodes[level]);
    }
    to->record = from->record;
}

void map_clear_current(struct store *store)
{
    slots_clear(store);
    store->pin = false;
    memset(store->current.pages, 0, store->pages_max * sizeof *store->current.pages);
    for (uint32_t level = 0; level < store->levels; level++) {
        memset(store->current.nodes[level], 0, store->node_count[level] * sizeof *store->current.nodes[level]);
    }
    store->current.record = no_block;
    copy_map(store, &store->next, &store->current);
}

uint64_t map_page_count(const struct store_page_reference *pages, uint32_t pages_max)
{
    uint64_t count = 0;
    for (uint32_t page = 0; page < pages_max; page++) {
        count += pages[page].slot != 0;
    }
    return count;
}

/* -- changing -- */

void map_set_next(struct store *store, uint32_t page, const struct store_page_reference *reference)
{
    struct store_page_reference *entry = &store->next.pages[page];
    if (entry->slot != 0 && entry->slot != store->current.pages[page].slot) {
        slot_unmark(store, entry->slot, SLOT_NEXT);
    }
    *entry = reference != NULL ? *reference : no_page;
}

uint32_t map_mark_parents(struct store *store)
{
    uint32_t marked = 0;
    for (uint32_t level = 0; level < store->levels; level++) {
        for (uint32_t index = 0; index < store->node_count[level]; index++) {
            if (bit_get(store->changed_nodes[level], index)) {
                marked++;
                if (level + 1 < store->levels) {
                    bit_set(store->changed_nodes[level + 1], index / STORE_FANOUT);
                }
            }
        }
    }
    return marked;
}

void map_mark_changed(struct store *store)
{
    map_unmark_all(store);
    for (uint32_t page = 0; page < store->pages_max; page++) {
        if (store->next.pages[page].slot != store->current.pages[page].slot) {
            bit_set(store->changed_nodes[0], page / STORE_FANOUT);
        }
    }
    map_mark_parents(store);
}

void map_unmark_all(struct store *store)
{
    for (uint32_t level = 0; level < store->levels; level++) {
        memset(store->changed_nodes[level], 0, bit_words(store->node_count[level]) * sizeof(uint64_t));
    }
}

/* -- sealing -- */

static void seal_block(struct store *store, const struct seal_context *context, const uint8_t *plain, uint8_t *buffer, uint32_t slot,
                       struct disk_block_reference *out)
{
    struct disk_block_reference reference = {.slot = slot};
    store->machine->entropy(store->machine->context, reference.nonce, sizeof reference.nonce);
    seal_body(store->config.keys, context, reference.nonce, plain, STORE_BLOCK_BYTES, buffer, reference.tag);
    *out = reference;
}

/* The plain node into scratch. False: it has no children. */
static bool build_node(struct store *store, uint32_t level, uint32_t index)
{
    bool any = false;
    memset(store->scratch, 0, STORE_BLOCK_BYTES);
    uint32_t children = level == 1 ? store->pages_max : store->node_count[level - 2];
    for (uint32_t i = 0; i < STORE_FANOUT && index * STORE_FANOUT + i < children; i++) {
        uint32_t child = index * STORE_FANOUT + i;
        if (level == 1) {
            memcpy(store->scratch + i * sizeof no_page, &store->next.pages[child], sizeof no_page);
            any = any || store->next.pages[child].slot != 0;
        } else {
            memcpy(store->scratch + i * sizeof no_block, &store->next.nodes[level - 2][child], sizeof no_block);
            any = any || store->next.nodes[level - 2][child].slot != 0;
        }
    }
    return any;
}

/* False: no room for a block now. */
static bool seal_node(struct store *store, uint32_t level, uint32_t index)
{
    struct disk_block_reference *reference = &store->next.nodes[level - 1][index];
    if (!build_node(store, level, index)) {
        *reference = no_block;
        return true;
    }
    uint32_t slot;
    uint8_t *buffer = store_block_take(store, &slot);
    if (buffer == NULL) {
        return false;
    }
    struct seal_context context = seal_context_map_node(WORLD_NUMBER, level, index);
    seal_block(store, &context, store->scratch, buffer, slot, reference);
    return true;
}

bool map_seal_step(struct store *store, uint32_t count)
{
    while (store->node_level <= store->levels) {
        uint32_t level = store->node_level;
        while (store->node_index < store->node_count[level - 1]) {
            if (bit_get(store->changed_nodes[level - 1], store->node_index)) {
                if (count == 0 || !seal_node(store, level, store->node_index)) {
                    return false;
                }
                count--;
            }
            store->node_index++;
        }
        store->node_level++;
        store->node_index = 0;
    }
    return true;
}

bool map_seal_record(struct store *store)
{
    if (store->next_checkpoint.epoch == 0) {
        store->next.record = no_block;
        return true;
    }
    uint32_t slot;
    uint8_t *buffer = store_block_take(store, &slot);
    if (buffer == NULL) {
        return false;
    }
    memset(store->scratch, 0, STORE_BLOCK_BYTES);
    memcpy(store->scratch, &store->next_checkpoint.record, sizeof store->next_checkpoint.record);
    struct seal_context context = seal_context_world_record(WORLD_NUMBER);
    seal_block(store, &context, store->scratch, buffer, slot, &store->next.record);
    return true;
}

/* -- ending -- */

/* An entry's slots in the two maps become one. `adopt`: next's stays and current's is let go; else current's stays. */
static void settle_slot(struct store *store, uint32_t current_slot, uint32_t next_slot, bool adopt)
{
    if (current_slot == next_slot) {
        return;
    }
    if (next_slot != 0) {
        if (adopt) {
            slot_mark(store, next_slot, SLOT_CURRENT);
        }
        slot_unmark(store, next_slot, SLOT_NEXT);
    }
    if (current_slot != 0 && adopt) {
        slot_unmark(store, current_slot, SLOT_CURRENT);
    }
}

static void settle(struct store *store, bool adopt)
{
    for (uint32_t page = 0; page < store->pages_max; page++) {
        settle_slot(store, store->current.pages[page].slot, store->next.pages[page].slot, adopt);
    }
    for (uint32_t level = 0; level < store->levels; level++) {
        for (uint32_t index = 0; index < store->node_count[level]; index++) {
            settle_slot(store, store->current.nodes[level][index].slot, store->next.nodes[level][index].slot, adopt);
        }
    }
    settle_slot(store, store->current.record.slot, store->next.record.slot, adopt);
}

void map_adopt_next(struct store *store)
{
    settle(store, true);
    copy_map(store, &store->current, &store->next);
}

void map_drop_next(struct store *store)
{
    settle(store, false);
    copy_map(store, &store->next, &store->current);
}
