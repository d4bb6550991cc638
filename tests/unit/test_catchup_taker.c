/* Catch-up, the taker's side: what it takes and from whom, what it keeps when links or givers fail, which messages it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/catchup_pair.h"

/* The follower has a part of the checkpoint, and what was on the wire is lost. */
static void pull_some_pages(void)
{
    struct catchup_facts facts;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    do {
        turn();
        catchup_facts(follower->catchup, &facts);
    } while (facts.pages_received < 200);
    clear_wire(&leader->peers);
    clear_wire(&follower->peers);
}

static void test_catchup_newer_checkpoint_after_link_loss_keeps_pages(void **state)
{
    (void)state;
    pull_some_pages();
    catchup_down(leader->catchup, FOLLOWER);
    catchup_down(follower->catchup, LEADER);
    assert_null(store_pinned(leader->store));
    assert_true(catchup_receiving(follower->catchup));
    write_page(leader, 1, 1);
    make_checkpoint(leader);
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    assert_true(run(5000) < 5000);
    struct catchup_facts facts;
    catchup_facts(leader->catchup, &facts);
    assert_true(facts.pages_sent < 600 + 1 + CATCHUP_PAGES_MAX * CATCHUP_REQUESTS_MAX);
    assert_int_equal(follower->installed_calls, 1);
    assert_int_equal(follower->group.installed.last_index, 102);
    fill_and_compare();
}

static void test_catchup_lost_answers_are_asked_for_again(void **state)
{
    (void)state;
    uint64_t random = test_seed(__func__, 3);
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    for (unsigned i = 0; i < 60000 && !(quiet(leader) && quiet(follower) && i > 5); i++) {
        leader->fake.now_ns += MS;
        follower->fake.now_ns += MS;
        tick(leader);
        tick(follower);
        for (size_t at = 0; at < leader->peers.count; at++) {
            struct wire_message *message = &leader->peers.queue[at];
            if (message->type == CATCHUP_PAGES && test_random_below(&random, 4) == 0) {
                /* as if the disk had been too far behind to take them */
                struct catchup_pages *pages = (struct catchup_pages *)(void *)message->header;
                pages->count = 0;
                message->body_bytes = 0;
            }
        }
        while (leader->peers.count > 0) {
            assert_int_equal(deliver(leader, follower), STATUS_OK);
        }
        while (follower->peers.count > 0) {
            assert_int_equal(deliver(follower, leader), STATUS_OK);
        }
    }
    assert_int_equal(follower->installed_calls, 1);
    fill_and_compare();
}

static void test_catchup_dead_server_ends_the_pull(void **state)
{
    (void)state;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    for (unsigned i = 0; i < 30; i++) {
        turn();
    }
    assert_true(catchup_receiving(follower->catchup));
    for (unsigned i = 0; i < CATCHUP_IDLE_MS + 100u; i++) {
        follower->fake.now_ns += MS;
        tick(follower);
        clear_wire(&follower->peers);
    }
    assert_false(catchup_receiving(follower->catchup));
    store_check(follower->store);
}

/* IDLE: what was asked of a giver that is gone is due to nobody. */
static void test_catchup_pull_without_a_giver_waits_for_the_next_one(void **state)
{
    (void)state;
    pull_some_pages();
    catchup_down(follower->catchup, LEADER);
    for (unsigned i = 0; i < CATCHUP_REQUEST_MS + 100u; i++) {
        follower->fake.now_ns += MS;
        tick(follower);
    }
    assert_true(catchup_receiving(follower->catchup));
    assert_true(catchup_deadline_ns(follower->catchup) > follower->fake.now_ns);
}

static void test_catchup_that_the_log_overtook_installs_nothing(void **state)
{
    (void)state;
    follower->group.facts.applied_index = 101;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    assert_true(run(500) < 500);
    assert_int_equal(follower->installed_calls, 0);
    assert_int_equal(store_checkpoint(follower->store)->epoch, 0);
}

static void test_catchup_log_that_passes_while_pulling_only_moves_the_checkpoint(void **state)
{
    (void)state;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    for (unsigned i = 0; i < 30; i++) {
        turn();
    }
    follower->group.facts.applied_index = 500;
    run(5000);
    assert_int_equal(follower->installed_calls, 0);
    assert_int_equal(follower->group.installs, 0);
    assert_int_equal(follower->group.checkpoint_done, 101);
}

static void test_catchup_of_a_group_whose_disk_failed_ends_and_is_not_due(void **state)
{
    (void)state;
    follower->group.install_status = STATUS_REFUSED;
    follower->group.facts.disk_failed = true;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    assert_true(run(5000) < 5000);
    assert_int_equal(follower->installed_calls, 0);
    assert_int_equal(catchup_deadline_ns(follower->catchup), UINT64_MAX);
}

