/* Driving the library: event in, update out. Order of what an update asks for: term and vote are handed to the vote slots, entries to the log, messages to
 * the queues; messages leave only while the vote is durable, the log is written only while it is. So nothing that depends on a vote overtakes it. */
#include "consensus/group_internal.h"

#include <string.h>

/* The library wants a batch that is not NULL for entries that have no content for it; it never looks inside. */
static uint64_t no_content;

bool group_is_leader(const struct group *group)
{
    return group->library_open && group->raft.state == RAFT_LEADER;
}

/* -- configurations -- */

void group_configuration_make(const struct disk_member *members, uint32_t count, struct raft_configuration *out)
{
    raft_configuration_init(out);
    for (uint32_t i = 0; i < count; i++) {
        char address[GROUP_ADDRESS_BYTES];
        group_address_of(members[i].raft_id, address);
        int error = raft_configuration_add(out, members[i].raft_id, address, (int)members[i].role);
        CHECK(error == 0); /* the list is valid, and the heap is sized for it */
    }
}

void group_encode_change(const struct disk_member *members, uint32_t count, struct raft_buffer *out)
{
    struct raft_configuration configuration;
    group_configuration_make(members, count, &configuration);
    int error = raft_configuration_encode(&configuration, out);
    CHECK(error == 0);
    raft_configuration_close(&configuration);
}

/* -- what an update asks for -- */

/* How long it took to notice that the leader is silent, for the management port: once for a silence, however often this node stands. */
static void candidacy_changed(struct group *group)
{
    if (group->raft.state == RAFT_CANDIDATE && group->leader_heard_ns != group->detected_heard_ns) {
        group->detections++;
        group->detection_ns = group_now_ns(group) - group->leader_heard_ns;
        group->detected_heard_ns = group->leader_heard_ns;
    }
}

static void leadership_changed(struct group *group)
{
    bool leader = group->raft.state == RAFT_LEADER;
    if (group->was_leader && !leader) {
        group_say(group, LOG_INFO, "raft: no longer leads, term %llu", (unsigned long long)group->raft.current_term);
        group->was_leader = false;
        if (group->led) {
            group->led = false;
            group->config.ops.lost(group->config.ops.context);
            group->apply_again = true;
        }
    } else if (!group->was_leader && leader) {
        group_say(group, LOG_INFO, "raft: leads term %llu", (unsigned long long)group->raft.current_term);
        group->was_leader = true;
        group->barrier_index = 0;
        group->membership.retry_ns = 0;
    }
}

static void append_entries(struct group *group, const struct raft_update *update)
{
    const struct group_incoming *incoming = &group->incoming;
    for (unsigned i = 0; i < update->entries.n; i++) {
        uint64_t index = update->entries.index + i;
        const struct raft_entry *entry = &update->entries.batch[i];
        enum status status = STATUS_OK;
        if (incoming->count > 0) {
            CHECK(index >= incoming->first_index);
            CHECK(index < incoming->first_index + incoming->count);
            const struct message_entry *source = &incoming->entries[index - incoming->first_index];
            status = log_append(group->log, index, source->term, (enum log_type)source->type, &source->entry,
                                incoming->bodies[index - incoming->first_index], source->body_bytes);
        } else {
            CHECK(entry->type == RAFT_BARRIER); /* the library's own: our leadership begins */
            group->barrier_index = index;
            status = log_append(group->log, index, entry->term, LOG_BARRIER, NULL, NULL, 0);
        }
        CHECK(status == STATUS_OK); /* take_entries, log_room and group_barrier_room */
    }
    void *batch = update->entries.batch[0].batch;
    if (batch != &no_content) {
        raft_free(batch);
    }
}

int group_step(struct group *group, struct raft_event *event)
{
    CHECK(group->library_open);
    uint64_t now_ms = group_now_ns(group) / 1000000u;
    group->time_ms = now_ms > group->time_ms ? now_ms : group->time_ms;
    event->time = group->time_ms;
    event->capacity = group->image_missing ? GROUP_CAPACITY_NONE : GROUP_CAPACITY_HOST;
    struct raft_update update;
    memset(&update, 0, sizeof update);
    int error = raft_step(&group->raft, event, &update);
    CHECK((update.flags & (RAFT_UPDATE_SNAPSHOT)) == 0); /* InstallSnapshot is never given to it */
    group->poked = true;
    /* A step that fails may have raised the term before. */
    if ((update.flags & ((RAFT_UPDATE_CURRENT_TERM) | (RAFT_UPDATE_VOTED_FOR))) != 0) {
        vote_set(group->vote, raft_current_term(&group->raft), raft_voted_for(&group->raft));
    }
    if ((update.flags & (RAFT_UPDATE_STATE)) != 0) {
        candidacy_changed(group);
        leadership_changed(group);
    }
    if (error != 0) {
        return error;
    }
    if ((update.flags & (RAFT_UPDATE_ENTRIES)) != 0) {
        append_entries(group, &update);
    }
    if ((update.flags & (RAFT_UPDATE_MESSAGES)) != 0) {
        for (unsigned i = 0; i < update.messages.n; i++) {
            group_enqueue(group, &update.messages.batch[i]);
        }
    }
    return 0;
}

