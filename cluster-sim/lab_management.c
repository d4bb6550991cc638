#include "cluster-sim/lab_management.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cluster-sim/lab_file.h"

enum { PING_PAUSE_FIRST_MS = 250, PING_PAUSE_MOST_MS = 2000 };

void management_init(struct management_link *link, unsigned node, void (*done)(void *, unsigned, uint64_t, enum status, const char *),
                     void *context)
{
    memset(link, 0, sizeof *link);
    link->node = node;
    link->descriptor = -1;
    link->poll_index = -1;
    link->done = done;
    link->context = context;
    /* A number that no earlier client of the port has used lately. */
    link->ping_number = clock_ms() << 16 | ((uint64_t)getpid() & 0xffff);
}

static struct management_request *head(struct management_link *link)
{
    return link->request_count == 0 ? NULL : &link->requests[link->request_first];
}

/* The first request is over. The callback may submit another. */
static void complete(struct management_link *link, enum status status, const char *answer)
{
    uint64_t ticket = head(link)->ticket;
    link->request_first = (link->request_first + 1) % LAB_REQUESTS_MAX;
    link->request_count--;
    link->done(link->context, link->node, ticket, status, answer);
}

void management_close(struct management_link *link)
{
    if (link->descriptor >= 0) {
        close(link->descriptor);
    }
    link->descriptor = -1;
    link->poll_index = -1;
    link->state = MANAGEMENT_DOWN;
    link->line_bytes = 0;
    link->output_bytes = 0;
    if (head(link) != NULL && head(link)->sent) {
        complete(link, STATUS_CLOSED, "");
    }
}

static enum status submit(struct management_link *link, const void *bytes, size_t count, bool raw, uint64_t deadline_ms, uint64_t ticket)
{
    if (link->request_count == LAB_REQUESTS_MAX) {
        return STATUS_FULL;
    }
    struct management_request *request = &link->requests[(link->request_first + link->request_count) % LAB_REQUESTS_MAX];
    memcpy(request->bytes, bytes, count);
    request->bytes_count = count;
    request->raw = raw;
    request->sent = false;
    request->deadline_ms = deadline_ms;
    request->ticket = ticket;
    link->request_count++;
    return STATUS_OK;
}

enum status management_submit(struct management_link *link, const char *command, uint64_t deadline_ms, uint64_t ticket)
{
    char line[MANAGEMENT_LINE_BYTES_MAX + 1];
    if (strchr(command, '\n') != NULL || strlen(command) >= MANAGEMENT_LINE_BYTES_MAX) {
        return STATUS_INVALID;
    }
    int length = snprintf(line, sizeof line, "%s\n", command);
    return submit(link, line, (size_t)length, false, deadline_ms, ticket);
}

enum status management_submit_raw(struct management_link *link, const uint8_t *bytes, size_t count, uint64_t deadline_ms, uint64_t ticket)
{
    if (count > LAB_RAW_BYTES_MAX) {
        return STATUS_INVALID;
    }
    return submit(link, bytes, count, true, deadline_ms, ticket);
}

static void put_output(struct management_link *link, const void *bytes, size_t count)
{
    if (link->output_bytes + count <= sizeof link->output) {
        memcpy(link->output + link->output_bytes, bytes, count);
        link->output_bytes += count;
    }
}

static void send_output(struct management_link *link)
{
    if (link->output_bytes == 0 || link->descriptor < 0) {
        return;
    }
    ssize_t put = write(link->descriptor, link->output, link->output_bytes);
    if (put > 0) {
        link->output_bytes -= (size_t)put;
        memmove(link->output, link->output + put, link->output_bytes);
    } else if (put < 0 && errno != EAGAIN && errno != EINTR) {
        management_close(link);
    }
}

/* The newline before it ends whatever half a line the port may hold. While older pings are still unread none is added. */
static void send_ping(struct management_link *link, uint64_t now_ms)
{
    if (link->output_bytes == 0 || link->state == MANAGEMENT_READY) {
        char line[64];
        link->ping_number++;
        int length = snprintf(line, sizeof line, "\nping %llx\n", (unsigned long long)link->ping_number);
        put_output(link, line, (size_t)length);
    }
    link->pong_seen = false;
    link->next_attempt_ms = now_ms + link->ping_pause_ms;
    link->ping_pause_ms = link->ping_pause_ms * 2 > PING_PAUSE_MOST_MS ? PING_PAUSE_MOST_MS : link->ping_pause_ms * 2;
}

static void synchronise(struct management_link *link, uint64_t now_ms)
{
    link->ping_pause_ms = PING_PAUSE_FIRST_MS;
    send_ping(link, now_ms);
    link->state = MANAGEMENT_SYNCHRONISING;
}

