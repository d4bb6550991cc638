/* One directed test for each defect of the raft library that consensus/raft-0.22.1.patch mends, with the numbers of its header. A single instance is driven
 * through its event API; what a peer would say is made up here. Each test fails, or the library aborts, without its change. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <raft.h>

#include "consensus/raft_heap.h"

enum { SELF = 1, ELECTION_MS = 1000, HEARTBEAT_MS = 100, SENT_MAX = 32, CHANGE_BYTES = 256 };

struct bench {
    struct raft raft;
    raft_time now;
    struct raft_message sent[SENT_MAX]; /* by the last step */
    unsigned sent_count;
    unsigned flags;
    struct raft_snapshot_metadata installing; /* of the last RAFT_UPDATE_SNAPSHOT; ours */
};

struct member {
    raft_id id;
    int role;
};

static void make_configuration(struct raft_configuration *out, const struct member *members, unsigned count)
{
    raft_configuration_init(out);
    for (unsigned i = 0; i < count; i++) {
        char address[16];
        snprintf(address, sizeof address, "%llu", members[i].id);
        assert_int_equal(raft_configuration_add(out, members[i].id, address, members[i].role), 0);
    }
}

static int step(struct bench *bench, struct raft_event *event)
{
    struct raft_update update;
    event->time = bench->now;
    int error = raft_step(&bench->raft, event, &update);
    bench->sent_count = 0;
    bench->flags = update.flags;
    if (error != 0) {
        return error;
    }
    if ((update.flags & (RAFT_UPDATE_ENTRIES)) != 0) {
        raft_free(update.entries.batch[0].batch);
    }
    if ((update.flags & (RAFT_UPDATE_SNAPSHOT)) != 0) {
        bench->installing = update.snapshot.metadata;
        raft_free(update.snapshot.chunk.base);
    }
    if ((update.flags & (RAFT_UPDATE_MESSAGES)) != 0) {
        assert_true(update.messages.n <= SENT_MAX);
        memcpy(bench->sent, update.messages.batch, update.messages.n * sizeof *bench->sent);
        bench->sent_count = update.messages.n;
    }
    return 0;
}

static const struct raft_message *sent(const struct bench *bench, enum raft_message_type type, raft_id to)
{
    for (unsigned i = 0; i < bench->sent_count; i++) {
        if (bench->sent[i].type == type && bench->sent[i].server_id == to) {
            return &bench->sent[i];
        }
    }
    return NULL;
}

/* Start with a checkpoint at `index` in term 1, `entries` entries of term 1 behind it, the given members; now in `term`. */
static void start(struct bench *bench, raft_term term, raft_index index, unsigned entries, const struct member *members, unsigned count, unsigned short threshold)
{
    memset(bench, 0, sizeof *bench);
    bench->now = 10000;
    raft_heap_bound(1 << 20);
    assert_int_equal(raft_init(&bench->raft, NULL, NULL, SELF, "1"), 0);
    bench->raft.tracer = NULL;
    raft_seed(&bench->raft, 7);
    raft_set_election_timeout(&bench->raft, ELECTION_MS);
    raft_set_heartbeat_timeout(&bench->raft, HEARTBEAT_MS);
    raft_set_capacity_threshold(&bench->raft, threshold);
    struct raft_snapshot_metadata metadata = {.index = index, .term = 1, .configuration_index = 1};
    make_configuration(&metadata.configuration, members, count);
    struct raft_entry log[16];
    static uint64_t content;
    for (unsigned i = 0; i < entries; i++) {
        log[i] = (struct raft_entry){.term = 1, .type = RAFT_COMMAND, .batch = &content};
    }
    struct raft_event event = {
        .type = RAFT_START, .start = {.term = term, .metadata = &metadata, .start_index = index + 1, .entries = log, .n_entries = entries}};
    assert_int_equal(step(bench, &event), 0);
}

static const struct member three[] = {{1, RAFT_VOTER}, {2, RAFT_VOTER}, {3, RAFT_VOTER}};

