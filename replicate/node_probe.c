/* What this machine can do at best, measured when the management port asks (`probe`, include/management.h): the figures of the benchmarks stand beside
 * these of the same boot.
 *
 * One measurement at a time, one sample a round of the event loop; a sample of the processor's work is a batch, as reading the clock costs as much as
 * some of what is measured. The loops are the plainest ones, not those of the modules: what these lose shows as a ratio. Nothing here costs
 * anything while no measurement is under way. */
#include <string.h>

#include "consensus/message_types.h"
#include "include/check.h"
#include "include/disk_format.h"
#include "include/hash64.h"
#include "replicate/node_internal.h"

enum {
    PROBE_SAMPLES_MAX = 100000,
    PROBE_PAGES = MACHINE_REQUEST_BYTES_MAX / REPLICATE_PAGE_BYTES, /* the largest request; most use two of them */
    PROBE_STREAM_MESSAGES = 3, /* as many of the largest as wait for a link */
    PROBE_READ_BYTES = MACHINE_REQUEST_BYTES_MAX,
    PROBE_READ_SPAN = 16 << 20,
    PROBE_RETRY_NS = 1000000, /* the device's queue or the peer's was full */
};

static const struct {
    const char *name;
    uint32_t batch;           /* operations in a sample: below a millisecond */
} kinds[PROBE_KINDS] = {
    [PROBE_ENTRY] = {"entry", 4096},  [PROBE_FLUSH] = {"flush", 16},  [PROBE_FAULT] = {"fault", 16}, [PROBE_COPY] = {"copy", 16},
    [PROBE_COMPARE] = {"compare", 16}, [PROBE_HASH] = {"hash", 16},    [PROBE_SEAL] = {"seal", 4},    [PROBE_OPEN] = {"open", 4},
    [PROBE_MEMCPY] = {"memcpy", 16},  [PROBE_MEMCMP] = {"memcmp", 16}, [PROBE_CLOCK] = {"clock", 256}, [PROBE_ECHO] = {"echo", 1},
    [PROBE_STREAM] = {"stream", 1},   [PROBE_WRITE] = {"write", 1},   [PROBE_BULK] = {"bulk", 1},    [PROBE_READ] = {"read", 1},
    [PROBE_GAP] = {"gap", 1},
};

/* A peer that had no room for its answer does not send it later. */
#define PROBE_ANSWER_NS 5000000000ull

const char *node_probe_name(enum probe_kind kind)
{
    return kinds[kind].name;
}

uint32_t node_probe_batch(enum probe_kind kind)
{
    return kinds[kind].batch;
}

enum status node_probe_create(struct node *node)
{
    node->probe.pages = node->machine->reserve(node->machine->context, PROBE_PAGES * REPLICATE_PAGE_BYTES, REPLICATE_PAGE_BYTES);
    return node->probe.pages != NULL ? STATUS_OK : STATUS_NO_MEMORY;
}

static void seal_page(struct node *node, uint8_t *to, const uint8_t *from)
{
    const uint8_t nonce[24] = {0}; /* the result goes nowhere */
    struct seal_context context = seal_context_delta(0, 0, 0, 1);
    seal_body(&node->keys, &context, nonce, from, REPLICATE_PAGE_BYTES, to, node->probe.tag);
    node->probe.checksum += node->probe.tag[0];
}

static void open_page(struct node *node, uint8_t *to, const uint8_t *from)
{
    const uint8_t nonce[24] = {0};
    struct seal_context context = seal_context_delta(0, 0, 0, 1);
    enum status status = seal_open_body(&node->keys, &context, nonce, from, REPLICATE_PAGE_BYTES, node->probe.tag, to);
    CHECK(status == STATUS_OK); /* sealed here */
    node->probe.checksum += to[0];
}

