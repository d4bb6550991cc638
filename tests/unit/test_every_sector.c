/* Every sector. A node's page store, log and vote slots live on one disk; at some moments of rest the disk is taken, and each of its sectors that was ever
 * written, and some that were not, is damaged by itself: a bit flipped, zeroed, put back to what stood there before, exchanged with another of its kind; so is
 * each block, exchanged with another or written over by it. From each such disk the node reads everything. What it gets is exactly what it had, or it says which part of the disk is broken (VERIFY); and on
 * a disk that it takes it goes on without losing anything. What was in use and is damaged never goes unsaid, but for a superblock put back to an
 * older one while the log still reaches that far back: then nothing is missing.
 *
 * The log's last batch is only looked at once a marker covers it: before, damage cannot be told from a write that the power stopped (consensus/README.md). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "consensus/log_internal.h"
#include "consensus/vote.h"
#include "include/hash64.h"
#include "replicate/store_private.h"
#include "tests/unit/support/store_bench.h"

enum { WORLD_PAGES = 70, PAGES_PRESENT = 20, BASE_INDEX = 100, TERM = 3, REGION_BYTES = 256 << 10, ENTRIES_MAX = 1 << 12, KEPT_ENTRIES = 12, SECTOR = MACHINE_SECTOR_BYTES };
enum { SLOTS_LOOKED_AT = 56, BODY_MAX = 3400, GO_ON_ENTRIES = 50, FRONT_BYTES = 40 };
static const uint64_t raft_id = 0x1101, peer_id = 0x2202;

/* What a sector belongs to. */
enum kind { SUPERBLOCK, VOTE, UNUSED, LOG, PAGE_OF_CHECKPOINT, MAP_NODE, RECORD, FREE_SLOT, KINDS };
static const char *const kind_names[] = {"superblock", "vote", "unused", "log", "page", "map node", "world record", "free slot"};
/* The last two are of whole blocks: two of them exchanged, and one written over by another (a write that went astray). */
enum damage { FLIPPED, ZEROED, STALE, SWAPPED, BLOCKS_SWAPPED, OVERWRITTEN, DAMAGES };
static const char *const damage_names[] = {"flipped", "zeroed", "stale", "swapped", "block swapped", "overwritten"};
/* EXACT: all is as it was, and nothing was said. TOLD: so it is, and the other copy is said to be used. NAMED: the node says what is broken. */
enum outcome { EXACT, TOLD, NAMED, OUTCOMES };

static struct bench *node, *reader;
static struct log *node_log, *reader_log;
static struct vote *node_vote, *reader_vote;
static uint8_t *before_last;        /* what stood in each sector before it was last changed */
static uint8_t *taken;              /* the disk as it is looked at */
static uint64_t last_index;
static uint64_t digests[ENTRIES_MAX], record_hashes[ENTRIES_MAX];
static uint64_t random_state;
static uint64_t counts[KINDS][DAMAGES][OUTCOMES];

/* -- the node's life -- */

static enum status (*real_submit)(void *context, struct block_request *request);
static enum status (*real_write)(void *context, uint64_t offset, const void *buffer, size_t bytes);

static void remember(uint64_t offset, const uint8_t *data, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += SECTOR) {
        const uint8_t *there = node->fake.disk.current + offset + at;
        if (memcmp(there, data + at, SECTOR) != 0) {
            memcpy(before_last + offset + at, there, SECTOR);
        }
    }
}

static enum status remembering_submit(void *context, struct block_request *request)
{
    if (request->operation == BLOCK_WRITE) {
        remember(request->offset, request->buffer, request->bytes);
    }
    return real_submit(context, request);
}

static enum status remembering_write(void *context, uint64_t offset, const void *buffer, size_t bytes)
{
    remember(offset, buffer, bytes);
    return real_write(context, offset, buffer, bytes);
}

static uint32_t body_bytes(uint64_t index)
{
    uint64_t pick = hash64_fold(index, 5);
    return 100 + (uint32_t)(pick >> 8) % (pick % 2 == 0 ? 200 : BODY_MAX - 100); /* every other batch is in one sector */
}

static void append(struct log *log, uint64_t index)
{
    uint8_t body[BODY_MAX];
    uint32_t bytes = body_bytes(index);
    memset(body, (int)(index * 31), bytes);
    struct group_entry entry = {.type = GROUP_ENTRY_EPOCH, .epoch = index, .parts = 1, .bytes = bytes};
    assert_int_equal(log_append(log, index, TERM, LOG_COMMAND, &entry, body, bytes), STATUS_OK);
}