static void end(struct bench *bench)
{
    raft_close(&bench->raft, NULL);
    assert_int_equal(raft_heap_bytes(), 0);
}

static void timeout_at(struct bench *bench, raft_time now)
{
    bench->now = now;
    struct raft_event event = {.type = RAFT_TIMEOUT};
    assert_int_equal(step(bench, &event), 0);
}

static int receive(struct bench *bench, raft_id from, struct raft_message *message)
{
    char address[16];
    snprintf(address, sizeof address, "%llu", from);
    message->server_id = from;
    message->server_address = address;
    struct raft_event event = {.type = RAFT_RECEIVE, .receive = {.message = message}};
    return step(bench, &event);
}

/* An entry of a message: a command, or a change to `members`. */
struct content {
    raft_term term;
    const struct member *members;
    unsigned count;
};

static void receive_append(struct bench *bench, raft_id from, raft_term term, raft_index previous, raft_term previous_term, raft_index commit,
                           const struct content *contents, unsigned count)
{
    struct raft_entry entries[8];
    uint8_t *batch = count > 0 ? raft_malloc(count * CHANGE_BYTES) : NULL;
    for (unsigned i = 0; i < count; i++) {
        entries[i] = (struct raft_entry){.term = contents[i].term, .type = RAFT_COMMAND, .batch = batch, .buf = {.base = batch, .len = 8}};
        if (contents[i].members != NULL) {
            struct raft_configuration configuration;
            struct raft_buffer buffer;
            make_configuration(&configuration, contents[i].members, contents[i].count);
            assert_int_equal(raft_configuration_encode(&configuration, &buffer), 0);
            raft_configuration_close(&configuration);
            assert_true(buffer.len <= CHANGE_BYTES);
            entries[i].type = RAFT_CHANGE;
            entries[i].buf.base = batch + i * CHANGE_BYTES;
            entries[i].buf.len = buffer.len;
            memcpy(entries[i].buf.base, buffer.base, buffer.len);
            raft_free(buffer.base);
        }
    }
    struct raft_message message = {.type = RAFT_APPEND_ENTRIES,
                                   .append_entries = {.term = term,
                                                      .prev_log_index = previous,
                                                      .prev_log_term = previous_term,
                                                      .leader_commit = commit,
                                                      .entries = entries,
                                                      .n_entries = count}};
    assert_int_equal(receive(bench, from, &message), 0);
}

static void receive_result(struct bench *bench, raft_id from, raft_index rejected, raft_index last)
{
    struct raft_message message = {
        .type = RAFT_APPEND_ENTRIES_RESULT,
        .append_entries_result = {
            .version = 2, .term = raft_current_term(&bench->raft), .rejected = rejected, .last_log_index = last, .features = 1, .capacity = 1000}};
    assert_int_equal(receive(bench, from, &message), 0);
}

static void receive_vote_result(struct bench *bench, raft_id from, raft_term term, bool pre_vote, unsigned short capacity)
{
    struct raft_message message = {
        .type = RAFT_REQUEST_VOTE_RESULT,
        .request_vote_result = {.version = 2, .term = term, .vote_granted = true, .pre_vote = pre_vote, .features = 1, .capacity = capacity}};
    assert_int_equal(receive(bench, from, &message), 0);
}

static int receive_vote(struct bench *bench, raft_id from, raft_term term, raft_index last, raft_term last_term, bool pre_vote)
{
    struct raft_message message = {
        .type = RAFT_REQUEST_VOTE,
        .request_vote = {
            .version = 2, .term = term, .candidate_id = from, .last_log_index = last, .last_log_term = last_term, .pre_vote = pre_vote}};
    return receive(bench, from, &message);
}

static void persisted(struct bench *bench, raft_index index)
{
    struct raft_event event = {.type = RAFT_PERSISTED_ENTRIES, .persisted_entries = {.index = index}};
    assert_int_equal(step(bench, &event), 0);
}

