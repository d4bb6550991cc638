#include "cluster-sim/lab_switch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LENGTH_BYTES = 4 };

bool switch_init(struct ethernet_switch *sw)
{
    memset(sw, 0, sizeof *sw);
    for (unsigned at = 0; at < LAB_PORTS_MAX; at++) {
        struct switch_port *port = &sw->ports[at];
        port->descriptor = -1;
        port->poll_index = -1;
        port->received = malloc(LAB_READ_BYTES);
        port->queue = malloc(LAB_PORT_QUEUE_BYTES);
        if (port->received == NULL || port->queue == NULL) {
            return false;
        }
    }
    return true;
}

void switch_attach(struct ethernet_switch *sw, unsigned port, int descriptor)
{
    struct switch_port *p = &sw->ports[port];
    p->descriptor = descriptor;
    p->poll_index = -1;
    p->received_bytes = 0;
    p->queue_start = 0;
    p->queue_bytes = 0;
}

/* Close the port and forget what was learned on it. Harmless if it is unattached. */
static void detach(struct ethernet_switch *sw, unsigned port)
{
    struct switch_port *p = &sw->ports[port];
    if (p->descriptor < 0) {
        return;
    }
    close(p->descriptor);
    p->descriptor = -1;
    p->poll_index = -1;
    for (unsigned at = 0; at < LAB_ADDRESSES_MAX; at++) {
        if (sw->addresses[at].known && sw->addresses[at].port == port) {
            sw->addresses[at].known = false;
        }
    }
}

static bool cable_whole(const struct ethernet_switch *sw, unsigned from, unsigned to)
{
    return !sw->cut[from][to] && !sw->isolated[from] && !sw->isolated[to];
}

static bool is_attached(const struct ethernet_switch *sw, unsigned port)
{
    return port == SWITCH_GATEWAY || sw->ports[port].descriptor >= 0;
}

/* The port where `mac` was heard last, or LAB_PORTS_MAX. */
static unsigned find_address(const struct ethernet_switch *sw, const uint8_t mac[6])
{
    for (unsigned at = 0; at < LAB_ADDRESSES_MAX; at++) {
        if (sw->addresses[at].known && memcmp(sw->addresses[at].mac, mac, 6) == 0) {
            return sw->addresses[at].port;
        }
    }
    return LAB_PORTS_MAX;
}

static void learn_address(struct ethernet_switch *sw, unsigned port, const uint8_t mac[6])
{
    if (mac[0] & 1) {
        return;
    }
    struct switch_address *slot = &sw->addresses[0];
    for (unsigned at = 0; at < LAB_ADDRESSES_MAX; at++) {
        struct switch_address *address = &sw->addresses[at];
        if (address->known && memcmp(address->mac, mac, 6) == 0) {
            slot = address;
            break;
        }
        if ((!address->known && slot->known) || (address->known == slot->known && address->seen < slot->seen)) {
            slot = address;
        }
    }
    memcpy(slot->mac, mac, 6);
    slot->known = true;
    slot->port = port;
    slot->seen = sw->frames;
}

static void deliver(struct ethernet_switch *sw, unsigned from, unsigned to, const uint8_t *frame, size_t bytes)
{
    if (from == to || !is_attached(sw, to) || !cable_whole(sw, from, to)) {
        return;
    }
    struct switch_port *port = &sw->ports[to];
    if (to == SWITCH_GATEWAY) {
        if (bytes > LAB_GATEWAY_FRAME_BYTES_MAX) {
            port->frames_dropped++;
        } else {
            sw->to_gateway(sw->context, frame, bytes);
        }
        return;
    }
    size_t needed = LENGTH_BYTES + bytes;
    if (port->queue_bytes + needed > LAB_PORT_QUEUE_BYTES) {
        port->frames_dropped++;
        return;
    }
    if (port->queue_start + port->queue_bytes + needed > LAB_PORT_QUEUE_BYTES) {
        memmove(port->queue, port->queue + port->queue_start, port->queue_bytes);
        port->queue_start = 0;
    }
    uint8_t *at = port->queue + port->queue_start + port->queue_bytes;
    const uint8_t length[LENGTH_BYTES] = {(uint8_t)(bytes >> 24), (uint8_t)(bytes >> 16), (uint8_t)(bytes >> 8), (uint8_t)bytes};
    memcpy(at, length, LENGTH_BYTES);
    memcpy(at + LENGTH_BYTES, frame, bytes);
    port->queue_bytes += needed;
    port->frames_out++;
}

