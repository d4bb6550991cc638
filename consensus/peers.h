/* All peers of a node: a channel for each peer and lane, kept up over the machine's links.
 *
 * Owns the channels, what is queued to be sent, and who was heard when. Promises: a message that is given out came from the node it says, whose
 * hello was accepted by the user, in order, in this life of the channel; heads of messages are authenticated and encrypted. A peer that breaks a
 * rule, or says nothing for too long while its link is up, loses the link, and the machine brings a new one. Bounded: each peer and lane has a
 * send queue of stated size (consensus/limits.h); a message that does not fit is refused whole.
 *
 * Bodies travel as they are (crypto/channel.h): the sender puts the tag of every sealed piece into the header; THE RECEIVER VERIFIES
 * EACH PIECE before use and answers CORRUPT from `message` if one fails.
 *
 * The machine's owner calls peers_link_*; the user (consensus) the rest. Single-threaded, from the event loop only. The user may call any
 * function from inside any event, except peers_link_*. Nothing is allocated after peers_create. */
#ifndef EIDOLON_CONSENSUS_PEERS_H
#define EIDOLON_CONSENSUS_PEERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/identity.h"
#include "crypto/limits.h"
#include "include/disk_format.h"
#include "include/machine.h"
#include "include/status.h"

enum {
    PEERS_LANE_RAFT = 0,
    PEERS_LANE_BULK = 1,
    /* Message types of the user are 0..127; above are the channel's own. */
    PEERS_TYPE_MAX = 127,
    PEERS_HEADER_BYTES_MAX = CHANNEL_HEADER_BYTES_MAX - 1,
    PEERS_BODY_BYTES_MAX = CHANNEL_BODY_BYTES_MAX,
};

/* What a node says of itself when a channel comes up. Signed; on the wire as it stands. */
struct peers_hello {
    uint64_t raft_id;         /* its node number is checked here */
    uint64_t boot_number;     /* from 1 */
    uint64_t term;
    uint64_t last_index;
    uint64_t last_term;
    uint64_t flags;           /* the user's */
    uint64_t lives[DISK_LIVES]; /* the user's: what this boot and those before it are called */
};

/* Why a hello was not accepted. Told to the other side. Numbers are part of the protocol. */
enum peers_reason {
    PEERS_REASON_NONE = 0,
    PEERS_REASON_STALE = 1,    /* we have evidence of a later state of your disk: come back under a new incarnation */
    PEERS_REASON_REPLACED = 2, /* your id is not, or no longer, a member and your node number has another: the same */
    PEERS_REASON_NOT_NOW = 3,  /* try again later */
    PEERS_REASON_REPAIR = 4,   /* your disk is damaged, and we are a majority without you: come back under a new incarnation */
    PEERS_REASON_MAX = 4,
};

struct peers_message {
    uint8_t type;             /* 0..PEERS_TYPE_MAX */
    const uint8_t *header;    /* no alignment is promised */
    size_t header_bytes;      /* <= PEERS_HEADER_BYTES_MAX */
    const uint8_t *body;      /* not authenticated until its pieces are verified */
    size_t body_bytes;        /* <= PEERS_BODY_BYTES_MAX */
};

/* A piece of a body to be sent. */
struct peers_span {
    const void *data;
    size_t bytes;
};

/* What peers asks of and tells its user. All pointers are borrowed for the call. */
struct peers_events {
    void *context;
    /* What shall we say of ourselves to `peer`? `hello` is zeroed. */
    void (*own_hello)(void *context, unsigned peer, struct peers_hello *hello);
    /* A peer proved who it is and says `hello`. OK: the channel comes up. Otherwise set `reason`; it is told to the peer and the link ends. */
    enum status (*accept)(void *context, unsigned peer, unsigned lane, const struct peers_hello *hello, enum peers_reason *reason);
    /* The channel is up: messages may be sent from now on. */
    void (*up)(void *context, unsigned peer, unsigned lane, const struct peers_hello *hello);
    /* The channel, once up, has ended: what was queued is gone. */
    void (*down)(void *context, unsigned peer, unsigned lane);
    /* The peer did not accept our hello. If the channel was up, `down` has been called before. */
    void (*refused)(void *context, unsigned peer, unsigned lane, enum peers_reason reason);
    /* A message. Anything but OK ends the channel (logged with the status): INVALID or CORRUPT, say. */
    enum status (*message)(void *context, unsigned peer, unsigned lane, const struct peers_message *message);
};

