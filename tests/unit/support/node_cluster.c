#include "tests/unit/support/node_cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consensus/group_internal.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "include/abi.h"
#include "include/check.h"

enum { LINK_BYTES = 256 * 1024, TICKS_MAX = 16, PERIOD_MS = 18, RESTART_TURNS = 5, HEARTBEAT_MS = 20, ELECTION_MS = 100 };
#define MS 1000000ull

/* -- the program -- */

/* An ELF that only lays out memory: one page to execute, behind the ABI's pages. */
static const uint8_t elf[2 * 4096] = {
    [0] = 0x7f, 'E', 'L', 'F', 2, 1, 1, [16] = 2, [18] = 62, [20] = 1,
    [26] = 0x20, [27] = 0x10,                    /* entry 0x10200000 */
    [32] = 64, [54] = 56, [56] = 1,              /* one program header at 64 */
    [64] = 1, [68] = 5, [73] = 0x10,             /* loadable, read and execute, file offset 4096 */
    [82] = 0x20, [83] = 0x10,                    /* address 0x10200000 */
    [97] = 0x10, [105] = 0x10, [113] = 0x10,     /* 4096 bytes in file and memory, aligned to 4096 */
    [4096] = 0xf4,
};

void machine_registers_init(uint8_t registers[1024], uint64_t entry, uint64_t stack)
{
    memset(registers, 0, 1024);
    memcpy(registers, &entry, sizeof entry);
    memcpy(registers + sizeof entry, &stack, sizeof stack);
}

/* The frame behind `address` with the right to read or write it; NULL: not now. */
static uint8_t *reach(struct nodes_node *node, uint64_t address, bool write)
{
    struct fake_machine *fake = &node->fake;
    uint32_t page = (uint32_t)((address - ABI_WORLD_BASE) / ABI_PAGE_BYTES);
    enum page_rights wanted = write ? PAGE_WRITE : PAGE_READ;
    if (fake->frames[page] == NULL || fake->rights[page] == PAGE_NONE || (write && fake->rights[page] != PAGE_WRITE)) {
        node_world_page_fault(node->node, address, write, false);
    }
    bool reached = node_world_runnable(node->node) && fake->frames[page] != NULL && (fake->rights[page] == PAGE_WRITE || fake->rights[page] == wanted);
    return reached ? fake->frames[page] + address % ABI_PAGE_BYTES : NULL;
}

static uint64_t word_of(uint64_t count, unsigned at)
{
    return (count + 1) * 0x9e3779b97f4a7c15ull ^ at * 0xbf58476d1ce4e5b9ull;
}

static void work(struct nodes_node *node, uint64_t heap)
{
    uint8_t *counter = reach(node, heap, false);
    uint64_t count = 0;
    if (counter == NULL) {
        return;
    }
    memcpy(&count, counter, sizeof count);
    uint8_t *before = count > 0 ? reach(node, heap + (1 + (count - 1) % NODES_WORK_PAGES) * ABI_PAGE_BYTES, false) : NULL;
    for (unsigned at = 0; before != NULL && at < ABI_PAGE_BYTES / 8; at++) {
        uint64_t word = word_of(count - 1, at);
        CHECK(memcmp(before + (size_t)at * 8, &word, 8) == 0); /* NO-TEAR */
    }
    uint8_t *page = reach(node, heap + (1 + count % NODES_WORK_PAGES) * ABI_PAGE_BYTES, true);
    for (unsigned at = 0; page != NULL && at < ABI_PAGE_BYTES / 8; at++) {
        uint64_t word = word_of(count, at);
        memcpy(page + (size_t)at * 8, &word, 8);
    }
    counter = page != NULL ? reach(node, heap, true) : NULL;
    if (counter != NULL) {
        count++;
        memcpy(counter, &count, sizeof count);
    }
}

static void run_program(struct nodes_node *node)
{
    struct abi_info info;
    const uint8_t *facts = reach(node, ABI_INFO_ADDRESS, false);
    if (facts == NULL) {
        return;
    }
    memcpy(&info, facts, sizeof info);
    if (!node->nodes->asleep) {
        work(node, info.heap_base);
    }
    uint64_t clock = 0, result;
    if (node_world_runnable(node->node) && node_world_call(node->node, ABI_CALL_CLOCK, (const uint64_t[4]){0}, &clock)) {
        (void)node_world_call(node->node, ABI_CALL_WAIT, (const uint64_t[4]){node->nodes->asleep ? UINT64_MAX : clock + PERIOD_MS * MS, info.resumed, 0, 0}, &result);
    }
}

/* -- links -- */

static struct nodes_node *at(void *context, unsigned number)
{
    return &((struct nodes *)context)->node[number];
}

static void link_up(void *context, unsigned number, unsigned peer, unsigned lane)
{
    if (at(context, number)->node != NULL) {
        node_link_up(at(context, number)->node, peer, lane);
    }
}

static void link_data(void *context, unsigned number, unsigned peer, unsigned lane, const void *data, size_t bytes)
{
    if (at(context, number)->node != NULL) {
        node_link_data(at(context, number)->node, peer, lane, data, bytes);
    }
}

