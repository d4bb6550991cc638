/* The Raft log as it is opened again: the torn tail is cut, what was flushed and is not whole is told. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "consensus/log_internal.h"
#include "include/hash64.h"
#include "tests/unit/support/log_bench.h"

/* -- cutting the torn tail -- */

static void test_log_torn_tail_is_cut_and_what_was_flushed_stays(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 30; seed++) {
        struct bench *bench = bench_make(100 + seed);
        append_many(bench, 2, 10, 1, 5000);
        settle(bench);
        append_many(bench, 12, 100, 1, 5000);
        log_tick(bench->log, false);
        for (uint64_t i = 0; i < seed % 4; i++) {
            fake_disk_complete(&bench->fake, true);
        }
        assert_int_equal(restart(bench), STATUS_OK);
        assert_true(log_last_index(bench->log) >= 11);
        uint64_t last = log_last_index(bench->log);
        for (uint64_t index = 2; index <= last; index++) {
            assert_entry(bench, index, 1);
        }
        /* What is written now is never taken for what stood behind the tear. */
        append_many(bench, last + 1, 3, 2, 300);
        settle(bench);
        assert_int_equal(restart(bench), STATUS_OK);
        assert_int_equal(log_last_index(bench->log), last + 3);
        for (uint64_t index = 2; index <= last + 3; index++) {
            assert_entry(bench, index, index <= last ? 1 : 2);
        }
        bench_free(bench);
    }
}

static void test_log_sequence_is_not_reused_after_a_torn_tail(void **state)
{
    (void)state;
    struct bench *bench = bench_make(6);
    append_many(bench, 2, 4, 1, 100);
    settle(bench);
    append_many(bench, 6, 4 * LOG_BATCHES_MAX, 1, 60000); /* one round of several batches; nothing written after it says that it was flushed */
    settle(bench);
    uint64_t next = bench->log->next_sequence;
    fake_disk_flip(&bench->fake, place_of(bench, 6) + 200, 3);
    assert_int_equal(restart(bench), STATUS_OK);
    assert_int_equal(log_last_index(bench->log), 5);
    assert_int_equal(bench->log->next_sequence, next);
    bench_free(bench);
}

/* -- corruption -- */

static void test_log_bad_record_that_was_flushed_is_corrupt(void **state)
{
    (void)state;
    for (uint64_t index = 2; index < 12; index++) {
        struct bench *bench = bench_make(7);
        for (uint64_t i = 2; i < 12; i++) {
            append_many(bench, i, 1, 1, 100);
            settle(bench);
        }
        go_quiet(bench);
        uint64_t place = place_of(bench, index);
        fake_disk_flip(&bench->fake, place + 130, 0);
        assert_int_equal(restart(bench), STATUS_CORRUPT);
        assert_non_null(strstr(bench->reason, "checksum"));
        bench_free(bench);
    }
}

/* Whoever can write to a disk can make a right checksum: a sequence without successor would have the next batches forgotten. */
static void test_log_batch_of_a_sequence_that_cannot_be_is_corrupt(void **state)
{
    (void)state;
    struct bench *bench = bench_make(25);
    struct log_batch forged = {.magic = LOG_BATCH_MAGIC,
                               .version = LOG_VERSION,
                               .bytes = LOG_BLOCK,
                               .raft_id = raft_id,
                               .sequence = UINT64_MAX,
                               .live = 1,
                               .before = 1,
                               .used = sizeof forged};
    forged.checksum = log_batch_checksum(&forged);
    memcpy(bench->fake.disk.current + REGION_OFFSET + 8 * LOG_BLOCK, &forged, sizeof forged);
    memcpy(bench->fake.disk.durable + REGION_OFFSET + 8 * LOG_BLOCK, &forged, sizeof forged);
    assert_int_equal(restart(bench), STATUS_CORRUPT);
    assert_non_null(strstr(bench->reason, "sequence"));
    bench_free(bench);
}

