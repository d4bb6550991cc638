/* Directed tests of consensus/raft-0.22.1.patch, changes 1 to 5 (safety); the numbers are those of the patch's header.
 * Each test drives raft_step() alone and says what goes wrong without its change.
 *
 * `make test-raft-hunks` takes each change out of the library and expects its test to fail. All of these do. One is not
 * certain to: the last index in a stale reply to entries that do not begin the log (3) is without its change whatever
 * the stack held, which the test trusts to be another value. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/support/raft_lab.h"

/* Let server 1 stand for election and check that it asks exactly the other voters of `members`: the configuration
 * that it goes by. */
static void expect_candidate_goes_by(struct lab *server, const char *members)
{
    lab_persist_all(server);
    lab_timeout(server);
    assert_int_equal(raft_state(&server->raft), RAFT_CANDIDATE);
    for (raft_id id = 2; id <= LAB_SERVERS_MAX; id++) {
        const bool asked = lab_sent(server, RAFT_REQUEST_VOTE, id) != NULL;
        bool voter = false;
        for (size_t i = 0; members[i] != '\0'; i++) {
            voter = voter || (i + 1 == id && members[i] == 'V');
        }
        assert_int_equal(asked, voter);
    }
}

/* 1: the change came second in its batch and counted as an entry of the batch's index, before the truncation. */
static void test_raft_patch_01_truncated_change_in_a_batch_is_rolled_back(void **state)
{
    (void)state;
    struct lab server;
    const struct lab_entry log = lab_change(1, "VVV");
    lab_open(&server, 1, 1, 1, &log);

    const struct lab_entry batch[] = {lab_command(2), lab_change(2, "VVVV")};
    lab_hear_entries(&server, 2, 2, 1, 1, 1, 2, batch);
    lab_persist(&server, 3);
    /* Server 3 leads without having seen the change. */
    const struct lab_entry other = lab_command(3);
    lab_hear_entries(&server, 3, 3, 2, 2, 1, 1, &other);

    expect_candidate_goes_by(&server, "VVV");
    lab_close(&server);
}

/* 2: the rollback went back by two changes, to before one that is committed. */
static void test_raft_patch_02_rollback_keeps_the_change_that_a_newer_one_proves_committed(void **state)
{
    (void)state;
    struct lab server;
    const struct lab_entry log = lab_change(1, "VVV");
    lab_open(&server, 1, 1, 1, &log);

    const struct lab_entry first = lab_change(2, "VVVV");
    const struct lab_entry second = lab_change(2, "VVVVV");
    const struct lab_entry other = lab_command(3);
    lab_hear_entries(&server, 2, 2, 1, 1, 1, 1, &first);
    lab_persist(&server, 2);
    /* The leader submits a second change only after the first is committed, of which this server did not hear. */
    lab_hear_entries(&server, 2, 2, 2, 2, 1, 1, &second);
    lab_persist(&server, 3);
    lab_hear_entries(&server, 3, 3, 2, 2, 1, 1, &other);

    expect_candidate_goes_by(&server, "VVVV");
    lab_close(&server);
}

/* What a leader may do with the answer to a message of an older term: nothing but step down. */
static void expect_rejection(const struct lab *server, raft_index rejected)
{
    const struct raft_message *reply = lab_sent(server, RAFT_APPEND_ENTRIES_RESULT, 2);
    assert_non_null(reply);
    assert_int_equal(reply->append_entries_result.term, 3);
    assert_int_equal(reply->append_entries_result.rejected, rejected);
    assert_int_equal(reply->append_entries_result.last_log_index, rejected - 1);
}

/* 3: rejected was 0, a success, when the entries began the log. Server 2, whose message is of term 2, may by now lead
 * term 3, which is the term of the reply. */
static void test_raft_patch_03_stale_entries_from_the_first_on_are_rejected(void **state)
{
    (void)state;
    struct lab server;
    const struct lab_entry log[] = {lab_change(1, "VVV"), lab_command(3)};
    lab_open(&server, 1, 3, 2, log);
    lab_hear_entries(&server, 2, 2, 0, 0, 0, 1, &log[0]);
    expect_rejection(&server, 1);
    lab_close(&server);
}

/* 3: the last index was not set. */
static void test_raft_patch_03_stale_entries_are_rejected_with_a_defined_index(void **state)
{
    (void)state;
    struct lab server;
    const struct lab_entry log[] = {lab_change(1, "VVV"), lab_command(3)};
    lab_open(&server, 1, 3, 2, log);
    lab_hear_heartbeat(&server, 2, 2, 20, 2, 0);
    expect_rejection(&server, 20);
    lab_close(&server);
}

/* 3: rejected was 0 and the last index not set. */
static void test_raft_patch_03_stale_snapshot_is_rejected(void **state)
{
    (void)state;
    struct lab server;
    const struct lab_entry log[] = {lab_change(1, "VVV"), lab_command(3)};
    lab_open(&server, 1, 3, 2, log);
    lab_hear_snapshot(&server, 2, 2, 20, 2, "VVV");
    expect_rejection(&server, 20);
    lab_close(&server);
}

