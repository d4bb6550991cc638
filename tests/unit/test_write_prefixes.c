/* Every write prefix. A node's page store, log and vote slots live on one disk under load; what they write is recorded. Then power is cut after
 * every event of the disk: of the writes that no flush covers, every subset survives (up to a stated number, then some of them), and each is torn at
 * sectors. From each such disk the node must start again, with a whole checkpoint and with everything that it had called durable.
 *
 * EIDOLON_TEST_IMAGES: stop after that many disks (`make test-long`); by default a sample. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "consensus/log.h"
#include "consensus/vote.h"
#include "include/hash64.h"
#include "tests/unit/support/store_bench.h"

enum { WORLD_PAGES = 24, BASE_INDEX = 100, TERM = 3, REGION_BYTES = 1 << 20, TURNS_MAX = 100000, EVENTS_MAX = 4096, WINDOW_MAX = 24 };
enum { SAMPLE_IMAGES = 3000, SUBSETS_MAX = 64, TEARS = 12, EPOCHS_MAX = 1 << 16 };
static const uint64_t raft_id = 0x1101;

/* What the node has called durable, and the most that it may have written. */
struct promise {
    uint64_t persisted, vote_term, checkpoint_epoch;
    uint64_t appended, vote_said, checkpoint_begun;
};

struct record {
    uint64_t offset;
    size_t bytes;
    uint8_t *data;
    struct block_request *request;      /* NULL once completed */
    void (*done)(struct block_request *request, enum status status);
    void *context;
    uint64_t flushes_before;            /* a flush with a number above this covers it, once completed */
    uint64_t flush_number;              /* of a flush; 0: a write */
};

static struct bench *node, *reader;
static struct log *node_log, *reader_log;
static struct vote *node_vote, *reader_vote;
static struct record records[EVENTS_MAX];
static uint32_t record_count; /* writes that no flush covers, and flushes under way */
static uint64_t flushes_submitted, events, images, images_max, torn_images, subset_images, window_max;
static uint64_t digests[EPOCHS_MAX], record_hashes[EPOCHS_MAX];
static struct promise promise;
static uint64_t random_state;

/* -- recording -- */

static enum status (*real_submit)(void *context, struct block_request *request);

static void record_done(struct block_request *request, enum status status);

static enum status recording_submit(void *context, struct block_request *request)
{
    assert_true(record_count < EVENTS_MAX);
    struct record *record = &records[record_count];
    *record = (struct record){.offset = request->offset, .bytes = request->bytes, .request = request, .done = request->done, .context = request->context};
    if (request->operation == BLOCK_WRITE) {
        record->data = malloc(request->bytes);
        memcpy(record->data, request->buffer, request->bytes);
    } else {
        record->flush_number = flushes_submitted + 1;
    }
    enum status status = real_submit(context, request);
    if (status != STATUS_OK) {
        free(record->data);
        return status;
    }
    flushes_submitted += record->flush_number != 0;
    record_count++;
    request->done = record_done;
    return STATUS_OK;
}

static void settle_on_reader(const struct record *record)
{
    memcpy(reader->fake.disk.current + record->offset, record->data, record->bytes);
}

/* What a completed flush covers stands on every disk from now on. */
static void retire(uint64_t flush_number)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < record_count; i++) {
        struct record *record = &records[i];
        bool covered = record->flush_number == 0 ? record->request == NULL && record->flushes_before < flush_number : record->flush_number == flush_number;
        if (!covered) {
            records[kept++] = *record;
            continue;
        }
        if (record->flush_number == 0) {
            settle_on_reader(record);
            free(record->data);
        }
    }
    record_count = kept;
}

static void record_done(struct block_request *request, enum status status)
{
    struct record *record = records;
    while (record->request != request) {
        record++;
    }
    request->done = record->done;
    record->request = NULL;
    record->flushes_before = flushes_submitted;
    if (record->flush_number != 0) {
        retire(record->flush_number);
    }
    request->done(request, status);
}

