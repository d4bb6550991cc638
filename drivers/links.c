/* States of a link, and what moves it:
 *
 *   DOWN        begin_attempt (initiator, when the retry time comes)              -> CONNECTING
 *               accept_connection (the other side)                                 -> UP
 *   CONNECTING  connection_connected                                               -> UP
 *               connection_failed, or the attempt's deadline                       -> DOWN
 *   UP          connection_received with the end of the stream, connection_failed  -> UP, `current.ended`
 *               links_reset                                                        -> DOWN
 *   UP, ended   tell_link, once every byte received before was told                -> DOWN
 *   DOWN        promote_candidate (a waiting connection)                           -> UP
 *
 * Invariants:
 * 1. lwIP's callbacks tell nobody: events are told by links_poll, outside of lwIP, so whoever is told may call anything here. Callbacks note things, but
 *    accept_connection acts on other connections of its link: it ends the one that waited before and has the peer asked whether it knows the others;
 *    and connection_received ends a candidate that has received too much.
 * 2. `current.tcp` is not NULL in CONNECTING and in UP unless ended; no other place keeps the pointer.
 * 3. up_told: the node knows of the link; exactly one down event or links_reset ends that. */
#include "drivers/links.h"

#include <string.h>

#include "drivers/limits.h"
#include "drivers/platform.h"
#include "drivers/timer.h"
#include "drivers/virtio_net.h"
#include "include/check.h"

#include "lwip/priv/tcp_priv.h"
#include "lwip/tcp.h"

enum link_state { LINK_DOWN, LINK_CONNECTING, LINK_UP };

struct link;

/* One TCP connection and what it has received that was not told yet. */
struct connection {
    struct link *link;
    struct tcp_pcb *tcp;
    bool ended;
    struct pbuf *received[LINK_PACKETS_MAX];   /* positions count for ever */
    unsigned received_put, received_taken;
};

struct link {
    unsigned peer, lane;
    bool exists;
    bool initiator;
    enum link_state state;
    bool up_told;
    unsigned generation;              /* grows whenever the current connection changes */
    uint64_t deadline_ns;             /* DOWN: next attempt; CONNECTING: its end */
    struct connection *current;
    struct connection *candidate;
    uint64_t candidate_deadline_ns;
    struct connection connections[2];
};

static const struct boot_config *boot;
static const struct net_events *events;
static struct link links[MACHINE_PEERS_MAX][MACHINE_LANES];
static struct tcp_pcb *listeners[MACHINE_LANES];

static struct link *link_of(unsigned peer, unsigned lane)
{
    CHECK(peer >= 1);
    CHECK(peer <= MACHINE_PEERS_MAX);
    CHECK(lane < MACHINE_LANES);
    return &links[peer - 1][lane];
}

static uint64_t retry_time_ns(uint64_t now_ns)
{
    uint32_t spread_ms = lwip_random() % LINK_RETRY_MS_SPREAD;
    return now_ns + (LINK_RETRY_MS_MIN + spread_ms) * 1000000ull;
}

/* -- connections -- */

/* Forget everything of the connection; its peer gets a reset. One of its own callbacks that does so returns ERR_ABRT. */
static void connection_drop(struct connection *connection)
{
    while (connection->received_taken != connection->received_put) {
        pbuf_free(connection->received[connection->received_taken++ % LINK_PACKETS_MAX]);
    }
    if (connection->tcp != NULL) {
        struct tcp_pcb *tcp = connection->tcp;
        connection->tcp = NULL;
        tcp_arg(tcp, NULL);
        tcp_recv(tcp, NULL);
        tcp_err(tcp, NULL);
        tcp_abort(tcp);
    }
    connection->ended = false;
}

static unsigned buffers_held(const struct connection *connection)
{
    unsigned count = 0;
    for (unsigned at = connection->received_taken; at != connection->received_put; at++) {
        count += pbuf_clen(connection->received[at % LINK_PACKETS_MAX]);
    }
    return count;
}

