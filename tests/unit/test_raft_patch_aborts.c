/* Directed tests of consensus/raft-0.22.1.patch, changes 6 to 8 (aborts); the numbers are those of the patch's header.
 * Each test drives raft_step() alone and says what goes wrong without its change.
 *
 * `make test-raft-hunks` takes each change out of the library and expects its test to fail: here mostly by one of the
 * library's own assertions, which ends the test program. All of these do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/support/raft_lab.h"

enum { ENTRIES = 6 };

static void open_server(struct lab *server, raft_term term)
{
    struct lab_entry log[ENTRIES] = {lab_change(1, "VVV")};
    for (unsigned i = 1; i < ENTRIES; i++) {
        log[i] = lab_command(1);
    }
    lab_open(server, 1, term, ENTRIES, log);
}

/* Lead term 2 with entry 7, the barrier, on the own disk and on server 3's; server 2 rejected entry 6 as it had entry 1
 * only, then stored 2 to `match` and fell silent for `silent_ms`. */
static void lead_with_a_laggard(struct lab *server, raft_index match, raft_time silent_ms)
{
    open_server(server, 1);
    lab_win_election(server, 3);
    lab_persist_all(server);
    lab_hear_result(server, 2, ENTRIES, 1);
    lab_hear_result(server, 2, 0, match);
    const raft_time silent_since = server->now;
    do {
        lab_hear_result(server, 3, 0, ENTRIES + 1);
        lab_timeout(server);
    } while (server->now - silent_since < silent_ms);
    assert_int_equal(raft_state(&server->raft), RAFT_LEADER);
    assert_int_equal(raft_commit_index(&server->raft), ENTRIES + 1);
}

static void expect_match(const struct lab *server, raft_index expected)
{
    raft_index match;
    assert_int_equal(raft_match_index(&server->raft, 2, &match), 0);
    assert_int_equal(match, expected);
}

/* 6: the leader took its next index below what server 2 is known to hold. */
static void test_raft_patch_06_repeated_rejection_of_an_entry_stored_since_is_ignored(void **state)
{
    (void)state;
    struct lab server;
    lead_with_a_laggard(&server, ENTRIES, 2 * LAB_HEARTBEAT_MS);
    lab_hear_result(&server, 2, ENTRIES, 1);
    assert_int_equal(server.sent_count, 0);
    expect_match(&server, ENTRIES);
    lab_hear_result(&server, 2, 0, ENTRIES + 1);
    expect_match(&server, ENTRIES + 1);
    lab_close(&server);
}

/* 6: likewise by the rejection's hint, when the rejected entry itself is beyond what server 2 holds. */
static void test_raft_patch_06_outdated_hint_does_not_take_the_next_index_below_the_match(void **state)
{
    (void)state;
    struct lab server;
    lead_with_a_laggard(&server, 3, 2 * LAB_ELECTION_MS);
    lab_take_snapshot(&server, ENTRIES, 0);
    lab_timeout(&server);
    const struct raft_message *heartbeat = lab_sent(&server, RAFT_APPEND_ENTRIES, 2);
    assert_non_null(heartbeat);
    assert_int_equal(heartbeat->append_entries.prev_log_index, ENTRIES);

    lab_hear_result(&server, 2, ENTRIES, 1);
    expect_match(&server, 3);
    assert_non_null(lab_sent(&server, RAFT_INSTALL_SNAPSHOT, 2));
    lab_close(&server);
}

/* A follower of term 2 whose log is committed, with entries 1 to 4 compacted and 5 and 6 still there. */
static void follow_with_a_snapshot(struct lab *server)
{
    open_server(server, 2);
    lab_hear_heartbeat(server, 2, 2, ENTRIES, 1, ENTRIES);
    assert_int_equal(raft_commit_index(&server->raft), ENTRIES);
    lab_take_snapshot(server, ENTRIES, 2);
}

static void expect_success_up_to_the_snapshot(const struct lab *server)
{
    const struct raft_message *reply = lab_sent(server, RAFT_APPEND_ENTRIES_RESULT, 2);
    assert_non_null(reply);
    assert_int_equal(reply->append_entries_result.rejected, 0);
    assert_int_equal(reply->append_entries_result.last_log_index, ENTRIES);
}

/* 7: the follower rejected an entry that it had compacted; a leader that knows it to be stored there ignores that, and
 * repeats itself for ever. */
static void test_raft_patch_07_entries_after_a_compacted_one_are_answered_with_the_snapshot(void **state)
{
    (void)state;
    struct lab server;
    follow_with_a_snapshot(&server);
    const struct lab_entry entries[] = {lab_command(1), lab_command(1)};
    for (raft_index previous = 2; previous <= 4; previous++) {
        lab_hear_entries(&server, 2, 2, previous, 1, ENTRIES, 2, entries);
        expect_success_up_to_the_snapshot(&server);
        lab_hear_heartbeat(&server, 2, 2, previous, 1, ENTRIES);
        expect_success_up_to_the_snapshot(&server);
    }
    lab_close(&server);
}

/* 7: entries from the first on were appended at the end of the log. */
static void test_raft_patch_07_compacted_entries_from_the_first_on_are_answered_with_the_snapshot(void **state)
{
    (void)state;
    struct lab server;
    follow_with_a_snapshot(&server);
    const struct lab_entry entries[] = {lab_change(1, "VVV"), lab_command(1)};
    lab_hear_entries(&server, 2, 2, 0, 0, ENTRIES, 2, entries);
    expect_success_up_to_the_snapshot(&server);
    lab_close(&server);
}

/* 8: the library refused the barrier of the new leader and took that for impossible. */
static void test_raft_patch_08_server_is_elected_while_all_disks_are_full(void **state)
{
    (void)state;
    struct lab server;
    open_server(&server, 1);
    raft_set_capacity_threshold(&server.raft, 10);
    server.capacity = 0;
    lab_win_election(&server, 3);
    assert_int_equal(server.log[ENTRIES + 1].type, RAFT_BARRIER);
    assert_int_equal(lab_submit_command(&server), RAFT_NOSPACE);
    lab_close(&server);
}

/* One argument selects tests by a pattern of their names. */
int main(int count, char **arguments)
{
    const struct CMUnitTest tests[] = {
        lab_test(test_raft_patch_06_repeated_rejection_of_an_entry_stored_since_is_ignored),
        lab_test(test_raft_patch_06_outdated_hint_does_not_take_the_next_index_below_the_match),
        lab_test(test_raft_patch_07_entries_after_a_compacted_one_are_answered_with_the_snapshot),
        lab_test(test_raft_patch_07_compacted_entries_from_the_first_on_are_answered_with_the_snapshot),
        lab_test(test_raft_patch_08_server_is_elected_while_all_disks_are_full),
    };
    cmocka_set_test_filter(count > 1 ? arguments[1] : NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
