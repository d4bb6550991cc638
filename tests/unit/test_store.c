#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "include/abi.h"
#include "replicate/delta.h"
#include "replicate/image.h"
#include "replicate/store.h"
#include "replicate/store_private.h"
#include "tests/unit/support/fake_machine.h"

enum { PAGE = REPLICATE_PAGE_BYTES, PAGES = 300, NODE = 2 };
#define DISK (64ull << 20)
#define INCARNATION 0x1234567ull

/* A node's memory over a disk: everything but the disk is made anew at each boot. */
struct bench {
    struct fake_machine fake;
    struct image *image;
    struct store *store;
    struct seal_keys keys;
    uint32_t pages;
    uint64_t epoch;
    uint8_t *delta_buffer, *undo_buffer;
    enum store_disk disk;
    char reason[200];
};

static enum page_rights writable(void *context, uint32_t page)
{
    (void)context, (void)page;
    return PAGE_WRITE;
}

static void changing(void *context, uint32_t page, const uint8_t *captured)
{
    store_page_changing(((struct bench *)context)->store, page, captured);
}

static void make_store(struct bench *bench)
{
    struct store_config config = {
        .machine = &bench->fake.machine, .keys = &bench->keys, .node_number = NODE, .world_pages_max = bench->pages};
    memcpy(config.cluster_id, bench->keys.cluster_id, sizeof config.cluster_id);
    assert_int_equal(store_create(&bench->store, &config), STATUS_OK);
    struct image_config image_config = {
        .machine = &bench->fake.machine, .before_change = changing, .segment_rights = writable, .context = bench};
    assert_int_equal(image_create(&bench->image, &image_config), STATUS_OK);
}

static void boot(struct bench *bench)
{
    make_store(bench);
    assert_int_equal(store_open(bench->store, &bench->disk, bench->reason), STATUS_OK);
}

static void reboot(struct bench *bench)
{
    fake_machine_power_cut(&bench->fake);
    boot(bench);
}

static struct bench *bench_create(uint64_t seed, uint32_t pages, uint64_t disk_bytes)
{
    struct bench *bench = calloc(1, sizeof *bench);
    static const uint8_t key[32] = {1, 2, 3}, cluster[16] = {9, 8, 7};
    seal_keys_derive(&bench->keys, key, cluster);
    bench->pages = pages;
    bench->delta_buffer = malloc(DELTA_BYTES_MAX);
    bench->undo_buffer = malloc(UNDO_BYTES_MAX);
    fake_machine_init(&bench->fake, seed, pages, disk_bytes);
    boot(bench);
    return bench;
}

static void bench_destroy(struct bench *bench)
{
    fake_machine_destroy(&bench->fake);
    free(bench->delta_buffer);
    free(bench->undo_buffer);
    free(bench);
}

static struct bench *bench;

static int set_up(void **state)
{
    (void)state;
    bench = bench_create(7, PAGES, DISK);
    assert_int_equal(bench->disk, STORE_DISK_BLANK);
    assert_int_equal(store_adopt(bench->store, INCARNATION, false), STATUS_OK);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    bench_destroy(bench);
    return 0;
}

/* -- the world's part -- */

static void write_page(struct bench *b, uint32_t page, uint32_t value)
{
    assert_int_equal(image_write(b->image, (uint64_t)page * PAGE + page % 1000, &value, sizeof value), STATUS_OK);
}

static void close_epoch(struct bench *b)
{
    struct delta_writer delta;
    struct undo_record undo;
    delta_writer_init(&delta, b->delta_buffer, DELTA_BYTES_MAX);
    undo_record_init(&undo, b->undo_buffer, UNDO_BYTES_MAX);
    assert_int_equal(image_freeze(b->image, &delta, &undo), STATUS_OK);
    assert_true(image_capture_step(b->image, UINT32_MAX));
    b->epoch++;
}

static struct checkpoint checkpoint_of(const struct bench *b)
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

static enum status begin(struct bench *b)
{
    struct checkpoint checkpoint = checkpoint_of(b);
    return store_checkpoint_begin(b->store, b->image, &checkpoint);
}

/* Step until it has ended or the disk is dead. */
static enum status run_checkpoint(struct bench *b)
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

static void make_checkpoint(struct bench *b)
{
    assert_int_equal(begin(b), STATUS_OK);
    assert_int_equal(run_checkpoint(b), STATUS_EMPTY);
    store_check(b->store);
}

static enum status fill(struct bench *b)
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

static uint32_t value_of(struct bench *b, uint32_t page)
{
    uint32_t value;
    assert_int_equal(image_read(b->image, (uint64_t)page * PAGE + page % 1000, &value, sizeof value), STATUS_OK);
    return value;
}

