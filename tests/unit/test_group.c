/* Groups of several nodes in virtual time: elections, leadership, cuts, and everything at random. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/support/crypto_set_up.h"
#include "tests/unit/support/group_cluster.h"

static void test_group_three_nodes_elect_and_apply_the_same(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 1);
    struct cluster_node *leader = cluster_leader(cluster);
    uint64_t index = 0;
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(cluster_submit(leader, 1 + i * 3000, &index), STATUS_OK);
    }
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    for (unsigned number = 1; number <= 3; number++) {
        assert_int_equal(cluster->nodes[number].applied_count, 20);
        assert_int_equal(cluster->nodes[number].applied_index, index);
    }
    assert_int_equal(leader->own_count, 20);
    assert_int_equal(leader->lead_count, 1);
    cluster_destroy(cluster);
}

static void test_group_one_node_leads_and_applies(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(1, 2);
    cluster_submit_some(cluster, 5, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 1000));
    assert_int_equal(cluster->nodes[1].applied_count, 5);
    cluster_destroy(cluster);
}

static void test_group_write_takes_a_submitted_entry_to_the_disk_at_once(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(1, 2);
    cluster_submit_some(cluster, 1, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 1000));
    struct cluster_node *leader = cluster_leader(cluster);
    uint64_t before = cluster_facts(leader).log_written_bytes, index;
    assert_int_equal(cluster_submit(leader, 100, &index), STATUS_OK);
    assert_int_equal(cluster_facts(leader).log_written_bytes, before);
    group_write(leader->group);
    assert_int_equal(cluster_facts(leader).log_written_bytes, before + 4096);
    assert_true(cluster_until(cluster, cluster_agrees, 1000));
    cluster_destroy(cluster);
}

static void test_group_follower_restarts_from_its_disk(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 3);
    cluster_submit_some(cluster, 30, 2000);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *follower = cluster_follower(cluster, cluster_leader(cluster), 0);
    uint64_t raft_id = cluster_facts(follower).raft_id;
    cluster_power_cut(follower);
    cluster_submit_some(cluster, 10, 2000);
    cluster_run(cluster, 50);
    cluster_power_on(follower);
    assert_true(cluster_heals(cluster));
    assert_int_equal(cluster_facts(follower).raft_id, raft_id);
    assert_int_equal(cluster_facts(follower).boot_number, 2);
    assert_int_equal(follower->install_count, 0);
    cluster_destroy(cluster);
}

static void test_group_leader_dies_and_another_goes_on(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 4);
    cluster_submit_some(cluster, 30, 2000);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *leader = cluster_leader(cluster);
    uint64_t agreed = leader->state;
    cluster_power_cut(leader);
    assert_true(cluster_until(cluster, cluster_has_leader, 3000));
    assert_ptr_not_equal(cluster_leader(cluster), leader);
    assert_int_equal(cluster_leader(cluster)->state, agreed);
    cluster_power_on(leader);
    assert_true(cluster_heals(cluster));
    assert_int_equal(leader->removed_count, 0);
    cluster_destroy(cluster);
}

static void test_group_transfer_moves_leadership(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 10);
    cluster_submit_some(cluster, 10, 2000);
    assert_true(cluster_until(cluster, cluster_is_whole, 2000));
    struct cluster_node *leader = cluster_leader(cluster), *target = cluster_follower(cluster, leader, 1);
    assert_int_equal(group_transfer(leader->group, target->number), STATUS_OK);
    assert_true(group_transferring(leader->group));
    uint64_t index = 0;
    assert_int_equal(cluster_submit(leader, 100, &index), STATUS_BUSY);
    assert_int_equal(group_transfer(leader->group, target->number), STATUS_BUSY);
    assert_true(cluster_until(cluster, cluster_has_leader, 3000));
    cluster_run(cluster, 60);
    assert_ptr_equal(cluster_leader(cluster), target);
    assert_int_equal(leader->lost_count, 1);
    assert_int_equal(cluster_submit(leader, 100, &index), STATUS_NOT_LEADER);
    assert_true(cluster_heals(cluster));
    cluster_destroy(cluster);
}

static void test_group_transfer_to_a_dead_node_ends_and_the_leader_goes_on(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 11);
    struct cluster_node *leader = cluster_leader(cluster), *target = cluster_follower(cluster, leader, 0);
    cluster_power_cut(target);
    cluster_submit_some(cluster, 3, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 1000));
    assert_int_equal(group_transfer(leader->group, target->number), STATUS_OK);
    for (unsigned ms = 0; group_transferring(leader->group); ms++) {
        assert_true(ms < 3 * CLUSTER_ELECTION_MS);
        cluster_run(cluster, 1);
    }
    assert_true(leader->leads);
    uint64_t index = 0;
    assert_int_equal(cluster_submit(leader, 100, &index), STATUS_OK);
    assert_int_equal(group_transfer(leader->group, 5), STATUS_NOT_FOUND);
    cluster_destroy(cluster);
}

static void test_group_isolated_leader_loses_and_its_entries_are_replaced(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 12);
    cluster_submit_some(cluster, 10, 2000);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *old = cluster_leader(cluster);
    cluster_isolate(cluster, old->number, true);
    uint64_t index = 0;
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(cluster_submit(old, 3000, &index), STATUS_OK);
    }
    for (unsigned ms = 0; old->leads; ms++) {
        assert_true(ms < 1000);
        cluster_run(cluster, 1);
    }
    assert_true(cluster_until(cluster, cluster_has_leader, 3000));
    cluster_submit_some(cluster, 3, 1000);
    cluster_isolate(cluster, old->number, false);
    assert_true(cluster_heals(cluster));
    assert_int_equal(old->removed_count, 0);
    cluster_destroy(cluster);
}

/* Parts of an epoch are applied on their host without being assembled. When it is deposed between them it needs those that were applied once more. */
static void test_group_deposed_between_parts_applies_the_first_parts_again(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 13);
    cluster_submit_some(cluster, 3, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *old = cluster_leader(cluster);
    uint64_t index = 0, epoch = ++cluster->next_epoch;
    assert_int_equal(cluster_submit_part(old, epoch, 0, 4, 1000, &index), STATUS_OK);
    assert_int_equal(cluster_submit_part(old, epoch, 1, 4, 1000, &index), STATUS_OK);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    assert_true(old->own_parts);
    assert_int_equal(group_transfer(old->group, cluster_follower(cluster, old, 0)->number), STATUS_OK);
    for (unsigned ms = 0; old->leads; ms++) {
        assert_true(ms < 1000);
        cluster_run(cluster, 1);
    }
    uint64_t before = old->index_before_parts;
    assert_int_equal(old->applied_index, before);
    cluster_run(cluster, 20);
    assert_true(old->applied_index >= index);
    assert_true(cluster_heals(cluster));
    assert_int_equal(old->removed_count, 0);
    cluster_destroy(cluster);
}

