/* What is committed, in order; the beginning of our leadership; checkpoints and the cutting of the log. */
#include "consensus/group_internal.h"

#include <stdio.h>
#include <string.h>

/* How often an entry is offered again to a node that still reads its image. */
enum { APPLY_RETRY_NS = 1000000 };

static void entry_is_bad(struct group *group, uint64_t index, enum status status)
{
    char what[100];
    snprintf(what, sizeof what, "log: entry %llu, which is committed, cannot be read back", (unsigned long long)index);
    group_disk_is_bad(group, what, status);
}

/* -- applying -- */

static void apply_change(struct group *group, uint64_t index, const struct log_view *view)
{
    if (index <= group->configuration_index) {
        return; /* applied before; see apply_again */
    }
    enum status status = members_decode(view->body, view->body_bytes, group->members, &group->member_count);
    CHECK(status == STATUS_OK); /* checked before it entered the log */
    group->configuration_index = index;
    struct raft_event event = {.type = RAFT_CONFIGURATION, .configuration = {.index = index}};
    group_configuration_make(group->members, group->member_count, &event.configuration.conf);
    int error = group_step(group, &event);
    CHECK(error == 0);
    group->membership.retry_ns = 0;
}

/* Apply the next entry. False: it must be offered again later, or the group has stopped. */
static bool apply_next(struct group *group, size_t *bytes)
{
    uint64_t index = group->applied_index + 1;
    struct log_view view;
    enum status status = log_read(group->log, index, group->apply_scratch, &view);
    if (status != STATUS_OK) {
        entry_is_bad(group, index, status);
        return false;
    }
    const struct group_ops *ops = &group->config.ops;
    switch (view.type) {
    case LOG_COMMAND: {
        bool own = group->led && view.term == raft_current_term(&group->raft);
        if (ops->apply(ops->context, index, view.term, own, &view.entry, view.body) == STATUS_BUSY) {
            group->apply_busy = true;
            group->apply_retry_ns = group_now_ns(group) + APPLY_RETRY_NS;
            return false;
        }
        break;
    }
    case LOG_BARRIER:
        ops->discard_parts(ops->context);
        break;
    case LOG_CHANGE:
        break;
    }
    *bytes += view.body_bytes;
    group->applied_index = index;
    group->applied_term = view.term;
    if (view.type == LOG_CHANGE) {
        apply_change(group, index, &view); /* last: it may end our leadership, and send us back */
    }
    return true;
}

/* Of an epoch of which only the first parts were committed under our leadership nothing was assembled, as the host has its effect already. Now that it is
 * undone, what follows of it will be another's: go back to before its first part. No checkpoint lies between parts, so the log still has them. */
static void apply_again(struct group *group)
{
    group->apply_again = false;
    uint64_t index = group->applied_index;
    bool parts_before = true;
    while (parts_before && index >= log_first_index(group->log) && index > group->start.last_index) {
        struct log_view view;
        enum status status = log_read(group->log, index, group->apply_scratch, &view);
        if (status != STATUS_OK) {
            entry_is_bad(group, index, status);
            return;
        }
        if (view.type == LOG_COMMAND && view.entry.part + 1 >= view.entry.parts) {
            return; /* a whole epoch ends here */
        }
        if (view.type == LOG_BARRIER) {
            return;
        }
        parts_before = view.type != LOG_COMMAND || view.entry.part > 0;
        index--;
    }
    if (!parts_before) {
        group->applied_index = index;
        group->applied_term = log_term_of(group->log, index);
    }
}

static void maybe_lead(struct group *group)
{
    if (group_is_leader(group) && !group->led && group->barrier_index != 0 && group->applied_index >= group->barrier_index) {
        group->led = true;
        group->config.ops.lead(group->config.ops.context, raft_current_term(&group->raft));
    }
}

bool group_apply_pending(const struct group *group)
{
    return group->applied_index < raft_commit_index(&group->raft);
}

/* Is there an entry to apply, at the place where applying goes on? */
static bool prepare_apply(struct group *group)
{
    if (group->apply_again) {
        apply_again(group);
    }
    return group_running(group) && group_apply_pending(group);
}