/* The image is exactly what the checkpoint says. */
static void assert_filled(struct bench *b)
{
    assert_int_equal(fill(b), STATUS_OK);
    const struct checkpoint *checkpoint = store_checkpoint(b->store);
    assert_int_equal(image_digest(b->image) + (checkpoint->epoch != 0 ? world_record_hash(&checkpoint->record) : 0), checkpoint->digest);
    image_check(b->image);
}

/* -- opening -- */

static void test_store_blank_disk_is_told(void **state)
{
    (void)state;
    struct bench *blank = bench_create(1, PAGES, DISK);
    assert_int_equal(blank->disk, STORE_DISK_BLANK);
    bench_destroy(blank);
}

static void test_store_small_disk_is_told(void **state)
{
    (void)state;
    struct bench *small = bench_create(1, PAGES, DISK_BYTES_MIN - (1 << 20));
    assert_int_equal(small->disk, STORE_DISK_SMALL);
    assert_true(strlen(small->reason) > 0);
    bench_destroy(small);
}

static void test_store_unreadable_disk_is_told(void **state)
{
    (void)state;
    bench->fake.disk.read_error_at = 4096;
    assert_int_equal(store_open(bench->store, &bench->disk, bench->reason), STATUS_OK);
    assert_int_equal(bench->disk, STORE_DISK_FAILED);
}

static void test_store_adopted_disk_is_joining_and_empty(void **state)
{
    (void)state;
    reboot(bench);
    assert_int_equal(bench->disk, STORE_DISK_OK);
    const struct disk_superblock *superblock = store_superblock(bench->store);
    assert_int_equal(superblock->incarnation, INCARNATION);
    assert_int_equal(superblock->joining, 1);
    assert_int_equal(superblock->node_number, NODE);
    assert_int_equal(store_checkpoint(bench->store)->epoch, 0);
    assert_filled(bench);
    assert_int_equal(image_present_pages(bench->image), 0);
}

static void test_store_other_clusters_disk_is_foreign(void **state)
{
    (void)state;
    static const uint8_t key[32] = {1, 2, 3}, other[16] = {1};
    seal_keys_derive(&bench->keys, key, other);
    reboot(bench);
    assert_int_equal(bench->disk, STORE_DISK_FOREIGN);
}

static void test_store_other_nodes_disk_is_foreign(void **state)
{
    (void)state;
    fake_machine_power_cut(&bench->fake);
    make_store(bench);
    bench->store->config.node_number = NODE + 1;
    assert_int_equal(store_open(bench->store, &bench->disk, bench->reason), STATUS_OK);
    assert_int_equal(bench->disk, STORE_DISK_FOREIGN);
}

static void test_store_superblock_of_wrong_key_is_corrupt(void **state)
{
    (void)state;
    static const uint8_t other[32] = {4}, cluster[16] = {9, 8, 7};
    seal_keys_derive(&bench->keys, other, cluster);
    reboot(bench);
    assert_int_equal(bench->disk, STORE_DISK_CORRUPT);
}

static void test_store_one_bad_superblock_is_survived_and_two_are_corrupt(void **state)
{
    (void)state;
    fake_disk_flip(&bench->fake, 100, 3);
    reboot(bench);
    assert_int_equal(bench->disk, STORE_DISK_OK);
    fake_disk_flip(&bench->fake, 4096 + 100, 3);
    reboot(bench);
    assert_int_equal(bench->disk, STORE_DISK_CORRUPT);
}

static void test_store_truncated_disk_is_small(void **state)
{
    (void)state;
    fake_machine_power_cut(&bench->fake);
    bench->fake.machine.disk_bytes = DISK;
    struct bench *large = bench_create(1, PAGES, DISK + (32 << 20));
    assert_int_equal(store_adopt(large->store, INCARNATION, false), STATUS_OK);
    fake_machine_power_cut(&large->fake);
    large->fake.machine.disk_bytes = DISK;
    boot(large);
    assert_int_equal(large->disk, STORE_DISK_SMALL);
    bench_destroy(large);
    boot(bench);
}

/* -- checkpoints -- */

static void test_checkpoint_comes_back_after_power_cut(void **state)
{
    (void)state;
    for (uint32_t page = 0; page < PAGES; page += 3) {
        write_page(bench, page, page + 1);
    }
    close_epoch(bench);
    make_checkpoint(bench);
    struct checkpoint made = checkpoint_of(bench);
    reboot(bench);
    assert_int_equal(bench->disk, STORE_DISK_OK);
    assert_memory_equal(store_checkpoint(bench->store), &made, sizeof made);
    assert_int_equal(store_superblock(bench->store)->joining, 0);
    assert_filled(bench);
    for (uint32_t page = 0; page < PAGES; page++) {
        assert_int_equal(value_of(bench, page), page % 3 == 0 ? page + 1 : 0);
    }
    store_check(bench->store);
}

