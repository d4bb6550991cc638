#include "objects/console.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "objects/abi_calls.h"

#define REASON_BYTES_MAX 200u

static uint32_t lines_dropped;

static uint32_t console_room(void)
{
    return ABI_CONSOLE_BYTES - (abi_ring_state()->console_produced - abi_info()->console_released);
}

static void console_put(const char *text, uint32_t bytes)
{
    volatile struct abi_ring_state *state = abi_ring_state();
    char *ring = (char *)ABI_CONSOLE_ADDRESS;
    for (uint32_t i = 0; i < bytes; i++)
        ring[(state->console_produced + i) % ABI_CONSOLE_BYTES] = text[i];
    __asm__ volatile("" ::: "memory"); /* the bytes stand before their count says so */
    state->console_produced += bytes;
}

void console_log(const char *line)
{
    char notice[64] = "";
    if (lines_dropped > 0)
        (void)snprintf(notice, sizeof notice, "(%u lines of the world were dropped)\n", (unsigned)lines_dropped);
    uint32_t notice_bytes = (uint32_t)strlen(notice);
    uint32_t bytes = (uint32_t)strlen(line);
    if (notice_bytes + bytes + 1 > console_room()) {
        lines_dropped++;
        return;
    }
    console_put(notice, notice_bytes);
    console_put(line, bytes);
    console_put("\n", 1);
    lines_dropped = 0;
}

_Noreturn void world_stop(const char *reason)
{
    uint64_t bytes = strlen(reason);
    if (bytes > REASON_BYTES_MAX)
        bytes = REASON_BYTES_MAX;
    for (;;)
        (void)abi_call(ABI_CALL_EXIT, 1, (uintptr_t)reason, bytes);
}

_Noreturn void world_check_failed(const char *condition, const char *file, int line)
{
    static char reason[REASON_BYTES_MAX + 1];
    (void)snprintf(reason, sizeof reason, "%s:%d: %s does not hold", file, line, condition);
    world_stop(reason);
}
