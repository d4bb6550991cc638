/* A viewer's life: GREETING (no first line yet) -> PLAIN, TERMINAL or EXEC -> free. Callbacks of lwIP only record what happened;
 * connections are closed in viewers_poll, never inside a callback of their own. */
#include "objects/viewer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "py/gc.h"
#include "py/runtime.h"

#include "objects/abi_calls.h"
#include "objects/console.h"
#include "objects/greeting.h"
#include "objects/limits.h"
#include "objects/repl.h"
#include "objects/session.h"
#include "objects/viewer_state.h"

struct viewer viewers[VIEWERS_MAX];
bool viewers_work_waits, viewers_starved;

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
void viewer_consume_input(struct viewer *viewer, size_t bytes)
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
        tcp_setprio(connection, TCP_PRIO_MIN); /* while it closes it gives way to any other */
        if (tcp_close(connection) != ERR_OK)
            tcp_abort(connection);
    }
    free_viewer(viewer);
}

void viewer_close_later(struct viewer *viewer)
{
    viewer->closing = true;
    viewers_work_waits = true;
}

/* Hand a short text to the connection, all or nothing. */
bool viewer_send_text(struct viewer *viewer, const char *text, size_t bytes)
{
    if (viewer->connection == NULL || tcp_sndbuf(viewer->connection) < bytes)
        return false;
    return tcp_write(viewer->connection, text, (u16_t)bytes, TCP_WRITE_FLAG_COPY) == ERR_OK;
}

/* --- The first line -------------------------------------------------------------------------------------- */

static void tell(struct viewer *viewer, const char *reason)
{
    char text[160];
    int bytes;
    if (viewer->kind == VIEWER_EXEC)
        bytes = snprintf(text, sizeof text, "o %u\n%s\nx 1\n", (unsigned)strlen(reason) + 1, reason);
    else
        bytes = snprintf(text, sizeof text, "%s\n", reason);
    (void)viewer_send_text(viewer, text, (size_t)bytes);
}

static void refuse(struct viewer *viewer, const char *reason)
{
    tell(viewer, reason);
    viewer_close_later(viewer);
}

static void attach(struct viewer *viewer, struct session *session, unsigned lines)
{
    viewer->session = session;
    viewer->sent = session_stream_replay(session, lines < SESSION_REPLAY_LINES_MAX ? lines : SESSION_REPLAY_LINES_MAX);
    viewer->lag_left_ns = VIEWER_LAG_MS * NS_PER_MS;
    viewer->skip_count = 0;
    viewers_work_waits = true;
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
    viewer->deadline_ns = abi_clock() + VIEWER_SOURCE_MS * NS_PER_MS;
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
        viewer_consume_input(viewer, (size_t)(end - line) + 1);
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
        if (bytes > 0) {
            viewer_consume_input(viewer, bytes);
            viewer->deadline_ns = abi_clock() + VIEWER_SOURCE_MS * NS_PER_MS;
        }
    }
    if (viewer->source_filled < viewer->source_bytes) {
        if (viewer->peer_closed)
            viewer_close_later(viewer);
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
        viewer_consume_input(viewer, (size_t)at + 1);
    }
}

static void handle_interrupt(struct viewer *viewer)
{
    if (viewer->kind == VIEWER_EXEC) {
        if (viewer->thread == NULL || viewer->thread->language_state == NULL)
            return; /* it has not begun: viewer_exec_begin */
        if (take_interrupt(viewer))
            session_interrupt_thread(viewer->thread);
        forget_input(viewer);
    } else if (session_is_busy(viewer->session)) {
        if (take_interrupt(viewer))
            (void)session_interrupt(viewer->session);
    }
}

void viewers_look_for_interrupts(struct session *session)
{
    for (unsigned i = 0; i < VIEWERS_MAX; i++) {
        if (viewers[i].session == session && viewers[i].kind != VIEWER_EXEC && !viewers[i].closing)
            handle_interrupt(&viewers[i]);
    }
}

