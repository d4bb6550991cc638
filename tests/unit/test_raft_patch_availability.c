/* Directed tests of consensus/raft-0.22.1.patch, changes 9 to 13 and 18 to 21 (availability); the numbers are those of the
 * patch's header. Each test drives raft_step() alone and says what goes wrong without its change.
 *
 * `make test-raft-hunks` takes each change out of the library and expects its test to fail. All of these do. Of 11 the
 * half that passes over the leader itself is not told apart: a leader never sends to itself, so that its own time of
 * the last message is never set and never the oldest. Of 13 the opposite mistake, a result of a vote taken for one of a
 * pre-vote, is not tested: it depends on the address of an allocation in the same way and only delays a step down. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/support/raft_lab.h"

/* --- 9: replies to pre-votes ------------------------------------------------------------------------------ */

static void test_raft_patch_09_pre_vote_of_an_older_term_is_answered_with_the_own_term(void **state)
{
    (void)state;
    struct lab server;
    const struct lab_entry log = lab_change(1, "VVV");
    lab_open(&server, 1, 5, 1, &log);
    lab_hear_vote_request(&server, 2, LAB_PRE_VOTE, 3, 1, 1);
    const struct raft_message *reply = lab_sent(&server, RAFT_REQUEST_VOTE_RESULT, 2);
    assert_non_null(reply);
    assert_false(reply->request_vote_result.vote_granted);
    assert_int_equal(reply->request_vote_result.term, 5);
    lab_close(&server);
}

/* 9: the one who asks would take it over, and each refusal would raise a term that nobody has. */
static void test_raft_patch_09_refused_pre_vote_is_answered_with_the_own_term(void **state)
{
    (void)state;
    struct lab server;
    const struct lab_entry log[] = {lab_change(1, "VVV"), lab_command(1)};
    lab_open(&server, 1, 1, 2, log);
    lab_hear_vote_request(&server, 2, LAB_PRE_VOTE, 2, 1, 1);
    const struct raft_message *reply = lab_sent(&server, RAFT_REQUEST_VOTE_RESULT, 2);
    assert_non_null(reply);
    assert_false(reply->request_vote_result.vote_granted);
    assert_int_equal(reply->request_vote_result.term, 1);
    lab_close(&server);
}

/* Deliver what `from` sent in its last step, and all that follows from it, with writes done at once. */
static void deliver(struct lab *from, struct lab *to)
{
    enum { MESSAGES_MAX = 64 };
    struct lab_message queue[MESSAGES_MAX];
    unsigned head = 0;
    unsigned tail = 0;
    struct lab *sender = from;
    for (;;) {
        for (unsigned i = 0; i < sender->sent_count; i++) {
            if (sender->sent[i].to == from->id || sender->sent[i].to == to->id) {
                assert_true(tail < MESSAGES_MAX);
                queue[tail++] = sender->sent[i];
            }
        }
        if (head == tail) {
            return;
        }
        sender = queue[head].to == from->id ? from : to;
        lab_receive(sender, &queue[head++]);
        if (sender->log_durable < sender->log_written) {
            lab_persist_all(sender);
        }
    }
}

/* Two servers are left, whose timeouts end as they are drawn and who hear each other: the one that can win does, after some rounds. */
static void assert_elected(struct lab *complete, struct lab *behind)
{
    enum { ROUNDS = 40 };
    for (unsigned round = 0; round < ROUNDS && raft_state(&complete->raft) != RAFT_LEADER; round++) {
        const bool behind_first = raft_timeout(&behind->raft) < raft_timeout(&complete->raft);
        struct lab *first = behind_first ? behind : complete;
        struct lab *second = behind_first ? complete : behind;
        lab_timeout(first);
        second->now = first->now;
        deliver(first, second);
    }
    assert_int_equal(raft_state(&complete->raft), RAFT_LEADER);
}

/* 9: the server with the newer term lost its disk and has the shorter log, so that only the other one can win. That one
 * asked for votes of term 3 for ever, as nobody told it of term 5. */
