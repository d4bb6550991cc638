/* The user's end of a session: an interactive terminal, and one piece of source to run. Both are plain TCP connections to the world's
 * port 7000 through the forward; a takeover does not end them. */
#ifndef EIDOLON_LAB_TERMINAL_H
#define EIDOLON_LAB_TERMINAL_H

#include "cluster-sim/lab_cluster.h"

/* Attach this terminal to `session` (NULL: main) until Ctrl-] or the connection ends. Protocol: the first line `terminal NAME COLSxROWS`,
 * then bytes both ways. FAILED: the connection ended, or standard input is no terminal; said. */
MUST_CHECK enum outcome terminal_attach(const struct cluster *cluster, const char *session);

/* Run `source` (`-`: standard input) in `session` (NULL: main) and print what it prints. Protocol: the line `exec NAME BYTES` and the
 * source; the answer is frames `o LENGTH` with that many bytes, and last `x 0` or `x 1`. Timeout 0: none.
 * FAILED: the source raised an exception (its trace is printed), or the connection ended. TIMED_OUT: said. */
MUST_CHECK enum outcome terminal_exec(const struct cluster *cluster, const char *session, const char *source, unsigned timeout_s);

#endif