/* Until nothing is left to write: a marker covers the log, both vote slots say the same. */
static void rest(struct bench *bench, struct log *log, struct vote *vote)
{
    for (unsigned i = 0; i < 40; i++) {
        log_tick(log, false);
        vote_tick(vote);
        fake_disk_drain(&bench->fake);
        bench->fake.now_ns += 100000000;
    }
    assert_int_equal(log_deadline_ns(log), UINT64_MAX);
    assert_int_equal(vote_deadline_ns(vote), UINT64_MAX);
}

static void write_out(struct bench *bench, struct log *log)
{
    while (log_persisted(log) < log_last_index(log)) {
        log_tick(log, false);
        assert_true(fake_disk_complete(&bench->fake, false) || log_persisted(log) == log_last_index(log));
    }
}

static void close_epoch(void)
{
    for (unsigned i = 0; i < 4; i++) {
        uint32_t page = test_random_below(&random_state, PAGES_PRESENT);
        page = page % 2 == 0 ? page : WORLD_PAGES - 1 - page; /* below two leaves of the map */
        bench_write_page(node, page, (uint32_t)test_random(&random_state));
    }
    bench_close_epoch(node);
    struct checkpoint checkpoint = bench_checkpoint_of(node);
    digests[node->epoch] = checkpoint.digest;
    record_hashes[node->epoch] = world_record_hash(&checkpoint.record);
}

static void make_checkpoint(void)
{
    node->store->slot_cursor = 0; /* as after a boot: slots are used again soon */
    bench_make_checkpoint(node);
    fake_disk_drain(&node->fake);
    if (node->epoch > KEPT_ENTRIES) {
        log_cut(node_log, BASE_INDEX + node->epoch - KEPT_ENTRIES);
    }
}

static void live(unsigned turns)
{
    for (unsigned turn = 0; turn < turns; turn++) {
        close_epoch();
        last_index = BASE_INDEX + node->epoch;
        append(node_log, last_index);
        if (turn % 3 != 0) {
            write_out(node, node_log); /* else the next batch has two */
        }
        if (turn % 5 == 2 || turn == 0) {
            vote_set(node_vote, vote_term(node_vote) + 1, 0x4200 + turn);
            (void)vote_note_evidence(node_vote, peer_id, turn, 3 * turn, last_index, NULL, 0);
            write_out(node, node_log);
            for (unsigned i = 0; i < 4; i++) {
                vote_tick(node_vote);
                fake_disk_drain(&node->fake);
            }
        }
        if (turn % 7 == 6) {
            write_out(node, node_log);
            make_checkpoint();
        }
    }
    write_out(node, node_log);
    (void)vote_note_evidence(node_vote, peer_id, turns, 3 * turns, last_index, NULL, 0); /* nothing but evidence changed last */
}

/* A checkpoint of a peer takes the log's place. */
static void install(void)
{
    for (unsigned i = 0; i < 5; i++) {
        close_epoch();
    }
    node->store->slot_cursor = 0;
    bench_make_checkpoint(node);
    last_index = BASE_INDEX + node->epoch;
    log_restart(node_log, last_index, TERM);
}

/* -- what a disk says -- */

static void assert_exact_image(void)
{
    uint64_t epoch = store_checkpoint(reader->store)->epoch;
    assert_int_equal(image_digest(reader->image) + record_hashes[epoch], digests[epoch]);
}

static void assert_exact_log(uint64_t last)
{
    static uint8_t scratch[ENTRY_BODY_BYTES_MAX], expected[BODY_MAX];
    assert_int_equal(log_last_index(reader_log), last);
    for (uint64_t index = store_checkpoint(reader->store)->raft_index + 1; index <= last; index++) {
        struct log_view view;
        assert_int_equal(log_read(reader_log, index, scratch, &view), STATUS_OK);
        assert_int_equal(view.body_bytes, body_bytes(index));
        memset(expected, (int)(index * 31), view.body_bytes);
        assert_memory_equal(view.body, expected, view.body_bytes);
    }
}

