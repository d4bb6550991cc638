/* A host and a standby, joined by hand: GATE, ONE-STORY, NO-TEAR, BOUND, IDLE and RING of replicate/world. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "crypto/random.h"
#include "include/abi.h"
#include "replicate/limits.h"
#include "replicate/node.h"
#include "replicate/world.h"
#include "tests/unit/support/fake_machine.h"
#include "tests/unit/support/small_world.h"

enum { MEMORY_MIB = 32, PAGES = MEMORY_MIB * 256, LOG_MAX = 4096 };

struct entry {
    struct group_entry header;
    uint8_t *body;
};

struct side {
    struct fake_machine fake;
    struct boot_config boot;
    struct world *world;
};

struct fixture {
    struct seal_keys keys;
    struct side sides[2];
    struct entry log[LOG_MAX];
    uint32_t log_count;      /* submitted */
    uint32_t log_committed;
    bool log_full;
    uint32_t log_room;       /* entries */
    uint32_t frames_sent;
    uint8_t last_frame_byte;
};

static struct fixture *current;

static uint8_t elf[SMALL_WORLD_ELF_BYTES];

/* -- the fixture -- */

static enum status submit(void *context, const struct group_entry *header, const uint8_t *body)
{
    (void)context;
    if (current->log_full || current->log_count == LOG_MAX) {
        return STATUS_FULL;
    }
    struct entry *entry = &current->log[current->log_count++];
    entry->header = *header;
    entry->body = malloc(header->bytes);
    memcpy(entry->body, body, header->bytes);
    return STATUS_OK;
}

static bool room(void *context, uint32_t entries, size_t bytes)
{
    (void)context;
    return bytes > 0 && entries <= current->log_room;
}

static void before_change(void *context, uint32_t page, const uint8_t *captured)
{
    (void)context;
    (void)page;
    (void)captured;
}

static void frame_send(void *context, const void *frame, size_t bytes)
{
    (void)context;
    current->frames_sent++;
    current->last_frame_byte = ((const uint8_t *)frame)[bytes - 1];
}

static void console_write(void *context, const char *text, size_t bytes)
{
    (void)context;
    (void)text;
    (void)bytes;
}

static void address_hold(void *context, bool hold)
{
    (void)context;
    (void)hold;
}

static void side_create(struct side *side, const struct seal_keys *keys, unsigned number)
{
    fake_machine_init(&side->fake, number, PAGES, 1 << 20);
    side->fake.machine.world_frame_send = frame_send;
    side->fake.machine.world_console_write = console_write;
    side->fake.machine.world_address_hold = address_hold;
    side->fake.machine.world_elf = elf;
    side->fake.machine.world_elf_bytes = sizeof elf;
    side->boot = (struct boot_config){.node_number = number, .node_count = 3, .world_memory_bytes = (uint64_t)MEMORY_MIB << 20};
    const struct world_config config = {
        .machine = &side->fake.machine,
        .boot = &side->boot,
        .keys = keys,
        .ops = {.submit = submit, .room = room, .describe = small_world_describe, .move = small_world_move, .before_change = before_change},
    };
    assert_int_equal(world_create(&side->world, &config), STATUS_OK);
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    const uint8_t key[32] = {1}, cluster[16] = {2};
    current = fixture;
    fixture->log_room = LOG_MAX;
    small_world_make_elf(elf);
    seal_keys_derive(&fixture->keys, key, cluster);
    side_create(&fixture->sides[0], &fixture->keys, 1);
    assert_int_equal(crypto_init(&fixture->sides[0].fake.machine), STATUS_OK);
    side_create(&fixture->sides[1], &fixture->keys, 2);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned i = 0; i < 2; i++) {
        world_check(fixture->sides[i].world);
        fake_machine_destroy(&fixture->sides[i].fake);
    }
    for (uint32_t i = 0; i < fixture->log_count; i++) {
        free(fixture->log[i].body);
    }
    free(fixture);
    return 0;
}

static void pass(struct fixture *fixture, uint64_t milliseconds)
{
    for (unsigned i = 0; i < 2; i++) {
        fixture->sides[i].fake.now_ns += milliseconds * 1000000u;
    }
}

/* Let the side do everything that is due at this instant. */
static void settle(struct side *side)
{
    world_tick(side->world);
    for (unsigned step = 0; step < 1000 && world_deadline_ns(side->world) <= side->fake.now_ns + 200000u; step++) {
        side->fake.now_ns += 1000;
        world_tick(side->world);
    }
}

