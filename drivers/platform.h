/* What the drivers ask of the kernel: vectors, device mappings, physical addresses, halting, log lines. Implemented in kernel/. Besides, the instructions of
 * kernel/processor.h are theirs to use.
 *
 * Interrupts are off while the event loop runs and on only in ring 3 and while the processor halts. A handler registered here
 * therefore never interrupts a driver: it notes what happened and returns, and the trap code acknowledges (apic_end_of_interrupt). The
 * work is done by the driver's poll function, which the loop calls after every wake. */
#ifndef EIDOLON_DRIVERS_PLATFORM_H
#define EIDOLON_DRIVERS_PLATFORM_H

#include <stddef.h>
#include <stdint.h>

#include "include/machine.h"

typedef void platform_interrupt_handler(void *context);

/* Take a free interrupt vector (32..239) for `handler`, called with `context` and interrupts off. During boot only.
 * Returns the vector; the kernel stops the boot when none is left. */
unsigned platform_vector_claim(platform_interrupt_handler *handler, void *context);

/* Map `bytes` bytes of device registers at physical address `physical` (any alignment), uncached, writable, not executable.
 * During boot only; never unmapped. Returns the virtual address of `physical`; NULL if no mapping reaches there. */
volatile void *platform_map_device(uint64_t physical, size_t bytes);

/* Physical address of a byte of the kernel's image or of its reserved memory, both of which are physically contiguous.
 * CHECKs that `pointer` is such memory. */
uint64_t platform_physical(const void *pointer);

/* Halt until an interrupt was handled, at once if one is pending. For a driver that waits, within a bound, for a device that interrupts. */
void platform_idle(void);

/* One line to the node's log, printf-like, cut at 400 bytes. */
void platform_log(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The boot cannot go on: log the sentence, which says what is wrong and what to do, and restart the machine. */
_Noreturn void platform_boot_failed(const char *sentence);

#endif
