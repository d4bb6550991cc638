/* Entry stubs of all 256 vectors. Each leaves a struct trap_frame (kernel/trap.h) and calls trap_kernel or, from ring 3, goes to
 * user_trapped (kernel/user.S). */
#include "kernel/layout.h"

#define FRAME_VECTOR 120
#define FRAME_CS 144

    .macro push_registers
    pushq %rax
    pushq %rbx
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %rbp
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    .endm

    .text
    .balign 16
trap_stubs:
    vector = 0
    .rept 256
    .balign 16
    .if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
    .else
    pushq $0                        /* the processor pushes no error code for this one */
    .endif
    pushq $vector
    jmp trap_common
    vector = vector + 1
    .endr

trap_common:
    push_registers
    cld
    testb $3, FRAME_CS(%rsp)
    jnz user_trapped
    movq %rsp, %rdi
    call trap_kernel
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rbp
    popq %rdi
    popq %rsi
    popq %rdx
    popq %rcx
    popq %rbx
    popq %rax
    addq $16, %rsp
    iretq

    /* `syscall`: rcx has the world's rip, r11 its rflags; rflags is masked, the stack is still the world's. One processor, so plain
     * variables do. Builds the same frame as a trap. */
    .globl syscall_entry
    .balign 16
syscall_entry:
    movq %rsp, syscall_user_stack(%rip)
    movq user_kernel_stack(%rip), %rsp
    pushq $SELECTOR_USER_DATA
    pushq syscall_user_stack(%rip)
    pushq %r11
    pushq $SELECTOR_USER_CODE
    pushq %rcx
    pushq $0
    pushq $254                      /* TRAP_VECTOR_SYSCALL */
    push_registers
    jmp user_trapped

    /* A function, so that the compiler keeps nothing in SSE registers across the interrupt handlers. */
    .globl processor_idle
    .balign 16
processor_idle:
    sti
    hlt
    cli
    ret

    .section .rodata
    .balign 8
    .globl trap_stub_addresses
trap_stub_addresses:
    vector = 0
    .rept 256
    .quad trap_stubs + vector * 16
    vector = vector + 1
    .endr

    .bss
    .balign 8
syscall_user_stack:
    .skip 8

    .section .note.GNU-stack, "", @progbits
