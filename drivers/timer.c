/* Intel 8254 datasheet for the interval timer; MC146818 datasheet for the real-time clock. */
#include "drivers/timer.h"

#include <stdbool.h>
#include <stddef.h>

#include "drivers/apic.h"
#include "drivers/platform.h"
#include "include/check.h"
#include "kernel/processor.h"

enum {
    PIT_DATA = 0x40,
    PIT_COMMAND = 0x43,
    PIT_CHANNEL_0_MODE_2 = 0x34,
    PIT_LATCH_0 = 0x00,
    PIT_HZ = 1193182,
    PIT_PERIOD = 65536,
    PIT_WINDOW = 24000, /* ticks: 20 ms */
    PIT_SAMPLES = 32,
    PIT_READS_MAX = 20000, /* each is some 200 accesses of ports and of the controller, 10 us at the least: ten windows */
    MEASURE_AGREEMENT = 1000,
    MEASURES_MAX = 500,    /* 10 s */

    CMOS_INDEX = 0x70,
    CMOS_DATA = 0x71,
    CMOS_SECOND = 0x00,
    CMOS_MINUTE = 0x02,
    CMOS_HOUR = 0x04,
    CMOS_DAY = 0x07,
    CMOS_MONTH = 0x08,
    CMOS_YEAR = 0x09,
    CMOS_STATUS_A = 0x0a,
    CMOS_STATUS_B = 0x0b,
    CMOS_UPDATING = 0x80,
    CMOS_BINARY = 0x04,
    CMOS_24_HOURS = 0x02,
    CMOS_FIELDS = 6,
    CMOS_READS_MAX = 1000000,

    SCALE_SHIFT = 32, /* fraction bits of the scales: a year's run is off by less than a second for it */
};

static const uint64_t second_ns = 1000000000;
static const uint32_t timer_ticks_max = 0xffffffff;

static uint64_t counter_base;
static uint64_t counter_hz;
static uint64_t counter_scale;   /* nanoseconds per counter tick */
static uint64_t interrupt_scale; /* timer ticks per nanosecond */
static uint64_t wall_clock_base_ns;
static uint64_t armed_deadline_ns = UINT64_MAX;

struct instant {
    uint64_t counter;
    uint32_t interrupt_ticks; /* remaining, counts down */
    uint32_t pit;             /* counts down */
};

static uint32_t pit_read(void)
{
    port_out8(PIT_COMMAND, PIT_LATCH_0);
    uint32_t low = port_in8(PIT_DATA);
    return low | (uint32_t)port_in8(PIT_DATA) << 8;
}

/* Read the three clocks at one instant: of several tries the one that took the least time. */
static struct instant instant_read(void)
{
    struct instant best = {0};
    uint64_t best_duration = UINT64_MAX;
    for (unsigned i = 0; i < PIT_SAMPLES; i++) {
        struct instant instant;
        uint64_t before = read_tsc();
        instant.pit = pit_read();
        instant.interrupt_ticks = apic_timer_remaining();
        uint64_t duration = read_tsc() - before;
        instant.counter = before + duration / 2;
        if (duration < best_duration) {
            best_duration = duration;
            best = instant;
        }
    }
    return best;
}

/* value * numerator / denominator, which must fit 64 bits; the compiler's own 128-bit division would need its library. */
static uint64_t multiply_divide(uint64_t value, uint64_t numerator, uint64_t denominator)
{
    unsigned __int128 product = (unsigned __int128)value * numerator;
    CHECK((uint64_t)(product >> 64) < denominator);
    uint64_t quotient = (uint64_t)product;
    uint64_t remainder = (uint64_t)(product >> 64);
    __asm__("divq %2" : "+a"(quotient), "+d"(remainder) : "r"(denominator) : "cc");
    return quotient;
}

static void measure_once(void)
{
    apic_timer_arm(timer_ticks_max);
    struct instant start = instant_read();
    uint32_t passed;
    struct instant end;
    unsigned reads = 0;
    do {
        if (++reads > PIT_READS_MAX) {
            platform_boot_failed("boot: the interval timer (PIT) does not count, and the clock is measured against it; "
                                 "give the node one (QEMU: -M without pit=off)");
        }
        end = instant_read();
        passed = (start.pit - end.pit) & (PIT_PERIOD - 1);
    } while (passed < PIT_WINDOW);
    uint64_t counter_ticks = end.counter - start.counter;
    uint64_t interrupt_ticks = start.interrupt_ticks - end.interrupt_ticks;
    apic_timer_arm(0);

    counter_hz = multiply_divide(counter_ticks, PIT_HZ, passed);
    uint64_t interrupt_hz = multiply_divide(interrupt_ticks, PIT_HZ, passed);
    if (counter_hz < 1000000 || interrupt_hz < 1000) {
        platform_boot_failed("boot: the processor's counter or its timer does not run; give the node a processor with both (QEMU: -cpu max)");
    }
    counter_scale = multiply_divide(second_ns, 1ull << SCALE_SHIFT, counter_hz);
    interrupt_scale = multiply_divide(interrupt_hz, 1ull << SCALE_SHIFT, second_ns);
    counter_base = end.counter;
}

