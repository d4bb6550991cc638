/* A viewer's life: GREETING (no first line yet) -> PLAIN, TERMINAL or EXEC -> free. Callbacks of lwIP only record what happened;
 * connections are closed in viewers_poll, never inside a callback. */
#include "objects/viewer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lwip/pbuf.h>
#include <lwip/tcp.h>

#include "py/gc.h"
#include "py/runtime.h"

#include "objects/abi_calls.h"
#include "objects/console.h"
#include "objects/greeting.h"
#include "objects/limits.h"
#include "objects/repl.h"
#include "objects/session.h"

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
    bool closing;                   /* to be closed when what is queued has been handed to TCP */
    uint64_t greeting_deadline_ns;
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

static struct viewer viewers[VIEWERS_MAX];
static bool work_waits; /* something for viewers_poll */
static bool starved;    /* TCP had no memory for output: to be tried again */

/* --- The connection ------------------------------------------------------------------------------------- */

static void forget_input(struct viewer *viewer)
{
    if (viewer->input == NULL)
        return;
    if (viewer->connection != NULL)
        tcp_recved(viewer->connection, viewer->input->tot_len);
    pbuf_free(viewer->input);
    viewer->input = NULL;
}

/* Take the first `bytes` of the input away. */
static void consume_input(struct viewer *viewer, size_t bytes)
{
    if (viewer->connection != NULL)
        tcp_recved(viewer->connection, (u16_t)bytes);
    viewer->input = pbuf_free_header(viewer->input, (u16_t)bytes);
}

static void free_viewer(struct viewer *viewer)
{
    forget_input(viewer);
    if (viewer->thread != NULL)
        viewer->thread->exec = NULL;
    struct session *session = viewer->session;
    memset(viewer, 0, offsetof(struct viewer, output));
    if (session != NULL)
        session_output_drained(session);
    threads_wake_all(viewer);
}

static void close_connection(struct viewer *viewer)
{
    forget_input(viewer);
    struct tcp_pcb *connection = viewer->connection;
    viewer->connection = NULL;
    if (connection != NULL) {
        tcp_arg(connection, NULL);
        tcp_recv(connection, NULL);
        tcp_sent(connection, NULL);
        tcp_err(connection, NULL);
        if (tcp_close(connection) != ERR_OK)
            tcp_abort(connection);
    }
    free_viewer(viewer);
}

static void close_later(struct viewer *viewer)
{
    viewer->closing = true;
    work_waits = true;
}

/* Hand a short text to the connection, all or nothing. */
static bool send_text(struct viewer *viewer, const char *text, size_t bytes)
{
    if (viewer->connection == NULL || tcp_sndbuf(viewer->connection) < bytes)
        return false;
    return tcp_write(viewer->connection, text, (u16_t)bytes, TCP_WRITE_FLAG_COPY) == ERR_OK;
}

/* --- The first line -------------------------------------------------------------------------------------- */

static void refuse(struct viewer *viewer, const char *reason)
{
    char text[160];
    int bytes;
    if (viewer->kind == VIEWER_EXEC)
        bytes = snprintf(text, sizeof text, "o %u\n%s\nx 1\n", (unsigned)strlen(reason) + 1, reason);
    else
        bytes = snprintf(text, sizeof text, "%s\n", reason);
    (void)send_text(viewer, text, (size_t)bytes);
    close_later(viewer);
}

static void attach(struct viewer *viewer, struct session *session, unsigned lines)
{
    viewer->session = session;
    viewer->sent = session_stream_replay(session, lines < SESSION_REPLAY_LINES_MAX ? lines : SESSION_REPLAY_LINES_MAX);
    viewer->lag_left_ns = VIEWER_LAG_MS * NS_PER_MS;
    viewer->skip_count = 0;
    work_waits = true;
    session_input_arrived(session);
}

static void begin_exec(struct viewer *viewer, size_t bytes)
{
    if (bytes > EXEC_SOURCE_BYTES_MAX) {
        refuse(viewer, "the source is too long");
        return;
    }
    viewer->source = m_new_maybe(char, bytes + 1);
    viewer->source_bytes = bytes;
    if (viewer->source == NULL)
        refuse(viewer, "MemoryError: no memory for the source");
}