enum status node_probe_begin(struct node *node, const char *name, uint64_t samples)
{
    struct probe *probe = &node->probe;
    enum probe_kind kind = 0;
    while (kind < PROBE_KINDS && strcmp(kinds[kind].name, name) != 0) {
        kind++;
    }
    if (kind == PROBE_KINDS) {
        return STATUS_NOT_FOUND;
    }
    if (samples == 0 || samples > PROBE_SAMPLES_MAX) {
        return STATUS_INVALID;
    }
    if (kind <= PROBE_FAULT && node->machine->probe == NULL) {
        return STATUS_UNSUPPORTED;
    }
    if (probe->state == PROBE_RUNNING || probe->outstanding > 0) {
        return STATUS_BUSY;
    }
    probe->state = PROBE_RUNNING;
    probe->kind = kind;
    probe->samples = (uint32_t)samples;
    probe->number = probe->sent = 0;
    probe->began_ns = probe->read_offset = 0;
    memset(&probe->times, 0, sizeof probe->times);
    for (size_t i = 0; i < PROBE_PAGES * REPLICATE_PAGE_BYTES; i++) {
        probe->pages[i] = (uint8_t)(i % REPLICATE_PAGE_BYTES % 251); /* equal pages that are not zero */
    }
    if (kind == PROBE_OPEN) {
        seal_page(node, probe->pages, probe->pages);
    }
    return STATUS_OK;
}

static void add_sample(struct probe *probe, uint64_t duration_ns)
{
    histogram_add(&probe->times, duration_ns);
    if (probe->times.count >= probe->samples) {
        probe->state = PROBE_DONE;
    }
}

/* -- the processor -- */

typedef uint64_t __attribute__((may_alias)) word;
enum { PAGE_WORDS = REPLICATE_PAGE_BYTES / 8 };

static void copy_page(uint8_t *to, const uint8_t *from)
{
    volatile word *target = (volatile word *)(void *)to;
    const word *source = (const word *)(const void *)from;
    for (size_t i = 0; i < PAGE_WORDS; i++) {
        target[i] = source[i];
    }
}

static uint64_t compare_pages(const uint8_t *a, const uint8_t *b)
{
    const word *first = (const word *)(const void *)a, *second = (const word *)(const void *)b;
    for (size_t i = 0; i < PAGE_WORDS; i++) {
        if (first[i] != second[i]) {
            return i;
        }
    }
    return PAGE_WORDS;
}

/* Keeps the compiler from doing a batch's work once. */
static inline void memory_may_change(void)
{
    __asm__ volatile("" : : : "memory");
}

static void run_operation(struct node *node)
{
    struct probe *probe = &node->probe;
    uint8_t *a = probe->pages, *b = probe->pages + REPLICATE_PAGE_BYTES;
    switch (probe->kind) {
    case PROBE_COPY:
        copy_page(b, a);
        break;
    case PROBE_MEMCPY:
        memcpy(b, a, REPLICATE_PAGE_BYTES);
        break;
    case PROBE_COMPARE:
        probe->checksum += compare_pages(a, b);
        break;
    case PROBE_MEMCMP:
        probe->checksum += (uint64_t)memcmp(a, b, REPLICATE_PAGE_BYTES);
        break;
    case PROBE_HASH:
        probe->checksum += hash64(1, a, REPLICATE_PAGE_BYTES);
        break;
    case PROBE_SEAL:
        seal_page(node, b, a);
        break;
    case PROBE_OPEN:
        open_page(node, b, a);
        break;
    default: /* PROBE_CLOCK */
        probe->checksum += node_now_ns(node);
        break;
    }
    memory_may_change();
}

static void run_batch(struct node *node)
{
    static const enum machine_probe machine_kinds[] = {
        [PROBE_ENTRY] = MACHINE_PROBE_ENTRY, [PROBE_FLUSH] = MACHINE_PROBE_FLUSH, [PROBE_FAULT] = MACHINE_PROBE_FAULT};
    struct probe *probe = &node->probe;
    uint32_t count = kinds[probe->kind].batch;
    uint64_t began_ns = node_now_ns(node);
    if (probe->kind <= PROBE_FAULT) {
        node->machine->probe(node->machine->context, machine_kinds[probe->kind], count);
    } else {
        for (uint32_t i = 0; i < count; i++) {
            run_operation(node);
        }
    }
    add_sample(probe, node_now_ns(node) - began_ns);
}

