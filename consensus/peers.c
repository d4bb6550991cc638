/* A lane's states:
 *
 *   state      left by                                             to          event to the user
 *   DOWN       peers_link_up                                       HANDSHAKE
 *   HANDSHAKE  channel came up, hello accepted                     UP          up
 *   HANDSHAKE  channel came up, hello not accepted                 REFUSING
 *   UP         silence, a broken rule, peers_reset, link down      DOWN        down
 *   UP         the peer did not accept our hello                   DOWN        down, refused
 *   REFUSING   the peer ended the link, or time is up              DOWN
 *   any        link down, a broken rule                            DOWN
 *
 * Invariants:
 *   1. A lane has queued bytes only while its link is up; they end with it.
 *   2. What is queued is in the order in which it was sealed, and nothing that was sealed is left out.
 *   3. Keys exist only between HANDSHAKE and the end of UP or REFUSING.
 *   4. After any event to the user the lane may be DOWN: it is looked at anew. */
#include "consensus/peers.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "consensus/limits.h"
#include "consensus/link_queue.h"
#include "crypto/channel.h"
#include "include/check.h"
#include "include/disk_format.h"
#include "include/hash64.h"
#include "include/machine_log.h"

static_assert(sizeof(struct peers_hello) == CHANNEL_HELLO_BYTES, "a hello fits the handshake");
static_assert(MACHINE_LANES == 2, "each lane has its timing");

/* Message types of our own. */
enum { TYPE_KEEPALIVE = 128, TYPE_REFUSED = 129 };

/* A peer that is refused comes up and is ended, again and again: so many lines of a lane are not repeated. */
enum { LINES_KNOWN = 2 };

enum lane_state { LANE_DOWN, LANE_HANDSHAKE, LANE_UP, LANE_REFUSING };

struct lane {
    unsigned peer, number;
    enum lane_state state;
    bool link;                   /* the machine's link is up, as far as we were told and did not end it */
    struct channel *channel;
    struct peers_hello hello;    /* the peer's, in UP */
    uint64_t arrived_ns;         /* last bytes of the peer */
    uint64_t message_ns;         /* its last whole message, in UP */
    uint64_t sealed_ns;          /* our last message */
    uint64_t refusal_ends_ns;
    uint64_t said[LINES_KNOWN], said_ns[LINES_KNOWN]; /* hashes and times of the last lines */
    uint32_t said_next, kept_back;
    struct link_queue queue;
};

struct peers {
    const struct machine *machine;
    struct peers_events events;
    unsigned self, node_count;
    uint64_t keepalive_ns[MACHINE_LANES], silence_ns[MACHINE_LANES];
    uint64_t heard_ns[MACHINE_PEERS_MAX + 1];
    struct peers_counters counters;
    struct lane lanes[MACHINE_PEERS_MAX + 1][MACHINE_LANES];
    uint8_t header[CHANNEL_HEADER_BYTES_MAX];
    uint8_t front[CHANNEL_FRONT_BYTES_MAX];
};

static uint64_t now_of(const struct peers *peers)
{
    return peers->machine->now_ns(peers->machine->context);
}

/* A lane says the same line once in PEERS_SAME_LINE_MS: a peer that is refused comes again many times a second. */
__attribute__((format(printf, 4, 5))) static void say(const struct peers *peers, enum log_level level, struct lane *lane, const char *format, ...)
{
    char line[MACHINE_LOG_BYTES_MAX + 1];
    int prefix = snprintf(line, sizeof line, "peer %u lane %u: ", lane->peer, lane->number);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line + prefix, sizeof line - (size_t)prefix, format, arguments);
    va_end(arguments);
    uint64_t said = hash64(0, line, strlen(line)), now = now_of(peers);
    for (unsigned i = 0; i < LINES_KNOWN; i++) {
        if (lane->said[i] == said && now - lane->said_ns[i] < PEERS_SAME_LINE_MS * 1000000ull) {
            lane->kept_back++;
            return;
        }
    }
    if (lane->kept_back > 0) {
        machine_log(peers->machine, level, "peer %u lane %u: the last lines came again, %u in all", lane->peer, lane->number, lane->kept_back);
        lane->kept_back = 0;
    }
    lane->said[lane->said_next] = said;
    lane->said_ns[lane->said_next] = now;
    lane->said_next = (lane->said_next + 1) % LINES_KNOWN;
    peers->machine->log(peers->machine->context, level, line);
}