static void test_checkpoint_writes_only_what_changed(void **state)
{
    (void)state;
    for (uint32_t page = 0; page < PAGES; page++) {
        write_page(bench, page, 1);
    }
    close_epoch(bench);
    make_checkpoint(bench);
    struct store_page_reference before[PAGES];
    memcpy(before, bench->store->current.pages, sizeof before);
    write_page(bench, 77, 2);
    close_epoch(bench);
    make_checkpoint(bench);
    for (uint32_t page = 0; page < PAGES; page++) {
        assert_int_equal(bench->store->current.pages[page].slot == before[page].slot, page != 77);
    }
}

static void test_checkpoint_without_change_is_durable_too(void **state)
{
    (void)state;
    write_page(bench, 5, 1);
    close_epoch(bench);
    make_checkpoint(bench);
    bench->epoch++;
    make_checkpoint(bench);
    reboot(bench);
    assert_int_equal(store_checkpoint(bench->store)->epoch, 2);
    assert_filled(bench);
}

static void test_checkpoint_of_emptied_image_has_no_map(void **state)
{
    (void)state;
    write_page(bench, 5, 1);
    close_epoch(bench);
    make_checkpoint(bench);
    image_clear(bench->image);
    bench->epoch++;
    make_checkpoint(bench);
    assert_int_equal(store_superblock(bench->store)->map_levels, 0);
    reboot(bench);
    assert_int_equal(bench->disk, STORE_DISK_OK);
    assert_filled(bench);
    assert_int_equal(image_present_pages(bench->image), 0);
}

static void test_checkpoint_holds_the_content_of_its_beginning(void **state)
{
    (void)state;
    for (uint32_t page = 0; page < PAGES; page++) {
        write_page(bench, page, 1000 + page);
    }
    close_epoch(bench);
    assert_int_equal(begin(bench), STATUS_OK);
    assert_int_equal(store_checkpoint_step(bench->store), STATUS_OK);
    for (uint32_t page = 0; page < PAGES; page++) {
        write_page(bench, page, 5);
    }
    close_epoch(bench);
    image_clear(bench->image);
    assert_int_equal(run_checkpoint(bench), STATUS_EMPTY);
    reboot(bench);
    assert_filled(bench);
    for (uint32_t page = 0; page < PAGES; page++) {
        assert_int_equal(value_of(bench, page), 1000 + page);
    }
}

static void test_checkpoint_begin_while_one_is_under_way_is_busy(void **state)
{
    (void)state;
    write_page(bench, 5, 1);
    close_epoch(bench);
    assert_int_equal(begin(bench), STATUS_OK);
    assert_int_equal(begin(bench), STATUS_BUSY);
    uint64_t hashes[PAGES] = {0};
    struct checkpoint empty = {0};
    assert_int_equal(store_install_begin(bench->store, &empty, hashes), STATUS_BUSY);
    assert_int_equal(run_checkpoint(bench), STATUS_EMPTY);
    assert_int_equal(store_checkpoint_step(bench->store), STATUS_EMPTY);
}

static void test_checkpoint_of_flipped_memory_is_corrupt(void **state)
{
    (void)state;
    write_page(bench, 5, 1);
    close_epoch(bench);
    bench->fake.frames[5][2000] ^= 1;
    assert_int_equal(begin(bench), STATUS_OK);
    assert_int_equal(run_checkpoint(bench), STATUS_CORRUPT);
    assert_false(store_checkpointing(bench->store));
    bench->fake.frames[5][2000] ^= 1;
    make_checkpoint(bench);
}

static void test_checkpoint_write_error_leaves_the_old_one(void **state)
{
    (void)state;
    write_page(bench, 5, 1);
    close_epoch(bench);
    make_checkpoint(bench);
    write_page(bench, 5, 2);
    close_epoch(bench);
    assert_int_equal(begin(bench), STATUS_OK);
    bench->fake.disk.write_errors = true;
    assert_int_equal(run_checkpoint(bench), STATUS_IO_ERROR);
    bench->fake.disk.write_errors = false;
    assert_int_equal(store_checkpoint(bench->store)->epoch, 1);
    store_check(bench->store);
    make_checkpoint(bench);
    reboot(bench);
    assert_int_equal(store_checkpoint(bench->store)->epoch, 2);
    assert_filled(bench);
    assert_int_equal(value_of(bench, 5), 2);
}

