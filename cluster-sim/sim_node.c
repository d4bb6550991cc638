/* A node's life: its clock and memory, the event loop of replicate/node.h in virtual time, power. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cluster-sim/sim.h"
#include "consensus/group_internal.h"
#include "consensus/raft_heap.h"
#include "crypto/identity.h"
#include "include/check.h"
#include "include/hash64.h"
#include "replicate/node_internal.h"

enum { EVENT_NS = 3000, LOOP_NS = 20000, RESTART_MS = 300, MEMORY_BYTES = 256 << 20 };

/* -- the machine's simple parts -- */

uint64_t sim_node_time(const struct sim_node *node)
{
    int64_t passed = (int64_t)(node->sim->now_ns - node->clock_sim_ns);
    if (node->drift_ppm == 0) {
        return node->clock_node_ns + (uint64_t)passed;
    }
    return node->clock_node_ns + (uint64_t)(passed + passed / 1000 * node->drift_ppm / 1000);
}

void sim_clock_change(struct sim_node *node, uint64_t jump_ns, int64_t drift_ppm)
{
    node->clock_node_ns = sim_node_time(node) + jump_ns;
    node->clock_sim_ns = node->sim->now_ns;
    node->drift_ppm = drift_ppm;
    node->wake_ns = UINT64_MAX; /* its timers are due at other times now */
    sim_wake(node, EVENT_NS);
}

static uint64_t node_time(void *context)
{
    return sim_node_time(context);
}

static uint64_t node_wall_clock(void *context)
{
    const struct sim_node *node = context;
    return 1700000000000000000ull + sim_node_time(node);
}

static void node_entropy(void *context, void *buffer, size_t bytes)
{
    struct sim_node *node = context;
    uint8_t *at = buffer;
    for (size_t i = 0; i < bytes; i++) {
        node->entropy = node->entropy * 6364136223846793005ull + 1442695040888963407ull;
        at[i] = (uint8_t)(node->entropy >> 56);
    }
}

static void node_log_line(void *context, enum log_level level, const char *line)
{
    struct sim_node *node = context;
    if (level != LOG_DEBUG) {
        sim_note(node->sim, node->number, "%s", line);
    }
}

static void node_restart_asked(void *context, const char *why)
{
    struct sim_node *node = context;
    node->restart_asked = true;
    snprintf(node->restart_why, sizeof node->restart_why, "%s", why);
}

static void *node_reserve(void *context, size_t bytes, size_t alignment)
{
    struct sim_node *node = context;
    size_t at = (node->memory_used + alignment - 1) / alignment * alignment;
    CHECK(bytes <= MEMORY_BYTES);
    CHECK(at <= MEMORY_BYTES - bytes);
    node->memory_used = at + bytes;
    return node->memory + at;
}

/* -- the loop -- */

bool sim_alive(const struct sim_node *node)
{
    return node->node != NULL;
}

bool sim_serving(const struct sim_node *node)
{
    if (!sim_alive(node) || node->restart_asked || node->node->disk != STORE_DISK_OK) {
        return false;
    }
    return group_running(node->node->group);
}

static void loop(struct sim *sim, void *context, uint64_t generation);

void sim_wake(struct sim_node *node, uint64_t delay_ns)
{
    struct sim *sim = node->sim;
    uint64_t at = sim->now_ns + delay_ns;
    if (!sim_alive(node) || node->wake_ns <= at) {
        return;
    }
    node->wake_ns = at;
    node->wake_generation++;
    sim_at(sim, delay_ns, loop, node, node->wake_generation);
}

static void boot_event(struct sim *sim, void *context, uint64_t life)
{
    struct sim_node *node = context;
    (void)sim;
    if (node->life == life && !sim_alive(node)) {
        sim_return(node);
    }
}

void sim_boot_later(struct sim_node *node, uint64_t delay_ns)
{
    sim_at(node->sim, delay_ns, boot_event, node, node->life);
}

