/* The two 16550 serial ports: COM1 carries the log, COM2 the management port.
 *
 * Log output is polled and bounded: a line that nobody drains loses bytes, never time. Management input and output go through
 * bounded buffers and interrupts; serial_poll moves bytes between them and the device. */
#ifndef EIDOLON_DRIVERS_SERIAL_H
#define EIDOLON_DRIVERS_SERIAL_H

#include <stdbool.h>
#include <stddef.h>

#include "include/status.h"

enum serial_port {
    SERIAL_LOG,        /* COM1 */
    SERIAL_MANAGEMENT, /* COM2 */
};

/* Prepare both ports for polled output. Needs nothing else; the first thing in a boot. */
void serial_init(void);

/* Write `bytes` bytes to a port as they are, polled. Bytes that the port does not take in time are dropped. Callable from a trap. */
void serial_write(enum serial_port port, const char *text, size_t bytes);

/* Switch the management port and its interrupt on. After apic_start. A machine without a second port is told in the log: the management port stays
 * silent then and takes no part in serial_poll. */
void serial_management_start(void);

/* Move bytes between device and buffers. The loop calls it after every wake and once more after the last send or receive
 * before it halts. Returns true if work is left: then it must be called again before the processor halts. */
bool serial_poll(void);

/* Take up to `bytes_max` received bytes; returns how many. Input that comes while the buffer is full waits in the device. */
size_t serial_management_receive(void *buffer, size_t bytes_max);

/* Bytes that serial_management_send would take now. */
size_t serial_management_room(void);

/* Queue `bytes` bytes, all or nothing. FULL: more than serial_management_room. */
enum status serial_management_send(const void *data, size_t bytes) MUST_CHECK;

#endif
