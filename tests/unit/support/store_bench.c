#include "tests/unit/support/store_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "include/abi.h"
#include "replicate/delta.h"

static enum page_rights writable(void *context, uint32_t page)
{
    (void)context, (void)page;
    return PAGE_WRITE;
}

static void changing(void *context, uint32_t page, const uint8_t *captured)
{
    store_page_changing(((struct bench *)context)->store, page, captured);
}

void bench_make_store(struct bench *bench)
{
    struct store_config config = {
        .machine = &bench->fake.machine, .keys = &bench->keys, .node_number = NODE, .world_pages_max = bench->pages};
    memcpy(config.cluster_id, bench->keys.cluster_id, sizeof config.cluster_id);
    assert_int_equal(store_create(&bench->store, &config), STATUS_OK);
    struct image_config image_config = {
        .machine = &bench->fake.machine, .before_change = changing, .segment_rights = writable, .context = bench};
    assert_int_equal(image_create(&bench->image, &image_config), STATUS_OK);
}

void bench_boot(struct bench *bench)
{
    bench_make_store(bench);
    assert_int_equal(store_open(bench->store, &bench->disk, bench->reason), STATUS_OK);
}

void bench_reboot(struct bench *bench)
{
    fake_machine_power_cut(&bench->fake);
    bench_boot(bench);
}

struct bench *bench_create(uint64_t seed, uint32_t pages, uint64_t disk_bytes)
{
    struct bench *bench = calloc(1, sizeof *bench);
    static const uint8_t key[32] = {1, 2, 3}, cluster[16] = {9, 8, 7};
    seal_keys_derive(&bench->keys, key, cluster);
    bench->pages = pages;
    bench->delta_buffer = malloc(DELTA_BYTES_MAX);
    bench->undo_buffer = malloc(UNDO_BYTES_MAX);
    fake_machine_init(&bench->fake, seed, pages, disk_bytes);
    bench_boot(bench);
    return bench;
}

void bench_destroy(struct bench *bench)
{
    fake_machine_destroy(&bench->fake);
    free(bench->delta_buffer);
    free(bench->undo_buffer);
    free(bench);
}

void bench_write_page(struct bench *b, uint32_t page, uint32_t value)
{
    assert_int_equal(image_write(b->image, (uint64_t)page * PAGE + page % 1000, &value, sizeof value), STATUS_OK);
}

void bench_close_epoch(struct bench *b)
{
    struct delta_writer delta;
    struct undo_record undo;
    delta_writer_init(&delta, b->delta_buffer, DELTA_BYTES_MAX);
    undo_record_init(&undo, b->undo_buffer, UNDO_BYTES_MAX);
    assert_int_equal(image_freeze(b->image, &delta, &undo), STATUS_OK);
    assert_true(image_capture_step(b->image, UINT32_MAX));
    b->epoch++;
}

struct checkpoint bench_checkpoint_of(const struct bench *b)
{
    struct checkpoint checkpoint = {
        .raft_index = 100 + b->epoch,
        .raft_term = 3,
        .configuration_index = 1,
        .member_count = 1,
        .members = {{.raft_id = raft_id_make(NODE, INCARNATION), .role = DISK_ROLE_VOTER}},
        .epoch = b->epoch,
        .record = {.version = WORLD_RECORD_VERSION,
                   .abi_version = ABI_VERSION,
                   .world_number = 1,
                   .life = WORLD_LIFE_RUNNING,
                   .memory_bytes = (uint64_t)b->pages * PAGE,
                   .epoch = b->epoch,
                   .host_node = NODE,
                   .registers = {5, 6, 7}},
    };
    checkpoint.digest = image_digest(b->image) + world_record_hash(&checkpoint.record);
    return checkpoint;
}

enum status bench_begin_checkpoint(struct bench *b)
{
    struct checkpoint checkpoint = bench_checkpoint_of(b);
    return store_checkpoint_begin(b->store, b->image, &checkpoint);
}

enum status bench_run_checkpoint(struct bench *b)
{
    enum status status = STATUS_OK;
    for (unsigned turn = 0; turn < 100000; turn++) {
        status = store_checkpoint_step(b->store);
        if (status != STATUS_OK) {
            return status;
        }
        bool completed = fake_disk_complete(&b->fake, true);
        if (!completed && store_deadline_ns(b->store) == UINT64_MAX) {
            return STATUS_TIMED_OUT; /* waits for a disk that is dead */
        }
    }
    fail_msg("the checkpoint does not end");
    return status;
}

void bench_make_checkpoint(struct bench *b)
{
    assert_int_equal(bench_begin_checkpoint(b), STATUS_OK);
    assert_int_equal(bench_run_checkpoint(b), STATUS_EMPTY);
    store_check(b->store);
}

enum status bench_fill(struct bench *b)
{
    bool done = false;
    uint32_t page = 0;
    store_fill_restart(b->store);
    while (!done) {
        enum status status = store_fill_step(b->store, b->image, 7, &done, &page);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

uint32_t bench_value_of(struct bench *b, uint32_t page)
{
    uint32_t value;
    assert_int_equal(image_read(b->image, (uint64_t)page * PAGE + page % 1000, &value, sizeof value), STATUS_OK);
    return value;
}

void bench_assert_filled(struct bench *b)
{
    assert_int_equal(bench_fill(b), STATUS_OK);
    const struct checkpoint *checkpoint = store_checkpoint(b->store);
    assert_int_equal(image_digest(b->image) + (checkpoint->epoch != 0 ? world_record_hash(&checkpoint->record) : 0), checkpoint->digest);
    image_check(b->image);
}
