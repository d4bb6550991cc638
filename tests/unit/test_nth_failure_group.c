/* A group of three nodes with real peers and channels, in which one call of one node fails once, for every n until the scenario passes without
 * reaching it. Nothing that was applied anywhere is lost or replaced (tests/unit/support/group_cluster.h compares), and the cluster heals: by itself when a
 * message was lost, after a restart of the node when its disk failed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/support/group_cluster.h"
#include "tests/unit/support/nth_failure.h"

enum { ROUNDS = 6, ENTRIES = 2, ENTRY_BYTES = 1500, ROUND_MS = 8, HEAL_MS = 20000 };

enum whose { THE_LEADER, A_FOLLOWER };

static uint64_t applied_anywhere(const struct cluster *cluster)
{
    uint64_t applied = 0;
    for (unsigned number = 1; number <= cluster->count; number++) {
        applied = cluster->nodes[number].applied_index > applied ? cluster->nodes[number].applied_index : applied;
    }
    return applied;
}

/* All nodes agree again and hold what was applied before. */
static void assert_heals(struct cluster *cluster, uint64_t applied)
{
    for (unsigned number = 1; number <= cluster->count; number++) {
        struct cluster_node *node = &cluster->nodes[number];
        if (node->on && (cluster_facts(node).disk_failed || node->start_status == STATUS_IO_ERROR)) {
            cluster_power_cut(node);
        }
        if (!node->on) {
            cluster_power_on(node);
        }
    }
    assert_true(cluster_until(cluster, cluster_is_whole, HEAL_MS));
    assert_true(applied_anywhere(cluster) >= applied);
    assert_true(cluster_agrees(cluster));
    cluster_destroy(cluster);
}

static void work(struct cluster *cluster)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        cluster_submit_some(cluster, ENTRIES, ENTRY_BYTES);
        cluster_run(cluster, ROUND_MS);
    }
}

/* Entries are submitted and committed. */
static bool work_with(enum whose whose, enum fake_call call, uint64_t n)
{
    struct cluster *cluster = cluster_elected(3, 77);
    struct cluster_node *leader = cluster_leader(cluster);
    struct cluster_node *node = whose == THE_LEADER ? leader : cluster_follower(cluster, leader, 0);
    fake_machine_fail_once(&node->fake, call, n);
    work(cluster);
    bool reached = fake_machine_has_failed(&node->fake);
    fake_machine_fail_once(&node->fake, call, 0);
    if (reached) {
        assert_heals(cluster, applied_anywhere(cluster));
    } else {
        cluster_destroy(cluster);
    }
    return reached;
}

/* Channels are made, a leader is elected. */
static bool first_life(enum fake_call call, uint64_t n)
{
    struct cluster *cluster = cluster_create(3, 78);
    struct cluster_node *node = &cluster->nodes[2];
    fake_machine_fail_once(&node->fake, call, n);
    for (unsigned ms = 0; ms < 1000 && !cluster_has_leader(cluster); ms++) {
        cluster_run(cluster, 1);
    }
    bool reached = fake_machine_has_failed(&node->fake);
    fake_machine_fail_once(&node->fake, call, 0);
    if (reached) {
        assert_heals(cluster, 0);
    } else {
        cluster_destroy(cluster);
    }
    return reached;
}

/* A node that has written comes back; a read that fails is told, and it is started again. */
static bool restarting_life(enum fake_call call, uint64_t n)
{
    struct cluster *cluster = cluster_elected(3, 79);
    work(cluster);
    uint64_t applied = applied_anywhere(cluster);
    struct cluster_node *node = cluster_follower(cluster, cluster_leader(cluster), 0);
    cluster_power_cut(node);
    fake_machine_fail_once(&node->fake, call, n);
    cluster_power_on(node);
    bool reached = fake_machine_has_failed(&node->fake);
    assert_int_equal(node->start_status, reached ? STATUS_IO_ERROR : STATUS_OK);
    fake_machine_fail_once(&node->fake, call, 0);
    assert_heals(cluster, applied);
    return reached;
}

static bool leading_life(enum fake_call call, uint64_t n)
{
    return work_with(THE_LEADER, call, n);
}

static bool following_life(enum fake_call call, uint64_t n)
{
    return work_with(A_FOLLOWER, call, n);
}

NTH_FAILURE_TEST(test_group_each_failed_send_of_the_leader_heals, leading_life, FAKE_SEND, 10)
NTH_FAILURE_TEST(test_group_each_failed_send_of_a_follower_heals, following_life, FAKE_SEND, 5)
NTH_FAILURE_TEST(test_group_each_failed_write_of_the_leader_loses_nothing, leading_life, FAKE_WRITE, 2)
NTH_FAILURE_TEST(test_group_each_failed_write_of_a_follower_loses_nothing, following_life, FAKE_WRITE, 2)
NTH_FAILURE_TEST(test_group_each_failed_flush_of_the_leader_loses_nothing, leading_life, FAKE_FLUSH, 2)
NTH_FAILURE_TEST(test_group_each_failed_flush_of_a_follower_loses_nothing, following_life, FAKE_FLUSH, 2)
NTH_FAILURE_TEST(test_group_each_failed_send_of_handshakes_and_elections_heals, first_life, FAKE_SEND, 8)
NTH_FAILURE_TEST(test_group_each_failed_write_of_boot_number_and_votes_heals, first_life, FAKE_WRITE, 2)
NTH_FAILURE_TEST(test_group_each_failed_flush_of_boot_number_and_votes_heals, first_life, FAKE_FLUSH, 2)
NTH_FAILURE_TEST(test_group_each_failed_read_at_start_is_told, restarting_life, FAKE_READ, 4)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_group_each_failed_send_of_the_leader_heals),
        cmocka_unit_test(test_group_each_failed_send_of_a_follower_heals),
        cmocka_unit_test(test_group_each_failed_write_of_the_leader_loses_nothing),
        cmocka_unit_test(test_group_each_failed_write_of_a_follower_loses_nothing),
        cmocka_unit_test(test_group_each_failed_flush_of_the_leader_loses_nothing),
        cmocka_unit_test(test_group_each_failed_flush_of_a_follower_loses_nothing),
        cmocka_unit_test(test_group_each_failed_send_of_handshakes_and_elections_heals),
        cmocka_unit_test(test_group_each_failed_write_of_boot_number_and_votes_heals),
        cmocka_unit_test(test_group_each_failed_flush_of_boot_number_and_votes_heals),
        cmocka_unit_test(test_group_each_failed_read_at_start_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
