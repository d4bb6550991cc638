#include "kernel/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "drivers/serial.h"
#include "drivers/timer.h"
#include "kernel/limits.h"

static const char *const level_names[] = {
    [LOG_DEBUG] = "debug",
    [LOG_INFO] = "info",
    [LOG_WARNING] = "warning",
    [LOG_ERROR] = "error",
};

static char waiting[LOG_WAITING_BYTES];
static size_t waiting_bytes;
static bool deferred;

void log_defer(void)
{
    deferred = true;
}

void log_flush(void)
{
    size_t bytes = waiting_bytes;
    waiting_bytes = 0;
    serial_write(SERIAL_LOG, waiting, bytes);
}

void log_line(enum log_level level, const char *line)
{
    char record[LOG_RECORD_BYTES_MAX];
    uint64_t milliseconds = timer_now_ns() / 1000000;
    int prefix = snprintf(record, sizeof record, "%lu.%03lu %s ", (unsigned long)(milliseconds / 1000),
                          (unsigned long)(milliseconds % 1000), level_names[level]);
    size_t length = prefix > 0 ? (size_t)prefix : 0;
    for (size_t i = 0; line[i] != '\0' && i < LOG_LINE_BYTES_MAX && length < sizeof record - 1; i++) {
        char byte = line[i];
        record[length++] = byte >= ' ' && byte <= '~' ? byte : '.';
    }
    record[length++] = '\n';
    if (length > sizeof waiting - waiting_bytes) {
        log_flush();
    }
    memcpy(waiting + waiting_bytes, record, length);
    waiting_bytes += length;
    if (!deferred) {
        log_flush();
    }
}

void log_arguments(enum log_level level, const char *format, va_list arguments)
{
    char line[LOG_LINE_BYTES_MAX + 1];
    vsnprintf(line, sizeof line, format, arguments);
    log_line(level, line);
}

void log_format(enum log_level level, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    log_arguments(level, format, arguments);
    va_end(arguments);
}
