/* What goes wrong, and when. Everything may coincide; what makes a disk forget stands in sim_damage.c, and at most a minority of disks is
 * damaged at a time. */
#include <stdio.h>
#include <string.h>

#include "cluster-sim/sim.h"
#include "consensus/group_internal.h"
#include "include/check.h"
#include "replicate/node_internal.h"

/* Before most faults the clients are roused: a fault that meets an idle cluster tells little. */
enum { ROUSE_PERCENT = 60, ROUSED_MS = 40 };

static const char *const fault_names[SIM_FAULT_KINDS] = {
    [SIM_FAULT_CRASH] = "crash",     [SIM_FAULT_CUT] = "cut",         [SIM_FAULT_ONE_WAY] = "one-way",     [SIM_FAULT_FLAP] = "flap",
    [SIM_FAULT_FREEZE] = "freeze",   [SIM_FAULT_DISK_LOSS] = "disk-loss", [SIM_FAULT_POWER] = "power",     [SIM_FAULT_LOSS] = "loss",
    [SIM_FAULT_MOVE] = "move",       [SIM_FAULT_DISK_ERROR] = "disk-error", [SIM_FAULT_FULL] = "full-disk",   [SIM_FAULT_ROT] = "rot",
    [SIM_FAULT_LYING] = "lying-flush",
    [SIM_FAULT_SLOW_DISK] = "slow-disk", [SIM_FAULT_OLD_DISK] = "old-disk", [SIM_FAULT_ALTER] = "alter",   [SIM_FAULT_CLOCK] = "clock",
    [SIM_FAULT_AIMED] = "aimed",     [SIM_FAULT_FLIP] = "flip",
};

bool sim_parse_faults(const char *list, unsigned *out)
{
    unsigned faults = 0;
    while (*list != '\0') {
        size_t length = strcspn(list, ",");
        bool known = length == 4 && strncmp(list, "none", 4) == 0;
        if (length == 3 && strncmp(list, "all", 3) == 0) {
            faults = SIM_FAULTS_ALL;
            known = true;
        }
        for (unsigned kind = 0; kind < SIM_FAULT_KINDS; kind++) {
            if (strlen(fault_names[kind]) == length && strncmp(fault_names[kind], list, length) == 0) {
                faults |= 1u << kind;
                known = true;
            }
        }
        if (!known) {
            return false;
        }
        list += length + (list[length] == ',');
    }
    *out = faults;
    return true;
}

void sim_print_faults(const struct sim *sim)
{
    for (unsigned kind = 0; kind < SIM_FAULT_KINDS; kind++) {
        if (sim->injected[kind] > 0) {
            printf(" %s %llu", fault_names[kind], (unsigned long long)sim->injected[kind]);
        }
    }
}

/* -- the kinds -- */

static struct sim_node *random_node(struct sim *sim)
{
    return &sim->nodes[1 + sim_below(sim, sim->node_count)];
}

struct sim_node *sim_host(struct sim *sim)
{
    for (unsigned i = 1; i <= sim->node_count; i++) {
        if (sim_serving(&sim->nodes[i]) && sim->nodes[i].node->leading) {
            return &sim->nodes[i];
        }
    }
    return NULL;
}

/* Half of what happens to one node happens to the host, where it hurts. */
static struct sim_node *victim_of(struct sim *sim)
{
    struct sim_node *host = sim_chance(sim, 40) ? sim_host(sim) : NULL;
    return host != NULL ? host : random_node(sim);
}

void sim_crash(struct sim_node *node, uint64_t off_ns)
{
    if (sim_alive(node)) {
        sim_note(node->sim, node->number, "FAULT power off for %llu ms", (unsigned long long)(off_ns / SIM_MS));
        sim_power_off(node);
        sim_boot_later(node, off_ns);
    }
}

static void heal_event(struct sim *sim, void *context, uint64_t argument)
{
    (void)context;
    sim->cut[argument >> 8 & 0xff][argument & 0xff] = false;
    sim_net_path_changed(sim);
}

void sim_cut(struct sim *sim, unsigned from, unsigned to, uint64_t duration_ns)
{
    if (from == to || sim->cut[from][to]) {
        return;
    }
    sim_note(sim, 0, "FAULT cut %u -> %u for %llu ms", from, to, (unsigned long long)(duration_ns / SIM_MS));
    sim->cut[from][to] = true;
    sim_at(sim, duration_ns, heal_event, NULL, (uint64_t)from << 8 | to);
}

static void cut_some(struct sim *sim, bool one_way)
{
    struct sim_node *host = sim_host(sim);
    unsigned a = (unsigned)sim_below(sim, sim->node_count + 1), b = (unsigned)sim_below(sim, sim->node_count + 1);
    if (host != NULL && sim_chance(sim, 40)) {
        a = host->number;
    }
    bool swap = sim_chance(sim, 50);
    uint64_t duration = sim_below(sim, 5 * SIM_SECOND) + 50 * SIM_MS;
    for (unsigned other = 0; other <= sim->node_count; other++) {
        if (other == b || sim_chance(sim, 40)) {
            if (!one_way || swap) {
                sim_cut(sim, a, other, duration);
            }
            if (!one_way || !swap) {
                sim_cut(sim, other, a, duration);
            }
        }
    }
}

