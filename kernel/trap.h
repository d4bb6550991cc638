/* Exceptions and interrupts: descriptor tables, vectors, and who handles what.
 *
 * The kernel runs with interrupts off. They are taken at two places only: in ring 3, where they end the world's turn, and in
 * processor_idle. So a handler never interrupts kernel code that holds a half-made state, and needs no lock. Handlers set a flag or
 * acknowledge a device; the work is done by the event loop.
 * An exception in ring 0 is a defect of ours: it ends like a failed CHECK. */
#ifndef EIDOLON_KERNEL_TRAP_H
#define EIDOLON_KERNEL_TRAP_H

#include <stdint.h>

enum trap_vector {
    TRAP_VECTOR_NMI = 2,              /* this and the next two tell of the machine, not of what it was running */
    TRAP_VECTOR_DOUBLE_FAULT = 8,
    TRAP_VECTOR_MACHINE_CHECK = 18,
    TRAP_VECTOR_PAGE_FAULT = 14,
    TRAP_VECTOR_FIRST = 32,           /* below are the processor's exceptions */
    TRAP_VECTOR_LAST = 239,
    TRAP_VECTOR_SPURIOUS = 240,       /* from here on no device's: never acknowledged */
    TRAP_VECTOR_SYSCALL = 254,        /* the number that the `syscall` entry gives itself; ring 3 cannot call its gate */
    TRAP_VECTORS = 256,
};

/* What the entry stubs leave on the stack. */
struct trap_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

/* Load GDT, TSS and IDT; program the `syscall` entry; switch on SMEP, SMAP, UMIP and TSD where the processor has them. */
void trap_init(void);

/* Take a free vector; `handler(context)` is called at each of its interrupts, with interrupts off, and acknowledged after it. */
unsigned trap_claim_vector(void (*handler)(void *context), void *context);

/* Let interrupts in and halt until one was handled; returns with interrupts off. An interrupt that is already pending is taken at
 * once, so that nothing is lost between the caller's last look and the halt. */
void processor_idle(void);

/* Restart the machine. */
_Noreturn void processor_reset(void);

/* Call the handler of `vector` (TRAP_VECTOR_FIRST or above). For the trap entries. */
void trap_interrupt(unsigned vector);

/* Interrupts handled so far. Whoever has looked at all devices may halt only while it does not change: an interrupt that was taken
 * since, in a wait inside of other work, wakes nobody again. */
uint64_t trap_interrupt_count(void);

#endif
