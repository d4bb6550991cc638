#include "cluster-sim/lab_terminal.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "cluster-sim/lab_file.h"
#include "cluster-sim/lab_status.h"

/* The last words of a session that its own program ended: objects/session.c. */
#define SESSION_ENDED "(session ended)\r\n"

enum {
    INTERRUPT_BYTE = 0x03,           /* Ctrl-C, in the world's protocol */
    DETACH_KEY = 0x1d,               /* Ctrl-] */
    LOOK_IDLE_MS = 5000,             /* look after the cluster so often while nothing comes */
    LOOK_UNANSWERED_MS = 1500,       /* and so soon after a key that nothing answers */
    LOOK_PAUSE_MS = 500,             /* the longest wait for bytes of an answer before anything else is looked at */
};

static struct cluster_status status;
static volatile sig_atomic_t ended_by_signal;

static void on_signal(int signal_number)
{
    (void)signal_number;
    ended_by_signal = 1;
}

static enum outcome check_session(const char **session)
{
    if (*session == NULL) {
        *session = "main";
    }
    size_t bytes = strlen(*session);
    bool well = bytes >= 1 && bytes <= LAB_SESSION_NAME_BYTES_MAX;
    for (size_t at = 0; at < bytes && well; at++) {
        char byte = (*session)[at];
        well = isalnum((unsigned char)byte) || byte == '-' || byte == '_' || byte == '.';
    }
    return well ? OUTCOME_OK : outcome_fail(OUTCOME_USAGE, "a session's name has 1 to %d letters, digits, -, _ or .; `%s` has not",
                                            LAB_SESSION_NAME_BYTES_MAX, *session);
}

/* A connection to the world's terminal port, after a look at whether anybody is there, by `deadline_ms` (0: none). */
static enum outcome connect_world(const struct cluster *cluster, const char *what, uint64_t deadline_ms, int *descriptor)
{
    enum outcome outcome = status_await_world(cluster, &status, what, deadline_ms);
    if (outcome != OUTCOME_OK) {
        return outcome;
    }
    int opened = status.attach_port == 0 ? -ECONNREFUSED : local_connect((uint16_t)status.attach_port);
    if (opened < 0) {
        return outcome_fail(OUTCOME_FAILED, "%s failed: cannot connect to the world: %s; mend it with: %s start %s", what,
                            strerror(-opened), command_name(),
                            cluster->shown);
    }
    *descriptor = opened;
    return OUTCOME_OK;
}

/* Write all, waiting while the connection is slow (or the world waits for a quorum). Returns 0 or an errno value. */
static int write_patiently(int descriptor, const char *bytes, size_t count)
{
    while (count > 0) {
        ssize_t put = write(descriptor, bytes, count);
        if (put > 0) {
            bytes += put;
            count -= (size_t)put;
        } else if (errno == EAGAIN) {
            struct pollfd wanted = {.fd = descriptor, .events = POLLOUT};
            if (poll(&wanted, 1, -1) < 0 && ended_by_signal) {
                return EINTR;
            }
        } else if (errno != EINTR || ended_by_signal) {
            return errno;
        }
    }
    return 0;
}

/* --- Attach --- */

struct attachment {
    const struct cluster *cluster;
    const char *session;
    int descriptor;
    uint64_t heard_ms;               /* from the world */
    uint64_t typed_ms;               /* the first key since then; 0: none */
    uint64_t look_ms;                /* when the cluster was looked at last */
    bool waiting_told;
    char last[sizeof SESSION_ENDED - 1];   /* what the world said last */
};

enum attach_end { ATTACH_GOES_ON, ATTACH_DETACHED, ATTACH_CLOSED, ATTACH_STOPPED };

static void handle_end_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGQUIT, &action, NULL);
}

static enum attach_end copy_keys(struct attachment *attachment)
{
    char keys[1024];
    ssize_t got = read(STDIN_FILENO, keys, sizeof keys);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) {
        return ATTACH_GOES_ON;
    }
    if (got <= 0) {
        return ATTACH_DETACHED;
    }
    const char *detach = memchr(keys, DETACH_KEY, (size_t)got);
    size_t count = detach == NULL ? (size_t)got : (size_t)(detach - keys);
    if (count > 0 && attachment->typed_ms == 0) {
        attachment->typed_ms = clock_ms();
    }
    /* Keys that the connection does not take now are lost rather than letting Ctrl-] wait behind them. */
    ssize_t put = count == 0 ? 0 : write(attachment->descriptor, keys, count);
    if (put < 0 && errno != EAGAIN && errno != EINTR) {
        return ATTACH_CLOSED;
    }
    return detach == NULL ? ATTACH_GOES_ON : ATTACH_DETACHED;
}