static void flap_event(struct sim *sim, void *context, uint64_t argument)
{
    (void)context;
    unsigned a = argument >> 8 & 0xff, b = argument & 0xff;
    uint64_t left = argument >> 16, duration = 20 * SIM_MS + sim_below(sim, 300 * SIM_MS);
    if (sim->healed || left == 0) {
        return;
    }
    sim_cut(sim, a, b, duration);
    if (left % 2 == 0) {
        sim_cut(sim, b, a, duration);
    }
    sim_at(sim, duration + sim_below(sim, 300 * SIM_MS), flap_event, NULL, (left - 1) << 16 | (uint64_t)a << 8 | b);
}

static void flap(struct sim *sim)
{
    uint64_t a = sim_below(sim, sim->node_count + 1), b = sim_below(sim, sim->node_count + 1);
    flap_event(sim, NULL, (2 + sim_below(sim, 12)) << 16 | a << 8 | b);
}

static void freeze(struct sim *sim)
{
    struct sim_node *node = victim_of(sim);
    uint64_t duration = sim_chance(sim, 50) ? sim_below(sim, 400 * SIM_MS) : sim_below(sim, 4 * SIM_SECOND);
    sim_note(sim, node->number, "FAULT frozen for %llu ms", (unsigned long long)(duration / SIM_MS));
    node->frozen_until_ns = sim->now_ns + duration;
}

static void power_loss(struct sim *sim)
{
    sim_note(sim, 0, "FAULT power loss");
    uint64_t spread = sim_chance(sim, 50) ? 20 * SIM_MS : 3 * SIM_SECOND;
    for (unsigned i = 1; i <= sim->node_count; i++) {
        sim_crash(&sim->nodes[i], 100 * SIM_MS + sim_below(sim, spread));
    }
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
    sim_note(sim, 0, "FAULT %s", command);
    for (unsigned i = 1; i <= sim->node_count; i++) {
        if (sim_alive(&sim->nodes[i]) && sim->nodes[i].frozen_until_ns <= sim->now_ns) {
            node_management_line(sim->nodes[i].node, command, sizeof command - 1, ignore_line, NULL);
            sim_wake(&sim->nodes[i], 3000);
        }
    }
}

static void slow_disk(struct sim *sim)
{
    struct sim_node *node = victim_of(sim);
    uint64_t duration = sim_below(sim, 10 * SIM_SECOND);
    sim_note(sim, node->number, "FAULT disk is slow for %llu ms", (unsigned long long)(duration / SIM_MS));
    node->disk.slow_until_ns = sim->now_ns + duration;
}

/* It forgets nothing and refuses only what is new, so any number of nodes may have it. */
static void full_disk(struct sim *sim)
{
    struct sim_node *node = victim_of(sim);
    uint64_t duration = sim_below(sim, 10 * SIM_SECOND);
    sim_note(sim, node->number, "FAULT disk has no room for %llu ms", (unsigned long long)(duration / SIM_MS));
    node->disk.full_until_ns = sim->now_ns + duration;
}

static void clock_fault(struct sim *sim)
{
    struct sim_node *node = random_node(sim);
    uint64_t jump = sim_chance(sim, 50) ? 0 : sim_below(sim, sim_chance(sim, 80) ? SIM_SECOND : 1000 * SIM_SECOND);
    int64_t drift_ppm = (int64_t)sim_below(sim, 100001) - 50000; /* up to 5 percent */
    sim_note(sim, node->number, "FAULT clock jumps by %llu ms, drifts by %lld ppm", (unsigned long long)(jump / SIM_MS), (long long)drift_ppm);
    sim_clock_change(node, jump, drift_ppm);
}

static void alter_some(struct sim *sim)
{
    if (sim_chance(sim, 50)) {
        sim->alter_once_bytes = sim_chance(sim, 50) ? 1 : 1000;
        return;
    }
    sim->alter_until_ns = sim->now_ns + sim_below(sim, 2 * SIM_SECOND);
    sim_note(sim, 0, "FAULT bytes on links are altered");
}