/* Whatever fails, the disk holds one checkpoint or the other, and the store never writes into either's slots. */
static void test_checkpoint_error_at_each_request_never_tears(void **state)
{
    (void)state;
    write_page(bench, 5, 1);
    close_epoch(bench);
    make_checkpoint(bench);
    for (unsigned good = 0; good < 6; good++) {
        uint64_t old = store_checkpoint(bench->store)->epoch;
        write_page(bench, 5, 10 + good);
        close_epoch(bench);
        assert_int_equal(begin(bench), STATUS_OK);
        uint64_t from = bench->fake.disk.completions;
        enum status status;
        do {
            bench->fake.disk.write_errors = bench->fake.disk.completions >= from + good;
            status = store_checkpoint_step(bench->store);
            fake_disk_complete(&bench->fake, false);
        } while (status == STATUS_OK);
        assert_true(status == STATUS_IO_ERROR || (good > 3 && status == STATUS_EMPTY));
        bench->fake.disk.write_errors = false;
        reboot(bench);
        assert_int_equal(bench->disk, STORE_DISK_OK);
        assert_true(store_checkpoint(bench->store)->epoch == old || store_checkpoint(bench->store)->epoch == bench->epoch);
        assert_filled(bench);
        bench->epoch = store_checkpoint(bench->store)->epoch;
    }
}

static void test_checkpoint_copies_overflow_ends_it_full(void **state)
{
    (void)state;
    struct bench *large = bench_create(3, STORE_COPIES_MAX + 1000, DISK);
    assert_int_equal(store_adopt(large->store, INCARNATION, false), STATUS_OK);
    for (uint32_t first = 0; first < large->pages; first += 1000) {
        for (uint32_t page = first; page < first + 1000 && page < large->pages; page++) {
            write_page(large, page, 1);
        }
        close_epoch(large);
    }
    assert_int_equal(begin(large), STATUS_OK);
    image_clear(large->image);
    assert_int_equal(store_checkpoint_step(large->store), STATUS_FULL);
    assert_false(store_checkpointing(large->store));
    store_check(large->store);
    write_page(large, 3, 3);
    close_epoch(large);
    make_checkpoint(large);
    fake_machine_power_cut(&large->fake);
    boot(large);
    assert_filled(large);
    bench_destroy(large);
}

/* -- power cuts -- */

/* Cut at every completion of a checkpoint: the old or the new one opens, whole. */
static void test_checkpoint_power_cut_at_each_request_never_tears(void **state)
{
    (void)state;
    uint64_t random = test_seed(__func__, 99);
    bench->fake.seed = random;
    unsigned olds = 0, news = 0;
    for (unsigned round = 0; round < 40; round++) {
        for (unsigned i = 0; i < 30; i++) {
            write_page(bench, test_random_below(&random, PAGES), (uint32_t)test_random(&random) % 3);
        }
        close_epoch(bench);
        uint64_t old = store_checkpoint(bench->store)->epoch, fresh = bench->epoch;
        assert_int_equal(begin(bench), STATUS_OK);
        bench->fake.disk.dead_after = bench->fake.disk.completions + round % 10;
        enum status status = run_checkpoint(bench);
        assert_true(status == STATUS_EMPTY || status == STATUS_TIMED_OUT);
        reboot(bench);
        assert_int_equal(bench->disk, STORE_DISK_OK);
        uint64_t found = store_checkpoint(bench->store)->epoch;
        assert_true(found == fresh || (found == old && status != STATUS_EMPTY));
        olds += found == old;
        news += found == fresh;
        assert_filled(bench);
        store_check(bench->store);
        bench->epoch = found;
    }
    assert_true(olds > 0);
    assert_true(news > 0);
}

/* -- verification -- */

static uint64_t slot_offset(uint32_t slot)
{
    return store_slot_offset(bench->store, slot);
}

static void test_fill_of_flipped_page_is_corrupt_and_names_it(void **state)
{
    (void)state;
    for (uint32_t page = 0; page < 50; page++) {
        write_page(bench, page, page + 1);
    }
    close_epoch(bench);
    make_checkpoint(bench);
    fake_disk_flip(&bench->fake, slot_offset(bench->store->current.pages[33].slot) + 1234, 5);
    reboot(bench);
    bool done = false;
    uint32_t page = 0;
    enum status status;
    do {
        status = store_fill_step(bench->store, bench->image, 7, &done, &page);
    } while (status == STATUS_OK && !done);
    assert_int_equal(status, STATUS_CORRUPT);
    assert_int_equal(page, 33);
}

static void test_fill_of_swapped_or_stale_page_is_corrupt(void **state)
{
    (void)state;
    write_page(bench, 10, 1);
    write_page(bench, 11, 2);
    close_epoch(bench);
    make_checkpoint(bench);
    uint8_t saved[PAGE];
    uint8_t *disk = bench->fake.disk.durable;
    uint64_t a = slot_offset(bench->store->current.pages[10].slot), b = slot_offset(bench->store->current.pages[11].slot);
    memcpy(saved, disk + a, PAGE);
    memcpy(disk + a, disk + b, PAGE);
    memcpy(disk + b, saved, PAGE);
    memcpy(bench->fake.disk.current, disk, DISK);
    reboot(bench);
    assert_int_equal(fill(bench), STATUS_CORRUPT);
}

