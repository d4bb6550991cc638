/* Every sector, seen by whole nodes. A cluster lives, makes checkpoints and comes to rest; all its nodes lose power. Then one sector of node 1's disk is
 * harmed (tests/unit/test_every_sector.c says how, and looks at what is read), and the nodes start again.
 *   Three nodes: node 1, which is alone for a while every other time, never hosts alone and gives no disk up; with its peers it ends up as a voter
 *   with the image that all have, under a new incarnation if it had to give its own up, and then it has said which part of its disk is broken.
 *   Nothing that was committed is lost, and the cluster goes on.
 *   One node: it goes on with what it had, or it takes no part, says which part of its disk is broken, and leaves the disk as it is.
 *
 * EIDOLON_TEST_SECTORS: of how many sectors that were ever written one is tried (1: all, `make test-long`); by default a sample. */
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

#include "consensus/group_internal.h"
#include "consensus/log_internal.h"
#include "replicate/store_private.h"
#include "tests/unit/support/node_cluster.h"

enum { SECTOR = MACHINE_SECTOR_BYTES, BLOCK = DISK_BLOCK_BYTES, FRONT = 5 * BLOCK, LOG_LOOKED_AT = 1 << 20, STORE_LOOKED_AT = 512 << 10, MARGIN = 512 << 10 };
enum { SAMPLE = 23, WHOLE_MS = 8000, ALONE_MS = 300, CHECKPOINTS = 3, LIFE_MS = 150, REST_MS = 4000 };
enum damage { FLIPPED, ZEROED, STALE, SWAPPED, DAMAGES };

/* Parts of a disk that nodes write. */
struct part {
    const char *name;
    uint64_t from, bytes;
};
static struct part parts[] = {{"superblocks and votes", 0, FRONT}, {"log", DISK_LOG_OFFSET, LOG_LOOKED_AT}, {"page store", 0, STORE_LOOKED_AT}};
enum { PARTS = sizeof parts / sizeof parts[0] };

static struct nodes *nodes;
static struct nodes_node *victim;
static uint8_t *taken[NODES_MAX + 1], *before_last;
static uint64_t taken_committed, random_state;
static uint64_t tried[PARTS], kept[PARTS], strangers[PARTS], stopped[PARTS];

/* -- the life before -- */

static enum status (*real_submit)(void *context, struct block_request *request);

static enum status remembering_submit(void *context, struct block_request *request)
{
    const uint8_t *data = request->buffer;
    for (size_t at = 0; request->operation == BLOCK_WRITE && at < request->bytes; at += SECTOR) {
        const uint8_t *there = victim->fake.disk.current + request->offset + at;
        if (memcmp(there, data + at, SECTOR) != 0) {
            memcpy(before_last + request->offset + at, there, SECTOR);
        }
    }
    return real_submit(context, request);
}

static void make_checkpoints(void)
{
    for (unsigned number = 1; number <= nodes->count; number++) {
        nodes->node[number].node->checkpoint_wanted = true;
        nodes->node[number].node->store->slot_cursor = 0; /* slots are used again soon */
        nodes_forget_lines(&nodes->node[number]);
    }
    nodes_run(nodes, LIFE_MS, NULL);
    assert_true(nodes_said(victim, "is durable"));
}

