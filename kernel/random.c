#include "kernel/random.h"

#include <sodium.h>
#include <stdint.h>
#include <string.h>

#include "drivers/entropy.h"
#include "include/check.h"
#include "kernel/limits.h"

enum { KEY_BYTES = crypto_stream_chacha20_KEYBYTES };

static uint8_t key[KEY_BYTES];
static size_t bytes_until_reseed;

static void reseed(void)
{
    uint8_t fresh[KEY_BYTES];
    entropy_fill(fresh, sizeof fresh);
    for (size_t i = 0; i < sizeof key; i++) {
        key[i] ^= fresh[i];
    }
    sodium_memzero(fresh, sizeof fresh);
    bytes_until_reseed = RANDOM_RESEED_BYTES;
}

/* One block of the stream: a new key, then what is given out. The key is used once, so the nonce may be constant. */
static void draw(uint8_t *out, size_t bytes)
{
    static const uint8_t nonce[crypto_stream_chacha20_NONCEBYTES];
    uint8_t block[KEY_BYTES + RANDOM_DRAW_BYTES_MAX];
    CHECK(bytes <= RANDOM_DRAW_BYTES_MAX);
    int failed = crypto_stream_chacha20(block, KEY_BYTES + bytes, nonce, key);
    CHECK(failed == 0);
    memcpy(key, block, KEY_BYTES);
    memcpy(out, block + KEY_BYTES, bytes);
    sodium_memzero(block, sizeof block);
}

void random_init(void)
{
    reseed();
}

void random_fill(void *buffer, size_t bytes)
{
    uint8_t *out = buffer;
    while (bytes > 0) {
        if (bytes_until_reseed == 0) {
            reseed();
        }
        size_t step = bytes < RANDOM_DRAW_BYTES_MAX ? bytes : RANDOM_DRAW_BYTES_MAX;
        draw(out, step);
        bytes_until_reseed -= step < bytes_until_reseed ? step : bytes_until_reseed;
        out += step;
        bytes -= step;
    }
}
