/* Channels: two ends joined by a wire that the test holds, and everything that may happen to a message. The handshake: test_crypto_channel_handshake.c. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sodium.h>

#include "crypto/handshake.h"
#include "crypto/seal.h"
#include "tests/unit/support/channel_pair.h"
#include "tests/unit/support/crypto_set_up.h"

static void test_channel_message_arrives_both_ways(void **state)
{
    (void)state;
    struct pair *pair = pair_up();
    struct pair_end *ends[2][2] = {{&pair->low, &pair->high}, {&pair->high, &pair->low}};
    for (size_t i = 0; i < 2; i++) {
        size_t bytes;
        uint8_t *record = pair_record_make(ends[i][0], "header", 6, "sealed body", 11, &bytes);
        pair_end_feed(ends[i][1], record, bytes, SIZE_MAX);
        assert_int_equal(ends[i][1]->messages, 1);
        assert_int_equal(ends[i][1]->header_bytes, 6);
        assert_memory_equal(ends[i][1]->header, "header", 6);
        assert_int_equal(ends[i][1]->body_bytes, 11);
        assert_memory_equal(ends[i][1]->body, "sealed body", 11);
        free(record);
    }
    pair_free(pair);
}

static void test_channel_header_is_not_readable_on_the_wire(void **state)
{
    (void)state;
    struct pair *pair = pair_up();
    static const char secret[] = "a known string";
    size_t bytes;
    uint8_t *record = pair_record_make(&pair->low, secret, sizeof secret - 1, NULL, 0, &bytes);
    for (size_t i = 0; i + sizeof secret - 1 <= bytes; i++) {
        assert_memory_not_equal(record + i, secret, sizeof secret - 1);
    }
    free(record);
    pair_free(pair);
}

static void test_channel_fragmented_to_single_bytes_gives_the_same(void **state)
{
    (void)state;
    struct pair *pair = pair_make();
    pair_shake(pair, 1);
    assert_int_equal(pair->low.ups, 1);
    assert_int_equal(pair->high.ups, 1);
    for (unsigned i = 0; i < 3; i++) {
        size_t bytes;
        uint8_t *record = pair_record_make(&pair->low, "header", i * 3, "body", i * 2, &bytes);
        pair_end_feed(&pair->high, record, bytes, 1);
        assert_int_equal(pair->high.status, STATUS_OK);
        assert_int_equal(pair->high.messages, i + 1);
        assert_int_equal(pair->high.header_bytes, i * 3);
        assert_int_equal(pair->high.body_bytes, i * 2);
        free(record);
    }
    pair_free(pair);
}

static void test_channel_proof_and_messages_in_one_piece_are_all_taken(void **state)
{
    (void)state;
    struct pair *pair = pair_make();
    uint8_t stream[1024];
    pair_end_open(&pair->low);
    pair_end_open(&pair->high);
    pair_carry(&pair->low, &pair->high, SIZE_MAX);
    pair_carry(&pair->high, &pair->low, SIZE_MAX);
    size_t total = channel_take_output(pair->low.channel, stream);
    for (unsigned i = 0; i < 2; i++) {
        size_t bytes;
        uint8_t *record = pair_record_make(&pair->low, "early", 5, "b", i, &bytes);
        memcpy(stream + total, record, bytes);
        total += bytes;
        free(record);
    }
    pair_end_feed(&pair->high, stream, total, SIZE_MAX);
    assert_int_equal(pair->high.status, STATUS_OK);
    assert_int_equal(pair->high.ups, 1);
    assert_int_equal(pair->high.messages, 2);
    pair_free(pair);
}

static void test_channel_largest_message_arrives(void **state)
{
    (void)state;
    struct pair *pair = pair_up();
    uint8_t *header = calloc(1, CHANNEL_HEADER_BYTES_MAX), *body = calloc(1, CHANNEL_BODY_BYTES_MAX);
    size_t bytes;
    body[CHANNEL_BODY_BYTES_MAX - 1] = 0x5a;
    uint8_t *record = pair_record_make(&pair->low, header, CHANNEL_HEADER_BYTES_MAX, body, CHANNEL_BODY_BYTES_MAX, &bytes);
    assert_int_equal(bytes, CHANNEL_RECORD_BYTES_MAX);
    pair_end_feed(&pair->high, record, bytes, 1460);
    assert_int_equal(pair->high.messages, 1);
    assert_int_equal(pair->high.body[CHANNEL_BODY_BYTES_MAX - 1], 0x5a);
    free(record);
    free(header);
    free(body);
    pair_free(pair);
}

static void test_channel_oversize_message_is_invalid_to_send(void **state)
{
    (void)state;
    struct pair *pair = pair_up();
    uint8_t *front = malloc(CHANNEL_FRONT_BYTES_MAX), *header = calloc(1, CHANNEL_HEADER_BYTES_MAX + 1);
    size_t front_bytes = 0;
    assert_int_equal(channel_seal_front(pair->low.channel, header, CHANNEL_HEADER_BYTES_MAX + 1, 0, front, &front_bytes), STATUS_INVALID);
    assert_int_equal(channel_seal_front(pair->low.channel, header, 1, CHANNEL_BODY_BYTES_MAX + 1, front, &front_bytes), STATUS_INVALID);
    channel_close(pair->low.channel);
    assert_int_equal(channel_seal_front(pair->low.channel, header, 1, 0, front, &front_bytes), STATUS_CLOSED);
    assert_int_equal(front_bytes, 0);
    free(front);
    free(header);
    pair_free(pair);
}

static void test_channel_length_out_of_range_is_invalid_at_once(void **state)
{
    (void)state;
    const uint32_t lengths[] = {0, 20, CHANNEL_FRONT_BYTES_MAX - 4 + 1, UINT32_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct pair *pair = pair_up();
        pair_end_feed(&pair->high, (const uint8_t *)&lengths[i], sizeof lengths[i], SIZE_MAX);
        assert_int_equal(pair->high.status, STATUS_INVALID);
        assert_int_equal(channel_state(pair->high.channel), CHANNEL_CLOSED);
        pair_free(pair);
    }
}

static void assert_message_ends_channel(struct pair *pair, const uint8_t *record, size_t bytes)
{
    unsigned before = pair->high.messages;
    pair_end_feed(&pair->high, record, bytes, SIZE_MAX);
    assert_int_not_equal(pair->high.status, STATUS_OK);
    assert_int_equal(pair->high.messages, before);
    assert_int_equal(channel_state(pair->high.channel), CHANNEL_CLOSED);
}

static void test_channel_replayed_message_is_corrupt(void **state)
{
    (void)state;
    struct pair *pair = pair_up();
    size_t bytes;
    uint8_t *record = pair_record_make(&pair->low, "once", 4, NULL, 0, &bytes);
    pair_end_feed(&pair->high, record, bytes, SIZE_MAX);
    assert_int_equal(pair->high.messages, 1);
    assert_message_ends_channel(pair, record, bytes);
    assert_int_equal(pair->high.status, STATUS_CORRUPT);
    free(record);
    pair_free(pair);
}

static void test_channel_reordered_or_missing_message_is_corrupt(void **state)
{
    (void)state;
    struct pair *pair = pair_up();
    size_t first_bytes, second_bytes;
    uint8_t *first = pair_record_make(&pair->low, "1", 1, NULL, 0, &first_bytes);
    uint8_t *second = pair_record_make(&pair->low, "2", 1, NULL, 0, &second_bytes);
    assert_message_ends_channel(pair, second, second_bytes);
    assert_int_equal(pair->high.status, STATUS_CORRUPT);
    free(first);
    free(second);
    pair_free(pair);
}

static void test_channel_reflected_message_is_corrupt(void **state)
{
    (void)state;
    struct pair *pair = pair_up();
    size_t bytes;
    uint8_t *record = pair_record_make(&pair->high, "echo", 4, NULL, 0, &bytes);
    assert_message_ends_channel(pair, record, bytes);
    assert_int_equal(pair->high.status, STATUS_CORRUPT);
    free(record);
    pair_free(pair);
}

static void test_channel_message_of_an_earlier_link_is_corrupt(void **state)
{
    (void)state;
    struct pair *pair = pair_up();
    size_t bytes;
    uint8_t *record = pair_record_make(&pair->low, "old", 3, NULL, 0, &bytes);
    pair_shake(pair, SIZE_MAX);
    assert_int_equal(pair->high.ups, 2);
    assert_message_ends_channel(pair, record, bytes);
    assert_int_equal(pair->high.status, STATUS_CORRUPT);
    free(record);
    pair_free(pair);
}

/* An altered length may also be a longer one: then the channel waits, and the bytes of the next message give it away. */
static void test_channel_front_altered_at_any_byte_is_never_a_message(void **state)
{
    (void)state;
    struct pair *pair = pair_make();
    for (size_t i = 0;; i++) {
        pair_shake(pair, SIZE_MAX);
        pair->high.messages = 0;
        size_t bytes, more_bytes;
        uint8_t *record = pair_record_make(&pair->low, "header", 6, NULL, 0, &bytes);
        static const uint8_t filler[CHANNEL_HEADER_BYTES_MAX];
        uint8_t *more = pair_record_make(&pair->low, filler, sizeof filler, NULL, 0, &more_bytes);
        if (i == bytes) {
            free(record);
            free(more);
            break;
        }
        record[i] ^= 0x08;
        pair_end_feed(&pair->high, record, bytes, SIZE_MAX);
        if (pair->high.status == STATUS_OK) {
            pair_end_feed(&pair->high, more, more_bytes, SIZE_MAX);
        }
        assert_int_not_equal(pair->high.status, STATUS_OK);
        assert_int_equal(pair->high.messages, 0);
        free(record);
        free(more);
    }
    pair_free(pair);
}

