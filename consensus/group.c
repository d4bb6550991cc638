/* Life of a group.
 *
 *   OFF        group_start has read the disk                       STARTING
 *   STARTING   the boot number is durable                          RUNNING    begin_running
 *   RUNNING    removed, refused as stale                           OFF        group_give_up, then ops.removed with the next tick
 *   RUNNING    what the disk holds is bad                          OFF        group_disk_is_bad, then ops.damaged with the next tick
 *   any        the disk fails a write                              OFF        disk_failed; until group_start */
#include "consensus/group_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "consensus/raft_heap.h"
#include "include/machine_log.h"

/* How often messages that found no room on their link look again. */
enum { PUMP_RETRY_NS = 1000000 };

void group_say(const struct group *group, enum log_level level, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    machine_log_arguments(group->config.machine, level, format, arguments);
    va_end(arguments);
}

void group_address_of(uint64_t raft_id, char address[GROUP_ADDRESS_BYTES])
{
    snprintf(address, GROUP_ADDRESS_BYTES, "%llx", (unsigned long long)raft_id);
}

/* -- create, start, stop -- */

enum status group_create(struct group **out, const struct group_config *config)
{
    const struct machine *machine = config->machine;
    struct group *group = machine->reserve(machine->context, sizeof *group, _Alignof(struct group));
    if (group == NULL) {
        return STATUS_NO_MEMORY;
    }
    group->config = *config;
    memcpy(group->cluster_id, config->boot->cluster_id, sizeof group->cluster_id);
    group->apply_scratch = machine->reserve(machine->context, ENTRY_BODY_BYTES_MAX, 64);
    group->send_scratch = machine->reserve(machine->context, APPEND_BYTES_MAX + ENTRY_BODY_BYTES_MAX, 64);
    if (group->apply_scratch == NULL || group->send_scratch == NULL) {
        return STATUS_NO_MEMORY;
    }
    enum status status = log_create(&group->log, machine, LOG_REGION_BYTES_MAX);
    if (status == STATUS_OK) {
        status = vote_create(&group->vote, machine);
    }
    if (status != STATUS_OK) {
        return status;
    }
    raft_heap_bound(RAFT_HEAP_BYTES_MAX);
    *out = group;
    return STATUS_OK;
}

void group_set_peers(struct group *group, struct peers *peers)
{
    group->config.peers = peers;
}

void group_stop(struct group *group)
{
    if (group->library_open) {
        raft_close(&group->raft, NULL);
        group->library_open = false;
        group_queues_clear(group);
        group->was_leader = false;
        if (group->led) {
            group->led = false;
            group->config.ops.lost(group->config.ops.context);
        }
    }
    group->phase = GROUP_OFF;
}

/* The peers know us by what we were: present ourselves anew. */
static void leave(struct group *group)
{
    group_stop(group);
    for (unsigned node = 1; node <= group->config.boot->node_count; node++) {
        if (node != group->config.boot->node_number) {
            peers_reset(group_peers(group), node);
        }
    }
    group->poked = true;
}

void group_give_up(struct group *group)
{
    leave(group);
    group->removed = true;
}

void group_disk_is_bad(struct group *group, const char *what, enum status status)
{
    if (status == STATUS_CORRUPT) {
        leave(group);
        snprintf(group->damage, sizeof group->damage, "%s", what);
        return;
    }
    group_say(group, LOG_ERROR, "%s (%s); this node stands aside until it is started again", what, status_sentence(status));
    group->disk_failed = true;
    group_stop(group);
}

static bool superblock_usable(const struct disk_superblock *superblock)
{
    if (raft_id_incarnation(raft_id_make(superblock->node_number, superblock->incarnation)) == 0 || superblock->log_bytes < LOG_REGION_BYTES_MIN ||
        superblock->log_bytes > LOG_REGION_BYTES_MAX || superblock->log_bytes % DISK_BLOCK_BYTES != 0) {
        return false;
    }
    if (superblock->joining != 0) {
        return true;
    }
    return superblock->raft_index > 0 && superblock->raft_index <= GROUP_NUMBER_MAX && superblock->raft_term > 0 &&
           superblock->raft_term <= GROUP_NUMBER_MAX && superblock->configuration_index > 0 &&
           superblock->configuration_index <= superblock->raft_index && members_valid(superblock->members, superblock->member_count);
}

