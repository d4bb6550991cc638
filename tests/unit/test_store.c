#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "replicate/store_private.h"
#include "tests/unit/support/store_bench.h"

static struct bench *bench;

static int set_up(void **state)
{
    (void)state;
    bench = bench_create(7, PAGES, DISK);
    assert_int_equal(bench->disk, STORE_DISK_BLANK);
    assert_int_equal(store_adopt(bench->store, INCARNATION), STATUS_OK);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    bench_destroy(bench);
    return 0;
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
    bench_reboot(bench);
    assert_int_equal(bench->disk, STORE_DISK_OK);
    const struct disk_superblock *superblock = store_superblock(bench->store);
    assert_int_equal(superblock->incarnation, INCARNATION);
    assert_int_equal(superblock->joining, 1);
    assert_int_equal(superblock->node_number, NODE);
    assert_int_equal(store_checkpoint(bench->store)->epoch, 0);
    bench_assert_filled(bench);
    assert_int_equal(image_present_pages(bench->image), 0);
}

static void test_store_adopted_disk_has_no_votes(void **state)
{
    (void)state;
    const struct machine *machine = &bench->fake.machine;
    uint8_t block[DISK_BLOCK_BYTES], empty[DISK_BLOCK_BYTES] = {0};
    memset(block, 0xa5, sizeof block);
    for (uint32_t slot = 0; slot < DISK_VOTE_BLOCKS; slot++) {
        uint64_t offset = (uint64_t)(DISK_VOTE_BLOCK_FIRST + slot) * DISK_BLOCK_BYTES;
        assert_int_equal(machine->block_write(machine->context, offset, block, sizeof block), STATUS_OK);
    }
    assert_int_equal(store_adopt(bench->store, INCARNATION + 5), STATUS_OK);
    bench_reboot(bench);
    for (uint32_t slot = 0; slot < DISK_VOTE_BLOCKS; slot++) {
        uint64_t offset = (uint64_t)(DISK_VOTE_BLOCK_FIRST + slot) * DISK_BLOCK_BYTES;
        assert_int_equal(machine->block_read(machine->context, offset, block, sizeof block), STATUS_OK);
        assert_memory_equal(block, empty, sizeof block);
    }
}

static void test_store_other_clusters_disk_is_foreign(void **state)
{
    (void)state;
    static const uint8_t key[32] = {1, 2, 3}, other[16] = {1};
    seal_keys_derive(&bench->keys, key, other);
    bench_reboot(bench);
    assert_int_equal(bench->disk, STORE_DISK_FOREIGN);
}

static void test_store_other_nodes_disk_is_foreign(void **state)
{
    (void)state;
    fake_machine_power_cut(&bench->fake);
    bench_make_store(bench);
    bench->store->config.node_number = NODE + 1;
    assert_int_equal(store_open(bench->store, &bench->disk, bench->reason), STATUS_OK);
    assert_int_equal(bench->disk, STORE_DISK_FOREIGN);
}

static void test_store_superblock_of_wrong_key_is_corrupt(void **state)
{
    (void)state;
    static const uint8_t other[32] = {4}, cluster[16] = {9, 8, 7};
    seal_keys_derive(&bench->keys, other, cluster);
    bench_reboot(bench);
    assert_int_equal(bench->disk, STORE_DISK_CORRUPT);
}

static void test_store_one_bad_superblock_is_survived_and_two_are_corrupt(void **state)
{
    (void)state;
    fake_disk_flip(&bench->fake, 100, 3);
    bench_reboot(bench);
    assert_int_equal(bench->disk, STORE_DISK_OK);
    fake_disk_flip(&bench->fake, 4096 + 100, 3);
    bench_reboot(bench);
    assert_int_equal(bench->disk, STORE_DISK_CORRUPT);
}