static void greet(struct viewer *viewer, const struct greeting *greeting)
{
    viewer->kind = greeting->kind == GREETING_TERMINAL ? VIEWER_TERMINAL
                   : greeting->kind == GREETING_EXEC   ? VIEWER_EXEC
                                                       : VIEWER_PLAIN;
    struct session *session = session_find_or_create(greeting->name, greeting->name_bytes);
    if (session == NULL) {
        refuse(viewer, session_name_is_valid(greeting->name, greeting->name_bytes)
                           ? "no session can be added: the world has as many as it may have"
                           : "a session's name is letters, digits, '_', '-' and '.', at most 32");
        return;
    }
    if (viewer->kind == VIEWER_EXEC) {
        viewer->session = session;
        begin_exec(viewer, greeting->bytes);
    } else {
        attach(viewer, session, greeting->rows);
    }
}

/* Look for the first line; without one at `late`, take session `main`. */
static void look_for_greeting(struct viewer *viewer, bool late)
{
    struct greeting greeting;
    char line[VIEWER_GREETING_BYTES_MAX];
    u16_t bytes = viewer->input == NULL ? 0 : pbuf_copy_partial(viewer->input, line, sizeof line, 0);
    const char *end = memchr(line, '\n', bytes);
    if (end == NULL && bytes < sizeof line && !late && !viewer->peer_closed)
        return;
    bool provisional = viewer->kind != VIEWER_GREETING;
    viewer->provisional = end == NULL && bytes < sizeof line;
    if (end != NULL && greeting_parse(line, (size_t)(end - line), &greeting)) {
        consume_input(viewer, (size_t)(end - line) + 1);
        greet(viewer, &greeting);
    } else if (!provisional) {
        greeting = (struct greeting){.kind = GREETING_SESSION, .name = "main", .name_bytes = 4, .rows = GREETING_ROWS};
        greet(viewer, &greeting);
    }
}

/* --- What arrives --------------------------------------------------------------------------------------- */

static void take_source(struct viewer *viewer)
{
    if (viewer->source == NULL || viewer->thread != NULL || viewer->source_filled > viewer->source_bytes)
        return;
    if (viewer->input != NULL) {
        size_t left = viewer->source_bytes - viewer->source_filled;
        u16_t bytes = pbuf_copy_partial(viewer->input, viewer->source + viewer->source_filled, (u16_t)(left < 0xffff ? left : 0xffff), 0);
        viewer->source_filled += bytes;
        if (bytes > 0)
            consume_input(viewer, bytes);
    }
    if (viewer->source_filled < viewer->source_bytes) {
        if (viewer->peer_closed)
            close_later(viewer);
        return;
    }
    char *source = viewer->source;
    viewer->source = NULL;
    viewer->thread = repl_start_exec(viewer->session, viewer, source, viewer->source_bytes);
    if (viewer->thread == NULL)
        refuse(viewer, "too many programs run at once");
}

/* Does the input hold the key that interrupts? Everything up to it is thrown away. */
static bool take_interrupt(struct viewer *viewer)
{
    bool found = false;
    for (;;) {
        u16_t at = viewer->input == NULL ? 0xffff : pbuf_memfind(viewer->input, "\x03", 1, 0);
        if (at == 0xffff)
            return found;
        found = true;
        consume_input(viewer, (size_t)at + 1);
    }
}

static void handle_interrupt(struct viewer *viewer)
{
    if (viewer->kind == VIEWER_EXEC) {
        if (viewer->thread != NULL && take_interrupt(viewer))
            session_interrupt_thread(viewer->thread);
        if (viewer->thread != NULL)
            forget_input(viewer);
    } else if (session_is_busy(viewer->session)) {
        if (take_interrupt(viewer))
            (void)session_interrupt(viewer->session);
    }
}

static void handle_input(struct viewer *viewer)
{
    if (viewer->kind == VIEWER_GREETING || viewer->provisional)
        look_for_greeting(viewer, false);
    if (viewer->kind == VIEWER_EXEC)
        take_source(viewer);
    if (viewer->kind == VIEWER_GREETING || viewer->session == NULL || viewer->closing)
        return;
    handle_interrupt(viewer);
    if (viewer->kind != VIEWER_EXEC)
        session_input_arrived(viewer->session);
}