static void test_log_two_batches_of_one_sequence_are_corrupt(void **state)
{
    (void)state;
    struct bench *bench = bench_make(27);
    append_many(bench, 2, 1, 1, 100);
    settle(bench);
    const uint8_t *batch = bench->fake.disk.current + place_of(bench, 2) / LOG_BLOCK * LOG_BLOCK;
    uint8_t *copy = bench->fake.disk.durable + REGION_OFFSET + 9 * LOG_BLOCK;
    struct log_batch forged;
    memcpy(copy, batch, LOG_BLOCK);
    memcpy(bench->fake.disk.current + REGION_OFFSET + 9 * LOG_BLOCK, copy, LOG_BLOCK);
    assert_int_equal(restart(bench), STATUS_OK); /* the same one, written elsewhere too, says nothing else */
    assert_entry(bench, 2, 1);
    memcpy(&forged, copy, sizeof forged);
    forged.records = 0;
    forged.used = sizeof forged;
    forged.checksum = 0;
    forged.checksum = log_batch_checksum(&forged);
    memcpy(copy, &forged, sizeof forged);
    memcpy(bench->fake.disk.current + REGION_OFFSET + 9 * LOG_BLOCK, &forged, sizeof forged);
    assert_int_equal(restart(bench), STATUS_CORRUPT);
    assert_non_null(strstr(bench->reason, "two different"));
    bench_free(bench);
}

/* DURABLE: whichever of two equal copies a start goes on behind, the next start finds what was written there. */
static void test_log_entries_behind_one_of_two_copies_survive(void **state)
{
    (void)state;
    for (unsigned original = 0; original < 2; original++) {
        struct bench *bench = bench_make(32);
        append_many(bench, 2, 1, 1, 100);
        settle(bench);
        uint8_t batch[LOG_BLOCK];
        memcpy(batch, bench->fake.disk.current + place_of(bench, 2) / LOG_BLOCK * LOG_BLOCK, LOG_BLOCK);
        uint64_t copy = REGION_OFFSET + (original == 0 ? 9 : 1) * LOG_BLOCK;
        memcpy(bench->fake.disk.current + copy, batch, LOG_BLOCK);
        memcpy(bench->fake.disk.durable + copy, batch, LOG_BLOCK);
        if (original == 1) {
            memset(bench->fake.disk.current + REGION_OFFSET, 0, LOG_BLOCK);
            memset(bench->fake.disk.durable + REGION_OFFSET, 0, LOG_BLOCK);
        }
        for (uint64_t index = 3; index < 6; index++) {
            assert_int_equal(restart(bench), STATUS_OK);
            assert_int_equal(log_last_index(bench->log), index - 1);
            append_many(bench, index, 1, 1, 100);
            settle(bench);
            if (original == 1) {
                memcpy(bench->fake.disk.current + REGION_OFFSET, batch, LOG_BLOCK);
                memcpy(bench->fake.disk.durable + REGION_OFFSET, batch, LOG_BLOCK);
            }
        }
        bench_free(bench);
    }
}

/* A batch with a right checksum whose numbers do not follow from the one before it would be accepted, and the log then could not be continued. */
static void assert_forged_successor_is_corrupt(struct log_batch forged, uint64_t record_index, const char *reason)
{
    struct bench *bench = bench_make(28);
    append_many(bench, 2, 2, 1, 100);
    settle(bench);
    const uint8_t *first = bench->fake.disk.current + place_of(bench, 2);
    uint8_t batch[LOG_BLOCK] = {0};
    struct log_record record;
    memcpy(&record, first, sizeof record);
    record.index = record_index;
    record.body_check = hash64(record_index, first + sizeof record, record.body_bytes);
    record.checksum = log_record_checksum(&record);
    forged = (struct log_batch){.magic = LOG_BATCH_MAGIC,
                                .version = LOG_VERSION,
                                .bytes = LOG_BLOCK,
                                .raft_id = raft_id,
                                .sequence = 2,
                                .previous = 1,
                                .flushed = 1,
                                .live = 1,
                                .before = forged.before,
                                .records = forged.records,
                                .used = (uint32_t)(sizeof forged + (forged.records > 0 ? log_record_bytes_of(record.body_bytes) : 0))};
    memcpy(batch, &forged, sizeof forged);
    memcpy(batch + sizeof forged, &record, sizeof record);
    memcpy(batch + sizeof forged + sizeof record, first + sizeof record, record.body_bytes);
    memset(batch + forged.used, 0, LOG_BLOCK - forged.used);
    forged.checksum = log_batch_checksum((const struct log_batch *)(const void *)batch);
    memcpy(batch, &forged, sizeof forged);
    memcpy(bench->fake.disk.current + REGION_OFFSET + LOG_BLOCK, batch, LOG_BLOCK);
    memcpy(bench->fake.disk.durable + REGION_OFFSET + LOG_BLOCK, batch, LOG_BLOCK);
    enum status status = restart(bench);
    assert_int_equal(status, reason != NULL ? STATUS_CORRUPT : STATUS_OK);
    if (reason != NULL) {
        assert_non_null(strstr(bench->reason, reason));
    }
    bench_free(bench);
}