static void test_open_with_flipped_map_node_is_corrupt(void **state)
{
    (void)state;
    for (uint32_t page = 0; page < PAGES; page++) {
        write_page(bench, page, page + 1);
    }
    close_epoch(bench);
    make_checkpoint(bench);
    uint32_t slots[3] = {bench->store->current.nodes[0][2].slot, bench->store->current.nodes[1][0].slot, bench->store->current.record.slot};
    for (unsigned i = 0; i < 3; i++) {
        uint64_t offset = slot_offset(slots[i]) + 77;
        fake_disk_flip(&bench->fake, offset, 1);
        reboot(bench);
        assert_int_equal(bench->disk, STORE_DISK_CORRUPT);
        assert_non_null(strstr(bench->reason, "slot"));
        fake_disk_flip(&bench->fake, offset, 1);
    }
    reboot(bench);
    assert_int_equal(bench->disk, STORE_DISK_OK);
}

/* -- space -- */

static void run_full_rewrites(struct bench *b, unsigned rounds)
{
    for (unsigned round = 1; round <= rounds; round++) {
        for (uint32_t first = 0; first < b->pages; first += 1000) {
            for (uint32_t page = first; page < first + 1000 && page < b->pages; page++) {
                write_page(b, page, round * 7 + page);
            }
            close_epoch(b);
        }
        assert_int_equal(begin(b), STATUS_OK);
        assert_int_equal(run_checkpoint(b), STATUS_EMPTY);
    }
    store_check(b->store);
    fake_machine_power_cut(&b->fake);
    boot(b);
    assert_int_equal(b->disk, STORE_DISK_OK);
    assert_filled(b);
}

static void test_smallest_disk_takes_the_whole_world_again_and_again(void **state)
{
    (void)state;
    uint32_t pages = 16 * 256;
    struct bench *tight = bench_create(3, pages, disk_bytes_min((uint64_t)pages * PAGE));
    assert_int_equal(store_adopt(tight->store, INCARNATION, false), STATUS_OK);
    run_full_rewrites(tight, 4);
    bench_destroy(tight);
}

static void test_smallest_disk_of_the_usual_world_takes_it_again(void **state)
{
    (void)state;
    uint32_t pages = 64 * 256;
    struct bench *tight = bench_create(3, pages, disk_bytes_min((uint64_t)pages * PAGE));
    assert_int_equal(store_adopt(tight->store, INCARNATION, false), STATUS_OK);
    run_full_rewrites(tight, 2);
    bench_destroy(tight);
}

static void test_pin_keeps_slots_until_no_space_and_unpin_frees_them(void **state)
{
    (void)state;
    uint32_t pages = 26 * 256;
    struct bench *tight = bench_create(3, pages, disk_bytes_min((uint64_t)pages * PAGE));
    assert_int_equal(store_adopt(tight->store, INCARNATION, false), STATUS_OK);
    run_full_rewrites(tight, 1);
    store_pin(tight->store);
    run_full_rewrites(tight, 0);
    store_pin(tight->store);
    for (unsigned round = 1; round <= 2; round++) {
        for (uint32_t first = 0; first < pages; first += 1000) {
            for (uint32_t page = first; page < first + 1000 && page < pages; page++) {
                write_page(tight, page, 99 + round);
            }
            close_epoch(tight);
        }
        if (round == 1) {
            assert_int_equal(begin(tight), STATUS_OK);
            assert_int_equal(run_checkpoint(tight), STATUS_EMPTY);
        }
    }
    assert_int_equal(begin(tight), STATUS_NO_SPACE);
    assert_false(store_checkpointing(tight->store));
    store_unpin(tight->store);
    assert_int_equal(begin(tight), STATUS_OK);
    assert_int_equal(run_checkpoint(tight), STATUS_EMPTY);
    store_check(tight->store);
    bench_destroy(tight);
}

/* -- giving and taking -- */

static struct bench *other;

static int set_up_pair(void **state)
{
    set_up(state);
    other = bench_create(8, PAGES, DISK);
    assert_int_equal(store_adopt(other->store, INCARNATION + 1, false), STATUS_OK);
    for (uint32_t page = 0; page < PAGES; page += 2) {
        write_page(bench, page, page + 1);
    }
    close_epoch(bench);
    make_checkpoint(bench);
    store_pin(bench->store);
    return 0;
}

static int tear_down_pair(void **state)
{
    bench_destroy(other);
    return tear_down(state);
}

static enum status install_begin(struct bench *to, struct bench *from)
{
    uint64_t *hashes = calloc(from->pages, sizeof *hashes);
    for (uint32_t page = 0; page < from->pages; page++) {
        hashes[page] = store_pinned_hash(from->store, page);
    }
    enum status status = store_install_begin(to->store, store_pinned(from->store), hashes);
    free(hashes);
    return status;
}

