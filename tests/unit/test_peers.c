/* Peers: links that come up, are refused, fall silent or end, and what a node needs to have peers at all. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "consensus/limits.h"
#include "tests/unit/support/crypto_set_up.h"
#include "tests/unit/support/linked_cluster.h"

static const uint64_t silence_ns = LINKED_ELECTION_NS * PEERS_SILENCE_RAFT_PERCENT / 100;
static const uint64_t keepalive_ns = LINKED_ELECTION_NS * PEERS_KEEPALIVE_RAFT_PERCENT / 100;

/* --- coming up --- */

static void test_peers_link_up_gives_both_the_hello(void **state)
{
    (void)state;
    struct linked_cluster *cluster = linked_up(LINKED_WIDE);
    struct linked_node *one = &cluster->nodes[1], *two = &cluster->nodes[2];
    assert_int_equal(one->ups[2][0], 1);
    assert_int_equal(two->ups[1][1], 1);
    assert_int_equal(peers_hello_of(one->peers, 2, 0)->raft_id, two->raft_id);
    assert_int_equal(peers_hello_of(two->peers, 1, 0)->boot_number, 5);
    assert_null(peers_hello_of(one->peers, 3, 0));
    assert_false(peers_is_up(one->peers, 3, 0));
    linked_free(cluster);
}

static void test_peers_hello_not_accepted_tells_the_peer_why(void **state)
{
    (void)state;
    for (unsigned refuser = 1; refuser <= 2; refuser++) {
        struct linked_cluster *cluster = linked_make(LINKED_WIDE);
        struct linked_node *no = &cluster->nodes[refuser], *other = &cluster->nodes[3 - refuser];
        no->accept_status = STATUS_REFUSED;
        no->accept_reason = PEERS_REASON_REPLACED;
        other->greet = true;
        fake_links_up(&cluster->links, 1, 2, 0);
        linked_settle(cluster);
        assert_int_equal(other->refused_by[refuser], PEERS_REASON_REPLACED);
        assert_int_equal(no->ups[other->number][0], 0);
        assert_int_equal(no->messages, 0);
        assert_false(peers_is_up(no->peers, other->number, 0));
        assert_false(peers_is_up(other->peers, refuser, 0));
        assert_int_equal(other->downs[refuser][0], other->ups[refuser][0]);
        assert_int_equal(linked_counters_of(no).hellos_refused, 1);
        assert_true(cluster->links.resets > 0);
        linked_free(cluster);
    }
}

static void test_peers_refused_peer_that_stays_is_cut_off(void **state)
{
    (void)state;
    struct linked_cluster *cluster = linked_make(LINKED_WIDE);
    cluster->nodes[1].accept_status = STATUS_STALE;
    cluster->nodes[1].accept_reason = PEERS_REASON_STALE;
    fake_links_up(&cluster->links, 1, 2, 0);
    while (linked_counters_of(&cluster->nodes[1]).hellos_refused == 0) {
        assert_true(fake_links_deliver(&cluster->links, 1, 2, 0, SIZE_MAX) || fake_links_deliver(&cluster->links, 2, 1, 0, SIZE_MAX));
    }
    cluster->links.pipes[1][2][0].stopped = true;
    linked_run(cluster, (PEERS_REFUSAL_MS - 10) * MS, 5 * MS);
    assert_int_equal(cluster->links.resets, 0);
    linked_run(cluster, 20 * MS, 5 * MS);
    assert_int_equal(cluster->links.resets, 1);
    linked_free(cluster);
}

