/* Groups of several nodes in virtual time: what becomes of disks that lose power, are lost or replaced, come back older, or go bad. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "consensus/group_internal.h"
#include "consensus/log_internal.h"
#include "tests/unit/support/crypto_set_up.h"
#include "tests/unit/support/group_cluster.h"

static void test_group_power_loss_of_all_keeps_what_was_committed(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 5);
    for (unsigned i = 0; i < 40; i++) {
        cluster_submit_some(cluster, 1, 4000);
        cluster_run(cluster, 1);
    }
    uint64_t committed = 0;
    for (unsigned number = 1; number <= 3; number++) {
        struct cluster_node *node = &cluster->nodes[number];
        committed = node->applied_index > committed ? node->applied_index : committed;
        cluster_power_cut(node);
    }
    assert_true(committed > 10);
    for (unsigned number = 1; number <= 3; number++) {
        cluster_power_on(&cluster->nodes[number]);
        assert_int_equal(cluster->nodes[number].start_status, STATUS_OK);
    }
    assert_true(cluster_heals(cluster));
    assert_true(cluster->nodes[1].applied_index >= committed);
    cluster_destroy(cluster);
}

/* What would `node` say to another one whose disk is damaged? */
static enum peers_reason answer_to_damaged(struct cluster_node *node, unsigned damaged)
{
    struct peers_hello hello = {0};
    enum peers_reason reason = PEERS_REASON_NONE;
    group_damaged_hello(raft_id_make(damaged, 77), &hello);
    assert_int_equal(group_accept_hello(node->group, damaged, &hello, &reason), STATUS_REFUSED);
    return reason;
}

/* NO-AMNESIA: only a leader whose majority does without the damaged node tells it to give its disk up. */
static void test_group_damaged_node_is_repaired_only_by_a_majority_without_it(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 21);
    struct cluster_node *leader = cluster_leader(cluster);
    unsigned near = cluster_follower(cluster, leader, 0)->number, far = cluster_follower(cluster, leader, 1)->number;
    cluster_submit_some(cluster, 3, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    assert_int_equal(answer_to_damaged(leader, near), PEERS_REASON_REPAIR);
    assert_int_equal(answer_to_damaged(&cluster->nodes[near], far), PEERS_REASON_NOT_NOW);
    cluster_power_cut(&cluster->nodes[far]);
    cluster_run(cluster, 5 * CLUSTER_ELECTION_MS);
    assert_ptr_equal(cluster_leader(cluster), leader);
    assert_int_equal(answer_to_damaged(leader, near), PEERS_REASON_NOT_NOW);
    assert_int_equal(answer_to_damaged(leader, far), PEERS_REASON_REPAIR);
    cluster_power_cut(&cluster->nodes[near]);
    cluster_run(cluster, 5 * CLUSTER_ELECTION_MS);
    assert_int_equal(answer_to_damaged(leader, far), PEERS_REASON_NOT_NOW);
    cluster_destroy(cluster);
}

static void test_group_lost_disk_comes_back_under_a_new_id(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 6);
    cluster_submit_some(cluster, 30, 2000);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *lost = cluster_follower(cluster, cluster_leader(cluster), 1);
    uint64_t old_id = cluster_facts(lost).raft_id;
    cluster_power_cut(lost);
    cluster_blank_disk(lost);
    cluster_run(cluster, 100);
    cluster_power_on(lost);
    assert_true(cluster_heals(cluster));
    assert_int_not_equal(cluster_facts(lost).raft_id, old_id);
    assert_int_equal(lost->superblock.joining, 0);
    struct group_member_facts member;
    group_member(cluster_leader(cluster)->group, lost->number, &member);
    assert_int_equal(member.raft_id, cluster_facts(lost).raft_id);
    assert_int_equal(member.role, DISK_ROLE_VOTER);
    cluster_destroy(cluster);
}

