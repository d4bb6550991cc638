/* The node's log: lines on the first serial port, for people and for the host tool. Works from the first instruction of C.
 *
 * A line is `SECONDS.MILLIS LEVEL text`. Bytes that are not printable are shown as '.', so nothing that a peer or a world says can
 * forge a line. Writing waits for the port; callable from a trap. */
#ifndef EIDOLON_KERNEL_LOG_H
#define EIDOLON_KERNEL_LOG_H

#include <stdarg.h>

#include "include/machine.h"

/* Write one line. `line` is borrowed; more than LOG_LINE_BYTES_MAX bytes are cut. */
void log_line(enum log_level level, const char *line);

/* The same with a printf format. */
void log_format(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_arguments(enum log_level level, const char *format, va_list arguments) __attribute__((format(printf, 2, 0)));

#endif
