/* Peers behind a channel that is up: the other side has the right key and says what it likes, cut as it likes.
 * Input: the hello it tells; then records (header and body are plain text that is sealed here), raw bytes, altered bytes, ends of the link, time. */
#include <string.h>

#include "consensus/limits.h"
#include "consensus/peers.h"
#include "crypto/channel.h"
#include "crypto/random.h"
#include "include/disk_format.h"
#include "tests/fuzz/support/fuzz.h"

enum { SELF = 2, PEER = 1, WIRE_MAX = 8192, STEPS_MAX = 30 };
#define MS 1000000ull

static struct fuzz_machine machine;
static struct identity identities[3];
static struct channel *channel;          /* the other side's */
static struct peers *peers;
static uint8_t wire[WIRE_MAX];           /* what peers sent and the other side has not read */
static size_t wire_bytes;
static bool link, is_up;
static uint8_t verdict;                  /* what the user says of the next message */
static size_t last_header_bytes, last_body_bytes;
static uint8_t expected[PEERS_HEADER_BYTES_MAX + 1];
static size_t expected_bytes;
static bool altered;

/* -- the link -- */

static size_t link_room(void *context, unsigned peer, unsigned lane)
{
    (void)context;
    return peer == PEER && lane == 0 && link ? WIRE_MAX - wire_bytes : 0;
}

static enum status link_send(void *context, unsigned peer, unsigned lane, const void *data, size_t bytes)
{
    if (peer != PEER || lane != 0 || !link) {
        return STATUS_CLOSED;
    }
    CHECK(bytes <= link_room(context, peer, lane));
    memcpy(wire + wire_bytes, data, bytes);
    wire_bytes += bytes;
    return STATUS_OK;
}

static void link_flush(void *context, unsigned peer, unsigned lane)
{
    (void)context, (void)peer, (void)lane;
}

static void link_reset(void *context, unsigned peer, unsigned lane)
{
    (void)context;
    CHECK(peer == PEER);
    CHECK(lane == 0);
    link = false;
}

/* -- the user -- */

static void own_hello(void *context, unsigned peer, struct peers_hello *hello)
{
    (void)context, (void)peer;
    *hello = (struct peers_hello){.raft_id = raft_id_make(SELF, 5), .boot_number = 1};
}

static enum status accept_hello(void *context, unsigned peer, unsigned lane, const struct peers_hello *hello, enum peers_reason *reason)
{
    (void)context;
    CHECK(peer == PEER);
    CHECK(lane == 0);
    CHECK(raft_id_node(hello->raft_id) == PEER);
    CHECK(hello->boot_number > 0);
    *reason = (enum peers_reason)(hello->term % 6);
    return hello->last_index % 4 == 3 ? STATUS_REFUSED : STATUS_OK;
}

static void up(void *context, unsigned peer, unsigned lane, const struct peers_hello *hello)
{
    (void)context, (void)peer, (void)lane, (void)hello;
    CHECK(!is_up);
    is_up = true;
}

static void down(void *context, unsigned peer, unsigned lane)
{
    (void)context, (void)peer, (void)lane;
    CHECK(is_up);
    is_up = false;
}

static void refused(void *context, unsigned peer, unsigned lane, enum peers_reason reason)
{
    (void)context, (void)peer, (void)lane;
    CHECK(!is_up);
    CHECK(reason >= PEERS_REASON_STALE);
    CHECK(reason <= PEERS_REASON_MAX);
}

static enum status message(void *context, unsigned peer, unsigned lane, const struct peers_message *in)
{
    (void)context;
    CHECK(is_up);
    CHECK(peer == PEER);
    CHECK(lane == 0);
    CHECK(in->type <= PEERS_TYPE_MAX);
    CHECK(!altered);
    CHECK(in->header_bytes + 1 == expected_bytes);
    CHECK(in->type == expected[0]);
    CHECK(memcmp(in->header, expected + 1, in->header_bytes) == 0);
    last_header_bytes = in->header_bytes;
    last_body_bytes = in->body_bytes;
    if ((verdict & 1) != 0) {
        enum status status = peers_send(peers, PEER, 0, 7, in->header, in->header_bytes, NULL, 0);
        CHECK(status == STATUS_OK || status == STATUS_FULL);
    }
    if ((verdict & 2) != 0) {
        peers_reset(peers, PEER);
    }
    return (verdict & 12) == 12 ? STATUS_CORRUPT : STATUS_OK;
}

static void make_both_sides(void)
{
    fuzz_machine_init(&machine, 1, 0);
    CHECK(crypto_init(&machine.fake.machine) == STATUS_OK);
    for (unsigned i = 0; i < 3; i++) {
        uint8_t seed[32] = {(uint8_t)(i + 1)};
        identity_from_seed(&identities[i], seed);
    }
    struct machine *seam = &machine.fake.machine;
    seam->link_room = link_room;
    seam->link_send = link_send;
    seam->link_flush = link_flush;
    seam->link_reset = link_reset;
    uint8_t keys[3][IDENTITY_PUBLIC_BYTES];
    for (unsigned i = 0; i < 3; i++) {
        memcpy(keys[i], identities[i].public_key, sizeof keys[i]);
    }
    const struct peers_config config = {.machine = seam,
                                        .identity = &identities[SELF - 1],
                                        .identities = (const uint8_t(*)[IDENTITY_PUBLIC_BYTES])keys,
                                        .self = SELF,
                                        .node_count = 3,
                                        .election_timeout_ns = 100 * MS};
    const struct peers_events events = {
        .own_hello = own_hello, .accept = accept_hello, .up = up, .down = down, .refused = refused, .message = message};
    CHECK(peers_create(&config, &events, &peers) == STATUS_OK);
    struct channel_config other = {.machine = seam, .identity = &identities[PEER - 1], .self = PEER, .peer = SELF, .lane = 0};
    memcpy(other.peer_public_key, identities[SELF - 1].public_key, sizeof other.peer_public_key);
    channel = channel_init(seam->reserve(seam->context, channel_memory_bytes(), 64), &other);
}

