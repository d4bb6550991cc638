/* Peers: nodes joined by links that the test holds. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "consensus/limits.h"
#include "consensus/peers.h"
#include "crypto/channel.h"
#include "include/disk_format.h"
#include "tests/unit/support/crypto_set_up.h"
#include "tests/unit/support/fake_links.h"

enum { NODES = 3 };
#define MS 1000000ull
#define ELECTION_TIMEOUT_NS (100 * MS)
static const uint64_t silence_ns = ELECTION_TIMEOUT_NS * PEERS_SILENCE_RAFT_PERCENT / 100;
static const uint64_t keepalive_ns = ELECTION_TIMEOUT_NS * PEERS_KEEPALIVE_RAFT_PERCENT / 100;

static const uint8_t cluster_id[16] = "cluster one";

struct node {
    struct cluster *cluster;
    struct fake_machine fake;
    unsigned number;
    struct identity identity;
    struct peers *peers;
    uint64_t boot_number;
    uint64_t raft_id;                 /* told in the hello */
    enum status accept_status;
    enum peers_reason accept_reason;
    enum status message_status;
    bool reset_on_message;
    bool greet;                       /* send a message as soon as a channel is up */
    unsigned ups[NODES + 1][MACHINE_LANES], downs[NODES + 1][MACHINE_LANES];
    enum peers_reason refused_by[NODES + 1];
    unsigned messages;
    unsigned last_peer, last_lane;
    uint8_t last_type;
    uint8_t header[PEERS_HEADER_BYTES_MAX];
    size_t header_bytes;
    uint8_t *body;
    size_t body_bytes;
};

struct cluster {
    struct fake_links links;
    struct node nodes[NODES + 1];
};

/* --- events of a node --- */

static void own_hello(void *context, unsigned peer, struct peers_hello *hello)
{
    struct node *node = context;
    (void)peer;
    hello->raft_id = node->raft_id;
    hello->boot_number = node->boot_number;
    hello->term = 40 + node->number;
    hello->last_index = 400 + node->number;
}

static enum status accept_hello(void *context, unsigned peer, unsigned lane, const struct peers_hello *hello, enum peers_reason *reason)
{
    struct node *node = context;
    (void)peer;
    (void)lane;
    (void)hello;
    if (node->accept_status != STATUS_OK) {
        *reason = node->accept_reason;
    }
    return node->accept_status;
}

static void up(void *context, unsigned peer, unsigned lane, const struct peers_hello *hello)
{
    struct node *node = context;
    assert_int_equal(hello->term, 40 + peer);
    assert_int_equal(hello->last_index, 400 + peer);
    node->ups[peer][lane]++;
    if (node->greet) {
        assert_int_equal(peers_send(node->peers, peer, lane, 7, "hi", 2, NULL, 0), STATUS_OK);
    }
}

static void down(void *context, unsigned peer, unsigned lane)
{
    struct node *node = context;
    node->downs[peer][lane]++;
    assert_false(peers_is_up(node->peers, peer, lane));
}

static void refused(void *context, unsigned peer, unsigned lane, enum peers_reason reason)
{
    (void)lane;
    ((struct node *)context)->refused_by[peer] = reason;
}

static enum status take_message(void *context, unsigned peer, unsigned lane, const struct peers_message *message)
{
    struct node *node = context;
    node->messages++;
    node->last_peer = peer;
    node->last_lane = lane;
    node->last_type = message->type;
    node->header_bytes = message->header_bytes;
    memcpy(node->header, message->header, message->header_bytes);
    node->body_bytes = message->body_bytes;
    memcpy(node->body, message->body, message->body_bytes);
    if (node->reset_on_message) {
        peers_reset(node->peers, peer);
    }
    return node->message_status;
}

/* --- events of the links --- */

static void link_up(void *context, unsigned node, unsigned peer, unsigned lane)
{
    struct peers *peers = ((struct cluster *)context)->nodes[node].peers;
    peers_link_up(peers, peer, lane);
    peers_check(peers);
}

static void link_data(void *context, unsigned node, unsigned peer, unsigned lane, const void *data, size_t bytes)
{
    struct peers *peers = ((struct cluster *)context)->nodes[node].peers;
    peers_link_data(peers, peer, lane, data, bytes);
    peers_check(peers);
}

static void link_down(void *context, unsigned node, unsigned peer, unsigned lane)
{
    struct peers *peers = ((struct cluster *)context)->nodes[node].peers;
    peers_link_down(peers, peer, lane);
    peers_check(peers);
}

/* --- the cluster --- */

static struct identity identity_of(unsigned number)
{
    uint8_t seed[32] = {(uint8_t)number, 0xaa};
    struct identity identity;
    identity_from_seed(&identity, seed);
    return identity;
}

