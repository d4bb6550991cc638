/* Sessions: named terminals that live in the world.
 *
 * A session has its own global names, its own loaded modules (so its own asyncio loop), its own line editor, and one thread that reads
 * lines and runs them: its foreground. What its threads print goes to its output stream, a ring that keeps the last
 * SESSION_REPLAY_BYTES; viewers (objects/viewer.h) follow the stream at their own pace. It runs on with nobody attached, until its user
 * ends it by SystemExit at the prompt.
 *
 * Bounds: SESSIONS_MAX sessions. A viewer may hold up a printing thread for VIEWER_LAG_MS in all until it has caught up; then it
 * is disconnected. Time in which nothing left the world, as its gate was shut, is not counted, and a resume begins the count anew. */
#ifndef OBJECTS_SESSION_H
#define OBJECTS_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "objects/limits.h"
#include "objects/memory.h"
#include "objects/threads.h"

struct session;

/* Letters, digits, '_', '-' and '.', 1 to SESSION_NAME_BYTES_MAX. */
bool session_name_is_valid(const char *name, size_t bytes);

/* The session of that name, made if there is none; NULL: the name is not valid, or SESSIONS_MAX is reached. */
struct session *session_find_or_create(const char *name, size_t bytes);

struct session *sessions_next(struct session *previous);
const char *session_name(const struct session *session);

/* The session of the running thread; NULL in the scheduler. */
struct session *session_current(void);

/* --- Output */

/* Append to the session's stream. From a thread: may hold it up for lagging viewers. */
void session_write(struct session *session, const char *text, size_t bytes);

/* Positions in the stream count bytes since the session began; [start, end) is in the ring. */
uint64_t session_stream_start(const struct session *session);
uint64_t session_stream_end(const struct session *session);
/* Where to begin so that the last `lines` lines are seen. */
uint64_t session_stream_replay(const struct session *session, unsigned lines);
/* The longest piece at `position` that lies in one run of the ring. */
size_t session_stream_piece(const struct session *session, uint64_t position, const char **piece);

/* --- Input and the foreground */

/* Something arrived for the session from a viewer: its reader looks again. */
void session_input_arrived(struct session *session);
/* Viewers have taken output: threads that were held up look again. */
void session_output_drained(struct session *session);
/* Ctrl-C: interrupt the foreground program. False: none runs (the prompt is waiting; the editor is to see the key). */
bool session_interrupt(struct session *session);
/* A line or program of the session is being run (not waiting at the prompt). */
bool session_is_busy(const struct session *session);
void session_set_busy(struct session *session, bool busy);

/* Raise KeyboardInterrupt in the thread, out of any wait. */
void session_interrupt_thread(struct thread *thread);

/* Read one line from the session's viewers into `line` (appended, without newline) for the running thread, with line editing for
 * terminals. One thread of a session reads at a time: the others wait until it has its line. Returns 0, or a control character (CHAR_CTRL_C, CHAR_CTRL_D, CHAR_CTRL_E) of an empty line. */
struct _vstr_t;
int session_read_line(struct session *session, struct _vstr_t *line, const char *prompt);
/* One byte of input, as it comes. */
int session_read_char(struct session *session);
bool session_input_waits(const struct session *session);

/* The session's global names, a dict; NULL until its thread has made it. */
void *session_globals(const struct session *session);

/* End the session of the running thread, its foreground: its names are forgotten, its viewers disconnected. Returns only when it cannot
 * be ended yet, because other threads of it run. */
void session_end(struct session *session);

/* --- For the scheduler and the collector */

void session_enter(struct thread *thread);
void session_leave(struct thread *thread);
/* Write what the runtime holds of the running session back into it. */
void session_save_current(void);
void session_mark(struct session *session);
struct memory_charge *session_charge(struct session *session);
const struct memory_charge *session_charge_const(const struct session *session);

/* Makes session `main`. Once, at birth. */
void sessions_init(void);

#endif
