#include "tests/unit/support/log_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "consensus/log_internal.h"

enum status reopen(struct bench *bench)
{
    return log_open(bench->log, REGION_OFFSET, REGION_BYTES, raft_id, bench->checkpoint, bench->checkpoint_term, bench->reason);
}

struct bench *bench_make(uint64_t seed)
{
    struct bench *bench = calloc(1, sizeof *bench);
    fake_machine_init(&bench->fake, seed, 16, DISK);
    bench->checkpoint = bench->checkpoint_term = 1;
    assert_int_equal(log_create(&bench->log, &bench->fake.machine, REGION_BYTES), STATUS_OK);
    assert_int_equal(reopen(bench), STATUS_OK);
    log_recovered_durable(bench->log);
    return bench;
}

void bench_free(struct bench *bench)
{
    fake_machine_destroy(&bench->fake);
    free(bench);
}

enum status restart(struct bench *bench)
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

void make_body(uint8_t *body, uint64_t index, uint64_t term, uint32_t bytes)
{
    uint64_t random = index * 1000003 + term * 7919 + bytes;
    for (uint32_t i = 0; i < bytes; i += 8) {
        uint64_t word = test_random(&random);
        memcpy(body + i, &word, bytes - i < 8 ? bytes - i : 8);
    }
}

enum status append(struct bench *bench, uint64_t index, uint64_t term, uint32_t bytes)
{
    static uint8_t body[ENTRY_BODY_BYTES_MAX];
    make_body(body, index, term, bytes);
    struct group_entry entry = {.type = GROUP_ENTRY_EPOCH, .epoch = index, .parts = 1, .bytes = bytes};
    return log_append(bench->log, index, term, LOG_COMMAND, &entry, body, bytes);
}

void append_many(struct bench *bench, uint64_t first, unsigned count, uint64_t term, uint32_t bytes)
{
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(append(bench, first + i, term, bytes), STATUS_OK);
    }
}

void settle(struct bench *bench)
{
    for (unsigned i = 0; i < 200; i++) {
        log_tick(bench->log, false);
        fake_disk_drain(&bench->fake);
    }
    log_check(bench->log);
}

void go_quiet(struct bench *bench)
{
    settle(bench);
    bench->fake.now_ns += (LOG_MARKER_MS + 1) * MS;
    settle(bench);
}

void assert_entry(struct bench *bench, uint64_t index, uint64_t term)
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

uint64_t place_of(const struct bench *bench, uint64_t index)
{
    const struct log_slot *slot = log_slot_of(bench->log, index);
    assert_int_not_equal(slot->sequence, 0);
    return REGION_OFFSET + (uint64_t)slot->block * LOG_BLOCK + slot->record;
}
