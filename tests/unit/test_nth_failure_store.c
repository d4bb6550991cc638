/* Each reservation, frame, read, write, flush and submission of the page store fails once, for every n until the scenario passes without reaching
 * it: adopting a blank disk, checkpoints, an install, booting and filling. Whatever fails is told by a status; the disk always holds a
 * checkpoint that was whole, never older than the last one called durable. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "replicate/store_private.h"
#include "tests/unit/support/nth_failure.h"
#include "tests/unit/support/store_bench.h"

enum { FEW = 40, IDLE_MAX = 50 };

static struct bench *source; /* what installs take their pages from */

static int set_up(void **state)
{
    (void)state;
    source = bench_create(8, PAGES, DISK);
    assert_int_equal(store_adopt(source->store, INCARNATION + 1), STATUS_OK);
    for (uint32_t page = 0; page < FEW; page++) {
        bench_write_page(source, page * 3, page + 1);
    }
    source->epoch = 50;
    bench_close_epoch(source);
    bench_make_checkpoint(source);
    store_pin(source->store);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    bench_destroy(source);
    return 0;
}

static struct bench *begin(enum fake_call call, uint64_t n)
{
    struct bench *bench = bench_create(n, PAGES, DISK);
    assert_int_equal(bench->disk, STORE_DISK_BLANK);
    assert_int_equal(store_adopt(bench->store, INCARNATION), STATUS_OK);
    for (uint32_t page = 0; page < FEW; page++) {
        bench_write_page(bench, page, page + 1);
    }
    bench_close_epoch(bench);
    bench_make_checkpoint(bench);
    fake_machine_fail_once(&bench->fake, call, n);
    return bench;
}

/* Reboot without failures: one of two checkpoints is there, whole; the newer one if it was called durable. */
static bool end(struct bench *bench, uint64_t older, uint64_t newer, bool durable)
{
    bool reached = fake_machine_has_failed(&bench->fake);
    fake_machine_fail_once(&bench->fake, FAKE_CALLS, 0);
    store_check(bench->store);
    bench_reboot(bench);
    assert_int_equal(bench->disk, STORE_DISK_OK);
    uint64_t found = store_checkpoint(bench->store)->epoch;
    assert_true(found == newer || (found == older && !durable));
    bench_assert_filled(bench);
    store_check(bench->store);
    bench_destroy(bench);
    return reached;
}

static bool checkpoint_life(enum fake_call call, uint64_t n)
{
    struct bench *bench = begin(call, n);
    uint64_t older = bench->epoch;
    for (uint32_t page = 5; page < FEW + 20; page++) {
        bench_write_page(bench, page, 1000 + page);
    }
    bench_close_epoch(bench);
    enum status status = bench_begin_checkpoint(bench);
    for (unsigned idle = 0; status == STATUS_OK && idle < IDLE_MAX; bench->fake.now_ns += 1000000) {
        status = store_checkpoint_step(bench->store);
        idle = fake_disk_complete(&bench->fake, true) ? 0 : idle + 1;
    }
    assert_true(status == STATUS_EMPTY || (status == STATUS_IO_ERROR && fake_machine_has_failed(&bench->fake)));
    assert_false(store_checkpointing(bench->store));
    return end(bench, older, bench->epoch, status == STATUS_EMPTY);
}

/* The first page that is missing, sealed by the source; what the disk of the receiver says to it. */
static enum status pull_one(struct bench *bench)
{
    uint32_t cursor = 0, page;
    if (store_install_missing(bench->store, &cursor, &page, 1) == 0) {
        return STATUS_EMPTY;
    }
    struct sealed_page sealed;
    assert_int_equal(store_pinned_page(source->store, page, &sealed), STATUS_OK);
    return store_install_page(bench->store, &sealed);
}

static bool install_life(enum fake_call call, uint64_t n)
{
    struct bench *bench = begin(call, n);
    uint64_t older = bench->epoch;
    uint64_t hashes[PAGES];
    for (uint32_t page = 0; page < PAGES; page++) {
        hashes[page] = store_pinned_hash(source->store, page);
    }
    enum status status = store_install_begin(bench->store, store_pinned(source->store), hashes);
    for (unsigned idle = 0; status == STATUS_OK && idle < IDLE_MAX; bench->fake.now_ns += 1000000) {
        enum status pulled = pull_one(bench);
        assert_true(pulled == STATUS_OK || pulled == STATUS_EMPTY || pulled == STATUS_FULL || pulled == STATUS_IO_ERROR || pulled == STATUS_STALE);
        status = store_install_step(bench->store);
        idle = fake_disk_complete(&bench->fake, true) ? 0 : idle + 1;
    }
    assert_true(status == STATUS_EMPTY || (status == STATUS_IO_ERROR && fake_machine_has_failed(&bench->fake)));
    return end(bench, older, store_pinned(source->store)->epoch, status == STATUS_EMPTY);
}

