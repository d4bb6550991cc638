/* Checkpoints of this node's own image: when one begins, what it covers, and what follows when it is durable. */
#include "replicate/node_internal.h"

void node_want_checkpoint(void *context)
{
    struct node *node = context;
    node->checkpoint_wanted = true;
}

/* Begin the wanted checkpoint when the image's captured content is that of a committed epoch. */
static void begin_checkpoint(struct node *node)
{
    bool hosting = world_hosting(node->world);
    if (hosting && !world_pipeline_empty(node->world)) {
        world_hold_freezes(node->world, true);
        return;
    }
    struct world_facts facts;
    world_facts(node->world, &facts);
    struct checkpoint checkpoint = {0};
    if (!hosting && node->assembly_next != 0) {
        /* Between the parts of an epoch the image stands before the first of them. To wait for the last could be to wait for ever: the log may have no
         * room for it. */
        checkpoint = node->assembly_start;
    } else {
        group_applied(node->group, &checkpoint.raft_index, &checkpoint.raft_term, &checkpoint.configuration_index, checkpoint.members,
                      &checkpoint.member_count);
    }
    if (checkpoint.configuration_index > checkpoint.raft_index) {
        /* Applying has gone back behind a change of members that stays in force: a disk that says so could not be started from. What follows soon, a
         * barrier at the latest, ends that. */
        return;
    }
    checkpoint.epoch = facts.committed;
    checkpoint.digest = facts.digest;
    checkpoint.record = *world_committed_record(node->world);
    enum status status = store_checkpoint_begin(node->store, world_image(node->world), &checkpoint);
    world_hold_freezes(node->world, false);
    if (status == STATUS_NO_SPACE) {
        catchup_yield_pin(node->catchup);
        node_log(node, LOG_WARNING, "the page store is full: a checkpoint that was kept for a peer is given up");
    }
    if (status != STATUS_OK && status != STATUS_BUSY) {
        node->checkpoint_retry_ns = node_now_ns(node) + (uint64_t)NODE_CHECKPOINT_RETRY_MS * 1000000u;
    }
    node->checkpoint_wanted = false;
}

static void step_checkpoint(struct node *node)
{
    store_hurry(node->store, group_log_nearly_full(node->group));
    enum status status = store_checkpoint_step(node->store);
    if (status == STATUS_EMPTY) {
        const struct checkpoint *checkpoint = store_checkpoint(node->store);
        node->checkpoint_wanted = false; /* what was asked for meanwhile; the group asks again if this one was not enough */
        group_checkpoint_done(node->group, checkpoint->raft_index, checkpoint->raft_term);
        node_log(node, LOG_INFO, "checkpoint of epoch %llu is durable", (unsigned long long)checkpoint->epoch);
    } else if (status == STATUS_CORRUPT) {
        node_restart(node, "a page in memory no longer has the hash it was captured with");
    } else if (status != STATUS_OK) {
        node_log(node, LOG_ERROR, "the checkpoint failed: %s; the old one is intact", status_sentence(status));
        node->checkpoint_retry_ns = node_now_ns(node) + (uint64_t)NODE_CHECKPOINT_RETRY_MS * 1000000u;
    }
}

void node_checkpoint_tick(struct node *node)
{
    if (store_failed(node->store)) {
        node_stand_aside(node, STORE_DISK_FAILED, "a superblock could not be written: no checkpoint can be made or taken any more");
    } else if (store_checkpointing(node->store)) {
        step_checkpoint(node);
    } else if (node->checkpoint_wanted && !node->filling && !catchup_receiving(node->catchup) && node_now_ns(node) >= node->checkpoint_retry_ns) {
        begin_checkpoint(node);
    }
}
