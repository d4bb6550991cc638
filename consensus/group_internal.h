/* Inside of consensus/group: shared by its files.
 *
 *   group.c          life: create, start, stop, tick, facts
 *   group_step.c     the only caller of raft_step; what an update asks for
 *   group_send.c     messages on their way out
 *   group_receive.c  hellos and messages on their way in
 *   group_apply.c    what is committed; checkpoints
 *   membership.c     who belongs to the group */
#ifndef EIDOLON_CONSENSUS_GROUP_INTERNAL_H
#define EIDOLON_CONSENSUS_GROUP_INTERNAL_H

#include <raft.h>

#include "consensus/group.h"
#include "consensus/log.h"
#include "consensus/message.h"
#include "consensus/vote.h"
#include "include/check.h"

/* In peers_hello.flags. */
enum { GROUP_HELLO_JOINING = 1, GROUP_HELLO_DAMAGED = 2 };
enum { GROUP_ADDRESS_BYTES = 20 };

enum group_phase {
    GROUP_OFF,       /* not started, failed, or removed */
    GROUP_STARTING,  /* the boot number is on its way to the disk */
    GROUP_RUNNING,
};

/* A message of the library that waits: for the vote to be durable, for room on the link. Entries are read from the log when it leaves. */
struct group_outgoing {
    enum message_type type;
    union {
        struct message_front front;
        struct message_append append; /* count: entries still to be sent */
        struct message_append_result append_result;
        struct message_vote vote;
        struct message_vote_result vote_result;
        struct message_timeout_now timeout_now;
        struct message_removed removed;
    };
};

struct group_peer {
    bool up;
    uint64_t raft_id;
    char address[GROUP_ADDRESS_BYTES];
    struct peers_hello hello;
    uint64_t life, life_raft_id;    /* of the last hello that was accepted, on either lane */
    bool snapshot_wanted;
    bool image_there;               /* it said so last, to us as the leader */
    uint64_t removed_told_ns;
    /* Entries under_way_from..under_way_to - 1, of our term under_way_term, were queued or sent since under_way_ns and nothing was refused; 0, 0: none. */
    uint64_t under_way_from, under_way_to, under_way_term, under_way_ns;
    uint32_t queue_front, queue_count;
    struct group_outgoing queue[GROUP_QUEUE_MAX];
};

/* Where the entries of a step in progress come from. */
struct group_incoming {
    uint64_t first_index;
    uint32_t count;
    const struct message_entry *entries;
    const uint8_t *bodies[APPEND_ENTRIES_MAX];
};

struct membership {
    uint64_t retry_ns;
};

struct group {
    struct group_config config;
    struct log *log;
    struct vote *vote;
    enum group_phase phase;
    bool library_open;
    struct raft raft;
    uint64_t time_ms;               /* given to the library last */

    uint64_t raft_id;
    char address[GROUP_ADDRESS_BYTES];
    uint8_t cluster_id[16];
    bool joining;
    bool removed;                   /* ops.removed is to be called */
    char damage[REASON_BYTES_MAX];  /* ops.damaged is to be called with it; empty: not */
    bool disk_failed;
    bool poked;

    /* The checkpoint that the library was or will be started from. */
    struct group_snapshot start;

    uint64_t applied_index, applied_term;
    uint64_t configuration_index;   /* of what is applied */
    struct disk_member members[DISK_MEMBERS_MAX];
    uint32_t member_count;
    bool apply_again;               /* leadership was lost: an epoch that was applied in part goes back to its first part */
    bool apply_busy;
    bool image_missing;
    uint64_t apply_retry_ns;

    bool was_leader;                /* as of the last step */
    bool led;                       /* ops.lead was called, ops.lost not yet */
    uint64_t barrier_index;         /* of our leadership */

    uint64_t checkpoint_index, checkpoint_term; /* durable, not yet given to the library; 0: none */
    uint64_t used_after_cut;        /* bytes of the log region that the last cut left in use */
    uint64_t hold_index;
    uint64_t unreadable_index;      /* an entry that our disk cannot give to a follower any more; 0: none */

    uint64_t leader_heard_ns;
    uint64_t detected_heard_ns;     /* leader_heard_ns when this node stood for election last */
    uint64_t detections, detection_ns; /* as group_facts */
    struct membership membership;
    struct group_incoming incoming;
    struct group_peer peers[MACHINE_PEERS_MAX + 1];
    struct raft_entry library_entries[APPEND_ENTRIES_MAX];
    struct message message;         /* being decoded or encoded */
    uint8_t header[PEERS_HEADER_BYTES_MAX];
    uint8_t *apply_scratch;         /* ENTRY_BODY_BYTES_MAX */
    uint8_t *send_scratch;          /* APPEND_BYTES_MAX + ENTRY_BODY_BYTES_MAX */
};