static void test_store_truncated_disk_is_small(void **state)
{
    (void)state;
    fake_machine_power_cut(&bench->fake);
    bench->fake.machine.disk_bytes = DISK;
    struct bench *large = bench_create(1, PAGES, DISK + (32 << 20));
    assert_int_equal(store_adopt(large->store, INCARNATION), STATUS_OK);
    fake_machine_power_cut(&large->fake);
    large->fake.machine.disk_bytes = DISK;
    bench_boot(large);
    assert_int_equal(large->disk, STORE_DISK_SMALL);
    bench_destroy(large);
    bench_boot(bench);
}

/* -- checkpoints -- */

static void test_checkpoint_comes_back_after_power_cut(void **state)
{
    (void)state;
    for (uint32_t page = 0; page < PAGES; page += 3) {
        bench_write_page(bench, page, page + 1);
    }
    bench_close_epoch(bench);
    bench_make_checkpoint(bench);
    struct checkpoint made = bench_checkpoint_of(bench);
    bench_reboot(bench);
    assert_int_equal(bench->disk, STORE_DISK_OK);
    assert_memory_equal(store_checkpoint(bench->store), &made, sizeof made);
    assert_int_equal(store_superblock(bench->store)->joining, 0);
    bench_assert_filled(bench);
    for (uint32_t page = 0; page < PAGES; page++) {
        assert_int_equal(bench_value_of(bench, page), page % 3 == 0 ? page + 1 : 0);
    }
    store_check(bench->store);
}

static void test_checkpoint_writes_only_what_changed(void **state)
{
    (void)state;
    for (uint32_t page = 0; page < PAGES; page++) {
        bench_write_page(bench, page, 1);
    }
    bench_close_epoch(bench);
    bench_make_checkpoint(bench);
    struct store_page_reference before[PAGES];
    memcpy(before, bench->store->current.pages, sizeof before);
    bench_write_page(bench, 77, 2);
    bench_close_epoch(bench);
    bench_make_checkpoint(bench);
    for (uint32_t page = 0; page < PAGES; page++) {
        assert_int_equal(bench->store->current.pages[page].slot == before[page].slot, page != 77);
    }
}

static void test_checkpoint_without_change_is_durable_too(void **state)
{
    (void)state;
    bench_write_page(bench, 5, 1);
    bench_close_epoch(bench);
    bench_make_checkpoint(bench);
    bench->epoch++;
    bench_make_checkpoint(bench);
    bench_reboot(bench);
    assert_int_equal(store_checkpoint(bench->store)->epoch, 2);
    bench_assert_filled(bench);
}

static void test_checkpoint_of_emptied_image_has_no_map(void **state)
{
    (void)state;
    bench_write_page(bench, 5, 1);
    bench_close_epoch(bench);
    bench_make_checkpoint(bench);
    image_clear(bench->image);
    bench->epoch++;
    bench_make_checkpoint(bench);
    assert_int_equal(store_superblock(bench->store)->map_levels, 0);
    bench_reboot(bench);
    assert_int_equal(bench->disk, STORE_DISK_OK);
    bench_assert_filled(bench);
    assert_int_equal(image_present_pages(bench->image), 0);
}

static void test_checkpoint_holds_the_content_of_its_beginning(void **state)
{
    (void)state;
    for (uint32_t page = 0; page < PAGES; page++) {
        bench_write_page(bench, page, 1000 + page);
    }
    bench_close_epoch(bench);
    assert_int_equal(bench_begin_checkpoint(bench), STATUS_OK);
    assert_int_equal(store_checkpoint_step(bench->store), STATUS_OK);
    for (uint32_t page = 0; page < PAGES; page++) {
        bench_write_page(bench, page, 5);
    }
    bench_close_epoch(bench);
    image_clear(bench->image);
    assert_int_equal(bench_run_checkpoint(bench), STATUS_EMPTY);
    bench_reboot(bench);
    bench_assert_filled(bench);
    for (uint32_t page = 0; page < PAGES; page++) {
        assert_int_equal(bench_value_of(bench, page), 1000 + page);
    }
}

