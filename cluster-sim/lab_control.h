/* The command's side of the control socket of the background process (requests: lab_background.h). Works in the cluster's folder. */
#ifndef EIDOLON_LAB_CONTROL_H
#define EIDOLON_LAB_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster-sim/lab_cluster.h"
#include "cluster-sim/lab_limits.h"
#include "include/status.h"

struct control_call {
    int descriptor;                                  /* -1: over */
    enum status status;                              /* of the call, when it is over */
    char text[LAB_CONTROL_ANSWER_BYTES_MAX + 1];     /* answer lines without the last one */
    size_t bytes;
    char sentence[512];                              /* what an `error` line said, or why there is none */
};

/* Send `request` (without newline). The call is over at once if that fails: CLOSED, there is no background process. */
void control_call_start(struct control_call *call, const char *request);

/* Wait until all `count` calls are over or clock_ms() is `deadline_ms`; those that are not become TIMED_OUT. */
void control_calls_wait(struct control_call *calls, unsigned count, uint64_t deadline_ms);

/* One call from start to end. OK: `ok`. CLOSED: no background process. TIMED_OUT: no answer in `within_ms`. Otherwise the status
 * that the answer named. */
MUST_CHECK enum status control_request(struct control_call *call, unsigned within_ms, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Is the background process there, and does it answer? */
MUST_CHECK bool control_alive(void);

/* As control_request, and on failure say that `what` failed, why, and what to do; for requests that only the background process serves. */
MUST_CHECK enum outcome control_ask(const struct cluster *cluster, struct control_call *call, const char *what, const char *request);

#endif
