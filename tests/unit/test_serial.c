/* The management port's driver (drivers/serial.c) over a fake 16550: nothing waits in it unseen, and a port with nothing to do costs nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/processor.h"

enum { TRAP_VECTOR = 40 };

static uint8_t device_read(uint16_t port);
static void device_write(uint16_t port, uint8_t value);

#define port_in8 device_read
#define port_out8 device_write
#include "drivers/serial.c" /* metal code is in no host library */

/* -- the device: its line is up while an enabled cause is unserved, and its edge is an interrupt -- */

static uint8_t arriving[8192];     /* from outside, as the FIFO takes it */
static size_t arrived, read_out;
static uint8_t sent[8192];
static size_t sent_bytes;
static uint8_t enabled, scratch;
static bool transmit_cause, line_up, interrupt_pending;
static unsigned accesses;
static uint64_t now_ns;
static platform_interrupt_handler *handler;

static void settle_line(void)
{
    bool up = ((enabled & ENABLE_RECEIVED) != 0 && read_out != arrived) || ((enabled & ENABLE_TRANSMIT_EMPTY) != 0 && transmit_cause);
    interrupt_pending |= up && !line_up;
    line_up = up;
}

static uint8_t device_read(uint16_t port)
{
    uint8_t value = 0;
    accesses++;
    switch (port - COM2) {
    case DATA:
        value = read_out != arrived ? arriving[read_out++] : 0;
        break;
    case LINE_STATUS:
        value = (uint8_t)(STATUS_TRANSMIT_EMPTY | (read_out != arrived ? STATUS_RECEIVED : 0));
        break;
    case INTERRUPT_IDENTITY:
        value = line_up ? 0 : IDENTITY_NONE;
        if (read_out == arrived || (enabled & ENABLE_RECEIVED) == 0) {
            transmit_cause = false;
        }
        break;
    case SCRATCH:
        value = scratch;
        break;
    default:
        break;
    }
    settle_line();
    return value;
}

static void device_write(uint16_t port, uint8_t value)
{
    accesses++;
    switch (port - COM2) {
    case DATA:
        assert_true(sent_bytes < sizeof sent);
        sent[sent_bytes++] = value;
        transmit_cause = true;
        break;
    case INTERRUPT_ENABLE:
        transmit_cause |= (value & ENABLE_TRANSMIT_EMPTY) != 0 && (enabled & ENABLE_TRANSMIT_EMPTY) == 0;
        enabled = value;
        break;
    case SCRATCH:
        scratch = value;
        break;
    default:
        break;
    }
    settle_line();
}

/* -- other fakes -- */

unsigned platform_vector_claim(platform_interrupt_handler *claimed, void *context)
{
    (void)context;
    handler = claimed;
    return TRAP_VECTOR;
}

void platform_log(enum log_level level, const char *format, ...)
{
    (void)level;
    (void)format;
}

void apic_route_legacy(unsigned line, unsigned vector)
{
    assert_int_equal(line, APIC_ISA_SERIAL_2);
    assert_int_equal(vector, TRAP_VECTOR);
}

uint64_t timer_now_ns(void)
{
    return now_ns;
}

/* -- helpers -- */

static int setup(void **state)
{
    (void)state;
    arrived = read_out = sent_bytes = 0;
    enabled = 0;
    transmit_cause = line_up = interrupt_pending = false;
    receive_put = receive_taken = transmit_put = transmit_taken = 0;
    interrupts_enabled = 0;
    now_ns = 1000000000;
    serial_management_start();
    return 0;
}

static void arrive(size_t bytes)
{
    assert_true(arrived + bytes <= sizeof arriving);
    for (size_t i = 0; i < bytes; i++, arrived++) {
        arriving[arrived] = (uint8_t)(arrived * 7 + arrived / 256);
    }
    settle_line();
}

/* What the loop does when it has nothing to do: it halts, and an interrupt wakes it. False: nothing would wake it. */
static bool halt(void)
{
    if (!interrupt_pending) {
        return false;
    }
    interrupt_pending = false;
    handler(NULL);
    return true;
}