static struct peers_config config_of(struct node *node, const uint8_t (*identities)[IDENTITY_PUBLIC_BYTES])
{
    struct peers_config config = {
        .machine = &node->fake.machine,
        .identity = &node->identity,
        .identities = identities,
        .self = node->number,
        .node_count = NODES,
        .election_timeout_ns = ELECTION_TIMEOUT_NS,
    };
    memcpy(config.cluster_id, cluster_id, sizeof cluster_id);
    return config;
}

static struct peers_events events_of(struct node *node)
{
    return (struct peers_events){.context = node,
                                 .own_hello = own_hello,
                                 .accept = accept_hello,
                                 .up = up,
                                 .down = down,
                                 .refused = refused,
                                 .message = take_message};
}

static struct cluster *cluster_make(size_t link_capacity)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    struct fake_links_events link_events = {.context = cluster, .up = link_up, .data = link_data, .down = link_down};
    fake_links_init(&cluster->links, link_capacity, &link_events);
    uint8_t identities[NODES][IDENTITY_PUBLIC_BYTES];
    for (unsigned number = 1; number <= NODES; number++) {
        struct identity identity = identity_of(number);
        memcpy(identities[number - 1], identity.public_key, IDENTITY_PUBLIC_BYTES);
    }
    for (unsigned number = 1; number <= NODES; number++) {
        struct node *node = &cluster->nodes[number];
        fake_machine_init(&node->fake, number, 16, 1 << 20);
        fake_links_attach(&cluster->links, &node->fake, number);
        node->cluster = cluster;
        node->number = number;
        node->identity = identity_of(number);
        node->boot_number = 5;
        node->raft_id = raft_id_make(number, 1000 + number);
        node->accept_status = STATUS_OK;
        node->message_status = STATUS_OK;
        node->fake.now_ns = 1000 * MS;
        node->body = malloc(PEERS_BODY_BYTES_MAX);
        struct peers_config config = config_of(node, identities);
        struct peers_events events = events_of(node);
        assert_int_equal(peers_create(&config, &events, &node->peers), STATUS_OK);
    }
    return cluster;
}

static void cluster_free(struct cluster *cluster)
{
    for (unsigned number = 1; number <= NODES; number++) {
        fake_machine_destroy(&cluster->nodes[number].fake);
        free(cluster->nodes[number].body);
    }
    fake_links_destroy(&cluster->links);
    free(cluster);
}

static void cluster_settle(struct cluster *cluster)
{
    fake_links_settle(&cluster->links, SIZE_MAX);
}

/* Nodes 1 and 2, both lanes up. */
static struct cluster *cluster_up(size_t link_capacity)
{
    struct cluster *cluster = cluster_make(link_capacity);
    for (unsigned lane = 0; lane < MACHINE_LANES; lane++) {
        fake_links_up(&cluster->links, 1, 2, lane);
    }
    cluster_settle(cluster);
    for (unsigned lane = 0; lane < MACHINE_LANES; lane++) {
        assert_true(peers_is_up(cluster->nodes[1].peers, 2, lane));
        assert_true(peers_is_up(cluster->nodes[2].peers, 1, lane));
    }
    return cluster;
}

/* Let time pass in steps of `step_ns`, with everything delivered and every node's tick after each. */
static void cluster_run(struct cluster *cluster, uint64_t ns, uint64_t step_ns)
{
    for (uint64_t gone = 0; gone < ns; gone += step_ns) {
        for (unsigned number = 1; number <= NODES; number++) {
            cluster->nodes[number].fake.now_ns += step_ns;
        }
        cluster_settle(cluster);
        for (unsigned number = 1; number <= NODES; number++) {
            peers_tick(cluster->nodes[number].peers, cluster->nodes[number].fake.now_ns);
            peers_check(cluster->nodes[number].peers);
        }
        cluster_settle(cluster);
    }
}

static enum status send_text(struct node *node, unsigned peer, unsigned lane, const char *text)
{
    return peers_send(node->peers, peer, lane, 7, text, strlen(text), NULL, 0);
}

static struct peers_counters counters_of(const struct node *node)
{
    struct peers_counters counters;
    peers_count(node->peers, &counters);
    return counters;
}

enum { WIDE = 1 << 20, NARROW = 4096 };

/* --- coming up --- */

static void test_peers_link_up_gives_both_the_hello(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_up(WIDE);
    struct node *one = &cluster->nodes[1], *two = &cluster->nodes[2];
    assert_int_equal(one->ups[2][0], 1);
    assert_int_equal(two->ups[1][1], 1);
    assert_int_equal(peers_hello_of(one->peers, 2, 0)->raft_id, two->raft_id);
    assert_int_equal(peers_hello_of(two->peers, 1, 0)->boot_number, 5);
    assert_null(peers_hello_of(one->peers, 3, 0));
    assert_false(peers_is_up(one->peers, 3, 0));
    cluster_free(cluster);
}