static bool is_peer(const struct peers *peers, unsigned peer)
{
    return peer >= 1 && peer <= peers->node_count && peer != peers->self;
}

static struct lane *lane_of(struct peers *peers, unsigned peer, unsigned lane)
{
    CHECK(is_peer(peers, peer));
    CHECK(lane < MACHINE_LANES);
    return &peers->lanes[peer][lane];
}

static const struct lane *lane_of_const(const struct peers *peers, unsigned peer, unsigned lane)
{
    CHECK(is_peer(peers, peer));
    CHECK(lane < MACHINE_LANES);
    return &peers->lanes[peer][lane];
}

/* --- creation --- */

static enum status create_lane(struct peers *peers, const struct peers_config *config, unsigned peer, unsigned number)
{
    const struct machine *machine = config->machine;
    void *memory = machine->reserve(machine->context, channel_memory_bytes(), 64);
    uint8_t *ring = machine->reserve(machine->context, PEERS_QUEUE_BYTES, 64);
    if (memory == NULL || ring == NULL) {
        return STATUS_NO_MEMORY;
    }
    struct channel_config channel_config = {
        .machine = machine,
        .identity = config->identity,
        .self = (uint8_t)config->self,
        .peer = (uint8_t)peer,
        .lane = (uint8_t)number,
    };
    memcpy(channel_config.peer_public_key, config->identities[peer - 1], sizeof channel_config.peer_public_key);
    memcpy(channel_config.cluster_id, config->cluster_id, sizeof channel_config.cluster_id);
    struct lane *lane = &peers->lanes[peer][number];
    *lane = (struct lane){.peer = peer, .number = number, .channel = channel_init(memory, &channel_config)};
    link_queue_init(&lane->queue, machine, peer, number, ring);
    return STATUS_OK;
}

enum status peers_create(const struct peers_config *config, const struct peers_events *events, struct peers **out)
{
    if (config->node_count < 1 || config->node_count > MACHINE_PEERS_MAX || config->self < 1 || config->self > config->node_count ||
        config->election_timeout_ns == 0) {
        return STATUS_INVALID;
    }
    struct peers *peers = config->machine->reserve(config->machine->context, sizeof *peers, 64);
    if (peers == NULL) {
        return STATUS_NO_MEMORY;
    }
    peers->machine = config->machine;
    peers->events = *events;
    peers->self = config->self;
    peers->node_count = config->node_count;
    uint64_t hundredth = config->election_timeout_ns / 100;
    peers->keepalive_ns[PEERS_LANE_RAFT] = hundredth * PEERS_KEEPALIVE_RAFT_PERCENT;
    peers->silence_ns[PEERS_LANE_RAFT] = hundredth * PEERS_SILENCE_RAFT_PERCENT;
    peers->keepalive_ns[PEERS_LANE_BULK] = hundredth * PEERS_KEEPALIVE_BULK_PERCENT;
    peers->silence_ns[PEERS_LANE_BULK] = hundredth * PEERS_SILENCE_BULK_PERCENT;
    for (unsigned peer = 1; peer <= peers->node_count; peer++) {
        for (unsigned number = 0; peer != peers->self && number < MACHINE_LANES; number++) {
            enum status status = create_lane(peers, config, peer, number);
            if (status != STATUS_OK) {
                return status;
            }
        }
    }
    *out = peers;
    return STATUS_OK;
}

/* --- bytes out --- */

static void lane_write_handshake(struct lane *lane)
{
    uint8_t output[CHANNEL_HANDSHAKE_BYTES_MAX];
    size_t bytes = channel_take_output(lane->channel, output);
    if (bytes > 0) {
        link_queue_write(&lane->queue, output, bytes);
        link_queue_flush(&lane->queue);
    }
}