void group_apply_committed(struct group *group)
{
    size_t bytes = 0;
    if (!prepare_apply(group) || (group->apply_busy && group_now_ns(group) < group->apply_retry_ns)) {
        return;
    }
    group->apply_busy = false;
    uint64_t begun = group_now_ns(group);
    for (unsigned i = 0; i < GROUP_APPLY_ENTRIES_MAX && bytes < GROUP_APPLY_BYTES_MAX && group_now_ns(group) - begun < GROUP_APPLY_US_MAX * 1000u &&
                         prepare_apply(group);
         i++) {
        if (!apply_next(group, &bytes)) {
            return;
        }
        maybe_lead(group);
    }
}

void group_applied(const struct group *group, uint64_t *index, uint64_t *term, uint64_t *configuration_index, struct disk_member *members, uint32_t *count)
{
    *index = group->applied_index;
    *term = group->applied_term;
    *configuration_index = group->configuration_index;
    memcpy(members, group->members, group->member_count * sizeof *members);
    *count = group->member_count;
}

/* -- checkpoints -- */

void group_checkpoint_done(struct group *group, uint64_t index, uint64_t term)
{
    if (!group_running(group) || index <= group->raft.trail.snapshot.index) {
        return;
    }
    group->checkpoint_index = index;
    group->checkpoint_term = term;
    group->poked = true;
}

void group_hold_log(struct group *group, uint64_t index)
{
    group->hold_index = index;
    group->poked = true;
}

void group_image_missing(struct group *group, bool missing)
{
    group->image_missing = missing;
    group->poked = true;
}

/* The first entry that stays when the log is cut behind a checkpoint at `checkpoint`: what followers that lag a little may still want, as long as
 * the region is not short of space; and what a transfer holds, as long as that leaves half of the region. */
static uint64_t first_to_keep(const struct group *group, uint64_t checkpoint)
{
    const struct log *log = group->log;
    uint64_t quarter = log_region_bytes(log) / 4, keep = checkpoint + 1, behind = log_bytes_from(log, keep);
    uint64_t least = group->hold_index != 0 && group->hold_index < keep ? group->hold_index : keep;
    while (keep > log_first_index(log) && keep - 1 > group->unreadable_index) {
        uint64_t bound = keep > least ? 2 * quarter : quarter;
        if (log_bytes_from(log, keep - 1) - behind > bound || checkpoint + 1 - keep >= LOG_ENTRIES_MAX / 4) {
            break;
        }
        keep--;
    }
    return keep;
}

bool group_contradicts(const struct group *group, uint64_t index, uint64_t term)
{
    uint64_t ours = log_term_of(group->log, index);
    return group->library_open && index <= raft_commit_index(&group->raft) && ours != 0 && ours != term;
}

/* The disk's checkpoint ends with an entry that is not ours: it was a lie, and the next start, held to it, would drop what the log has. So this does not wait
 * for a repair as other damage does. */
static void checkpoint_is_bad(struct group *group, uint64_t index)
{
    group_say(group, LOG_ERROR, "the checkpoint contradicts entry %llu, which is committed; this node joins anew", (unsigned long long)index);
    group_give_up(group);
}

static void take_snapshot(struct group *group)
{
    uint64_t index = group->checkpoint_index;
    if (index > log_persisted(group->log) || index > group->applied_index) {
        return; /* the library may not be told of a snapshot beyond what is persisted */
    }
    group->checkpoint_index = 0;
    if (index <= group->raft.trail.snapshot.index || index < log_first_index(group->log)) {
        return;
    }
    if (group_contradicts(group, index, group->checkpoint_term)) {
        checkpoint_is_bad(group, index);
        return;
    }
    uint64_t keep = first_to_keep(group, index);
    struct raft_event event = {.type = RAFT_SNAPSHOT,
                               .snapshot = {.metadata = {.index = index, .term = group->checkpoint_term, .configuration_index = group->configuration_index},
                                            .trailing = (unsigned)(index + 1 - keep)}};
    group_configuration_make(group->members, group->member_count, &event.snapshot.metadata.configuration);
    int error = group_step(group, &event);
    CHECK(error == 0);
    log_cut(group->log, group->raft.trail.offset);
    group->used_after_cut = log_used_bytes(group->log);
}

