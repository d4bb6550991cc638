/* Groups of several nodes in virtual time. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "consensus/log.h"
#include "consensus/message.h"
#include "crypto/random.h"
#include "tests/unit/support/group_cluster.h"

static struct cluster *elected(unsigned count, uint64_t seed)
{
    struct cluster *cluster = cluster_create(count, seed);
    assert_true(cluster_until(cluster, cluster_has_leader, 5000));
    return cluster;
}

static void submit_some(struct cluster *cluster, unsigned count, uint32_t bytes)
{
    for (unsigned i = 0; i < count; i++) {
        struct cluster_node *leader = cluster_leader(cluster);
        uint64_t index = 0;
        if (leader == NULL || cluster_submit(leader, bytes, &index) != STATUS_OK) {
            cluster_run(cluster, 1);
        }
    }
}

static void test_group_three_nodes_elect_and_apply_the_same(void **state)
{
    (void)state;
    struct cluster *cluster = elected(3, 1);
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
    struct cluster *cluster = elected(1, 2);
    submit_some(cluster, 5, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 1000));
    assert_int_equal(cluster->nodes[1].applied_count, 5);
    cluster_destroy(cluster);
}

/* The cluster comes back to a leader, all nodes on, all voters, all with the same state; and it still commits. */
static void assert_heals(struct cluster *cluster)
{
    assert_true(cluster_until(cluster, cluster_is_whole, 20000));
    submit_some(cluster, 3, 500);
    assert_true(cluster_until(cluster, cluster_is_whole, 20000));
}

static struct cluster_node *follower_of(struct cluster *cluster, const struct cluster_node *leader, unsigned skip)
{
    for (unsigned number = 1; number <= cluster->count; number++) {
        if (&cluster->nodes[number] != leader && skip-- == 0) {
            return &cluster->nodes[number];
        }
    }
    return NULL;
}

static void test_group_follower_restarts_from_its_disk(void **state)
{
    (void)state;
    struct cluster *cluster = elected(3, 3);
    submit_some(cluster, 30, 2000);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *follower = follower_of(cluster, cluster_leader(cluster), 0);
    uint64_t raft_id = cluster_facts(follower).raft_id;
    cluster_power_cut(follower);
    submit_some(cluster, 10, 2000);
    cluster_run(cluster, 50);
    cluster_power_on(follower);
    assert_heals(cluster);
    assert_int_equal(cluster_facts(follower).raft_id, raft_id);
    assert_int_equal(cluster_facts(follower).boot_number, 2);
    assert_int_equal(follower->install_count, 0);
    cluster_destroy(cluster);
}

static void test_group_leader_dies_and_another_goes_on(void **state)
{
    (void)state;
    struct cluster *cluster = elected(3, 4);
    submit_some(cluster, 30, 2000);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *leader = cluster_leader(cluster);
    uint64_t agreed = leader->state;
    cluster_power_cut(leader);
    assert_true(cluster_until(cluster, cluster_has_leader, 3000));
    assert_ptr_not_equal(cluster_leader(cluster), leader);
    assert_int_equal(cluster_leader(cluster)->state, agreed);
    cluster_power_on(leader);
    assert_heals(cluster);
    assert_int_equal(leader->removed_count, 0);
    cluster_destroy(cluster);
}

