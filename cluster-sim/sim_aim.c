/* Power cuts at a moment. A crash at a random time hardly ever falls between a write and its flush, between a vote and the disk that is to remember
 * it, or between the parts of an epoch: there the power is cut on purpose, of that node or of all. */
#include "cluster-sim/sim.h"
#include "consensus/group_internal.h"
#include "replicate/node_internal.h"
#include "replicate/world_internal.h"

enum { ARMED_SECONDS = 4, SKIP_MAX = 12, LATER_US_MAX = 700, MUCH_LATER_US_MAX = 5000, ALL_PERCENT = 25, OFF_MS_MAX = 1500 };

static void checkpoint_event(struct sim *sim, void *context, uint64_t argument)
{
    (void)sim;
    (void)argument;
    sim_want_checkpoint(context);
}

static void freeze_host(struct sim *sim)
{
    struct sim_node *host = sim_host(sim);
    if (host != NULL && host->frozen_until_ns <= sim->now_ns) {
        host->frozen_until_ns = sim->now_ns + 300 * SIM_MS + sim_below(sim, 600 * SIM_MS);
        sim_note(sim, host->number, "FAULT frozen until another leads");
    }
}

/* Checkpoints are asked for; sometimes of a node of which the host does not hear any more what it has. */
static void make_checkpoints(struct sim *sim)
{
    const struct sim_node *host = sim_host(sim);
    unsigned mute = 1 + (unsigned)sim_below(sim, sim->node_count);
    bool muted = host != NULL && host->number != mute && sim_chance(sim, 50);
    if (muted) {
        sim_cut(sim, mute, host->number, 200 * SIM_MS + sim_below(sim, 300 * SIM_MS));
    }
    for (unsigned i = 1; i <= sim->node_count; i++) {
        if (!muted || i == mute) {
            sim_at(sim, sim_below(sim, 100 * SIM_MS), checkpoint_event, &sim->nodes[i], 0);
        }
    }
}

void sim_aim(struct sim *sim)
{
    sim->aim.moment = (enum sim_moment)sim_below(sim, SIM_MOMENTS);
    sim->aim.skip = (unsigned)sim_below(sim, SKIP_MAX);
    sim->aim.node = 0;
    sim->aim.until_ns = sim->now_ns + ARMED_SECONDS * SIM_SECOND;
    switch (sim->aim.moment) {
    case SIM_MOMENT_VOTED:
    case SIM_MOMENT_VOTE_WRITTEN:
        sim->aim.skip %= 2; /* there are not many */
        freeze_host(sim);
        break;
    case SIM_MOMENT_RELEASED:
        sim->aim.skip %= 2;
        break;
    case SIM_MOMENT_SUPERBLOCK_WRITTEN:
    case SIM_MOMENT_PAGES_WRITTEN:
        sim->aim.skip %= 4;
        make_checkpoints(sim);
        break;
    default:
        break;
    }
}

static void cut_event(struct sim *sim, void *context, uint64_t life)
{
    struct sim_node *node = context;
    if (node->life == life && !sim->healed) {
        sim_crash(node, sim_chance(sim, 50) ? 10 * SIM_MS : sim_below(sim, OFF_MS_MAX * SIM_MS));
    }
}

void sim_moment(struct sim_node *node, enum sim_moment moment)
{
    static const char *const words[SIM_MOMENTS] = {
        [SIM_MOMENT_VOTED] = "has voted", [SIM_MOMENT_ENTRIES] = "got entries", [SIM_MOMENT_PART] = "is between the parts of an epoch",
        [SIM_MOMENT_RELEASED] = "let a frame out", [SIM_MOMENT_VOTE_WRITTEN] = "wrote its vote", [SIM_MOMENT_LOG_WRITTEN] = "wrote to its log",
        [SIM_MOMENT_SUPERBLOCK_WRITTEN] = "wrote a superblock", [SIM_MOMENT_PAGES_WRITTEN] = "wrote pages"};
    struct sim *sim = node->sim;
    if (sim->aim.moment != moment || sim->aim.until_ns <= sim->now_ns || (sim->aim.node != 0 && sim->aim.node != node->number)) {
        return;
    }
    if (sim->aim.skip > 0) {
        sim->aim.skip--;
        return;
    }
    if (moment == SIM_MOMENT_PART && sim_chance(sim, 50)) {
        sim_want_checkpoint(node); /* it may not fall between the parts: seen when this one is what the next start reads */
        sim->aim.moment = SIM_MOMENT_SUPERBLOCK_WRITTEN;
        sim->aim.node = node->number;
        sim->aim.until_ns += SIM_SECOND;
        return;
    }
    sim->aim.until_ns = 0;
    sim->injected[SIM_FAULT_AIMED]++;
    bool all = sim_chance(sim, ALL_PERCENT);
    bool soon = sim->aim.node == 0 && sim_chance(sim, 70); /* before the flush */
    uint64_t later = soon && sim_chance(sim, 40) ? 0 : sim_below(sim, (soon ? LATER_US_MAX : MUCH_LATER_US_MAX) * 1000ull);
    sim_note(sim, node->number, "FAULT it %s: the power goes%s", words[moment], all ? ", of all nodes" : "");
    for (unsigned i = 1; i <= sim->node_count; i++) {
        if (all || i == node->number) {
            sim_at(sim, later, cut_event, &sim->nodes[i], sim->nodes[i].life);
        }
    }
}

void sim_aim_written(struct sim_node *node, uint64_t offset)
{
    enum sim_moment moment = SIM_MOMENT_PAGES_WRITTEN;
    if (offset < DISK_VOTE_BLOCK_FIRST * DISK_BLOCK_BYTES) {
        moment = SIM_MOMENT_SUPERBLOCK_WRITTEN;
    } else if (offset < (DISK_VOTE_BLOCK_FIRST + DISK_VOTE_BLOCKS) * DISK_BLOCK_BYTES) {
        moment = SIM_MOMENT_VOTE_WRITTEN;
    } else if (offset < node->disk.created.store_offset) {
        moment = SIM_MOMENT_LOG_WRITTEN;
    }
    sim_moment(node, moment);
}

/* Mostly of an epoch with several parts: all of them must be committed. */
void sim_aim_released(struct sim_node *node)
{
    if (node->node->world->parts > 1 || sim_chance(node->sim, 10)) {
        sim_moment(node, SIM_MOMENT_RELEASED);
    }
}