static void test_group_lost_disk_of_the_leader_comes_back(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 7);
    cluster_submit_some(cluster, 30, 2000);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *leader = cluster_leader(cluster);
    cluster_power_cut(leader);
    cluster_blank_disk(leader);
    cluster_power_on(leader);
    assert_true(cluster_heals(cluster));
    cluster_destroy(cluster);
}

/* A disk and what the store had on it. */
struct disk_copy {
    uint8_t *bytes;
    struct disk_superblock superblock;
    uint64_t checkpoint_state;
};

static struct disk_copy copy_disk(const struct cluster_node *node)
{
    struct disk_copy copy = {.bytes = malloc(node->fake.disk.bytes), .superblock = node->superblock, .checkpoint_state = node->checkpoint_state};
    assert_non_null(copy.bytes);
    memcpy(copy.bytes, node->fake.disk.durable, node->fake.disk.bytes);
    return copy;
}

/* The (powered off) node gets the older disk back; the copy is used up. */
static void put_disk_back(struct cluster_node *node, struct disk_copy *copy)
{
    memcpy(node->fake.disk.durable, copy->bytes, node->fake.disk.bytes);
    memcpy(node->fake.disk.current, copy->bytes, node->fake.disk.bytes);
    node->superblock = copy->superblock;
    node->checkpoint_state = copy->checkpoint_state;
    free(copy->bytes);
}

/* Of three nodes that agree on some entries a follower goes off. */
static struct cluster_node *follower_that_went_off(uint64_t seed)
{
    struct cluster *cluster = cluster_elected(3, seed);
    cluster_submit_some(cluster, 10, 2000);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *node = cluster_follower(cluster, cluster_leader(cluster), 0);
    cluster_power_cut(node);
    return node;
}

static void test_group_replaced_disk_that_returns_joins_anew(void **state)
{
    (void)state;
    struct cluster_node *node = follower_that_went_off(8);
    struct cluster *cluster = node->cluster;
    struct disk_copy copy = copy_disk(node);
    cluster_blank_disk(node);
    cluster_power_on(node);
    assert_true(cluster_heals(cluster));
    cluster_power_cut(node);
    put_disk_back(node, &copy);
    cluster_power_on(node);
    assert_true(cluster_heals(cluster));
    assert_int_equal(node->removed_count, 1);
    cluster_destroy(cluster);
}

static void test_group_older_copy_of_the_disk_is_refused_and_joins_anew(void **state)
{
    (void)state;
    struct cluster_node *node = follower_that_went_off(9);
    struct cluster *cluster = node->cluster;
    uint64_t old_id = raft_id_make(node->number, node->superblock.incarnation);
    struct disk_copy copy = copy_disk(node);
    cluster_power_on(node);
    assert_true(cluster_heals(cluster));
    cluster_run(cluster, 100);
    cluster_power_cut(node);
    put_disk_back(node, &copy);
    cluster_power_on(node);
    assert_true(cluster_heals(cluster));
    assert_int_equal(node->removed_count, 1);
    assert_int_not_equal(cluster_facts(node).raft_id, old_id);
    cluster_destroy(cluster);
}

static void next_boot(struct peers_hello *hello, uint64_t life)
{
    hello->boot_number++;
    memmove(&hello->lives[1], &hello->lives[0], sizeof hello->lives - sizeof hello->lives[0]);
    hello->lives[0] = life;
}

