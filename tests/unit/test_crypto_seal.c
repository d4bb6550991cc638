/* Sealing: what opens, and everything that must not. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "crypto/seal.h"
#include "include/hash64.h"
#include "tests/unit/support/crypto_set_up.h"

static const uint8_t sealing_key[32] = "the sealing key of the cluster";
static const uint8_t other_key[32] = "another sealing key altogether";
static const uint8_t cluster_id[16] = "cluster one";
static const uint8_t other_cluster_id[16] = "cluster two";
static const uint8_t nonce[SEAL_NONCE_BYTES] = "twenty-four bytes long!";

enum { BODY_BYTES = 300 };

struct sealed {
    struct seal_keys keys;
    uint8_t plain[BODY_BYTES];
    uint8_t cipher[BODY_BYTES];
    uint8_t tag[SEAL_TAG_BYTES];
};

static struct sealed make_sealed(struct seal_context context)
{
    struct sealed sealed;
    seal_keys_derive(&sealed.keys, sealing_key, cluster_id);
    for (size_t i = 0; i < BODY_BYTES; i++) {
        sealed.plain[i] = (uint8_t)(i * 31);
    }
    seal_body(&sealed.keys, &context, nonce, sealed.plain, BODY_BYTES, sealed.cipher, sealed.tag);
    return sealed;
}

static void assert_opens_not(const struct sealed *sealed, struct seal_context context, const uint8_t *with_nonce)
{
    uint8_t plain[BODY_BYTES];
    assert_int_equal(seal_open_body(&sealed->keys, &context, with_nonce, sealed->cipher, BODY_BYTES, sealed->tag, plain), STATUS_CORRUPT);
    assert_int_equal(seal_verify_body(&sealed->keys, &context, with_nonce, sealed->cipher, BODY_BYTES, sealed->tag), STATUS_CORRUPT);
}

static void test_seal_body_opened_gives_plain(void **state)
{
    (void)state;
    struct seal_context contexts[] = {seal_context_delta(1, 7, 0, 2), seal_context_page(1, 99), seal_context_map_node(1, 2, 5),
                                      seal_context_world_record(1)};
    for (size_t i = 0; i < sizeof contexts / sizeof contexts[0]; i++) {
        struct sealed sealed = make_sealed(contexts[i]);
        uint8_t plain[BODY_BYTES];
        assert_memory_not_equal(sealed.cipher, sealed.plain, BODY_BYTES);
        assert_int_equal(seal_verify_body(&sealed.keys, &contexts[i], nonce, sealed.cipher, BODY_BYTES, sealed.tag), STATUS_OK);
        assert_int_equal(seal_open_body(&sealed.keys, &contexts[i], nonce, sealed.cipher, BODY_BYTES, sealed.tag, plain), STATUS_OK);
        assert_memory_equal(plain, sealed.plain, BODY_BYTES);
    }
}

static void test_seal_body_in_place_gives_plain(void **state)
{
    (void)state;
    struct seal_context context = seal_context_page(1, 3);
    struct sealed sealed = make_sealed(context);
    uint8_t bytes[BODY_BYTES];
    uint8_t tag[SEAL_TAG_BYTES];
    memcpy(bytes, sealed.plain, BODY_BYTES);
    seal_body(&sealed.keys, &context, nonce, bytes, BODY_BYTES, bytes, tag);
    assert_memory_equal(bytes, sealed.cipher, BODY_BYTES);
    assert_int_equal(seal_open_body(&sealed.keys, &context, nonce, bytes, BODY_BYTES, tag, bytes), STATUS_OK);
    assert_memory_equal(bytes, sealed.plain, BODY_BYTES);
}

static void test_seal_empty_body_is_authenticated_too(void **state)
{
    (void)state;
    struct sealed sealed = make_sealed(seal_context_delta(1, 7, 0, 1));
    struct seal_context context = seal_context_delta(1, 8, 0, 1);
    uint8_t tag[SEAL_TAG_BYTES];
    seal_body(&sealed.keys, &context, nonce, NULL, 0, NULL, tag);
    assert_int_equal(seal_open_body(&sealed.keys, &context, nonce, NULL, 0, tag, NULL), STATUS_OK);
    tag[0] ^= 1;
    assert_int_equal(seal_open_body(&sealed.keys, &context, nonce, NULL, 0, tag, NULL), STATUS_CORRUPT);
}

static void test_seal_body_altered_at_any_byte_is_corrupt(void **state)
{
    (void)state;
    struct seal_context context = seal_context_delta(1, 7, 0, 2);
    struct sealed sealed = make_sealed(context);
    for (size_t i = 0; i < BODY_BYTES; i++) {
        sealed.cipher[i] ^= 0x10;
        assert_opens_not(&sealed, context, nonce);
        sealed.cipher[i] ^= 0x10;
    }
    for (size_t i = 0; i < SEAL_TAG_BYTES; i++) {
        sealed.tag[i] ^= 0x10;
        assert_opens_not(&sealed, context, nonce);
        sealed.tag[i] ^= 0x10;
    }
    for (size_t i = 0; i < SEAL_NONCE_BYTES; i++) {
        uint8_t other_nonce[SEAL_NONCE_BYTES];
        memcpy(other_nonce, nonce, sizeof other_nonce);
        other_nonce[i] ^= 0x10;
        assert_opens_not(&sealed, context, other_nonce);
    }
    assert_int_equal(seal_verify_body(&sealed.keys, &context, nonce, sealed.cipher, BODY_BYTES, sealed.tag), STATUS_OK);
}

static void test_seal_body_cut_short_is_corrupt(void **state)
{
    (void)state;
    struct seal_context context = seal_context_delta(1, 7, 0, 2);
    struct sealed sealed = make_sealed(context);
    for (size_t bytes = 0; bytes < BODY_BYTES; bytes++) {
        assert_int_equal(seal_verify_body(&sealed.keys, &context, nonce, sealed.cipher, bytes, sealed.tag), STATUS_CORRUPT);
    }
}

static void test_seal_body_for_another_context_is_corrupt(void **state)
{
    (void)state;
    struct sealed delta = make_sealed(seal_context_delta(1, 7, 0, 2));
    assert_opens_not(&delta, seal_context_delta(2, 7, 0, 2), nonce);
    assert_opens_not(&delta, seal_context_delta(1, 8, 0, 2), nonce);
    assert_opens_not(&delta, seal_context_delta(1, 7, 1, 2), nonce);
    assert_opens_not(&delta, seal_context_delta(1, 7, 0, 3), nonce);
    struct sealed page = make_sealed(seal_context_page(1, 5));
    assert_opens_not(&page, seal_context_page(1, 6), nonce);
    assert_opens_not(&page, seal_context_page(2, 5), nonce);
    assert_opens_not(&page, seal_context_map_node(1, 0, 5), nonce);
    struct sealed node = make_sealed(seal_context_map_node(1, 1, 5));
    assert_opens_not(&node, seal_context_map_node(1, 2, 5), nonce);
    assert_opens_not(&node, seal_context_map_node(1, 1, 6), nonce);
    struct sealed record = make_sealed(seal_context_world_record(1));
    assert_opens_not(&record, seal_context_page(1, 0), nonce);
}

static void test_seal_body_of_another_cluster_is_corrupt(void **state)
{
    (void)state;
    struct seal_context context = seal_context_page(1, 5);
    struct sealed sealed = make_sealed(context);
    seal_keys_derive(&sealed.keys, sealing_key, other_cluster_id);
    assert_opens_not(&sealed, context, nonce);
    seal_keys_derive(&sealed.keys, other_key, cluster_id);
    assert_opens_not(&sealed, context, nonce);
}

static void test_seal_subkeys_differ_and_are_wiped(void **state)
{
    (void)state;
    struct seal_keys keys;
    seal_keys_derive(&keys, sealing_key, cluster_id);
    assert_memory_not_equal(keys.delta, keys.block, SEAL_KEY_BYTES);
    assert_memory_not_equal(keys.delta, keys.superblock, SEAL_KEY_BYTES);
    assert_memory_not_equal(keys.block, keys.superblock, SEAL_KEY_BYTES);
    assert_memory_not_equal(keys.delta, sealing_key, SEAL_KEY_BYTES);
    seal_keys_wipe(&keys);
    static const struct seal_keys zero;
    assert_memory_equal(&keys, &zero, sizeof keys);
}

/* --- superblock and vote slot --- */