static void assert_exact_vote(void)
{
    assert_int_equal(vote_term(reader_vote), vote_term(node_vote));
    assert_int_equal(vote_voted_for(reader_vote), vote_voted_for(node_vote));
    assert_int_equal(vote_boot_number(reader_vote), vote_boot_number(node_vote));
    const struct disk_evidence *said = vote_evidence(node_vote, peer_id), *found = vote_evidence(reader_vote, peer_id);
    assert_int_equal(found != NULL, said != NULL);
    assert_true(found == NULL || memcmp(found, said, sizeof *found) == 0);
}

static bool says(const char *sentence, const char *part)
{
    return strstr(sentence, part) != NULL;
}

/* The checkpoint's pages. False: one does not verify. */
static bool fill(void)
{
    bool done = false;
    uint32_t page = 0;
    store_fill_restart(reader->store);
    image_clear(reader->image);
    while (!done) {
        enum status status = store_fill_step(reader->store, reader->image, 100, &done, &page);
        if (status != STATUS_OK) {
            assert_int_equal(status, STATUS_CORRUPT);
            snprintf(reader->reason, sizeof reader->reason, "page %u in slot %u", (unsigned)page, (unsigned)store_page_slot(reader->store, page));
            return false;
        }
    }
    assert_exact_image();
    return true;
}

static bool open_log(uint64_t last)
{
    const struct checkpoint *checkpoint = store_checkpoint(reader->store);
    enum status status =
        log_open(reader_log, DISK_LOG_OFFSET, REGION_BYTES, raft_id, checkpoint->raft_index, checkpoint->raft_term, reader->reason);
    if (status != STATUS_OK) {
        assert_int_equal(status, STATUS_CORRUPT);
        assert_true(says(reader->reason, "log"));
        return false;
    }
    assert_exact_log(last);
    return true;
}

/* Read everything that harm done to a sector of `kind` can have changed. On NAMED reader->reason has the sentence. */
static enum outcome open_all(enum kind kind, uint64_t last)
{
    unsigned lines = reader->fake.log_lines;
    bool fresh, in_store = kind != LOG && kind != VOTE && kind != UNUSED, in_slot = in_store && kind != SUPERBLOCK;
    reader->reason[0] = '\0';
    assert_int_equal(store_open(reader->store, &reader->disk, reader->reason), STATUS_OK);
    if (reader->disk != STORE_DISK_OK) {
        assert_int_equal(reader->disk, STORE_DISK_CORRUPT);
        assert_true(says(reader->reason, "superblock") || says(reader->reason, "page store"));
        return NAMED;
    }
    if (in_store && !fill()) {
        return NAMED;
    }
    assert_int_equal(vote_open(reader_vote, node->keys.cluster_id, raft_id, &fresh), STATUS_OK); /* one bad slot forgets nothing */
    assert_exact_vote();
    if (!in_slot && !open_log(last)) {
        return NAMED;
    }
    if (reader->fake.log_lines == lines) {
        return EXACT;
    }
    assert_true(says(reader->fake.last_log, "superblock") || says(reader->fake.last_log, "vote slot"));
    return TOLD;
}

/* The node goes on from a disk that it took, and starts again. */
static void assert_goes_on(void)
{
    log_recovered_durable(reader_log);
    vote_raise_boot_number(reader_vote, 9);
    uint64_t term = vote_term(node_vote), last = last_index;
    for (unsigned i = 0; i < GO_ON_ENTRIES && log_room(reader_log, 1, BODY_MAX, LOG_FOR_TERM); i++) {
        append(reader_log, ++last);
        write_out(reader, reader_log);
    }
    rest(reader, reader_log, reader_vote);
    uint64_t boot = vote_boot_number(reader_vote);
    const struct checkpoint *checkpoint = store_checkpoint(reader->store);
    bool fresh;
    assert_int_equal(log_open(reader_log, DISK_LOG_OFFSET, REGION_BYTES, raft_id, checkpoint->raft_index, checkpoint->raft_term, reader->reason), STATUS_OK);
    assert_exact_log(last);
    assert_int_equal(vote_open(reader_vote, node->keys.cluster_id, raft_id, &fresh), STATUS_OK);
    assert_int_equal(vote_boot_number(reader_vote), boot);
    assert_int_equal(vote_term(reader_vote), term);
}

/* -- sectors -- */

static uint8_t slot_kinds[SLOTS_LOOKED_AT + 1];

