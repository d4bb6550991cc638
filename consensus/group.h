/* One Raft group on this node: the raft library, its log on disk, term and vote, the messages, the members.
 *
 * Owns: the raft instance, the log region, the vote slots, the membership automaton (a blank or replaced node asks, the leader removes every
 * other id of that node number, adds the new one as standby, catches it up, promotes it, by itself), and the messages of types GROUP_MESSAGE_* on lane 0.
 * Does not own: the image, the page store, the transfer of pages (replicate/catchup): those hear of it through group_ops.
 *
 * Promises: what was reported persisted is flushed; term and vote are flushed before a message that depends on them leaves; messages go out before
 * the local flush is waited for; heartbeats never wait for the disk; while a flush is outstanding appends coalesce. Time given to the library
 * never goes back; each field of a peer's message is range-checked before raft_step. Nothing is recursive: callbacks below are called
 * from group_tick or an event function and must not call back into the group except where it says so.
 * Called by replicate/node, from the event loop only.
 *
 * Who binds what: the node owns struct peers; of struct peers_events (consensus/peers.h) it gives own_hello to group_own_hello, accept to
 * group_accept_hello, and up, down, refused and the messages of types GROUP_MESSAGE_* of lane 0 to group_peer_up, _down, _refused and
 * group_message. A blank disk and a disk whose superblock says `joining` make a group without configuration that waits to be admitted.
 * Starting anew (after ops.removed, or when what ops.damaged or group_start's CORRUPT told is repaired): store_adopt, then group_start again with the
 * new superblock. */
#ifndef EIDOLON_CONSENSUS_GROUP_H
#define EIDOLON_CONSENSUS_GROUP_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consensus/limits.h"
#include "consensus/peers.h"
#include "crypto/seal.h"
#include "include/boot_config.h"
#include "include/disk_format.h"
#include "include/machine.h"
#include "include/status.h"

struct group;

enum group_entry_type {
    GROUP_ENTRY_EPOCH = 1,  /* one part of a sealed delta */
    GROUP_ENTRY_RESET = 2,  /* the image becomes empty at `epoch`; no body */
};

/* The header of an entry of ours; stands in the log record and in AppendEntries, in clear (numbers only). 80 bytes, no padding. */
struct group_entry {
    uint32_t type;          /* enum group_entry_type */
    uint32_t world;         /* 1 */
    uint64_t epoch;
    uint32_t part;          /* 0..parts-1 */
    uint32_t parts;
    uint32_t bytes;         /* of the sealed body, <= ENTRY_BODY_BYTES_MAX */
    uint32_t reserved;      /* 0 */
    uint8_t nonce[24];
    uint8_t tag[16];        /* a follower verifies the body (seal_verify_body) before it acknowledges it */
    uint64_t check;         /* hash64(epoch, body, bytes): names the content; wire and log have checks of their own */
};
static_assert(sizeof(struct group_entry) == 80, "group entry layout");

enum group_role { GROUP_FOLLOWER, GROUP_CANDIDATE, GROUP_LEADER, GROUP_JOINING };

struct group_ops {
    void *context;
    /* A committed entry of ours, in order, starting behind the checkpoint given at group_start or group_install; each index once, but that after `lost` the
     * first parts of an epoch that was committed only in part are offered again, with `own` false. Entry and body are
     * borrowed for the call. `own`: this node submitted it in its present leadership and holds its effect already. Return BUSY to have the same entry offered
     * again at a later group_tick (the image is still filling); anything else counts as taken. */
    enum status (*apply)(void *context, uint64_t index, uint64_t term, bool own, const struct group_entry *entry, const uint8_t *body);
    /* An incomplete run of parts before this point will never be completed (barrier of a new leader): discard what was assembled. */
    void (*discard_parts)(void *context);
    /* This node leads, its barrier is committed and everything before it was applied: it may resume the world. */
    void (*lead)(void *context, uint64_t term);
    /* This node no longer leads: undo everything that is not committed, now, before returning. Called before anything of the new leader is applied. */
    void (*lost)(void *context);
    /* The log passed its threshold: make a checkpoint when possible (asked again each tick until group_checkpoint_done). */
    void (*want_checkpoint)(void *context);
    /* Leader: the peer `raft_id` needs a snapshot (its next entry was cut). Start or continue the transfer of a manifest to it; the call is repeated while
     * it stays so. When the peer answers, replicate/catchup calls nothing here: the peer's own group sends the raft result. */
    void (*send_snapshot)(void *context, uint64_t raft_id);
    /* This incarnation is no member any more, a peer has evidence of a later state of its disk, or its checkpoint is a lie: become a joiner (store_adopt,
     * group_start). The group has stopped by itself when this is called; `lost` was called before if it led. Do not call group_start from inside. */
    void (*removed)(void *context);
    /* The disk has lost something that this incarnation had promised to keep, `damage` (borrowed) says what: await its repair (group_damaged_hello). The group
     * has stopped by itself when this is called; `lost` was called before if it led. Do not call group_start from inside. */
    void (*damaged)(void *context, const char *damage);
};

