/* Identities, and where randomness comes from. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "crypto/identity.h"
#include "crypto/random.h"
#include "tests/unit/support/crypto_set_up.h"
#include "tests/unit/support/fake_machine.h"

/* RFC 8032, section 7.1, test 2. */
static const uint8_t rfc_seed[32] = {0x4c, 0xcd, 0x08, 0x9b, 0x28, 0xff, 0x96, 0xda, 0x9d, 0xb6, 0xc3, 0x46, 0xec, 0x11, 0x4e, 0x0f,
                                     0x5b, 0x8a, 0x31, 0x9f, 0x35, 0xab, 0xa6, 0x24, 0xda, 0x8c, 0xf6, 0xed, 0x4f, 0xb8, 0xa6, 0xfb};
static const uint8_t rfc_public[32] = {0x3d, 0x40, 0x17, 0xc3, 0xe8, 0x43, 0x89, 0x5a, 0x92, 0xb7, 0x0a, 0xa7, 0x4d, 0x1b, 0x7e, 0xbc,
                                       0x9c, 0x98, 0x2c, 0xcf, 0x2e, 0xc4, 0x96, 0x8c, 0xc0, 0xcd, 0x55, 0xf1, 0x2a, 0xf4, 0x66, 0x0c};
static const uint8_t rfc_signature_start[8] = {0x92, 0xa0, 0x09, 0xa9, 0xf0, 0xd4, 0xca, 0xb8};

static void test_identity_of_seed_matches_reference(void **state)
{
    (void)state;
    struct identity identity;
    uint8_t signature[IDENTITY_SIGNATURE_BYTES];
    const uint8_t message = 0x72;
    identity_from_seed(&identity, rfc_seed);
    assert_memory_equal(identity.public_key, rfc_public, sizeof rfc_public);
    identity_sign(&identity, &message, 1, signature);
    assert_memory_equal(signature, rfc_signature_start, sizeof rfc_signature_start);
    assert_int_equal(identity_verify(rfc_public, &message, 1, signature), STATUS_OK);
}

static void test_identity_signature_altered_or_of_another_is_refused(void **state)
{
    (void)state;
    struct identity identity, other;
    uint8_t signature[IDENTITY_SIGNATURE_BYTES];
    uint8_t message[5] = "hello";
    const uint8_t other_seed[32] = "another";
    identity_from_seed(&identity, rfc_seed);
    identity_from_seed(&other, other_seed);
    identity_sign(&identity, message, sizeof message, signature);
    assert_int_equal(identity_verify(other.public_key, message, sizeof message, signature), STATUS_REFUSED);
    for (size_t i = 0; i < sizeof signature; i++) {
        signature[i] ^= 1;
        assert_int_equal(identity_verify(identity.public_key, message, sizeof message, signature), STATUS_REFUSED);
        signature[i] ^= 1;
    }
    message[0] ^= 1;
    assert_int_equal(identity_verify(identity.public_key, message, sizeof message, signature), STATUS_REFUSED);
}

static void test_identity_of_pinned_seed_must_match(void **state)
{
    (void)state;
    struct identity identity;
    uint8_t wrong[32];
    memset(&identity, 0x55, sizeof identity);
    struct identity before = identity;
    memcpy(wrong, rfc_public, sizeof wrong);
    wrong[31] ^= 1;
    assert_int_equal(identity_from_pinned_seed(&identity, rfc_seed, wrong), STATUS_FOREIGN);
    assert_memory_equal(&identity, &before, sizeof identity);
    assert_int_equal(identity_from_pinned_seed(&identity, rfc_seed, rfc_public), STATUS_OK);
    assert_memory_equal(identity.public_key, rfc_public, sizeof rfc_public);
}

static void test_identity_wiped_holds_nothing(void **state)
{
    (void)state;
    static const struct identity zero;
    struct identity identity;
    identity_from_seed(&identity, rfc_seed);
    identity_wipe(&identity);
    assert_memory_equal(&identity, &zero, sizeof identity);
}

static void test_crypto_init_for_a_second_machine_is_ok(void **state)
{
    (void)state;
    struct fake_machine other;
    fake_machine_init(&other, 2, 16, 1 << 20);
    assert_int_equal(crypto_init(&other.machine), STATUS_OK);
    fake_machine_destroy(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identity_of_seed_matches_reference),
        cmocka_unit_test(test_identity_signature_altered_or_of_another_is_refused),
        cmocka_unit_test(test_identity_of_pinned_seed_must_match),
        cmocka_unit_test(test_identity_wiped_holds_nothing),
        cmocka_unit_test(test_crypto_init_for_a_second_machine_is_ok),
    };
    return cmocka_run_group_tests(tests, test_crypto_set_up, NULL);
}
