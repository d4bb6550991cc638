/* Groups of several nodes in virtual time: messages that cannot be, and a member that lies. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "consensus/group_internal.h"
#include "tests/unit/support/crypto_set_up.h"
#include "tests/unit/support/group_cluster.h"

/* A message as `from` could have sent it to `to`. */
static enum status forge(struct cluster_node *from, struct cluster_node *to, struct message *message, const uint8_t *body, size_t body_bytes)
{
    static uint8_t header[PEERS_HEADER_BYTES_MAX];
    struct peers_message raw = {.type = (uint8_t)message->type, .header = header, .body = body, .body_bytes = body_bytes};
    raw.header_bytes = message_encode(message, header);
    return group_message(to->group, from->number, &raw);
}

static enum status forge_refusal(struct cluster_node *from, struct cluster_node *to, uint64_t term)
{
    static struct message message;
    memset(&message, 0, sizeof message);
    message.type = MESSAGE_VOTE_RESULT;
    message.vote_result.front = (struct message_front){.from = cluster_facts(from).raft_id, .to = cluster_facts(to).raft_id, .term = term};
    return forge(from, to, &message, NULL, 0);
}

/* RAFT: a term at its bound would end all elections for ever, as a candidate's next one is believed by nobody. */
static void test_group_term_that_jumps_far_raises_ours_by_the_bound_only(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 13);
    cluster_submit_some(cluster, 3, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *leader = cluster_leader(cluster);
    struct cluster_node *follower = cluster_follower(cluster, leader, 0), *liar = cluster_follower(cluster, leader, 1);
    uint64_t term = cluster_facts(follower).term;
    assert_int_equal(forge_refusal(liar, follower, GROUP_NUMBER_MAX), STATUS_OK);
    assert_int_equal(cluster_facts(follower).term, term + GROUP_TERM_JUMP_MAX);
    assert_int_equal(forge_refusal(liar, leader, term + GROUP_TERM_JUMP_MAX + 1), STATUS_OK);
    assert_int_equal(cluster_facts(leader).term, term + GROUP_TERM_JUMP_MAX);
    cluster_power_cut(liar);
    cluster_run(cluster, 2000);
    assert_true(cluster_has_leader(cluster));
    assert_true(cluster_facts(follower).term > term + GROUP_TERM_JUMP_MAX);
    cluster_destroy(cluster);
}

/* ... and what else such a message says is not taken. */
static void test_group_message_of_a_term_that_jumps_far_changes_nothing_but_the_term(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 27);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *leader = cluster_leader(cluster), *follower = cluster_follower(cluster, leader, 0);
    struct group_facts facts = cluster_facts(follower);
    static struct message message;
    memset(&message, 0, sizeof message);
    message.type = MESSAGE_REMOVED;
    message.removed.front = (struct message_front){.from = cluster_facts(leader).raft_id, .to = facts.raft_id, .term = facts.term + GROUP_TERM_JUMP_MAX + 1};
    assert_int_equal(forge(leader, follower, &message, NULL, 0), STATUS_OK);
    assert_true(cluster_facts(follower).started);
    memset(&message, 0, sizeof message);
    message.type = MESSAGE_APPEND;
    message.append.front = (struct message_front){.from = cluster_facts(leader).raft_id, .to = facts.raft_id, .term = facts.term + 3 * GROUP_TERM_JUMP_MAX};
    message.append.previous_index = facts.last_index;
    message.append.previous_term = log_term_of(follower->group->log, facts.last_index);
    message.append.count = 1;
    message.entries[0] = (struct message_entry){.term = message.append.front.term, .type = LOG_BARRIER};
    assert_int_equal(forge(leader, follower, &message, NULL, 0), STATUS_OK);
    assert_int_equal(cluster_facts(follower).last_index, facts.last_index);
    assert_int_equal(cluster_facts(follower).term, facts.term + 2 * GROUP_TERM_JUMP_MAX);
    assert_true(cluster_heals(cluster));
    cluster_destroy(cluster);
}

