/* MicroPython's threads on the world's green threads (objects/threads.h). */
#include "py/mpthread.h"
#include "py/runtime.h"

#include "objects/abi_calls.h"
#include "objects/limits.h"
#include "objects/session.h"
#include "objects/threads.h"
#include "objects/waiting.h"

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

static void take_turns(void)
{
    world_turn_left = THREAD_TURN_BRANCHES;
    if (amid_collection()) {
        bound_finaliser();
    } else if (thread_current() != NULL) {
        finaliser_turns = 0;
        if (thread_yield_is_due())
            thread_yield();
    }
}

void world_turn_ended(void)
{
    take_turns();
}

void world_turn_ended_in_c(void)
{
    take_turns();
    if (!amid_collection())
        mp_handle_pending(true);
}

bool world_park(const void *awaited, uint64_t deadline_ns)
{
    if (thread_current() == NULL || amid_collection())
        mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("a finaliser cannot wait"));
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
}

int mp_thread_mutex_lock(mp_thread_mutex_t *mutex, int wait)
{
    if (mutex == &MP_STATE_VM(gil_mutex))
        return 1;
    while (mutex->locked) {
        if (!wait)
            return 0;
        world_park(mutex, ABI_NEVER);
    }
    mutex->locked = true;
    return 1;
}

void mp_thread_mutex_unlock(mp_thread_mutex_t *mutex)
{
    if (mutex == &MP_STATE_VM(gil_mutex))
        return;
    mutex->locked = false;
    threads_wake_all(mutex);
}
