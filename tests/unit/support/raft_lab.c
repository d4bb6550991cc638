#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/support/raft_lab.h"

enum { VERSION_WITH_CAPACITY = 2, FEATURE_CAPACITY = 1 };

static const char *const addresses[LAB_SERVERS_MAX + 1] = {"", "1", "2", "3", "4", "5", "6", "7"};

/* --- The heap -------------------------------------------------------------------------------------------- */

static size_t allocations;
static size_t alignment;

static void *heap_malloc(void *data, size_t size)
{
    (void)data;
    allocations++;
    return aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

static void heap_free(void *data, void *memory)
{
    (void)data;
    if (memory != NULL) {
        allocations--;
    }
    free(memory);
}

static void *heap_calloc(void *data, size_t count, size_t size)
{
    void *memory = heap_malloc(data, count * size);
    memset(memory, 0, count * size);
    return memory;
}

static void *heap_realloc(void *data, void *memory, size_t size)
{
    (void)data;
    if (memory == NULL) {
        allocations++;
    }
    return realloc(memory, size);
}

static void *heap_aligned_alloc(void *data, size_t alignment_bytes, size_t size)
{
    (void)data;
    allocations++;
    return aligned_alloc(alignment_bytes, size);
}

static void heap_aligned_free(void *data, size_t alignment_bytes, void *memory)
{
    (void)alignment_bytes;
    heap_free(data, memory);
}

static struct raft_heap heap = {
    .malloc = heap_malloc,
    .free = heap_free,
    .calloc = heap_calloc,
    .realloc = heap_realloc,
    .aligned_alloc = heap_aligned_alloc,
    .aligned_free = heap_aligned_free,
};

int lab_setup(void **state)
{
    (void)state;
    allocations = 0;
    alignment = sizeof(void *);
    raft_heap_set(&heap);
    return 0;
}

int lab_teardown(void **state)
{
    (void)state;
    raft_heap_set_default();
    assert_int_equal(allocations, 0);
    return 0;
}

size_t lab_allocations(void)
{
    return allocations;
}

void lab_align_allocations(void)
{
    alignment = 0x10000;
}

/* --- Members and entries, to and from the library's shapes ------------------------------------------------ */

static void copy_members(char target[LAB_SERVERS_MAX + 1], const char *members)
{
    assert_true(strlen(members) <= LAB_SERVERS_MAX);
    memset(target, 0, LAB_SERVERS_MAX + 1);
    memcpy(target, members, strlen(members));
}

static int role_of(char letter)
{
    switch (letter) {
    case 'V':
        return RAFT_VOTER;
    case 'S':
        return RAFT_STANDBY;
    default:
        assert_int_equal(letter, 'P');
        return RAFT_SPARE;
    }
}

static void members_to_configuration(const char *members, struct raft_configuration *configuration)
{
    raft_configuration_init(configuration);
    for (size_t i = 0; members[i] != '\0'; i++) {
        if (members[i] != '-') {
            assert_int_equal(raft_configuration_add(configuration, i + 1, addresses[i + 1], role_of(members[i])), 0);
        }
    }
}

static void configuration_to_members(const struct raft_configuration *configuration, char members[LAB_SERVERS_MAX + 1])
{
    memset(members, 0, LAB_SERVERS_MAX + 1);
    for (unsigned i = 0; i < configuration->n; i++) {
        const struct raft_server *server = &configuration->servers[i];
        assert_in_range(server->id, 1, LAB_SERVERS_MAX);
        for (size_t before = 0; before < server->id; before++) {
            members[before] = members[before] == '\0' ? '-' : members[before];
        }
        members[server->id - 1] = server->role == RAFT_VOTER ? 'V' : server->role == RAFT_STANDBY ? 'S' : 'P';
    }
}

struct lab_entry lab_command(raft_term term)
{
    return (struct lab_entry){.term = term, .type = RAFT_COMMAND};
}

struct lab_entry lab_change(raft_term term, const char *members)
{
    struct lab_entry entry = {.term = term, .type = RAFT_CHANGE};
    copy_members(entry.members, members);
    return entry;
}

/* Fill `entries` from `source`, all bodies in one batch, which the caller owns. */
static void *entries_to_batch(unsigned count, const struct lab_entry *source, struct raft_entry *entries)
{
    enum { BODY_BYTES_MAX = 512 };
    unsigned char *batch = raft_malloc(count * BODY_BYTES_MAX);
    for (unsigned i = 0; i < count; i++) {
        struct raft_entry *entry = &entries[i];
        *entry = (struct raft_entry){.term = source[i].term, .type = source[i].type, .batch = batch};
        entry->buf.base = batch + i * BODY_BYTES_MAX;
        entry->buf.len = 8;
        memset(entry->buf.base, 0, entry->buf.len);
        if (source[i].type == RAFT_CHANGE) {
            struct raft_configuration configuration;
            struct raft_buffer body;
            members_to_configuration(source[i].members, &configuration);
            assert_int_equal(raft_configuration_encode(&configuration, &body), 0);
            raft_configuration_close(&configuration);
            assert_true(body.len <= BODY_BYTES_MAX);
            memcpy(entry->buf.base, body.base, body.len);
            entry->buf.len = body.len;
            raft_free(body.base);
        }
    }
    return batch;
}

static struct lab_entry entry_from_library(const struct raft_entry *entry)
{
    struct lab_entry copy = {.term = entry->term, .type = entry->type};
    if (entry->type == RAFT_CHANGE) {
        struct raft_configuration configuration;
        assert_int_equal(raft_configuration_decode(&entry->buf, &configuration), 0);
        configuration_to_members(&configuration, copy.members);
        raft_configuration_close(&configuration);
    }
    return copy;
}

/* --- One step: what the library asks for is done in the order that it asks for ----------------------------- */

static void write_entries(struct lab *lab, const struct raft_update *update)
{
    const raft_index first = update->entries.index;
    assert_in_range(first, 1, lab->log_written + 1);
    assert_true(first + update->entries.n - 1 <= LAB_LOG_MAX);
    for (unsigned i = 0; i < update->entries.n; i++) {
        lab->log[first + i] = entry_from_library(&update->entries.batch[i]);
    }
    lab->log_written = first + update->entries.n - 1;
    if (lab->log_durable >= first) {
        lab->log_durable = first - 1;
    }
    raft_free(update->entries.batch[0].batch);
}

static void write_snapshot(struct lab *lab, struct raft_update *update)
{
    struct raft_snapshot_metadata *metadata = &update->snapshot.metadata;
    assert_false(lab->installing);
    lab->installing = true;
    lab->snapshot.index = metadata->index;
    lab->snapshot.term = metadata->term;
    lab->snapshot.members_index = metadata->configuration_index;
    configuration_to_members(&metadata->configuration, lab->snapshot.members);
    lab->log_written = lab->log_durable = metadata->index;
    raft_configuration_close(&metadata->configuration);
    raft_free(update->snapshot.chunk.base);
}

static void copy_message(struct lab *lab, const struct raft_message *body)
{
    assert_true(lab->sent_count < LAB_SENT_MAX);
    struct lab_message *message = &lab->sent[lab->sent_count++];
    memset(message, 0, sizeof *message);
    message->from = lab->id;
    message->to = body->server_id;
    message->body = *body;
    message->body.server_address = NULL;
    if (body->type == RAFT_APPEND_ENTRIES) {
        const struct raft_append_entries *append = &body->append_entries;
        message->body.append_entries.entries = NULL;
        assert_true(append->n_entries <= LAB_MESSAGE_ENTRIES_MAX);
        assert_true(append->prev_log_index + append->n_entries <= lab->log_written);
        memcpy(message->entries, &lab->log[append->prev_log_index + 1], append->n_entries * sizeof *message->entries);
    } else if (body->type == RAFT_INSTALL_SNAPSHOT) {
        message->body.install_snapshot.data = (struct raft_buffer){0};
        message->body.install_snapshot.conf = (struct raft_configuration){0};
        copy_members(message->members, lab->snapshot.members);
    }
}

static int step(struct lab *lab, struct raft_event *event)
{
    struct raft_update update;
    memset(&update, 0, sizeof update);
    event->time = lab->now;
    event->capacity = lab->capacity;
    lab->sent_count = 0;
    const int result = raft_step(&lab->raft, event, &update);
    if (result != 0) {
        return result;
    }
    if (update.flags & (RAFT_UPDATE_CURRENT_TERM)) {
        lab->term = raft_current_term(&lab->raft);
    }
    if (update.flags & (RAFT_UPDATE_VOTED_FOR)) {
        lab->voted_for = raft_voted_for(&lab->raft);
    }
    /* A server whose term or vote is not durable may contradict itself after a crash. */
    assert_int_equal(lab->term, raft_current_term(&lab->raft));
    assert_int_equal(lab->voted_for, raft_voted_for(&lab->raft));
    if (update.flags & (RAFT_UPDATE_ENTRIES)) {
        write_entries(lab, &update);
    }
    if (update.flags & (RAFT_UPDATE_SNAPSHOT)) {
        write_snapshot(lab, &update);
    }
    if (update.flags & (RAFT_UPDATE_MESSAGES)) {
        for (unsigned i = 0; i < update.messages.n; i++) {
            copy_message(lab, &update.messages.batch[i]);
        }
    }
    return 0;
}

static void step_without_error(struct lab *lab, struct raft_event *event)
{
    assert_int_equal(step(lab, event), 0);
}

/* --- Life ------------------------------------------------------------------------------------------------ */

void lab_open(struct lab *lab, raft_id id, raft_term term, unsigned count, const struct lab_entry *entries)
{
    memset(lab, 0, sizeof *lab);
    lab->id = id;
    lab->term = term;
    assert_true(count <= LAB_LOG_MAX);
    memcpy(&lab->log[1], entries, count * sizeof *entries);
    lab->log_durable = count;
    lab_start(lab);
}

void lab_start(struct lab *lab)
{
    lab->log_written = lab->log_durable;
    lab->installing = false;
    assert_in_range(lab->id, 1, LAB_SERVERS_MAX);
    assert_int_equal(raft_init(&lab->raft, NULL, NULL, lab->id, addresses[lab->id]), 0);
    raft_seed(&lab->raft, (unsigned)lab->id);
    lab->raft.tracer = NULL;
    raft_set_election_timeout(&lab->raft, LAB_ELECTION_MS);
    raft_set_heartbeat_timeout(&lab->raft, LAB_HEARTBEAT_MS);
    raft_set_pre_vote(&lab->raft, true);

    struct raft_snapshot_metadata metadata = {0};
    struct raft_entry entries[LAB_LOG_MAX];
    struct raft_event event = {.type = RAFT_START};
    event.start.term = lab->term;
    event.start.voted_for = lab->voted_for;
    event.start.start_index = lab->snapshot.index + 1;
    event.start.n_entries = (unsigned)(lab->log_durable - lab->snapshot.index);
    void *batch = entries_to_batch(event.start.n_entries, &lab->log[event.start.start_index], entries);
    event.start.entries = entries;
    if (lab->snapshot.index != 0) {
        metadata.index = lab->snapshot.index;
        metadata.term = lab->snapshot.term;
        metadata.configuration_index = lab->snapshot.members_index;
        members_to_configuration(lab->snapshot.members, &metadata.configuration);
        event.start.metadata = &metadata;
    }
    step_without_error(lab, &event);
    raft_free(batch);
}

void lab_crash(struct lab *lab)
{
    lab_close(lab);
    lab_start(lab);
}

void lab_close(struct lab *lab)
{
    raft_close(&lab->raft, NULL);
}

/* --- Events ---------------------------------------------------------------------------------------------- */

void lab_timeout(struct lab *lab)
{
    const raft_time due = raft_timeout(&lab->raft);
    lab->now = due > lab->now ? due : lab->now;
    step_without_error(lab, &(struct raft_event){.type = RAFT_TIMEOUT});
}

void lab_persist(struct lab *lab, raft_index index)
{
    assert_in_range(index, lab->log_durable + 1, lab->log_written);
    lab->log_durable = index;
    struct raft_event event = {.type = RAFT_PERSISTED_ENTRIES};
    event.persisted_entries.index = index;
    step_without_error(lab, &event);
}

void lab_persist_all(struct lab *lab)
{
    if (lab->log_durable < lab->log_written) {
        lab_persist(lab, lab->log_written);
    } else {
        lab->sent_count = 0;
    }
}

static struct raft_snapshot_metadata metadata_of(const struct lab_snapshot *snapshot)
{
    struct raft_snapshot_metadata metadata = {
        .index = snapshot->index,
        .term = snapshot->term,
        .configuration_index = snapshot->members_index,
    };
    members_to_configuration(snapshot->members, &metadata.configuration);
    return metadata;
}

void lab_finish_install(struct lab *lab)
{
    assert_true(lab->installing);
    lab->installing = false;
    struct raft_event event = {.type = RAFT_PERSISTED_SNAPSHOT};
    event.persisted_snapshot.metadata = metadata_of(&lab->snapshot);
    event.persisted_snapshot.last = true;
    step_without_error(lab, &event);
}

void lab_take_snapshot(struct lab *lab, raft_index index, unsigned trailing)
{
    assert_in_range(index, lab->snapshot.index + 1, lab->log_durable);
    for (raft_index i = lab->snapshot.index + 1; i <= index; i++) {
        if (lab->log[i].type == RAFT_CHANGE) {
            copy_members(lab->snapshot.members, lab->log[i].members);
            lab->snapshot.members_index = i;
        }
    }
    lab->snapshot.index = index;
    lab->snapshot.term = lab->log[index].term;
    struct raft_event event = {.type = RAFT_SNAPSHOT};
    event.snapshot.metadata = metadata_of(&lab->snapshot);
    event.snapshot.trailing = trailing;
    step_without_error(lab, &event);
}

static int submit(struct lab *lab, struct lab_entry entry)
{
    struct raft_entry submitted;
    void *batch = entries_to_batch(1, &entry, &submitted);
    struct raft_event event = {.type = RAFT_SUBMIT};
    event.submit.entries = &submitted;
    event.submit.n = 1;
    const int result = step(lab, &event);
    if (result != 0) {
        raft_free(batch);
    }
    return result;
}

int lab_submit_command(struct lab *lab)
{
    return submit(lab, lab_command(raft_current_term(&lab->raft)));
}

int lab_submit_change(struct lab *lab, const char *members)
{
    return submit(lab, lab_change(raft_current_term(&lab->raft), members));
}

void lab_catch_up(struct lab *lab, raft_id standby)
{
    struct raft_event event = {.type = RAFT_CATCH_UP};
    event.catch_up.server_id = standby;
    step_without_error(lab, &event);
}

void lab_transfer(struct lab *lab, raft_id transferee)
{
    struct raft_event event = {.type = RAFT_TRANSFER};
    event.transfer.server_id = transferee;
    step_without_error(lab, &event);
}

/* --- Messages -------------------------------------------------------------------------------------------- */

void lab_receive(struct lab *lab, const struct lab_message *message)
{
    struct raft_entry entries[LAB_MESSAGE_ENTRIES_MAX];
    struct raft_message body = message->body;
    assert_in_range(message->from, 1, LAB_SERVERS_MAX);
    body.server_id = message->from;
    body.server_address = addresses[message->from];
    if (body.type == RAFT_APPEND_ENTRIES && body.append_entries.n_entries > 0) {
        body.append_entries.entries = entries;
        (void)entries_to_batch(body.append_entries.n_entries, message->entries, entries);
    } else if (body.type == RAFT_INSTALL_SNAPSHOT) {
        body.install_snapshot.data.base = raft_malloc(8);
        body.install_snapshot.data.len = 8;
        memset(body.install_snapshot.data.base, 0, 8);
        members_to_configuration(message->members, &body.install_snapshot.conf);
    }
    struct raft_event event = {.type = RAFT_RECEIVE};
    event.receive.message = &body;
    step_without_error(lab, &event);
}

void lab_hear_entries(struct lab *lab, raft_id from, raft_term term, raft_index previous, raft_term previous_term,
                      raft_index commit, unsigned count, const struct lab_entry *entries)
{
    struct lab_message message = {.from = from, .to = lab->id, .body.type = RAFT_APPEND_ENTRIES};
    message.body.append_entries = (struct raft_append_entries){
        .term = term,
        .prev_log_index = previous,
        .prev_log_term = previous_term,
        .leader_commit = commit,
        .n_entries = count,
    };
    assert_true(count <= LAB_MESSAGE_ENTRIES_MAX);
    for (unsigned i = 0; i < count; i++) {
        message.entries[i] = entries[i];
    }
    lab_receive(lab, &message);
}

void lab_hear_heartbeat(struct lab *lab, raft_id from, raft_term term, raft_index previous, raft_term previous_term,
                        raft_index commit)
{
    lab_hear_entries(lab, from, term, previous, previous_term, commit, 0, NULL);
}

void lab_hear_result(struct lab *lab, raft_id from, raft_index rejected, raft_index last)
{
    struct lab_message message = {.from = from, .to = lab->id, .body.type = RAFT_APPEND_ENTRIES_RESULT};
    message.body.append_entries_result = (struct raft_append_entries_result){
        .version = VERSION_WITH_CAPACITY,
        .term = raft_current_term(&lab->raft),
        .rejected = rejected,
        .last_log_index = last,
        .features = FEATURE_CAPACITY,
        .capacity = lab->capacity,
    };
    lab_receive(lab, &message);
}

void lab_hear_vote_request(struct lab *lab, raft_id from, enum lab_vote kind, raft_term term, raft_index last,
                           raft_term last_term)
{
    struct lab_message message = {.from = from, .to = lab->id, .body.type = RAFT_REQUEST_VOTE};
    message.body.request_vote = (struct raft_request_vote){
        .version = 2,
        .term = term,
        .candidate_id = from,
        .last_log_index = last,
        .last_log_term = last_term,
        .pre_vote = kind == LAB_PRE_VOTE,
    };
    lab_receive(lab, &message);
}

void lab_hear_vote(struct lab *lab, raft_id from, enum lab_vote kind, raft_term term)
{
    struct lab_message message = {.from = from, .to = lab->id, .body.type = RAFT_REQUEST_VOTE_RESULT};
    message.body.request_vote_result = (struct raft_request_vote_result){
        .version = VERSION_WITH_CAPACITY,
        .term = term,
        .vote_granted = true,
        .pre_vote = kind == LAB_PRE_VOTE,
        .features = FEATURE_CAPACITY,
        .capacity = lab->capacity,
    };
    lab_receive(lab, &message);
}

void lab_hear_snapshot(struct lab *lab, raft_id from, raft_term term, raft_index last, raft_term last_term,
                       const char *members)
{
    struct lab_message message = {.from = from, .to = lab->id, .body.type = RAFT_INSTALL_SNAPSHOT};
    message.body.install_snapshot.term = term;
    message.body.install_snapshot.last_index = last;
    message.body.install_snapshot.last_term = last_term;
    message.body.install_snapshot.conf_index = 1;
    copy_members(message.members, members);
    lab_receive(lab, &message);
}

void lab_hear_timeout_now(struct lab *lab, raft_id from, raft_term term, raft_index last, raft_term last_term)
{
    struct lab_message message = {.from = from, .to = lab->id, .body.type = RAFT_TIMEOUT_NOW};
    message.body.timeout_now.term = term;
    message.body.timeout_now.last_log_index = last;
    message.body.timeout_now.last_log_term = last_term;
    lab_receive(lab, &message);
}

void lab_win_election(struct lab *lab, raft_id voter)
{
    const raft_term next = raft_current_term(&lab->raft) + 1;
    lab_timeout(lab);
    assert_int_equal(raft_state(&lab->raft), RAFT_CANDIDATE);
    lab_hear_vote(lab, voter, LAB_PRE_VOTE, next);
    assert_int_equal(raft_current_term(&lab->raft), next);
    lab_hear_vote(lab, voter, LAB_VOTE, next);
    assert_int_equal(raft_state(&lab->raft), RAFT_LEADER);
}

const struct raft_message *lab_sent(const struct lab *lab, enum raft_message_type type, raft_id to)
{
    for (unsigned i = lab->sent_count; i > 0; i--) {
        if (lab->sent[i - 1].body.type == type && lab->sent[i - 1].to == to) {
            return &lab->sent[i - 1].body;
        }
    }
    return NULL;
}
