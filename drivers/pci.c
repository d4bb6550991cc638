/* PCI Local Bus Specification 3.0, chapter 6; PCI-to-PCI Bridge Architecture 1.2 for bus numbers. */
#include "drivers/pci.h"

#include <stdbool.h>

#include "drivers/apic.h"
#include "drivers/limits.h"
#include "drivers/platform.h"
#include "include/check.h"
#include "kernel/processor.h"

enum {
    ADDRESS_PORT = 0xcf8,
    DATA_PORT = 0xcfc,

    REGISTER_IDENTITY = 0x00,
    REGISTER_COMMAND = 0x04,
    REGISTER_STATUS = 0x06,
    REGISTER_HEADER = 0x0e,
    REGISTER_WINDOWS = 0x10,
    REGISTER_SUBORDINATE_BUS = 0x1a,
    REGISTER_CAPABILITIES = 0x34,
    CAPABILITIES_START = 0x40,
    CONFIGURATION_BYTES = 256,

    COMMAND_MEMORY = 1 << 1,
    COMMAND_MASTER = 1 << 2,
    COMMAND_NO_LINE_INTERRUPT = 1 << 10,
    STATUS_CAPABILITIES = 1 << 4,
    HEADER_KIND = 0x7f,
    HEADER_MANY_FUNCTIONS = 0x80,
    HEADER_ENDPOINT = 0,
    HEADER_BRIDGE = 1,

    WINDOW_IS_PORTS = 1 << 0,
    WINDOW_WIDTH = 3 << 1,
    WINDOW_IS_64_BIT = 2 << 1,
    WINDOW_FLAGS = 15,

    CAPABILITY_MESSAGES = 0x11,
    MESSAGES_CONTROL = 2,
    MESSAGES_TABLE = 4,
    MESSAGES_ENABLE = 1 << 15,
    MESSAGES_MASK_ALL = 1 << 14,
    MESSAGES_COUNT = 0x7ff,
    MESSAGE_ENTRY_BYTES = 16,

    DEVICES_PER_BUS = 32,
    FUNCTIONS_PER_DEVICE = 8,
};

/* Where windows are put that firmware left without an address: below the interrupt controllers, above RAM and QEMU's and SeaBIOS's
 * own placements on the machines we support. */
static const uint64_t unassigned_end = 0xfc000000;
static uint64_t unassigned_next = 0xf0000000;

static struct pci_function functions[PCI_DEVICES_MAX];
static unsigned function_count;

static void select_register(uint16_t address, unsigned offset)
{
    CHECK(offset < CONFIGURATION_BYTES);
    port_out32(ADDRESS_PORT, 0x80000000u | (uint32_t)address << 8 | (offset & 0xfc));
}

/* All ones where there is none: a list that the device keeps may lead to the very end. */
static uint32_t read_register(uint16_t address, unsigned offset)
{
    if (offset >= CONFIGURATION_BYTES) {
        return UINT32_MAX;
    }
    select_register(address, offset);
    return port_in32(DATA_PORT);
}

static void write_register(uint16_t address, unsigned offset, uint32_t value)
{
    select_register(address, offset);
    port_out32(DATA_PORT, value);
}

static uint16_t read_register16(uint16_t address, unsigned offset)
{
    return (uint16_t)(read_register(address, offset) >> 8 * (offset & 2));
}

static uint8_t read_register8(uint16_t address, unsigned offset)
{
    return (uint8_t)(read_register(address, offset) >> 8 * (offset & 3));
}

uint8_t pci_read8(const struct pci_function *function, unsigned offset)
{
    return read_register8(function->address, offset);
}

uint32_t pci_read32(const struct pci_function *function, unsigned offset)
{
    return read_register(function->address, offset);
}

unsigned pci_next_capability(const struct pci_function *function, uint8_t id, unsigned after)
{
    if ((read_register16(function->address, REGISTER_STATUS) & STATUS_CAPABILITIES) == 0) {
        return 0;
    }
    unsigned offset = pci_read8(function, after == 0 ? REGISTER_CAPABILITIES : after + 1) & 0xfcu;
    /* The list may run in a circle if the device is broken. */
    for (unsigned i = 0; i < PCI_CAPABILITIES_MAX && offset >= CAPABILITIES_START; i++) {
        if (pci_read8(function, offset) == id) {
            return offset;
        }
        offset = pci_read8(function, offset + 1) & 0xfcu;
    }
    return 0;
}

static void measure_windows(struct pci_function *function)
{
    uint16_t address = function->address;
    uint32_t command = read_register16(address, REGISTER_COMMAND);
    write_register(address, REGISTER_COMMAND, command & ~(uint32_t)COMMAND_MEMORY);
    for (unsigned i = 0; i < PCI_WINDOWS; i++) {
        unsigned offset = REGISTER_WINDOWS + 4 * i;
        uint32_t low = read_register(address, offset);
        write_register(address, offset, 0xffffffff);
        uint64_t mask = read_register(address, offset) | 0xffffffff00000000u;
        write_register(address, offset, low);
        if ((low & WINDOW_IS_PORTS) != 0 || (uint32_t)mask == 0) {
            continue;
        }
        bool wide = (low & WINDOW_WIDTH) == WINDOW_IS_64_BIT;
        if (wide && i + 1 < PCI_WINDOWS) {
            uint32_t high = read_register(address, offset + 4);
            write_register(address, offset + 4, 0xffffffff);
            mask = (mask & 0xffffffff) | (uint64_t)read_register(address, offset + 4) << 32;
            write_register(address, offset + 4, high);
        }
        function->window_bytes[i] = ~(mask & ~(uint64_t)WINDOW_FLAGS) + 1;
        i += wide ? 1 : 0;
    }
    write_register(address, REGISTER_COMMAND, command);
}