static enum status apply_entry(struct fixture *fixture, struct side *side, const struct entry *entry)
{
    static size_t assembled;
    assembled = entry->header.part == 0 ? 0 : assembled;
    struct seal_context context = seal_context_delta(entry->header.world, entry->header.epoch, entry->header.part, entry->header.parts);
    uint8_t *to = world_delta_buffer(side->world) + assembled;
    assert_int_equal(seal_open_body(&fixture->keys, &context, entry->header.nonce, entry->body, entry->header.bytes, entry->header.tag, to), STATUS_OK);
    assembled += entry->header.bytes;
    return entry->header.part + 1 == entry->header.parts ? world_apply_delta(side->world, assembled) : STATUS_OK;
}

/* Commit up to `count` submitted entries: the host hears of it, the standby applies. */
static void commit(struct fixture *fixture, struct side *host, struct side *standby, uint32_t count)
{
    for (; count > 0 && fixture->log_committed < fixture->log_count; count--) {
        const struct entry *entry = &fixture->log[fixture->log_committed++];
        if (entry->header.part + 1 == entry->header.parts) {
            world_epoch_committed(host->world, entry->header.epoch);
        }
        assert_int_equal(apply_entry(fixture, standby, entry), STATUS_OK);
    }
}

/* The world writes. False: it has to wait. */
static bool poke(struct side *side, uint64_t address, const void *data, size_t bytes)
{
    uint32_t page = (uint32_t)((address - ABI_WORLD_BASE) / 4096);
    for (unsigned tries = 0; side->fake.rights[page] != PAGE_WRITE; tries++) {
        if (tries == 2 || !world_runnable(side->world)) {
            return false;
        }
        world_page_fault(side->world, address, true, false);
    }
    memcpy(side->fake.frames[page] + address % 4096, data, bytes);
    return true;
}

static struct abi_info info_of(struct side *side)
{
    struct abi_info info;
    assert_int_equal(image_read(world_image(side->world), ABI_INFO_ADDRESS - ABI_WORLD_BASE, &info, sizeof info), STATUS_OK);
    return info;
}

static uint64_t heap_of(struct side *side)
{
    return info_of(side).heap_base;
}

static uint32_t resume_kind_of(struct side *side)
{
    return info_of(side).resume_kind;
}

static struct world_facts facts_of(struct side *side)
{
    struct world_facts facts;
    world_facts(side->world, &facts);
    return facts;
}

static void born(struct fixture *fixture)
{
    world_host(fixture->sides[0].world);
    settle(&fixture->sides[0]);
    commit(fixture, &fixture->sides[0], &fixture->sides[1], LOG_MAX);
    assert_int_equal(facts_of(&fixture->sides[0]).committed, 1);
}

static bool wait_call(struct side *side, uint64_t deadline)
{
    uint64_t result;
    const uint64_t arguments[4] = {deadline, facts_of(side).resumed, 0, 0};
    return world_call(side->world, ABI_CALL_WAIT, arguments, &result);
}

static void produce_frame(struct side *side, uint32_t count, uint8_t last)
{
    struct abi_frame_slot slot = {.bytes = 60};
    struct abi_ring_state ring;
    slot.frame[59] = last;
    assert_true(poke(side, ABI_TRANSMIT_ADDRESS + (uint64_t)(count % ABI_FRAME_SLOTS) * ABI_FRAME_SLOT_BYTES, &slot, sizeof slot));
    assert_int_equal(image_read(world_image(side->world), ABI_RING_STATE_ADDRESS - ABI_WORLD_BASE, &ring, sizeof ring), STATUS_OK);
    ring.transmit_produced = count + 1;
    assert_true(poke(side, ABI_RING_STATE_ADDRESS, &ring, sizeof ring));
}

/* -- tests -- */

static void test_world_birth_reaches_the_standby_with_the_same_digest(void **state)
{
    struct fixture *fixture = *state;
    born(fixture);
    struct world_facts host = facts_of(&fixture->sides[0]), standby = facts_of(&fixture->sides[1]);
    assert_int_equal(standby.committed, 1);
    assert_int_equal(host.digest, standby.digest);
    assert_int_equal(standby.life, WORLD_LIFE_RUNNING);
    uint8_t text[4096];
    assert_int_equal(image_read(world_image(fixture->sides[1].world), ABI_IMAGE_BASE - ABI_WORLD_BASE, text, sizeof text), STATUS_OK);
    assert_memory_equal(text, elf + 4096, sizeof text);
}