/* Elected by node 2; the barrier is appended, not persisted. */
static void elect(struct bench *bench, unsigned short capacity)
{
    timeout_at(bench, bench->now + 2 * ELECTION_MS);
    assert_int_equal(raft_state(&bench->raft), RAFT_CANDIDATE);
    receive_vote_result(bench, 2, raft_current_term(&bench->raft), false, capacity);
    assert_int_equal(raft_state(&bench->raft), RAFT_LEADER);
}

/* ... and the barrier is committed with node 2. Returns its index. */
static raft_index lead(struct bench *bench)
{
    elect(bench, 1000);
    raft_index barrier = raft_last_index(&bench->raft);
    persisted(bench, barrier);
    receive_result(bench, 2, 0, barrier);
    assert_int_equal(raft_commit_index(&bench->raft), barrier);
    return barrier;
}

static int submit_change(struct bench *bench, const struct member *members, unsigned count)
{
    struct raft_configuration configuration;
    struct raft_entry entry = {.type = RAFT_CHANGE, .term = raft_current_term(&bench->raft)};
    make_configuration(&configuration, members, count);
    assert_int_equal(raft_configuration_encode(&configuration, &entry.buf), 0);
    raft_configuration_close(&configuration);
    entry.batch = entry.buf.base;
    struct raft_event event = {.type = RAFT_SUBMIT, .submit = {.entries = &entry, .n = 1}};
    int error = step(bench, &event);
    if (error != 0) {
        raft_free(entry.batch);
    }
    return error;
}

/* A change, persisted, acknowledged by node 2 and applied. */
static void change(struct bench *bench, const struct member *members, unsigned count)
{
    assert_int_equal(submit_change(bench, members, count), 0);
    raft_index index = raft_last_index(&bench->raft);
    persisted(bench, index);
    receive_result(bench, 2, 0, index);
    assert_int_equal(raft_commit_index(&bench->raft), index);
    struct raft_event event = {.type = RAFT_CONFIGURATION, .configuration = {.index = index}};
    make_configuration(&event.configuration.conf, members, count);
    assert_int_equal(step(bench, &event), 0);
}

static void submit_command(struct bench *bench)
{
    struct raft_entry entry = {.type = RAFT_COMMAND, .term = raft_current_term(&bench->raft), .batch = raft_malloc(8)};
    struct raft_event event = {.type = RAFT_SUBMIT, .submit = {.entries = &entry, .n = 1}};
    assert_int_equal(step(bench, &event), 0);
    persisted(bench, raft_last_index(&bench->raft));
}

/* -- safety -- */

static void test_raft_patch_1_change_behind_others_in_its_batch_is_rolled_back(void **state)
{
    (void)state;
    struct bench bench;
    start(&bench, 1, 1, 0, three, 3, 0);
    const struct content batch[] = {{.term = 1}, {.term = 1, .members = three, .count = 2}};
    receive_append(&bench, 2, 1, 1, 1, 1, batch, 2);
    assert_int_equal(bench.raft.configuration.n, 2);
    const struct content other = {.term = 2};
    receive_append(&bench, 3, 2, 2, 1, 1, &other, 1);
    assert_int_equal(bench.raft.configuration.n, 3);
    end(&bench);
}

static void test_raft_patch_2_rollback_goes_back_one_change_only(void **state)
{
    (void)state;
    static const struct member four[] = {{1, RAFT_VOTER}, {2, RAFT_VOTER}, {3, RAFT_VOTER}, {4, RAFT_STANDBY}};
    struct bench bench;
    start(&bench, 1, 1, 0, three, 3, 0);
    const struct content first = {.term = 1, .members = four, .count = 4}, second = {.term = 1, .members = three, .count = 2}, other = {.term = 2};
    receive_append(&bench, 2, 1, 1, 1, 1, &first, 1);
    receive_append(&bench, 2, 1, 2, 1, 1, &second, 1);
    assert_int_equal(bench.raft.configuration.n, 2);
    receive_append(&bench, 3, 2, 2, 1, 1, &other, 1);
    assert_int_equal(bench.raft.configuration.n, 4);
    end(&bench);
}

