#include "kernel/probe.h"

#include "kernel/paging.h"
#include "kernel/processor.h"
#include "kernel/user.h"
#include "replicate/node.h"

enum { PROBE_ENTRIES = 512 };

/* Take the right to write away from page table entries, as a freeze does. The table is of no use to anyone. */
static void write_entries(uint32_t count)
{
    static volatile uint64_t table[PROBE_ENTRIES];
    for (uint32_t i = 0; i < count; i++) {
        volatile uint64_t *entry = &table[i % PROBE_ENTRIES];
        *entry = *entry & ~ENTRY_WRITABLE;
    }
}

static void flush_entries(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        write_cr3(read_cr3());
    }
}

/* Ring 3 is entered at address 0, which is no page of the world, and comes back by the fault. */
static void take_faults(uint32_t count)
{
    static struct user_registers registers __attribute__((aligned(64)));
    machine_registers_init((uint8_t *)&registers, 0, 16);
    for (uint32_t i = 0; i < count; i++) {
        user_run(&registers);
    }
}

void probe_run(void *context, enum machine_probe what, uint32_t count)
{
    (void)context;
    switch (what) {
    case MACHINE_PROBE_ENTRY:
        write_entries(count);
        break;
    case MACHINE_PROBE_FLUSH:
        flush_entries(count);
        break;
    case MACHINE_PROBE_FAULT:
        take_faults(count);
        break;
    }
}
