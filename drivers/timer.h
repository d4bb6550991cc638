/* Time: a monotonic clock from the processor's counter, one deadline interrupt, and the wall clock read once at boot.
 *
 * The counter is measured against the programmable interval timer (channel 0), so the clock needs nothing of the firmware. */
#ifndef EIDOLON_DRIVERS_TIMER_H
#define EIDOLON_DRIVERS_TIMER_H

#include <stdint.h>

/* Measure the counter (about 40 ms), read the wall clock, prepare the interrupt. After apic_start; once. */
void timer_start(void);

/* Monotonic nanoseconds since timer_start; 0 before. Callable from a trap. */
uint64_t timer_now_ns(void);

/* Nanoseconds since 1970 UTC: the real-time clock as read at boot, carried on by the monotonic clock. */
uint64_t timer_wall_clock_ns(void);

/* Interrupt the processor at `deadline_ns` (of timer_now_ns) or soon after, at once if it has passed; or earlier: an earlier deadline that was asked for
 * before stays, and whoever is woken by it asks again. So the timer is written only when something is due sooner, as a write is dear under
 * emulation. UINT64_MAX asks for nothing. */
void timer_arm(uint64_t deadline_ns);

#endif
