/* GATE: what waits, what leaves and when; and the rules of the rings that a world may break. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "include/abi.h"
#include "replicate/gate.h"
#include "replicate/image.h"
#include "tests/unit/support/fake_machine.h"

enum { PAGES = 1024 };

struct fixture {
    struct fake_machine fake;
    struct image *image;
    struct gate *gate;
    uint32_t sent;
    uint8_t last_byte;
    char console[256];
    size_t console_bytes;
};

static struct fixture *sink;

static void frame_send(void *context, const void *frame, size_t bytes)
{
    (void)context;
    sink->sent++;
    sink->last_byte = ((const uint8_t *)frame)[bytes - 1];
}

static void console_write(void *context, const char *text, size_t bytes)
{
    (void)context;
    assert_true(sink->console_bytes + bytes <= sizeof sink->console);
    memcpy(sink->console + sink->console_bytes, text, bytes);
    sink->console_bytes += bytes;
}

static void before_change(void *context, uint32_t page, const uint8_t *captured)
{
    (void)context;
    (void)page;
    (void)captured;
}

static enum page_rights rights(void *context, uint32_t page)
{
    (void)context;
    (void)page;
    return PAGE_WRITE;
}

static int setup(void **state)
{
    static struct fixture fixture;
    memset(&fixture, 0, sizeof fixture);
    sink = &fixture;
    fake_machine_init(&fixture.fake, 1, PAGES, 1 << 20);
    fixture.fake.machine.world_frame_send = frame_send;
    fixture.fake.machine.world_console_write = console_write;
    const struct image_config config = {.machine = &fixture.fake.machine, .before_change = before_change, .segment_rights = rights};
    assert_int_equal(image_create(&fixture.image, &config), STATUS_OK);
    assert_int_equal(gate_create(&fixture.gate, &fixture.fake.machine), STATUS_OK);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    gate_check(fixture->gate);
    fake_machine_destroy(&fixture->fake);
    return 0;
}

static void put(struct fixture *fixture, uint64_t address, const void *data, size_t bytes)
{
    assert_int_equal(image_write(fixture->image, address - ABI_WORLD_BASE, data, bytes), STATUS_OK);
}

static void produce_frame(struct fixture *fixture, uint32_t count, uint32_t bytes, uint8_t last)
{
    struct abi_frame_slot slot = {.bytes = bytes};
    if (bytes > 0 && bytes <= sizeof slot.frame) {
        slot.frame[bytes - 1] = last;
    }
    put(fixture, ABI_TRANSMIT_ADDRESS + (uint64_t)(count % ABI_FRAME_SLOTS) * ABI_FRAME_SLOT_BYTES, &slot, sizeof slot);
}

static void set_produced(struct fixture *fixture, uint32_t transmit, uint32_t console)
{
    struct abi_ring_state state = {.transmit_produced = transmit, .console_produced = console};
    put(fixture, ABI_RING_STATE_ADDRESS, &state, sizeof state);
}

static void test_gate_before_commit_releases_nothing(void **state)
{
    struct fixture *fixture = *state;
    bool pending = false;
    produce_frame(fixture, 0, 60, 7);
    set_produced(fixture, 1, 0);
    assert_int_equal(gate_pending(fixture->gate, fixture->image, &pending), STATUS_OK);
    assert_true(pending);
    assert_int_equal(gate_close_epoch(fixture->gate, fixture->image, 1), STATUS_OK);
    assert_int_equal(fixture->sent, 0);
    assert_int_equal(gate_transmit_released(fixture->gate), 0);
    gate_release_epoch(fixture->gate, 1);
    assert_int_equal(fixture->sent, 1);
    assert_int_equal(fixture->last_byte, 7);
    assert_int_equal(gate_transmit_released(fixture->gate), 1);
}

static void test_gate_release_of_an_epoch_keeps_younger_ones(void **state)
{
    struct fixture *fixture = *state;
    for (uint32_t epoch = 1; epoch <= 3; epoch++) {
        produce_frame(fixture, epoch - 1, 60, (uint8_t)epoch);
        set_produced(fixture, epoch, 0);
        assert_int_equal(gate_close_epoch(fixture->gate, fixture->image, epoch), STATUS_OK);
        gate_check(fixture->gate);
    }
    gate_release_epoch(fixture->gate, 2);
    assert_int_equal(fixture->sent, 2);
    assert_int_equal(fixture->last_byte, 2);
    gate_release_epoch(fixture->gate, 3);
    assert_int_equal(fixture->sent, 3);
}

static void test_gate_frame_changed_after_the_freeze_leaves_as_it_was(void **state)
{
    struct fixture *fixture = *state;
    produce_frame(fixture, 0, 60, 1);
    set_produced(fixture, 1, 0);
    assert_int_equal(gate_close_epoch(fixture->gate, fixture->image, 1), STATUS_OK);
    produce_frame(fixture, 0, 60, 2);
    gate_release_epoch(fixture->gate, 1);
    assert_int_equal(fixture->last_byte, 1);
}

static void test_gate_discard_drops_what_waits(void **state)
{
    struct fixture *fixture = *state;
    produce_frame(fixture, 0, 60, 1);
    set_produced(fixture, 1, 0);
    assert_int_equal(gate_close_epoch(fixture->gate, fixture->image, 1), STATUS_OK);
    gate_discard(fixture->gate);
    gate_release_epoch(fixture->gate, 1);
    assert_int_equal(fixture->sent, 0);
}

static void test_gate_resumed_image_releases_again_what_was_not_marked_released(void **state)
{
    struct fixture *fixture = *state;
    produce_frame(fixture, 5, 60, 5);
    set_produced(fixture, 6, 0);
    gate_resume(fixture->gate, 5, 0);
    bool pending = false;
    assert_int_equal(gate_pending(fixture->gate, fixture->image, &pending), STATUS_OK);
    assert_true(pending);
    assert_int_equal(gate_close_epoch(fixture->gate, fixture->image, 9), STATUS_OK);
    gate_release_epoch(fixture->gate, 9);
    assert_int_equal(fixture->sent, 1);
    assert_int_equal(fixture->last_byte, 5);
}

static void test_gate_counts_wrap(void **state)
{
    struct fixture *fixture = *state;
    gate_resume(fixture->gate, UINT32_MAX, UINT32_MAX - 1);
    produce_frame(fixture, UINT32_MAX, 60, 1);
    produce_frame(fixture, 0, 60, 2);
    put(fixture, ABI_CONSOLE_ADDRESS + ABI_CONSOLE_BYTES - 2, "ab", 2);
    put(fixture, ABI_CONSOLE_ADDRESS, "c", 1);
    set_produced(fixture, 1, 1);
    assert_int_equal(gate_close_epoch(fixture->gate, fixture->image, 1), STATUS_OK);
    gate_release_epoch(fixture->gate, 1);
    assert_int_equal(fixture->sent, 2);
    assert_int_equal(fixture->last_byte, 2);
    assert_memory_equal(fixture->console, "abc", 3);
    assert_int_equal(gate_console_released(fixture->gate), 1);
}

static void test_gate_produced_past_the_ring_is_invalid(void **state)
{
    struct fixture *fixture = *state;
    bool pending;
    set_produced(fixture, ABI_FRAME_SLOTS + 1, 0);
    assert_int_equal(gate_pending(fixture->gate, fixture->image, &pending), STATUS_INVALID);
    assert_int_equal(gate_close_epoch(fixture->gate, fixture->image, 1), STATUS_INVALID);
    set_produced(fixture, 0, ABI_CONSOLE_BYTES + 1);
    assert_int_equal(gate_close_epoch(fixture->gate, fixture->image, 1), STATUS_INVALID);
}

static void test_gate_produced_going_back_is_invalid(void **state)
{
    struct fixture *fixture = *state;
    produce_frame(fixture, 0, 60, 1);
    produce_frame(fixture, 1, 60, 1);
    set_produced(fixture, 2, 0);
    assert_int_equal(gate_close_epoch(fixture->gate, fixture->image, 1), STATUS_OK);
    set_produced(fixture, 1, 0);
    assert_int_equal(gate_close_epoch(fixture->gate, fixture->image, 2), STATUS_INVALID);
}

static void test_gate_frame_length_out_of_range_is_invalid(void **state)
{
    struct fixture *fixture = *state;
    const uint32_t lengths[] = {0, 13, ABI_FRAME_BYTES_MAX + 1, UINT32_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        produce_frame(fixture, 0, lengths[i], 0);
        set_produced(fixture, 1, 0);
        assert_int_equal(gate_close_epoch(fixture->gate, fixture->image, 1), STATUS_INVALID);
    }
    assert_int_equal(fixture->sent, 0);
}

static void test_gate_without_memory_says_so(void **state)
{
    struct fixture *fixture = *state;
    struct gate *gate = NULL;
    fixture->fake.reserve_left = 1000;
    assert_int_equal(gate_create(&gate, &fixture->fake.machine), STATUS_NO_MEMORY);
    assert_null(gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_gate_before_commit_releases_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gate_release_of_an_epoch_keeps_younger_ones, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gate_frame_changed_after_the_freeze_leaves_as_it_was, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gate_discard_drops_what_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gate_resumed_image_releases_again_what_was_not_marked_released, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gate_counts_wrap, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gate_produced_past_the_ring_is_invalid, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gate_produced_going_back_is_invalid, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gate_frame_length_out_of_range_is_invalid, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gate_without_memory_says_so, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