static void test_raft_patch_3_reply_to_a_stale_term_is_a_rejection(void **state)
{
    (void)state;
    struct bench bench;
    start(&bench, 5, 1, 0, three, 3, 0);
    receive_append(&bench, 2, 3, 0, 0, 0, NULL, 0);
    const struct raft_message *reply = sent(&bench, RAFT_APPEND_ENTRIES_RESULT, 2);
    assert_non_null(reply);
    assert_int_not_equal(reply->append_entries_result.rejected, 0);
    assert_true(reply->append_entries_result.last_log_index < reply->append_entries_result.rejected);

    struct raft_message snapshot = {.type = RAFT_INSTALL_SNAPSHOT,
                                    .install_snapshot = {.term = 3, .last_index = 9, .last_term = 2, .conf_index = 1, .data = {.base = raft_malloc(8), .len = 8}}};
    make_configuration(&snapshot.install_snapshot.conf, three, 3);
    assert_int_equal(receive(&bench, 2, &snapshot), 0);
    reply = sent(&bench, RAFT_APPEND_ENTRIES_RESULT, 2);
    assert_non_null(reply);
    assert_int_equal(reply->append_entries_result.rejected, 9);
    assert_int_equal(reply->append_entries_result.last_log_index, 8);
    end(&bench);

    /* While one that is not stale, but not needed, is none. */
    start(&bench, 1, 10, 0, three, 3, 0);
    snapshot.install_snapshot = (struct raft_install_snapshot){
        .term = 1, .last_index = 9, .last_term = 1, .conf_index = 1, .data = {.base = raft_malloc(8), .len = 8}};
    make_configuration(&snapshot.install_snapshot.conf, three, 3);
    assert_int_equal(receive(&bench, 2, &snapshot), 0);
    reply = sent(&bench, RAFT_APPEND_ENTRIES_RESULT, 2);
    assert_non_null(reply);
    assert_int_equal(reply->append_entries_result.rejected, 0);
    end(&bench);
}

static void test_raft_patch_4_sole_voter_leads_in_a_new_term(void **state)
{
    (void)state;
    struct bench bench;
    start(&bench, 3, 1, 2, three, 1, 0);
    assert_int_equal(raft_state(&bench.raft), RAFT_LEADER);
    assert_int_equal(raft_current_term(&bench.raft), 4);
    assert_int_equal(raft_voted_for(&bench.raft), SELF);
    assert_true((bench.flags & (RAFT_UPDATE_CURRENT_TERM)) != 0);
    assert_true((bench.flags & (RAFT_UPDATE_VOTED_FOR)) != 0);
    end(&bench);
}

static void test_raft_patch_5_no_change_before_an_entry_of_the_own_term_is_committed(void **state)
{
    (void)state;
    struct bench bench;
    start(&bench, 1, 1, 0, three, 3, 0);
    elect(&bench, 1000);
    assert_int_equal(raft_last_index(&bench.raft), 2); /* a barrier, though nothing was left to commit */
    assert_int_equal(submit_change(&bench, three, 2), RAFT_CANTCHANGE);
    persisted(&bench, 2);
    receive_result(&bench, 2, 0, 2);
    assert_int_equal(submit_change(&bench, three, 2), 0);
    end(&bench);
}

/* -- aborts -- */

static void test_raft_patch_6_stale_rejection_in_probe_state_is_ignored(void **state)
{
    (void)state;
    struct bench bench;
    start(&bench, 1, 1, 2, three, 3, 0);
    raft_index barrier = lead(&bench);
    receive_result(&bench, 3, 0, barrier);
    for (unsigned i = 0; i < 30; i++) { /* node 2 falls silent: back to probe */
        timeout_at(&bench, bench.now + HEARTBEAT_MS);
        receive_result(&bench, 3, 0, barrier);
    }
    receive_result(&bench, 2, barrier, barrier - 1);
    raft_index match = 0;
    assert_int_equal(raft_match_index(&bench.raft, 2, &match), 0);
    assert_int_equal(match, barrier);
    end(&bench);
}

