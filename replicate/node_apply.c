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

static void apply_epoch(struct node *node, const struct group_entry *entry)
{
    enum status status = world_apply_delta(node->world, node->assembly_bytes);
    discard_parts(node);
    if (status == STATUS_OK) {
        return;
    }
    node_log(node, LOG_ERROR, "epoch %llu does not apply: %s", (unsigned long long)entry->epoch, status_sentence(status));
    switch (status) {
    case STATUS_CORRUPT:
        node_restart(node, "the image after an epoch has another digest than the host's: it is read anew from the disk");
        break;
    case STATUS_NO_MEMORY:
        node_restart(node, "no frame was left for a page of the world");
        break;
    default: /* an image that missed an epoch must never be resumed */
        node_restart(node, "a committed delta is not the one that comes next: the image is read anew from the disk");
        break;
    }
}

static void apply_part(struct node *node, const struct group_entry *entry, const uint8_t *body)
{
    if (!part_fits(node, entry)) {
        node_log(node, LOG_ERROR, "part %u of %u of epoch %llu does not fit what came before it", (unsigned)entry->part, (unsigned)entry->parts,
                 (unsigned long long)entry->epoch);
        discard_parts(node);
        node_restart(node, "a committed delta is not the one that comes next: the image is read anew from the disk");
        return;
    }
    struct seal_context context = seal_context_delta(entry->world, entry->epoch, entry->part, entry->parts);
    uint8_t *plain = world_delta_buffer(node->world) + node->assembly_bytes;
    if (seal_open_body(&node->keys, &context, entry->nonce, body, entry->bytes, entry->tag, plain) != STATUS_OK) {
        node_restart(node, "a committed delta does not open with the cluster's key: it is read anew");
        return;
    }
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

/* An epoch of our own needs no assembly, unless the leadership is lost before its last part is committed. */
static void own_part_committed(struct node *node, uint64_t index, const struct group_entry *entry)
{
    if (entry->part + 1 == entry->parts) {
        node->own_part_first = node->own_part_last = 0;
        world_epoch_committed(node->world, entry->epoch);
        return;
    }
    node->own_part_first = entry->part == 0 ? index : node->own_part_first;
    node->own_part_last = index;
}

/* The next leader may have the rest of an epoch of ours whose first parts are committed already: it is assembled like any other. */
static void reassemble_own(struct node *node)
{
    uint64_t first = node->own_part_first, last = node->own_part_last;
    node->own_part_first = node->own_part_last = 0;
    for (uint64_t index = first; first != 0 && index <= last; index++) {
        struct group_entry entry;
        const uint8_t *body;
        enum status status = group_read(node->group, index, &entry, &body);
        if (status == STATUS_OK) {
            apply_part(node, &entry, body);
        } else if (status != STATUS_NOT_FOUND) {
            node_restart(node, "a committed part of an epoch cannot be read back from the log");
            return;
        }
    }
}

static enum status apply(void *context, uint64_t index, uint64_t term, bool own, const struct group_entry *entry, const uint8_t *body)
{
    struct node *node = context;
    (void)term;
    if (node->filling) {
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
    } else {
        own_part_committed(node, index, entry);
    }
    return STATUS_OK;
}

static void lead(void *context, uint64_t term)
{
    struct node *node = context;
    discard_parts(node);
    node->own_part_first = node->own_part_last = 0;
    node->leading = true;
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
    catchup_stop_serving(node->catchup);
    if (!node->restarting) {
        step_down(node);
        reassemble_own(node);
    }
    node_move_lost(node);
}

static void want_checkpoint(void *context)
{
    struct node *node = context;
    node->checkpoint_wanted = true;
}

static void send_snapshot(void *context, uint64_t raft_id)
{
    struct node *node = context;
    catchup_send_snapshot(node->catchup, raft_id);
}

static void removed(void *context)
{
    node_become_stranger(context, "this incarnation was removed from the cluster or others have evidence of a newer state of its disk");
}

struct group_ops node_group_ops(struct node *node)
{
    return (struct group_ops){
        .context = node,
        .apply = apply,
        .discard_parts = discard_parts,
        .lead = lead,
        .lost = lost,
        .want_checkpoint = want_checkpoint,
        .send_snapshot = send_snapshot,
        .removed = removed,
    };
}
