/* The invariants, looked at after every turn of a node's loop. */
#include <stdlib.h>
#include <string.h>

#include "cluster-sim/sim.h"
#include "include/check.h"
#include "include/hash64.h"
#include "replicate/node_internal.h"

static uint64_t *slot_of(uint64_t **table, size_t *count, uint64_t index)
{
    if (index >= *count) {
        size_t wanted = (size_t)index * 2 + 1024;
        *table = realloc(*table, wanted * sizeof **table);
        CHECK(*table != NULL);
        memset(*table + *count, 0, (wanted - *count) * sizeof **table);
        *count = wanted;
    }
    return &(*table)[index];
}

/* DURABLE: what a client was answered is in every image that a host runs. */
static void check_hosted_state(struct sim_node *node)
{
    struct sim *sim = node->sim;
    struct abi_info info;
    struct image *image = world_image(node->node->world);
    if (image_read(image, 0, &info, sizeof info) != STATUS_OK || info.heap_base == 0) {
        return;
    }
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        uint64_t last;
        if (image_read(image, info.heap_base - ABI_WORLD_BASE + 8ull * i, &last, 8) != STATUS_OK) {
            return;
        }
        if (last < sim->clients[i].acknowledged && node->node->leading) {
            sim_fail(sim, SIM_EXIT_INVARIANT + SIM_DURABLE, "DURABLE node %u hosts a state at request %llu of client %u, which was answered %llu", node->number,
                     (unsigned long long)last, i, (unsigned long long)sim->clients[i].acknowledged);
        }
    }
}

void sim_check_node(struct sim_node *node)
{
    struct sim *sim = node->sim;
    if (node->restart_asked || node->node->disk != STORE_DISK_OK) {
        return;
    }
    struct world_facts world;
    world_facts(node->node->world, &world);
    if (!node->node->filling && world.committed > 0) {
        uint64_t *digest = slot_of(&sim->digests, &sim->digest_count, world.committed);
        if (*digest == 0) {
            *digest = world.digest;
        } else if (*digest != world.digest) {
            sim_fail(sim, SIM_EXIT_INVARIANT + SIM_ONE_STORY, "ONE-STORY node %u has another image at epoch %llu", node->number,
                     (unsigned long long)world.committed);
        }
    }
    if (world.in_flight > EPOCHS_IN_FLIGHT_MAX || world.dirty_pages > DIRTY_PAGES_MAX) {
        sim_fail(sim, SIM_EXIT_INVARIANT + SIM_BOUND, "BOUND node %u: %u epochs in flight, %u dirty pages", node->number, world.in_flight, world.dirty_pages);
    }
    if (world.life == WORLD_LIFE_STOPPED) {
        sim_fail(sim, SIM_EXIT_INVARIANT + SIM_NO_TEAR, "NO-TEAR node %u: the world was stopped: %s", node->number, world.reason);
    }
    struct group_facts group;
    group_facts(node->node->group, &group);
    if (group.role == GROUP_LEADER) {
        uint64_t *leader = slot_of(&sim->term_leaders, &sim->term_count, group.term);
        if (*leader != 0 && *leader != group.raft_id) {
            sim_fail(sim, SIM_EXIT_INVARIANT + SIM_RAFT, "RAFT election safety: two leaders in term %llu", (unsigned long long)group.term);
        }
        *leader = group.raft_id;
    }
    if (world.host && node->node->group != NULL) {
        /* A deposed host that has not heard of it may run on, behind its gate: only one that has a majority is held to what clients know. */
        if (group.role == GROUP_LEADER && group.majority) {
            bool newest = true;
            for (unsigned i = 1; i <= sim->node_count; i++) {
                const struct sim_node *other = &sim->nodes[i];
                if (other != node && sim_alive(other) && other->node->disk == STORE_DISK_OK) {
                    struct group_facts facts;
                    group_facts(other->node->group, &facts);
                    newest = newest && facts.term <= group.term;
                }
            }
            if (newest) {
                check_hosted_state(node);
            }
        }
    }
    uint64_t mix[3] = {sim->now_ns, world.committed, world.digest};
    sim->trace_hash = hash64(sim->trace_hash, mix, sizeof mix);
}

bool sim_check_settled(struct sim *sim)
{
    uint64_t committed = 0, digest = 0;
    for (unsigned i = 1; i <= sim->node_count; i++) {
        struct sim_node *node = &sim->nodes[i];
        if (!sim_alive(node) || node->node->disk != STORE_DISK_OK || node->node->filling) {
            return false;
        }
        struct group_facts group;
        struct world_facts world;
        group_facts(node->node->group, &group);
        world_facts(node->node->world, &world);
        if (!group.voter || world.committed == 0) {
            return false;
        }
        if (world.committed > committed) {
            committed = world.committed;
            digest = world.digest;
        }
    }
    (void)digest;
    for (unsigned i = 1; i <= sim->node_count; i++) {
        struct world_facts world;
        world_facts(sim->nodes[i].node->world, &world);
        if (world.committed + 64 < committed) {
            return false;
        }
    }
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        if (sim->clients[i].last_answer_ns + 2000000000ull < sim->now_ns) {
            return false;
        }
    }
    return true;
}