struct peers_config {
    const struct machine *machine;     /* borrowed for ever */
    const struct identity *identity;   /* borrowed for ever */
    const uint8_t (*identities)[IDENTITY_PUBLIC_BYTES]; /* of nodes 1..node_count; copied */
    uint8_t cluster_id[16];
    unsigned self;                     /* 1..node_count */
    unsigned node_count;               /* 1..MACHINE_PEERS_MAX */
    uint64_t election_timeout_ns;      /* keepalive and silence are counted in these (consensus/limits.h) */
};

struct peers;

/* Reserve everything and start with all links down. `events` is copied.
 * INVALID: a number is out of range.   NO_MEMORY: the machine has not that much. */
MUST_CHECK enum status peers_create(const struct peers_config *config, const struct peers_events *events, struct peers **out);

/* --- The machine's owner: what happens on the links. Numbers that are out of range are our own impossibility. --- */

/* A link came up (an older one between the same two has ended). */
void peers_link_up(struct peers *peers, unsigned peer, unsigned lane);
/* Bytes arrived; borrowed. */
void peers_link_data(struct peers *peers, unsigned peer, unsigned lane, const void *data, size_t bytes);
/* The link ended. */
void peers_link_down(struct peers *peers, unsigned peer, unsigned lane);

/* --- The user --- */

/* Send a message: header and `span_count` pieces of body, all copied. Leaves with the next peers_flush at the latest.
 * O(bytes) and one encryption of the header.
 * FULL: the queue has no room for it; nothing of it was sent.   CLOSED: the channel is not up.   INVALID: a type or length is out of range. */
MUST_CHECK enum status peers_send(struct peers *peers, unsigned peer, unsigned lane, uint8_t type, const void *header, size_t header_bytes,
                                  const struct peers_span *spans, size_t span_count);

/* Push out what was sent, on all links. At the end of a batch. */
void peers_flush(struct peers *peers);

/* Body bytes that one more message with a full header could carry now; 0: none, or not up. */
size_t peers_room(const struct peers *peers, unsigned peer, unsigned lane);

/* End both lanes of `peer` (it must present itself again). `down` is called for those that were up. */
void peers_reset(struct peers *peers, unsigned peer);

/* End the channel of one lane. */
void peers_reset_lane(struct peers *peers, unsigned peer, unsigned lane);

bool peers_is_up(const struct peers *peers, unsigned peer, unsigned lane);

/* The accepted hello of the peer, or NULL while its channel is not up. Holds until `down`. */
const struct peers_hello *peers_hello_of(const struct peers *peers, unsigned peer, unsigned lane);

/* When the last authenticated message of `peer` arrived on lane 0 (keepalives count); 0: never. */
uint64_t peers_heard_ns(const struct peers *peers, unsigned peer);

/* Do what is due: keepalives, ends of silent links, late handshakes, queued bytes. */
void peers_tick(struct peers *peers, uint64_t now_ns);

/* When peers_tick is due next; UINT64_MAX: never. */
uint64_t peers_deadline_ns(const struct peers *peers);

/* Counters for the management port and tests. */
struct peers_counters {
    uint64_t messages_sent, messages_received, bytes_sent, bytes_received;
    uint64_t bulk_bytes_sent, bulk_bytes_received; /* of them, on the bulk lane */
    uint64_t messages_not_sent;        /* FULL */
    uint64_t links_violated, links_silent, handshakes_late, hellos_refused;
};
void peers_count(const struct peers *peers, struct peers_counters *out);

/* CHECK the invariants that open peers.c. For tests and the simulator, at each transition. */
void peers_check(const struct peers *peers);

#endif
