/* How a command ends: the exit codes, which are a contract, and the one way to say what went wrong.
 *
 * A function of the command that can fail returns `enum outcome`. Whoever finds the failure says it at once, with outcome_fail:
 * what failed, why, and what to do. Its callers only pass the code on. Called by every file of the command. */
#ifndef EIDOLON_LAB_OUTCOME_H
#define EIDOLON_LAB_OUTCOME_H

#include "include/status.h"

enum outcome {
    OUTCOME_OK = 0,
    OUTCOME_FAILED = 1,
    OUTCOME_USAGE = 2,
    OUTCOME_DEGRADED = 3,
    OUTCOME_NO_QUORUM = 4,
    OUTCOME_TIMED_OUT = 5,
    OUTCOME_NOT_FOUND = 6,      /* no such cluster or node */
};

/* Print `eidolon: ` and the formatted sentence to stderr; returns `code`. */
__attribute__((format(printf, 2, 3))) enum outcome outcome_fail(enum outcome code, const char *format, ...);

/* Print a line of progress to stderr. */
__attribute__((format(printf, 1, 2))) void progress(const char *format, ...);

/* How the user called the command, quoted for a shell if it must be: for lines that can be typed as they stand. Set once by main. */
void command_name_set(const char *name);
const char *command_name(void);

#endif
