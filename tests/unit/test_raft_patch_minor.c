/* Directed tests of consensus/raft-0.22.1.patch, changes 14 to 17 (minor); the numbers are those of the patch's header.
 * Each test drives raft_step() alone and says what goes wrong without its change.
 *
 * `make test-raft-hunks` takes each change out of the library and expects its test to fail. All of these do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/support/raft_lab.h"

/* 14: nobody freed the second one. */
static void test_raft_patch_14_snapshot_during_an_install_is_freed(void **state)
{
    (void)state;
    struct lab server;
    const struct lab_entry log = lab_change(1, "VVV");
    lab_open(&server, 1, 1, 1, &log);
    lab_hear_snapshot(&server, 2, 2, 10, 2, "VVV");
    assert_true(server.installing);
    const size_t before = lab_allocations();
    lab_hear_snapshot(&server, 2, 2, 10, 2, "VVV");
    assert_int_equal(lab_allocations(), before);

    lab_finish_install(&server);
    const struct raft_message *reply = lab_sent(&server, RAFT_APPEND_ENTRIES_RESULT, 2);
    assert_non_null(reply);
    assert_int_equal(reply->append_entries_result.rejected, 0);
    assert_int_equal(reply->append_entries_result.last_log_index, 10);
    lab_close(&server);
}

/* 15: it went back to the last entry of the repeated message. */
static void test_raft_patch_15_commit_index_does_not_go_back(void **state)
{
    (void)state;
    struct lab server;
    const struct lab_entry log[] = {
        lab_change(1, "VVV"), lab_command(1), lab_command(1), lab_command(1), lab_command(1),
    };
    lab_open(&server, 1, 1, 5, log);
    lab_hear_heartbeat(&server, 2, 1, 5, 1, 3);
    assert_int_equal(raft_commit_index(&server.raft), 3);
    lab_hear_entries(&server, 2, 1, 1, 1, 5, 1, &log[1]);
    assert_int_equal(raft_commit_index(&server.raft), 3);
    lab_hear_heartbeat(&server, 2, 1, 5, 1, 5);
    assert_int_equal(raft_commit_index(&server.raft), 5);
    lab_close(&server);
}

/* 16: any progress of the transferee counted as having caught up; it ignored the order, and no second one came. */
static void test_raft_patch_16_leadership_is_handed_over_when_the_whole_log_is_there(void **state)
{
    (void)state;
    struct lab server;
    const struct lab_entry log[] = {lab_change(1, "VVV"), lab_command(1), lab_command(1)};
    lab_open(&server, 1, 1, 3, log);
    lab_win_election(&server, 3);
    lab_persist_all(&server);
    lab_hear_result(&server, 2, 3, 1);
    lab_transfer(&server, 2);
    lab_hear_result(&server, 2, 0, 3);
    assert_null(lab_sent(&server, RAFT_TIMEOUT_NOW, 2));
    lab_hear_result(&server, 2, 0, 4);
    assert_non_null(lab_sent(&server, RAFT_TIMEOUT_NOW, 2));
    lab_close(&server);
}

/* 17: without new entries there was no progress to notice, and the catch-up was given up. */
static void test_raft_patch_17_catch_up_of_a_current_standby_ends_without_new_entries(void **state)
{
    (void)state;
    struct lab server;
    const struct lab_entry log = lab_change(1, "VVS");
    lab_open(&server, 1, 1, 1, &log);
    lab_win_election(&server, 2);
    lab_persist_all(&server);
    lab_hear_result(&server, 2, 0, 2);
    lab_hear_result(&server, 3, 0, 2);
    lab_catch_up(&server, 3);
    assert_non_null(lab_sent(&server, RAFT_APPEND_ENTRIES, 3));
    lab_hear_result(&server, 3, 0, 2);
    int status;
    assert_int_equal(raft_catch_up(&server.raft, 3, &status), 0);
    assert_int_equal(status, RAFT_CATCH_UP_FINISHED);
    lab_close(&server);
}

/* One argument selects tests by a pattern of their names. */
int main(int count, char **arguments)
{
    const struct CMUnitTest tests[] = {
        lab_test(test_raft_patch_14_snapshot_during_an_install_is_freed),
        lab_test(test_raft_patch_15_commit_index_does_not_go_back),
        lab_test(test_raft_patch_16_leadership_is_handed_over_when_the_whole_log_is_there),
        lab_test(test_raft_patch_17_catch_up_of_a_current_standby_ends_without_new_entries),
    };
    cmocka_set_test_filter(count > 1 ? arguments[1] : NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
