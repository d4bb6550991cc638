/* A node that lost its disk joins a running cluster: handshakes on both lanes, admission, catch-up by pages, promotion. One call of one of the two sides,
 * who gives (the host) and who takes, fails once, for every n until a join passes without reaching it. The cluster heals: by itself, or after a node
 * whose disk failed, or whose machine had not the memory, has said so and was started again. Nothing committed is lost, no node ever shows an image of its own
 * (tests/unit/support/node_cluster.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/support/node_cluster.h"
#include "tests/unit/support/nth_failure.h"

enum { HEAL_MS = 8000, LIFE_MS = 60, BLANKED = 1 << 20 };
enum whose { WHO_GIVES, WHO_TAKES };

static struct nodes *nodes;

static bool ended(const struct nodes *all)
{
    bool care = false, off = false;
    for (unsigned number = 1; number <= all->count; number++) {
        care = care || nodes_needs_care(&all->node[number]);
        off = off || all->node[number].node == NULL;
    }
    return care || (!off && nodes_whole(all));
}

static struct nodes_node *checkpointed_host(void)
{
    struct nodes_node *host = nodes_host(nodes);
    nodes_forget_lines(host);
    host->node->checkpoint_wanted = true;
    for (unsigned i = 0; i < HEAL_MS && !nodes_said(host, "is durable"); i++) {
        nodes_turn(nodes);
        assert_ptr_equal(nodes_host(nodes), host);
    }
    return host;
}

static void blank(struct nodes_node *node)
{
    const uint64_t parts[] = {0, DISK_LOG_OFFSET, disk_store_offset(NODES_DISK_BYTES)};
    for (unsigned i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        memset(node->fake.disk.current + parts[i], 0, BLANKED);
        memset(node->fake.disk.durable + parts[i], 0, BLANKED);
    }
}

/* Whoever said why it takes no part is started again. */
static void look_after(unsigned errors_before)
{
    unsigned errors = 0;
    for (unsigned number = 1; number <= nodes->count; number++) {
        errors += nodes->node[number].errors;
    }
    for (unsigned number = 1; number <= nodes->count; number++) {
        struct nodes_node *node = &nodes->node[number];
        if (nodes_needs_care(node)) {
            assert_true(node->create_failed ? strstr(node->reason, "memory") != NULL : errors > errors_before);
            nodes_power_cut(node);
            nodes_power_on(node);
        }
    }
    assert_true(nodes_run(nodes, HEAL_MS, nodes_whole));
}

/* True: the failure was reached. */
static bool join(enum whose whose, enum fake_call call, uint64_t n)
{
    unsigned errors = 0;
    nodes_run(nodes, LIFE_MS, NULL);
    assert_true(nodes_run(nodes, HEAL_MS, nodes_whole));
    struct nodes_node *host = checkpointed_host();
    struct nodes_node *joins = &nodes->node[host->number % nodes->count + 1];
    uint64_t committed = nodes->committed, old_id = nodes_raft_id(joins);
    nodes_power_cut(joins);
    blank(joins);
    for (unsigned number = 1; number <= nodes->count; number++) {
        errors += nodes->node[number].errors;
    }
    struct fake_machine *failing = whose == WHO_GIVES ? &host->fake : &joins->fake;
    fake_machine_fail_once(failing, call, n);
    nodes_power_on(joins);
    assert_true(nodes_run(nodes, HEAL_MS, ended));
    bool reached = fake_machine_has_failed(failing);
    fake_machine_fail_once(failing, call, 0);
    look_after(errors);
    assert_true(nodes->committed >= committed);
    assert_true(nodes_raft_id(joins) != old_id);
    return reached;
}

static bool giving_life(enum fake_call call, uint64_t n)
{
    return join(WHO_GIVES, call, n);
}

static bool taking_life(enum fake_call call, uint64_t n)
{
    return join(WHO_TAKES, call, n);
}

static int set_up(void **state)
{
    (void)state;
    nodes = nodes_create(3, 31);
    for (unsigned number = 1; number <= nodes->count; number++) {
        nodes_power_on(&nodes->node[number]);
    }
    return nodes_run(nodes, HEAL_MS, nodes_whole) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    nodes_destroy(nodes);
    return 0;
}

NTH_FAILURE_TEST(test_catchup_each_failed_read_of_who_gives_heals, giving_life, FAKE_READ, 10)
NTH_FAILURE_TEST(test_catchup_each_failed_write_of_who_gives_heals, giving_life, FAKE_WRITE, 5)
NTH_FAILURE_TEST(test_catchup_each_failed_flush_of_who_gives_heals, giving_life, FAKE_FLUSH, 5)
NTH_FAILURE_TEST(test_catchup_each_failed_send_of_who_gives_heals, giving_life, FAKE_SEND, 20)
NTH_FAILURE_TEST(test_catchup_each_failed_reservation_of_who_takes_heals, taking_life, FAKE_RESERVE, 20)
NTH_FAILURE_TEST(test_catchup_each_missing_frame_of_who_takes_heals, taking_life, FAKE_PAGE_ADD, 10)
NTH_FAILURE_TEST(test_catchup_each_failed_read_of_who_takes_heals, taking_life, FAKE_READ, 10)
NTH_FAILURE_TEST(test_catchup_each_failed_write_of_who_takes_heals, taking_life, FAKE_WRITE, 10)
NTH_FAILURE_TEST(test_catchup_each_failed_flush_of_who_takes_heals, taking_life, FAKE_FLUSH, 5)
NTH_FAILURE_TEST(test_catchup_each_failed_send_of_who_takes_heals, taking_life, FAKE_SEND, 20)

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_catchup_each_failed_read_of_who_gives_heals),
        TEST(test_catchup_each_failed_write_of_who_gives_heals),
        TEST(test_catchup_each_failed_flush_of_who_gives_heals),
        TEST(test_catchup_each_failed_send_of_who_gives_heals),
        TEST(test_catchup_each_failed_reservation_of_who_takes_heals),
        TEST(test_catchup_each_missing_frame_of_who_takes_heals),
        TEST(test_catchup_each_failed_read_of_who_takes_heals),
        TEST(test_catchup_each_failed_write_of_who_takes_heals),
        TEST(test_catchup_each_failed_flush_of_who_takes_heals),
        TEST(test_catchup_each_failed_send_of_who_takes_heals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
