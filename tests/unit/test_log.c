/* The Raft log on disk: what it keeps, what it cuts, what it refuses. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "consensus/log_internal.h"
#include "include/hash64.h"
#include "tests/unit/support/fake_machine.h"

#define MS 1000000ull
enum { REGION_OFFSET = 1 << 20, REGION_BYTES = LOG_REGION_BYTES_MIN, DISK = REGION_OFFSET + REGION_BYTES };
static const uint64_t raft_id = 0x1101;

struct bench {
    struct fake_machine fake;
    struct log *log;
    uint64_t checkpoint, checkpoint_term;
    char reason[200];
};

static enum status reopen(struct bench *bench)
{
    return log_open(bench->log, REGION_OFFSET, REGION_BYTES, raft_id, bench->checkpoint, bench->checkpoint_term, bench->reason);
}

static struct bench *bench_make(uint64_t seed)
{
    struct bench *bench = calloc(1, sizeof *bench);
    fake_machine_init(&bench->fake, seed, 16, DISK);
    bench->checkpoint = bench->checkpoint_term = 1;
    assert_int_equal(log_create(&bench->log, &bench->fake.machine, REGION_BYTES), STATUS_OK);
    assert_int_equal(reopen(bench), STATUS_OK);
    log_recovered_durable(bench->log);
    return bench;
}

static void bench_free(struct bench *bench)
{
    fake_machine_destroy(&bench->fake);
    free(bench);
}

/* Power goes and comes back. */
static enum status restart(struct bench *bench)
{
    fake_machine_power_cut(&bench->fake);
    assert_int_equal(log_create(&bench->log, &bench->fake.machine, REGION_BYTES), STATUS_OK);
    enum status status = reopen(bench);
    if (status == STATUS_OK) {
        assert_true(log_persisted(bench->log) <= log_last_index(bench->log));
        log_recovered_durable(bench->log);
        log_check(bench->log);
    }
    return status;
}

/* The body of an entry is made of its index, its term and its length. */
static void make_body(uint8_t *body, uint64_t index, uint64_t term, uint32_t bytes)
{
    uint64_t random = index * 1000003 + term * 7919 + bytes;
    for (uint32_t i = 0; i < bytes; i += 8) {
        uint64_t word = test_random(&random);
        memcpy(body + i, &word, bytes - i < 8 ? bytes - i : 8);
    }
}

static enum status append(struct bench *bench, uint64_t index, uint64_t term, uint32_t bytes)
{
    static uint8_t body[ENTRY_BODY_BYTES_MAX];
    make_body(body, index, term, bytes);
    struct group_entry entry = {.type = GROUP_ENTRY_EPOCH, .epoch = index, .parts = 1, .bytes = bytes};
    return log_append(bench->log, index, term, LOG_COMMAND, &entry, body, bytes);
}

static void append_many(struct bench *bench, uint64_t first, unsigned count, uint64_t term, uint32_t bytes)
{
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(append(bench, first + i, term, bytes), STATUS_OK);
    }
}

/* Everything that can be written is written and flushed. */
static void settle(struct bench *bench)
{
    for (unsigned i = 0; i < 200; i++) {
        log_tick(bench->log, false);
        fake_disk_drain(&bench->fake);
    }
    log_check(bench->log);
}

/* ... and the marker behind it. */
static void go_quiet(struct bench *bench)
{
    settle(bench);
    bench->fake.now_ns += (LOG_MARKER_MS + 1) * MS;
    settle(bench);
}

static void assert_entry(struct bench *bench, uint64_t index, uint64_t term)
{
    static uint8_t expected[ENTRY_BODY_BYTES_MAX], scratch[ENTRY_BODY_BYTES_MAX];
    struct log_view view;
    assert_int_equal(log_read(bench->log, index, scratch, &view), STATUS_OK);
    assert_int_equal(view.term, term);
    assert_int_equal(view.entry.epoch, index);
    assert_int_equal(log_term_of(bench->log, index), term);
    make_body(expected, index, term, view.body_bytes);
    assert_memory_equal(view.body, expected, view.body_bytes);
}

