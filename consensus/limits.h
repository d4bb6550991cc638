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
    /* How often a queue that found no room on its link looks again. */
    PEERS_RETRY_US = 1000,
};

static_assert((int)PEERS_QUEUE_BYTES >= 3 * (int)CHANNEL_RECORD_BYTES_MAX, "the queue holds what it says");
static_assert((int)APPEND_BYTES_MAX <= (int)CHANNEL_BODY_BYTES_MAX, "a batch of entries is one message's body");
static_assert(3 * PEERS_KEEPALIVE_RAFT_PERCENT <= PEERS_SILENCE_RAFT_PERCENT, "two lost keepalives are not silence");
static_assert(3 * PEERS_KEEPALIVE_BULK_PERCENT <= PEERS_SILENCE_BULK_PERCENT, "two lost keepalives are not silence");

#endif
