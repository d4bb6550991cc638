/* Whole nodes (replicate/node) in virtual time: what an operator asks for in the middle of something else, and what must wait. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "consensus/group_internal.h"
#include "consensus/log_internal.h"
#include "tests/unit/support/node_cluster.h"

enum { TURNS = 20000 };

static struct nodes *nodes;
static char answer[4096];

static int set_up(void **state)
{
    (void)state;
    nodes = nodes_create(3, 5);
    for (unsigned number = 1; number <= nodes->count; number++) {
        nodes_power_on(&nodes->node[number]);
    }
    return nodes_run(nodes, TURNS, nodes_whole) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    nodes_destroy(nodes);
    return 0;
}

static void keep_answer(void *context, const char *line)
{
    (void)context;
    strncat(answer, line, sizeof answer - strlen(answer) - 1);
}

static const char *ask(struct nodes_node *node, const char *line)
{
    answer[0] = '\0';
    node_management_line(node->node, line, strlen(line), keep_answer, NULL);
    return answer;
}

static void ask_for_move(struct nodes_node *host, unsigned target)
{
    char line[16];
    snprintf(line, sizeof line, "move %u", target);
    assert_string_equal(ask(host, line), "ok");
}

static uint64_t committed_before;

static bool committed_more(const struct nodes *all)
{
    return all->committed > committed_before + 10;
}

static void assert_goes_on(void)
{
    committed_before = nodes->committed;
    assert_true(nodes_run(nodes, TURNS, committed_more));
}

/* An operator who thinks better of a move asks for one to where the world is: it was taken for done, and the world stood still for ever. */
static void test_node_move_to_the_host_itself_while_a_move_is_under_way_is_busy(void **state)
{
    (void)state;
    static const enum move_state states[] = {MOVE_APPROACHING, MOVE_DRAINING, MOVE_TRANSFERRING};
    for (unsigned i = 0; i < sizeof states / sizeof states[0]; i++) {
        struct nodes_node *host = nodes_host(nodes);
        assert_non_null(host);
        unsigned target = host->number % nodes->count + 1;
        ask_for_move(host, target);
        for (unsigned turn = 0; turn < 100 && host->node->move.state != states[i]; turn++) {
            node_tick(host->node);
            if (host->node->move.state != states[i]) {
                nodes_turn(nodes);
            }
        }
        if (host->node->move.state == states[i]) {
            char line[16];
            snprintf(line, sizeof line, "move %u", host->number);
            assert_non_null(strstr(ask(host, line), "BUSY"));
        }
        assert_goes_on();
        assert_true(nodes_run(nodes, TURNS, nodes_whole));
    }
}

/* The world would stand still until its image is read. */
static void test_node_move_to_a_node_without_its_image_waits_and_the_world_goes_on(void **state)
{
    (void)state;
    struct nodes_node *host = nodes_host(nodes);
    unsigned target = host->number % 3 + 1;
    struct node *fills = nodes->node[target].node;
    assert_false(fills->group->image_missing);
    nodes_power_cut(&nodes->node[target]);
    nodes_power_on(&nodes->node[target]);
    assert_true(nodes->node[target].node->group->image_missing);
    assert_true(nodes_run(nodes, TURNS, nodes_whole));
    fills = nodes->node[target].node;
    assert_false(fills->group->image_missing);
    group_image_missing(fills->group, true); /* as if it had just begun to read */
    nodes_run(nodes, 200, NULL);
    ask_for_move(host, target);
    committed_before = nodes->committed;
    assert_true(nodes_run(nodes, 1000, committed_more));
    assert_int_equal(host->node->move.state, MOVE_APPROACHING);
    group_image_missing(fills->group, false);
    for (unsigned turn = 0; turn < 2000 && host->node->move.state != MOVE_DONE; turn++) {
        nodes_turn(nodes);
    }
    assert_int_equal(host->node->move.state, MOVE_DONE);
    assert_int_equal(nodes_host(nodes)->number, target);
}

/* What another node said of an older term does not end a move that this host still pauses its world for. */
static void test_node_word_of_a_resumed_world_is_believed_only_when_the_leadership_is_lost(void **state)
{
    (void)state;
    struct nodes_node *host = nodes_host(nodes);
    unsigned target = host->number % nodes->count + 1, other = target % nodes->count + 1;
    ask_for_move(host, target);
    host->node->move.state = MOVE_TRANSFERRING;
    node_move_resumed(host->node, other);
    assert_int_equal(host->node->move.state, MOVE_TRANSFERRING);
    node_move_resumed(host->node, target);
    assert_int_equal(host->node->move.state, MOVE_TRANSFERRING);
    node_move_lost(host->node);
    assert_int_equal(host->node->move.state, MOVE_DONE);
}

