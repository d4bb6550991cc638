#include "cluster-sim/lab_background.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster-sim/lab_file.h"

static volatile sig_atomic_t terminated;

static void on_terminate(int signal_number)
{
    (void)signal_number;
    terminated = 1;
}

/* --- How the parts are joined --- */

static void frame_to_gateway(void *context, const uint8_t *frame, size_t bytes)
{
    struct background *background = context;
    gateway_input(&background->gateway, frame, bytes);
}

static void frame_from_gateway(void *context, const uint8_t *frame, size_t bytes)
{
    struct background *background = context;
    switch_input(&background->ethernet, SWITCH_GATEWAY, frame, bytes);
}

static void frame_observed(void *context, const uint8_t *frame, size_t bytes)
{
    struct background *background = context;
    capture_frame(&background->capture, frame, bytes);
}

/* --- Nodes and taps --- */

/* Plug in every node whose QEMU listens and is not plugged in. */
static void reach_nodes(struct background *background, uint64_t now_ms)
{
    for (unsigned node = 1; node <= background->cluster.nodes; node++) {
        if (background->ethernet.ports[node].descriptor >= 0 || now_ms < background->node_attempt_ms[node - 1]) {
            continue;
        }
        background->node_attempt_ms[node - 1] = now_ms + LAB_RECONNECT_MS;
        char path[NODE_PATH_BYTES];
        int descriptor = unix_connect(node_path(path, node, "net.sock"));
        if (descriptor >= 0) {
            switch_attach(&background->ethernet, node, descriptor);
        }
    }
}

static void wake_for_nodes(struct background *background, struct poll_set *set, uint64_t now_ms)
{
    for (unsigned node = 1; node <= background->cluster.nodes; node++) {
        if (background->ethernet.ports[node].descriptor < 0) {
            poll_set_wake_at(set, now_ms, background->node_attempt_ms[node - 1]);
        }
    }
}

static void accept_tap(struct background *background)
{
    int descriptor = accept4(background->taps, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (descriptor < 0) {
        return;
    }
    for (unsigned port = SWITCH_TAP_FIRST; port < LAB_PORTS_MAX; port++) {
        if (background->ethernet.ports[port].descriptor < 0) {
            switch_attach(&background->ethernet, port, descriptor);
            return;
        }
    }
    close(descriptor);
}

/* --- DIR/network --- */

void background_save_network(struct background *background)
{
    char text[LAB_SMALL_FILE_BYTES_MAX];
    size_t bytes = 0;
    const struct gateway *gateway = &background->gateway;
    for (unsigned at = 0; at < gateway->forward_count; at++) {
        const struct gateway_forward *forward = &gateway->forwards[at];
        bytes += (size_t)snprintf(text + bytes, sizeof text - bytes, "forward %u %u %u\n", forward->target, forward->port,
                                  forward->host_port);
    }
    for (unsigned from = 0; from <= LAB_NODES_MAX; from++) {
        if (background->ethernet.isolated[from]) {
            bytes += (size_t)snprintf(text + bytes, sizeof text - bytes, "isolated %u\n", from);
        }
        for (unsigned to = 0; to <= LAB_NODES_MAX; to++) {
            if (background->ethernet.cut[from][to]) {
                bytes += (size_t)snprintf(text + bytes, sizeof text - bytes, "cut %u %u\n", from, to);
            }
        }
    }
    int error = file_write("network", text, bytes);
    if (error != 0) {
        fprintf(stderr, "switch: cannot keep forwards and cuts in `network`: %s\n", strerror(error));
    }
}

static void load_forward(struct background *background, unsigned target, unsigned port, unsigned host_port)
{
    uint16_t opened;
    if (target > background->cluster.nodes || port < 1 || port > UINT16_MAX || host_port > UINT16_MAX) {
        return;
    }
    if (gateway_forward(&background->gateway, target, (uint16_t)port, (uint16_t)host_port, &opened) != STATUS_OK &&
        gateway_forward(&background->gateway, target, (uint16_t)port, 0, &opened) == STATUS_OK) {
        fprintf(stderr, "switch: port %u of 127.0.0.1 is taken; port %u of %s is at %u now\n", host_port, port,
                target == GATEWAY_TARGET_WORLD ? "the world" : "a node", opened);
    }
}

void background_load_network(struct background *background)
{
    char text[LAB_SMALL_FILE_BYTES_MAX];
    if (file_read("network", text, sizeof text, NULL) != 0) {
        return;
    }
    char *rest = text;
    for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) {
        unsigned a, b, c;
        if (sscanf(line, "forward %u %u %u", &a, &b, &c) == 3) {
            load_forward(background, a, b, c);
        } else if (sscanf(line, "cut %u %u", &a, &b) == 2 && a <= background->cluster.nodes && b <= background->cluster.nodes) {
            switch_cut(&background->ethernet, a, b);
        } else if (sscanf(line, "isolated %u", &a) == 1 && a <= background->cluster.nodes) {
            switch_isolate(&background->ethernet, a);
        }
    }
}