static err_t connection_received(void *argument, struct tcp_pcb *tcp, struct pbuf *packet, err_t error)
{
    (void)tcp;
    (void)error;
    struct connection *connection = argument;
    if (packet == NULL) {
        connection->ended = true;
        return ERR_OK;
    }
    /* Nobody takes what a candidate receives: it must not hold the pool. One packet may be many short ones that came out of order. */
    if (connection == connection->link->candidate && buffers_held(connection) + pbuf_clen(packet) > LINK_CANDIDATE_BUFFERS_MAX) {
        pbuf_free(packet);
        connection_drop(connection);
        return ERR_ABRT;
    }
    if (connection->received_put - connection->received_taken >= LINK_PACKETS_MAX) {
        return ERR_MEM; /* lwIP keeps it and offers it again */
    }
    connection->received[connection->received_put++ % LINK_PACKETS_MAX] = packet;
    return ERR_OK;
}

/* lwIP has freed the connection: reset by the other side, or given up. */
static void connection_failed(void *argument, err_t error)
{
    (void)error;
    struct connection *connection = argument;
    connection->tcp = NULL;
    connection->ended = true;
}

static void connection_adopt(struct connection *connection, struct tcp_pcb *tcp)
{
    connection->tcp = tcp;
    connection->ended = false;
    tcp_arg(tcp, connection);
    tcp_recv(tcp, connection_received);
    tcp_err(tcp, connection_failed);
    tcp_nagle_disable(tcp);
    /* lwIP makes room for new connections by ending ones of lower priority. */
    tcp_setprio(tcp, TCP_PRIO_MAX);
}

static err_t connection_connected(void *argument, struct tcp_pcb *tcp, err_t error)
{
    (void)tcp;
    (void)error;
    struct connection *connection = argument;
    connection->link->state = LINK_UP;
    return ERR_OK;
}

/* -- links -- */

/* End the current connection, if any. */
static void link_take_down(struct link *link, uint64_t now_ns)
{
    connection_drop(link->current);
    link->state = LINK_DOWN;
    link->up_told = false;
    link->generation++;
    link->deadline_ns = link->initiator ? retry_time_ns(now_ns) : UINT64_MAX;
}

static void begin_attempt(struct link *link, uint64_t now_ns)
{
    link->deadline_ns = retry_time_ns(now_ns);
    struct tcp_pcb *tcp = tcp_new();
    if (tcp == NULL) {
        return;
    }
    ip_addr_t address;
    memcpy(&address, boot->node_addresses[link->peer - 1], sizeof address);
    connection_adopt(link->current, tcp);
    if (tcp_connect(tcp, &address, (u16_t)(LINK_PORT_BASE + link->lane), connection_connected) != ERR_OK) {
        connection_drop(link->current);
        return;
    }
    link->state = LINK_CONNECTING;
    link->deadline_ns = now_ns + LINK_CONNECT_TIMEOUT_MS * 1000000ull;
}

/* Ask whether the peer still knows its connections: one that has restarted answers with a reset. */
static void probe_peer(unsigned peer)
{
    for (unsigned lane = 0; lane < MACHINE_LANES; lane++) {
        const struct link *link = link_of(peer, lane);
        if (link->state == LINK_UP && link->current->tcp != NULL) {
            (void)tcp_keepalive(link->current->tcp); /* not sent: the channel's own silence limit ends the link */
        }
    }
}

static err_t accept_connection(void *argument, struct tcp_pcb *tcp, err_t error)
{
    if (tcp == NULL || error != ERR_OK) {
        return ERR_VAL;
    }
    unsigned lane = (unsigned)((struct tcp_pcb **)argument - listeners);
    struct link *link = NULL;
    for (unsigned peer = 1; peer <= MACHINE_PEERS_MAX; peer++) {
        struct link *of_peer = link_of(peer, lane);
        if (of_peer->exists && !of_peer->initiator &&
            memcmp(&tcp->remote_ip, boot->node_addresses[peer - 1], sizeof boot->node_addresses[0]) == 0) {
            link = of_peer;
        }
    }
    if (link == NULL) {
        platform_log(LOG_WARNING, "links: %s connected, which is not a peer that should; refused", ip4addr_ntoa(&tcp->remote_ip));
        tcp_abort(tcp);
        return ERR_ABRT;
    }
    if (link->state == LINK_DOWN) {
        connection_adopt(link->current, tcp);
        link->state = LINK_UP;
        return ERR_OK;
    }
    connection_drop(link->candidate);
    connection_adopt(link->candidate, tcp);
    link->candidate_deadline_ns = timer_now_ns() + LINK_CANDIDATE_TIMEOUT_MS * 1000000ull;
    probe_peer(link->peer);
    return ERR_OK;
}

