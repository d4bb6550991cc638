/* A channel's states, and what moves it from one to the next:
 *
 *   state            initiator    responder        left by                         to
 *   CLOSED           x            x                channel_open                    AWAITING_ANSWER | AWAITING_OFFER
 *   AWAITING_OFFER                x                handshake_respond               AWAITING_PROOF
 *   AWAITING_ANSWER  x                             handshake_prove                 UP
 *   AWAITING_PROOF                x                handshake_accept                UP
 *   UP               x            x                channel_close                   CLOSED
 *   any but CLOSED                                 a broken rule, channel_close    CLOSED
 *
 * Invariants:
 *   1. Stream keys exist only in UP; handshake secrets only between CLOSED and UP.
 *   2. `filled` <= what the current step wants <= CHANNEL_RECORD_BYTES_MAX: a peer's length is checked before a byte is taken for it.
 *   3. A byte of a message leaves the channel only after the stream cipher has authenticated the message's front.
 *
 * A message on the link, once UP:
 *   u32 length of the sealed front | sealed front: u32 length of the body, header | body
 * The clear length is authenticated with the front that follows it. */
#include "crypto/channel.h"

#include <string.h>

#include <sodium.h>

#include "crypto/handshake.h"
#include "include/check.h"

enum {
    LENGTH_BYTES = 4,
    BODY_LENGTH_BYTES = 4,
    SEALED_FRONT_BYTES_MIN = crypto_secretstream_xchacha20poly1305_ABYTES + BODY_LENGTH_BYTES,
    SEALED_FRONT_BYTES_MAX = SEALED_FRONT_BYTES_MIN + CHANNEL_HEADER_BYTES_MAX,
};
static_assert(LENGTH_BYTES + SEALED_FRONT_BYTES_MIN == CHANNEL_FRAMING_BYTES, "framing");
static_assert(HANDSHAKE_KEY_BYTES == crypto_secretstream_xchacha20poly1305_KEYBYTES, "stream key");
static_assert(HANDSHAKE_STREAM_HEADER_BYTES == crypto_secretstream_xchacha20poly1305_HEADERBYTES, "stream header");

/* One direction of an UP channel. */
struct stream {
    crypto_secretstream_xchacha20poly1305_state state;
    uint32_t messages;               /* under the current key */
};

struct channel {
    struct channel_config config;
    enum channel_state state;
    uint64_t deadline_ns;
    struct handshake handshake;
    struct stream outgoing, incoming;
    uint8_t peer_hello[CHANNEL_HELLO_BYTES];
    uint8_t output[CHANNEL_HANDSHAKE_BYTES_MAX];
    size_t output_bytes;
    size_t filled;                   /* bytes in `input` */
    size_t front_bytes;              /* of the message under way, once its front is open; else 0 */
    size_t body_bytes;
    bool delivered;                  /* the message in `input` was given out: start anew */
    uint8_t front[BODY_LENGTH_BYTES + CHANNEL_HEADER_BYTES_MAX];    /* of the message under way, decrypted */
    uint8_t to_seal[BODY_LENGTH_BYTES + CHANNEL_HEADER_BYTES_MAX];  /* room for channel_seal_front, to spare the stack */
    uint8_t input[CHANNEL_RECORD_BYTES_MAX];
};

size_t channel_memory_bytes(void)
{
    return sizeof(struct channel);
}

struct channel *channel_init(void *memory, const struct channel_config *config)
{
    CHECK(config->self >= 1);
    CHECK(config->self <= MACHINE_PEERS_MAX);
    CHECK(config->peer >= 1);
    CHECK(config->peer <= MACHINE_PEERS_MAX);
    CHECK(config->self != config->peer);
    CHECK(config->lane < MACHINE_LANES);
    struct channel *channel = memory;
    memset(channel, 0, offsetof(struct channel, front)); /* the buffers behind it are written before they are read */
    channel->config = *config;
    return channel;
}

