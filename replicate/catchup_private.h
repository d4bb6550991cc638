/* Inside of replicate/catchup: the messages, and what its files share.
 *
 *   server                           client
 *   MANIFEST, HASHES..., END   ->
 *                              <-    WANT (up to CATCHUP_REQUESTS_MAX unanswered; with no pages: still here)
 *   PAGES                      ->
 *                              <-    ENDED
 *   GONE                       ->    (this manifest is not served any more)
 *
 * Headers are authenticated by the channel. The bodies of PAGES are sealed pages, each verified against its tag and the manifest's hash.
 * Little-endian, no padding; a message of another length than its type's ends the channel. */
#ifndef EIDOLON_REPLICATE_CATCHUP_PRIVATE_H
#define EIDOLON_REPLICATE_CATCHUP_PRIVATE_H

#include <assert.h>

#include "consensus/message_types.h"
#include "replicate/catchup.h"

enum catchup_type {
    CATCHUP_MANIFEST = CATCHUP_MESSAGE_FIRST,
    CATCHUP_HASHES,
    CATCHUP_END,
    CATCHUP_WANT,
    CATCHUP_PAGES,
    CATCHUP_ENDED,
    CATCHUP_GONE,
};
static_assert(CATCHUP_GONE <= (int)CATCHUP_MESSAGE_LAST, "types stay in their range");

enum {
    CATCHUP_HASHES_MAX = 960,       /* of one message: a header of 7.7 KiB */
    CATCHUP_SERVE_STEP = 4,         /* pages read at once */
    CATCHUP_PACE = 3,               /* a step is followed by the next one after so many times as long: a third of the time */
    CATCHUP_MANIFEST_STEP = 4,      /* messages of a manifest at once */
    CATCHUP_KEEPALIVE_MS = 1000,
    CATCHUP_RETRY_MS = 1,           /* when a queue had no room */
    CATCHUP_AGAIN_MS = 500,         /* a peer that has ended well is offered nothing for so long: its group must answer the leader's first; nor one that
                                     * could not be given a page: a new checkpoint must come first */
    CATCHUP_LINGER_MS = 10000,      /* the log is held so much longer, until the peer has begun to read it */
};

struct catchup_manifest {
    uint64_t id;                    /* of this transfer */
    struct group_snapshot snapshot;
    uint64_t epoch;
    uint64_t digest;
    uint32_t pages_max;
    uint32_t reserved;              /* 0 */
    struct world_record record;
};

/* Hashes of `count` pages from first_page on; pages that no message names are absent. */
struct catchup_hashes {
    uint64_t id;
    uint32_t first_page;
    uint32_t count;
    uint64_t hashes[CATCHUP_HASHES_MAX];
};

struct catchup_want {
    uint64_t id;
    uint32_t request;               /* 0..CATCHUP_REQUESTS_MAX-1, comes back with the answer */
    uint32_t count;
    uint32_t pages[CATCHUP_PAGES_MAX];
};

struct catchup_page {
    uint32_t page;
    uint32_t reserved;
    uint64_t hash;
    uint8_t nonce[24];
    uint8_t tag[16];
};

struct catchup_pages {
    uint64_t id;
    uint32_t request;
    uint32_t count;
    struct catchup_page pages[CATCHUP_PAGES_MAX];
};

enum catchup_outcome { CATCHUP_DONE = 1, CATCHUP_STALE = 2, CATCHUP_FAILED = 3 };

/* ENDED and, with outcome 0, END and GONE. */
struct catchup_note {
    uint64_t id;
    uint32_t outcome;
    uint32_t reserved;
};

static_assert(sizeof(struct catchup_manifest) <= PEERS_HEADER_BYTES_MAX, "a manifest is one header");
static_assert(sizeof(struct catchup_manifest) % 8 == 0, "no tail padding");
static_assert(sizeof(struct catchup_hashes) <= PEERS_HEADER_BYTES_MAX, "hashes are one header");
static_assert(sizeof(struct catchup_pages) <= PEERS_HEADER_BYTES_MAX, "descriptions of pages are one header");
static_assert(CATCHUP_PAGES_MAX * (int)STORE_BLOCK_BYTES <= (int)PEERS_BODY_BYTES_MAX, "pages are one body");

