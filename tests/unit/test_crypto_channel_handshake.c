/* Channels: two ends joined by a wire that the test holds, until they are up: who is let in and who is not. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "crypto/handshake.h"
#include "tests/unit/support/channel_pair.h"
#include "tests/unit/support/crypto_set_up.h"

static void test_channel_handshake_gives_each_the_others_hello(void **state)
{
    (void)state;
    struct pair *pair = pair_up();
    assert_int_equal(pair->low.ups, 1);
    assert_int_equal(pair->high.ups, 1);
    assert_memory_equal(pair->low.peer_hello, pair->high.hello, CHANNEL_HELLO_BYTES);
    assert_memory_equal(pair->high.peer_hello, pair->low.hello, CHANNEL_HELLO_BYTES);
    pair_free(pair);
}

static void assert_no_handshake(struct pair *pair, enum status low, enum status high)
{
    pair_shake(pair, SIZE_MAX);
    assert_int_equal(pair->low.status, low);
    assert_int_equal(pair->high.status, high);
    assert_int_equal(pair->high.ups, 0);
    assert_int_not_equal(channel_state(pair->high.channel), CHANNEL_UP);
    pair_free(pair);
}

/* An impostor: knows everything that is pinned, but not the secret key of the node it claims to be. */
static void make_impostor(struct pair_end *end)
{
    struct identity other = pair_identity(77);
    memcpy(end->identity.secret_key, other.secret_key, sizeof other.secret_key);
}

static void test_channel_responder_without_its_secret_key_is_refused(void **state)
{
    (void)state;
    struct pair *pair = pair_make();
    make_impostor(&pair->high);
    assert_no_handshake(pair, STATUS_REFUSED, STATUS_OK);
}

static void test_channel_initiator_without_its_secret_key_is_refused(void **state)
{
    (void)state;
    struct pair *pair = pair_make();
    make_impostor(&pair->low);
    assert_no_handshake(pair, STATUS_OK, STATUS_REFUSED);
}

static void test_channel_with_other_pinned_key_is_refused(void **state)
{
    (void)state;
    struct pair *pair = pair_make();
    pair->high.identity = pair_identity(77);
    assert_no_handshake(pair, STATUS_REFUSED, STATUS_OK);
    pair = pair_make();
    pair->low.identity = pair_identity(77);
    assert_no_handshake(pair, STATUS_REFUSED, STATUS_OK);
}

static void test_channel_of_another_cluster_is_refused(void **state)
{
    (void)state;
    struct pair *pair = pair_make();
    pair->low.config.cluster_id[15] ^= 1;
    assert_no_handshake(pair, STATUS_REFUSED, STATUS_OK);
}

static void test_channel_on_another_lane_is_foreign(void **state)
{
    (void)state;
    struct pair *pair = pair_make();
    pair->low.config.lane = 1;
    assert_no_handshake(pair, STATUS_OK, STATUS_FOREIGN);
}

static void test_channel_from_another_node_number_is_foreign(void **state)
{
    (void)state;
    struct pair *pair = pair_make();
    pair->high.config.self = 3;
    assert_no_handshake(pair, STATUS_OK, STATUS_FOREIGN);
    pair = pair_make();
    pair->high.config.self = 4;
    pair->high.config.peer = 3;
    assert_no_handshake(pair, STATUS_OK, STATUS_FOREIGN);
}

static void test_channel_reflected_offer_is_refused(void **state)
{
    (void)state;
    struct pair *pair = pair_make();
    uint8_t output[CHANNEL_HANDSHAKE_BYTES_MAX] = {0};
    pair_end_open(&pair->low);
    size_t bytes = channel_take_output(pair->low.channel, output);
    assert_true(bytes > 0);
    pair_end_feed(&pair->low, output, sizeof output, SIZE_MAX);
    assert_int_equal(pair->low.status, STATUS_INVALID);
    pair_free(pair);
}

/* Each message of the handshake, altered at each byte in turn: nobody comes up who should not. */
static void test_channel_handshake_altered_at_any_byte_never_comes_up(void **state)
{
    (void)state;
    struct pair *pair = pair_make();
    const size_t lengths[3] = {80, 272, 192};
    for (size_t step = 0; step < 3; step++) {
        for (size_t i = 0; i < lengths[step]; i++) {
            struct pair_end *ends[4] = {&pair->low, &pair->high, &pair->low, &pair->high};
            pair->low.ups = pair->high.ups = 0;
            pair_end_open(&pair->low);
            pair_end_open(&pair->high);
            for (size_t at = 0; at < 3; at++) {
                uint8_t output[CHANNEL_HANDSHAKE_BYTES_MAX];
                size_t bytes = channel_take_output(ends[at]->channel, output);
                if (bytes == 0) {
                    break;
                }
                assert_int_equal(bytes, lengths[at]);
                output[i] ^= at == step ? 0x40 : 0;
                pair_end_feed(ends[at + 1], output, bytes, SIZE_MAX);
            }
            assert_int_equal(pair->high.ups, 0);
            assert_int_equal(pair->low.ups, step == 2 ? 1 : 0); /* the initiator is done before its proof travels */
        }
    }
    pair_free(pair);
}