/* Where the record of an entry stands on the disk. */
static uint64_t place_of(const struct bench *bench, uint64_t index)
{
    const struct log_slot *slot = log_slot_of(bench->log, index);
    assert_int_not_equal(slot->sequence, 0);
    return REGION_OFFSET + (uint64_t)slot->block * LOG_BLOCK + slot->record;
}

/* -- keeping -- */

static void test_log_flushed_entries_survive_power_loss(void **state)
{
    (void)state;
    struct bench *bench = bench_make(1);
    append_many(bench, 2, 100, 1, 3000);
    append_many(bench, 102, 5, 2, ENTRY_BODY_BYTES_MAX);
    assert_int_equal(log_append(bench->log, 107, 3, LOG_BARRIER, NULL, NULL, 0), STATUS_OK);
    settle(bench);
    assert_int_equal(log_persisted(bench->log), 107);
    assert_int_equal(restart(bench), STATUS_OK);
    assert_int_equal(log_last_index(bench->log), 107);
    for (uint64_t index = 2; index < 107; index++) {
        assert_entry(bench, index, index < 102 ? 1 : 2);
    }
    assert_int_equal(log_type_of(bench->log, 107), LOG_BARRIER);
    assert_int_equal(log_term_of(bench->log, 1), 1);
    assert_int_equal(log_term_of(bench->log, 108), 0);
    bench_free(bench);
}

static void test_log_nothing_is_persisted_before_the_flush(void **state)
{
    (void)state;
    struct bench *bench = bench_make(2);
    append_many(bench, 2, 3, 1, 100);
    assert_int_equal(log_persisted(bench->log), 1);
    log_tick(bench->log, true);
    assert_int_equal(bench->fake.disk.queued, 0);
    log_tick(bench->log, false);
    while (fake_disk_complete(&bench->fake, false)) {
        assert_int_equal(log_persisted(bench->log), 1);
    }
    log_tick(bench->log, false);
    assert_int_equal(log_persisted(bench->log), 1);
    assert_true(fake_disk_complete(&bench->fake, false));
    assert_int_equal(log_persisted(bench->log), 4);
    bench_free(bench);
}

static void test_log_appends_during_a_flush_share_the_next_one(void **state)
{
    (void)state;
    struct bench *bench = bench_make(3);
    append_many(bench, 2, 1, 1, 100);
    log_tick(bench->log, false);
    append_many(bench, 3, 50, 1, 100);
    settle(bench);
    assert_int_equal(log_persisted(bench->log), 52);
    assert_int_equal(bench->fake.disk.flushes, 2);
    bench_free(bench);
}

static void test_log_quiet_log_writes_one_marker_and_no_more(void **state)
{
    (void)state;
    struct bench *bench = bench_make(4);
    append_many(bench, 2, 3, 1, 100);
    settle(bench);
    uint64_t flushes = bench->fake.disk.flushes;
    assert_true(log_deadline_ns(bench->log) > bench->fake.now_ns);
    go_quiet(bench);
    assert_int_equal(bench->fake.disk.flushes, flushes + 1);
    assert_int_equal(log_deadline_ns(bench->log), UINT64_MAX);
    go_quiet(bench);
    assert_int_equal(bench->fake.disk.flushes, flushes + 1);
    bench_free(bench);
}