static void link_connect(struct management_link *link, uint64_t now_ms)
{
    char path[NODE_PATH_BYTES];
    int descriptor = unix_connect(node_path(path, link->node, "mgmt.sock"));
    if (descriptor < 0) {
        link->next_attempt_ms = now_ms + LAB_RECONNECT_MS;
        return;
    }
    link->descriptor = descriptor;
    link->line_bytes = 0;
    link->output_bytes = 0;
    synchronise(link, now_ms);
}

/* Send the first request if the line is ready for it. */
static void send_head(struct management_link *link, uint64_t now_ms)
{
    struct management_request *request = head(link);
    if (link->state != MANAGEMENT_READY || request == NULL || request->sent) {
        return;
    }
    request->sent = true;
    link->answer_bytes = 0;
    link->answer_too_long = false;
    put_output(link, request->bytes, request->bytes_count);
    if (request->raw) {
        synchronise(link, now_ms);
    }
}

static void take_answer_line(struct management_link *link, const char *line, uint64_t now_ms)
{
    struct management_request *request = head(link);
    if (request == NULL || !request->sent) {
        return;      /* the node speaks unasked */
    }
    size_t bytes = strlen(line);
    if (link->answer_bytes + bytes + 1 > MANAGEMENT_ANSWER_BYTES_MAX) {
        link->answer_too_long = true;
    } else {
        memcpy(link->answer + link->answer_bytes, line, bytes);
        link->answer[link->answer_bytes + bytes] = '\n';
        link->answer_bytes += bytes + 1;
    }
    link->answer[link->answer_bytes] = 0;
    if (strcmp(line, "ok") == 0 || strncmp(line, "error ", 6) == 0) {
        complete(link, link->answer_too_long ? STATUS_FULL : STATUS_OK, link->answer);
        send_head(link, now_ms);
    }
}

static void take_line(struct management_link *link, uint64_t now_ms)
{
    link->line[link->line_bytes] = 0;
    link->line_bytes = 0;
    if (link->state == MANAGEMENT_READY) {
        take_answer_line(link, link->line, now_ms);
        return;
    }
    char expected[64];
    snprintf(expected, sizeof expected, "pong %llx", (unsigned long long)link->ping_number);
    if (strcmp(link->line, expected) == 0) {
        link->pong_seen = true;
    } else if (link->pong_seen && strcmp(link->line, "ok") == 0) {
        link->state = MANAGEMENT_READY;
        if (head(link) != NULL && head(link)->sent) {
            complete(link, STATUS_OK, "ok\n");       /* raw bytes; a command that timed out is gone by now */
        }
        send_head(link, now_ms);
    }
}

static void receive(struct management_link *link, uint64_t now_ms)
{
    char buffer[4096];
    ssize_t got = read(link->descriptor, buffer, sizeof buffer);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got <= 0) {
        management_close(link);
        link->next_attempt_ms = now_ms + LAB_RECONNECT_MS;
        return;
    }
    for (ssize_t at = 0; at < got; at++) {
        char byte = buffer[at];
        if (byte == '\n') {
            take_line(link, now_ms);
        } else if (byte != '\r' && link->line_bytes + 1 < sizeof link->line) {
            link->line[link->line_bytes++] = byte >= ' ' && byte <= '~' ? byte : '?';
        }
    }
}

void management_fill(struct management_link *link, struct poll_set *set, uint64_t now_ms)
{
    short events = link->output_bytes > 0 ? POLLIN | POLLOUT : POLLIN;
    link->poll_index = poll_set_add(set, link->descriptor, events);
    if (link->state != MANAGEMENT_READY) {
        poll_set_wake_at(set, now_ms, link->next_attempt_ms);
    }
    if (head(link) != NULL) {
        poll_set_wake_at(set, now_ms, head(link)->deadline_ms);
    }
}

/* A request that waits behind another is looked at when it comes first: whoever asked has a deadline of its own. */
static void expire(struct management_link *link, uint64_t now_ms)
{
    while (head(link) != NULL && head(link)->deadline_ms <= now_ms) {
        bool sent = head(link)->sent;
        complete(link, STATUS_TIMED_OUT, "");
        if (sent && link->state == MANAGEMENT_READY) {
            synchronise(link, now_ms);
        }
    }
}

void management_serve(struct management_link *link, const struct poll_set *set, uint64_t now_ms)
{
    if (link->descriptor < 0 && now_ms >= link->next_attempt_ms) {
        link_connect(link, now_ms);
    } else if (poll_set_result(set, link->poll_index) & (POLLIN | POLLHUP | POLLERR)) {
        receive(link, now_ms);
    }
    if (link->state == MANAGEMENT_SYNCHRONISING && now_ms >= link->next_attempt_ms) {
        send_ping(link, now_ms);
    }
    send_head(link, now_ms);
    expire(link, now_ms);
    send_output(link);
}
