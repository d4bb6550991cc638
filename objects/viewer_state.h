/* What the files of the viewer module share: viewer.c (connections, first lines, what arrives, the poll), viewer_stream.c (a session's output
 * and input), viewer_exec.c (output of exec). Included by them only. */
#ifndef OBJECTS_VIEWER_STATE_H
#define OBJECTS_VIEWER_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lwip/pbuf.h>
#include <lwip/tcp.h>

#include "objects/limits.h"

#define KEY_INTERRUPT 0x03
#define NS_PER_MS 1000000ull

enum viewer_kind { VIEWER_FREE, VIEWER_GREETING, VIEWER_PLAIN, VIEWER_TERMINAL, VIEWER_EXEC };
enum escape_state { ESCAPE_NONE, ESCAPE_BEGUN, ESCAPE_SEQUENCE };

struct viewer {
    enum viewer_kind kind;
    struct tcp_pcb *connection;     /* NULL: it has gone */
    struct pbuf *input;             /* arrived, not taken yet */
    bool provisional;               /* no first line came in time: a `session` line may still follow */
    bool peer_closed;               /* nothing more will arrive */
    bool discards;                  /* up to the next newline: the line is too long */
    bool returned;                  /* a terminal's last key was Enter: a newline behind it is a part of that */
    bool line_runs;                 /* a line that it typed is being run */
    uint64_t heard_ns;              /* when something last came from the peer: input, or that it has taken output */
    bool closing;                   /* to be closed when what is queued has been handed to TCP */
    uint64_t deadline_ns;           /* of the first line, or of the next part of an exec's source */
    struct session *session;
    uint64_t sent;                  /* position in the session's stream */
    uint64_t lag_left_ns;
    enum escape_state escape;       /* of the filter for viewers without a terminal */
    struct {
        uint64_t from, to;
    } skips[VIEWER_SKIPS_MAX];
    unsigned skip_count;
    /* exec */
    char *source;                   /* in the heap */
    size_t source_bytes, source_filled;
    struct thread *thread;          /* runs it; NULL before and after */
    size_t output_bytes;
    char output[EXEC_OUTPUT_BYTES];
};

extern struct viewer viewers[VIEWERS_MAX];
extern bool viewers_work_waits; /* something for viewers_poll */
extern bool viewers_starved;    /* TCP had no memory for output: to be tried again */

/* Take the first `bytes` of the input away. */
void viewer_consume_input(struct viewer *viewer, size_t bytes);
/* Close it at the next poll, after what was handed to TCP. */
void viewer_close_later(struct viewer *viewer);
/* Hand a short text to the connection, all or nothing. */
bool viewer_send_text(struct viewer *viewer, const char *text, size_t bytes);
/* Send of the session's stream what the connection takes. */
void viewer_flush(struct viewer *viewer);
/* Frame what the exec has printed; false: the connection does not take it now. */
bool viewer_exec_flush(struct viewer *viewer);

#endif
