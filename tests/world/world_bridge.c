/* The world's frame rings, bridged to libslirp and to a neighbour at a Unix socket. */
#include <errno.h>
#include <slirp/libslirp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/world/world_run.h"

static Slirp *slirp;
static unsigned slirp_polls; /* the first so many of run.polls */
static int listener = -1, neighbour = -1; /* -1: none */
static uint8_t neighbour_mac[6];

static ssize_t frame_to_world(const void *frame, size_t bytes, void *opaque)
{
    (void)opaque;
    uint32_t produced = run.receive_info->produced;
    if (bytes > ABI_FRAME_BYTES_MAX || produced - ring_state()->receive_consumed >= ABI_FRAME_SLOTS) {
        return (ssize_t)bytes; /* lost, as on a wire */
    }
    struct abi_frame_slot *slot = &run.receive_slots[produced % ABI_FRAME_SLOTS];
    /* A frame on Ethernet has 60 bytes at least. */
    memset(slot->frame, 0, 60);
    memcpy(slot->frame, frame, bytes);
    slot->bytes = (uint32_t)(bytes < 60 ? 60 : bytes);
    __atomic_store_n(&run.receive_info->produced, produced + 1, __ATOMIC_RELEASE);
    run.frames_in++;
    return (ssize_t)bytes;
}

static void neighbour_leaves(void)
{
    close(neighbour);
    neighbour = -1;
}

/* False: the frame is not for the neighbour alone. */
static int frame_to_neighbour(const struct abi_frame_slot *slot)
{
    int is_its_own = memcmp(slot->frame, neighbour_mac, sizeof neighbour_mac) == 0;
    if (neighbour < 0 || (!is_its_own && (slot->frame[0] & 1) == 0)) {
        return 0;
    }
    uint8_t message[4 + ABI_FRAME_BYTES_MAX];
    uint32_t header = htonl(slot->bytes);
    memcpy(message, &header, sizeof header);
    memcpy(message + 4, slot->frame, slot->bytes);
    /* One that does not read loses frames, as on a wire. */
    ssize_t sent = send(neighbour, message, 4 + slot->bytes, MSG_DONTWAIT);
    if (sent != 4 + (ssize_t)slot->bytes && !(sent < 0 && errno == EAGAIN)) {
        neighbour_leaves();
    }
    return is_its_own;
}

static void frame_from_neighbour(void)
{
    uint8_t frame[ABI_FRAME_BYTES_MAX];
    uint32_t header, bytes = 0;
    if (recv(neighbour, &header, sizeof header, MSG_WAITALL) == sizeof header) {
        bytes = ntohl(header);
    }
    if (bytes < 14 || bytes > sizeof frame || recv(neighbour, frame, bytes, MSG_WAITALL) != (ssize_t)bytes) {
        neighbour_leaves();
        return;
    }
    memcpy(neighbour_mac, frame + 6, sizeof neighbour_mac);
    frame_to_world(frame, bytes, NULL);
}

void bridge_frames_from_world(void)
{
    const struct abi_frame_slot *slots = (const struct abi_frame_slot *)ABI_TRANSMIT_ADDRESS;
    if (run.holding) {
        return;
    }
    uint32_t used = ring_state()->transmit_produced - run.info->transmit_released;
    run.transmit_has_room |= used > ABI_FRAME_SLOTS - ABI_FRAME_SLOTS_LOW;
    while (run.transmit_taken != ring_state()->transmit_produced) {
        const struct abi_frame_slot *slot = &slots[run.transmit_taken++ % ABI_FRAME_SLOTS];
        run.frames_out++;
        if (!frame_to_neighbour(slot)) {
            slirp_input(slirp, slot->frame, (int)slot->bytes);
        }
    }
    run.info->transmit_released = run.transmit_taken;
}

static void guest_error(const char *message, void *opaque)
{
    (void)opaque;
    fprintf(stderr, "world_run: slirp: %s\n", message);
}

static int64_t slirp_clock(void *opaque)
{
    (void)opaque;
    return (int64_t)monotonic_ns(CLOCK_MONOTONIC);
}

