/* From the PVH entry (32-bit protected mode, paging off, ebx = physical address of hvm_start_info) to C in the higher half.
 *
 * The tables made here map the first GiB three times: at 0, at DIRECT_MAP_BASE and at KERNEL_VIRTUAL_BASE, all of it writable
 * and executable. They live until memory_init has made the real ones. */
#include "kernel/fpu_image.h"
#include "kernel/layout.h"

#define PHYSICAL(symbol) ((symbol) - KERNEL_VIRTUAL_BASE)

#define PAGE_PRESENT_WRITABLE 0x003
#define PAGE_LARGE 0x080
#define CR0_WANTED 0x80010033       /* PG WP NE ET MP PE; EM and TS clear: SSE works */
#define CR4_WANTED 0x00000620       /* OSXMMEXCPT OSFXSR PAE */
#define MSR_EFER 0xc0000080
#define EFER_WANTED 0x901           /* NXE LME SCE */

    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 8, 18                  /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .quad PHYSICAL(boot_entry)

    .section .text.boot, "ax"
    .code32
    .globl boot_entry
boot_entry:
    cli
    cld
    movl %ebx, %esi

    /* The loader has zeroed it at the first start; at a reset not every loader does. */
    movl $PHYSICAL(kernel_bss_start), %edi
    movl $PHYSICAL(kernel_bss_end), %ecx
    subl %edi, %ecx
    shrl $2, %ecx
    xorl %eax, %eax
    rep stosl

    movl $PHYSICAL(boot_directory), %edi
    movl $(PAGE_LARGE | PAGE_PRESENT_WRITABLE), %eax
    movl $512, %ecx
1:  movl %eax, (%edi)
    addl $0x200000, %eax
    addl $8, %edi
    loop 1b

    movl $(PHYSICAL(boot_directory) + PAGE_PRESENT_WRITABLE), %eax
    movl %eax, PHYSICAL(boot_pointers)
    movl %eax, PHYSICAL(boot_pointers) + 510 * 8
    movl $(PHYSICAL(boot_pointers) + PAGE_PRESENT_WRITABLE), %eax
    movl %eax, PHYSICAL(boot_root)
    movl %eax, PHYSICAL(boot_root) + 256 * 8
    movl %eax, PHYSICAL(boot_root) + 511 * 8

    movl $CR4_WANTED, %eax
    movl %eax, %cr4
    movl $PHYSICAL(boot_root), %eax
    movl %eax, %cr3
    movl $MSR_EFER, %ecx
    movl $EFER_WANTED, %eax
    xorl %edx, %edx
    wrmsr
    movl $CR0_WANTED, %eax
    movl %eax, %cr0

    lgdt PHYSICAL(boot_gdt_pointer)
    ljmp $SELECTOR_KERNEL_CODE, $PHYSICAL(boot_long)

    .code64
boot_long:
    movabsq $boot_high, %rax
    jmp *%rax
boot_high:
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %eax, %fs
    movl %eax, %gs
    leaq kernel_stack_top(%rip), %rsp
    movl %esi, %edi                 /* zero-extended: the start info lies below 4 GiB */

    /* The stack protector's guard, before the first function that uses it: a counter where the processor offers nothing better.
     * Its low byte stays zero, so that no string function reads past it. */
    rdtsc
    shlq $32, %rdx
    orq %rdx, %rax
    movabsq $0x9e3779b97f4a7c15, %rcx
    mulq %rcx
    movq %rax, %r8
    movl $1, %eax
    xorl %ecx, %ecx
    cpuid
    testl $(1 << 30), %ecx
    jz 1f
    rdrand %rax
    xorq %rax, %r8
1:  xorb %r8b, %r8b
    movq %r8, __stack_chk_guard(%rip)

    movl $MXCSR_DEFAULT, -4(%rsp)
    ldmxcsr -4(%rsp)
    fninit
    xorl %ebp, %ebp
    call kernel_main
    ud2

    .section .rodata
    .balign 8
boot_gdt:
    .quad 0
    .quad 0x00209a0000000000        /* 64-bit code, ring 0 */
boot_gdt_pointer:
    .word boot_gdt_pointer - boot_gdt - 1
    .long PHYSICAL(boot_gdt)

    .section .bss.stack, "aw", @nobits
    .balign 4096
    .globl kernel_stack_bottom, kernel_stack_top
kernel_stack_bottom:
    .skip KERNEL_STACK_BYTES
kernel_stack_top:

    .bss
    .balign 4096
boot_root:
    .skip 4096
boot_pointers:
    .skip 4096
boot_directory:
    .skip 4096
    .globl __stack_chk_guard
    .balign 8
__stack_chk_guard:
    .skip 8

    .section .note.GNU-stack, "", @progbits