/* The link is down: the connection that waits, if there is one, becomes the link. */
static void promote_candidate(struct link *link)
{
    if (link->candidate->tcp == NULL) {
        return;
    }
    struct connection *promoted = link->candidate;
    link->candidate = link->current;
    link->current = promoted;
    link->state = LINK_UP;
    link->generation++;
}

void links_start(const struct boot_config *boot_config, const struct net_events *net_events)
{
    boot = boot_config;
    events = net_events;
    uint64_t now_ns = timer_now_ns();
    for (unsigned peer = 1; peer <= boot->node_count; peer++) {
        for (unsigned lane = 0; lane < MACHINE_LANES; lane++) {
            struct link *link = link_of(peer, lane);
            link->peer = peer;
            link->lane = lane;
            link->exists = peer != boot->node_number;
            link->initiator = boot->node_number < peer;
            link->deadline_ns = link->exists && link->initiator ? now_ns : UINT64_MAX;
            link->current = &link->connections[0];
            link->candidate = &link->connections[1];
            link->connections[0].link = link;
            link->connections[1].link = link;
        }
    }
    for (unsigned lane = 0; lane < MACHINE_LANES; lane++) {
        struct tcp_pcb *tcp = tcp_new();
        CHECK(tcp != NULL);
        err_t error = tcp_bind(tcp, IP_ADDR_ANY, (u16_t)(LINK_PORT_BASE + lane));
        CHECK(error == ERR_OK);
        listeners[lane] = tcp_listen(tcp);
        CHECK(listeners[lane] != NULL);
        tcp_arg(listeners[lane], &listeners[lane]);
        tcp_accept(listeners[lane], accept_connection);
    }
}

/* Half-open connections: lwIP gives them 20 s, in which a flood could keep peers out. */
static void end_half_open(void)
{
    struct tcp_pcb *next;
    for (struct tcp_pcb *tcp = tcp_active_pcbs; tcp != NULL; tcp = next) {
        next = tcp->next;
        if (tcp->state == SYN_RCVD && tcp_ticks - tcp->tmr > LINK_HALF_OPEN_MS / TCP_SLOW_INTERVAL) {
            tcp_abort(tcp);
        }
    }
}

/* Tell the bytes of one packet. False: the link was reset meanwhile. */
static bool tell_packet(struct link *link, const struct pbuf *packet)
{
    unsigned generation = link->generation;
    for (const struct pbuf *part = packet; part != NULL; part = part->next) {
        events->link_data(events->context, link->peer, link->lane, part->payload, part->len);
        if (link->generation != generation) {
            return false;
        }
    }
    return true;
}

static void tell_link(struct link *link, uint64_t now_ns)
{
    unsigned generation = link->generation;
    if (!link->up_told) {
        link->up_told = true;
        events->link_up(events->context, link->peer, link->lane);
    }
    while (link->generation == generation && link->current->received_taken != link->current->received_put) {
        struct pbuf *packet = link->current->received[link->current->received_taken++ % LINK_PACKETS_MAX];
        u16_t bytes = packet->tot_len;
        bool same = tell_packet(link, packet);
        pbuf_free(packet);
        if (same && link->current->tcp != NULL) {
            tcp_recved(link->current->tcp, bytes);
        }
    }
    /* What lwIP still keeps is offered again, and the end of the stream comes after it. */
    if (link->generation == generation && link->current->ended) {
        link_take_down(link, now_ns);
        probe_peer(link->peer); /* the other lanes may be quiet and would not notice by themselves */
        events->link_down(events->context, link->peer, link->lane);
    }
}

static void poll_link(struct link *link, uint64_t now_ns)
{
    if (link->candidate->ended || (link->candidate->tcp != NULL && now_ns >= link->candidate_deadline_ns)) {
        connection_drop(link->candidate);
    }
    switch (link->state) {
    case LINK_DOWN:
        promote_candidate(link);
        if (link->state == LINK_DOWN && now_ns >= link->deadline_ns) {
            begin_attempt(link, now_ns);
        }
        break;
    case LINK_CONNECTING:
        if (link->current->ended || now_ns >= link->deadline_ns) {
            link_take_down(link, now_ns);
        }
        break;
    case LINK_UP:
        break;
    }
    if (link->state == LINK_UP) {
        tell_link(link, now_ns);
    }
}

