/* The disk: writes may complete in any order; until a flush that was submitted after a write's completion has completed, a power cut may take
 * any of its 512-byte sectors back. It can be slow, fail requests, lie about flushes, and rot. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cluster-sim/sim.h"
#include "crypto/seal.h"
#include "include/check.h"

enum { REQUESTS_MAX = 64, SLOW_FACTOR = 100, ERROR_PERCENT = 20 };

struct completion {
    struct sim_node *node;
    uint64_t life;
    struct block_request *request;
    uint64_t flush_order;            /* a flush covers writes completed before it was submitted */
    bool fails;
    bool no_room;                    /* it fails and was not done, not even in part */
};

/* Which blocks were ever written; the others are zero. Reading 16 MiB of a log that nobody wrote yet would be most of a boot, and a full disk has no
 * room for them. */
static bool ever_written(const struct sim_disk *disk, uint64_t offset, size_t bytes, bool all)
{
    size_t known = 0, blocks = 0;
    for (uint64_t block = offset / 4096; block * 4096 < offset + bytes; block++, blocks++) {
        known += disk->ever_written[block / 64] >> block % 64 & 1;
    }
    return all ? known == blocks : known > 0;
}

static void mark_written(struct sim_disk *disk, uint64_t offset, size_t bytes)
{
    for (uint64_t block = offset / 4096; block * 4096 < offset + bytes; block++) {
        disk->ever_written[block / 64] |= 1ull << block % 64;
    }
}

static void forget_unflushed(struct sim_disk *disk, uint64_t order)
{
    struct sim_write **at = &disk->unflushed;
    while (*at != NULL) {
        struct sim_write *write = *at;
        if (write->order <= order) {
            *at = write->next;
            free(write);
        } else {
            at = &write->next;
        }
    }
}

static void remember(struct sim_disk *disk, uint64_t offset, size_t bytes)
{
    struct sim_write *write = malloc(sizeof *write + bytes);
    CHECK(write != NULL);
    write->next = disk->unflushed;
    write->offset = offset;
    write->bytes = bytes;
    write->order = disk->completed;
    memcpy(write->before, disk->bytes + offset, bytes);
    disk->unflushed = write;
}

static bool fails_now(struct sim_node *node)
{
    bool fails = node->disk.errors_until_ns > node->sim->now_ns && sim_chance(node->sim, ERROR_PERCENT);
    node->disk.error_told = node->disk.error_told || fails;
    return fails;
}

static bool has_no_room(struct sim_node *node, uint64_t offset, size_t bytes)
{
    bool none = node->disk.full_until_ns > node->sim->now_ns && !ever_written(&node->disk, offset, bytes, true);
    node->disk.error_told = node->disk.error_told || none;
    return none;
}

static void count_written(struct sim_node *node, const struct block_request *request)
{
    struct sim_disk *disk = &node->disk;
    uint64_t *count = request->offset < DISK_LOG_OFFSET                            ? &disk->other_written
                      : request->offset < disk_store_offset(node->sim->disk_bytes) ? &disk->log_written
                                                                                   : &disk->store_written;
    *count += request->bytes;
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
        if (request->operation == BLOCK_FLUSH && !completion->fails && !disk->lying) {
            forget_unflushed(disk, completion->flush_order);
        } else if (request->operation == BLOCK_WRITE && !completion->no_room) {
            /* One that fails may have been done in part: what the power cut does to it is as good a model. */
            remember(disk, request->offset, request->bytes);
            memcpy(disk->bytes + request->offset, request->buffer, request->bytes);
            mark_written(disk, request->offset, request->bytes);
            count_written(node, request);
        }
        bool written = request->operation == BLOCK_WRITE;
        uint64_t offset = request->offset;
        request->done(request, completion->fails ? STATUS_IO_ERROR : STATUS_OK);
        sim_wake(node, 3000);
        if (written) {
            sim_aim_written(node, offset);
        }
    }
    free(completion);
}

