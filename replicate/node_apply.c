/* What the group tells the node: committed entries, leadership, checkpoints, snapshots. */
#include <string.h>

#include "include/check.h"
#include "consensus/message_types.h"
#include "replicate/node_internal.h"

static void discard_parts(void *context)
{
    struct node *node = context;
    node->assembly_epoch = 0;
    node->assembly_next = node->assembly_parts = 0;
    node->assembly_bytes = 0;
    node->assembly_open_ns = 0;
}

/* Does the entry continue the epoch under assembly, or start one? */
static bool part_fits(struct node *node, const struct group_entry *entry)
{
    if (entry->part == 0) {
        discard_parts(node);
        node->assembly_epoch = entry->epoch;
        node->assembly_parts = entry->parts;
    }
    bool last = entry->part + 1 == entry->parts;
    return entry->parts >= 1 && entry->parts <= DELTA_PARTS_MAX && entry->epoch == node->assembly_epoch && entry->parts == node->assembly_parts &&
           entry->part == node->assembly_next && entry->bytes >= 1 && entry->bytes <= DELTA_PART_BYTES_MAX &&
           (last || entry->bytes == DELTA_PART_BYTES_MAX) && node->assembly_bytes + entry->bytes <= DELTA_BYTES_MAX;
}

/* Did this life begin with reading the log? Then nobody is helped by reading it again. */
static bool read_lately(const struct node *node)
{
    return node_now_ns(node) - node->started_ns < NODE_LIFE_YOUNG_MS * 1000000ull;
}

/* A committed epoch that cannot be applied is never skipped: whoever did could host the world from an epoch that everybody has left behind. Read anew from
 * the disk it may be another. */
static void give_up_on(struct node *node, const struct group_entry *entry, enum status status)
{
    node_log(node, LOG_ERROR, "part %u of %u of epoch %llu does not apply: %s", (unsigned)entry->part, (unsigned)entry->parts,
             (unsigned long long)entry->epoch, status_sentence(status));
    if (status == STATUS_UNKNOWN_VERSION || read_lately(node)) {
        node_stand_aside(node, status == STATUS_UNKNOWN_VERSION ? STORE_DISK_FOREIGN : STORE_DISK_CORRUPT, "epoch %llu of the log does not apply: %s",
                         (unsigned long long)entry->epoch, status_sentence(status));
    } else {
        node_restart(node, "a committed delta is not the one that comes next: the image is read anew from the disk");
    }
}

static void apply_epoch(struct node *node, const struct group_entry *entry)
{
    enum status status = world_apply_delta(node->world, node->assembly_bytes);
    histogram_add(&node->open_times, node->assembly_open_ns);
    discard_parts(node);
    switch (status) {
    case STATUS_OK:
        node_agreement_applied(node, false);
        break;
    case STATUS_REFUSED:
        node_log(node, LOG_ERROR, "epoch %llu: the host's image has another digest than what the log tells", (unsigned long long)entry->epoch);
        node_agreement_applied(node, true);
        break;
    case STATUS_CORRUPT:
        node_restart(node, "a page in memory no longer has the hash it was captured with: the image is read anew from the disk");
        break;
    case STATUS_NO_MEMORY:
        node_restart(node, "no frame was left for a page of the world");
        break;
    default:
        give_up_on(node, entry, status);
        break;
    }
}

static void apply_part(struct node *node, const struct group_entry *entry, const uint8_t *body)
{
    if (!part_fits(node, entry)) {
        discard_parts(node);
        give_up_on(node, entry, STATUS_INVALID);
        return;
    }
    struct seal_context context = seal_context_delta(entry->world, entry->epoch, entry->part, entry->parts);
    uint8_t *plain = world_delta_buffer(node->world) + node->assembly_bytes;
    uint64_t began_ns = node_now_ns(node);
    if (seal_open_body(&node->keys, &context, entry->nonce, body, entry->bytes, entry->tag, plain) != STATUS_OK) {
        if (read_lately(node)) {
            node_await_repair(node, "log: a committed delta does not open with the cluster's key");
        } else {
            node_restart(node, "a committed delta does not open with the cluster's key: it is read anew");
        }
        return;
    }
    node->assembly_open_ns += node_now_ns(node) - began_ns;
    node->assembly_bytes += entry->bytes;
    node->assembly_next++;
    if (node->assembly_next == node->assembly_parts) {
        apply_epoch(node, entry);
    }
}