static enum kind kind_of(uint64_t offset)
{
    uint64_t block = offset / DISK_BLOCK_BYTES;
    if (block < 2) {
        return offset % DISK_BLOCK_BYTES == 0 ? SUPERBLOCK : UNUSED;
    }
    if (block < 4) {
        return offset % DISK_BLOCK_BYTES == 0 ? VOTE : UNUSED;
    }
    if (offset < DISK_LOG_OFFSET) {
        return UNUSED;
    }
    return offset < DISK_LOG_OFFSET + REGION_BYTES ? LOG : (enum kind)slot_kinds[1 + (offset - disk_store_offset(DISK)) / DISK_BLOCK_BYTES];
}

static void slot_is(uint32_t slot, enum kind kind)
{
    if (slot != 0) {
        assert_true(slot <= SLOTS_LOOKED_AT);
        slot_kinds[slot] = (uint8_t)kind;
    }
}

static void find_kinds_of_slots(void)
{
    const struct store *store = node->store;
    memset(slot_kinds, FREE_SLOT, sizeof slot_kinds);
    for (uint32_t page = 0; page < store->pages_max; page++) {
        slot_is(store->current.pages[page].slot, PAGE_OF_CHECKPOINT);
    }
    for (uint32_t level = 0; level < store->levels; level++) {
        for (uint32_t index = 0; index < store->node_count[level]; index++) {
            slot_is(store->current.nodes[level][index].slot, MAP_NODE);
        }
    }
    slot_is(store->current.record.slot, RECORD);
}

/* Bytes of the sector, from its start, that the next start needs. */
static uint32_t log_bytes_in_use(uint64_t offset)
{
    uint32_t in_use = 0;
    for (uint64_t index = store_checkpoint(node->store)->raft_index + 1; index <= log_last_index(node_log); index++) {
        const struct log_slot *slot = log_slot_of(node_log, index);
        uint64_t from = DISK_LOG_OFFSET + (uint64_t)slot->block * DISK_BLOCK_BYTES, to = from + slot->record + log_record_bytes_of(slot->body_bytes);
        if (offset >= from && offset < to && to - offset > in_use) {
            in_use = (uint32_t)(to - offset);
        }
    }
    return in_use < SECTOR ? in_use : SECTOR;
}

static uint32_t bytes_in_use(enum kind kind, uint64_t offset)
{
    switch (kind) {
    case SUPERBLOCK:
        return sizeof(struct disk_superblock);
    case VOTE:
        return sizeof(struct disk_vote);
    case LOG:
        return log_bytes_in_use(offset);
    case PAGE_OF_CHECKPOINT:
    case MAP_NODE:
    case RECORD:
        return SECTOR;
    case UNUSED:
    case FREE_SLOT:
    case KINDS:
        break;
    }
    return 0;
}

/* Another sector of the kind of `offset`, mostly close by, and mostly at the same place in its block, where it could pass for this one. */
static uint64_t partner_of(uint64_t offset, enum kind kind)
{
    if (offset < DISK_LOG_OFFSET) {
        return offset ^ DISK_BLOCK_BYTES;
    }
    uint64_t from = kind == LOG ? DISK_LOG_OFFSET : disk_store_offset(DISK);
    uint64_t blocks = kind == LOG ? REGION_BYTES / DISK_BLOCK_BYTES : SLOTS_LOOKED_AT;
    uint64_t block = ((offset - from) / DISK_BLOCK_BYTES + 1 + test_random_below(&random_state, test_random(&random_state) % 2 == 0 ? 2 : (uint32_t)blocks - 1)) % blocks;
    return from + block * DISK_BLOCK_BYTES + offset % DISK_BLOCK_BYTES;
}

static uint64_t bytes_harmed(enum damage damage)
{
    return damage >= BLOCKS_SWAPPED ? DISK_BLOCK_BYTES : SECTOR;
}

/* Is anything of what is harmed at `offset` needed? */
static bool needed(enum damage damage, uint64_t offset)
{
    for (uint64_t at = offset; at < offset + bytes_harmed(damage); at += SECTOR) {
        if (bytes_in_use(kind_of(at), at) > 0) {
            return true;
        }
    }
    return false;
}

