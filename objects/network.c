#include "objects/network.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <lwip/etharp.h>
#include <lwip/init.h>
#include <lwip/netif.h>
#include <lwip/pbuf.h>
#include <lwip/memp.h>
#include <lwip/priv/tcp_priv.h>
#include <lwip/prot/etharp.h>
#include <lwip/stats.h>
#include <lwip/sys.h>
#include <lwip/timeouts.h>
#include <netif/ethernet.h>

#include "objects/abi_calls.h"
#include "objects/console.h"
#include "objects/limits.h"

#define NS_PER_MS 1000000ull
#define TCP_TICK_NS (TCP_TMR_INTERVAL * NS_PER_MS)
#define TCP_REST_NS (2 * TCP_MSL * NS_PER_MS)
#define ARP_TICK_NS (ARP_TMR_INTERVAL * NS_PER_MS)
#define ARP_ANSWER_TICKS 8      /* a pending entry is asked for again, or given up, within so many ticks */
#define ARP_TICKS_MAX 400       /* more than an entry's life */
#define PRIORITY_PROGRAM 2     /* of sockets not connected yet, and of listening ones; connected ones have TCP_PRIO_MIN */
#define DUPLICATE_ACKS 4        /* the same empty ACK so often makes a peer retransmit at once (three duplicates of it) */

static struct netif interface;
static uint64_t tcp_due_ns;             /* next TCP tick; 0: the ticks stand still */
static uint64_t tcp_last_ns;            /* up to when TCP's time has been counted */
static uint64_t arp_last_ns;            /* up to when ARP's time has been counted */
static uint32_t arp_ticks_wanted;       /* ARP waits for an answer: so many ticks more */
static bool transmit_blocked;           /* something was refused because the ring was full */
static bool sent_since_poll;            /* and so no timer was planned for it yet */
static uint64_t resumed_seen;

/* --- What lwIP asks of the world ------------------------------------------------------------------------- */

u32_t sys_now(void)
{
    return (u32_t)(abi_clock() / NS_PER_MS);
}

uint32_t lwip_random(void)
{
    uint32_t number;
    abi_entropy(&number, sizeof number);
    return number;
}

_Noreturn void lwip_assert_failed(const char *what, const char *file, int line)
{
    world_check_failed(what, file, line);
}

/* lwIP would start its own timers with these. Whether ticks are needed is looked at after each round instead. */
void sys_timeouts_init(void)
{
}

void tcp_timer_needed(void)
{
}

/* --- The rings ------------------------------------------------------------------------------------------ */

static bool is_arp(const struct abi_frame_slot *slot)
{
    return slot->bytes >= SIZEOF_ETH_HDR + SIZEOF_ETHARP_HDR && slot->frame[12] == 0x08 && slot->frame[13] == 0x06;
}

/* A request that wants an answer; an announcement asks for the sender's own address. */
static bool is_arp_question(const struct abi_frame_slot *slot)
{
    const uint8_t *arp = slot->frame + SIZEOF_ETH_HDR;
    return is_arp(slot) && arp[7] == ARP_REQUEST && memcmp(arp + 14, arp + 24, 4) != 0;
}

static bool is_arp_answer(const struct abi_frame_slot *slot)
{
    return is_arp(slot) && slot->frame[SIZEOF_ETH_HDR + 7] == ARP_REPLY;
}

static err_t frame_output(struct netif *netif, struct pbuf *packet)
{
    (void)netif;
    if (packet->tot_len < 14 || packet->tot_len > ABI_FRAME_BYTES_MAX)
        return ERR_BUF;
    if (!sent_since_poll)
        sent_since_poll = true;
    if (abi_transmit_room() == 0) {
        transmit_blocked = true;
        return ERR_MEM;
    }
    volatile struct abi_ring_state *state = abi_ring_state();
    struct abi_frame_slot *slots = (struct abi_frame_slot *)ABI_TRANSMIT_ADDRESS;
    struct abi_frame_slot *slot = &slots[state->transmit_produced % ABI_FRAME_SLOTS];
    slot->bytes = packet->tot_len;
    (void)pbuf_copy_partial(packet, slot->frame, packet->tot_len, 0);
    if (is_arp_question(slot))
        arp_ticks_wanted = ARP_ANSWER_TICKS;
    __asm__ volatile("" ::: "memory"); /* the frame stands before its count says so */
    state->transmit_produced++;
    return ERR_OK;
}

/* --- Takeover ------------------------------------------------------------------------------------------- */