static void test_peers_hello_not_accepted_tells_the_peer_why(void **state)
{
    (void)state;
    for (unsigned refuser = 1; refuser <= 2; refuser++) {
        struct cluster *cluster = cluster_make(WIDE);
        struct node *no = &cluster->nodes[refuser], *other = &cluster->nodes[3 - refuser];
        no->accept_status = STATUS_REFUSED;
        no->accept_reason = PEERS_REASON_REPLACED;
        other->greet = true;
        fake_links_up(&cluster->links, 1, 2, 0);
        cluster_settle(cluster);
        assert_int_equal(other->refused_by[refuser], PEERS_REASON_REPLACED);
        assert_int_equal(no->ups[other->number][0], 0);
        assert_int_equal(no->messages, 0);
        assert_false(peers_is_up(no->peers, other->number, 0));
        assert_false(peers_is_up(other->peers, refuser, 0));
        assert_int_equal(other->downs[refuser][0], other->ups[refuser][0]);
        assert_int_equal(counters_of(no).hellos_refused, 1);
        assert_true(cluster->links.resets > 0);
        cluster_free(cluster);
    }
}

static void test_peers_refused_peer_that_stays_is_cut_off(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_make(WIDE);
    cluster->nodes[1].accept_status = STATUS_STALE;
    cluster->nodes[1].accept_reason = PEERS_REASON_STALE;
    fake_links_up(&cluster->links, 1, 2, 0);
    while (counters_of(&cluster->nodes[1]).hellos_refused == 0) {
        assert_true(fake_links_deliver(&cluster->links, 1, 2, 0, SIZE_MAX) || fake_links_deliver(&cluster->links, 2, 1, 0, SIZE_MAX));
    }
    cluster->links.pipes[1][2][0].stopped = true;
    cluster_run(cluster, (PEERS_REFUSAL_MS - 10) * MS, 5 * MS);
    assert_int_equal(cluster->links.resets, 0);
    cluster_run(cluster, 20 * MS, 5 * MS);
    assert_int_equal(cluster->links.resets, 1);
    cluster_free(cluster);
}

static void test_peers_refused_again_and_again_says_so_once_in_its_time(void **state)
{
    (void)state;
    enum { ATTEMPTS = 9 };
    struct cluster *cluster = cluster_make(WIDE);
    struct node *no = &cluster->nodes[1], *other = &cluster->nodes[2];
    no->accept_status = STATUS_REFUSED;
    no->accept_reason = PEERS_REASON_REPLACED;
    for (unsigned attempt = 0; attempt < ATTEMPTS; attempt++) {
        fake_links_up(&cluster->links, 1, 2, 0);
        cluster_run(cluster, 100 * MS, 10 * MS);
    }
    assert_int_equal(counters_of(no).hellos_refused, ATTEMPTS);
    assert_int_equal(no->fake.log_lines, 1);
    assert_int_equal(other->fake.log_lines, 2); /* up, refused */
    cluster_run(cluster, (uint64_t)PEERS_SAME_LINE_MS * MS, 100 * MS);
    fake_links_up(&cluster->links, 1, 2, 0);
    cluster_run(cluster, 100 * MS, 10 * MS);
    assert_int_equal(no->fake.log_lines, 3); /* how often it was kept back, and the line */
    cluster_free(cluster);
}

static void test_peers_hello_of_another_node_number_is_a_violation(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_make(WIDE);
    cluster->nodes[2].raft_id = raft_id_make(3, 77);
    fake_links_up(&cluster->links, 1, 2, 0);
    cluster_settle(cluster);
    assert_int_equal(cluster->nodes[1].ups[2][0], 0);
    assert_int_equal(counters_of(&cluster->nodes[1]).links_violated, 1);
    cluster_free(cluster);
}

static void test_peers_handshake_that_does_not_end_is_cut_off(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_make(WIDE);
    fake_links_up(&cluster->links, 1, 2, 0);
    cluster->links.pipes[1][2][0].stopped = true;
    cluster->links.pipes[2][1][0].stopped = true;
    cluster_run(cluster, (PEERS_HANDSHAKE_MS - 10) * MS, 5 * MS);
    assert_int_equal(cluster->links.resets, 0);
    cluster_run(cluster, 20 * MS, 5 * MS);
    assert_int_equal(counters_of(&cluster->nodes[1]).handshakes_late, 1);
    assert_int_equal(counters_of(&cluster->nodes[2]).handshakes_late, 1);
    cluster_free(cluster);
}