static void test_channel_truncated_message_is_never_given_out(void **state)
{
    (void)state;
    struct pair *pair = pair_up();
    size_t bytes, next_bytes;
    uint8_t *record = pair_record_make(&pair->low, "header", 6, "body", 4, &bytes);
    uint8_t *next = pair_record_make(&pair->low, "next", 4, NULL, 0, &next_bytes);
    pair_end_feed(&pair->high, record, bytes - 1, SIZE_MAX);
    assert_int_equal(pair->high.status, STATUS_OK);
    assert_int_equal(pair->high.messages, 0);
    /* The next message's first byte completes the body, of which the channel knows the length alone; its rest does not fit. */
    pair_end_feed(&pair->high, next, next_bytes, SIZE_MAX);
    assert_int_not_equal(pair->high.status, STATUS_OK);
    free(record);
    free(next);
    pair_free(pair);
}

/* What the receiver of a sealed body does: the tag comes with the header. */
static void test_channel_swapped_body_is_found_by_its_tag(void **state)
{
    (void)state;
    struct pair *pair = pair_up();
    struct seal_keys keys;
    const uint8_t sealing_key[32] = "key", nonce[SEAL_NONCE_BYTES] = {0};
    uint8_t bodies[2][64] = {{1}, {2}}, tags[2][SEAL_TAG_BYTES];
    struct seal_context context = seal_context_delta(1, 5, 0, 1);
    seal_keys_derive(&keys, sealing_key, pair_cluster_id);
    for (size_t i = 0; i < 2; i++) {
        seal_body(&keys, &context, nonce, bodies[i], sizeof bodies[i], bodies[i], tags[i]);
    }
    for (size_t sent = 0; sent < 2; sent++) {
        size_t bytes;
        uint8_t *record = pair_record_make(&pair->low, tags[0], sizeof tags[0], bodies[sent], sizeof bodies[sent], &bytes);
        pair_end_feed(&pair->high, record, bytes, SIZE_MAX);
        assert_int_equal(pair->high.messages, sent + 1);
        assert_int_equal(seal_verify_body(&keys, &context, nonce, pair->high.body, pair->high.body_bytes, pair->high.header),
                         sent == 0 ? STATUS_OK : STATUS_CORRUPT);
        free(record);
    }
    pair_free(pair);
}

