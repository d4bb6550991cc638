/* The one fast checksum: a 64-bit multiply-and-fold hash.
 *
 * It guards against faults (torn, stale, flipped bytes), never against an attacker: sealing does that (crypto/seal.h). Used for
 * page hashes (seed = page number), log records, superblocks and slots. The result is part of the formats on disk and on
 * the wire: it must never change without a new version. About 0.65 us for a page under software emulation. */
#ifndef EIDOLON_HASH64_H
#define EIDOLON_HASH64_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t hash64_fold(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 hash64_wide;
    hash64_wide product = (hash64_wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t hash64_load(const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

/* Hash `bytes` bytes at `data` under `seed`. No alignment is needed. */
static inline uint64_t hash64(uint64_t seed, const void *data, size_t bytes)
{
    const uint64_t k0 = 0x9e3779b97f4a7c15ull, k1 = 0xc2b2ae3d27d4eb4full, k2 = 0xd6e8feb86659fd93ull, k3 = 0xa0761d6478bd642full;
    const uint8_t *at = data;
    uint64_t a = seed ^ k0;
    uint64_t b = hash64_fold(seed ^ k1, k2);
    size_t left = bytes;
    for (; left >= 32; left -= 32, at += 32) {
        a = hash64_fold(hash64_load(at) ^ k1, hash64_load(at + 8) ^ a);
        b = hash64_fold(hash64_load(at + 16) ^ k3, hash64_load(at + 24) ^ b);
    }
    if (left > 0) {
        uint8_t tail[32] = {0};
        memcpy(tail, at, left);
        a = hash64_fold(hash64_load(tail) ^ k1, hash64_load(tail + 8) ^ a);
        b = hash64_fold(hash64_load(tail + 16) ^ k3, hash64_load(tail + 24) ^ b);
    }
    return hash64_fold(a ^ k2, b ^ (uint64_t)bytes ^ k3);
}

#endif
