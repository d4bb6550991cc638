/* Groups of several nodes in virtual time. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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

static int set_up(void **state)
{
    (void)state;
    struct fake_machine fake;
    fake_machine_init(&fake, 1, 16, 1 << 20);
    enum status status = crypto_init(&fake.machine);
    fake_machine_destroy(&fake);
    return status == STATUS_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_group_three_nodes_elect_and_apply_the_same),
        cmocka_unit_test(test_group_one_node_leads_and_applies),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
