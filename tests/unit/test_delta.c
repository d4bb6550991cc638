#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "include/abi.h"
#include "include/machine.h"
#include "replicate/delta.h"
#include "tests/unit/support/fake_machine.h"

enum { PAGE = REPLICATE_PAGE_BYTES, MEMORY = 16 << 20 };

struct buffers {
    uint8_t delta[DELTA_BYTES_MAX];
    uint8_t undo[UNDO_BYTES_MAX];
    struct delta_writer writer;
    struct undo_record record;
};

static struct buffers *buffers;

static void reset(void)
{
    delta_writer_init(&buffers->writer, buffers->delta, sizeof buffers->delta);
    undo_record_init(&buffers->record, buffers->undo, sizeof buffers->undo);
}

static int set_up(void **state)
{
    (void)state;
    buffers = malloc(sizeof *buffers);
    reset();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(buffers);
    return 0;
}

static struct world_record some_record(uint64_t epoch)
{
    struct world_record record = {
        .version = WORLD_RECORD_VERSION,
        .abi_version = ABI_VERSION,
        .world_number = 1,
        .life = WORLD_LIFE_RUNNING,
        .memory_bytes = MEMORY,
        .epoch = epoch,
        .clock_ns = 12345678,
        .host_node = 2,
        .wait_deadline_ns = UINT64_MAX,
        .segment_count = 2,
        .segments = {{.first_page = 0, .pages = 1, .rights = PAGE_READ}, {.first_page = 512, .pages = 100, .rights = PAGE_WRITE}},
    };
    for (unsigned i = 0; i < 100; i++) {
        record.registers[i * 7] = (uint8_t)(i + 1);
    }
    return record;
}

static bool append(uint32_t page, const uint8_t *before, const uint8_t *after)
{
    return delta_append_page(&buffers->writer.items, &buffers->record.items, page, before, after);
}

static size_t finish(uint64_t epoch, struct world_record *record)
{
    *record = some_record(epoch);
    return delta_finish(&buffers->writer, 1, epoch, 0x1122334455667788, record);
}

/* The only item of `items`. */
static struct page_item only_item(const struct page_items *items)
{
    struct page_item item;
    size_t offset = 0;
    assert_int_equal(page_item_next(items->buffer, items->bytes, 1000, &offset, &item), STATUS_OK);
    assert_int_equal(offset, items->bytes);
    return item;
}

static void test_delta_counts_bytes_that_differ_and_their_stretches(void **state)
{
    (void)state;
    uint8_t before[PAGE] = {1, 2, 3}, after[PAGE] = {1, 2, 3};
    after[100] = after[104] = after[105] = 9; /* one run, which bridges three equal bytes */
    after[2000] = 1;
    assert_true(append(1, before, after));
    assert_int_equal(buffers->writer.items.runs, 3);
    assert_int_equal(buffers->writer.items.changed_bytes, 4);
    assert_int_equal(delta_item_bytes(&buffers->writer), DELTA_ITEM_BYTES + 2 * DELTA_RUN_BYTES + 6 + 1);
    memset(after, 0xa5, sizeof after); /* a raw page */
    assert_true(append(2, before, after));
    assert_int_equal(buffers->writer.items.runs, 4);
    assert_int_equal(buffers->writer.items.changed_bytes, 4 + PAGE);
    assert_true(append(3, before, NULL)); /* says no content */
    assert_int_equal(buffers->writer.items.changed_bytes, 4 + PAGE);
    assert_int_equal(buffers->writer.items.count, 3);
}

static void test_delta_equal_pages_append_nothing(void **state)
{
    (void)state;
    uint8_t a[PAGE], zero[PAGE] = {0};
    memset(a, 7, sizeof a);
    assert_false(append(3, a, a));
    assert_false(append(3, NULL, zero));
    assert_false(append(3, zero, NULL));
    assert_int_equal(delta_item_bytes(&buffers->writer), 0);
    assert_int_equal(buffers->record.items.bytes, 0);
}