/* Up to a window of what a peer had sent is lost with the old host, and a peer that retransmits one segment at a time for three duplicate
 * ACKs waits for its timer, a second or more, before each other one. So until all that it can have had under way has come, each
 * segment that comes is acknowledged often enough to make it send the next one. The end of that stretch is kept with the connection. */
#define RECOVERING (1ull << 32)

static u8_t recovery_id;

static uint64_t recovery_of(const struct tcp_pcb *pcb)
{
    return (uint64_t)(uintptr_t)tcp_ext_arg_get(pcb, recovery_id);
}

static void set_recovery(struct tcp_pcb *pcb, uint64_t recovery)
{
    tcp_ext_arg_set(pcb, recovery_id, (void *)(uintptr_t)recovery);
}

/* The same empty ACK, several times. */
static void ask_for_more(struct tcp_pcb *pcb)
{
    for (unsigned i = 0; i < DUPLICATE_ACKS; i++)
        (void)tcp_send_empty_ack(pcb);
}

/* The peer may believe in a silence of a second or more before it retransmits, and what we had under way may be lost with the node.
 * Duplicate ACKs make it retransmit at once; our own unacknowledged data goes out again. Dead peers answer with a reset. */
static void nudge_connections(void)
{
    struct tcp_pcb *next;
    for (struct tcp_pcb *pcb = tcp_active_pcbs; pcb != NULL; pcb = next) {
        next = pcb->next;
        if (pcb->state >= ESTABLISHED) {
            set_recovery(pcb, RECOVERING | (u32_t)(pcb->rcv_nxt + TCP_WND));
            ask_for_more(pcb);
        }
        if (pcb->unacked != NULL)
            tcp_rexmit_rto(pcb);
        else
            (void)tcp_output(pcb);
    }
}

static void notice_resume(void)
{
    uint64_t resumed = abi_info()->resumed;
    if (resumed == resumed_seen)
        return;
    resumed_seen = resumed;
    nudge_connections();
}

/* The open connection that the frame is for, or NULL; `sequence`: of its segment. */
static struct tcp_pcb *connection_of(const struct abi_frame_slot *slot, u32_t *sequence)
{
    const uint8_t *packet = slot->frame + SIZEOF_ETH_HDR;
    if (slot->bytes < SIZEOF_ETH_HDR + 40 || slot->frame[12] != 0x08 || slot->frame[13] != 0x00 || packet[9] != IP_PROTO_TCP)
        return NULL;
    const uint8_t *segment = packet + (packet[0] & 15u) * 4u;
    if (segment + 20 > slot->frame + slot->bytes)
        return NULL;
    unsigned remote_port = segment[0] * 256u + segment[1], local_port = segment[2] * 256u + segment[3];
    for (struct tcp_pcb *pcb = tcp_active_pcbs; pcb != NULL; pcb = pcb->next) {
        if (pcb->local_port == local_port && pcb->remote_port == remote_port
            && memcmp(packet + 12, &ip_2_ip4(&pcb->remote_ip)->addr, 4) == 0) {
            memcpy(sequence, segment + 4, sizeof *sequence);
            *sequence = lwip_ntohl(*sequence);
            return pcb;
        }
    }
    return NULL;
}

/* The recovering connection that the frame is for, or NULL. */
static struct tcp_pcb *recovering_connection(const struct abi_frame_slot *slot)
{
    u32_t sequence;
    struct tcp_pcb *pcb = connection_of(slot, &sequence);
    return pcb != NULL && (recovery_of(pcb) & RECOVERING) != 0 ? pcb : NULL;
}

static bool is_active(const struct tcp_pcb *wanted)
{
    for (const struct tcp_pcb *pcb = tcp_active_pcbs; pcb != NULL; pcb = pcb->next) {
        if (pcb == wanted)
            return true;
    }
    return false;
}

/* After a frame for a recovering connection, which had come to `before`. */
static void continue_recovery(struct tcp_pcb *pcb, u32_t before)
{
    if (!is_active(pcb) || pcb->rcv_nxt == before)
        return;
    if (TCP_SEQ_GEQ(pcb->rcv_nxt, (u32_t)recovery_of(pcb)))
        set_recovery(pcb, 0);
    else
        ask_for_more(pcb);
}

/* --- Received frames ------------------------------------------------------------------------------------ */

