/* A laboratory for the raft library: single servers, driven through raft_step() by the book of its event API.
 *
 * A lab is the disk and the network of one server. It keeps what the library asks to be made durable, but reports a
 * write as done only when the test says so. The messages of the last step are copied, with their entries, so that the
 * test can look at them or hand them to another lab; the test plays all servers that have no lab. Time stands still
 * but in lab_timeout() and where the test sets `now`.
 *
 * Members are written as one letter per server, beginning with server 1: V voter, S standby, P spare, - not a member.
 * "VVS" are the voters 1 and 2 and the standby 3.
 *
 * Every allocation of the library and for it is counted: lab_setup() and lab_teardown() surround each test, and the
 * latter fails it when memory was lost. Whatever breaks the contract of the event API fails the test at once.
 *
 * Bounds: the enums below; going beyond fails the test. */
#ifndef EIDOLON_TESTS_UNIT_SUPPORT_RAFT_LAB_H
#define EIDOLON_TESTS_UNIT_SUPPORT_RAFT_LAB_H

#include <raft.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    LAB_SERVERS_MAX = 7,
    LAB_LOG_MAX = 32, /* highest index */
    LAB_MESSAGE_ENTRIES_MAX = 8,
    LAB_SENT_MAX = 16, /* messages of one step */
    LAB_ELECTION_MS = 1000,
    LAB_HEARTBEAT_MS = 100,
};

struct lab_entry {
    raft_term term;
    enum raft_entry_type type;
    char members[LAB_SERVERS_MAX + 1]; /* of a RAFT_CHANGE */
};

struct lab_message {
    raft_id from;
    raft_id to;
    struct raft_message body;                          /* pointers are null */
    struct lab_entry entries[LAB_MESSAGE_ENTRIES_MAX]; /* body.append_entries.n_entries */
    char members[LAB_SERVERS_MAX + 1];                 /* of a snapshot */
};

struct lab_snapshot {
    raft_index index; /* 0: none */
    raft_term term;
    raft_index members_index; /* entry that brought the members */
    char members[LAB_SERVERS_MAX + 1];
};

struct lab {
    struct raft raft;
    raft_id id;
    raft_time now;
    unsigned short capacity; /* of this server's disk and, in vote results, of its peers' */

    /* The disk: set by the test before lab_start(), by the library's updates afterwards. */
    raft_term term;
    raft_id voted_for;
    struct lab_snapshot snapshot;
    struct lab_entry log[LAB_LOG_MAX + 1]; /* by index */
    raft_index log_written;                /* last index handed to the disk */
    raft_index log_durable;                /* last index reported as written */
    bool installing;                       /* a received snapshot is being written */

    /* The last step. */
    struct lab_message sent[LAB_SENT_MAX];
    unsigned sent_count;
};

enum lab_vote { LAB_PRE_VOTE, LAB_VOTE };

struct lab_entry lab_command(raft_term term);
struct lab_entry lab_change(raft_term term, const char *members);

/* cmocka's setup and teardown of a test: heap counted from 0; fails when something of it is left. */
int lab_setup(void **state);
int lab_teardown(void **state);
#define lab_test(test) cmocka_unit_test_setup_teardown(test, lab_setup, lab_teardown)
/* Bytes are not counted, allocations are. */
size_t lab_allocations(void);
/* From now until the end of the test every allocation is at a multiple of 64 KiB. */
void lab_align_allocations(void);

/* --- Life ------------------------------------------------------------------------------------------------ */

/* Server `id` with a disk of `term` that holds the `count` entries from index 1 on, started. */
void lab_open(struct lab *lab, raft_id id, raft_term term, unsigned count, const struct lab_entry *entries);
/* The server with the disk as it was filled in by hand. */
void lab_start(struct lab *lab);
/* Lose everything that is not durable, and start again from the disk. */
void lab_crash(struct lab *lab);
void lab_close(struct lab *lab);

/* --- Events ---------------------------------------------------------------------------------------------- */

/* Let time pass until the library's timeout, and tell it. */
void lab_timeout(struct lab *lab);
/* Report the writes up to `index` as done; lab_persist_all: all that there are, if any. */
void lab_persist(struct lab *lab, raft_index index);
void lab_persist_all(struct lab *lab);
/* Report the received snapshot as installed. */
void lab_finish_install(struct lab *lab);
/* Compact the own log into a snapshot at `index`, of which `trailing` entries stay. */
void lab_take_snapshot(struct lab *lab, raft_index index, unsigned trailing);
/* 0 or the library's error. */
int lab_submit_command(struct lab *lab);
int lab_submit_change(struct lab *lab, const char *members);
void lab_catch_up(struct lab *lab, raft_id standby);
void lab_transfer(struct lab *lab, raft_id transferee);

/* --- Messages from servers that the test plays, or from another lab --------------------------------------- */

void lab_receive(struct lab *lab, const struct lab_message *message);
void lab_hear_entries(struct lab *lab, raft_id from, raft_term term, raft_index previous, raft_term previous_term,
                      raft_index commit, unsigned count, const struct lab_entry *entries);
void lab_hear_heartbeat(struct lab *lab, raft_id from, raft_term term, raft_index previous, raft_term previous_term,
                        raft_index commit);
/* Results are of the library's present term. `rejected` 0: a success up to `last`. */
void lab_hear_result(struct lab *lab, raft_id from, raft_index rejected, raft_index last);
void lab_hear_vote_request(struct lab *lab, raft_id from, enum lab_vote kind, raft_term term, raft_index last,
                           raft_term last_term);
/* A granted vote. */
void lab_hear_vote(struct lab *lab, raft_id from, enum lab_vote kind, raft_term term);
void lab_hear_snapshot(struct lab *lab, raft_id from, raft_term term, raft_index last, raft_term last_term,
                       const char *members);
void lab_hear_timeout_now(struct lab *lab, raft_id from, raft_term term, raft_index last, raft_term last_term);

/* Win the next election with the vote of `voter`, which must be enough. */
void lab_win_election(struct lab *lab, raft_id voter);

/* --- What the last step sent ----------------------------------------------------------------------------- */

/* The last message of `type` to `to`, or null. Borrowed until the next step. */
const struct raft_message *lab_sent(const struct lab *lab, enum raft_message_type type, raft_id to);

#endif
