/* Time, events, and the life of nodes: the event loop of replicate/node.h in virtual time. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster-sim/sim.h"
#include "crypto/identity.h"
#include "include/check.h"
#include "include/hash64.h"

static struct sim *running; /* for check_failed only */

_Noreturn void check_failed(const char *file, int line, const char *condition)
{
    if (running != NULL) {
        fprintf(stderr, "CHECK failed: %s:%d: %s (seed %llu, at %.6f s)\n", file, line, condition, (unsigned long long)running->seed,
                (double)running->now_ns / 1e9);
        for (unsigned i = 0; i < SIM_TRACE_LINES; i++) {
            const char *text = running->lines[(running->line_next + i) % SIM_TRACE_LINES];
            if (text != NULL) {
                fprintf(stderr, "%s\n", text);
            }
        }
    }
    abort();
}

uint64_t sim_random(struct sim *sim)
{
    uint64_t z = sim->random += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

uint64_t sim_below(struct sim *sim, uint64_t bound)
{
    return bound == 0 ? 0 : sim_random(sim) % bound;
}

bool sim_chance(struct sim *sim, unsigned percent)
{
    return sim_below(sim, 100) < percent;
}

/* -- the event queue: a binary heap by (time, order) -- */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void swap(struct sim_event *a, struct sim_event *b)
{
    struct sim_event c = *a;
    *a = *b;
    *b = c;
}

void sim_at(struct sim *sim, uint64_t delay_ns, sim_event_fn *function, void *context, uint64_t argument)
{
    if (sim->heap_count == sim->heap_size) {
        sim->heap_size = sim->heap_size == 0 ? 1024 : 2 * sim->heap_size;
        sim->heap = realloc(sim->heap, sim->heap_size * sizeof *sim->heap);
        CHECK(sim->heap != NULL);
    }
    size_t i = sim->heap_count++;
    sim->heap[i] = (struct sim_event){sim->now_ns + delay_ns, sim->event_order++, function, context, argument};
    while (i > 0 && before(&sim->heap[i], &sim->heap[(i - 1) / 2])) {
        swap(&sim->heap[i], &sim->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
}

static struct sim_event take_event(struct sim *sim)
{
    struct sim_event first = sim->heap[0];
    sim->heap[0] = sim->heap[--sim->heap_count];
    size_t i = 0;
    for (;;) {
        size_t least = i, left = 2 * i + 1, right = left + 1;
        if (left < sim->heap_count && before(&sim->heap[left], &sim->heap[least])) {
            least = left;
        }
        if (right < sim->heap_count && before(&sim->heap[right], &sim->heap[least])) {
            least = right;
        }
        if (least == i) {
            return first;
        }
        swap(&sim->heap[i], &sim->heap[least]);
        i = least;
    }
}

/* -- the trace -- */

void sim_note(struct sim *sim, unsigned node, const char *format, ...)
{
    char text[420];
    int at = snprintf(text, sizeof text, "%12.6f node %u: ", (double)sim->now_ns / 1e9, node);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + at, sizeof text - (size_t)at, format, arguments);
    va_end(arguments);
    sim->trace_hash = hash64(sim->trace_hash, text, strlen(text));
    free(sim->lines[sim->line_next]);
    sim->lines[sim->line_next] = strdup(text);
    sim->line_next = (sim->line_next + 1) % SIM_TRACE_LINES;
    if (sim->verbose) {
        fprintf(stderr, "%s\n", text);
    }
}

void sim_fail(struct sim *sim, int code, const char *format, ...)
{
    if (sim->failed != 0) {
        return;
    }
    sim->failed = code;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sim->failure, sizeof sim->failure, format, arguments);
    va_end(arguments);
    sim_note(sim, 0, "VIOLATION %s", sim->failure);
}

/* -- the machine's simple parts -- */

static uint64_t node_time(void *context)
{
    struct sim_node *node = context;
    return node->sim->now_ns + node->clock_offset_ns;
}

static uint64_t node_wall_clock(void *context)
{
    struct sim_node *node = context;
    return 1700000000000000000ull + node->sim->now_ns;
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
    struct sim_memory *memory = malloc(sizeof *memory);
    char *raw = calloc(1, bytes + alignment);
    CHECK(memory != NULL && raw != NULL);
    memory->bytes = raw;
    memory->next = node->memory;
    node->memory = memory;
    return raw + (alignment - (uintptr_t)raw % alignment) % alignment;
}

/* -- life -- */

bool sim_alive(const struct sim_node *node)
{
    return node->node != NULL;
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

static void restart_event(struct sim *sim, void *context, uint64_t life)
{
    struct sim_node *node = context;
    (void)sim;
    if (node->life == life && !sim_alive(node)) {
        sim_boot(node);
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
    node_tick(node->node);
    uint64_t took = 20000;
    if (!node->restart_asked && node_world_runnable(node->node)) {
        took += sim_world_run(node);
    }
    sim_check_node(node);
    if (node->restart_asked) {
        sim_note(sim, node->number, "restarts: %s", node->restart_why);
        sim_power_off(node);
        sim_at(sim, 300000000, restart_event, node, node->life);
        return;
    }
    uint64_t deadline = node_deadline_ns(node->node), now = node_time(node);
    uint64_t delay = deadline <= now ? took : deadline - now;
    if (node_world_runnable(node->node) && delay > took) {
        delay = took;
    }
    if (deadline != UINT64_MAX || node_world_runnable(node->node)) {
        sim_wake(node, delay < took ? took : delay);
    }
}

void sim_boot(struct sim_node *node)
{
    struct sim *sim = node->sim;
    char reason[200] = "";
    CHECK(node->node == NULL);
    node->life++;
    node->restart_asked = false;
    node->holds_address = false;
    node->wake_ns = UINT64_MAX;
    node->frozen_until_ns = 0;
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
    if (status != STATUS_OK) {
        fprintf(stderr, "node_create: %s\n", reason);
        abort();
    }
    node_start(node->node);
    sim_net_connect_all(node);
    sim_wake(node, 1000);
}

void sim_power_off(struct sim_node *node)
{
    if (!sim_alive(node)) {
        return;
    }
    node->node = NULL;
    node->holds_address = false;
    node->life++;
    sim_net_node_off(node);
    sim_disk_power_cut(node);
    while (node->memory != NULL) {
        struct sim_memory *next = node->memory->next;
        free(node->memory->bytes);
        free(node->memory);
        node->memory = next;
    }
    for (uint32_t page = 0; page < SIM_WORLD_BYTES / 4096; page++) {
        free(node->frames[page]);
        node->frames[page] = NULL;
        node->rights[page] = PAGE_NONE;
    }
}

/* -- a run -- */

static void fill_boot_config(struct sim *sim, struct sim_node *node)
{
    struct boot_config *boot = &node->boot;
    *boot = (struct boot_config){
        .magic = BOOT_CONFIG_MAGIC,
        .version = BOOT_CONFIG_VERSION,
        .bytes = sizeof *boot,
        .node_number = node->number,
        .node_count = sim->node_count,
        .world_memory_bytes = SIM_WORLD_BYTES,
        .heartbeat_ms = 50,
        .election_timeout_ms = 200,
        .sealing_key = {7},
        .cluster_id = {9},
        .identity_seed = {(uint8_t)node->number},
    };
    for (unsigned i = 0; i < sim->node_count; i++) {
        struct identity identity;
        const uint8_t seed[32] = {(uint8_t)(i + 1)};
        identity_from_seed(&identity, seed);
        memcpy(boot->identities[i], identity.public_key, sizeof boot->identities[i]);
    }
    boot->checksum = hash64(BOOT_CONFIG_MAGIC, boot, offsetof(struct boot_config, checksum));
}

void sim_create(struct sim *sim, uint64_t seed, unsigned nodes, unsigned faults, uint64_t minutes)
{
    bool verbose = sim->verbose;
    memset(sim, 0, sizeof *sim);
    sim->verbose = verbose;
    running = sim;
    sim->seed = seed;
    sim->random = seed * 0x2545f4914f6cdd1dull + 1;
    sim->node_count = nodes;
    sim->faults = faults;
    sim->end_ns = minutes * 60000000000ull;
    uint64_t incarnations[SIM_NODES_MAX + 1];
    for (unsigned i = 1; i <= nodes; i++) {
        incarnations[i] = sim_random(sim) >> 8 | 1;
    }
    for (unsigned i = 1; i <= nodes; i++) {
        struct sim_node *node = &sim->nodes[i];
        node->sim = sim;
        node->number = i;
        node->clock_offset_ns = sim_below(sim, 1000000000000ull);
        node->frames = calloc(SIM_WORLD_BYTES / 4096, sizeof *node->frames);
        node->rights = calloc(SIM_WORLD_BYTES / 4096, 1);
        CHECK(node->frames != NULL && node->rights != NULL);
        fill_boot_config(sim, node);
        sim_disk_create(node, incarnations);
    }
    for (unsigned i = 1; i <= nodes; i++) {
        sim_boot(&sim->nodes[i]);
    }
    sim_clients_start(sim);
    sim_faults_start(sim);
}

static void run_until(struct sim *sim, uint64_t end_ns)
{
    while (sim->failed == 0 && sim->heap_count > 0 && sim->heap[0].at_ns <= end_ns) {
        struct sim_event event = take_event(sim);
        sim->now_ns = event.at_ns;
        sim->events++;
        event.function(sim, event.context, event.argument);
    }
    if (sim->failed == 0) {
        sim->now_ns = end_ns;
    }
}

void sim_run(struct sim *sim)
{
    run_until(sim, sim->end_ns);
    if (sim->failed != 0) {
        return;
    }
    sim_faults_heal(sim);
    uint64_t limit = sim->now_ns + 30000000000ull;
    while (sim->failed == 0 && sim->now_ns < limit) {
        run_until(sim, sim->now_ns + 500000000);
        if (sim->failed == 0 && sim_check_settled(sim)) {
            return;
        }
    }
    sim_fail(sim, SIM_EXIT_LIVENESS, "30 s after all faults healed the cluster does not serve, or its nodes do not agree");
}

void sim_destroy(struct sim *sim)
{
    for (unsigned i = 1; i <= sim->node_count; i++) {
        sim_power_off(&sim->nodes[i]);
        sim_disk_destroy(&sim->nodes[i]);
        free(sim->nodes[i].frames);
        free(sim->nodes[i].rights);
    }
    sim_net_destroy(sim);
    for (unsigned i = 0; i < SIM_TRACE_LINES; i++) {
        free(sim->lines[i]);
    }
    free(sim->heap);
    free(sim->digests);
    free(sim->term_leaders);
    running = NULL;
}
