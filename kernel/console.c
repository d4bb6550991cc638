#include "kernel/console.h"

#include <stdbool.h>

#include "kernel/limits.h"
#include "kernel/log.h"

static char line[CONSOLE_LINE_BYTES_MAX + 1];
static size_t length;

static uint64_t allowance_bytes = CONSOLE_BURST_BYTES;
static uint64_t refilled_ns;
static bool holding_back;
static unsigned long lines_held_back;

static void refill(uint64_t now_ns)
{
    static const uint64_t byte_ns = 1000000000 / CONSOLE_BYTES_PER_S;
    uint64_t bytes = (now_ns - refilled_ns) / byte_ns;
    if (bytes > CONSOLE_BURST_BYTES - allowance_bytes) {
        allowance_bytes = CONSOLE_BURST_BYTES;
        refilled_ns = now_ns;
    } else {
        allowance_bytes += bytes;
        refilled_ns += bytes * byte_ns;
    }
}

/* May a line that costs so much be logged? Says when that changes. */
static bool allowed(uint64_t cost)
{
    if (!holding_back && cost > allowance_bytes) {
        holding_back = true;
        log_format(LOG_WARNING, "world: it writes more than the log takes; its lines are only counted for some seconds");
    } else if (holding_back && allowance_bytes >= CONSOLE_RESUME_BYTES) {
        holding_back = false;
        log_format(LOG_WARNING, "world: %lu lines were not logged", lines_held_back);
        lines_held_back = 0;
    }
    return !holding_back;
}

static void end_line(void)
{
    uint64_t cost = CONSOLE_LINE_COST_BYTES + length;
    if (length > 0 && allowed(cost)) {
        allowance_bytes -= cost;
        line[length] = '\0';
        log_format(LOG_INFO, "world: %s", line);
    } else if (length > 0) {
        lines_held_back++;
    }
    length = 0;
}

void console_write(uint64_t now_ns, const char *text, size_t bytes)
{
    refill(now_ns);
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] != '\n') {
            line[length++] = text[i] != '\0' ? text[i] : '.';
        }
        if (text[i] == '\n' || length == CONSOLE_LINE_BYTES_MAX) {
            end_line();
        }
    }
}