static void test_peers_new_boot_on_one_lane_ends_the_other_lane(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_up(WIDE);
    cluster->nodes[2].boot_number = 6;
    fake_links_up(&cluster->links, 1, 2, 0);
    cluster_settle(cluster);
    assert_int_equal(peers_hello_of(cluster->nodes[1].peers, 2, 0)->boot_number, 6);
    assert_false(peers_is_up(cluster->nodes[1].peers, 2, 1));
    assert_int_equal(cluster->nodes[1].downs[2][1], 1);
    cluster_free(cluster);
}

static void test_peers_link_up_again_ends_the_old_channel_first(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_up(WIDE);
    fake_links_up(&cluster->links, 1, 2, 0);
    assert_int_equal(cluster->nodes[1].downs[2][0], 1);
    cluster_settle(cluster);
    assert_int_equal(cluster->nodes[1].ups[2][0], 2);
    assert_int_equal(cluster->links.resets, 0);
    cluster_free(cluster);
}

/* --- messages --- */

static void test_peers_message_of_pieces_arrives_whole(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_up(WIDE);
    struct node *one = &cluster->nodes[1], *two = &cluster->nodes[2];
    const struct peers_span spans[] = {{"first ", 6}, {NULL, 0}, {"second", 6}};
    assert_int_equal(peers_send(one->peers, 2, PEERS_LANE_BULK, 33, "header", 6, spans, 3), STATUS_OK);
    peers_flush(one->peers);
    cluster_settle(cluster);
    assert_int_equal(two->messages, 1);
    assert_int_equal(two->last_peer, 1);
    assert_int_equal(two->last_lane, PEERS_LANE_BULK);
    assert_int_equal(two->last_type, 33);
    assert_int_equal(two->header_bytes, 6);
    assert_memory_equal(two->header, "header", 6);
    assert_int_equal(two->body_bytes, 12);
    assert_memory_equal(two->body, "first second", 12);
    cluster_free(cluster);
}

static void test_peers_largest_message_passes_a_narrow_link(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_up(NARROW);
    struct node *one = &cluster->nodes[1], *two = &cluster->nodes[2];
    uint8_t *header = calloc(1, PEERS_HEADER_BYTES_MAX), *body = malloc(PEERS_BODY_BYTES_MAX);
    for (size_t i = 0; i < PEERS_BODY_BYTES_MAX; i++) {
        body[i] = (uint8_t)(i * 7 + i / 256);
    }
    const struct peers_span span = {body, PEERS_BODY_BYTES_MAX};
    for (unsigned i = 1; i <= 8; i++) { /* more than the queue's size, so that it wraps */
        assert_int_equal(peers_send(one->peers, 2, 0, 1, header, PEERS_HEADER_BYTES_MAX, &span, 1), STATUS_OK);
        while (two->messages < i) {
            cluster_settle(cluster);
            peers_tick(one->peers, one->fake.now_ns);
            peers_flush(one->peers);
        }
        assert_int_equal(two->body_bytes, PEERS_BODY_BYTES_MAX);
        assert_memory_equal(two->body, body, PEERS_BODY_BYTES_MAX);
        memset(two->body, 0, PEERS_BODY_BYTES_MAX);
    }
    free(header);
    free(body);
    cluster_free(cluster);
}

static void test_peers_full_queue_refuses_whole_messages_and_keeps_order(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_up(NARROW);
    struct node *one = &cluster->nodes[1], *two = &cluster->nodes[2];
    uint8_t *body = calloc(1, 100000);
    unsigned sent = 0;
    cluster->links.pipes[1][2][0].stopped = true;
    enum status status = STATUS_OK;
    while (status == STATUS_OK) {
        const struct peers_span span = {body, 100000};
        status = peers_send(one->peers, 2, 0, 1, &sent, sizeof sent, &span, 1);
        sent += status == STATUS_OK;
    }
    assert_int_equal(status, STATUS_FULL);
    assert_true(peers_room(one->peers, 2, 0) < 100000);
    assert_int_equal(sent, PEERS_QUEUE_BYTES / 100000);
    assert_int_equal(counters_of(one).messages_not_sent, 1);
    cluster->links.pipes[1][2][0].stopped = false;
    for (unsigned i = 0; i < PEERS_QUEUE_BYTES / NARROW + 2; i++) {
        cluster_settle(cluster);
        peers_tick(one->peers, one->fake.now_ns);
        peers_flush(one->peers);
    }
    unsigned last = 0;
    memcpy(&last, two->header, sizeof last);
    assert_int_equal(two->messages, sent);
    assert_int_equal(last, sent - 1);
    assert_int_equal(peers_room(one->peers, 2, 0), PEERS_BODY_BYTES_MAX);
    assert_int_equal(send_text(one, 2, 0, "and on"), STATUS_OK);
    cluster_settle(cluster);
    assert_int_equal(two->messages, sent + 1);
    assert_int_equal(counters_of(two).links_violated, 0);
    free(body);
    cluster_free(cluster);
}