static void test_raft_patch_09_survivors_elect_a_leader_after_a_lost_disk(void **state)
{
    (void)state;
    const struct lab_entry log[] = {lab_change(1, "VVV"), lab_command(2)};
    struct lab behind;
    struct lab complete;
    lab_open(&behind, 1, 5, 1, log);
    lab_open(&complete, 2, 2, 2, log);
    assert_elected(&complete, &behind);
    lab_close(&behind);
    lab_close(&complete);
}

/* --- 10: rounds of an election ---------------------------------------------------------------------------- */

/* The candidate's next round asks for pre-votes, in its present term, and leaves a leader in place. */
static void expect_polite_round(struct lab *server)
{
    const raft_term term = raft_current_term(&server->raft);
    assert_int_equal(raft_state(&server->raft), RAFT_CANDIDATE);
    lab_timeout(server);
    const struct raft_message *request = lab_sent(server, RAFT_REQUEST_VOTE, 2);
    assert_non_null(request);
    assert_true(request->request_vote.pre_vote);
    assert_false(request->request_vote.disrupt_leader);
    assert_int_equal(raft_current_term(&server->raft), term);
}

/* 10: a server that got leadership handed over, and was then cut off, kept the right to disrupt and raised its term
 * with every round. */
static void test_raft_patch_10_transferee_disrupts_in_its_first_round_only(void **state)
{
    (void)state;
    struct lab server;
    const struct lab_entry log = lab_change(1, "VVV");
    lab_open(&server, 1, 1, 1, &log);
    lab_hear_heartbeat(&server, 2, 1, 1, 1, 1);
    lab_hear_timeout_now(&server, 2, 1, 1, 1);
    const struct raft_message *request = lab_sent(&server, RAFT_REQUEST_VOTE, 2);
    assert_non_null(request);
    assert_true(request->request_vote.disrupt_leader);
    expect_polite_round(&server);
    lab_close(&server);
}

/* 10: so did one that won a pre-vote. */
static void test_raft_patch_10_candidate_without_votes_returns_to_pre_votes(void **state)
{
    (void)state;
    struct lab server;
    const struct lab_entry log = lab_change(1, "VVV");
    lab_open(&server, 1, 1, 1, &log);
    lab_timeout(&server);
    lab_hear_vote(&server, 3, LAB_PRE_VOTE, 2);
    assert_int_equal(raft_current_term(&server.raft), 2);
    expect_polite_round(&server);
    lab_close(&server);
}

/* --- 11: the leader's timeout ----------------------------------------------------------------------------- */

/* 11: the spare was sent something while it caught up, and nothing since: the next heartbeat was always overdue, and
 * the leader span. */
static void test_raft_patch_11_leader_waits_between_heartbeats_with_a_spare_that_caught_up(void **state)
{
    (void)state;
    struct lab server;
    const struct lab_entry log = lab_change(1, "VVP");
    lab_open(&server, 1, 1, 1, &log);
    lab_win_election(&server, 2);
    lab_persist_all(&server);
    lab_hear_result(&server, 2, 0, 2);
    lab_catch_up(&server, 3);
    lab_hear_result(&server, 3, 0, 2);
    int status;
    assert_int_equal(raft_catch_up(&server.raft, 3, &status), 0);
    assert_int_equal(status, RAFT_CATCH_UP_FINISHED);
    for (unsigned round = 0; round < 5; round++) {
        lab_timeout(&server);
        assert_true(raft_timeout(&server.raft) > server.now);
        lab_hear_result(&server, 2, 0, 2);
    }
    lab_close(&server);
}

/* --- 12: servers that do not know that they are voters ----------------------------------------------------- */

static void expect_vote(struct lab *server, enum lab_vote kind, bool granted)
{
    lab_hear_vote_request(server, 3, kind, 4, 5, 3);
    const struct raft_message *reply = lab_sent(server, RAFT_REQUEST_VOTE_RESULT, 3);
    assert_non_null(reply);
    assert_int_equal(reply->request_vote_result.vote_granted, granted);
}

/* 12: it may have been made a voter by an entry that it does not have yet, and its vote be needed. */
static void test_raft_patch_12_server_that_its_log_calls_a_non_voter_votes(void **state)
{
    (void)state;
    static const char *const members[] = {"SVV", "PVV", "-VV"};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        struct lab server;
        const struct lab_entry log = lab_change(1, members[i]);
        lab_open(&server, 1, 1, 1, &log);
        expect_vote(&server, LAB_PRE_VOTE, true);
        expect_vote(&server, LAB_VOTE, true);
        assert_int_equal(server.voted_for, 3);
        lab_close(&server);
    }
}

