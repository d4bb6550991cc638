/* Entry of the world at its birth, and the switch between its threads. */
/* Offsets of struct abi_info, and its address; main.c asserts them. */
#define ABI_INFO_ADDRESS_VALUE 0x10000000
#define INFO_STACK_BASE 24
#define INFO_STACK_BYTES 32

    .section .text.world_start, "ax"
    .globl world_start
    .type world_start, @function
world_start:
    xorl %ebp, %ebp
    movl $ABI_INFO_ADDRESS_VALUE, %eax
    movq INFO_STACK_BASE(%rax), %rsp
    addq INFO_STACK_BYTES(%rax), %rsp
    andq $-16, %rsp
    call world_main
    ud2
    .size world_start, . - world_start

/* void thread_switch_stacks(uintptr_t *save, uintptr_t load): keeps what the calling convention says is kept. */
    .section .text.thread_switch_stacks, "ax"
    .globl thread_switch_stacks
    .type thread_switch_stacks, @function
thread_switch_stacks:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size thread_switch_stacks, . - thread_switch_stacks

/* First return address of a new thread: r12 has the function, r13 its argument. */
    .section .text.thread_first_steps, "ax"
    .globl thread_first_steps
    .type thread_first_steps, @function
thread_first_steps:
    xorl %ebp, %ebp
    movq %r13, %rdi
    call *%r12
    call thread_exit
    ud2
    .size thread_first_steps, . - thread_first_steps

    .section .note.GNU-stack, "", @progbits