static void inject(struct sim *sim, enum sim_fault kind)
{
    switch (kind) {
    case SIM_FAULT_CRASH:
        sim_crash(victim_of(sim), sim_chance(sim, 50) ? sim_below(sim, 400 * SIM_MS) : sim_below(sim, 6 * SIM_SECOND));
        break;
    case SIM_FAULT_CUT:
        cut_some(sim, false);
        break;
    case SIM_FAULT_ONE_WAY:
        cut_some(sim, true);
        break;
    case SIM_FAULT_FLAP:
        flap(sim);
        break;
    case SIM_FAULT_FREEZE:
        freeze(sim);
        break;
    case SIM_FAULT_POWER:
        power_loss(sim);
        break;
    case SIM_FAULT_MOVE:
        move(sim);
        break;
    case SIM_FAULT_SLOW_DISK:
        slow_disk(sim);
        break;
    case SIM_FAULT_FULL:
        full_disk(sim);
        break;
    case SIM_FAULT_ALTER:
        alter_some(sim);
        return; /* counted for each alteration */
    case SIM_FAULT_CLOCK:
        clock_fault(sim);
        break;
    case SIM_FAULT_AIMED:
        sim_aim(sim);
        return; /* counted when the moment came */
    case SIM_FAULT_DISK_LOSS:
    case SIM_FAULT_DISK_ERROR:
    case SIM_FAULT_ROT:
    case SIM_FAULT_LYING:
    case SIM_FAULT_OLD_DISK:
    case SIM_FAULT_FLIP:
        sim_damage(sim, kind);
        return; /* counted when it was possible */
    case SIM_FAULT_LOSS: /* always on */
    case SIM_FAULT_KINDS:
        return;
    }
    sim->injected[kind]++;
}

/* One of those that are enabled; loss is always on. */
static enum sim_fault choose_kind(struct sim *sim)
{
    enum sim_fault kind = SIM_FAULT_LOSS;
    if ((sim->faults & ~(1u << SIM_FAULT_LOSS)) == 0) {
        return kind;
    }
    while (kind == SIM_FAULT_LOSS || (sim->faults & 1u << kind) == 0) {
        kind = (enum sim_fault)sim_below(sim, SIM_FAULT_KINDS);
    }
    return kind;
}

static void inject_event(struct sim *sim, void *context, uint64_t kind)
{
    (void)context;
    if (!sim->healed) {
        inject(sim, (enum sim_fault)kind);
    }
}

static void fault_event(struct sim *sim, void *context, uint64_t argument)
{
    (void)context;
    (void)argument;
    if (sim->healed) {
        return;
    }
    enum sim_fault kind = choose_kind(sim);
    bool rare = kind == SIM_FAULT_POWER && sim->faults == SIM_FAULTS_ALL; /* it stops the cluster for long: not as often as others */
    if (!rare || sim_chance(sim, 30)) {
        if (sim_chance(sim, ROUSE_PERCENT)) {
            sim_clients_rouse(sim, 70);
            sim_at(sim, sim_below(sim, ROUSED_MS * SIM_MS), inject_event, NULL, kind);
        } else {
            inject(sim, kind);
        }
    }
    /* Often alone, sometimes close together. */
    uint64_t interval = sim->fault_interval_ms * SIM_MS;
    sim_at(sim, sim_chance(sim, 30) ? sim_below(sim, interval / 8) : sim_below(sim, 2 * interval), fault_event, NULL, 0);
}

void sim_want_checkpoint(struct sim_node *node)
{
    const struct group *group = sim_serving(node) ? node->node->group : NULL;
    if (group != NULL && !group->apply_again && group->applied_index > group->raft.trail.snapshot.index && group->checkpoint_index == 0) {
        node->node->checkpoint_wanted = true;
        sim_wake(node, 3000);
    }
}

static void checkpoint_event(struct sim *sim, void *context, uint64_t argument)
{
    (void)context;
    (void)argument;
    if (sim->healed) {
        return;
    }
    sim_want_checkpoint(random_node(sim));
    sim_at(sim, sim_below(sim, 2 * sim->checkpoint_interval_ms * SIM_MS), checkpoint_event, NULL, 0);
}

void sim_checkpoints_start(struct sim *sim)
{
    if (sim->checkpoint_interval_ms != 0) {
        sim_at(sim, SIM_SECOND, checkpoint_event, NULL, 0);
    }
}

void sim_faults_start(struct sim *sim)
{
    if (sim->faults != 0) {
        sim_at(sim, SIM_SECOND, fault_event, NULL, 0);
    }
}

void sim_faults_heal(struct sim *sim)
{
    sim->healed = true;
    sim->flip_awaits_host = false;
    sim_clients_rouse(sim, 100); /* they may have meant to rest for long */
    sim->alter_until_ns = sim->alter_once_bytes = sim->aim.until_ns = 0;
    sim_note(sim, 0, "all faults heal");
    memset(sim->cut, 0, sizeof sim->cut);
    for (unsigned i = 1; i <= sim->node_count; i++) {
        struct sim_node *node = &sim->nodes[i];
        node->frozen_until_ns = 0;
        node->disk.slow_until_ns = node->disk.errors_until_ns = node->disk.full_until_ns = 0;
        sim_clock_change(node, 0, 0);
        if (sim_alive(node) && (node->disk.error_told || node->disk.lying)) {
            sim_power_off(node); /* an operator starts again what saw errors */
        }
        if (!sim_alive(node)) {
            sim_return(node);
        }
        sim_wake(node, 3000);
    }
    sim_net_path_changed(sim);
}
