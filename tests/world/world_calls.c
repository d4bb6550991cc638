/* Calls of the world, answered as the kernel of a node of three would. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "tests/world/world_run.h"

#define COMMIT_DELAY_NS 5000000ull
#define NODES 3
#define NODE_DOWN 3

void calls_due(void)
{
    uint64_t now_ns = world_clock();
    if (run.commit_due_ns != 0 && now_ns >= run.commit_due_ns) {
        run.commit_due_ns = 0;
        run.epoch_committed = run.epoch++;
    }
    if (run.move_due_ns != 0 && now_ns >= run.move_due_ns) {
        run.move_due_ns = 0;
        run.node = run.move_to;
        run.info->resume_kind = ABI_RESUME_TAKEOVER;
        run.info->resumed++;
    }
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static int64_t call_wait(uint64_t deadline_ns, uint64_t resumed, uint64_t commit)
{
    run.waits++;
    for (;;) {
        uint64_t now_ns = world_clock();
        if (run.receive_info->produced != ring_state()->receive_consumed || run.info->resumed != resumed || now_ns >= deadline_ns
            || (commit != 0 && commit <= run.epoch_committed) || run.transmit_has_room) {
            run.transmit_has_room = 0;
            run.wakes++;
            return 0;
        }
        uint64_t wait_ns = deadline_ns - now_ns;
        if (run.commit_due_ns != 0) {
            wait_ns = least(wait_ns, run.commit_due_ns > now_ns ? run.commit_due_ns - now_ns : 0);
        }
        if (run.move_due_ns != 0) {
            wait_ns = least(wait_ns, run.move_due_ns > now_ns ? run.move_due_ns - now_ns : 0);
        }
        pump(wait_ns);
    }
}

static int64_t call_commit(uint64_t epoch)
{
    if (epoch != 0) {
        return epoch <= run.epoch_committed;
    }
    if (run.commit_due_ns == 0) {
        run.commit_due_ns = world_clock() + COMMIT_DELAY_NS;
    }
    return (int64_t)run.epoch;
}

static int64_t call_status(struct abi_status *status, uint64_t bytes)
{
    if (bytes != sizeof *status) {
        return -ABI_EINVAL;
    }
    memset(status, 0, sizeof *status);
    status->node = run.node;
    status->node_count = NODES;
    status->epoch = run.epoch;
    status->epoch_committed = run.epoch_committed;
    status->term = 1;
    for (uint32_t i = 0; i < NODES; i++) {
        status->nodes[i] =
            (struct abi_node_status){.number = i + 1, .up = i + 1 != NODE_DOWN, .voter = 1, .host = i + 1 == run.node};
    }
    return 0;
}

static int64_t call_move(uint64_t node)
{
    if (node < 1 || node > NODES) {
        return -ABI_EINVAL;
    }
    if (node == NODE_DOWN) {
        return -ABI_ENOENT;
    }
    if (node == run.node) {
        return 1;
    }
    run.move_to = (uint32_t)node;
    run.move_due_ns = world_clock() + COMMIT_DELAY_NS;
    return 0;
}

int64_t call(uint64_t number, uint64_t a, uint64_t b, uint64_t c)
{
    switch (number) {
    case ABI_CALL_WAIT:
        return call_wait(a, b, c);
    case ABI_CALL_CLOCK:
        return (int64_t)world_clock();
    case ABI_CALL_WALL_CLOCK:
        return (int64_t)monotonic_ns(CLOCK_REALTIME);
    case ABI_CALL_ENTROPY:
        return b > 256 || getrandom((void *)a, b, 0) != (ssize_t)b ? -ABI_EINVAL : 0;
    case ABI_CALL_COMMIT:
        return call_commit(a);
    case ABI_CALL_STATUS:
        return call_status((struct abi_status *)a, b);
    case ABI_CALL_MOVE:
        return call_move(a);
    case ABI_CALL_EXIT:
        console_from_world();
        fprintf(stderr, "world_run: the world stopped: %.*s\n", (int)(c < 200 ? c : 200), (const char *)b);
        exit(1);
    default:
        return -ABI_ENOSYS;
    }
}
