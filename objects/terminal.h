/* The line editor of a session: MicroPython's, one state for each session.
 *
 * The editor keeps its state in one place; it is loaded while a session's thread edits and saved when that thread stops running, so
 * several sessions edit at once. */
#ifndef OBJECTS_TERMINAL_H
#define OBJECTS_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>

struct _vstr_t;

/* Per session, by its index (below SESSIONS_MAX). */
void terminal_load(unsigned index);
void terminal_save(unsigned index);
void terminal_mark(unsigned index);
void terminal_forget(unsigned index);

/* Everything below works on the loaded state. */

/* Show the prompt and edit what is to be appended to `line`. `indent`: lines of a block are indented for the user. */
void terminal_begin(struct _vstr_t *line, const char *prompt, bool indent);
/* A key; -1: go on, 0: the line is complete, else a control character that ends editing. Names of the running thread are completed. */
int terminal_key(int key);
/* A line that came complete, in place of what was edited. */
void terminal_whole_line(const char *text, size_t bytes);

#endif