static void test_checkpoint_begin_while_one_is_under_way_is_busy(void **state)
{
    (void)state;
    bench_write_page(bench, 5, 1);
    bench_close_epoch(bench);
    assert_int_equal(bench_begin_checkpoint(bench), STATUS_OK);
    assert_int_equal(bench_begin_checkpoint(bench), STATUS_BUSY);
    uint64_t hashes[PAGES] = {0};
    struct checkpoint empty = {0};
    assert_int_equal(store_install_begin(bench->store, &empty, hashes), STATUS_BUSY);
    assert_int_equal(bench_run_checkpoint(bench), STATUS_EMPTY);
    assert_int_equal(store_checkpoint_step(bench->store), STATUS_EMPTY);
}

static void test_checkpoint_of_flipped_memory_is_corrupt(void **state)
{
    (void)state;
    bench_write_page(bench, 5, 1);
    bench_close_epoch(bench);
    bench->fake.frames[5][2000] ^= 1;
    assert_int_equal(bench_begin_checkpoint(bench), STATUS_OK);
    assert_int_equal(bench_run_checkpoint(bench), STATUS_CORRUPT);
    assert_false(store_checkpointing(bench->store));
    bench->fake.frames[5][2000] ^= 1;
    bench_make_checkpoint(bench);
}

static void test_checkpoint_write_error_leaves_the_old_one(void **state)
{
    (void)state;
    bench_write_page(bench, 5, 1);
    bench_close_epoch(bench);
    bench_make_checkpoint(bench);
    bench_write_page(bench, 5, 2);
    bench_close_epoch(bench);
    assert_int_equal(bench_begin_checkpoint(bench), STATUS_OK);
    bench->fake.disk.write_errors = true;
    assert_int_equal(bench_run_checkpoint(bench), STATUS_IO_ERROR);
    bench->fake.disk.write_errors = false;
    assert_int_equal(store_checkpoint(bench->store)->epoch, 1);
    store_check(bench->store);
    bench_make_checkpoint(bench);
    bench_reboot(bench);
    assert_int_equal(store_checkpoint(bench->store)->epoch, 2);
    bench_assert_filled(bench);
    assert_int_equal(bench_value_of(bench, 5), 2);
}

/* Whatever fails, the disk holds one checkpoint or the other, and the store never writes into either's slots. */
static void test_checkpoint_error_at_each_request_never_tears(void **state)
{
    (void)state;
    bench_write_page(bench, 5, 1);
    bench_close_epoch(bench);
    bench_make_checkpoint(bench);
    for (unsigned good = 0; good < 6; good++) {
        uint64_t old = store_checkpoint(bench->store)->epoch;
        bench_write_page(bench, 5, 10 + good);
        bench_close_epoch(bench);
        assert_int_equal(bench_begin_checkpoint(bench), STATUS_OK);
        uint64_t from = bench->fake.disk.completions;
        enum status status;
        do {
            bench->fake.disk.write_errors = bench->fake.disk.completions >= from + good;
            status = store_checkpoint_step(bench->store);
            fake_disk_complete(&bench->fake, false);
        } while (status == STATUS_OK);
        assert_true(status == STATUS_IO_ERROR || (good > 3 && status == STATUS_EMPTY));
        bench->fake.disk.write_errors = false;
        bench_reboot(bench);
        assert_int_equal(bench->disk, STORE_DISK_OK);
        assert_true(store_checkpoint(bench->store)->epoch == old || store_checkpoint(bench->store)->epoch == bench->epoch);
        bench_assert_filled(bench);
        bench->epoch = store_checkpoint(bench->store)->epoch;
    }
}

/* A checkpoint under way of more changed pages than there are copies, and all of them change: the next step ends it. */
static struct bench *create_overflowed(void)
{
    struct bench *large = bench_create(3, STORE_COPIES_MAX + 1000, DISK);
    assert_int_equal(store_adopt(large->store, INCARNATION), STATUS_OK);
    for (uint32_t first = 0; first < large->pages; first += 1000) {
        for (uint32_t page = first; page < first + 1000 && page < large->pages; page++) {
            bench_write_page(large, page, 1);
        }
        bench_close_epoch(large);
    }
    assert_int_equal(bench_begin_checkpoint(large), STATUS_OK);
    image_clear(large->image);
    return large;
}

