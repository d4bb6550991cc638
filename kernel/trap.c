#include "kernel/trap.h"

#include <stddef.h>
#include <stdio.h>

#include "drivers/apic.h"
#include "include/check.h"
#include "kernel/epitaph.h"
#include "kernel/layout.h"
#include "kernel/limits.h"
#include "kernel/log.h"
#include "kernel/processor.h"

enum {
    GATE_INTERRUPT = 0x8e, /* present, ring 0 only, interrupts off */
    IST_NMI = 1,
    IST_DOUBLE_FAULT = 2,
    IST_MACHINE_CHECK = 3,
    CONTROLLER_RESET_PORT = 0xcf9,
    CONTROLLER_RESET = 0x06,
    KEYBOARD_PORT = 0x64,
    KEYBOARD_RESET = 0xfe,
};

struct gate {
    uint16_t offset_low;
    uint16_t selector;
    uint8_t ist;
    uint8_t type;
    uint16_t offset_middle;
    uint32_t offset_high;
    uint32_t reserved;
};
static_assert(sizeof(struct gate) == 16, "gate layout");

struct __attribute__((packed)) task_state {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3;
    uint16_t io_map;
};
static_assert(sizeof(struct task_state) == 104, "task state layout");

struct __attribute__((packed)) table_pointer {
    uint16_t limit;
    uint64_t base;
};

static_assert((int)APIC_SPURIOUS_VECTOR >= (int)TRAP_VECTOR_SPURIOUS, "the controllers' spurious interrupts are never acknowledged");

extern const uint64_t trap_stub_addresses[TRAP_VECTORS];
void syscall_entry(void);
void trap_kernel(const struct trap_frame *frame);

static struct gate idt[TRAP_VECTORS] __attribute__((aligned(16)));
struct task_state trap_task_state; /* kernel/user.S keeps rsp[0] up to date */
static uint8_t emergency_stacks[3][EMERGENCY_STACK_BYTES] __attribute__((aligned(16)));
static uint64_t gdt[7];

static struct {
    void (*handler)(void *context);
    void *context;
} handlers[TRAP_VECTORS];
static unsigned vectors_claimed;
static uint64_t interrupt_count;

static void gdt_load(void)
{
    uint64_t base = (uint64_t)&trap_task_state;
    uint64_t limit = sizeof trap_task_state - 1;
    gdt[SELECTOR_KERNEL_CODE / 8] = 0x00209a0000000000;
    gdt[SELECTOR_KERNEL_DATA / 8] = 0x0000920000000000;
    gdt[SELECTOR_USER_DATA / 8] = 0x0000f20000000000;
    gdt[SELECTOR_USER_CODE / 8] = 0x0020fa0000000000;
    gdt[SELECTOR_TASK / 8] = limit | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
    gdt[SELECTOR_TASK / 8 + 1] = base >> 32;

    struct table_pointer pointer = {sizeof gdt - 1, (uint64_t)gdt};
    uint64_t scratch;
    __asm__ volatile("lgdt %[pointer]\n\t"
                     "push %[code]\n\t"
                     "lea 1f(%%rip), %[scratch]\n\t"
                     "push %[scratch]\n\t"
                     "lretq\n"
                     "1:\n\t"
                     "mov %[data], %%ss\n\t"
                     "ltr %w[task]"
                     : [scratch] "=&r"(scratch)
                     : [pointer] "m"(pointer), [code] "i"(SELECTOR_KERNEL_CODE), [data] "r"(SELECTOR_KERNEL_DATA),
                       [task] "r"(SELECTOR_TASK)
                     : "memory");
}

static void idt_load(void)
{
    for (unsigned vector = 0; vector < TRAP_VECTORS; vector++) {
        uint64_t stub = trap_stub_addresses[vector];
        idt[vector] = (struct gate){
            .offset_low = (uint16_t)stub,
            .selector = SELECTOR_KERNEL_CODE,
            .type = GATE_INTERRUPT,
            .offset_middle = (uint16_t)(stub >> 16),
            .offset_high = (uint32_t)(stub >> 32),
        };
    }
    idt[TRAP_VECTOR_NMI].ist = IST_NMI;
    idt[TRAP_VECTOR_DOUBLE_FAULT].ist = IST_DOUBLE_FAULT;
    idt[TRAP_VECTOR_MACHINE_CHECK].ist = IST_MACHINE_CHECK;
    for (unsigned i = 0; i < 3; i++) {
        trap_task_state.ist[i] = (uint64_t)(emergency_stacks[i] + EMERGENCY_STACK_BYTES);
    }
    trap_task_state.io_map = sizeof trap_task_state;

    struct table_pointer pointer = {sizeof idt - 1, (uint64_t)idt};
    __asm__ volatile("lidt %0" : : "m"(pointer) : "memory");
}

