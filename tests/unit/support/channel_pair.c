#include "tests/unit/support/channel_pair.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LOW = 1, HIGH = 2 };

const uint8_t pair_cluster_id[16] = "cluster one";

struct identity pair_identity(unsigned number)
{
    uint8_t seed[32] = {(uint8_t)number, 0xaa};
    struct identity identity;
    identity_from_seed(&identity, seed);
    return identity;
}

static void end_make(struct pair_end *end, unsigned self, unsigned peer, uint64_t seed)
{
    memset(end, 0, sizeof *end);
    fake_machine_init(&end->fake, seed, 16, 1 << 20);
    end->identity = pair_identity(self);
    struct identity other = pair_identity(peer);
    end->config = (struct channel_config){.machine = &end->fake.machine, .identity = &end->identity, .self = (uint8_t)self, .peer = (uint8_t)peer};
    memcpy(end->config.peer_public_key, other.public_key, sizeof other.public_key);
    memcpy(end->config.cluster_id, pair_cluster_id, sizeof pair_cluster_id);
    memset(end->hello, (int)self, sizeof end->hello);
}

void pair_end_open(struct pair_end *end)
{
    if (end->channel == NULL) {
        end->channel = channel_init(end->fake.machine.reserve(end->fake.machine.context, channel_memory_bytes(), 64), &end->config);
    }
    channel_open(end->channel, end->hello, PAIR_DEADLINE_NS);
}

void pair_end_feed(struct pair_end *end, const uint8_t *data, size_t bytes, size_t piece)
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

size_t pair_carry(struct pair_end *from, struct pair_end *to, size_t piece)
{
    uint8_t output[CHANNEL_HANDSHAKE_BYTES_MAX];
    size_t bytes = channel_take_output(from->channel, output);
    pair_end_feed(to, output, bytes, piece);
    return bytes;
}

struct pair *pair_make(void)
{
    struct pair *pair = malloc(sizeof *pair);
    end_make(&pair->low, LOW, HIGH, 11);
    end_make(&pair->high, HIGH, LOW, 22);
    return pair;
}

void pair_free(struct pair *pair)
{
    fake_machine_destroy(&pair->low.fake);
    fake_machine_destroy(&pair->high.fake);
    free(pair);
}

void pair_shake(struct pair *pair, size_t piece)
{
    pair_end_open(&pair->low);
    pair_end_open(&pair->high);
    if (pair_carry(&pair->low, &pair->high, piece) > 0 && pair->high.status == STATUS_OK && pair_carry(&pair->high, &pair->low, piece) > 0 &&
        pair->low.status == STATUS_OK) {
        pair_carry(&pair->low, &pair->high, piece);
    }
}

struct pair *pair_up(void)
{
    struct pair *pair = pair_make();
    pair_shake(pair, SIZE_MAX);
    assert_int_equal(channel_state(pair->low.channel), CHANNEL_UP);
    assert_int_equal(channel_state(pair->high.channel), CHANNEL_UP);
    return pair;
}

uint8_t *pair_record_make(struct pair_end *from, const void *header, size_t header_bytes, const void *body, size_t body_bytes, size_t *bytes)
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
