/* Log lines with a format, through the seam (include/machine.h). */
#ifndef EIDOLON_MACHINE_LOG_H
#define EIDOLON_MACHINE_LOG_H

#include <stdarg.h>
#include <stdio.h>

#include "include/machine.h"

/* As vprintf, one line; cut at MACHINE_LOG_BYTES_MAX. */
__attribute__((format(printf, 3, 0))) static inline void machine_log_arguments(const struct machine *machine, enum log_level level, const char *format,
                                                                               va_list arguments)
{
    char line[MACHINE_LOG_BYTES_MAX + 1];
    vsnprintf(line, sizeof line, format, arguments);
    machine->log(machine->context, level, line);
}

/* The same as printf. */
__attribute__((format(printf, 3, 4))) static inline void machine_log(const struct machine *machine, enum log_level level, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    machine_log_arguments(machine, level, format, arguments);
    va_end(arguments);
}

#endif