/* A hello is as old as its link. What the same life acknowledged since on the other lane does not make its disk an older one. */
static void test_group_old_hello_of_the_same_life_is_accepted_of_another_refused(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 15);
    struct cluster_node *leader = cluster_leader(cluster), *follower = cluster_follower(cluster, leader, 0);
    struct peers_hello hello = {0};
    group_own_hello(follower->group, leader->number, &hello);
    cluster_submit_some(cluster, 20, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    cluster_cut(cluster, leader->number, cluster_follower(cluster, leader, 1)->number, true);
    cluster_run(cluster, 200); /* the leader notes what it saw when it looks after its members: someone is away */
    cluster_cut(cluster, leader->number, cluster_follower(cluster, leader, 1)->number, false);
    assert_true(cluster_heals(cluster));
    enum peers_reason reason = PEERS_REASON_NONE;
    assert_int_equal(group_accept_hello(leader->group, follower->number, &hello, &reason), STATUS_OK);
    hello.boot_number++;
    memmove(&hello.lives[1], &hello.lives[0], sizeof hello.lives - sizeof hello.lives[0]);
    hello.lives[0]++;
    assert_int_equal(group_accept_hello(leader->group, follower->number, &hello, &reason), STATUS_REFUSED);
    assert_int_equal(reason, PEERS_REASON_STALE);
    cluster_destroy(cluster);
}

static void test_group_image_that_is_not_ready_delays_applying_only(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 14);
    struct cluster_node *slow = cluster_follower(cluster, cluster_leader(cluster), 0);
    slow->busy = true;
    cluster_submit_some(cluster, 20, 500);
    cluster_run(cluster, 100);
    assert_int_equal(slow->applied_count, 0);
    assert_int_equal(cluster_leader(cluster)->applied_count, 20);
    slow->busy = false;
    assert_true(cluster_until(cluster, cluster_agrees, 1000));
    assert_int_equal(slow->applied_count, 20);
    cluster_destroy(cluster);
}