static void test_peers_refused_again_and_again_says_so_once_in_its_time(void **state)
{
    (void)state;
    enum { ATTEMPTS = 9 };
    struct linked_cluster *cluster = linked_make(LINKED_WIDE);
    struct linked_node *no = &cluster->nodes[1], *other = &cluster->nodes[2];
    no->accept_status = STATUS_REFUSED;
    no->accept_reason = PEERS_REASON_REPLACED;
    for (unsigned attempt = 0; attempt < ATTEMPTS; attempt++) {
        fake_links_up(&cluster->links, 1, 2, 0);
        linked_run(cluster, 100 * MS, 10 * MS);
    }
    assert_int_equal(linked_counters_of(no).hellos_refused, ATTEMPTS);
    assert_int_equal(no->fake.log_lines, 1);
    assert_int_equal(other->fake.log_lines, 2); /* up, refused */
    linked_run(cluster, (uint64_t)PEERS_SAME_LINE_MS * MS, 100 * MS);
    fake_links_up(&cluster->links, 1, 2, 0);
    linked_run(cluster, 100 * MS, 10 * MS);
    assert_int_equal(no->fake.log_lines, 3); /* how often it was kept back, and the line */
    linked_free(cluster);
}

static void test_peers_hello_of_another_node_number_is_a_violation(void **state)
{
    (void)state;
    struct linked_cluster *cluster = linked_make(LINKED_WIDE);
    cluster->nodes[2].raft_id = raft_id_make(3, 77);
    fake_links_up(&cluster->links, 1, 2, 0);
    linked_settle(cluster);
    assert_int_equal(cluster->nodes[1].ups[2][0], 0);
    assert_int_equal(linked_counters_of(&cluster->nodes[1]).links_violated, 1);
    linked_free(cluster);
}

static void test_peers_handshake_that_does_not_end_is_cut_off(void **state)
{
    (void)state;
    struct linked_cluster *cluster = linked_make(LINKED_WIDE);
    fake_links_up(&cluster->links, 1, 2, 0);
    cluster->links.pipes[1][2][0].stopped = true;
    cluster->links.pipes[2][1][0].stopped = true;
    linked_run(cluster, (PEERS_HANDSHAKE_MS - 10) * MS, 5 * MS);
    assert_int_equal(cluster->links.resets, 0);
    linked_run(cluster, 20 * MS, 5 * MS);
    assert_int_equal(linked_counters_of(&cluster->nodes[1]).handshakes_late, 1);
    assert_int_equal(linked_counters_of(&cluster->nodes[2]).handshakes_late, 1);
    linked_free(cluster);
}

static void test_peers_new_boot_on_one_lane_ends_the_other_lane(void **state)
{
    (void)state;
    struct linked_cluster *cluster = linked_up(LINKED_WIDE);
    cluster->nodes[2].boot_number = 6;
    fake_links_up(&cluster->links, 1, 2, 0);
    linked_settle(cluster);
    assert_int_equal(peers_hello_of(cluster->nodes[1].peers, 2, 0)->boot_number, 6);
    assert_false(peers_is_up(cluster->nodes[1].peers, 2, 1));
    assert_int_equal(cluster->nodes[1].downs[2][1], 1);
    linked_free(cluster);
}

static void test_peers_link_up_again_ends_the_old_channel_first(void **state)
{
    (void)state;
    struct linked_cluster *cluster = linked_up(LINKED_WIDE);
    fake_links_up(&cluster->links, 1, 2, 0);
    assert_int_equal(cluster->nodes[1].downs[2][0], 1);
    linked_settle(cluster);
    assert_int_equal(cluster->nodes[1].ups[2][0], 2);
    assert_int_equal(cluster->links.resets, 0);
    linked_free(cluster);
}

/* --- time --- */

static void test_peers_idle_links_stay_up_and_peers_count_as_heard(void **state)
{
    (void)state;
    struct linked_cluster *cluster = linked_up(LINKED_WIDE);
    struct linked_node *one = &cluster->nodes[1];
    for (unsigned i = 0; i < 100; i++) {
        linked_run(cluster, LINKED_ELECTION_NS, 5 * MS);
        assert_true(one->fake.now_ns - peers_heard_ns(one->peers, 2) < LINKED_ELECTION_NS);
    }
    assert_int_equal(cluster->links.resets, 0);
    assert_int_equal(one->messages, 0);
    assert_true(peers_is_up(one->peers, 2, 1));
    assert_int_equal(peers_heard_ns(one->peers, 3), 0);
    linked_free(cluster);
}