static void test_channel_keys_change_and_messages_go_on(void **state)
{
    (void)state;
    struct pair *pair = pair_up();
    for (uint32_t i = 0; i < 2 * CHANNEL_MESSAGES_PER_KEY + 3; i++) {
        size_t bytes;
        uint8_t *record = pair_record_make(&pair->low, &i, sizeof i, NULL, 0, &bytes);
        pair_end_feed(&pair->high, record, bytes, SIZE_MAX);
        assert_int_equal(pair->high.status, STATUS_OK);
        assert_memory_equal(pair->high.header, &i, sizeof i);
        free(record);
    }
    assert_int_equal(pair->high.messages, 2 * CHANNEL_MESSAGES_PER_KEY + 3);
    pair_free(pair);
}

static void test_channel_closed_takes_nothing(void **state)
{
    (void)state;
    struct pair *pair = pair_up();
    channel_close(pair->low.channel);
    pair_end_feed(&pair->low, (const uint8_t *)"x", 1, SIZE_MAX);
    assert_int_equal(pair->low.status, STATUS_CLOSED);
    pair_free(pair);
}

static void test_channel_random_bytes_end_the_channel_in_every_state(void **state)
{
    (void)state;
    uint64_t seed = test_seed("random bytes", 20250101);
    struct pair *pair = pair_make();
    for (unsigned round = 0; round < 400; round++) {
        uint8_t garbage[CHANNEL_FRONT_BYTES_MAX + 64];
        size_t bytes = 300 + test_random_below(&seed, sizeof garbage - 300);
        for (size_t i = 0; i < bytes; i++) {
            garbage[i] = (uint8_t)test_random(&seed);
        }
        struct pair_end *victim = round % 2 == 0 ? &pair->low : &pair->high;
        pair->low.ups = pair->high.ups = pair->low.messages = pair->high.messages = 0;
        pair_end_open(&pair->low);
        pair_end_open(&pair->high);
        unsigned steps = test_random_below(&seed, 4);
        if (steps > 0) {
            pair_carry(&pair->low, &pair->high, SIZE_MAX);
        }
        if (steps > 1) {
            pair_carry(&pair->high, &pair->low, SIZE_MAX);
        }
        if (steps > 2) {
            pair_carry(&pair->low, &pair->high, SIZE_MAX);
        }
        unsigned ups = victim->ups;
        if (round % 4 >= 2) {
            /* A believable length, so that the bytes get as far as the cipher. */
            uint32_t length = 21 + test_random_below(&seed, 300 - 21 - 4);
            memcpy(garbage, &length, sizeof length);
        }
        pair_end_feed(victim, garbage, bytes, 1 + test_random_below(&seed, 200));
        assert_int_not_equal(victim->status, STATUS_OK);
        assert_int_equal(victim->messages, 0);
        assert_int_equal(victim->ups, ups);
    }
    pair_free(pair);
}

