#include "kernel/user.h"

#include <stdio.h>
#include <string.h>

#include "include/check.h"
#include "kernel/fpu_image.h"
#include "kernel/limits.h"
#include "kernel/processor.h"
#include "kernel/trap.h"
#include "kernel/world_memory.h"
#include "replicate/node.h"
#include "replicate/world_record.h"

static_assert(sizeof(struct user_registers) == WORLD_REGISTERS_BYTES, "the block of the world record");

/* Carry, parity, adjust, zero, sign, overflow, direction: what a program may have of its own. */
#define RFLAGS_OF_PROGRAM 0xcd5ull
#define USER_ADDRESS_END (1ull << 47)

enum {
    MXCSR_LOADABLE = 0xffbf,     /* every bit that a processor without DAZ has; others make fxrstor fault */
};

void user_enter(struct user_registers *registers);
void user_save(struct user_registers *registers, const struct trap_frame *frame);

static struct user_exit last_exit;

static void sanitise(struct user_registers *registers)
{
    registers->rflags = (registers->rflags & RFLAGS_OF_PROGRAM) | RFLAGS_ALWAYS_ONE | RFLAGS_INTERRUPT;
    if (registers->rip >= USER_ADDRESS_END) {
        registers->rip = 0; /* never mapped: the world faults there and is stopped with a reason */
    }
    if (registers->rsp >= USER_ADDRESS_END) {
        registers->rsp = 0;
    }
    uint32_t mxcsr;
    memcpy(&mxcsr, registers->fpu + FPU_MXCSR, sizeof mxcsr);
    mxcsr &= MXCSR_LOADABLE;
    memcpy(registers->fpu + FPU_MXCSR, &mxcsr, sizeof mxcsr);
}

/* Called by user_trapped with the kernel's stack and an FPU state of its own. */
void user_save(struct user_registers *registers, const struct trap_frame *frame)
{
    last_exit = (struct user_exit){frame->vector, frame->error, read_cr2()};
    registers->rax = frame->rax;
    registers->rbx = frame->rbx;
    registers->rcx = frame->rcx;
    registers->rdx = frame->rdx;
    registers->rsi = frame->rsi;
    registers->rdi = frame->rdi;
    registers->rbp = frame->rbp;
    registers->rsp = frame->rsp;
    registers->r8 = frame->r8;
    registers->r9 = frame->r9;
    registers->r10 = frame->r10;
    registers->r11 = frame->r11;
    registers->r12 = frame->r12;
    registers->r13 = frame->r13;
    registers->r14 = frame->r14;
    registers->r15 = frame->r15;
    registers->rip = frame->rip;
    registers->rflags = frame->rflags & RFLAGS_OF_PROGRAM;
}

struct user_exit user_run(struct user_registers *registers)
{
    CHECK((uintptr_t)registers % 16 == 0);
    sanitise(registers);
    world_memory_settle();
    user_enter(registers);
    if (last_exit.vector >= TRAP_VECTOR_FIRST && last_exit.vector != TRAP_VECTOR_SYSCALL) {
        trap_interrupt((unsigned)last_exit.vector);
    }
    return last_exit;
}

void user_describe_fault(const struct user_registers *registers, const struct user_exit *exit, char *reason)
{
    static const char *const names[] = {
        [0] = "division error",      [1] = "debug trap",          [4] = "overflow",
        [5] = "bound exceeded",      [6] = "invalid instruction", [13] = "forbidden instruction or address",
        [16] = "floating-point error", [17] = "misaligned access", [19] = "SIMD floating-point error",
    };
    const char *name = exit->vector < sizeof names / sizeof names[0] ? names[exit->vector] : NULL;
    if (exit->vector == TRAP_VECTOR_PAGE_FAULT) {
        const char *access = (exit->error & FAULT_FETCH) != 0 ? "execution" : (exit->error & FAULT_WRITE) != 0 ? "write" : "read";
        snprintf(reason, FAULT_REASON_BYTES_MAX, "the world faulted: %s of address 0x%lx outside its memory, at instruction 0x%lx",
                 access, exit->address, registers->rip);
    } else {
        snprintf(reason, FAULT_REASON_BYTES_MAX, "the world faulted: %s (exception %lu) at instruction 0x%lx",
                 name != NULL ? name : "unexpected exception", exit->vector, registers->rip);
    }
}

void machine_registers_init(uint8_t bytes[1024], uint64_t entry, uint64_t stack)
{
    struct user_registers registers;
    memset(&registers, 0, sizeof registers);
    registers.rip = entry;
    registers.rsp = stack - 8; /* a function is entered by a call, which pushes eight bytes */
    uint16_t control = FPU_CONTROL_DEFAULT;
    uint32_t mxcsr = MXCSR_DEFAULT;
    memcpy(registers.fpu + FPU_CONTROL, &control, sizeof control);
    memcpy(registers.fpu + FPU_MXCSR, &mxcsr, sizeof mxcsr);
    memcpy(bytes, &registers, sizeof registers);
}
