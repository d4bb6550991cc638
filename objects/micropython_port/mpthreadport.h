/* MicroPython's threads on the world's green threads. */
#ifndef OBJECTS_MPTHREADPORT_H
#define OBJECTS_MPTHREADPORT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct mp_thread_mutex {
    bool locked;
} mp_thread_mutex_t;

#endif
