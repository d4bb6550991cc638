/* A host and a standby, joined by hand: GATE, BOUND, IDLE and RING of replicate/world. Where both have to be the same: test_world_one_story.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "replicate/limits.h"
#include "tests/unit/support/world_sides.h"

static bool wait_call(struct side *side, uint64_t deadline)
{
    uint64_t result;
    const uint64_t arguments[4] = {deadline, side_facts(side).resumed, 0, 0};
    return world_call(side->world, ABI_CALL_WAIT, arguments, &result);
}

static void produce_frame(struct side *side, uint32_t count, uint8_t last)
{
    struct abi_frame_slot slot = {.bytes = 60};
    struct abi_ring_state ring;
    slot.frame[59] = last;
    assert_true(side_poke(side, ABI_TRANSMIT_ADDRESS + (uint64_t)(count % ABI_FRAME_SLOTS) * ABI_FRAME_SLOT_BYTES, &slot, sizeof slot));
    assert_int_equal(image_read(world_image(side->world), ABI_RING_STATE_ADDRESS - ABI_WORLD_BASE, &ring, sizeof ring), STATUS_OK);
    ring.transmit_produced = count + 1;
    assert_true(side_poke(side, ABI_RING_STATE_ADDRESS, &ring, sizeof ring));
}

static void test_world_output_waits_for_the_commit_of_its_epoch(void **state)
{
    struct sides *sides = *state;
    struct side *host = &sides->side[0];
    sides_born(sides);
    produce_frame(host, 0, 9);
    side_settle(host);
    assert_int_equal(side_facts(host).in_flight, 1);
    sides_pass(sides, 1000);
    side_settle(host);
    assert_int_equal(sides->frames_sent, 0);
    sides_commit(sides, host, &sides->side[1], SIDES_LOG_MAX);
    assert_int_equal(sides->frames_sent, 1);
    assert_int_equal(sides->last_frame_byte, 9);
}

/* BOUND, and nothing polls: a full ring is waited for, and the wait ends by itself. */
static void test_world_that_filled_its_ring_is_woken_when_a_quarter_is_free(void **state)
{
    struct sides *sides = *state;
    struct side *host = &sides->side[0], *standby = &sides->side[1];
    const uint32_t ends[] = {ABI_FRAME_SLOTS_LOW - 1, ABI_FRAME_SLOTS_LOW, ABI_FRAME_SLOTS}; /* of three epochs */
    struct abi_info info;
    sides_born(sides);
    for (uint32_t count = 0, i = 0; i < 3; i++) {
        for (; count < ends[i]; count++) {
            produce_frame(host, count, 1);
        }
        sides_pass(sides, 10);
        side_settle(host);
    }
    while (wait_call(host, UINT64_MAX)) {
    }
    sides_commit(sides, host, standby, 1);
    assert_int_equal(sides->frames_sent, ends[0]);
    assert_false(world_runnable(host->world));
    sides_commit(sides, host, standby, 1);
    assert_int_equal(sides->frames_sent, ends[1]);
    assert_true(world_runnable(host->world));
    assert_true(wait_call(host, UINT64_MAX));
    assert_int_equal(image_read(world_image(host->world), ABI_INFO_ADDRESS - ABI_WORLD_BASE, &info, sizeof info), STATUS_OK);
    assert_int_equal(info.transmit_released, ends[1]);
}

static void test_world_takeover_sends_again_what_its_image_does_not_call_released(void **state)
{
    struct sides *sides = *state;
    struct side *host = &sides->side[0], *standby = &sides->side[1];
    sides_born(sides);
    produce_frame(host, 0, 9);
    side_settle(host);
    sides_commit(sides, host, standby, SIDES_LOG_MAX);
    world_step_down(host->world);
    world_host(standby->world);
    side_settle(standby);
    assert_int_equal(sides->frames_sent, 1);
    sides_commit(sides, standby, host, SIDES_LOG_MAX);
    assert_int_equal(sides->frames_sent, 2);
    assert_int_equal(sides->last_frame_byte, 9);
    assert_int_equal(side_facts(standby).resumed, 2);
}