static void test_world_output_waits_for_the_commit_of_its_epoch(void **state)
{
    struct fixture *fixture = *state;
    struct side *host = &fixture->sides[0];
    born(fixture);
    produce_frame(host, 0, 9);
    settle(host);
    assert_int_equal(facts_of(host).in_flight, 1);
    pass(fixture, 1000);
    settle(host);
    assert_int_equal(fixture->frames_sent, 0);
    commit(fixture, host, &fixture->sides[1], LOG_MAX);
    assert_int_equal(fixture->frames_sent, 1);
    assert_int_equal(fixture->last_frame_byte, 9);
}

/* BOUND, and nothing polls: a full ring is waited for, and the wait ends by itself. */
static void test_world_that_filled_its_ring_is_woken_when_a_quarter_is_free(void **state)
{
    struct fixture *fixture = *state;
    struct side *host = &fixture->sides[0], *standby = &fixture->sides[1];
    const uint32_t ends[] = {ABI_FRAME_SLOTS_LOW - 1, ABI_FRAME_SLOTS_LOW, ABI_FRAME_SLOTS}; /* of three epochs */
    struct abi_info info;
    born(fixture);
    for (uint32_t count = 0, i = 0; i < 3; i++) {
        for (; count < ends[i]; count++) {
            produce_frame(host, count, 1);
        }
        pass(fixture, 10);
        settle(host);
    }
    while (wait_call(host, UINT64_MAX)) {
    }
    commit(fixture, host, standby, 1);
    assert_int_equal(fixture->frames_sent, ends[0]);
    assert_false(world_runnable(host->world));
    commit(fixture, host, standby, 1);
    assert_int_equal(fixture->frames_sent, ends[1]);
    assert_true(world_runnable(host->world));
    assert_true(wait_call(host, UINT64_MAX));
    assert_int_equal(image_read(world_image(host->world), ABI_INFO_ADDRESS - ABI_WORLD_BASE, &info, sizeof info), STATUS_OK);
    assert_int_equal(info.transmit_released, ends[1]);
}

static void test_world_takeover_sends_again_what_its_image_does_not_call_released(void **state)
{
    struct fixture *fixture = *state;
    struct side *host = &fixture->sides[0], *standby = &fixture->sides[1];
    born(fixture);
    produce_frame(host, 0, 9);
    settle(host);
    commit(fixture, host, standby, LOG_MAX);
    world_step_down(host->world);
    world_host(standby->world);
    settle(standby);
    assert_int_equal(fixture->frames_sent, 1);
    commit(fixture, standby, host, LOG_MAX);
    assert_int_equal(fixture->frames_sent, 2);
    assert_int_equal(fixture->last_frame_byte, 9);
    assert_int_equal(facts_of(standby).resumed, 2);
}

static void test_world_that_is_born_is_told_so(void **state)
{
    struct fixture *fixture = *state;
    born(fixture);
    assert_int_equal(resume_kind_of(&fixture->sides[0]), ABI_RESUME_BIRTH);
}

static void test_world_taken_over_by_another_node_is_told_so(void **state)
{
    struct fixture *fixture = *state;
    born(fixture);
    world_step_down(fixture->sides[0].world);
    world_host(fixture->sides[1].world);
    assert_int_equal(resume_kind_of(&fixture->sides[1]), ABI_RESUME_TAKEOVER);
}

static void test_world_back_on_its_node_after_others_led_is_told_of_a_takeover(void **state)
{
    struct fixture *fixture = *state;
    struct side *host = &fixture->sides[0];
    born(fixture);
    world_step_down(host->world);
    world_host(host->world);
    assert_int_equal(resume_kind_of(host), ABI_RESUME_TAKEOVER);
}

static void test_world_back_on_its_node_after_a_restart_is_told_of_the_power_loss(void **state)
{
    struct fixture *fixture = *state;
    struct side *restarted = &fixture->sides[1];
    born(fixture);
    restarted->boot.node_number = fixture->sides[0].boot.node_number;
    world_host(restarted->world);
    assert_int_equal(resume_kind_of(restarted), ABI_RESUME_POWER);
}

