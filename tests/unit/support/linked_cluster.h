/* Three nodes' real peers in one process, over links that the test holds; behind the peers of a node stands nothing but a record of what they told it, which
 * also says how it answers. peers_check runs after each event of a link and each tick. What a step of a test needs to succeed is asserted here. */
#ifndef EIDOLON_TESTS_LINKED_CLUSTER_H
#define EIDOLON_TESTS_LINKED_CLUSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consensus/peers.h"
#include "crypto/identity.h"
#include "tests/unit/support/fake_links.h"

#define MS 1000000ull
#define LINKED_ELECTION_NS (100 * MS)
/* Capacities of a link: a narrow one takes larger messages in pieces. */
enum { LINKED_NODES = 3, LINKED_WIDE = 1 << 20, LINKED_NARROW = 4096 };

extern const uint8_t linked_cluster_id[16];

struct linked_node {
    struct linked_cluster *cluster;
    struct fake_machine fake;
    unsigned number;
    struct identity identity;
    struct peers *peers;
    uint64_t boot_number;
    uint64_t raft_id;               /* told in the hello */
    enum status accept_status;
    enum peers_reason accept_reason;
    enum status message_status;
    bool reset_on_message;
    bool greet;                     /* send a message as soon as a channel is up */
    unsigned ups[LINKED_NODES + 1][MACHINE_LANES], downs[LINKED_NODES + 1][MACHINE_LANES];
    enum peers_reason refused_by[LINKED_NODES + 1];
    unsigned messages;
    unsigned last_peer, last_lane;
    uint8_t last_type;
    uint8_t header[PEERS_HEADER_BYTES_MAX];
    size_t header_bytes;
    uint8_t *body;
    size_t body_bytes;
};

struct linked_cluster {
    struct fake_links links;
    struct linked_node nodes[LINKED_NODES + 1];
};

/* All three nodes, and no link up. */
struct linked_cluster *linked_make(size_t link_capacity);
/* ... but both lanes of nodes 1 and 2, with their channels. */
struct linked_cluster *linked_up(size_t link_capacity);
void linked_free(struct linked_cluster *cluster);

/* Everything that is under way is delivered, and what that makes the nodes send. */
void linked_settle(struct linked_cluster *cluster);
/* Let time pass in steps of `step_ns`, with everything delivered and every node's tick after each. */
void linked_run(struct linked_cluster *cluster, uint64_t ns, uint64_t step_ns);

/* Queue a message of type 7 that is a header only. */
enum status linked_send_text(struct linked_node *node, unsigned peer, unsigned lane, const char *text);
struct peers_counters linked_counters_of(const struct linked_node *node);

/* What a node's peers are created with, and the events that make its record; own_hello by itself is for who speaks in the node's place. */
struct peers_config linked_config_of(struct linked_node *node, const uint8_t (*identities)[IDENTITY_PUBLIC_BYTES]);
struct peers_events linked_events_of(struct linked_node *node);
void linked_own_hello(void *context, unsigned peer, struct peers_hello *hello);

#endif