/* What this node gives to one peer. */
enum transfer_phase { TRANSFER_NONE, TRANSFER_MANIFEST, TRANSFER_HASHES, TRANSFER_END, TRANSFER_SERVING };
struct transfer {
    uint64_t asked_for;             /* raft id that the group wants served; 0: none. The group is asked for nothing from inside its own call. */
    enum transfer_phase phase;
    uint64_t raft_id;
    uint64_t id;
    uint64_t ended_ns;              /* when the last transfer to raft_id ended well, or for want of a page; 0: never */
    struct group_snapshot snapshot;
    uint32_t next_page;             /* HASHES */
    uint64_t heard_ns;
    struct catchup_want wants[CATCHUP_REQUESTS_MAX]; /* oldest first */
    uint32_t want_count;
};

/* A manifest on its way in. */
struct incoming {
    bool active, complete;
    unsigned from;
    uint64_t heard_ns;
    struct catchup_manifest manifest;
};

struct request {
    bool outstanding;
    uint64_t deadline_ns;
    uint32_t count;
    uint32_t pages[CATCHUP_PAGES_MAX];
};

/* What this node takes. */
enum pull_phase { PULL_NONE, PULL_PAGES, PULL_DURABLE };
struct pull {
    enum pull_phase phase;
    unsigned from;                  /* 0: the link ended; a new manifest may continue it */
    uint64_t id;
    struct group_snapshot snapshot;
    uint64_t epoch;
    bool giver_led;                 /* the group has held the giver for the leader of the snapshot's term */
    bool commits;                   /* the store may write the superblock */
    uint32_t cursor;
    struct request requests[CATCHUP_REQUESTS_MAX];
    uint64_t progress_ns;
    uint64_t keepalive_ns;          /* when the next one is due */
};

struct catchup {
    struct catchup_config config;
    struct transfer transfers[MACHINE_PEERS_MAX + 1];
    uint64_t hold_until_ns;         /* 0: the log is not held */
    uint64_t serve_ns;              /* when serving goes on */
    unsigned assembling;            /* peer whose oldest want is being read; 0: none */
    unsigned served;                /* peer that was answered last */
    struct catchup_pages answer;
    uint8_t *answer_body;
    struct sealed_page *page;       /* scratch */
    struct catchup_hashes *hashes_message;

    struct incoming incoming;
    uint64_t *hashes;               /* of `incoming` */
    struct pull pull;
    struct catchup_facts facts;
};

uint64_t catchup_now_ns(const struct catchup *catchup);
void catchup_log(const struct catchup *catchup, enum log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* True: sent. */
bool catchup_send(struct catchup *catchup, unsigned peer, enum catchup_type type, const void *header, size_t bytes, const void *body,
                  size_t body_bytes);
bool catchup_send_note(struct catchup *catchup, unsigned peer, enum catchup_type type, uint64_t id, enum catchup_outcome outcome);

/* -- catchup_server.c -- */
void server_tick(struct catchup *catchup);
uint64_t server_deadline_ns(const struct catchup *catchup);
void server_down(struct catchup *catchup, unsigned peer);
MUST_CHECK enum status server_want(struct catchup *catchup, unsigned peer, const struct peers_message *message);
MUST_CHECK enum status server_ended(struct catchup *catchup, unsigned peer, const struct peers_message *message);

/* -- catchup_client.c -- */
void client_tick(struct catchup *catchup);
uint64_t client_deadline_ns(const struct catchup *catchup);
void client_down(struct catchup *catchup, unsigned peer);
MUST_CHECK enum status client_manifest(struct catchup *catchup, unsigned peer, const struct peers_message *message);
MUST_CHECK enum status client_hashes(struct catchup *catchup, unsigned peer, const struct peers_message *message);
MUST_CHECK enum status client_end(struct catchup *catchup, unsigned peer, const struct peers_message *message);
MUST_CHECK enum status client_pages(struct catchup *catchup, unsigned peer, const struct peers_message *message);
MUST_CHECK enum status client_gone(struct catchup *catchup, unsigned peer, const struct peers_message *message);

#endif