void channel_open(struct channel *channel, const uint8_t hello[CHANNEL_HELLO_BYTES], uint64_t deadline_ns)
{
    channel_close(channel);
    channel->deadline_ns = deadline_ns;
    handshake_start(&channel->handshake, &channel->config, hello);
    if (channel->config.self < channel->config.peer) {
        struct handshake_opening offer;
        handshake_offer(&channel->handshake, &channel->config, &offer);
        memcpy(channel->output, &offer, sizeof offer);
        channel->output_bytes = sizeof offer;
        channel->state = CHANNEL_AWAITING_ANSWER;
    } else {
        channel->state = CHANNEL_AWAITING_OFFER;
    }
}

void channel_close(struct channel *channel)
{
    channel->state = CHANNEL_CLOSED;
    handshake_wipe(&channel->handshake);
    sodium_memzero(&channel->outgoing, sizeof channel->outgoing);
    sodium_memzero(&channel->incoming, sizeof channel->incoming);
    channel->output_bytes = 0;
    channel->filled = 0;
    channel->front_bytes = 0;
    channel->body_bytes = 0;
    channel->delivered = false;
}

enum channel_state channel_state(const struct channel *channel)
{
    return channel->state;
}

uint64_t channel_deadline_ns(const struct channel *channel)
{
    return channel->state == CHANNEL_CLOSED || channel->state == CHANNEL_UP ? UINT64_MAX : channel->deadline_ns;
}

size_t channel_take_output(struct channel *channel, uint8_t out[CHANNEL_HANDSHAKE_BYTES_MAX])
{
    size_t bytes = channel->output_bytes;
    memcpy(out, channel->output, bytes);
    channel->output_bytes = 0;
    return bytes;
}

/* --- handshake --- */

static void start_stream(struct stream *stream, const struct handshake_stream *from)
{
    /* For both directions: init_push would draw a header from the library's global generator (crypto/random.h), and given a
     * header the two make the same state. The header is unique because the key is. */
    CHECK(crypto_secretstream_xchacha20poly1305_init_pull(&stream->state, from->header, from->key) == 0);
    stream->messages = 0;
}

static void come_up(struct channel *channel, struct handshake_streams *streams)
{
    bool initiator = channel->config.self < channel->config.peer;
    start_stream(&channel->outgoing, initiator ? &streams->from_initiator : &streams->from_responder);
    start_stream(&channel->incoming, initiator ? &streams->from_responder : &streams->from_initiator);
    sodium_memzero(streams, sizeof *streams);
    memcpy(channel->peer_hello, channel->handshake.peer_hello, sizeof channel->peer_hello);
    handshake_wipe(&channel->handshake);
    channel->state = CHANNEL_UP;
}

static enum status take_offer(struct channel *channel)
{
    struct handshake_opening offer;
    struct handshake_answer answer;
    memcpy(&offer, channel->input, sizeof offer);
    enum status status = handshake_respond(&channel->handshake, &channel->config, &offer, &answer);
    if (status == STATUS_OK) {
        memcpy(channel->output, &answer, sizeof answer);
        channel->output_bytes = sizeof answer;
        channel->state = CHANNEL_AWAITING_PROOF;
    }
    return status;
}

static enum status take_answer(struct channel *channel)
{
    struct handshake_answer answer;
    struct handshake_sealed proof;
    struct handshake_streams streams;
    memcpy(&answer, channel->input, sizeof answer);
    enum status status = handshake_prove(&channel->handshake, &channel->config, &answer, &proof, &streams);
    if (status == STATUS_OK) {
        memcpy(channel->output, &proof, sizeof proof);
        channel->output_bytes = sizeof proof;
        come_up(channel, &streams);
    }
    return status;
}

static enum status take_proof(struct channel *channel)
{
    struct handshake_sealed proof;
    struct handshake_streams streams;
    memcpy(&proof, channel->input, sizeof proof);
    enum status status = handshake_accept(&channel->handshake, &channel->config, &proof, &streams);
    if (status == STATUS_OK) {
        come_up(channel, &streams);
    }
    return status;
}

/* --- messages --- */