/* The next checkpoint is durable. */
static void assert_next_checkpoint_holds(struct bench *large)
{
    bench_make_checkpoint(large);
    fake_machine_power_cut(&large->fake);
    bench_boot(large);
    bench_assert_filled(large);
    bench_destroy(large);
}

static void test_checkpoint_copies_overflow_ends_it_full(void **state)
{
    (void)state;
    struct bench *large = create_overflowed();
    assert_int_equal(store_checkpoint_step(large->store), STATUS_FULL);
    assert_false(store_checkpointing(large->store));
    store_check(large->store);
    bench_write_page(large, 3, 3);
    bench_close_epoch(large);
    assert_next_checkpoint_holds(large);
}

/* RING: with all copies taken, a page that was not written yet and became zero may change again before the next step ends the checkpoint. */
static void test_checkpoint_page_that_becomes_zero_and_changes_after_an_overflow_is_survived(void **state)
{
    (void)state;
    struct bench *large = create_overflowed();
    bench_write_page(large, large->pages - 1, 3);
    bench_close_epoch(large);
    assert_int_equal(store_checkpoint_step(large->store), STATUS_FULL);
    assert_next_checkpoint_holds(large);
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
            bench_write_page(bench, test_random_below(&random, PAGES), (uint32_t)test_random(&random) % 3);
        }
        bench_close_epoch(bench);
        uint64_t old = store_checkpoint(bench->store)->epoch, fresh = bench->epoch;
        assert_int_equal(bench_begin_checkpoint(bench), STATUS_OK);
        bench->fake.disk.dead_after = bench->fake.disk.completions + round % 10;
        enum status status = bench_run_checkpoint(bench);
        assert_true(status == STATUS_EMPTY || status == STATUS_TIMED_OUT);
        bench_reboot(bench);
        assert_int_equal(bench->disk, STORE_DISK_OK);
        uint64_t found = store_checkpoint(bench->store)->epoch;
        assert_true(found == fresh || (found == old && status != STATUS_EMPTY));
        olds += found == old;
        news += found == fresh;
        bench_assert_filled(bench);
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
        bench_write_page(bench, page, page + 1);
    }
    bench_close_epoch(bench);
    bench_make_checkpoint(bench);
    fake_disk_flip(&bench->fake, slot_offset(bench->store->current.pages[33].slot) + 1234, 5);
    bench_reboot(bench);
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
    bench_write_page(bench, 10, 1);
    bench_write_page(bench, 11, 2);
    bench_close_epoch(bench);
    bench_make_checkpoint(bench);
    uint8_t saved[PAGE];
    uint8_t *disk = bench->fake.disk.durable;
    uint64_t a = slot_offset(bench->store->current.pages[10].slot), b = slot_offset(bench->store->current.pages[11].slot);
    memcpy(saved, disk + a, PAGE);
    memcpy(disk + a, disk + b, PAGE);
    memcpy(disk + b, saved, PAGE);
    memcpy(bench->fake.disk.current, disk, DISK);
    bench_reboot(bench);
    assert_int_equal(bench_fill(bench), STATUS_CORRUPT);
}

static void test_open_with_flipped_map_node_is_corrupt(void **state)
{
    (void)state;
    for (uint32_t page = 0; page < PAGES; page++) {
        bench_write_page(bench, page, page + 1);
    }
    bench_close_epoch(bench);
    bench_make_checkpoint(bench);
    uint32_t slots[3] = {bench->store->current.nodes[0][2].slot, bench->store->current.nodes[1][0].slot, bench->store->current.record.slot};
    for (unsigned i = 0; i < 3; i++) {
        uint64_t offset = slot_offset(slots[i]) + 77;
        fake_disk_flip(&bench->fake, offset, 1);
        bench_reboot(bench);
        assert_int_equal(bench->disk, STORE_DISK_CORRUPT);
        assert_non_null(strstr(bench->reason, "slot"));
        store_check(bench->store); /* no slot is taken for nothing */
        fake_disk_flip(&bench->fake, offset, 1);
    }
    bench_reboot(bench);
    assert_int_equal(bench->disk, STORE_DISK_OK);
}

