#include "objects/viewer.h"

#include <string.h>

#include "objects/abi_calls.h"
#include "objects/session.h"
#include "objects/viewer_state.h"

/* --- Output -------------------------------------------------------------------------------------------- */

void viewers_note_output(void)
{
    viewers_work_waits = true;
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
            viewers_starved = viewers_starved || bytes > 0;
            return false;
        }
    } else {
        if (bytes > sizeof filtered)
            bytes = sizeof filtered;
        enum escape_state escape = viewer->escape;
        size_t kept = filter_text(viewer, piece, bytes, filtered);
        if (bytes == 0 || (kept > 0 && tcp_write(viewer->connection, filtered, (u16_t)kept, TCP_WRITE_FLAG_COPY) != ERR_OK)) {
            viewer->escape = escape;
            viewers_starved = viewers_starved || bytes > 0;
            return false;
        }
    }
    viewer->sent += bytes;
    return true;
}

void viewer_flush(struct viewer *viewer)
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

void viewers_line_ended(struct session *session)
{
    for (unsigned i = 0; i < VIEWERS_MAX; i++) {
        if (viewers[i].session == session)
            viewers[i].line_runs = false;
    }
    viewers_work_waits = true;
}

void viewer_skip(struct viewer *viewer, uint64_t from, uint64_t to)
{
    if (viewer->skip_count == VIEWER_SKIPS_MAX)
        viewer_flush(viewer);
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
            viewer_flush(&viewers[i]);
    }
}

void viewers_detach(struct session *session)
{
    viewers_flush(session);
    for (unsigned i = 0; i < VIEWERS_MAX; i++) {
        if (viewers[i].session == session) {
            viewers[i].session = NULL;
            viewer_close_later(&viewers[i]);
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
            viewer_close_later(viewer);
    }
}

/* --- Input for sessions ---------------------------------------------------------------------------------- */

/* Bytes of the viewer's first line that can be taken now, with its newline; 0: none yet. A line that is too long is taken in parts. */
static size_t whole_line_bytes(const struct viewer *viewer)
{
    u16_t at = pbuf_memfind(viewer->input, "\n", 1, 0);
    if (at != 0xffff)
        return (size_t)at + 1;
    if (viewer->peer_closed || viewer->discards || viewer->input->tot_len > VIEWER_LINE_BYTES_MAX + 1)
        return viewer->input->tot_len;
    return 0;
}

/* Take the first line, or a part of one that is too long, away. */
static enum viewer_input take_line(struct viewer *viewer, char *line, size_t *bytes)
{
    size_t whole = whole_line_bytes(viewer), length = whole;
    bool rest = viewer->discards, ended = pbuf_get_at(viewer->input, (u16_t)(whole - 1)) == '\n';
    if (ended)
        length--;
    if (ended && length > 0 && pbuf_get_at(viewer->input, (u16_t)(length - 1)) == '\r')
        length--;
    bool fits = length <= VIEWER_LINE_BYTES_MAX;
    if (fits && !rest)
        *bytes = pbuf_copy_partial(viewer->input, line, (u16_t)length, 0);
    viewer->discards = (rest || !fits) && !ended;
    viewer_consume_input(viewer, whole);
    viewers_work_waits = true;
    if (rest)
        return VIEWER_INPUT_NONE;
    return fits ? VIEWER_INPUT_LINE : VIEWER_INPUT_TOO_LONG;
}

static bool has_input(const struct viewer *viewer, const struct session *session, bool keys)
{
    if (!shows(viewer, session) || viewer->closing || viewer->input == NULL)
        return false;
    return keys || viewer->discards || viewer->kind == VIEWER_TERMINAL || pbuf_get_at(viewer->input, 0) == KEY_INTERRUPT || whole_line_bytes(viewer) > 0;
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
        if (!viewer->discards && (viewer->kind == VIEWER_TERMINAL || keys || first == KEY_INTERRUPT)) {
            bool rest = viewer->kind == VIEWER_TERMINAL && viewer->returned && first == '\n';
            *key = first;
            viewer->returned = first == '\r';
            viewer_consume_input(viewer, 1);
            viewers_work_waits = true;
            if (rest)
                continue;
            return VIEWER_INPUT_KEY;
        }
        enum viewer_input input = take_line(viewer, line, bytes);
        viewer->line_runs = viewer->line_runs || input == VIEWER_INPUT_LINE;
        return input;
    }
    return VIEWER_INPUT_NONE;
}
