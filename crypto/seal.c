#include "crypto/seal.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include <sodium.h>

#include "include/check.h"
#include "include/hash64.h"

static_assert(SEAL_KEY_BYTES == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "key size of the cipher");
static_assert(SEAL_NONCE_BYTES == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "nonce size of the cipher");
static_assert(SEAL_TAG_BYTES == crypto_aead_xchacha20poly1305_ietf_ABYTES, "tag size of the cipher");
static_assert(SEAL_KEY_BYTES >= crypto_generichash_KEYBYTES_MIN && SEAL_KEY_BYTES <= crypto_generichash_KEYBYTES_MAX, "key of the hash");

/* The associated data of a sealed body. */
struct seal_label {
    uint8_t cluster_id[SEAL_CLUSTER_ID_BYTES];
    uint32_t kind;
    uint32_t world;
    uint64_t epoch;
    uint32_t part;
    uint32_t parts;
    uint64_t position;
};
static_assert(sizeof(struct seal_label) == 48, "no padding in what is authenticated");

/* Subkey: BLAKE2b keyed with the sealing key, over the purpose (zero-padded to 32 bytes) and the cluster id. */
static void derive_subkey(uint8_t out[SEAL_KEY_BYTES], const uint8_t sealing_key[SEAL_KEY_BYTES], const char *purpose,
                          const uint8_t cluster_id[SEAL_CLUSTER_ID_BYTES])
{
    uint8_t input[32 + SEAL_CLUSTER_ID_BYTES] = {0};
    CHECK(strlen(purpose) < 32);
    memcpy(input, purpose, strlen(purpose));
    memcpy(input + 32, cluster_id, SEAL_CLUSTER_ID_BYTES);
    CHECK(crypto_generichash(out, SEAL_KEY_BYTES, input, sizeof input, sealing_key, SEAL_KEY_BYTES) == 0);
}

void seal_keys_derive(struct seal_keys *out, const uint8_t sealing_key[SEAL_KEY_BYTES], const uint8_t cluster_id[SEAL_CLUSTER_ID_BYTES])
{
    derive_subkey(out->delta, sealing_key, "eidolon seal delta", cluster_id);
    derive_subkey(out->block, sealing_key, "eidolon seal block", cluster_id);
    derive_subkey(out->superblock, sealing_key, "eidolon seal superblock", cluster_id);
    derive_subkey(out->members, sealing_key, "eidolon seal members", cluster_id);
    memcpy(out->cluster_id, cluster_id, SEAL_CLUSTER_ID_BYTES);
}

void seal_keys_wipe(struct seal_keys *keys)
{
    sodium_memzero(keys, sizeof *keys);
}

static struct seal_label label_of(const struct seal_keys *keys, const struct seal_context *context)
{
    struct seal_label label = {
        .kind = (uint32_t)context->kind,
        .world = context->world,
        .epoch = context->epoch,
        .part = context->part,
        .parts = context->parts,
        .position = context->position,
    };
    memcpy(label.cluster_id, keys->cluster_id, sizeof label.cluster_id);
    return label;
}

static const uint8_t *key_of(const struct seal_keys *keys, const struct seal_context *context)
{
    return context->kind == SEAL_DELTA ? keys->delta : keys->block;
}

void seal_body(const struct seal_keys *keys, const struct seal_context *context, const uint8_t nonce[SEAL_NONCE_BYTES],
               const void *plain, size_t bytes, void *cipher, uint8_t tag[SEAL_TAG_BYTES])
{
    struct seal_label label = label_of(keys, context);
    uint8_t nothing = 0;
    void *to = bytes == 0 ? &nothing : cipher; /* the library takes no NULL for empty bytes */
    const void *from = bytes == 0 ? &nothing : plain;
    CHECK(crypto_aead_xchacha20poly1305_ietf_encrypt_detached(to, tag, NULL, from, bytes, (const uint8_t *)&label, sizeof label,
                                                              NULL, nonce, key_of(keys, context)) == 0);
}

enum status seal_open_body(const struct seal_keys *keys, const struct seal_context *context, const uint8_t nonce[SEAL_NONCE_BYTES],
                           const void *cipher, size_t bytes, const uint8_t tag[SEAL_TAG_BYTES], void *plain)
{
    struct seal_label label = label_of(keys, context);
    uint8_t nothing = 0;
    void *to = bytes == 0 ? &nothing : plain; /* a NULL output would mean "verify only" */
    const void *from = bytes == 0 ? &nothing : cipher;
    return crypto_aead_xchacha20poly1305_ietf_decrypt_detached(to, NULL, from, bytes, tag, (const uint8_t *)&label, sizeof label,
                                                               nonce, key_of(keys, context)) == 0
               ? STATUS_OK
               : STATUS_CORRUPT;
}