static void syscall_load(void)
{
    /* Bits 47..32: kernel code, and kernel data after it. The other half is sysret's, which we never use. */
    write_msr(MSR_STAR, (uint64_t)SELECTOR_KERNEL_CODE << 32);
    write_msr(MSR_LSTAR, (uint64_t)syscall_entry);
    write_msr(MSR_SFMASK, RFLAGS_TRAP | RFLAGS_INTERRUPT | RFLAGS_DIRECTION | RFLAGS_NESTED_TASK | RFLAGS_ALIGNMENT_CHECK);
}

static void protections_enable(void)
{
    struct cpuid_result features = {0, 0, 0, 0};
    if (cpuid(0, 0).eax >= 7) {
        features = cpuid(7, 0);
    }
    /* TSD: the world has no counter of the node. FSGSBASE stays off: ring 3 cannot keep state in bases that the kernel does not save. */
    uint64_t wanted = read_cr4() | CR4_TSD;
    /* Without MCE a machine check shuts the processor down, and no handler says why. */
    wanted |= (cpuid(1, 0).edx & 1u << 7) != 0 ? CR4_MCE : 0;
    wanted |= (features.ebx & 1u << 7) != 0 ? CR4_SMEP : 0;
    wanted |= (features.ebx & 1u << 20) != 0 ? CR4_SMAP : 0;
    wanted |= (features.ecx & 1u << 2) != 0 ? CR4_UMIP : 0;
    write_cr4(wanted);
}

void trap_init(void)
{
    idt_load();
    gdt_load();
    syscall_load();
    protections_enable();
}

unsigned trap_claim_vector(void (*handler)(void *context), void *context)
{
    CHECK(vectors_claimed <= TRAP_VECTOR_LAST - TRAP_VECTOR_FIRST);
    unsigned vector = TRAP_VECTOR_FIRST + vectors_claimed++;
    handlers[vector].handler = handler;
    handlers[vector].context = context;
    return vector;
}

void trap_interrupt(unsigned vector)
{
    if (vector >= TRAP_VECTOR_SPURIOUS) {
        return; /* not in service: to acknowledge it would acknowledge another one */
    }
    if (handlers[vector].handler != NULL) {
        handlers[vector].handler(handlers[vector].context);
    } else {
        log_format(LOG_WARNING, "interrupt %u has no handler; it is acknowledged and ignored", vector);
    }
    apic_end_of_interrupt();
    interrupt_count++;
}

uint64_t trap_interrupt_count(void)
{
    return interrupt_count;
}

/* A trap taken in ring 0: an interrupt during processor_idle, or a defect. */
void trap_kernel(const struct trap_frame *frame)
{
    if (frame->vector >= TRAP_VECTOR_FIRST) {
        trap_interrupt((unsigned)frame->vector);
        return;
    }
    char text[EPITAPH_TEXT_BYTES_MAX];
    snprintf(text, sizeof text,
             "exception %lu in the kernel, error 0x%lx, rip 0x%lx, address 0x%lx, rsp 0x%lx, rax 0x%lx, rdi 0x%lx, rsi 0x%lx",
             frame->vector, frame->error, frame->rip, read_cr2(), frame->rsp, frame->rax, frame->rdi, frame->rsi);
    epitaph_write_and_reset(text);
}

void processor_reset(void)
{
    port_out8(CONTROLLER_RESET_PORT, CONTROLLER_RESET);
    port_out8(KEYBOARD_PORT, KEYBOARD_RESET);
    /* Neither worked: an interrupt without a table resets every processor. */
    struct table_pointer none = {0, 0};
    for (;;) {
        __asm__ volatile("lidt %0; int3" : : "m"(none));
    }
}