/* Pull up to `max` pages. Returns how many came. */
static uint32_t pull(struct bench *to, struct bench *from, uint32_t max)
{
    uint32_t cursor = 0, page, pulled = 0;
    while (pulled < max && store_install_missing(to->store, &cursor, &page, 1) == 1) {
        struct sealed_page sealed;
        assert_int_equal(store_pinned_page(from->store, page, &sealed), STATUS_OK);
        enum status status;
        while ((status = store_install_page(to->store, &sealed)) == STATUS_FULL) {
            assert_true(fake_disk_complete(&to->fake, true));
        }
        assert_int_equal(status, STATUS_OK);
        pulled++;
    }
    return pulled;
}

static enum status finish_install(struct bench *to)
{
    enum status status;
    unsigned idle = 0;
    while ((status = store_install_step(to->store)) == STATUS_OK && idle < 100) {
        idle = fake_disk_complete(&to->fake, true) ? 0 : idle + 1;
    }
    return status;
}

static void test_install_takes_a_checkpoint_and_it_comes_back(void **state)
{
    (void)state;
    assert_int_equal(install_begin(other, bench), STATUS_OK);
    assert_int_equal(store_install_left(other->store), PAGES / 2);
    assert_int_equal(pull(other, bench, UINT32_MAX), PAGES / 2);
    assert_int_equal(store_install_left(other->store), 0);
    assert_int_equal(finish_install(other), STATUS_EMPTY);
    store_check(other->store);
    reboot(other);
    assert_int_equal(other->disk, STORE_DISK_OK);
    assert_memory_equal(store_checkpoint(other->store), store_pinned(bench->store), sizeof(struct checkpoint));
    assert_int_equal(store_superblock(other->store)->joining, 0);
    assert_int_equal(store_superblock(other->store)->incarnation, INCARNATION + 1);
    assert_filled(other);
    assert_int_equal(image_digest(other->image), image_digest(bench->image));
}

static void test_install_pulls_only_what_differs(void **state)
{
    (void)state;
    assert_int_equal(install_begin(other, bench), STATUS_OK);
    pull(other, bench, UINT32_MAX);
    assert_int_equal(finish_install(other), STATUS_EMPTY);
    write_page(bench, 4, 444);
    write_page(bench, 5, 555);
    close_epoch(bench);
    make_checkpoint(bench);
    store_pin(bench->store);
    assert_int_equal(install_begin(other, bench), STATUS_OK);
    assert_int_equal(store_install_left(other->store), 2);
    assert_int_equal(pull(other, bench, UINT32_MAX), 2);
    assert_int_equal(finish_install(other), STATUS_EMPTY);
    reboot(other);
    assert_filled(other);
    assert_int_equal(value_of(other, 5), 555);
}

static void test_install_newer_manifest_keeps_received_pages(void **state)
{
    (void)state;
    assert_int_equal(install_begin(other, bench), STATUS_OK);
    assert_int_equal(pull(other, bench, 100), 100);
    write_page(bench, 4, 444); /* received already: obsolete */
    write_page(bench, 298, 9); /* not received yet */
    close_epoch(bench);
    make_checkpoint(bench);
    store_pin(bench->store);
    assert_int_equal(install_begin(other, bench), STATUS_OK);
    assert_int_equal(store_install_left(other->store), PAGES / 2 - 100 + 1);
    pull(other, bench, UINT32_MAX);
    assert_int_equal(finish_install(other), STATUS_EMPTY);
    store_check(other->store);
    assert_filled(other);
    assert_int_equal(image_digest(other->image), image_digest(bench->image));
}

static void test_install_of_bad_pages_is_refused(void **state)
{
    (void)state;
    struct sealed_page sealed;
    assert_int_equal(store_pinned_page(bench->store, 4, &sealed), STATUS_OK);
    assert_int_equal(store_install_page(other->store, &sealed), STATUS_STALE);
    assert_int_equal(install_begin(other, bench), STATUS_OK);
    sealed.cipher[9] ^= 1;
    assert_int_equal(store_install_page(other->store, &sealed), STATUS_CORRUPT);
    sealed.cipher[9] ^= 1;
    sealed.page = 6;
    assert_int_equal(store_install_page(other->store, &sealed), STATUS_STALE);
    sealed.page = PAGES;
    assert_int_equal(store_install_page(other->store, &sealed), STATUS_STALE);
    sealed.page = 6;
    sealed.hash = store_pinned_hash(bench->store, 6);
    assert_int_equal(store_install_page(other->store, &sealed), STATUS_CORRUPT);
    sealed.page = 4;
    sealed.hash = store_pinned_hash(bench->store, 4);
    assert_int_equal(store_install_page(other->store, &sealed), STATUS_OK);
    assert_int_equal(store_install_page(other->store, &sealed), STATUS_OK);
    assert_int_equal(store_install_left(other->store), PAGES / 2 - 1);
    store_check(other->store);
}