/* Seal and write a message whose lengths have been checked. The channel is up, though the lane may be REFUSING. */
static enum status lane_send(struct peers *peers, struct lane *lane, uint8_t type, const void *header, size_t header_bytes,
                             const struct peers_span *spans, size_t span_count, size_t body_bytes)
{
    size_t record_bytes = channel_record_bytes(1 + header_bytes, body_bytes);
    if (record_bytes > link_queue_room(&lane->queue)) {
        link_queue_pump(&lane->queue);
    }
    if (record_bytes > link_queue_room(&lane->queue)) {
        peers->counters.messages_not_sent++;
        return STATUS_FULL;
    }
    size_t front_bytes = 0;
    peers->header[0] = type;
    if (header_bytes > 0) {
        memcpy(peers->header + 1, header, header_bytes);
    }
    enum status status = channel_seal_front(lane->channel, peers->header, 1 + header_bytes, body_bytes, peers->front, &front_bytes);
    if (status != STATUS_OK) {
        return status;
    }
    link_queue_write(&lane->queue, peers->front, front_bytes);
    for (size_t i = 0; i < span_count; i++) {
        link_queue_write(&lane->queue, spans[i].data, spans[i].bytes);
    }
    lane->sealed_ns = now_of(peers);
    peers->counters.messages_sent++;
    peers->counters.bytes_sent += record_bytes;
    peers->counters.bulk_bytes_sent += lane->number == PEERS_LANE_BULK ? record_bytes : 0;
    return STATUS_OK;
}

/* --- ends --- */

/* The lane becomes DOWN; its link is ended if it has not ended itself. */
static void lane_end(struct peers *peers, struct lane *lane)
{
    enum lane_state was = lane->state;
    channel_close(lane->channel);
    lane->state = LANE_DOWN;
    link_queue_clear(&lane->queue);
    if (lane->link) {
        lane->link = false;
        peers->machine->link_reset(peers->machine->context, lane->peer, lane->number);
    }
    if (was == LANE_UP) {
        peers->events.down(peers->events.context, lane->peer, lane->number);
    }
}

static void lane_violated(struct peers *peers, struct lane *lane, const char *what, enum status status)
{
    peers->counters.links_violated++;
    say(peers, LOG_WARNING, lane, "%s: %s (%s); the link is ended", what, status_sentence(status), status_name(status));
    lane_end(peers, lane);
}

/* --- events of a channel --- */

static const char *reason_words(enum peers_reason reason)
{
    switch (reason) {
    case PEERS_REASON_NONE:
        break;
    case PEERS_REASON_STALE:
        return "its disk is older than what is known of it";
    case PEERS_REASON_REPLACED:
        return "its id is no member and its node number has another";
    case PEERS_REASON_NOT_NOW:
        return "not now";
    case PEERS_REASON_REPAIR:
        return "its disk is damaged, and a majority without it will give it everything anew";
    }
    return "no reason";
}

static bool hello_is_valid(const struct peers_hello *hello, unsigned peer)
{
    return raft_id_node(hello->raft_id) == peer && raft_id_incarnation(hello->raft_id) != 0 && hello->boot_number != 0;
}

static void lane_refuse(struct peers *peers, struct lane *lane, enum peers_reason reason)
{
    if (reason < PEERS_REASON_STALE || reason > PEERS_REASON_MAX) {
        reason = PEERS_REASON_NOT_NOW;
    }
    uint8_t told = (uint8_t)reason;
    peers->counters.hellos_refused++;
    say(peers, LOG_INFO, lane, "hello not accepted: %s", reason_words(reason));
    lane->state = LANE_REFUSING;
    lane->refusal_ends_ns = now_of(peers) + PEERS_REFUSAL_MS * 1000000ull;
    enum status status = lane_send(peers, lane, TYPE_REFUSED, &told, sizeof told, NULL, 0, 0);
    if (status != STATUS_OK) {
        lane_end(peers, lane);
        return;
    }
    link_queue_flush(&lane->queue);
}

