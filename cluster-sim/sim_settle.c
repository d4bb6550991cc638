/* After all faults have healed: liveness, then a quiet phase in which nothing may move (IDLE) and all nodes are equal. */
#include "cluster-sim/sim.h"
#include "consensus/group_internal.h"
#include "replicate/node_internal.h"

enum { SERVED_SECONDS = 2, CALM_SECONDS = 4, IDLE_SECONDS = 5, TURNS_MAX = 400 * IDLE_SECONDS };

bool sim_check_settled(struct sim *sim)
{
    uint64_t committed = 0;
    for (unsigned i = 1; i <= sim->node_count; i++) {
        struct sim_node *node = &sim->nodes[i];
        struct group_facts group;
        struct world_facts world;
        if (!sim_serving(node) || node->node->filling) {
            return false;
        }
        group_facts(node->node->group, &group);
        world_facts(node->node->world, &world);
        if (!group.voter || world.committed == 0 || node->node->group->member_count != sim->node_count) {
            return false;
        }
        committed = world.committed > committed ? world.committed : committed;
    }
    for (unsigned i = 1; i <= sim->node_count; i++) {
        struct world_facts world;
        world_facts(sim->nodes[i].node->world, &world);
        if (world.committed + 64 < committed) {
            return false;
        }
    }
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        if (sim->clients[i].last_answer_ns + SERVED_SECONDS * SIM_SECOND < sim->now_ns) {
            return false;
        }
    }
    return true;
}

struct standing {
    uint64_t epoch, digest, last_index, commit_index, term, turns;
};

static struct standing standing_of(struct sim_node *node)
{
    struct group_facts group;
    struct world_facts world;
    group_facts(node->node->group, &group);
    world_facts(node->node->world, &world);
    return (struct standing){world.committed, world.digest, group.last_index, group.commit_index, group.term, node->turns};
}

static void check_equal(struct sim *sim)
{
    struct standing first = standing_of(&sim->nodes[1]);
    for (unsigned i = 1; i <= sim->node_count && sim->failed == 0; i++) {
        struct standing other = standing_of(&sim->nodes[i]);
        struct sim_state state;
        if (other.epoch != first.epoch || other.commit_index != first.commit_index || other.last_index != first.last_index) {
            sim_fail(sim, SIM_EXIT_LIVENESS, "LIVENESS quiet, node 1 is at epoch %llu, entry %llu of %llu, node %u at epoch %llu, entry %llu of %llu",
                     (unsigned long long)first.epoch, (unsigned long long)first.commit_index, (unsigned long long)first.last_index, i,
                     (unsigned long long)other.epoch, (unsigned long long)other.commit_index, (unsigned long long)other.last_index);
        } else if (other.digest != first.digest) {
            sim_fail(sim, SIM_EXIT_INVARIANT + SIM_ONE_STORY, "ONE-STORY quiet, nodes 1 and %u differ at epoch %llu", i, (unsigned long long)first.epoch);
        } else if (!sim_world_state(&sim->nodes[i], &state) || state.sequence < sim->released) {
            sim_fail(sim, SIM_EXIT_INVARIANT + SIM_DURABLE, "DURABLE quiet, node %u has not all that the outside saw", i);
        }
    }
}

/* A bit that flipped and that nobody has come across yet. Whoever finds it starts anew, and if that is the host the world moves: at any time. */
static bool flip_unfound(const struct sim *sim)
{
    bool unfound = false;
    for (unsigned i = 1; i <= sim->node_count; i++) {
        unfound |= sim->nodes[i].flipped_life == sim->nodes[i].life;
    }
    return unfound;
}

void sim_check_quiet(struct sim *sim)
{
    struct standing before[SIM_NODES_MAX + 1];
    sim->quiet = true;
    sim_run_until(sim, sim->now_ns + CALM_SECONDS * SIM_SECOND);
    for (unsigned i = 1; i <= sim->node_count; i++) {
        if (sim->failed == 0 && !sim_serving(&sim->nodes[i])) {
            sim_fail(sim, SIM_EXIT_LIVENESS, "LIVENESS node %u left without a fault", i);
        }
    }
    if (sim->failed != 0) {
        return;
    }
    for (unsigned i = 1; i <= sim->node_count; i++) {
        before[i] = standing_of(&sim->nodes[i]);
    }
    check_equal(sim);
    if (flip_unfound(sim)) {
        return;
    }
    sim_run_until(sim, sim->now_ns + IDLE_SECONDS * SIM_SECOND);
    for (unsigned i = 1; i <= sim->node_count && sim->failed == 0; i++) {
        struct standing after = standing_of(&sim->nodes[i]);
        if (after.epoch != before[i].epoch || after.last_index != before[i].last_index) {
            sim_fail(sim, SIM_EXIT_INVARIANT + SIM_IDLE, "IDLE node %u went from epoch %llu, entry %llu to epoch %llu, entry %llu while nobody did anything", i,
                     (unsigned long long)before[i].epoch, (unsigned long long)before[i].last_index, (unsigned long long)after.epoch,
                     (unsigned long long)after.last_index);
        } else if (after.turns - before[i].turns > TURNS_MAX) {
            sim_fail(sim, SIM_EXIT_INVARIANT + SIM_IDLE, "IDLE node %u took %llu turns in %d s while nobody did anything", i,
                     (unsigned long long)(after.turns - before[i].turns), IDLE_SECONDS);
        } else if (after.term != before[i].term) {
            sim_fail(sim, SIM_EXIT_LIVENESS, "LIVENESS node %u had an election while nothing was wrong", i);
        }
    }
}
