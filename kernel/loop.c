#include "kernel/loop.h"

#include "drivers/net.h"
#include "drivers/serial.h"
#include "drivers/timer.h"
#include "drivers/virtio_blk.h"
#include "include/abi.h"
#include "kernel/epitaph.h"
#include "kernel/limits.h"
#include "kernel/log.h"
#include "kernel/management.h"
#include "kernel/trap.h"
#include "kernel/user.h"
#include "kernel/world_memory.h"

enum { SYSCALL_INSTRUCTION_BYTES = 2 };

static bool is_world_address(uint64_t address)
{
    return address >= ABI_WORLD_BASE && address - ABI_WORLD_BASE < world_memory_pages_max() * ABI_PAGE_BYTES;
}

/* While the call is executed the registers stand before it, so that a freeze inside it takes a state that repeats the call. */
static void handle_call(struct node *node, struct user_registers *registers)
{
    const uint64_t arguments[4] = {registers->rdi, registers->rsi, registers->rdx, registers->r10};
    uint64_t result;
    registers->rip -= SYSCALL_INSTRUCTION_BYTES;
    if (node_world_call(node, registers->rax, arguments, &result)) {
        registers->rip += SYSCALL_INSTRUCTION_BYTES;
        registers->rax = result;
    }
}

/* The world is not to blame: it goes on where the machine is sound. */
static bool is_of_machine(const struct user_exit *exit)
{
    return exit->vector == TRAP_VECTOR_NMI || exit->vector == TRAP_VECTOR_DOUBLE_FAULT || exit->vector == TRAP_VECTOR_MACHINE_CHECK;
}

/* What the world's stay in ring 3 ended with. Interrupts have been handled already. */
static void handle_exit(struct node *node, struct user_registers *registers, const struct user_exit *exit)
{
    if (exit->vector == TRAP_VECTOR_SYSCALL) {
        handle_call(node, registers);
    } else if (exit->vector == TRAP_VECTOR_PAGE_FAULT && is_world_address(exit->address) && (exit->error & FAULT_RESERVED) == 0) {
        node_world_page_fault(node, exit->address, (exit->error & FAULT_WRITE) != 0, (exit->error & FAULT_FETCH) != 0);
    } else if (is_of_machine(exit)) {
        epitaph_write_and_reset("the processor reported a failure of this machine while the world ran");
    } else if (exit->vector < TRAP_VECTOR_FIRST) {
        char reason[FAULT_REASON_BYTES_MAX];
        user_describe_fault(registers, exit, reason);
        node_world_faulted(node, reason);
    }
}

static bool is_interrupt(const struct user_exit *exit)
{
    return exit->vector >= TRAP_VECTOR_FIRST && exit->vector != TRAP_VECTOR_SYSCALL;
}

/* Ring 3 until an interrupt (the timer is armed), or until the world cannot go on. */
static void run_world(struct node *node)
{
    struct user_registers *registers = (struct user_registers *)node_world_registers(node);
    for (unsigned traps = 0; traps < WORLD_TRAPS_PER_TURN_MAX; traps++) {
        struct user_exit exit = user_run(registers);
        if (is_interrupt(&exit)) {
            return;
        }
        handle_exit(node, registers, &exit);
        if (!node_world_runnable(node)) {
            return;
        }
    }
}

/* Tell everyone what has happened. Returns true if more is waiting already. */
static bool deliver(struct node *node)
{
    bool more = virtio_blk_poll();
    more |= net_poll();
    more |= serial_poll();
    more |= management_poll(node); /* after it has taken or sent something, the port must be looked at again */
    return more;
}

static uint64_t earliest(uint64_t a_ns, uint64_t b_ns)
{
    return a_ns < b_ns ? a_ns : b_ns;
}

static void tell_link_up(void *context, unsigned peer, unsigned lane)
{
    node_link_up(context, peer, lane);
}

static void tell_link_data(void *context, unsigned peer, unsigned lane, const void *data, size_t bytes)
{
    node_link_data(context, peer, lane, data, bytes);
}

static void tell_link_down(void *context, unsigned peer, unsigned lane)
{
    node_link_down(context, peer, lane);
}

static void tell_world_frame(void *context, const void *frame, size_t bytes)
{
    node_world_frame_received(context, frame, bytes);
}

static bool ask_majority(void *context)
{
    return node_majority(context);
}

enum status loop_start(struct node *node, const struct boot_config *boot)
{
    static struct net_events events = {
        .link_up = tell_link_up,
        .link_data = tell_link_data,
        .link_down = tell_link_down,
        .world_frame = tell_world_frame,
        .majority = ask_majority,
    };
    events.context = node;
    return net_start(boot, &events);
}

void loop_run(struct node *node)
{
    log_defer();
    for (;;) {
        uint64_t interrupts = trap_interrupt_count();
        bool more = deliver(node);
        node_tick(node);
        if (node_deadline_ns(node) <= timer_now_ns()) {
            node_tick(node); /* what the first one made due: dearer behind a turn of the world, which the timer would have to end */
        }
        net_flush();
        log_flush();
        /* A read or a probe has waited, and with its own interrupt another device's may have been taken. */
        more |= trap_interrupt_count() != interrupts;

        uint64_t now_ns = timer_now_ns();
        uint64_t deadline_ns = earliest(node_deadline_ns(node), net_next_deadline_ns());
        deadline_ns = earliest(deadline_ns, now_ns + LOOP_ROUND_NS_MAX);
        if (node_world_runnable(node)) {
            uint64_t least_until_ns = now_ns + WORLD_TURN_NS_MIN;
            timer_arm(more || deadline_ns < least_until_ns ? least_until_ns : deadline_ns);
            run_world(node);
        } else if (!more && deadline_ns > now_ns) {
            timer_arm(deadline_ns);
            processor_idle();
        }
    }
}