static void test_channel_recorded_initiator_replayed_never_comes_up(void **state)
{
    (void)state;
    struct pair *pair = pair_make();
    uint8_t offer[CHANNEL_HANDSHAKE_BYTES_MAX], proof[CHANNEL_HANDSHAKE_BYTES_MAX], ignored[CHANNEL_HANDSHAKE_BYTES_MAX];
    pair_end_open(&pair->low);
    pair_end_open(&pair->high);
    size_t offer_bytes = channel_take_output(pair->low.channel, offer);
    pair_end_feed(&pair->high, offer, offer_bytes, SIZE_MAX);
    pair_carry(&pair->high, &pair->low, SIZE_MAX);
    size_t proof_bytes = channel_take_output(pair->low.channel, proof);
    pair_end_feed(&pair->high, proof, proof_bytes, SIZE_MAX);
    assert_int_equal(pair->high.ups, 1);

    pair_end_open(&pair->high);
    pair_end_feed(&pair->high, offer, offer_bytes, SIZE_MAX);
    assert_int_equal(pair->high.status, STATUS_OK);
    assert_true(channel_take_output(pair->high.channel, ignored) > 0);
    pair_end_feed(&pair->high, proof, proof_bytes, SIZE_MAX);
    assert_int_equal(pair->high.status, STATUS_REFUSED);
    assert_int_equal(pair->high.ups, 1);
    pair_free(pair);
}

static void test_channel_offer_with_degenerate_key_is_refused(void **state)
{
    (void)state;
    struct pair *pair = pair_make();
    uint8_t offer[CHANNEL_HANDSHAKE_BYTES_MAX];
    pair_end_open(&pair->low);
    pair_end_open(&pair->high);
    size_t bytes = channel_take_output(pair->low.channel, offer);
    memset(offer + 16, 0, 32);
    pair_end_feed(&pair->high, offer, bytes, SIZE_MAX);
    assert_int_equal(pair->high.status, STATUS_REFUSED);
    pair_free(pair);
}

static void test_channel_offer_of_another_version_is_unknown_version(void **state)
{
    (void)state;
    struct pair *pair = pair_make();
    uint8_t offer[CHANNEL_HANDSHAKE_BYTES_MAX];
    pair_end_open(&pair->low);
    pair_end_open(&pair->high);
    size_t bytes = channel_take_output(pair->low.channel, offer);
    offer[4]++;
    pair_end_feed(&pair->high, offer, bytes, SIZE_MAX);
    assert_int_equal(pair->high.status, STATUS_UNKNOWN_VERSION);
    pair_free(pair);
}

static void test_channel_offer_with_used_reserved_bytes_is_invalid(void **state)
{
    (void)state;
    struct pair *pair = pair_make();
    uint8_t offer[CHANNEL_HANDSHAKE_BYTES_MAX];
    pair_end_open(&pair->low);
    pair_end_open(&pair->high);
    size_t bytes = channel_take_output(pair->low.channel, offer);
    offer[offsetof(struct handshake_opening, reserved) + 5] = 1;
    pair_end_feed(&pair->high, offer, bytes, SIZE_MAX);
    assert_int_equal(pair->high.status, STATUS_INVALID);
    pair_free(pair);
}

static void test_channel_deadline_holds_until_up(void **state)
{
    (void)state;
    struct pair *pair = pair_make();
    pair_end_open(&pair->low);
    assert_int_equal(channel_deadline_ns(pair->low.channel), PAIR_DEADLINE_NS);
    channel_close(pair->low.channel);
    assert_true(channel_deadline_ns(pair->low.channel) == UINT64_MAX);
    pair_shake(pair, SIZE_MAX);
    assert_true(channel_deadline_ns(pair->low.channel) == UINT64_MAX);
    pair_free(pair);
}

static void test_channel_same_entropy_gives_same_bytes(void **state)
{
    (void)state;
    struct pair *one = pair_up(), *two = pair_up();
    size_t bytes_one, bytes_two;
    uint8_t *record_one = pair_record_make(&one->low, "same", 4, NULL, 0, &bytes_one);
    uint8_t *record_two = pair_record_make(&two->low, "same", 4, NULL, 0, &bytes_two);
    assert_int_equal(bytes_one, bytes_two);
    assert_memory_equal(record_one, record_two, bytes_one);
    free(record_one);
    free(record_two);
    pair_free(one);
    pair_free(two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_channel_handshake_gives_each_the_others_hello),
        cmocka_unit_test(test_channel_responder_without_its_secret_key_is_refused),
        cmocka_unit_test(test_channel_initiator_without_its_secret_key_is_refused),
        cmocka_unit_test(test_channel_with_other_pinned_key_is_refused),
        cmocka_unit_test(test_channel_of_another_cluster_is_refused),
        cmocka_unit_test(test_channel_on_another_lane_is_foreign),
        cmocka_unit_test(test_channel_from_another_node_number_is_foreign),
        cmocka_unit_test(test_channel_reflected_offer_is_refused),
        cmocka_unit_test(test_channel_handshake_altered_at_any_byte_never_comes_up),
        cmocka_unit_test(test_channel_recorded_initiator_replayed_never_comes_up),
        cmocka_unit_test(test_channel_offer_with_degenerate_key_is_refused),
        cmocka_unit_test(test_channel_offer_of_another_version_is_unknown_version),
        cmocka_unit_test(test_channel_offer_with_used_reserved_bytes_is_invalid),
        cmocka_unit_test(test_channel_deadline_holds_until_up),
        cmocka_unit_test(test_channel_same_entropy_gives_same_bytes),
    };
    return cmocka_run_group_tests(tests, test_crypto_set_up, NULL);
}
