#include "cluster-sim/lab_control.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cluster-sim/lab_file.h"

static void call_end(struct control_call *call, enum status status, const char *sentence)
{
    if (call->descriptor >= 0) {
        close(call->descriptor);
    }
    call->descriptor = -1;
    call->status = status;
    snprintf(call->sentence, sizeof call->sentence, "%s", sentence);
}

void control_call_start(struct control_call *call, const char *request)
{
    call->bytes = 0;
    call->text[0] = 0;
    call->descriptor = unix_connect("control.sock");
    if (call->descriptor < 0) {
        call_end(call, STATUS_CLOSED, "the background process is not running");
        return;
    }
    char line[LAB_CONTROL_LINE_BYTES_MAX];
    int length = snprintf(line, sizeof line, "%s\n", request);
    if (length < 0 || (size_t)length >= sizeof line || memchr(line, '\n', (size_t)length - 1) != NULL) {
        call_end(call, STATUS_INVALID, "the request is too long, or has a line break in it");
    } else if (file_write_all(call->descriptor, line, (size_t)length) != 0) {
        call_end(call, STATUS_CLOSED, "the background process is not running");
    }
}

static enum status status_of_name(const char *name, size_t bytes)
{
#define STATUS_COMPARE(code, sentence) \
    if (strlen(#code) == bytes && memcmp(#code, name, bytes) == 0) { \
        return STATUS_##code; \
    }
    STATUS_LIST(STATUS_COMPARE)
#undef STATUS_COMPARE
    return STATUS_IO_ERROR;
}

/* Is the last line of the answer there? Then the call is over. */
static void look_for_end(struct control_call *call)
{
    if (call->bytes == 0 || call->text[call->bytes - 1] != '\n') {
        return;
    }
    call->text[call->bytes - 1] = 0;
    char *last = strrchr(call->text, '\n');
    last = last == NULL ? call->text : last + 1;
    if (strcmp(last, "ok") == 0) {
        *last = 0;
        call->bytes = (size_t)(last - call->text);
        call_end(call, STATUS_OK, "");
    } else if (strncmp(last, "error ", 6) == 0) {
        const char *name = last + 6;
        size_t name_bytes = strcspn(name, " ");
        enum status status = status_of_name(name, name_bytes);
        const char *reason = strstr(name, " reason ");
        const char *sentence = name[name_bytes] == ' ' ? name + name_bytes + 1 : name;
        sentence = reason != NULL ? reason + strlen(" reason ") : sentence;
        call_end(call, status, sentence);
        *last = 0;
        call->bytes = (size_t)(last - call->text);
    } else {
        call->text[call->bytes - 1] = '\n';
    }
}

static void call_receive(struct control_call *call)
{
    size_t room = LAB_CONTROL_ANSWER_BYTES_MAX - call->bytes;
    ssize_t got = read(call->descriptor, call->text + call->bytes, room);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got <= 0) {
        call_end(call, STATUS_CLOSED, "the background process ended the connection");
        return;
    }
    call->bytes += (size_t)got;
    call->text[call->bytes] = 0;
    look_for_end(call);
}

void control_calls_wait(struct control_call *calls, unsigned count, uint64_t deadline_ms)
{
    struct pollfd waits[LAB_NODES_MAX + 1];
    for (;;) {
        unsigned open = 0;
        for (unsigned at = 0; at < count; at++) {
            waits[at] = (struct pollfd){.fd = calls[at].descriptor, .events = POLLIN};
            open += calls[at].descriptor >= 0;
        }
        uint64_t now_ms = clock_ms();
        if (open == 0 || now_ms >= deadline_ms) {
            break;
        }
        if (poll(waits, count, (int)(deadline_ms - now_ms)) <= 0) {
            continue;
        }
        for (unsigned at = 0; at < count; at++) {
            if (waits[at].fd >= 0 && waits[at].revents != 0) {
                call_receive(&calls[at]);
            }
        }
    }
    for (unsigned at = 0; at < count; at++) {
        if (calls[at].descriptor >= 0) {
            call_end(&calls[at], STATUS_TIMED_OUT, "there was no answer in time");
        }
    }
}

enum status control_request(struct control_call *call, unsigned within_ms, const char *format, ...)
{
    char request[LAB_CONTROL_LINE_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(request, sizeof request, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof request) {
        snprintf(call->sentence, sizeof call->sentence, "the request is too long");
        return STATUS_INVALID;
    }
    control_call_start(call, request);
    control_calls_wait(call, 1, clock_ms() + within_ms);
    return call->status;
}

bool control_alive(void)
{
    static struct control_call call;
    return control_request(&call, LAB_CONTROL_DEADLINE_MS, "ping") == STATUS_OK;
}

enum outcome control_ask(const struct cluster *cluster, struct control_call *call, const char *what, const char *request)
{
    enum status status = control_request(call, LAB_CONTROL_DEADLINE_MS, "%s", request);
    switch (status) {
    case STATUS_OK:
        return OUTCOME_OK;
    case STATUS_CLOSED:
        return outcome_fail(OUTCOME_FAILED, "%s failed: the background process of %s is not running; start it with: %s start %s", what,
                            cluster->shown, command_name(), cluster->shown);
    case STATUS_TIMED_OUT:
        return outcome_fail(OUTCOME_TIMED_OUT, "%s failed: the background process of %s does not answer; replace it with: %s start %s",
                            what, cluster->shown, command_name(), cluster->shown);
    default:
        return outcome_fail(OUTCOME_FAILED, "%s failed: %s", what, call->sentence);
    }
}