static void expect_silent_leader_is_forgotten(const char *members)
{
    struct lab server;
    const struct lab_entry log = lab_change(1, members);
    lab_open(&server, 1, 1, 1, &log);
    lab_hear_heartbeat(&server, 2, 3, 1, 1, 1);
    expect_vote(&server, LAB_PRE_VOTE, false);
    lab_timeout(&server);
    expect_vote(&server, LAB_PRE_VOTE, true);
    lab_close(&server);
}

/* 12: it denied its vote for ever, as it never gave up its last leader. */
static void test_raft_patch_12_standby_forgets_a_silent_leader(void **state)
{
    (void)state;
    expect_silent_leader_is_forgotten("SVV");
}

static void test_raft_patch_12_server_outside_its_own_log_forgets_a_silent_leader(void **state)
{
    (void)state;
    expect_silent_leader_is_forgotten("-VV");
}

/* --- 13: results of votes in other states ------------------------------------------------------------------ */

/* 13: the follower looked for the phase of its candidacy in what is now a byte of the leader's address. With the
 * addresses aligned that byte is 0, the result of the pre-vote was taken for one of a vote, and its term adopted, which
 * deposes the leader. */
static void test_raft_patch_13_late_pre_vote_result_does_not_raise_a_followers_term(void **state)
{
    (void)state;
    lab_align_allocations();
    struct lab server;
    const struct lab_entry log = lab_change(1, "VVV");
    lab_open(&server, 1, 1, 1, &log);
    lab_timeout(&server);
    assert_int_equal(raft_state(&server.raft), RAFT_CANDIDATE);
    lab_hear_heartbeat(&server, 2, 1, 1, 1, 1);
    assert_int_equal(raft_state(&server.raft), RAFT_FOLLOWER);
    lab_hear_vote(&server, 3, LAB_PRE_VOTE, 2);
    assert_int_equal(raft_current_term(&server.raft), 1);
    lab_close(&server);
}

/* --- 18: a snapshot that ends at the first entry ----------------------------------------------------------- */

/* 18: the leader knew the term of entry 1 from the snapshot, believed to have the entry, and sent heartbeats. */
static void test_raft_patch_18_empty_server_gets_a_snapshot_of_the_first_entry(void **state)
{
    (void)state;
    struct lab server;
    const struct lab_entry log[] = {lab_change(1, "VVV"), lab_command(1)};
    lab_open(&server, 1, 1, 2, log);
    lab_take_snapshot(&server, 1, 0);
    lab_win_election(&server, 3);
    lab_hear_result(&server, 2, 2, 0);
    assert_non_null(lab_sent(&server, RAFT_INSTALL_SNAPSHOT, 2));
    lab_close(&server);
}

/* --- 19: a leader that fell silent ------------------------------------------------------------------------ */

/* 19: a follower refused pre-votes until its own random timeout was over, up to twice the election timeout, so a dead leader was
 * replaced only at the later one of two followers' timeouts. */
static void test_raft_patch_19_leader_that_was_silent_for_an_election_timeout_is_none(void **state)
{
    (void)state;
    for (unsigned silent_ms = LAB_ELECTION_MS - 1; silent_ms <= LAB_ELECTION_MS; silent_ms++) {
        struct lab server;
        const struct lab_entry log = lab_change(1, "VVV");
        lab_open(&server, 1, 1, 1, &log);
        lab_hear_heartbeat(&server, 3, 1, 1, 1, 1);
        server.now += silent_ms;
        lab_hear_vote_request(&server, 2, LAB_PRE_VOTE, 2, 1, 1);
        const struct raft_message *reply = lab_sent(&server, RAFT_REQUEST_VOTE_RESULT, 2);
        assert_non_null(reply);
        assert_int_equal(reply->request_vote_result.vote_granted, silent_ms == LAB_ELECTION_MS);
        lab_close(&server);
    }
}

/* --- 20: a snapshot that was overtaken by a newer one ------------------------------------------------------ */