void viewer_exec_begin(struct viewer *viewer)
{
    handle_interrupt(viewer);
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

/* Room behind the data of a buffer of the pool. */
static size_t room_behind(const struct pbuf *buffer)
{
    if (!pbuf_match_allocsrc(buffer, PBUF_TYPE_ALLOC_SRC_MASK_STD_MEMP_PBUF_POOL))
        return 0;
    const u8_t *end = (const u8_t *)buffer + LWIP_MEM_ALIGN_SIZE(sizeof *buffer) + LWIP_MEM_ALIGN_SIZE(PBUF_POOL_BUFSIZE);
    return (size_t)(end - ((const u8_t *)buffer->payload + buffer->len));
}

/* Append what arrived. It fills the last buffer up first: short segments must not hold a buffer each. */
static void append_input(struct viewer *viewer, struct pbuf *data)
{
    if (viewer->input == NULL) {
        viewer->input = data;
        return;
    }
    struct pbuf *last = viewer->input;
    while (last->next != NULL)
        last = last->next;
    size_t room = room_behind(last);
    u16_t bytes = room < data->tot_len ? (u16_t)room : data->tot_len;
    (void)pbuf_copy_partial(data, (u8_t *)last->payload + last->len, bytes, 0);
    last->len = (u16_t)(last->len + bytes);
    for (struct pbuf *buffer = viewer->input; buffer != NULL; buffer = buffer->next)
        buffer->tot_len = (u16_t)(buffer->tot_len + bytes);
    data = pbuf_free_header(data, bytes);
    if (data != NULL)
        pbuf_cat(viewer->input, data);
}

static err_t received(void *argument, struct tcp_pcb *connection, struct pbuf *data, err_t error)
{
    struct viewer *viewer = argument;
    (void)connection;
    (void)error;
    viewers_work_waits = true;
    viewer->heard_ns = abi_clock();
    if (data == NULL)
        viewer->peer_closed = true;
    else
        append_input(viewer, data);
    handle_input(viewer);
    return ERR_OK;
}

static err_t acknowledged(void *argument, struct tcp_pcb *connection, u16_t bytes)
{
    struct viewer *viewer = argument;
    (void)connection;
    (void)bytes;
    viewer->heard_ns = abi_clock();
    viewers_work_waits = true;
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

/* Does `viewer` give way to a new one rather than `other`? Those whose peer has closed its side first, whatever they wait for; then those
 * of which nothing was heard for longest. */
static bool gives_way_before(const struct viewer *viewer, const struct viewer *other)
{
    if (other == NULL || viewer->peer_closed != other->peer_closed)
        return other == NULL || viewer->peer_closed;
    return viewer->heard_ns < other->heard_ns;
}

/* A place for a new viewer. When all are taken one gives way; never an exec that runs, but those are fewer. */
static struct viewer *find_place(void)
{
    struct viewer *leaving = NULL;
    for (unsigned i = 0; i < VIEWERS_MAX; i++) {
        struct viewer *viewer = &viewers[i];
        if (viewer->kind == VIEWER_FREE)
            return viewer;
        if (viewer->thread == NULL && gives_way_before(viewer, leaving))
            leaving = viewer;
    }
    CHECK(leaving != NULL);
    tell(leaving, "all connections are taken, and this one was idle longest");
    close_connection(leaving);
    return leaving;
}

static err_t accepted(void *argument, struct tcp_pcb *connection, err_t error)
{
    (void)argument;
    if (error != ERR_OK || connection == NULL)
        return ERR_VAL;
    struct viewer *viewer = find_place();
    viewer->kind = VIEWER_GREETING;
    viewer->connection = connection;
    viewer->heard_ns = abi_clock();
    viewer->deadline_ns = viewer->heard_ns + VIEWER_GREETING_MS * NS_PER_MS;
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

void viewers_mark(const struct session *session)
{
    for (unsigned i = 0; i < VIEWERS_MAX; i++) {
        if (viewers[i].session == session && viewers[i].source != NULL)
            memory_mark(&viewers[i].source, &viewers[i].source + 1);
    }
}

/* --- The poll ------------------------------------------------------------------------------------------- */

/* A viewer whose peer has closed its side stays until its own lines have been run and their output was sent. */
static bool is_over(const struct viewer *viewer)
{
    if (viewer->closing)
        return true;
    if (!viewer->peer_closed || viewer->kind == VIEWER_EXEC)
        return false;
    if (viewer->kind == VIEWER_TERMINAL)
        return true;
    return viewer->kind == VIEWER_PLAIN && viewer->input == NULL && !(viewer->line_runs && session_is_busy(viewer->session))
           && viewer->sent == session_stream_end(viewer->session);
}

/* When the viewer's patience ends: it waits for the first line, or for the source of an exec. */
static uint64_t viewer_deadline_ns(const struct viewer *viewer)
{
    bool waits = viewer->kind == VIEWER_GREETING || (viewer->kind == VIEWER_EXEC && viewer->source != NULL && !viewer->closing);
    return waits ? viewer->deadline_ns : ABI_NEVER;
}

static void poll_viewer(struct viewer *viewer, uint64_t now_ns)
{
    if (now_ns >= viewer_deadline_ns(viewer)) {
        if (viewer->kind == VIEWER_GREETING)
            look_for_greeting(viewer, true);
        else
            refuse(viewer, "the source did not come");
    }
    if (viewer->kind == VIEWER_EXEC && !viewer->closing)
        (void)viewer_exec_flush(viewer);
    if ((viewer->kind == VIEWER_PLAIN || viewer->kind == VIEWER_TERMINAL) && !viewer->closing)
        viewer_flush(viewer);
    if (viewer->kind != VIEWER_FREE && is_over(viewer))
        close_connection(viewer);
}

/* While the world stood still nobody could take its output or send it a source: each viewer has its whole allowance again. */
static void notice_resume(void)
{
    static uint64_t resumed_seen;
    uint64_t resumed = abi_info()->resumed;
    if (resumed == resumed_seen)
        return;
    resumed_seen = resumed;
    for (unsigned i = 0; i < VIEWERS_MAX; i++) {
        viewers[i].lag_left_ns = VIEWER_LAG_MS * NS_PER_MS;
        if (viewers[i].kind == VIEWER_EXEC)
            viewers[i].deadline_ns = abi_clock() + VIEWER_SOURCE_MS * NS_PER_MS;
    }
}

bool viewers_poll_is_due(void)
{
    return viewers_work_waits;
}

uint64_t viewers_poll(uint64_t now_ns)
{
    notice_resume();
    uint64_t due_ns = ABI_NEVER;
    bool work = viewers_work_waits || viewers_starved;
    if (work)
        viewers_work_waits = viewers_starved = false;
    for (unsigned i = 0; i < VIEWERS_MAX; i++) {
        struct viewer *viewer = &viewers[i];
        if (viewer->kind == VIEWER_FREE)
            continue;
        if (work || now_ns >= viewer_deadline_ns(viewer))
            poll_viewer(viewer, now_ns);
        if (viewer_deadline_ns(viewer) < due_ns)
            due_ns = viewer_deadline_ns(viewer);
    }
    if (viewers_starved && now_ns + NETWORK_MEMORY_RETRY_MS * NS_PER_MS < due_ns)
        due_ns = now_ns + NETWORK_MEMORY_RETRY_MS * NS_PER_MS;
    return due_ns;
}
