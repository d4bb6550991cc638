/* The group's messages on lane 0: encoding, and decoding with every range checked, so that nothing of a peer can trip an assertion of the raft library.
 *
 * A message is a header (below; little-endian, no padding, authenticated by the channel) and, for AppendEntries, the bodies of its entries one
 * behind the other, as they are in the log; each has its length, its nonce and its tag in the header. InstallSnapshot is no message: what
 * a follower lacks travels as a manifest and pages (replicate/catchup).
 * Called by consensus/group; pure functions. */
#ifndef EIDOLON_CONSENSUS_MESSAGE_H
#define EIDOLON_CONSENSUS_MESSAGE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consensus/group.h"
#include "consensus/limits.h"
#include "consensus/message_types.h"
#include "include/disk_format.h"
#include "include/status.h"

/* Types on the wire. Numbers are part of the protocol. */
enum message_type {
    MESSAGE_APPEND = GROUP_MESSAGE_FIRST,
    MESSAGE_APPEND_RESULT,
    MESSAGE_VOTE,
    MESSAGE_VOTE_RESULT,
    MESSAGE_TIMEOUT_NOW,
    MESSAGE_REMOVED,         /* leader to a node whose id is no member: become a joiner */
    MESSAGE_TYPE_END,
};
static_assert(MESSAGE_TYPE_END <= GROUP_MESSAGE_LAST + 1, "types stay in the group's range");

struct message_front {
    uint64_t from, to;       /* raft ids */
    uint64_t term;
};

struct message_append {
    struct message_front front;
    uint64_t previous_index, previous_term;
    uint64_t commit;
    uint32_t count;          /* of struct message_entry that follow */
    uint32_t reserved;       /* 0 */
};

struct message_entry {
    uint64_t term;
    uint32_t type;           /* enum log_type */
    uint32_t body_bytes;
    struct group_entry entry; /* of a command; of a change only the tag (seal_members), the rest and a barrier's is zero */
};

/* Of the library's field `capacity`, for which it has no use here: could the sender host the world, once all is applied? */
enum { GROUP_CAPACITY_NONE = 0, GROUP_CAPACITY_HOST = 1 };

struct message_append_result {
    struct message_front front;
    uint64_t rejected;       /* 0: accepted */
    uint64_t last_index;
    uint16_t features, capacity;
    uint32_t reserved;
};

struct message_vote {
    struct message_front front;
    uint64_t last_index, last_term;
    uint8_t disrupt, pre_vote;
    uint8_t reserved[6];
};

struct message_vote_result {
    struct message_front front;
    uint8_t granted, pre_vote;
    uint16_t features, capacity;
    uint16_t reserved;
};

struct message_timeout_now {
    struct message_front front;
    uint64_t last_index, last_term;
};

struct message_removed {
    struct message_front front;
};

static_assert(sizeof(struct message_front) == 24, "wire layout");
static_assert(sizeof(struct message_append) == 56, "wire layout");
static_assert(sizeof(struct message_entry) == 96, "wire layout");
static_assert(sizeof(struct message_append_result) == 48, "wire layout");
static_assert(sizeof(struct message_vote) == 48, "wire layout");
static_assert(sizeof(struct message_vote_result) == 32, "wire layout");
static_assert(sizeof(struct message_timeout_now) == 40, "wire layout");
static_assert(sizeof(struct message_append) + APPEND_ENTRIES_MAX * sizeof(struct message_entry) <= PEERS_HEADER_BYTES_MAX,
              "descriptions of a message's entries fit its header");

/* A decoded message. */
struct message {
    enum message_type type;
    union {
        struct message_front front; /* all begin with it */
        struct message_append append;
        struct message_append_result append_result;
        struct message_vote vote;
        struct message_vote_result vote_result;
        struct message_timeout_now timeout_now;
        struct message_removed removed;
    };
    struct message_entry entries[APPEND_ENTRIES_MAX];
};

/* Decode and check a message with a body of `body_bytes`. Bodies themselves are not looked at.
 * INVALID: a field is out of its range, or the lengths do not add up; `out` is then undefined. */
MUST_CHECK enum status message_decode(uint8_t type, const uint8_t *header, size_t header_bytes, size_t body_bytes, struct message *out);

/* Encode into `header` (PEERS_HEADER_BYTES_MAX). Returns the length. */
size_t message_encode(const struct message *message, uint8_t *header);

/* -- the body of a change of members, in the log and in messages -- */
enum { MEMBERS_BYTES_MAX = 8 + DISK_MEMBERS_MAX * sizeof(struct disk_member) };
size_t members_encode(const struct disk_member *members, uint32_t count, uint8_t out[MEMBERS_BYTES_MAX]);
/* INVALID: not a list of 1..DISK_MEMBERS_MAX different members with sensible ids and roles. */
MUST_CHECK enum status members_decode(const uint8_t *body, size_t bytes, struct disk_member members[DISK_MEMBERS_MAX], uint32_t *count);
bool members_valid(const struct disk_member *members, uint32_t count);

#endif