static void test_world_idle_closes_no_epoch(void **state)
{
    struct fixture *fixture = *state;
    struct side *host = &fixture->sides[0];
    born(fixture);
    while (wait_call(host, UINT64_MAX)) {
    }
    uint32_t before = fixture->log_count;
    for (unsigned i = 0; i < 100; i++) {
        pass(fixture, 100);
        settle(host);
    }
    assert_int_equal(fixture->log_count, before);
    assert_false(world_runnable(host->world));
    assert_int_equal(world_deadline_ns(host->world), UINT64_MAX);
}

static void test_world_that_waits_with_dirty_pages_closes_the_epoch_after_the_age(void **state)
{
    struct fixture *fixture = *state;
    struct side *host = &fixture->sides[0];
    born(fixture);
    while (wait_call(host, UINT64_MAX)) {
    }
    uint64_t frame[8] = {1};
    world_frame_received(host->world, frame, 60);
    assert_true(world_runnable(host->world));
    assert_true(wait_call(host, UINT64_MAX));
    assert_true(poke(host, heap_of(host), "x", 1));
    struct abi_ring_state ring = {.receive_consumed = 1};
    assert_true(poke(host, ABI_RING_STATE_ADDRESS, &ring, sizeof ring));
    assert_false(wait_call(host, UINT64_MAX));
    settle(host);
    assert_int_equal(facts_of(host).in_flight, 0);
    pass(fixture, WAITING_DIRTY_AGE_MS);
    settle(host);
    assert_int_equal(facts_of(host).in_flight, 1);
}

static void test_world_dirty_age_given_closes_the_epoch_after_it(void **state)
{
    struct fixture *fixture = *state;
    struct side *host = &fixture->sides[0];
    born(fixture);
    assert_int_equal(world_set_dirty_age(host->world, (RUNNING_DIRTY_AGE_MS + 50) * 1000), STATUS_OK);
    assert_true(poke(host, heap_of(host), "x", 1));
    pass(fixture, RUNNING_DIRTY_AGE_MS + 40);
    settle(host);
    assert_int_equal(facts_of(host).in_flight, 0);
    pass(fixture, 10);
    settle(host);
    assert_int_equal(facts_of(host).in_flight, 1);
}

static void test_world_dirty_age_out_of_range_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct world *world = fixture->sides[0].world;
    assert_int_equal(world_set_dirty_age(world, DIRTY_AGE_US_MIN - 1), STATUS_INVALID);
    assert_int_equal(world_set_dirty_age(world, DIRTY_AGE_US_MAX + 1), STATUS_INVALID);
    assert_int_equal(world_set_dirty_age(world, 0), STATUS_OK);
}

static void test_world_times_count_each_epoch_once(void **state)
{
    struct fixture *fixture = *state;
    born(fixture);
    uint64_t epoch = facts_of(&fixture->sides[0]).committed;
    const struct world_times *host = world_times(fixture->sides[0].world), *standby = world_times(fixture->sides[1].world);
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
    struct fixture *fixture = *state;
    struct side *host = &fixture->sides[0];
    const uint64_t none[4] = {0};
    uint64_t clock;
    born(fixture);
    while (wait_call(host, UINT64_MAX)) {
    }
    assert_true(world_call(host->world, ABI_CALL_CLOCK, none, &clock));
    assert_false(wait_call(host, clock + 5000000));
    assert_false(world_runnable(host->world));
    assert_true(world_deadline_ns(host->world) <= host->fake.now_ns + 5000000);
    pass(fixture, 5);
    assert_true(world_runnable(host->world));
    assert_true(wait_call(host, clock + 5000000));
}

static void test_world_past_its_pipeline_waits(void **state)
{
    struct fixture *fixture = *state;
    struct side *host = &fixture->sides[0];
    born(fixture);
    uint64_t heap = heap_of(host);
    uint32_t wrote = 0;
    for (uint32_t i = 0; i < 7 * DIRTY_PAGES_MAX; i++) {
        if (!poke(host, heap + (uint64_t)(i % 6000) * 4096, &i, 4)) {
            break;
        }
        wrote++;
        settle(host);
        pass(fixture, 1);
    }
    assert_int_equal(facts_of(host).in_flight, EPOCHS_IN_FLIGHT_MAX);
    assert_false(world_runnable(host->world));
    assert_in_range(wrote, EPOCHS_IN_FLIGHT_MAX, (EPOCHS_IN_FLIGHT_MAX + 1) * DIRTY_PAGES_MAX);
    commit(fixture, host, &fixture->sides[1], LOG_MAX);
    settle(host);
    assert_true(world_runnable(host->world));
}

