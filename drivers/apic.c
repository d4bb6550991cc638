/* Intel SDM volume 3, chapter 11 (local APIC); 82093AA datasheet (I/O APIC); 8259A datasheet. */
#include "drivers/apic.h"

#include <stddef.h>

#include "drivers/platform.h"
#include "include/check.h"
#include "kernel/processor.h"

enum {
    LOCAL_BYTES = 4096,
    LOCAL_ID = 0x20,
    LOCAL_TASK_PRIORITY = 0x80,
    LOCAL_END = 0xb0,
    LOCAL_SPURIOUS = 0xf0,
    LOCAL_TIMER = 0x320,
    LOCAL_LINT0 = 0x350,
    LOCAL_LINT1 = 0x360,
    LOCAL_ERROR = 0x370,
    LOCAL_TIMER_INITIAL = 0x380,
    LOCAL_TIMER_CURRENT = 0x390,
    LOCAL_TIMER_DIVIDE = 0x3e0,
    SPURIOUS_ENABLE = 1 << 8,
    ENTRY_MASKED = 1 << 16,
    DIVIDE_BY_16 = 3,

    IO_BYTES = 4096,
    IO_SELECT = 0x00,
    IO_WINDOW = 0x10,
    IO_REDIRECTION = 0x10,

    LEGACY_1_COMMAND = 0x20,
    LEGACY_1_DATA = 0x21,
    LEGACY_2_COMMAND = 0xa0,
    LEGACY_2_DATA = 0xa1,
    LEGACY_VECTORS = 32,
};

static const uint64_t local_physical = 0xfee00000;
static const uint64_t io_physical = 0xfec00000;

static volatile uint8_t *local;
static volatile uint8_t *io;

static void local_write(size_t offset, uint32_t value)
{
    *(volatile uint32_t *)(local + offset) = value;
}

static uint32_t local_read(size_t offset)
{
    return *(volatile uint32_t *)(local + offset);
}

static void io_write(uint32_t offset, uint32_t value)
{
    *(volatile uint32_t *)(io + IO_SELECT) = offset;
    *(volatile uint32_t *)(io + IO_WINDOW) = value;
}

static void mask_legacy_controllers(void)
{
    /* Their vectors are moved away from the processor's exceptions first: a spurious interrupt can still come once masked.
     * Four initialisation words each: cascade with fourth word; vectors; wiring of the two; 8086 mode. */
    port_out8(LEGACY_1_COMMAND, 0x11);
    port_out8(LEGACY_2_COMMAND, 0x11);
    port_out8(LEGACY_1_DATA, LEGACY_VECTORS);
    port_out8(LEGACY_2_DATA, LEGACY_VECTORS + 8);
    port_out8(LEGACY_1_DATA, 0x04);
    port_out8(LEGACY_2_DATA, 0x02);
    port_out8(LEGACY_1_DATA, 0x01);
    port_out8(LEGACY_2_DATA, 0x01);
    port_out8(LEGACY_1_DATA, 0xff);
    port_out8(LEGACY_2_DATA, 0xff);
}

void apic_start(void)
{
    mask_legacy_controllers();
    local = platform_map_device(local_physical, LOCAL_BYTES);
    io = platform_map_device(io_physical, IO_BYTES);
    local_write(LOCAL_TASK_PRIORITY, 0);
    local_write(LOCAL_TIMER, ENTRY_MASKED);
    local_write(LOCAL_LINT0, ENTRY_MASKED);
    local_write(LOCAL_LINT1, ENTRY_MASKED);
    local_write(LOCAL_ERROR, ENTRY_MASKED);
    local_write(LOCAL_SPURIOUS, SPURIOUS_ENABLE | APIC_SPURIOUS_VECTOR);
}

void apic_end_of_interrupt(void)
{
    local_write(LOCAL_END, 0);
}

void apic_route_legacy(unsigned line, unsigned vector)
{
    CHECK(line < 16);
    CHECK(vector >= LEGACY_VECTORS);
    CHECK(vector < APIC_SPURIOUS_VECTOR);
    uint32_t id = local_read(LOCAL_ID) & 0xff000000u;
    io_write(IO_REDIRECTION + 2 * line + 1, id);
    io_write(IO_REDIRECTION + 2 * line, vector);
}

uint64_t apic_message_address(void)
{
    return local_physical | (uint64_t)(local_read(LOCAL_ID) >> 24) << 12;
}

void apic_timer_prepare(unsigned vector)
{
    local_write(LOCAL_TIMER_DIVIDE, DIVIDE_BY_16);
    local_write(LOCAL_TIMER, vector);
    local_write(LOCAL_TIMER_INITIAL, 0);
}

void apic_timer_arm(uint32_t ticks)
{
    local_write(LOCAL_TIMER_INITIAL, ticks);
}

uint32_t apic_timer_remaining(void)
{
    return local_read(LOCAL_TIMER_CURRENT);
}