/* False: the disk stays as it is. */
static bool harm(enum damage damage, enum kind kind, uint64_t offset, uint64_t partner)
{
    uint8_t *disk = reader->fake.disk.current, *sector = disk + offset;
    uint32_t in_use = bytes_in_use(kind, offset);
    switch (damage) {
    case FLIPPED:
        sector[test_random_below(&random_state, in_use > 0 ? in_use : SECTOR)] ^= (uint8_t)(1u << test_random_below(&random_state, 8));
        break;
    case ZEROED:
        memset(sector, 0, SECTOR);
        break;
    case STALE:
        memcpy(sector, before_last + offset, SECTOR);
        break;
    case SWAPPED:
    case BLOCKS_SWAPPED:
        memcpy(sector, taken + partner, bytes_harmed(damage));
        memcpy(disk + partner, taken + offset, bytes_harmed(damage));
        break;
    case OVERWRITTEN:
        memcpy(sector, taken + partner, bytes_harmed(damage));
        break;
    case DAMAGES:
        break;
    }
    return memcmp(sector, taken + offset, bytes_harmed(damage)) != 0;
}

static void put_right(uint64_t offset, uint64_t bytes)
{
    memcpy(reader->fake.disk.current + offset, taken + offset, bytes);
}

static void try_one(enum damage damage, enum kind kind, uint64_t offset)
{
    uint64_t partner = partner_of(offset, kind);
    if (harm(damage, kind, offset, partner)) {
        bool in_use = needed(damage, offset), other_in_use = (damage == SWAPPED || damage == BLOCKS_SWAPPED) && needed(damage, partner);
        bool doubled = kind == SUPERBLOCK || kind == VOTE;
        enum outcome outcome = open_all(kind, last_index);
        if (outcome == EXACT && in_use && !(doubled && damage >= STALE)) { /* each copy verifies, and nothing is missing */
            fail_msg("%s, sector at %llu: %s, and nobody noticed", kind_names[kind], (unsigned long long)offset, damage_names[damage]);
        }
        if (outcome != EXACT && !in_use && !other_in_use) {
            fail_msg("%s, sector at %llu, which is not needed: %s: %s", kind_names[kind], (unsigned long long)offset, damage_names[damage], reader->reason);
        }
        if (outcome != NAMED && (doubled || (kind == LOG && (in_use || damage >= STALE)))) {
            assert_goes_on();
            put_right(0, 5 * DISK_BLOCK_BYTES);
            put_right(DISK_LOG_OFFSET, REGION_BYTES);
        }
        counts[kind][damage][outcome]++;
    }
    put_right(offset, bytes_harmed(damage));
    put_right(partner, bytes_harmed(damage));
}