static void test_world_without_room_in_the_log_tries_again(void **state)
{
    struct fixture *fixture = *state;
    struct side *host = &fixture->sides[0];
    born(fixture);
    fixture->log_full = true;
    produce_frame(host, 0, 1);
    pass(fixture, 10);
    settle(host);
    assert_int_equal(facts_of(host).in_flight, 1);
    fixture->log_full = false;
    pass(fixture, 10);
    settle(host);
    commit(fixture, host, &fixture->sides[1], LOG_MAX);
    assert_int_equal(fixture->frames_sent, 1);
    assert_int_equal(facts_of(host).digest, facts_of(&fixture->sides[1]).digest);
}

static void test_world_closes_no_epoch_that_the_log_could_not_take_whole(void **state)
{
    struct fixture *fixture = *state;
    struct side *host = &fixture->sides[0];
    born(fixture);
    for (uint32_t i = 0; i < DIRTY_PAGES_MAX / 2; i++) {
        assert_true(poke(host, heap_of(host) + (uint64_t)i * 4096, &i, 4));
    }
    fixture->log_room = DIRTY_PAGES_MAX / 2 * REPLICATE_PAGE_BYTES / DELTA_PART_BYTES_MAX;
    pass(fixture, 1000);
    settle(host);
    /* A checkpoint can begin: nothing is in flight. The node is not kept awake for it. */
    assert_true(world_pipeline_empty(host->world));
    assert_true(world_deadline_ns(host->world) > host->fake.now_ns);
    fixture->log_room += 2;
    pass(fixture, 10);
    settle(host);
    assert_int_equal(facts_of(host).in_flight, 1);
    commit(fixture, host, &fixture->sides[1], LOG_MAX);
    assert_int_equal(facts_of(host).digest, facts_of(&fixture->sides[1]).digest);
}

static void compare_images(struct side *a, struct side *b)
{
    static uint8_t page_a[4096], page_b[4096];
    for (uint32_t page = 0; page < PAGES; page++) {
        assert_int_equal(image_read(world_image(a->world), (uint64_t)page * 4096, page_a, 4096), STATUS_OK);
        assert_int_equal(image_read(world_image(b->world), (uint64_t)page * 4096, page_b, 4096), STATUS_OK);
        assert_memory_equal(page_a, page_b, 4096);
    }
    assert_int_equal(facts_of(a).committed, facts_of(b).committed);
    assert_int_equal(facts_of(a).digest, facts_of(b).digest);
    assert_memory_equal(world_committed_record(a->world), world_committed_record(b->world), sizeof(struct world_record));
}

static void test_world_step_down_with_epochs_in_flight_undoes_exactly(void **state)
{
    struct fixture *fixture = *state;
    struct side *host = &fixture->sides[0], *standby = &fixture->sides[1];
    uint64_t random = test_seed("undo", 20261121);
    born(fixture);
    uint64_t heap = heap_of(host);
    for (unsigned round = 0; round < 60; round++) {
        uint32_t writes = test_random_below(&random, 400);
        for (uint32_t i = 0; i < writes; i++) {
            uint64_t value = test_random(&random);
            if (!poke(host, heap + test_random_below(&random, 300) * 4096ull + test_random_below(&random, 500) * 8ull, &value, 8)) {
                break;
            }
            if (test_random_below(&random, 10) == 0) {
                world_tick(host->world);
                pass(fixture, test_random_below(&random, 60));
            }
        }
        if (test_random_below(&random, 3) == 0) {
            commit(fixture, host, standby, test_random_below(&random, 5));
        }
        if (test_random_below(&random, 4) == 0) {
            world_step_down(host->world);
            compare_images(host, standby);
            world_check(host->world);
            fixture->log_committed = fixture->log_count; /* the new leader truncates them */
            struct side *old = host;
            host = standby;
            standby = old;
            world_host(host->world);
        }
    }
}