/* Is the packet a datagram of UDP, or a segment of TCP with data? `bytes` of it stand at `packet`. */
static bool carries_data(const uint8_t *packet, size_t bytes)
{
    if (bytes < 40)
        return false;
    unsigned header = (packet[0] & 15u) * 4u, total = packet[2] * 256u + packet[3];
    if (packet[9] != IP_PROTO_TCP)
        return packet[9] == IP_PROTO_UDP;
    return header >= 20 && header + 20 <= bytes && total > header + (packet[header + 12] >> 4) * 4u;
}

/* Does the frame bring data that can wait: to a program's connection, or to one of the world's own port of which much is unread, or
 * which misses what comes before? Those that do not read must not take the last buffers from the world's port, through which it is reached. */
static bool can_wait(const struct abi_frame_slot *slot)
{
    const uint8_t *packet = slot->frame + SIZEOF_ETH_HDR;
    if (slot->frame[12] != 0x08 || slot->frame[13] != 0x00 || !carries_data(packet, slot->bytes - SIZEOF_ETH_HDR))
        return false;
    const uint8_t *segment = packet + (packet[0] & 15u) * 4u;
    if (packet[9] != IP_PROTO_TCP || segment[2] * 256u + segment[3] != WORLD_PORT)
        return true;
    u32_t sequence;
    const struct tcp_pcb *pcb = connection_of(slot, &sequence);
    return pcb != NULL && (pcb->rcv_wnd + NETWORK_UNREAD_BYTES < TCP_WND || TCP_SEQ_GT(sequence, pcb->rcv_nxt));
}

static bool buffers_are_scarce(void)
{
    return lwip_stats.memp[MEMP_PBUF_POOL]->used + NETWORK_BUFFERS_KEPT >= PBUF_POOL_SIZE;
}

/* A peer opens a connection from the port of one that rests here: the new one takes its place. A higher sequence number proves that the
 * SYN is no old segment (RFC 1122, 4.2.2.13). lwIP would refuse it until the rest is over. */
static void end_rest_for(const struct abi_frame_slot *slot)
{
    const uint8_t *packet = slot->frame + SIZEOF_ETH_HDR;
    unsigned header = (packet[0] & 15u) * 4u;
    if (tcp_tw_pcbs == NULL || slot->bytes < SIZEOF_ETH_HDR + header + TCP_HLEN || slot->frame[12] != 0x08 || slot->frame[13] != 0x00 ||
        packet[9] != IP_PROTO_TCP)
        return;
    struct tcp_hdr segment;
    ip4_addr_t source;
    memcpy(&segment, packet + header, sizeof segment);
    memcpy(&source, packet + offsetof(struct ip_hdr, src), sizeof source);
    if ((TCPH_FLAGS(&segment) & (TCP_SYN | TCP_ACK | TCP_RST)) != TCP_SYN)
        return;
    for (struct tcp_pcb *pcb = tcp_tw_pcbs; pcb != NULL; pcb = pcb->next) {
        if (pcb->local_port == lwip_ntohs(segment.dest) && pcb->remote_port == lwip_ntohs(segment.src) &&
            ip4_addr_eq(ip_2_ip4(&pcb->remote_ip), &source) && TCP_SEQ_GT(lwip_ntohl(segment.seqno), pcb->rcv_nxt)) {
            tcp_abort(pcb); /* of one that rests: forgets it, says nothing */
            return;
        }
    }
}

/* What programs send to each other lies in the heap until it is read, each segment, however short, in a buffer of its own. When memory is
 * scarce such data is lost, as on a wire, and sent again later. What comes from outside lies in the pool, and is looked at in take_frame. */
int lwip_refuse_packet(struct pbuf *packet)
{
    if (network_may_send() || !pbuf_match_allocsrc(packet, PBUF_TYPE_ALLOC_SRC_MASK_STD_HEAP) || !carries_data(packet->payload, packet->len))
        return 0;
    pbuf_free(packet);
    return 1;
}

static void take_frame(const struct abi_frame_slot *slot)
{
    if (slot->bytes < 14 || slot->bytes > ABI_FRAME_BYTES_MAX || (buffers_are_scarce() && can_wait(slot)))
        return;
    struct pbuf *packet = pbuf_alloc(PBUF_RAW, (u16_t)slot->bytes, PBUF_POOL);
    if (packet == NULL)
        return;
    (void)pbuf_take(packet, slot->frame, (u16_t)slot->bytes);
    if (is_arp_answer(slot))
        arp_ticks_wanted = 0;
    end_rest_for(slot);
    struct tcp_pcb *recovering = recovering_connection(slot);
    u32_t before = recovering != NULL ? recovering->rcv_nxt : 0;
    if (interface.input(packet, &interface) != ERR_OK)
        pbuf_free(packet);
    if (recovering != NULL)
        continue_recovery(recovering, before);
}