static void link_down(void *context, unsigned number, unsigned peer, unsigned lane)
{
    if (at(context, number)->node != NULL) {
        node_link_down(at(context, number)->node, peer, lane);
    }
}

static void restore_links(struct nodes *nodes)
{
    for (unsigned a = 1; a <= nodes->count; a++) {
        for (unsigned b = a + 1; b <= nodes->count; b++) {
            for (unsigned lane = 0; lane < MACHINE_LANES; lane++) {
                const struct fake_pipe *one = &nodes->links.pipes[a][b][lane], *other = &nodes->links.pipes[b][a][lane];
                bool wanted = nodes->node[a].node != NULL && nodes->node[b].node != NULL;
                bool open = one->open || other->open || one->ending || other->ending;
                if (wanted && !open) {
                    fake_links_up(&nodes->links, a, b, lane);
                } else if (!wanted && open) {
                    fake_links_down(&nodes->links, a, b, lane);
                }
            }
        }
    }
}

/* -- power -- */

static void keep_line(void *context, enum log_level level, const char *line)
{
    struct fake_machine *fake = context;
    struct nodes_node *node = (struct nodes_node *)(void *)((char *)fake - offsetof(struct nodes_node, fake));
    node->errors += level == LOG_ERROR;
    snprintf(node->lines[node->line_count++ % NODES_LINES], sizeof node->lines[0], "%s", line);
    if (getenv("EIDOLON_TEST_LOG") != NULL) {
        printf("  %llu node %u, %d: %s\n", (unsigned long long)(fake->now_ns / MS), node->number, (int)level, line);
    }
}

static void restart(void *context, const char *why)
{
    struct fake_machine *fake = context;
    struct nodes_node *node = (struct nodes_node *)(void *)((char *)fake - offsetof(struct nodes_node, fake));
    (void)why;
    node->restart_asked = true;
}

void nodes_power_on(struct nodes_node *node)
{
    CHECK(node->node == NULL);
    node->restart_asked = false;
    node->restart_in = 0;
    node->create_failed = false;
    if (node_create(&node->node, &node->fake.machine, &node->boot, node->reason) != STATUS_OK) {
        node->node = NULL;
        node->create_failed = true;
        fake_machine_power_cut(&node->fake);
        return;
    }
    node_start(node->node);
}

void nodes_power_cut(struct nodes_node *node)
{
    if (node->node != NULL && node->node->group->library_open) {
        raft_close(&node->node->group->raft, NULL); /* gives the library's heap back */
    }
    node->node = NULL;
    node->restart_in = 0;
    restore_links(node->nodes);
    fake_machine_power_cut(&node->fake);
}

static void first_superblock(struct nodes_node *node)
{
    struct seal_keys keys;
    seal_keys_derive(&keys, node->boot.sealing_key, node->boot.cluster_id);
    uint64_t incarnations[NODES_MAX];
    for (unsigned i = 0; i < node->nodes->count; i++) {
        incarnations[i] = 101 + i;
    }
    struct disk_superblock superblock = disk_superblock_first(NODES_DISK_BYTES, NODES_WORLD_BYTES, node->number, incarnations, node->nodes->count);
    seal_superblock(&keys, &superblock);
    memcpy(node->fake.disk.current, &superblock, sizeof superblock);
    memcpy(node->fake.disk.durable, &superblock, sizeof superblock);
}

static void make_node(struct nodes *nodes, unsigned number, uint64_t seed)
{
    struct nodes_node *node = &nodes->node[number];
    node->nodes = nodes;
    node->number = number;
    fake_machine_init(&node->fake, seed + number, NODES_WORLD_BYTES / ABI_PAGE_BYTES, NODES_DISK_BYTES);
    node->fake.machine.log = keep_line;
    node->fake.machine.restart = restart;
    node->fake.machine.world_elf = elf;
    node->fake.machine.world_elf_bytes = sizeof elf;
    fake_links_attach(&nodes->links, &node->fake, number);
    enum status status = crypto_init(&node->fake.machine);
    CHECK(status == STATUS_OK);
    node->boot = (struct boot_config){.node_number = number,
                                      .node_count = nodes->count,
                                      .world_memory_bytes = NODES_WORLD_BYTES,
                                      .heartbeat_ms = HEARTBEAT_MS,
                                      .election_timeout_ms = ELECTION_MS,
                                      .sealing_key = {7},
                                      .cluster_id = {9},
                                      .identity_seed = {(uint8_t)number}};
    for (unsigned i = 0; i < nodes->count; i++) {
        struct identity identity;
        const uint8_t identity_seed[32] = {(uint8_t)(i + 1)};
        identity_from_seed(&identity, identity_seed);
        memcpy(node->boot.identities[i], identity.public_key, sizeof node->boot.identities[i]);
    }
    first_superblock(node);
}

