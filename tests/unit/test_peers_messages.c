/* Peers: what becomes of messages, queued, whole or malformed, and of a peer that has a valid key and does as it likes. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "consensus/limits.h"
#include "crypto/channel.h"
#include "tests/unit/support/crypto_set_up.h"
#include "tests/unit/support/linked_cluster.h"

/* --- messages --- */

static void test_peers_message_of_pieces_arrives_whole(void **state)
{
    (void)state;
    struct linked_cluster *cluster = linked_up(LINKED_WIDE);
    struct linked_node *one = &cluster->nodes[1], *two = &cluster->nodes[2];
    const struct peers_span spans[] = {{"first ", 6}, {NULL, 0}, {"second", 6}};
    assert_int_equal(peers_send(one->peers, 2, PEERS_LANE_BULK, 33, "header", 6, spans, 3), STATUS_OK);
    peers_flush(one->peers);
    linked_settle(cluster);
    assert_int_equal(two->messages, 1);
    assert_int_equal(two->last_peer, 1);
    assert_int_equal(two->last_lane, PEERS_LANE_BULK);
    assert_int_equal(two->last_type, 33);
    assert_int_equal(two->header_bytes, 6);
    assert_memory_equal(two->header, "header", 6);
    assert_int_equal(two->body_bytes, 12);
    assert_memory_equal(two->body, "first second", 12);
    linked_free(cluster);
}

static void test_peers_largest_message_passes_a_narrow_link(void **state)
{
    (void)state;
    struct linked_cluster *cluster = linked_up(LINKED_NARROW);
    struct linked_node *one = &cluster->nodes[1], *two = &cluster->nodes[2];
    uint8_t *header = calloc(1, PEERS_HEADER_BYTES_MAX), *body = malloc(PEERS_BODY_BYTES_MAX);
    for (size_t i = 0; i < PEERS_BODY_BYTES_MAX; i++) {
        body[i] = (uint8_t)(i * 7 + i / 256);
    }
    const struct peers_span span = {body, PEERS_BODY_BYTES_MAX};
    for (unsigned i = 1; i <= 8; i++) { /* more than the queue's size, so that it wraps */
        assert_int_equal(peers_send(one->peers, 2, 0, 1, header, PEERS_HEADER_BYTES_MAX, &span, 1), STATUS_OK);
        while (two->messages < i) {
            linked_settle(cluster);
            peers_tick(one->peers, one->fake.now_ns);
            peers_flush(one->peers);
        }
        assert_int_equal(two->body_bytes, PEERS_BODY_BYTES_MAX);
        assert_memory_equal(two->body, body, PEERS_BODY_BYTES_MAX);
        memset(two->body, 0, PEERS_BODY_BYTES_MAX);
    }
    free(header);
    free(body);
    linked_free(cluster);
}

static void test_peers_full_queue_refuses_whole_messages_and_keeps_order(void **state)
{
    (void)state;
    struct linked_cluster *cluster = linked_up(LINKED_NARROW);
    struct linked_node *one = &cluster->nodes[1], *two = &cluster->nodes[2];
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
    assert_int_equal(linked_counters_of(one).messages_not_sent, 1);
    cluster->links.pipes[1][2][0].stopped = false;
    for (unsigned i = 0; i < PEERS_QUEUE_BYTES / LINKED_NARROW + 2; i++) {
        linked_settle(cluster);
        peers_tick(one->peers, one->fake.now_ns);
        peers_flush(one->peers);
    }
    unsigned last = 0;
    memcpy(&last, two->header, sizeof last);
    assert_int_equal(two->messages, sent);
    assert_int_equal(last, sent - 1);
    assert_int_equal(peers_room(one->peers, 2, 0), PEERS_BODY_BYTES_MAX);
    assert_int_equal(linked_send_text(one, 2, 0, "and on"), STATUS_OK);
    linked_settle(cluster);
    assert_int_equal(two->messages, sent + 1);
    assert_int_equal(linked_counters_of(two).links_violated, 0);
    free(body);
    linked_free(cluster);
}

static void test_peers_send_out_of_bounds_is_invalid(void **state)
{
    (void)state;
    struct linked_cluster *cluster = linked_up(LINKED_WIDE);
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
    linked_free(cluster);
}

static void test_peers_handler_that_finds_corruption_ends_the_link(void **state)
{
    (void)state;
    struct linked_cluster *cluster = linked_up(LINKED_WIDE);
    cluster->nodes[2].message_status = STATUS_CORRUPT;
    assert_int_equal(linked_send_text(&cluster->nodes[1], 2, 0, "bad"), STATUS_OK);
    assert_int_equal(linked_send_text(&cluster->nodes[1], 2, 0, "never seen"), STATUS_OK);
    linked_settle(cluster);
    assert_int_equal(cluster->nodes[2].messages, 1);
    assert_int_equal(cluster->nodes[2].downs[1][0], 1);
    assert_int_equal(cluster->nodes[1].downs[2][0], 1);
    assert_true(peers_is_up(cluster->nodes[2].peers, 1, 1));
    assert_int_equal(linked_counters_of(&cluster->nodes[2]).links_violated, 1);
    linked_free(cluster);
}