static void take_frames(void)
{
    volatile struct abi_ring_state *state = abi_ring_state();
    const struct abi_frame_slot *slots = (const struct abi_frame_slot *)ABI_RECEIVE_ADDRESS;
    for (unsigned i = 0; i < NETWORK_FRAMES_PER_POLL && abi_frame_waits(); i++) {
        take_frame(&slots[state->receive_consumed % ABI_FRAME_SLOTS]);
        state->receive_consumed++;
    }
}

/* The ring had no room for something; now it has: let every connection send on. The kernel ends a wait when there is so much room again. */
static void unblock_transmit(void)
{
    if (!transmit_blocked || abi_transmit_room() < ABI_FRAME_SLOTS_LOW)
        return;
    transmit_blocked = false;
    for (struct tcp_pcb *pcb = tcp_active_pcbs; pcb != NULL; pcb = pcb->next)
        (void)tcp_output(pcb);
}

/* --- Timers --------------------------------------------------------------------------------------------- */

/* Does an open connection need TCP's ticks: for a retransmission, a delayed ACK, a close under way? */
static bool connection_needs_ticks(const struct tcp_pcb *pcb)
{
    if (pcb->state != ESTABLISHED && pcb->state != CLOSE_WAIT)
        return true;
    if (pcb->unsent != NULL || pcb->unacked != NULL || pcb->ooseq != NULL || pcb->refused_data != NULL)
        return true;
    return pcb->persist_backoff > 0 || (pcb->flags & (TF_ACK_DELAY | TF_ACK_NOW | TF_CLOSEPEND | TF_NAGLEMEMERR)) != 0;
}

static bool tcp_needs_ticks(void)
{
    for (const struct tcp_pcb *pcb = tcp_active_pcbs; pcb != NULL; pcb = pcb->next) {
        if (connection_needs_ticks(pcb))
            return true;
    }
    return false;
}

/* Bring TCP's time up to the clock: the last few ticks are run, what was missed before them is only counted. */
static void run_tcp_ticks(uint64_t now_ns)
{
    uint64_t ticks = (now_ns - tcp_last_ns) / TCP_TICK_NS;
    tcp_last_ns += ticks * TCP_TICK_NS;
    if (ticks > NETWORK_TICKS_PER_POLL) {
        tcp_ticks += (u32_t)((ticks - NETWORK_TICKS_PER_POLL) / 2);
        ticks = NETWORK_TICKS_PER_POLL;
    }
    for (; ticks > 0; ticks--)
        tcp_tmr();
}

/* Plan TCP's next tick. Where the ticks stood still, time that passed meanwhile is counted, so that ages of connections are true.
 * A closed connection that only rests (TIME-WAIT) wakes nobody: it is looked at when the world is awake anyway. */
static void plan_tcp_ticks(uint64_t now_ns)
{
    if (!tcp_needs_ticks()) {
        if (tcp_due_ns != 0)
            tcp_due_ns = 0;
        if (tcp_tw_pcbs != NULL && now_ns - tcp_last_ns >= TCP_REST_NS)
            run_tcp_ticks(now_ns);
        return;
    }
    if (tcp_due_ns == 0) {
        uint64_t missed = (now_ns - tcp_last_ns) / TCP_TICK_NS;
        tcp_ticks += (u32_t)(missed / 2);
        tcp_last_ns = now_ns;
    }
    uint64_t due_ns = tcp_last_ns + TCP_TICK_NS;
    if (tcp_due_ns != due_ns)
        tcp_due_ns = due_ns;
}

/* ARP entries age by the clock, but nobody is woken for it: only a question without an answer needs ticks of its own. */
static void run_arp_ticks(uint64_t now_ns)
{
    uint64_t ticks = (now_ns - arp_last_ns) / ARP_TICK_NS;
    if (ticks == 0)
        return;
    arp_last_ns += ticks * ARP_TICK_NS;
    if (ticks > ARP_TICKS_MAX)
        ticks = ARP_TICKS_MAX;
    for (; ticks > 0; ticks--) {
        etharp_tmr();
        if (arp_ticks_wanted > 0)
            arp_ticks_wanted--;
    }
}

/* --- Connections of programs ------------------------------------------------------------------------------- */