static void test_world_idle_closes_no_epoch(void **state)
{
    struct sides *sides = *state;
    struct side *host = &sides->side[0];
    sides_born(sides);
    while (wait_call(host, UINT64_MAX)) {
    }
    uint32_t before = sides->log_count;
    for (unsigned i = 0; i < 100; i++) {
        sides_pass(sides, 100);
        side_settle(host);
    }
    assert_int_equal(sides->log_count, before);
    assert_false(world_runnable(host->world));
    assert_int_equal(world_deadline_ns(host->world), UINT64_MAX);
}

static void test_world_that_waits_with_dirty_pages_closes_the_epoch_after_the_age(void **state)
{
    struct sides *sides = *state;
    struct side *host = &sides->side[0];
    sides_born(sides);
    while (wait_call(host, UINT64_MAX)) {
    }
    uint64_t frame[8] = {1};
    world_frame_received(host->world, frame, 60);
    assert_true(world_runnable(host->world));
    assert_true(wait_call(host, UINT64_MAX));
    assert_true(side_poke(host, side_heap(host), "x", 1));
    struct abi_ring_state ring = {.receive_consumed = 1};
    assert_true(side_poke(host, ABI_RING_STATE_ADDRESS, &ring, sizeof ring));
    assert_false(wait_call(host, UINT64_MAX));
    side_settle(host);
    assert_int_equal(side_facts(host).in_flight, 0);
    sides_pass(sides, WAITING_DIRTY_AGE_MS);
    side_settle(host);
    assert_int_equal(side_facts(host).in_flight, 1);
}

static void test_world_dirty_age_given_closes_the_epoch_after_it(void **state)
{
    struct sides *sides = *state;
    struct side *host = &sides->side[0];
    sides_born(sides);
    assert_int_equal(world_set_dirty_age(host->world, (RUNNING_DIRTY_AGE_MS + 50) * 1000), STATUS_OK);
    assert_true(side_poke(host, side_heap(host), "x", 1));
    sides_pass(sides, RUNNING_DIRTY_AGE_MS + 40);
    side_settle(host);
    assert_int_equal(side_facts(host).in_flight, 0);
    sides_pass(sides, 10);
    side_settle(host);
    assert_int_equal(side_facts(host).in_flight, 1);
}

static void test_world_dirty_age_out_of_range_is_refused(void **state)
{
    struct sides *sides = *state;
    struct world *world = sides->side[0].world;
    assert_int_equal(world_set_dirty_age(world, DIRTY_AGE_US_MIN - 1), STATUS_INVALID);
    assert_int_equal(world_set_dirty_age(world, DIRTY_AGE_US_MAX + 1), STATUS_INVALID);
    assert_int_equal(world_set_dirty_age(world, 0), STATUS_OK);
}

static void test_world_times_count_each_epoch_once(void **state)
{
    struct sides *sides = *state;
    sides_born(sides);
    uint64_t epoch = side_facts(&sides->side[0]).committed;
    const struct world_times *host = world_times(sides->side[0].world), *standby = world_times(sides->side[1].world);
    assert_true(epoch > 0);
    assert_int_equal(host->freeze.count, epoch);
    assert_int_equal(host->capture.count, epoch);
    assert_int_equal(host->seal.count, epoch);
    assert_int_equal(host->commit.count, epoch);
    assert_int_equal(host->apply.count, 0);
    assert_int_equal(standby->apply.count, epoch);
    assert_int_equal(standby->freeze.count, 0);
}

static void test_world_wait_ends_at_its_deadline(void **state)
{
    struct sides *sides = *state;
    struct side *host = &sides->side[0];
    const uint64_t none[4] = {0};
    uint64_t clock;
    sides_born(sides);
    while (wait_call(host, UINT64_MAX)) {
    }
    assert_true(world_call(host->world, ABI_CALL_CLOCK, none, &clock));
    assert_false(wait_call(host, clock + 5000000));
    assert_false(world_runnable(host->world));
    assert_true(world_deadline_ns(host->world) <= host->fake.now_ns + 5000000);
    sides_pass(sides, 5);
    assert_true(world_runnable(host->world));
    assert_true(wait_call(host, clock + 5000000));
}