static void test_delta_one_byte_is_one_run(void **state)
{
    (void)state;
    uint8_t a[PAGE] = {1}, b[PAGE] = {1};
    b[4095] = 9;
    assert_true(append(3, a, b));
    assert_int_equal(delta_item_bytes(&buffers->writer), DELTA_ITEM_BYTES + DELTA_RUN_BYTES + 1);
    struct page_item item = only_item(&buffers->writer.items);
    assert_int_equal(item.page, 3);
    assert_int_equal(item.kind, DELTA_KIND_RUNS);
    page_item_apply(&item, a);
    assert_memory_equal(a, b, PAGE);
}

static void test_delta_page_full_of_changes_is_raw(void **state)
{
    (void)state;
    uint8_t a[PAGE], b[PAGE];
    memset(a, 1, sizeof a);
    memset(b, 2, sizeof b);
    assert_true(append(9, a, b));
    assert_int_equal(only_item(&buffers->writer.items).kind, DELTA_KIND_RAW);
    assert_int_equal(only_item(&buffers->record.items).kind, DELTA_KIND_RAW);
}

static void test_delta_page_that_becomes_zero_is_absent_and_its_undo_whole(void **state)
{
    (void)state;
    uint8_t a[PAGE] = {0}, zero[PAGE] = {0};
    a[100] = 5;
    assert_true(append(9, a, zero));
    assert_int_equal(only_item(&buffers->writer.items).kind, DELTA_KIND_ZERO);
    struct page_item item = only_item(&buffers->record.items);
    page_item_apply(&item, zero);
    assert_memory_equal(zero, a, PAGE);
}

/* The counts are exact, and no item is larger than its stretches of changed bytes, each a run. */
static void assert_costs_what_it_says(const uint8_t *a, const uint8_t *b)
{
    uint32_t changed = 0, stretches = 0;
    for (unsigned i = 0; i < PAGE; i++) {
        changed += a[i] != b[i];
        stretches += a[i] != b[i] && (i == 0 || a[i - 1] == b[i - 1]);
    }
    assert_int_equal(buffers->writer.items.changed_bytes, changed);
    assert_int_equal(buffers->writer.items.runs, stretches);
    assert_true(delta_item_bytes(&buffers->writer) <= DELTA_ITEM_BYTES + stretches * DELTA_RUN_BYTES + changed);
}

/* The format's runs, found byte by byte: those that fewer than four equal bytes part are one. */
static size_t plain_runs(const uint8_t *a, const uint8_t *b, uint8_t *out)
{
    struct { unsigned begin, end; } runs[PAGE / 5 + 1];
    unsigned count = 0;
    for (unsigned i = 0; i < PAGE; i++) {
        if (a[i] == b[i]) {
            continue;
        }
        if (count == 0 || i - runs[count - 1].end >= 4) {
            runs[count++].begin = i;
        }
        runs[count - 1].end = i + 1;
    }
    uint8_t *at = out;
    for (unsigned i = 0; i < count; i++) {
        unsigned length = runs[i].end - runs[i].begin - 1;
        *at++ = (uint8_t)runs[i].begin;
        *at++ = (uint8_t)(runs[i].begin >> 8 | length << 4);
        *at++ = (uint8_t)(length >> 4);
    }
    for (unsigned i = 0; i < count; i++) {
        memcpy(at, b + runs[i].begin, runs[i].end - runs[i].begin);
        at += runs[i].end - runs[i].begin;
    }
    return (size_t)(at - out);
}

static void assert_is_plain(const struct page_items *items, const uint8_t *a, const uint8_t *b)
{
    static uint8_t expected[2 * PAGE];
    size_t bytes = plain_runs(a, b, expected);
    struct page_item item = only_item(items);
    if (bytes >= PAGE) {
        assert_int_equal(item.kind, DELTA_KIND_RAW);
        return;
    }
    assert_int_equal(item.kind, DELTA_KIND_RUNS);
    assert_int_equal(items->bytes, DELTA_ITEM_BYTES + bytes);
    assert_memory_equal(item.runs, expected, bytes);
}