/* Forget the closed connection that has rested longest; false: there is none. */
static bool end_oldest_rest(void)
{
    struct tcp_pcb *oldest = NULL;
    for (struct tcp_pcb *pcb = tcp_tw_pcbs; pcb != NULL; pcb = pcb->next) {
        if (oldest == NULL || tcp_ticks - pcb->tmr > tcp_ticks - oldest->tmr)
            oldest = pcb;
    }
    if (oldest == NULL)
        return false;
    tcp_abort(oldest);
    return true;
}

/* Abort the open connection of the lowest priority that was idle longest; false: there is none. */
static bool close_oldest_idle(void)
{
    struct tcp_pcb *oldest = NULL;
    for (struct tcp_pcb *pcb = tcp_active_pcbs; pcb != NULL; pcb = pcb->next) {
        if (pcb->prio == TCP_PRIO_MIN && (oldest == NULL || tcp_ticks - pcb->tmr > tcp_ticks - oldest->tmr))
            oldest = pcb;
    }
    if (oldest == NULL)
        return false;
    tcp_abort(oldest);
    return true;
}

bool network_may_send(void)
{
    return lwip_stats.mem.used + NETWORK_MEMORY_KEPT_BYTES <= MEM_SIZE
           && lwip_stats.memp[MEMP_TCP_SEG]->used + NETWORK_SEGMENTS_KEPT <= MEMP_NUM_TCP_SEG;
}

struct tcp_pcb *network_new_connection(void)
{
    if (lwip_stats.memp[MEMP_TCP_PCB]->used + NETWORK_CONNECTIONS_KEPT >= MEMP_NUM_TCP_PCB && !end_oldest_rest() && !close_oldest_idle())
        return NULL;
    struct tcp_pcb *pcb = tcp_new();
    if (pcb != NULL)
        tcp_setprio(pcb, PRIORITY_PROGRAM);
    return pcb;
}

/* --- The whole ------------------------------------------------------------------------------------------ */

static err_t interface_init(struct netif *netif)
{
    const volatile struct abi_info *info = abi_info();
    netif->name[0] = 'w';
    netif->name[1] = '0';
    netif->mtu = 1500;
    netif->hwaddr_len = sizeof info->mac;
    for (unsigned i = 0; i < sizeof info->mac; i++)
        netif->hwaddr[i] = info->mac[i];
    netif->output = etharp_output;
    netif->linkoutput = frame_output;
    netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP;
    return ERR_OK;
}

static ip4_addr_t address_of(const volatile uint8_t bytes[4])
{
    ip4_addr_t address;
    IP4_ADDR(&address, bytes[0], bytes[1], bytes[2], bytes[3]);
    return address;
}

void network_init(void)
{
    const volatile struct abi_info *info = abi_info();
    ip4_addr_t address = address_of(info->address), netmask = address_of(info->netmask), gateway = address_of(info->gateway);
    lwip_init();
    recovery_id = tcp_ext_arg_alloc_id();
    tcp_last_ns = arp_last_ns = abi_clock();
    resumed_seen = info->resumed;
    CHECK(netif_add(&interface, &address, &netmask, &gateway, NULL, interface_init, ethernet_input) != NULL);
    netif_set_default(&interface);
    netif_set_up(&interface);
}

void network_poll(uint64_t now_ns)
{
    notice_resume();
    take_frames();
    if (buffers_are_scarce())
        pbuf_free_ooseq(); /* of one connection, what waits behind a gap: its peer sends it again */
    netif_poll_all();
    unblock_transmit();
    run_arp_ticks(now_ns);
    if (tcp_due_ns != 0 && now_ns >= tcp_due_ns)
        run_tcp_ticks(now_ns);
    netif_poll_all();
}

uint64_t network_plan(uint64_t now_ns)
{
    plan_tcp_ticks(now_ns);
    if (sent_since_poll)
        sent_since_poll = false;
    uint64_t due_ns = tcp_due_ns != 0 ? tcp_due_ns : ABI_NEVER;
    if (arp_ticks_wanted > 0 && arp_last_ns + ARP_TICK_NS < due_ns)
        due_ns = arp_last_ns + ARP_TICK_NS;
    return due_ns;
}

bool network_poll_is_due(void)
{
    if (sent_since_poll)
        return true;
    for (const struct netif *netif = netif_list; netif != NULL; netif = netif->next) {
        if (netif->loop_first != NULL)
            return true;
    }
    return false;
}
