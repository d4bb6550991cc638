/* The way into ring 3 and back. One world runs at a time on one processor, so the way back is kept in plain variables. */
#include "kernel/fpu_image.h"
#include "kernel/layout.h"

#define REGISTERS_RAX 0
#define REGISTERS_RBX 8
#define REGISTERS_RCX 16
#define REGISTERS_RDX 24
#define REGISTERS_RSI 32
#define REGISTERS_RDI 40
#define REGISTERS_RBP 48
#define REGISTERS_RSP 56
#define REGISTERS_R8 64
#define REGISTERS_R9 72
#define REGISTERS_R10 80
#define REGISTERS_R11 88
#define REGISTERS_R12 96
#define REGISTERS_R13 104
#define REGISTERS_R14 112
#define REGISTERS_R15 120
#define REGISTERS_RIP 128
#define REGISTERS_RFLAGS 136
#define REGISTERS_FPU 512

#define TASK_STATE_RSP0 4
#define RFLAGS_QUIET 2

/* What fnstenv leaves. */
#define ENVIRONMENT_BYTES 32
#define ENVIRONMENT_CONTROL 0
#define ENVIRONMENT_STATUS 4
#define ENVIRONMENT_TAGS 8
#define ENVIRONMENT_TAGS_EMPTY 0xffff

    /* Both keep the fxsave format. The x87 registers are nearly always empty, and fxsave and fxrstor are slow under emulation (1.2 us
     * together), so they are used only when there is something in them. rdi: the block. */
    .macro load_fpu
    cmpw $0, REGISTERS_FPU + FPU_STATUS(%rdi)
    jne 1f
    cmpb $0, REGISTERS_FPU + FPU_TAGS(%rdi)
    jne 1f
    fninit
    fldcw REGISTERS_FPU + FPU_CONTROL(%rdi)
    ldmxcsr REGISTERS_FPU + FPU_MXCSR(%rdi)
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    movaps REGISTERS_FPU + FPU_SSE + 16 * \n(%rdi), %xmm\n
    .endr
    jmp 2f
1:  fxrstor64 REGISTERS_FPU(%rdi)
2:
    .endm

    .macro save_fpu
    subq $ENVIRONMENT_BYTES, %rsp
    fnstenv (%rsp)
    cmpw $ENVIRONMENT_TAGS_EMPTY, ENVIRONMENT_TAGS(%rsp)
    jne 1f
    cmpw $0, ENVIRONMENT_STATUS(%rsp)
    jne 1f
    movw ENVIRONMENT_CONTROL(%rsp), %ax
    movw %ax, REGISTERS_FPU + FPU_CONTROL(%rdi)
    movw $0, REGISTERS_FPU + FPU_STATUS(%rdi)
    movb $0, REGISTERS_FPU + FPU_TAGS(%rdi)
    stmxcsr REGISTERS_FPU + FPU_MXCSR(%rdi)
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    movaps %xmm\n, REGISTERS_FPU + FPU_SSE + 16 * \n(%rdi)
    .endr
    jmp 2f
1:  fldenv (%rsp)
    fxsave64 REGISTERS_FPU(%rdi)
2:  addq $ENVIRONMENT_BYTES, %rsp
    .endm

    .text
    /* void user_enter(struct user_registers *registers): returns after the trap that ends the stay in ring 3. */
    .globl user_enter
    .balign 16
user_enter:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    subq $8, %rsp                   /* traps and calls find a 16-byte aligned stack */
    movq %rsp, user_kernel_stack(%rip)
    movq %rsp, trap_task_state + TASK_STATE_RSP0(%rip)
    movq %rdi, user_current(%rip)

    load_fpu
    xorl %eax, %eax                 /* the same selectors at each entry: what ring 3 loaded itself is not kept */
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs

    pushq $SELECTOR_USER_DATA
    pushq REGISTERS_RSP(%rdi)
    pushq REGISTERS_RFLAGS(%rdi)
    pushq $SELECTOR_USER_CODE
    pushq REGISTERS_RIP(%rdi)
    movq REGISTERS_RAX(%rdi), %rax
    movq REGISTERS_RBX(%rdi), %rbx
    movq REGISTERS_RCX(%rdi), %rcx
    movq REGISTERS_RDX(%rdi), %rdx
    movq REGISTERS_RSI(%rdi), %rsi
    movq REGISTERS_RBP(%rdi), %rbp
    movq REGISTERS_R8(%rdi), %r8
    movq REGISTERS_R9(%rdi), %r9
    movq REGISTERS_R10(%rdi), %r10
    movq REGISTERS_R11(%rdi), %r11
    movq REGISTERS_R12(%rdi), %r12
    movq REGISTERS_R13(%rdi), %r13
    movq REGISTERS_R14(%rdi), %r14
    movq REGISTERS_R15(%rdi), %r15
    movq REGISTERS_RDI(%rdi), %rdi
    iretq

    /* From the entry stubs: a struct trap_frame of ring 3 is on the stack. A gate leaves AC as ring 3 had it, which would switch SMAP off. */
    .globl user_trapped
    .balign 16
user_trapped:
    pushq $RFLAGS_QUIET
    popfq
    movq user_current(%rip), %rdi
    save_fpu
    fninit
    ldmxcsr kernel_mxcsr(%rip)
    movq %rsp, %rsi
    call user_save
    movq user_kernel_stack(%rip), %rsp
    addq $8, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret

    .section .rodata
    .balign 4
kernel_mxcsr:
    .long MXCSR_DEFAULT

    .bss
    .balign 8
    .globl user_kernel_stack
user_kernel_stack:
    .skip 8
user_current:
    .skip 8

    .section .note.GNU-stack, "", @progbits