static void test_log_evicted_entries_are_read_back_from_disk(void **state)
{
    (void)state;
    struct bench *bench = bench_make(5);
    /* More than the memory ring. The region would not hold it all: cut behind. */
    for (uint64_t index = 2; index < 600; index++) {
        while (!log_room(bench->log, 1, 65536, false)) {
            settle(bench);
            log_cut(bench->log, log_first_index(bench->log) + 20);
        }
        assert_int_equal(append(bench, index, 1, 65536), STATUS_OK);
    }
    settle(bench);
    for (uint64_t index = log_first_index(bench->log); index < 600; index++) {
        assert_entry(bench, index, 1);
    }
    struct log_view view;
    assert_int_equal(log_read(bench->log, 5, NULL, &view), STATUS_NOT_FOUND);
    assert_int_equal(restart(bench), STATUS_CORRUPT); /* the checkpoint that covers what was cut is not there */
    bench->checkpoint = 400;
    assert_int_equal(restart(bench), STATUS_OK);
    assert_int_equal(log_first_index(bench->log), 401);
    assert_entry(bench, 401, 1);
    assert_entry(bench, 599, 1);
    bench_free(bench);
}

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

/* -- truncation and restart -- */

static void test_log_truncated_entries_stay_replaced(void **state)
{
    (void)state;
    struct bench *bench = bench_make(11);
    append_many(bench, 2, 20, 1, 700);
    settle(bench);
    append_many(bench, 10, 1, 2, 700);
    assert_int_equal(log_persisted(bench->log), 9);
    assert_int_equal(log_last_index(bench->log), 10);
    append_many(bench, 11, 3, 3, 700);
    go_quiet(bench);
    assert_int_equal(log_persisted(bench->log), 13);
    assert_int_equal(restart(bench), STATUS_OK);
    assert_int_equal(log_last_index(bench->log), 13);
    assert_entry(bench, 9, 1);
    assert_entry(bench, 10, 2);
    assert_entry(bench, 13, 3);
    bench_free(bench);
}

static void test_log_truncation_during_a_write_clips_what_it_reports(void **state)
{
    (void)state;
    struct bench *bench = bench_make(12);
    append_many(bench, 2, 20, 1, 700);
    log_tick(bench->log, false); /* 2..21 are on their way */
    append_many(bench, 10, 2, 2, 700);
    while (log_persisted(bench->log) == 1) {
        log_tick(bench->log, false);
        assert_true(fake_disk_complete(&bench->fake, false));
    }
    assert_int_equal(log_persisted(bench->log), 9);
    settle(bench);
    assert_int_equal(log_persisted(bench->log), 11);
    assert_int_equal(restart(bench), STATUS_OK);
    assert_int_equal(log_last_index(bench->log), 11);
    assert_entry(bench, 10, 2);
    bench_free(bench);
}

static void test_log_restarted_behind_a_snapshot_forgets_the_rest(void **state)
{
    (void)state;
    struct bench *bench = bench_make(13);
    append_many(bench, 2, 20, 1, 700);
    go_quiet(bench);
    append_many(bench, 22, 2, 1, 700);
    log_tick(bench->log, false); /* a write is on its way */
    log_restart(bench->log, 1000, 4);
    append_many(bench, 1001, 3, 4, 700);
    go_quiet(bench);
    assert_int_equal(log_persisted(bench->log), 1003);
    bench->checkpoint = 1000;
    bench->checkpoint_term = 4;
    assert_int_equal(restart(bench), STATUS_OK);
    assert_int_equal(log_first_index(bench->log), 1001);
    assert_int_equal(log_last_index(bench->log), 1003);
    assert_int_equal(log_term_of(bench->log, 1000), 4);
    bench_free(bench);
}

static void test_log_that_ends_before_or_disagrees_with_the_checkpoint_is_dropped(void **state)
{
    (void)state;
    for (unsigned disagrees = 0; disagrees < 2; disagrees++) {
        struct bench *bench = bench_make(14);
        append_many(bench, 2, 20, 1, 700);
        go_quiet(bench);
        bench->checkpoint = disagrees ? 15 : 100;
        bench->checkpoint_term = 3;
        assert_int_equal(restart(bench), STATUS_OK);
        assert_int_equal(log_last_index(bench->log), bench->checkpoint);
        assert_int_equal(log_term_of(bench->log, bench->checkpoint), 3);
        append_many(bench, bench->checkpoint + 1, 4, 3, 700);
        go_quiet(bench);
        assert_int_equal(restart(bench), STATUS_OK);
        assert_int_equal(log_last_index(bench->log), bench->checkpoint + 4);
        bench_free(bench);
    }
}