/* RAFT: whose terms a liar has driven apart, each time by what the one believes, agree again. */
static void test_group_terms_that_were_driven_apart_meet_again(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 28);
    cluster_submit_some(cluster, 3, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *leader = cluster_leader(cluster);
    struct cluster_node *follower = cluster_follower(cluster, leader, 0), *liar = cluster_follower(cluster, leader, 1);
    cluster_isolate(cluster, liar->number, true); /* the two are left to themselves */
    cluster_run(cluster, 10);
    uint64_t term = cluster_facts(follower).term;
    for (unsigned i = 1; i <= 5; i++) {
        follower->group->peers[liar->number].up = true;
        assert_int_equal(forge_refusal(liar, follower, term + i * GROUP_TERM_JUMP_MAX), STATUS_OK);
        follower->group->peers[liar->number].up = false;
    }
    cluster_run(cluster, 3000);
    assert_true(cluster_has_leader(cluster));
    assert_true(cluster_facts(follower).term == cluster_facts(leader).term);
    assert_true(cluster_facts(leader).term > term + 5 * GROUP_TERM_JUMP_MAX);
    cluster_isolate(cluster, liar->number, false);
    assert_true(cluster_heals(cluster));
    cluster_power_cut(liar);
    cluster_blank_disk(liar);
    cluster_power_on(liar); /* who joins comes there, too */
    assert_true(cluster_heals(cluster));
    cluster_destroy(cluster);
}

/* RAFT: who joins knows no term, and must not believe any: nobody would follow it there. */
static void test_group_joiner_that_hears_of_a_term_at_its_bound_is_admitted(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 29);
    cluster_submit_some(cluster, 3, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *leader = cluster_leader(cluster);
    struct cluster_node *liar = cluster_follower(cluster, leader, 0), *joiner = cluster_follower(cluster, leader, 1);
    cluster_power_cut(joiner);
    cluster_blank_disk(joiner);
    cluster_cut(cluster, joiner->number, leader->number, true);
    cluster_power_on(joiner);
    cluster_run(cluster, 200);
    assert_true(cluster_facts(joiner).started);
    static struct message message;
    memset(&message, 0, sizeof message);
    message.type = MESSAGE_APPEND;
    message.append.front = (struct message_front){.from = cluster_facts(liar).raft_id, .to = cluster_facts(joiner).raft_id, .term = GROUP_NUMBER_MAX - 1};
    assert_int_equal(forge(liar, joiner, &message, NULL, 0), STATUS_OK);
    assert_true(cluster_facts(joiner).term <= GROUP_TERM_JUMP_MAX);
    cluster_cut(cluster, joiner->number, leader->number, false);
    assert_true(cluster_heals(cluster));
    cluster_destroy(cluster);
}

static bool somebody_stands(struct cluster *cluster)
{
    return cluster_facts(&cluster->nodes[1]).detections + cluster_facts(&cluster->nodes[2]).detections + cluster_facts(&cluster->nodes[3]).detections > 0;
}

/* RAFT: a candidate that was refused takes a newer term over, and what was said to its question before must not count for the next one. */
static void test_group_late_pre_vote_does_not_count_in_the_next_term(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 14);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *leader = cluster_leader(cluster), *candidate = cluster_follower(cluster, leader, 0), *peer = cluster_follower(cluster, leader, 1);
    cluster_cut(cluster, leader->number, candidate->number, true);
    cluster_cut(cluster, candidate->number, leader->number, true);
    assert_true(cluster_until(cluster, somebody_stands, 1000));
    cluster_run(cluster, 10); /* the peer, which hears the leader, has refused */
    uint64_t term = cluster_facts(candidate).term;
    static struct message message;
    memset(&message, 0, sizeof message);
    message.type = MESSAGE_VOTE_RESULT;
    message.vote_result = (struct message_vote_result){
        .front = {.from = cluster_facts(peer).raft_id, .to = cluster_facts(candidate).raft_id, .term = term}, .granted = 1, .pre_vote = 1};
    assert_int_equal(forge(peer, candidate, &message, NULL, 0), STATUS_OK);
    assert_int_equal(cluster_facts(candidate).term, term);
    message.vote_result.front.term = term + 1;
    assert_int_equal(forge(peer, candidate, &message, NULL, 0), STATUS_OK);
    assert_int_equal(cluster_facts(candidate).term, term + 1);
    cluster_cut(cluster, leader->number, candidate->number, false);
    cluster_cut(cluster, candidate->number, leader->number, false);
    assert_true(cluster_heals(cluster));
    cluster_destroy(cluster);
}