/* An operator, who starts a node again whose disk has failed. */
static void look_after(struct sim_node *node)
{
    bool failed = node->node->disk == STORE_DISK_OK && node->node->group->disk_failed;
    if (node_awaits_repair(node->node) && node->damaged) {
        return; /* there is nothing that an operator could do for it */
    }
    if (node->node->disk != STORE_DISK_OK || failed) {
        if (!node->disk.error_told) {
            sim_fail(node->sim, SIM_EXIT_INVARIANT + SIM_DURABLE, "DURABLE node %u, whose disk works, takes no part: %s", node->number, node->node->disk_reason);
        }
        sim_note(node->sim, node->number, "the operator starts it again: %s", failed ? "a write failed" : node->node->disk_reason);
        sim_crash(node, SIM_SECOND);
    }
}

/* A node whose disk is whole and whose memory was not harmed has no reason to start anew, and one that does hides what it found. */
static void check_restart(struct sim_node *node)
{
    bool image = strstr(node->restart_why, "digest") != NULL || strstr(node->restart_why, "hash") != NULL || strstr(node->restart_why, "comes next") != NULL;
    if (!node->damaged) {
        sim_fail(node->sim, SIM_EXIT_INVARIANT + (image ? SIM_ONE_STORY : SIM_DURABLE), "%s node %u, whose disk is whole, starts anew: %s",
                 image ? "ONE-STORY" : "DURABLE", node->number, node->restart_why);
    }
}

static void loop(struct sim *sim, void *context, uint64_t generation)
{
    struct sim_node *node = context;
    if (!sim_alive(node) || generation != node->wake_generation) {
        return;
    }
    node->wake_ns = UINT64_MAX;
    if (node->frozen_until_ns > sim->now_ns) {
        sim_wake(node, node->frozen_until_ns - sim->now_ns);
        return;
    }
    node->turns++;
    bool fills = node->node->filling;
    node_tick(node->node);
    if (fills) {
        node->frozen_until_ns = sim->now_ns + sim->fill_step_ns;
    }
    uint64_t took = LOOP_NS;
    if (!node->restart_asked && node_world_runnable(node->node)) {
        took += sim_world_run(node);
    }
    sim_check_node(node);
    if (node->restart_asked) {
        sim_note(sim, node->number, "restarts: %s", node->restart_why);
        check_restart(node);
        sim_power_off(node);
        sim_boot_later(node, RESTART_MS * SIM_MS);
        return;
    }
    look_after(node);
    if (!sim_alive(node)) {
        return;
    }
    uint64_t deadline = node_deadline_ns(node->node), now = sim_node_time(node);
    if (node_world_runnable(node->node)) {
        sim_wake(node, took);
    } else if (deadline != UINT64_MAX) {
        uint64_t delay = deadline <= now ? took : deadline - now;
        sim_wake(node, delay < took ? took : delay);
    }
}

/* -- power -- */

void sim_boot(struct sim_node *node)
{
    struct sim *sim = node->sim;
    char reason[REASON_BYTES_MAX] = "";
    CHECK(node->node == NULL);
    node->life++;
    node->restart_asked = false;
    node->holds_address = false;
    node->wake_ns = UINT64_MAX;
    node->frozen_until_ns = 0;
    node->checked_commit = node->checked_epoch = node->checked_term = node->checked_first = node->checked_last = 0;
    node->checked_start = node->checked_configuration = node->checked_superblock = node->candidate_ns = 0;
    node->was_leader = node->was_host = false;
    node->machine = (struct machine){
        .context = node,
        .now_ns = node_time,
        .wall_clock_ns = node_wall_clock,
        .entropy = node_entropy,
        .log = node_log_line,
        .restart = node_restart_asked,
        .reserve = node_reserve,
        .world_elf = sim_world_elf,
        .world_elf_bytes = sim_world_elf_bytes(),
    };
    sim_disk_attach(node);
    sim_net_attach(node);
    sim_world_attach(node);
    node->entropy = sim_random(sim);
    sim_note(sim, node->number, "boots, life %llu", (unsigned long long)node->life);
    enum status status = node_create(&node->node, &node->machine, &node->boot, reason);
    CHECK(status == STATUS_OK);
    raft_heap_bound(SIM_NODES_MAX * (size_t)RAFT_HEAP_BYTES_MAX); /* the heap of a process is that of all its nodes */
    node_start(node->node);
    if (node->rots_at != 0) {
        sim_disk_flip(node, node->rots_at);
        node->rots_at = 0;
    }
    sim_net_connect_all(node);
    sim_wake(node, EVENT_NS);
}

