/* Catch-up: moves a checkpoint to a node that is too far behind for the log, or blank.
 *
 * Owns the messages of types CATCHUP_MESSAGE_* on lane 1, the transfer in each direction, and the store's pin and the group's hold of the log that
 * a transfer needs. A *manifest* names a checkpoint: raft facts, world record, hash of every page; the receiver pulls the pages it lacks.
 *
 * Promises: bytes moved are about the bytes that differ from the receiver's own checkpoint; a page is used only after its seal opened and its
 * hash is the manifest's, the manifest only after its hashes add up to its digest, the whole only if the group has held the giver for the leader.
 * Until all of it is durable the receiver's group knows nothing of it (it keeps voting). A newer manifest restarts the pull and keeps the pages
 * that match. Bounded: CATCHUP_REQUESTS_MAX requests of CATCHUP_PAGES_MAX pages outstanding; a manifest or a pull that stands still is dropped
 * after CATCHUP_IDLE_MS; serving takes at most CATCHUP_SERVE_PAGES pages a millisecond, and at most a third of the time.
 * Called by replicate/node, from the event loop only. It calls the group, the store and peers, the node only by `installed` and `want_checkpoint`. */
#ifndef EIDOLON_REPLICATE_CATCHUP_H
#define EIDOLON_REPLICATE_CATCHUP_H

#include <stdbool.h>
#include <stdint.h>

#include "consensus/group.h"
#include "consensus/peers.h"
#include "include/machine.h"
#include "replicate/image.h"
#include "replicate/store.h"

struct catchup;

enum {
    CATCHUP_PAGES_MAX = 16,        /* pages of one request and its answer: a body of 64 KiB */
    CATCHUP_REQUESTS_MAX = 4,      /* outstanding: the link is never idle for a round trip */
    CATCHUP_SERVE_PAGES = 8,       /* read and verified by the server in one millisecond */
    CATCHUP_REQUEST_MS = 1000,     /* a request without answer is made again */
    CATCHUP_IDLE_MS = 5000,        /* a pull that asks for nothing for so long has died: pin and hold are released */
};

struct catchup_config {
    const struct machine *machine;
    struct peers *peers;
    struct store *store;
    struct image *image;           /* the server's fallback for a page that its disk cannot give any more */
    struct group *group;
    const struct seal_keys *keys;
    uint32_t world_pages_max;
    uint32_t world_number;
    unsigned self;                 /* node number */
    void *context;
    /* Receiver: everything of `snapshot` is durable (store_checkpoint is it) and the group has taken it: what the image holds is obsolete. Discard parts of
     * epochs and fill the image: store_fill_restart, store_fill_step. Called from catchup_tick. */
    void (*installed)(void *context, const struct group_snapshot *snapshot);
    /* Giver: a page of the checkpoint can be given neither from the disk nor from memory; the next checkpoint has it anew. */
    void (*want_checkpoint)(void *context);
};

/* Everything is borrowed for ever. NO_MEMORY. */
MUST_CHECK enum status catchup_create(struct catchup **out, const struct catchup_config *config);

/* -- leader -- */
/* The peer `raft_id` needs a snapshot (group_ops.send_snapshot). Repeated calls for a transfer that is under way do nothing. The current checkpoint is
 * pinned and the log behind it held until all transfers have ended. */
void catchup_send_snapshot(struct catchup *catchup, uint64_t raft_id);
/* store_checkpoint_begin said NO_SPACE: give the pin up. Transfers under way start again with the next checkpoint, keeping what they have. */
void catchup_yield_pin(struct catchup *catchup);
/* This node no longer leads (group_ops.lost): serve nobody. */
void catchup_stop_serving(struct catchup *catchup);

/* -- events -- */
/* A message of a type CATCHUP_MESSAGE_FIRST..LAST on lane 1. Anything but OK ends the channel. */
MUST_CHECK enum status catchup_message(struct catchup *catchup, unsigned peer, const struct peers_message *message);
/* Lane 1 to `peer` ended. What was received stays for the next manifest. */
void catchup_down(struct catchup *catchup, unsigned peer);
void catchup_tick(struct catchup *catchup);
/* When catchup_tick is due next, machine time; UINT64_MAX: never. */
uint64_t catchup_deadline_ns(const struct catchup *catchup);

/* -- facts -- */
/* A pull is under way here: no checkpoint of our own can be made (store_checkpoint_begin is BUSY). */
bool catchup_receiving(const struct catchup *catchup);
struct catchup_facts {
    bool receiving;
    unsigned from;                 /* node */
    uint64_t epoch;                /* of the manifest */
    uint32_t serving;              /* transfers under way from here */
    uint64_t manifests_sent, pages_sent, pages_received, installs;
};
void catchup_facts(const struct catchup *catchup, struct catchup_facts *out);

#endif
