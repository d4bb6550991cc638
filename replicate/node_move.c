/* A planned move: the target has nearly all of the log; the world stands still, everything it did is committed, leadership is handed over, the other
 * node resumes.
 *
 *   IDLE, DONE, FAILED --node_move_request--> APPROACHING --target is near the end of the log, world paused--> DRAINING --all committed-->
 *   TRANSFERRING --leadership lost--> AWAY --the other resumed--> DONE
 *   TRANSFERRING --the library gave up--> APPROACHING: the world goes on meanwhile
 *   APPROACHING, DRAINING, TRANSFERRING --deadline--> FAILED: the world goes on here. */
#include <stdio.h>
#include <string.h>

#include "include/abi.h"
#include "replicate/node_internal.h"

static void fail(struct node *node, const char *reason)
{
    node->move.state = MOVE_FAILED;
    snprintf(node->move.reason, sizeof node->move.reason, "%s", reason);
    node_log(node, LOG_WARNING, "move to node %u failed: %s", node->move.target, reason);
    world_pause(node->world, false);
}

int64_t node_move_request(struct node *node, uint64_t target)
{
    if (target < 1 || target > node->boot->node_count) {
        return -ABI_EINVAL;
    }
    bool under_way = node->move.state == MOVE_APPROACHING || node->move.state == MOVE_DRAINING || node->move.state == MOVE_TRANSFERRING;
    if (!world_hosting(node->world) || under_way) {
        return -ABI_EAGAIN;
    }
    if (target == node->boot->node_number) {
        return 1;
    }
    struct group_member_facts member;
    group_member(node->group, (unsigned)target, &member);
    if (!member.link || member.raft_id == 0) {
        return -ABI_ENOENT;
    }
    if (member.role != DISK_ROLE_VOTER) {
        return -ABI_EAGAIN;
    }
    node->move = (struct move){.state = MOVE_APPROACHING, .target = (unsigned)target, .started_ns = node_now_ns(node)};
    return 0;
}

/* A target that lags, or has no image yet, would let the world stand still while it catches up, and the library gives a transfer up after an election
 * timeout. */
static void approach(struct node *node)
{
    struct group_facts facts;
    struct group_member_facts target;
    group_facts(node->group, &facts);
    group_member(node->group, node->move.target, &target);
    if (target.link && target.role == DISK_ROLE_VOTER && target.image_there && target.match_index + NODE_MOVE_LAG_ENTRIES >= facts.last_index) {
        node->move.state = MOVE_DRAINING;
        node->move.paused_ns = node_now_ns(node);
        world_pause(node->world, true);
    }
}

static void drain(struct node *node)
{
    if (!world_drained(node->world)) {
        return;
    }
    enum status status = group_transfer(node->group, node->move.target);
    if (status == STATUS_OK) {
        node->move.state = MOVE_TRANSFERRING;
    } else if (status != STATUS_BUSY) {
        fail(node, status_sentence(status));
    }
}

void node_move_tick(struct node *node)
{
    struct move *move = &node->move;
    bool late = node_now_ns(node) - move->started_ns > (uint64_t)NODE_MOVE_DEADLINE_MS * 1000000u;
    switch (move->state) {
    case MOVE_APPROACHING:
        if (late) {
            fail(node, "the other node does not keep up with the log, or still reads its image from the disk");
        } else {
            approach(node);
        }
        if (move->state == MOVE_DRAINING) {
            drain(node); /* a world at rest has nothing that would wake us */
        }
        break;
    case MOVE_DRAINING:
        if (late) {
            fail(node, "what the world did last was not committed in time");
        } else {
            drain(node);
        }
        break;
    case MOVE_TRANSFERRING:
        if (late) {
            fail(node, "the other node did not take the leadership");
        } else if (!group_transferring(node->group)) {
            move->state = MOVE_APPROACHING;
            world_pause(node->world, false);
        }
        break;
    case MOVE_AWAY:
        if (late) {
            move->state = MOVE_FAILED;
            snprintf(move->reason, sizeof move->reason, "leadership was handed over, but nobody said that the world was resumed");
        }
        break;
    case MOVE_IDLE:
    case MOVE_DONE:
    case MOVE_FAILED:
        break;
    }
}

void node_move_lost(struct node *node)
{
    if (node->move.state == MOVE_TRANSFERRING) {
        node->move.state = MOVE_AWAY;
        if (node->move.resumed_early) {
            node_move_resumed(node, node->move.target);
        }
    } else if (node->move.state == MOVE_APPROACHING || node->move.state == MOVE_DRAINING) {
        node->move.state = MOVE_FAILED;
        snprintf(node->move.reason, sizeof node->move.reason, "this node lost the leadership before everything was committed");
    }
}

void node_move_resumed(struct node *node, unsigned peer)
{
    struct move *move = &node->move;
    if (move->state == MOVE_TRANSFERRING) {
        /* Believed when the leadership is lost: until then the world is here, and who still speaks of an older term may not end its move. */
        move->resumed_early |= peer == move->target;
        return;
    }
    if (move->state != MOVE_AWAY) {
        return;
    }
    move->stopped_ns = node_now_ns(node) - move->paused_ns;
    if (peer == move->target) {
        move->state = MOVE_DONE;
        move->reason[0] = '\0';
    } else {
        move->state = MOVE_FAILED;
        snprintf(move->reason, sizeof move->reason, "node %u took the world instead", peer);
    }
}

uint64_t node_move_deadline_ns(const struct node *node)
{
    if (node->move.state == MOVE_APPROACHING || node->move.state == MOVE_DRAINING || node->move.state == MOVE_TRANSFERRING || node->move.state == MOVE_AWAY) {
        return node_now_ns(node) + 5000000u; /* what it waits for arrives as events; this only bounds the look at the deadline */
    }
    return UINT64_MAX;
}
