/* Sealing: what leaves a node's memory for a disk or a wire is encrypted and authenticated with keys that all nodes of the cluster share.
 *
 * Owns the four subkeys that are derived from the cluster's sealing key, and the canonical encoding of what a sealed body stands for.
 * Promises: a body opens only under the cluster, kind, world, epoch, part and position it was sealed for; a body that was altered,
 * cut, swapped with another or taken from another cluster does not. Nothing of the node enters, so a sealed block may be copied to
 * another node of the cluster as it is. The cipher is XChaCha20-Poly1305: nonces are random, 24 bytes, and never reused.
 * Called by replicate/ (deltas, page store), consensus/ (log, superblock) and the host tool (the first superblock).
 * Not callable from a trap. Under software emulation sealing or opening costs about 10 us for each KiB. */
#ifndef EIDOLON_CRYPTO_SEAL_H
#define EIDOLON_CRYPTO_SEAL_H

#include <stddef.h>
#include <stdint.h>

#include "include/disk_format.h"
#include "include/status.h"

enum {
    SEAL_KEY_BYTES = 32,
    SEAL_NONCE_BYTES = 24,
    SEAL_TAG_BYTES = 16,
    SEAL_CLUSTER_ID_BYTES = 16,
};

/* Numbers are part of the format. */
enum seal_kind {
    SEAL_DELTA = 1,          /* one part of the delta of an epoch */
    SEAL_PAGE = 2,           /* page store: content of a page */
    SEAL_MAP_NODE = 3,       /* page store: node of the map */
    SEAL_WORLD_RECORD = 4,   /* page store: registers and the rest of the world record */
};

/* What a sealed body stands for; it is authenticated, not stored with the body. Make it with one of the functions below. */
struct seal_context {
    enum seal_kind kind;
    uint32_t world;          /* world number; the world is 1 */
    uint64_t epoch;          /* SEAL_DELTA: from 1; otherwise 0 */
    uint32_t part;           /* SEAL_DELTA: 0..parts-1; otherwise 0 */
    uint32_t parts;          /* SEAL_DELTA: from 1; otherwise 0 */
    uint64_t position;       /* SEAL_PAGE: page number; SEAL_MAP_NODE: level << 56 | index in the level; otherwise 0 */
};

static inline struct seal_context seal_context_delta(uint32_t world, uint64_t epoch, uint32_t part, uint32_t parts)
{
    return (struct seal_context){.kind = SEAL_DELTA, .world = world, .epoch = epoch, .part = part, .parts = parts};
}
static inline struct seal_context seal_context_page(uint32_t world, uint32_t page)
{
    return (struct seal_context){.kind = SEAL_PAGE, .world = world, .position = page};
}
static inline struct seal_context seal_context_map_node(uint32_t world, unsigned level, uint64_t index)
{
    return (struct seal_context){.kind = SEAL_MAP_NODE, .world = world, .position = ((uint64_t)level << 56) | index};
}
static inline struct seal_context seal_context_world_record(uint32_t world)
{
    return (struct seal_context){.kind = SEAL_WORLD_RECORD, .world = world};
}

/* The subkeys of one cluster. Secret: lives in node memory only and is wiped when it is no longer needed. */
struct seal_keys {
    uint8_t delta[SEAL_KEY_BYTES];
    uint8_t block[SEAL_KEY_BYTES];
    uint8_t superblock[SEAL_KEY_BYTES];
    uint8_t members[SEAL_KEY_BYTES];
    uint8_t cluster_id[SEAL_CLUSTER_ID_BYTES];
};

/* Derive the subkeys from `sealing_key` for the cluster `cluster_id`. All are borrowed. */
void seal_keys_derive(struct seal_keys *out, const uint8_t sealing_key[SEAL_KEY_BYTES], const uint8_t cluster_id[SEAL_CLUSTER_ID_BYTES]);

/* Forget the keys. */
void seal_keys_wipe(struct seal_keys *keys);

/* Encrypt `bytes` bytes of `plain` into `cipher` (as many bytes; `cipher == plain` is allowed, other overlap is not) and give the tag.
 * `nonce` must be fresh from the machine's entropy for every call. */
void seal_body(const struct seal_keys *keys, const struct seal_context *context, const uint8_t nonce[SEAL_NONCE_BYTES],
               const void *plain, size_t bytes, void *cipher, uint8_t tag[SEAL_TAG_BYTES]);

/* Verify and decrypt `bytes` bytes of `cipher` into `plain` (`plain == cipher` is allowed, other overlap is not).
 * CORRUPT: altered, or sealed for another context or cluster; `plain` then holds no plain text and must not be used. */
MUST_CHECK enum status seal_open_body(const struct seal_keys *keys, const struct seal_context *context, const uint8_t nonce[SEAL_NONCE_BYTES],
                                      const void *cipher, size_t bytes, const uint8_t tag[SEAL_TAG_BYTES], void *plain);

/* Verify only: nothing is decrypted or written.
 * CORRUPT: altered, or sealed for another context or cluster. */
MUST_CHECK enum status seal_verify_body(const struct seal_keys *keys, const struct seal_context *context, const uint8_t nonce[SEAL_NONCE_BYTES],
                                        const void *cipher, size_t bytes, const uint8_t tag[SEAL_TAG_BYTES]);

/* The tag of a list of members, which is no secret: `bytes` bytes at `body` stay as they are. */
void seal_members(const struct seal_keys *keys, const void *body, size_t bytes, uint8_t tag[SEAL_TAG_BYTES]);

/* CORRUPT: altered, or another cluster's. */
MUST_CHECK enum status seal_check_members(const struct seal_keys *keys, const void *body, size_t bytes, const uint8_t tag[SEAL_TAG_BYTES]);

/* Complete `superblock`: magic, version, size, cluster id, seal and checksum. All other fields are the caller's and set before. */
void seal_superblock(const struct seal_keys *keys, struct disk_superblock *superblock);

/* Is `superblock` whole, of this build's version, and made by this cluster? Ranges of its fields are the caller's to check.
 * CORRUPT: no magic, wrong size, checksum or seal; also one of ours of which only the version was altered.  UNKNOWN_VERSION: another build's.
 * FOREIGN: another cluster's. */
MUST_CHECK enum status seal_check_superblock(const struct seal_keys *keys, const struct disk_superblock *superblock);

/* Complete `vote`: magic, version, size and checksum (no secret is in it and nothing is believed because of it alone: not sealed).
 * The cluster id is the caller's and set before. */
void seal_vote(struct disk_vote *vote);

/* Is `vote` whole, of this build's version, and of this cluster?
 * CORRUPT: no magic, wrong size or checksum; also one of ours of which only the version was altered.  UNKNOWN_VERSION: another build's.
 * FOREIGN: another cluster's. */
MUST_CHECK enum status seal_check_vote(const struct disk_vote *vote, const uint8_t cluster_id[SEAL_CLUSTER_ID_BYTES]);

#endif