/* --- Life --- */

static enum outcome open_all(struct background *background)
{
    background->ethernet.to_gateway = frame_to_gateway;
    background->ethernet.observe = frame_observed;
    background->ethernet.context = background;
    background->gateway.output = frame_from_gateway;
    background->gateway.context = background;
    if (!gateway_init(&background->gateway)) {
        return outcome_fail(OUTCOME_FAILED, "libslirp cannot be initialised");
    }
    background_load_network(background);
    for (unsigned node = 1; node <= background->cluster.nodes; node++) {
        management_init(&background->links[node - 1], node, control_server_answer, background);
    }
    control_server_init(background);
    background->taps = unix_listen("port.sock");
    background->control = background->taps < 0 ? background->taps : unix_listen("control.sock");
    if (background->control < 0) {
        return outcome_fail(OUTCOME_FAILED, "cannot listen on a socket in %s: %s", background->cluster.shown, strerror(-background->control));
    }
    return OUTCOME_OK;
}

static void serve_round(struct background *background, struct poll_set *set)
{
    uint64_t now_ms = clock_ms();
    set->count = 0;
    set->timeout_ms = UINT32_MAX;
    reach_nodes(background, now_ms);
    wake_for_nodes(background, set, now_ms);
    background->control_poll_index = poll_set_add(set, control_server_has_room(background) ? background->control : -1, POLLIN);
    background->taps_poll_index = poll_set_add(set, background->taps, POLLIN);
    switch_fill(&background->ethernet, set);
    control_server_fill(background, set);
    for (unsigned node = 1; node <= background->cluster.nodes; node++) {
        management_fill(&background->links[node - 1], set, now_ms);
    }
    gateway_fill(&background->gateway, set);

    int timeout = set->timeout_ms > INT32_MAX ? -1 : (int)set->timeout_ms;
    int count = poll(set->entries, (nfds_t)set->count, timeout);
    if (count < 0) {
        set->count = 0;
    }
    switch_serve(&background->ethernet, set);
    gateway_serve(&background->gateway, set, count < 0);
    switch_flush(&background->ethernet);
    now_ms = clock_ms();
    for (unsigned node = 1; node <= background->cluster.nodes; node++) {
        management_serve(&background->links[node - 1], set, now_ms);
    }
    if (poll_set_result(set, background->taps_poll_index) != 0) {
        accept_tap(background);
    }
    control_server_serve(background, set);
    if (poll_set_result(set, background->control_poll_index) != 0) {
        control_server_accept(background);
    }
    capture_flush(&background->capture);
}

static void handle_signals(void)
{
    struct sigaction action = {.sa_handler = on_terminate};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

enum outcome background_run(const char *directory)
{
    static struct background background;
    static struct poll_set set;
    enum outcome outcome = cluster_enter(&background.cluster, directory);
    if (outcome != OUTCOME_OK) {
        return outcome;
    }
    umask(0077);
    handle_signals();
    if (!switch_init(&background.ethernet)) {
        return outcome_fail(OUTCOME_FAILED, "there is no memory for the switch");
    }
    outcome = open_all(&background);
    if (outcome != OUTCOME_OK) {
        return outcome;
    }
    fprintf(stderr, "switch: started, process %ld\n", (long)getpid());
    while (!background.quit && !terminated) {
        serve_round(&background, &set);
    }
    capture_stop(&background.capture);
    unlink("control.sock");
    unlink("port.sock");
    unlink("switch.pid");
    fprintf(stderr, "switch: ended\n");
    return OUTCOME_OK;
}