static void test_raft_patch_7_previous_entry_that_was_compacted_matches(void **state)
{
    (void)state;
    struct bench bench;
    start(&bench, 1, 10, 2, three, 3, 0);
    const struct content entries[] = {{.term = 1}, {.term = 1}};
    receive_append(&bench, 2, 1, 5, 1, 10, entries, 2);
    const struct raft_message *reply = sent(&bench, RAFT_APPEND_ENTRIES_RESULT, 2);
    assert_non_null(reply);
    assert_int_equal(reply->append_entries_result.rejected, 0);
    assert_int_equal(reply->append_entries_result.last_log_index, 10);
    end(&bench);
}

static void test_raft_patch_8_barrier_is_accepted_with_full_disks(void **state)
{
    (void)state;
    struct bench bench;
    start(&bench, 1, 1, 2, three, 3, 100);
    elect(&bench, 0);
    assert_int_equal(raft_last_index(&bench.raft), 4);
    end(&bench);
}

/* -- availability -- */

static void test_raft_patch_9_pre_vote_of_a_lower_term_learns_ours(void **state)
{
    (void)state;
    struct bench bench;
    start(&bench, 5, 1, 0, three, 3, 0);
    assert_int_equal(receive_vote(&bench, 2, 3, 1, 1, true), 0);
    const struct raft_message *reply = sent(&bench, RAFT_REQUEST_VOTE_RESULT, 2);
    assert_non_null(reply);
    assert_false(reply->request_vote_result.vote_granted);
    assert_int_equal(reply->request_vote_result.term, 5);
    end(&bench);
}

static void test_raft_patch_10_later_rounds_begin_with_a_pre_vote_and_do_not_disrupt(void **state)
{
    (void)state;
    struct bench bench;
    start(&bench, 1, 1, 0, three, 3, 0);
    raft_set_pre_vote(&bench.raft, true);
    receive_append(&bench, 2, 1, 1, 1, 1, NULL, 0);
    struct raft_message now = {.type = RAFT_TIMEOUT_NOW, .timeout_now = {.term = 1, .last_log_index = 1, .last_log_term = 1}};
    assert_int_equal(receive(&bench, 2, &now), 0);
    const struct raft_message *request = sent(&bench, RAFT_REQUEST_VOTE, 3);
    assert_non_null(request);
    assert_true(request->request_vote.disrupt_leader);
    assert_false(request->request_vote.pre_vote);
    raft_term term = raft_current_term(&bench.raft);
    timeout_at(&bench, bench.now + 2 * ELECTION_MS);
    request = sent(&bench, RAFT_REQUEST_VOTE, 3);
    assert_non_null(request);
    assert_false(request->request_vote.disrupt_leader);
    assert_true(request->request_vote.pre_vote);
    assert_int_equal(raft_current_term(&bench.raft), term);
    end(&bench);
}

static void test_raft_patch_11_spare_does_not_keep_the_leader_awake(void **state)
{
    (void)state;
    static const struct member spare[] = {{1, RAFT_VOTER}, {2, RAFT_VOTER}, {3, RAFT_SPARE}};
    struct bench bench;
    start(&bench, 1, 1, 0, three, 3, 0);
    lead(&bench);
    change(&bench, spare, 3);
    timeout_at(&bench, bench.now + HEARTBEAT_MS);
    receive_result(&bench, 2, 0, raft_last_index(&bench.raft));
    timeout_at(&bench, bench.now + HEARTBEAT_MS);
    assert_true(raft_timeout(&bench.raft) > bench.now);
    end(&bench);
}

