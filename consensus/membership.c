/* Who belongs to the group. The leader's automaton, one change at a time, driven by who presents itself:
 *
 *   another id of a node number that now presents a joining disk      remove it
 *   a joining id that is no member                                    add it as standby
 *   a standby whose log has nearly all                                RAFT_CATCH_UP
 *   a standby that has caught up                                      promote it to voter
 *   an id that is no member and does not join                         tell it that it was removed
 *
 * A change is made only when the configuration that we applied is the newest in the log and is committed, and an entry of our term is; so each change is
 * built on what is known to all that matter. What is refused or aborted is tried again. */
#include "consensus/group_internal.h"

#include <string.h>

enum {
    RETRY_MS = 50,          /* a change or a promotion waits for entries to commit, which takes some milliseconds */
    TELL_REMOVED_MS = 1000, /* an id that was removed hears it so often, in case it did not before */
    /* A standby that lacks more than this gets it as a standby; only the rest is a timed round of the library, which refuses changes meanwhile. */
    CATCH_UP_ENTRIES = GROUP_INFLIGHT_ENTRIES_MAX,
};

const struct raft_server *membership_find(const struct group *group, uint64_t raft_id)
{
    const struct raft_configuration *configuration = &group->raft.configuration;
    for (unsigned i = 0; group->library_open && i < configuration->n; i++) {
        if (configuration->servers[i].id == raft_id) {
            return &configuration->servers[i];
        }
    }
    return NULL;
}

const struct raft_server *membership_find_node(const struct group *group, unsigned node)
{
    const struct raft_configuration *configuration = &group->raft.configuration;
    const struct raft_server *found = NULL;
    for (unsigned i = 0; group->library_open && i < configuration->n; i++) {
        const struct raft_server *server = &configuration->servers[i];
        if (raft_id_node(server->id) == node && (found == NULL || server->role == RAFT_VOTER)) {
            found = server;
        }
    }
    return found;
}

/* An entry of our own term is committed and applied: our log has everything that is committed. */
static bool leads_for_certain(const struct group *group)
{
    return group_is_leader(group) && group->barrier_index != 0 && group->applied_index >= group->barrier_index;
}

bool membership_certainly_removed(const struct group *group, uint64_t raft_id, uint64_t term)
{
    return leads_for_certain(group) && term <= raft_current_term(&group->raft) && membership_find(group, raft_id) == NULL;
}

bool membership_whole_without(const struct group *group, unsigned node)
{
    return leads_for_certain(group) && group_majority_heard(group, node);
}

void membership_note_evidence(struct group *group, uint64_t raft_id, uint64_t boot_number, uint64_t life, uint64_t match_index)
{
    uint64_t keep[DISK_MEMBERS_MAX];
    for (uint32_t i = 0; i < group->member_count; i++) {
        keep[i] = group->members[i].raft_id;
    }
    (void)vote_note_evidence(group->vote, raft_id, boot_number, life, match_index, keep, group->member_count);
}

/* What members acknowledged and is committed can never be truncated again: a disk that shows less is not the same disk. */
static void note_matches(struct group *group)
{
    uint64_t commit = raft_commit_index(&group->raft);
    for (uint32_t i = 0; i < group->member_count; i++) {
        raft_index match = 0;
        uint64_t raft_id = group->members[i].raft_id;
        if (raft_id != group->raft_id && raft_match_index(&group->raft, raft_id, &match) == 0 && match > 0) {
            membership_note_evidence(group, raft_id, 0, 0, match < commit ? match : commit);
        }
    }
}

static bool may_change(const struct group *group)
{
    const struct raft *raft = &group->raft;
    return leads_for_certain(group) && raft->configuration_uncommitted_index == 0 && raft->configuration_committed_index == group->configuration_index &&
           raft->leader_state.promotee_id == 0 && raft_transferee(raft) == 0 && log_room(group->log, 1, MEMBERS_BYTES_MAX, LOG_FOR_TERM);
}

static bool submit_members(struct group *group, const struct disk_member *members, uint32_t count)
{
    uint8_t body[MEMBERS_BYTES_MAX];
    struct message_entry entry = {.term = raft_current_term(&group->raft), .type = LOG_CHANGE};
    entry.body_bytes = (uint32_t)members_encode(members, count, body);
    seal_members(group->config.keys, body, entry.body_bytes, entry.entry.tag);
    uint64_t index = 0;
    return group_submit_entry(group, &entry, body, &index) == STATUS_OK;
}

