/* The node's log: lines on the first serial port, for people and for the host tool. Works from the first instruction of C.
 *
 * A line is `SECONDS.MILLIS LEVEL text`. Bytes that are not printable are shown as '.', so nothing that a peer or a world says can
 * forge a line. A port takes 2 us a byte under emulation, so from log_defer on lines wait for the end of the loop's round, when what the round has to say to
 * others has left. Callable from a trap. */
#ifndef EIDOLON_KERNEL_LOG_H
#define EIDOLON_KERNEL_LOG_H

#include <stdarg.h>

#include "include/machine.h"

/* Write one line. `line` is borrowed; more than LOG_LINE_BYTES_MAX bytes are cut. */
void log_line(enum log_level level, const char *line);

/* The same with a printf format. */
void log_format(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_arguments(enum log_level level, const char *format, va_list arguments) __attribute__((format(printf, 2, 0)));

/* From now on lines wait for log_flush, as long as there is room for them (LOG_WAITING_BYTES). */
void log_defer(void);

/* Write what waits. Before the processor halts, the world runs, or the machine is reset. */
void log_flush(void);

#endif