/* NO-AMNESIA: an older copy that was started as often as the disk itself, or more often, before it spoke with anybody. */
static void test_group_older_copy_that_was_started_as_often_is_refused_by_a_follower_too(void **state)
{
    (void)state;
    struct cluster_node *node = follower_that_went_off(9);
    struct cluster *cluster = node->cluster;
    struct disk_copy copy = copy_disk(node);
    cluster_power_on(node);
    assert_true(cluster_heals(cluster));
    struct cluster_node *other = cluster_leader(cluster);
    for (unsigned number = 1; number <= 3; number++) {
        other = &cluster->nodes[number] != node && !cluster->nodes[number].leads ? &cluster->nodes[number] : other;
    }
    struct peers_hello own = {0}, shown = {0};
    group_own_hello(node->group, other->number, &own);

    cluster_power_cut(node);
    put_disk_back(node, &copy);
    cluster_isolate(cluster, node->number, true);
    cluster_power_on(node);
    cluster_run(cluster, 50);
    group_own_hello(node->group, other->number, &shown);
    assert_int_equal(shown.boot_number, own.boot_number);
    enum peers_reason reason = PEERS_REASON_NONE;
    for (unsigned more = 0; more < 2 * DISK_LIVES; more++) { /* once refused it is refused for good */
        assert_int_equal(group_accept_hello(other->group, node->number, &shown, &reason), STATUS_REFUSED);
        assert_int_equal(reason, PEERS_REASON_STALE);
        next_boot(&shown, 1000 + more);
    }
    for (unsigned more = 0; more < DISK_LIVES - 1; more++) {
        next_boot(&own, 2000 + more); /* of the disk itself nobody saw these: but it remembers the one that was seen */
    }
    struct cluster_node *third = other == cluster_leader(cluster) ? cluster_follower(cluster, other, 0) : cluster_leader(cluster);
    assert_int_equal(group_accept_hello(third->group, node->number, &own, &reason), STATUS_OK);
    cluster_isolate(cluster, node->number, false);
    assert_true(cluster_heals(cluster));
    assert_int_equal(node->removed_count, 1);
    cluster_destroy(cluster);
}

static void test_group_log_that_went_bad_makes_the_node_join_anew(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 16);
    for (unsigned i = 0; i < 30; i++) {
        cluster_submit_some(cluster, 1, 3000);
        cluster_run(cluster, 3);
    }
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *node = cluster_follower(cluster, cluster_leader(cluster), 0);
    uint64_t old_id = cluster_facts(node).raft_id;
    cluster_power_cut(node);
    fake_disk_flip(&node->fake, node->superblock.log_offset + 10 * 4096 + 900, 4);
    cluster_power_on(node);
    assert_int_equal(node->start_status, STATUS_CORRUPT);
    assert_non_null(strstr(node->reason, "log batch"));
    assert_true(cluster_heals(cluster));
    assert_int_not_equal(cluster_facts(node).raft_id, old_id);
    cluster_destroy(cluster);
}

/* There is nobody to join: the incarnation and what is left of the disk stay as they are. */
static void test_group_of_one_whose_log_goes_bad_stands_aside(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(1, 45);
    struct cluster_node *node = &cluster->nodes[1];
    cluster_submit_some(cluster, 20, 3000);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    cluster_power_cut(node);
    cluster_power_on(node);
    assert_int_equal(node->start_status, STATUS_OK);
    for (uint64_t block = 0; block < 64; block++) { /* after it was recovered, before it is applied */
        fake_disk_flip(&node->fake, node->superblock.log_offset + block * 4096 + 150, 4);
    }
    cluster_run(cluster, 1000);
    assert_false(cluster_facts(node).started);
    assert_int_equal(node->damaged_count, 1);
    assert_non_null(strstr(node->reason, "which is committed, cannot be read back"));
    assert_int_equal(node->removed_count, 0);
    cluster_destroy(cluster);
}

static void test_group_votes_that_are_gone_make_the_node_join_anew(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 17);
    cluster_submit_some(cluster, 10, 3000);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *node = cluster_follower(cluster, cluster_leader(cluster), 0);
    cluster_power_cut(node);
    memset(node->fake.disk.durable + 2 * 4096, 0, 2 * 4096);
    memset(node->fake.disk.current + 2 * 4096, 0, 2 * 4096);
    cluster_power_on(node);
    assert_int_equal(node->start_status, STATUS_CORRUPT);
    assert_true(cluster_heals(cluster));
    cluster_destroy(cluster);
}

