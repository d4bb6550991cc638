/* Groups of several nodes in virtual time: how logs are cut and held, checkpoints made and installed, and entries applied. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "consensus/group_internal.h"
#include "tests/unit/support/crypto_set_up.h"
#include "tests/unit/support/group_cluster.h"

static void test_group_log_is_cut_and_a_late_follower_gets_a_snapshot(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 13);
    struct cluster_node *late = cluster_follower(cluster, cluster_leader(cluster), 0);
    cluster_power_cut(late);
    /* Several times the log region. */
    for (unsigned i = 0; i < 1200; i++) {
        cluster_submit_some(cluster, 1, 65536);
        cluster_run(cluster, i % 3);
    }
    assert_true(cluster_until(cluster, cluster_agrees, 5000));
    assert_true(cluster_facts(cluster_leader(cluster)).log_bytes <= 12 << 20);
    cluster_power_on(late);
    assert_true(cluster_heals(cluster));
    assert_true(late->install_count >= 1);
    cluster_power_cut(late);
    cluster_power_on(late);
    assert_true(cluster_heals(cluster));
    cluster_destroy(cluster);
}

/* DURABLE: what the log holds for a transfer is enough to go on from its checkpoint, also when a newer one was made meanwhile. Otherwise a node that returns
 * to a busy cluster never gets there. */
static void test_group_log_that_is_held_carries_on_who_installed_an_overtaken_checkpoint(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 13);
    cluster_submit_some(cluster, 3, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *leader = cluster_leader(cluster), *late = cluster_follower(cluster, leader, 1);
    cluster_power_cut(late);
    for (unsigned i = 0; i < 150; i++) {
        cluster_submit_some(cluster, 1, ENTRY_BODY_BYTES_MAX - 4096);
        cluster_run(cluster, 3);
    }
    assert_true(cluster_until(cluster, cluster_agrees, 5000));
    cluster_checkpoint(leader);
    cluster_run(cluster, 5);
    struct group_snapshot pinned;
    uint64_t pinned_state = leader->state;
    group_snapshot_describe(leader->group, &pinned);
    group_hold_log(leader->group, pinned.last_index);
    leader->sends_no_snapshot = true; /* only the log can help */
    cluster_power_on(late);
    cluster_run(cluster, 500);
    for (unsigned i = 0; i < 90; i++) { /* more than is kept without a hold */
        cluster_submit_some(cluster, 1, ENTRY_BODY_BYTES_MAX - 4096);
        cluster_run(cluster, 3);
    }
    assert_true(late->applied_index < pinned.last_index);
    cluster_checkpoint(leader);
    cluster_run(cluster, 5);
    assert_int_equal(group_install(late->group, &pinned), STATUS_OK);
    late->applied_index = pinned.last_index;
    late->state = pinned_state;
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    cluster_destroy(cluster);
}

static bool has_room(struct cluster_node *node)
{
    enum { PARTS = 65 };
    return group_room(node->group, PARTS, PARTS * 65536ull);
}

/* BOUND: what a hold keeps leaves room for the largest epoch, whatever the entries take on the disk: here each is followed by a marker. */
static void test_group_log_that_was_held_long_leaves_room_for_an_epoch(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(1, 13);
    struct cluster_node *node = &cluster->nodes[1];
    node->auto_checkpoint = true;
    cluster_checkpoint(node);
    cluster_run(cluster, 300);
    group_hold_log(node->group, node->superblock.raft_index);
    for (unsigned i = 0; i < 500; i++) {
        cluster_submit_some(cluster, 1, 20000); /* 20 KiB and the marker's block: a sixth more than the entries themselves */
        cluster_run(cluster, LOG_MARKER_MS + 6);
        cluster_checkpoint(node);
        cluster_run(cluster, 2);
        assert_true(has_room(node));
    }
    cluster_destroy(cluster);
}

static void test_group_install_of_what_cannot_be_is_refused(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 23);
    struct cluster_node *leader = cluster_leader(cluster), *follower = cluster_follower(cluster, leader, 0);
    assert_true(cluster_until(cluster, cluster_agrees, 1000));
    struct group_snapshot snapshot;
    group_snapshot_describe(leader->group, &snapshot);
    assert_int_equal(group_install(leader->group, &snapshot), STATUS_REFUSED);
    snapshot.member_count = 0;
    assert_int_equal(group_install(follower->group, &snapshot), STATUS_INVALID);
    cluster_destroy(cluster);
}