struct group_config {
    const struct machine *machine;
    const struct boot_config *boot;
    struct peers *peers;
    const struct seal_keys *keys;
    struct group_ops ops;
};

/* What catch-up's manifest carries of raft's InstallSnapshot, and what the receiver hands to its own group when everything is durable. */
struct group_snapshot {
    uint64_t leader_id;     /* raft id */
    uint64_t term;          /* leader's term when it sent it */
    uint64_t last_index, last_term;
    uint64_t configuration_index;
    uint32_t member_count;
    uint32_t reserved;
    struct disk_member members[DISK_MEMBERS_MAX];
};

/* Reserve everything. machine, boot, peers and keys are borrowed for ever; `peers` may be created afterwards (group_set_peers), as each needs the other.
 * NO_MEMORY: the machine has not that much. */
MUST_CHECK enum status group_create(struct group **out, const struct group_config *config);
void group_set_peers(struct group *group, struct peers *peers);
/* Read vote slots and log (synchronous), then raise and flush the boot number: the group runs, and speaks, when that has completed (a later group_tick).
 * `superblock` (geometry, checkpoint, members, incarnation) is borrowed for the call. May be called again, for a new life after store_adopt.
 * BUSY: disk requests of the former life are still under way; call again later.  CORRUPT: a record that was durable is bad, `reason` says which; this
 * incarnation has ended, the caller awaits its repair.  IO_ERROR: the disk failed.  INVALID: the superblock's numbers cannot be. */
MUST_CHECK enum status group_start(struct group *group, const struct disk_superblock *superblock, char reason[REASON_BYTES_MAX]);

/* -- events -- */
void group_tick(struct group *group);               /* due timers, completions that were delivered, applying in bounded steps */
/* What was submitted since goes to the disk now, not with the next group_tick. */
void group_write(struct group *group);
uint64_t group_deadline_ns(const struct group *group); /* when group_tick is due next; 0: at once */
/* The image that applying needs is still read from the disk, or is there (as at first): as long as it is missing this node leaves elections to others for a
 * while, takes no leadership that is handed over, and tells the leader so. */
void group_image_missing(struct group *group, bool missing);
void group_own_hello(struct group *group, unsigned peer, struct peers_hello *hello);
/* The hello of a node whose disk is damaged and whose group is stopped or never started. It shows an id that exists nowhere, and is never accepted: a leader
 * with a majority that does without this node refuses it with PEERS_REASON_REPAIR, everyone else with NOT_NOW. */
void group_damaged_hello(uint64_t raft_id, struct peers_hello *hello);
/* OK, or REFUSED with a reason: the peer shows an older disk than we have evidence of, its id was removed, its numbers cannot be, or we have not started
 * yet. Both lanes. */
MUST_CHECK enum status group_accept_hello(struct group *group, unsigned peer, const struct peers_hello *hello, enum peers_reason *reason);
void group_peer_up(struct group *group, unsigned peer, const struct peers_hello *hello);   /* lane 0 */
void group_peer_down(struct group *group, unsigned peer);                                  /* lane 0 */
void group_peer_refused(struct group *group, unsigned peer, enum peers_reason reason);     /* any lane */
/* A message of a GROUP_MESSAGE_* type. INVALID: a field is out of its range.  CORRUPT: a sealed body does not verify. Both end the channel. */
MUST_CHECK enum status group_message(struct group *group, unsigned peer, const struct peers_message *message);