static void test_group_superblock_that_cannot_be_is_invalid(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 18);
    struct cluster_node *node = cluster_follower(cluster, cluster_leader(cluster), 0);
    struct disk_superblock good = node->superblock;
    char reason[REASON_BYTES_MAX] = "";
    for (unsigned i = 0; i < 5; i++) {
        struct disk_superblock bad = good;
        switch (i) {
        case 0:
            bad.log_bytes = 4096;
            break;
        case 1:
            bad.raft_term = 0;
            break;
        case 2:
            bad.configuration_index = bad.raft_index + 1;
            break;
        case 3:
            bad.member_count = DISK_MEMBERS_MAX + 1;
            break;
        default:
            bad.incarnation = 0;
            break;
        }
        assert_int_equal(group_start(node->group, &bad, reason), STATUS_INVALID);
        assert_true(reason[0] != 0);
        assert_false(cluster_facts(node).started);
    }
    cluster_destroy(cluster);
}

static void test_group_disk_that_fails_writes_stands_aside(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 19);
    struct cluster_node *leader = cluster_leader(cluster);
    leader->fake.disk.write_errors = true;
    cluster_submit_some(cluster, 3, 1000);
    for (unsigned ms = 0; leader->leads; ms++) {
        assert_true(ms < 2000);
        cluster_run(cluster, 1);
    }
    assert_true(cluster_facts(leader).disk_failed);
    assert_false(cluster_facts(leader).started);
    assert_true(cluster_until(cluster, cluster_has_leader, 3000));
    assert_ptr_not_equal(cluster_leader(cluster), leader);
    leader->fake.disk.write_errors = false;
    cluster_power_cut(leader);
    cluster_power_on(leader);
    assert_true(cluster_heals(cluster));
    cluster_destroy(cluster);
}

/* Where on the disk the body of the first change of members from entry `index` on stands. */
static uint64_t place_of_change(const struct cluster_node *node, uint64_t index)
{
    const struct log *log = node->group->log;
    while (index < log_last_index(log) && log_type_of(log, index) != LOG_CHANGE) {
        index++;
    }
    assert_int_equal(log_type_of(log, index), LOG_CHANGE);
    const struct log_slot *slot = log_slot_of(log, index);
    return log->offset + (uint64_t)slot->block * LOG_BLOCK + slot->record + sizeof(struct log_record) + 4;
}

/* VERIFY: the library is given the changes of members behind a checkpoint; one that rotted since the start ends the incarnation, not the node. */
static void test_group_install_before_a_change_of_members_that_rotted_makes_the_node_join_anew(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 13);
    cluster_submit_some(cluster, 3, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *leader = cluster_leader(cluster);
    struct cluster_node *follower = cluster_follower(cluster, leader, 0), *lost = cluster_follower(cluster, leader, 1);
    struct group_snapshot before;
    group_snapshot_describe(follower->group, &before);
    before.leader_id = cluster_facts(leader).raft_id;
    cluster_power_cut(lost);
    cluster_blank_disk(lost);
    cluster_power_on(lost);
    assert_true(cluster_until(cluster, cluster_is_whole, 20000));
    cluster_power_cut(follower);
    cluster_isolate(cluster, follower->number, true); /* nothing is applied yet, and what the log has beyond the checkpoint is on the disk only */
    cluster_power_on(follower);
    cluster_run(cluster, 50);
    fake_disk_flip(&follower->fake, place_of_change(follower, before.last_index + 1), 1);
    assert_int_equal(group_install(follower->group, &before), STATUS_CORRUPT);
    cluster_isolate(cluster, follower->number, false);
    assert_true(cluster_heals(cluster));
    assert_int_equal(follower->damaged_count, 1);
    cluster_destroy(cluster);
}

/* A follower that was started, but whose boot number is not durable yet, with a change of members in its log. */
static struct cluster_node *starting_follower(struct cluster *cluster)
{
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *leader = cluster_leader(cluster);
    struct cluster_node *follower = cluster_follower(cluster, leader, 0), *lost = cluster_follower(cluster, leader, 1);
    cluster_power_cut(lost);
    cluster_blank_disk(lost);
    cluster_power_on(lost);
    assert_true(cluster_until(cluster, cluster_is_whole, 20000));
    cluster_power_cut(follower);
    cluster_power_on(follower);
    assert_int_equal(follower->start_status, STATUS_OK);
    return follower;
}