static enum attach_end copy_output(struct attachment *attachment)
{
    char bytes[16384];
    ssize_t got = read(attachment->descriptor, bytes, sizeof bytes);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) {
        return ATTACH_GOES_ON;
    }
    if (got <= 0) {
        return ATTACH_CLOSED;
    }
    size_t fresh = (size_t)got < sizeof attachment->last ? (size_t)got : sizeof attachment->last;
    memmove(attachment->last, attachment->last + fresh, sizeof attachment->last - fresh);
    memcpy(attachment->last + sizeof attachment->last - fresh, bytes + got - fresh, fresh);
    attachment->heard_ms = clock_ms();
    attachment->typed_ms = 0;
    if (attachment->waiting_told) {
        progress("\r\n[the world goes on]\r");
        attachment->waiting_told = false;
    }
    return file_write_all(STDOUT_FILENO, bytes, (size_t)got) == 0 ? ATTACH_GOES_ON : ATTACH_DETACHED;
}

/* The connection alone cannot tell a world that thinks from one that is stopped or has no quorum: the management ports can. */
static enum attach_end look_after_cluster(struct attachment *attachment)
{
    uint64_t now_ms = clock_ms();
    uint64_t since = attachment->heard_ms > attachment->look_ms ? attachment->heard_ms : attachment->look_ms;
    bool unanswered = attachment->typed_ms > attachment->look_ms && now_ms >= attachment->typed_ms + LOOK_UNANSWERED_MS;
    if (!unanswered && now_ms < since + LOOK_IDLE_MS) {
        return ATTACH_GOES_ON;
    }
    attachment->look_ms = now_ms;
    status_collect(attachment->cluster, &status);
    if (strcmp(status.world_state, "stopped") == 0) {
        return ATTACH_STOPPED;
    }
    bool no_quorum = status.state == CLUSTER_NO_QUORUM || status.state == CLUSTER_STOPPED;
    if (no_quorum && !attachment->waiting_told) {
        progress("\r\n[%s: the world waits; Ctrl-] detaches, `%s status %s` says why]\r", cluster_state_name(status.state), command_name(),
                 attachment->cluster->shown);
        attachment->waiting_told = true;
    }
    return ATTACH_GOES_ON;
}

static enum attach_end copy_both_ways(struct attachment *attachment)
{
    enum attach_end end = ATTACH_GOES_ON;
    while (end == ATTACH_GOES_ON && !ended_by_signal) {
        struct pollfd waits[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = attachment->descriptor, .events = POLLIN}};
        if (poll(waits, 2, 500) < 0) {
            continue;
        }
        if (waits[1].revents != 0) {
            end = copy_output(attachment);
        }
        if (end == ATTACH_GOES_ON && waits[0].revents != 0) {
            end = copy_keys(attachment);
        }
        if (end == ATTACH_GOES_ON) {
            end = look_after_cluster(attachment);
        }
    }
    return end == ATTACH_GOES_ON ? ATTACH_DETACHED : end;
}

static enum outcome tell_end(const struct attachment *attachment, enum attach_end end)
{
    const char *shown = attachment->cluster->shown;
    if (end == ATTACH_DETACHED) {
        const char *name = command_name();
        progress("\n[detached from session %s; it goes on]\n"
                 "  come back:       %s attach %s --session %s\n"
                 "  kill a node:     %s node kill %s 1\n"
                 "  start it again:  %s node start %s 1\n"
                 "  look at it:      %s status %s\n"
                 "  stop everything: %s stop %s",
                 attachment->session, name, shown, attachment->session, name, shown, name, shown, name, shown, name, shown);
        return OUTCOME_OK;
    }
    if (end == ATTACH_CLOSED && memcmp(attachment->last, SESSION_ENDED, sizeof attachment->last) == 0) {
        progress("[session %s ended by itself; a fresh one: %s attach %s --session %s]", attachment->session, command_name(), shown, attachment->session);
        return OUTCOME_OK;
    }
    status_collect(attachment->cluster, &status);
    enum outcome outcome = status_require_world(attachment->cluster, &status, "attach");
    if (outcome != OUTCOME_OK) {
        return outcome;
    }
    return outcome_fail(OUTCOME_FAILED, "the connection to session %s ended; come back with: %s attach %s --session %s",
                        attachment->session, command_name(),
                        shown, attachment->session);
}

