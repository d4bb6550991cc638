#include "drivers/world_port.h"

#include <string.h>

#include "drivers/ethernet.h"
#include "drivers/limits.h"
#include "drivers/net.h"
#include "drivers/platform.h"
#include "drivers/timer.h"
#include "drivers/virtio_net.h"

static const uint64_t announce_after_ns[WORLD_ANNOUNCEMENTS] = {0, 50000000, 150000000, 350000000};
static const uint64_t log_interval_ns = 1000000000;

static const struct boot_config *boot;
static const struct net_events *events;
static bool held;
static uint64_t held_since_ns;
static unsigned announced = WORLD_ANNOUNCEMENTS;
static uint64_t logged_at_ns;

void world_port_start(const struct boot_config *boot_config, const struct net_events *net_events)
{
    boot = boot_config;
    events = net_events;
    held_since_ns = timer_now_ns();
}

/* An ARP packet from the world's addresses. */
static void send_arp(uint8_t operation, const uint8_t *destination, const uint8_t *target_hardware, const uint8_t *target_address)
{
    static const uint8_t fixed[ARP_FIXED_BYTES] = {0, 1, 8, 0, 6, 4};
    uint8_t *frame = virtio_net_place();
    if (frame == NULL) {
        return;
    }
    memset(frame, 0, ETHERNET_FRAME_BYTES_MIN);
    memcpy(frame + ETHERNET_DESTINATION, destination, ETHERNET_ADDRESS_BYTES);
    memcpy(frame + ETHERNET_SOURCE, boot->world_mac, ETHERNET_ADDRESS_BYTES);
    frame[ETHERNET_TYPE] = ETHERNET_TYPE_ARP >> 8;
    frame[ETHERNET_TYPE + 1] = ETHERNET_TYPE_ARP & 0xff;
    memcpy(frame + ARP_FIXED, fixed, ARP_FIXED_BYTES);
    frame[ARP_OPERATION + 1] = operation;
    memcpy(frame + ARP_SENDER_HARDWARE, boot->world_mac, ETHERNET_ADDRESS_BYTES);
    memcpy(frame + ARP_SENDER_ADDRESS, boot->world_address, IPV4_ADDRESS_BYTES);
    memcpy(frame + ARP_TARGET_HARDWARE, target_hardware, ETHERNET_ADDRESS_BYTES);
    memcpy(frame + ARP_TARGET_ADDRESS, target_address, IPV4_ADDRESS_BYTES);
    virtio_net_commit(ETHERNET_FRAME_BYTES_MIN);
}

/* A request for one's own address: switches and neighbours learn from it where the world is now (RFC 5227, 3). */
static void announce(void)
{
    static const uint8_t everyone[ETHERNET_ADDRESS_BYTES] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t nobody[ETHERNET_ADDRESS_BYTES] = {0};
    send_arp(ARP_OPERATION_REQUEST, everyone, nobody, boot->world_address);
}

void world_port_hold(bool hold)
{
    held = hold;
    announced = hold ? 0 : WORLD_ANNOUNCEMENTS;
    held_since_ns = timer_now_ns();
    if (boot != NULL) { /* held before the network starts: announced when it does */
        world_port_tick(held_since_ns);
        virtio_net_flush();
    }
}

void world_port_tick(uint64_t now_ns)
{
    if (announced < WORLD_ANNOUNCEMENTS && now_ns >= held_since_ns + announce_after_ns[announced]) {
        announced++;
        announce();
    }
}

uint64_t world_port_next_deadline_ns(void)
{
    return announced < WORLD_ANNOUNCEMENTS ? held_since_ns + announce_after_ns[announced] : UINT64_MAX;
}

/* May the world say this? Its own hardware address, and its own IPv4 address wherever the frame names a sender. */
static bool sender_is_world(const uint8_t *frame, size_t bytes)
{
    if (bytes < ETHERNET_HEADER_BYTES || bytes > ABI_FRAME_BYTES_MAX ||
        !ethernet_same(frame + ETHERNET_SOURCE, boot->world_mac)) {
        return false;
    }
    switch (ethernet_read16(frame + ETHERNET_TYPE)) {
    case ETHERNET_TYPE_ARP:
        return ethernet_is_arp(frame, bytes) && ethernet_same(frame + ARP_SENDER_HARDWARE, boot->world_mac) &&
               ethernet_same_ipv4(frame + ARP_SENDER_ADDRESS, boot->world_address);
    case ETHERNET_TYPE_IPV4:
        return bytes >= ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES_MIN &&
               ethernet_same_ipv4(frame + IPV4_SOURCE, boot->world_address);
    default:
        return false;
    }
}

void world_port_send(const void *frame, size_t bytes)
{
    if (!sender_is_world(frame, bytes)) {
        uint64_t now_ns = timer_now_ns();
        if (now_ns - logged_at_ns >= log_interval_ns) {
            logged_at_ns = now_ns;
            platform_log(LOG_WARNING, "world: a frame of %zu bytes that is not under the world's own addresses was dropped", bytes);
        }
        return;
    }
    uint8_t *place = virtio_net_place();
    if (place == NULL) {
        return;
    }
    memcpy(place, frame, bytes);
    if (bytes < ETHERNET_FRAME_BYTES_MIN) {
        memset(place + bytes, 0, ETHERNET_FRAME_BYTES_MIN - bytes);
        bytes = ETHERNET_FRAME_BYTES_MIN;
    }
    virtio_net_commit(bytes);
}

void world_port_answer(const uint8_t *frame)
{
    if (!held || !events->majority(events->context)) {
        return;
    }
    const uint8_t *asker = frame + ARP_SENDER_HARDWARE;
    send_arp(ARP_OPERATION_REPLY, asker, asker, frame + ARP_SENDER_ADDRESS);
}

void world_port_receive(const uint8_t *frame, size_t bytes)
{
    if (!held || bytes > ABI_FRAME_BYTES_MAX) {
        return;
    }
    const uint8_t *for_whom = NULL;
    switch (ethernet_read16(frame + ETHERNET_TYPE)) {
    case ETHERNET_TYPE_ARP:
        for_whom = ethernet_is_arp(frame, bytes) ? frame + ARP_TARGET_ADDRESS : NULL;
        break;
    case ETHERNET_TYPE_IPV4:
        for_whom = bytes >= ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES_MIN ? frame + IPV4_DESTINATION : NULL;
        break;
    default:
        break;
    }
    /* What the world's stack would throw away must not cost an epoch. */
    if (for_whom == NULL || !ethernet_same_ipv4(for_whom, boot->world_address)) {
        return;
    }
    if (ethernet_read16(frame + ETHERNET_TYPE) == ETHERNET_TYPE_ARP && ethernet_read16(frame + ARP_OPERATION) == ARP_OPERATION_REQUEST) {
        world_port_answer(frame);
        return;
    }
    events->world_frame(events->context, frame, bytes);
}