/* A member that lies gave it: the log is right, but the next start would be held to the checkpoint. */
static void test_group_checkpoint_that_contradicts_the_log_makes_the_node_join_anew(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 46);
    cluster_submit_some(cluster, 3, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *follower = cluster_follower(cluster, cluster_leader(cluster), 0);
    struct group_facts facts = cluster_facts(follower);
    assert_false(group_contradicts(follower->group, facts.applied_index, facts.term));
    assert_true(group_contradicts(follower->group, facts.applied_index, facts.term - 1));
    group_checkpoint_done(follower->group, facts.applied_index, facts.term - 1);
    assert_true(cluster_heals(cluster));
    assert_int_equal(follower->removed_count, 1);
    cluster_destroy(cluster);
}

static void test_group_install_that_contradicts_the_log_makes_the_node_join_anew(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 47);
    cluster_submit_some(cluster, 3, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *leader = cluster_leader(cluster), *follower = cluster_follower(cluster, leader, 0);
    follower->busy = true;
    cluster_submit_some(cluster, 3, 100);
    cluster_run(cluster, 100);
    assert_true(cluster_facts(follower).applied_index < cluster_facts(follower).commit_index);
    struct group_snapshot snapshot;
    group_snapshot_describe(leader->group, &snapshot);
    snapshot.last_term--;
    assert_int_equal(group_install(follower->group, &snapshot), STATUS_CORRUPT);
    follower->busy = false;
    assert_true(cluster_heals(cluster));
    assert_int_equal(follower->removed_count, 1);
    cluster_destroy(cluster);
}

static void test_group_install_below_what_was_applied_applies_again_from_there(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 24);
    cluster_submit_some(cluster, 5, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 1000));
    struct cluster_node *leader = cluster_leader(cluster), *follower = cluster_follower(cluster, leader, 0);
    struct group_snapshot snapshot;
    group_snapshot_describe(leader->group, &snapshot);
    uint64_t state_there = leader->state;
    cluster_submit_some(cluster, 5, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 1000));
    follower->state = 0xbad; /* its image went bad */
    assert_int_equal(group_install(follower->group, &snapshot), STATUS_OK);
    follower->state = state_there;
    follower->applied_index = snapshot.last_index;
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    assert_int_equal(follower->applied_count, 15);
    cluster_destroy(cluster);
}

/* A cluster of three in which one is off and lacks entries whose bodies the leader has on its disk only. */
static struct cluster *cluster_with_one_late(struct cluster_node **late)
{
    struct cluster *cluster = cluster_elected(3, 29);
    assert_true(cluster_until(cluster, cluster_agrees, 1000));
    *late = cluster_follower(cluster, cluster_leader(cluster), 0);
    cluster_power_cut(*late);
    cluster_submit_some(cluster, 20, 10000);
    cluster_run(cluster, 500);
    for (unsigned number = 1; number <= 3; number++) {
        struct cluster_node *node = &cluster->nodes[number];
        node->auto_checkpoint = true;
        if (node != *late) {
            cluster_power_cut(node); /* no body is in memory any more */
            cluster_power_on(node);
        }
    }
    assert_true(cluster_until(cluster, cluster_has_leader, 5000));
    return cluster;
}

static void rot_log(struct cluster_node *node)
{
    for (uint64_t block = 0; block < node->superblock.log_bytes; block += DISK_BLOCK_BYTES) {
        fake_disk_flip(&node->fake, node->superblock.log_offset + block + 2000, 3);
    }
}

/* What the leader's checkpoint covers already it gives as such: a newer one comes with a new commit only, and without the follower there may be none. */
static void test_group_follower_gets_the_checkpoint_there_is_for_entries_that_cannot_be_read(void **state)
{
    (void)state;
    struct cluster_node *late;
    struct cluster *cluster = cluster_with_one_late(&late);
    assert_true(cluster_until(cluster, cluster_agrees, 5000));
    struct cluster_node *leader = cluster_leader(cluster);
    cluster_checkpoint(leader); /* of all there is, as when a burst of work has ended */
    cluster_run(cluster, 50);
    assert_int_equal(leader->superblock.raft_index, cluster_facts(leader).last_index);
    assert_true(log_first_index(leader->group->log) <= 3);
    rot_log(leader);
    cluster_power_on(late);
    assert_true(cluster_until(cluster, cluster_agrees, 5000));
    assert_int_equal(late->install_count, 1);
    cluster_power_cut(cluster_follower(cluster, leader, cluster_follower(cluster, leader, 0) == late ? 1 : 0));
    cluster_submit_some(cluster, 3, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 5000));
    cluster_destroy(cluster);
}

static void test_group_follower_gets_a_checkpoint_for_entries_that_cannot_be_read(void **state)
{
    (void)state;
    struct cluster_node *late;
    struct cluster *cluster = cluster_with_one_late(&late);
    struct cluster_node *leader = cluster_leader(cluster);
    rot_log(leader);
    cluster_power_on(late);
    cluster_run(cluster, 200);
    cluster_submit_some(cluster, 3, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 5000));
    assert_int_equal(late->install_count, 1);
    assert_ptr_equal(cluster_leader(cluster), leader);
    cluster_destroy(cluster);
}

