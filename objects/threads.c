#include "objects/threads.h"

#include <string.h>

#include "objects/abi_calls.h"
#include "objects/console.h"
#include "objects/limits.h"

/* At the low end of each stack: overwritten by a thread that went past it. */
#define STACK_CANARY 0x5afe57ac5afe57acull
#define STACK_CANARY_WORDS 8

void thread_switch_stacks(uintptr_t *save, uintptr_t load);
extern const char thread_first_steps;

static struct thread threads[THREADS_MAX];
static uint32_t kind_count[THREAD_KINDS];
static uint32_t last_number;
static struct thread *running;
static struct thread *queue_first, *queue_last;
static uintptr_t scheduler_stack_pointer;
static uint64_t next_deadline_ns = ABI_NEVER; /* of parked threads and of the poll hook, as of the last scheduling round */
static const struct threads_hooks *hooks;
static uint64_t resumed_seen;

uint64_t threads_commit_epoch;
const char threads_commit_event = 0, threads_resume_event = 0, threads_any_event = 0;

static const uint32_t kind_max[THREAD_KINDS] = {THREADS_SESSION_MAX, THREADS_EXEC_MAX, THREADS_PYTHON_MAX};

size_t threads_stack_bytes(void)
{
    return (size_t)(THREADS_SESSION_MAX + THREADS_EXEC_MAX) * THREAD_SESSION_STACK_BYTES
           + (size_t)THREADS_PYTHON_MAX * THREAD_PYTHON_STACK_BYTES;
}

size_t threads_init(uint8_t *base, size_t bytes, const struct threads_hooks *threads_hooks)
{
    CHECK(bytes >= threads_stack_bytes());
    uint8_t *at = base;
    for (unsigned i = 0; i < THREADS_MAX; i++) {
        struct thread *thread = &threads[i];
        thread->stack = at;
        thread->stack_bytes =
            i < THREADS_SESSION_MAX + THREADS_EXEC_MAX ? THREAD_SESSION_STACK_BYTES : THREAD_PYTHON_STACK_BYTES;
        at += thread->stack_bytes;
    }
    hooks = threads_hooks;
    resumed_seen = abi_info()->resumed;
    return (size_t)(at - base);
}

/* --- Run queue ------------------------------------------------------------------------------------------ */

static void queue_append(struct thread *thread)
{
    thread->state = THREAD_RUNNABLE;
    thread->next = NULL;
    if (queue_last != NULL)
        queue_last->next = thread;
    else
        queue_first = thread;
    queue_last = thread;
}

static struct thread *queue_take(void)
{
    struct thread *thread = queue_first;
    if (thread != NULL) {
        queue_first = thread->next;
        if (queue_first == NULL)
            queue_last = NULL;
        thread->next = NULL;
    }
    return thread;
}

/* --- Threads -------------------------------------------------------------------------------------------- */

static struct thread *free_slot(enum thread_kind kind)
{
    if (kind_count[kind] >= kind_max[kind])
        return NULL;
    unsigned first = kind == THREAD_PYTHON ? THREADS_SESSION_MAX + THREADS_EXEC_MAX : 0;
    unsigned end = kind == THREAD_PYTHON ? THREADS_MAX : THREADS_SESSION_MAX + THREADS_EXEC_MAX;
    for (unsigned i = first; i < end; i++) {
        if (threads[i].state == THREAD_FREE)
            return &threads[i];
    }
    return NULL;
}

struct thread *thread_create(enum thread_kind kind, void (*entry)(void *), void *argument, struct session *session)
{
    struct thread *thread = free_slot(kind);
    if (thread == NULL)
        return NULL;
    kind_count[kind]++;
    thread->kind = kind;
    thread->number = ++last_number;
    thread->session = session;
    thread->exec = NULL;
    thread->running = kind == THREAD_PYTHON;
    thread->ending = false;
    thread->callback_turns = 0;
    thread->outermost = NULL;
    thread->in_editor = false;
    thread->at_prompt = false;
    thread->prompt_bytes = 0;
    thread->language_state = NULL;
    thread->awaited = NULL;
    uint64_t *canary = (uint64_t *)(void *)thread->stack;
    for (unsigned i = 0; i < STACK_CANARY_WORDS; i++)
        canary[i] = STACK_CANARY;
    /* As thread_switch_stacks leaves a stack: r15 r14 r13 r12 rbx rbp, return address; then aligned for a call. */
    uintptr_t *top = (uintptr_t *)(void *)(thread->stack + thread->stack_bytes);
    *--top = 0;
    *--top = 0;
    *--top = (uintptr_t)&thread_first_steps;
    *--top = 0;
    *--top = 0;
    *--top = (uintptr_t)entry;
    *--top = (uintptr_t)argument;
    *--top = 0;
    *--top = 0;
    thread->stack_pointer = (uintptr_t)top;
    queue_append(thread);
    return thread;
}

struct thread *thread_current(void)
{
    return running;
}

static void check_canary(const struct thread *thread)
{
    const uint64_t *canary = (const uint64_t *)(const void *)thread->stack;
    for (unsigned i = 0; i < STACK_CANARY_WORDS; i++) {
        if (canary[i] != STACK_CANARY)
            world_stop("a thread of the world went past the end of its stack");
    }
}