static void remember_facts(struct sim_node *node)
{
    if (node->node->disk != STORE_DISK_OK || node->node->group->raft_id == 0) {
        return;
    }
    struct group_facts facts; /* also of a group that a failed write has stopped */
    group_facts(node->node->group, &facts);
    if (facts.raft_id != node->known_id || facts.last_index > node->known_last_index) {
        node->known_last_index = facts.last_index;
    }
    node->known_id = facts.raft_id;
    node->known_boot = facts.boot_number;
}

uint64_t sim_delta_bytes(const struct sim_node *node)
{
    struct world_facts world = {0};
    if (sim_alive(node)) {
        world_facts(node->node->world, &world);
    }
    return world.delta_bytes;
}

/* All that was reserved is zero again. A few touched pages are sooner cleared here than given back and faulted in anew. */
static void give_memory_back(struct sim_node *node)
{
    enum { PAGES = MEMORY_BYTES / 4096, FEW = 2048 };
    static unsigned char resident[PAGES];
    size_t pages = (node->memory_used + 4095) / 4096, touched = 0;
    int status = mincore(node->memory, node->memory_used, resident);
    CHECK(status == 0);
    for (size_t page = 0; page < pages; page++) {
        touched += resident[page] & 1;
    }
    if (touched > FEW) {
        status = madvise(node->memory, node->memory_used, MADV_DONTNEED);
        CHECK(status == 0);
    }
    for (size_t page = 0; page < pages && touched <= FEW; page++) {
        if ((resident[page] & 1) != 0) {
            memset(node->memory + page * 4096, 0, 4096);
        }
    }
    node->memory_used = 0;
}

void sim_power_off(struct sim_node *node)
{
    if (!sim_alive(node)) {
        return;
    }
    remember_facts(node);
    node->sim->delta_bytes += sim_delta_bytes(node);
    if (node->node->group->library_open) {
        raft_close(&node->node->group->raft, NULL); /* only to give its heap back */
    }
    node->node = NULL;
    node->holds_address = false;
    node->life++;
    sim_net_node_off(node);
    sim_disk_power_cut(node);
    give_memory_back(node);
    for (uint32_t page = 0; page < SIM_WORLD_BYTES / 4096; page++) {
        free(node->frames[page]);
        node->frames[page] = NULL;
        node->rights[page] = PAGE_NONE;
    }
}

void sim_node_destroy(struct sim_node *node)
{
    sim_power_off(node);
    sim_disk_destroy(node);
    munmap(node->memory, MEMORY_BYTES);
    free(node->frames);
    free(node->rights);
}

void sim_node_create(struct sim *sim, unsigned number)
{
    struct sim_node *node = &sim->nodes[number];
    node->sim = sim;
    node->number = number;
    node->clock_node_ns = sim_below(sim, 1000 * SIM_SECOND);
    node->frames = calloc(SIM_WORLD_BYTES / 4096, sizeof *node->frames);
    node->rights = calloc(SIM_WORLD_BYTES / 4096, 1);
    node->memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(node->frames != NULL);
    CHECK(node->rights != NULL);
    CHECK(node->memory != MAP_FAILED);
    struct boot_config *boot = &node->boot;
    *boot = (struct boot_config){
        .magic = BOOT_CONFIG_MAGIC,
        .version = BOOT_CONFIG_VERSION,
        .bytes = sizeof *boot,
        .node_number = number,
        .node_count = sim->node_count,
        .world_memory_bytes = SIM_WORLD_BYTES,
        .heartbeat_ms = 50,
        .election_timeout_ms = 200,
        .sealing_key = {7},
        .cluster_id = {9},
        .identity_seed = {(uint8_t)number},
    };
    for (unsigned i = 0; i < sim->node_count; i++) {
        struct identity identity;
        const uint8_t seed[32] = {(uint8_t)(i + 1)};
        identity_from_seed(&identity, seed);
        memcpy(boot->identities[i], identity.public_key, sizeof boot->identities[i]);
    }
    boot->checksum = hash64(BOOT_CONFIG_MAGIC, boot, offsetof(struct boot_config, checksum));
}