static void test_group_body_that_does_not_verify_is_corrupt(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 20);
    cluster_submit_some(cluster, 3, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 1000));
    struct cluster_node *leader = cluster_leader(cluster), *follower = cluster_follower(cluster, leader, 0);
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
    assert_int_equal(forge(leader, follower, &message, body, sizeof body), STATUS_CORRUPT);
    seal_members(&cluster->keys, body, sizeof body, message.entries[0].entry.tag);
    assert_int_equal(forge(leader, follower, &message, body, sizeof body), STATUS_INVALID);
    assert_int_equal(cluster_facts(follower).last_index, facts.last_index);
    assert_true(cluster_heals(cluster));
    cluster_destroy(cluster);
}

/* VERIFY: who is a member is not sealed, but it is as safe from alteration as what is. */
static void test_group_change_that_was_altered_on_its_way_is_corrupt(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 22);
    struct cluster_node *leader = cluster_leader(cluster), *follower = cluster_follower(cluster, leader, 0);
    struct group_facts facts = cluster_facts(leader);
    static struct message message;
    uint8_t body[MEMBERS_BYTES_MAX];
    memset(&message, 0, sizeof message);
    message.type = MESSAGE_APPEND;
    message.append.front = (struct message_front){.from = facts.raft_id, .to = cluster_facts(follower).raft_id, .term = facts.term};
    message.append.previous_index = facts.last_index;
    message.append.previous_term = facts.term;
    message.append.count = 1;
    struct message_entry *entry = &message.entries[0];
    *entry = (struct message_entry){.term = facts.term, .type = LOG_CHANGE};
    entry->body_bytes = (uint32_t)members_encode(leader->superblock.members, leader->superblock.member_count, body);
    seal_members(&cluster->keys, body, entry->body_bytes, entry->entry.tag);
    for (size_t at = 0; at < entry->body_bytes; at++) {
        body[at] ^= 4;
        assert_int_equal(forge(leader, follower, &message, body, entry->body_bytes), STATUS_CORRUPT);
        body[at] ^= 4;
    }
    assert_int_equal(cluster_facts(follower).last_index, facts.last_index);
    assert_true(cluster_heals(cluster));
    cluster_destroy(cluster);
}

/* Append `count` entries of `type`, alike but for a term that grows by `term_step`, behind the last one of `to`, as if `from` led. */
static void forge_entries(struct cluster_node *from, struct cluster_node *to, enum log_type type, uint64_t count, uint64_t term_step)
{
    static struct message message;
    static uint8_t body[APPEND_ENTRIES_MAX * MEMBERS_BYTES_MAX];
    struct disk_member members[DISK_MEMBERS_MAX] = {0};
    for (unsigned i = 0; i < DISK_MEMBERS_MAX; i++) {
        members[i] = (struct disk_member){.raft_id = raft_id_make(1 + i % 3, UINT32_MAX + 1ull + i), .role = DISK_ROLE_STANDBY};
    }
    members[0].raft_id = cluster_facts(from).raft_id;
    members[1].raft_id = cluster_facts(to).raft_id;
    members[0].role = members[1].role = DISK_ROLE_VOTER;
    while (count > 0) {
        struct group_facts facts = cluster_facts(to);
        memset(&message, 0, sizeof message);
        message.type = MESSAGE_APPEND;
        message.append.previous_index = facts.last_index;
        message.append.previous_term = log_term_of(to->group->log, facts.last_index);
        message.append.count = (uint32_t)(count < APPEND_ENTRIES_MAX ? count : APPEND_ENTRIES_MAX);
        uint64_t term = facts.term;
        size_t bytes = 0;
        for (uint32_t i = 0; i < message.append.count; i++) {
            struct message_entry *entry = &message.entries[i];
            *entry = (struct message_entry){.term = term += term_step, .type = (uint32_t)type};
            if (type == LOG_CHANGE) {
                entry->body_bytes = (uint32_t)members_encode(members, DISK_MEMBERS_MAX, body + bytes);
                seal_members(&to->cluster->keys, body + bytes, entry->body_bytes, entry->entry.tag);
                bytes += entry->body_bytes;
            }
        }
        message.append.front = (struct message_front){.from = cluster_facts(from).raft_id, .to = facts.raft_id, .term = term};
        assert_int_equal(forge(from, to, &message, body, bytes), STATUS_OK);
        count -= message.append.count;
        cluster_run(to->cluster, 4);
        if (cluster_facts(to).last_index == facts.last_index) {
            return; /* it takes no more */
        }
    }
}