static struct disk_superblock make_superblock(struct seal_keys *keys)
{
    struct disk_superblock superblock;
    memset(&superblock, 0, sizeof superblock);
    superblock.sequence = 5;
    superblock.node_number = 2;
    superblock.epoch = 77;
    seal_keys_derive(keys, sealing_key, cluster_id);
    seal_superblock(keys, &superblock);
    return superblock;
}

static void test_seal_superblock_checks_ok(void **state)
{
    (void)state;
    struct seal_keys keys;
    struct disk_superblock superblock = make_superblock(&keys);
    assert_int_equal(seal_check_superblock(&keys, &superblock), STATUS_OK);
    assert_int_equal(superblock.magic, DISK_MAGIC);
    assert_memory_equal(superblock.cluster_id, cluster_id, sizeof cluster_id);
}

static void test_seal_superblock_altered_at_any_byte_is_corrupt(void **state)
{
    (void)state;
    struct seal_keys keys;
    struct disk_superblock superblock = make_superblock(&keys);
    for (size_t i = 0; i < sizeof superblock; i++) {
        ((uint8_t *)&superblock)[i] ^= 4;
        assert_int_equal(seal_check_superblock(&keys, &superblock), STATUS_CORRUPT);
        ((uint8_t *)&superblock)[i] ^= 4;
    }
}

