/* Register names follow the 16550D datasheet. */
#include "drivers/serial.h"

#include <assert.h>
#include <stdint.h>

#include "drivers/apic.h"
#include "drivers/limits.h"
#include "drivers/platform.h"
#include "drivers/timer.h"
#include "kernel/processor.h"

enum {
    COM2 = 0x2f8,
    DATA = 0,
    INTERRUPT_ENABLE = 1,
    FIFO_CONTROL = 2,
    INTERRUPT_IDENTITY = 2,
    LINE_CONTROL = 3,
    MODEM_CONTROL = 4,
    LINE_STATUS = 5,
    SCRATCH = 7,

    ENABLE_RECEIVED = 1 << 0,
    ENABLE_TRANSMIT_EMPTY = 1 << 1,
    IDENTITY_NONE = 1 << 0,
    STATUS_RECEIVED = 1 << 0,
    STATUS_TRANSMIT_EMPTY = 1 << 5,
    DIVISOR_ACCESS = 1 << 7,
    EIGHT_BITS = 3,
    FIFO_ENABLE_AND_CLEAR = 7,
    MODEM_READY_WITH_INTERRUPT = 0x0b, /* DTR, RTS, and OUT2, which gates the interrupt line */
    SCRATCH_TRIAL = 0x5a,
};

static const uint16_t port_bases[] = {[SERIAL_LOG] = 0x3f8, [SERIAL_MANAGEMENT] = COM2};

/* Positions count for ever; index = position % size. Both sizes are powers of two. */
static uint8_t receive_buffer[SERIAL_RECEIVE_BYTES];
static size_t receive_put, receive_taken;
static uint8_t transmit_buffer[SERIAL_TRANSMIT_BYTES];
static size_t transmit_put, transmit_taken;
static uint8_t interrupts_enabled;
static bool management_started;
static bool look_due;              /* its interrupt was taken, or the last poll has left work */
static uint64_t looked_at_ns;

static_assert((SERIAL_RECEIVE_BYTES & (SERIAL_RECEIVE_BYTES - 1)) == 0, "index by remainder of a running position");
static_assert((SERIAL_TRANSMIT_BYTES & (SERIAL_TRANSMIT_BYTES - 1)) == 0, "index by remainder of a running position");

static uint8_t port_get(uint16_t base, unsigned port_register)
{
    return port_in8((uint16_t)(base + port_register));
}

static void port_put(uint16_t base, unsigned port_register, uint8_t value)
{
    port_out8((uint16_t)(base + port_register), value);
}

static void port_prepare(uint16_t base)
{
    port_put(base, INTERRUPT_ENABLE, 0);
    port_put(base, LINE_CONTROL, DIVISOR_ACCESS);
    port_put(base, DATA, 1); /* divisor 1: 115200 baud */
    port_put(base, INTERRUPT_ENABLE, 0);
    port_put(base, LINE_CONTROL, EIGHT_BITS);
    port_put(base, FIFO_CONTROL, FIFO_ENABLE_AND_CLEAR);
    port_put(base, MODEM_CONTROL, MODEM_READY_WITH_INTERRUPT);
}

void serial_init(void)
{
    port_prepare(port_bases[SERIAL_LOG]);
    port_prepare(port_bases[SERIAL_MANAGEMENT]);
}

void serial_write(enum serial_port port, const char *text, size_t bytes)
{
    uint16_t base = port_bases[port];
    size_t written = 0;
    while (written < bytes) {
        unsigned spins = 0;
        while ((port_get(base, LINE_STATUS) & STATUS_TRANSMIT_EMPTY) == 0) {
            if (++spins == SERIAL_LOG_SPINS) {
                return;
            }
        }
        for (unsigned i = 0; i < SERIAL_FIFO_BYTES && written < bytes; i++) {
            port_put(base, DATA, (uint8_t)text[written++]);
        }
    }
}

static void management_interrupt(void *context)
{
    (void)context;
    look_due = true;
}

static void enable_interrupts(uint8_t wanted)
{
    if (wanted != interrupts_enabled) {
        port_put(COM2, INTERRUPT_ENABLE, wanted);
        interrupts_enabled = wanted;
    }
}

