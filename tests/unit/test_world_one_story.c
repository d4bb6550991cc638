/* A host and a standby, joined by hand: ONE-STORY and NO-TEAR of replicate/world, through takeovers, resets and memory that flips. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "replicate/limits.h"
#include "tests/unit/support/world_sides.h"

static uint32_t resume_kind_of(struct side *side)
{
    return side_info(side).resume_kind;
}

static void test_world_birth_reaches_the_standby_with_the_same_digest(void **state)
{
    struct sides *sides = *state;
    sides_born(sides);
    struct world_facts host = side_facts(&sides->side[0]), standby = side_facts(&sides->side[1]);
    assert_int_equal(standby.committed, 1);
    assert_int_equal(host.digest, standby.digest);
    assert_int_equal(standby.life, WORLD_LIFE_RUNNING);
    uint8_t text[4096];
    assert_int_equal(image_read(world_image(sides->side[1].world), ABI_IMAGE_BASE - ABI_WORLD_BASE, text, sizeof text), STATUS_OK);
    assert_memory_equal(text, sides->elf + 4096, sizeof text);
}

static void test_world_that_is_born_is_told_so(void **state)
{
    struct sides *sides = *state;
    sides_born(sides);
    assert_int_equal(resume_kind_of(&sides->side[0]), ABI_RESUME_BIRTH);
}

static void test_world_taken_over_by_another_node_is_told_so(void **state)
{
    struct sides *sides = *state;
    sides_born(sides);
    world_step_down(sides->side[0].world);
    world_host(sides->side[1].world);
    assert_int_equal(resume_kind_of(&sides->side[1]), ABI_RESUME_TAKEOVER);
}

static void test_world_back_on_its_node_after_others_led_is_told_of_a_takeover(void **state)
{
    struct sides *sides = *state;
    struct side *host = &sides->side[0];
    sides_born(sides);
    world_step_down(host->world);
    world_host(host->world);
    assert_int_equal(resume_kind_of(host), ABI_RESUME_TAKEOVER);
}

static void test_world_back_on_its_node_after_a_restart_is_told_of_the_power_loss(void **state)
{
    struct sides *sides = *state;
    struct side *restarted = &sides->side[1];
    sides_born(sides);
    restarted->boot.node_number = sides->side[0].boot.node_number;
    world_host(restarted->world);
    assert_int_equal(resume_kind_of(restarted), ABI_RESUME_POWER);
}

static void compare_images(struct side *a, struct side *b)
{
    static uint8_t page_a[4096], page_b[4096];
    for (uint32_t page = 0; page < SIDES_PAGES; page++) {
        assert_int_equal(image_read(world_image(a->world), (uint64_t)page * 4096, page_a, 4096), STATUS_OK);
        assert_int_equal(image_read(world_image(b->world), (uint64_t)page * 4096, page_b, 4096), STATUS_OK);
        assert_memory_equal(page_a, page_b, 4096);
    }
    assert_int_equal(side_facts(a).committed, side_facts(b).committed);
    assert_int_equal(side_facts(a).digest, side_facts(b).digest);
    assert_memory_equal(world_committed_record(a->world), world_committed_record(b->world), sizeof(struct world_record));
}

static void test_world_step_down_with_epochs_in_flight_undoes_exactly(void **state)
{
    struct sides *sides = *state;
    struct side *host = &sides->side[0], *standby = &sides->side[1];
    uint64_t random = test_seed("undo", 20261121);
    sides_born(sides);
    uint64_t heap = side_heap(host);
    for (unsigned round = 0; round < 60; round++) {
        uint32_t writes = test_random_below(&random, 400);
        for (uint32_t i = 0; i < writes; i++) {
            uint64_t value = test_random(&random);
            if (!side_poke(host, heap + test_random_below(&random, 300) * 4096ull + test_random_below(&random, 500) * 8ull, &value, 8)) {
                break;
            }
            if (test_random_below(&random, 10) == 0) {
                world_tick(host->world);
                sides_pass(sides, test_random_below(&random, 60));
            }
        }
        if (test_random_below(&random, 3) == 0) {
            sides_commit(sides, host, standby, test_random_below(&random, 5));
        }
        if (test_random_below(&random, 4) == 0) {
            world_step_down(host->world);
            compare_images(host, standby);
            world_check(host->world);
            sides->log_committed = sides->log_count; /* the new leader truncates them */
            struct side *old = host;
            host = standby;
            standby = old;
            world_host(host->world);
        }
    }
}

static void test_world_clock_goes_on_through_a_takeover(void **state)
{
    struct sides *sides = *state;
    struct side *host = &sides->side[0], *standby = &sides->side[1];
    const uint64_t none[4] = {0};
    uint64_t before, after;
    sides_born(sides);
    sides_pass(sides, 3600 * 1000);
    assert_true(world_call(host->world, ABI_CALL_CLOCK, none, &before));
    world_step_down(host->world);
    world_host(standby->world);
    assert_true(world_call(standby->world, ABI_CALL_CLOCK, none, &after));
    assert_true(after + 1000000000u >= before);
    assert_true(after <= before + 1000000000u);
}