static void test_raft_patch_12_non_voter_by_its_own_log_votes_and_forgets_a_dead_leader(void **state)
{
    (void)state;
    static const struct member standby[] = {{1, RAFT_STANDBY}, {2, RAFT_VOTER}, {3, RAFT_VOTER}};
    struct bench bench;
    start(&bench, 1, 1, 0, standby, 3, 0);
    receive_append(&bench, 2, 1, 1, 1, 1, NULL, 0);
    raft_id leader = 0;
    const char *address = NULL;
    raft_leader(&bench.raft, &leader, &address);
    assert_int_equal(leader, 2);
    timeout_at(&bench, bench.now + 2 * ELECTION_MS);
    raft_leader(&bench.raft, &leader, &address);
    assert_int_equal(leader, 0);
    assert_int_equal(receive_vote(&bench, 3, 2, 1, 1, false), 0);
    const struct raft_message *reply = sent(&bench, RAFT_REQUEST_VOTE_RESULT, 3);
    assert_non_null(reply);
    assert_true(reply->request_vote_result.vote_granted);
    end(&bench);

    start(&bench, 1, 1, 0, standby + 1, 2, 0); /* it does not find itself in the log at all */
    receive_append(&bench, 2, 1, 1, 1, 1, NULL, 0);
    timeout_at(&bench, bench.now + 2 * ELECTION_MS);
    assert_int_equal(receive_vote(&bench, 3, 2, 1, 1, false), 0);
    reply = sent(&bench, RAFT_REQUEST_VOTE_RESULT, 3);
    assert_non_null(reply);
    assert_true(reply->request_vote_result.vote_granted);
    end(&bench);
}

static void test_raft_patch_13_pre_vote_result_is_known_by_the_message(void **state)
{
    (void)state;
    struct bench bench;
    start(&bench, 2, 1, 0, three, 3, 0);
    receive_vote_result(&bench, 2, 9, true, 0);
    assert_int_equal(raft_current_term(&bench.raft), 2);
    end(&bench);
}

static void test_raft_patch_18_empty_log_gets_the_snapshot_that_ends_at_entry_1(void **state)
{
    (void)state;
    struct bench bench;
    start(&bench, 1, 1, 0, three, 3, 0);
    raft_index barrier = lead(&bench);
    bool asked = false;
    for (unsigned i = 0; i < 5; i++) {
        timeout_at(&bench, bench.now + HEARTBEAT_MS);
        const struct raft_message *probe = sent(&bench, RAFT_APPEND_ENTRIES, 3);
        if (probe != NULL && probe->append_entries.prev_log_index > 0) {
            receive_result(&bench, 3, probe->append_entries.prev_log_index, 0);
        } else if (probe != NULL) {
            receive_result(&bench, 3, 0, 0);
        }
        asked |= sent(&bench, RAFT_INSTALL_SNAPSHOT, 3) != NULL;
        receive_result(&bench, 2, 0, barrier);
    }
    assert_true(asked);
    end(&bench);
}

/* -- minor -- */

static void test_raft_patch_14_second_snapshot_during_an_install_is_freed(void **state)
{
    (void)state;
    struct bench bench;
    start(&bench, 1, 1, 0, three, 3, 0);
    size_t held = 0;
    for (unsigned i = 0; i < 2; i++) {
        struct raft_message snapshot = {
            .type = RAFT_INSTALL_SNAPSHOT,
            .install_snapshot = {.term = 1, .last_index = 9, .last_term = 1, .conf_index = 1, .data = {.base = raft_malloc(8), .len = 8}}};
        make_configuration(&snapshot.install_snapshot.conf, three, 3);
        assert_int_equal(receive(&bench, 2, &snapshot), 0);
        if (i == 0) {
            held = raft_heap_bytes();
            continue;
        }
        assert_int_equal(raft_heap_bytes(), held);
    }
    struct raft_event event = {.type = RAFT_PERSISTED_SNAPSHOT, .persisted_snapshot = {.metadata = bench.installing, .last = true}};
    assert_int_equal(step(&bench, &event), 0);
    end(&bench);
}