static void test_seal_superblock_and_vote_of_another_version_are_unknown(void **state)
{
    (void)state;
    struct seal_keys keys;
    struct disk_superblock superblock = make_superblock(&keys);
    superblock.version++;
    superblock.checksum = hash64(DISK_MAGIC, &superblock, offsetof(struct disk_superblock, checksum));
    assert_int_equal(seal_check_superblock(&keys, &superblock), STATUS_UNKNOWN_VERSION);
    struct disk_vote vote;
    memset(&vote, 0, sizeof vote);
    memcpy(vote.cluster_id, cluster_id, sizeof vote.cluster_id);
    seal_vote(&vote);
    vote.version++;
    vote.checksum = hash64(DISK_VOTE_MAGIC, &vote, offsetof(struct disk_vote, checksum));
    assert_int_equal(seal_check_vote(&vote, cluster_id), STATUS_UNKNOWN_VERSION);
}

static void test_seal_superblock_of_another_cluster_is_foreign(void **state)
{
    (void)state;
    struct seal_keys keys;
    struct disk_superblock superblock = make_superblock(&keys);
    seal_keys_derive(&keys, sealing_key, other_cluster_id);
    assert_int_equal(seal_check_superblock(&keys, &superblock), STATUS_FOREIGN);
}

/* Whoever lacks the key can make everything but the seal. */
static void test_seal_superblock_forged_without_key_is_corrupt(void **state)
{
    (void)state;
    struct seal_keys keys, forger;
    struct disk_superblock superblock = make_superblock(&keys);
    seal_keys_derive(&forger, other_key, cluster_id);
    superblock.epoch = 78;
    seal_superblock(&forger, &superblock);
    assert_int_equal(seal_check_superblock(&keys, &superblock), STATUS_CORRUPT);
}

static void test_seal_members_checks_ok_and_each_fault_is_found(void **state)
{
    (void)state;
    struct seal_keys keys, others;
    uint8_t body[88], tag[SEAL_TAG_BYTES];
    seal_keys_derive(&keys, sealing_key, cluster_id);
    memset(body, 0x17, sizeof body);
    seal_members(&keys, body, sizeof body, tag);
    assert_int_equal(seal_check_members(&keys, body, sizeof body, tag), STATUS_OK);
    assert_int_equal(seal_check_members(&keys, body, sizeof body - 1, tag), STATUS_CORRUPT);
    for (size_t i = 0; i < sizeof body; i++) {
        body[i] ^= 4;
        assert_int_equal(seal_check_members(&keys, body, sizeof body, tag), STATUS_CORRUPT);
        body[i] ^= 4;
    }
    seal_keys_derive(&others, other_key, cluster_id);
    assert_int_equal(seal_check_members(&others, body, sizeof body, tag), STATUS_CORRUPT);
    seal_keys_derive(&others, sealing_key, other_cluster_id);
    assert_int_equal(seal_check_members(&others, body, sizeof body, tag), STATUS_CORRUPT);
}

static void test_seal_vote_checks_ok_and_each_fault_is_found(void **state)
{
    (void)state;
    struct disk_vote vote;
    memset(&vote, 0, sizeof vote);
    vote.term = 9;
    memcpy(vote.cluster_id, cluster_id, sizeof vote.cluster_id);
    seal_vote(&vote);
    assert_int_equal(seal_check_vote(&vote, cluster_id), STATUS_OK);
    assert_int_equal(seal_check_vote(&vote, other_cluster_id), STATUS_FOREIGN);
    for (size_t i = 0; i < sizeof vote; i++) {
        ((uint8_t *)&vote)[i] ^= 4;
        assert_int_equal(seal_check_vote(&vote, cluster_id), STATUS_CORRUPT);
        ((uint8_t *)&vote)[i] ^= 4;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seal_body_opened_gives_plain),
        cmocka_unit_test(test_seal_body_in_place_gives_plain),
        cmocka_unit_test(test_seal_empty_body_is_authenticated_too),
        cmocka_unit_test(test_seal_body_altered_at_any_byte_is_corrupt),
        cmocka_unit_test(test_seal_body_cut_short_is_corrupt),
        cmocka_unit_test(test_seal_body_for_another_context_is_corrupt),
        cmocka_unit_test(test_seal_body_of_another_cluster_is_corrupt),
        cmocka_unit_test(test_seal_subkeys_differ_and_are_wiped),
        cmocka_unit_test(test_seal_superblock_checks_ok),
        cmocka_unit_test(test_seal_superblock_altered_at_any_byte_is_corrupt),
        cmocka_unit_test(test_seal_superblock_and_vote_of_another_version_are_unknown),
        cmocka_unit_test(test_seal_superblock_of_another_cluster_is_foreign),
        cmocka_unit_test(test_seal_superblock_forged_without_key_is_corrupt),
        cmocka_unit_test(test_seal_members_checks_ok_and_each_fault_is_found),
        cmocka_unit_test(test_seal_vote_checks_ok_and_each_fault_is_found),
    };
    return cmocka_run_group_tests(tests, test_crypto_set_up, NULL);
}
