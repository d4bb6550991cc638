/* Ring 3: loading the world's registers, running it, and saving them when it comes back.
 *
 * The saved block is plain memory without addresses of this node: it is part of the world record, goes to disks and peers, and may
 * be written by anyone who controls one. Everything that the processor would refuse to load, or that would give ring 3 a right,
 * is made harmless at each entry. */
#ifndef EIDOLON_KERNEL_USER_H
#define EIDOLON_KERNEL_USER_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

/* The world's registers. A format on disk and on the wire, as a part of struct world_record. */
struct user_registers {
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp;
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t rip, rflags;
    uint64_t reserved[46];
    uint8_t fpu[512];             /* as fxsave64 leaves it */
};

static_assert(offsetof(struct user_registers, fpu) == 512, "fxsave needs 16-byte alignment");
static_assert(sizeof(struct user_registers) == 1024, "the block of the world record");

/* Why ring 3 came back. */
struct user_exit {
    uint64_t vector;              /* TRAP_VECTOR_SYSCALL, an exception, or an interrupt that user_run has already handled */
    uint64_t error;               /* the exception's error code */
    uint64_t address;             /* page fault: the address */
};

/* Bits of the error code of a page fault. */
enum { FAULT_WRITE = 2, FAULT_RESERVED = 8, FAULT_FETCH = 16 };

/* Load `registers` (borrowed; 16-byte aligned), run ring 3 until it traps, save them back. Interrupts are handled before it
 * returns. The caller sees to the world's pages. */
struct user_exit user_run(struct user_registers *registers);

/* Put the sentence for an exception of the world into `reason` (FAULT_REASON_BYTES_MAX). */
void user_describe_fault(const struct user_registers *registers, const struct user_exit *exit, char *reason);

#endif