/* 3: a snapshot of the present term that is not needed remains a success. */
static void test_raft_patch_03_snapshot_of_entries_that_are_there_is_a_success(void **state)
{
    (void)state;
    struct lab server;
    const struct lab_entry log[] = {lab_change(1, "VVV"), lab_command(3)};
    lab_open(&server, 1, 3, 2, log);
    lab_hear_snapshot(&server, 2, 3, 2, 3, "VVV");
    const struct raft_message *reply = lab_sent(&server, RAFT_APPEND_ENTRIES_RESULT, 2);
    assert_non_null(reply);
    assert_int_equal(reply->append_entries_result.rejected, 0);
    assert_int_equal(reply->append_entries_result.last_log_index, 2);
    lab_close(&server);
}

/* 4: before and after the crash the server led term 1, and both times it gave out an entry 2 of term 1. */
static void test_raft_patch_04_sole_voter_leads_a_new_term_after_a_crash(void **state)
{
    (void)state;
    struct lab server;
    const struct lab_entry log = lab_change(1, "V");
    lab_open(&server, 1, 1, 1, &log);
    assert_int_equal(raft_state(&server.raft), RAFT_LEADER);
    assert_int_equal(lab_submit_command(&server), 0);
    const struct lab_entry before = server.log[2];

    lab_crash(&server); /* entry 2 was sent to standbys perhaps, but is not on the disk */
    assert_int_equal(raft_state(&server.raft), RAFT_LEADER);
    assert_int_equal(lab_submit_command(&server), 0);
    assert_int_not_equal(server.log[2].term, before.term);
    assert_int_equal(server.voted_for, 1);
    lab_close(&server);
}

/* 5: a change of a new leader could overlap with one of its predecessor, the two without a common voter. */
static void test_raft_patch_05_change_waits_for_an_entry_of_the_own_term(void **state)
{
    (void)state;
    struct lab server;
    const struct lab_entry log[] = {lab_change(1, "VVV"), lab_command(1)};
    lab_open(&server, 1, 1, 2, log);
    lab_win_election(&server, 3);
    assert_int_equal(lab_submit_change(&server, "VVVV"), RAFT_CANTCHANGE);

    lab_persist_all(&server);
    assert_int_equal(lab_submit_change(&server, "VVVV"), RAFT_CANTCHANGE);
    lab_hear_result(&server, 3, 0, server.log_durable);
    assert_int_equal(raft_commit_index(&server.raft), 3);
    assert_int_equal(lab_submit_change(&server, "VVVV"), 0);
    lab_close(&server);
}

/* 5: a leader that inherits nothing uncommitted appended no entry of its own, and could never change its members. */
static void test_raft_patch_05_leader_of_a_settled_log_can_change_its_members(void **state)
{
    (void)state;
    struct lab server;
    const struct lab_entry log = lab_change(1, "VVV");
    lab_open(&server, 1, 1, 1, &log);
    lab_win_election(&server, 3);
    lab_persist_all(&server);
    lab_hear_result(&server, 3, 0, server.log_durable);
    assert_int_equal(lab_submit_change(&server, "VVVV"), 0);
    lab_close(&server);
}

/* 5: nor did a sole voter. */
static void test_raft_patch_05_sole_voter_can_change_its_members(void **state)
{
    (void)state;
    struct lab server;
    const struct lab_entry log = lab_change(1, "V");
    lab_open(&server, 1, 1, 1, &log);
    lab_persist_all(&server);
    assert_int_equal(lab_submit_change(&server, "VS"), 0);
    lab_close(&server);
}

/* One argument selects tests by a pattern of their names. */
int main(int count, char **arguments)
{
    const struct CMUnitTest tests[] = {
        lab_test(test_raft_patch_01_truncated_change_in_a_batch_is_rolled_back),
        lab_test(test_raft_patch_02_rollback_keeps_the_change_that_a_newer_one_proves_committed),
        lab_test(test_raft_patch_03_stale_entries_from_the_first_on_are_rejected),
        lab_test(test_raft_patch_03_stale_entries_are_rejected_with_a_defined_index),
        lab_test(test_raft_patch_03_stale_snapshot_is_rejected),
        lab_test(test_raft_patch_03_snapshot_of_entries_that_are_there_is_a_success),
        lab_test(test_raft_patch_04_sole_voter_leads_a_new_term_after_a_crash),
        lab_test(test_raft_patch_05_change_waits_for_an_entry_of_the_own_term),
        lab_test(test_raft_patch_05_leader_of_a_settled_log_can_change_its_members),
        lab_test(test_raft_patch_05_sole_voter_can_change_its_members),
    };
    cmocka_set_test_filter(count > 1 ? arguments[1] : NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