static void test_peers_busy_sender_sends_no_keepalives(void **state)
{
    (void)state;
    struct linked_cluster *cluster = linked_up(LINKED_WIDE);
    struct linked_node *one = &cluster->nodes[1];
    uint64_t before = linked_counters_of(one).messages_sent;
    fake_links_down(&cluster->links, 1, 2, PEERS_LANE_BULK);
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(linked_send_text(one, 2, 0, "heartbeat"), STATUS_OK);
        linked_run(cluster, keepalive_ns / 2, keepalive_ns / 2);
    }
    assert_int_equal(linked_counters_of(one).messages_sent - before, 50);
    linked_free(cluster);
}

static void test_peers_silent_link_is_ended_after_its_time(void **state)
{
    (void)state;
    struct linked_cluster *cluster = linked_up(LINKED_WIDE);
    struct linked_node *one = &cluster->nodes[1];
    cluster->links.pipes[2][1][0].stopped = true;
    linked_run(cluster, silence_ns - 5 * MS, 5 * MS);
    assert_true(peers_is_up(one->peers, 2, 0));
    linked_run(cluster, 5 * MS, 5 * MS);
    assert_false(peers_is_up(one->peers, 2, 0));
    assert_int_equal(one->downs[2][0], 1);
    assert_int_equal(linked_counters_of(one).links_silent, 1);
    assert_true(peers_is_up(one->peers, 2, 1));
    linked_free(cluster);
}

/* Bytes alone are no sign of life: a message whose length was altered would be waited for as long as any come. */
static void test_peers_link_without_whole_messages_is_ended_after_its_time(void **state)
{
    (void)state;
    struct linked_cluster *cluster = linked_up(LINKED_WIDE);
    struct linked_node *one = &cluster->nodes[1];
    cluster->links.pipes[2][1][0].stopped = true;
    for (unsigned half = 1; half < 2 * PEERS_DEAF_SILENCES; half++) {
        linked_run(cluster, silence_ns / 2, silence_ns / 2);
        assert_true(peers_is_up(one->peers, 2, 0));
        peers_link_data(one->peers, 2, 0, half == 2 ? "\1" : "\0", 1); /* a length of 256, then the beginning of what it promises */
    }
    linked_run(cluster, silence_ns / 2, silence_ns / 2);
    assert_false(peers_is_up(one->peers, 2, 0));
    assert_int_equal(one->downs[2][0], 1);
    assert_true(peers_is_up(one->peers, 2, 1));
    linked_free(cluster);
}

/* A loop that sleeps until the deadline makes progress each time. */
static void test_peers_deadline_is_in_the_future_after_each_tick(void **state)
{
    (void)state;
    struct linked_cluster *cluster = linked_make(LINKED_WIDE);
    struct linked_node *one = &cluster->nodes[1];
    assert_true(peers_deadline_ns(one->peers) == UINT64_MAX);
    linked_free(cluster);
    cluster = linked_up(LINKED_NARROW);
    one = &cluster->nodes[1];
    static const uint8_t body[3 * LINKED_NARROW];
    const struct peers_span span = {body, sizeof body};
    assert_int_equal(peers_send(one->peers, 2, 0, 1, NULL, 0, &span, 1), STATUS_OK);
    for (unsigned i = 0; i < 10000 && peers_deadline_ns(one->peers) != UINT64_MAX; i++) {
        one->fake.now_ns = peers_deadline_ns(one->peers);
        peers_tick(one->peers, one->fake.now_ns);
        assert_true(peers_deadline_ns(one->peers) > one->fake.now_ns);
    }
    assert_false(peers_is_up(one->peers, 2, 0)); /* nothing was ever delivered: silence */
    assert_true(peers_deadline_ns(one->peers) == UINT64_MAX);
    linked_free(cluster);
}

/* --- creation --- */

