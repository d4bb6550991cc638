#include "cluster-sim/lab_gateway.h"

#include <arpa/inet.h>
#include <slirp/libslirp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "cluster-sim/lab_cluster.h"

static struct in_addr make_address(const uint8_t bytes[4])
{
    struct in_addr address;
    memcpy(&address, bytes, 4);
    return address;
}

/* --- What libslirp asks of us --- */

static ssize_t slirp_send_packet(const void *frame, size_t bytes, void *opaque)
{
    struct gateway *gateway = opaque;
    gateway->output(gateway->context, frame, bytes);
    return (ssize_t)bytes;
}

static void slirp_guest_error(const char *message, void *opaque)
{
    (void)opaque;
    fprintf(stderr, "gateway: %s\n", message);
}

static int64_t slirp_clock_ns(void *opaque)
{
    (void)opaque;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Timers serve IPv6 router advertisements only, which are off; one place is still given, and never fires. */
static void *slirp_timer_new(SlirpTimerId id, void *callback_opaque, void *opaque)
{
    (void)id;
    (void)callback_opaque;
    return opaque;
}

static void slirp_timer_free(void *timer, void *opaque)
{
    (void)timer;
    (void)opaque;
}

static void slirp_timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
    (void)timer;
    (void)expire_ms;
    (void)opaque;
}

static void slirp_ignore_descriptor(int descriptor, void *opaque)
{
    (void)descriptor;
    (void)opaque;
}

static void slirp_notify(void *opaque)
{
    (void)opaque;
}

static const SlirpCb callbacks = {
    .send_packet = slirp_send_packet,
    .guest_error = slirp_guest_error,
    .clock_get_ns = slirp_clock_ns,
    .timer_new_opaque = slirp_timer_new,
    .timer_free = slirp_timer_free,
    .timer_mod = slirp_timer_mod,
    .register_poll_fd = slirp_ignore_descriptor,
    .unregister_poll_fd = slirp_ignore_descriptor,
    .notify = slirp_notify,
};

bool gateway_init(struct gateway *gateway)
{
    static const uint8_t network[4] = {10, 77, 0, 0};
    static const uint8_t name_server[4] = {10, 77, 0, 3};
    const SlirpConfig config = {
        .version = 4,
        .in_enabled = true,
        .vnetwork = make_address(network),
        .vnetmask = make_address(lab_netmask),
        .vhost = make_address(lab_gateway_address),
        .vnameserver = make_address(name_server),
        .disable_dhcp = true,
    };
    gateway->forward_count = 0;
    gateway->slirp = slirp_new(&config, &callbacks, gateway);
    return gateway->slirp != NULL;
}

/* libslirp takes every frame for its own, also those that the switch sends to all ports as nobody has their address: it would answer in a
 * dead node's name. Its own addresses are 52:55 and the IPv4 address. */
static bool is_for_gateway(const uint8_t *frame)
{
    return (frame[0] & 1) != 0 || (frame[0] == 0x52 && frame[1] == 0x55);
}

void gateway_input(struct gateway *gateway, const uint8_t *frame, size_t bytes)
{
    if (!is_for_gateway(frame)) {
        return;
    }
    slirp_input(gateway->slirp, frame, (int)bytes);
}

/* --- Polling: libslirp's flags and the system's --- */

static int slirp_add_poll(int descriptor, int events, void *opaque)
{
    struct gateway *gateway = opaque;
    int wanted = 0;
    wanted |= events & SLIRP_POLL_IN ? POLLIN : 0;
    wanted |= events & SLIRP_POLL_OUT ? POLLOUT : 0;
    wanted |= events & SLIRP_POLL_PRI ? POLLPRI : 0;
    return poll_set_add(gateway->set, descriptor, (short)wanted);
}

static int slirp_get_result(int index, void *opaque)
{
    const struct gateway *gateway = opaque;
    short came = poll_set_result(gateway->set, index);
    int events = 0;
    events |= came & POLLIN ? SLIRP_POLL_IN : 0;
    events |= came & POLLOUT ? SLIRP_POLL_OUT : 0;
    events |= came & POLLPRI ? SLIRP_POLL_PRI : 0;
    events |= came & POLLERR ? SLIRP_POLL_ERR : 0;
    events |= came & POLLHUP ? SLIRP_POLL_HUP : 0;
    return events;
}

void gateway_fill(struct gateway *gateway, struct poll_set *set)
{
    gateway->set = set;
    slirp_pollfds_fill(gateway->slirp, &set->timeout_ms, slirp_add_poll, gateway);
}

void gateway_serve(struct gateway *gateway, struct poll_set *set, bool poll_failed)
{
    gateway->set = set;
    slirp_pollfds_poll(gateway->slirp, poll_failed, slirp_get_result, gateway);
}

/* --- Forwards --- */

/* A port of 127.0.0.1 that is free now; 0: none. */
static uint16_t find_free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t bytes = sizeof address;
    uint16_t port = 0;
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor >= 0) {
        if (bind(descriptor, (const struct sockaddr *)&address, sizeof address) == 0 &&
            getsockname(descriptor, (struct sockaddr *)&address, &bytes) == 0) {
            port = ntohs(address.sin_port);
        }
        close(descriptor);
    }
    return port;
}

static bool listen_at(struct gateway *gateway, unsigned target, uint16_t port, uint16_t host_port)
{
    uint8_t inside[4];
    if (target == GATEWAY_TARGET_WORLD) {
        memcpy(inside, lab_world_address, sizeof inside);
    } else {
        lab_node_address(target, inside);
    }
    struct in_addr loopback = {htonl(INADDR_LOOPBACK)};
    return slirp_add_hostfwd(gateway->slirp, 0, loopback, host_port, make_address(inside), port) == 0;
}

enum status gateway_forward(struct gateway *gateway, unsigned target, uint16_t port, uint16_t host_port, uint16_t *opened)
{
    for (unsigned at = 0; at < gateway->forward_count; at++) {
        const struct gateway_forward *forward = &gateway->forwards[at];
        if (forward->target == target && forward->port == port && (host_port == 0 || forward->host_port == host_port)) {
            *opened = forward->host_port;
            return STATUS_OK;
        }
    }
    if (gateway->forward_count == LAB_FORWARDS_MAX) {
        return STATUS_FULL;
    }
    bool done = false;
    uint16_t chosen = host_port;
    /* Between finding a free port and listening on it somebody else may take it. */
    for (unsigned attempt = 0; attempt < LAB_FORWARD_ATTEMPTS_MAX && !done; attempt++) {
        chosen = host_port != 0 ? host_port : find_free_port();
        done = chosen != 0 && listen_at(gateway, target, port, chosen);
        if (host_port != 0) {
            break;
        }
    }
    if (!done) {
        return STATUS_BUSY;
    }
    gateway->forwards[gateway->forward_count++] = (struct gateway_forward){.target = target, .port = port, .host_port = chosen};
    *opened = chosen;
    return STATUS_OK;
}
