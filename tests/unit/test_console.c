/* RING, BOUND: the world's console in the node's log (kernel/console.c), over a log that only counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "include/abi.h"
#include "kernel/console.c" /* metal code is in no host library */

enum { LINES_KEPT = 2048, TRACEBACK_LINES = 300 };

static const uint64_t second_ns = 1000000000;
static char logged[LINES_KEPT][256]; /* the last ones */
static unsigned logged_count;
static size_t logged_bytes;
static uint64_t now_ns = 5;

void log_format(enum log_level level, const char *format, ...)
{
    (void)level;
    va_list arguments;
    va_start(arguments, format);
    int bytes = vsnprintf(logged[logged_count % LINES_KEPT], sizeof logged[0], format, arguments);
    va_end(arguments);
    logged_count++;
    logged_bytes += (size_t)bytes;
}

static void write_text(const char *text)
{
    console_write(now_ns, text, strlen(text));
}

/* The module has one state: each test begins when the world was quiet for long, and its last words have been said. */
static int begin(void **state)
{
    (void)state;
    now_ns += 3600 * second_ns;
    write_text("\nquiet\n");
    now_ns += 3600 * second_ns;
    logged_count = 0;
    logged_bytes = 0;
    return 0;
}

static void flood(unsigned lines)
{
    for (unsigned i = 0; i < lines; i++) {
        write_text("x\n");
    }
}

static void test_console_line_in_pieces_is_one_line(void **state)
{
    (void)state;
    write_text("one ");
    write_text("line\nthe next");
    assert_int_equal(logged_count, 1);
    assert_string_equal(logged[0], "world: one line");
}

static void test_console_line_without_end_is_logged_in_pieces(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2 * CONSOLE_LINE_BYTES_MAX; i++) {
        write_text("y");
    }
    assert_int_equal(logged_count, 2);
    assert_int_equal(strlen(logged[0]), strlen("world: ") + CONSOLE_LINE_BYTES_MAX);
}

static void test_console_zero_byte_does_not_end_a_line(void **state)
{
    (void)state;
    console_write(now_ns, "a\0b\n", 4);
    assert_string_equal(logged[0], "world: a.b");
}

static void test_console_long_traceback_is_logged_whole(void **state)
{
    (void)state;
    for (unsigned i = 0; i < TRACEBACK_LINES; i++) {
        write_text("  File \"<stdin>\", line 12, in recursion\n");
    }
    assert_int_equal(logged_count, TRACEBACK_LINES);
}

static void test_console_empty_lines_are_left_out(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 16 * ABI_CONSOLE_BYTES; i++) {
        write_text("\n");
    }
    assert_int_equal(logged_count, 0);
    write_text("after them\n");
    assert_string_equal(logged[0], "world: after them");
}

static void test_console_flood_is_cut_off_in_one_sentence(void **state)
{
    (void)state;
    flood(100000);
    assert_true(logged_count <= CONSOLE_BURST_BYTES / CONSOLE_LINE_COST_BYTES + 1);
    assert_non_null(strstr(logged[logged_count - 1], "more than the log takes"));
    assert_null(strstr(logged[logged_count - 2], "more than the log takes"));
}

static void test_console_long_lines_are_bounded_by_their_bytes(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 100000; i++) {
        write_text("a line of some length, as a program that is in a loop may print it: again, and again, and again, and again\n");
    }
    assert_true(logged_bytes < CONSOLE_BURST_BYTES + 256);
}

static void test_console_lines_that_were_held_back_are_counted(void **state)
{
    (void)state;
    flood(5000);
    unsigned held_back = 5000 - (logged_count - 1);
    now_ns += 3600 * second_ns;
    write_text("calm again\n");
    char expected[64];
    snprintf(expected, sizeof expected, "world: %u lines were not logged", held_back);
    assert_string_equal(logged[logged_count - 2], expected);
    assert_string_equal(logged[logged_count - 1], "world: calm again");
}

static void test_console_endless_flood_is_bounded_by_the_rate(void **state)
{
    (void)state;
    enum { SECONDS = 600 };
    for (unsigned i = 0; i < SECONDS * 100; i++) {
        flood(10);
        now_ns += second_ns / 100;
    }
    size_t lines_max = (CONSOLE_BURST_BYTES + SECONDS * CONSOLE_BYTES_PER_S) / CONSOLE_LINE_COST_BYTES;
    size_t sentences_max = 2 * (1 + SECONDS * CONSOLE_BYTES_PER_S / CONSOLE_RESUME_BYTES);
    assert_true(logged_count > lines_max / 2); /* and it is not silenced for ever */
    assert_true(logged_count <= lines_max + sentences_max);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_console_line_in_pieces_is_one_line, begin),
        cmocka_unit_test_setup(test_console_line_without_end_is_logged_in_pieces, begin),
        cmocka_unit_test_setup(test_console_zero_byte_does_not_end_a_line, begin),
        cmocka_unit_test_setup(test_console_long_traceback_is_logged_whole, begin),
        cmocka_unit_test_setup(test_console_empty_lines_are_left_out, begin),
        cmocka_unit_test_setup(test_console_flood_is_cut_off_in_one_sentence, begin),
        cmocka_unit_test_setup(test_console_long_lines_are_bounded_by_their_bytes, begin),
        cmocka_unit_test_setup(test_console_lines_that_were_held_back_are_counted, begin),
        cmocka_unit_test_setup(test_console_endless_flood_is_bounded_by_the_rate, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
