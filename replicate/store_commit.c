/* The common end of a checkpoint and an install: map nodes, flush, superblock, flush. */
#include <string.h>

#include "include/check.h"
#include "replicate/store_private.h"

void commit_begin(struct store *store)
{
    map_mark_changed(store);
    store->phase = PHASE_NODES;
    store->node_level = 1;
    store->node_index = 0;
}

void superblock_base(const struct store *store, struct disk_superblock *out)
{
    uint64_t disk_bytes = store->superblock.disk_bytes;
    *out = (struct disk_superblock){
        .sequence = store->sequence_seen + 1,
        .node_number = store->config.node_number,
        .world_pages_max = store->pages_max,
        .incarnation = store->superblock.incarnation,
        .disk_bytes = disk_bytes,
        .log_offset = DISK_LOG_OFFSET,
        .log_bytes = disk_log_bytes(disk_bytes),
        .store_offset = disk_store_offset(disk_bytes),
        .store_slots = disk_store_slots(disk_bytes),
    };
}

static void prepare_superblock(struct store *store)
{
    const struct checkpoint *checkpoint = &store->next_checkpoint;
    struct disk_superblock *superblock = &store->next_superblock;
    superblock_base(store, superblock);
    superblock->raft_index = checkpoint->raft_index;
    superblock->raft_term = checkpoint->raft_term;
    superblock->configuration_index = checkpoint->configuration_index;
    superblock->member_count = checkpoint->member_count;
    memcpy(superblock->members, checkpoint->members, sizeof superblock->members);
    superblock->epoch = checkpoint->epoch;
    superblock->digest = checkpoint->digest;
    superblock->map_root = store->next.nodes[store->levels - 1][0];
    superblock->map_levels = superblock->map_root.slot != 0 ? store->levels : 0;
    superblock->world_record = store->next.record;
    superblock->page_count = map_page_count(store->next.pages, store->pages_max);
    seal_superblock(store->config.keys, superblock);
    memset(store->control_buffer, 0, STORE_BLOCK_BYTES);
    memcpy(store->control_buffer, superblock, sizeof *superblock);
}

static void control_done(struct block_request *request, enum status status)
{
    struct store *store = request->context;
    store->control_under_way = false;
    store->control_status = status;
}

/* False: the machine takes no request now. */
static bool control_submit(struct store *store, enum block_operation operation)
{
    store->control = (struct block_request){
        .operation = operation,
        .offset = operation == BLOCK_WRITE ? (uint64_t)(1 - store->superblock_block) * STORE_BLOCK_BYTES : 0,
        .buffer = operation == BLOCK_WRITE ? store->control_buffer : NULL,
        .bytes = operation == BLOCK_WRITE ? STORE_BLOCK_BYTES : 0,
        .done = control_done,
        .context = store,
    };
    store->control_under_way = true;
    enum status status = store->machine->block_submit(store->machine->context, &store->control);
    if (status == STATUS_FULL) {
        store->control_under_way = false;
        return false;
    }
    store->written_bytes += store->control.bytes;
    if (status != STATUS_OK) {
        control_done(&store->control, status);
    }
    return true;
}

static void commit_end(struct store *store)
{
    map_adopt_next(store);
    store->superblock = store->next_superblock;
    store->superblock_block = 1 - store->superblock_block;
    store->checkpoint = store->next_checkpoint;
    store->phase = PHASE_IDLE;
    store->image = NULL;
}

void commit_abort(struct store *store)
{
    store_blocks_drop(store);
    map_drop_next(store);
    store->phase = PHASE_IDLE;
    store->image = NULL;
    store->missing_left = 0;
}

static void nodes_step(struct store *store)
{
    if (map_seal_step(store, STORE_STEP_BLOCKS) && map_seal_record(store)) {
        store_blocks_end(store);
        store->phase = PHASE_SETTLE;
    }
}

enum status commit_step(struct store *store)
{
    if (store->phase == PHASE_NODES) {
        nodes_step(store);
        store_blocks_submit(store);
        return STATUS_OK;
    }
    if (store->phase == PHASE_SETTLE) {
        store_blocks_submit(store);
        if (store->writes_under_way == 0 && !store->write_failed && control_submit(store, BLOCK_FLUSH)) {
            store->phase = PHASE_FLUSH;
        }
        return STATUS_OK;
    }
    if (store->control_under_way) {
        return STATUS_OK;
    }
    if (store->control_status != STATUS_OK) {
        store->superblock_uncertain = store->phase != PHASE_FLUSH;
        return STATUS_IO_ERROR;
    }
    if (store->phase == PHASE_FLUSH) {
        prepare_superblock(store);
        if (control_submit(store, BLOCK_WRITE)) {
            /* From here on a superblock of this sequence may stand on the disk, whatever becomes of it. */
            store->sequence_seen = store->next_superblock.sequence;
            store->phase = PHASE_SUPERBLOCK;
        }
    } else if (store->phase == PHASE_SUPERBLOCK) {
        if (control_submit(store, BLOCK_FLUSH)) {
            store->phase = PHASE_SEAL;
        }
    } else {
        CHECK(store->phase == PHASE_SEAL);
        commit_end(store);
        return STATUS_EMPTY;
    }
    return STATUS_OK;
}

bool store_failed(const struct store *store)
{
    return store->superblock_uncertain;
}
