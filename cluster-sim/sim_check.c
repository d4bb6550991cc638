/* The invariants, looked at after every turn of a node's loop. */
#include <stdlib.h>
#include <string.h>

#include "cluster-sim/sim.h"
#include "consensus/group_internal.h"
#include "include/check.h"
#include "include/hash64.h"
#include "replicate/node_internal.h"
#include "replicate/world_internal.h"

enum { COMPLETENESS_WINDOW = 256 };

static uint64_t *word_of(uint64_t **table, size_t *count, uint64_t index)
{
    *table = sim_slot(*table, count, index, sizeof **table);
    return &(*table)[index];
}

/* -- DURABLE and GATE: what the outside knows is in every image that a host of the newest term runs -- */

static void check_hosted_state(struct sim_node *node)
{
    struct sim *sim = node->sim;
    struct sim_state state;
    if (!sim_world_state(node, &state)) {
        if (sim->released > 0) {
            sim_fail(sim, SIM_EXIT_INVARIANT + SIM_DURABLE, "DURABLE node %u hosts a world without the state that was there", node->number);
        }
        return;
    }
    if (state.sequence < sim->released) {
        sim_fail(sim, SIM_EXIT_INVARIANT + SIM_DURABLE, "DURABLE node %u hosts a state at request %llu in order, and the outside saw %llu", node->number,
                 (unsigned long long)state.sequence, (unsigned long long)sim->released);
    }
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        if (state.last[i] < sim->clients[i].acknowledged) {
            sim_fail(sim, SIM_EXIT_INVARIANT + SIM_DURABLE, "DURABLE node %u hosts a state at request %llu of client %u, which was answered %llu",
                     node->number, (unsigned long long)state.last[i], i, (unsigned long long)sim->clients[i].acknowledged);
        }
        uint64_t sequence = state.last_sequence[i];
        if (sequence < sim->history_count && sim->history[sequence].request != 0 &&
            (sim->history[sequence].client != i || sim->history[sequence].request != state.last[i])) {
            sim_fail(sim, SIM_EXIT_INVARIANT + SIM_GATE, "GATE node %u: its history has request %llu of client %u where the outside saw another",
                     node->number, (unsigned long long)state.last[i], i);
        }
    }
}

/* -- Raft's own -- */

static void check_leader(struct sim_node *node, const struct group_facts *facts)
{
    struct sim *sim = node->sim;
    uint64_t *leader = word_of(&sim->term_leaders, &sim->term_count, facts->term);
    if (*leader != 0 && *leader != facts->raft_id) {
        sim_fail(sim, SIM_EXIT_INVARIANT + SIM_RAFT, "RAFT election safety: two leaders in term %llu", (unsigned long long)facts->term);
    }
    if (node->was_leader && node->checked_term == facts->term) {
        return;
    }
    if (*leader != 0) {
        sim_fail(sim, SIM_EXIT_INVARIANT + SIM_RAFT, "RAFT node %u leads term %llu for the second time", node->number, (unsigned long long)facts->term);
    }
    *leader = facts->raft_id;
    if (facts->term < sim->term_led) {
        return; /* its votes came late, when a later term was led already: what was committed in that it need not have */
    }
    sim->term_led = facts->term;
    const struct log *log = node->node->group->log;
    uint64_t committed = sim->committed_index;
    if (facts->last_index < committed) {
        sim_fail(sim, SIM_EXIT_INVARIANT + SIM_RAFT, "RAFT leader completeness: node %u leads term %llu up to entry %llu, and %llu is committed", node->number,
                 (unsigned long long)facts->term, (unsigned long long)facts->last_index, (unsigned long long)committed);
        return;
    }
    for (uint64_t index = committed > COMPLETENESS_WINDOW ? committed - COMPLETENESS_WINDOW : 1; index <= committed; index++) {
        uint64_t term = log_term_of(log, index), known = *word_of(&sim->committed_terms, &sim->committed_count, index);
        if (term != 0 && known != 0 && term != known) {
            sim_fail(sim, SIM_EXIT_INVARIANT + SIM_RAFT, "RAFT leader completeness: node %u leads term %llu with another entry %llu than was committed",
                     node->number, (unsigned long long)facts->term, (unsigned long long)index);
        }
    }
}

