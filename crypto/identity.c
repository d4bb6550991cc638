#include "crypto/identity.h"

#include <assert.h>

#include <sodium.h>

#include "include/check.h"

static_assert(IDENTITY_SEED_BYTES == crypto_sign_ed25519_SEEDBYTES, "Ed25519 seed");
static_assert(IDENTITY_PUBLIC_BYTES == crypto_sign_ed25519_PUBLICKEYBYTES, "Ed25519 public key");
static_assert(IDENTITY_SECRET_BYTES == crypto_sign_ed25519_SECRETKEYBYTES, "Ed25519 secret key");
static_assert(IDENTITY_SIGNATURE_BYTES == crypto_sign_ed25519_BYTES, "Ed25519 signature");

void identity_from_seed(struct identity *out, const uint8_t seed[IDENTITY_SEED_BYTES])
{
    CHECK(crypto_sign_ed25519_seed_keypair(out->public_key, out->secret_key, seed) == 0);
}

enum status identity_from_pinned_seed(struct identity *out, const uint8_t seed[IDENTITY_SEED_BYTES],
                                      const uint8_t pinned[IDENTITY_PUBLIC_BYTES])
{
    struct identity made;
    identity_from_seed(&made, seed);
    enum status status = sodium_memcmp(made.public_key, pinned, IDENTITY_PUBLIC_BYTES) == 0 ? STATUS_OK : STATUS_FOREIGN;
    if (status == STATUS_OK) {
        *out = made;
    }
    identity_wipe(&made);
    return status;
}

void identity_wipe(struct identity *identity)
{
    sodium_memzero(identity, sizeof *identity);
}

void identity_sign(const struct identity *identity, const void *message, size_t bytes, uint8_t signature[IDENTITY_SIGNATURE_BYTES])
{
    CHECK(crypto_sign_ed25519_detached(signature, NULL, message, bytes, identity->secret_key) == 0);
}

enum status identity_verify(const uint8_t public_key[IDENTITY_PUBLIC_BYTES], const void *message, size_t bytes,
                            const uint8_t signature[IDENTITY_SIGNATURE_BYTES])
{
    return crypto_sign_ed25519_verify_detached(signature, message, bytes, public_key) == 0 ? STATUS_OK : STATUS_REFUSED;
}