/* RAFT: a log full of changes of members, none of them committed, must not be one that the library has no heap for when the node starts again. */
static void test_group_log_of_nothing_but_changes_of_members_starts(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 24);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *leader = cluster_leader(cluster), *victim = cluster_follower(cluster, leader, 0), *rogue = cluster_follower(cluster, leader, 1);
    cluster_cut(cluster, leader->number, victim->number, true);
    forge_entries(rogue, victim, LOG_CHANGE, 40000, 0);
    assert_true(cluster_facts(victim).last_index > 40000);
    cluster_isolate(cluster, victim->number, true);
    cluster_run(cluster, 500);
    cluster_power_cut(victim);
    cluster_power_on(victim);
    assert_int_equal(victim->start_status, STATUS_OK);
    cluster_run(cluster, 100);
    assert_true(cluster_facts(victim).started);
    assert_true(cluster_facts(victim).last_index > 40000);
    cluster_destroy(cluster);
}

/* RAFT: a leader that fills the logs with what it never commits must leave room for the barrier of the next one. */
static void test_group_log_that_a_rogue_leader_filled_leaves_room_for_the_next_ones_barrier(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 25);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *rogue = cluster_leader(cluster), *one = cluster_follower(cluster, rogue, 0), *other = cluster_follower(cluster, rogue, 1);
    cluster_cut(cluster, rogue->number, other->number, true);
    forge_entries(rogue, one, LOG_BARRIER, 2 * LOG_ENTRIES_MAX, 0);
    assert_in_range(cluster_facts(one).last_index, LOG_ENTRIES_MAX - LOG_ENTRIES_RESERVE, LOG_ENTRIES_MAX - LOG_ENTRIES_RESERVE + 10);
    cluster_power_cut(rogue);
    assert_true(cluster_until(cluster, cluster_has_leader, 10000));
    assert_ptr_equal(cluster_leader(cluster), one);
    assert_true(cluster_until(cluster, cluster_agrees, 20000));
    cluster_submit_some(cluster, 3, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 20000));
    cluster_destroy(cluster);
}

/* Fill the log of `to` with commands of `from`, in `term`, which nobody commits. */
static void forge_commands(struct cluster_node *from, struct cluster_node *to, uint64_t term)
{
    static struct message message;
    static uint8_t body[64 * 1024];
    for (;;) {
        struct group_facts facts = cluster_facts(to);
        memset(&message, 0, sizeof message);
        message.type = MESSAGE_APPEND;
        message.append = (struct message_append){.front = {.from = cluster_facts(from).raft_id, .to = facts.raft_id, .term = term},
                                                 .previous_index = facts.last_index,
                                                 .previous_term = log_term_of(to->group->log, facts.last_index),
                                                 .commit = facts.commit_index,
                                                 .count = 1};
        struct group_entry entry = {.type = GROUP_ENTRY_EPOCH, .world = 1, .epoch = 1 + facts.last_index, .parts = 1, .bytes = sizeof body};
        struct seal_context context = seal_context_delta(entry.world, entry.epoch, entry.part, entry.parts);
        seal_body(&to->cluster->keys, &context, entry.nonce, body, sizeof body, body, entry.tag);
        message.entries[0] = (struct message_entry){.term = term, .type = LOG_COMMAND, .body_bytes = sizeof body, .entry = entry};
        bool up = to->group->peers[from->number].up;
        to->group->peers[from->number].up = true;
        assert_int_equal(forge(from, to, &message, body, sizeof body), STATUS_OK);
        to->group->peers[from->number].up = up;
        cluster_run(to->cluster, 4);
        if (cluster_facts(to).last_index == facts.last_index) {
            return; /* it takes no more */
        }
    }
}

