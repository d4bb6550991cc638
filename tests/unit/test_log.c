/* The Raft log on disk: what it keeps, what it replaces, where it ends. Its recovery: test_log_recovery.c. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "consensus/log_internal.h"
#include "tests/unit/support/log_bench.h"

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
        while (!log_room(bench->log, 1, 65536, LOG_FOR_SUBMISSION)) {
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
    while (log_room(bench->log, 1, 60000, LOG_FOR_SUBMISSION)) {
        assert_int_equal(append(bench, index++, 1, 60000), STATUS_OK);
        settle(bench);
    }
    assert_true(log_used_bytes(bench->log) > REGION_BYTES / 2);
    assert_true(log_room(bench->log, 1, 0, LOG_FOR_TERM)); /* a barrier */
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
            assert_true(log_room(bench->log, 1, bytes, LOG_FOR_SUBMISSION));
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
    while (log_room(bench->log, 1, 60000, LOG_FOR_SUBMISSION)) {
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
    while (log_room(bench->log, 1, 60000, LOG_FOR_TERM)) {
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
                if (log_room(bench->log, 1, bytes, LOG_FOR_SUBMISSION)) {
                    assert_int_equal(append(bench, model->last + 1, model->term, bytes), STATUS_OK);
                    model_append(model, model->last + 1, model->term, bytes);
                }
            } else if (dice < 60 && model->last > bench->checkpoint) {
                uint64_t index = model->last - test_random_below(&random, (uint32_t)(model->last - bench->checkpoint));
                index = index + 20 < model->last ? model->last - 20 : index;
                model->term++;
                if (log_room(bench->log, 1, 50, LOG_FOR_SUBMISSION)) {
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
