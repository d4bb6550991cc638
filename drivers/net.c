#include "drivers/net.h"

#include <string.h>

#include "drivers/entropy.h"
#include "drivers/ethernet.h"
#include "drivers/limits.h"
#include "drivers/links.h"
#include "drivers/platform.h"
#include "drivers/timer.h"
#include "drivers/virtio_net.h"
#include "drivers/world_port.h"
#include "include/check.h"

#include "lwip/etharp.h"
#include "lwip/init.h"
#include "lwip/netif.h"
#include "lwip/sys.h"
#include "lwip/priv/tcp_priv.h"
#include "netif/ethernet.h"

static const uint64_t tick_ns = TCP_TMR_INTERVAL * 1000000ull;
static const uint64_t arp_tick_ns = ARP_TMR_INTERVAL * 1000000ull;
static const uint64_t refusal_log_interval_ns = 1000000000;

static const struct boot_config *boot;
static struct netif netif;
static uint64_t ticked_at_ns;     /* lwIP's TCP clock stands here; a multiple of tick_ns after the start */
static uint64_t arp_ticked_at_ns;
static uint64_t refusal_logged_at_ns;
static uint64_t refusals;
static bool receive_left;

/* -- what lwIP asks of its surroundings -- */

void lwip_assert_failed(const char *what, const char *file, int line)
{
    check_failed(file, line, what);
}

uint32_t lwip_random(void)
{
    uint32_t word;
    entropy_fill(&word, sizeof word);
    return word;
}

u32_t sys_now(void)
{
    return (u32_t)(timer_now_ns() / 1000000);
}

/* -- lwIP's clock --
 *
 * tcp_tmr is due each TCP_TMR_INTERVAL while a connection waits for something. Otherwise it stands still, and tcp_ticks is moved on
 * before anything looks at it. */

static bool connection_waits(const struct tcp_pcb *pcb)
{
    return pcb->state != ESTABLISHED || pcb->unacked != NULL || pcb->unsent != NULL || pcb->refused_data != NULL ||
           pcb->ooseq != NULL || pcb->persist_backoff != 0 || (pcb->flags & (TF_ACK_DELAY | TF_ACK_NOW | TF_CLOSEPEND)) != 0;
}

static bool tick_needed(void)
{
    for (const struct tcp_pcb *pcb = tcp_active_pcbs; pcb != NULL; pcb = pcb->next) {
        if (connection_waits(pcb)) {
            return true;
        }
    }
    return tcp_tw_pcbs != NULL;
}

void net_clock_catch_up(void)
{
    uint64_t now_ns = timer_now_ns();
    if (now_ns - ticked_at_ns < tick_ns || tick_needed()) {
        return;
    }
    /* Slow ticks, which tcp_ticks counts, are every second one: moving on by whole pairs keeps tcp_tmr's own count in step. */
    uint64_t pairs = (now_ns - ticked_at_ns) / (2 * tick_ns);
    tcp_ticks += (u32_t)pairs;
    ticked_at_ns += pairs * 2 * tick_ns;
}

static void run_timers(uint64_t now_ns)
{
    net_clock_catch_up();
    if (now_ns - ticked_at_ns >= tick_ns) {
        if (tick_needed()) {
            /* After a stall the timers continue where they stood, as the answers that came meanwhile were not seen yet: running all
             * of the missed ticks now would retransmit for nothing. */
            ticked_at_ns = now_ns - ticked_at_ns >= 2 * tick_ns ? now_ns : ticked_at_ns + tick_ns;
            tcp_tmr();
        }
    }
    if (now_ns - arp_ticked_at_ns >= arp_tick_ns) {
        arp_ticked_at_ns = now_ns;
        etharp_tmr();
    }
}

/* -- frames -- */

static err_t transmit(struct netif *interface, struct pbuf *packet)
{
    (void)interface;
    if (packet->tot_len < NET_FRAME_BYTES_MIN || packet->tot_len > NET_FRAME_BYTES_MAX) {
        return ERR_ARG;
    }
    uint8_t *frame = virtio_net_place();
    if (frame == NULL) {
        return ERR_MEM;
    }
    size_t bytes = pbuf_copy_partial(packet, frame, packet->tot_len, 0);
    if (bytes < ETHERNET_FRAME_BYTES_MIN) {
        memset(frame + bytes, 0, ETHERNET_FRAME_BYTES_MIN - bytes);
        bytes = ETHERNET_FRAME_BYTES_MIN;
    }
    virtio_net_commit(bytes);
    return ERR_OK;
}