static void test_catchup_manifest_of_an_old_term_is_not_taken(void **state)
{
    (void)state;
    follower->group.facts.term = 6;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    assert_true(run(500) < 500);
    assert_int_equal(follower->installed_calls, 0);
}

/* RAFT: only the leader's log is certain to have what its checkpoint says is committed. */
static void test_catchup_manifest_of_who_does_not_lead_is_not_taken(void **state)
{
    (void)state;
    follower->group.facts.leader_id = raft_id_of(3);
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    assert_true(run(500) < 500);
    assert_int_equal(follower->installed_calls, 0);
}

static void test_catchup_manifest_of_a_term_that_the_group_has_not_heard_of_is_not_taken(void **state)
{
    (void)state;
    leader->group.facts.term = 6;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    assert_true(run(500) < 500);
    assert_int_equal(follower->installed_calls, 0);
}

/* What has just started again knows no leader: pages come, but nothing is made durable. */
static void pull_without_a_leader(void)
{
    follower->group.facts.leader_id = 0;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    for (unsigned i = 0; i < 1000; i++) {
        turn();
    }
    struct catchup_facts facts;
    catchup_facts(follower->catchup, &facts);
    assert_int_equal(facts.pages_received, 600);
    assert_true(facts.receiving);
    assert_int_equal(store_checkpoint(follower->store)->epoch, 0);
}

static void test_catchup_checkpoint_waits_until_its_giver_is_known_for_the_leader(void **state)
{
    (void)state;
    pull_without_a_leader();
    follower->group.facts.leader_id = raft_id_of(LEADER);
    assert_true(run(500) < 500);
    assert_int_equal(follower->installed_calls, 1);
    fill_and_compare();
}

static void test_catchup_checkpoint_of_who_turns_out_not_to_lead_is_given_up(void **state)
{
    (void)state;
    pull_without_a_leader();
    follower->group.facts.leader_id = raft_id_of(3);
    assert_true(run(500) < 500);
    assert_int_equal(follower->installed_calls, 0);
    assert_int_equal(store_checkpoint(follower->store)->epoch, 0);
}

static void test_catchup_checkpoint_of_who_led_is_taken_under_the_next_leader(void **state)
{
    (void)state;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    for (unsigned i = 0; i < 20; i++) {
        turn();
    }
    assert_int_equal(store_checkpoint(follower->store)->epoch, 0);
    follower->group.facts.leader_id = raft_id_of(3);
    follower->group.facts.term++;
    assert_true(run(5000) < 5000);
    assert_int_equal(follower->installed_calls, 1);
}

static void test_catchup_checkpoint_that_contradicts_the_log_is_given_up(void **state)
{
    (void)state;
    follower->group.contradicted = 101;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    assert_true(run(5000) < 5000);
    assert_int_equal(follower->installed_calls, 0);
    assert_int_equal(store_checkpoint(follower->store)->epoch, 0);
}

static void test_catchup_waits_for_a_checkpoint_under_way(void **state)
{
    (void)state;
    write_page(follower, 3, 3);
    struct checkpoint own = *store_checkpoint(leader->store);
    own.epoch = 0;
    memset(&own.record, 0, sizeof own.record);
    struct delta_writer delta;
    struct undo_record undo;
    delta_writer_init(&delta, follower->delta_buffer, DELTA_BYTES_MAX);
    undo_record_init(&undo, follower->undo_buffer, UNDO_BYTES_MAX);
    assert_int_equal(image_freeze(follower->image, &delta, &undo), STATUS_OK);
    assert_true(image_capture_step(follower->image, UINT32_MAX));
    assert_int_equal(store_checkpoint_begin(follower->store, follower->image, &own), STATUS_OK);
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    for (unsigned i = 0; i < 50; i++) {
        turn();
    }
    assert_true(store_checkpointing(follower->store));
    assert_true(catchup_receiving(follower->catchup));
    enum status status;
    while ((status = store_checkpoint_step(follower->store)) == STATUS_OK) {
        fake_disk_complete(&follower->fake, false);
    }
    assert_int_equal(status, STATUS_EMPTY);
    assert_true(run(5000) < 5000);
    assert_int_equal(follower->installed_calls, 1);
    fill_and_compare();
}

