/* RING: whatever stands in a register block, ring 3 is entered with nothing that the processor refuses or that gives it a right. The entry
 * itself (kernel/user.S) is played by the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "kernel/user.c" /* metal code is in no host library */

/* What the entry was given, and what the trap that ends the stay leaves behind. */
static struct user_registers entered;
static uint64_t trap_vector;
static unsigned interrupts_handled;

static unsigned settled, entered_unsettled;

void world_memory_settle(void)
{
    settled++;
}

void user_enter(struct user_registers *registers)
{
    entered_unsettled += settled == 0;
    settled = 0;
    entered = *registers;
    last_exit = (struct user_exit){.vector = trap_vector};
}

void trap_interrupt(unsigned vector)
{
    assert_int_equal(vector, trap_vector);
    interrupts_handled++;
}

static struct user_registers block __attribute__((aligned(64)));

static uint32_t mxcsr_of(const struct user_registers *registers)
{
    uint32_t mxcsr;
    memcpy(&mxcsr, registers->fpu + FPU_MXCSR, sizeof mxcsr);
    return mxcsr;
}

static void assert_harmless(const struct user_registers *registers)
{
    const uint64_t privileged = RFLAGS_TRAP | RFLAGS_NESTED_TASK | RFLAGS_ALIGNMENT_CHECK | 3ull << 12 | ~0ull << 16;
    assert_true((registers->rflags & privileged) == 0);
    assert_true((registers->rflags & RFLAGS_INTERRUPT) != 0);
    assert_true(registers->rip < 1ull << 47);
    assert_true(registers->rsp < 1ull << 47);
    assert_int_equal(mxcsr_of(registers) & ~0xffbfu, 0);
}

static void test_user_registers_random_block_is_made_harmless(void **state)
{
    (void)state;
    const char *given = getenv("EIDOLON_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 0) : 1;
    print_message("seed %u\n", seed);
    srand(seed);
    trap_vector = TRAP_VECTOR_SYSCALL;
    for (unsigned round = 0; round < 10000; round++) {
        uint8_t *bytes = (uint8_t *)&block;
        for (size_t i = 0; i < sizeof block; i++) {
            bytes[i] = (uint8_t)rand();
        }
        user_run(&block);
        assert_harmless(&entered);
    }
}

static void test_user_registers_all_ones_are_made_harmless(void **state)
{
    (void)state;
    memset(&block, 0xff, sizeof block);
    user_run(&block);
    assert_harmless(&entered);
}

static void test_user_registers_of_a_program_are_kept(void **state)
{
    (void)state;
    machine_registers_init((uint8_t *)&block, 0x10200000, 0x10300000);
    block.rax = 1;
    block.r15 = 2;
    block.rflags = RFLAGS_CARRY | RFLAGS_DIRECTION;
    block.fpu[200] = 3;
    user_run(&block);
    assert_true(entered.rip == 0x10200000 && entered.rax == 1 && entered.r15 == 2 && entered.fpu[200] == 3);
    assert_true((entered.rflags & (RFLAGS_CARRY | RFLAGS_DIRECTION)) == (RFLAGS_CARRY | RFLAGS_DIRECTION));
}

static void test_user_registers_of_a_birth_have_the_stack_of_a_called_function(void **state)
{
    (void)state;
    machine_registers_init((uint8_t *)&block, 0x10200000, 0x10300000);
    user_run(&block);
    assert_int_equal(entered.rsp % 16, 8);
    assert_int_equal(mxcsr_of(&entered), MXCSR_DEFAULT);
}

/* Rights that were taken away are gone from the TLB before the world runs again. */
static void test_user_run_rights_are_settled_before_each_entry(void **state)
{
    (void)state;
    entered_unsettled = 0;
    user_run(&block);
    user_run(&block);
    assert_int_equal(entered_unsettled, 0);
}

static void test_user_run_interrupt_is_handled_before_return(void **state)
{
    (void)state;
    trap_vector = TRAP_VECTOR_FIRST;
    interrupts_handled = 0;
    struct user_exit exit = user_run(&block);
    assert_int_equal(exit.vector, TRAP_VECTOR_FIRST);
    assert_int_equal(interrupts_handled, 1);
}

static void test_user_run_call_and_fault_are_the_callers(void **state)
{
    (void)state;
    interrupts_handled = 0;
    trap_vector = TRAP_VECTOR_SYSCALL;
    user_run(&block);
    trap_vector = TRAP_VECTOR_PAGE_FAULT;
    user_run(&block);
    assert_int_equal(interrupts_handled, 0);
}

static void test_user_describe_fault_names_every_exception(void **state)
{
    (void)state;
    for (uint64_t vector = 0; vector < TRAP_VECTOR_FIRST; vector++) {
        char reason[FAULT_REASON_BYTES_MAX];
        struct user_exit exit = {.vector = vector, .error = ~0ull, .address = ~0ull};
        memset(&block, 0xff, sizeof block);
        user_describe_fault(&block, &exit, reason);
        assert_true(strlen(reason) > 20);
        assert_true(strlen(reason) < sizeof reason - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_user_registers_random_block_is_made_harmless),
        cmocka_unit_test(test_user_registers_all_ones_are_made_harmless),
        cmocka_unit_test(test_user_registers_of_a_program_are_kept),
        cmocka_unit_test(test_user_registers_of_a_birth_have_the_stack_of_a_called_function),
        cmocka_unit_test(test_user_run_rights_are_settled_before_each_entry),
        cmocka_unit_test(test_user_run_interrupt_is_handled_before_return),
        cmocka_unit_test(test_user_run_call_and_fault_are_the_callers),
        cmocka_unit_test(test_user_describe_fault_names_every_exception),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