static err_t received(void *argument, struct tcp_pcb *connection, struct pbuf *data, err_t error)
{
    struct viewer *viewer = argument;
    (void)connection;
    (void)error;
    work_waits = true;
    if (data == NULL)
        viewer->peer_closed = true;
    else if (viewer->input == NULL)
        viewer->input = data;
    else
        pbuf_cat(viewer->input, data);
    handle_input(viewer);
    return ERR_OK;
}

static err_t acknowledged(void *argument, struct tcp_pcb *connection, u16_t bytes)
{
    struct viewer *viewer = argument;
    (void)connection;
    (void)bytes;
    work_waits = true;
    threads_wake_all(viewer);
    return ERR_OK;
}

static void connection_lost(void *argument, err_t error)
{
    struct viewer *viewer = argument;
    (void)error;
    viewer->connection = NULL;
    free_viewer(viewer);
}

static err_t accepted(void *argument, struct tcp_pcb *connection, err_t error)
{
    (void)argument;
    if (error != ERR_OK || connection == NULL)
        return ERR_VAL;
    struct viewer *viewer = NULL;
    for (unsigned i = 0; i < VIEWERS_MAX && viewer == NULL; i++) {
        if (viewers[i].kind == VIEWER_FREE)
            viewer = &viewers[i];
    }
    if (viewer == NULL) {
        tcp_abort(connection);
        return ERR_ABRT;
    }
    viewer->kind = VIEWER_GREETING;
    viewer->connection = connection;
    viewer->greeting_deadline_ns = abi_clock() + VIEWER_GREETING_MS * NS_PER_MS;
    tcp_setprio(connection, TCP_PRIO_NORMAL - 1); /* gives way to a newer viewer only */
    tcp_nagle_disable(connection);
    tcp_arg(connection, viewer);
    tcp_recv(connection, received);
    tcp_sent(connection, acknowledged);
    tcp_err(connection, connection_lost);
    return ERR_OK;
}

void viewers_init(void)
{
    struct tcp_pcb *port = tcp_new();
    CHECK(port != NULL);
    CHECK(tcp_bind(port, IP_ADDR_ANY, WORLD_PORT) == ERR_OK);
    port = tcp_listen_with_backlog(port, VIEWERS_MAX);
    CHECK(port != NULL);
    tcp_accept(port, accepted);
}

/* --- Output of sessions ---------------------------------------------------------------------------------- */

void viewers_note_output(void)
{
    work_waits = true;
}

/* Leave out what the viewer typed itself: at a skipped range go past it, before one end the piece there. */
static size_t apply_skips(struct viewer *viewer, size_t bytes)
{
    while (viewer->skip_count > 0) {
        uint64_t from = viewer->skips[0].from, to = viewer->skips[0].to;
        if (viewer->sent < from)
            return from - viewer->sent < bytes ? (size_t)(from - viewer->sent) : bytes;
        viewer->skip_count--;
        memmove(viewer->skips, viewer->skips + 1, viewer->skip_count * sizeof viewer->skips[0]);
        if (viewer->sent < to) {
            viewer->sent = to;
            return 0;
        }
    }
    return bytes;
}

/* For a viewer without a terminal: no escape sequences, no carriage returns, no backspaces. Returns the bytes left. */
static size_t filter_text(struct viewer *viewer, const char *text, size_t bytes, char *filtered)
{
    size_t kept = 0;
    for (size_t i = 0; i < bytes; i++) {
        char c = text[i];
        if (viewer->escape == ESCAPE_BEGUN) {
            viewer->escape = c == '[' ? ESCAPE_SEQUENCE : ESCAPE_NONE;
        } else if (viewer->escape == ESCAPE_SEQUENCE) {
            if (c >= '@' && c <= '~')
                viewer->escape = ESCAPE_NONE;
        } else if (c == '\x1b') {
            viewer->escape = ESCAPE_BEGUN;
        } else if (c != '\r' && c != '\b') {
            filtered[kept++] = c;
        }
    }
    return kept;
}