static void check_commit(struct sim_node *node, const struct group_facts *facts)
{
    struct sim *sim = node->sim;
    const struct log *log = node->node->group->log;
    uint64_t index = node->checked_commit;
    if (index + 1 < log_first_index(log)) {
        index = log_first_index(log) - 1;
    }
    for (index++; index <= facts->commit_index; index++) {
        uint64_t term = log_term_of(log, index), *known = word_of(&sim->committed_terms, &sim->committed_count, index);
        if (*known == 0) {
            *known = term;
        } else if (term != 0 && term != *known) {
            sim_fail(sim, SIM_EXIT_INVARIANT + SIM_RAFT, "RAFT log matching: entry %llu is committed on node %u with term %llu, elsewhere with %llu",
                     (unsigned long long)index, node->number, (unsigned long long)term, (unsigned long long)*known);
        }
    }
    node->checked_commit = facts->commit_index;
    sim->committed_index = facts->commit_index > sim->committed_index ? facts->commit_index : sim->committed_index;
}

/* -- NO-AMNESIA -- */

static const struct sim_ban *ban_of(const struct sim *sim, uint64_t raft_id)
{
    for (unsigned i = 0; i < sim->ban_count; i++) {
        if (sim->bans[i].raft_id == raft_id) {
            return &sim->bans[i];
        }
    }
    return NULL;
}

static void check_amnesia(struct sim_node *node, const struct group_facts *facts)
{
    struct sim *sim = node->sim;
    const struct sim_ban *ban = sim->ban_count > 0 ? ban_of(sim, facts->raft_id) : NULL;
    if (ban == NULL) {
        return;
    }
    for (unsigned i = 1; i <= sim->node_count; i++) {
        const struct sim_node *other = &sim->nodes[i];
        if (other == node || !sim_serving(other) || other->node->group->raft_id != ban->witnesses[i]) {
            continue;
        }
        const struct group_peer *peer = &other->node->group->peers[node->number];
        if (peer->up && peer->raft_id == facts->raft_id && peer->hello.lives[0] == vote_lives(node->node->group->vote)[0]) {
            sim_fail(sim, SIM_EXIT_INVARIANT + SIM_NO_AMNESIA, "NO-AMNESIA node %u takes part as %llx, whose disk is gone, and node %u accepts it", node->number,
                     (unsigned long long)facts->raft_id, i);
        }
    }
}

/* -- all -- */

/* A standby stands exactly at an epoch: pages and record are those of its digest. */
static void check_boundary(struct sim_node *node, const struct world_facts *facts)
{
    const struct world *world = node->node->world;
    bool moved = node->was_host || node->checked_epoch != facts->epoch;
    if (!facts->host && moved && facts->committed > 0 && image_digest(world->image) + world_record_hash(&world->record) != facts->digest) {
        sim_fail(node->sim, SIM_EXIT_INVARIANT + SIM_NO_TEAR, "NO-TEAR node %u, a standby, has not the pages and registers of epoch %llu", node->number,
                 (unsigned long long)facts->committed);
    }
}