struct nodes *nodes_create(unsigned count, uint64_t seed)
{
    struct nodes *nodes = calloc(1, sizeof *nodes);
    CHECK(nodes != NULL);
    nodes->count = count;
    struct fake_links_events events = {.context = nodes, .up = link_up, .data = link_data, .down = link_down};
    fake_links_init(&nodes->links, LINK_BYTES, &events);
    for (unsigned number = 1; number <= count; number++) {
        make_node(nodes, number, seed * 16);
    }
    return nodes;
}

void nodes_destroy(struct nodes *nodes)
{
    for (unsigned number = 1; number <= nodes->count; number++) {
        nodes_power_cut(&nodes->node[number]);
        fake_machine_destroy(&nodes->node[number].fake);
    }
    fake_links_destroy(&nodes->links);
    free(nodes);
}

/* -- time -- */

static void note_facts(struct nodes_node *node)
{
    struct nodes *nodes = node->nodes;
    struct world_facts facts;
    world_facts(node->node->world, &facts);
    if (node->node->filling || node->node->disk != STORE_DISK_OK || facts.committed == 0) {
        return;
    }
    CHECK(facts.committed < NODES_EPOCHS_MAX);
    uint64_t *digest = &nodes->digests[facts.committed];
    *digest = *digest == 0 ? facts.digest : *digest;
    CHECK(*digest == facts.digest); /* ONE-STORY */
    if (facts.host) {
        CHECK(facts.committed >= nodes->committed); /* DURABLE */
        nodes->committed = facts.committed;
    }
}

static void run_node(struct nodes_node *node)
{
    for (unsigned i = 0; i < TICKS_MAX && !node->restart_asked; i++) {
        bool completed = fake_disk_complete(&node->fake, true);
        node_tick(node->node);
        if (node_world_runnable(node->node)) {
            run_program(node);
        }
        if (!completed && node_deadline_ns(node->node) > node->fake.now_ns) {
            break;
        }
        node->fake.now_ns += 20000;
    }
    note_facts(node);
}

void nodes_turn(struct nodes *nodes)
{
    restore_links(nodes);
    for (unsigned number = 1; number <= nodes->count; number++) {
        struct nodes_node *node = &nodes->node[number];
        node->fake.now_ns = (node->fake.now_ns / MS + 1) * MS;
        if (node->node != NULL) {
            run_node(node);
        }
        if (node->node != NULL && node->restart_asked) {
            nodes_power_cut(node);
            node->restarts++;
            node->restart_in = RESTART_TURNS;
        } else if (node->restart_in > 0 && --node->restart_in == 0) {
            nodes_power_on(node);
        }
    }
    fake_links_settle(&nodes->links, LINK_BYTES);
}

bool nodes_run(struct nodes *nodes, unsigned turns, bool (*done)(const struct nodes *nodes))
{
    for (unsigned i = 0; i < turns && (done == NULL || !done(nodes)); i++) {
        nodes_turn(nodes);
    }
    return done != NULL && done(nodes);
}

/* -- facts -- */

uint64_t nodes_raft_id(const struct nodes_node *node)
{
    struct group_facts facts;
    group_facts(node->node->group, &facts);
    return facts.raft_id;
}

bool nodes_serving(const struct nodes_node *node)
{
    struct group_facts facts;
    if (node->node == NULL || node->restart_asked || node->node->disk != STORE_DISK_OK || node->node->filling) {
        return false;
    }
    group_facts(node->node->group, &facts);
    return facts.started && facts.voter;
}

bool nodes_needs_care(const struct nodes_node *node)
{
    struct group_facts facts;
    if (node->node == NULL) {
        return node->create_failed;
    }
    if (node->node->disk != STORE_DISK_OK) {
        return !node_awaits_repair(node->node);
    }
    group_facts(node->node->group, &facts);
    return facts.disk_failed;
}

bool nodes_whole(const struct nodes *nodes)
{
    unsigned hosts = 0;
    struct world_facts first = {0};
    for (unsigned number = 1; number <= nodes->count; number++) {
        const struct nodes_node *node = &nodes->node[number];
        if (node->node == NULL && node->restart_in == 0) {
            continue;
        }
        struct world_facts facts;
        if (!nodes_serving(node)) {
            return false;
        }
        world_facts(node->node->world, &facts);
        first = first.committed == 0 ? facts : first;
        hosts += facts.host;
        if (facts.committed < nodes->committed || facts.committed == 0 || facts.committed != first.committed) {
            return false;
        }
    }
    return hosts == 1;
}

struct nodes_node *nodes_host(struct nodes *nodes)
{
    for (unsigned number = 1; number <= nodes->count; number++) {
        struct nodes_node *node = &nodes->node[number];
        if (node->node != NULL && world_hosting(node->node->world)) {
            return node;
        }
    }
    return NULL;
}

bool nodes_said(const struct nodes_node *node, const char *text)
{
    for (unsigned i = 0; i < NODES_LINES && i < node->line_count; i++) {
        if (strstr(node->lines[i], text) != NULL) {
            return true;
        }
    }
    return false;
}

void nodes_forget_lines(struct nodes_node *node)
{
    node->line_count = 0;
}