static uint8_t *map_disk(void)
{
    uint8_t *memory = mmap(NULL, NODES_DISK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(memory != MAP_FAILED);
    return memory;
}

static void copy_disk(uint8_t *to, const uint8_t *from)
{
    for (unsigned part = 0; part < PARTS; part++) {
        memcpy(to + parts[part].from, from + parts[part].from, parts[part].bytes);
    }
}

static void live(unsigned count)
{
    random_state = test_seed("every sector of a node", 4712);
    nodes = nodes_create(count, random_state);
    victim = &nodes->node[1];
    before_last = map_disk();
    real_submit = victim->fake.machine.block_submit;
    victim->fake.machine.block_submit = remembering_submit;
    parts[2].from = disk_store_offset(NODES_DISK_BYTES);
    memset(tried, 0, sizeof tried);
    memset(kept, 0, sizeof kept);
    memset(strangers, 0, sizeof strangers);
    memset(stopped, 0, sizeof stopped);
    for (unsigned number = 1; number <= count; number++) {
        nodes_power_on(&nodes->node[number]);
    }
    assert_true(nodes_run(nodes, WHOLE_MS, nodes_whole));
    for (unsigned i = 0; i < CHECKPOINTS; i++) {
        nodes_run(nodes, LIFE_MS, NULL);
        make_checkpoints();
    }
    nodes->asleep = true;
    nodes_run(nodes, REST_MS, NULL);
    assert_true(nodes_whole(nodes));
    assert_true(victim->node->group->log->head + MARGIN < LOG_LOOKED_AT);
    taken_committed = nodes->committed;
    nodes->asleep = false;
    for (unsigned number = 1; number <= count; number++) {
        nodes_power_cut(&nodes->node[number]);
        taken[number] = map_disk();
        copy_disk(taken[number], nodes->node[number].fake.disk.current);
    }
    victim->fake.machine.block_submit = real_submit;
}

static void forget(void)
{
    for (unsigned number = 1; number <= nodes->count; number++) {
        munmap(taken[number], NODES_DISK_BYTES);
    }
    munmap(before_last, NODES_DISK_BYTES);
    nodes_destroy(nodes);
}

static void end(void)
{
    for (unsigned part = 0; part < PARTS; part++) {
        printf("  %-22s %5llu disks: goes on %llu, joins as a stranger %llu, takes no part %llu\n", parts[part].name, (unsigned long long)tried[part],
               (unsigned long long)kept[part], (unsigned long long)strangers[part], (unsigned long long)stopped[part]);
        assert_true(kept[part] > 0 && (part == 0 || strangers[part] + stopped[part] > 0));
    }
    forget();
}

/* -- one disk -- */

static void restore(void)
{
    for (unsigned number = 1; number <= nodes->count; number++) {
        struct nodes_node *node = &nodes->node[number];
        copy_disk(node->fake.disk.current, taken[number]);
        copy_disk(node->fake.disk.durable, taken[number]);
        nodes_forget_lines(node);
        node->restarts = 0;
    }
    nodes->committed = taken_committed;
    memset(&nodes->digests[taken_committed + 1], 0, (NODES_EPOCHS_MAX - taken_committed - 1) * sizeof nodes->digests[0]);
}

static void stop(void)
{
    for (unsigned number = 1; number <= nodes->count; number++) {
        nodes_power_cut(&nodes->node[number]);
    }
}

/* A sector at the same place of another block that was written. */
static uint64_t partner_of(const struct part *part, uint64_t offset)
{
    uint64_t partner = offset;
    do {
        partner = part->from + (partner - part->from + (1 + test_random_below(&random_state, 8)) * BLOCK) % part->bytes;
    } while (partner % BLOCK != offset % BLOCK || partner == offset);
    return partner;
}

/* False: nothing changed. */
static bool harm(const struct part *part, uint64_t offset, enum damage damage)
{
    uint8_t sector[SECTOR];
    const uint8_t *disk = taken[1];
    uint64_t partner = partner_of(part, offset);
    memcpy(sector, disk + offset, SECTOR);
    switch (damage) {
    case FLIPPED:
        sector[test_random_below(&random_state, SECTOR)] ^= (uint8_t)(1u << test_random_below(&random_state, 8));
        break;
    case ZEROED:
        memset(sector, 0, SECTOR);
        break;
    case STALE:
        memcpy(sector, before_last + offset, SECTOR);
        break;
    case SWAPPED:
        memcpy(sector, disk + partner, SECTOR);
        memcpy(victim->fake.disk.current + partner, disk + offset, SECTOR);
        memcpy(victim->fake.disk.durable + partner, disk + offset, SECTOR);
        break;
    case DAMAGES:
        break;
    }
    memcpy(victim->fake.disk.current + offset, sector, SECTOR);
    memcpy(victim->fake.disk.durable + offset, sector, SECTOR);
    return memcmp(sector, disk + offset, SECTOR) != 0;
}

static bool names_a_part(const char *text)
{
    return strstr(text, "superblock") != NULL || strstr(text, "page store:") != NULL || strstr(text, "log batch") != NULL ||
           strstr(text, "log begins") != NULL || strstr(text, "vote slots") != NULL;
}

static bool said_which_part(void)
{
    for (unsigned i = 0; i < NODES_LINES && i < victim->line_count; i++) {
        if (names_a_part(victim->lines[i]) && strstr(victim->lines[i], "corrupt") != NULL) {
            return true;
        }
    }
    return false;
}

static bool goes_on(const struct nodes *all)
{
    return all->committed > taken_committed + 1 && nodes_whole(all);
}

static void try_with_peers(unsigned part, bool alone_first)
{
    static uint8_t harmed[2 * BLOCK];
    memcpy(harmed, victim->fake.disk.current, sizeof harmed);
    nodes_power_on(victim);
    for (unsigned i = 0; alone_first && i < ALONE_MS; i++) {
        nodes_turn(nodes);
        assert_true(victim->node == NULL || !world_hosting(victim->node->world));
    }
    if (alone_first) {
        assert_int_equal(victim->restarts, 0);
        assert_memory_equal(victim->fake.disk.current, harmed, 2 * BLOCK);
    }
    for (unsigned number = 2; number <= nodes->count; number++) {
        nodes_power_on(&nodes->node[number]);
    }
    assert_true(nodes_run(nodes, WHOLE_MS, goes_on));
    bool same = nodes_raft_id(victim) == raft_id_make(1, 101);
    assert_true(same ? victim->restarts == 0 : said_which_part());
    kept[part] += same;
    strangers[part] += !same;
}

static void try_without_peers(unsigned part)
{
    static uint8_t harmed[FRONT];
    memcpy(harmed, victim->fake.disk.current, FRONT);
    nodes_power_on(victim);
    for (unsigned i = 0; i < WHOLE_MS && victim->node->disk == STORE_DISK_OK && !goes_on(nodes); i++) {
        nodes_turn(nodes);
        assert_false(victim->restart_asked || victim->restart_in > 0);
    }
    if (victim->node->disk == STORE_DISK_OK) {
        assert_true(goes_on(nodes));
        kept[part]++;
        return;
    }
    nodes_run(nodes, ALONE_MS, NULL);
    assert_false(world_hosting(victim->node->world));
    assert_int_equal(victim->node->disk, STORE_DISK_CORRUPT);
    assert_true(names_a_part(victim->node->disk_reason));
    assert_non_null(strstr(victim->node->disk_reason, "a cluster of one node has lost its world"));
    assert_memory_equal(victim->fake.disk.current, harmed, 2 * BLOCK);
    stopped[part]++;
}

/* -- all of them -- */

static bool ever_written(uint64_t offset)
{
    static const uint8_t zero[SECTOR];
    return memcmp(taken[1] + offset, zero, SECTOR) != 0 || memcmp(before_last + offset, zero, SECTOR) != 0;
}

static void look_at_all(void)
{
    const char *wanted = getenv("EIDOLON_TEST_SECTORS");
    uint64_t stride = wanted != NULL ? strtoull(wanted, NULL, 0) : SAMPLE, number = 0;
    for (unsigned part = 0; part < PARTS; part++) {
        for (uint64_t offset = parts[part].from; offset < parts[part].from + parts[part].bytes; offset += SECTOR) {
            if (!ever_written(offset) || (part > 0 && number++ % stride != 0)) {
                continue;
            }
            for (enum damage damage = 0; damage < DAMAGES; damage++) {
                restore();
                if (!harm(&parts[part], offset, damage)) {
                    continue;
                }
                tried[part]++;
                if (nodes->count == 1) {
                    try_without_peers(part);
                } else {
                    try_with_peers(part, tried[part] % 2 == 0);
                }
                stop();
            }
        }
    }
}

static void test_every_sector_is_repaired_from_peers(void **state)
{
    (void)state;
    live(3);
    look_at_all();
    end();
}

static void flip(struct nodes_node *node, uint64_t offset)
{
    node->fake.disk.current[offset] ^= 1;
    node->fake.disk.durable[offset] ^= 1;
}

/* NO-AMNESIA: while no majority can do without it, a damaged disk is all that there is of what it holds. */
static void test_damaged_disks_of_a_majority_are_kept_until_one_of_them_is_whole_again(void **state)
{
    (void)state;
    static uint8_t harmed[3][FRONT];
    live(3);
    restore();
    for (unsigned number = 1; number <= 2; number++) {
        struct nodes_node *node = &nodes->node[number];
        flip(node, 100);
        flip(node, BLOCK + 100);
        memcpy(harmed[number], node->fake.disk.current, FRONT);
    }
    for (unsigned number = 1; number <= 3; number++) {
        nodes_power_on(&nodes->node[number]);
    }
    nodes_run(nodes, REST_MS, NULL);
    assert_null(nodes_host(nodes));
    for (unsigned number = 1; number <= 2; number++) {
        struct nodes_node *node = &nodes->node[number];
        assert_int_equal(node->restarts, 0);
        assert_int_equal(node->node->disk, STORE_DISK_CORRUPT);
        assert_non_null(strstr(node->node->disk_reason, "superblock"));
        assert_non_null(strstr(node->node->disk_reason, "until a majority of the other nodes runs and repairs it"));
        assert_memory_equal(node->fake.disk.current, harmed[number], FRONT);
    }
    nodes_power_cut(victim);
    flip(victim, 100);
    nodes_power_on(victim);
    assert_true(nodes_run(nodes, WHOLE_MS, goes_on));
    assert_int_equal(nodes_raft_id(victim), raft_id_make(1, 101));
    assert_int_not_equal(nodes_raft_id(&nodes->node[2]), raft_id_make(2, 102));
    stop();
    forget();
}

static void test_every_sector_of_a_cluster_of_one_is_right_or_stops_it_with_a_sentence(void **state)
{
    (void)state;
    live(1);
    look_at_all();
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_sector_is_repaired_from_peers),
        cmocka_unit_test(test_damaged_disks_of_a_majority_are_kept_until_one_of_them_is_whole_again),
        cmocka_unit_test(test_every_sector_of_a_cluster_of_one_is_right_or_stops_it_with_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