static void poll_until_quiet(void)
{
    while (serial_poll()) {
    }
}

/* All that arrived, in order, as long as polls and interrupts bring it. */
static size_t receive_all(size_t at_once)
{
    uint8_t bytes[sizeof arriving];
    size_t count = 0, got;
    do {
        poll_until_quiet();
        got = serial_management_receive(bytes + count, at_once < sizeof bytes - count ? at_once : sizeof bytes - count);
        count += got;
    } while (got > 0 || halt());
    assert_memory_equal(bytes, arriving, count);
    return count;
}

/* -- tests -- */

static void test_serial_port_with_nothing_to_do_is_left_alone(void **state)
{
    (void)state;
    poll_until_quiet();
    accesses = 0;
    for (unsigned i = 0; i < 1000; i++) {
        assert_false(serial_poll());
    }
    assert_int_equal(accesses, 0);
}

static void test_serial_bytes_that_arrive_while_the_loop_halts_wake_it_and_are_read(void **state)
{
    (void)state;
    poll_until_quiet();
    for (unsigned i = 0; i < 10; i++) {
        arrive(1);
        assert_true(halt());
        assert_false(serial_poll());
        uint8_t byte;
        assert_int_equal(serial_management_receive(&byte, 1), 1);
        assert_int_equal(byte, arriving[i]);
    }
}

static void test_serial_loop_that_never_takes_an_interrupt_reads_all_the_same(void **state)
{
    (void)state;
    poll_until_quiet();
    arrive(5);
    now_ns += SERIAL_LOOK_NS;
    poll_until_quiet();
    uint8_t bytes[8];
    assert_int_equal(serial_management_receive(bytes, sizeof bytes), 5);
}

static void test_serial_more_input_than_the_buffer_waits_and_is_read(void **state)
{
    (void)state;
    arrive(SERIAL_RECEIVE_BYTES + 1000);
    assert_true(halt());
    assert_int_equal(receive_all(100), SERIAL_RECEIVE_BYTES + 1000);
}

static void test_serial_input_in_many_pieces_never_stops(void **state)
{
    (void)state;
    size_t arrived_in_all = 0;
    for (unsigned i = 0; i < 200; i++) {
        arrive(i % 40);
        arrived_in_all += i % 40;
        if (i % 3 == 0) {
            poll_until_quiet();
        }
    }
    assert_int_equal(receive_all(64), arrived_in_all);
}

static void test_serial_answer_leaves_whole_while_input_arrives(void **state)
{
    (void)state;
    uint8_t answer[3000];
    for (size_t i = 0; i < sizeof answer; i++) {
        answer[i] = (uint8_t)(i * 13);
    }
    poll_until_quiet();
    assert_int_equal(serial_management_send(answer, sizeof answer), STATUS_OK);
    poll_until_quiet();
    assert_true(sent_bytes > 0);
    arrive(30);
    do {
        poll_until_quiet();
    } while (halt());
    assert_int_equal(sent_bytes, sizeof answer);
    assert_memory_equal(sent, answer, sizeof answer);
    assert_int_equal(receive_all(64), 30);
    accesses = 0;
    assert_false(serial_poll());
    assert_int_equal(accesses, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_serial_port_with_nothing_to_do_is_left_alone, setup),
        cmocka_unit_test_setup(test_serial_bytes_that_arrive_while_the_loop_halts_wake_it_and_are_read, setup),
        cmocka_unit_test_setup(test_serial_loop_that_never_takes_an_interrupt_reads_all_the_same, setup),
        cmocka_unit_test_setup(test_serial_more_input_than_the_buffer_waits_and_is_read, setup),
        cmocka_unit_test_setup(test_serial_input_in_many_pieces_never_stops, setup),
        cmocka_unit_test_setup(test_serial_answer_leaves_whole_while_input_arrives, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