/* DURABLE: the batch behind the snapshot is flushed, no marker says so yet, and before it stand entries that the snapshot contradicts. */
static void test_log_entries_behind_a_snapshot_that_disagrees_survive(void **state)
{
    (void)state;
    struct bench *bench = bench_make(29);
    append_many(bench, 2, 20, 1, 700);
    go_quiet(bench);
    log_restart(bench->log, 15, 3);
    bench->checkpoint = 15;
    bench->checkpoint_term = 3;
    append_many(bench, 16, 4, 3, 700);
    settle(bench);
    assert_int_equal(log_persisted(bench->log), 19);
    assert_int_equal(restart(bench), STATUS_OK);
    assert_int_equal(log_last_index(bench->log), 19);
    assert_entry(bench, 16, 3);
    assert_entry(bench, 19, 3);
    bench_free(bench);
}

/* An older term behind the checkpoint's, and a newer one of a leader that did not have the checkpoint's entry. */
static void test_log_batch_of_another_history_right_behind_the_checkpoint_is_dropped(void **state)
{
    (void)state;
    for (uint64_t term = 1; term <= 5; term += 4) {
        struct bench *bench = bench_make(30);
        append_many(bench, 2, 14, term, 700);
        settle(bench);
        append_many(bench, 16, 5, term, 700);
        go_quiet(bench);
        bench->checkpoint = 15;
        bench->checkpoint_term = 3;
        assert_int_equal(restart(bench), STATUS_OK);
        assert_int_equal(log_last_index(bench->log), 15);
        append_many(bench, 16, 1, 6, 700);
        settle(bench);
        assert_int_equal(restart(bench), STATUS_OK);
        assert_int_equal(log_last_index(bench->log), 16);
        assert_entry(bench, 16, 6);
        bench_free(bench);
    }
}

/* DURABLE: entries that were dropped while they were on their way to the disk, a marker behind them, a checkpoint up to it. */
static void test_log_dropped_entries_stay_dropped_and_what_follows_survives(void **state)
{
    (void)state;
    struct bench *bench = bench_make(31);
    append_many(bench, 2, 4, 1, 700);
    settle(bench);
    append_many(bench, 6, 2, 1, 700);
    log_tick(bench->log, false); /* the write is on its way */
    log_drop_unpersisted(bench->log);
    go_quiet(bench);
    bench->checkpoint = 5;
    assert_int_equal(restart(bench), STATUS_OK);
    assert_int_equal(log_last_index(bench->log), 5);
    append_many(bench, 6, 1, 2, 700);
    settle(bench);
    assert_int_equal(restart(bench), STATUS_OK);
    assert_int_equal(log_last_index(bench->log), 6);
    assert_entry(bench, 6, 2);
    bench_free(bench);
}

/* -- bounds -- */

static void test_log_full_region_waits_for_a_cut(void **state)
{
    (void)state;
    struct bench *bench = bench_make(15);
    uint64_t index = 2;
    while (log_room(bench->log, 1, 60000, false)) {
        assert_int_equal(append(bench, index++, 1, 60000), STATUS_OK);
        settle(bench);
    }
    assert_true(log_used_bytes(bench->log) > REGION_BYTES / 2);
    assert_true(log_room(bench->log, 1, 0, true)); /* a barrier */
    while (append(bench, index, 1, 60000) == STATUS_OK) {
        index++;
        settle(bench);
        if (log_persisted(bench->log) < index - 2) {
            break;
        }
    }
    uint64_t persisted = log_persisted(bench->log);
    assert_true(persisted < index - 1);
    assert_int_equal(log_deadline_ns(bench->log), UINT64_MAX);
    bench->checkpoint = 100;
    log_cut(bench->log, 100);
    settle(bench);
    assert_int_equal(log_persisted(bench->log), index - 1);
    assert_int_equal(restart(bench), STATUS_OK);
    assert_int_equal(log_last_index(bench->log), index - 1);
    bench_free(bench);
}