/* -- starting from a disk -- */

static void make_body(uint8_t *body, uint64_t index, uint32_t bytes)
{
    memset(body, (int)(index * 31), bytes);
}

static uint32_t body_bytes(uint64_t index)
{
    return 200 + (uint32_t)(hash64_fold(index, 5) % 9000);
}

static void assert_starts(void)
{
    enum store_disk disk;
    char reason[REASON_BYTES_MAX] = "";
    bool fresh;
    assert_int_equal(store_open(reader->store, &disk, reason), STATUS_OK);
    assert_int_equal(disk, STORE_DISK_OK);
    const struct checkpoint *checkpoint = store_checkpoint(reader->store);
    assert_true(checkpoint->epoch >= promise.checkpoint_epoch);
    assert_true(checkpoint->epoch <= promise.checkpoint_begun);
    image_clear(reader->image);
    assert_int_equal(bench_fill(reader), STATUS_OK);
    assert_int_equal(image_digest(reader->image) + record_hashes[checkpoint->epoch], digests[checkpoint->epoch]);

    uint64_t offset = store_superblock(reader->store)->log_offset;
    enum status status = log_open(reader_log, offset, REGION_BYTES, raft_id, checkpoint->raft_index, checkpoint->raft_term, reason);
    if (status != STATUS_OK) {
        fail_msg("the log does not open: %s: %s", status_name(status), reason);
    }
    uint64_t last = log_last_index(reader_log);
    assert_true(last >= promise.persisted || checkpoint->raft_index >= promise.persisted);
    assert_true(last <= promise.appended || last == checkpoint->raft_index);
    static uint8_t scratch[ENTRY_BODY_BYTES_MAX], expected[ENTRY_BODY_BYTES_MAX];
    for (uint64_t index = checkpoint->raft_index + 1; index <= last; index++) {
        struct log_view view;
        assert_int_equal(log_read(reader_log, index, scratch, &view), STATUS_OK);
        assert_int_equal(view.body_bytes, body_bytes(index));
        make_body(expected, index, view.body_bytes);
        assert_memory_equal(view.body, expected, view.body_bytes);
    }

    assert_int_equal(vote_open(reader_vote, node->keys.cluster_id, raft_id, &fresh), STATUS_OK);
    assert_true(vote_term(reader_vote) >= promise.vote_term);
    assert_true(vote_term(reader_vote) <= promise.vote_said);
    assert_int_equal(vote_voted_for(reader_vote), vote_term(reader_vote) == 0 ? 0 : 0x4200 + vote_term(reader_vote));
    images++;
}

/* -- the disks of one moment -- */

static const struct record *window[WINDOW_MAX];
static uint8_t *under[WINDOW_MAX];
static uint32_t window_count;

static void open_window(void)
{
    window_count = 0;
    for (uint32_t i = 0; i < record_count; i++) {
        if (records[i].flush_number != 0) {
            continue;
        }
        assert_true(window_count < WINDOW_MAX);
        window[window_count] = &records[i];
        under[window_count] = malloc(records[i].bytes);
        memcpy(under[window_count++], reader->fake.disk.current + records[i].offset, records[i].bytes);
    }
    window_max = window_count > window_max ? window_count : window_max;
}

static void take_back(void)
{
    for (uint32_t i = window_count; i-- > 0;) {
        memcpy(reader->fake.disk.current + window[i]->offset, under[i], window[i]->bytes);
    }
}

static void close_window(void)
{
    for (uint32_t i = 0; i < window_count; i++) {
        free(under[i]);
    }
}

/* The writes of `mask` survive whole. */
static void try_subset(uint64_t mask)
{
    for (uint32_t i = 0; i < window_count; i++) {
        if ((mask >> i & 1) != 0) {
            settle_on_reader(window[i]);
        }
    }
    assert_starts();
    subset_images++;
    take_back();
}

