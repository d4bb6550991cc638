/* Committed entries as a node applies them, and the messages that nodes send each other about their images and probes: from a leader and from members whose
 * keys are right and whose words are not. Input: a list of entries (of a real host, changed or not; or made up, their body sealed here) and messages.
 * What a real host wrote is applied, in order and whole; after anything else the node restarts, stands aside, or its image is what it was (NO-TEAR). */
#include <string.h>

#include "consensus/message_types.h"
#include "crypto/random.h"
#include "include/abi.h"
#include "replicate/limits.h"
#include "replicate/node_internal.h"
#include "tests/fuzz/support/fuzz.h"
#include "tests/unit/support/small_world.h"

enum { MEMORY_MIB = 16, PAGES = MEMORY_MIB * 256, NODES = 3, SELF = 2, KNOWN_MAX = 16, WRITTEN_PAGES = 40, STEPS_MAX = 30 };
#define DISK (64ull << 20)

struct entry {
    struct group_entry header;
    uint8_t body[ENTRY_BODY_BYTES_MAX];
};

static struct fuzz_machine machine, host_machine;
static struct boot_config boot;
static struct node *node;
static struct world *host;
static uint8_t elf[SMALL_WORLD_ELF_BYTES];
static struct entry known[KNOWN_MAX]; /* two epochs of the host, the second one in several parts */
static uint32_t known_count, next, raft_index;
static bool restarted;

/* -- the host that wrote what is known -- */

static enum status submit(void *context, const struct group_entry *header, const uint8_t *body)
{
    (void)context;
    CHECK(known_count < KNOWN_MAX);
    known[known_count].header = *header;
    memcpy(known[known_count++].body, body, header->bytes);
    return STATUS_OK;
}

static bool room(void *context, uint32_t count, size_t bytes)
{
    (void)context, (void)bytes;
    return count <= KNOWN_MAX - known_count;
}

static void before_change(void *context, uint32_t page, const uint8_t *captured)
{
    (void)context, (void)page, (void)captured;
}

static void restart(void *context, const char *why)
{
    (void)context, (void)why;
    restarted = true;
}

static void finish_epoch(uint64_t epoch)
{
    for (unsigned step = 0; step < 10000 && (known_count == 0 || known[known_count - 1].header.epoch < epoch ||
                                             known[known_count - 1].header.part + 1 < known[known_count - 1].header.parts); step++) {
        host_machine.fake.now_ns += 1000000;
        world_tick(host);
    }
    world_epoch_committed(host, epoch);
}

static void write_history(const struct seal_keys *keys)
{
    fuzz_machine_init(&host_machine, PAGES, 0);
    host_machine.fake.machine.world_elf = elf;
    host_machine.fake.machine.world_elf_bytes = sizeof elf;
    small_world_make_elf(elf);
    const struct world_config config = {.machine = &host_machine.fake.machine,
                                        .boot = &boot,
                                        .keys = keys,
                                        .ops = {.submit = submit, .room = room, .before_change = before_change}};
    CHECK(world_create(&host, &config) == STATUS_OK);
    world_host(host);
    finish_epoch(1);
    for (uint32_t i = 0; i < WRITTEN_PAGES; i++) {
        uint32_t page = PAGES - 1 - i;
        world_page_fault(host, ABI_WORLD_BASE + page * 4096ull, true, false);
        CHECK(host_machine.fake.rights[page] == PAGE_WRITE);
        memset(host_machine.fake.frames[page], 1 + (int)i, 4096);
    }
    finish_epoch(2);
    CHECK(known[known_count - 1].header.parts > 1);
}

/* -- the node -- */

static void make_node(void)
{
    fuzz_machine_init(&machine, PAGES, DISK);
    machine.fake.machine.restart = restart;
    CHECK(crypto_init(&machine.fake.machine) == STATUS_OK);
    boot = (struct boot_config){
        .node_number = SELF, .node_count = NODES, .world_memory_bytes = (uint64_t)MEMORY_MIB << 20, .heartbeat_ms = 50, .election_timeout_ms = 500};
    for (unsigned i = 0; i < NODES; i++) {
        struct identity identity;
        identity_from_seed(&identity, boot.identity_seed);
        memcpy(boot.identities[i], identity.public_key, sizeof boot.identities[i]);
    }
    char reason[REASON_BYTES_MAX];
    CHECK(node_create(&node, &machine.fake.machine, &boot, reason) == STATUS_OK);
    /* As after a start from the disk of a new cluster, but the group is played. */
    enum store_disk disk;
    CHECK(store_open(node->store, &disk, reason) == STATUS_OK);
    CHECK(store_adopt(node->store, 77) == STATUS_OK);
    node->disk = STORE_DISK_OK;
    node->filling = false;
}

static void prepare(void)
{
    if (node == NULL) {
        make_node();
        write_history(&node->keys);
        fuzz_machine_keep(&machine);
    }
    fuzz_machine_reset(&machine);
    restarted = false;
    next = raft_index = 0;
}

