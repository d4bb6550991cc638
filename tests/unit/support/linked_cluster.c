#include "tests/unit/support/linked_cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

const uint8_t linked_cluster_id[16] = "cluster one";

/* --- events of a node --- */

void linked_own_hello(void *context, unsigned peer, struct peers_hello *hello)
{
    struct linked_node *node = context;
    (void)peer;
    hello->raft_id = node->raft_id;
    hello->boot_number = node->boot_number;
    hello->term = 40 + node->number;
    hello->last_index = 400 + node->number;
}

static enum status accept_hello(void *context, unsigned peer, unsigned lane, const struct peers_hello *hello, enum peers_reason *reason)
{
    struct linked_node *node = context;
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
    struct linked_node *node = context;
    assert_int_equal(hello->term, 40 + peer);
    assert_int_equal(hello->last_index, 400 + peer);
    node->ups[peer][lane]++;
    if (node->greet) {
        assert_int_equal(peers_send(node->peers, peer, lane, 7, "hi", 2, NULL, 0), STATUS_OK);
    }
}

static void down(void *context, unsigned peer, unsigned lane)
{
    struct linked_node *node = context;
    node->downs[peer][lane]++;
    assert_false(peers_is_up(node->peers, peer, lane));
}

static void refused(void *context, unsigned peer, unsigned lane, enum peers_reason reason)
{
    (void)lane;
    ((struct linked_node *)context)->refused_by[peer] = reason;
}

static enum status take_message(void *context, unsigned peer, unsigned lane, const struct peers_message *message)
{
    struct linked_node *node = context;
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
    struct peers *peers = ((struct linked_cluster *)context)->nodes[node].peers;
    peers_link_up(peers, peer, lane);
    peers_check(peers);
}

static void link_data(void *context, unsigned node, unsigned peer, unsigned lane, const void *data, size_t bytes)
{
    struct peers *peers = ((struct linked_cluster *)context)->nodes[node].peers;
    peers_link_data(peers, peer, lane, data, bytes);
    peers_check(peers);
}

static void link_down(void *context, unsigned node, unsigned peer, unsigned lane)
{
    struct peers *peers = ((struct linked_cluster *)context)->nodes[node].peers;
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

struct peers_config linked_config_of(struct linked_node *node, const uint8_t (*identities)[IDENTITY_PUBLIC_BYTES])
{
    struct peers_config config = {
        .machine = &node->fake.machine,
        .identity = &node->identity,
        .identities = identities,
        .self = node->number,
        .node_count = LINKED_NODES,
        .election_timeout_ns = LINKED_ELECTION_NS,
    };
    memcpy(config.cluster_id, linked_cluster_id, sizeof linked_cluster_id);
    return config;
}

struct peers_events linked_events_of(struct linked_node *node)
{
    return (struct peers_events){.context = node,
                                 .own_hello = linked_own_hello,
                                 .accept = accept_hello,
                                 .up = up,
                                 .down = down,
                                 .refused = refused,
                                 .message = take_message};
}

struct linked_cluster *linked_make(size_t link_capacity)
{
    struct linked_cluster *cluster = calloc(1, sizeof *cluster);
    struct fake_links_events link_events = {.context = cluster, .up = link_up, .data = link_data, .down = link_down};
    fake_links_init(&cluster->links, link_capacity, &link_events);
    uint8_t identities[LINKED_NODES][IDENTITY_PUBLIC_BYTES];
    for (unsigned number = 1; number <= LINKED_NODES; number++) {
        struct identity identity = identity_of(number);
        memcpy(identities[number - 1], identity.public_key, IDENTITY_PUBLIC_BYTES);
    }
    for (unsigned number = 1; number <= LINKED_NODES; number++) {
        struct linked_node *node = &cluster->nodes[number];
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
        struct peers_config config = linked_config_of(node, identities);
        struct peers_events events = linked_events_of(node);
        assert_int_equal(peers_create(&config, &events, &node->peers), STATUS_OK);
    }
    return cluster;
}

void linked_free(struct linked_cluster *cluster)
{
    for (unsigned number = 1; number <= LINKED_NODES; number++) {
        fake_machine_destroy(&cluster->nodes[number].fake);
        free(cluster->nodes[number].body);
    }
    fake_links_destroy(&cluster->links);
    free(cluster);
}

void linked_settle(struct linked_cluster *cluster)
{
    fake_links_settle(&cluster->links, SIZE_MAX);
}

struct linked_cluster *linked_up(size_t link_capacity)
{
    struct linked_cluster *cluster = linked_make(link_capacity);
    for (unsigned lane = 0; lane < MACHINE_LANES; lane++) {
        fake_links_up(&cluster->links, 1, 2, lane);
    }
    linked_settle(cluster);
    for (unsigned lane = 0; lane < MACHINE_LANES; lane++) {
        assert_true(peers_is_up(cluster->nodes[1].peers, 2, lane));
        assert_true(peers_is_up(cluster->nodes[2].peers, 1, lane));
    }
    return cluster;
}

void linked_run(struct linked_cluster *cluster, uint64_t ns, uint64_t step_ns)
{
    for (uint64_t gone = 0; gone < ns; gone += step_ns) {
        for (unsigned number = 1; number <= LINKED_NODES; number++) {
            cluster->nodes[number].fake.now_ns += step_ns;
        }
        linked_settle(cluster);
        for (unsigned number = 1; number <= LINKED_NODES; number++) {
            peers_tick(cluster->nodes[number].peers, cluster->nodes[number].fake.now_ns);
            peers_check(cluster->nodes[number].peers);
        }
        linked_settle(cluster);
    }
}

enum status linked_send_text(struct linked_node *node, unsigned peer, unsigned lane, const char *text)
{
    return peers_send(node->peers, peer, lane, 7, text, strlen(text), NULL, 0);
}

struct peers_counters linked_counters_of(const struct linked_node *node)
{
    struct peers_counters counters;
    peers_count(node->peers, &counters);
    return counters;
}