static void test_group_power_loss_of_all_keeps_what_was_committed(void **state)
{
    (void)state;
    struct cluster *cluster = elected(3, 5);
    for (unsigned i = 0; i < 40; i++) {
        submit_some(cluster, 1, 4000);
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
    assert_heals(cluster);
    assert_true(cluster->nodes[1].applied_index >= committed);
    cluster_destroy(cluster);
}

static void test_group_lost_disk_comes_back_under_a_new_id(void **state)
{
    (void)state;
    struct cluster *cluster = elected(3, 6);
    submit_some(cluster, 30, 2000);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *lost = follower_of(cluster, cluster_leader(cluster), 1);
    uint64_t old_id = cluster_facts(lost).raft_id;
    cluster_power_cut(lost);
    cluster_blank_disk(lost);
    cluster_run(cluster, 100);
    cluster_power_on(lost);
    assert_heals(cluster);
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
    struct cluster *cluster = elected(3, 7);
    submit_some(cluster, 30, 2000);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *leader = cluster_leader(cluster);
    cluster_power_cut(leader);
    cluster_blank_disk(leader);
    cluster_power_on(leader);
    assert_heals(cluster);
    cluster_destroy(cluster);
}

static void test_group_replaced_disk_that_returns_joins_anew(void **state)
{
    (void)state;
    struct cluster *cluster = elected(3, 8);
    submit_some(cluster, 10, 2000);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *node = follower_of(cluster, cluster_leader(cluster), 0);
    cluster_power_cut(node);
    uint8_t *old_disk = malloc(node->fake.disk.bytes);
    memcpy(old_disk, node->fake.disk.durable, node->fake.disk.bytes);
    struct disk_superblock old_superblock = node->superblock;
    uint64_t old_state = node->checkpoint_state;
    cluster_blank_disk(node);
    cluster_power_on(node);
    assert_heals(cluster);
    cluster_power_cut(node);
    memcpy(node->fake.disk.durable, old_disk, node->fake.disk.bytes);
    memcpy(node->fake.disk.current, old_disk, node->fake.disk.bytes);
    free(old_disk);
    node->superblock = old_superblock;
    node->checkpoint_state = old_state;
    cluster_power_on(node);
    assert_heals(cluster);
    assert_int_equal(node->removed_count, 1);
    cluster_destroy(cluster);
}

static void test_group_older_copy_of_the_disk_is_refused_and_joins_anew(void **state)
{
    (void)state;
    struct cluster *cluster = elected(3, 9);
    submit_some(cluster, 10, 2000);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *node = follower_of(cluster, cluster_leader(cluster), 0);
    uint64_t old_id = cluster_facts(node).raft_id;
    cluster_power_cut(node);
    uint8_t *old_disk = malloc(node->fake.disk.bytes);
    memcpy(old_disk, node->fake.disk.durable, node->fake.disk.bytes);
    cluster_power_on(node);
    assert_heals(cluster);
    cluster_run(cluster, 100);
    cluster_power_cut(node);
    memcpy(node->fake.disk.durable, old_disk, node->fake.disk.bytes);
    memcpy(node->fake.disk.current, old_disk, node->fake.disk.bytes);
    free(old_disk);
    cluster_power_on(node);
    assert_heals(cluster);
    assert_int_equal(node->removed_count, 1);
    assert_int_not_equal(cluster_facts(node).raft_id, old_id);
    cluster_destroy(cluster);
}

static void test_group_transfer_moves_leadership(void **state)
{
    (void)state;
    struct cluster *cluster = elected(3, 10);
    submit_some(cluster, 10, 2000);
    assert_true(cluster_until(cluster, cluster_is_whole, 2000));
    struct cluster_node *leader = cluster_leader(cluster), *target = follower_of(cluster, leader, 1);
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
    assert_heals(cluster);
    cluster_destroy(cluster);
}

static void test_group_transfer_to_a_dead_node_ends_and_the_leader_goes_on(void **state)
{
    (void)state;
    struct cluster *cluster = elected(3, 11);
    struct cluster_node *leader = cluster_leader(cluster), *target = follower_of(cluster, leader, 0);
    cluster_power_cut(target);
    submit_some(cluster, 3, 100);
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
    struct cluster *cluster = elected(3, 12);
    submit_some(cluster, 10, 2000);
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
    submit_some(cluster, 3, 1000);
    cluster_isolate(cluster, old->number, false);
    assert_heals(cluster);
    assert_int_equal(old->removed_count, 0);
    cluster_destroy(cluster);
}

static void test_group_log_is_cut_and_a_late_follower_gets_a_snapshot(void **state)
{
    (void)state;
    struct cluster *cluster = elected(3, 13);
    struct cluster_node *late = follower_of(cluster, cluster_leader(cluster), 0);
    cluster_power_cut(late);
    /* Several times the log region. */
    for (unsigned i = 0; i < 1200; i++) {
        submit_some(cluster, 1, 65536);
        cluster_run(cluster, i % 3);
    }
    assert_true(cluster_until(cluster, cluster_agrees, 5000));
    assert_true(cluster_facts(cluster_leader(cluster)).log_bytes <= 12 << 20);
    cluster_power_on(late);
    assert_heals(cluster);
    assert_true(late->install_count >= 1);
    cluster_power_cut(late);
    cluster_power_on(late);
    assert_heals(cluster);
    cluster_destroy(cluster);
}

static void test_group_image_that_is_not_ready_delays_applying_only(void **state)
{
    (void)state;
    struct cluster *cluster = elected(3, 14);
    struct cluster_node *slow = follower_of(cluster, cluster_leader(cluster), 0);
    slow->busy = true;
    submit_some(cluster, 20, 500);
    cluster_run(cluster, 100);
    assert_int_equal(slow->applied_count, 0);
    assert_int_equal(cluster_leader(cluster)->applied_count, 20);
    slow->busy = false;
    assert_true(cluster_until(cluster, cluster_agrees, 1000));
    assert_int_equal(slow->applied_count, 20);
    cluster_destroy(cluster);
}

static void test_group_five_nodes_two_dead_go_on(void **state)
{
    (void)state;
    struct cluster *cluster = elected(5, 15);
    submit_some(cluster, 10, 500);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    cluster_power_cut(cluster_leader(cluster));
    assert_true(cluster_until(cluster, cluster_has_leader, 3000));
    struct cluster_node *second = cluster_leader(cluster);
    cluster_power_cut(second);
    cluster_blank_disk(second);
    assert_true(cluster_until(cluster, cluster_has_leader, 3000));
    submit_some(cluster, 10, 500);
    for (unsigned number = 1; number <= 5; number++) {
        if (!cluster->nodes[number].on) {
            cluster_power_on(&cluster->nodes[number]);
        }
    }
    assert_heals(cluster);
    cluster_destroy(cluster);
}

static void test_group_log_that_went_bad_makes_the_node_join_anew(void **state)
{
    (void)state;
    struct cluster *cluster = elected(3, 16);
    for (unsigned i = 0; i < 30; i++) {
        submit_some(cluster, 1, 3000);
        cluster_run(cluster, 3);
    }
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *node = follower_of(cluster, cluster_leader(cluster), 0);
    uint64_t old_id = cluster_facts(node).raft_id;
    cluster_power_cut(node);
    fake_disk_flip(&node->fake, node->superblock.log_offset + 10 * 4096 + 900, 4);
    cluster_power_on(node);
    assert_int_equal(node->start_status, STATUS_CORRUPT);
    assert_non_null(strstr(node->reason, "log batch"));
    assert_heals(cluster);
    assert_int_not_equal(cluster_facts(node).raft_id, old_id);
    cluster_destroy(cluster);
}

static void test_group_votes_that_are_gone_make_the_node_join_anew(void **state)
{
    (void)state;
    struct cluster *cluster = elected(3, 17);
    submit_some(cluster, 10, 3000);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *node = follower_of(cluster, cluster_leader(cluster), 0);
    cluster_power_cut(node);
    memset(node->fake.disk.durable + 2 * 4096, 0, 2 * 4096);
    memset(node->fake.disk.current + 2 * 4096, 0, 2 * 4096);
    cluster_power_on(node);
    assert_int_equal(node->start_status, STATUS_CORRUPT);
    assert_heals(cluster);
    cluster_destroy(cluster);
}

static void test_group_superblock_that_cannot_be_is_invalid(void **state)
{
    (void)state;
    struct cluster *cluster = elected(3, 18);
    struct cluster_node *node = follower_of(cluster, cluster_leader(cluster), 0);
    struct disk_superblock good = node->superblock;
    char reason[200] = "";
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
    struct cluster *cluster = elected(3, 19);
    struct cluster_node *leader = cluster_leader(cluster);
    leader->fake.disk.write_errors = true;
    submit_some(cluster, 3, 1000);
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
    assert_heals(cluster);
    cluster_destroy(cluster);
}

/* A message as `from` could have sent it to `to`. */
static enum status forge(struct cluster_node *from, struct cluster_node *to, struct message *message, const uint8_t *body, size_t body_bytes)
{
    static uint8_t header[PEERS_HEADER_BYTES_MAX];
    struct peers_message raw = {.type = (uint8_t)message->type, .header = header, .body = body, .body_bytes = body_bytes};
    raw.header_bytes = message_encode(message, header);
    return group_message(to->group, from->number, &raw);
}

static void test_group_body_that_does_not_verify_is_corrupt(void **state)
{
    (void)state;
    struct cluster *cluster = elected(3, 20);
    submit_some(cluster, 3, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 1000));
    struct cluster_node *leader = cluster_leader(cluster), *follower = follower_of(cluster, leader, 0);
    struct group_facts facts = cluster_facts(follower);
    static struct message message;
    memset(&message, 0, sizeof message);
    static const uint8_t body[64] = "this was never sealed";
    message.type = MESSAGE_APPEND;
    message.append.front = (struct message_front){.from = cluster_facts(leader).raft_id, .to = facts.raft_id, .term = facts.term};
    message.append.previous_index = facts.last_index;
    message.append.previous_term = facts.term;
    message.append.count = 1;
    message.entries[0] = (struct message_entry){.term = facts.term,
                                                .type = LOG_COMMAND,
                                                .body_bytes = sizeof body,
                                                .entry = {.type = GROUP_ENTRY_EPOCH, .world = 1, .epoch = 1, .parts = 1, .bytes = sizeof body}};
    assert_int_equal(forge(leader, follower, &message, body, sizeof body), STATUS_CORRUPT);
    message.entries[0] = (struct message_entry){.term = facts.term, .type = LOG_CHANGE, .body_bytes = sizeof body};
    assert_int_equal(forge(leader, follower, &message, body, sizeof body), STATUS_INVALID);
    assert_int_equal(cluster_facts(follower).last_index, facts.last_index);
    assert_heals(cluster);
    cluster_destroy(cluster);
}