static void test_group_change_of_members_that_rots_while_the_node_starts_makes_it_join_anew(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 14);
    struct cluster_node *follower = starting_follower(cluster);
    fake_disk_flip(&follower->fake, place_of_change(follower, log_first_index(follower->group->log)), 1);
    assert_true(cluster_heals(cluster));
    assert_int_equal(follower->damaged_count, 1);
    cluster_destroy(cluster);
}

static void test_group_change_of_members_that_cannot_be_read_while_the_node_starts_makes_it_stand_aside(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 15);
    struct cluster_node *follower = starting_follower(cluster);
    follower->fake.disk.read_error_at = place_of_change(follower, log_first_index(follower->group->log));
    cluster_run(cluster, 1000);
    assert_true(cluster_facts(follower).disk_failed);
    assert_int_equal(follower->removed_count, 0);
    cluster_destroy(cluster);
}

/* A log is not sealed: entries that no joiner can have must not reach the library, which asserts that the first one names the members. */
static void test_group_joining_disk_with_log_entries_is_corrupt(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 61);
    struct cluster_node *follower = cluster_follower(cluster, cluster_leader(cluster), 0);
    cluster_power_cut(follower);
    cluster_blank_disk(follower);
    const struct disk_superblock *superblock = &follower->superblock;
    const uint64_t raft_id = raft_id_make(follower->number, superblock->incarnation);
    struct log *log;
    assert_int_equal(log_create(&log, &follower->fake.machine, superblock->log_bytes), STATUS_OK);
    assert_int_equal(log_open(log, superblock->log_offset, superblock->log_bytes, raft_id, 0, 0, follower->reason), STATUS_OK);
    assert_int_equal(log_append(log, 1, 1, LOG_BARRIER, NULL, NULL, 0), STATUS_OK);
    for (unsigned i = 0; i < 5; i++) {
        log_tick(log, false);
        fake_disk_drain(&follower->fake);
    }
    assert_int_equal(log_persisted(log), 1);
    fake_machine_power_cut(&follower->fake);
    cluster_power_on(follower);
    assert_int_equal(follower->start_status, STATUS_CORRUPT);
    assert_non_null(strstr(follower->reason, "admitted"));
    assert_true(cluster_heals(cluster));
    cluster_destroy(cluster);
}

/* With an argument: only the tests whose names match it, such as '*chaos*'. */
int main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_group_power_loss_of_all_keeps_what_was_committed),
        cmocka_unit_test(test_group_damaged_node_is_repaired_only_by_a_majority_without_it),
        cmocka_unit_test(test_group_lost_disk_comes_back_under_a_new_id),
        cmocka_unit_test(test_group_lost_disk_of_the_leader_comes_back),
        cmocka_unit_test(test_group_replaced_disk_that_returns_joins_anew),
        cmocka_unit_test(test_group_older_copy_of_the_disk_is_refused_and_joins_anew),
        cmocka_unit_test(test_group_older_copy_that_was_started_as_often_is_refused_by_a_follower_too),
        cmocka_unit_test(test_group_log_that_went_bad_makes_the_node_join_anew),
        cmocka_unit_test(test_group_of_one_whose_log_goes_bad_stands_aside),
        cmocka_unit_test(test_group_votes_that_are_gone_make_the_node_join_anew),
        cmocka_unit_test(test_group_superblock_that_cannot_be_is_invalid),
        cmocka_unit_test(test_group_disk_that_fails_writes_stands_aside),
        cmocka_unit_test(test_group_install_before_a_change_of_members_that_rotted_makes_the_node_join_anew),
        cmocka_unit_test(test_group_change_of_members_that_rots_while_the_node_starts_makes_it_join_anew),
        cmocka_unit_test(test_group_change_of_members_that_cannot_be_read_while_the_node_starts_makes_it_stand_aside),
        cmocka_unit_test(test_group_joining_disk_with_log_entries_is_corrupt),
    };
    return cmocka_run_group_tests(tests, test_crypto_set_up, NULL);
}
