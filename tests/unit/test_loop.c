/* The event loop (kernel/loop.c) over fake devices, clock and node: when does it halt, and for how long is the world run? */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/loop.c" /* metal code is in no host library */

enum { ROUNDS_MAX = 10 };

static const uint64_t far_ns = 500000000;
static jmp_buf halted;
static unsigned rounds;            /* looks at the devices */
static unsigned round_of_read;     /* in this one the node's work waits inside, and a device's interrupt is taken there; 0: in none */
static uint64_t interrupt_count;
static uint64_t armed_ns;
static uint64_t world_armed_ns[ROUNDS_MAX + 1];
static bool world_runs;
static unsigned due_ticks;         /* so many ticks of a round leave something due */
static unsigned ticks[ROUNDS_MAX + 1];

/* -- fakes -- */

bool virtio_blk_poll(void)
{
    rounds++;
    return false;
}

bool net_poll(void)
{
    return false;
}

bool serial_poll(void)
{
    return false;
}

bool management_poll(struct node *node)
{
    (void)node;
    return false;
}

void net_flush(void)
{
}

enum status net_start(const struct boot_config *boot, const struct net_events *events)
{
    (void)boot;
    (void)events;
    return STATUS_OK;
}

uint64_t net_next_deadline_ns(void)
{
    return UINT64_MAX;
}

uint64_t timer_now_ns(void)
{
    return 1000;
}

void timer_arm(uint64_t deadline_ns)
{
    armed_ns = deadline_ns;
}

uint64_t trap_interrupt_count(void)
{
    return interrupt_count;
}

void processor_idle(void)
{
    longjmp(halted, 1);
}

void log_defer(void)
{
}

void log_flush(void)
{
}

void epitaph_write_and_reset(const char *text)
{
    fail_msg("%s", text);
    abort();
}

uint32_t world_memory_pages_max(void)
{
    return 1;
}

struct user_exit user_run(struct user_registers *registers)
{
    (void)registers;
    world_armed_ns[rounds] = armed_ns;
    if (rounds == ROUNDS_MAX) {
        longjmp(halted, 1);
    }
    return (struct user_exit){.vector = TRAP_VECTOR_FIRST};
}

void user_describe_fault(const struct user_registers *registers, const struct user_exit *exit, char *reason)
{
    (void)registers;
    (void)exit;
    reason[0] = '\0';
}

void node_tick(struct node *node)
{
    (void)node;
    ticks[rounds]++;
    if (rounds == round_of_read && ticks[rounds] == 1) {
        interrupt_count += 2; /* the read's own, and another device's */
    }
}

uint64_t node_deadline_ns(const struct node *node)
{
    (void)node;
    return ticks[rounds] <= due_ticks ? 0 : far_ns;
}

bool node_majority(const struct node *node)
{
    (void)node;
    return true;
}

bool node_world_runnable(const struct node *node)
{
    (void)node;
    return world_runs;
}

uint8_t *node_world_registers(struct node *node)
{
    static struct user_registers registers __attribute__((aligned(64)));
    (void)node;
    return (uint8_t *)&registers;
}

bool node_world_call(struct node *node, uint64_t number, const uint64_t arguments[4], uint64_t *result)
{
    (void)node;
    (void)number;
    (void)arguments;
    (void)result;
    return false;
}

void node_world_page_fault(struct node *node, uint64_t address, bool write, bool execute)
{
    (void)node;
    (void)address;
    (void)write;
    (void)execute;
}

void node_world_faulted(struct node *node, const char *reason)
{
    (void)node;
    (void)reason;
}

void node_link_up(struct node *node, unsigned peer, unsigned lane)
{
    (void)node;
    (void)peer;
    (void)lane;
}

void node_link_data(struct node *node, unsigned peer, unsigned lane, const void *data, size_t bytes)
{
    (void)node;
    (void)peer;
    (void)lane;
    (void)data;
    (void)bytes;
}

void node_link_down(struct node *node, unsigned peer, unsigned lane)
{
    (void)node;
    (void)peer;
    (void)lane;
}

void node_world_frame_received(struct node *node, const void *frame, size_t bytes)
{
    (void)node;
    (void)frame;
    (void)bytes;
}

/* -- tests -- */

/* Run the loop until it halts, or the world had ROUNDS_MAX turns. */
static void run_until_halt(unsigned read_in_round, bool world)
{
    rounds = 0;
    memset(ticks, 0, sizeof ticks);
    round_of_read = read_in_round;
    world_runs = world;
    if (setjmp(halted) == 0) {
        loop_run(NULL);
    }
}

static void test_loop_with_nothing_to_do_halts_after_one_look(void **state)
{
    (void)state;
    run_until_halt(0, false);
    assert_int_equal(rounds, 1);
    assert_int_equal(armed_ns, far_ns);
}

static void test_loop_after_an_interrupt_inside_of_its_work_looks_again_before_it_halts(void **state)
{
    (void)state;
    run_until_halt(1, false);
    assert_int_equal(rounds, 2);
}

static void test_loop_after_an_interrupt_inside_of_its_work_gives_the_world_a_short_turn(void **state)
{
    (void)state;
    run_until_halt(2, true);
    assert_int_equal(world_armed_ns[1], far_ns);
    assert_int_equal(world_armed_ns[2], timer_now_ns() + WORLD_TURN_NS_MIN);
    assert_int_equal(world_armed_ns[3], far_ns);
}

static void test_loop_does_what_its_work_made_due_before_the_world_has_its_turn(void **state)
{
    (void)state;
    due_ticks = 1;
    run_until_halt(0, true);
    due_ticks = 0;
    assert_int_equal(ticks[1], 2);
    assert_int_equal(world_armed_ns[1], far_ns);
}

static void test_loop_with_work_that_does_not_end_gives_the_world_short_turns(void **state)
{
    (void)state;
    due_ticks = UINT_MAX;
    run_until_halt(0, true);
    due_ticks = 0;
    assert_int_equal(ticks[1], 2);
    assert_int_equal(world_armed_ns[1], timer_now_ns() + WORLD_TURN_NS_MIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loop_with_nothing_to_do_halts_after_one_look),
        cmocka_unit_test(test_loop_after_an_interrupt_inside_of_its_work_looks_again_before_it_halts),
        cmocka_unit_test(test_loop_after_an_interrupt_inside_of_its_work_gives_the_world_a_short_turn),
        cmocka_unit_test(test_loop_does_what_its_work_made_due_before_the_world_has_its_turn),
        cmocka_unit_test(test_loop_with_work_that_does_not_end_gives_the_world_short_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