static void test_group_messages_that_cannot_be_are_invalid_or_dropped(void **state)
{
    (void)state;
    struct cluster *cluster = elected(3, 21);
    submit_some(cluster, 3, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 1000));
    struct cluster_node *leader = cluster_leader(cluster), *follower = follower_of(cluster, leader, 0);
    struct group_facts facts = cluster_facts(leader);
    static struct message message;
    memset(&message, 0, sizeof message);
    /* Another leader in the same term. */
    message.type = MESSAGE_APPEND;
    message.append.front = (struct message_front){.from = cluster_facts(follower).raft_id, .to = facts.raft_id, .term = facts.term};
    message.append.previous_index = message.append.previous_term = 1;
    assert_int_equal(forge(follower, leader, &message, NULL, 0), STATUS_INVALID);
    /* A contradiction of what is committed. */
    message.append.front = (struct message_front){.from = facts.raft_id, .to = cluster_facts(follower).raft_id, .term = facts.term};
    message.append.previous_index = cluster_facts(follower).commit_index;
    message.append.previous_term = 1;
    assert_int_equal(forge(leader, follower, &message, NULL, 0), STATUS_INVALID);
    /* From, and to, another incarnation: a later term in it would be believed otherwise. */
    memset(&message, 0, sizeof message);
    message.type = MESSAGE_APPEND_RESULT;
    message.append_result.front = (struct message_front){.from = raft_id_make(follower->number, 77), .to = facts.raft_id, .term = facts.term + 5};
    assert_int_equal(forge(follower, leader, &message, NULL, 0), STATUS_OK);
    message.append_result.front = (struct message_front){
        .from = cluster_facts(follower).raft_id, .to = raft_id_make(leader->number, 77), .term = facts.term + 5};
    assert_int_equal(forge(follower, leader, &message, NULL, 0), STATUS_OK);
    assert_int_equal(cluster_facts(leader).term, facts.term);
    assert_heals(cluster);
    cluster_destroy(cluster);
}

