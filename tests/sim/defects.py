"""The defects that tests/sim/mutants plants: a name, edits (the file, what stands there once, what stands there instead), the scenarios that look for it.

A file raft/NAME is a source of the raft library: without a replacement the change of our patch that contains the text is taken out (None: all of
the file's)."""
from collections import namedtuple

Defect = namedtuple("Defect", "name edits scenarios")


def own(name, file, old, new, *scenarios):
    return Defect(name, [(file, old, new)], scenarios or ("mix", "moves", "power"))


def several(name, edits, *scenarios):
    return Defect(name, edits, scenarios)


def patch(name, source, text, *scenarios):
    return Defect(name, [("raft/" + source, text, None)], scenarios or ("one-way", "lost-disks", "mix:5", "moves"))


DEFECTS = [
    # -- the gate --
    own("release_before_commit", "replicate/world_epoch.c", "    world->freeze_asked = world->blocked = false;\n    world->last_freeze_ns = now_ns(world);\n",
        "    world->freeze_asked = world->blocked = false;\n    world->last_freeze_ns = now_ns(world);\n    gate_release_epoch(world->gate, epoch);\n", "one-way", "power"),
    own("old_host_keeps_sending", "replicate/world.c", "    gate_discard(world->gate);\n    world->hosting = false;",
        "    gate_release_epoch(world->gate, UINT64_MAX);\n    gate_discard(world->gate);\n    world->hosting = false;", "one-way", "deposed"),
    own("ring_state_outside_the_image", "replicate/world.c", "gate_resume(world->gate, info.transmit_released, info.console_released);",
        "gate_resume(world->gate, gate_transmit_released(world->gate), gate_console_released(world->gate));", "moves", "one-way"),
    own("old_host_keeps_address", "replicate/world.c", "    world->machine->world_address_hold(world->machine->context, false);\n", "", "one-way", "moves"),
    # -- undo and resume --
    own("undo_forgotten", "replicate/world.c", "        image_undo_epoch(world->image, &world_newest_flight(world)->undo);\n", "", "one-way"),
    own("undo_oldest_first", "replicate/world.c", "image_undo_epoch(world->image, &world_newest_flight(world)->undo);",
        "image_undo_epoch(world->image, &world_flight(world, 0)->undo);", "deposed", "one-way"),
    own("undo_open_epoch_forgotten", "replicate/world.c", "    image_undo_open(world->image);\n", "", "deposed", "one-way"),
    own("record_kept_at_step_down", "replicate/world.c", "    world->record = world->committed_record;\n    if (segments_changed) {\n        image_refresh_rights(world->image);\n    }\n    /* The clock",
        "    if (segments_changed) {\n        image_refresh_rights(world->image);\n    }\n    /* The clock", "deposed"),
    own("registers_not_resumed", "replicate/world.c", "    memcpy(world->registers, world->record.registers, sizeof world->registers);\n", "", "mix"),
    own("parts_not_applied_again", "consensus/group_step.c", "            group->apply_again = true;\n", "", "deposed"),
    # -- capture --
    own("frozen_page_written", "replicate/image.c", "    } else if (entry->state == PAGE_FROZEN) {\n        capture_page(image, page);\n    }",
        "    } else if (entry->state == PAGE_FROZEN) {\n        image->frozen_left--;\n    }", "heavy"),
    own("shadow_not_renewed", "replicate/image.c",
        "            update_shadow(image, frame, item_at, image->delta->items.runs - runs_before, image_shadow_content(image, entry->shadow));\n", "",
        "calm", "one-way"),
    own("frozen_page_stays_writable", "replicate/image.c", "        if (entry->rights == PAGE_WRITE) {\n            image->machine->page_protect",
        "        if (entry->rights == PAGE_WRITE && image->frozen[i] % 7 != 0) {\n            image->machine->page_protect", "calm", "busy"),
    # -- the log --
    own("log_flush_skipped", "consensus/log_write.c", "if (log->machine->block_submit(log->machine->context, &log->flush) == STATUS_OK) {\n            log->round = LOG_ROUND_FLUSHING;",
        "if (true) {\n            log->round = LOG_ROUND_FLUSHING;\n            flush_done(&log->flush, STATUS_OK);", "power"),
    own("log_acknowledged_at_once", "consensus/log.c", "    return log->persisted;", "    return log->last;", "aimed"),
    own("torn_batch_accepted", "consensus/log_recover.c", "    bool whole = log_batch_checksum(in_place) == out->checksum;", "    bool whole = true;", "aimed"),
    several("torn_record_accepted", [
        ("consensus/log_recover.c", "    bool whole = log_batch_checksum(in_place) == out->checksum;", "    bool whole = true;"),
        ("consensus/log_recover.c", "out->checksum == log_record_checksum(out)", "true"),
        ("consensus/log_recover.c", "out->body_check == hash64(out->index, at + sizeof *out, out->body_bytes)", "true")], "aimed", "power"),
    own("flushed_batch_may_be_missing", "consensus/log_recover.c", "    if (recovery->flushed == 0 || recovery->flushed < recovery->live) {", "    if (true) {", "bad-disks"),
    own("log_cut_too_far", "consensus/group_apply.c", "    log_cut(group->log, group->raft.trail.offset);", "    log_cut(group->log, group->raft.trail.offset + 1);", "busy"),
    own("sequence_used_twice", "consensus/log_write.c", "    batch.sequence = log->next_sequence++;", "    batch.sequence = log->next_sequence;", "power"),
    # -- term, vote, identity --
    own("vote_flush_skipped", "consensus/vote.c", "} else if (vote->phase == VOTE_WRITTEN && submit(vote, BLOCK_FLUSH)) {\n        vote->phase = VOTE_FLUSHING;",
        "} else if (vote->phase == VOTE_WRITTEN) {\n        flush_done(&vote->request, STATUS_OK);", "aimed"),
    own("vote_not_awaited", "consensus/group_send.c", "    if (!group_running(group) || !vote_durable(group->vote)) {", "    if (!group_running(group)) {", "aimed"),
    own("boot_number_not_raised", "consensus/vote.c", "    vote->state.boot_number++;", "    vote->state.boot_number += vote->state.boot_number == 0;", "power"),
    own("blank_disk_keeps_its_id", "replicate/node_disk.c", "        node->machine->entropy(node->machine->context, &incarnation, 7);", "        incarnation = node->boot->node_number;",
        "lost-disks", "lost-disks:5"),
    own("stale_disk_accepted", "consensus/group_receive.c", "    if (evidence != NULL && (another_past(hello, evidence)", "    if (evidence == &(struct disk_evidence){0} && (another_past(hello, evidence)",
        "bad-disks", "bad-disks:5"),
    own("boots_have_no_names", "consensus/group_receive.c", "hello->lives[since] != evidence->life", "evidence->life == 1", "old-disks", "old-disks:5"),
    own("replaced_id_stays_member", "consensus/membership.c", "            return remove_member(group, other);", "            break;", "lost-disks"),
    own("late_hello_taken_for_stale", "consensus/group_receive.c", "hello->last_index < evidence->match_index && !same_life", "hello->last_index < evidence->match_index", "moves",
        "mix:5"),
    # -- the image on a standby, checkpoints, catch-up --
    own("barrier_not_awaited", "consensus/group_apply.c", "group->barrier_index != 0 && group->applied_index >= group->barrier_index", "group->barrier_index != 0", "one-way", "power"),
    own("checkpoint_without_copies", "replicate/node.c", "    store_page_changing(node->store, page, captured);", "    (void)node;\n    (void)page;\n    (void)captured;", "power",
        "busy"),
    own("checkpoint_between_parts", "replicate/node_checkpoint.c", "    if (!hosting && node->assembly_next != 0) {", "    if (false) {", "heavy"),
    own("checkpoint_of_a_busy_host", "replicate/node_checkpoint.c", "    if (hosting && !world_pipeline_empty(node->world)) {", "    if (false) {", "aimed", "busy"),
    own("superblock_before_flush", "replicate/store_commit.c", "store->writes_under_way == 0 && !store->write_failed && control_submit(store, BLOCK_FLUSH)",
        "store->writes_under_way == 0 && !store->write_failed", "aimed", "busy"),
    several("checkpoint_frees_a_live_slot", [
        ("replicate/store_map.c", "    *entry = reference != NULL ? *reference : no_page;",
         "    uint32_t live = store->current.pages[page].slot;\n    if (reference == NULL && live != 0 && (store->slot_flags[live] & SLOT_CURRENT) != 0) {\n"
         "        slot_unmark(store, live, SLOT_CURRENT);\n    }\n    *entry = reference != NULL ? *reference : no_page;"),
        ("replicate/store_map.c", "    if (current_slot != 0 && adopt) {", "    if (current_slot != 0 && adopt && (store->slot_flags[current_slot] & SLOT_CURRENT) != 0) {")],
        "aimed", "busy"),
    own("installed_image_not_filled", "replicate/node.c", "    node_begin_filling(node);\n}\n\n/* -- the world's",
        "}\n\n/* -- the world's", "lost-disks", "busy"),
    own("epoch_applied_before_its_last_entry", "replicate/node_apply.c", "    if (node->assembly_next == node->assembly_parts) {", "    if (true) {", "heavy"),
    own("epoch_committed_by_its_first_entry", "replicate/node_apply.c", "    } else if (entry->part + 1 == entry->parts) {", "    } else if (entry->part == 0) {", "heavy"),
    own("digest_not_compared", "replicate/world.c", "    return digest == delta.digest ? STATUS_OK : STATUS_REFUSED;", "    return STATUS_OK;", "flips"),
    own("idle_world_makes_epochs", "replicate/world_epoch.c", "    if (world->dirty_since_ns == 0) {\n        return UINT64_MAX;\n    }",
        "    if (world->dirty_since_ns == 0) {\n        return world->last_freeze_ns + 1000000000u;\n    }", "calm"),
    # -- the channel --
    own("altered_change_accepted", "consensus/group_receive.c", "seal_check_members(group->config.keys, body, entry->body_bytes, entry->entry.tag);", "STATUS_OK;", "changes", "changes:5"),
    own("altered_message_accepted", "consensus/peers.c", "        if (status != STATUS_OK && lane->state == LANE_UP) {\n            lane_violated(peers, lane, \"message\", status);",
        "        if (status != STATUS_OK && lane->state == LANE_UP) {", "altered"),
    several("channel_replay_accepted", [
        ("crypto/channel.c", "    if (crypto_secretstream_xchacha20poly1305_pull(&channel->incoming.state, channel->front,",
         "    crypto_secretstream_xchacha20poly1305_state same = channel->incoming.state;\n    if (crypto_secretstream_xchacha20poly1305_pull(&same, channel->front,"),
        ("crypto/channel.c", "    CHECK(crypto_secretstream_xchacha20poly1305_push(&channel->outgoing.state,",
         "    crypto_secretstream_xchacha20poly1305_state same = channel->outgoing.state;\n    CHECK(crypto_secretstream_xchacha20poly1305_push(&same,")], "bad-wire"),
    # -- the raft library: its own rules, and each of our changes taken out --
    own("raft_half_is_a_majority", "raft/replication.c", "votes > n_voters / 2", "votes + 1 > n_voters / 2", "one-way", "power"),
    patch("patch_01", "replication.c", "membershipUncommittedChange(r, index + i, entry)", "lost-disks"),
    patch("patch_02", "membership.c", "the previous one must have been committed by the leader", "lost-disks", "lost-disks:5"),
    patch("patch_04", "convert.c", "r->current_term += 1", "power:1"),
    patch("patch_05", "convert.c", "(void)isDqliteUnitTest", "calm"),
    # A follower that has compacted what the leader asks for rejects it: with both out the leader believes that of entries which it knows are there.
    several("stale_rejection_accepted", [("raft/progress.c", None, None), ("raft/recv_append_entries.c", "was compacted into our snapshot", None)],
            "aimed", "crossed"),
    patch("patch_10", "timeout.c", "candidate_state.in_pre_vote = r->pre_vote", "crossed", "one-way"),
    patch("patch_15", "replication.c", "if (last_new_entry > r->commit_index)", "busy:5"),
]