static enum status submit(void *context, struct block_request *request)
{
    struct sim_node *node = context;
    struct sim *sim = node->sim;
    if (node->disk.outstanding == REQUESTS_MAX) {
        return STATUS_FULL;
    }
    if (request->operation == BLOCK_WRITE) {
        CHECK(request->offset % MACHINE_BLOCK_BYTES == 0);
        CHECK(request->bytes % MACHINE_BLOCK_BYTES == 0);
        CHECK(request->bytes > 0);
        CHECK(request->offset + request->bytes <= sim->disk_bytes);
        CHECK(request->bytes <= MACHINE_REQUEST_BYTES_MAX);
    }
    struct completion *completion = malloc(sizeof *completion);
    CHECK(completion != NULL);
    *completion = (struct completion){
        .node = node, .life = node->life, .request = request, .flush_order = node->disk.completed, .fails = fails_now(node)};
    completion->no_room = request->operation == BLOCK_WRITE && has_no_room(node, request->offset, request->bytes);
    completion->fails = completion->fails || completion->no_room;
    node->disk.outstanding++;
    uint64_t delay = request->operation == BLOCK_FLUSH ? 100000 + sim_below(sim, 400000) : 20000 + sim_below(sim, 200000);
    if (node->disk.slow_until_ns > sim->now_ns) {
        delay *= SLOW_FACTOR;
    } else if (sim_chance(sim, 1)) {
        delay *= 50;
    }
    sim_at(sim, delay, complete, completion, 0);
    return STATUS_OK;
}

static enum status read_now(void *context, uint64_t offset, void *buffer, size_t bytes)
{
    struct sim_node *node = context;
    CHECK(offset + bytes <= node->sim->disk_bytes);
    CHECK(bytes <= MACHINE_REQUEST_BYTES_MAX);
    if (fails_now(node)) {
        memset(buffer, 0x5a, bytes);
        return STATUS_IO_ERROR;
    }
    if (ever_written(&node->disk, offset, bytes, false)) {
        memcpy(buffer, node->disk.bytes + offset, bytes);
    } else {
        memset(buffer, 0, bytes);
    }
    return STATUS_OK;
}

static enum status write_now(void *context, uint64_t offset, const void *buffer, size_t bytes)
{
    struct sim_node *node = context;
    CHECK(offset + bytes <= node->sim->disk_bytes);
    CHECK(bytes <= MACHINE_REQUEST_BYTES_MAX);
    if (fails_now(node) || has_no_room(node, offset, bytes)) {
        return STATUS_IO_ERROR;
    }
    memcpy(node->disk.bytes + offset, buffer, bytes);
    mark_written(&node->disk, offset, bytes);
    forget_unflushed(&node->disk, node->disk.completed);
    return STATUS_OK;
}

void sim_disk_attach(struct sim_node *node)
{
    node->machine.disk_bytes = node->sim->disk_bytes;
    node->machine.block_read = read_now;
    node->machine.block_write = write_now;
    node->machine.block_submit = submit;
    node->disk.outstanding = 0;
    node->disk.error_told = false;
}

static uint8_t *map_bytes(uint64_t size)
{
    uint8_t *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(bytes != MAP_FAILED);
    (void)madvise(bytes, size, MADV_HUGEPAGE); /* only for speed */
    return bytes;
}

static void zero_bytes(uint8_t *bytes, uint64_t size)
{
    int advised = madvise(bytes, size, MADV_DONTNEED);
    CHECK(advised == 0);
}

void sim_disk_create(struct sim_node *node, const uint64_t *incarnations)
{
    uint64_t disk_bytes = node->sim->disk_bytes;
    node->disk.bytes = map_bytes(disk_bytes);
    struct seal_keys keys;
    seal_keys_derive(&keys, node->boot.sealing_key, node->boot.cluster_id);
    struct disk_superblock superblock = disk_superblock_first(disk_bytes, SIM_WORLD_BYTES, node->number, incarnations + 1, node->sim->node_count);
    seal_superblock(&keys, &superblock);
    node->disk.created = superblock;
    node->known_id = raft_id_make(node->number, superblock.incarnation);
    memcpy(node->disk.bytes, &superblock, sizeof superblock);
    node->disk.ever_written[0] = 1;
}