/* An emulator that is held up for whole periods of the interval timer (55 ms) spoils a measurement unseen; two in a row that
 * agree to a thousandth were not spoiled. */
static void measure_clocks(void)
{
    port_out8(PIT_COMMAND, PIT_CHANNEL_0_MODE_2);
    port_out8(PIT_DATA, 0);
    port_out8(PIT_DATA, 0);
    uint64_t last_hz;
    unsigned measures = 0;
    do {
        if (++measures > MEASURES_MAX) {
            platform_boot_failed("boot: the processor's counter has another rate each time that it is measured; give the host less to do");
        }
        last_hz = counter_hz;
        measure_once();
    } while ((last_hz > counter_hz ? last_hz - counter_hz : counter_hz - last_hz) > counter_hz / MEASURE_AGREEMENT);
}

static uint8_t cmos_read(uint8_t index)
{
    port_out8(CMOS_INDEX, index);
    return port_in8(CMOS_DATA);
}

/* Two equal readings in a row, each begun outside of an update, are a time. */
static void cmos_read_fields(uint8_t fields[CMOS_FIELDS])
{
    static const uint8_t indexes[CMOS_FIELDS] = {CMOS_SECOND, CMOS_MINUTE, CMOS_HOUR, CMOS_DAY, CMOS_MONTH, CMOS_YEAR};
    uint8_t last[CMOS_FIELDS] = {0};
    for (unsigned reads = 0; reads < CMOS_READS_MAX; reads++) {
        if ((cmos_read(CMOS_STATUS_A) & CMOS_UPDATING) != 0) {
            continue;
        }
        bool same = true;
        for (unsigned i = 0; i < CMOS_FIELDS; i++) {
            fields[i] = cmos_read(indexes[i]);
            same = same && fields[i] == last[i];
            last[i] = fields[i];
        }
        if (same) {
            return;
        }
    }
}

/* Days from 1970-01-01 to a date of the Gregorian calendar; years are counted from March, so that a leap day comes last. */
static uint64_t days_since_1970(unsigned year, unsigned month, unsigned day)
{
    unsigned march_year = month <= 2 ? year - 1 : year;
    unsigned march_month = month <= 2 ? month + 9 : month - 3;
    uint64_t days = 365ull * march_year + march_year / 4 - march_year / 100 + march_year / 400;
    days += (153 * march_month + 2) / 5 + day - 1;
    return days - 719468;
}

static uint64_t wall_clock_read_ns(void)
{
    uint8_t fields[CMOS_FIELDS];
    cmos_read_fields(fields);
    uint8_t mode = cmos_read(CMOS_STATUS_B);
    bool afternoon = (fields[2] & 0x80) != 0;
    fields[2] &= 0x7f;
    if ((mode & CMOS_BINARY) == 0) {
        for (unsigned i = 0; i < CMOS_FIELDS; i++) {
            fields[i] = (uint8_t)((fields[i] >> 4) * 10 + (fields[i] & 15));
        }
    }
    unsigned hour = fields[2];
    if ((mode & CMOS_24_HOURS) == 0) {
        hour = hour % 12 + (afternoon ? 12 : 0);
    }
    if (fields[0] > 59 || fields[1] > 59 || hour > 23 || fields[3] < 1 || fields[3] > 31 || fields[4] < 1 || fields[4] > 12) {
        platform_log(LOG_WARNING, "timer: the real-time clock shows no valid time; the wall clock starts at 1970");
        return 0;
    }
    uint64_t days = days_since_1970(2000u + fields[5], fields[4], fields[3]);
    return (((days * 24 + hour) * 60 + fields[1]) * 60 + fields[0]) * second_ns;
}

static void timer_interrupt(void *context)
{
    (void)context;
    armed_deadline_ns = UINT64_MAX;
}

void timer_start(void)
{
    apic_timer_prepare(platform_vector_claim(timer_interrupt, NULL));
    measure_clocks();
    wall_clock_base_ns = wall_clock_read_ns();
    platform_log(LOG_INFO, "timer: counter %llu kHz", (unsigned long long)(counter_hz / 1000));
}

uint64_t timer_now_ns(void)
{
    static uint64_t last_ns;
    if (counter_scale == 0) {
        return 0;
    }
    uint64_t now_ns = (uint64_t)((unsigned __int128)(read_tsc() - counter_base) * counter_scale >> SCALE_SHIFT);
    /* A counter may step back when a virtual machine moves between processors; time may not. */
    if ((int64_t)(now_ns - last_ns) > 0) {
        last_ns = now_ns;
    }
    return last_ns;
}

uint64_t timer_wall_clock_ns(void)
{
    return wall_clock_base_ns + timer_now_ns();
}

void timer_arm(uint64_t deadline_ns)
{
    if (deadline_ns >= armed_deadline_ns) {
        return;
    }
    armed_deadline_ns = deadline_ns;
    uint64_t now_ns = timer_now_ns();
    uint64_t wait_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    unsigned __int128 ticks = ((unsigned __int128)wait_ns * interrupt_scale >> SCALE_SHIFT) + 1;
    apic_timer_arm(ticks > timer_ticks_max ? timer_ticks_max : (uint32_t)ticks);
}
