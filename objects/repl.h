/* Running what users type: the read-evaluate-print loop of a session, and programs sent by `exec`. */
#ifndef OBJECTS_REPL_H
#define OBJECTS_REPL_H

#include <stddef.h>

struct session;
struct thread;
struct viewer;

/* New global names for a session: a dict with __name__. Waits for memory. */
void *repl_make_globals(void);

/* The loop of the session's foreground thread. */
_Noreturn void repl_run(struct session *session);

/* Run `source` (in the heap) in the session's names, in a thread of its own whose output goes to `viewer`. NULL: too many run. */
struct thread *repl_start_exec(struct session *session, struct viewer *viewer, char *source, size_t bytes);

#endif