static void take_checkpoint(struct group *group, const struct disk_superblock *superblock)
{
    memset(&group->start, 0, sizeof group->start);
    group->joining = superblock->joining != 0;
    if (!group->joining) {
        group->start.last_index = superblock->raft_index;
        group->start.last_term = superblock->raft_term;
        group->start.configuration_index = superblock->configuration_index;
        group->start.member_count = superblock->member_count;
        memcpy(group->start.members, superblock->members, sizeof group->start.members);
    }
    group->applied_index = group->start.last_index;
    group->applied_term = group->start.last_term;
    group->configuration_index = group->start.configuration_index;
    group->member_count = group->start.member_count;
    memcpy(group->members, group->start.members, sizeof group->members);
}

enum status group_read_change(struct group *group, uint64_t index, struct disk_member members[DISK_MEMBERS_MAX], uint32_t *count, char reason[REASON_BYTES_MAX])
{
    struct log_view view;
    enum status status = log_read(group->log, index, group->apply_scratch, &view);
    if (status == STATUS_OK) {
        status = seal_check_members(group->config.keys, view.body, view.body_bytes, view.entry.tag);
    }
    if (status == STATUS_OK) {
        status = members_decode(view.body, view.body_bytes, members, count);
    }
    if (status != STATUS_OK) {
        snprintf(reason, REASON_BYTES_MAX, "log entry %llu, a change of members, cannot be read: %s", (unsigned long long)index, status_sentence(status));
        return status == STATUS_IO_ERROR ? STATUS_IO_ERROR : STATUS_CORRUPT;
    }
    return STATUS_OK;
}