static void test_world_past_its_pipeline_waits(void **state)
{
    struct sides *sides = *state;
    struct side *host = &sides->side[0];
    sides_born(sides);
    uint64_t heap = side_heap(host);
    uint32_t wrote = 0;
    for (uint32_t i = 0; i < 7 * DIRTY_PAGES_MAX; i++) {
        if (!side_poke(host, heap + (uint64_t)(i % 6000) * 4096, &i, 4)) {
            break;
        }
        wrote++;
        side_settle(host);
        sides_pass(sides, 1);
    }
    assert_int_equal(side_facts(host).in_flight, EPOCHS_IN_FLIGHT_MAX);
    assert_false(world_runnable(host->world));
    assert_in_range(wrote, EPOCHS_IN_FLIGHT_MAX, (EPOCHS_IN_FLIGHT_MAX + 1) * DIRTY_PAGES_MAX);
    sides_commit(sides, host, &sides->side[1], SIDES_LOG_MAX);
    side_settle(host);
    assert_true(world_runnable(host->world));
}

static void test_world_without_room_in_the_log_tries_again(void **state)
{
    struct sides *sides = *state;
    struct side *host = &sides->side[0];
    sides_born(sides);
    sides->log_full = true;
    produce_frame(host, 0, 1);
    sides_pass(sides, 10);
    side_settle(host);
    assert_int_equal(side_facts(host).in_flight, 1);
    sides->log_full = false;
    sides_pass(sides, 10);
    side_settle(host);
    sides_commit(sides, host, &sides->side[1], SIDES_LOG_MAX);
    assert_int_equal(sides->frames_sent, 1);
    assert_int_equal(side_facts(host).digest, side_facts(&sides->side[1]).digest);
}

static void test_world_closes_no_epoch_that_the_log_could_not_take_whole(void **state)
{
    struct sides *sides = *state;
    struct side *host = &sides->side[0];
    sides_born(sides);
    for (uint32_t i = 0; i < DIRTY_PAGES_MAX / 2; i++) {
        assert_true(side_poke(host, side_heap(host) + (uint64_t)i * 4096, &i, 4));
    }
    sides->log_room = DIRTY_PAGES_MAX / 2 * REPLICATE_PAGE_BYTES / DELTA_PART_BYTES_MAX;
    sides_pass(sides, 1000);
    side_settle(host);
    /* A checkpoint can begin: nothing is in flight. The node is not kept awake for it. */
    assert_true(world_pipeline_empty(host->world));
    assert_true(world_deadline_ns(host->world) > host->fake.now_ns);
    sides->log_room += 2;
    sides_pass(sides, 10);
    side_settle(host);
    assert_int_equal(side_facts(host).in_flight, 1);
    sides_commit(sides, host, &sides->side[1], SIDES_LOG_MAX);
    assert_int_equal(side_facts(host).digest, side_facts(&sides->side[1]).digest);
}

static void test_world_that_breaks_its_ring_is_stopped_on_all_nodes(void **state)
{
    struct sides *sides = *state;
    struct side *host = &sides->side[0];
    sides_born(sides);
    struct abi_ring_state ring = {.transmit_produced = 5000};
    assert_true(side_poke(host, ABI_RING_STATE_ADDRESS, &ring, sizeof ring));
    sides_pass(sides, 10);
    side_settle(host);
    assert_false(world_runnable(host->world));
    sides_commit(sides, host, &sides->side[1], SIDES_LOG_MAX);
    assert_int_equal(side_facts(&sides->side[1]).life, WORLD_LIFE_STOPPED);
    assert_non_null(strstr(side_facts(&sides->side[1]).reason, "ring"));
    assert_int_equal(sides->frames_sent, 0);
}

static void test_world_that_breaks_its_ring_is_not_stopped_by_who_asks_for_the_deadline(void **state)
{
    struct sides *sides = *state;
    struct side *host = &sides->side[0];
    sides_born(sides);
    struct abi_ring_state ring = {.console_produced = ABI_CONSOLE_BYTES + 1};
    assert_true(side_poke(host, ABI_RING_STATE_ADDRESS, &ring, sizeof ring));
    assert_true(world_deadline_ns(host->world) <= host->fake.now_ns);
    assert_int_equal(side_facts(host).life, WORLD_LIFE_RUNNING);
}