static void test_group_removed_is_believed_only_of_a_term_that_is_not_older(void **state)
{
    (void)state;
    struct cluster *cluster = elected(3, 22);
    struct cluster_node *leader = cluster_leader(cluster), *follower = follower_of(cluster, leader, 0);
    assert_true(cluster_until(cluster, cluster_agrees, 1000));
    static struct message message;
    memset(&message, 0, sizeof message);
    message.type = MESSAGE_REMOVED;
    message.removed.front = (struct message_front){
        .from = cluster_facts(leader).raft_id, .to = cluster_facts(follower).raft_id, .term = cluster_facts(follower).term - 1};
    assert_int_equal(forge(leader, follower, &message, NULL, 0), STATUS_OK);
    assert_true(cluster_facts(follower).started);
    message.removed.front.term++;
    assert_int_equal(forge(leader, follower, &message, NULL, 0), STATUS_OK);
    assert_false(cluster_facts(follower).started);
    assert_heals(cluster);
    assert_int_equal(follower->removed_count, 1);
    cluster_destroy(cluster);
}

static void test_group_install_of_what_cannot_be_is_refused(void **state)
{
    (void)state;
    struct cluster *cluster = elected(3, 23);
    struct cluster_node *leader = cluster_leader(cluster), *follower = follower_of(cluster, leader, 0);
    assert_true(cluster_until(cluster, cluster_agrees, 1000));
    struct group_snapshot snapshot;
    group_snapshot_describe(leader->group, &snapshot);
    assert_int_equal(group_install(leader->group, &snapshot), STATUS_REFUSED);
    snapshot.member_count = 0;
    assert_int_equal(group_install(follower->group, &snapshot), STATUS_INVALID);
    cluster_destroy(cluster);
}