enum status group_check_changes(struct group *group, char reason[REASON_BYTES_MAX])
{
    for (uint64_t index = log_first_index(group->log); index <= log_last_index(group->log); index++) {
        if (log_type_of(group->log, index) != LOG_CHANGE) {
            continue;
        }
        struct disk_member members[DISK_MEMBERS_MAX];
        uint32_t count = 0;
        enum status status = group_read_change(group, index, members, &count, reason);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

static enum status read_disk(struct group *group, const struct disk_superblock *superblock, char reason[REASON_BYTES_MAX])
{
    bool fresh = false;
    enum status status = vote_open(group->vote, group->cluster_id, group->raft_id, &fresh);
    if (status != STATUS_OK) {
        snprintf(reason, REASON_BYTES_MAX, "the vote slots (term and vote, blocks 2 and 3) cannot be read: %s", status_sentence(status));
        return status == STATUS_BUSY || status == STATUS_IO_ERROR ? status : STATUS_CORRUPT;
    }
    status = log_open(group->log, superblock->log_offset, superblock->log_bytes, group->raft_id, group->start.last_index, group->start.last_term, reason);
    if (status != STATUS_OK) {
        return status;
    }
    if (group->joining && log_last_index(group->log) > 0) {
        snprintf(reason, REASON_BYTES_MAX, "the log has entries, but this incarnation has not been admitted yet");
        return STATUS_CORRUPT;
    }
    if (fresh && log_last_index(group->log) > group->start.last_index) {
        snprintf(reason, REASON_BYTES_MAX, "the log has entries, but term and vote are gone");
        return STATUS_CORRUPT;
    }
    return group_check_changes(group, reason);
}

enum status group_start(struct group *group, const struct disk_superblock *superblock, char reason[REASON_BYTES_MAX])
{
    group_stop(group);
    group->removed = false;
    group->disk_failed = false;
    if (!superblock_usable(superblock)) {
        snprintf(reason, REASON_BYTES_MAX, "the superblock's log region, checkpoint or members cannot be");
        return STATUS_INVALID;
    }
    group->raft_id = raft_id_make(superblock->node_number, superblock->incarnation);
    group_address_of(group->raft_id, group->address);
    take_checkpoint(group, superblock);
    enum status status = read_disk(group, superblock, reason);
    if (status != STATUS_OK) {
        return status;
    }
    uint64_t term = log_term_of(group->log, log_last_index(group->log));
    if (vote_term(group->vote) < term) {
        /* Entries of this term are ours already, so we took part in it; whom we voted for is not known: in it we vote for nobody else. */
        vote_set(group->vote, term, term > group->start.last_term ? group->raft_id : 0);
    }
    uint64_t life = 0;
    group->config.machine->entropy(group->config.machine->context, &life, sizeof life);
    vote_raise_boot_number(group->vote, life);
    group->checkpoint_index = group->hold_index = group->unreadable_index = 0;
    group->apply_busy = group->apply_again = false;
    group->phase = GROUP_STARTING;
    group->poked = true;
    return STATUS_OK;
}

static void begin_running(struct group *group)
{
    log_recovered_durable(group->log); /* the flush of the boot number covered it */
    group->phase = GROUP_RUNNING;
    group_say(group, LOG_INFO, "raft: %llx, boot %llu, term %llu, entries %llu to %llu%s", (unsigned long long)group->raft_id,
              (unsigned long long)vote_boot_number(group->vote), (unsigned long long)vote_term(group->vote),
              (unsigned long long)log_first_index(group->log), (unsigned long long)log_last_index(group->log), group->joining ? ", asks to join" : "");
    char reason[REASON_BYTES_MAX];
    enum status status = group_open_library(group, reason);
    if (status != STATUS_OK) {
        group_disk_is_bad(group, reason, status);
    }
}

/* -- the loop -- */

static void call_wanted_snapshots(struct group *group)
{
    for (unsigned node = 1; node <= MACHINE_PEERS_MAX; node++) {
        struct group_peer *peer = &group->peers[node];
        if (peer->snapshot_wanted && peer->up && group_is_leader(group)) {
            group->config.ops.send_snapshot(group->config.ops.context, peer->raft_id);
        }
        peer->snapshot_wanted = false;
    }
}

/* What others wait for comes first: acknowledgements and entries on their way, then the disk; applying, which may take milliseconds, goes on meanwhile. */
static void tick_running(struct group *group)
{
    group_step_persisted(group);
    group_step_timeouts(group);
    vote_tick(group->vote);
    group_pump(group);
    peers_flush(group_peers(group));
    group_write(group);
    group_apply_committed(group);
    if (!group_running(group)) {
        return;
    }
    group_checkpoint_tick(group);
    membership_tick(group);
    call_wanted_snapshots(group);
    group_pump(group);
}

void group_tick(struct group *group)
{
    group->poked = false;
    if (group->phase != GROUP_OFF && (vote_failed(group->vote) || log_failed(group->log))) {
        group->disk_failed = true;
        group_stop(group);
    }
    vote_tick(group->vote);
    if (group->phase == GROUP_STARTING && vote_durable(group->vote)) {
        begin_running(group);
    }
    if (group_running(group)) {
        tick_running(group);
        vote_tick(group->vote);
    }
    group_write(group);
    if (group->removed) {
        group->removed = false;
        group->config.ops.removed(group->config.ops.context);
    }
    if (group->damage[0] != '\0') {
        char damage[REASON_BYTES_MAX];
        memcpy(damage, group->damage, sizeof damage);
        group->damage[0] = '\0';
        group->config.ops.damaged(group->config.ops.context, damage);
    }
}

void group_write(struct group *group)
{
    log_tick(group->log, group->phase != GROUP_RUNNING || !vote_durable(group->vote));
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t group_deadline_ns(const struct group *group)
{
    if (group->poked) {
        return 0;
    }
    uint64_t deadline = vote_deadline_ns(group->vote);
    deadline = earlier(deadline, log_deadline_ns(group->log));
    if (group->phase == GROUP_STARTING && vote_durable(group->vote)) {
        return 0;
    }
    if (!group_running(group)) {
        return deadline;
    }
    if (log_persisted(group->log) > group->raft.last_stored) {
        return 0;
    }
    deadline = earlier(deadline, group_stands_ns(group));
    deadline = earlier(deadline, membership_deadline_ns(group));
    if (group_apply_pending(group)) {
        deadline = earlier(deadline, group->apply_busy ? group->apply_retry_ns : 0);
    }
    if (vote_durable(group->vote) && group_pump_waits(group)) {
        deadline = earlier(deadline, group_now_ns(group) + PUMP_RETRY_NS);
    }
    return deadline;
}

/* -- facts -- */

static uint64_t hearing_window_ns(const struct group *group)
{
    return (uint64_t)group->config.boot->election_timeout_ms * 1000000u;
}

bool group_majority_heard(const struct group *group, unsigned without)
{
    uint64_t now = group_now_ns(group);
    unsigned voters = 0, heard = 0;
    for (unsigned i = 0; i < group->raft.configuration.n; i++) {
        const struct raft_server *server = &group->raft.configuration.servers[i];
        if (server->role != RAFT_VOTER) {
            continue;
        }
        unsigned node = raft_id_node(server->id);
        const struct group_peer *peer = &group->peers[node];
        uint64_t at = server->id == group->raft_id ? now : peer->up && peer->raft_id == server->id ? peers_heard_ns(group_peers(group), node) : 0;
        voters++;
        heard += at != 0 && node != without && now - at <= hearing_window_ns(group);
    }
    return heard > voters / 2;
}

static bool leader_heard(const struct group *group)
{
    return group->library_open && group->leader_heard_ns != 0 && group_now_ns(group) - group->leader_heard_ns <= hearing_window_ns(group);
}

void group_facts(const struct group *group, struct group_facts *out)
{
    memset(out, 0, sizeof *out);
    out->raft_id = group->raft_id;
    out->incarnation = raft_id_incarnation(group->raft_id);
    out->boot_number = vote_boot_number(group->vote);
    out->term = vote_term(group->vote);
    out->applied_index = group->applied_index;
    out->last_index = log_last_index(group->log);
    out->log_bytes = log_used_bytes(group->log);
    out->log_bytes_max = log_region_bytes(group->log);
    out->log_written_bytes = log_written_bytes(group->log);
    out->vote_written_bytes = vote_written_bytes(group->vote);
    out->detections = group->detections;
    out->detection_ns = group->detection_ns;
    out->started = group_running(group);
    out->disk_failed = group->disk_failed;
    out->role = GROUP_JOINING;
    if (!group->library_open) {
        return;
    }
    struct raft *raft = (struct raft *)(uintptr_t)&group->raft; /* raft_state and raft_leader do not change it */
    const struct raft_server *self = membership_find(group, group->raft_id);
    out->commit_index = raft_commit_index(raft);
    out->voter = self != NULL && self->role == RAFT_VOTER;
    if (self != NULL) {
        out->role = raft_state(raft) == RAFT_LEADER ? GROUP_LEADER : raft_state(raft) == RAFT_CANDIDATE ? GROUP_CANDIDATE : GROUP_FOLLOWER;
    }
    raft_id leader = 0;
    const char *address = NULL;
    raft_leader(raft, &leader, &address);
    out->leader_id = leader;
    out->majority = group_is_leader(group) ? group_majority_heard(group, 0) : leader_heard(group);
}

void group_member(const struct group *group, unsigned node, struct group_member_facts *out)
{
    memset(out, 0, sizeof *out);
    if (node < 1 || node > MACHINE_PEERS_MAX) {
        return;
    }
    bool self = node == raft_id_node(group->raft_id);
    out->heard_ns = self ? group_now_ns(group) : group_peers(group) != NULL ? peers_heard_ns(group_peers(group), node) : 0;
    out->link = group->peers[node].up;
    const struct raft_server *server = membership_find_node(group, node);
    if (server == NULL) {
        return;
    }
    out->raft_id = server->id;
    out->role = (uint32_t)server->role;
    raft_index match = 0;
    if (raft_match_index(&group->raft, server->id, &match) == 0) {
        out->match_index = match;
        out->image_there = server->id == group->raft_id ? !group->image_missing : group->peers[node].up && group->peers[node].image_there;
    }
}

void group_check(const struct group *group)
{
    log_check(group->log);
    if (!group->library_open) {
        CHECK(!group->led);
        return;
    }
    CHECK(raft_current_term(&group->raft) == vote_term(group->vote));
    CHECK(raft_voted_for(&group->raft) == vote_voted_for(group->vote));
    CHECK(group->applied_index <= raft_commit_index(&group->raft) || group->applied_index == group->start.last_index);
    CHECK(group->was_leader == (group->raft.state == RAFT_LEADER));
    CHECK(!group->led || group->was_leader);
    CHECK(group->raft.last_stored <= log_persisted(group->log));
    CHECK(group->raft.trail.offset == log_first_index(group->log) - 1);
}