static void test_world_malformed_delta_changes_nothing(void **state)
{
    struct sides *sides = *state;
    sides_born(sides);
    struct side *standby = &sides->side[1];
    uint64_t digest = side_facts(standby).digest;
    uint8_t *buffer = world_delta_buffer(standby->world);
    memset(buffer, 0xff, 4096);
    assert_int_not_equal(world_apply_delta(standby->world, 4096), STATUS_OK);
    assert_int_equal(world_apply_delta(standby->world, 3), STATUS_TRUNCATED);
    assert_int_equal(side_facts(standby).digest, digest);
    world_check(standby->world);
}

/* The world writes to a page of its heap, and the epoch is submitted. */
static const struct sides_entry *one_epoch(struct sides *sides, struct side *host, const char *text)
{
    assert_true(side_poke(host, side_heap(host), text, strlen(text)));
    sides_pass(sides, RUNNING_DIRTY_AGE_MS);
    side_settle(host);
    assert_int_equal(sides->log_count, sides->log_committed + 1);
    return &sides->log[sides->log_committed++];
}

static uint8_t *heap_frame(struct side *side)
{
    return side->fake.frames[(side_heap(side) - ABI_WORLD_BASE) / 4096];
}

static void test_world_standby_whose_memory_flipped_applies_nothing_to_it(void **state)
{
    struct sides *sides = *state;
    struct side *host = &sides->side[0], *standby = &sides->side[1];
    sides_born(sides);
    assert_int_equal(sides_apply_entry(sides, standby, one_epoch(sides, host, "abc")), STATUS_OK);
    world_epoch_committed(host->world, 2);
    heap_frame(standby)[100] ^= 1;
    const struct sides_entry *entry = one_epoch(sides, host, "abd");
    assert_int_equal(sides_apply_entry(sides, standby, entry), STATUS_CORRUPT);
    assert_int_equal(side_facts(standby).committed, 2);
    heap_frame(standby)[100] ^= 1;
    assert_int_equal(sides_apply_entry(sides, standby, entry), STATUS_OK);
    world_epoch_committed(host->world, 3);
    compare_images(host, standby);
}

static void test_world_host_whose_memory_flipped_is_contradicted_and_the_log_goes_on(void **state)
{
    struct sides *sides = *state;
    struct side *host = &sides->side[0], *standby = &sides->side[1];
    sides_born(sides);
    assert_int_equal(sides_apply_entry(sides, standby, one_epoch(sides, host, "abc")), STATUS_OK);
    world_epoch_committed(host->world, 2);
    uint32_t page = (uint32_t)((side_heap(host) - ABI_WORLD_BASE) / 4096);
    assert_int_equal(host->fake.rights[page], PAGE_READ);
    /* Its shadows are given up, as by much other writing; then a bit of the clean page flips. */
    for (uint32_t i = 1; i <= SHADOW_PAGES_MAX + 10; i++) {
        assert_true(side_poke(host, side_heap(host) + (uint64_t)i * 4096, "x", 1));
        side_settle(host);
        sides_commit(sides, host, standby, SIDES_LOG_MAX);
    }
    sides_pass(sides, 1000);
    side_settle(host);
    sides_commit(sides, host, standby, SIDES_LOG_MAX);
    heap_frame(host)[100] ^= 1;
    const struct sides_entry *entry = one_epoch(sides, host, "abd");
    assert_int_equal(sides_apply_entry(sides, standby, entry), STATUS_REFUSED);
    world_epoch_committed(host->world, side_facts(host).committed + 1);
    assert_int_not_equal(side_facts(host).digest, side_facts(standby).digest);
    assert_int_equal(side_facts(host).committed, side_facts(standby).committed);
    world_check(standby->world); /* exact for what the log tells */
    assert_int_equal(sides_apply_entry(sides, standby, one_epoch(sides, host, "abe")), STATUS_REFUSED);
    world_epoch_committed(host->world, side_facts(host).committed + 1);
}

static void test_world_reset_begins_anew_behind_the_epoch(void **state)
{
    struct sides *sides = *state;
    struct side *host = &sides->side[0], *standby = &sides->side[1];
    sides_born(sides);
    world_faulted(host->world, "test");
    side_settle(host);
    sides_commit(sides, host, standby, SIDES_LOG_MAX);
    assert_int_equal(world_reset(standby->world, 3), STATUS_OK);
    assert_int_equal(world_reset(host->world, 3), STATUS_OK);
    side_settle(host);
    sides_commit(sides, host, standby, SIDES_LOG_MAX);
    assert_int_equal(side_facts(standby).committed, 4);
    assert_int_equal(side_facts(standby).life, WORLD_LIFE_RUNNING);
    compare_images(host, standby);
}

