/* One node's management port, seen from the host: a queue of commands, answered in order, each with a deadline.
 *
 * Used by the background process, which owns the ports as long as it lives (a port takes one client at a time), and by a command when
 * there is none. Nothing blocks. The other end is not trusted and may be a machine that boots, hangs or was replaced: before a
 * command is sent, the line is *synchronised* by a ping with a fresh number, and everything before its pong is thrown away.
 *
 *   DOWN            no connection; attempted again and again
 *   SYNCHRONISING   connected; waits for the pong. After a while another ping follows, with growing pauses
 *   READY           the next command may be sent; one is under way at a time
 *
 * DOWN -> SYNCHRONISING (link_connect) -> READY (take_line) -> SYNCHRONISING (a deadline passed, or raw bytes were sent)
 * any -> DOWN (the connection ended; a command under way completes with CLOSED) */
#ifndef EIDOLON_LAB_MANAGEMENT_H
#define EIDOLON_LAB_MANAGEMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster-sim/lab_cluster.h"
#include "cluster-sim/lab_limits.h"
#include "cluster-sim/lab_poll.h"
#include "include/status.h"

enum management_link_state { MANAGEMENT_DOWN, MANAGEMENT_SYNCHRONISING, MANAGEMENT_READY };

struct management_request {
    uint8_t bytes[LAB_RAW_BYTES_MAX + 1];
    size_t bytes_count;
    bool raw;                        /* not a command: send as it is, then synchronise */
    bool sent;
    uint64_t deadline_ms;
    uint64_t ticket;                 /* the caller's name for it */
};

struct management_link {
    unsigned node;
    int descriptor;
    int poll_index;
    enum management_link_state state;
    uint64_t ping_number;            /* of the last ping sent */
    bool pong_seen;
    uint64_t next_attempt_ms;        /* DOWN: to connect; SYNCHRONISING: to ping again */
    unsigned ping_pause_ms;
    struct management_request requests[LAB_REQUESTS_MAX];
    unsigned request_first;
    unsigned request_count;
    char line[1024];                 /* of the answer; a longer one is cut */
    size_t line_bytes;
    char answer[MANAGEMENT_ANSWER_BYTES_MAX + 1];
    size_t answer_bytes;
    bool answer_too_long;
    char output[2 * LAB_RAW_BYTES_MAX];
    size_t output_bytes;
    /* A request is over. OK: `answer` holds all lines of the node's answer with the last one (`ok` or `error …`), borrowed.
     * TIMED_OUT: no (whole) answer by the deadline. CLOSED: the connection ended meanwhile. FULL: the answer was too long. */
    void (*done)(void *context, unsigned node, uint64_t ticket, enum status status, const char *answer);
    void *context;
};

void management_init(struct management_link *link, unsigned node, void (*done)(void *, unsigned, uint64_t, enum status, const char *),
                     void *context);
void management_close(struct management_link *link);

/* Queue a command line (without newline), to be answered by `deadline_ms` of clock_ms. FULL: LAB_REQUESTS_MAX wait already.
 * INVALID: it is longer than MANAGEMENT_LINE_BYTES_MAX or has a newline in it. */
MUST_CHECK enum status management_submit(struct management_link *link, const char *command, uint64_t deadline_ms, uint64_t ticket);

/* Queue any bytes (at most LAB_RAW_BYTES_MAX); over when the port has answered a ping after them. FULL, INVALID: as above. */
MUST_CHECK enum status management_submit_raw(struct management_link *link, const uint8_t *bytes, size_t count, uint64_t deadline_ms,
                                             uint64_t ticket);

void management_fill(struct management_link *link, struct poll_set *set, uint64_t now_ms);
void management_serve(struct management_link *link, const struct poll_set *set, uint64_t now_ms);

#endif