static void test_peers_send_out_of_bounds_is_invalid(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_up(WIDE);
    struct peers *peers = cluster->nodes[1].peers;
    uint8_t *bytes = calloc(1, PEERS_BODY_BYTES_MAX);
    const struct peers_span spans[2] = {{bytes, PEERS_BODY_BYTES_MAX}, {bytes, 1}};
    assert_int_equal(peers_send(peers, 2, 0, PEERS_TYPE_MAX + 1, NULL, 0, NULL, 0), STATUS_INVALID);
    assert_int_equal(peers_send(peers, 2, 0, 1, bytes, PEERS_HEADER_BYTES_MAX + 1, NULL, 0), STATUS_INVALID);
    assert_int_equal(peers_send(peers, 2, 0, 1, NULL, 0, spans, 2), STATUS_INVALID);
    const struct peers_span wrapping[2] = {{bytes, 2}, {bytes, SIZE_MAX}};
    assert_int_equal(peers_send(peers, 2, 0, 1, NULL, 0, wrapping, 2), STATUS_INVALID);
    assert_int_equal(peers_send(peers, 3, 0, 1, NULL, 0, NULL, 0), STATUS_CLOSED);
    assert_int_equal(peers_room(peers, 3, 0), 0);
    free(bytes);
    cluster_free(cluster);
}

static void test_peers_handler_that_finds_corruption_ends_the_link(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_up(WIDE);
    cluster->nodes[2].message_status = STATUS_CORRUPT;
    assert_int_equal(send_text(&cluster->nodes[1], 2, 0, "bad"), STATUS_OK);
    assert_int_equal(send_text(&cluster->nodes[1], 2, 0, "never seen"), STATUS_OK);
    cluster_settle(cluster);
    assert_int_equal(cluster->nodes[2].messages, 1);
    assert_int_equal(cluster->nodes[2].downs[1][0], 1);
    assert_int_equal(cluster->nodes[1].downs[2][0], 1);
    assert_true(peers_is_up(cluster->nodes[2].peers, 1, 1));
    assert_int_equal(counters_of(&cluster->nodes[2]).links_violated, 1);
    cluster_free(cluster);
}

static void test_peers_reset_from_inside_a_message_stops_at_once(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_up(WIDE);
    cluster->nodes[2].reset_on_message = true;
    assert_int_equal(send_text(&cluster->nodes[1], 2, 0, "first"), STATUS_OK);
    assert_int_equal(send_text(&cluster->nodes[1], 2, 0, "second"), STATUS_OK);
    cluster_settle(cluster);
    assert_int_equal(cluster->nodes[2].messages, 1);
    assert_false(peers_is_up(cluster->nodes[2].peers, 1, 0));
    assert_false(peers_is_up(cluster->nodes[2].peers, 1, 1));
    assert_int_equal(cluster->nodes[1].downs[2][0], 1);
    assert_int_equal(cluster->nodes[1].downs[2][1], 1);
    cluster_free(cluster);
}

static void test_peers_link_down_forgets_what_was_queued(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_up(NARROW);
    static const uint8_t body[3 * NARROW];
    const struct peers_span span = {body, sizeof body};
    assert_int_equal(peers_send(cluster->nodes[1].peers, 2, 0, 1, "lost", 4, &span, 1), STATUS_OK);
    fake_links_down(&cluster->links, 1, 2, 0);
    assert_int_equal(cluster->nodes[1].downs[2][0], 1);
    assert_int_equal(send_text(&cluster->nodes[1], 2, 0, "no"), STATUS_CLOSED);
    fake_links_up(&cluster->links, 1, 2, 0);
    cluster_settle(cluster);
    assert_int_equal(cluster->nodes[2].messages, 0);
    assert_int_equal(send_text(&cluster->nodes[1], 2, 0, "new"), STATUS_OK);
    cluster_settle(cluster);
    assert_int_equal(cluster->nodes[2].messages, 1);
    assert_memory_equal(cluster->nodes[2].header, "new", 3);
    cluster_free(cluster);
}

/* --- time --- */

static void test_peers_idle_links_stay_up_and_peers_count_as_heard(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_up(WIDE);
    struct node *one = &cluster->nodes[1];
    for (unsigned i = 0; i < 100; i++) {
        cluster_run(cluster, ELECTION_TIMEOUT_NS, 5 * MS);
        assert_true(one->fake.now_ns - peers_heard_ns(one->peers, 2) < ELECTION_TIMEOUT_NS);
    }
    assert_int_equal(cluster->links.resets, 0);
    assert_int_equal(one->messages, 0);
    assert_true(peers_is_up(one->peers, 2, 1));
    assert_int_equal(peers_heard_ns(one->peers, 3), 0);
    cluster_free(cluster);
}