/* Every kind of gap, at every place of a word and of a window, and at both ends of a page. */
static void test_delta_runs_are_those_of_a_plain_comparison(void **state)
{
    (void)state;
    uint64_t random = test_seed(__func__, 12);
    for (unsigned turn = 0; turn < 6000; turn++) {
        uint8_t a[PAGE], b[PAGE];
        for (unsigned i = 0; i < PAGE; i++) {
            a[i] = (uint8_t)test_random(&random);
        }
        memcpy(b, a, PAGE);
        uint32_t gap_max = 1 + test_random_below(&random, 12), run_max = 1 + test_random_below(&random, turn % 7 == 0 ? 200 : 12);
        uint32_t at = test_random_below(&random, turn % 3 == 0 ? PAGE : 80), end = at + test_random_below(&random, turn % 5 == 0 ? PAGE : 300);
        while (at < end && at < PAGE) {
            for (uint32_t left = 1 + test_random_below(&random, run_max); left > 0 && at < PAGE; left--) {
                b[at++] ^= (uint8_t)(1 + test_random_below(&random, 255));
            }
            at += 1 + test_random_below(&random, gap_max);
        }
        if (turn % 4 == 0) {
            b[PAGE - 1 - test_random_below(&random, 9)] ^= 0x80;
        }
        reset();
        if (append(1, a, b)) {
            assert_costs_what_it_says(a, b);
            assert_is_plain(&buffers->writer.items, a, b);
            assert_is_plain(&buffers->record.items, b, a);
        } else {
            assert_memory_equal(a, b, PAGE);
        }
    }
}

static void test_delta_random_pages_round_trip_both_ways(void **state)
{
    (void)state;
    uint64_t random = test_seed(__func__, 11);
    for (unsigned turn = 0; turn < 3000; turn++) {
        uint8_t a[PAGE], b[PAGE], c[PAGE];
        for (unsigned i = 0; i < PAGE; i++) {
            a[i] = (uint8_t)test_random(&random);
        }
        memcpy(b, a, PAGE);
        unsigned writes = 1u << test_random_below(&random, 11);
        for (unsigned i = 0; i < writes; i++) {
            uint32_t at = test_random_below(&random, PAGE), bytes = 1 + test_random_below(&random, 12);
            for (uint32_t j = at; j < at + bytes && j < PAGE; j++) {
                b[j] = (uint8_t)test_random(&random);
            }
        }
        reset();
        bool differ = memcmp(a, b, PAGE) != 0;
        assert_int_equal(append(turn % 1000, a, b), differ);
        if (differ) {
            assert_true(delta_item_bytes(&buffers->writer) <= DELTA_ITEM_BYTES + PAGE);
            assert_costs_what_it_says(a, b);
            struct page_item item = only_item(&buffers->writer.items);
            memcpy(c, a, PAGE);
            page_item_apply(&item, c);
            assert_memory_equal(c, b, PAGE);
            page_item_apply(&item, c);
            assert_memory_equal(c, b, PAGE);
            item = only_item(&buffers->record.items);
            page_item_apply(&item, c);
            assert_memory_equal(c, a, PAGE);
        }
    }
}

static void test_delta_worst_pages_always_fit(void **state)
{
    (void)state;
    uint8_t a[PAGE], b[PAGE];
    memset(a, 1, sizeof a);
    memcpy(b, a, PAGE);
    for (unsigned i = 0; i < PAGE; i += 5) {
        b[i] = 2; /* the most runs that do not merge */
    }
    for (uint32_t page = 0; page < DIRTY_PAGES_MAX; page++) {
        assert_true(append(page, a, b));
    }
    memset(b, 3, sizeof b);
    reset();
    for (uint32_t page = 0; page < DIRTY_PAGES_MAX; page++) {
        assert_true(append(page, a, b));
    }
    struct world_record record = some_record(1);
    for (unsigned i = 0; i < WORLD_REGISTERS_BYTES; i += 5) {
        record.registers[i] = 1;
    }
    assert_true(delta_finish(&buffers->writer, 1, 1, 0, &record) <= DELTA_BYTES_MAX);
}

