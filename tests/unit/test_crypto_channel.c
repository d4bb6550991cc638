/* Channels: two ends joined by a wire that the test holds, and everything that may happen to a wire. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sodium.h>

#include "crypto/channel.h"
#include "crypto/handshake.h"
#include "crypto/seal.h"
#include "tests/unit/support/crypto_set_up.h"
#include "tests/unit/support/fake_machine.h"

enum { LOW = 1, HIGH = 2, DEADLINE = 1000 };

static const uint8_t cluster_id[16] = "cluster one";

/* One end: a node's channel, and what it has given out last. */
struct end {
    struct fake_machine fake;
    struct identity identity;
    struct channel_config config;
    struct channel *channel;
    uint8_t hello[CHANNEL_HELLO_BYTES];
    /* Results of the last feed. */
    enum status status;
    unsigned ups, messages;
    uint8_t peer_hello[CHANNEL_HELLO_BYTES];
    uint8_t header[CHANNEL_HEADER_BYTES_MAX];
    size_t header_bytes;
    uint8_t body[CHANNEL_BODY_BYTES_MAX];
    size_t body_bytes;
};

struct pair {
    struct end low, high;
};

static struct identity identity_of(unsigned number)
{
    uint8_t seed[32] = {(uint8_t)number, 0xaa};
    struct identity identity;
    identity_from_seed(&identity, seed);
    return identity;
}

static void end_make(struct end *end, unsigned self, unsigned peer, uint64_t seed)
{
    memset(end, 0, sizeof *end);
    fake_machine_init(&end->fake, seed, 16, 1 << 20);
    end->identity = identity_of(self);
    struct identity other = identity_of(peer);
    end->config = (struct channel_config){.machine = &end->fake.machine, .identity = &end->identity, .self = (uint8_t)self, .peer = (uint8_t)peer};
    memcpy(end->config.peer_public_key, other.public_key, sizeof other.public_key);
    memcpy(end->config.cluster_id, cluster_id, sizeof cluster_id);
    memset(end->hello, (int)self, sizeof end->hello);
}

static void end_open(struct end *end)
{
    if (end->channel == NULL) {
        end->channel = channel_init(end->fake.machine.reserve(end->fake.machine.context, channel_memory_bytes(), 64), &end->config);
    }
    channel_open(end->channel, end->hello, DEADLINE);
}

/* Give `bytes` bytes to the end in pieces of at most `piece` bytes. */
static void end_feed(struct end *end, const uint8_t *data, size_t bytes, size_t piece)
{
    end->status = STATUS_OK;
    while (bytes > 0 && end->status == STATUS_OK) {
        size_t left = bytes < piece ? bytes : piece;
        data += left;
        bytes -= left;
        const uint8_t *at = data - left;
        struct channel_event event;
        do {
            end->status = channel_input(end->channel, &at, &left, &event);
            channel_check(end->channel);
            if (end->status != STATUS_OK) {
                break;
            }
            if (event.kind == CHANNEL_CAME_UP) {
                end->ups++;
                memcpy(end->peer_hello, event.hello, sizeof end->peer_hello);
            } else if (event.kind == CHANNEL_MESSAGE) {
                end->messages++;
                end->header_bytes = event.header_bytes;
                memcpy(end->header, event.header, event.header_bytes);
                end->body_bytes = event.body_bytes;
                memcpy(end->body, event.body, event.body_bytes);
            }
        } while (event.kind != CHANNEL_NOTHING);
    }
}

/* Move handshake bytes of `from` to `to`; how many. */
static size_t carry(struct end *from, struct end *to, size_t piece)
{
    uint8_t output[CHANNEL_HANDSHAKE_BYTES_MAX];
    size_t bytes = channel_take_output(from->channel, output);
    end_feed(to, output, bytes, piece);
    return bytes;
}

static struct pair *pair_make(void)
{
    struct pair *pair = malloc(sizeof *pair);
    end_make(&pair->low, LOW, HIGH, 11);
    end_make(&pair->high, HIGH, LOW, 22);
    return pair;
}

static void pair_free(struct pair *pair)
{
    fake_machine_destroy(&pair->low.fake);
    fake_machine_destroy(&pair->high.fake);
    free(pair);
}