static void test_world_access_that_its_segments_forbid_stops_it(void **state)
{
    struct sides *sides = *state;
    struct side *host = &sides->side[0];
    sides_born(sides);
    world_page_fault(host->world, ABI_IMAGE_BASE, true, false);
    side_settle(host);
    sides_commit(sides, host, &sides->side[1], SIDES_LOG_MAX);
    assert_int_equal(side_facts(&sides->side[1]).life, WORLD_LIFE_STOPPED);
    assert_non_null(strstr(side_facts(&sides->side[1]).reason, "wrote at 0x10200000"));
}

static void test_world_facts_page_is_not_writable_while_the_kernel_dirties_it(void **state)
{
    struct sides *sides = *state;
    world_host(sides->side[0].world);
    assert_int_not_equal(sides->side[0].fake.rights[0], PAGE_WRITE);
    side_settle(&sides->side[0]);
}

static void test_world_call_with_an_address_outside_fails_and_writes_nothing(void **state)
{
    struct sides *sides = *state;
    struct side *host = &sides->side[0];
    uint64_t result;
    sides_born(sides);
    const uint64_t bad[][4] = {
        {0, 16, 0, 0}, {ABI_INFO_ADDRESS, 16, 0, 0}, {ABI_IMAGE_BASE, 16, 0, 0}, {UINT64_MAX - 4, 16, 0, 0},
        {ABI_WORLD_BASE + ((uint64_t)SIDES_MEMORY_MIB << 20) - 8, 16, 0, 0}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_true(world_call(host->world, ABI_CALL_ENTROPY, bad[i], &result));
        assert_int_equal((int64_t)result, -ABI_EFAULT);
    }
    const uint64_t unknown[4] = {0};
    assert_true(world_call(host->world, 99, unknown, &result));
    assert_int_equal((int64_t)result, -ABI_ENOSYS);
}

static void test_world_commit_call_names_the_epoch_that_covers_it(void **state)
{
    struct sides *sides = *state;
    struct side *host = &sides->side[0];
    const uint64_t ask[4] = {0};
    uint64_t epoch, done;
    sides_born(sides);
    assert_true(side_poke(host, side_heap(host), "x", 1));
    assert_true(world_call(host->world, ABI_CALL_COMMIT, ask, &epoch));
    const uint64_t look[4] = {epoch};
    side_settle(host);
    assert_true(world_call(host->world, ABI_CALL_COMMIT, look, &done));
    assert_int_equal(done, 0);
    sides_commit(sides, host, &sides->side[1], SIDES_LOG_MAX);
    assert_true(world_call(host->world, ABI_CALL_COMMIT, look, &done));
    assert_int_equal(done, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, sides_set_up, sides_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_world_output_waits_for_the_commit_of_its_epoch),
        TEST(test_world_that_filled_its_ring_is_woken_when_a_quarter_is_free),
        TEST(test_world_takeover_sends_again_what_its_image_does_not_call_released),
        TEST(test_world_idle_closes_no_epoch),
        TEST(test_world_that_waits_with_dirty_pages_closes_the_epoch_after_the_age),
        TEST(test_world_dirty_age_given_closes_the_epoch_after_it),
        TEST(test_world_dirty_age_out_of_range_is_refused),
        TEST(test_world_times_count_each_epoch_once),
        TEST(test_world_wait_ends_at_its_deadline),
        TEST(test_world_past_its_pipeline_waits),
        TEST(test_world_without_room_in_the_log_tries_again),
        TEST(test_world_closes_no_epoch_that_the_log_could_not_take_whole),
        TEST(test_world_that_breaks_its_ring_is_stopped_on_all_nodes),
        TEST(test_world_that_breaks_its_ring_is_not_stopped_by_who_asks_for_the_deadline),
        TEST(test_world_access_that_its_segments_forbid_stops_it),
        TEST(test_world_facts_page_is_not_writable_while_the_kernel_dirties_it),
        TEST(test_world_call_with_an_address_outside_fails_and_writes_nothing),
        TEST(test_world_commit_call_names_the_epoch_that_covers_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