/* An epoch that was closed must find room to its last part, wherever in the ring it begins: nothing is cut before it is committed. */
static void test_log_room_for_all_entries_is_there_to_the_last_though_the_ring_wraps(void **state)
{
    (void)state;
    struct bench *bench = bench_make(22);
    uint64_t random = test_seed(__func__, 22), index = 2;
    for (unsigned turn = 0; turn < 300; turn++) {
        uint32_t parts = 4 + test_random_below(&random, 12), bytes = ENTRY_BODY_BYTES_MAX - test_random_below(&random, 4096);
        while (log_room_for_all(bench->log, parts, (size_t)parts * bytes)) {
            assert_int_equal(append(bench, index++, 1, 1 + test_random_below(&random, 30000)), STATUS_OK);
            settle(bench);
        }
        while (!log_room_for_all(bench->log, parts, (size_t)parts * bytes)) {
            log_cut(bench->log, log_first_index(bench->log));
        }
        for (uint32_t part = 0; part < parts; part++) {
            assert_true(log_room(bench->log, 1, bytes, false));
            assert_int_equal(append(bench, index++, 1, bytes), STATUS_OK);
            if (part % 4 == 0) { /* what comes meanwhile shares writes */
                settle(bench);
            }
        }
        settle(bench);
    }
    bench_free(bench);
}

static void test_log_round_that_the_region_cuts_short_is_flushed(void **state)
{
    (void)state;
    struct bench *bench = bench_make(21);
    uint64_t index = 2;
    while (log_room(bench->log, 1, 60000, false)) {
        assert_int_equal(append(bench, index++, 1, 60000), STATUS_OK);
        settle(bench);
    }
    append_many(bench, index, 60, 1, 60000); /* in one round, more than the rest of the region takes */
    settle(bench);
    assert_true(bench->log->staged > index && bench->log->staged < index + 59);
    assert_int_equal(log_persisted(bench->log), bench->log->staged);
    assert_int_equal(log_deadline_ns(bench->log), UINT64_MAX);
    log_cut(bench->log, index);
    settle(bench);
    assert_int_equal(log_persisted(bench->log), index + 59);
    bench_free(bench);
}

static void test_log_wrapped_region_never_overwrites_what_is_needed(void **state)
{
    (void)state;
    struct bench *bench = bench_make(20);
    uint64_t index = 2;
    for (unsigned lap = 0; lap < 6; lap++) {
        while (log_persisted(bench->log) == index - 1 && append(bench, index, 1, 60000) == STATUS_OK) {
            index++;
            settle(bench);
        }
        assert_true(log_used_bytes(bench->log) > REGION_BYTES - 2 * LOG_BATCH_BYTES_MAX);
        uint64_t persisted = log_persisted(bench->log);
        assert_int_equal(restart(bench), STATUS_OK);
        assert_int_equal(log_last_index(bench->log), persisted);
        for (uint64_t i = log_first_index(bench->log); i <= persisted; i++) {
            assert_entry(bench, i, 1);
        }
        index = persisted + 1;
        bench->checkpoint = (log_first_index(bench->log) + persisted) / 2 + lap;
        log_cut(bench->log, bench->checkpoint);
    }
    bench_free(bench);
}

static void test_log_memory_full_of_unflushed_entries_is_full(void **state)
{
    (void)state;
    struct bench *bench = bench_make(16);
    uint64_t index = 2;
    while (log_room(bench->log, 1, 60000, true)) {
        assert_int_equal(append(bench, index++, 1, 60000), STATUS_OK);
    }
    while (append(bench, index, 1, 60000) == STATUS_OK) {
        index++;
        assert_true(index < 1000);
    }
    assert_int_equal(append(bench, index, 1, 60000), STATUS_FULL);
    assert_int_equal(log_last_index(bench->log), index - 1);
    log_check(bench->log);
    bench_free(bench);
}

