/* What becomes of a contradiction between a host and what the log tells (replicate/agreement): the standby's reports, the host's verdict. */
#include <string.h>

#include "consensus/message_types.h"
#include "replicate/node_internal.h"

/* An epoch is committed and stands in the image. */
void node_agreement_applied(struct node *node, bool contradicts)
{
    struct world_facts facts;
    world_facts(node->world, &facts);
    agreement_note(&node->agreement, facts.committed, facts.digest);
    if (!contradicts) {
        node->contradiction.epoch = 0;
        return;
    }
    if (node->contradiction.epoch == 0) {
        node->contradiction_sent = 0;
        node->contradiction_ns = node_now_ns(node);
    }
    node->contradiction = (struct node_contradiction){.epoch = facts.committed, .digest = facts.digest};
}

/* Bits of the other voters that are connected. */
static uint32_t connected_voters(const struct node *node)
{
    uint32_t up = 0;
    for (unsigned peer = 1; peer <= node->boot->node_count; peer++) {
        struct group_member_facts member;
        group_member(node->group, peer, &member);
        up |= peer != node->boot->node_number && member.link && member.role == DISK_ROLE_VOTER && member.raft_id != 0 ? 1u << peer : 0;
    }
    return up;
}

static void report(struct node *node)
{
    unsigned leader = node_leader(node);
    node->contradiction_ns = node_now_ns(node) + AGREEMENT_REPORT_MS * 1000000ull;
    if (leader == 0 || leader == node->boot->node_number) {
        return; /* nobody to tell it */
    }
    node->contradiction_sent++;
    enum status status = peers_send(node->peers, leader, PEERS_LANE_RAFT, NODE_MESSAGE_CONTRADICTION, (const uint8_t *)&node->contradiction,
                                    sizeof node->contradiction, NULL, 0);
    (void)status; /* it is repeated */
}

static void judge(struct node *node)
{
    uint32_t wrong = 0;
    switch (agreement_judge(&node->agreement, connected_voters(node), node_now_ns(node), &wrong)) {
    case AGREEMENT_NONE:
        break;
    case AGREEMENT_HOST_WRONG:
        node_restart(node, "the other nodes have another image of the world than this host, and the log is on their side: it is read anew");
        break;
    case AGREEMENT_OTHERS_WRONG:
        for (unsigned peer = 1; peer <= node->boot->node_count; peer++) {
            if ((wrong & 1u << peer) != 0) {
                node_log(node, LOG_WARNING, "node %u has another image of the world than all others", peer);
                enum status status = peers_send(node->peers, peer, PEERS_LANE_RAFT, NODE_MESSAGE_ALONE, NULL, 0, NULL, 0);
                (void)status; /* its next report brings it here again */
            }
        }
        break;
    }
}

void node_agreement_tick(struct node *node)
{
    if (node->contradiction.epoch != 0 && node->contradiction_sent < AGREEMENT_REPORTS_MAX && node_now_ns(node) >= node->contradiction_ns) {
        report(node);
    }
    if (world_hosting(node->world)) {
        judge(node);
    }
}

enum status node_agreement_message(struct node *node, unsigned peer, const struct peers_message *message)
{
    if (message->body_bytes != 0) {
        return STATUS_INVALID;
    }
    if (message->type == NODE_MESSAGE_CONTRADICTION) {
        struct node_contradiction contradiction;
        if (message->header_bytes != sizeof contradiction) {
            return STATUS_INVALID;
        }
        memcpy(&contradiction, message->header, sizeof contradiction);
        if (world_hosting(node->world)) {
            agreement_report(&node->agreement, peer, contradiction.epoch, contradiction.digest, node_now_ns(node));
        }
        return STATUS_OK;
    }
    if (message->header_bytes != 0) {
        return STATUS_INVALID;
    }
    if (node->contradiction.epoch != 0 && peer == node_leader(node)) {
        node_become_stranger(node, "this node is alone with its image of the world");
    }
    return STATUS_OK;
}

uint64_t node_agreement_deadline_ns(const struct node *node)
{
    bool reports = node->contradiction.epoch != 0 && node->contradiction_sent < AGREEMENT_REPORTS_MAX;
    uint64_t deadline = reports ? node->contradiction_ns : UINT64_MAX;
    uint64_t verdict = world_hosting(node->world) ? agreement_deadline_ns(&node->agreement) : UINT64_MAX;
    return verdict < deadline ? verdict : deadline;
}