/* Run the handshake in pieces of `piece` bytes, as far as it goes. */
static void pair_shake(struct pair *pair, size_t piece)
{
    end_open(&pair->low);
    end_open(&pair->high);
    if (carry(&pair->low, &pair->high, piece) > 0 && pair->high.status == STATUS_OK && carry(&pair->high, &pair->low, piece) > 0 &&
        pair->low.status == STATUS_OK) {
        carry(&pair->low, &pair->high, piece);
    }
}

static struct pair *pair_up(void)
{
    struct pair *pair = pair_make();
    pair_shake(pair, SIZE_MAX);
    assert_int_equal(channel_state(pair->low.channel), CHANNEL_UP);
    assert_int_equal(channel_state(pair->high.channel), CHANNEL_UP);
    return pair;
}

/* A whole message as it goes over the wire; free it. */
static uint8_t *record_make(struct end *from, const void *header, size_t header_bytes, const void *body, size_t body_bytes, size_t *bytes)
{
    uint8_t *record = malloc(CHANNEL_RECORD_BYTES_MAX);
    size_t front_bytes = 0;
    assert_int_equal(channel_seal_front(from->channel, header, header_bytes, body_bytes, record, &front_bytes), STATUS_OK);
    if (body_bytes > 0) {
        memcpy(record + front_bytes, body, body_bytes);
    }
    *bytes = front_bytes + body_bytes;
    assert_int_equal(*bytes, channel_record_bytes(header_bytes, body_bytes));
    return record;
}