static void lane_came_up(struct peers *peers, struct lane *lane, const uint8_t *hello_bytes)
{
    struct peers_hello hello;
    memcpy(&hello, hello_bytes, sizeof hello);
    if (!hello_is_valid(&hello, lane->peer)) {
        lane_violated(peers, lane, "hello", STATUS_INVALID);
        return;
    }
    enum peers_reason reason = PEERS_REASON_NOT_NOW;
    enum status status = peers->events.accept(peers->events.context, lane->peer, lane->number, &hello, &reason);
    if (lane->state != LANE_HANDSHAKE) {
        return;
    }
    if (status != STATUS_OK) {
        lane_refuse(peers, lane, reason);
        return;
    }
    /* The newest handshake tells which life of the peer is the present one: a lane of another one is left over. */
    struct lane *other = &peers->lanes[lane->peer][1 - lane->number];
    if (other->state == LANE_UP && (other->hello.raft_id != hello.raft_id || other->hello.boot_number != hello.boot_number)) {
        say(peers, LOG_INFO, other, "the peer has started anew; the old link is ended");
        lane_end(peers, other);
        if (lane->state != LANE_HANDSHAKE) {
            return;
        }
    }
    lane->hello = hello;
    lane->state = LANE_UP;
    uint64_t now = now_of(peers);
    lane->sealed_ns = lane->message_ns = now;
    if (lane->number == PEERS_LANE_RAFT) {
        peers->heard_ns[lane->peer] = now;
    }
    say(peers, LOG_INFO, lane, "up, raft id %llx, boot %llu", (unsigned long long)hello.raft_id, (unsigned long long)hello.boot_number);
    peers->events.up(peers->events.context, lane->peer, lane->number, &lane->hello);
}

static void lane_was_refused(struct peers *peers, struct lane *lane, const struct channel_event *event)
{
    if (event->header_bytes != 2 || event->body_bytes != 0 || event->header[1] < PEERS_REASON_STALE || event->header[1] > PEERS_REASON_MAX) {
        lane_violated(peers, lane, "refusal", STATUS_INVALID);
        return;
    }
    enum peers_reason reason = (enum peers_reason)event->header[1];
    unsigned peer = lane->peer, number = lane->number;
    say(peers, LOG_WARNING, lane, "the peer does not accept this node: %s", reason_words(reason));
    lane_end(peers, lane);
    peers->events.refused(peers->events.context, peer, number, reason);
}

static void lane_message(struct peers *peers, struct lane *lane, const struct channel_event *event)
{
    peers->counters.messages_received++;
    lane->message_ns = now_of(peers);
    size_t record_bytes = channel_record_bytes(event->header_bytes, event->body_bytes);
    peers->counters.bytes_received += record_bytes;
    peers->counters.bulk_bytes_received += lane->number == PEERS_LANE_BULK ? record_bytes : 0;
    if (lane->state == LANE_REFUSING) {
        return;
    }
    if (event->header_bytes < 1) {
        lane_violated(peers, lane, "message without type", STATUS_INVALID);
        return;
    }
    if (lane->number == PEERS_LANE_RAFT) {
        peers->heard_ns[lane->peer] = now_of(peers);
    }
    uint8_t type = event->header[0];
    if (type <= PEERS_TYPE_MAX) {
        struct peers_message message = {
            .type = type,
            .header = event->header + 1,
            .header_bytes = event->header_bytes - 1,
            .body = event->body,
            .body_bytes = event->body_bytes,
        };
        enum status status = peers->events.message(peers->events.context, lane->peer, lane->number, &message);
        if (status != STATUS_OK && lane->state == LANE_UP) {
            lane_violated(peers, lane, "message", status);
        }
    } else if (type == TYPE_REFUSED) {
        lane_was_refused(peers, lane, event);
    } else if (type != TYPE_KEEPALIVE || event->header_bytes != 1 || event->body_bytes != 0) {
        lane_violated(peers, lane, "message of unknown type", STATUS_INVALID);
    }
}

/* --- links --- */

void peers_link_up(struct peers *peers, unsigned peer, unsigned number)
{
    struct lane *lane = lane_of(peers, peer, number);
    if (lane->state != LANE_DOWN) {
        lane->link = false; /* that link is gone already: do not end the new one */
        lane_end(peers, lane);
    }
    struct peers_hello hello = {0};
    peers->events.own_hello(peers->events.context, peer, &hello);
    uint64_t now = now_of(peers);
    lane->link = true;
    lane->state = LANE_HANDSHAKE;
    lane->arrived_ns = now;
    channel_open(lane->channel, (const uint8_t *)&hello, now + PEERS_HANDSHAKE_MS * 1000000ull);
    lane_write_handshake(lane);
}