/* What was not flushed may be there or not, write by write or sector by sector. */
void sim_disk_power_cut(struct sim_node *node)
{
    struct sim_disk *disk = &node->disk;
    bool tear = sim_chance(node->sim, 50);
    unsigned lost_percent = (unsigned)sim_below(node->sim, 101);
    while (disk->unflushed != NULL) {
        struct sim_write *write = disk->unflushed;
        bool lose = sim_chance(node->sim, lost_percent);
        for (size_t at = 0; at < write->bytes; at += MACHINE_SECTOR_BYTES) {
            if (tear ? sim_chance(node->sim, lost_percent) : lose) {
                memcpy(disk->bytes + write->offset + at, write->before + at, MACHINE_SECTOR_BYTES);
            }
        }
        disk->unflushed = write->next;
        free(write);
    }
    disk->lying = false;
}

void sim_disk_lose(struct sim_node *node)
{
    CHECK(!sim_alive(node));
    forget_unflushed(&node->disk, UINT64_MAX);
    zero_bytes(node->disk.bytes, node->sim->disk_bytes);
    memset(node->disk.ever_written, 0, sizeof node->disk.ever_written);
}

void sim_disk_recreate(struct sim_node *node)
{
    sim_disk_lose(node);
    memcpy(node->disk.bytes, &node->disk.created, sizeof node->disk.created);
    node->disk.ever_written[0] = 1;
}

static void copy_sparsely(uint8_t *to, const uint8_t *from, uint64_t size)
{
    static const uint8_t zero[4096];
    zero_bytes(to, size);
    for (size_t at = 0; at < size; at += sizeof zero) {
        if (memcmp(from + at, zero, sizeof zero) != 0) {
            memcpy(to + at, from + at, sizeof zero);
        }
    }
}

void sim_disk_keep_copy(struct sim_node *node)
{
    CHECK(!sim_alive(node));
    if (node->disk.older == NULL) {
        node->disk.older = map_bytes(node->sim->disk_bytes);
    }
    copy_sparsely(node->disk.older, node->disk.bytes, node->sim->disk_bytes);
    node->disk.older_boot = node->known_boot;
    node->disk.older_id = node->known_id;
}

void sim_disk_put_back(struct sim_node *node)
{
    CHECK(!sim_alive(node));
    CHECK(node->disk.older != NULL);
    forget_unflushed(&node->disk, UINT64_MAX);
    copy_sparsely(node->disk.bytes, node->disk.older, node->sim->disk_bytes);
    memset(node->disk.ever_written, 0xff, sizeof node->disk.ever_written);
}

/* A block that holds something, mostly of the log's or the store's beginning, where the bytes in use are. */
static size_t used_block(struct sim_node *node)
{
    static const uint8_t zero[4096];
    size_t blocks = node->sim->disk_bytes / 4096, at = 0;
    for (unsigned tries = 0; tries < 64; tries++) {
        size_t region = sim_chance(node->sim, 10) ? 0 : (size_t)(sim_chance(node->sim, 50) ? node->disk.created.log_offset : node->disk.created.store_offset) / 4096;
        at = region + sim_below(node->sim, region == 0 ? 4 : 2048);
        if (at < blocks && memcmp(node->disk.bytes + at * 4096, zero, sizeof zero) != 0) {
            return at;
        }
    }
    return 0;
}

void sim_disk_rot(struct sim_node *node)
{
    uint64_t place = used_block(node) * 4096;
    uint8_t *to = node->disk.bytes + place;
    const uint8_t *from = node->disk.bytes + used_block(node) * 4096;
    mark_written(&node->disk, place, 4096);
    if (sim_chance(node->sim, 60)) {
        to[sim_below(node->sim, 4096)] ^= (uint8_t)(1u << sim_below(node->sim, 8));
    } else if (from != to) {
        memcpy(to, from, 4096); /* a write that went astray */
    } else {
        memset(to, 0, 4096);
    }
}

void sim_disk_flip(struct sim_node *node, uint64_t place)
{
    node->disk.bytes[place] ^= (uint8_t)(1u << sim_below(node->sim, 8));
}

void sim_disk_destroy(struct sim_node *node)
{
    forget_unflushed(&node->disk, UINT64_MAX);
    munmap(node->disk.bytes, node->sim->disk_bytes);
    if (node->disk.older != NULL) {
        munmap(node->disk.older, node->sim->disk_bytes);
    }
}