void links_poll(uint64_t now_ns)
{
    end_half_open();
    for (unsigned peer = 1; peer <= boot->node_count; peer++) {
        for (unsigned lane = 0; lane < MACHINE_LANES; lane++) {
            struct link *link = link_of(peer, lane);
            if (link->exists) {
                poll_link(link, now_ns);
            }
        }
    }
}

uint64_t links_next_deadline_ns(void)
{
    uint64_t deadline_ns = UINT64_MAX;
    for (unsigned peer = 1; peer <= boot->node_count; peer++) {
        for (unsigned lane = 0; lane < MACHINE_LANES; lane++) {
            const struct link *link = link_of(peer, lane);
            if (!link->exists) {
                continue;
            }
            if (link->state != LINK_UP && link->deadline_ns < deadline_ns) {
                deadline_ns = link->deadline_ns;
            }
            if (link->candidate->tcp != NULL) {
                uint64_t due_ns = link->state == LINK_DOWN ? 0 : link->candidate_deadline_ns;
                deadline_ns = due_ns < deadline_ns ? due_ns : deadline_ns;
            }
        }
    }
    return deadline_ns;
}

static bool link_usable(const struct link *link)
{
    return link->exists && link->state == LINK_UP && link->up_told && !link->current->ended && link->current->tcp != NULL;
}

size_t links_room(unsigned peer, unsigned lane)
{
    const struct link *link = link_of(peer, lane);
    if (!link_usable(link)) {
        return 0;
    }
    const struct tcp_pcb *tcp = link->current->tcp;
    /* lwIP counts buffers here. Two are kept aside: the last piece may be a short one. */
    size_t buffers = tcp->snd_queuelen + 2u < TCP_SND_QUEUELEN ? TCP_SND_QUEUELEN - 2u - tcp->snd_queuelen : 0;
    size_t by_segments = buffers / LINK_BUFFERS_PER_PIECE * LINK_SMALL_PIECE_BYTES;
    return by_segments < tcp_sndbuf(tcp) ? by_segments : tcp_sndbuf(tcp);
}

/* A large piece pays, and is no more buffers than links_room counted, where a segment holds it whole. */
static size_t piece_bytes(const struct tcp_pcb *tcp, size_t left)
{
    if (left >= LINK_LARGE_PIECE_BYTES && tcp->mss >= LINK_LARGE_PIECE_BYTES) {
        return LINK_LARGE_PIECE_BYTES;
    }
    return left < LINK_SMALL_PIECE_BYTES ? left : LINK_SMALL_PIECE_BYTES;
}

enum status links_send(unsigned peer, unsigned lane, const void *data, size_t bytes)
{
    struct link *link = link_of(peer, lane);
    if (!link_usable(link)) {
        return STATUS_CLOSED;
    }
    if (bytes > links_room(peer, lane)) {
        return STATUS_FULL;
    }
    net_clock_catch_up();
    const uint8_t *from = data;
    size_t sent = 0;
    while (sent < bytes) {
        size_t piece = piece_bytes(link->current->tcp, bytes - sent);
        if (tcp_write(link->current->tcp, from + sent, (u16_t)piece, TCP_WRITE_FLAG_COPY) != ERR_OK) {
            if (sent == 0) {
                return STATUS_FULL;
            }
            /* A part is in the stream and the rest has no room: the stream is torn. The pools are sized so that it does not happen. */
            platform_log(LOG_ERROR, "links: out of segments in the middle of a message to node %u; the link is ended", peer);
            link->current->ended = true;
            return STATUS_CLOSED;
        }
        sent += piece;
    }
    return STATUS_OK;
}

void links_flush(unsigned peer, unsigned lane)
{
    struct link *link = link_of(peer, lane);
    if (link_usable(link)) {
        net_clock_catch_up();
        (void)tcp_output(link->current->tcp); /* what finds no room now is repeated by lwIP's timer */
        virtio_net_flush();
    }
}

void links_reset(unsigned peer, unsigned lane)
{
    struct link *link = link_of(peer, lane);
    if (link->exists && link->state == LINK_UP) {
        link_take_down(link, timer_now_ns());
        virtio_net_flush();
    }
}