/* DURABLE: a disk that says so could not be started from. */
static void test_node_checkpoint_behind_a_change_of_members_that_stays_waits(void **state)
{
    (void)state;
    struct nodes_node *host = nodes_host(nodes);
    struct nodes_node *standby = &nodes->node[host->number % nodes->count + 1];
    struct node *node = standby->node;
    nodes->asleep = true; /* nothing comes that would end what is made here */
    nodes_run(nodes, 200, NULL);
    struct checkpoint *start = &node->assembly_start;
    group_applied(node->group, &start->raft_index, &start->raft_term, &start->configuration_index, start->members, &start->member_count);
    start->configuration_index = start->raft_index + 2;
    node->assembly_next = 1;
    node->assembly_parts = 2;
    node->checkpoint_wanted = true;
    node_checkpoint_tick(node);
    assert_false(store_checkpointing(node->store));
    assert_true(node->checkpoint_wanted);
    node->assembly_next = node->assembly_parts = 0; /* as a barrier does */
    node_checkpoint_tick(node);
    assert_true(store_checkpointing(node->store));
}

static const struct nodes_node *watched;

static bool watched_stands_aside(const struct nodes *all)
{
    (void)all;
    return watched->node != NULL && watched->node->disk == STORE_DISK_CORRUPT;
}

/* VERIFY: the log is read anew once; a node whose life began with reading it would read the same for ever. */
static void test_node_log_that_does_not_open_is_not_read_again_and_again(void **state)
{
    (void)state;
    struct nodes_node *host = nodes_host(nodes), *standby = &nodes->node[host->number % nodes->count + 1];
    standby->node->started_ns = node_now_ns(standby->node);
    standby->node->keys.delta[0] ^= 1;
    watched = standby;
    assert_true(nodes_run(nodes, TURNS, watched_stands_aside));
    assert_true(node_awaits_repair(standby->node));
}

/* Of a log block that holds entries; a second time: as it was. */
static void flip_log(struct nodes_node *node, uint64_t bytes)
{
    for (uint64_t at = 0; at < bytes; at += DISK_BLOCK_BYTES) {
        fake_disk_flip(&node->fake, DISK_LOG_OFFSET + at + 150, 4);
    }
}

/* NO-AMNESIA: what is committed cannot be read back, though it was read at the start. As long as no majority does without this node its disk stays, and a fault
 * that goes away has cost nothing. */
static void test_node_log_that_goes_bad_while_it_runs_is_kept_until_others_do_without_it(void **state)
{
    (void)state;
    struct nodes_node *node = &nodes->node[1], *off = &nodes->node[3];
    committed_before = nodes->committed;
    assert_true(nodes_run(nodes, TURNS, committed_more));
    uint64_t raft_id = nodes_raft_id(node);
    for (unsigned number = 1; number <= nodes->count; number++) {
        nodes_power_cut(&nodes->node[number]);
    }
    nodes_power_on(node);
    nodes_power_on(&nodes->node[2]);
    uint64_t bytes = node->node->group->log->head;
    flip_log(node, bytes);
    static uint8_t superblocks[2 * DISK_BLOCK_BYTES];
    memcpy(superblocks, node->fake.disk.durable, sizeof superblocks);
    watched = node;
    assert_true(nodes_run(nodes, TURNS, watched_stands_aside));
    nodes_run(nodes, 2000, NULL);
    assert_true(node_awaits_repair(node->node));
    assert_non_null(strstr(node->node->disk_reason, "which is committed, cannot be read back"));
    assert_int_equal(node->restarts, 0);
    assert_memory_equal(node->fake.disk.durable, superblocks, sizeof superblocks);
    nodes_power_cut(node);
    flip_log(node, bytes);
    nodes_power_on(node);
    nodes_power_on(off);
    assert_true(nodes_run(nodes, TURNS, nodes_whole));
    assert_int_equal(nodes_raft_id(node), raft_id);
}

/* ONE-STORY: reports that nobody could hear are not counted, or none would be left for the host that comes. */
static void test_node_contradiction_without_a_leader_is_reported_to_the_next_one(void **state)
{
    (void)state;
    struct nodes_node *host = nodes_host(nodes), *standby = &nodes->node[host->number % nodes->count + 1];
    for (unsigned number = 1; number <= nodes->count; number++) {
        if (number != standby->number) {
            nodes_power_cut(&nodes->node[number]);
        }
    }
    nodes_run(nodes, 2000, NULL);
    struct group_facts facts;
    group_facts(standby->node->group, &facts);
    assert_int_equal(facts.leader_id, 0);
    standby->node->contradiction = (struct node_contradiction){.epoch = 1, .digest = 1};
    for (unsigned i = 0; i < 2 * AGREEMENT_REPORTS_MAX; i++) {
        standby->node->contradiction_ns = 0;
        node_agreement_tick(standby->node);
    }
    assert_int_equal(standby->node->contradiction_sent, 0);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_node_move_to_the_host_itself_while_a_move_is_under_way_is_busy, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_node_move_to_a_node_without_its_image_waits_and_the_world_goes_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_node_word_of_a_resumed_world_is_believed_only_when_the_leadership_is_lost, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_node_checkpoint_behind_a_change_of_members_that_stays_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_node_log_that_does_not_open_is_not_read_again_and_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_node_log_that_goes_bad_while_it_runs_is_kept_until_others_do_without_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_node_contradiction_without_a_leader_is_reported_to_the_next_one, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