void peers_link_data(struct peers *peers, unsigned peer, unsigned number, const void *data, size_t bytes)
{
    struct lane *lane = lane_of(peers, peer, number);
    const uint8_t *at = data;
    lane->arrived_ns = now_of(peers);
    while (lane->state != LANE_DOWN) {
        struct channel_event event;
        bool handshake = lane->state == LANE_HANDSHAKE;
        enum status status = channel_input(lane->channel, &at, &bytes, &event);
        if (status != STATUS_OK) {
            lane_violated(peers, lane, handshake ? "handshake" : "message", status);
            return;
        }
        if (handshake) {
            lane_write_handshake(lane);
        }
        switch (event.kind) {
        case CHANNEL_NOTHING:
            return;
        case CHANNEL_CAME_UP:
            lane_came_up(peers, lane, event.hello);
            break;
        case CHANNEL_MESSAGE:
            lane_message(peers, lane, &event);
            break;
        }
    }
}

void peers_link_down(struct peers *peers, unsigned peer, unsigned number)
{
    struct lane *lane = lane_of(peers, peer, number);
    lane->link = false;
    if (lane->state != LANE_DOWN) {
        lane_end(peers, lane);
    }
}

/* --- the user --- */

enum status peers_send(struct peers *peers, unsigned peer, unsigned number, uint8_t type, const void *header, size_t header_bytes,
                       const struct peers_span *spans, size_t span_count)
{
    struct lane *lane = lane_of(peers, peer, number);
    if (type > PEERS_TYPE_MAX || header_bytes > PEERS_HEADER_BYTES_MAX) {
        return STATUS_INVALID;
    }
    size_t body_bytes = 0;
    for (size_t i = 0; i < span_count; i++) {
        if (spans[i].bytes > PEERS_BODY_BYTES_MAX - body_bytes) {
            return STATUS_INVALID;
        }
        body_bytes += spans[i].bytes;
    }
    if (lane->state != LANE_UP) {
        return STATUS_CLOSED;
    }
    return lane_send(peers, lane, type, header, header_bytes, spans, span_count, body_bytes);
}

void peers_flush(struct peers *peers)
{
    for (unsigned peer = 1; peer <= peers->node_count; peer++) {
        for (unsigned number = 0; number < MACHINE_LANES; number++) {
            link_queue_flush(&peers->lanes[peer][number].queue);
        }
    }
}

size_t peers_room(const struct peers *peers, unsigned peer, unsigned number)
{
    const struct lane *lane = lane_of_const(peers, peer, number);
    size_t free_bytes = link_queue_room(&lane->queue);
    if (lane->state != LANE_UP || free_bytes <= CHANNEL_FRONT_BYTES_MAX) {
        return 0;
    }
    size_t room = free_bytes - CHANNEL_FRONT_BYTES_MAX;
    return room < PEERS_BODY_BYTES_MAX ? room : PEERS_BODY_BYTES_MAX;
}

void peers_reset_lane(struct peers *peers, unsigned peer, unsigned number)
{
    struct lane *lane = lane_of(peers, peer, number);
    if (lane->state != LANE_DOWN) {
        lane_end(peers, lane);
    }
}

void peers_reset(struct peers *peers, unsigned peer)
{
    for (unsigned number = 0; number < MACHINE_LANES; number++) {
        peers_reset_lane(peers, peer, number);
    }
}

bool peers_is_up(const struct peers *peers, unsigned peer, unsigned number)
{
    return lane_of_const(peers, peer, number)->state == LANE_UP;
}

const struct peers_hello *peers_hello_of(const struct peers *peers, unsigned peer, unsigned number)
{
    const struct lane *lane = lane_of_const(peers, peer, number);
    return lane->state == LANE_UP ? &lane->hello : NULL;
}

uint64_t peers_heard_ns(const struct peers *peers, unsigned peer)
{
    CHECK(is_peer(peers, peer));
    return peers->heard_ns[peer];
}

/* --- time --- */