/* -- events of our own -- */

static void free_start_entries(struct raft_entry *entries, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        raft_free(entries[i].buf.base);
    }
    raft_free(entries);
}

/* The last change but one behind the checkpoint, or 0 if there are fewer. The library goes back to it should the last one not be committed; what was before
 * it needs none of its heap, however often the members have changed. */
static uint64_t first_change_needed(const struct group *group)
{
    unsigned found = 0;
    uint64_t index = log_last_index(group->log);
    for (; index > group->start.last_index; index--) {
        found += log_type_of(group->log, index) == LOG_CHANGE;
        if (found == 2) {
            return index;
        }
    }
    return 0;
}

/* What stands in the log behind the checkpoint, as the library wants it. */
static enum status make_start_entries(struct group *group, struct raft_entry **out, uint32_t *out_count, char reason[REASON_BYTES_MAX])
{
    uint32_t count = (uint32_t)(log_last_index(group->log) - group->start.last_index);
    *out = NULL;
    *out_count = count;
    if (count == 0) {
        return STATUS_OK;
    }
    struct raft_entry *entries = raft_malloc(count * sizeof *entries);
    CHECK(entries != NULL); /* RAFT_HEAP_BYTES_MAX has room for LOG_ENTRIES_MAX of them */
    uint64_t first_change = first_change_needed(group);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t index = group->start.last_index + 1 + i;
        entries[i] = (struct raft_entry){
            .term = log_term_of(group->log, index), .type = (enum raft_entry_type)log_type_of(group->log, index), .batch = &no_content};
        if (entries[i].type == RAFT_CHANGE && index < first_change) {
            entries[i].type = RAFT_BARRIER; /* of what is no change it wants to know the term only */
        } else if (entries[i].type == RAFT_CHANGE) {
            struct disk_member members[DISK_MEMBERS_MAX];
            uint32_t member_count = 0;
            enum status status = group_read_change(group, index, members, &member_count, reason);
            if (status != STATUS_OK) {
                free_start_entries(entries, i);
                return status;
            }
            group_encode_change(members, member_count, &entries[i].buf);
        }
    }
    *out = entries;
    return STATUS_OK;
}

enum status group_open_library(struct group *group, char reason[REASON_BYTES_MAX])
{
    const struct boot_config *boot = group->config.boot;
    uint32_t seed = 0;
    group->config.machine->entropy(group->config.machine->context, &seed, sizeof seed);
    struct raft_entry *entries = NULL;
    uint32_t count = 0;
    enum status status = make_start_entries(group, &entries, &count, reason);
    if (status != STATUS_OK) {
        return status;
    }
    int error = raft_init(&group->raft, NULL, NULL, group->raft_id, group->address);
    CHECK(error == 0);
    group->raft.tracer = NULL;
    raft_seed(&group->raft, seed);
    raft_set_election_timeout(&group->raft, boot->election_timeout_ms);
    raft_set_heartbeat_timeout(&group->raft, boot->heartbeat_ms);
    raft_set_install_snapshot_timeout(&group->raft, GROUP_INSTALL_TIMEOUT_MS);
    raft_set_max_inflight_entries(&group->raft, GROUP_INFLIGHT_ENTRIES_MAX);
    raft_set_pre_vote(&group->raft, true);
    raft_set_capacity_threshold(&group->raft, 0);
    group->library_open = true;
    group->was_leader = group->led = false;

    const struct group_snapshot *start = &group->start;
    struct raft_snapshot_metadata metadata = {
        .index = start->last_index, .term = start->last_term, .configuration_index = start->configuration_index};
    if (start->last_index > 0) {
        group_configuration_make(start->members, start->member_count, &metadata.configuration);
    }
    struct raft_event event = {
        .type = RAFT_START,
        .start = {.term = vote_term(group->vote),
                  .voted_for = vote_voted_for(group->vote),
                  .metadata = start->last_index > 0 ? &metadata : NULL,
                  .start_index = start->last_index + 1,
                  .entries = entries,
                  .n_entries = count},
    };
    group->incoming.count = 0;
    error = group_step(group, &event);
    CHECK(error == 0);
    free_start_entries(entries, count);
    return STATUS_OK;
}