static void test_install_of_bad_manifest_is_invalid(void **state)
{
    (void)state;
    uint64_t hashes[PAGES];
    for (uint32_t page = 0; page < PAGES; page++) {
        hashes[page] = store_pinned_hash(bench->store, page);
    }
    struct checkpoint checkpoint = *store_pinned(bench->store);
    hashes[3] ^= 1;
    assert_int_equal(store_install_begin(other->store, &checkpoint, hashes), STATUS_INVALID);
    hashes[3] ^= 1;
    checkpoint.member_count = DISK_MEMBERS_MAX + 1;
    assert_int_equal(store_install_begin(other->store, &checkpoint, hashes), STATUS_INVALID);
    checkpoint.member_count = 1;
    checkpoint.record.segment_count = 99;
    assert_int_equal(store_install_begin(other->store, &checkpoint, hashes), STATUS_INVALID);
    checkpoint = *store_pinned(bench->store);
    assert_int_equal(store_install_begin(other->store, &checkpoint, hashes), STATUS_OK);
}

static void test_install_abort_leaves_the_old_checkpoint(void **state)
{
    (void)state;
    assert_int_equal(install_begin(other, bench), STATUS_OK);
    pull(other, bench, 50);
    store_install_abort(other->store);
    fake_disk_drain(&other->fake);
    store_check(other->store);
    assert_int_equal(store_checkpoint(other->store)->epoch, 0);
    assert_int_equal(other->store->free_slots, other->store->slot_count);
    assert_int_equal(store_install_step(other->store), STATUS_EMPTY);
}

static void test_install_power_cut_at_each_request_never_tears(void **state)
{
    (void)state;
    uint64_t random = test_seed(__func__, 1234);
    unsigned installed = 0;
    for (unsigned round = 0; round < 30; round++) {
        write_page(bench, 2 * test_random_below(&random, PAGES / 2), round);
        close_epoch(bench);
        make_checkpoint(bench);
        store_pin(bench->store);
        uint64_t old = store_checkpoint(other->store)->epoch;
        assert_int_equal(install_begin(other, bench), STATUS_OK);
        pull(other, bench, UINT32_MAX);
        other->fake.disk.dead_after = other->fake.disk.completions + round % 16;
        enum status status = finish_install(other);
        reboot(other);
        assert_int_equal(other->disk, STORE_DISK_OK);
        uint64_t found = store_checkpoint(other->store)->epoch;
        assert_true(found == bench->epoch || (found == old && status != STATUS_EMPTY));
        installed += found == bench->epoch;
        assert_filled(other);
    }
    assert_true(installed > 0);
    assert_true(installed < 30);
}

/* A disk that is given up keeps its pages; a bad one among them is found and pulled. */
static void test_adopt_keeps_pages_and_verifies_them(void **state)
{
    (void)state;
    assert_int_equal(install_begin(other, bench), STATUS_OK);
    pull(other, bench, UINT32_MAX);
    assert_int_equal(finish_install(other), STATUS_EMPTY);
    uint32_t bad_page = 10, bad_leaf = 2;
    fake_disk_flip(&other->fake, store_slot_offset(other->store, other->store->current.pages[bad_page].slot) + 5, 0);
    fake_disk_flip(&other->fake, store_slot_offset(other->store, other->store->current.nodes[0][bad_leaf].slot) + 5, 0);
    reboot(other);
    assert_int_equal(other->disk, STORE_DISK_CORRUPT);
    assert_int_equal(store_adopt(other->store, INCARNATION + 2, true), STATUS_OK);
    store_check(other->store);
    assert_filled(other); /* an empty checkpoint, whatever was kept */
    assert_int_equal(image_present_pages(other->image), 0);
    assert_int_equal(install_begin(other, bench), STATUS_OK);
    assert_int_equal(store_install_left(other->store), PAGES / 2);
    for (unsigned turn = 0; turn < PAGES; turn++) {
        assert_int_equal(store_install_step(other->store), STATUS_OK);
    }
    assert_int_equal(store_install_left(other->store), 64 / 2 + 1);
    pull(other, bench, UINT32_MAX);
    assert_int_equal(finish_install(other), STATUS_EMPTY);
    store_check(other->store);
    reboot(other);
    assert_int_equal(other->disk, STORE_DISK_OK);
    assert_int_equal(store_superblock(other->store)->incarnation, INCARNATION + 2);
    assert_filled(other);
    assert_int_equal(image_digest(other->image), image_digest(bench->image));
}

static void test_adopt_failing_disk_is_io_error(void **state)
{
    (void)state;
    bench->fake.disk.write_errors = true;
    assert_int_equal(store_adopt(bench->store, INCARNATION + 5, false), STATUS_IO_ERROR);
}