static void test_log_batch_that_does_not_follow_is_corrupt(void **state)
{
    (void)state;
    assert_forged_successor_is_corrupt((struct log_batch){.before = 3, .records = 1}, 4, NULL);
    assert_forged_successor_is_corrupt((struct log_batch){.before = 3, .records = 1}, 3, "entry 3 where entry 4");
    assert_forged_successor_is_corrupt((struct log_batch){.before = 4, .records = 1}, 5, "entry 5 where entry 4");
    assert_forged_successor_is_corrupt((struct log_batch){.before = 4}, 5, "entry 5 where entry 4");
}

/* A term without successor would have the library count from 0 again. */
static void test_log_record_of_a_term_that_cannot_be_is_corrupt(void **state)
{
    (void)state;
    struct bench *bench = bench_make(26);
    append_many(bench, 2, 1, GROUP_NUMBER_MAX + 1, 100);
    settle(bench);
    assert_int_equal(restart(bench), STATUS_CORRUPT);
    assert_non_null(strstr(bench->reason, "bad record"));
    bench_free(bench);
}

static void test_log_bad_record_below_the_checkpoint_is_no_matter(void **state)
{
    (void)state;
    struct bench *bench = bench_make(8);
    for (uint64_t i = 2; i < 12; i++) {
        append_many(bench, i, 1, 1, 100);
        settle(bench);
    }
    go_quiet(bench);
    fake_disk_flip(&bench->fake, place_of(bench, 5) + 130, 0);
    bench->checkpoint = 6;
    assert_int_equal(restart(bench), STATUS_OK);
    assert_int_equal(log_last_index(bench->log), 11);
    bench_free(bench);
}

static void test_log_entry_that_went_bad_is_not_given_out(void **state)
{
    (void)state;
    static uint8_t scratch[ENTRY_BODY_BYTES_MAX];
    struct bench *bench = bench_make(9);
    append_many(bench, 2, 5, 1, 1000);
    go_quiet(bench);
    assert_int_equal(restart(bench), STATUS_OK);
    fake_disk_flip(&bench->fake, place_of(bench, 4) + 500, 0);
    struct log_view view;
    assert_int_equal(log_read(bench->log, 4, scratch, &view), STATUS_CORRUPT);
    assert_int_equal(log_read(bench->log, 3, scratch, &view), STATUS_OK);
    bench->fake.disk.read_error_at = place_of(bench, 3);
    assert_int_equal(log_read(bench->log, 3, scratch, &view), STATUS_IO_ERROR);
    assert_int_equal(restart(bench), STATUS_IO_ERROR);
    bench_free(bench);
}

static void test_log_of_another_incarnation_is_none(void **state)
{
    (void)state;
    struct bench *bench = bench_make(10);
    append_many(bench, 2, 5, 1, 1000);
    go_quiet(bench);
    assert_int_equal(log_open(bench->log, REGION_OFFSET, REGION_BYTES, raft_id + 256, 1, 1, bench->reason), STATUS_OK);
    assert_int_equal(log_last_index(bench->log), 1);
    bench_free(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_torn_tail_is_cut_and_what_was_flushed_stays),
        cmocka_unit_test(test_log_sequence_is_not_reused_after_a_torn_tail),
        cmocka_unit_test(test_log_bad_record_that_was_flushed_is_corrupt),
        cmocka_unit_test(test_log_batch_of_a_sequence_that_cannot_be_is_corrupt),
        cmocka_unit_test(test_log_two_batches_of_one_sequence_are_corrupt),
        cmocka_unit_test(test_log_entries_behind_one_of_two_copies_survive),
        cmocka_unit_test(test_log_batch_that_does_not_follow_is_corrupt),
        cmocka_unit_test(test_log_record_of_a_term_that_cannot_be_is_corrupt),
        cmocka_unit_test(test_log_bad_record_below_the_checkpoint_is_no_matter),
        cmocka_unit_test(test_log_entry_that_went_bad_is_not_given_out),
        cmocka_unit_test(test_log_of_another_incarnation_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
