/* The processor's local interrupt controller, the I/O interrupt controller, and the one-shot timer inside the local one.
 *
 * Owns the legacy controllers too: they are masked for ever. Called by drivers during boot and by the kernel's trap code. */
#ifndef EIDOLON_DRIVERS_APIC_H
#define EIDOLON_DRIVERS_APIC_H

#include <stdint.h>

enum {
    APIC_ISA_SERIAL_2 = 3,       /* interrupt line of the second serial port */
    APIC_SPURIOUS_VECTOR = 255,  /* raised without being in service: not to be acknowledged */
};

/* Mask the legacy controllers (their vectors become 32..47), enable the local one. Interrupts may be enabled afterwards. */
void apic_start(void);

/* Acknowledge the interrupt being handled. The trap code calls it once after each handler. */
void apic_end_of_interrupt(void);

/* Deliver legacy line `line` (0..15, edge-triggered, active high) to `vector` from now on. */
void apic_route_legacy(unsigned line, unsigned vector);

/* Where a device writes a message, whose data is the vector, to interrupt this processor. */
uint64_t apic_message_address(void);

/* One-shot timer that raises `vector`. `apic_timer_arm(0)` disarms. timer.c measures the rate of its ticks. */
void apic_timer_prepare(unsigned vector);
void apic_timer_arm(uint32_t ticks);
uint32_t apic_timer_remaining(void);

#endif
