/* The disk: writes may complete in any order; until a flush that was submitted after a write's completion has completed, a power cut may take
 * any of its 512-byte sectors back. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cluster-sim/sim.h"
#include "crypto/seal.h"
#include "include/check.h"
#include "include/disk_format.h"

struct completion {
    struct sim_node *node;
    uint64_t life;
    struct block_request *request;
    uint64_t flush_order;            /* a flush covers writes completed before it was submitted */
};

static void forget_unflushed(struct sim_disk *disk, uint64_t order)
{
    struct sim_write **at = &disk->unflushed;
    while (*at != NULL) {
        struct sim_write *write = *at;
        if (write->order <= order) {
            *at = write->next;
            free(write->before);
            free(write);
        } else {
            at = &write->next;
        }
    }
}

static void remember(struct sim_disk *disk, uint64_t offset, size_t bytes)
{
    struct sim_write *write = malloc(sizeof *write);
    CHECK(write != NULL);
    *write = (struct sim_write){.next = disk->unflushed, .offset = offset, .bytes = bytes, .before = malloc(bytes), .order = disk->completed};
    CHECK(write->before != NULL);
    memcpy(write->before, disk->bytes + offset, bytes);
    disk->unflushed = write;
}

static void complete(struct sim *sim, void *context, uint64_t argument)
{
    struct completion *completion = context;
    struct sim_node *node = completion->node;
    (void)sim;
    (void)argument;
    if (node->life == completion->life && sim_alive(node)) {
        struct block_request *request = completion->request;
        struct sim_disk *disk = &node->disk;
        disk->completed++;
        disk->outstanding--;
        if (request->operation == BLOCK_FLUSH) {
            forget_unflushed(disk, completion->flush_order);
        } else {
            remember(disk, request->offset, request->bytes);
            memcpy(disk->bytes + request->offset, request->buffer, request->bytes);
        }
        request->done(request, STATUS_OK);
        sim_wake(node, 1000);
    }
    free(completion);
}

static enum status submit(void *context, struct block_request *request)
{
    struct sim_node *node = context;
    struct sim *sim = node->sim;
    if (node->disk.outstanding == 64) {
        return STATUS_FULL;
    }
    if (request->operation == BLOCK_WRITE) {
        CHECK(request->offset % MACHINE_BLOCK_BYTES == 0 && request->bytes % MACHINE_BLOCK_BYTES == 0 && request->bytes > 0);
        CHECK(request->offset + request->bytes <= SIM_DISK_BYTES && request->bytes <= MACHINE_REQUEST_BYTES_MAX);
    }
    struct completion *completion = malloc(sizeof *completion);
    CHECK(completion != NULL);
    *completion = (struct completion){.node = node, .life = node->life, .request = request, .flush_order = node->disk.completed};
    node->disk.outstanding++;
    uint64_t delay = request->operation == BLOCK_FLUSH ? 100000 + sim_below(sim, 400000) : 20000 + sim_below(sim, 200000);
    if (sim_chance(sim, 1)) {
        delay *= 50;
    }
    sim_at(sim, delay, complete, completion, 0);
    return STATUS_OK;
}

static enum status read_now(void *context, uint64_t offset, void *buffer, size_t bytes)
{
    struct sim_node *node = context;
    CHECK(offset + bytes <= SIM_DISK_BYTES && bytes <= MACHINE_REQUEST_BYTES_MAX);
    memcpy(buffer, node->disk.bytes + offset, bytes);
    return STATUS_OK;
}

static enum status write_now(void *context, uint64_t offset, const void *buffer, size_t bytes)
{
    struct sim_node *node = context;
    CHECK(offset + bytes <= SIM_DISK_BYTES && bytes <= MACHINE_REQUEST_BYTES_MAX);
    memcpy(node->disk.bytes + offset, buffer, bytes);
    forget_unflushed(&node->disk, node->disk.completed);
    return STATUS_OK;
}

void sim_disk_attach(struct sim_node *node)
{
    node->machine.disk_bytes = SIM_DISK_BYTES;
    node->machine.block_read = read_now;
    node->machine.block_write = write_now;
    node->machine.block_submit = submit;
    node->disk.outstanding = 0;
}

void sim_disk_create(struct sim_node *node, const uint64_t *incarnations)
{
    node->disk.bytes = mmap(NULL, SIM_DISK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(node->disk.bytes != MAP_FAILED);
    struct seal_keys keys;
    seal_keys_derive(&keys, node->boot.sealing_key, node->boot.cluster_id);
    struct disk_superblock superblock = {
        .sequence = 1,
        .node_number = node->number,
        .world_pages_max = SIM_WORLD_BYTES / 4096,
        .incarnation = incarnations[node->number],
        .disk_bytes = SIM_DISK_BYTES,
        .log_offset = DISK_LOG_OFFSET,
        .log_bytes = disk_log_bytes(SIM_DISK_BYTES),
        .store_offset = disk_store_offset(SIM_DISK_BYTES),
        .store_slots = disk_store_slots(SIM_DISK_BYTES),
        .raft_index = 1,
        .raft_term = 1,
        .configuration_index = 1,
        .member_count = node->sim->node_count,
    };
    for (unsigned i = 1; i <= node->sim->node_count; i++) {
        superblock.members[i - 1] = (struct disk_member){.raft_id = raft_id_make(i, incarnations[i]), .role = DISK_ROLE_VOTER};
    }
    seal_superblock(&keys, &superblock);
    memcpy(node->disk.bytes, &superblock, sizeof superblock);
}

void sim_disk_power_cut(struct sim_node *node)
{
    struct sim_disk *disk = &node->disk;
    bool tear = sim_chance(node->sim, 50);
    while (disk->unflushed != NULL) {
        struct sim_write *write = disk->unflushed;
        bool whole = !tear;
        bool lose = sim_chance(node->sim, 50);
        for (size_t at = 0; at < write->bytes; at += MACHINE_SECTOR_BYTES) {
            if (whole ? lose : sim_chance(node->sim, 50)) {
                memcpy(disk->bytes + write->offset + at, write->before + at, MACHINE_SECTOR_BYTES);
            }
        }
        disk->unflushed = write->next;
        free(write->before);
        free(write);
    }
}

void sim_disk_lose(struct sim_node *node)
{
    CHECK(!sim_alive(node));
    forget_unflushed(&node->disk, UINT64_MAX);
    int advised = madvise(node->disk.bytes, SIM_DISK_BYTES, MADV_DONTNEED);
    CHECK(advised == 0);
}

void sim_disk_destroy(struct sim_node *node)
{
    forget_unflushed(&node->disk, UINT64_MAX);
    munmap(node->disk.bytes, SIM_DISK_BYTES);
}