static void *timer_new(SlirpTimerCb callback, void *callback_opaque, void *opaque)
{
    (void)callback, (void)callback_opaque, (void)opaque;
    return &run;
}

static void timer_free(void *timer, void *opaque)
{
    (void)timer, (void)opaque;
}

static void timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
    (void)timer, (void)expire_ms, (void)opaque;
}

static void fd_ignored(int fd, void *opaque)
{
    (void)fd, (void)opaque;
}

static void notified(void *opaque)
{
    (void)opaque;
}

static int add_poll(int fd, int events, void *opaque)
{
    (void)opaque;
    if (run.poll_count == POLLS_MAX - OWN_POLLS) {
        return -1;
    }
    short wanted = 0;
    if (events & SLIRP_POLL_IN) {
        wanted |= POLLIN;
    }
    if (events & SLIRP_POLL_OUT) {
        wanted |= POLLOUT;
    }
    if (events & SLIRP_POLL_PRI) {
        wanted |= POLLPRI;
    }
    run.polls[run.poll_count] = (struct pollfd){.fd = fd, .events = wanted};
    return (int)run.poll_count++;
}

static int get_events(int index, void *opaque)
{
    (void)opaque;
    short got = index < 0 ? 0 : run.polls[index].revents;
    return (got & POLLIN ? SLIRP_POLL_IN : 0) | (got & POLLOUT ? SLIRP_POLL_OUT : 0) | (got & POLLPRI ? SLIRP_POLL_PRI : 0)
           | (got & POLLERR ? SLIRP_POLL_ERR : 0) | (got & POLLHUP ? SLIRP_POLL_HUP : 0);
}

void bridge_add_polls(uint32_t *timeout_ms)
{
    slirp_pollfds_fill(slirp, timeout_ms, add_poll, NULL);
    slirp_polls = run.poll_count;
    /* A frame for which the ring has no room waits in the socket. */
    int has_room = run.receive_info->produced - ring_state()->receive_consumed < ABI_FRAME_SLOTS;
    run.polls[run.poll_count++] = (struct pollfd){.fd = neighbour >= 0 ? -1 : listener, .events = POLLIN};
    run.polls[run.poll_count++] = (struct pollfd){.fd = has_room ? neighbour : -1, .events = POLLIN};
}

void bridge_serve(int ready)
{
    slirp_pollfds_poll(slirp, ready < 0, get_events, NULL);
    if (ready <= 0) {
        return;
    }
    if (run.polls[slirp_polls].revents != 0) {
        neighbour = accept(listener, NULL, NULL);
    }
    if (run.polls[slirp_polls + 1].revents != 0) {
        frame_from_neighbour();
    }
}

void bridge_start(void)
{
    static const SlirpCb callbacks = {
        .send_packet = frame_to_world,
        .guest_error = guest_error,
        .clock_get_ns = slirp_clock,
        .timer_new = timer_new,
        .timer_free = timer_free,
        .timer_mod = timer_mod,
        .register_poll_fd = fd_ignored,
        .unregister_poll_fd = fd_ignored,
        .notify = notified,
    };
    SlirpConfig config = {.version = 1, .in_enabled = true};
    inet_aton("10.0.2.0", &config.vnetwork);
    inet_aton("255.255.255.0", &config.vnetmask);
    inet_aton("10.0.2.2", &config.vhost);
    inet_aton("10.0.2.100", &config.vdhcp_start);
    inet_aton("10.0.2.3", &config.vnameserver);
    slirp = slirp_new(&config, &callbacks, NULL);
    if (slirp == NULL) {
        fail("slirp");
    }
}

void bridge_forward(const char *ports)
{
    struct in_addr loopback, world;
    int host_port, world_port;
    inet_aton("127.0.0.1", &loopback);
    inet_aton("10.0.2.15", &world);
    if (sscanf(ports, "%d:%d", &host_port, &world_port) != 2
        || slirp_add_hostfwd(slirp, 0, loopback, host_port, world, world_port) != 0) {
        fail(ports);
    }
}

void bridge_listen(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 1) != 0) {
        fail(path);
    }
}