static void test_peers_busy_sender_sends_no_keepalives(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_up(WIDE);
    struct node *one = &cluster->nodes[1];
    uint64_t before = counters_of(one).messages_sent;
    fake_links_down(&cluster->links, 1, 2, PEERS_LANE_BULK);
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(send_text(one, 2, 0, "heartbeat"), STATUS_OK);
        cluster_run(cluster, keepalive_ns / 2, keepalive_ns / 2);
    }
    assert_int_equal(counters_of(one).messages_sent - before, 50);
    cluster_free(cluster);
}

static void test_peers_silent_link_is_ended_after_its_time(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_up(WIDE);
    struct node *one = &cluster->nodes[1];
    cluster->links.pipes[2][1][0].stopped = true;
    cluster_run(cluster, silence_ns - 5 * MS, 5 * MS);
    assert_true(peers_is_up(one->peers, 2, 0));
    cluster_run(cluster, 5 * MS, 5 * MS);
    assert_false(peers_is_up(one->peers, 2, 0));
    assert_int_equal(one->downs[2][0], 1);
    assert_int_equal(counters_of(one).links_silent, 1);
    assert_true(peers_is_up(one->peers, 2, 1));
    cluster_free(cluster);
}

/* Bytes alone are no sign of life: a message whose length was altered would be waited for as long as any come. */
static void test_peers_link_without_whole_messages_is_ended_after_its_time(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_up(WIDE);
    struct node *one = &cluster->nodes[1];
    cluster->links.pipes[2][1][0].stopped = true;
    for (unsigned half = 1; half < 2 * PEERS_DEAF_SILENCES; half++) {
        cluster_run(cluster, silence_ns / 2, silence_ns / 2);
        assert_true(peers_is_up(one->peers, 2, 0));
        peers_link_data(one->peers, 2, 0, half == 2 ? "\1" : "\0", 1); /* a length of 256, then the beginning of what it promises */
    }
    cluster_run(cluster, silence_ns / 2, silence_ns / 2);
    assert_false(peers_is_up(one->peers, 2, 0));
    assert_int_equal(one->downs[2][0], 1);
    assert_true(peers_is_up(one->peers, 2, 1));
    cluster_free(cluster);
}

/* A loop that sleeps until the deadline makes progress each time. */
static void test_peers_deadline_is_in_the_future_after_each_tick(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_make(WIDE);
    struct node *one = &cluster->nodes[1];
    assert_true(peers_deadline_ns(one->peers) == UINT64_MAX);
    cluster_free(cluster);
    cluster = cluster_up(NARROW);
    one = &cluster->nodes[1];
    static const uint8_t body[3 * NARROW];
    const struct peers_span span = {body, sizeof body};
    assert_int_equal(peers_send(one->peers, 2, 0, 1, NULL, 0, &span, 1), STATUS_OK);
    for (unsigned i = 0; i < 10000 && peers_deadline_ns(one->peers) != UINT64_MAX; i++) {
        one->fake.now_ns = peers_deadline_ns(one->peers);
        peers_tick(one->peers, one->fake.now_ns);
        assert_true(peers_deadline_ns(one->peers) > one->fake.now_ns);
    }
    assert_false(peers_is_up(one->peers, 2, 0)); /* nothing was ever delivered: silence */
    assert_true(peers_deadline_ns(one->peers) == UINT64_MAX);
    cluster_free(cluster);
}

/* --- hostile peers --- */

/* A peer that has node 1's keys and speaks the channel by itself, badly. */
struct rogue {
    struct cluster *cluster;
    struct channel *channel;
};

static void rogue_send(struct rogue *rogue, const void *header, size_t header_bytes, size_t body_bytes)
{
    uint8_t front[CHANNEL_FRONT_BYTES_MAX + 16] = {0};
    size_t front_bytes = 0;
    assert_int_equal(channel_seal_front(rogue->channel, header, header_bytes, body_bytes, front, &front_bytes), STATUS_OK);
    peers_link_data(rogue->cluster->nodes[2].peers, 1, 0, front, front_bytes + body_bytes);
}

