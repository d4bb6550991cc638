/* Catch-up, the giver's side: what it offers and when, what it holds meanwhile, whom it serves, what it does about its own disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/catchup_pair.h"

static void test_catchup_brings_a_blank_node_to_the_checkpoint(void **state)
{
    (void)state;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    assert_true(run(5000) < 5000);
    assert_int_equal(follower->installed_calls, 1);
    assert_int_equal(follower->group.installs, 1);
    assert_int_equal(follower->group.installed.last_index, 101);
    assert_int_equal(follower->group.installed.last_term, 3);
    assert_int_equal(follower->group.installed.leader_id, raft_id_of(LEADER));
    assert_int_equal(follower->group.installed.term, 5);
    assert_int_equal(follower->group.installed.member_count, 1);
    fill_and_compare();
    assert_null(store_pinned(leader->store));
    struct catchup_facts facts;
    catchup_facts(leader->catchup, &facts);
    assert_int_equal(facts.pages_sent, 600);
    assert_int_equal(facts.manifests_sent, 1);
}

static void test_catchup_of_an_empty_world_works(void **state)
{
    (void)state;
    image_clear(leader->image);
    make_checkpoint(leader);
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    assert_true(run(1000) < 1000);
    assert_int_equal(follower->installed_calls, 1);
    fill_and_compare();
}

static void test_catchup_moves_only_what_differs(void **state)
{
    (void)state;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    run(5000);
    write_page(leader, 6, 77);
    write_page(leader, 7, 78);
    make_checkpoint(leader);
    leader->fake.now_ns += CATCHUP_AGAIN_MS * MS;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    assert_true(run(5000) < 5000);
    struct catchup_facts facts;
    catchup_facts(leader->catchup, &facts);
    assert_int_equal(facts.pages_sent, 602);
    assert_int_equal(follower->installed_calls, 2);
    fill_and_compare();
}

static void test_catchup_repeated_wish_does_nothing(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 50; i++) {
        catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
        turn();
    }
    struct catchup_facts facts;
    catchup_facts(leader->catchup, &facts);
    assert_int_equal(facts.manifests_sent, 1);
}

static void test_catchup_offers_nothing_just_after_a_transfer_and_again_later(void **state)
{
    (void)state;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    run(5000);
    struct catchup_facts facts;
    for (unsigned i = 0; i < CATCHUP_AGAIN_MS - 10u; i++) {
        catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
        turn();
    }
    catchup_facts(leader->catchup, &facts);
    assert_int_equal(facts.manifests_sent, 1);
    for (unsigned i = 0; i < 100; i++) {
        catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
        turn();
    }
    catchup_facts(leader->catchup, &facts);
    assert_int_equal(facts.manifests_sent, 2);
}

static void test_catchup_for_another_incarnation_or_absent_peer_starts_nothing(void **state)
{
    (void)state;
    catchup_send_snapshot(leader->catchup, raft_id_make(FOLLOWER, 5));
    catchup_send_snapshot(leader->catchup, raft_id_make(77, 5));
    catchup_send_snapshot(leader->catchup, raft_id_of(LEADER));
    turn();
    assert_true(quiet(leader));
    leader->peers.up = false;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    turn();
    assert_true(quiet(leader));
    assert_null(store_pinned(leader->store));
}

static void test_catchup_holds_the_log_and_lets_it_go(void **state)
{
    (void)state;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    turn();
    assert_int_equal(leader->group.held, 101);
    assert_non_null(store_pinned(leader->store));
    run(5000);
    assert_int_equal(leader->group.held, 101);
    leader->fake.now_ns += CATCHUP_LINGER_MS * MS;
    assert_true(catchup_deadline_ns(leader->catchup) <= leader->fake.now_ns);
    tick(leader);
    assert_int_equal(leader->group.held, 0);
    assert_int_equal(catchup_deadline_ns(leader->catchup), UINT64_MAX);
}

static void test_catchup_dead_puller_releases_the_pin(void **state)
{
    (void)state;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    for (unsigned i = 0; i < 20; i++) {
        leader->fake.now_ns += MS;
        tick(leader);
    }
    clear_wire(&leader->peers);
    assert_non_null(store_pinned(leader->store));
    leader->fake.now_ns += CATCHUP_IDLE_MS * MS;
    tick(leader);
    assert_null(store_pinned(leader->store));
    assert_true(quiet(leader));
}

/* The receiver of a manifest is silent until its end, which takes long where the image is large or the link slow. */
static void test_catchup_manifest_that_takes_longer_than_a_silence_arrives(void **state)
{
    (void)state;
    leader->peers.limit = 1;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    for (unsigned ms = 1; ms < 60000 && follower->installed_calls == 0; ms++) {
        leader->fake.now_ns += MS;
        follower->fake.now_ns += MS;
        tick(leader);
        tick(follower);
        if (ms % (CATCHUP_IDLE_MS - 1000) == 0 && leader->peers.count > 0) {
            assert_int_equal(deliver(leader, follower), STATUS_OK);
        }
        if (leader->peers.count > 0 && leader->peers.queue[0].type == CATCHUP_PAGES) {
            leader->peers.limit = 0; /* only the manifest is slow */
            assert_int_equal(deliver(leader, follower), STATUS_OK);
        }
        while (follower->peers.count > 0) {
            assert_int_equal(deliver(follower, leader), STATUS_OK);
        }
    }
    assert_int_equal(follower->installed_calls, 1);
    struct catchup_facts facts;
    catchup_facts(leader->catchup, &facts);
    assert_int_equal(facts.manifests_sent, 1);
}

