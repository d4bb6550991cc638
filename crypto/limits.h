/* Every bound of crypto/, with its reason. */
#ifndef EIDOLON_CRYPTO_LIMITS_H
#define EIDOLON_CRYPTO_LIMITS_H

#include <assert.h>

#include "include/machine.h"

enum {
    /* The encrypted part of a message: an AppendEntries with the descriptions of its 64 entries, 80 bytes and raft's own each. */
    CHANNEL_HEADER_BYTES_MAX = 8192,
    /* The attached part: the largest request to a disk, which bounds one part of a delta, and a block for what describes it. */
    CHANNEL_BODY_BYTES_MAX = MACHINE_REQUEST_BYTES_MAX + MACHINE_BLOCK_BYTES,
    /* What each side says of itself within the handshake. */
    CHANNEL_HELLO_BYTES = 112,
    /* Length prefix (4), the stream cipher's own (17), length of the body (4). */
    CHANNEL_FRAMING_BYTES = 25,
    CHANNEL_FRONT_BYTES_MAX = CHANNEL_FRAMING_BYTES + CHANNEL_HEADER_BYTES_MAX,
    CHANNEL_RECORD_BYTES_MAX = CHANNEL_FRONT_BYTES_MAX + CHANNEL_BODY_BYTES_MAX,
    /* The largest handshake message. */
    CHANNEL_HANDSHAKE_BYTES_MAX = 272,
    /* Messages under one key: the sender draws the next key with the last of them, the receiver takes no more. Far below any bound
     * of the cipher; small enough that a stolen key opens little. */
    CHANNEL_MESSAGES_PER_KEY = 16384,
};

static_assert(CHANNEL_HANDSHAKE_BYTES_MAX <= CHANNEL_RECORD_BYTES_MAX, "one receive buffer serves both phases");

#endif
