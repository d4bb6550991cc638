/* Creation, opening, a new life of the disk, and filling an image. */
#include "replicate/store.h"

#include <stdio.h>
#include <string.h>

#include "include/check.h"
#include "include/machine_log.h"
#include "replicate/store_private.h"

enum { FILL_SCAN_PAGES = 4096 };

uint64_t store_now_ns(const struct store *store)
{
    return store->machine->now_ns(store->machine->context);
}

/* -- creation -- */

static bool reserve(struct store *store, void *out, size_t count, size_t bytes, size_t alignment)
{
    void *memory = store->machine->reserve(store->machine->context, count * bytes, alignment);
    memcpy(out, &memory, sizeof memory);
    return memory != NULL;
}

static bool reserve_map(struct store *store, struct store_map *map)
{
    bool good = reserve(store, &map->pages, store->pages_max, sizeof *map->pages, 64);
    for (uint32_t level = 0; level < store->levels; level++) {
        good = good && reserve(store, &map->nodes[level], store->node_count[level], sizeof *map->nodes[level], 64);
    }
    return good;
}

static bool reserve_all(struct store *store)
{
    bool good = reserve_map(store, &store->current) && reserve_map(store, &store->next) &&
                reserve(store, &store->pinned, store->pages_max, sizeof *store->pinned, 64) &&
                reserve(store, &store->wanted, store->pages_max, sizeof *store->wanted, 64) &&
                reserve(store, &store->unwritten, bit_words(store->pages_max), sizeof *store->unwritten, 64) &&
                reserve(store, &store->slot_flags, store->slots_reserved + 1u, 1, 64) &&
                reserve(store, &store->copies, STORE_COPIES_MAX, STORE_BLOCK_BYTES, STORE_BLOCK_BYTES) &&
                reserve(store, &store->copied_page, STORE_COPIES_MAX, sizeof *store->copied_page, 64) &&
                reserve(store, &store->read_buffer, STORE_FILL_PAGES, STORE_BLOCK_BYTES, STORE_BLOCK_BYTES) &&
                reserve(store, &store->control_buffer, 2, STORE_BLOCK_BYTES, STORE_BLOCK_BYTES) &&
                reserve(store, &store->scratch, 1, STORE_BLOCK_BYTES, STORE_BLOCK_BYTES);
    for (uint32_t level = 0; level < store->levels; level++) {
        good = good && reserve(store, &store->changed_nodes[level], bit_words(store->node_count[level]), sizeof(uint64_t), 64);
    }
    for (uint32_t i = 0; i < STORE_REQUESTS_MAX; i++) {
        store->batches[i].store = store;
        good = good && reserve(store, &store->batches[i].buffer, STORE_BATCH_BLOCKS, STORE_BLOCK_BYTES, STORE_BLOCK_BYTES);
    }
    return good;
}

static void set_geometry(struct store *store, uint64_t disk_bytes)
{
    store->superblock.disk_bytes = disk_bytes;
    store->superblock.store_offset = disk_store_offset(disk_bytes);
    store->slot_count = (uint32_t)disk_store_slots(disk_bytes);
}

enum status store_create(struct store **out, const struct store_config *config)
{
    const struct machine *machine = config->machine;
    struct store *store = machine->reserve(machine->context, sizeof *store, 64);
    if (store == NULL) {
        return STATUS_NO_MEMORY;
    }
    store->config = *config;
    store->machine = machine;
    store->pages_max = config->world_pages_max;
    uint32_t count = store->pages_max;
    do {
        CHECK(store->levels < STORE_LEVELS_MAX);
        count = (count + STORE_FANOUT - 1) / STORE_FANOUT;
        store->node_count[store->levels++] = count;
    } while (count > 1);
    uint64_t small = disk_bytes_min((uint64_t)store->pages_max * STORE_BLOCK_BYTES);
    uint64_t slots = disk_store_slots(machine->disk_bytes > small ? machine->disk_bytes : small);
    if (slots >= UINT32_MAX) {
        return STATUS_UNSUPPORTED;
    }
    store->slots_reserved = (uint32_t)slots;
    if (!reserve_all(store)) {
        return STATUS_NO_MEMORY;
    }
    *out = store;
    return STATUS_OK;
}

/* -- opening -- */