static void test_catchup_lost_leadership_stops_serving(void **state)
{
    (void)state;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    for (unsigned i = 0; i < 30; i++) {
        turn();
    }
    catchup_stop_serving(leader->catchup);
    assert_null(store_pinned(leader->store));
    assert_true(quiet(leader));
    turn();
    assert_int_equal(leader->group.held, 0);
}

static void test_catchup_yielded_pin_lets_the_next_manifest_continue(void **state)
{
    (void)state;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    struct catchup_facts facts;
    do {
        turn();
        catchup_facts(follower->catchup, &facts);
    } while (facts.pages_received < 100);
    catchup_yield_pin(leader->catchup);
    turn();
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    assert_true(run(5000) < 5000);
    assert_int_equal(follower->installed_calls, 1);
    catchup_facts(follower->catchup, &facts);
    assert_int_equal(facts.pages_received, 600);
    fill_and_compare();
}

/* A disk that takes its time. */
static enum status (*quick_read)(void *context, uint64_t offset, void *buffer, size_t bytes);
static uint64_t reading_ns;

static enum status slow_read(void *context, uint64_t offset, void *buffer, size_t bytes)
{
    leader->fake.now_ns += 2 * MS;
    reading_ns += 2 * MS;
    return quick_read(context, offset, buffer, bytes);
}

static void test_catchup_slow_disk_takes_a_third_of_the_servers_time(void **state)
{
    (void)state;
    quick_read = leader->fake.machine.block_read;
    leader->fake.machine.block_read = slow_read;
    reading_ns = 0;
    uint64_t began_ns = leader->fake.now_ns;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    assert_true(run(50000) < 50000);
    assert_int_equal(follower->installed_calls, 1);
    assert_true(reading_ns >= 600 * 2 * MS);
    uint64_t step_ns = CATCHUP_SERVE_STEP * 2 * MS;
    assert_true((reading_ns - step_ns) * CATCHUP_PACE <= leader->fake.now_ns - began_ns);
}

static void test_catchup_page_that_the_disk_lost_comes_from_memory(void **state)
{
    (void)state;
    fake_disk_flip(&leader->fake, leader->store == NULL ? 0 : disk_store_offset(DISK) + 10 * PAGE + 5, 2);
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    assert_true(run(5000) < 5000);
    assert_int_equal(follower->installed_calls, 1);
    fill_and_compare();
}

static void test_catchup_page_that_is_nowhere_ends_the_transfer(void **state)
{
    (void)state;
    for (uint32_t block = 0; block < 600; block++) {
        fake_disk_flip(&leader->fake, disk_store_offset(DISK) + block * PAGE + 5, 2);
    }
    image_clear(leader->image);
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    for (unsigned i = 0; i < 100; i++) {
        turn();
    }
    assert_true(quiet(leader));
    assert_int_equal(follower->installed_calls, 0);
    assert_null(store_pinned(leader->store));
}