static void test_delta_header_and_record_round_trip(void **state)
{
    (void)state;
    uint8_t a[PAGE] = {1}, b[PAGE] = {2};
    append(3, a, b);
    struct world_record record;
    size_t bytes = finish(42, &record);
    struct delta delta;
    assert_int_equal(delta_decode(buffers->delta, bytes, MEMORY, &delta), STATUS_OK);
    assert_int_equal(delta.epoch, 42);
    assert_int_equal(delta.world, 1);
    assert_int_equal(delta.digest, 0x1122334455667788);
    assert_int_equal(delta.pages, 1);
    assert_int_equal(delta.item_bytes, delta_item_bytes(&buffers->writer));
    assert_memory_equal(&delta.record, &record, sizeof record);
}

static void test_delta_decode_any_cut_is_refused(void **state)
{
    (void)state;
    uint8_t a[PAGE] = {1}, b[PAGE] = {2};
    append(3, a, b);
    struct world_record record;
    size_t bytes = finish(42, &record);
    for (size_t cut = 0; cut < bytes; cut++) {
        uint8_t *copy = malloc(cut + 1); /* exact, so that ASan sees a read past the end */
        memcpy(copy, buffers->delta, cut);
        uint8_t *exact = realloc(copy, cut > 0 ? cut : 1);
        struct delta delta;
        assert_int_equal(delta_decode(exact, cut, MEMORY, &delta), STATUS_TRUNCATED);
        free(exact);
    }
    struct delta delta;
    assert_int_equal(delta_decode(buffers->delta, bytes + 1, MEMORY, &delta), STATUS_INVALID);
}

static void test_delta_decode_wrong_fields_are_refused(void **state)
{
    (void)state;
    struct world_record record;
    struct delta delta;
    size_t bytes = finish(42, &record);
    struct delta_wire_header *header = (struct delta_wire_header *)(void *)buffers->delta;
    header->version = 99;
    assert_int_equal(delta_decode(buffers->delta, bytes, MEMORY, &delta), STATUS_UNKNOWN_VERSION);
    header->version = DELTA_VERSION;
    header->epoch = 43;
    assert_int_equal(delta_decode(buffers->delta, bytes, MEMORY, &delta), STATUS_INVALID);
    header->epoch = 42;
    header->reserved = 1;
    assert_int_equal(delta_decode(buffers->delta, bytes, MEMORY, &delta), STATUS_INVALID);
    header->reserved = 0;
    header->run_bytes = UINT32_MAX;
    assert_int_equal(delta_decode(buffers->delta, bytes, MEMORY, &delta), STATUS_TRUNCATED);
    header->run_bytes = 0;
    assert_int_equal(delta_decode(buffers->delta, bytes, MEMORY, &delta), STATUS_OK);
    assert_int_equal(delta_decode(buffers->delta, bytes, MEMORY * 2, &delta), STATUS_INVALID);
}

static void test_delta_decode_random_damage_never_overruns(void **state)
{
    (void)state;
    uint64_t random = test_seed(__func__, 5);
    uint8_t a[PAGE] = {1}, b[PAGE] = {2};
    b[2000] = 7;
    append(3, a, b);
    append(4, NULL, b);
    append(5, b, NULL);
    struct world_record record;
    size_t bytes = finish(42, &record);
    for (unsigned turn = 0; turn < 20000; turn++) {
        uint8_t *copy = malloc(bytes);
        memcpy(copy, buffers->delta, bytes);
        for (unsigned i = 0; i <= turn % 3; i++) {
            copy[test_random_below(&random, (uint32_t)bytes)] = (uint8_t)test_random(&random);
        }
        struct delta delta;
        if (delta_decode(copy, bytes, MEMORY, &delta) == STATUS_OK) {
            struct page_item item;
            size_t offset = 0;
            while (page_item_next(delta.items, delta.item_bytes, MEMORY / PAGE, &offset, &item) == STATUS_OK) {
                if (item.kind != DELTA_KIND_ZERO) {
                    page_item_apply(&item, a);
                }
            }
        }
        free(copy);
    }
}