/* Server 1 leads, and 3 has all of it; 2 was not heard of. */
static void open_leader_of_six_entries(struct lab *server)
{
    const struct lab_entry log[] = {lab_change(1, "VVV"), lab_command(1), lab_command(1), lab_command(1), lab_command(1)};
    lab_open(server, 1, 1, 5, log);
    lab_win_election(server, 3);
    lab_persist_all(server);
    lab_hear_result(server, 3, 0, 6);
}

/* 20: it had installed an older snapshot than the leader's last one, and could have gone on from the log, but what it rejected was not the
 * last snapshot's index; so it was told nothing until the wait for the installation timed out, and then got another snapshot. */
static void test_raft_patch_20_server_that_installed_an_older_snapshot_goes_on_from_the_log(void **state)
{
    (void)state;
    struct lab server;
    open_leader_of_six_entries(&server);
    lab_take_snapshot(&server, 3, 1); /* entry 3 stays */
    lab_hear_result(&server, 2, 5, 0);
    assert_non_null(lab_sent(&server, RAFT_INSTALL_SNAPSHOT, 2));
    lab_take_snapshot(&server, 5, 3); /* the entries from 3 on stay */
    lab_timeout(&server);
    lab_hear_result(&server, 2, 5, 3); /* the snapshot of entry 3 is installed */
    const struct raft_message *sent = lab_sent(&server, RAFT_APPEND_ENTRIES, 2);
    assert_non_null(sent);
    assert_int_equal(sent->append_entries.prev_log_index, 3);
    assert_true(sent->append_entries.n_entries > 0);
    lab_close(&server);
}

/* 20: a rejection does not say the term of the last entry: one that has another entry at that index was probed anew after each snapshot that it was offered. */
static void test_raft_patch_20_server_with_another_entry_there_is_probed_once(void **state)
{
    (void)state;
    struct lab server;
    open_leader_of_six_entries(&server);
    lab_take_snapshot(&server, 5, 3); /* the entries from 3 on stay */
    lab_hear_result(&server, 2, 5, 0);
    assert_non_null(lab_sent(&server, RAFT_INSTALL_SNAPSHOT, 2));
    lab_hear_result(&server, 2, 5, 4);
    const struct raft_message *sent = lab_sent(&server, RAFT_APPEND_ENTRIES, 2);
    assert_non_null(sent);
    assert_int_equal(sent->append_entries.prev_log_index, 4);
    for (raft_index rejected = 4; lab_sent(&server, RAFT_INSTALL_SNAPSHOT, 2) == NULL; rejected--) {
        assert_true(rejected > 1);
        lab_hear_result(&server, 2, rejected, rejected - 1);
    }
    lab_hear_result(&server, 2, 5, 4);
    assert_null(lab_sent(&server, RAFT_APPEND_ENTRIES, 2));
    lab_close(&server);
}

/* --- 21: votes of one term --------------------------------------------------------------------------------- */

/* Server 1, a candidate of term 2 by the pre-vote of server 3. What it asked server 2 for is the last it sent. */
static void open_candidate(struct lab *server, unsigned count, const struct lab_entry *log)
{
    lab_open(server, 1, 1, count, log);
    lab_timeout(server);
    lab_hear_vote(server, 3, LAB_PRE_VOTE, 2);
    assert_int_equal(raft_state(&server->raft), RAFT_CANDIDATE);
    assert_int_equal(raft_current_term(&server->raft), 2);
}

/* 21: it said yes, though its vote of the term was its own. A later term is another matter. */
static void test_raft_patch_21_candidate_refuses_pre_votes_for_its_own_term(void **state)
{
    (void)state;
    struct lab server;
    const struct lab_entry log = lab_change(1, "VVV");
    open_candidate(&server, 1, &log);
    for (raft_term term = 2; term <= 3; term++) {
        lab_hear_vote_request(&server, 2, LAB_PRE_VOTE, term, 1, 1);
        const struct raft_message *reply = lab_sent(&server, RAFT_REQUEST_VOTE_RESULT, 2);
        assert_non_null(reply);
        assert_int_equal(reply->request_vote_result.vote_granted, term == 3);
        assert_int_equal(reply->request_vote_result.term, term);
    }
    lab_close(&server);
}