/* -- leader -- */
/* Append one entry of ours; entry (complete, with tag and check) and body are copied. *index is its Raft index. NOT_LEADER: ops.lead was not called, or
 * ops.lost was. FULL: log memory, log region or LOG_ENTRIES_MAX is exhausted: wait for
 * commits or a checkpoint. BUSY: a transfer or a change is under way that refuses submissions: try again later. */
MUST_CHECK enum status group_submit(struct group *group, const struct group_entry *entry, const uint8_t *body, uint64_t *index);
/* Can `entries` entries of `bytes` body bytes in all be submitted from now on, whatever comes in between? Each then has room. */
bool group_room(const struct group *group, uint32_t entries, size_t bytes);
/* Hand leadership to `node`. The caller has stopped the world and everything is committed. Ends by ops.lost, or by group_transferring() turning false.
 * NOT_LEADER.  BUSY: a transfer is under way.  NOT_FOUND: the node is this one, or no voter. */
MUST_CHECK enum status group_transfer(struct group *group, unsigned node);
bool group_transferring(const struct group *group);

/* -- checkpoint and catch-up -- */
/* Is more than three quarters of the log in use? Submissions soon have to wait for a checkpoint. */
bool group_log_nearly_full(const struct group *group);
/* A checkpoint up to `index` is durable: take the library's snapshot and cut the log behind it, keeping what a transfer under way (hold) needs. */
void group_checkpoint_done(struct group *group, uint64_t index, uint64_t term);
/* A checkpoint up to `index` travels (pinned): keep what who takes it will need, the entry itself, for its term, and all that follow, as far as the log
 * still has them and within the bound of its region. 0: release. */
void group_hold_log(struct group *group, uint64_t index);
/* Index, term and configuration as of the last applied entry, for a checkpoint now. */
void group_applied(const struct group *group, uint64_t *index, uint64_t *term, uint64_t *configuration_index, struct disk_member *members, uint32_t *count);
/* Leader: fields for a manifest of the checkpoint at (index, term, configuration). */
void group_snapshot_describe(const struct group *group, struct group_snapshot *out);
/* Is the entry at `index` known to be committed here, under another term than `term`? A checkpoint that ends with it is a lie. */
bool group_contradicts(const struct group *group, uint64_t index, uint64_t term);
/* Follower or joiner: everything of `snapshot` is durable in the page store and is now what the image is filled from. Restart the library behind it: what
 * the log has beyond is kept and applied from there, also what had been applied already. STALE: the log does not reach that far back any more.
 * INVALID: its numbers cannot be.  REFUSED: this node leads.  CORRUPT: what the log has beyond cannot be read back, or group_contradicts; ops.damaged, or
 * ops.removed, follows.  IO_ERROR: this node stands aside. */
MUST_CHECK enum status group_install(struct group *group, const struct group_snapshot *snapshot);

/* -- facts -- */
struct group_facts {
    enum group_role role;
    uint64_t raft_id, incarnation, boot_number;
    uint64_t term, commit_index, applied_index, last_index;
    uint64_t leader_id;       /* 0: unknown */
    bool voter;
    bool started;             /* false: the boot number is not durable yet, or the incarnation has ended */
    bool disk_failed;         /* a write of the log or the vote failed: this node stands aside until it is started again */
    bool majority;            /* leader: a majority was heard within the election timeout; else: a leader was */
    uint64_t log_bytes, log_bytes_max;
    uint64_t log_written_bytes, vote_written_bytes; /* handed to the disk since boot */
    uint64_t detections, detection_ns; /* how often this node stood for election; how long nothing was heard of a leader the last time */
};
void group_facts(const struct group *group, struct group_facts *out);
struct group_member_facts {
    uint64_t raft_id;         /* 0: no id of this node number is in the configuration */
    uint32_t role;            /* enum disk_role */
    uint64_t match_index;     /* leader only */
    bool image_there;         /* leader only: it said so, in answer to what was sent to it since its link came up */
    uint64_t heard_ns;        /* machine time; of the own node: now; 0: never */
    bool link;                /* of the own node: false */
};
void group_member(const struct group *group, unsigned node, struct group_member_facts *out);
void group_check(const struct group *group);

#endif