static void test_world_that_breaks_its_ring_is_stopped_on_all_nodes(void **state)
{
    struct fixture *fixture = *state;
    struct side *host = &fixture->sides[0];
    born(fixture);
    struct abi_ring_state ring = {.transmit_produced = 5000};
    assert_true(poke(host, ABI_RING_STATE_ADDRESS, &ring, sizeof ring));
    pass(fixture, 10);
    settle(host);
    assert_false(world_runnable(host->world));
    commit(fixture, host, &fixture->sides[1], LOG_MAX);
    assert_int_equal(facts_of(&fixture->sides[1]).life, WORLD_LIFE_STOPPED);
    assert_non_null(strstr(facts_of(&fixture->sides[1]).reason, "ring"));
    assert_int_equal(fixture->frames_sent, 0);
}

static void test_world_that_breaks_its_ring_is_not_stopped_by_who_asks_for_the_deadline(void **state)
{
    struct fixture *fixture = *state;
    struct side *host = &fixture->sides[0];
    born(fixture);
    struct abi_ring_state ring = {.console_produced = ABI_CONSOLE_BYTES + 1};
    assert_true(poke(host, ABI_RING_STATE_ADDRESS, &ring, sizeof ring));
    assert_true(world_deadline_ns(host->world) <= host->fake.now_ns);
    assert_int_equal(facts_of(host).life, WORLD_LIFE_RUNNING);
}

static void test_world_access_that_its_segments_forbid_stops_it(void **state)
{
    struct fixture *fixture = *state;
    struct side *host = &fixture->sides[0];
    born(fixture);
    world_page_fault(host->world, ABI_IMAGE_BASE, true, false);
    settle(host);
    commit(fixture, host, &fixture->sides[1], LOG_MAX);
    assert_int_equal(facts_of(&fixture->sides[1]).life, WORLD_LIFE_STOPPED);
    assert_non_null(strstr(facts_of(&fixture->sides[1]).reason, "wrote at 0x10200000"));
}

static void test_world_facts_page_is_not_writable_while_the_kernel_dirties_it(void **state)
{
    struct fixture *fixture = *state;
    world_host(fixture->sides[0].world);
    assert_int_not_equal(fixture->sides[0].fake.rights[0], PAGE_WRITE);
    settle(&fixture->sides[0]);
}

static void test_world_call_with_an_address_outside_fails_and_writes_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct side *host = &fixture->sides[0];
    uint64_t result;
    born(fixture);
    const uint64_t bad[][4] = {
        {0, 16, 0, 0}, {ABI_INFO_ADDRESS, 16, 0, 0}, {ABI_IMAGE_BASE, 16, 0, 0}, {UINT64_MAX - 4, 16, 0, 0},
        {ABI_WORLD_BASE + ((uint64_t)MEMORY_MIB << 20) - 8, 16, 0, 0}};
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
    struct fixture *fixture = *state;
    struct side *host = &fixture->sides[0];
    const uint64_t ask[4] = {0};
    uint64_t epoch, done;
    born(fixture);
    assert_true(poke(host, heap_of(host), "x", 1));
    assert_true(world_call(host->world, ABI_CALL_COMMIT, ask, &epoch));
    const uint64_t look[4] = {epoch};
    settle(host);
    assert_true(world_call(host->world, ABI_CALL_COMMIT, look, &done));
    assert_int_equal(done, 0);
    commit(fixture, host, &fixture->sides[1], LOG_MAX);
    assert_true(world_call(host->world, ABI_CALL_COMMIT, look, &done));
    assert_int_equal(done, 1);
}

static void test_world_clock_goes_on_through_a_takeover(void **state)
{
    struct fixture *fixture = *state;
    struct side *host = &fixture->sides[0], *standby = &fixture->sides[1];
    const uint64_t none[4] = {0};
    uint64_t before, after;
    born(fixture);
    pass(fixture, 3600 * 1000);
    assert_true(world_call(host->world, ABI_CALL_CLOCK, none, &before));
    world_step_down(host->world);
    world_host(standby->world);
    assert_true(world_call(standby->world, ABI_CALL_CLOCK, none, &after));
    assert_true(after + 1000000000u >= before);
    assert_true(after <= before + 1000000000u);
}

static void test_world_malformed_delta_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    born(fixture);
    struct side *standby = &fixture->sides[1];
    uint64_t digest = facts_of(standby).digest;
    uint8_t *buffer = world_delta_buffer(standby->world);
    memset(buffer, 0xff, 4096);
    assert_int_not_equal(world_apply_delta(standby->world, 4096), STATUS_OK);
    assert_int_equal(world_apply_delta(standby->world, 3), STATUS_TRUNCATED);
    assert_int_equal(facts_of(standby).digest, digest);
    world_check(standby->world);
}

