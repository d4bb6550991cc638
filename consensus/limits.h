/* Every bound of consensus/, with its reason. */
#ifndef EIDOLON_CONSENSUS_LIMITS_H
#define EIDOLON_CONSENSUS_LIMITS_H

#include <assert.h>

#include "crypto/limits.h"

enum {
    /* Body of one entry: a sealed delta part (64 KiB) with slack. */
    ENTRY_BODY_BYTES_MAX = 68 * 1024,
    /* Recent entry bodies kept in memory for sending and applying; older ones are read from disk. */
    LOG_MEMORY_BYTES = 24 << 20,
    /* Entries of one AppendEntries message: with bodies at most about 256 KiB, so that a heartbeat behind it is not late. */
    APPEND_ENTRIES_MAX = 64,
    APPEND_BYTES_MAX = 256 * 1024,
    /* Entries between the checkpoint and the end of the log; the library keeps index and term of each. */
    LOG_ENTRIES_MAX = 65536,
    /* Of them, how many submissions must leave for barriers and changes of members, and what is received for barriers. */
    LOG_ENTRIES_RESERVE = 1024,
    /* Entries of other kinds that may come between the parts of an epoch: changes of members, of which one is under way at a time. */
    LOG_ENTRIES_BETWEEN = 8,
    /* One write of the log: as large as a request may be, so that a group commit of small epochs is one request. */
    LOG_BATCH_BYTES_MAX = MACHINE_REQUEST_BYTES_MAX,
    /* Writes of one group commit; the next one waits for the flush. */
    LOG_BATCHES_MAX = 4,
    /* Disk and memory that submissions leave for barriers and changes of members, and by half for what comes in the place of entries never committed. */
    LOG_RESERVE_BYTES = 1 << 20,
    /* Quiet time after which a marker record covers the last entry. */
    LOG_MARKER_MS = 200,
    /* The smallest log region: format of the disk (include/disk_format.h). */
    LOG_REGION_BYTES_MIN = 16 << 20,
    LOG_REGION_BYTES_MAX = 128 << 20,

    /* Entries under way to one follower before it acknowledges: the parts of one of the largest epochs. */
    GROUP_INFLIGHT_ENTRIES_MAX = 72,
    /* Entries that were sent are not sent again over the same link sooner, unless the follower refuses: while it asks, the library repeats all that it
     * believes missing with each heartbeat, and a follower that takes longer than that to answer would drown in repetitions. */
    GROUP_REPEAT_MS = 1000,
    /* Messages of the library that wait for room on a link, for each peer. Past it they are dropped, as a network may. */
    GROUP_QUEUE_MAX = 128,
    /* One step of applying, so that a heartbeat is not late: small deltas may touch many pages, so time is what counts. */
    GROUP_APPLY_US_MAX = 3000,
    GROUP_APPLY_ENTRIES_MAX = 32,
    GROUP_APPLY_BYTES_MAX = 512 * 1024,
    /* A node that has more committed entries to apply than one step takes does not stand for election: it could not host the world yet. */
    GROUP_STAND_LAG_ENTRIES = GROUP_APPLY_ENTRIES_MAX,
    /* Nor does one whose image is still read from its disk, for so many election timeouts: enough for one that is ready to be elected. Who has the longest log
     * alone must stand in the end. */
    GROUP_FILLING_TIMEOUTS = 5,
    /* Heap of the raft library: index and term records, progress, messages; and, at start, 40 bytes for each entry of the log. */
    RAFT_HEAP_BYTES_MAX = 8 << 20,
    /* After this a leader believes that a follower's snapshot is lost; what is on its way is announced again. */
    GROUP_INSTALL_TIMEOUT_MS = 5000,
    /* Terms, indexes, sequences and boot numbers above this are believed neither of a peer nor of a disk, whatever their checksum says: nothing
     * counts that far, and above it sums could overflow. */
    GROUP_NUMBER_BITS = 56,
    /* By how much one message can raise our term: each costs an election, and who raised the term to its bound would have ended all of them. So many are a year
     * of an election in 30 s; who was off for longer, or joins later than that, needs some more messages. */
    GROUP_TERM_JUMP_MAX = 1 << 20,

    /* Peers. What may wait for a link with room, for each peer and lane: three of the largest messages and many small ones. */
    PEERS_QUEUE_BYTES = 1 << 20,
    /* A handshake takes milliseconds; a node that boots beside others on a busy machine may need longer. */
    PEERS_HANDSHAKE_MS = 2000,
    /* How long a node that was refused has to end the link, having read why. */
    PEERS_REFUSAL_MS = 500,
    /* In hundredths of an election timeout, for the raft lane and the bulk lane: a lane that sent nothing for the first time sends a keepalive;
     * one that received nothing for the second is ended. A peer thus counts as heard within an election timeout while it lives. */
    PEERS_KEEPALIVE_RAFT_PERCENT = 50,
    PEERS_SILENCE_RAFT_PERCENT = 300,
    PEERS_KEEPALIVE_BULK_PERCENT = 300,
    PEERS_SILENCE_BULK_PERCENT = 1000,
    /* In silences: a lane on which bytes arrive, but in all that time no message was whole and authentic, is ended too. An altered length would otherwise
     * keep it waiting for ever. A largest message gets through in time at 100 KiB a second. */
    PEERS_DEAF_SILENCES = 5,
    /* A lane's log line is not repeated sooner. */
    PEERS_SAME_LINE_MS = 1000,
    /* How often a queue that found no room on its link looks again. */
    PEERS_RETRY_US = 1000,
};

#define GROUP_NUMBER_MAX ((1ull << GROUP_NUMBER_BITS) - 1)

static_assert((int)LOG_RESERVE_BYTES * 4 <= (int)LOG_REGION_BYTES_MIN, "the reserve leaves most of the region");
static_assert((int)ENTRY_BODY_BYTES_MAX + 2 * (int)MACHINE_BLOCK_BYTES <= (int)LOG_BATCH_BYTES_MAX, "an entry fits one write");
static_assert((int)ENTRY_BODY_BYTES_MAX <= (int)APPEND_BYTES_MAX, "an entry fits one message");
static_assert((int)PEERS_QUEUE_BYTES >= 3 * (int)CHANNEL_RECORD_BYTES_MAX, "the queue holds what it says");
static_assert((int)APPEND_BYTES_MAX <= (int)CHANNEL_BODY_BYTES_MAX, "a batch of entries is one message's body");
static_assert(3 * PEERS_KEEPALIVE_RAFT_PERCENT <= PEERS_SILENCE_RAFT_PERCENT, "two lost keepalives are not silence");
static_assert(3 * PEERS_KEEPALIVE_BULK_PERCENT <= PEERS_SILENCE_BULK_PERCENT, "two lost keepalives are not silence");

#endif