/* RAFT: what was never committed gives way to what was, also where it fills the log, and commands come before the barrier of who leads now. */
static void test_group_log_that_a_rogue_leader_filled_takes_what_was_committed_instead(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 25);
    for (unsigned number = 1; number <= cluster->count; number++) {
        cluster->nodes[number].auto_checkpoint = true;
    }
    cluster_submit_some(cluster, 3, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *rogue = cluster_leader(cluster), *full = cluster_follower(cluster, rogue, 0), *other = cluster_follower(cluster, rogue, 1);
    uint64_t term = cluster_facts(rogue).term;
    cluster_isolate(cluster, full->number, true);
    cluster_submit_some(cluster, 3, 60000); /* committed by the other two */
    cluster_run(cluster, 200);
    forge_commands(rogue, full, term + 1);
    assert_false(log_room(full->group->log, 1, 60000, LOG_FOR_SUBMISSION));
    assert_int_equal(forge_refusal(other, rogue, term + 2), STATUS_OK); /* those two elect anew, in a newer term */
    assert_true(cluster_until(cluster, cluster_has_leader, 10000));
    cluster_run(cluster, 500);
    cluster_isolate(cluster, full->number, false);
    cluster_power_cut(cluster_leader(cluster) == rogue ? other : rogue);
    assert_true(cluster_until(cluster, cluster_has_leader, 10000));
    cluster_submit_some(cluster, 3, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 20000));
    cluster_destroy(cluster);
}

/* ... and where there is none, another has to lead. */
static void test_group_node_without_room_for_a_barrier_does_not_stand(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 26);
    assert_true(cluster_until(cluster, cluster_agrees, 2000));
    struct cluster_node *rogue = cluster_leader(cluster), *full = cluster_follower(cluster, rogue, 0), *other = cluster_follower(cluster, rogue, 1);
    cluster_cut(cluster, rogue->number, other->number, true);
    cluster_cut(cluster, full->number, other->number, true);
    forge_entries(rogue, full, LOG_BARRIER, 2 * LOG_ENTRIES_MAX, 1);
    struct group_facts facts = cluster_facts(full);
    assert_int_equal(facts.last_index - (log_first_index(full->group->log) - 1), LOG_ENTRIES_MAX);
    static struct message message;
    memset(&message, 0, sizeof message);
    message.type = MESSAGE_TIMEOUT_NOW;
    message.timeout_now = (struct message_timeout_now){.front = {.from = cluster_facts(rogue).raft_id, .to = facts.raft_id, .term = facts.term},
                                                       .last_index = facts.last_index,
                                                       .last_term = facts.term};
    assert_int_equal(forge(rogue, full, &message, NULL, 0), STATUS_OK);
    cluster_cut(cluster, full->number, other->number, false);
    cluster_power_cut(rogue);
    cluster_run(cluster, 2000);
    assert_false(full->leads);
    assert_int_equal(cluster_facts(full).term, facts.term);
    assert_true(group_deadline_ns(full->group) > full->fake.now_ns);
    cluster_destroy(cluster);
}

static void test_group_messages_that_cannot_be_are_invalid_or_dropped(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 21);
    cluster_submit_some(cluster, 3, 100);
    assert_true(cluster_until(cluster, cluster_agrees, 1000));
    struct cluster_node *leader = cluster_leader(cluster), *follower = cluster_follower(cluster, leader, 0);
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
    assert_true(cluster_heals(cluster));
    cluster_destroy(cluster);
}