static inline uint64_t group_now_ns(const struct group *group)
{
    return group->config.machine->now_ns(group->config.machine->context);
}
static inline struct peers *group_peers(const struct group *group)
{
    return group->config.peers;
}
static inline bool group_running(const struct group *group)
{
    return group->phase == GROUP_RUNNING;
}
void group_say(const struct group *group, enum log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* -- group.c -- */
/* The change of members at `index`. CORRUPT: it is rotten; IO_ERROR: `reason` says which entry. */
MUST_CHECK enum status group_read_change(struct group *group, uint64_t index, struct disk_member members[DISK_MEMBERS_MAX], uint32_t *count,
                                         char reason[REASON_BYTES_MAX]);
/* Changes of members in the log must be readable and decode: group_open_library gives them to the library. CORRUPT, IO_ERROR: `reason` says which. */
MUST_CHECK enum status group_check_changes(struct group *group, char reason[REASON_BYTES_MAX]);
/* Close the library; nothing is sent or received until group_start. */
void group_stop(struct group *group);
/* This incarnation has ended: stop, and tell the node with the next tick. */
void group_give_up(struct group *group);
/* What the disk holds cannot be relied on, `what` says why. CORRUPT: stop, and tell the node with the next tick; any other status: stand aside. */
void group_disk_is_bad(struct group *group, const char *what, enum status status);
/* Leader: was a majority of the voters heard within the election timeout, counting none of node `without` (0: all count)? */
bool group_majority_heard(const struct group *group, unsigned without);
void group_address_of(uint64_t raft_id, char address[GROUP_ADDRESS_BYTES]);

/* -- group_step.c -- */
/* Start the library from group->start and the log behind it. CORRUPT, IO_ERROR: a change of members that group_check_changes read cannot be read any more,
 * `reason` says which; the library stays closed. */
MUST_CHECK enum status group_open_library(struct group *group, char reason[REASON_BYTES_MAX]);
/* Give one event to the library and do what it asks for. Returns the library's error. */
int group_step(struct group *group, struct raft_event *event);
void group_step_timeouts(struct group *group);
/* Does this node leave an election to others, as it has yet to apply what it knows to be committed (it has just started, or fills its image)? If the others
 * are behind, too, who is through first stands. Nor does it stand with a log that has no room for its barrier. */
/* When this node asks for votes, or as the leader for news, if nothing else happens; UINT64_MAX: it leaves that to others. */
uint64_t group_stands_ns(const struct group *group);
/* Can the log, once all of it is persisted, take the barrier of a leadership? */
bool group_barrier_room(const struct group *group);
void group_step_persisted(struct group *group);
/* Append one entry as leader; `body` as it stands in the log. */
MUST_CHECK enum status group_submit_entry(struct group *group, const struct message_entry *entry, const uint8_t *body, uint64_t *index);
/* A list of members as the library has it; closed by the library or with raft_configuration_close. */
void group_configuration_make(const struct disk_member *members, uint32_t count, struct raft_configuration *out);
/* The same as the content of an entry, in a block of the library's heap. */
void group_encode_change(const struct disk_member *members, uint32_t count, struct raft_buffer *out);
bool group_is_leader(const struct group *group);

/* -- group_send.c -- */
void group_enqueue(struct group *group, const struct raft_message *message);
void group_enqueue_removed(struct group *group, unsigned node);
void group_queues_clear(struct group *group);
/* Send what can be sent. */
void group_pump(struct group *group);
bool group_pump_waits(const struct group *group);

/* -- group_apply.c -- */
void group_apply_committed(struct group *group);
bool group_apply_pending(const struct group *group);
/* Own checkpoints to the library, cutting the log, asking for the next checkpoint. */
void group_checkpoint_tick(struct group *group);

/* -- membership.c -- */
void membership_tick(struct group *group);
uint64_t membership_deadline_ns(const struct group *group);
const struct raft_server *membership_find(const struct group *group, uint64_t raft_id);
/* Does the library's newest configuration have an id of `node`? Returns the best (voter first), or NULL. */
const struct raft_server *membership_find_node(const struct group *group, unsigned node);
/* Is `raft_id`, which is in term `term`, certainly no member: do we lead, and is our configuration the newest there is? */
bool membership_certainly_removed(const struct group *group, uint64_t raft_id, uint64_t term);
/* Do we lead for certain, and was a majority of the voters heard within the election timeout, none of them of `node`? */
bool membership_whole_without(const struct group *group, unsigned node);
/* Evidence of what an id showed or acknowledged. */
void membership_note_evidence(struct group *group, uint64_t raft_id, uint64_t boot_number, uint64_t life, uint64_t match_index);

#endif