static err_t netif_setup(struct netif *interface)
{
    interface->name[0] = 'e';
    interface->name[1] = 'n';
    interface->mtu = (u16_t)virtio_net_mtu();
    interface->hwaddr_len = ETHERNET_ADDRESS_BYTES;
    memcpy(interface->hwaddr, boot->node_macs[boot->node_number - 1], ETHERNET_ADDRESS_BYTES);
    interface->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP;
    interface->output = etharp_output;
    interface->linkoutput = transmit;
    return ERR_OK;
}

static bool address_is_peer(const uint8_t *address)
{
    for (unsigned node = 1; node <= boot->node_count; node++) {
        if (node != boot->node_number && ethernet_same_ipv4(address, boot->node_addresses[node - 1])) {
            return true;
        }
    }
    return false;
}

/* Answer an attempt to connect from somebody who is no peer as a closed port does (RFC 9293, 3.10.7.1), without spending a
 * connection on it. */
static void refuse(const uint8_t *frame, size_t bytes)
{
    size_t header_bytes = (size_t)(frame[IPV4_VERSION] & 15) * 4;
    if (frame[IPV4_PROTOCOL] != IPV4_PROTOCOL_TCP || header_bytes < IPV4_HEADER_BYTES_MIN ||
        bytes < ETHERNET_HEADER_BYTES + header_bytes + TCP_HEADER_BYTES_MIN) {
        return;
    }
    const uint8_t *segment = frame + ETHERNET_HEADER_BYTES + header_bytes;
    if ((segment[TCP_FLAG_BITS] & (TCP_FLAG_SYN | TCP_FLAG_RST | TCP_FLAG_ACK)) != TCP_FLAG_SYN) {
        return;
    }
    ip_addr_t source;
    memcpy(&source, frame + IPV4_SOURCE, IPV4_ADDRESS_BYTES);
    uint16_t port = ethernet_read16(segment + TCP_DESTINATION_PORT);
    tcp_rst_netif(&netif, 0, ethernet_read32(segment + TCP_SEQUENCE) + 1, &netif.ip_addr, &source, port,
                  ethernet_read16(segment + TCP_SOURCE_PORT));
    refusals++;
    uint64_t now_ns = timer_now_ns();
    if (refusals == 1 || now_ns - refusal_logged_at_ns >= refusal_log_interval_ns) {
        refusal_logged_at_ns = now_ns;
        const uint8_t *from = frame + IPV4_SOURCE;
        platform_log(LOG_WARNING, "net: %u.%u.%u.%u is no peer: its connection to port %u was refused (%llu so far)", from[0], from[1],
                     from[2], from[3], port, (unsigned long long)refusals);
    }
}

/* May lwIP see this frame for the node? If not, it was dealt with. */
static bool frame_is_for_lwip(const uint8_t *frame, size_t bytes)
{
    switch (ethernet_read16(frame + ETHERNET_TYPE)) {
    case ETHERNET_TYPE_ARP:
        return ethernet_is_arp(frame, bytes);
    case ETHERNET_TYPE_IPV4:
        if (bytes < ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES_MIN ||
            !ethernet_same_ipv4(frame + IPV4_DESTINATION, boot->node_addresses[boot->node_number - 1])) {
            return false;
        }
        if (frame[IPV4_PROTOCOL] == IPV4_PROTOCOL_ICMP || address_is_peer(frame + IPV4_SOURCE)) {
            return true;
        }
        refuse(frame, bytes);
        return false;
    default:
        return false;
    }
}

static void give_to_lwip(const uint8_t *frame, size_t bytes)
{
    struct pbuf *packet = pbuf_alloc(PBUF_RAW, (u16_t)bytes, PBUF_POOL);
    if (packet == NULL) {
        return; /* as if lost on the wire: the sender repeats it */
    }
    if (pbuf_take(packet, frame, (u16_t)bytes) != ERR_OK || netif.input(packet, &netif) != ERR_OK) {
        pbuf_free(packet);
    }
}