static uint32_t load_length(const uint8_t *from)
{
    uint32_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

static void store_length(uint8_t *to, size_t length)
{
    uint32_t value = (uint32_t)length;
    memcpy(to, &value, sizeof value);
}

/* The whole front is in `input`: authenticate and decrypt it, learn the body's length. */
static enum status open_front(struct channel *channel)
{
    size_t sealed_bytes = load_length(channel->input);
    unsigned char tag;
    unsigned long long plain_bytes;
    if (crypto_secretstream_xchacha20poly1305_pull(&channel->incoming.state, channel->front, &plain_bytes, &tag,
                                                   channel->input + LENGTH_BYTES, sealed_bytes, channel->input, LENGTH_BYTES) != 0) {
        return STATUS_CORRUPT;
    }
    channel->incoming.messages++;
    bool last = channel->incoming.messages == CHANNEL_MESSAGES_PER_KEY;
    unsigned char expected = last ? crypto_secretstream_xchacha20poly1305_TAG_REKEY : crypto_secretstream_xchacha20poly1305_TAG_MESSAGE;
    if (tag != expected) {
        return STATUS_INVALID;
    }
    if (last) {
        channel->incoming.messages = 0;
    }
    size_t body_bytes = load_length(channel->front);
    if (body_bytes > CHANNEL_BODY_BYTES_MAX) {
        return STATUS_INVALID;
    }
    channel->front_bytes = LENGTH_BYTES + sealed_bytes;
    channel->body_bytes = body_bytes;
    return STATUS_OK;
}

/* --- input --- */

/* How many bytes must be in `input` before the next step can be taken. INVALID: the peer's length is out of range. */
static enum status wanted_bytes(const struct channel *channel, size_t *out)
{
    switch (channel->state) {
    case CHANNEL_CLOSED:
        break;
    case CHANNEL_AWAITING_OFFER:
        *out = sizeof(struct handshake_opening);
        return STATUS_OK;
    case CHANNEL_AWAITING_ANSWER:
        *out = sizeof(struct handshake_answer);
        return STATUS_OK;
    case CHANNEL_AWAITING_PROOF:
        *out = sizeof(struct handshake_sealed);
        return STATUS_OK;
    case CHANNEL_UP:
        if (channel->filled < LENGTH_BYTES) {
            *out = LENGTH_BYTES;
            return STATUS_OK;
        }
        if (channel->front_bytes == 0) {
            size_t sealed_bytes = load_length(channel->input);
            if (sealed_bytes < SEALED_FRONT_BYTES_MIN || sealed_bytes > SEALED_FRONT_BYTES_MAX) {
                return STATUS_INVALID;
            }
            *out = LENGTH_BYTES + sealed_bytes;
            return STATUS_OK;
        }
        *out = channel->front_bytes + channel->body_bytes;
        return STATUS_OK;
    }
    return STATUS_CLOSED;
}

static void start_anew(struct channel *channel)
{
    channel->filled = 0;
    channel->front_bytes = 0;
    channel->body_bytes = 0;
    channel->delivered = false;
}

/* All that the current step wants is in `input`: take it. Sets `event` if something has happened. */
static enum status take_step(struct channel *channel, struct channel_event *event)
{
    enum status status = STATUS_OK;
    switch (channel->state) {
    case CHANNEL_CLOSED:
        return STATUS_CLOSED;
    case CHANNEL_AWAITING_OFFER:
        status = take_offer(channel);
        break;
    case CHANNEL_AWAITING_ANSWER:
        status = take_answer(channel);
        break;
    case CHANNEL_AWAITING_PROOF:
        status = take_proof(channel);
        break;
    case CHANNEL_UP:
        if (channel->filled == LENGTH_BYTES) {
            return STATUS_OK; /* the length alone: the next wish is the front */
        }
        if (channel->front_bytes == 0) {
            status = open_front(channel);
            if (status != STATUS_OK || channel->body_bytes > 0) {
                return status;
            }
        }
        *event = (struct channel_event){
            .kind = CHANNEL_MESSAGE,
            .header = channel->front + BODY_LENGTH_BYTES,
            .header_bytes = channel->front_bytes - LENGTH_BYTES - SEALED_FRONT_BYTES_MIN,
            .body = channel->input + channel->front_bytes,
            .body_bytes = channel->body_bytes,
        };
        channel->delivered = true;
        return STATUS_OK;
    }
    start_anew(channel);
    if (status == STATUS_OK && channel->state == CHANNEL_UP) {
        *event = (struct channel_event){.kind = CHANNEL_CAME_UP, .hello = channel->peer_hello};
    }
    return status;
}

enum status channel_input(struct channel *channel, const uint8_t **data, size_t *bytes, struct channel_event *event)
{
    *event = (struct channel_event){.kind = CHANNEL_NOTHING};
    if (channel->delivered) {
        start_anew(channel);
    }
    for (;;) {
        size_t wanted = 0;
        enum status status = wanted_bytes(channel, &wanted);
        if (status != STATUS_OK) {
            channel_close(channel);
            return status;
        }
        CHECK(channel->filled < wanted);
        CHECK(wanted <= sizeof channel->input);
        size_t taken = wanted - channel->filled < *bytes ? wanted - channel->filled : *bytes;
        if (taken > 0) {
            memcpy(channel->input + channel->filled, *data, taken);
            channel->filled += taken;
            *data += taken;
            *bytes -= taken;
        }
        if (channel->filled < wanted) {
            return STATUS_OK;
        }
        status = take_step(channel, event);
        if (status != STATUS_OK) {
            channel_close(channel);
            return status;
        }
        if (event->kind != CHANNEL_NOTHING) {
            return STATUS_OK;
        }
    }
}

enum status channel_seal_front(struct channel *channel, const void *header, size_t header_bytes, size_t body_bytes,
                               uint8_t front[CHANNEL_FRONT_BYTES_MAX], size_t *front_bytes)
{
    if (channel->state != CHANNEL_UP) {
        return STATUS_CLOSED;
    }
    if (header_bytes > CHANNEL_HEADER_BYTES_MAX || body_bytes > CHANNEL_BODY_BYTES_MAX) {
        return STATUS_INVALID;
    }
    size_t plain_bytes = BODY_LENGTH_BYTES + header_bytes;
    store_length(channel->to_seal, body_bytes);
    if (header_bytes > 0) {
        memcpy(channel->to_seal + BODY_LENGTH_BYTES, header, header_bytes);
    }
    size_t sealed_bytes = crypto_secretstream_xchacha20poly1305_ABYTES + plain_bytes;
    store_length(front, sealed_bytes);
    channel->outgoing.messages++;
    bool last = channel->outgoing.messages == CHANNEL_MESSAGES_PER_KEY;
    unsigned char tag = last ? crypto_secretstream_xchacha20poly1305_TAG_REKEY : crypto_secretstream_xchacha20poly1305_TAG_MESSAGE;
    CHECK(crypto_secretstream_xchacha20poly1305_push(&channel->outgoing.state, front + LENGTH_BYTES, NULL, channel->to_seal, plain_bytes, front,
                                                     LENGTH_BYTES, tag) == 0);
    if (last) {
        channel->outgoing.messages = 0;
    }
    *front_bytes = LENGTH_BYTES + sealed_bytes;
    return STATUS_OK;
}

void channel_check(const struct channel *channel)
{
    bool up = channel->state == CHANNEL_UP, closed = channel->state == CHANNEL_CLOSED;
    CHECK(up || sodium_is_zero((const uint8_t *)&channel->outgoing, sizeof channel->outgoing));
    CHECK(up || sodium_is_zero((const uint8_t *)&channel->incoming, sizeof channel->incoming));
    CHECK(!(up || closed) || sodium_is_zero((const uint8_t *)&channel->handshake, sizeof channel->handshake));
    size_t wanted = 0;
    bool in_range = wanted_bytes(channel, &wanted) == STATUS_OK;
    CHECK(in_range || closed || channel->filled == LENGTH_BYTES); /* a length that the next input will refuse */
    CHECK(wanted <= CHANNEL_RECORD_BYTES_MAX);
    CHECK(!in_range || channel->filled <= wanted);
    CHECK(!closed || (channel->filled == 0 && channel->output_bytes == 0));
    CHECK(up || channel->front_bytes == 0);
    CHECK(channel->outgoing.messages < CHANNEL_MESSAGES_PER_KEY);
    CHECK(channel->incoming.messages < CHANNEL_MESSAGES_PER_KEY);
}