/* The message of the last step of `from` to `to`. */
static struct lab_message taken(const struct lab *from, const struct lab *to)
{
    for (unsigned i = 0; i < from->sent_count; i++) {
        if (from->sent[i].to == to->id) {
            return from->sent[i];
        }
    }
    fail_msg("nothing was sent to server %llu", to->id);
    return from->sent[0];
}

/* 21: a follower's timeout was over while the candidate that it had said yes to wrote its own vote: both stood in one term, and the
 * next round came a timeout later. */
static void test_raft_patch_21_candidate_wins_when_a_follower_stands_a_little_later(void **state)
{
    (void)state;
    for (unsigned refusal_first = 0; refusal_first <= 1; refusal_first++) {
        struct lab first, second;
        const struct lab_entry log = lab_change(1, "VVV");
        open_candidate(&first, 1, &log);
        const struct lab_message request = taken(&first, &(struct lab){.id = 2});
        lab_open(&second, 2, 1, 1, &log);
        lab_timeout(&second);
        const struct lab_message question = taken(&second, &first);
        lab_receive(&first, &question);
        const struct lab_message answer = taken(&first, &second);
        lab_receive(&second, refusal_first ? &answer : &request);
        const struct lab_message vote = refusal_first ? request : taken(&second, &first);
        if (refusal_first) {
            lab_receive(&second, &vote);
        }
        const struct lab_message granted = refusal_first ? taken(&second, &first) : vote;
        lab_receive(&first, &granted);
        assert_int_equal(raft_state(&first.raft), RAFT_LEADER);
        lab_close(&first);
        lab_close(&second);
    }
}

/* 21: only the server with the longer log can win. It has to learn the other one's term, or it asks for one whose vote is given away for ever. */
static void test_raft_patch_21_refused_candidate_goes_on_to_the_next_term(void **state)
{
    (void)state;
    const struct lab_entry log[] = {lab_change(1, "VVV"), lab_command(1)};
    struct lab behind, complete;
    open_candidate(&behind, 1, log); /* what it sent is lost, and server 3 with it */
    lab_open(&complete, 2, 1, 2, log);
    assert_elected(&complete, &behind);
    lab_close(&behind);
    lab_close(&complete);
}

/* One argument selects tests by a pattern of their names. */
int main(int count, char **arguments)
{
    const struct CMUnitTest tests[] = {
        lab_test(test_raft_patch_09_pre_vote_of_an_older_term_is_answered_with_the_own_term),
        lab_test(test_raft_patch_09_refused_pre_vote_is_answered_with_the_own_term),
        lab_test(test_raft_patch_09_survivors_elect_a_leader_after_a_lost_disk),
        lab_test(test_raft_patch_10_transferee_disrupts_in_its_first_round_only),
        lab_test(test_raft_patch_10_candidate_without_votes_returns_to_pre_votes),
        lab_test(test_raft_patch_11_leader_waits_between_heartbeats_with_a_spare_that_caught_up),
        lab_test(test_raft_patch_12_server_that_its_log_calls_a_non_voter_votes),
        lab_test(test_raft_patch_12_standby_forgets_a_silent_leader),
        lab_test(test_raft_patch_12_server_outside_its_own_log_forgets_a_silent_leader),
        lab_test(test_raft_patch_13_late_pre_vote_result_does_not_raise_a_followers_term),
        lab_test(test_raft_patch_18_empty_server_gets_a_snapshot_of_the_first_entry),
        lab_test(test_raft_patch_19_leader_that_was_silent_for_an_election_timeout_is_none),
        lab_test(test_raft_patch_20_server_that_installed_an_older_snapshot_goes_on_from_the_log),
        lab_test(test_raft_patch_20_server_with_another_entry_there_is_probed_once),
        lab_test(test_raft_patch_21_candidate_refuses_pre_votes_for_its_own_term),
        lab_test(test_raft_patch_21_candidate_wins_when_a_follower_stands_a_little_later),
        lab_test(test_raft_patch_21_refused_candidate_goes_on_to_the_next_term),
    };
    cmocka_set_test_filter(count > 1 ? arguments[1] : NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