static void lane_tick(struct peers *peers, struct lane *lane, uint64_t now_ns)
{
    link_queue_pump(&lane->queue);
    if (lane->state == LANE_HANDSHAKE && now_ns >= channel_deadline_ns(lane->channel)) {
        peers->counters.handshakes_late++;
        say(peers, LOG_WARNING, lane, "no handshake within %d ms; the link is ended", PEERS_HANDSHAKE_MS);
        lane_end(peers, lane);
    } else if (lane->state == LANE_REFUSING && now_ns >= lane->refusal_ends_ns) {
        lane_end(peers, lane);
    } else if (lane->state == LANE_UP && now_ns >= lane->arrived_ns + peers->silence_ns[lane->number]) {
        peers->counters.links_silent++;
        say(peers, LOG_INFO, lane, "silent for %llu ms; the link is ended", (unsigned long long)((now_ns - lane->arrived_ns) / 1000000));
        lane_end(peers, lane);
    } else if (lane->state == LANE_UP && now_ns >= lane->message_ns + PEERS_DEAF_SILENCES * peers->silence_ns[lane->number]) {
        peers->counters.links_silent++;
        say(peers, LOG_WARNING, lane, "bytes arrive, but for %llu ms no whole message; the link is ended",
            (unsigned long long)((now_ns - lane->message_ns) / 1000000));
        lane_end(peers, lane);
    } else if (lane->state == LANE_UP && now_ns >= lane->sealed_ns + peers->keepalive_ns[lane->number]) {
        lane->sealed_ns = now_ns; /* also when it does not fit: what is queued speaks for us */
        if (lane->queue.bytes == 0) {
            enum status status = lane_send(peers, lane, TYPE_KEEPALIVE, NULL, 0, NULL, 0, 0);
            CHECK(status == STATUS_OK);
        }
    }
    link_queue_flush(&lane->queue);
}

void peers_tick(struct peers *peers, uint64_t now_ns)
{
    for (unsigned peer = 1; peer <= peers->node_count; peer++) {
        for (unsigned number = 0; number < MACHINE_LANES; number++) {
            if (peers->lanes[peer][number].state != LANE_DOWN) {
                lane_tick(peers, &peers->lanes[peer][number], now_ns);
            }
        }
    }
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t lane_deadline_ns(const struct peers *peers, const struct lane *lane)
{
    uint64_t deadline = UINT64_MAX;
    switch (lane->state) {
    case LANE_DOWN:
        return UINT64_MAX;
    case LANE_HANDSHAKE:
        deadline = channel_deadline_ns(lane->channel);
        break;
    case LANE_UP:
        deadline = earlier(lane->arrived_ns + peers->silence_ns[lane->number], lane->sealed_ns + peers->keepalive_ns[lane->number]);
        deadline = earlier(deadline, lane->message_ns + PEERS_DEAF_SILENCES * peers->silence_ns[lane->number]);
        break;
    case LANE_REFUSING:
        deadline = lane->refusal_ends_ns;
        break;
    }
    return lane->queue.bytes > 0 ? earlier(deadline, lane->queue.retry_ns) : deadline;
}

uint64_t peers_deadline_ns(const struct peers *peers)
{
    uint64_t deadline = UINT64_MAX;
    for (unsigned peer = 1; peer <= peers->node_count; peer++) {
        for (unsigned number = 0; number < MACHINE_LANES; number++) {
            deadline = earlier(deadline, lane_deadline_ns(peers, &peers->lanes[peer][number]));
        }
    }
    return deadline;
}

void peers_count(const struct peers *peers, struct peers_counters *out)
{
    *out = peers->counters;
}

static void lane_check(const struct lane *lane)
{
    channel_check(lane->channel);
    enum channel_state state = channel_state(lane->channel);
    link_queue_check(&lane->queue);
    switch (lane->state) {
    case LANE_DOWN:
        CHECK(state == CHANNEL_CLOSED);
        CHECK(lane->queue.bytes == 0);
        CHECK(!lane->link);
        break;
    case LANE_HANDSHAKE:
        CHECK(state != CHANNEL_CLOSED);
        CHECK(lane->link);
        break;
    case LANE_UP:
    case LANE_REFUSING:
        CHECK(state == CHANNEL_UP);
        CHECK(lane->link);
        break;
    }
}

void peers_check(const struct peers *peers)
{
    for (unsigned peer = 1; peer <= peers->node_count; peer++) {
        for (unsigned number = 0; peer != peers->self && number < MACHINE_LANES; number++) {
            lane_check(&peers->lanes[peer][number]);
        }
    }
}
