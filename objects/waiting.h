/* Waiting in calls of the runtime, for threads that run Python. */
#ifndef OBJECTS_WAITING_H
#define OBJECTS_WAITING_H

#include <stdbool.h>
#include <stdint.h>

/* thread_park, out of which KeyboardInterrupt is raised; raises RuntimeError in a finaliser, which must not wait. */
bool world_park(const void *awaited, uint64_t deadline_ns);

#endif