static void test_log_many_small_entries_reach_the_bound_of_the_index(void **state)
{
    (void)state;
    struct bench *bench = bench_make(17);
    uint64_t index = 2;
    while (append(bench, index, 1, 0) == STATUS_OK) {
        index++;
        if (index % 4096 == 0) {
            settle(bench);
        }
    }
    assert_int_equal(index - 2, LOG_ENTRIES_MAX);
    log_cut(bench->log, 1000);
    assert_int_equal(append(bench, index, 1, 0), STATUS_OK);
    bench_free(bench);
}

static void test_log_failed_write_ends_writing(void **state)
{
    (void)state;
    struct bench *bench = bench_make(18);
    append_many(bench, 2, 3, 1, 100);
    bench->fake.disk.write_errors = true;
    settle(bench);
    assert_true(log_failed(bench->log));
    assert_int_equal(log_persisted(bench->log), 1);
    bench->fake.disk.write_errors = false;
    settle(bench);
    assert_int_equal(log_persisted(bench->log), 1);
    assert_int_equal(log_deadline_ns(bench->log), UINT64_MAX);
    bench_free(bench);
}

static void test_log_open_while_a_write_is_under_way_is_busy(void **state)
{
    (void)state;
    struct bench *bench = bench_make(19);
    append_many(bench, 2, 3, 1, 100);
    log_tick(bench->log, false);
    assert_int_equal(reopen(bench), STATUS_BUSY);
    fake_disk_drain(&bench->fake);
    assert_int_equal(reopen(bench), STATUS_OK);
    bench_free(bench);
}

static void test_log_create_without_memory_is_no_memory(void **state)
{
    (void)state;
    struct fake_machine fake;
    struct log *log = NULL;
    fake_machine_init(&fake, 1, 16, DISK);
    fake.reserve_left = LOG_MEMORY_BYTES;
    assert_int_equal(log_create(&log, &fake.machine, REGION_BYTES), STATUS_NO_MEMORY);
    fake_machine_destroy(&fake);
}

/* -- everything at random, against a model -- */

enum { MODEL_ENTRIES = 20000, VERSIONS = 4 };
struct model {
    uint64_t terms[MODEL_ENTRIES][VERSIONS]; /* the last few versions of each entry, newest first */
    uint32_t bytes[MODEL_ENTRIES][VERSIONS];
    uint64_t last, term;
};

static void model_append(struct model *model, uint64_t index, uint64_t term, uint32_t bytes)
{
    memmove(&model->terms[index][1], &model->terms[index][0], sizeof model->terms[index][0] * (VERSIONS - 1));
    memmove(&model->bytes[index][1], &model->bytes[index][0], sizeof model->bytes[index][0] * (VERSIONS - 1));
    model->terms[index][0] = term;
    model->bytes[index][0] = bytes;
    model->last = index;
}

static void model_restart(struct bench *bench, struct model *model)
{
    uint64_t persisted = log_persisted(bench->log);
    assert_int_equal(restart(bench), STATUS_OK);
    uint64_t last = log_last_index(bench->log);
    assert_true(last >= persisted);
    for (uint64_t index = log_first_index(bench->log); index <= last; index++) {
        uint64_t term = log_term_of(bench->log, index);
        bool known = false;
        for (unsigned version = 0; version < (index <= persisted ? 1 : VERSIONS); version++) {
            known |= model->terms[index][version] == term && model->bytes[index][version] == log_body_bytes(bench->log, index);
        }
        assert_true(known);
        assert_entry(bench, index, term);
        if (term != model->terms[index][0]) {
            model_append(model, index, term, log_body_bytes(bench->log, index));
        }
    }
    model->last = last;
}

