#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cluster-sim/lab_background.h"
#include "cluster-sim/lab_file.h"

void control_server_init(struct background *background)
{
    for (unsigned at = 0; at < LAB_CLIENTS_MAX; at++) {
        background->clients[at].descriptor = -1;
        background->clients[at].poll_index = -1;
    }
}

static void client_close(struct control_client *client)
{
    close(client->descriptor);
    client->descriptor = -1;
    client->poll_index = -1;
    client->ticket = 0;
}

static struct control_client *free_client(struct background *background)
{
    for (unsigned at = 0; at < LAB_CLIENTS_MAX; at++) {
        if (background->clients[at].descriptor < 0) {
            return &background->clients[at];
        }
    }
    return NULL;
}

bool control_server_has_room(struct background *background)
{
    return free_client(background) != NULL;
}

void control_server_accept(struct background *background)
{
    struct control_client *client = free_client(background);
    int descriptor = client == NULL ? -1 : accept4(background->control, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (descriptor < 0) {
        return;
    }
    client->descriptor = descriptor;
    client->poll_index = -1;
    client->ticket = 0;
    client->input_bytes = 0;
    client->output_bytes = 0;
    client->ending = false;
    client->heard_ms = clock_ms();
}

/* --- Answers --- */

__attribute__((format(printf, 2, 3))) static void answer(struct control_client *client, const char *format, ...)
{
    size_t room = sizeof client->output - client->output_bytes;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(client->output + client->output_bytes, room, format, arguments);
    va_end(arguments);
    if (length > 0 && (size_t)length < room) {
        client->output_bytes += (size_t)length;
    } else {
        client->ending = true;
    }
}

static void answer_status(struct control_client *client, enum status status, const char *sentence)
{
    if (status == STATUS_OK) {
        answer(client, "ok\n");
    } else {
        answer(client, "error %s %s\n", status_name(status), sentence != NULL ? sentence : status_sentence(status));
    }
}

void control_server_answer(void *context, unsigned node, uint64_t ticket, enum status status, const char *text)
{
    struct background *background = context;
    (void)node;
    for (unsigned at = 0; at < LAB_CLIENTS_MAX; at++) {
        struct control_client *client = &background->clients[at];
        if (client->descriptor >= 0 && client->ticket == ticket) {
            client->ticket = 0;
            if (status == STATUS_OK) {
                answer(client, "%s", text);
            } else {
                answer_status(client, status, "the management port did not answer");
            }
            return;
        }
    }
}

/* --- Requests. `arguments` is what follows the command's name. --- */

static void serve_info(struct background *background, struct control_client *client)
{
    const struct ethernet_switch *ethernet = &background->ethernet;
    answer(client, "switch pid %ld frames %llu\n", (long)getpid(), (unsigned long long)ethernet->frames);
    for (unsigned node = 1; node <= background->cluster.nodes; node++) {
        const struct switch_port *port = &ethernet->ports[node];
        answer(client, "node %u net %d in %llu out %llu dropped %llu\n", node, port->descriptor >= 0, (unsigned long long)port->frames_in,
               (unsigned long long)port->frames_out, (unsigned long long)port->frames_dropped);
    }
    for (unsigned at = 0; at < background->gateway.forward_count; at++) {
        const struct gateway_forward *forward = &background->gateway.forwards[at];
        answer(client, "forward %u %u %u\n", forward->target, forward->port, forward->host_port);
    }
    for (unsigned from = 0; from <= background->cluster.nodes; from++) {
        if (ethernet->isolated[from]) {
            answer(client, "isolated %u\n", from);
        }
        for (unsigned to = 0; to <= background->cluster.nodes; to++) {
            if (ethernet->cut[from][to]) {
                answer(client, "cut %u %u\n", from, to);
            }
        }
    }
    answer(client, "capture %d\nok\n", background->capture.file != NULL);
}

static void serve_forward(struct background *background, struct control_client *client, const char *arguments)
{
    unsigned target, port, host_port;
    if (sscanf(arguments, "%u %u %u", &target, &port, &host_port) != 3 || target > background->cluster.nodes || port < 1 ||
        port > UINT16_MAX || host_port > UINT16_MAX) {
        answer_status(client, STATUS_INVALID, NULL);
        return;
    }
    uint16_t opened;
    enum status status = gateway_forward(&background->gateway, target, (uint16_t)port, (uint16_t)host_port, &opened);
    if (status == STATUS_OK) {
        background_save_network(background);
        answer(client, "port %u\n", opened);
    }
    answer_status(client, status, status == STATUS_BUSY ? "that port of 127.0.0.1 is taken" : NULL);
}

static void serve_cut(struct background *background, struct control_client *client, const char *arguments)
{
    unsigned from, to;
    if (sscanf(arguments, "%u %u", &from, &to) != 2 || from > background->cluster.nodes || to > background->cluster.nodes || from == to) {
        answer_status(client, STATUS_INVALID, NULL);
        return;
    }
    switch_cut(&background->ethernet, from, to);
    background_save_network(background);
    answer_status(client, STATUS_OK, NULL);
}

static void serve_isolate(struct background *background, struct control_client *client, const char *arguments)
{
    uint64_t node;
    if (!parse_number(arguments, 1, background->cluster.nodes, &node)) {
        answer_status(client, STATUS_INVALID, NULL);
        return;
    }
    switch_isolate(&background->ethernet, (unsigned)node);
    background_save_network(background);
    answer_status(client, STATUS_OK, NULL);
}

static void serve_heal(struct background *background, struct control_client *client)
{
    switch_heal(&background->ethernet);
    background_save_network(background);
    answer_status(client, STATUS_OK, NULL);
}

static void serve_capture(struct background *background, struct control_client *client, const char *path)
{
    const char *wrong = capture_start(&background->capture, path);
    answer_status(client, wrong == NULL ? STATUS_OK : STATUS_IO_ERROR, wrong);
}

/* Both forms of a management request; the client waits for control_server_answer. */
static void serve_manage(struct background *background, struct control_client *client, const char *arguments, bool raw)
{
    unsigned node, within_ms;
    int used = 0;
    if (sscanf(arguments, "%u %u %n", &node, &within_ms, &used) != 2 || used == 0 || node < 1 || node > background->cluster.nodes ||
        within_ms > 600000) {
        answer_status(client, STATUS_INVALID, NULL);
        return;
    }
    const char *rest = arguments + used;
    struct management_link *link = &background->links[node - 1];
    uint64_t deadline_ms = clock_ms() + within_ms;
    uint64_t ticket = ++background->last_ticket;
    enum status status = STATUS_INVALID;
    if (!raw) {
        status = management_submit(link, rest, deadline_ms, ticket);
    } else {
        uint8_t bytes[LAB_RAW_BYTES_MAX];
        size_t count = strlen(rest) / 2;
        if (count <= sizeof bytes && parse_hex(rest, bytes, count)) {
            status = management_submit_raw(link, bytes, count, deadline_ms, ticket);
        }
    }
    if (status != STATUS_OK) {
        answer_status(client, status, NULL);
        return;
    }
    client->ticket = ticket;
}

static void serve_line(struct background *background, struct control_client *client, char *line)
{
    char *arguments = strchr(line, ' ');
    if (arguments != NULL) {
        *arguments++ = 0;
    } else {
        arguments = line + strlen(line);
    }
    if (strcmp(line, "ping") == 0) {
        answer_status(client, STATUS_OK, NULL);
    } else if (strcmp(line, "info") == 0) {
        serve_info(background, client);
    } else if (strcmp(line, "forward") == 0) {
        serve_forward(background, client, arguments);
    } else if (strcmp(line, "cut") == 0) {
        serve_cut(background, client, arguments);
    } else if (strcmp(line, "isolate") == 0) {
        serve_isolate(background, client, arguments);
    } else if (strcmp(line, "heal") == 0) {
        serve_heal(background, client);
    } else if (strcmp(line, "capture") == 0) {
        serve_capture(background, client, arguments);
    } else if (strcmp(line, "capture-stop") == 0) {
        capture_stop(&background->capture);
        answer_status(client, STATUS_OK, NULL);
    } else if (strcmp(line, "manage") == 0) {
        serve_manage(background, client, arguments, false);
    } else if (strcmp(line, "raw") == 0) {
        serve_manage(background, client, arguments, true);
    } else if (strcmp(line, "quit") == 0) {
        background->quit = true;
        answer_status(client, STATUS_OK, NULL);
    } else {
        answer_status(client, STATUS_NOT_FOUND, "no such request");
    }
}

/* Serve whole lines until one of them has to wait. */
static void serve_input(struct background *background, struct control_client *client)
{
    while (client->ticket == 0 && !client->ending) {
        char *end = memchr(client->input, '\n', client->input_bytes);
        if (end == NULL) {
            if (client->input_bytes == sizeof client->input) {
                answer_status(client, STATUS_INVALID, "the request is too long");
                client->ending = true;
            }
            return;
        }
        size_t used = (size_t)(end - client->input) + 1;
        char line[LAB_CONTROL_LINE_BYTES_MAX];
        memcpy(line, client->input, used);
        line[used - 1] = 0;
        client->input_bytes -= used;
        memmove(client->input, client->input + used, client->input_bytes);
        serve_line(background, client, line);
    }
}

/* --- Rounds --- */

void control_server_fill(struct background *background, struct poll_set *set)
{
    uint64_t now_ms = clock_ms();
    for (unsigned at = 0; at < LAB_CLIENTS_MAX; at++) {
        struct control_client *client = &background->clients[at];
        short events = client->output_bytes > 0 ? POLLIN | POLLOUT : POLLIN;
        client->poll_index = poll_set_add(set, client->descriptor, events);
        if (client->descriptor >= 0 && client->ticket == 0) {
            poll_set_wake_at(set, now_ms, client->heard_ms + LAB_CLIENT_IDLE_MS);
        }
    }
}

/* False: the client is gone. */
static bool client_receive(struct control_client *client)
{
    size_t room = sizeof client->input - client->input_bytes;
    if (room == 0) {
        return client->ticket == 0;      /* it sends more while it waits */
    }
    ssize_t got = read(client->descriptor, client->input + client->input_bytes, room);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return true;
    }
    if (got <= 0) {
        return false;
    }
    client->input_bytes += (size_t)got;
    client->heard_ms = clock_ms();
    return true;
}

static bool client_send(struct control_client *client)
{
    ssize_t put = write(client->descriptor, client->output, client->output_bytes);
    if (put < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    client->output_bytes -= (size_t)put;
    memmove(client->output, client->output + put, client->output_bytes);
    return client->output_bytes > 0 || !client->ending;
}

void control_server_serve(struct background *background, const struct poll_set *set)
{
    uint64_t now_ms = clock_ms();
    for (unsigned at = 0; at < LAB_CLIENTS_MAX; at++) {
        struct control_client *client = &background->clients[at];
        if (client->descriptor < 0) {
            continue;
        }
        bool alive = true;
        if (poll_set_result(set, client->poll_index) & (POLLIN | POLLHUP | POLLERR)) {
            alive = client_receive(client);
        }
        if (alive) {
            serve_input(background, client);
            alive = client->output_bytes == 0 || client_send(client);
        }
        bool idle = client->ticket == 0 && now_ms >= client->heard_ms + LAB_CLIENT_IDLE_MS;
        if (!alive || idle) {
            client_close(client);
        }
    }
}