static bool remove_member(struct group *group, uint64_t raft_id)
{
    struct disk_member members[DISK_MEMBERS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < group->member_count; i++) {
        if (group->members[i].raft_id != raft_id) {
            members[count++] = group->members[i];
        }
    }
    group_say(group, LOG_INFO, "members: remove %llx", (unsigned long long)raft_id);
    return submit_members(group, members, count);
}

static bool set_member(struct group *group, uint64_t raft_id, uint32_t role)
{
    struct disk_member members[DISK_MEMBERS_MAX];
    uint32_t count = group->member_count, at = 0;
    memcpy(members, group->members, count * sizeof *members);
    while (at < count && members[at].raft_id != raft_id) {
        at++;
    }
    if (at == DISK_MEMBERS_MAX) {
        return false;
    }
    members[at] = (struct disk_member){.raft_id = raft_id, .role = role};
    group_say(group, LOG_INFO, "members: %llx becomes %s", (unsigned long long)raft_id, role == DISK_ROLE_VOTER ? "voter" : "standby");
    return submit_members(group, members, at == count ? count + 1 : count);
}

/* The standby has the checkpoint and nearly all that follows: bring it up to date under the library's eye, then make it a voter. */
static bool promote(struct group *group, uint64_t raft_id)
{
    int catch_up = RAFT_CATCH_UP_NONE;
    raft_index match = 0;
    if (raft_catch_up(&group->raft, raft_id, &catch_up) != 0 || raft_match_index(&group->raft, raft_id, &match) != 0) {
        return false;
    }
    if (match + CATCH_UP_ENTRIES < log_last_index(group->log)) {
        return false;
    }
    if (catch_up == RAFT_CATCH_UP_FINISHED) {
        return set_member(group, raft_id, DISK_ROLE_VOTER);
    }
    if (catch_up == RAFT_CATCH_UP_RUNNING) {
        return false;
    }
    struct raft_event event = {.type = RAFT_CATCH_UP, .catch_up = {.server_id = raft_id}};
    int error = group_step(group, &event);
    CHECK(error == 0);
    return true;
}

/* One step for the node that presents itself as `raft_id`. True: something was begun. */
static bool admit(struct group *group, unsigned node, uint64_t raft_id)
{
    const struct raft_server *server = membership_find(group, raft_id);
    for (uint32_t i = 0; i < group->member_count; i++) {
        uint64_t other = group->members[i].raft_id;
        if (raft_id_node(other) == node && other != raft_id) {
            return remove_member(group, other);
        }
    }
    if (server == NULL) {
        return set_member(group, raft_id, DISK_ROLE_STANDBY);
    }
    return server->role != RAFT_VOTER && promote(group, raft_id);
}

static void tell_removed(struct group *group, unsigned node, uint64_t now)
{
    struct group_peer *peer = &group->peers[node];
    if (now >= peer->removed_told_ns + TELL_REMOVED_MS * 1000000ull) {
        peer->removed_told_ns = now;
        group_enqueue_removed(group, node);
    }
}

void membership_tick(struct group *group)
{
    uint64_t now = group_now_ns(group);
    if (!leads_for_certain(group) || now < group->membership.retry_ns) {
        return;
    }
    group->membership.retry_ns = now + RETRY_MS * 1000000ull;
    note_matches(group);
    for (unsigned node = 1; node <= MACHINE_PEERS_MAX; node++) {
        const struct group_peer *peer = &group->peers[node];
        if (!peer->up) {
            continue;
        }
        bool joining = (peer->hello.flags & GROUP_HELLO_JOINING) != 0;
        if (!joining && membership_certainly_removed(group, peer->raft_id, peer->hello.term)) {
            tell_removed(group, node, now);
        } else if (may_change(group) && admit(group, node, peer->raft_id)) {
            return;
        }
    }
}

/* Is there anyone whose admission or removal is under way? */
static bool work_left(const struct group *group)
{
    for (unsigned node = 1; node <= MACHINE_PEERS_MAX; node++) {
        const struct group_peer *peer = &group->peers[node];
        if (!peer->up) {
            continue;
        }
        const struct raft_server *server = membership_find(group, peer->raft_id);
        if (server == NULL || server->role != RAFT_VOTER) {
            return true;
        }
    }
    return false;
}

uint64_t membership_deadline_ns(const struct group *group)
{
    if (!leads_for_certain(group) || (group->membership.retry_ns != 0 && !work_left(group))) {
        return UINT64_MAX;
    }
    return group->membership.retry_ns;
}