static void test_peers_reset_from_inside_a_message_stops_at_once(void **state)
{
    (void)state;
    struct linked_cluster *cluster = linked_up(LINKED_WIDE);
    cluster->nodes[2].reset_on_message = true;
    assert_int_equal(linked_send_text(&cluster->nodes[1], 2, 0, "first"), STATUS_OK);
    assert_int_equal(linked_send_text(&cluster->nodes[1], 2, 0, "second"), STATUS_OK);
    linked_settle(cluster);
    assert_int_equal(cluster->nodes[2].messages, 1);
    assert_false(peers_is_up(cluster->nodes[2].peers, 1, 0));
    assert_false(peers_is_up(cluster->nodes[2].peers, 1, 1));
    assert_int_equal(cluster->nodes[1].downs[2][0], 1);
    assert_int_equal(cluster->nodes[1].downs[2][1], 1);
    linked_free(cluster);
}

static void test_peers_link_down_forgets_what_was_queued(void **state)
{
    (void)state;
    struct linked_cluster *cluster = linked_up(LINKED_NARROW);
    static const uint8_t body[3 * LINKED_NARROW];
    const struct peers_span span = {body, sizeof body};
    assert_int_equal(peers_send(cluster->nodes[1].peers, 2, 0, 1, "lost", 4, &span, 1), STATUS_OK);
    fake_links_down(&cluster->links, 1, 2, 0);
    assert_int_equal(cluster->nodes[1].downs[2][0], 1);
    assert_int_equal(linked_send_text(&cluster->nodes[1], 2, 0, "no"), STATUS_CLOSED);
    fake_links_up(&cluster->links, 1, 2, 0);
    linked_settle(cluster);
    assert_int_equal(cluster->nodes[2].messages, 0);
    assert_int_equal(linked_send_text(&cluster->nodes[1], 2, 0, "new"), STATUS_OK);
    linked_settle(cluster);
    assert_int_equal(cluster->nodes[2].messages, 1);
    assert_memory_equal(cluster->nodes[2].header, "new", 3);
    linked_free(cluster);
}

/* --- hostile peers --- */

/* A peer that has node 1's keys and speaks the channel by itself, badly. */
struct rogue {
    struct linked_cluster *cluster;
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
    struct rogue rogue = {.cluster = linked_make(LINKED_WIDE)};
    struct linked_node *one = &rogue.cluster->nodes[1], *two = &rogue.cluster->nodes[2];
    struct channel_config config = {.machine = &one->fake.machine, .identity = &one->identity, .self = 1, .peer = 2};
    memcpy(config.peer_public_key, two->identity.public_key, sizeof config.peer_public_key);
    memcpy(config.cluster_id, linked_cluster_id, sizeof linked_cluster_id);
    rogue.channel = channel_init(one->fake.machine.reserve(one->fake.machine.context, channel_memory_bytes(), 64), &config);
    struct peers_hello hello = {0};
    linked_own_hello(one, 2, &hello);
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
        struct linked_node *two = &rogue.cluster->nodes[2];
        rogue_send(&rogue, bad[i].header, bad[i].header_bytes, bad[i].body_bytes);
        assert_int_equal(two->messages, 0);
        assert_int_equal(two->downs[1][0], 1);
        assert_int_equal(two->refused_by[1], PEERS_REASON_NONE);
        assert_int_equal(linked_counters_of(two).links_violated, 1);
        assert_true(two->fake.log_lines > 0);
        linked_free(rogue.cluster);
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
    assert_int_equal(linked_counters_of(&rogue.cluster->nodes[2]).links_violated, 0);
    linked_free(rogue.cluster);
}

static void test_peers_random_bytes_end_one_link_and_the_rest_goes_on(void **state)
{
    (void)state;
    uint64_t seed = test_seed("random bytes", 20250102);
    struct linked_cluster *cluster = linked_up(LINKED_WIDE);
    struct linked_node *two = &cluster->nodes[2];
    for (unsigned round = 1; round <= 300; round++) {
        fake_links_up(&cluster->links, 2, 3, 0);
        if (test_random_below(&seed, 2) == 0) {
            linked_settle(cluster);
        }
        uint8_t garbage[2048];
        size_t bytes = 300 + test_random_below(&seed, sizeof garbage - 300);
        for (size_t i = 0; i < bytes; i++) {
            garbage[i] = (uint8_t)test_random(&seed);
        }
        peers_link_data(two->peers, 3, 0, garbage, bytes);
        if (linked_counters_of(two).links_violated < round) {
            /* A random length that is in range: the channel waits for the rest of it. */
            uint8_t rest[CHANNEL_RECORD_BYTES_MAX] = {0};
            peers_link_data(two->peers, 3, 0, rest, sizeof rest);
        }
        assert_int_equal(linked_counters_of(two).links_violated, round);
        assert_false(peers_is_up(two->peers, 3, 0));
        linked_settle(cluster);
    }
    assert_int_equal(linked_send_text(&cluster->nodes[1], 2, 0, "still here"), STATUS_OK);
    linked_settle(cluster);
    assert_int_equal(two->messages, 1);
    linked_free(cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peers_message_of_pieces_arrives_whole),
        cmocka_unit_test(test_peers_largest_message_passes_a_narrow_link),
        cmocka_unit_test(test_peers_full_queue_refuses_whole_messages_and_keeps_order),
        cmocka_unit_test(test_peers_send_out_of_bounds_is_invalid),
        cmocka_unit_test(test_peers_handler_that_finds_corruption_ends_the_link),
        cmocka_unit_test(test_peers_reset_from_inside_a_message_stops_at_once),
        cmocka_unit_test(test_peers_link_down_forgets_what_was_queued),
        cmocka_unit_test(test_peers_malformed_message_ends_the_link_and_nothing_else),
        cmocka_unit_test(test_peers_well_formed_rogue_is_heard),
        cmocka_unit_test(test_peers_random_bytes_end_one_link_and_the_rest_goes_on),
    };
    return cmocka_run_group_tests(tests, test_crypto_set_up, NULL);
}