/* -- a peer -- */

/* The last message of a sample has a number, which comes back. An echo is one without a body, a stream several with the largest. */
static void send_messages(struct node *node, unsigned peer)
{
    struct probe *probe = &node->probe;
    bool stream = probe->kind == PROBE_STREAM;
    const struct peers_span body = {.data = probe->pages, .bytes = NODE_PROBE_BODY_BYTES_MAX};
    uint32_t messages = stream ? PROBE_STREAM_MESSAGES : 1;
    probe->peer = peer;
    probe->began_ns = probe->sent == 0 ? node_now_ns(node) : probe->began_ns;
    while (probe->sent < messages) {
        uint64_t number = probe->sent + 1 == messages ? probe->last_number + 1 : 0;
        enum status status =
            peers_send(node->peers, peer, PEERS_LANE_RAFT, NODE_MESSAGE_PROBE, &number, sizeof number, stream ? &body : NULL, stream ? 1 : 0);
        if (status != STATUS_OK) {
            probe->state = status == STATUS_FULL ? PROBE_RUNNING : PROBE_FAILED;
            return;
        }
        probe->number = number;
        probe->last_number = number != 0 ? number : probe->last_number;
        probe->sent++;
    }
}

static void run_echo(struct node *node)
{
    if (node->probe.number != 0) {
        bool late = node_now_ns(node) - node->probe.began_ns >= PROBE_ANSWER_NS;
        node->probe.state = late ? PROBE_FAILED : PROBE_RUNNING;
        return;
    }
    for (unsigned peer = 1; peer <= node->boot->node_count; peer++) {
        if (peer != node->boot->node_number && peers_is_up(node->peers, peer, PEERS_LANE_RAFT)) {
            send_messages(node, peer);
            return;
        }
    }
    node->probe.state = PROBE_FAILED;
}

static void answer(struct node *node, unsigned peer, uint64_t number)
{
    enum status status = peers_send(node->peers, peer, PEERS_LANE_RAFT, NODE_MESSAGE_PROBE_ANSWER, &number, sizeof number, NULL, 0);
    if (status != STATUS_OK) {
        node_log(node, LOG_WARNING, "a probe of node %u is not answered: %s", peer, status_sentence(status));
    }
}

static void answered(struct node *node, unsigned peer, uint64_t number)
{
    struct probe *probe = &node->probe;
    bool ours = probe->state == PROBE_RUNNING && (probe->kind == PROBE_ECHO || probe->kind == PROBE_STREAM) && peer == probe->peer;
    if (!ours || number == 0 || number != probe->number) {
        return;
    }
    probe->number = probe->sent = 0;
    add_sample(probe, node_now_ns(node) - probe->began_ns);
}

enum status node_probe_message(struct node *node, unsigned peer, const struct peers_message *message)
{
    bool question = message->type == NODE_MESSAGE_PROBE;
    if (message->header_bytes != NODE_PROBE_NUMBER_BYTES || message->body_bytes > (question ? NODE_PROBE_BODY_BYTES_MAX : 0)) {
        return STATUS_INVALID;
    }
    uint64_t number;
    memcpy(&number, message->header, sizeof number);
    if (!question) {
        answered(node, peer, number);
    } else if (number != 0) {
        answer(node, peer, number);
    }
    return STATUS_OK;
}

void node_probe_peer_down(struct node *node, unsigned peer)
{
    struct probe *probe = &node->probe;
    bool under_way = (probe->kind == PROBE_ECHO && probe->number != 0) || (probe->kind == PROBE_STREAM && (probe->number != 0 || probe->sent != 0));
    if (probe->state == PROBE_RUNNING && under_way && peer == probe->peer) {
        probe->state = PROBE_FAILED;
    }
}

/* -- the disk: a write or several, then a flush; a read -- */

