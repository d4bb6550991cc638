/* Raft's rules that are not seen in what is committed, or only much later. The library's own state is looked at. */
#include "cluster-sim/sim.h"
#include "consensus/group_internal.h"
#include "replicate/node_internal.h"

/* A leader counts on what its followers have. What they acknowledged and is committed is a promise. */
static void check_matches(struct sim_node *node)
{
    struct sim *sim = node->sim;
    const struct raft *raft = &node->node->group->raft;
    for (unsigned i = 0; i < raft->configuration.n; i++) {
        uint64_t id = raft->configuration.servers[i].id;
        struct sim_node *other = &sim->nodes[raft_id_node(id)];
        raft_index match = 0;
        if (other == node || other->damaged || other->promise.raft_id != id || raft_match_index(raft, id, &match) != 0) {
            continue;
        }
        uint64_t commit = raft_commit_index(raft), counted = match < commit ? match : commit;
        other->promise.entry = counted > other->promise.entry ? counted : other->promise.entry;
        const struct group *group = sim_serving(other) ? other->node->group : NULL;
        if (group != NULL && group->raft_id == id && raft_current_term(&group->raft) == raft_current_term(raft) && log_last_index(group->log) < match) {
            sim_fail(sim, SIM_EXIT_INVARIANT + SIM_RAFT, "RAFT node %u, which leads, counts on node %u up to entry %llu, but that has only %llu", node->number,
                     other->number, (unsigned long long)match, (unsigned long long)log_last_index(group->log));
        }
    }
}

static bool heard_since(const struct sim_node *node, uint64_t since_ns)
{
    for (unsigned peer = 1; peer <= node->sim->node_count; peer++) {
        if (peer != node->number && peers_heard_ns(node->node->peers, peer) > since_ns) {
            return true;
        }
    }
    return false;
}

/* A term begins with a candidate, which others have called a good one (pre-vote). */
static void check_term(struct sim_node *node)
{
    struct sim *sim = node->sim;
    const struct group *group = node->node->group;
    uint64_t term = raft_current_term(&group->raft);
    bool own = raft_voted_for(&group->raft) == group->raft_id;
    if (term > sim->term_newest) {
        sim->term_newest = term;
        if (!own) {
            sim_fail(sim, SIM_EXIT_INVARIANT + SIM_RAFT, "RAFT node %u is in term %llu, for which nobody was a candidate", node->number, (unsigned long long)term);
        }
    }
    if (own && term != node->checked_term && sim->node_count > 1) {
        uint64_t now = sim_node_time(node);
        if (node->candidate_ns != 0 && !heard_since(node, node->candidate_ns)) {
            sim_fail(sim, SIM_EXIT_INVARIANT + SIM_RAFT, "RAFT node %u raises its term to %llu, though nobody has answered since it did so before", node->number,
                     (unsigned long long)term);
        }
        node->candidate_ns = now;
    }
}

/* Of two configurations the older one is that of the change before: what is truncated away returns to it. */
static void check_configurations(struct sim_node *node)
{
    const struct group *group = node->node->group;
    uint64_t newer = group->raft.configuration_uncommitted_index, older = group->raft.configuration_committed_index;
    if (newer == 0 || newer == node->checked_configuration) {
        node->checked_configuration = newer;
        return;
    }
    node->checked_configuration = newer;
    uint64_t first = log_first_index(group->log);
    for (uint64_t index = newer; index > older && index >= first; index--) {
        bool change = log_type_of(group->log, index) == LOG_CHANGE;
        if (change != (index == newer)) {
            sim_fail(node->sim, SIM_EXIT_INVARIANT + SIM_RAFT, "RAFT node %u takes the changes of members for those of entries %llu and %llu, and entry %llu is %s",
                     node->number, (unsigned long long)older, (unsigned long long)newer, (unsigned long long)index, change ? "another" : "none");
            return;
        }
    }
}

static void check_commit_grows(struct sim_node *node)
{
    const struct group *group = node->node->group;
    uint64_t commit = raft_commit_index(&group->raft);
    if (commit < node->checked_commit && group->start.last_index == node->checked_start) {
        sim_fail(node->sim, SIM_EXIT_INVARIANT + SIM_RAFT, "RAFT node %u took entry %llu for committed, and now only %llu", node->number,
                 (unsigned long long)node->checked_commit, (unsigned long long)commit);
    }
    node->checked_start = group->start.last_index;
}

void sim_check_raft(struct sim_node *node)
{
    check_term(node);
    check_configurations(node);
    check_commit_grows(node);
    if (group_is_leader(node->node->group)) {
        check_matches(node);
    }
}