static void test_world_reset_asked_for_twice_happens_once(void **state)
{
    struct sides *sides = *state;
    struct side *host = &sides->side[0], *standby = &sides->side[1];
    sides_born(sides);
    world_faulted(host->world, "test");
    side_settle(host);
    sides_commit(sides, host, standby, SIDES_LOG_MAX);
    assert_int_equal(world_reset(standby->world, 3), STATUS_OK);
    assert_int_equal(world_reset(host->world, 3), STATUS_OK);
    side_settle(host); /* the birth is in flight */
    assert_int_equal(side_facts(host).in_flight, 1);
    assert_int_equal(world_reset(host->world, 3), STATUS_STALE);
    assert_int_equal(world_reset(standby->world, 3), STATUS_STALE);
    sides_commit(sides, host, standby, SIDES_LOG_MAX);
    compare_images(host, standby);
}

static void test_world_reset_leaves_what_a_checkpoint_can_keep(void **state)
{
    struct sides *sides = *state;
    struct side *standby = &sides->side[1];
    sides_born(sides);
    assert_int_equal(world_reset(standby->world, 2), STATUS_OK);
    struct world_record record = *world_committed_record(standby->world);
    assert_int_equal(world_record_check(&record, (uint64_t)SIDES_MEMORY_MIB << 20), STATUS_OK);
    assert_int_equal(record.epoch, 2);
    assert_int_equal(side_facts(standby).digest, image_digest(world_image(standby->world)) + world_record_hash(&record));
    assert_int_equal(world_load(standby->world, &record, 2, side_facts(standby).digest), STATUS_OK);
}

/* A birth that is taken back leaves the pages that it had only read: the next one could not reach them, and the fault came again for ever. */
static void test_world_born_a_second_time_reaches_what_the_first_birth_read(void **state)
{
    struct sides *sides = *state;
    struct side *host = &sides->side[0];
    struct abi_info info;
    world_host(host->world);
    assert_int_equal(image_read(world_image(host->world), ABI_INFO_ADDRESS - ABI_WORLD_BASE, &info, sizeof info), STATUS_OK);
    uint32_t page = (uint32_t)((info.heap_base - ABI_WORLD_BASE) / ABI_PAGE_BYTES);
    world_page_fault(host->world, info.heap_base, false, false);
    assert_int_equal(host->fake.rights[page], PAGE_READ);
    world_step_down(host->world);
    world_host(host->world);
    world_page_fault(host->world, info.heap_base, false, false);
    assert_int_equal(host->fake.rights[page], PAGE_READ);
    world_check(host->world);
    side_settle(host);
    sides_commit(sides, host, &sides->side[1], SIDES_LOG_MAX);
    compare_images(host, &sides->side[1]);
}

static void test_world_deposed_before_its_first_commit_keeps_the_idle_time(void **state)
{
    struct sides *sides = *state;
    struct side *host = &sides->side[0], *standby = &sides->side[1];
    const uint64_t none[4] = {0};
    uint64_t before, after;
    sides_born(sides);
    sides_pass(sides, 3600 * 1000);
    world_step_down(host->world);
    world_host(standby->world);
    assert_true(world_call(standby->world, ABI_CALL_CLOCK, none, &before));
    world_step_down(standby->world);
    world_host(standby->world);
    assert_true(world_call(standby->world, ABI_CALL_CLOCK, none, &after));
    assert_true(after >= before);
    assert_true(after <= before + 1000000000u);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, sides_set_up, sides_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_world_birth_reaches_the_standby_with_the_same_digest),
        TEST(test_world_that_is_born_is_told_so),
        TEST(test_world_taken_over_by_another_node_is_told_so),
        TEST(test_world_back_on_its_node_after_others_led_is_told_of_a_takeover),
        TEST(test_world_back_on_its_node_after_a_restart_is_told_of_the_power_loss),
        TEST(test_world_step_down_with_epochs_in_flight_undoes_exactly),
        TEST(test_world_clock_goes_on_through_a_takeover),
        TEST(test_world_malformed_delta_changes_nothing),
        TEST(test_world_standby_whose_memory_flipped_applies_nothing_to_it),
        TEST(test_world_host_whose_memory_flipped_is_contradicted_and_the_log_goes_on),
        TEST(test_world_reset_begins_anew_behind_the_epoch),
        TEST(test_world_reset_asked_for_twice_happens_once),
        TEST(test_world_reset_leaves_what_a_checkpoint_can_keep),
        TEST(test_world_born_a_second_time_reaches_what_the_first_birth_read),
        TEST(test_world_deposed_before_its_first_commit_keeps_the_idle_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