static void test_open_with_unreadable_map_node_is_failed_not_corrupt(void **state)
{
    (void)state;
    bench_write_page(bench, 5, 1);
    bench_close_epoch(bench);
    bench_make_checkpoint(bench);
    bench->fake.disk.read_error_at = slot_offset(bench->store->current.nodes[0][0].slot);
    bench_reboot(bench);
    assert_int_equal(bench->disk, STORE_DISK_FAILED);
    bench->fake.disk.read_error_at = slot_offset(store_superblock(bench->store)->world_record.slot);
    bench_reboot(bench);
    assert_int_equal(bench->disk, STORE_DISK_FAILED);
    bench->fake.disk.read_error_at = UINT64_MAX;
    bench_reboot(bench);
    assert_int_equal(bench->disk, STORE_DISK_OK);
}

static void test_open_of_another_abi_version_is_foreign_not_corrupt(void **state)
{
    (void)state;
    bench_write_page(bench, 5, 1);
    bench_close_epoch(bench);
    struct checkpoint checkpoint = bench_checkpoint_of(bench);
    checkpoint.record.abi_version++;
    assert_int_equal(store_checkpoint_begin(bench->store, bench->image, &checkpoint), STATUS_OK);
    assert_int_equal(bench_run_checkpoint(bench), STATUS_EMPTY);
    bench_reboot(bench);
    assert_int_equal(bench->disk, STORE_DISK_FOREIGN);
    assert_non_null(strstr(bench->reason, "ABI version"));
}

/* -- pace -- */

static void (*draw)(void *context, void *buffer, size_t bytes);

/* Each block that is sealed draws a nonce: let that take time. */
static void draw_slowly(void *context, void *buffer, size_t bytes)
{
    ((struct fake_machine *)context)->now_ns += 100000;
    draw(context, buffer, bytes);
}

static uint64_t checkpoint_ns(bool hurry)
{
    for (uint32_t page = 0; page < 64; page++) {
        bench_write_page(bench, page, hurry + 1);
    }
    store_hurry(bench->store, hurry);
    draw = bench->fake.machine.entropy;
    bench->fake.machine.entropy = draw_slowly;
    uint64_t began_ns = bench->fake.now_ns;
    bench_close_epoch(bench);
    assert_int_equal(bench_begin_checkpoint(bench), STATUS_OK);
    enum status status = STATUS_OK;
    for (unsigned turn = 0; turn < 10000 && status == STATUS_OK; turn++) {
        status = store_checkpoint_step(bench->store);
        fake_disk_complete(&bench->fake, true);
        uint64_t due_ns = store_deadline_ns(bench->store);
        bench->fake.now_ns = due_ns != UINT64_MAX && due_ns > bench->fake.now_ns ? due_ns : bench->fake.now_ns;
    }
    assert_int_equal(status, STATUS_EMPTY);
    bench->fake.machine.entropy = draw;
    return bench->fake.now_ns - began_ns;
}

static void test_store_checkpoint_in_a_hurry_takes_half_the_time_of_one_that_is_not(void **state)
{
    (void)state;
    uint64_t calm_ns = checkpoint_ns(false);
    assert_true(checkpoint_ns(true) * 2 <= calm_ns);
}

/* -- space -- */

static void run_full_rewrites(struct bench *b, unsigned rounds)
{
    for (unsigned round = 1; round <= rounds; round++) {
        for (uint32_t first = 0; first < b->pages; first += 1000) {
            for (uint32_t page = first; page < first + 1000 && page < b->pages; page++) {
                bench_write_page(b, page, round * 7 + page);
            }
            bench_close_epoch(b);
        }
        assert_int_equal(bench_begin_checkpoint(b), STATUS_OK);
        assert_int_equal(bench_run_checkpoint(b), STATUS_EMPTY);
    }
    store_check(b->store);
    fake_machine_power_cut(&b->fake);
    bench_boot(b);
    assert_int_equal(b->disk, STORE_DISK_OK);
    bench_assert_filled(b);
}