/* Send one piece of the stream; false: nothing more goes now. */
static bool send_piece(struct viewer *viewer)
{
    static char filtered[1024];
    struct session *session = viewer->session;
    if (viewer->sent < session_stream_start(session))
        viewer->sent = session_stream_start(session);
    const char *piece;
    size_t bytes = session_stream_piece(session, viewer->sent, &piece);
    uint64_t before = viewer->sent;
    bytes = apply_skips(viewer, bytes);
    if (bytes == 0)
        return viewer->sent != before;
    size_t room = tcp_sndbuf(viewer->connection);
    if (bytes > room)
        bytes = room;
    if (viewer->kind == VIEWER_TERMINAL) {
        if (bytes == 0 || tcp_write(viewer->connection, piece, (u16_t)bytes, TCP_WRITE_FLAG_COPY) != ERR_OK) {
            starved = starved || bytes > 0;
            return false;
        }
    } else {
        if (bytes > sizeof filtered)
            bytes = sizeof filtered;
        enum escape_state escape = viewer->escape;
        size_t kept = filter_text(viewer, piece, bytes, filtered);
        if (bytes == 0 || (kept > 0 && tcp_write(viewer->connection, filtered, (u16_t)kept, TCP_WRITE_FLAG_COPY) != ERR_OK)) {
            viewer->escape = escape;
            starved = starved || bytes > 0;
            return false;
        }
    }
    viewer->sent += bytes;
    return true;
}

static void flush_viewer(struct viewer *viewer)
{
    if (viewer->connection == NULL || viewer->closing)
        return;
    uint64_t before = viewer->sent;
    while (viewer->sent < session_stream_end(viewer->session) && send_piece(viewer)) {
    }
    if (viewer->sent == before)
        return;
    (void)tcp_output(viewer->connection);
    if (viewer->sent == session_stream_end(viewer->session))
        viewer->lag_left_ns = VIEWER_LAG_MS * NS_PER_MS;
    session_output_drained(viewer->session);
}

void viewer_skip(struct viewer *viewer, uint64_t from, uint64_t to)
{
    if (viewer->skip_count == VIEWER_SKIPS_MAX)
        flush_viewer(viewer);
    if (viewer->skip_count < VIEWER_SKIPS_MAX) {
        viewer->skips[viewer->skip_count].from = from;
        viewer->skips[viewer->skip_count].to = to;
        viewer->skip_count++;
    }
}

static bool shows(const struct viewer *viewer, const struct session *session)
{
    return viewer->session == session && (viewer->kind == VIEWER_PLAIN || viewer->kind == VIEWER_TERMINAL);
}

void viewers_flush(struct session *session)
{
    for (unsigned i = 0; i < VIEWERS_MAX; i++) {
        if (shows(&viewers[i], session))
            flush_viewer(&viewers[i]);
    }
}

void viewers_detach(struct session *session)
{
    viewers_flush(session);
    for (unsigned i = 0; i < VIEWERS_MAX; i++) {
        if (viewers[i].session == session) {
            viewers[i].session = NULL;
            close_later(&viewers[i]);
        }
    }
}

static bool would_lose(const struct viewer *viewer, const struct session *session, size_t bytes)
{
    return shows(viewer, session) && !viewer->closing
           && session_stream_end(session) + bytes - viewer->sent > SESSION_REPLAY_BYTES;
}

bool viewers_would_lose(const struct session *session, size_t bytes)
{
    for (unsigned i = 0; i < VIEWERS_MAX; i++) {
        if (would_lose(&viewers[i], session, bytes))
            return true;
    }
    return false;
}

uint64_t viewers_lag_left_ns(const struct session *session, size_t bytes)
{
    uint64_t least = ABI_NEVER;
    for (unsigned i = 0; i < VIEWERS_MAX; i++) {
        if (would_lose(&viewers[i], session, bytes) && viewers[i].lag_left_ns < least)
            least = viewers[i].lag_left_ns;
    }
    return least;
}

void viewers_lag_used(struct session *session, size_t bytes, uint64_t used_ns)
{
    for (unsigned i = 0; i < VIEWERS_MAX; i++) {
        struct viewer *viewer = &viewers[i];
        if (!would_lose(viewer, session, bytes))
            continue;
        viewer->lag_left_ns -= used_ns < viewer->lag_left_ns ? used_ns : viewer->lag_left_ns;
        if (viewer->lag_left_ns == 0)
            close_later(viewer);
    }
}

