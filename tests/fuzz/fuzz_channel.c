/* A channel's input before anybody has proved anything: any bytes, to the side that waits for an offer and to the side that waits for an answer.
 * Input: whose side, the lengths of pieces, then the stream; an opening may be mended so that its fields are the right ones. */
#include <string.h>

#include "crypto/handshake.h"
#include "crypto/random.h"
#include "tests/fuzz/support/fuzz.h"

enum { INITIATES = 1, MEND = 2, STREAM_MAX = 4096 };

static struct fuzz_machine machine;
static struct identity identities[2];
static struct channel *channels[2];
static const uint8_t cluster_id[16] = "cluster";

static void prepare(void)
{
    fuzz_machine_init(&machine, 1, 0);
    CHECK(crypto_init(&machine.fake.machine) == STATUS_OK);
    for (unsigned i = 0; i < 2; i++) {
        uint8_t seed[32] = {(uint8_t)(i + 1)};
        identity_from_seed(&identities[i], seed);
    }
    for (unsigned i = 0; i < 2; i++) {
        struct channel_config config = {
            .machine = &machine.fake.machine, .identity = &identities[i], .self = (uint8_t)(1 + i), .peer = (uint8_t)(2 - i), .lane = 0};
        memcpy(config.peer_public_key, identities[1 - i].public_key, sizeof config.peer_public_key);
        memcpy(config.cluster_id, cluster_id, sizeof cluster_id);
        channels[i] = channel_init(machine.fake.machine.reserve(&machine, channel_memory_bytes(), 64), &config);
    }
}

static void mend(uint8_t *stream, size_t bytes, bool to_initiator)
{
    struct handshake_opening opening;
    if (bytes < sizeof opening) {
        return;
    }
    memcpy(&opening, stream, sizeof opening);
    opening.magic = HANDSHAKE_MAGIC;
    opening.version = HANDSHAKE_VERSION;
    opening.kind = to_initiator ? HANDSHAKE_ANSWER : HANDSHAKE_OFFER;
    opening.lane = 0;
    opening.from = to_initiator ? 2 : 1;
    opening.to = to_initiator ? 1 : 2;
    memset(opening.reserved, 0, sizeof opening.reserved);
    memcpy(stream, &opening, sizeof opening);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static uint8_t stream[STREAM_MAX];
    if (channels[0] == NULL) {
        prepare();
    }
    machine.fake.seed = 1;
    struct fuzz_input input = {data, bytes};
    uint8_t flags = fuzz_byte(&input), piece = fuzz_byte(&input);
    struct channel *channel = channels[(flags & INITIATES) != 0 ? 0 : 1];
    size_t left = input.left < STREAM_MAX ? input.left : STREAM_MAX;
    fuzz_copy(&input, stream, left);
    if ((flags & MEND) != 0) {
        mend(stream, left, (flags & INITIATES) != 0);
    }
    static const uint8_t hello[CHANNEL_HELLO_BYTES] = "hello";
    channel_open(channel, hello, 1000);
    uint8_t output[CHANNEL_HANDSHAKE_BYTES_MAX];
    size_t said = channel_take_output(channel, output);
    CHECK((said > 0) == ((flags & INITIATES) != 0));
    const uint8_t *at = stream;
    enum status status = STATUS_OK;
    while (left > 0 && status == STATUS_OK) {
        size_t part = left < 1u + piece ? left : 1u + piece, unused = part;
        struct channel_event event = {.kind = CHANNEL_MESSAGE};
        while (status == STATUS_OK && event.kind != CHANNEL_NOTHING) {
            status = channel_input(channel, &at, &unused, &event);
            CHECK(status != STATUS_OK || event.kind == CHANNEL_NOTHING); /* nobody has the keys */
            CHECK(channel_take_output(channel, output) <= sizeof output);
        }
        left -= part;
        CHECK(status != STATUS_OK || unused == 0);
        channel_check(channel);
    }
    CHECK(channel_state(channel) != CHANNEL_UP);
    CHECK(status == STATUS_OK || channel_state(channel) == CHANNEL_CLOSED);
    channel_close(channel);
    return 0;
}