static void apply(const struct group_entry *header, const uint8_t *body)
{
    const struct group_ops ops = node_group_ops(node);
    enum status status = ops.apply(ops.context, ++raft_index, 1, false, header, body);
    CHECK(status == STATUS_OK || status == STATUS_BUSY);
    CHECK(status == STATUS_OK || node->disk != STORE_DISK_OK);
}

static uint64_t committed(void)
{
    struct world_facts facts;
    world_facts(node->world, &facts);
    return facts.committed;
}

/* The next one that the host wrote. */
static void apply_known(bool untouched)
{
    const struct entry *entry = &known[next++];
    apply(&entry->header, entry->body);
    if (untouched) {
        CHECK(!restarted);
        CHECK(node->disk == STORE_DISK_OK);
        CHECK(committed() == (entry->header.part + 1 == entry->header.parts ? entry->header.epoch : entry->header.epoch - 1));
    }
}

static void apply_changed(struct fuzz_input *input)
{
    static struct entry entry;
    entry = known[fuzz_byte(input) % known_count];
    uint8_t at = fuzz_byte(input) % (sizeof entry.header / 2) * 2;
    uint16_t by = fuzz_short(input);
    if (entry.header.bytes > 0 && (by & 1) != 0) {
        entry.body[by % entry.header.bytes] ^= (uint8_t)(by >> 8);
    } else {
        memcpy((uint8_t *)&entry.header + at, &by, sizeof by);
    }
    entry.header.bytes = entry.header.bytes <= ENTRY_BODY_BYTES_MAX ? entry.header.bytes : ENTRY_BODY_BYTES_MAX; /* the log's own bound */
    apply(&entry.header, entry.body);
}

static void apply_made(struct fuzz_input *input)
{
    static struct entry entry;
    static uint8_t plain[DELTA_PART_BYTES_MAX];
    uint8_t flags = fuzz_byte(input);
    entry.header = (struct group_entry){.type = (flags & 1) != 0 ? GROUP_ENTRY_EPOCH : fuzz_byte(input) % 4u,
                                        .world = (flags & 2) != 0 ? 1 : fuzz_byte(input),
                                        .epoch = (flags & 4) != 0 ? committed() + 1 : fuzz_number(input),
                                        .part = fuzz_byte(input) % 4u,
                                        .parts = fuzz_byte(input) % 4u};
    entry.header.bytes = (flags & 8) != 0 ? DELTA_PART_BYTES_MAX : fuzz_byte(input);
    memset(plain, 0, 256);
    fuzz_copy(input, plain, entry.header.bytes < 200 ? entry.header.bytes : 200);
    struct seal_context context = seal_context_delta(entry.header.world, entry.header.epoch, entry.header.part, entry.header.parts);
    seal_body(&node->keys, &context, entry.header.nonce, plain, entry.header.bytes, entry.body, entry.header.tag);
    apply(&entry.header, entry.body);
}

static void receive(struct fuzz_input *input)
{
    uint8_t header[40], body[8] = {0}, flags = fuzz_byte(input);
    static const uint8_t types[] = {NODE_MESSAGE_CONTRADICTION, NODE_MESSAGE_ALONE, NODE_MESSAGE_PROBE, NODE_MESSAGE_PROBE_ANSWER};
    struct peers_message message = {.type = types[flags % 4], .header_bytes = (flags >> 2) % 21u * 2, .body = body};
    message.header = header + sizeof header - message.header_bytes; /* what is read behind it is noticed */
    message.body_bytes = (flags & 0x80) != 0 ? sizeof body : 0;
    fuzz_copy(input, header + sizeof header - message.header_bytes, message.header_bytes);
    unsigned peer = (fuzz_byte(input) & 1) != 0 ? 1 : 3;
    enum status status = flags % 4 < 2 ? node_agreement_message(node, peer, &message) : node_probe_message(node, peer, &message);
    CHECK(status == STATUS_OK || status == STATUS_INVALID);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, bytes};
    prepare();
    bool untouched = true;
    for (unsigned i = 0; i < STEPS_MAX && input.left > 0 && !restarted; i++) {
        uint8_t what = fuzz_byte(&input);
        uint64_t before = committed();
        if (what % 4 == 0 && next < known_count) {
            apply_known(untouched);
        } else if (what % 4 == 1) {
            untouched = false;
            apply_changed(&input);
        } else if (what % 4 == 2) {
            untouched = false;
            apply_made(&input);
        } else {
            receive(&input);
        }
        machine.fake.now_ns += (uint64_t)(what >> 4) * 1000000000;
        CHECK(committed() >= before);
        CHECK(node->assembly_bytes <= DELTA_BYTES_MAX);
        CHECK(node->assembly_next <= node->assembly_parts);
    }
    if (!restarted) {
        world_check(node->world);
    }
    fake_disk_drain(&machine.fake);
    return 0;
}
