/* The management port's line discipline (kernel/management.c), over a fake serial line and a fake node. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "drivers/serial.h"
#include "kernel/limits.h"
#include "kernel/management.c" /* metal code is in no host library */

/* -- fakes -- */

static char input[65536];
static size_t input_bytes, input_taken;
static char output[65536];
static size_t output_bytes, output_room;
static unsigned commands;
static size_t answer_lines;

size_t serial_management_receive(void *buffer, size_t bytes_max)
{
    size_t left = input_bytes - input_taken;
    size_t count = left < bytes_max ? left : bytes_max;
    memcpy(buffer, input + input_taken, count);
    input_taken += count;
    return count;
}

size_t serial_management_room(void)
{
    return output_room - output_bytes;
}

enum status serial_management_send(const void *data, size_t bytes)
{
    if (bytes > serial_management_room()) {
        return STATUS_FULL;
    }
    memcpy(output + output_bytes, data, bytes);
    output_bytes += bytes;
    return STATUS_OK;
}

/* Answers with the command itself and `answer_lines` long lines. */
void node_management_line(struct node *node, const char *line, size_t bytes, node_answer_fn *answer, void *context)
{
    (void)node;
    assert_int_equal(strlen(line), bytes);
    assert_true(bytes < MANAGEMENT_LINE_BYTES_MAX);
    commands++;
    for (size_t i = 0; i < answer_lines; i++) {
        answer(context, "a line of an answer that is rather long, so that a few hundred of them are too much");
    }
    answer(context, line);
    answer(context, "ok");
}

/* -- helpers -- */

static int setup(void **state)
{
    (void)state;
    input_bytes = input_taken = output_bytes = 0;
    output_room = sizeof output;
    commands = 0;
    answer_lines = 0;
    return 0;
}

/* Leaves the module between two lines, whatever a test fed it. */
static int teardown(void **state)
{
    (void)state;
    input[0] = '\n';
    input_bytes = 1;
    input_taken = output_bytes = 0;
    output_room = sizeof output;
    answer_lines = 0;
    management_poll(NULL);
    return 0;
}

static void feed(const void *bytes, size_t count)
{
    assert_true(input_bytes + count <= sizeof input);
    memcpy(input + input_bytes, bytes, count);
    input_bytes += count;
}

static void poll_until_quiet(void)
{
    while (management_poll(NULL)) {
    }
}

static void assert_output(const char *expected)
{
    assert_int_equal(output_bytes, strlen(expected));
    assert_memory_equal(output, expected, output_bytes);
}

static void assert_error(const char *name)
{
    char start[32];
    int length = snprintf(start, sizeof start, "error %s ", name);
    assert_true(output_bytes > (size_t)length);
    assert_memory_equal(output, start, (size_t)length);
    assert_int_equal(output[output_bytes - 1], '\n');
}

/* -- tests -- */

static void test_management_line_in_pieces_is_executed_once(void **state)
{
    (void)state;
    feed("pi", 2);
    poll_until_quiet();
    assert_int_equal(commands, 0);
    feed("ng x\n", 5);
    poll_until_quiet();
    assert_int_equal(commands, 1);
    assert_output("ping x\nok\n");
}

static void test_management_lines_at_once_are_answered_in_order(void **state)
{
    (void)state;
    feed("a\nb\nc\n", 6);
    poll_until_quiet();
    assert_output("a\nok\nb\nok\nc\nok\n");
}

static void test_management_longest_line_is_executed(void **state)
{
    (void)state;
    char line[MANAGEMENT_LINE_BYTES_MAX];
    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\n';
    feed(line, sizeof line);
    poll_until_quiet();
    assert_int_equal(commands, 1);
}

static void test_management_line_too_long_is_refused_and_next_one_executed(void **state)
{
    (void)state;
    char line[MANAGEMENT_LINE_BYTES_MAX + 1];
    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\n';
    feed(line, sizeof line);
    poll_until_quiet();
    assert_int_equal(commands, 0);
    assert_error("FULL");
    output_bytes = 0;
    feed("a\n", 2);
    poll_until_quiet();
    assert_output("a\nok\n");
}

static void test_management_unprintable_byte_is_refused_and_next_line_executed(void **state)
{
    (void)state;
    feed("sta\0tus\n", 8);
    poll_until_quiet();
    assert_int_equal(commands, 0);
    assert_error("INVALID");
    output_bytes = 0;
    feed("a\n", 2);
    poll_until_quiet();
    assert_output("a\nok\n");
}

static void test_management_answer_too_long_becomes_an_error(void **state)
{
    (void)state;
    answer_lines = MANAGEMENT_ANSWER_BYTES_MAX / 64;
    feed("a\n", 2);
    poll_until_quiet();
    assert_error("FULL");
    assert_true(output_bytes < MANAGEMENT_LINE_BYTES_MAX);
}

static void test_management_without_room_leaves_input_alone(void **state)
{
    (void)state;
    output_room = MANAGEMENT_ANSWER_BYTES_MAX - 1;
    feed("a\n", 2);
    assert_false(management_poll(NULL));
    assert_int_equal(input_taken, 0);
    output_room = sizeof output;
    poll_until_quiet();
    assert_output("a\nok\n");
}

static void test_management_round_executes_at_most_its_bound(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        feed("a\n", 2);
    }
    assert_true(management_poll(NULL));
    assert_int_equal(commands, MANAGEMENT_LINES_PER_ROUND_MAX);
}

static void test_management_random_bytes_give_one_answer_a_line(void **state)
{
    (void)state;
    const char *given = getenv("EIDOLON_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 0) : 1;
    print_message("seed %u\n", seed);
    srand(seed);
    size_t lines = 0;
    for (size_t i = 0; i < 20000; i++) {
        char byte = (char)rand();
        lines += byte == '\n' ? 1 : 0;
        feed(&byte, 1);
    }
    poll_until_quiet();
    size_t answers = 0;
    for (size_t i = 0; i < output_bytes; i++) {
        bool line_start = i == 0 || output[i - 1] == '\n';
        bool last_line = line_start && (strncmp(output + i, "ok\n", 3) == 0 || strncmp(output + i, "error ", 6) == 0);
        answers += last_line ? 1 : 0;
    }
    assert_int_equal(answers, lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_management_line_in_pieces_is_executed_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_management_lines_at_once_are_answered_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_management_longest_line_is_executed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_management_line_too_long_is_refused_and_next_one_executed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_management_unprintable_byte_is_refused_and_next_line_executed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_management_answer_too_long_becomes_an_error, setup, teardown),
        cmocka_unit_test_setup_teardown(test_management_without_room_leaves_input_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_management_round_executes_at_most_its_bound, setup, teardown),
        cmocka_unit_test_setup_teardown(test_management_random_bytes_give_one_answer_a_line, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