static void frame_received(const uint8_t *frame, size_t bytes)
{
    static const uint8_t everyone[ETHERNET_ADDRESS_BYTES] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    const uint8_t *own_address = boot->node_addresses[boot->node_number - 1];
    const uint8_t *destination = frame + ETHERNET_DESTINATION;
    if (ethernet_same(destination, netif.hwaddr)) {
        if (frame_is_for_lwip(frame, bytes)) {
            give_to_lwip(frame, bytes);
        }
    } else if (ethernet_same(destination, boot->world_mac)) {
        world_port_receive(frame, bytes);
    } else if (ethernet_same(destination, everyone) && ethernet_is_arp(frame, bytes) &&
               ethernet_read16(frame + ARP_OPERATION) == ARP_OPERATION_REQUEST) {
        if (ethernet_same_ipv4(frame + ARP_TARGET_ADDRESS, own_address)) {
            give_to_lwip(frame, bytes);
        } else if (ethernet_same_ipv4(frame + ARP_TARGET_ADDRESS, boot->world_address) &&
                   !ethernet_same_ipv4(frame + ARP_SENDER_ADDRESS, boot->world_address)) {
            world_port_answer(frame);
        }
    }
}

/* -- the loop -- */

enum status net_start(const struct boot_config *boot_config, const struct net_events *events)
{
    boot = boot_config;
    enum status status = virtio_net_start();
    if (status != STATUS_OK) {
        return status;
    }
    ip4_addr_t address, netmask, gateway;
    memcpy(&address, boot->node_addresses[boot->node_number - 1], IPV4_ADDRESS_BYTES);
    memcpy(&netmask, boot->netmask, IPV4_ADDRESS_BYTES);
    memcpy(&gateway, boot->gateway, IPV4_ADDRESS_BYTES);
    ticked_at_ns = arp_ticked_at_ns = timer_now_ns();
    lwip_init();
    if (netif_add(&netif, &address, &netmask, &gateway, NULL, netif_setup, ethernet_input) == NULL) {
        return STATUS_INVALID;
    }
    netif_set_default(&netif);
    netif_set_up(&netif);
    for (unsigned node = 1; node <= boot->node_count; node++) {
        struct eth_addr hardware;
        ip4_addr_t peer;
        memcpy(&hardware, boot->node_macs[node - 1], sizeof hardware);
        memcpy(&peer, boot->node_addresses[node - 1], sizeof peer);
        /* Peers are known, so nobody can claim to be one by a forged answer, and no request delays the first connection. */
        if (node != boot->node_number && etharp_add_static_entry(&peer, &hardware) != ERR_OK) {
            return STATUS_INVALID;
        }
    }
    world_port_start(boot, events);
    links_start(boot, events);
    const uint8_t *own = boot->node_addresses[boot->node_number - 1];
    platform_log(LOG_INFO, "net: node %u at %u.%u.%u.%u, packets of %u bytes", boot->node_number, own[0], own[1], own[2], own[3], virtio_net_mtu());
    return STATUS_OK;
}

bool net_poll(void)
{
    net_clock_catch_up();
    receive_left = virtio_net_poll(frame_received);
    PBUF_CHECK_FREE_OOSEQ(); /* what waits behind a gap in a stream makes way when buffers run out */
    uint64_t now_ns = timer_now_ns();
    run_timers(now_ns);
    world_port_tick(now_ns);
    links_poll(now_ns);
    virtio_net_flush();
    return receive_left;
}

void net_flush(void)
{
    virtio_net_flush();
}

uint64_t net_next_deadline_ns(void)
{
    uint64_t deadline_ns = links_next_deadline_ns();
    uint64_t announcement_ns = world_port_next_deadline_ns();
    deadline_ns = announcement_ns < deadline_ns ? announcement_ns : deadline_ns;
    if (tick_needed() && ticked_at_ns + tick_ns < deadline_ns) {
        deadline_ns = ticked_at_ns + tick_ns;
    }
    return deadline_ns;
}