/* BOUND: while a manifest comes in this node makes no checkpoint; its end, and the word that it is served no more, may both be lost. */
static void test_catchup_manifest_whose_rest_never_comes_is_forgotten(void **state)
{
    (void)state;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    tick(leader);
    assert_int_equal(deliver(leader, follower), STATUS_OK);
    clear_wire(&leader->peers);
    assert_true(catchup_receiving(follower->catchup));
    assert_int_equal(catchup_deadline_ns(follower->catchup), follower->fake.now_ns + CATCHUP_IDLE_MS * MS);
    follower->fake.now_ns += CATCHUP_IDLE_MS * MS;
    tick(follower);
    assert_false(catchup_receiving(follower->catchup));
    assert_int_equal(catchup_deadline_ns(follower->catchup), UINT64_MAX);
}

/* -- messages that lie -- */

static void test_catchup_altered_page_ends_the_channel(void **state)
{
    (void)state;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    enum status status = STATUS_OK;
    for (unsigned i = 0; i < 1000 && status == STATUS_OK; i++) {
        leader->fake.now_ns += MS;
        follower->fake.now_ns += MS;
        tick(leader);
        tick(follower);
        while (leader->peers.count > 0 && status == STATUS_OK) {
            if (leader->peers.queue[0].type == CATCHUP_PAGES) {
                leader->peers.queue[0].body[4096 + 17] ^= 1;
            }
            status = deliver(leader, follower);
        }
        while (follower->peers.count > 0) {
            assert_int_equal(deliver(follower, leader), STATUS_OK);
        }
    }
    assert_int_equal(status, STATUS_CORRUPT);
    clear_wire(&leader->peers);
}

static void test_catchup_hashes_that_do_not_add_up_are_not_begun(void **state)
{
    (void)state;
    bool altered = false;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    for (unsigned i = 0; i < 100; i++) {
        leader->fake.now_ns += MS;
        follower->fake.now_ns += MS;
        tick(leader);
        tick(follower);
        while (leader->peers.count > 0) {
            if (leader->peers.queue[0].type == CATCHUP_HASHES && !altered) {
                leader->peers.queue[0].header[16] ^= 1;
                altered = true;
            }
            assert_int_equal(deliver(leader, follower), STATUS_OK);
        }
        while (follower->peers.count > 0) {
            assert_int_equal(deliver(follower, leader), STATUS_OK);
        }
    }
    assert_true(quiet(leader));
    assert_true(quiet(follower));
    assert_int_equal(follower->installed_calls, 0);
}