void switch_input(struct ethernet_switch *sw, unsigned port, const uint8_t *frame, size_t bytes)
{
    if (bytes < LAB_FRAME_BYTES_MIN || bytes > LAB_FRAME_BYTES_MAX) {
        sw->ports[port].frames_dropped++;
        return;
    }
    sw->frames++;
    sw->ports[port].frames_in++;
    sw->observe(sw->context, frame, bytes);
    /* What nobody can hear teaches nothing: an isolated host must not draw the world's address back to its port. */
    bool heard = false;
    for (unsigned to = 0; to < LAB_PORTS_MAX && !heard; to++) {
        heard = to != port && is_attached(sw, to) && cable_whole(sw, port, to);
    }
    if (!heard) {
        return;
    }
    learn_address(sw, port, frame + 6);
    unsigned known = frame[0] & 1 ? LAB_PORTS_MAX : find_address(sw, frame);
    if (known < LAB_PORTS_MAX) {
        deliver(sw, port, known, frame, bytes);
        return;
    }
    for (unsigned to = 0; to < LAB_PORTS_MAX; to++) {
        deliver(sw, port, to, frame, bytes);
    }
}

/* Take whole frames out of what the port has received. False: the framing is broken. */
static bool take_frames(struct ethernet_switch *sw, unsigned number)
{
    struct switch_port *port = &sw->ports[number];
    size_t at = 0;
    while (port->received_bytes - at >= LENGTH_BYTES) {
        const uint8_t *length = port->received + at;
        size_t bytes = (size_t)length[0] << 24 | (size_t)length[1] << 16 | (size_t)length[2] << 8 | (size_t)length[3];
        if (bytes > LAB_STREAM_FRAME_BYTES_MAX) {
            return false;
        }
        if (port->received_bytes - at < LENGTH_BYTES + bytes) {
            break;
        }
        switch_input(sw, number, length + LENGTH_BYTES, bytes);
        at += LENGTH_BYTES + bytes;
    }
    port->received_bytes -= at;
    memmove(port->received, port->received + at, port->received_bytes);
    return true;
}

void switch_fill(struct ethernet_switch *sw, struct poll_set *set)
{
    for (unsigned at = 0; at < LAB_PORTS_MAX; at++) {
        struct switch_port *port = &sw->ports[at];
        short events = port->queue_bytes > 0 ? POLLIN | POLLOUT : POLLIN;
        port->poll_index = poll_set_add(set, port->descriptor, events);
    }
}

void switch_serve(struct ethernet_switch *sw, const struct poll_set *set)
{
    for (unsigned at = 0; at < LAB_PORTS_MAX; at++) {
        struct switch_port *port = &sw->ports[at];
        if (port->descriptor < 0 || (poll_set_result(set, port->poll_index) & (POLLIN | POLLHUP | POLLERR)) == 0) {
            continue;
        }
        ssize_t got = read(port->descriptor, port->received + port->received_bytes, LAB_READ_BYTES - port->received_bytes);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            continue;
        }
        if (got <= 0) {
            detach(sw, at);
            continue;
        }
        port->received_bytes += (size_t)got;
        if (!take_frames(sw, at)) {
            detach(sw, at);
        }
    }
}

void switch_flush(struct ethernet_switch *sw)
{
    for (unsigned at = 0; at < LAB_PORTS_MAX; at++) {
        struct switch_port *port = &sw->ports[at];
        if (port->descriptor < 0 || port->queue_bytes == 0) {
            continue;
        }
        ssize_t put = write(port->descriptor, port->queue + port->queue_start, port->queue_bytes);
        if (put > 0) {
            port->queue_bytes -= (size_t)put;
            port->queue_start = port->queue_bytes == 0 ? 0 : port->queue_start + (size_t)put;
        } else if (put < 0 && errno != EAGAIN && errno != EINTR) {
            detach(sw, at);
        }
    }
}

void switch_cut(struct ethernet_switch *sw, unsigned from, unsigned to)
{
    sw->cut[from][to] = true;
}

void switch_isolate(struct ethernet_switch *sw, unsigned port)
{
    sw->isolated[port] = true;
}

void switch_heal(struct ethernet_switch *sw)
{
    memset(sw->cut, 0, sizeof sw->cut);
    memset(sw->isolated, 0, sizeof sw->isolated);
}