/* A node that has just started could be elected as soon as any other, and the world would stand still until it has applied its log. */
static void test_group_follower_that_has_much_to_apply_leaves_the_election_to_others(void **state)
{
    (void)state;
    for (uint64_t seed = 90; seed < 98; seed++) {
        struct cluster *cluster = cluster_elected(3, seed);
        struct cluster_node *leader = cluster_leader(cluster), *slow = cluster_follower(cluster, leader, 0);
        slow->busy = true;
        cluster_submit_some(cluster, 20, 200);
        cluster_run(cluster, 100);
        assert_int_equal(slow->applied_count, 0);
        cluster_power_cut(leader);
        assert_true(cluster_until(cluster, cluster_has_leader, 1500));
        assert_ptr_not_equal(cluster_leader(cluster), slow);
        cluster_destroy(cluster);
    }
}

static void test_group_followers_that_have_much_to_apply_elect_one_when_it_is_through(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 98);
    struct cluster_node *leader = cluster_leader(cluster);
    for (unsigned skip = 0; skip < 2; skip++) {
        cluster_follower(cluster, leader, skip)->busy = true;
    }
    cluster_submit_some(cluster, 20, 200);
    cluster_run(cluster, 100);
    struct cluster_node *first = cluster_follower(cluster, leader, 1);
    cluster_power_cut(leader);
    assert_false(cluster_until(cluster, cluster_has_leader, 2000));
    first->busy = false;
    assert_true(cluster_until(cluster, cluster_has_leader, 1000));
    assert_ptr_equal(cluster_leader(cluster), first);
    cluster_destroy(cluster);
}

/* It could not host the world yet, though nothing is left to apply. */
static void test_group_follower_without_its_image_leaves_the_election_to_others(void **state)
{
    (void)state;
    for (uint64_t seed = 90; seed < 98; seed++) {
        struct cluster *cluster = cluster_elected(3, seed);
        struct cluster_node *leader = cluster_leader(cluster), *fills = cluster_follower(cluster, leader, seed % 2);
        group_image_missing(fills->group, true);
        cluster_run(cluster, 100);
        cluster_power_cut(leader);
        assert_true(cluster_until(cluster, cluster_has_leader, 1500));
        assert_ptr_not_equal(cluster_leader(cluster), fills);
        cluster_destroy(cluster);
    }
}

/* ... but not for ever: it may be the only one whom all can follow. */
static void test_group_follower_without_its_image_stands_when_nobody_else_can(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 99);
    struct cluster_node *leader = cluster_leader(cluster), *fills = cluster_follower(cluster, leader, 0), *behind = cluster_follower(cluster, leader, 1);
    cluster_isolate(cluster, behind->number, true);
    cluster_submit_some(cluster, 3, 200);
    cluster_run(cluster, 50);
    group_image_missing(fills->group, true);
    cluster_power_cut(leader);
    cluster_isolate(cluster, behind->number, false);
    assert_true(cluster_until(cluster, cluster_has_leader, 5000));
    assert_ptr_equal(cluster_leader(cluster), fills);
    cluster_destroy(cluster);
}

static void test_group_follower_without_its_image_takes_no_leadership(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 97);
    struct cluster_node *leader = cluster_leader(cluster), *fills = cluster_follower(cluster, leader, 0);
    struct group_member_facts member;
    cluster_run(cluster, 100);
    group_member(leader->group, fills->number, &member);
    assert_true(member.image_there);
    group_image_missing(fills->group, true);
    cluster_run(cluster, 100);
    group_member(leader->group, fills->number, &member);
    assert_false(member.image_there);
    assert_int_equal(group_transfer(leader->group, fills->number), STATUS_OK);
    cluster_run(cluster, 3000);
    assert_ptr_equal(cluster_leader(cluster), leader);
    assert_false(group_transferring(leader->group));
    group_image_missing(fills->group, false);
    cluster_run(cluster, 100);
    assert_int_equal(group_transfer(leader->group, fills->number), STATUS_OK);
    cluster_run(cluster, 1000);
    assert_ptr_equal(cluster_leader(cluster), fills);
    cluster_destroy(cluster);
}