static void test_smallest_disk_takes_the_whole_world_again_and_again(void **state)
{
    (void)state;
    uint32_t pages = 16 * 256;
    struct bench *tight = bench_create(3, pages, disk_bytes_min((uint64_t)pages * PAGE));
    assert_int_equal(store_adopt(tight->store, INCARNATION), STATUS_OK);
    run_full_rewrites(tight, 4);
    bench_destroy(tight);
}

static void test_smallest_disk_of_the_usual_world_takes_it_again(void **state)
{
    (void)state;
    uint32_t pages = 64 * 256;
    struct bench *tight = bench_create(3, pages, disk_bytes_min((uint64_t)pages * PAGE));
    assert_int_equal(store_adopt(tight->store, INCARNATION), STATUS_OK);
    run_full_rewrites(tight, 2);
    bench_destroy(tight);
}

static void test_pin_keeps_slots_until_no_space_and_unpin_frees_them(void **state)
{
    (void)state;
    uint32_t pages = 26 * 256;
    struct bench *tight = bench_create(3, pages, disk_bytes_min((uint64_t)pages * PAGE));
    assert_int_equal(store_adopt(tight->store, INCARNATION), STATUS_OK);
    run_full_rewrites(tight, 1);
    store_pin(tight->store);
    run_full_rewrites(tight, 0);
    store_pin(tight->store);
    for (unsigned round = 1; round <= 2; round++) {
        for (uint32_t first = 0; first < pages; first += 1000) {
            for (uint32_t page = first; page < first + 1000 && page < pages; page++) {
                bench_write_page(tight, page, 99 + round);
            }
            bench_close_epoch(tight);
        }
        if (round == 1) {
            assert_int_equal(bench_begin_checkpoint(tight), STATUS_OK);
            assert_int_equal(bench_run_checkpoint(tight), STATUS_EMPTY);
        }
    }
    assert_int_equal(bench_begin_checkpoint(tight), STATUS_NO_SPACE);
    assert_false(store_checkpointing(tight->store));
    store_unpin(tight->store);
    assert_int_equal(bench_begin_checkpoint(tight), STATUS_OK);
    assert_int_equal(bench_run_checkpoint(tight), STATUS_EMPTY);
    store_check(tight->store);
    bench_destroy(tight);
}

static void test_adopt_failing_disk_is_io_error(void **state)
{
    (void)state;
    bench->fake.disk.write_errors = true;
    assert_int_equal(store_adopt(bench->store, INCARNATION + 5), STATUS_IO_ERROR);
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
    const struct CMUnitTest tests[] = {
        TEST(test_store_blank_disk_is_told),
        TEST(test_store_small_disk_is_told),
        TEST(test_store_unreadable_disk_is_told),
        TEST(test_store_adopted_disk_is_joining_and_empty),
        TEST(test_store_adopted_disk_has_no_votes),
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
        TEST(test_checkpoint_page_that_becomes_zero_and_changes_after_an_overflow_is_survived),
        TEST(test_checkpoint_power_cut_at_each_request_never_tears),
        TEST(test_fill_of_flipped_page_is_corrupt_and_names_it),
        TEST(test_fill_of_swapped_or_stale_page_is_corrupt),
        TEST(test_open_with_flipped_map_node_is_corrupt),
        TEST(test_open_with_unreadable_map_node_is_failed_not_corrupt),
        TEST(test_open_of_another_abi_version_is_foreign_not_corrupt),
        TEST(test_smallest_disk_takes_the_whole_world_again_and_again),
        TEST(test_smallest_disk_of_the_usual_world_takes_it_again),
        TEST(test_store_checkpoint_in_a_hurry_takes_half_the_time_of_one_that_is_not),
        TEST(test_pin_keeps_slots_until_no_space_and_unpin_frees_them),
        TEST(test_adopt_failing_disk_is_io_error),
        TEST(test_store_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