/* The world writes to a page of its heap, and the epoch is submitted. */
static const struct entry *one_epoch(struct fixture *fixture, struct side *host, const char *text)
{
    assert_true(poke(host, heap_of(host), text, strlen(text)));
    pass(fixture, RUNNING_DIRTY_AGE_MS);
    settle(host);
    assert_int_equal(fixture->log_count, fixture->log_committed + 1);
    return &fixture->log[fixture->log_committed++];
}

static uint8_t *heap_frame(struct side *side)
{
    return side->fake.frames[(heap_of(side) - ABI_WORLD_BASE) / 4096];
}

static void test_world_standby_whose_memory_flipped_applies_nothing_to_it(void **state)
{
    struct fixture *fixture = *state;
    struct side *host = &fixture->sides[0], *standby = &fixture->sides[1];
    born(fixture);
    assert_int_equal(apply_entry(fixture, standby, one_epoch(fixture, host, "abc")), STATUS_OK);
    world_epoch_committed(host->world, 2);
    heap_frame(standby)[100] ^= 1;
    const struct entry *entry = one_epoch(fixture, host, "abd");
    assert_int_equal(apply_entry(fixture, standby, entry), STATUS_CORRUPT);
    assert_int_equal(facts_of(standby).committed, 2);
    heap_frame(standby)[100] ^= 1;
    assert_int_equal(apply_entry(fixture, standby, entry), STATUS_OK);
    world_epoch_committed(host->world, 3);
    compare_images(host, standby);
}

static void test_world_host_whose_memory_flipped_is_contradicted_and_the_log_goes_on(void **state)
{
    struct fixture *fixture = *state;
    struct side *host = &fixture->sides[0], *standby = &fixture->sides[1];
    born(fixture);
    assert_int_equal(apply_entry(fixture, standby, one_epoch(fixture, host, "abc")), STATUS_OK);
    world_epoch_committed(host->world, 2);
    uint32_t page = (uint32_t)((heap_of(host) - ABI_WORLD_BASE) / 4096);
    assert_int_equal(host->fake.rights[page], PAGE_READ);
    /* Its shadows are given up, as by much other writing; then a bit of the clean page flips. */
    for (uint32_t i = 1; i <= SHADOW_PAGES_MAX + 10; i++) {
        assert_true(poke(host, heap_of(host) + (uint64_t)i * 4096, "x", 1));
        settle(host);
        commit(fixture, host, standby, LOG_MAX);
    }
    pass(fixture, 1000);
    settle(host);
    commit(fixture, host, standby, LOG_MAX);
    heap_frame(host)[100] ^= 1;
    const struct entry *entry = one_epoch(fixture, host, "abd");
    assert_int_equal(apply_entry(fixture, standby, entry), STATUS_REFUSED);
    world_epoch_committed(host->world, facts_of(host).committed + 1);
    assert_int_not_equal(facts_of(host).digest, facts_of(standby).digest);
    assert_int_equal(facts_of(host).committed, facts_of(standby).committed);
    world_check(standby->world); /* exact for what the log tells */
    assert_int_equal(apply_entry(fixture, standby, one_epoch(fixture, host, "abe")), STATUS_REFUSED);
    world_epoch_committed(host->world, facts_of(host).committed + 1);
}

static void test_world_reset_begins_anew_behind_the_epoch(void **state)
{
    struct fixture *fixture = *state;
    struct side *host = &fixture->sides[0], *standby = &fixture->sides[1];
    born(fixture);
    world_faulted(host->world, "test");
    settle(host);
    commit(fixture, host, standby, LOG_MAX);
    assert_int_equal(world_reset(standby->world, 3), STATUS_OK);
    assert_int_equal(world_reset(host->world, 3), STATUS_OK);
    settle(host);
    commit(fixture, host, standby, LOG_MAX);
    assert_int_equal(facts_of(standby).committed, 4);
    assert_int_equal(facts_of(standby).life, WORLD_LIFE_RUNNING);
    compare_images(host, standby);
}