static void test_raft_patch_15_commit_index_of_a_follower_never_goes_back(void **state)
{
    (void)state;
    struct bench bench;
    start(&bench, 1, 1, 5, three, 3, 0);
    receive_append(&bench, 2, 1, 6, 1, 5, NULL, 0);
    assert_int_equal(raft_commit_index(&bench.raft), 5);
    receive_append(&bench, 2, 1, 3, 1, 6, NULL, 0);
    assert_int_equal(raft_commit_index(&bench.raft), 5);
    end(&bench);
}

static void test_raft_patch_16_leadership_goes_only_to_a_complete_log(void **state)
{
    (void)state;
    struct bench bench;
    start(&bench, 1, 1, 0, three, 3, 0);
    raft_index barrier = lead(&bench);
    submit_command(&bench);
    submit_command(&bench);
    struct raft_event event = {.type = RAFT_TRANSFER, .transfer = {.server_id = 2}};
    assert_int_equal(step(&bench, &event), 0);
    assert_null(sent(&bench, RAFT_TIMEOUT_NOW, 2));
    receive_result(&bench, 2, 0, barrier + 1);
    assert_null(sent(&bench, RAFT_TIMEOUT_NOW, 2));
    receive_result(&bench, 2, 0, barrier + 2);
    assert_non_null(sent(&bench, RAFT_TIMEOUT_NOW, 2));
    end(&bench);
}

static void test_raft_patch_17_catching_up_a_current_standby_ends(void **state)
{
    (void)state;
    static const struct member standby[] = {{1, RAFT_VOTER}, {2, RAFT_VOTER}, {3, RAFT_STANDBY}};
    struct bench bench;
    start(&bench, 1, 1, 0, standby, 3, 0);
    raft_index barrier = lead(&bench);
    receive_result(&bench, 3, 0, barrier);
    struct raft_event event = {.type = RAFT_CATCH_UP, .catch_up = {.server_id = 3}};
    assert_int_equal(step(&bench, &event), 0);
    receive_result(&bench, 3, 0, barrier);
    int status = RAFT_CATCH_UP_NONE;
    assert_int_equal(raft_catch_up(&bench.raft, 3, &status), 0);
    assert_int_equal(status, RAFT_CATCH_UP_FINISHED);
    end(&bench);
}

/* With an argument: only the tests whose names match it. */
int main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_raft_patch_1_change_behind_others_in_its_batch_is_rolled_back),
        cmocka_unit_test(test_raft_patch_2_rollback_goes_back_one_change_only),
        cmocka_unit_test(test_raft_patch_3_reply_to_a_stale_term_is_a_rejection),
        cmocka_unit_test(test_raft_patch_4_sole_voter_leads_in_a_new_term),
        cmocka_unit_test(test_raft_patch_5_no_change_before_an_entry_of_the_own_term_is_committed),
        cmocka_unit_test(test_raft_patch_6_stale_rejection_in_probe_state_is_ignored),
        cmocka_unit_test(test_raft_patch_7_previous_entry_that_was_compacted_matches),
        cmocka_unit_test(test_raft_patch_8_barrier_is_accepted_with_full_disks),
        cmocka_unit_test(test_raft_patch_9_pre_vote_of_a_lower_term_learns_ours),
        cmocka_unit_test(test_raft_patch_10_later_rounds_begin_with_a_pre_vote_and_do_not_disrupt),
        cmocka_unit_test(test_raft_patch_11_spare_does_not_keep_the_leader_awake),
        cmocka_unit_test(test_raft_patch_12_non_voter_by_its_own_log_votes_and_forgets_a_dead_leader),
        cmocka_unit_test(test_raft_patch_13_pre_vote_result_is_known_by_the_message),
        cmocka_unit_test(test_raft_patch_18_empty_log_gets_the_snapshot_that_ends_at_entry_1),
        cmocka_unit_test(test_raft_patch_14_second_snapshot_during_an_install_is_freed),
        cmocka_unit_test(test_raft_patch_15_commit_index_of_a_follower_never_goes_back),
        cmocka_unit_test(test_raft_patch_16_leadership_goes_only_to_a_complete_log),
        cmocka_unit_test(test_raft_patch_17_catching_up_a_current_standby_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