/* The first line of the connection, with the terminal's size. */
static int send_first_line(const struct attachment *attachment)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) {
        size.ws_col = 80;
        size.ws_row = 24;
    }
    char line[96];
    int length = snprintf(line, sizeof line, "terminal %s %ux%u\n", attachment->session, size.ws_col, size.ws_row);
    return write_patiently(attachment->descriptor, line, (size_t)length);
}

enum outcome terminal_attach(const struct cluster *cluster, const char *session)
{
    struct attachment attachment = {.cluster = cluster, .session = session, .descriptor = -1};
    enum outcome outcome = check_session(&attachment.session);
    struct termios before;
    if (outcome == OUTCOME_OK && (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &before) != 0)) {
        outcome = outcome_fail(OUTCOME_FAILED, "attach needs a terminal on standard input; without one use: %s exec %s SOURCE",
                               command_name(), cluster->shown);
    }
    if (outcome == OUTCOME_OK) {
        outcome = connect_world(cluster, "attach", 0, &attachment.descriptor);
    }
    if (outcome != OUTCOME_OK) {
        return outcome;
    }
    progress("[session %s; Ctrl-] detaches]", attachment.session);
    handle_end_signals();
    struct termios raw = before;
    cfmakeraw(&raw);
    tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
    attachment.heard_ms = clock_ms();
    enum attach_end end = send_first_line(&attachment) == 0 ? copy_both_ways(&attachment) : ATTACH_CLOSED;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
    close(attachment.descriptor);
    return tell_end(&attachment, end);
}

/* --- Exec --- */

/* The answer is taken byte by byte: a head line, then as many bytes of output as it says. */
struct exec_answer {
    char head[256];
    size_t head_bytes;
    uint64_t output_left;
    bool over;
    bool raised;
    bool broken;
};

static void take_head(struct exec_answer *answer)
{
    answer->head[answer->head_bytes] = 0;
    answer->head_bytes = 0;
    if (strcmp(answer->head, "x 0") == 0 || strcmp(answer->head, "x 1") == 0) {
        answer->over = true;
        answer->raised = answer->head[2] == '1';
    } else if (answer->head[0] != 'o' || answer->head[1] != ' ' ||
               !parse_number(answer->head + 2, 0, UINT32_MAX, &answer->output_left)) {
        answer->broken = true;
    }
}

static void take_answer(struct exec_answer *answer, const char *bytes, size_t count)
{
    for (size_t at = 0; at < count && !answer->over && !answer->broken;) {
        if (answer->output_left > 0) {
            size_t part = count - at < answer->output_left ? count - at : (size_t)answer->output_left;
            fwrite(bytes + at, 1, part, stdout);
            answer->output_left -= part;
            at += part;
        } else if (bytes[at] == '\n') {
            take_head(answer);
            at++;
        } else if (answer->head_bytes + 1 < sizeof answer->head) {
            answer->head[answer->head_bytes++] = bytes[at++];
        } else {
            take_head(answer);
            answer->broken = true;
        }
    }
}

/* The first Ctrl-C interrupts the source; its exception then ends the answer. A second one ends this command. */
static void pass_on_interrupt(int descriptor)
{
    static const char interrupt = INTERRUPT_BYTE;
    struct sigaction action = {.sa_handler = SIG_DFL};
    if (ended_by_signal) {
        ended_by_signal = 0;
        sigaction(SIGINT, &action, NULL);
        if (write(descriptor, &interrupt, 1) != 1) {
            progress("the interrupt could not be sent; Ctrl-C again ends this command");
        }
    }
}

/* Hand on what has come. False: nobody takes it any more. */
static bool put_out(void)
{
    return fflush(stdout) == 0 && !ferror(stdout);
}