static struct rogue rogue_make(void)
{
    struct rogue rogue = {.cluster = cluster_make(WIDE)};
    struct node *one = &rogue.cluster->nodes[1], *two = &rogue.cluster->nodes[2];
    struct channel_config config = {.machine = &one->fake.machine, .identity = &one->identity, .self = 1, .peer = 2};
    memcpy(config.peer_public_key, two->identity.public_key, sizeof config.peer_public_key);
    memcpy(config.cluster_id, cluster_id, sizeof cluster_id);
    rogue.channel = channel_init(one->fake.machine.reserve(one->fake.machine.context, channel_memory_bytes(), 64), &config);
    struct peers_hello hello = {0};
    own_hello(one, 2, &hello);
    fake_links_up(&rogue.cluster->links, 1, 2, 0);
    channel_open(rogue.channel, (const uint8_t *)&hello, UINT64_MAX);
    uint8_t output[CHANNEL_HANDSHAKE_BYTES_MAX];
    size_t bytes = channel_take_output(rogue.channel, output);
    peers_link_data(two->peers, 1, 0, output, bytes);
    struct fake_pipe *answer = &rogue.cluster->links.pipes[2][1][0];
    const uint8_t *at = answer->bytes;
    struct channel_event event;
    assert_int_equal(channel_input(rogue.channel, &at, &answer->count, &event), STATUS_OK);
    assert_int_equal(event.kind, CHANNEL_CAME_UP);
    bytes = channel_take_output(rogue.channel, output);
    peers_link_data(two->peers, 1, 0, output, bytes);
    assert_true(peers_is_up(two->peers, 1, 0));
    return rogue;
}

static void test_peers_malformed_message_ends_the_link_and_nothing_else(void **state)
{
    (void)state;
    static const struct {
        uint8_t header[3];
        size_t header_bytes, body_bytes;
    } bad[] = {
        {{0}, 0, 0},          /* no type */
        {{130}, 1, 0},        /* unknown type */
        {{255, 1}, 2, 0},     /* unknown type */
        {{128, 1}, 2, 0},     /* keepalive with content */
        {{128}, 1, 5},        /* keepalive with a body */
        {{129}, 1, 0},        /* refusal without reason */
        {{129, 0}, 2, 0},     /* unknown reason */
        {{129, PEERS_REASON_MAX + 1}, 2, 0},
        {{129, 1, 0}, 3, 0},
        {{129, 1}, 2, 1},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct rogue rogue = rogue_make();
        struct node *two = &rogue.cluster->nodes[2];
        rogue_send(&rogue, bad[i].header, bad[i].header_bytes, bad[i].body_bytes);
        assert_int_equal(two->messages, 0);
        assert_int_equal(two->downs[1][0], 1);
        assert_int_equal(two->refused_by[1], PEERS_REASON_NONE);
        assert_int_equal(counters_of(two).links_violated, 1);
        assert_true(two->fake.log_lines > 0);
        cluster_free(rogue.cluster);
    }
}

static void test_peers_well_formed_rogue_is_heard(void **state)
{
    (void)state;
    struct rogue rogue = rogue_make();
    rogue_send(&rogue, "\x80", 1, 0);
    rogue_send(&rogue, "\x07text", 5, 3);
    assert_int_equal(rogue.cluster->nodes[2].messages, 1);
    rogue_send(&rogue, "\x81\x02", 2, 0);
    assert_int_equal(rogue.cluster->nodes[2].refused_by[1], PEERS_REASON_REPLACED);
    assert_int_equal(rogue.cluster->nodes[2].downs[1][0], 1);
    assert_int_equal(counters_of(&rogue.cluster->nodes[2]).links_violated, 0);
    cluster_free(rogue.cluster);
}

static void test_peers_random_bytes_end_one_link_and_the_rest_goes_on(void **state)
{
    (void)state;
    uint64_t seed = test_seed("random bytes", 20250102);
    struct cluster *cluster = cluster_up(WIDE);
    struct node *two = &cluster->nodes[2];
    for (unsigned round = 1; round <= 300; round++) {
        fake_links_up(&cluster->links, 2, 3, 0);
        if (test_random_below(&seed, 2) == 0) {
            cluster_settle(cluster);
        }
        uint8_t garbage[2048];
        size_t bytes = 300 + test_random_below(&seed, sizeof garbage - 300);
        for (size_t i = 0; i < bytes; i++) {
            garbage[i] = (uint8_t)test_random(&seed);
        }
        peers_link_data(two->peers, 3, 0, garbage, bytes);
        if (counters_of(two).links_violated < round) {
            /* A random length that is in range: the channel waits for the rest of it. */
            uint8_t rest[CHANNEL_RECORD_BYTES_MAX] = {0};
            peers_link_data(two->peers, 3, 0, rest, sizeof rest);
        }
        assert_int_equal(counters_of(two).links_violated, round);
        assert_false(peers_is_up(two->peers, 3, 0));
        cluster_settle(cluster);
    }
    assert_int_equal(send_text(&cluster->nodes[1], 2, 0, "still here"), STATUS_OK);
    cluster_settle(cluster);
    assert_int_equal(two->messages, 1);
    cluster_free(cluster);
}

/* --- creation --- */