static void request_done(struct block_request *request, enum status status)
{
    struct node *node = request->context;
    struct probe *probe = &node->probe;
    probe->failed |= status != STATUS_OK;
    if (--probe->outstanding > 0) {
        return;
    }
    if (!probe->failed && request->operation == BLOCK_WRITE) {
        *request = (struct block_request){.operation = BLOCK_FLUSH, .done = request_done, .context = node};
        if (node->machine->block_submit(node->machine->context, request) == STATUS_OK) {
            probe->outstanding++;
            return;
        }
        probe->failed = true;
    }
    if (probe->failed) {
        probe->state = PROBE_FAILED;
    } else {
        add_sample(probe, node_now_ns(node) - probe->began_ns);
    }
}

static void run_write(struct node *node)
{
    struct probe *probe = &node->probe;
    if (probe->outstanding > 0) {
        return;
    }
    bool bulk = probe->kind == PROBE_BULK;
    size_t bytes = bulk ? MACHINE_REQUEST_BYTES_MAX : DISK_BLOCK_BYTES;
    uint64_t offset = (uint64_t)(bulk ? DISK_PROBE_BULK_BLOCK : DISK_PROBE_BLOCK) * DISK_BLOCK_BYTES;
    probe->failed = false;
    probe->began_ns = node_now_ns(node);
    for (uint32_t i = 0; i < (bulk ? NODE_PROBE_REQUESTS : 1); i++) {
        probe->requests[i] = (struct block_request){
            .operation = BLOCK_WRITE, .offset = offset + i * bytes, .buffer = probe->pages, .bytes = bytes, .done = request_done, .context = node};
        enum status status = node->machine->block_submit(node->machine->context, &probe->requests[i]);
        if (status != STATUS_OK) {
            /* A sample that has not begun is tried again soon, as long as it is only the queue that is full. */
            probe->failed = i > 0;
            probe->state = i == 0 && status != STATUS_FULL ? PROBE_FAILED : PROBE_RUNNING;
            return;
        }
        probe->outstanding++;
    }
}

/* From the page store's beginning, where a checkpoint lies, one behind the other. */
static void run_read(struct node *node)
{
    struct probe *probe = &node->probe;
    const struct disk_superblock *superblock = store_superblock(node->store);
    uint64_t span = superblock->store_slots * DISK_BLOCK_BYTES;
    span = span < PROBE_READ_SPAN ? span : PROBE_READ_SPAN;
    if (probe->read_offset + PROBE_READ_BYTES > span) {
        probe->read_offset = 0;
    }
    uint64_t began_ns = node_now_ns(node);
    if (node->machine->block_read(node->machine->context, superblock->store_offset + probe->read_offset, probe->pages, PROBE_READ_BYTES) != STATUS_OK) {
        probe->state = PROBE_FAILED;
        return;
    }
    probe->read_offset += PROBE_READ_BYTES;
    add_sample(probe, node_now_ns(node) - began_ns);
}

static void run_gap(struct node *node)
{
    struct probe *probe = &node->probe;
    uint64_t now = node_now_ns(node);
    uint64_t before = probe->began_ns;
    probe->began_ns = now;
    if (before != 0) {
        add_sample(probe, now - before);
    }
}

/* -- the loop -- */

void node_probe_tick(struct node *node)
{
    if (node->probe.state != PROBE_RUNNING) {
        return;
    }
    switch (node->probe.kind) {
    case PROBE_ECHO:
    case PROBE_STREAM:
        run_echo(node);
        break;
    case PROBE_WRITE:
    case PROBE_BULK:
        run_write(node);
        break;
    case PROBE_READ:
        run_read(node);
        break;
    case PROBE_GAP:
        run_gap(node);
        break;
    default:
        run_batch(node);
        break;
    }
}

uint64_t node_probe_deadline_ns(const struct node *node)
{
    const struct probe *probe = &node->probe;
    if (probe->state != PROBE_RUNNING) {
        return UINT64_MAX;
    }
    if (probe->kind == PROBE_READ || probe->kind == PROBE_GAP || probe->kind < PROBE_ECHO) {
        return 0;
    }
    if (probe->number != 0) {
        return probe->began_ns + PROBE_ANSWER_NS;
    }
    return probe->outstanding > 0 ? UINT64_MAX : node_now_ns(node) + PROBE_RETRY_NS;
}
