/* What was told to others must be on the disk: each start shows every vote that left, every entry that was acknowledged and is committed, and a higher
 * boot number than before. Not looked at where a fault made the disk forget. */
#include "cluster-sim/sim.h"
#include "consensus/group_internal.h"
#include "replicate/node_internal.h"

/* In the first turn of a life, before any link is up. */
static void check_kept(struct sim_node *node)
{
    struct sim *sim = node->sim;
    struct sim_promise *promise = &node->promise;
    const struct group *group = node->node->group;
    uint64_t term = vote_term(group->vote), vote = vote_voted_for(group->vote), boot = vote_boot_number(group->vote), last = log_last_index(group->log);
    if (node->log_rotten_id == group->raft_id) {
        sim_fail(sim, SIM_EXIT_INVARIANT + SIM_VERIFY, "VERIFY node %u starts as %llx with a log that rotted where it was flushed", node->number,
                 (unsigned long long)group->raft_id);
    }
    node->log_rotten_id = 0;
    promise->life = node->life;
    promise->cast_vote = 0;
    promise->seen_term = term;
    promise->seen_vote = vote;
    if (node->damaged || promise->raft_id != group->raft_id) {
        *promise = (struct sim_promise){.raft_id = group->raft_id, .life = node->life, .boot = boot, .seen_term = term, .seen_vote = vote};
        return;
    }
    if (term < promise->term || (term == promise->term && vote != promise->vote)) {
        sim_fail(sim, SIM_EXIT_INVARIANT + SIM_RAFT, "RAFT node %u gave its vote in term %llu to %llx, and its disk says term %llu, %llx", node->number,
                 (unsigned long long)promise->term, (unsigned long long)promise->vote, (unsigned long long)term, (unsigned long long)vote);
    } else if (last < promise->entry) {
        sim_fail(sim, SIM_EXIT_INVARIANT + SIM_DURABLE, "DURABLE node %u acknowledged entry %llu, which is committed, and its log ends at %llu", node->number,
                 (unsigned long long)promise->entry, (unsigned long long)last);
    } else if (boot <= promise->boot) {
        sim_fail(sim, SIM_EXIT_INVARIANT + SIM_NO_AMNESIA, "NO-AMNESIA node %u starts with boot number %llu, and has shown %llu", node->number,
                 (unsigned long long)boot, (unsigned long long)promise->boot);
    }
    promise->boot = boot;
}

/* A vote leaves in the queue to its candidate: when the queue is empty, it has left. What ends with the link has not. */
static void note_vote(struct sim_node *node)
{
    struct sim_promise *promise = &node->promise;
    const struct group *group = node->node->group;
    uint64_t term = raft_current_term(&group->raft), vote = raft_voted_for(&group->raft);
    if (term != promise->seen_term || vote != promise->seen_vote) {
        promise->seen_term = term;
        promise->seen_vote = vote;
        promise->cast_term = term;
        promise->cast_vote = vote != group->raft_id ? vote : 0;
        if (promise->cast_vote != 0) {
            unsigned peer = raft_id_node(vote);
            promise->cast_link = sim_link_life(node->sim, node->number, peer, PEERS_LANE_RAFT);
            promise->cast_start = group->start.last_index;
            sim_moment(node, SIM_MOMENT_VOTED);
        }
    }
    if (promise->cast_vote == 0) {
        return;
    }
    unsigned peer = raft_id_node(promise->cast_vote);
    if (promise->cast_link == 0 || sim_link_life(node->sim, node->number, peer, PEERS_LANE_RAFT) != promise->cast_link || !group->peers[peer].up ||
        group->peers[peer].raft_id != promise->cast_vote || group->start.last_index != promise->cast_start) {
        promise->cast_vote = 0;
    } else if (group->peers[peer].queue_count == 0) {
        promise->term = promise->cast_term;
        promise->vote = promise->cast_vote;
        promise->cast_vote = 0;
    }
}

void sim_check_promises(struct sim_node *node)
{
    if (node->promise.life != node->life) {
        check_kept(node);
    }
    note_vote(node);
}