static void test_pinned_page_of_bad_disk_is_told(void **state)
{
    (void)state;
    struct sealed_page sealed;
    uint64_t offset = store_slot_offset(bench->store, bench->store->current.pages[4].slot);
    fake_disk_flip(&bench->fake, offset, 0);
    assert_int_equal(store_pinned_page(bench->store, 4, &sealed), STATUS_CORRUPT);
    bench->fake.disk.read_error_at = offset;
    assert_int_equal(store_pinned_page(bench->store, 4, &sealed), STATUS_IO_ERROR);
    assert_int_equal(store_pinned_page(bench->store, 5, &sealed), STATUS_NOT_FOUND);
    store_unpin(bench->store);
    assert_int_equal(store_pinned_page(bench->store, 4, &sealed), STATUS_NOT_FOUND);
    assert_null(store_pinned(bench->store));
}

static void test_pin_holds_the_old_content_across_checkpoints(void **state)
{
    (void)state;
    uint64_t hash = store_pinned_hash(bench->store, 4);
    for (unsigned round = 0; round < 5; round++) {
        for (uint32_t page = 0; page < PAGES; page++) {
            write_page(bench, page, round * 100 + page);
        }
        close_epoch(bench);
        make_checkpoint(bench);
    }
    struct sealed_page sealed;
    assert_int_equal(store_pinned_page(bench->store, 4, &sealed), STATUS_OK);
    assert_int_equal(sealed.hash, hash);
    assert_int_equal(store_pinned(bench->store)->epoch, 1);
}

static void test_store_no_memory(void **state)
{
    (void)state;
    struct fake_machine poor;
    fake_machine_init(&poor, 1, PAGES, 0);
    poor.machine.disk_bytes = DISK;
    poor.reserve_left = 1 << 20;
    struct store_config config = {.machine = &poor.machine, .keys = &bench->keys, .node_number = 1, .world_pages_max = PAGES};
    struct store *store;
    assert_int_equal(store_create(&store, &config), STATUS_NO_MEMORY);
    fake_machine_destroy(&poor);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define PAIR(name) cmocka_unit_test_setup_teardown(name, set_up_pair, tear_down_pair)
    const struct CMUnitTest tests[] = {
        TEST(test_store_blank_disk_is_told),
        TEST(test_store_small_disk_is_told),
        TEST(test_store_unreadable_disk_is_told),
        TEST(test_store_adopted_disk_is_joining_and_empty),
        TEST(test_store_other_clusters_disk_is_foreign),
        TEST(test_store_other_nodes_disk_is_foreign),
        TEST(test_store_superblock_of_wrong_key_is_corrupt),
        TEST(test_store_one_bad_superblock_is_survived_and_two_are_corrupt),
        TEST(test_store_truncated_disk_is_small),
        TEST(test_checkpoint_comes_back_after_power_cut),
        TEST(test_checkpoint_writes_only_what_changed),
        TEST(test_checkpoint_without_change_is_durable_too),
        TEST(test_checkpoint_of_emptied_image_has_no_map),
        TEST(test_checkpoint_holds_the_content_of_its_beginning),
        TEST(test_checkpoint_begin_while_one_is_under_way_is_busy),
        TEST(test_checkpoint_of_flipped_memory_is_corrupt),
        TEST(test_checkpoint_write_error_leaves_the_old_one),
        TEST(test_checkpoint_error_at_each_request_never_tears),
        TEST(test_checkpoint_copies_overflow_ends_it_full),
        TEST(test_checkpoint_power_cut_at_each_request_never_tears),
        TEST(test_fill_of_flipped_page_is_corrupt_and_names_it),
        TEST(test_fill_of_swapped_or_stale_page_is_corrupt),
        TEST(test_open_with_flipped_map_node_is_corrupt),
        TEST(test_smallest_disk_takes_the_whole_world_again_and_again),
        TEST(test_smallest_disk_of_the_usual_world_takes_it_again),
        TEST(test_pin_keeps_slots_until_no_space_and_unpin_frees_them),
        PAIR(test_install_takes_a_checkpoint_and_it_comes_back),
        PAIR(test_install_pulls_only_what_differs),
        PAIR(test_install_newer_manifest_keeps_received_pages),
        PAIR(test_install_of_bad_pages_is_refused),
        PAIR(test_install_of_bad_manifest_is_invalid),
        PAIR(test_install_abort_leaves_the_old_checkpoint),
        PAIR(test_install_power_cut_at_each_request_never_tears),
        PAIR(test_adopt_keeps_pages_and_verifies_them),
        TEST(test_adopt_failing_disk_is_io_error),
        PAIR(test_pinned_page_of_bad_disk_is_told),
        PAIR(test_pin_holds_the_old_content_across_checkpoints),
        TEST(test_store_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
