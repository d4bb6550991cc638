"""The defects that tests/sim/mutants plants: a name, the file, what stands there and what stands there instead, the scenarios that look for it.

A file raft/NAME is a source of the raft library: without a replacement the change of our patch that contains the text is taken out (None: all of
the file's)."""
from collections import namedtuple

Defect = namedtuple("Defect", "name file old new scenarios")


def own(name, file, old, new, *scenarios):
    return Defect(name, file, old, new, scenarios or ("mix", "moves", "power"))


def patch(name, source, text, *scenarios):
    return Defect(name, "raft/" + source, text, None, scenarios or ("one-way", "lost-disks", "mix:5", "moves"))


DEFECTS = [
    # -- the gate --
    own("release_before_commit", "replicate/world_epoch.c", "    world->freeze_asked = world->blocked = false;\n    world->last_freeze_ns = now_ns(world);\n",
        "    world->freeze_asked = world->blocked = false;\n    world->last_freeze_ns = now_ns(world);\n    gate_release_epoch(world->gate, epoch);\n", "one-way", "power"),
    own("old_host_keeps_address", "replicate/world.c", "    world->machine->world_address_hold(world->machine->context, false);\n", "", "one-way", "moves"),
    # -- undo and resume --
    own("undo_forgotten", "replicate/world.c", "        image_undo_epoch(world->image, &world_newest_flight(world)->undo);\n", "", "one-way"),
    own("undo_oldest_first", "replicate/world.c", "image_undo_epoch(world->image, &world_newest_flight(world)->undo);",
        "image_undo_epoch(world->image, &world_flight(world, 0)->undo);", "deposed", "one-way"),
    own("undo_open_epoch_forgotten", "replicate/world.c", "    image_undo_open(world->image);\n", "", "deposed", "one-way"),
    own("record_kept_at_step_down", "replicate/world.c", "    world->record = world->committed_record;\n    if (segments_changed) {\n        image_refresh_rights(world->image);\n    }\n    /* The clock",
        "    if (segments_changed) {\n        image_refresh_rights(world->image);\n    }\n    /* The clock", "deposed", "deposed:5"),
    own("registers_not_resumed", "replicate/world.c", "    memcpy(world->registers, world->record.registers, sizeof world->registers);\n", "", "mix"),
    own("parts_not_applied_again", "consensus/group_step.c", "            group->apply_again = true;\n", "", "deposed", "deposed:5"),
    # -- capture --
    own("frozen_page_written", "replicate/image.c", "    } else if (entry->state == PAGE_FROZEN) {\n        capture_page(image, page);\n    }",
        "    } else if (entry->state == PAGE_FROZEN) {\n        image->frozen_left--;\n    }", "calm", "busy"),
    own("shadow_not_renewed", "replicate/image.c",
        "            memcpy(image_shadow_content(image, entry->shadow), frame, REPLICATE_PAGE_BYTES);\n        }\n    }\n    if (entry->shadow",
        "        }\n    }\n    if (entry->shadow", "calm", "one-way"),
    own("frozen_page_stays_writable", "replicate/image.c", "        if (entry->rights == PAGE_WRITE) {\n            image->machine->page_protect",
        "        if (entry->rights == PAGE_WRITE && image->frozen[i] % 7 != 0) {\n            image->machine->page_protect", "calm", "busy"),
    # -- the log --
    own("log_flush_skipped", "consensus/log_write.c", "if (log->machine->block_submit(log->machine->context, &log->flush) == STATUS_OK) {\n            log->round = LOG_ROUND_FLUSHING;",
        "if (true) {\n            log->round = LOG_ROUND_FLUSHING;\n            flush_done(&log->flush, STATUS_OK);", "power"),
    own("log_acknowledged_at_once", "consensus/log.c", "    return log->persisted;", "    return log->last;", "power"),
    own("torn_batch_accepted", "consensus/log_recover.c", "    bool whole = log_batch_checksum(in_place) == out->checksum;", "    bool whole = true;", "power"),
    own("torn_record_accepted", "consensus/log_recover.c", "out->checksum == log_record_checksum(out)", "true", "power", "bad-disks"),
    own("flushed_batch_may_be_missing", "consensus/log_recover.c", "    if (recovery->flushed == 0 || recovery->flushed < recovery->live) {", "    if (true) {", "power",
        "bad-disks"),
    own("log_cut_too_far", "consensus/group_apply.c", "    log_cut(group->log, group->raft.trail.offset);", "    log_cut(group->log, group->raft.trail.offset + 1);", "busy"),
    own("sequence_used_twice", "consensus/log_write.c", "    batch.sequence = log->next_sequence++;", "    batch.sequence = log->next_sequence;", "power"),
    # -- term, vote, identity --
    own("vote_flush_skipped", "consensus/vote.c", "} else if (vote->phase == VOTE_WRITTEN && submit(vote, BLOCK_FLUSH)) {\n        vote->phase = VOTE_FLUSHING;",
        "} else if (vote->phase == VOTE_WRITTEN) {\n        flush_done(&vote->request, STATUS_OK);", "power", "mix"),
    own("vote_not_awaited", "consensus/group_send.c", "    if (!group_running(group) || !vote_durable(group->vote)) {", "    if (!group_running(group)) {", "power",
        "mix"),
    own("boot_number_not_raised", "consensus/vote.c", "    vote->state.boot_number++;", "    vote->state.boot_number += vote->state.boot_number == 0;", "bad-disks", "bad-disks:5", "mix"),
    own("blank_disk_keeps_its_id", "replicate/node.c", "        node->machine->entropy(node->machine->context, &incarnation, 7);", "        incarnation = node->boot->node_number;",
        "lost-disks", "lost-disks:5"),
    own("stale_disk_accepted", "consensus/group_receive.c", "    if (evidence != NULL && (hello->boot_number < evidence->boot_number", "    if (evidence == &(struct disk_evidence){0} && (hello->boot_number < evidence->boot_number",
        "bad-disks", "bad-disks:5"),
    own("replaced_id_stays_member", "consensus/membership.c", "            return remove_member(group, other);", "            break;", "lost-disks"),
    own("id_not_checked_in_messages", "consensus/group_receive.c", "message->front.from != peer->raft_id || message->front.to != group->raft_id", "false", "lost-disks", "lost-disks:5",
        "bad-disks"),
    # -- the image on a standby, checkpoints, catch-up --
    own("barrier_not_awaited", "consensus/group_apply.c", "group->barrier_index != 0 && group->applied_index >= group->barrier_index", "group->barrier_index != 0", "one-way", "power"),
    own("checkpoint_without_copies", "replicate/node.c", "    store_page_changing(node->store, page, captured);", "    (void)node;\n    (void)page;\n    (void)captured;", "power",
        "busy"),
    own("checkpoint_between_parts", "replicate/node.c", "    if (!hosting && node->assembly_next != 0) {", "    if (false) {", "power", "moves"),
    own("checkpoint_of_a_busy_host", "replicate/node.c", "    if (hosting && !world_pipeline_empty(node->world)) {", "    if (false) {", "power", "busy"),
    own("superblock_before_flush", "replicate/store_commit.c", "store->writes_under_way == 0 && !store->write_failed && control_submit(store, BLOCK_FLUSH)",
        "store->writes_under_way == 0 && !store->write_failed", "power"),
    own("installed_image_not_filled", "replicate/node.c", "    node->filling = true;\n    store_fill_restart(node->store);\n}\n\n/* -- the world's",
        "}\n\n/* -- the world's", "lost-disks", "busy"),
    own("deltas_out_of_order", "replicate/world.c", "    if (delta.epoch != world->epoch + 1) {", "    if (false) {", "lost-disks", "moves"),
    own("idle_world_makes_epochs", "replicate/world_epoch.c", "    if (world->dirty_since_ns == 0) {\n        return UINT64_MAX;\n    }",
        "    if (world->dirty_since_ns == 0) {\n        return world->last_freeze_ns + 1000000000u;\n    }", "calm"),
    # -- the channel --
    own("altered_message_accepted", "consensus/peers.c", "        if (status != STATUS_OK && lane->state == LANE_UP) {\n            lane_violated(peers, lane, \"message\", status);",
        "        if (status != STATUS_OK && lane->state == LANE_UP) {", "bad-wire"),
    # -- the raft library: its own rules, and each of our changes taken out --
    Defect("raft_half_is_a_majority", "raft/replication.c", "votes > n_voters / 2", "votes + 1 > n_voters / 2", ("one-way", "power")),
    patch("patch_01", "replication.c", "membershipUncommittedChange(r, index + i, entry)", "lost-disks", "mix:5"),
    patch("patch_03", "recv_append_entries.c", "if (result->rejected == 0)"),
    patch("patch_04", "convert.c", "r->current_term += 1"),
    patch("patch_06", "progress.c", None),
    patch("patch_07", "recv_append_entries.c", "was compacted into our snapshot", "busy", "lost-disks"),
    patch("patch_09", "recv_request_vote.c", None),
    patch("patch_12", "election.c", None, "lost-disks", "mix"),
    patch("patch_13", "recv_request_vote_result.c", None, "one-way", "mix"),
]