static void test_catchup_malformed_messages_are_invalid(void **state)
{
    (void)state;
    uint8_t header[PEERS_HEADER_BYTES_MAX] = {0}, body[PAGE] = {0};
    struct {
        uint8_t type;
        size_t header_bytes, body_bytes;
    } cases[] = {
        {CATCHUP_MANIFEST, sizeof(struct catchup_manifest), 0}, /* all zero: fields out of range */
        {CATCHUP_MANIFEST, 10, 0},
        {CATCHUP_HASHES, 8, 0},
        {CATCHUP_HASHES, 24, 0},
        {CATCHUP_HASHES, 16, 8},
        {CATCHUP_END, 3, 0},
        {CATCHUP_WANT, 3, 0},
        {CATCHUP_WANT, sizeof(struct catchup_want), 1},
        {CATCHUP_PAGES, sizeof(struct catchup_pages), PAGE},
        {CATCHUP_PAGES, 16, 0},
        {CATCHUP_ENDED, 1, 0},
        {CATCHUP_GONE, 1, 0},
        {CATCHUP_GONE + 1, sizeof(struct catchup_note), 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct peers_message message = {
            .type = cases[i].type, .header = header, .header_bytes = cases[i].header_bytes, .body = body, .body_bytes = cases[i].body_bytes};
        assert_int_equal(catchup_message(follower->catchup, LEADER, &message), STATUS_INVALID);
    }
    struct catchup_want want = {.count = CATCHUP_PAGES_MAX + 1};
    struct peers_message message = {.type = CATCHUP_WANT, .header = (uint8_t *)&want, .header_bytes = sizeof want};
    assert_int_equal(catchup_message(leader->catchup, FOLLOWER, &message), STATUS_INVALID);
    want = (struct catchup_want){.request = CATCHUP_REQUESTS_MAX};
    assert_int_equal(catchup_message(leader->catchup, FOLLOWER, &message), STATUS_INVALID);
}

/* Once a manifest is durable the next start is held to it: what no group would take must not get that far. */
static void test_catchup_manifest_that_no_group_would_take_is_invalid(void **state)
{
    (void)state;
    for (unsigned field = 0; field < 6; field++) {
        struct catchup_manifest manifest = {.id = 1,
                                            .snapshot = {.leader_id = raft_id_of(LEADER),
                                                         .term = 5,
                                                         .last_index = 9,
                                                         .last_term = 4,
                                                         .configuration_index = 1,
                                                         .member_count = 1,
                                                         .members = {{.raft_id = raft_id_of(LEADER), .role = DISK_ROLE_VOTER}}},
                                            .pages_max = PAGES};
        struct group_snapshot *snapshot = &manifest.snapshot;
        struct peers_message message = {.type = CATCHUP_MANIFEST, .header = (uint8_t *)&manifest, .header_bytes = sizeof manifest};
        assert_int_equal(catchup_message(follower->catchup, LEADER, &message), STATUS_OK);
        snapshot->configuration_index = field == 0 ? 0 : 1;
        snapshot->members[0].raft_id = field == 1 ? 0 : raft_id_of(LEADER);
        snapshot->members[0].role = field == 2 ? 3 : DISK_ROLE_VOTER;
        snapshot->last_index = field == 3 ? UINT64_MAX : 9;
        snapshot->term = field == 4 ? UINT64_MAX : 5;
        manifest.epoch = field == 5 ? UINT64_MAX : 1;
        assert_int_equal(catchup_message(follower->catchup, LEADER, &message), STATUS_INVALID);
    }
}

static void test_catchup_random_messages_hurt_nothing(void **state)
{
    (void)state;
    uint64_t random = test_seed(__func__, 17);
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    turn();
    static const size_t sizes[] = {sizeof(struct catchup_manifest), 16 + 8 * 4, sizeof(struct catchup_note), sizeof(struct catchup_want),
                                   sizeof(struct catchup_pages), sizeof(struct catchup_note), sizeof(struct catchup_note)};
    for (unsigned i = 0; i < 20000; i++) {
        unsigned kind = test_random_below(&random, 7);
        size_t bytes = sizes[kind], body_bytes = kind == 4 ? (size_t)test_random_below(&random, 3) * PAGE : 0;
        uint8_t *header = malloc(bytes), *body = malloc(body_bytes + 1);
        for (size_t at = 0; at < bytes; at++) {
            header[at] = test_random(&random) % 3 == 0 ? (uint8_t)test_random(&random) : 0;
        }
        memset(body, 7, body_bytes + 1);
        struct node *to = test_random(&random) % 2 ? leader : follower;
        uint64_t id = leader->catchup->transfers[FOLLOWER].id;
        memcpy(header, &id, sizeof id);
        struct peers_message message = {
            .type = (uint8_t)(CATCHUP_MANIFEST + kind), .header = header, .header_bytes = bytes, .body = body, .body_bytes = body_bytes};
        enum status status = catchup_message(to->catchup, to == leader ? FOLLOWER : LEADER, &message);
        assert_true(status == STATUS_OK || status == STATUS_INVALID || status == STATUS_CORRUPT);
        free(header);
        free(body);
        if (i % 50 == 0) {
            tick(leader);
            tick(follower);
            clear_wire(&leader->peers);
            clear_wire(&follower->peers);
        }
    }
    store_check(leader->store);
    store_check(follower->store);
    assert_int_equal(follower->installed_calls, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, pair_set_up, pair_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_catchup_newer_checkpoint_after_link_loss_keeps_pages),
        TEST(test_catchup_lost_answers_are_asked_for_again),
        TEST(test_catchup_dead_server_ends_the_pull),
        TEST(test_catchup_pull_without_a_giver_waits_for_the_next_one),
        TEST(test_catchup_that_the_log_overtook_installs_nothing),
        TEST(test_catchup_log_that_passes_while_pulling_only_moves_the_checkpoint),
        TEST(test_catchup_of_a_group_whose_disk_failed_ends_and_is_not_due),
        TEST(test_catchup_manifest_of_an_old_term_is_not_taken),
        TEST(test_catchup_manifest_of_who_does_not_lead_is_not_taken),
        TEST(test_catchup_manifest_of_a_term_that_the_group_has_not_heard_of_is_not_taken),
        TEST(test_catchup_checkpoint_waits_until_its_giver_is_known_for_the_leader),
        TEST(test_catchup_checkpoint_of_who_turns_out_not_to_lead_is_given_up),
        TEST(test_catchup_checkpoint_of_who_led_is_taken_under_the_next_leader),
        TEST(test_catchup_checkpoint_that_contradicts_the_log_is_given_up),
        TEST(test_catchup_waits_for_a_checkpoint_under_way),
        TEST(test_catchup_manifest_whose_rest_never_comes_is_forgotten),
        TEST(test_catchup_altered_page_ends_the_channel),
        TEST(test_catchup_hashes_that_do_not_add_up_are_not_begun),
        TEST(test_catchup_malformed_messages_are_invalid),
        TEST(test_catchup_manifest_that_no_group_would_take_is_invalid),
        TEST(test_catchup_random_messages_hurt_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
