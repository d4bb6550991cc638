/* MicroPython's threads on the world's green threads. */
#ifndef OBJECTS_MPTHREADPORT_H
#define OBJECTS_MPTHREADPORT_H

#include <stdbool.h>
#include <stddef.h>

struct mutex_waiter;

/* Who gives it back hands it over to who waits longest: it stays locked. */
typedef struct mp_thread_mutex {
    bool locked;
    struct mutex_waiter *first; /* of those who wait */
} mp_thread_mutex_t;

static inline bool mp_thread_mutex_locked(const mp_thread_mutex_t *mutex)
{
    return mutex->locked;
}

/* Lock within so many milliseconds (-1: no limit); false: somebody else still has it. May raise, as each wait may. */
bool mp_thread_mutex_lock_ms(mp_thread_mutex_t *mutex, unsigned long timeout_ms);

#endif