static void test_item_malformed_is_refused(void **state)
{
    (void)state;
    struct page_item item;
    struct {
        uint8_t bytes[14];
        size_t length;
        enum status expected;
    } cases[] = {
        {{1, 0, 0, 0, 1}, 5, STATUS_TRUNCATED},                                    /* no whole head */
        {{1, 0, 0, 0, 1, 0, 0, 0, 0}, 9, STATUS_TRUNCATED},                        /* run without its byte */
        {{1, 0, 0, 0, 1, 0, 0, 0}, 8, STATUS_TRUNCATED},                           /* half a run */
        {{1, 0, 0, 0, 0, 0}, 6, STATUS_INVALID},                                   /* RUNS without runs */
        {{1, 0, 0, 0, 0, 0xc0}, 6, STATUS_INVALID},                                /* unknown kind */
        {{1, 0, 0, 0, 1, 0x80}, 6, STATUS_INVALID},                                /* ZERO with runs */
        {{1, 0, 0, 0, 0, 0x40}, 6, STATUS_TRUNCATED},                              /* RAW without its page */
        {{100, 0, 0, 0, 0, 0x80}, 6, STATUS_INVALID},                              /* page out of range */
        {{1, 0, 0, 0, 1, 0, 0xff, 0x1f, 0, 1, 1}, 11, STATUS_INVALID},             /* run past the page */
        {{1, 0, 0, 0, 2, 0, 5, 0, 0, 5, 0, 0, 1, 1}, 14, STATUS_INVALID},          /* runs overlap */
        {{1, 0, 0, 0, 0, 0x80}, 6, STATUS_OK},
        {{1, 0, 0, 0, 1, 0, 0xff, 0x0f, 0, 9}, 10, STATUS_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t offset = 0;
        assert_int_equal(page_item_next(cases[i].bytes, cases[i].length, 100, &offset, &item), cases[i].expected);
        assert_int_equal(offset, cases[i].expected == STATUS_OK ? cases[i].length : 0);
    }
}

static void test_record_check_each_field(void **state)
{
    (void)state;
    struct world_record good = some_record(1), bad;
    assert_int_equal(world_record_check(&good, MEMORY), STATUS_OK);
#define REFUSED(change, expected) \
    do { \
        bad = good; \
        change; \
        assert_int_equal(world_record_check(&bad, MEMORY), expected); \
    } while (0)
    REFUSED(bad.version = 2, STATUS_UNKNOWN_VERSION);
    REFUSED(bad.abi_version = 2, STATUS_UNKNOWN_VERSION);
    REFUSED(bad.life = 3, STATUS_INVALID);
    REFUSED(bad.waiting = 2, STATUS_INVALID);
    REFUSED(bad.memory_bytes = 1, STATUS_INVALID);
    REFUSED(bad.host_node = 6, STATUS_INVALID);
    REFUSED(bad.segment_count = 9, STATUS_INVALID);
    REFUSED(bad.segments[0].rights = 4, STATUS_INVALID);
    REFUSED(bad.segments[0].rights = PAGE_NONE, STATUS_INVALID);
    REFUSED(bad.segments[0].pages = 0, STATUS_INVALID);
    REFUSED(bad.segments[0].pages = 513, STATUS_INVALID);
    REFUSED(bad.segments[1].pages = UINT32_MAX, STATUS_INVALID);
    REFUSED(memset(bad.stop_reason, 'x', sizeof bad.stop_reason), STATUS_INVALID);
#undef REFUSED
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_delta_counts_bytes_that_differ_and_their_stretches),
        TEST(test_delta_equal_pages_append_nothing),
        TEST(test_delta_one_byte_is_one_run),
        TEST(test_delta_page_full_of_changes_is_raw),
        TEST(test_delta_page_that_becomes_zero_is_absent_and_its_undo_whole),
        TEST(test_delta_runs_are_those_of_a_plain_comparison),
        TEST(test_delta_random_pages_round_trip_both_ways),
        TEST(test_delta_worst_pages_always_fit),
        TEST(test_delta_header_and_record_round_trip),
        TEST(test_delta_decode_any_cut_is_refused),
        TEST(test_delta_decode_wrong_fields_are_refused),
        TEST(test_delta_decode_random_damage_never_overruns),
        TEST(test_item_malformed_is_refused),
        TEST(test_record_check_each_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