static void add_function(uint16_t address, uint32_t identity)
{
    if (function_count == PCI_DEVICES_MAX) {
        platform_log(LOG_WARNING, "pci: more than %d functions; the rest is not used", PCI_DEVICES_MAX);
        return;
    }
    struct pci_function *function = &functions[function_count++];
    function->address = address;
    function->vendor = (uint16_t)identity;
    function->device = (uint16_t)(identity >> 16);
    measure_windows(function);
    function->message_capability = (uint16_t)pci_next_capability(function, CAPABILITY_MESSAGES, 0);
}

void pci_start(void)
{
    /* Firmware gave each bridge the range of buses behind it, so the highest number seen so far bounds the scan. */
    unsigned last_bus = 0;
    for (unsigned bus = 0; bus <= last_bus; bus++) {
        for (unsigned device = 0; device < DEVICES_PER_BUS; device++) {
            unsigned count = 1;
            for (unsigned number = 0; number < count; number++) {
                uint16_t address = (uint16_t)(bus << 8 | device << 3 | number);
                uint32_t identity = read_register(address, REGISTER_IDENTITY);
                if ((identity & 0xffff) == 0xffff) {
                    continue;
                }
                uint8_t header = read_register8(address, REGISTER_HEADER);
                if (number == 0 && (header & HEADER_MANY_FUNCTIONS) != 0) {
                    count = FUNCTIONS_PER_DEVICE;
                }
                if ((header & HEADER_KIND) == HEADER_BRIDGE) {
                    unsigned subordinate = read_register8(address, REGISTER_SUBORDINATE_BUS);
                    last_bus = subordinate > last_bus ? subordinate : last_bus;
                } else if ((header & HEADER_KIND) == HEADER_ENDPOINT) {
                    add_function(address, identity);
                }
            }
        }
    }
    platform_log(LOG_INFO, "pci: %u functions", function_count);
}

enum status pci_find(uint16_t vendor, uint16_t device, unsigned n, struct pci_function **function)
{
    for (unsigned i = 0; i < function_count; i++) {
        if (functions[i].vendor == vendor && functions[i].device == device && n-- == 0) {
            *function = &functions[i];
            return STATUS_OK;
        }
    }
    return STATUS_NOT_FOUND;
}

enum status pci_map_window(struct pci_function *function, unsigned window)
{
    if (window >= PCI_WINDOWS || function->window_bytes[window] == 0 || function->window_bytes[window] > PCI_WINDOW_BYTES_MAX) {
        return STATUS_INVALID;
    }
    if (function->windows[window] != NULL) {
        return STATUS_OK;
    }
    unsigned offset = REGISTER_WINDOWS + 4 * window;
    uint32_t low = pci_read32(function, offset);
    bool wide = (low & WINDOW_WIDTH) == WINDOW_IS_64_BIT && window + 1 < PCI_WINDOWS;
    uint64_t physical = low & ~(uint32_t)WINDOW_FLAGS;
    if (wide) {
        physical |= (uint64_t)pci_read32(function, offset + 4) << 32;
    }
    uint64_t bytes = function->window_bytes[window];
    if (physical == 0) {
        physical = (unassigned_next + bytes - 1) & ~(bytes - 1);
        if (physical + bytes > unassigned_end) {
            return STATUS_NO_SPACE;
        }
        unassigned_next = physical + bytes;
        write_register(function->address, offset, (uint32_t)physical | (low & WINDOW_FLAGS));
        if (wide) {
            write_register(function->address, offset + 4, (uint32_t)(physical >> 32));
        }
    }
    function->windows[window] = platform_map_device(physical, bytes);
    return function->windows[window] != NULL ? STATUS_OK : STATUS_INVALID;
}

void pci_enable(struct pci_function *function)
{
    /* The upper half of this register is the status; writing zeros to it changes nothing. */
    uint32_t command = read_register16(function->address, REGISTER_COMMAND);
    write_register(function->address, REGISTER_COMMAND, command | COMMAND_MEMORY | COMMAND_MASTER | COMMAND_NO_LINE_INTERRUPT);
}

enum status pci_set_message(struct pci_function *function, unsigned message, void (*handler)(void *context), void *context)
{
    unsigned capability = function->message_capability;
    if (capability == 0) {
        return STATUS_UNSUPPORTED;
    }
    uint32_t control = read_register16(function->address, capability + MESSAGES_CONTROL);
    uint32_t table = pci_read32(function, capability + MESSAGES_TABLE);
    unsigned window = table & 7;
    uint64_t offset = (table & ~7u) + (uint64_t)message * MESSAGE_ENTRY_BYTES;
    if (message > (control & MESSAGES_COUNT)) {
        return STATUS_INVALID;
    }
    enum status status = pci_map_window(function, window);
    if (status != STATUS_OK) {
        return status;
    }
    if (offset + MESSAGE_ENTRY_BYTES > function->window_bytes[window]) {
        return STATUS_INVALID;
    }
    unsigned vector = platform_vector_claim(handler, context);
    volatile uint32_t *entry = (volatile uint32_t *)(function->windows[window] + offset);
    uint64_t target = apic_message_address();
    entry[0] = (uint32_t)target;
    entry[1] = (uint32_t)(target >> 32);
    entry[2] = vector;
    entry[3] = 0; /* not masked */
    control = (control | MESSAGES_ENABLE) & ~(uint32_t)MESSAGES_MASK_ALL;
    write_register(function->address, capability, (control << 16) | read_register16(function->address, capability));
    return STATUS_OK;
}