static void prepare(void)
{
    if (peers == NULL) {
        make_both_sides();
        fuzz_machine_keep(&machine);
    }
    fuzz_machine_reset(&machine);
    link = is_up = altered = false;
    wire_bytes = 0;
}

/* -- the other side -- */

static void give(const void *data, size_t bytes, size_t piece)
{
    const uint8_t *at = data;
    while (bytes > 0 && link) {
        size_t part = bytes < piece ? bytes : piece;
        peers_link_data(peers, PEER, 0, at, part);
        at += part;
        bytes -= part;
    }
}

static void read_wire(void)
{
    uint8_t copy[WIRE_MAX];
    size_t left = wire_bytes;
    memcpy(copy, wire, wire_bytes);
    wire_bytes = 0;
    const uint8_t *at = copy;
    struct channel_event event = {.kind = CHANNEL_MESSAGE};
    while (event.kind != CHANNEL_NOTHING && channel_state(channel) != CHANNEL_CLOSED) {
        CHECK(channel_input(channel, &at, &left, &event) == STATUS_OK);
    }
}

static void greet(struct fuzz_input *input)
{
    struct peers_hello hello = {.raft_id = raft_id_make(PEER, 9), .boot_number = 1};
    hello.last_index = fuzz_byte(input);
    hello.term = fuzz_byte(input);
    uint8_t flags = fuzz_byte(input);
    if ((flags & 0x80) != 0) {
        fuzz_copy(input, (uint8_t *)&hello + flags % sizeof hello / 8 * 8, 8);
    }
    uint8_t output[CHANNEL_HANDSHAKE_BYTES_MAX];
    link = true;
    wire_bytes = 0;
    peers_link_up(peers, PEER, 0);
    channel_open(channel, (const uint8_t *)&hello, UINT64_MAX);
    for (unsigned turn = 0; turn < 3 && link; turn++) {
        give(output, channel_take_output(channel, output), 1000);
        read_wire();
    }
    CHECK(channel_state(channel) == CHANNEL_UP || !link);
}

static void say(struct fuzz_input *input)
{
    static uint8_t front[CHANNEL_FRONT_BYTES_MAX], body[CHANNEL_BODY_BYTES_MAX], header[CHANNEL_HEADER_BYTES_MAX];
    if (channel_state(channel) != CHANNEL_UP) {
        return;
    }
    uint8_t flags = fuzz_byte(input);
    size_t header_bytes = (flags & 1) != 0 ? fuzz_short(input) % (sizeof header + 1) : fuzz_byte(input), front_bytes = 0;
    size_t body_bytes = (flags & 2) != 0 ? fuzz_byte(input) * 1024u : 0;
    fuzz_copy(input, header, header_bytes);
    if ((flags & 4) == 0) {
        header[0] &= 0x7f;
    }
    verdict = flags >> 4;
    if (channel_seal_front(channel, header, header_bytes, body_bytes, front, &front_bytes) != STATUS_OK) {
        return;
    }
    memcpy(expected, header, header_bytes);
    expected_bytes = header_bytes;
    if ((flags & 8) != 0) {
        altered = true;
        front[fuzz_short(input) % front_bytes] ^= (uint8_t)(1u << (flags >> 4) % 8);
    }
    size_t piece = 1u + fuzz_byte(input) * 16u;
    give(front, front_bytes, piece + front_bytes / 64);
    give(body, body_bytes, piece * 8 + body_bytes / 16);
}

static void step(struct fuzz_input *input)
{
    uint8_t raw[64], what = fuzz_byte(input);
    switch (what % 8) {
    case 0:
        fuzz_copy(input, raw, sizeof raw);
        altered = true;
        give(raw, 1u + what / 8u, 7);
        break;
    case 1:
        if (link) {
            link = false;
            peers_link_down(peers, PEER, 0);
        }
        altered = false;
        greet(input);
        break;
    case 2:
        machine.fake.now_ns += (what >> 3) * 20 * MS;
        break;
    case 3:
        peers_reset(peers, PEER);
        break;
    default:
        say(input);
        break;
    }
    peers_tick(peers, machine.fake.now_ns);
    peers_flush(peers);
    if (channel_state(channel) == CHANNEL_UP && link && !altered) {
        read_wire();
    }
    wire_bytes = 0;
    peers_check(peers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, bytes};
    prepare();
    greet(&input);
    for (unsigned i = 0; i < STEPS_MAX && input.left > 0; i++) {
        step(&input);
    }
    CHECK(is_up == peers_is_up(peers, PEER, 0));
    return 0;
}