/* BOUND: a follower that answers later than the next heartbeat is not sent the same entries with each of them. */
static void test_group_lagging_follower_that_answers_late_is_sent_its_entries_once(void **state)
{
    (void)state;
    enum { ENTRIES = 16, ENTRY_BYTES = 60000, LATE_MS = 10 * CLUSTER_HEARTBEAT_MS };
    struct cluster *cluster = cluster_elected(3, 77);
    struct cluster_node *leader = cluster_leader(cluster), *behind = cluster_follower(cluster, leader, 0);
    cluster_isolate(cluster, behind->number, true);
    cluster_submit_some(cluster, ENTRIES, ENTRY_BYTES);
    cluster_run(cluster, 500);
    struct peers_counters before, after;
    peers_count(leader->peers, &before);
    cluster_isolate(cluster, behind->number, false);
    cluster_run(cluster, CLUSTER_HEARTBEAT_MS);
    assert_true(peers_is_up(leader->peers, behind->number, PEERS_LANE_RAFT));
    cluster->links.pipes[behind->number][leader->number][PEERS_LANE_RAFT].stopped = true;
    cluster_run(cluster, LATE_MS);
    cluster->links.pipes[behind->number][leader->number][PEERS_LANE_RAFT].stopped = false;
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    peers_count(leader->peers, &after);
    assert_ptr_equal(cluster_leader(cluster), leader);
    assert_true(after.bytes_sent - before.bytes_sent >= ENTRIES * ENTRY_BYTES);
    assert_true(after.bytes_sent - before.bytes_sent < 2 * ENTRIES * ENTRY_BYTES);
    cluster_destroy(cluster);
}

static void test_group_five_nodes_two_dead_go_on(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(5, 15);
    cluster_submit_some(cluster, 10, 500);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    cluster_power_cut(cluster_leader(cluster));
    assert_true(cluster_until(cluster, cluster_has_leader, 3000));
    struct cluster_node *second = cluster_leader(cluster);
    cluster_power_cut(second);
    cluster_blank_disk(second);
    assert_true(cluster_until(cluster, cluster_has_leader, 3000));
    cluster_submit_some(cluster, 10, 500);
    for (unsigned number = 1; number <= 5; number++) {
        if (!cluster->nodes[number].on) {
            cluster_power_on(&cluster->nodes[number]);
        }
    }
    assert_true(cluster_heals(cluster));
    cluster_destroy(cluster);
}

/* Elected, whether or not its barrier is committed. */
static bool some_node_won(struct cluster *cluster)
{
    for (unsigned number = 1; number <= cluster->count; number++) {
        if (cluster->nodes[number].on && cluster_facts(&cluster->nodes[number]).role == GROUP_LEADER) {
            return true;
        }
    }
    return false;
}

static void test_group_vote_that_is_not_durable_elects_nobody(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 25);
    cluster_submit_some(cluster, 5, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 1000));
    struct cluster_node *leader = cluster_leader(cluster), *stalled = cluster_follower(cluster, leader, 0);
    cluster_power_cut(leader);
    stalled->stalled_disk = true;
    assert_false(cluster_until(cluster, some_node_won, 3000));
    stalled->stalled_disk = false;
    assert_true(cluster_until(cluster, cluster_has_leader, 3000));
    cluster_power_on(leader);
    assert_true(cluster_heals(cluster));
    cluster_destroy(cluster);
}

static void test_group_idle_does_not_spin(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 27);
    cluster_submit_some(cluster, 5, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 1000));
    cluster_run(cluster, 5000);
    uint64_t flushes = 0;
    for (unsigned number = 1; number <= 3; number++) {
        flushes += cluster->nodes[number].fake.disk.flushes;
    }
    for (unsigned ms = 0; ms < 1000; ms++) {
        cluster_run(cluster, 1);
        for (unsigned number = 1; number <= 3; number++) {
            struct cluster_node *node = &cluster->nodes[number];
            group_tick(node->group);
            assert_true(group_deadline_ns(node->group) > node->fake.now_ns);
        }
    }
    for (unsigned number = 1; number <= 3; number++) {
        flushes -= cluster->nodes[number].fake.disk.flushes;
    }
    assert_int_equal(flushes, 0);
    cluster_destroy(cluster);
}