static enum outcome read_answer(const struct cluster *cluster, int descriptor, uint64_t deadline_ms)
{
    static struct exec_answer answer;
    uint64_t look_ms = clock_ms();
    while (!answer.over && !answer.broken) {
        char bytes[16384];
        struct pollfd wanted = {.fd = descriptor, .events = POLLIN};
        uint64_t now_ms = clock_ms();
        if (!put_out()) {
            return outcome_fail(OUTCOME_FAILED, "standard output cannot be written: %s; the source goes on in its session", strerror(errno));
        }
        if (deadline_ms != 0 && now_ms >= deadline_ms) {
            return outcome_fail(OUTCOME_TIMED_OUT, "the source did not end in time; it goes on in its session; to end it, find it with eidolon.threads(), "
                                "then call eidolon.interrupt(thread)");
        }
        pass_on_interrupt(descriptor);
        int ready = poll(&wanted, 1, deadline_ms != 0 && deadline_ms - now_ms < LOOK_PAUSE_MS ? (int)(deadline_ms - now_ms) : LOOK_PAUSE_MS);
        ssize_t got = ready > 0 ? read(descriptor, bytes, sizeof bytes) : -1;
        if (got > 0) {
            take_answer(&answer, bytes, (size_t)got);
            look_ms = clock_ms();
        } else if (got == 0 || (ready > 0 && errno != EAGAIN && errno != EINTR)) {
            return outcome_fail(OUTCOME_FAILED, "the connection to the world ended before the source did; look at: %s status %s",
                                command_name(), cluster->shown);
        } else if (clock_ms() >= look_ms + LOOK_IDLE_MS) {
            status_collect(cluster, &status);
            if (strcmp(status.world_state, "stopped") == 0) {
                return status_require_world(cluster, &status, "exec");
            }
            look_ms = clock_ms();
        }
    }
    if (answer.broken) {
        return outcome_fail(OUTCOME_FAILED, "exec failed: the world said: %s", answer.head);
    }
    if (!put_out()) {
        return outcome_fail(OUTCOME_FAILED, "standard output cannot be written: %s; the source has ended", strerror(errno));
    }
    return answer.raised ? OUTCOME_FAILED : OUTCOME_OK;
}

static enum outcome read_source(const char **source, size_t *bytes)
{
    static char text[LAB_SOURCE_BYTES_MAX + 1];
    if (strcmp(*source, "-") != 0) {
        *bytes = strlen(*source);
    } else {
        *bytes = fread(text, 1, sizeof text, stdin);
        *source = text;
        if (ferror(stdin)) {
            return outcome_fail(OUTCOME_FAILED, "standard input cannot be read: %s", strerror(errno));
        }
    }
    if (*bytes > LAB_SOURCE_BYTES_MAX) {
        return outcome_fail(OUTCOME_USAGE, "the source is longer than %d bytes", LAB_SOURCE_BYTES_MAX);
    }
    return OUTCOME_OK;
}

enum outcome terminal_exec(const struct cluster *cluster, const char *session, const char *source, unsigned timeout_s)
{
    size_t bytes = 0;
    int descriptor = -1;
    uint64_t deadline_ms = timeout_s == 0 ? 0 : clock_ms() + (uint64_t)timeout_s * 1000;
    enum outcome outcome = check_session(&session);
    if (outcome == OUTCOME_OK) {
        outcome = read_source(&source, &bytes);
    }
    if (outcome == OUTCOME_OK) {
        outcome = connect_world(cluster, "exec", deadline_ms, &descriptor);
    }
    if (outcome == OUTCOME_OK && deadline_ms != 0 && clock_ms() >= deadline_ms) {
        close(descriptor);
        outcome = outcome_fail(OUTCOME_TIMED_OUT, "the world was not reached in time; nothing was run");
    }
    if (outcome != OUTCOME_OK) {
        return outcome;
    }
    char line[96];
    int length = snprintf(line, sizeof line, "exec %s %zu\n", session, bytes);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    int error = write_patiently(descriptor, line, (size_t)length);
    if (error == 0) {
        error = write_patiently(descriptor, source, bytes);
    }
    outcome = error == 0 ? read_answer(cluster, descriptor, deadline_ms)
                         : outcome_fail(OUTCOME_FAILED, "the connection to the world ended: %s", strerror(error));
    close(descriptor);
    return outcome;
}