bool group_log_nearly_full(const struct group *group)
{
    return log_used_bytes(group->log) > log_region_bytes(group->log) / 8 * 6;
}

static bool checkpoint_wanted(const struct group *group)
{
    const struct log *log = group->log;
    uint64_t entries = log_last_index(log) - (log_first_index(log) - 1), eighth = log_region_bytes(log) / 8;
    /* What a cut had to leave is not asked for again before a good deal has come on top of it. */
    bool grown = log_used_bytes(log) > group->used_after_cut + eighth || group_log_nearly_full(group);
    bool bytes_used = log_used_bytes(log) > 4 * eighth && grown;
    bool entries_used = entries > LOG_ENTRIES_MAX / 2 && group->applied_index > group->raft.trail.snapshot.index + LOG_ENTRIES_MAX / 8;
    /* Who needs an entry that cannot be read gets a checkpoint instead. */
    return bytes_used || entries_used || group->unreadable_index >= log_first_index(log);
}

void group_checkpoint_tick(struct group *group)
{
    if (group->checkpoint_index != 0) {
        take_snapshot(group);
    }
    if (!group_running(group)) {
        return;
    }
    if (!group->apply_again && checkpoint_wanted(group) && group->applied_index > group->raft.trail.snapshot.index && group->checkpoint_index == 0) {
        group->config.ops.want_checkpoint(group->config.ops.context);
    }
}

void group_snapshot_describe(const struct group *group, struct group_snapshot *out)
{
    memset(out, 0, sizeof *out);
    out->leader_id = group->raft_id;
    out->term = raft_current_term(&group->raft);
    out->last_index = group->applied_index;
    out->last_term = group->applied_term;
    out->configuration_index = group->configuration_index;
    out->member_count = group->member_count;
    memcpy(out->members, group->members, sizeof out->members);
}

/* -- a checkpoint of a peer -- */

enum status group_install(struct group *group, const struct group_snapshot *snapshot)
{
    if (snapshot->last_index == 0 || snapshot->last_term == 0 || snapshot->configuration_index == 0 ||
        snapshot->configuration_index > snapshot->last_index || !members_valid(snapshot->members, snapshot->member_count)) {
        return STATUS_INVALID;
    }
    if (!group_running(group) || group_is_leader(group)) {
        return STATUS_REFUSED;
    }
    uint64_t index = snapshot->last_index;
    if (index + 1 < log_first_index(group->log)) {
        return STATUS_STALE;
    }
    if (group_contradicts(group, index, snapshot->last_term)) {
        checkpoint_is_bad(group, index);
        return STATUS_CORRUPT;
    }
    raft_close(&group->raft, NULL);
    group->library_open = false;
    group_queues_clear(group);
    if (log_term_of(group->log, index) == snapshot->last_term && index <= log_persisted(group->log)) {
        log_drop_unpersisted(group->log); /* the library takes what it is started with for durable */
        log_cut(group->log, index);
    } else {
        log_restart(group->log, index, snapshot->last_term);
    }
    char reason[REASON_BYTES_MAX];
    enum status status = group_check_changes(group, reason);
    if (status != STATUS_OK) {
        group_disk_is_bad(group, reason, status); /* before anything is called applied that the image does not have yet */
        return status;
    }
    if (vote_term(group->vote) < snapshot->last_term) {
        vote_set(group->vote, snapshot->last_term, 0);
    }
    group->start = *snapshot;
    group->joining = false;
    group->checkpoint_index = 0;
    group->applied_index = index;
    group->applied_term = snapshot->last_term;
    group->configuration_index = snapshot->configuration_index;
    group->member_count = snapshot->member_count;
    memcpy(group->members, snapshot->members, sizeof group->members);
    group->apply_busy = group->apply_again = false;
    status = group_open_library(group, reason);
    if (status != STATUS_OK) {
        group_disk_is_bad(group, reason, status);
    }
    return status;
}