/* --- handshake --- */

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
static void make_impostor(struct end *end)
{
    struct identity other = identity_of(77);
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
    pair->high.identity = identity_of(77);
    assert_no_handshake(pair, STATUS_REFUSED, STATUS_OK);
    pair = pair_make();
    pair->low.identity = identity_of(77);
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
    end_open(&pair->low);
    size_t bytes = channel_take_output(pair->low.channel, output);
    assert_true(bytes > 0);
    end_feed(&pair->low, output, sizeof output, SIZE_MAX);
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
            struct end *ends[4] = {&pair->low, &pair->high, &pair->low, &pair->high};
            pair->low.ups = pair->high.ups = 0;
            end_open(&pair->low);
            end_open(&pair->high);
            for (size_t at = 0; at < 3; at++) {
                uint8_t output[CHANNEL_HANDSHAKE_BYTES_MAX];
                size_t bytes = channel_take_output(ends[at]->channel, output);
                if (bytes == 0) {
                    break;
                }
                assert_int_equal(bytes, lengths[at]);
                output[i] ^= at == step ? 0x40 : 0;
                end_feed(ends[at + 1], output, bytes, SIZE_MAX);
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
    end_open(&pair->low);
    end_open(&pair->high);
    size_t offer_bytes = channel_take_output(pair->low.channel, offer);
    end_feed(&pair->high, offer, offer_bytes, SIZE_MAX);
    carry(&pair->high, &pair->low, SIZE_MAX);
    size_t proof_bytes = channel_take_output(pair->low.channel, proof);
    end_feed(&pair->high, proof, proof_bytes, SIZE_MAX);
    assert_int_equal(pair->high.ups, 1);

    end_open(&pair->high);
    end_feed(&pair->high, offer, offer_bytes, SIZE_MAX);
    assert_int_equal(pair->high.status, STATUS_OK);
    assert_true(channel_take_output(pair->high.channel, ignored) > 0);
    end_feed(&pair->high, proof, proof_bytes, SIZE_MAX);
    assert_int_equal(pair->high.status, STATUS_REFUSED);
    assert_int_equal(pair->high.ups, 1);
    pair_free(pair);
}

static void test_channel_offer_with_degenerate_key_is_refused(void **state)
{
    (void)state;
    struct pair *pair = pair_make();
    uint8_t offer[CHANNEL_HANDSHAKE_BYTES_MAX];
    end_open(&pair->low);
    end_open(&pair->high);
    size_t bytes = channel_take_output(pair->low.channel, offer);
    memset(offer + 16, 0, 32);
    end_feed(&pair->high, offer, bytes, SIZE_MAX);
    assert_int_equal(pair->high.status, STATUS_REFUSED);
    pair_free(pair);
}

static void test_channel_offer_of_another_version_is_unknown_version(void **state)
{
    (void)state;
    struct pair *pair = pair_make();
    uint8_t offer[CHANNEL_HANDSHAKE_BYTES_MAX];
    end_open(&pair->low);
    end_open(&pair->high);
    size_t bytes = channel_take_output(pair->low.channel, offer);
    offer[4]++;
    end_feed(&pair->high, offer, bytes, SIZE_MAX);
    assert_int_equal(pair->high.status, STATUS_UNKNOWN_VERSION);
    pair_free(pair);
}

static void test_channel_offer_with_used_reserved_bytes_is_invalid(void **state)
{
    (void)state;
    struct pair *pair = pair_make();
    uint8_t offer[CHANNEL_HANDSHAKE_BYTES_MAX];
    end_open(&pair->low);
    end_open(&pair->high);
    size_t bytes = channel_take_output(pair->low.channel, offer);
    offer[offsetof(struct handshake_opening, reserved) + 5] = 1;
    end_feed(&pair->high, offer, bytes, SIZE_MAX);
    assert_int_equal(pair->high.status, STATUS_INVALID);
    pair_free(pair);
}

static void test_channel_deadline_holds_until_up(void **state)
{
    (void)state;
    struct pair *pair = pair_make();
    end_open(&pair->low);
    assert_int_equal(channel_deadline_ns(pair->low.channel), DEADLINE);
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
    uint8_t *record_one = record_make(&one->low, "same", 4, NULL, 0, &bytes_one);
    uint8_t *record_two = record_make(&two->low, "same", 4, NULL, 0, &bytes_two);
    assert_int_equal(bytes_one, bytes_two);
    assert_memory_equal(record_one, record_two, bytes_one);
    free(record_one);
    free(record_two);
    pair_free(one);
    pair_free(two);
}

/* --- messages --- */

static void test_channel_message_arrives_both_ways(void **state)
{
    (void)state;
    struct pair *pair = pair_up();
    struct end *ends[2][2] = {{&pair->low, &pair->high}, {&pair->high, &pair->low}};
    for (size_t i = 0; i < 2; i++) {
        size_t bytes;
        uint8_t *record = record_make(ends[i][0], "header", 6, "sealed body", 11, &bytes);
        end_feed(ends[i][1], record, bytes, SIZE_MAX);
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
    uint8_t *record = record_make(&pair->low, secret, sizeof secret - 1, NULL, 0, &bytes);
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
        uint8_t *record = record_make(&pair->low, "header", i * 3, "body", i * 2, &bytes);
        end_feed(&pair->high, record, bytes, 1);
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
    end_open(&pair->low);
    end_open(&pair->high);
    carry(&pair->low, &pair->high, SIZE_MAX);
    carry(&pair->high, &pair->low, SIZE_MAX);
    size_t total = channel_take_output(pair->low.channel, stream);
    for (unsigned i = 0; i < 2; i++) {
        size_t bytes;
        uint8_t *record = record_make(&pair->low, "early", 5, "b", i, &bytes);
        memcpy(stream + total, record, bytes);
        total += bytes;
        free(record);
    }
    end_feed(&pair->high, stream, total, SIZE_MAX);
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
    uint8_t *record = record_make(&pair->low, header, CHANNEL_HEADER_BYTES_MAX, body, CHANNEL_BODY_BYTES_MAX, &bytes);
    assert_int_equal(bytes, CHANNEL_RECORD_BYTES_MAX);
    end_feed(&pair->high, record, bytes, 1460);
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
        end_feed(&pair->high, (const uint8_t *)&lengths[i], sizeof lengths[i], SIZE_MAX);
        assert_int_equal(pair->high.status, STATUS_INVALID);
        assert_int_equal(channel_state(pair->high.channel), CHANNEL_CLOSED);
        pair_free(pair);
    }
}

static void assert_message_ends_channel(struct pair *pair, const uint8_t *record, size_t bytes)
{
    unsigned before = pair->high.messages;
    end_feed(&pair->high, record, bytes, SIZE_MAX);
    assert_int_not_equal(pair->high.status, STATUS_OK);
    assert_int_equal(pair->high.messages, before);
    assert_int_equal(channel_state(pair->high.channel), CHANNEL_CLOSED);
}

static void test_channel_replayed_message_is_corrupt(void **state)
{
    (void)state;
    struct pair *pair = pair_up();
    size_t bytes;
    uint8_t *record = record_make(&pair->low, "once", 4, NULL, 0, &bytes);
    end_feed(&pair->high, record, bytes, SIZE_MAX);
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
    uint8_t *first = record_make(&pair->low, "1", 1, NULL, 0, &first_bytes);
    uint8_t *second = record_make(&pair->low, "2", 1, NULL, 0, &second_bytes);
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
    uint8_t *record = record_make(&pair->high, "echo", 4, NULL, 0, &bytes);
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
    uint8_t *record = record_make(&pair->low, "old", 3, NULL, 0, &bytes);
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
        uint8_t *record = record_make(&pair->low, "header", 6, NULL, 0, &bytes);
        static const uint8_t filler[CHANNEL_HEADER_BYTES_MAX];
        uint8_t *more = record_make(&pair->low, filler, sizeof filler, NULL, 0, &more_bytes);
        if (i == bytes) {
            free(record);
            free(more);
            break;
        }
        record[i] ^= 0x08;
        end_feed(&pair->high, record, bytes, SIZE_MAX);
        if (pair->high.status == STATUS_OK) {
            end_feed(&pair->high, more, more_bytes, SIZE_MAX);
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
    uint8_t *record = record_make(&pair->low, "header", 6, "body", 4, &bytes);
    uint8_t *next = record_make(&pair->low, "next", 4, NULL, 0, &next_bytes);
    end_feed(&pair->high, record, bytes - 1, SIZE_MAX);
    assert_int_equal(pair->high.status, STATUS_OK);
    assert_int_equal(pair->high.messages, 0);
    /* The next message's first byte completes the body, of which the channel knows the length alone; its rest does not fit. */
    end_feed(&pair->high, next, next_bytes, SIZE_MAX);
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
    seal_keys_derive(&keys, sealing_key, cluster_id);
    for (size_t i = 0; i < 2; i++) {
        seal_body(&keys, &context, nonce, bodies[i], sizeof bodies[i], bodies[i], tags[i]);
    }
    for (size_t sent = 0; sent < 2; sent++) {
        size_t bytes;
        uint8_t *record = record_make(&pair->low, tags[0], sizeof tags[0], bodies[sent], sizeof bodies[sent], &bytes);
        end_feed(&pair->high, record, bytes, SIZE_MAX);
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
        uint8_t *record = record_make(&pair->low, &i, sizeof i, NULL, 0, &bytes);
        end_feed(&pair->high, record, bytes, SIZE_MAX);
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
    end_feed(&pair->low, (const uint8_t *)"x", 1, SIZE_MAX);
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
        struct end *victim = round % 2 == 0 ? &pair->low : &pair->high;
        pair->low.ups = pair->high.ups = pair->low.messages = pair->high.messages = 0;
        end_open(&pair->low);
        end_open(&pair->high);
        unsigned steps = test_random_below(&seed, 4);
        if (steps > 0) {
            carry(&pair->low, &pair->high, SIZE_MAX);
        }
        if (steps > 1) {
            carry(&pair->high, &pair->low, SIZE_MAX);
        }
        if (steps > 2) {
            carry(&pair->low, &pair->high, SIZE_MAX);
        }
        unsigned ups = victim->ups;
        if (round % 4 >= 2) {
            /* A believable length, so that the bytes get as far as the cipher. */
            uint32_t length = 21 + test_random_below(&seed, 300 - 21 - 4);
            memcpy(garbage, &length, sizeof length);
        }
        end_feed(victim, garbage, bytes, 1 + test_random_below(&seed, 200));
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
    end_open(&pair->high);
    handshake_start(&handshake, &pair->low.config, pair->low.hello);
    handshake_offer(&handshake, &pair->low.config, &offer);
    end_feed(&pair->high, (const uint8_t *)&offer, sizeof offer, SIZE_MAX);
    assert_int_equal(channel_take_output(pair->high.channel, output), sizeof answer);
    memcpy(&answer, output, sizeof answer);
    assert_int_equal(handshake_prove(&handshake, &pair->low.config, &answer, &proof, &streams), STATUS_OK);
    end_feed(&pair->high, (const uint8_t *)&proof, sizeof proof, SIZE_MAX);
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
    end_feed(&pair->high, record, sizeof record, SIZE_MAX);
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
