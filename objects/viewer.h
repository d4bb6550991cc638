/* Viewers: the connections to the world's port WORLD_PORT.
 *
 * The first line says what a connection is:
 *   session NAME              a line prompt: no escape sequences, no echo of what this viewer typed itself
 *   terminal NAME COLSxROWS   a raw terminal with line editing
 *   exec NAME BYTES           BYTES of Python source follow; it runs in the session's names, in a thread of its own; the answer is
 *                             `o LENGTH\n` and that many bytes of output, again and again, then `x 0\n` (it ended) or `x 1\n` (it raised)
 * anything else, or nothing for VIEWER_GREETING_MS: `session main` (a `session` line that comes later still counts). Byte 0x03 interrupts
 * the session's program; after the source of an exec, the exec. A new viewer is shown the last lines of the session.
 *
 * A line has VIEWER_LINE_BYTES_MAX bytes at most: a longer one is thrown away up to its end, and whoever waits for it is told by an exception.
 *
 * When there are VIEWERS_MAX, one whose client has closed its end gives way to a new one, else the one of which nothing was heard for longest, but
 * never an exec that runs. An exec whose source does not come on for VIEWER_SOURCE_MS is given up.
 *
 * A viewer's unread input is bounded by its TCP window. Output is sent from the session's ring as the connection takes it; a viewer
 * that falls behind further than the ring reaches is disconnected. */
#ifndef OBJECTS_VIEWER_H
#define OBJECTS_VIEWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct session;
struct viewer;

/* Open the port. Once, at birth. */
void viewers_init(void);

/* Send what is due, close what is over. Returns when it needs to be called again. */
uint64_t viewers_poll(uint64_t now_ns);

/* Something to send or to close has come up since. */
bool viewers_poll_is_due(void);

/* A session's stream has grown. */
void viewers_note_output(void);
/* The session begins to run something: an interrupt that came before, behind what it runs, counts. */
void viewers_look_for_interrupts(struct session *session);
/* The session waits at its prompt: what its viewers typed has been run. */
void viewers_line_ended(struct session *session);

/* --- For sessions */

enum viewer_input { VIEWER_INPUT_NONE, VIEWER_INPUT_KEY, VIEWER_INPUT_LINE, VIEWER_INPUT_TOO_LONG };

/* Take the next input of any of the session's viewers: a key of a terminal into *key, or a whole line into `line` (room for
 * VIEWER_LINE_BYTES_MAX) and *bytes, with the viewer that typed it. `keys`: lines too come as single bytes. Of a line that is too long
 * nothing is taken into `line`; NONE: what came was the rest of one. */
enum viewer_input viewers_take_input(struct session *session, bool keys, int *key, char *line, size_t *bytes,
                                     struct viewer **from);
bool viewers_input_waits(const struct session *session, bool keys);

/* The session ends: send its viewers what they take, and disconnect them. */
void viewers_detach(struct session *session);

/* Is one of the session's viewers a terminal? */
bool viewers_have_terminal(const struct session *session);

/* [from, to) of the stream is not shown to the viewer: it typed that itself. */
void viewer_skip(struct viewer *viewer, uint64_t from, uint64_t to);

/* Would appending `bytes` to the stream take output away from a viewer that has not had it? */
bool viewers_would_lose(const struct session *session, size_t bytes);
/* Send what the connections take now. */
void viewers_flush(struct session *session);
/* The shortest time that a lagging viewer may still hold up a printing thread. */
uint64_t viewers_lag_left_ns(const struct session *session, size_t bytes);
/* So much of it was used; those that have none left, and still lag, are disconnected. */
void viewers_lag_used(struct session *session, size_t bytes, uint64_t used_ns);

/* --- For exec (objects/repl.c) */

/* Output of the request's thread; waits while the connection takes nothing. Output for a client that has gone is dropped. */
void viewer_exec_write(struct viewer *viewer, const char *text, size_t bytes);
/* The request's thread can be interrupted from now on, and is when that was asked for before. */
void viewer_exec_begin(struct viewer *viewer);
/* The request is done. */
void viewer_exec_end(struct viewer *viewer, bool raised);

/* What viewers hold of the runtime's memory for the session. */
void viewers_mark(const struct session *session);

#endif