/* The fields by which a superblock or a vote is recognised, bit by bit: none of them may pass for another version's or another cluster's. */
static void flip_each_bit_of_front(uint64_t offset)
{
    for (unsigned bit = 0; bit < 8 * FRONT_BYTES; bit++) {
        bool fresh;
        unsigned lines = reader->fake.log_lines;
        reader->fake.disk.current[offset + bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(store_open(reader->store, &reader->disk, reader->reason), STATUS_OK);
        assert_int_equal(reader->disk, STORE_DISK_OK);
        assert_int_equal(vote_open(reader_vote, node->keys.cluster_id, raft_id, &fresh), STATUS_OK);
        assert_exact_vote();
        assert_int_equal(reader->fake.log_lines, lines + 1);
        put_right(offset, SECTOR);
    }
}

static void look_at_region(uint64_t from, uint64_t bytes)
{
    for (uint64_t offset = from; offset < from + bytes; offset += SECTOR) {
        bool block = offset % DISK_BLOCK_BYTES == 0 && offset != DISK_PROBE_BLOCK * DISK_BLOCK_BYTES;
        for (enum damage damage = 0; damage < (block ? DAMAGES : BLOCKS_SWAPPED); damage++) {
            try_one(damage, kind_of(offset), offset);
        }
    }
}

/* Take the disk and look at each of its sectors. */
static void look_at_all(void)
{
    uint64_t store = disk_store_offset(DISK), store_bytes = SLOTS_LOOKED_AT * DISK_BLOCK_BYTES;
    rest(node, node_log, node_vote);
    find_kinds_of_slots();
    memcpy(taken, node->fake.disk.current, 5 * DISK_BLOCK_BYTES);
    memcpy(taken + DISK_LOG_OFFSET, node->fake.disk.current + DISK_LOG_OFFSET, REGION_BYTES);
    memcpy(taken + store, node->fake.disk.current + store, store_bytes);
    put_right(0, 5 * DISK_BLOCK_BYTES);
    put_right(DISK_LOG_OFFSET, REGION_BYTES);
    put_right(store, store_bytes);
    assert_int_equal(open_all(SUPERBLOCK, last_index), EXACT);
    look_at_region(0, 5 * DISK_BLOCK_BYTES);
    for (unsigned block = 0; block < 4; block++) {
        flip_each_bit_of_front(block * DISK_BLOCK_BYTES);
    }
    look_at_region(DISK_LOG_OFFSET, REGION_BYTES);
    look_at_region(store, store_bytes);
}

/* -- the tests -- */

static void make_log_and_vote(struct bench *bench, struct log **log, struct vote **vote)
{
    bool fresh;
    const struct checkpoint *checkpoint = store_checkpoint(bench->store);
    assert_int_equal(log_create(log, &bench->fake.machine, REGION_BYTES), STATUS_OK);
    assert_int_equal(log_open(*log, DISK_LOG_OFFSET, REGION_BYTES, raft_id, checkpoint->raft_index, checkpoint->raft_term, bench->reason), STATUS_OK);
    log_recovered_durable(*log);
    assert_int_equal(vote_create(vote, &bench->fake.machine), STATUS_OK);
    assert_int_equal(vote_open(*vote, bench->keys.cluster_id, raft_id, &fresh), STATUS_OK);
}

static uint8_t *map_disk(void)
{
    uint8_t *memory = mmap(NULL, DISK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(memory != MAP_FAILED);
    return memory;
}

static int set_up(void **state)
{
    (void)state;
    random_state = test_seed("every sector", 4711);
    before_last = map_disk();
    taken = map_disk();
    memset(counts, 0, sizeof counts);
    node = bench_create(random_state, WORLD_PAGES, DISK);
    reader = bench_create(1, WORLD_PAGES, DISK);
    real_submit = node->fake.machine.block_submit;
    real_write = node->fake.machine.block_write;
    node->fake.machine.block_submit = remembering_submit;
    node->fake.machine.block_write = remembering_write;
    assert_int_equal(store_adopt(node->store, INCARNATION), STATUS_OK);
    assert_int_equal(store_adopt(reader->store, INCARNATION), STATUS_OK);
    close_epoch();
    last_index = BASE_INDEX + node->epoch;
    bench_make_checkpoint(node);
    make_log_and_vote(node, &node_log, &node_vote);
    make_log_and_vote(reader, &reader_log, &reader_vote);
    vote_raise_boot_number(node_vote, 8);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    printf("  exact/told/named");
    for (unsigned damage = 0; damage < DAMAGES; damage++) {
        printf(" %15s", damage_names[damage]);
    }
    printf("\n");
    for (unsigned kind = 0; kind < KINDS; kind++) {
        printf("  %-16s", kind_names[kind]);
        for (unsigned damage = 0; damage < DAMAGES; damage++) {
            char cell[64];
            const uint64_t *count = counts[kind][damage];
            snprintf(cell, sizeof cell, "%llu/%llu/%llu", (unsigned long long)count[EXACT], (unsigned long long)count[TOLD], (unsigned long long)count[NAMED]);
            printf(" %15s", cell);
        }
        printf("\n");
    }
    bench_destroy(node);
    bench_destroy(reader);
    munmap(before_last, DISK);
    munmap(taken, DISK);
    return 0;
}

static void test_every_sector_of_a_young_disk_is_right_or_said_to_be_wrong(void **state)
{
    (void)state;
    live(5);
    look_at_all();
}

/* The log's ring has gone round, slots were used again, and the newest checkpoint is some entries old. */
static void test_every_sector_of_an_old_disk_is_right_or_said_to_be_wrong(void **state)
{
    (void)state;
    live(153);
    look_at_all();
}

static void test_every_sector_just_after_a_checkpoint_is_right_or_said_to_be_wrong(void **state)
{
    (void)state;
    live(100);
    make_checkpoint();
    look_at_all();
}

static void test_every_sector_after_a_peers_checkpoint_is_right_or_said_to_be_wrong(void **state)
{
    (void)state;
    live(60);
    install();
    look_at_all();
    live(10);
    look_at_all();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_every_sector_of_a_young_disk_is_right_or_said_to_be_wrong),
        TEST(test_every_sector_of_an_old_disk_is_right_or_said_to_be_wrong),
        TEST(test_every_sector_just_after_a_checkpoint_is_right_or_said_to_be_wrong),
        TEST(test_every_sector_after_a_peers_checkpoint_is_right_or_said_to_be_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