/* Random deaths, cuts, lost disks (one at a time, and only while the cluster is whole, as DURABLE promises), and submissions all the while. */
static void chaos(uint64_t seed, unsigned count)
{
    struct cluster *cluster = cluster_elected(count, seed);
    uint64_t random = seed * 77;
    for (unsigned round = 0; round < 60; round++) {
        unsigned number = 1 + test_random_below(&random, count);
        struct cluster_node *node = &cluster->nodes[number];
        switch (test_random_below(&random, 12)) {
        case 0:
        case 1:
            if (node->on) {
                cluster_power_cut(node);
            }
            break;
        case 2:
        case 3:
            if (!node->on) {
                cluster_power_on(node);
            }
            break;
        case 4:
            cluster_isolate(cluster, number, test_random_below(&random, 2) == 0);
            break;
        case 5:
            cluster_cut(cluster, number, 1 + number % count, test_random_below(&random, 2) == 0);
            break;
        case 6: /* one way only */
            cluster->links.pipes[number][1 + number % count][0].stopped = test_random_below(&random, 2) == 0;
            break;
        case 7:
            node->stalled_disk = test_random_below(&random, 3) == 0;
            break;
        case 8:
            if (node->on && cluster_facts(node).started && !node->stalled_disk && cluster_facts(node).applied_index > node->superblock.raft_index) {
                cluster_checkpoint(node);
            }
            break;
        case 9:
            node->busy = test_random_below(&random, 3) == 0;
            break;
        case 10:
            if (node->on && cluster_is_whole(cluster)) {
                cluster_power_cut(node);
                cluster_blank_disk(node);
            }
            break;
        default:
            if (cluster_leader(cluster) != NULL) {
                enum status ignored = group_transfer(cluster_leader(cluster)->group, number);
                (void)ignored;
            }
            break;
        }
        for (uint32_t i = 0, until = test_random_below(&random, 40); i < until; i++) {
            cluster_submit_some(cluster, 1, test_random_below(&random, 20000));
            cluster_run(cluster, test_random_below(&random, 12));
        }
    }
    for (unsigned a = 1; a <= count; a++) {
        for (unsigned b = 1; b <= count; b++) {
            cluster_cut(cluster, a, b, false);
            cluster->links.pipes[a][b][0].stopped = false;
        }
        cluster->nodes[a].stalled_disk = cluster->nodes[a].busy = false;
        if (!cluster->nodes[a].on) {
            cluster_power_on(&cluster->nodes[a]);
        }
    }
    assert_true(cluster_heals(cluster));
    cluster_destroy(cluster);
}

static void test_group_chaos_heals_and_all_agree(void **state)
{
    (void)state;
    uint64_t seed = test_seed("group chaos", 100);
    for (unsigned i = 0; i < 6; i++) {
        chaos(seed + i, i % 3 == 2 ? 5 : 3);
    }
}

/* With an argument: only the tests whose names match it, such as '*chaos*'. */
int main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_group_three_nodes_elect_and_apply_the_same),
        cmocka_unit_test(test_group_one_node_leads_and_applies),
        cmocka_unit_test(test_group_write_takes_a_submitted_entry_to_the_disk_at_once),
        cmocka_unit_test(test_group_follower_restarts_from_its_disk),
        cmocka_unit_test(test_group_leader_dies_and_another_goes_on),
        cmocka_unit_test(test_group_transfer_moves_leadership),
        cmocka_unit_test(test_group_transfer_to_a_dead_node_ends_and_the_leader_goes_on),
        cmocka_unit_test(test_group_isolated_leader_loses_and_its_entries_are_replaced),
        cmocka_unit_test(test_group_deposed_between_parts_applies_the_first_parts_again),
        cmocka_unit_test(test_group_old_hello_of_the_same_life_is_accepted_of_another_refused),
        cmocka_unit_test(test_group_image_that_is_not_ready_delays_applying_only),
        cmocka_unit_test(test_group_follower_that_has_much_to_apply_leaves_the_election_to_others),
        cmocka_unit_test(test_group_followers_that_have_much_to_apply_elect_one_when_it_is_through),
        cmocka_unit_test(test_group_follower_without_its_image_leaves_the_election_to_others),
        cmocka_unit_test(test_group_follower_without_its_image_stands_when_nobody_else_can),
        cmocka_unit_test(test_group_follower_without_its_image_takes_no_leadership),
        cmocka_unit_test(test_group_lagging_follower_that_answers_late_is_sent_its_entries_once),
        cmocka_unit_test(test_group_five_nodes_two_dead_go_on),
        cmocka_unit_test(test_group_vote_that_is_not_durable_elects_nobody),
        cmocka_unit_test(test_group_idle_does_not_spin),
        cmocka_unit_test(test_group_chaos_heals_and_all_agree),
    };
    return cmocka_run_group_tests(tests, test_crypto_set_up, NULL);
}