/* DURABLE: an idle world writes no checkpoint of its own accord, so a page that cannot be given would have kept the other node out for ever. */
static void test_catchup_page_that_rotted_and_has_changed_asks_for_a_new_checkpoint_and_waits_for_it(void **state)
{
    (void)state;
    fake_disk_flip(&leader->fake, disk_store_offset(DISK) + 10 * PAGE + 5, 2);
    for (uint32_t page = 0; page < 600; page++) {
        write_page(leader, page * 3, page + 7);
    }
    struct delta_writer delta;
    struct undo_record undo;
    delta_writer_init(&delta, leader->delta_buffer, DELTA_BYTES_MAX);
    undo_record_init(&undo, leader->undo_buffer, UNDO_BYTES_MAX);
    assert_int_equal(image_freeze(leader->image, &delta, &undo), STATUS_OK);
    assert_true(image_capture_step(leader->image, UINT32_MAX));
    struct catchup_facts facts;
    for (unsigned i = 0; i < CATCHUP_AGAIN_MS; i++) {
        catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER)); /* as the group does with each heartbeat */
        turn();
    }
    catchup_facts(leader->catchup, &facts);
    assert_int_equal(facts.manifests_sent, 1);
    assert_int_equal(leader->wanted_checkpoints, 1);
    make_checkpoint(leader);
    for (unsigned i = 0; i < 5000 && follower->installed_calls == 0; i++) {
        catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
        turn();
    }
    assert_int_equal(follower->installed_calls, 1);
    fill_and_compare();
}

/* Peer `peer` asks for pages under transfer `id`; the wire holds nothing else. */
static void want_pages(unsigned peer, uint64_t id, uint32_t request)
{
    struct catchup_want want = {.id = id, .request = request, .count = CATCHUP_PAGES_MAX};
    for (uint32_t i = 0; i < CATCHUP_PAGES_MAX; i++) {
        want.pages[i] = i * 3;
    }
    const struct peers_message message = {.type = CATCHUP_WANT, .header = (const uint8_t *)&want, .header_bytes = sizeof want};
    assert_int_equal(catchup_message(leader->catchup, peer, &message), STATUS_OK);
}

static void test_catchup_peers_are_served_in_turn(void **state)
{
    (void)state;
    enum { OTHER = 3 };
    uint64_t id[OTHER + 1] = {0};
    unsigned answers[OTHER + 1] = {0};
    for (unsigned peer = FOLLOWER; peer <= OTHER; peer++) {
        leader->peers.hello.raft_id = raft_id_of(peer);
        catchup_send_snapshot(leader->catchup, raft_id_of(peer));
        for (unsigned i = 0; i < 20; i++) {
            leader->fake.now_ns += MS;
            tick(leader);
            for (size_t at = 0; at < leader->peers.count; at++) {
                if (leader->peers.queue[at].type == CATCHUP_END) {
                    memcpy(&id[peer], leader->peers.queue[at].header, sizeof id[peer]);
                }
            }
            clear_wire(&leader->peers);
        }
        assert_true(id[peer] != 0);
    }
    for (unsigned i = 0; i < 200; i++) {
        for (unsigned peer = FOLLOWER; peer <= OTHER; peer++) {
            want_pages(peer, id[peer], i % CATCHUP_REQUESTS_MAX);
        }
        leader->fake.now_ns += MS;
        tick(leader);
        for (size_t at = 0; at < leader->peers.count; at++) {
            assert_int_equal(leader->peers.queue[at].type, CATCHUP_PAGES);
            uint64_t whose;
            memcpy(&whose, leader->peers.queue[at].header, sizeof whose);
            answers[whose == id[OTHER] ? OTHER : FOLLOWER]++;
        }
        clear_wire(&leader->peers);
    }
    assert_true(answers[FOLLOWER] >= 10);
    assert_in_range(answers[OTHER], answers[FOLLOWER] - 1, answers[FOLLOWER] + 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, pair_set_up, pair_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_catchup_brings_a_blank_node_to_the_checkpoint),
        TEST(test_catchup_of_an_empty_world_works),
        TEST(test_catchup_moves_only_what_differs),
        TEST(test_catchup_repeated_wish_does_nothing),
        TEST(test_catchup_offers_nothing_just_after_a_transfer_and_again_later),
        TEST(test_catchup_for_another_incarnation_or_absent_peer_starts_nothing),
        TEST(test_catchup_holds_the_log_and_lets_it_go),
        TEST(test_catchup_dead_puller_releases_the_pin),
        TEST(test_catchup_manifest_that_takes_longer_than_a_silence_arrives),
        TEST(test_catchup_lost_leadership_stops_serving),
        TEST(test_catchup_yielded_pin_lets_the_next_manifest_continue),
        TEST(test_catchup_slow_disk_takes_a_third_of_the_servers_time),
        TEST(test_catchup_page_that_the_disk_lost_comes_from_memory),
        TEST(test_catchup_page_that_is_nowhere_ends_the_transfer),
        TEST(test_catchup_page_that_rotted_and_has_changed_asks_for_a_new_checkpoint_and_waits_for_it),
        TEST(test_catchup_peers_are_served_in_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