/* --- a peer that holds the right keys and lies --- */

/* Shakes hands with `end` (the higher node) as the lower one would, and keeps its stream. */
static crypto_secretstream_xchacha20poly1305_state liar_make(struct pair *pair)
{
    struct handshake handshake;
    struct handshake_opening offer;
    struct handshake_answer answer;
    struct handshake_sealed proof;
    struct handshake_streams streams;
    crypto_secretstream_xchacha20poly1305_state stream;
    uint8_t output[CHANNEL_HANDSHAKE_BYTES_MAX];
    pair_end_open(&pair->high);
    handshake_start(&handshake, &pair->low.config, pair->low.hello);
    handshake_offer(&handshake, &pair->low.config, &offer);
    pair_end_feed(&pair->high, (const uint8_t *)&offer, sizeof offer, SIZE_MAX);
    assert_int_equal(channel_take_output(pair->high.channel, output), sizeof answer);
    memcpy(&answer, output, sizeof answer);
    assert_int_equal(handshake_prove(&handshake, &pair->low.config, &answer, &proof, &streams), STATUS_OK);
    pair_end_feed(&pair->high, (const uint8_t *)&proof, sizeof proof, SIZE_MAX);
    assert_int_equal(pair->high.ups, 1);
    crypto_secretstream_xchacha20poly1305_init_pull(&stream, streams.from_initiator.header, streams.from_initiator.key);
    return stream;
}