static void test_group_removed_is_believed_only_of_a_term_that_is_not_older(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 22);
    struct cluster_node *leader = cluster_leader(cluster), *follower = cluster_follower(cluster, leader, 0);
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
    assert_true(cluster_heals(cluster));
    assert_int_equal(follower->removed_count, 1);
    cluster_destroy(cluster);
}

static void test_group_hello_of_numbers_that_cannot_be_is_refused(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_elected(3, 23);
    struct cluster_node *leader = cluster_leader(cluster), *follower = cluster_follower(cluster, leader, 0);
    const uint64_t too_much = GROUP_NUMBER_MAX + 1;
    for (unsigned field = 0; field < 4; field++) {
        struct peers_hello hello = {.raft_id = cluster_facts(follower).raft_id,
                                    .boot_number = field == 0 ? too_much : 100,
                                    .term = field == 1 ? too_much : 100,
                                    .last_index = field == 2 ? too_much : 100,
                                    .last_term = field == 3 ? too_much : 100};
        enum peers_reason reason = PEERS_REASON_NONE;
        assert_int_equal(group_accept_hello(leader->group, follower->number, &hello, &reason), STATUS_REFUSED);
        assert_int_equal(reason, PEERS_REASON_NOT_NOW);
    }
    assert_true(cluster_heals(cluster));
    cluster_destroy(cluster);
}

static uint64_t near(uint64_t *random, uint64_t value, uint32_t below, uint32_t above)
{
    uint64_t sum = value + test_random_below(random, below + above + 1);
    return sum > below + 1 ? sum - below : 1;
}

/* Well-formed, in range, and a lie. Returns the length of the body. */
static size_t make_lie(struct cluster *cluster, uint64_t *random, const struct group_facts *facts, uint64_t from, struct message *message, uint8_t *body)
{
    memset(message, 0, sizeof *message);
    message->type = (enum message_type)(MESSAGE_APPEND + test_random_below(random, MESSAGE_REMOVED - MESSAGE_APPEND));
    message->front = (struct message_front){.from = from, .to = facts->raft_id, .term = near(random, facts->term, 1, test_random_below(random, 20) == 0)};
    uint64_t index = near(random, facts->last_index, 6, 3), term = near(random, message->front.term, 2, 0), bytes = 0;
    switch (message->type) {
    case MESSAGE_APPEND:
        message->append.previous_index = test_random_below(random, 10) == 0 ? 0 : index;
        message->append.previous_term = message->append.previous_index == 0 ? 0 : term;
        message->append.commit = near(random, facts->commit_index, 2, test_random_below(random, 10) == 0);
        message->append.count = test_random_below(random, 4);
        for (uint32_t i = 0; i < message->append.count; i++) {
            struct message_entry *entry = &message->entries[i];
            term += term < message->front.term ? test_random_below(random, 2) : 0;
            *entry = (struct message_entry){.term = term, .type = 1 + test_random_below(random, 3)};
            if (entry->type == LOG_COMMAND) {
                entry->entry = (struct group_entry){.type = GROUP_ENTRY_RESET, .world = 1, .epoch = 3};
            } else if (entry->type == LOG_CHANGE) {
                struct disk_member members[3];
                uint32_t count = 1 + test_random_below(random, 3);
                for (uint32_t m = 0; m < count; m++) {
                    members[m] = (struct disk_member){.raft_id = m == 0 ? from : cluster_facts(&cluster->nodes[m]).raft_id, .role = test_random_below(random, 3)};
                    members[m].raft_id = m == 1 && members[1].raft_id == from ? raft_id_make(3, 99) : members[m].raft_id;
                }
                members[2].raft_id = count == 3 && (members[2].raft_id == members[1].raft_id || members[2].raft_id == from) ? raft_id_make(3, 98) : members[2].raft_id;
                entry->body_bytes = (uint32_t)members_encode(members, count, body + bytes);
                seal_members(&cluster->keys, body + bytes, entry->body_bytes, entry->entry.tag);
            }
            bytes += entry->body_bytes;
        }
        break;
    case MESSAGE_APPEND_RESULT:
        message->append_result.rejected = test_random_below(random, 2) == 0 ? 0 : index;
        message->append_result.last_index = message->append_result.rejected == 0 ? near(random, index, 3, 5) : near(random, index, 5, 0) - 1;
        break;
    case MESSAGE_VOTE:
        message->vote.last_index = index;
        message->vote.last_term = term;
        message->vote.disrupt = (uint8_t)test_random_below(random, 2);
        message->vote.pre_vote = (uint8_t)test_random_below(random, 2);
        break;
    case MESSAGE_VOTE_RESULT:
        message->vote_result.granted = (uint8_t)test_random_below(random, 2);
        message->vote_result.pre_vote = (uint8_t)test_random_below(random, 2);
        break;
    default:
        message->timeout_now.last_index = index;
        message->timeout_now.last_term = term;
        break;
    }
    return bytes;
}

