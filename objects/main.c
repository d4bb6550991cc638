/* The world at its birth: memory is laid out, the runtime and the network come up, session `main` begins; then the scheduler runs for
 * ever. After that there is no start again: every later start is a resume, between two instructions. */
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "py/mpstate.h"
#include "py/runtime.h"

#include "objects/abi_calls.h"
#include "objects/console.h"
#include "objects/limits.h"
#include "objects/memory.h"
#include "objects/network.h"
#include "objects/session.h"
#include "objects/threads.h"
#include "objects/tree.h"
#include "objects/viewer.h"

/* start.S has these numbers. */
_Static_assert(ABI_INFO_ADDRESS == 0x10000000, "start.S");
_Static_assert(offsetof(struct abi_info, stack_base) == 24 && offsetof(struct abi_info, stack_bytes) == 32, "start.S");

#define HEAP_BYTES_MIN (8704u * 1024u) /* a session's share of its reserve must let it read a line (memory.c) */

_Noreturn void world_main(void);

uintptr_t __stack_chk_guard;
_Noreturn void __stack_chk_fail(void);

_Noreturn void __stack_chk_fail(void)
{
    world_stop("a buffer on a stack of the world was overrun");
}

static bool poll_is_due(void)
{
    return viewers_poll_is_due() || network_poll_is_due();
}

/* What viewers are sent needs timers too, or is on its way to a program of the world. */
static uint64_t poll(uint64_t now_ns)
{
    network_poll(now_ns);
    uint64_t viewers_due_ns = viewers_poll(now_ns);
    uint64_t network_due_ns = network_plan(now_ns);
    if (poll_is_due())
        return now_ns;
    return network_due_ns < viewers_due_ns ? network_due_ns : viewers_due_ns;
}

static const struct threads_hooks hooks = {.poll = poll, .poll_is_due = poll_is_due, .enter = session_enter, .leave = session_leave};

static void check_abi(void)
{
    const volatile struct abi_info *info = abi_info();
    if (info->magic != ABI_MAGIC || info->version != ABI_VERSION)
        world_stop("the kernel speaks another version of the world ABI");
    if (info->heap_bytes < threads_stack_bytes() + HEAP_BYTES_MIN)
        world_stop("the world's memory is too small: threads, network and heap need 32 MiB");
}

__attribute__((no_stack_protector)) _Noreturn void world_main(void)
{
    const volatile struct abi_info *info = abi_info();
    check_abi();
    abi_entropy(&__stack_chk_guard, sizeof __stack_chk_guard);
    uint8_t *heap = (uint8_t *)info->heap_base;
    size_t stacks = threads_init(heap, info->heap_bytes, &hooks);
    mp_cstack_init_with_top((void *)(info->stack_base + info->stack_bytes), info->stack_bytes);
    memory_init(heap + stacks, info->heap_bytes - stacks, info->stack_base + info->stack_bytes);
    tree_init();
    mp_init();
    network_init();
    viewers_init();
    sessions_init();
    char line[80];
    (void)snprintf(line, sizeof line, "world %u begins: %u KiB of heap", (unsigned)info->world_number,
                   (unsigned)((info->heap_bytes - stacks) / 1024));
    console_log(line);
    threads_run();
}