static void test_group_applies_for_a_bounded_time_at_once(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 30);
    assert_true(cluster_until(cluster, cluster_agrees, 1000));
    struct cluster_node *follower = cluster_follower(cluster, cluster_leader(cluster), 0);
    follower->busy = true;
    cluster_submit_some(cluster, 20, 100);
    cluster_run(cluster, 100);
    assert_int_equal(follower->applied_count, 0);
    follower->busy = false;
    follower->apply_cost_ns = GROUP_APPLY_US_MAX * 1000u / 2;
    follower->fake.now_ns += 10000000; /* it is asked again */
    group_tick(follower->group);
    assert_int_equal(follower->applied_count, 2);
    assert_int_equal(group_deadline_ns(follower->group), 0);
    follower->apply_cost_ns = 0;
    assert_true(cluster_until(cluster, cluster_agrees, 1000));
    cluster_destroy(cluster);
}

static void test_group_install_before_the_disk_has_all_acknowledges_nothing_that_it_lacks(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 27);
    cluster_submit_some(cluster, 5, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 1000));
    struct cluster_node *leader = cluster_leader(cluster), *follower = cluster_follower(cluster, leader, 0);
    struct group_snapshot snapshot;
    group_snapshot_describe(leader->group, &snapshot);
    uint64_t state_there = leader->state;
    follower->stalled_disk = true;
    cluster_submit_some(cluster, 5, 100);
    for (unsigned i = 0; i < 20 && follower->applied_count < 10; i++) {
        cluster_run(cluster, 20);
    }
    assert_int_equal(follower->applied_count, 10); /* the others have flushed the new ones, and it has heard of that */
    assert_int_equal(group_install(follower->group, &snapshot), STATUS_OK);
    group_check(follower->group);
    follower->state = state_there;
    follower->applied_index = snapshot.last_index;
    follower->stalled_disk = false;
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    cluster_destroy(cluster);
}

static void test_group_checkpoint_beyond_what_its_own_log_has_flushed_waits(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 26);
    assert_true(cluster_until(cluster, cluster_agrees, 1000));
    struct cluster_node *leader = cluster_leader(cluster);
    leader->stalled_disk = true;
    for (unsigned i = 0; i < 120; i++) { /* more than is kept behind a checkpoint */
        cluster_submit_some(cluster, 1, 60000);
        cluster_run(cluster, 2);
    }
    cluster_run(cluster, 100);
    assert_true(leader->leads);
    assert_int_equal(leader->applied_count, 120); /* the others have flushed it */
    cluster_checkpoint(leader);
    cluster_run(cluster, 10);
    group_check(leader->group);
    assert_int_equal(cluster_facts(leader).last_index, leader->superblock.raft_index);
    leader->stalled_disk = false;
    cluster_submit_some(cluster, 3, 1000);
    assert_true(cluster_heals(cluster));
    group_check(leader->group);
    cluster_power_cut(leader);
    cluster_power_on(leader);
    assert_true(cluster_heals(cluster));
    cluster_destroy(cluster);
}

/* With an argument: only the tests whose names match it, such as '*held*'. */
int main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_group_log_is_cut_and_a_late_follower_gets_a_snapshot),
        cmocka_unit_test(test_group_log_that_is_held_carries_on_who_installed_an_overtaken_checkpoint),
        cmocka_unit_test(test_group_log_that_was_held_long_leaves_room_for_an_epoch),
        cmocka_unit_test(test_group_install_of_what_cannot_be_is_refused),
        cmocka_unit_test(test_group_checkpoint_that_contradicts_the_log_makes_the_node_join_anew),
        cmocka_unit_test(test_group_install_that_contradicts_the_log_makes_the_node_join_anew),
        cmocka_unit_test(test_group_follower_gets_a_checkpoint_for_entries_that_cannot_be_read),
        cmocka_unit_test(test_group_follower_gets_the_checkpoint_there_is_for_entries_that_cannot_be_read),
        cmocka_unit_test(test_group_applies_for_a_bounded_time_at_once),
        cmocka_unit_test(test_group_install_before_the_disk_has_all_acknowledges_nothing_that_it_lacks),
        cmocka_unit_test(test_group_install_below_what_was_applied_applies_again_from_there),
        cmocka_unit_test(test_group_checkpoint_beyond_what_its_own_log_has_flushed_waits),
    };
    return cmocka_run_group_tests(tests, test_crypto_set_up, NULL);
}