static bool geometry_valid(const struct store *store, const struct disk_superblock *superblock)
{
    uint64_t bytes = superblock->disk_bytes;
    return bytes >= DISK_BYTES_MIN && bytes % STORE_BLOCK_BYTES == 0 && superblock->log_offset == DISK_LOG_OFFSET &&
           superblock->log_bytes == disk_log_bytes(bytes) && superblock->store_offset == disk_store_offset(bytes) &&
           superblock->store_slots == disk_store_slots(bytes) && superblock->store_slots <= store->slots_reserved &&
           superblock->member_count <= DISK_MEMBERS_MAX && (superblock->map_levels == 0 || superblock->map_levels == store->levels) &&
           superblock->incarnation >= 1 && superblock->incarnation < 1ull << 56;
}

static bool all_zero(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

/* One superblock is used and the other one does not verify: so it stands after a power loss in mid-write, or something has harmed it. Only on a disk
 * that was just created nothing stands there yet. */
static void tell_bad_superblock(const struct store *store, const uint8_t *other, uint64_t sequence)
{
    if (sequence > 1 || !all_zero(other, STORE_BLOCK_BYTES)) {
        machine_log(store->machine, LOG_WARNING, "superblock %u does not verify: superblock %u is used", (unsigned)(1 - store->superblock_block),
                    (unsigned)store->superblock_block);
    }
}

/* The valid superblock with the higher sequence into *out. */
static enum store_disk choose_superblock(struct store *store, const uint8_t blocks[2 * STORE_BLOCK_BYTES], struct disk_superblock *out,
                                         char reason[REASON_BYTES_MAX])
{
    unsigned found = 0;
    enum status worst = STATUS_CORRUPT;
    for (uint32_t block = 0; block < 2; block++) {
        struct disk_superblock superblock;
        memcpy(&superblock, blocks + block * STORE_BLOCK_BYTES, sizeof superblock);
        enum status status = seal_check_superblock(store->config.keys, &superblock);
        if (status != STATUS_OK) {
            worst = status == STATUS_CORRUPT ? worst : status;
            continue;
        }
        if (found == 0 || superblock.sequence > out->sequence) {
            *out = superblock;
            store->superblock_block = block;
        }
        found++;
    }
    if (found == 0) {
        snprintf(reason, REASON_BYTES_MAX, worst == STATUS_FOREIGN            ? "the disk belongs to another cluster"
                              : worst == STATUS_UNKNOWN_VERSION ? "the disk was written by another version of this system"
                                                                 : "neither superblock verifies");
        return worst == STATUS_CORRUPT ? STORE_DISK_CORRUPT : STORE_DISK_FOREIGN;
    }
    if (found == 1) {
        tell_bad_superblock(store, blocks + (1 - store->superblock_block) * STORE_BLOCK_BYTES, out->sequence);
    }
    return STORE_DISK_OK;
}

/* Is the verified superblock one that this node can go on from? */
static enum store_disk judge_superblock(struct store *store, const struct disk_superblock *superblock, char reason[REASON_BYTES_MAX])
{
    if (superblock->node_number != store->config.node_number) {
        snprintf(reason, REASON_BYTES_MAX, "the disk is that of node %u of this cluster", (unsigned)superblock->node_number);
        return STORE_DISK_FOREIGN;
    }
    if (superblock->world_pages_max != store->pages_max) {
        snprintf(reason, REASON_BYTES_MAX, "the disk was made for a world of %u MiB", (unsigned)(superblock->world_pages_max / 256));
        return STORE_DISK_FOREIGN;
    }
    if (superblock->disk_bytes > store->machine->disk_bytes) {
        snprintf(reason, REASON_BYTES_MAX, "the disk was made with %llu MiB and has only %llu MiB now", (unsigned long long)(superblock->disk_bytes >> 20),
                 (unsigned long long)(store->machine->disk_bytes >> 20));
        return STORE_DISK_SMALL;
    }
    if (!geometry_valid(store, superblock)) {
        snprintf(reason, REASON_BYTES_MAX, "the superblock verifies but its fields are out of range");
        return STORE_DISK_CORRUPT;
    }
    return STORE_DISK_OK;
}

static void take_superblock(struct store *store, const struct disk_superblock *superblock)
{
    store->superblock = *superblock;
    store->sequence_seen = superblock->sequence;
    store->slot_count = (uint32_t)superblock->store_slots;
    store->checkpoint = (struct checkpoint){
        .raft_index = superblock->raft_index,
        .raft_term = superblock->raft_term,
        .configuration_index = superblock->configuration_index,
        .member_count = superblock->member_count,
        .epoch = superblock->epoch,
        .digest = superblock->digest,
    };
    memcpy(store->checkpoint.members, superblock->members, sizeof superblock->members);
}

enum status store_open(struct store *store, enum store_disk *disk, char reason[REASON_BYTES_MAX])
{
    reason[0] = '\0';
    uint64_t least = disk_bytes_min((uint64_t)store->pages_max * STORE_BLOCK_BYTES);
    if (store->machine->disk_bytes < least) {
        snprintf(reason, REASON_BYTES_MAX, "the disk has %llu MiB; this world needs at least %llu", (unsigned long long)(store->machine->disk_bytes >> 20),
                 (unsigned long long)((least + (1u << 20) - 1) >> 20));
        *disk = STORE_DISK_SMALL;
        return STATUS_OK;
    }
    set_geometry(store, store->machine->disk_bytes);
    slots_clear(store);
    uint8_t *blocks = store->read_buffer;
    if (store->machine->block_read(store->machine->context, 0, blocks, 4 * STORE_BLOCK_BYTES) != STATUS_OK) {
        snprintf(reason, REASON_BYTES_MAX, "the first blocks of the disk cannot be read");
        *disk = STORE_DISK_FAILED;
        return STATUS_OK;
    }
    if (all_zero(blocks, 4 * STORE_BLOCK_BYTES)) {
        *disk = STORE_DISK_BLANK;
        return STATUS_OK;
    }
    struct disk_superblock superblock;
    enum store_disk found = choose_superblock(store, blocks, &superblock, reason);
    if (found == STORE_DISK_OK) {
        found = judge_superblock(store, &superblock, reason);
    }
    if (found == STORE_DISK_OK) {
        take_superblock(store, &superblock);
        switch (map_load(store, &superblock, reason)) {
        case STATUS_OK:
            break;
        case STATUS_UNKNOWN_VERSION:
            /* Nobody gives up a good world because an older or newer kernel was started. */
            found = STORE_DISK_FOREIGN;
            break;
        case STATUS_IO_ERROR:
            found = STORE_DISK_FAILED;
            break;
        default:
            found = STORE_DISK_CORRUPT;
            break;
        }
    }
    *disk = found;
    return STATUS_OK;
}

enum status store_adopt(struct store *store, uint64_t incarnation)
{
    if (store->phase != PHASE_IDLE) {
        commit_abort(store);
    }
    set_geometry(store, store->machine->disk_bytes);
    map_clear_current(store);
    struct disk_superblock superblock;
    superblock_base(store, &superblock);
    /* One more than a superblock that may still be on its way to the disk. */
    superblock.sequence = store->sequence_seen + 2;
    superblock.incarnation = incarnation;
    superblock.joining = 1;
    seal_superblock(store->config.keys, &superblock);
    uint8_t *block = store->control_buffer + STORE_BLOCK_BYTES;
    memset(block, 0, STORE_BLOCK_BYTES);
    memcpy(block, &superblock, sizeof superblock);
    /* The older one first: at any moment one of them verifies. */
    for (uint32_t turn = 0; turn < 2; turn++) {
        uint64_t offset = (uint64_t)(turn == 0 ? 1 - store->superblock_block : store->superblock_block) * STORE_BLOCK_BYTES;
        enum status status = store->machine->block_write(store->machine->context, offset, block, STORE_BLOCK_BYTES);
        if (status != STATUS_OK) {
            return STATUS_IO_ERROR;
        }
    }
    /* Last, so that no older incarnation is ever found without its votes. What they say of it is not needed any more, and slots that
     * cannot be read would keep the new one from starting. */
    memset(block, 0, STORE_BLOCK_BYTES);
    for (uint32_t slot = 0; slot < DISK_VOTE_BLOCKS; slot++) {
        uint64_t offset = (uint64_t)(DISK_VOTE_BLOCK_FIRST + slot) * STORE_BLOCK_BYTES;
        if (store->machine->block_write(store->machine->context, offset, block, STORE_BLOCK_BYTES) != STATUS_OK) {
            return STATUS_IO_ERROR;
        }
    }
    take_superblock(store, &superblock);
    store_fill_restart(store);
    return STATUS_OK;
}

const struct disk_superblock *store_superblock(const struct store *store)
{
    return &store->superblock;
}

uint64_t store_written_bytes(const struct store *store)
{
    return store->written_bytes;
}

const struct checkpoint *store_checkpoint(const struct store *store)
{
    return &store->checkpoint;
}

/* -- filling -- */

void store_fill_restart(struct store *store)
{
    store->fill_cursor = 0;
}

uint32_t store_page_slot(const struct store *store, uint32_t page)
{
    return store->current.pages[page].slot;
}

/* How many pages from `page` on, all to be filled, stand in consecutive slots? */
static uint32_t fill_run(const struct store *store, const struct image *image, uint32_t page, uint32_t limit)
{
    uint32_t slot = store->current.pages[page].slot, run = 1;
    while (run < limit && run < STORE_FILL_PAGES && page + run < store->pages_max && store->current.pages[page + run].slot == slot + run &&
           image_page_hash(image, page + run) != store->current.pages[page + run].hash) {
        run++;
    }
    return run;
}

static enum status fill_page(struct store *store, struct image *image, uint32_t page, const uint8_t *cipher)
{
    const struct store_page_reference *reference = &store->current.pages[page];
    struct seal_context context = seal_context_page(WORLD_NUMBER, page);
    enum status status =
        seal_open_body(store->config.keys, &context, reference->nonce, cipher, STORE_BLOCK_BYTES, reference->tag, store->scratch);
    if (status != STATUS_OK || image_hash_content(page, store->scratch) != reference->hash) {
        return STATUS_CORRUPT;
    }
    return image_put_page(image, page, store->scratch);
}

enum status store_fill_step(struct store *store, struct image *image, uint32_t pages_max, bool *done, uint32_t *page)
{
    uint32_t scanned = 0;
    while (store->fill_cursor < store->pages_max && pages_max > 0 && scanned < FILL_SCAN_PAGES) {
        uint32_t at = store->fill_cursor;
        const struct store_page_reference *reference = &store->current.pages[at];
        if (image_page_hash(image, at) == reference->hash) {
            store->fill_cursor++;
            scanned++;
            continue;
        }
        if (reference->slot == 0) {
            enum status absent = image_put_page(image, at, NULL);
            CHECK(absent == STATUS_OK);
            store->fill_cursor++;
            pages_max--;
            continue;
        }
        uint32_t run = fill_run(store, image, at, pages_max);
        enum status status = store->machine->block_read(store->machine->context, store_slot_offset(store, reference->slot), store->read_buffer,
                                                        (size_t)run * STORE_BLOCK_BYTES);
        for (uint32_t i = 0; i < run && status == STATUS_OK; i++) {
            *page = at + i;
            status = fill_page(store, image, at + i, store->read_buffer + (size_t)i * STORE_BLOCK_BYTES);
        }
        if (status != STATUS_OK) {
            return status;
        }
        store->fill_cursor += run;
        pages_max -= run;
    }
    *done = store->fill_cursor == store->pages_max;
    return STATUS_OK;
}

/* -- check -- */

static void count_flag(const struct store *store, uint32_t slot, enum slot_flag flag, uint32_t *count)
{
    if (slot != 0) {
        CHECK(slot <= store->slot_count);
        CHECK((store->slot_flags[slot] & flag) != 0);
        (*count)++;
    }
}

void store_check(const struct store *store)
{
    uint32_t current = 0, next = 0, pinned = 0;
    for (uint32_t page = 0; page < store->pages_max; page++) {
        count_flag(store, store->current.pages[page].slot, SLOT_CURRENT, &current);
        count_flag(store, store->pin ? store->pinned[page].slot : 0, SLOT_PINNED, &pinned);
        uint32_t slot = store->next.pages[page].slot;
        count_flag(store, slot != store->current.pages[page].slot ? slot : 0, SLOT_NEXT, &next);
    }
    for (uint32_t level = 0; level < store->levels; level++) {
        for (uint32_t index = 0; index < store->node_count[level]; index++) {
            count_flag(store, store->current.nodes[level][index].slot, SLOT_CURRENT, &current);
            uint32_t slot = store->next.nodes[level][index].slot;
            count_flag(store, slot != store->current.nodes[level][index].slot ? slot : 0, SLOT_NEXT, &next);
        }
    }
    count_flag(store, store->current.record.slot, SLOT_CURRENT, &current);
    count_flag(store, store->next.record.slot != store->current.record.slot ? store->next.record.slot : 0, SLOT_NEXT, &next);
    uint32_t free_slots = 0;
    for (uint32_t slot = 1; slot <= store->slot_count; slot++) {
        uint8_t flags = store->slot_flags[slot];
        free_slots += flags == 0;
        current -= (flags & SLOT_CURRENT) != 0;
        next -= (flags & SLOT_NEXT) != 0;
        pinned -= (flags & SLOT_PINNED) != 0;
    }
    CHECK(current == 0);
    CHECK(next == 0);
    CHECK(pinned == 0);
    CHECK(free_slots == store->free_slots);
    CHECK(store->phase != PHASE_IDLE || store->filling == NULL);
}