static void test_group_rogue_with_a_valid_key_aborts_nobody(void **state)
{
    (void)state;
    uint64_t seed = test_seed("rogue", 31);
    for (unsigned life = 0; life < 30; life++) {
        struct cluster *cluster = cluster_elected(3, seed + life);
        cluster->lies = true;
        cluster_submit_some(cluster, 10, 100);
        cluster_run(cluster, 100);
        uint64_t random = seed * 1000 + life;
        struct cluster_node *leader = cluster_leader(cluster), *other = cluster_follower(cluster, leader, 0);
        struct cluster_node *victim = life % 3 == 0 ? leader : other, *rogue = victim == leader ? other : life % 3 == 1 ? leader : cluster_follower(cluster, leader, 1);
        for (unsigned i = 0; i < 500; i++) {
            struct group_facts facts = cluster_facts(victim);
            static struct message message;
            static uint8_t body[3 * MEMBERS_BYTES_MAX];
            size_t bytes = make_lie(cluster, &random, &facts, cluster_facts(rogue).raft_id, &message, body);
            enum status status = forge(rogue, victim, &message, body, bytes);
            assert_true(status == STATUS_OK || status == STATUS_INVALID);
            if (test_random_below(&random, 20) == 0) {
                group_check(victim->group);
                cluster_run(cluster, test_random_below(&random, 30));
            }
        }
        cluster_destroy(cluster);
    }
}

/* With an argument: only the tests whose names match it, such as '*chaos*'. */
int main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_group_term_that_jumps_far_raises_ours_by_the_bound_only),
        cmocka_unit_test(test_group_message_of_a_term_that_jumps_far_changes_nothing_but_the_term),
        cmocka_unit_test(test_group_terms_that_were_driven_apart_meet_again),
        cmocka_unit_test(test_group_joiner_that_hears_of_a_term_at_its_bound_is_admitted),
        cmocka_unit_test(test_group_late_pre_vote_does_not_count_in_the_next_term),
        cmocka_unit_test(test_group_body_that_does_not_verify_is_corrupt),
        cmocka_unit_test(test_group_change_that_was_altered_on_its_way_is_corrupt),
        cmocka_unit_test(test_group_log_of_nothing_but_changes_of_members_starts),
        cmocka_unit_test(test_group_log_that_a_rogue_leader_filled_leaves_room_for_the_next_ones_barrier),
        cmocka_unit_test(test_group_log_that_a_rogue_leader_filled_takes_what_was_committed_instead),
        cmocka_unit_test(test_group_node_without_room_for_a_barrier_does_not_stand),
        cmocka_unit_test(test_group_messages_that_cannot_be_are_invalid_or_dropped),
        cmocka_unit_test(test_group_removed_is_believed_only_of_a_term_that_is_not_older),
        cmocka_unit_test(test_group_hello_of_numbers_that_cannot_be_is_refused),
        cmocka_unit_test(test_group_rogue_with_a_valid_key_aborts_nobody),
    };
    return cmocka_run_group_tests(tests, test_crypto_set_up, NULL);
}