/* From the running thread back to the scheduler. */
static void to_scheduler(struct thread *thread)
{
    thread_switch_stacks(&thread->stack_pointer, scheduler_stack_pointer);
}

void thread_yield(void)
{
    CHECK(running != NULL);
    queue_append(running);
    to_scheduler(running);
}

bool thread_yield_is_due(void)
{
    if (queue_first != NULL || abi_frame_waits() || abi_info()->resumed != resumed_seen || hooks->poll_is_due())
        return true;
    return threads_commit_epoch != 0 || (next_deadline_ns != ABI_NEVER && abi_clock() >= next_deadline_ns);
}

bool thread_park(const void *awaited, uint64_t deadline_ns)
{
    struct thread *thread = running;
    CHECK(thread != NULL);
    thread->state = THREAD_PARKED;
    thread->awaited = awaited;
    thread->deadline_ns = deadline_ns;
    thread->woken = false;
    to_scheduler(thread);
    thread->awaited = NULL;
    return thread->woken;
}

void thread_wake(struct thread *thread)
{
    if (thread->state == THREAD_PARKED) {
        thread->woken = true;
        queue_append(thread);
    }
}

void threads_wake_all(const void *awaited)
{
    for (unsigned i = 0; i < THREADS_MAX; i++) {
        if (threads[i].state == THREAD_PARKED && threads[i].awaited == awaited)
            thread_wake(&threads[i]);
    }
}

_Noreturn void thread_exit(void)
{
    struct thread *thread = running;
    CHECK(thread != NULL);
    thread->state = THREAD_FREE;
    kind_count[thread->kind]--;
    to_scheduler(thread);
    world_stop("a thread that ended was run again");
}

struct thread *threads_next(const struct thread *previous)
{
    unsigned i = previous == NULL ? 0 : (unsigned)(previous - threads) + 1;
    for (; i < THREADS_MAX; i++) {
        if (threads[i].state != THREAD_FREE)
            return &threads[i];
    }
    return NULL;
}

void thread_stack_range(const struct thread *thread, uintptr_t *low, uintptr_t *high)
{
    *low = thread->stack_pointer;
    *high = (uintptr_t)thread->stack + thread->stack_bytes;
}

uintptr_t threads_scheduler_stack_pointer(void)
{
    return scheduler_stack_pointer;
}

/* --- The scheduler -------------------------------------------------------------------------------------- */

/* Wake threads whose deadline has come; return the nearest deadline of the others. */
static uint64_t wake_due(uint64_t now_ns)
{
    uint64_t nearest = ABI_NEVER;
    for (unsigned i = 0; i < THREADS_MAX; i++) {
        struct thread *thread = &threads[i];
        if (thread->state != THREAD_PARKED)
            continue;
        if (thread->deadline_ns <= now_ns)
            queue_append(thread);
        else if (thread->deadline_ns < nearest)
            nearest = thread->deadline_ns;
    }
    return nearest;
}

static void wake_committed(void)
{
    if (threads_commit_epoch == 0)
        return;
    if (abi_call(ABI_CALL_COMMIT, threads_commit_epoch, 0, 0) != 0) {
        threads_commit_epoch = 0;
        threads_wake_all(&threads_commit_event);
    }
}

/* Wait in the kernel until there is something to do; `crowded`: that includes room in the transmit ring. Everything is held in registers: a
 * wake that brings nothing leaves no trace in memory. */
static __attribute__((noinline)) void wait_in_kernel(uint64_t deadline_ns, uint64_t resumed, uint64_t commit_epoch, bool crowded)
{
    do {
        (void)abi_call(ABI_CALL_WAIT, deadline_ns, resumed, commit_epoch);
    } while (!abi_frame_waits() && abi_info()->resumed == resumed && !(crowded && abi_transmit_room() >= ABI_FRAME_SLOTS_LOW)
             && (commit_epoch == 0 || abi_call(ABI_CALL_COMMIT, commit_epoch, 0, 0) == 0)
             && (deadline_ns == ABI_NEVER || abi_clock() < deadline_ns));
}

static void run(struct thread *thread)
{
    running = thread;
    hooks->enter(thread);
    thread_switch_stacks(&scheduler_stack_pointer, thread->stack_pointer);
    hooks->leave(thread);
    running = NULL;
    check_canary(thread);
}

_Noreturn void threads_run(void)
{
    for (;;) {
        if (abi_info()->resumed != resumed_seen) {
            resumed_seen = abi_info()->resumed;
            threads_wake_all(&threads_resume_event);
        }
        bool crowded = abi_transmit_room() < ABI_FRAME_SLOTS_LOW;
        uint64_t now_ns = abi_clock();
        uint64_t poll_due_ns = hooks->poll(now_ns);
        crowded = crowded || abi_transmit_room() < ABI_FRAME_SLOTS_LOW; /* the poll itself may have filled the ring */
        wake_committed();
        uint64_t thread_due_ns = wake_due(now_ns);
        uint64_t due_ns = poll_due_ns < thread_due_ns ? poll_due_ns : thread_due_ns;
        if (due_ns != next_deadline_ns)
            next_deadline_ns = due_ns;
        struct thread *thread = queue_take();
        if (thread != NULL)
            run(thread);
        else
            wait_in_kernel(due_ns, resumed_seen, threads_commit_epoch, crowded);
    }
}