/* Giving the incarnation up: the old life, the new one, or a disk that is told to be neither and can be adopted again. */
static bool adopt_life(enum fake_call call, uint64_t n)
{
    struct bench *bench = begin(call, n);
    enum status status = store_adopt(bench->store, INCARNATION + 7);
    bool reached = fake_machine_has_failed(&bench->fake);
    assert_true(status == STATUS_OK || (status == STATUS_IO_ERROR && reached));
    fake_machine_fail_once(&bench->fake, FAKE_CALLS, 0);
    bench_reboot(bench);
    if (bench->disk == STORE_DISK_OK) {
        uint64_t incarnation = store_superblock(bench->store)->incarnation;
        assert_true(incarnation == INCARNATION + 7 || (status != STATUS_OK && incarnation == INCARNATION));
        assert_true(incarnation == INCARNATION || store_superblock(bench->store)->joining == 1);
        bench_assert_filled(bench);
    } else {
        assert_int_not_equal(status, STATUS_OK);
        assert_int_equal(bench->disk, STORE_DISK_CORRUPT);
    }
    assert_int_equal(store_adopt(bench->store, INCARNATION + 9), STATUS_OK);
    bench_reboot(bench);
    assert_int_equal(bench->disk, STORE_DISK_OK);
    assert_int_equal(store_superblock(bench->store)->incarnation, INCARNATION + 9);
    bench_destroy(bench);
    return reached;
}

/* A boot: NO_MEMORY, or a disk that failed, or a fill that is told to have failed and goes on when asked again. */
static bool boot_life(enum fake_call call, uint64_t n)
{
    struct bench *bench = begin(call, 0);
    uint64_t epoch = bench->epoch;
    fake_machine_power_cut(&bench->fake);
    fake_machine_fail_once(&bench->fake, call, n);
    struct store_config config = {
        .machine = &bench->fake.machine, .keys = &bench->keys, .node_number = NODE, .world_pages_max = PAGES};
    memcpy(config.cluster_id, bench->keys.cluster_id, sizeof config.cluster_id);
    enum status status = store_create(&bench->store, &config);
    bool reserved = fake_machine_has_failed(&bench->fake);
    assert_true(status == STATUS_OK ? !reserved || call != FAKE_RESERVE : status == STATUS_NO_MEMORY && reserved);
    if (status == STATUS_OK && call != FAKE_RESERVE) {
        bench_make_store(bench);
        assert_int_equal(store_open(bench->store, &bench->disk, bench->reason), STATUS_OK);
        assert_true(bench->disk == STORE_DISK_OK || (bench->disk == STORE_DISK_FAILED && fake_machine_has_failed(&bench->fake)));
        if (bench->disk == STORE_DISK_OK) {
            status = bench_fill(bench);
            enum status expected = call == FAKE_PAGE_ADD ? STATUS_NO_MEMORY : STATUS_IO_ERROR;
            assert_true(status == STATUS_OK || (status == expected && fake_machine_has_failed(&bench->fake)));
            assert_int_equal(bench_fill(bench), STATUS_OK);
        }
    }
    bool reached = fake_machine_has_failed(&bench->fake);
    fake_machine_fail_once(&bench->fake, FAKE_CALLS, 0);
    bench_reboot(bench);
    assert_int_equal(bench->disk, STORE_DISK_OK);
    assert_int_equal(store_checkpoint(bench->store)->epoch, epoch);
    bench_assert_filled(bench);
    bench_destroy(bench);
    return reached;
}

NTH_FAILURE_TEST(test_checkpoint_each_failed_write_leaves_a_whole_one, checkpoint_life, FAKE_WRITE, 5)
NTH_FAILURE_TEST(test_checkpoint_each_failed_flush_leaves_a_whole_one, checkpoint_life, FAKE_FLUSH, 2)
NTH_FAILURE_TEST(test_checkpoint_each_full_queue_is_tried_again, checkpoint_life, FAKE_SUBMIT, 7)
NTH_FAILURE_TEST(test_install_each_failed_write_leaves_a_whole_one, install_life, FAKE_WRITE, 5)
NTH_FAILURE_TEST(test_install_each_failed_flush_leaves_a_whole_one, install_life, FAKE_FLUSH, 2)
NTH_FAILURE_TEST(test_install_each_full_queue_is_tried_again, install_life, FAKE_SUBMIT, 7)
NTH_FAILURE_TEST(test_adopt_each_failed_write_can_be_adopted_again, adopt_life, FAKE_WRITE, 2)
NTH_FAILURE_TEST(test_boot_each_failed_reservation_is_no_memory, boot_life, FAKE_RESERVE, 5)
NTH_FAILURE_TEST(test_boot_each_failed_read_is_told_and_harms_nothing, boot_life, FAKE_READ, 10)
NTH_FAILURE_TEST(test_boot_each_missing_frame_is_told_and_harms_nothing, boot_life, FAKE_PAGE_ADD, 20)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checkpoint_each_failed_write_leaves_a_whole_one),
        cmocka_unit_test(test_checkpoint_each_failed_flush_leaves_a_whole_one),
        cmocka_unit_test(test_checkpoint_each_full_queue_is_tried_again),
        cmocka_unit_test(test_install_each_failed_write_leaves_a_whole_one),
        cmocka_unit_test(test_install_each_failed_flush_leaves_a_whole_one),
        cmocka_unit_test(test_install_each_full_queue_is_tried_again),
        cmocka_unit_test(test_adopt_each_failed_write_can_be_adopted_again),
        cmocka_unit_test(test_boot_each_failed_reservation_is_no_memory),
        cmocka_unit_test(test_boot_each_failed_read_is_told_and_harms_nothing),
        cmocka_unit_test(test_boot_each_missing_frame_is_told_and_harms_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
