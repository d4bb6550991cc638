/* Waiting in calls of the runtime, for threads that run Python. */
#ifndef OBJECTS_WAITING_H
#define OBJECTS_WAITING_H

#include <stdbool.h>
#include <stdint.h>

/* thread_park, out of which KeyboardInterrupt is raised; raises RuntimeError where nothing may wait. */
bool world_park(const void *awaited, uint64_t deadline_ns);

/* May the running code wait? Not in the scheduler, in a finaliser, or in a scheduled callback, which run in whatever thread comes by. */
bool world_may_wait(void);

#endif
