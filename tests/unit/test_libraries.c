/* The pinned libraries as we build them: linked, of the pinned version, and with our changes applied. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <raft.h>
#include <sodium.h>

static void fill_with_pattern(void *const buffer, const size_t bytes)
{
	unsigned char *const out = buffer;
	for (size_t i = 0; i < bytes; i++)
		out[i] = (unsigned char)(i * 7 + 1);
}

static const char *pattern_name(void)
{
	return "pattern";
}

static randombytes_implementation pattern_entropy = {
	.implementation_name = pattern_name,
	.buf = fill_with_pattern,
};

static void test_libsodium_keyed_hash_matches_reference(void **state)
{
	(void)state;
	/* First vector of BLAKE2b's published keyed test vectors, cut to its first eight bytes. */
	static const unsigned char expected[8] = {0x10, 0xeb, 0xb6, 0x77, 0x00, 0xb1, 0x86, 0x8e};
	unsigned char key[64];
	unsigned char hash[64];
	for (unsigned i = 0; i < sizeof key; i++)
		key[i] = (unsigned char)i;
	assert_int_equal(crypto_generichash(hash, sizeof hash, NULL, 0, key, sizeof key), 0);
	assert_memory_equal(hash, expected, sizeof expected);
}

static void test_libsodium_entropy_comes_from_our_implementation(void **state)
{
	(void)state;
	unsigned char bytes[4];
	randombytes_buf(bytes, sizeof bytes);
	assert_int_equal(bytes[0], 1);
	assert_int_equal(bytes[3], 22);
}

static void test_libsodium_sealed_message_altered_is_refused(void **state)
{
	(void)state;
	static const unsigned char message[] = "an epoch";
	unsigned char key[crypto_aead_xchacha20poly1305_ietf_KEYBYTES] = {1};
	unsigned char nonce[crypto_aead_xchacha20poly1305_ietf_NPUBBYTES] = {2};
	unsigned char sealed[sizeof message + crypto_aead_xchacha20poly1305_ietf_ABYTES];
	unsigned char opened[sizeof message];
	unsigned long long sealed_bytes = 0;
	assert_int_equal(crypto_aead_xchacha20poly1305_ietf_encrypt(sealed, &sealed_bytes, message, sizeof message, NULL, 0,
	                                                            NULL, nonce, key),
	                 0);
	assert_int_equal(crypto_aead_xchacha20poly1305_ietf_decrypt(opened, NULL, NULL, sealed, sealed_bytes, NULL, 0, nonce,
	                                                            key),
	                 0);
	assert_memory_equal(opened, message, sizeof message);
	sealed[3] ^= 1;
	assert_int_equal(crypto_aead_xchacha20poly1305_ietf_decrypt(opened, NULL, NULL, sealed, sealed_bytes, NULL, 0, nonce,
	                                                            key),
	                 -1);
}

/* Defect 4 of the raft library: a sole voter led without a new term. */
static void test_raft_sole_voter_elects_itself_in_a_new_term(void **state)
{
	(void)state;
	struct raft raft;
	struct raft_configuration configuration;
	raft_configuration_init(&configuration);
	assert_int_equal(raft_configuration_add(&configuration, 1, "1", RAFT_VOTER), 0);

	struct raft_entry entry = {.type = RAFT_CHANGE, .term = 1};
	assert_int_equal(raft_configuration_encode(&configuration, &entry.buf), 0);
	entry.batch = entry.buf.base;
	raft_configuration_close(&configuration);

	assert_int_equal(raft_init(&raft, NULL, NULL, 1, "1"), 0);
	raft.tracer = NULL;
	raft_seed(&raft, 1);

	struct raft_event start = {
		.type = RAFT_START,
		.time = 0,
		.start = {.term = 1, .start_index = 1, .entries = &entry, .n_entries = 1},
	};
	struct raft_update update;
	assert_int_equal(raft_step(&raft, &start, &update), 0);
	assert_int_equal(raft_state(&raft), RAFT_LEADER);
	assert_true((update.flags & RAFT_UPDATE_CURRENT_TERM) != 0);
	assert_true((update.flags & RAFT_UPDATE_VOTED_FOR) != 0);
	assert_int_equal(raft_current_term(&raft), 2);

	/* The batch of the leader's barrier is ours after RAFT_UPDATE_ENTRIES, and so is what we passed in. */
	assert_true((update.flags & RAFT_UPDATE_ENTRIES) != 0);
	assert_int_equal(update.entries.n, 1);
	assert_int_equal(update.entries.batch[0].term, 2);
	raft_free(update.entries.batch[0].batch);
	raft_free(entry.batch);
	raft_close(&raft, NULL);
}

static int setup_libsodium(void **state)
{
	(void)state;
	if (randombytes_set_implementation(&pattern_entropy) != 0)
		return -1;
	return sodium_init() < 0 ? -1 : 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_libsodium_keyed_hash_matches_reference),
		cmocka_unit_test(test_libsodium_entropy_comes_from_our_implementation),
		cmocka_unit_test(test_libsodium_sealed_message_altered_is_refused),
		cmocka_unit_test(test_raft_sole_voter_elects_itself_in_a_new_term),
	};
	return cmocka_run_group_tests_name("libraries", tests, setup_libsodium, NULL);
}