static void check_world(struct sim_node *node, const struct world_facts *world)
{
    struct sim *sim = node->sim;
    if (!node->node->filling) {
        check_boundary(node, world);
    }
    if (!node->node->filling && world->committed > 0) {
        uint64_t *digest = word_of(&sim->digests, &sim->digest_count, world->committed);
        if (node->flipped_life != 0) {
            if (node->flipped_life != node->life && *digest == world->digest) {
                sim_flip_mended(node);
            }
        } else if (*digest == 0) {
            *digest = world->digest;
        } else if (*digest != world->digest) {
            sim_fail(sim, SIM_EXIT_INVARIANT + SIM_ONE_STORY, "ONE-STORY node %u has another image at epoch %llu", node->number,
                     (unsigned long long)world->committed);
        }
    }
    if (world->in_flight > EPOCHS_IN_FLIGHT_MAX || world->dirty_pages > DIRTY_PAGES_MAX) {
        sim_fail(sim, SIM_EXIT_INVARIANT + SIM_BOUND, "BOUND node %u: %u epochs in flight, %u dirty pages", node->number, world->in_flight,
                 world->dirty_pages);
    }
    if (node->holds_address && !world->host) {
        sim_fail(sim, SIM_EXIT_INVARIANT + SIM_GATE, "GATE node %u answers for a world that it does not host", node->number);
    }
    if (world->life == WORLD_LIFE_STOPPED) {
        sim_fail(sim, SIM_EXIT_INVARIANT + SIM_NO_TEAR, "NO-TEAR node %u: the world was stopped: %s", node->number, world->reason);
    }
}

/* The modules' own invariants, when something has changed that happens rarely. */
static void check_modules(struct sim_node *node, const struct world_facts *world, const struct group_facts *group)
{
    uint64_t first = log_first_index(node->node->group->log);
    uint64_t superblock = store_superblock(node->node->store)->sequence;
    if (node->checked_superblock != superblock) {
        store_check(node->node->store);
    }
    if (node->was_leader != (group->role == GROUP_LEADER) || node->checked_first != first) {
        group_check(node->node->group);
        peers_check(node->node->peers);
    }
    if (node->was_host != world->host && node->flipped_life != node->life) {
        world_check(node->node->world);
    }
    node->checked_first = first;
    node->checked_superblock = superblock;
}

static void note_moments(struct sim_node *node, const struct group_facts *group)
{
    if (group->last_index > node->checked_last) {
        sim_moment(node, SIM_MOMENT_ENTRIES);
    }
    if (node->node->assembly_next > 0) {
        sim_moment(node, SIM_MOMENT_PART);
    }
    node->checked_last = group->last_index;
}

void sim_check_node(struct sim_node *node)
{
    struct sim *sim = node->sim;
    if (!sim_serving(node)) {
        return;
    }
    struct world_facts world;
    struct group_facts group;
    world_facts(node->node->world, &world);
    group_facts(node->node->group, &group);
    check_world(node, &world);
    check_modules(node, &world, &group);
    sim_check_promises(node);
    sim_check_raft(node);
    if (group.role == GROUP_LEADER) {
        check_leader(node, &group);
    }
    check_commit(node, &group);
    check_amnesia(node, &group);
    if (!node->damaged && group.raft_id != node->known_id) {
        sim_fail(sim, SIM_EXIT_INVARIANT + SIM_DURABLE, "DURABLE node %u, whose disk is whole, has given up %llx and is %llx", node->number,
                 (unsigned long long)node->known_id, (unsigned long long)group.raft_id);
    }
    if (group.log_bytes > group.log_bytes_max) {
        sim_fail(sim, SIM_EXIT_INVARIANT + SIM_BOUND, "BOUND node %u: its log has outgrown its region", node->number);
    }
    bool seen = node->checked_epoch == world.epoch && node->checked_term == group.term;
    /* A deposed host that has not heard of it may run on, behind its gate. */
    if (world.host && !seen && group.role == GROUP_LEADER && node->node->leading && group.term == sim->term_led) {
        check_hosted_state(node);
    }
    node->checked_epoch = world.epoch;
    node->checked_term = group.term;
    node->was_leader = group.role == GROUP_LEADER;
    bool was_host = node->was_host;
    node->was_host = world.host;
    note_moments(node, &group);
    if (world.host && !was_host) {
        sim_resumed(node);
    }
    sim_damage_review(node);
    uint64_t mix[4] = {sim->now_ns, world.committed, world.digest, group.commit_index};
    sim->trace_hash = hash64(sim->trace_hash, mix, sizeof mix);
}