/* --- Input for sessions ---------------------------------------------------------------------------------- */

/* Bytes of the viewer's first whole line with its newline; 0: there is none yet. */
static size_t whole_line_bytes(const struct viewer *viewer)
{
    u16_t at = pbuf_memfind(viewer->input, "\n", 1, 0);
    if (at != 0xffff)
        return (size_t)at + 1;
    if (viewer->peer_closed || viewer->input->tot_len >= VIEWER_LINE_BYTES_MAX)
        return viewer->input->tot_len;
    return 0;
}

static size_t take_line(struct viewer *viewer, char *line)
{
    size_t whole = whole_line_bytes(viewer);
    size_t bytes = whole < VIEWER_LINE_BYTES_MAX ? whole : VIEWER_LINE_BYTES_MAX;
    (void)pbuf_copy_partial(viewer->input, line, (u16_t)bytes, 0);
    consume_input(viewer, whole);
    work_waits = true;
    if (bytes > 0 && line[bytes - 1] == '\n')
        bytes--;
    if (bytes > 0 && line[bytes - 1] == '\r')
        bytes--;
    return bytes;
}

static bool has_input(const struct viewer *viewer, const struct session *session, bool keys)
{
    if (!shows(viewer, session) || viewer->closing || viewer->input == NULL)
        return false;
    return keys || viewer->kind == VIEWER_TERMINAL || pbuf_get_at(viewer->input, 0) == KEY_INTERRUPT || whole_line_bytes(viewer) > 0;
}

bool viewers_input_waits(const struct session *session, bool keys)
{
    for (unsigned i = 0; i < VIEWERS_MAX; i++) {
        if (has_input(&viewers[i], session, keys))
            return true;
    }
    return false;
}

bool viewers_have_terminal(const struct session *session)
{
    for (unsigned i = 0; i < VIEWERS_MAX; i++) {
        if (viewers[i].kind == VIEWER_TERMINAL && viewers[i].session == session)
            return true;
    }
    return false;
}

enum viewer_input viewers_take_input(struct session *session, bool keys, int *key, char *line, size_t *bytes,
                                     struct viewer **from)
{
    for (unsigned i = 0; i < VIEWERS_MAX; i++) {
        struct viewer *viewer = &viewers[i];
        if (!has_input(viewer, session, keys))
            continue;
        *from = viewer;
        uint8_t first = pbuf_get_at(viewer->input, 0);
        if (viewer->kind == VIEWER_TERMINAL || keys || first == KEY_INTERRUPT) {
            *key = first;
            consume_input(viewer, 1);
            work_waits = true;
            return VIEWER_INPUT_KEY;
        }
        *bytes = take_line(viewer, line);
        return VIEWER_INPUT_LINE;
    }
    return VIEWER_INPUT_NONE;
}

/* --- Exec ----------------------------------------------------------------------------------------------- */

/* Frame what was gathered; false: the connection does not take it now. */
static bool exec_flush(struct viewer *viewer)
{
    if (viewer->output_bytes == 0)
        return true;
    char head[24];
    int head_bytes = snprintf(head, sizeof head, "o %u\n", (unsigned)viewer->output_bytes);
    if (tcp_sndbuf(viewer->connection) < (size_t)head_bytes + viewer->output_bytes
        || tcp_sndqueuelen(viewer->connection) + 8 > TCP_SND_QUEUELEN)
        return false;
    if (tcp_write(viewer->connection, head, (u16_t)head_bytes, TCP_WRITE_FLAG_COPY | TCP_WRITE_FLAG_MORE) != ERR_OK)
        return false;
    if (tcp_write(viewer->connection, viewer->output, (u16_t)viewer->output_bytes, TCP_WRITE_FLAG_COPY) != ERR_OK) {
        close_later(viewer); /* the head is out: what follows would be nonsense */
        return false;
    }
    viewer->output_bytes = 0;
    (void)tcp_output(viewer->connection);
    return true;
}

/* Is the request's client still there? */
static bool exec_lives(const struct viewer *viewer)
{
    const struct thread *thread = thread_current();
    return thread != NULL && thread->exec == viewer && viewer->connection != NULL && !viewer->closing;
}