static void test_peers_create_out_of_range_is_invalid(void **state)
{
    (void)state;
    struct linked_cluster *cluster = linked_make(LINKED_NARROW);
    const uint8_t identities[MACHINE_PEERS_MAX][IDENTITY_PUBLIC_BYTES] = {{0}};
    struct peers_config good = linked_config_of(&cluster->nodes[1], identities);
    struct peers_events events = linked_events_of(&cluster->nodes[1]);
    struct peers *peers = NULL;
    struct peers_config bad = good;
    bad.self = 4;
    assert_int_equal(peers_create(&bad, &events, &peers), STATUS_INVALID);
    bad = good;
    bad.self = 0;
    assert_int_equal(peers_create(&bad, &events, &peers), STATUS_INVALID);
    bad = good;
    bad.node_count = MACHINE_PEERS_MAX + 1;
    assert_int_equal(peers_create(&bad, &events, &peers), STATUS_INVALID);
    bad = good;
    bad.election_timeout_ns = 0;
    assert_int_equal(peers_create(&bad, &events, &peers), STATUS_INVALID);
    assert_null(peers);
    linked_free(cluster);
}

static void test_peers_create_without_memory_is_no_memory(void **state)
{
    (void)state;
    struct linked_cluster *cluster = linked_make(LINKED_NARROW);
    const uint8_t identities[MACHINE_PEERS_MAX][IDENTITY_PUBLIC_BYTES] = {{0}};
    struct peers_config config = linked_config_of(&cluster->nodes[1], identities);
    struct peers_events events = linked_events_of(&cluster->nodes[1]);
    struct peers *peers = NULL;
    for (size_t left = 0; left < 2 << 20; left += 512 << 10) {
        cluster->nodes[1].fake.reserve_left = left;
        assert_int_equal(peers_create(&config, &events, &peers), STATUS_NO_MEMORY);
    }
    assert_null(peers);
    linked_free(cluster);
}

static void test_peers_alone_has_nothing_to_do(void **state)
{
    (void)state;
    struct linked_cluster *cluster = linked_make(LINKED_NARROW);
    struct linked_node *one = &cluster->nodes[1];
    const uint8_t identities[1][IDENTITY_PUBLIC_BYTES] = {{0}};
    struct peers_config config = linked_config_of(one, identities);
    struct peers_events events = linked_events_of(one);
    config.node_count = 1;
    assert_int_equal(peers_create(&config, &events, &one->peers), STATUS_OK);
    peers_tick(one->peers, 5);
    peers_flush(one->peers);
    assert_true(peers_deadline_ns(one->peers) == UINT64_MAX);
    linked_free(cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peers_link_up_gives_both_the_hello),
        cmocka_unit_test(test_peers_hello_not_accepted_tells_the_peer_why),
        cmocka_unit_test(test_peers_refused_peer_that_stays_is_cut_off),
        cmocka_unit_test(test_peers_refused_again_and_again_says_so_once_in_its_time),
        cmocka_unit_test(test_peers_hello_of_another_node_number_is_a_violation),
        cmocka_unit_test(test_peers_handshake_that_does_not_end_is_cut_off),
        cmocka_unit_test(test_peers_new_boot_on_one_lane_ends_the_other_lane),
        cmocka_unit_test(test_peers_link_up_again_ends_the_old_channel_first),
        cmocka_unit_test(test_peers_idle_links_stay_up_and_peers_count_as_heard),
        cmocka_unit_test(test_peers_busy_sender_sends_no_keepalives),
        cmocka_unit_test(test_peers_silent_link_is_ended_after_its_time),
        cmocka_unit_test(test_peers_link_without_whole_messages_is_ended_after_its_time),
        cmocka_unit_test(test_peers_deadline_is_in_the_future_after_each_tick),
        cmocka_unit_test(test_peers_create_out_of_range_is_invalid),
        cmocka_unit_test(test_peers_create_without_memory_is_no_memory),
        cmocka_unit_test(test_peers_alone_has_nothing_to_do),
    };
    return cmocka_run_group_tests(tests, test_crypto_set_up, NULL);
}