/* The last entry before an epoch's first part: a checkpoint that falls between its parts stands there. */
static void note_start(struct node *node)
{
    struct checkpoint *start = &node->assembly_start;
    group_applied(node->group, &start->raft_index, &start->raft_term, &start->configuration_index, start->members, &start->member_count);
}

static enum status apply(void *context, uint64_t index, uint64_t term, bool own, const struct group_entry *entry, const uint8_t *body)
{
    struct node *node = context;
    (void)index;
    (void)term;
    if (node->filling || node->disk != STORE_DISK_OK) {
        return STATUS_BUSY;
    }
    if (node->restarting) {
        return STATUS_OK;
    }
    if (entry->type == GROUP_ENTRY_EPOCH && entry->part == 0) {
        note_start(node);
    }
    if (entry->type == GROUP_ENTRY_RESET) {
        discard_parts(node);
        bool anew = world_reset(node->world, entry->epoch) == STATUS_OK;
        node_log(node, LOG_INFO, "the world %s at epoch %llu", anew ? "begins anew" : "was reset already: nothing to do", (unsigned long long)entry->epoch);
    } else if (entry->type != GROUP_ENTRY_EPOCH) {
        node_log(node, LOG_WARNING, "an entry of an unknown type is ignored");
    } else if (!own) {
        apply_part(node, entry, body);
    } else if (entry->part + 1 == entry->parts) {
        world_epoch_committed(node->world, entry->epoch);
        node_agreement_applied(node, false);
    }
    return STATUS_OK;
}

static void lead(void *context, uint64_t term)
{
    struct node *node = context;
    discard_parts(node);
    node->leading = true;
    agreement_forget_reports(&node->agreement);
    node->contradiction.epoch = 0;
    node_log(node, LOG_INFO, "this node leads in term %llu", (unsigned long long)term);
}

/* What was not committed never happened; the log says how much that was. */
static void step_down(struct node *node)
{
    struct world_facts before, after;
    world_facts(node->world, &before);
    world_step_down(node->world);
    world_facts(node->world, &after);
    if (before.host) {
        node_log(node, LOG_INFO, "the world stands at epoch %llu again, %llu epochs in flight undone", (unsigned long long)after.committed,
                 (unsigned long long)(after.undone_epochs - before.undone_epochs));
    }
}

static void lost(void *context)
{
    struct node *node = context;
    if (node->leading) {
        node_log(node, LOG_INFO, "this node no longer leads");
    }
    node->leading = false;
    node->checkpoint_wanted = false; /* the group asks again, when it stands behind whole epochs */
    catchup_stop_serving(node->catchup);
    if (!node->restarting) {
        step_down(node);
    }
    node_move_lost(node);
}

static void send_snapshot(void *context, uint64_t raft_id)
{
    struct node *node = context;
    catchup_send_snapshot(node->catchup, raft_id);
}

static void removed(void *context)
{
    node_become_stranger(context, "this incarnation was removed from the cluster, others have seen a newer state of its disk, or its checkpoint is a lie");
}

static void damaged(void *context, const char *damage)
{
    node_await_repair(context, damage);
}

struct group_ops node_group_ops(struct node *node)
{
    return (struct group_ops){
        .context = node,
        .apply = apply,
        .discard_parts = discard_parts,
        .lead = lead,
        .lost = lost,
        .want_checkpoint = node_want_checkpoint,
        .send_snapshot = send_snapshot,
        .removed = removed,
        .damaged = damaged,
    };
}