/* A finaliser must not wait: what it prints beyond the buffer is lost. */
static bool exec_may_wait(void)
{
    return (MP_STATE_THREAD(gc_lock_depth) & GC_COLLECT_FLAG) == 0;
}

static bool exec_flush_waiting(struct viewer *viewer)
{
    while (exec_lives(viewer) && !exec_flush(viewer)) {
        if (!exec_may_wait())
            return false;
        (void)thread_park(viewer, abi_clock() + NETWORK_MEMORY_RETRY_MS * NS_PER_MS);
    }
    return true;
}

void viewer_exec_write(struct viewer *viewer, const char *text, size_t bytes)
{
    while (bytes > 0 && exec_lives(viewer)) {
        size_t room = EXEC_OUTPUT_BYTES - viewer->output_bytes;
        if (room == 0) {
            if (!exec_flush_waiting(viewer))
                return;
            continue;
        }
        size_t part = bytes < room ? bytes : room;
        memcpy(viewer->output + viewer->output_bytes, text, part);
        viewer->output_bytes += part;
        text += part;
        bytes -= part;
        work_waits = true;
    }
}

void viewer_exec_end(struct viewer *viewer, bool raised)
{
    const char *end = raised ? "x 1\n" : "x 0\n";
    (void)exec_flush_waiting(viewer);
    while (exec_lives(viewer) && !send_text(viewer, end, strlen(end)))
        (void)thread_park(viewer, abi_clock() + NETWORK_MEMORY_RETRY_MS * NS_PER_MS);
    if (!exec_lives(viewer))
        return;
    viewer->thread->exec = NULL;
    viewer->thread = NULL;
    close_later(viewer);
}

void viewers_mark(const struct session *session)
{
    for (unsigned i = 0; i < VIEWERS_MAX; i++) {
        if (viewers[i].session == session && viewers[i].source != NULL)
            memory_mark(&viewers[i].source, &viewers[i].source + 1);
    }
}

/* --- The poll ------------------------------------------------------------------------------------------- */

/* A viewer whose peer has closed its side stays until its lines have been run and their output was sent. */
static bool is_over(const struct viewer *viewer)
{
    if (viewer->closing)
        return true;
    if (!viewer->peer_closed || viewer->kind == VIEWER_EXEC)
        return false;
    if (viewer->kind == VIEWER_TERMINAL)
        return true;
    return viewer->kind == VIEWER_PLAIN && viewer->input == NULL && !session_is_busy(viewer->session)
           && viewer->sent == session_stream_end(viewer->session);
}

static void poll_viewer(struct viewer *viewer, uint64_t now_ns)
{
    if (viewer->kind == VIEWER_GREETING && now_ns >= viewer->greeting_deadline_ns)
        look_for_greeting(viewer, true);
    if (viewer->kind == VIEWER_EXEC && !viewer->closing)
        (void)exec_flush(viewer);
    if ((viewer->kind == VIEWER_PLAIN || viewer->kind == VIEWER_TERMINAL) && !viewer->closing)
        flush_viewer(viewer);
    if (viewer->kind != VIEWER_FREE && is_over(viewer))
        close_connection(viewer);
}

uint64_t viewers_poll(uint64_t now_ns)
{
    uint64_t due_ns = ABI_NEVER;
    bool work = work_waits || starved;
    if (work)
        work_waits = starved = false;
    for (unsigned i = 0; i < VIEWERS_MAX; i++) {
        struct viewer *viewer = &viewers[i];
        if (viewer->kind == VIEWER_FREE)
            continue;
        bool greeting_due = viewer->kind == VIEWER_GREETING && now_ns >= viewer->greeting_deadline_ns;
        if (work || greeting_due)
            poll_viewer(viewer, now_ns);
        if (viewer->kind == VIEWER_GREETING && viewer->greeting_deadline_ns < due_ns)
            due_ns = viewer->greeting_deadline_ns;
    }
    if (starved && now_ns + NETWORK_MEMORY_RETRY_MS * NS_PER_MS < due_ns)
        due_ns = now_ns + NETWORK_MEMORY_RETRY_MS * NS_PER_MS;
    return due_ns;
}