bool group_barrier_room(const struct group *group)
{
    return log_last_index(group->log) - (log_first_index(group->log) - 1) < LOG_ENTRIES_MAX;
}

uint64_t group_stands_ns(const struct group *group)
{
    uint64_t timeout_ns = raft_timeout(&group->raft) * 1000000u;
    if (group_is_leader(group)) {
        return timeout_ns;
    }
    uint64_t commit_index = raft_commit_index(&group->raft);
    bool lags = group_apply_pending(group) && (group->apply_busy || commit_index - group->applied_index > GROUP_STAND_LAG_ENTRIES);
    if (lags || !group_barrier_room(group)) {
        return UINT64_MAX;
    }
    return timeout_ns + (group->image_missing ? (uint64_t)GROUP_FILLING_TIMEOUTS * group->config.boot->election_timeout_ms * 1000000u : 0);
}

void group_step_timeouts(struct group *group)
{
    enum { STEPS_MAX = 4 };
    for (unsigned i = 0; i < STEPS_MAX && group_now_ns(group) >= group_stands_ns(group); i++) {
        struct raft_event event = {.type = RAFT_TIMEOUT};
        int error = group_step(group, &event);
        CHECK(error == 0);
    }
}

void group_step_persisted(struct group *group)
{
    uint64_t index = log_persisted(group->log);
    if (index > group->raft.last_stored) {
        struct raft_event event = {.type = RAFT_PERSISTED_ENTRIES, .persisted_entries = {.index = index}};
        int error = group_step(group, &event);
        CHECK(error == 0);
    }
}

/* -- the leader -- */

enum status group_submit_entry(struct group *group, const struct message_entry *entry, const uint8_t *body, uint64_t *index)
{
    struct raft_entry submitted = {.term = group->raft.current_term, .type = (enum raft_entry_type)entry->type, .batch = &no_content};
    if (entry->type == LOG_CHANGE) {
        struct disk_member members[DISK_MEMBERS_MAX];
        uint32_t count = 0;
        enum status status = members_decode(body, entry->body_bytes, members, &count);
        CHECK(status == STATUS_OK); /* our own */
        group_encode_change(members, count, &submitted.buf);
        submitted.batch = submitted.buf.base;
    }
    uint64_t at = log_last_index(group->log) + 1;
    group->incoming.first_index = at;
    group->incoming.count = 1;
    group->incoming.entries = entry;
    group->incoming.bodies[0] = body;
    struct raft_event event = {.type = RAFT_SUBMIT, .submit = {.entries = &submitted, .n = 1}};
    int error = group_step(group, &event);
    group->incoming.count = 0;
    if (error != 0) {
        if (submitted.batch != &no_content) {
            raft_free(submitted.batch);
        }
        CHECK(error == RAFT_NOTLEADER || error == RAFT_CANTCHANGE);
        return STATUS_BUSY;
    }
    CHECK(log_last_index(group->log) == at);
    *index = at;
    return STATUS_OK;
}

enum status group_submit(struct group *group, const struct group_entry *entry, const uint8_t *body, uint64_t *index)
{
    if (!group_running(group) || !group->led) {
        return STATUS_NOT_LEADER;
    }
    if (raft_transferee(&group->raft) != 0) {
        return STATUS_BUSY;
    }
    CHECK(entry->bytes <= ENTRY_BODY_BYTES_MAX);
    if (!log_room(group->log, 1, entry->bytes, LOG_FOR_SUBMISSION)) {
        return STATUS_FULL;
    }
    struct message_entry described = {.term = group->raft.current_term, .type = LOG_COMMAND, .body_bytes = entry->bytes, .entry = *entry};
    enum status status = group_submit_entry(group, &described, body, index);
    group_pump(group);
    return status;
}

bool group_room(const struct group *group, uint32_t entries, size_t bytes)
{
    return group_running(group) && group->led && raft_transferee(&group->raft) == 0 && log_room_for_all(group->log, entries, bytes);
}

enum status group_transfer(struct group *group, unsigned node)
{
    if (!group_running(group) || !group->led) {
        return STATUS_NOT_LEADER;
    }
    if (raft_transferee(&group->raft) != 0) {
        return STATUS_BUSY;
    }
    const struct raft_server *server = membership_find_node(group, node);
    if (server == NULL || server->role != RAFT_VOTER || server->id == group->raft_id) {
        return STATUS_NOT_FOUND;
    }
    struct raft_event event = {.type = RAFT_TRANSFER, .transfer = {.server_id = server->id}};
    int error = group_step(group, &event);
    CHECK(error == 0);
    group_pump(group);
    return STATUS_OK;
}

bool group_transferring(const struct group *group)
{
    return group_is_leader(group) && raft_transferee(&group->raft) != 0;
}
