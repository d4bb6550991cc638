/* MicroPython's threads on the world's green threads (objects/threads.h). */
#include <limits.h>

#include "py/mpthread.h"
#include "py/runtime.h"

#include "objects/abi_calls.h"
#include "objects/console.h"
#include "objects/limits.h"
#include "objects/session.h"
#include "objects/threads.h"
#include "objects/waiting.h"

#define NS_PER_MS 1000000ull

/* What a new thread runs; in the heap, found by the collector through the thread's stack. */
struct thread_start {
    void *(*entry)(void *);
    void *argument;
};

int world_turn_left = THREAD_TURN_BRANCHES;
static unsigned finaliser_turns;

static bool amid_collection(void)
{
    return (MP_STATE_THREAD(gc_lock_depth) & GC_COLLECT_FLAG) != 0;
}

/* Amid a collection a finaliser runs: nobody else may, and it must come to an end. */
static void bound_finaliser(void)
{
    if (++finaliser_turns < FINALISER_TURNS_MAX)
        return;
    finaliser_turns = 0;
    mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("the finaliser ran too long"));
}

/* A callback runs in whatever thread comes by, and all others wait for it: past its bound it has no step without an exception. */
static void bound_callback(struct thread *thread)
{
    if (thread->callback_turns == 0 || ++thread->callback_turns <= CALLBACK_TURNS_MAX)
        return;
    world_turn_left = 0;
    mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("the callback ran too long"));
}

void world_call_back(mp_obj_t function, mp_obj_t argument)
{
    struct thread *thread = thread_current();
    CHECK(thread != NULL);
    nlr_buf_t nlr;
    thread->callback_turns = 1;
    if (nlr_push(&nlr) == 0) {
        (void)mp_call_function_1(function, argument);
        nlr_pop();
    } else {
        thread->callback_turns = 1;
        mp_obj_print_protected(&mp_plat_print, MP_OBJ_FROM_PTR(nlr.ret_val), PRINT_EXC);
    }
    thread->callback_turns = 0;
}

/* A program that is to end has no other turn than to be interrupted, whatever it catches; but not what tells in its outermost call how it ended. */
static void go_on_ending(void)
{
    struct thread *thread = thread_current();
    const nlr_buf_t *handler = MP_STATE_THREAD(nlr_top);
    if (thread == NULL || !thread->ending || handler == NULL || handler == thread->outermost || handler->prev == thread->outermost)
        return;
    world_turn_left = 0;
    session_interrupt_thread(thread);
}

static void take_turns(void)
{
    world_turn_left = THREAD_TURN_BRANCHES;
    if (amid_collection()) {
        bound_finaliser();
    } else if (thread_current() != NULL) {
        finaliser_turns = 0;
        if (thread_yield_is_due())
            thread_yield();
        bound_callback(thread_current());
        go_on_ending();
    }
}

void world_turn_ended(void)
{
    take_turns();
}

void world_turn_ended_in_c(void)
{
    take_turns();
    if (!amid_collection() && MP_STATE_THREAD(nlr_top) != NULL) /* else nobody would catch it: it waits */
        mp_handle_pending(true);
}

bool world_may_wait(void)
{
    return thread_current() != NULL && !amid_collection() && thread_current()->callback_turns == 0;
}

bool world_park(const void *awaited, uint64_t deadline_ns)
{
    if (!world_may_wait())
        mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("a finaliser or a callback cannot wait"));
    go_on_ending();
    mp_handle_pending(true);
    bool woken = thread_park(awaited, deadline_ns);
    mp_handle_pending(true);
    return woken;
}

mp_state_thread_t *mp_thread_get_state(void)
{
    struct thread *thread = thread_current();
    return thread == NULL ? &mp_state_ctx.thread : thread->language_state;
}

void mp_thread_set_state(mp_state_thread_t *state)
{
    thread_current()->language_state = state;
}

mp_uint_t mp_thread_get_id(void)
{
    struct thread *thread = thread_current();
    return thread == NULL ? 0 : thread->number;
}

