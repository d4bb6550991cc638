/* What goes wrong, and when. At most a minority of disks is lost at a time; everything else may coincide. */
#include "cluster-sim/sim.h"
#include "replicate/node_internal.h"

static void fault_event(struct sim *sim, void *context, uint64_t argument);

static void next_fault(struct sim *sim)
{
    sim_at(sim, 300000000 + sim_below(sim, 12000000000ull), fault_event, NULL, 0);
}

static struct sim_node *random_node(struct sim *sim)
{
    return &sim->nodes[1 + sim_below(sim, sim->node_count)];
}

static void boot_event(struct sim *sim, void *context, uint64_t life)
{
    struct sim_node *node = context;
    (void)sim;
    if (!sim_alive(node) && node->life == life) {
        sim_boot(node);
    }
}

static void crash(struct sim *sim, struct sim_node *node, uint64_t off_ns)
{
    if (sim_alive(node)) {
        sim_note(sim, node->number, "FAULT power off for %llu ms", (unsigned long long)(off_ns / 1000000));
        sim_power_off(node);
        sim_at(sim, off_ns, boot_event, node, node->life);
    }
}

static void heal_event(struct sim *sim, void *context, uint64_t argument)
{
    (void)context;
    sim->cut[argument >> 8 & 0xff][argument & 0xff] = false;
    sim_net_path_changed(sim);
}

static void cut(struct sim *sim, unsigned from, unsigned to, uint64_t duration_ns)
{
    if (from == to || sim->cut[from][to]) {
        return;
    }
    sim_note(sim, 0, "FAULT cut %u -> %u for %llu ms", from, to, (unsigned long long)(duration_ns / 1000000));
    sim->cut[from][to] = true;
    sim_at(sim, duration_ns, heal_event, NULL, (uint64_t)from << 8 | to);
}

static void cut_some(struct sim *sim, bool one_way)
{
    unsigned a = (unsigned)sim_below(sim, sim->node_count + 1), b = (unsigned)sim_below(sim, sim->node_count + 1);
    uint64_t duration = sim_below(sim, 4000000000ull) + 50000000;
    if (sim_chance(sim, 40)) { /* isolate */
        for (unsigned other = 0; other <= sim->node_count; other++) {
            if (other != a) {
                cut(sim, a, other, duration);
                if (!one_way) {
                    cut(sim, other, a, duration);
                }
            }
        }
        return;
    }
    cut(sim, a, b, duration);
    if (!one_way) {
        cut(sim, b, a, duration);
    }
}

/* May this node's disk be lost now? All others must be up and voters, so that a majority keeps the state. */
static bool may_lose_disk(struct sim *sim, const struct sim_node *victim)
{
    for (unsigned i = 1; i <= sim->node_count; i++) {
        const struct sim_node *node = &sim->nodes[i];
        if (node == victim) {
            continue;
        }
        if (!sim_alive(node) || node->node->disk != STORE_DISK_OK) {
            return false;
        }
        struct group_facts group;
        group_facts(node->node->group, &group);
        if (!group.voter) {
            return false;
        }
    }
    return true;
}

static void lose_disk(struct sim *sim)
{
    struct sim_node *node = random_node(sim);
    if (!may_lose_disk(sim, node)) {
        return;
    }
    if (sim_alive(node)) {
        sim_power_off(node);
    }
    sim_note(sim, node->number, "FAULT disk lost");
    sim_disk_lose(node);
    sim_at(sim, 100000000 + sim_below(sim, 3000000000ull), boot_event, node, node->life);
}

static void power_loss(struct sim *sim)
{
    for (unsigned i = 1; i <= sim->node_count; i++) {
        crash(sim, &sim->nodes[i], 200000000 + sim_below(sim, 2000000000ull));
    }
}

static void freeze(struct sim *sim)
{
    struct sim_node *node = random_node(sim);
    uint64_t duration = sim_below(sim, 3000000000ull);
    sim_note(sim, node->number, "FAULT frozen for %llu ms", (unsigned long long)(duration / 1000000));
    node->frozen_until_ns = sim->now_ns + duration;
}

static void ignore_line(void *context, const char *line)
{
    (void)context;
    (void)line;
}

static void move(struct sim *sim)
{
    char command[] = "move 0";
    command[5] = (char)('1' + sim_below(sim, sim->node_count));
    for (unsigned i = 1; i <= sim->node_count; i++) {
        if (sim_alive(&sim->nodes[i]) && sim->nodes[i].frozen_until_ns <= sim->now_ns) {
            node_management_line(sim->nodes[i].node, command, sizeof command - 1, ignore_line, NULL);
            sim_wake(&sim->nodes[i], 1000);
        }
    }
}

static void fault_event(struct sim *sim, void *context, uint64_t argument)
{
    (void)context;
    (void)argument;
    if (sim->healed) {
        return;
    }
    unsigned kind = 1u << sim_below(sim, 8);
    switch (kind & sim->faults) {
    case SIM_FAULT_CRASH:
        crash(sim, random_node(sim), 100000000 + sim_below(sim, 5000000000ull));
        break;
    case SIM_FAULT_CUT:
        cut_some(sim, false);
        break;
    case SIM_FAULT_ONE_WAY:
        cut_some(sim, true);
        break;
    case SIM_FAULT_FREEZE:
        freeze(sim);
        break;
    case SIM_FAULT_DISK_LOSS:
        lose_disk(sim);
        break;
    case SIM_FAULT_POWER:
        power_loss(sim);
        break;
    case SIM_FAULT_MOVE:
        move(sim);
        break;
    default:
        break;
    }
    next_fault(sim);
}

void sim_faults_start(struct sim *sim)
{
    if (sim->faults != 0) {
        next_fault(sim);
    }
}

void sim_faults_heal(struct sim *sim)
{
    sim->healed = true;
    sim_note(sim, 0, "all faults heal");
    for (unsigned a = 0; a <= sim->node_count; a++) {
        for (unsigned b = 0; b <= sim->node_count; b++) {
            sim->cut[a][b] = false;
        }
    }
    for (unsigned i = 1; i <= sim->node_count; i++) {
        sim->nodes[i].frozen_until_ns = 0;
        if (!sim_alive(&sim->nodes[i])) {
            sim_boot(&sim->nodes[i]);
        }
        sim_wake(&sim->nodes[i], 1000);
    }
    sim_net_path_changed(sim);
}