static void test_log_random_life_keeps_all_that_was_persisted(void **state)
{
    (void)state;
    uint64_t seed = test_seed("random log", 4711);
    for (unsigned life = 0; life < 4; life++) {
        struct bench *bench = bench_make(seed + life);
        struct model *model = calloc(1, sizeof *model);
        uint64_t random = seed * 31 + life;
        model->last = 1;
        model->term = 1;
        for (unsigned step = 0; step < 1500 && model->last < MODEL_ENTRIES - 100; step++) {
            uint32_t dice = test_random_below(&random, 100);
            if (dice < 55) {
                uint32_t bytes = test_random_below(&random, dice % 7 == 0 ? 65000 : 3000);
                if (log_room(bench->log, 1, bytes, false)) {
                    assert_int_equal(append(bench, model->last + 1, model->term, bytes), STATUS_OK);
                    model_append(model, model->last + 1, model->term, bytes);
                }
            } else if (dice < 60 && model->last > bench->checkpoint) {
                uint64_t index = model->last - test_random_below(&random, (uint32_t)(model->last - bench->checkpoint));
                index = index + 20 < model->last ? model->last - 20 : index;
                model->term++;
                if (log_room(bench->log, 1, 50, false)) {
                    assert_int_equal(append(bench, index, model->term, 50), STATUS_OK);
                    model_append(model, index, model->term, 50);
                }
            } else if (dice < 64 && log_persisted(bench->log) > bench->checkpoint + 30) {
                bench->checkpoint = log_persisted(bench->log) - 30; /* durable elsewhere */
                bench->checkpoint_term = log_term_of(bench->log, bench->checkpoint);
                log_cut(bench->log, bench->checkpoint - test_random_below(&random, 2));
            } else if (dice < 66) {
                model_restart(bench, model);
            } else if (dice < 68) {
                bench->fake.now_ns += LOG_MARKER_MS * MS;
            } else {
                log_tick(bench->log, false);
                fake_disk_complete(&bench->fake, true);
            }
            if (step % 50 == 0) {
                log_check(bench->log);
            }
        }
        settle(bench);
        assert_int_equal(log_persisted(bench->log), model->last);
        model_restart(bench, model);
        free(model);
        bench_free(bench);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_flushed_entries_survive_power_loss),
        cmocka_unit_test(test_log_nothing_is_persisted_before_the_flush),
        cmocka_unit_test(test_log_appends_during_a_flush_share_the_next_one),
        cmocka_unit_test(test_log_quiet_log_writes_one_marker_and_no_more),
        cmocka_unit_test(test_log_evicted_entries_are_read_back_from_disk),
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
        cmocka_unit_test(test_log_truncated_entries_stay_replaced),
        cmocka_unit_test(test_log_truncation_during_a_write_clips_what_it_reports),
        cmocka_unit_test(test_log_restarted_behind_a_snapshot_forgets_the_rest),
        cmocka_unit_test(test_log_that_ends_before_or_disagrees_with_the_checkpoint_is_dropped),
        cmocka_unit_test(test_log_entries_behind_a_snapshot_that_disagrees_survive),
        cmocka_unit_test(test_log_batch_of_another_history_right_behind_the_checkpoint_is_dropped),
        cmocka_unit_test(test_log_dropped_entries_stay_dropped_and_what_follows_survives),
        cmocka_unit_test(test_log_full_region_waits_for_a_cut),
        cmocka_unit_test(test_log_room_for_all_entries_is_there_to_the_last_though_the_ring_wraps),
        cmocka_unit_test(test_log_round_that_the_region_cuts_short_is_flushed),
        cmocka_unit_test(test_log_wrapped_region_never_overwrites_what_is_needed),
        cmocka_unit_test(test_log_memory_full_of_unflushed_entries_is_full),
        cmocka_unit_test(test_log_many_small_entries_reach_the_bound_of_the_index),
        cmocka_unit_test(test_log_failed_write_ends_writing),
        cmocka_unit_test(test_log_open_while_a_write_is_under_way_is_busy),
        cmocka_unit_test(test_log_create_without_memory_is_no_memory),
        cmocka_unit_test(test_log_random_life_keeps_all_that_was_persisted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
