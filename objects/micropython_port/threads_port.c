/* MicroPython's threads on the world's green threads (objects/threads.h). */
#include "py/mpthread.h"
#include "py/runtime.h"

#include "objects/abi_calls.h"
#include "objects/limits.h"
#include "objects/session.h"
#include "objects/threads.h"

/* What a new thread runs; in the heap, found by the collector through the thread's stack. */
struct thread_start {
    void *(*entry)(void *);
    void *argument;
};

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

mp_uint_t mp_thread_create(void *(*entry)(void *), void *argument, size_t *stack_bytes)
{
    *stack_bytes = THREAD_PYTHON_STACK_BYTES - ABI_PAGE_BYTES;
    struct thread_start *start = m_new_obj(struct thread_start);
    *start = (struct thread_start){.entry = entry, .argument = argument};
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
        (void)thread_park(mutex, ABI_NEVER);
        mp_handle_pending(true);
    }
    mutex->locked = true;
    return 1;
}

/* Giving up the interpreter lock is where threads take turns; not amid a collection, which may run finalisers. */
void mp_thread_mutex_unlock(mp_thread_mutex_t *mutex)
{
    if (mutex == &MP_STATE_VM(gil_mutex)) {
        if (thread_current() != NULL && MP_STATE_THREAD(gc_lock_depth) == 0 && thread_yield_is_due())
            thread_yield();
        return;
    }
    mutex->locked = false;
    threads_wake_all(mutex);
}