static void liar_send(struct pair *pair, crypto_secretstream_xchacha20poly1305_state *stream, uint32_t body_bytes, unsigned char tag)
{
    uint8_t record[4 + 21];
    uint32_t length = 21;
    memcpy(record, &length, sizeof length);
    crypto_secretstream_xchacha20poly1305_push(stream, record + 4, NULL, (const uint8_t *)&body_bytes, sizeof body_bytes, record, 4, tag);
    pair_end_feed(&pair->high, record, sizeof record, SIZE_MAX);
}

static void test_channel_authentic_front_with_oversize_body_is_invalid(void **state)
{
    (void)state;
    struct pair *pair = pair_make();
    crypto_secretstream_xchacha20poly1305_state stream = liar_make(pair);
    liar_send(pair, &stream, 0, crypto_secretstream_xchacha20poly1305_TAG_MESSAGE);
    assert_int_equal(pair->high.messages, 1);
    liar_send(pair, &stream, CHANNEL_BODY_BYTES_MAX + 1, crypto_secretstream_xchacha20poly1305_TAG_MESSAGE);
    assert_int_equal(pair->high.status, STATUS_INVALID);
    pair_free(pair);
}

static void test_channel_authentic_front_with_another_stream_tag_is_invalid(void **state)
{
    (void)state;
    const unsigned char tags[] = {crypto_secretstream_xchacha20poly1305_TAG_PUSH, crypto_secretstream_xchacha20poly1305_TAG_FINAL,
                                  crypto_secretstream_xchacha20poly1305_TAG_REKEY};
    for (size_t i = 0; i < sizeof tags; i++) {
        struct pair *pair = pair_make();
        crypto_secretstream_xchacha20poly1305_state stream = liar_make(pair);
        liar_send(pair, &stream, 0, tags[i]);
        assert_int_equal(pair->high.status, STATUS_INVALID);
        assert_int_equal(pair->high.messages, 0);
        pair_free(pair);
    }
}

static void test_channel_key_used_for_too_many_messages_is_invalid(void **state)
{
    (void)state;
    struct pair *pair = pair_make();
    crypto_secretstream_xchacha20poly1305_state stream = liar_make(pair);
    for (unsigned i = 1; i < CHANNEL_MESSAGES_PER_KEY; i++) {
        liar_send(pair, &stream, 0, crypto_secretstream_xchacha20poly1305_TAG_MESSAGE);
        assert_int_equal(pair->high.messages, i);
    }
    liar_send(pair, &stream, 0, crypto_secretstream_xchacha20poly1305_TAG_MESSAGE);
    assert_int_equal(pair->high.status, STATUS_INVALID);
    pair_free(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_channel_message_arrives_both_ways),
        cmocka_unit_test(test_channel_header_is_not_readable_on_the_wire),
        cmocka_unit_test(test_channel_fragmented_to_single_bytes_gives_the_same),
        cmocka_unit_test(test_channel_proof_and_messages_in_one_piece_are_all_taken),
        cmocka_unit_test(test_channel_largest_message_arrives),
        cmocka_unit_test(test_channel_oversize_message_is_invalid_to_send),
        cmocka_unit_test(test_channel_length_out_of_range_is_invalid_at_once),
        cmocka_unit_test(test_channel_replayed_message_is_corrupt),
        cmocka_unit_test(test_channel_reordered_or_missing_message_is_corrupt),
        cmocka_unit_test(test_channel_reflected_message_is_corrupt),
        cmocka_unit_test(test_channel_message_of_an_earlier_link_is_corrupt),
        cmocka_unit_test(test_channel_front_altered_at_any_byte_is_never_a_message),
        cmocka_unit_test(test_channel_truncated_message_is_never_given_out),
        cmocka_unit_test(test_channel_swapped_body_is_found_by_its_tag),
        cmocka_unit_test(test_channel_keys_change_and_messages_go_on),
        cmocka_unit_test(test_channel_closed_takes_nothing),
        cmocka_unit_test(test_channel_authentic_front_with_oversize_body_is_invalid),
        cmocka_unit_test(test_channel_authentic_front_with_another_stream_tag_is_invalid),
        cmocka_unit_test(test_channel_key_used_for_too_many_messages_is_invalid),
        cmocka_unit_test(test_channel_random_bytes_end_the_channel_in_every_state),
    };
    return cmocka_run_group_tests(tests, test_crypto_set_up, NULL);
}