/* Of a port that is not there every register reads as ones, also the one that does nothing but keep a value. */
static bool port_present(uint16_t base)
{
    port_put(base, SCRATCH, SCRATCH_TRIAL);
    bool kept = port_get(base, SCRATCH) == SCRATCH_TRIAL;
    port_put(base, SCRATCH, (uint8_t)~SCRATCH_TRIAL);
    return kept && port_get(base, SCRATCH) == (uint8_t)~SCRATCH_TRIAL;
}

void serial_management_start(void)
{
    if (!port_present(COM2)) {
        platform_log(LOG_WARNING, "serial: no second serial port; the node has no management port and shows no status");
        return;
    }
    apic_route_legacy(APIC_ISA_SERIAL_2, platform_vector_claim(management_interrupt, NULL));
    enable_interrupts(ENABLE_RECEIVED);
    management_started = look_due = true;
}

static void receive_bytes(void)
{
    while (receive_put - receive_taken < SERIAL_RECEIVE_BYTES && (port_get(COM2, LINE_STATUS) & STATUS_RECEIVED) != 0) {
        receive_buffer[receive_put++ % SERIAL_RECEIVE_BYTES] = port_get(COM2, DATA);
    }
}

static void transmit_bytes(void)
{
    if (transmit_put == transmit_taken || (port_get(COM2, LINE_STATUS) & STATUS_TRANSMIT_EMPTY) == 0) {
        return;
    }
    for (unsigned i = 0; i < SERIAL_FIFO_BYTES && transmit_put != transmit_taken; i++) {
        port_put(COM2, DATA, transmit_buffer[transmit_taken++ % SERIAL_TRANSMIT_BYTES]);
    }
}

/* Nothing to send, room for input, whose interrupt is enabled and was not taken since the last look. A loop that has work all the time never takes one, so
 * that it looks from time to time all the same. */
static bool nothing_to_do(void)
{
    return !look_due && transmit_put == transmit_taken && interrupts_enabled == ENABLE_RECEIVED && timer_now_ns() - looked_at_ns < SERIAL_LOOK_NS;
}

bool serial_poll(void)
{
    if (!management_started || nothing_to_do()) {
        return false;
    }
    look_due = false;
    looked_at_ns = timer_now_ns();
    /* The interrupt is an edge of a line that stays up while an enabled cause is unserved, and reading the identity takes the transmit cause back. So every
     * cause is served or disabled before the loop halts; a full receive buffer disables its cause until a reader makes room. */
    for (unsigned round = 0; round < SERIAL_POLL_ROUNDS; round++) {
        receive_bytes();
        transmit_bytes();
        uint8_t wanted = 0;
        if (receive_put - receive_taken < SERIAL_RECEIVE_BYTES) {
            wanted |= ENABLE_RECEIVED;
        }
        if (transmit_put != transmit_taken) {
            wanted |= ENABLE_TRANSMIT_EMPTY;
        }
        enable_interrupts(wanted);
        if ((port_get(COM2, INTERRUPT_IDENTITY) & IDENTITY_NONE) != 0) {
            return false;
        }
    }
    look_due = true;
    return true;
}

size_t serial_management_receive(void *buffer, size_t bytes_max)
{
    uint8_t *bytes = buffer;
    size_t count = 0;
    while (count < bytes_max && receive_taken != receive_put) {
        bytes[count++] = receive_buffer[receive_taken++ % SERIAL_RECEIVE_BYTES];
    }
    return count;
}

size_t serial_management_room(void)
{
    return SERIAL_TRANSMIT_BYTES - (transmit_put - transmit_taken);
}

enum status serial_management_send(const void *data, size_t bytes)
{
    if (bytes > serial_management_room()) {
        return STATUS_FULL;
    }
    const uint8_t *from = data;
    for (size_t i = 0; i < bytes; i++) {
        transmit_buffer[transmit_put++ % SERIAL_TRANSMIT_BYTES] = from[i];
    }
    return STATUS_OK;
}
