/* PCI: finds functions, maps their register windows, delivers their interrupts as messages.
 *
 * Configuration space is reached through ports 0xCF8 and 0xCFC: 256 bytes a function, enough for everything used here. What firmware
 * left unassigned is assigned. Everything a device says about itself is range-checked. During boot only. */
#ifndef EIDOLON_DRIVERS_PCI_H
#define EIDOLON_DRIVERS_PCI_H

#include <stddef.h>
#include <stdint.h>

#include "include/status.h"

enum { PCI_WINDOWS = 6 };

struct pci_function {
    uint16_t address;                    /* bus, device, function as on the bus */
    uint16_t vendor;
    uint16_t device;
    volatile uint8_t *windows[PCI_WINDOWS]; /* mapped memory windows; NULL: not there or not mapped yet */
    uint64_t window_bytes[PCI_WINDOWS];
    uint16_t message_capability;         /* offset of the MSI-X capability, 0: none */
};

/* List all functions. Once. */
void pci_start(void);

/* The n-th function (from 0) with this vendor and device. Returned pointer is the module's and stays valid. NOT_FOUND: fewer. */
enum status pci_find(uint16_t vendor, uint16_t device, unsigned n, struct pci_function **function) MUST_CHECK;

/* Read configuration space; `offset` a multiple of the width. All ones behind its end. */
uint8_t pci_read8(const struct pci_function *function, unsigned offset);
uint32_t pci_read32(const struct pci_function *function, unsigned offset);

/* Offset of the next capability with `id` behind offset `after` (0: from the first); 0 if there is none. A broken list may name the same one again and
 * again: whoever walks it takes at most PCI_CAPABILITIES_MAX. */
unsigned pci_next_capability(const struct pci_function *function, uint8_t id, unsigned after);

/* Map memory window `window` (assigning it an address if it has none) so that function->windows[window] is usable.
 * INVALID: no such memory window, or larger than PCI_WINDOW_BYTES_MAX, or beyond what can be mapped.
 * NO_SPACE: the address range for unassigned windows is used up. */
enum status pci_map_window(struct pci_function *function, unsigned window) MUST_CHECK;

/* Let the function read and write memory by itself. */
void pci_enable(struct pci_function *function);

/* Switch message interrupts on and send message `message` to a vector of its own, handled by `handler(context)`.
 * UNSUPPORTED: the function has no MSI-X.  INVALID: it has not that many messages, or its table lies outside of its window. */
enum status pci_set_message(struct pci_function *function, unsigned message, void (*handler)(void *context), void *context) MUST_CHECK;

#endif