enum status seal_verify_body(const struct seal_keys *keys, const struct seal_context *context, const uint8_t nonce[SEAL_NONCE_BYTES],
                             const void *cipher, size_t bytes, const uint8_t tag[SEAL_TAG_BYTES])
{
    struct seal_label label = label_of(keys, context);
    const uint8_t nothing = 0;
    const void *from = bytes == 0 ? &nothing : cipher;
    return crypto_aead_xchacha20poly1305_ietf_decrypt_detached(NULL, NULL, from, bytes, tag, (const uint8_t *)&label, sizeof label,
                                                               nonce, key_of(keys, context)) == 0
               ? STATUS_OK
               : STATUS_CORRUPT;
}

void seal_members(const struct seal_keys *keys, const void *body, size_t bytes, uint8_t tag[SEAL_TAG_BYTES])
{
    CHECK(crypto_generichash(tag, SEAL_TAG_BYTES, body, bytes, keys->members, SEAL_KEY_BYTES) == 0);
}

enum status seal_check_members(const struct seal_keys *keys, const void *body, size_t bytes, const uint8_t tag[SEAL_TAG_BYTES])
{
    uint8_t expected[SEAL_TAG_BYTES];
    seal_members(keys, body, bytes, expected);
    return sodium_memcmp(expected, tag, sizeof expected) == 0 ? STATUS_OK : STATUS_CORRUPT;
}

static void superblock_seal_of(const struct seal_keys *keys, const struct disk_superblock *superblock, uint8_t out[32])
{
    CHECK(crypto_generichash(out, 32, (const uint8_t *)superblock, offsetof(struct disk_superblock, seal), keys->superblock,
                             SEAL_KEY_BYTES) == 0);
}

static uint64_t superblock_checksum_of(const struct disk_superblock *superblock)
{
    return hash64(DISK_MAGIC, superblock, offsetof(struct disk_superblock, checksum));
}

void seal_superblock(const struct seal_keys *keys, struct disk_superblock *superblock)
{
    superblock->magic = DISK_MAGIC;
    superblock->version = DISK_VERSION;
    superblock->bytes = sizeof *superblock;
    memcpy(superblock->cluster_id, keys->cluster_id, sizeof superblock->cluster_id);
    superblock_seal_of(keys, superblock, superblock->seal);
    superblock->checksum = superblock_checksum_of(superblock);
}

enum status seal_check_superblock(const struct seal_keys *keys, const struct disk_superblock *superblock)
{
    if (superblock->magic != DISK_MAGIC) {
        return STATUS_CORRUPT;
    }
    if (superblock->version != DISK_VERSION) {
        /* A flipped bit is no other version: nobody shall take a harmed disk for a newer one. */
        struct disk_superblock ours = *superblock;
        ours.version = DISK_VERSION;
        return superblock->checksum == superblock_checksum_of(&ours) ? STATUS_CORRUPT : STATUS_UNKNOWN_VERSION;
    }
    if (superblock->bytes != sizeof *superblock || superblock->checksum != superblock_checksum_of(superblock)) {
        return STATUS_CORRUPT;
    }
    if (memcmp(superblock->cluster_id, keys->cluster_id, sizeof superblock->cluster_id) != 0) {
        return STATUS_FOREIGN;
    }
    uint8_t expected[32];
    superblock_seal_of(keys, superblock, expected);
    bool same = sodium_memcmp(expected, superblock->seal, sizeof expected) == 0;
    sodium_memzero(expected, sizeof expected);
    return same ? STATUS_OK : STATUS_CORRUPT;
}

static uint64_t vote_checksum_of(const struct disk_vote *vote)
{
    return hash64(DISK_VOTE_MAGIC, vote, offsetof(struct disk_vote, checksum));
}

void seal_vote(struct disk_vote *vote)
{
    vote->magic = DISK_VOTE_MAGIC;
    vote->version = DISK_VERSION;
    vote->bytes = sizeof *vote;
    vote->checksum = vote_checksum_of(vote);
}

enum status seal_check_vote(const struct disk_vote *vote, const uint8_t cluster_id[SEAL_CLUSTER_ID_BYTES])
{
    if (vote->magic != DISK_VOTE_MAGIC) {
        return STATUS_CORRUPT;
    }
    if (vote->version != DISK_VERSION) {
        struct disk_vote ours = *vote;
        ours.version = DISK_VERSION;
        return vote->checksum == vote_checksum_of(&ours) ? STATUS_CORRUPT : STATUS_UNKNOWN_VERSION;
    }
    if (vote->bytes != sizeof *vote || vote->checksum != vote_checksum_of(vote)) {
        return STATUS_CORRUPT;
    }
    return memcmp(vote->cluster_id, cluster_id, SEAL_CLUSTER_ID_BYTES) == 0 ? STATUS_OK : STATUS_FOREIGN;
}