static void test_group_install_below_what_was_applied_applies_again_from_there(void **state)
{
    (void)state;
    struct cluster *cluster = elected(3, 24);
    submit_some(cluster, 5, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 1000));
    struct cluster_node *leader = cluster_leader(cluster), *follower = follower_of(cluster, leader, 0);
    struct group_snapshot snapshot;
    group_snapshot_describe(leader->group, &snapshot);
    uint64_t state_there = leader->state;
    submit_some(cluster, 5, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 1000));
    follower->state = 0xbad; /* its image went bad */
    assert_int_equal(group_install(follower->group, &snapshot), STATUS_OK);
    follower->state = state_there;
    follower->applied_index = snapshot.last_index;
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    assert_int_equal(follower->applied_count, 15);
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
    struct cluster *cluster = elected(3, 25);
    submit_some(cluster, 5, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 1000));
    struct cluster_node *leader = cluster_leader(cluster), *stalled = follower_of(cluster, leader, 0);
    cluster_power_cut(leader);
    stalled->stalled_disk = true;
    assert_false(cluster_until(cluster, some_node_won, 3000));
    stalled->stalled_disk = false;
    assert_true(cluster_until(cluster, cluster_has_leader, 3000));
    cluster_power_on(leader);
    assert_heals(cluster);
    cluster_destroy(cluster);
}

static void test_group_checkpoint_beyond_what_its_own_log_has_flushed_waits(void **state)
{
    (void)state;
    struct cluster *cluster = elected(3, 26);
    assert_true(cluster_until(cluster, cluster_agrees, 1000));
    struct cluster_node *leader = cluster_leader(cluster);
    leader->stalled_disk = true;
    for (unsigned i = 0; i < 120; i++) { /* more than is kept behind a checkpoint */
        submit_some(cluster, 1, 60000);
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
    submit_some(cluster, 3, 1000);
    assert_heals(cluster);
    group_check(leader->group);
    cluster_power_cut(leader);
    cluster_power_on(leader);
    assert_heals(cluster);
    cluster_destroy(cluster);
}

/* Random deaths, cuts, lost disks (one at a time, and only while the cluster is whole, as DURABLE promises), and submissions all the while. */
static void chaos(uint64_t seed, unsigned count)
{
    struct cluster *cluster = elected(count, seed);
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
            submit_some(cluster, 1, test_random_below(&random, 20000));
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
    assert_heals(cluster);
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

static int set_up(void **state)
{
    (void)state;
    struct fake_machine fake;
    fake_machine_init(&fake, 1, 16, 1 << 20);
    enum status status = crypto_init(&fake.machine);
    fake_machine_destroy(&fake);
    return status == STATUS_OK ? 0 : -1;
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
        cmocka_unit_test(test_group_follower_restarts_from_its_disk),
        cmocka_unit_test(test_group_leader_dies_and_another_goes_on),
        cmocka_unit_test(test_group_power_loss_of_all_keeps_what_was_committed),
        cmocka_unit_test(test_group_lost_disk_comes_back_under_a_new_id),
        cmocka_unit_test(test_group_lost_disk_of_the_leader_comes_back),
        cmocka_unit_test(test_group_replaced_disk_that_returns_joins_anew),
        cmocka_unit_test(test_group_older_copy_of_the_disk_is_refused_and_joins_anew),
        cmocka_unit_test(test_group_transfer_moves_leadership),
        cmocka_unit_test(test_group_transfer_to_a_dead_node_ends_and_the_leader_goes_on),
        cmocka_unit_test(test_group_isolated_leader_loses_and_its_entries_are_replaced),
        cmocka_unit_test(test_group_log_is_cut_and_a_late_follower_gets_a_snapshot),
        cmocka_unit_test(test_group_image_that_is_not_ready_delays_applying_only),
        cmocka_unit_test(test_group_five_nodes_two_dead_go_on),
        cmocka_unit_test(test_group_log_that_went_bad_makes_the_node_join_anew),
        cmocka_unit_test(test_group_votes_that_are_gone_make_the_node_join_anew),
        cmocka_unit_test(test_group_superblock_that_cannot_be_is_invalid),
        cmocka_unit_test(test_group_disk_that_fails_writes_stands_aside),
        cmocka_unit_test(test_group_body_that_does_not_verify_is_corrupt),
        cmocka_unit_test(test_group_messages_that_cannot_be_are_invalid_or_dropped),
        cmocka_unit_test(test_group_removed_is_believed_only_of_a_term_that_is_not_older),
        cmocka_unit_test(test_group_install_of_what_cannot_be_is_refused),
        cmocka_unit_test(test_group_install_below_what_was_applied_applies_again_from_there),
        cmocka_unit_test(test_group_vote_that_is_not_durable_elects_nobody),
        cmocka_unit_test(test_group_checkpoint_beyond_what_its_own_log_has_flushed_waits),
        cmocka_unit_test(test_group_chaos_heals_and_all_agree),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