/* Each sector of each write survives with a chance of `keep` in 4. */
static void try_torn(uint32_t keep)
{
    for (uint32_t i = 0; i < window_count; i++) {
        for (size_t at = 0; at < window[i]->bytes; at += MACHINE_SECTOR_BYTES) {
            if (test_random_below(&random_state, 4) < keep) {
                memcpy(reader->fake.disk.current + window[i]->offset + at, window[i]->data + at, MACHINE_SECTOR_BYTES);
            }
        }
    }
    assert_starts();
    torn_images++;
    take_back();
}

/* One write stops after a number of sectors; those before it are whole, those behind it never began. */
static void try_stopped(uint32_t last)
{
    for (uint32_t i = 0; i < last; i++) {
        settle_on_reader(window[i]);
    }
    size_t sectors = window[last]->bytes / MACHINE_SECTOR_BYTES;
    size_t kept = 1 + test_random_below(&random_state, (uint32_t)sectors - 1);
    memcpy(reader->fake.disk.current + window[last]->offset, window[last]->data, kept * MACHINE_SECTOR_BYTES);
    assert_starts();
    torn_images++;
    take_back();
}

static void cut_power_here(void)
{
    events++;
    open_window();
    uint64_t all = (1ull << window_count) - 1;
    if (all < SUBSETS_MAX) {
        for (uint64_t mask = 0; mask <= all; mask++) {
            try_subset(mask);
        }
    } else {
        try_subset(0);
        try_subset(all);
        for (uint32_t i = 0; i < window_count; i++) {
            try_subset(1ull << i);
            try_subset(all & ~(1ull << i));
        }
        for (unsigned i = 2 + 2 * window_count; i < SUBSETS_MAX; i++) {
            try_subset(test_random(&random_state) & all);
        }
    }
    for (uint32_t i = 0; i < window_count; i++) {
        try_stopped(i);
    }
    for (unsigned i = 0; i < TEARS && window_count > 0; i++) {
        try_torn(1 + i % 3);
    }
    close_window();
}

/* -- the life that is recorded -- */

static void note_promise(void)
{
    promise.persisted = log_persisted(node_log) > promise.persisted ? log_persisted(node_log) : promise.persisted;
    promise.vote_term = vote_durable(node_vote) ? vote_term(node_vote) : promise.vote_term;
    promise.checkpoint_epoch = store_checkpoint(node->store)->epoch;
}

static void close_epoch(void)
{
    for (unsigned i = 0; i < 4; i++) {
        bench_write_page(node, test_random_below(&random_state, WORLD_PAGES), (uint32_t)test_random(&random_state));
    }
    bench_close_epoch(node);
    assert_true(node->epoch < EPOCHS_MAX);
    struct checkpoint checkpoint = bench_checkpoint_of(node);
    digests[node->epoch] = checkpoint.digest;
    record_hashes[node->epoch] = world_record_hash(&checkpoint.record);
}

static void append_entry(void)
{
    static uint8_t body[ENTRY_BODY_BYTES_MAX];
    uint64_t index = BASE_INDEX + node->epoch;
    uint32_t bytes = body_bytes(index);
    make_body(body, index, bytes);
    struct group_entry entry = {.type = GROUP_ENTRY_EPOCH, .epoch = node->epoch, .parts = 1, .bytes = bytes};
    assert_int_equal(log_append(node_log, index, TERM, LOG_COMMAND, &entry, body, bytes), STATUS_OK);
    promise.appended = index;
}

static void step(bool *checkpointing)
{
    log_tick(node_log, false);
    vote_tick(node_vote);
    if (*checkpointing) {
        enum status status = store_checkpoint_step(node->store);
        assert_true(status == STATUS_OK || status == STATUS_EMPTY);
        if (status == STATUS_EMPTY) {
            *checkpointing = false;
            log_cut(node_log, store_checkpoint(node->store)->raft_index);
        }
    }
    note_promise();
    if (record_count > 0) {
        cut_power_here();
    }
    if (test_random_below(&random_state, 3) > 0) {
        fake_disk_complete(&node->fake, true);
    }
    note_promise();
    node->fake.now_ns += 1000000;
}