static void run_thread(void *argument)
{
    struct thread_start start = *(struct thread_start *)argument;
    (void)start.entry(start.argument);
}

static unsigned threads_of(const struct session *session)
{
    unsigned count = 0;
    for (const struct thread *thread = threads_next(NULL); thread != NULL; thread = threads_next(thread))
        count += thread->session == session && thread->kind == THREAD_PYTHON;
    return count;
}

mp_uint_t mp_thread_create(void *(*entry)(void *), void *argument, size_t *stack_bytes)
{
    *stack_bytes = THREAD_PYTHON_STACK_BYTES - ABI_PAGE_BYTES;
    struct thread_start *start = m_new_obj(struct thread_start);
    *start = (struct thread_start){.entry = entry, .argument = argument};
    if (threads_of(session_current()) >= THREADS_PYTHON_SESSION_MAX)
        mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("can't start a new thread: the session has as many as it may have"));
    struct thread *thread = thread_create(THREAD_PYTHON, run_thread, start, session_current());
    if (thread == NULL)
        mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("can't start a new thread: the world has as many as it may have"));
    return thread->number;
}

void mp_thread_start(void)
{
}

void mp_thread_finish(void)
{
}

void mp_thread_mutex_init(mp_thread_mutex_t *mutex)
{
    mutex->locked = false;
    mutex->first = NULL;
}

/* On the stack of the thread that waits, which is parked for its address. */
struct mutex_waiter {
    struct mutex_waiter *next;
    bool has_it;
};

static void queue_waiter(mp_thread_mutex_t *mutex, struct mutex_waiter *waiter)
{
    struct mutex_waiter **link = &mutex->first;
    while (*link != NULL)
        link = &(*link)->next;
    *link = waiter;
}

static void unqueue_waiter(mp_thread_mutex_t *mutex, const struct mutex_waiter *waiter)
{
    struct mutex_waiter **link = &mutex->first;
    while (*link != waiter)
        link = &(*link)->next;
    *link = waiter->next;
}

/* True: the waiter got the mutex. False: the deadline came, it waits no longer. When it is interrupted it neither has it nor waits. */
static bool wait_for_mutex(mp_thread_mutex_t *mutex, uint64_t deadline_ns)
{
    volatile struct mutex_waiter own = {.next = NULL, .has_it = false};
    struct mutex_waiter *waiter = (struct mutex_waiter *)(uintptr_t)&own;
    queue_waiter(mutex, waiter);
    nlr_buf_t interrupted;
    if (nlr_push(&interrupted) == 0) {
        while (!own.has_it && abi_clock() < deadline_ns)
            (void)world_park(waiter, deadline_ns);
        nlr_pop();
        if (!own.has_it)
            unqueue_waiter(mutex, waiter);
        return own.has_it;
    }
    if (own.has_it)
        mp_thread_mutex_unlock(mutex);
    else
        unqueue_waiter(mutex, waiter);
    nlr_jump(interrupted.ret_val);
}

bool mp_thread_mutex_lock_ms(mp_thread_mutex_t *mutex, unsigned long timeout_ms)
{
    if (!mutex->locked) {
        mutex->locked = true;
        return true;
    }
    if (timeout_ms == 0)
        return false;
    return wait_for_mutex(mutex, timeout_ms > (UINT64_MAX / 2) / NS_PER_MS ? ABI_NEVER : abi_clock() + timeout_ms * NS_PER_MS);
}

int mp_thread_mutex_lock(mp_thread_mutex_t *mutex, int wait)
{
    return mutex == &MP_STATE_VM(gil_mutex) || mp_thread_mutex_lock_ms(mutex, wait ? ULONG_MAX : 0);
}

void mp_thread_mutex_unlock(mp_thread_mutex_t *mutex)
{
    if (mutex == &MP_STATE_VM(gil_mutex))
        return;
    struct mutex_waiter *heir = mutex->first;
    if (heir == NULL) {
        mutex->locked = false;
        return;
    }
    mutex->first = heir->next;
    heir->has_it = true;
    threads_wake_all(heir);
}