static void test_peers_create_out_of_range_is_invalid(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_make(NARROW);
    const uint8_t identities[MACHINE_PEERS_MAX][IDENTITY_PUBLIC_BYTES] = {{0}};
    struct peers_config good = config_of(&cluster->nodes[1], identities);
    struct peers_events events = events_of(&cluster->nodes[1]);
    struct peers *peers = NULL;
    struct peers_config bad = good;
    bad.self = 4;
    assert_int_equal(peers_create(&bad, &events, &peers), STATUS_INVALID);
    bad = good;
    bad.self = 0;
    assert_int_equal(peers_create(&bad, &events, &peers), STATUS_INVALID);
    bad = good;
    bad.node_count = MACHINE_PEERS_MAX + 1;
    assert_int_equal(peers_create(&bad, &events, &peers), STATUS_INVALID);
    bad = good;
    bad.election_timeout_ns = 0;
    assert_int_equal(peers_create(&bad, &events, &peers), STATUS_INVALID);
    assert_null(peers);
    cluster_free(cluster);
}

static void test_peers_create_without_memory_is_no_memory(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_make(NARROW);
    const uint8_t identities[MACHINE_PEERS_MAX][IDENTITY_PUBLIC_BYTES] = {{0}};
    struct peers_config config = config_of(&cluster->nodes[1], identities);
    struct peers_events events = events_of(&cluster->nodes[1]);
    struct peers *peers = NULL;
    for (size_t left = 0; left < 2 << 20; left += 512 << 10) {
        cluster->nodes[1].fake.reserve_left = left;
        assert_int_equal(peers_create(&config, &events, &peers), STATUS_NO_MEMORY);
    }
    assert_null(peers);
    cluster_free(cluster);
}

static void test_peers_alone_has_nothing_to_do(void **state)
{
    (void)state;
    struct cluster *cluster = cluster_make(NARROW);
    struct node *one = &cluster->nodes[1];
    const uint8_t identities[1][IDENTITY_PUBLIC_BYTES] = {{0}};
    struct peers_config config = config_of(one, identities);
    struct peers_events events = events_of(one);
    config.node_count = 1;
    assert_int_equal(peers_create(&config, &events, &one->peers), STATUS_OK);
    peers_tick(one->peers, 5);
    peers_flush(one->peers);
    assert_true(peers_deadline_ns(one->peers) == UINT64_MAX);
    cluster_free(cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peers_link_up_gives_both_the_hello),
        cmocka_unit_test(test_peers_hello_not_accepted_tells_the_peer_why),
        cmocka_unit_test(test_peers_refused_peer_that_stays_is_cut_off),
        cmocka_unit_test(test_peers_refused_again_and_again_says_so_once_in_its_time),
        cmocka_unit_test(test_peers_hello_of_another_node_number_is_a_violation),
        cmocka_unit_test(test_peers_handshake_that_does_not_end_is_cut_off),
        cmocka_unit_test(test_peers_new_boot_on_one_lane_ends_the_other_lane),
        cmocka_unit_test(test_peers_link_up_again_ends_the_old_channel_first),
        cmocka_unit_test(test_peers_message_of_pieces_arrives_whole),
        cmocka_unit_test(test_peers_largest_message_passes_a_narrow_link),
        cmocka_unit_test(test_peers_full_queue_refuses_whole_messages_and_keeps_order),
        cmocka_unit_test(test_peers_send_out_of_bounds_is_invalid),
        cmocka_unit_test(test_peers_handler_that_finds_corruption_ends_the_link),
        cmocka_unit_test(test_peers_reset_from_inside_a_message_stops_at_once),
        cmocka_unit_test(test_peers_link_down_forgets_what_was_queued),
        cmocka_unit_test(test_peers_idle_links_stay_up_and_peers_count_as_heard),
        cmocka_unit_test(test_peers_busy_sender_sends_no_keepalives),
        cmocka_unit_test(test_peers_silent_link_is_ended_after_its_time),
        cmocka_unit_test(test_peers_link_without_whole_messages_is_ended_after_its_time),
        cmocka_unit_test(test_peers_deadline_is_in_the_future_after_each_tick),
        cmocka_unit_test(test_peers_malformed_message_ends_the_link_and_nothing_else),
        cmocka_unit_test(test_peers_well_formed_rogue_is_heard),
        cmocka_unit_test(test_peers_random_bytes_end_one_link_and_the_rest_goes_on),
        cmocka_unit_test(test_peers_create_out_of_range_is_invalid),
        cmocka_unit_test(test_peers_create_without_memory_is_no_memory),
        cmocka_unit_test(test_peers_alone_has_nothing_to_do),
    };
    return cmocka_run_group_tests(tests, test_crypto_set_up, NULL);
}