static void make_log_and_vote(struct bench *bench, struct log **log, struct vote **vote)
{
    bool fresh;
    const struct checkpoint *checkpoint = store_checkpoint(bench->store);
    assert_int_equal(log_create(log, &bench->fake.machine, REGION_BYTES), STATUS_OK);
    assert_int_equal(log_open(*log, store_superblock(bench->store)->log_offset, REGION_BYTES, raft_id, checkpoint->raft_index, checkpoint->raft_term, bench->reason),
                     STATUS_OK);
    log_recovered_durable(*log);
    assert_int_equal(vote_create(vote, &bench->fake.machine), STATUS_OK);
    assert_int_equal(vote_open(*vote, bench->keys.cluster_id, raft_id, &fresh), STATUS_OK);
}

static struct bench *begin(uint64_t seed)
{
    struct bench *bench = bench_create(seed, WORLD_PAGES, DISK);
    assert_int_equal(store_adopt(bench->store, INCARNATION), STATUS_OK);
    return bench;
}

static void test_every_write_prefix_starts_again_and_loses_nothing_durable(void **state)
{
    (void)state;
    const char *wanted = getenv("EIDOLON_TEST_IMAGES");
    images_max = wanted != NULL ? strtoull(wanted, NULL, 0) : SAMPLE_IMAGES;
    random_state = test_seed(__func__, 4242);
    node = begin(random_state);
    reader = begin(1);
    close_epoch();
    bench_make_checkpoint(node);
    fake_disk_drain(&node->fake);
    memcpy(reader->fake.disk.current, node->fake.disk.current, DISK);
    make_log_and_vote(node, &node_log, &node_vote);
    assert_int_equal(store_open(reader->store, &reader->disk, reader->reason), STATUS_OK);
    make_log_and_vote(reader, &reader_log, &reader_vote);
    real_submit = node->fake.machine.block_submit;
    node->fake.machine.block_submit = recording_submit;
    promise = (struct promise){.checkpoint_begun = 1, .persisted = BASE_INDEX + 1, .appended = BASE_INDEX + 1};
    bool checkpointing = false;
    uint64_t checkpoints = 0;
    for (unsigned turn = 0; images < images_max; turn++) {
        assert_true(turn < TURNS_MAX);
        close_epoch();
        append_entry();
        if (turn % 4 == 1) {
            promise.vote_said++;
            vote_set(node_vote, promise.vote_said, 0x4200 + promise.vote_said);
        }
        unsigned steps = turn % 3 == 2 ? 12 : 2;
        for (unsigned i = 0; i < steps && images < images_max; i++) {
            step(&checkpointing);
        }
        if (!checkpointing && turn % 3 == 2 && log_persisted(node_log) == log_last_index(node_log)) {
            assert_int_equal(bench_begin_checkpoint(node), STATUS_OK);
            promise.checkpoint_begun = node->epoch;
            checkpointing = true;
            checkpoints++;
        }
    }
    printf("  %llu disks from %llu moments (%llu subsets, %llu torn; up to %llu writes in a window; %llu checkpoints, %llu entries, %llu votes)\n",
           (unsigned long long)images, (unsigned long long)events, (unsigned long long)subset_images, (unsigned long long)torn_images,
           (unsigned long long)window_max, (unsigned long long)checkpoints, (unsigned long long)(promise.appended - BASE_INDEX),
           (unsigned long long)promise.vote_said);
    assert_true(images >= images_max);
    assert_true(promise.checkpoint_epoch > 2 && promise.vote_term > 2 && promise.persisted > BASE_INDEX + 10);
    retire(UINT64_MAX);
    for (uint32_t i = 0; i < record_count; i++) {
        free(records[i].data);
    }
    bench_destroy(node);
    bench_destroy(reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_write_prefix_starts_again_and_loses_nothing_durable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