static void test_world_reset_asked_for_twice_happens_once(void **state)
{
    struct fixture *fixture = *state;
    struct side *host = &fixture->sides[0], *standby = &fixture->sides[1];
    born(fixture);
    world_faulted(host->world, "test");
    settle(host);
    commit(fixture, host, standby, LOG_MAX);
    assert_int_equal(world_reset(standby->world, 3), STATUS_OK);
    assert_int_equal(world_reset(host->world, 3), STATUS_OK);
    settle(host); /* the birth is in flight */
    assert_int_equal(facts_of(host).in_flight, 1);
    assert_int_equal(world_reset(host->world, 3), STATUS_STALE);
    assert_int_equal(world_reset(standby->world, 3), STATUS_STALE);
    commit(fixture, host, standby, LOG_MAX);
    compare_images(host, standby);
}

static void test_world_reset_leaves_what_a_checkpoint_can_keep(void **state)
{
    struct fixture *fixture = *state;
    struct side *standby = &fixture->sides[1];
    born(fixture);
    assert_int_equal(world_reset(standby->world, 2), STATUS_OK);
    struct world_record record = *world_committed_record(standby->world);
    assert_int_equal(world_record_check(&record, (uint64_t)MEMORY_MIB << 20), STATUS_OK);
    assert_int_equal(record.epoch, 2);
    assert_int_equal(facts_of(standby).digest, image_digest(world_image(standby->world)) + world_record_hash(&record));
    assert_int_equal(world_load(standby->world, &record, 2, facts_of(standby).digest), STATUS_OK);
}

/* A birth that is taken back leaves the pages that it had only read: the next one could not reach them, and the fault came again for ever. */
static void test_world_born_a_second_time_reaches_what_the_first_birth_read(void **state)
{
    struct fixture *fixture = *state;
    struct side *host = &fixture->sides[0];
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
    settle(host);
    commit(fixture, host, &fixture->sides[1], LOG_MAX);
    compare_images(host, &fixture->sides[1]);
}

static void test_world_deposed_before_its_first_commit_keeps_the_idle_time(void **state)
{
    struct fixture *fixture = *state;
    struct side *host = &fixture->sides[0], *standby = &fixture->sides[1];
    const uint64_t none[4] = {0};
    uint64_t before, after;
    born(fixture);
    pass(fixture, 3600 * 1000);
    world_step_down(host->world);
    world_host(standby->world);
    assert_true(world_call(standby->world, ABI_CALL_CLOCK, none, &before));
    world_step_down(standby->world);
    world_host(standby->world);
    assert_true(world_call(standby->world, ABI_CALL_CLOCK, none, &after));
    assert_true(after >= before);
    assert_true(after <= before + 1000000000u);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_world_birth_reaches_the_standby_with_the_same_digest),
        TEST(test_world_output_waits_for_the_commit_of_its_epoch),
        TEST(test_world_that_filled_its_ring_is_woken_when_a_quarter_is_free),
        TEST(test_world_takeover_sends_again_what_its_image_does_not_call_released),
        TEST(test_world_that_is_born_is_told_so),
        TEST(test_world_taken_over_by_another_node_is_told_so),
        TEST(test_world_back_on_its_node_after_others_led_is_told_of_a_takeover),
        TEST(test_world_back_on_its_node_after_a_restart_is_told_of_the_power_loss),
        TEST(test_world_idle_closes_no_epoch),
        TEST(test_world_that_waits_with_dirty_pages_closes_the_epoch_after_the_age),
        TEST(test_world_dirty_age_given_closes_the_epoch_after_it),
        TEST(test_world_dirty_age_out_of_range_is_refused),
        TEST(test_world_times_count_each_epoch_once),
        TEST(test_world_wait_ends_at_its_deadline),
        TEST(test_world_past_its_pipeline_waits),
        TEST(test_world_without_room_in_the_log_tries_again),
        TEST(test_world_closes_no_epoch_that_the_log_could_not_take_whole),
        TEST(test_world_step_down_with_epochs_in_flight_undoes_exactly),
        TEST(test_world_that_breaks_its_ring_is_stopped_on_all_nodes),
        TEST(test_world_that_breaks_its_ring_is_not_stopped_by_who_asks_for_the_deadline),
        TEST(test_world_access_that_its_segments_forbid_stops_it),
        TEST(test_world_facts_page_is_not_writable_while_the_kernel_dirties_it),
        TEST(test_world_call_with_an_address_outside_fails_and_writes_nothing),
        TEST(test_world_commit_call_names_the_epoch_that_covers_it),
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
