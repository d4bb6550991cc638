/* Catch-up's messages, given and taken, from a peer whose key is right and whose words are not; the pages it sends are sealed with the cluster's key.
 * Input: a list of messages and of time that passes. Group and channels are stand-ins. What is installed is found, whole, by the next start,
 * and the group would take it. */
#include <string.h>

#include "consensus/message.h"
#include "crypto/random.h"
#include "include/abi.h"
#include "replicate/catchup_private.h"
#include "replicate/store_private.h"
#include "tests/fuzz/support/fuzz.h"

enum { PAGES = 130, SELF = 2, PEER = 1, STEPS_MAX = 40 };
#define DISK (64ull << 20)
#define MS 1000000ull

struct group {
    struct group_facts facts;
    bool installed;
};

/* Where a run starts: as one of the others, or leading with a checkpoint to give. */
struct start {
    struct fuzz_machine machine;
    struct store *store;
    struct image *image;
    struct catchup *catchup;
    struct group group;
    struct catchup_manifest offered;
    bool made;
};

static struct start starts[2];
static struct fuzz_machine *machine;
static struct seal_keys keys;
static struct store *store;
static struct image *image;
static struct catchup *catchup;
static struct group group;
static struct peers_hello hello;
static struct catchup_want asked;      /* the last request that named pages */
static struct catchup_manifest offered; /* by this node */

/* -- stand-ins -- */

void group_facts(const struct group *of, struct group_facts *out)
{
    *out = of->facts;
}

void group_hold_log(struct group *of, uint64_t index)
{
    (void)of, (void)index;
}

void group_snapshot_describe(const struct group *of, struct group_snapshot *out)
{
    *out = (struct group_snapshot){.leader_id = of->facts.raft_id, .term = of->facts.term};
}

bool group_contradicts(const struct group *of, uint64_t index, uint64_t term)
{
    return index <= of->facts.commit_index && term % 8 == 7;
}

enum status group_install(struct group *of, const struct group_snapshot *snapshot)
{
    CHECK(snapshot->last_index > of->facts.applied_index);
    CHECK(snapshot->last_term > 0);
    CHECK(snapshot->configuration_index > 0);
    CHECK(snapshot->configuration_index <= snapshot->last_index);
    CHECK(members_valid(snapshot->members, snapshot->member_count));
    of->installed = true;
    of->facts.applied_index = snapshot->last_index;
    return STATUS_OK;
}

void group_checkpoint_done(struct group *of, uint64_t index, uint64_t term)
{
    (void)of, (void)index, (void)term;
}

enum status peers_send(struct peers *peers, unsigned peer, unsigned lane, uint8_t type, const void *header, size_t header_bytes,
                       const struct peers_span *spans, size_t span_count)
{
    (void)peers;
    CHECK(peer == PEER);
    CHECK(lane == PEERS_LANE_BULK);
    CHECK(header_bytes <= PEERS_HEADER_BYTES_MAX);
    size_t body = 0;
    for (size_t i = 0; i < span_count; i++) {
        body += spans[i].bytes;
    }
    CHECK(body <= PEERS_BODY_BYTES_MAX);
    if (type == CATCHUP_WANT) {
        struct catchup_want want;
        CHECK(header_bytes == sizeof want);
        memcpy(&want, header, sizeof want);
        asked = want.count > 0 ? want : asked;
    } else if (type == CATCHUP_MANIFEST) {
        memcpy(&offered, header, sizeof offered);
    }
    return STATUS_OK;
}

void peers_flush(struct peers *peers)
{
    (void)peers;
}

const struct peers_hello *peers_hello_of(const struct peers *peers, unsigned peer, unsigned lane)
{
    (void)peers, (void)lane;
    return peer == PEER ? &hello : NULL;
}

/* -- the node -- */

static enum page_rights writable(void *context, uint32_t page)
{
    (void)context, (void)page;
    return PAGE_WRITE;
}

static void changing(void *context, uint32_t page, const uint8_t *captured)
{
    (void)context;
    store_page_changing(store, page, captured);
}

static void installed(void *context, const struct group_snapshot *snapshot)
{
    (void)context;
    CHECK(snapshot->last_index == store_checkpoint(store)->raft_index);
}

static void want_checkpoint(void *context)
{
    (void)context;
}

static void make_store(void)
{
    struct store_config config = {.machine = &machine->fake.machine, .keys = &keys, .node_number = SELF, .world_pages_max = PAGES};
    memcpy(config.cluster_id, keys.cluster_id, sizeof config.cluster_id);
    CHECK(store_create(&store, &config) == STATUS_OK);
}

static void page_content(uint32_t page, uint8_t content[STORE_BLOCK_BYTES])
{
    memset(content, (int)(page % 250) + 1, STORE_BLOCK_BYTES);
}

static void make_node(bool leads)
{
    static const uint8_t key[32] = {1}, cluster[16] = {2};
    fuzz_machine_init(machine, PAGES, DISK);
    CHECK(crypto_init(&machine->fake.machine) == STATUS_OK);
    seal_keys_derive(&keys, key, cluster);
    make_store();
    enum store_disk disk;
    char reason[REASON_BYTES_MAX];
    CHECK(store_open(store, &disk, reason) == STATUS_OK);
    CHECK(store_adopt(store, 1000) == STATUS_OK);
    const struct image_config image_config = {.machine = &machine->fake.machine, .before_change = changing, .segment_rights = writable};
    CHECK(image_create(&image, &image_config) == STATUS_OK);
    hello = (struct peers_hello){.raft_id = raft_id_make(PEER, 77)};
    group = (struct group){.facts = {.raft_id = raft_id_make(SELF, 1000), .term = 5, .role = leads ? GROUP_LEADER : GROUP_FOLLOWER}};
    group.facts.leader_id = raft_id_make(leads ? SELF : PEER, leads ? 1000 : 77);
    const struct catchup_config config = {.want_checkpoint = want_checkpoint,
                                          .machine = &machine->fake.machine,
                                          .store = store,
                                          .image = image,
                                          .group = &group,
                                          .keys = &keys,
                                          .world_pages_max = PAGES,
                                          .world_number = 1,
                                          .self = SELF,
                                          .installed = installed};
    CHECK(catchup_create(&catchup, &config) == STATUS_OK);
}

static void pass(unsigned milliseconds)
{
    for (unsigned i = 0; i < milliseconds; i++) {
        machine->fake.now_ns += MS;
        catchup_tick(catchup);
        fake_disk_drain(&machine->fake);
    }
}

/* A leader has something to give. */
static void have_checkpoint(void)
{
    uint8_t content[STORE_BLOCK_BYTES];
    for (uint32_t page = 0; page < 20; page++) {
        page_content(page, content);
        CHECK(image_put_page(image, page * 5, content) == STATUS_OK);
    }
    struct checkpoint checkpoint = {.raft_index = 100,
                                    .raft_term = 3,
                                    .configuration_index = 1,
                                    .member_count = 1,
                                    .members = {{.raft_id = raft_id_make(SELF, 1000), .role = DISK_ROLE_VOTER}},
                                    .epoch = 1,
                                    .record = {.version = WORLD_RECORD_VERSION,
                                               .abi_version = ABI_VERSION,
                                               .world_number = 1,
                                               .memory_bytes = PAGES * 4096ull,
                                               .epoch = 1}};
    checkpoint.digest = image_digest(image) + world_record_hash(&checkpoint.record);
    CHECK(store_checkpoint_begin(store, image, &checkpoint) == STATUS_OK);
    enum status status = STATUS_OK;
    while (status == STATUS_OK) {
        status = store_checkpoint_step(store);
        fake_disk_complete(&machine->fake, false);
        machine->fake.now_ns += MS;
    }
    CHECK(status == STATUS_EMPTY);
    catchup_send_snapshot(catchup, raft_id_make(PEER, 77));
    pass(3);
}

static void prepare(bool leads)
{
    struct start *start = &starts[leads];
    machine = &start->machine;
    if (!start->made) {
        make_node(leads);
        if (leads) {
            have_checkpoint();
        }
        start->store = store;
        start->image = image;
        start->catchup = catchup;
        start->group = group;
        start->offered = offered;
        start->made = true;
        fuzz_machine_keep(machine);
    }
    fuzz_machine_reset(machine);
    store = start->store;
    image = start->image;
    catchup = start->catchup;
    group = start->group;
    offered = start->offered;
    memset(&asked, 0, sizeof asked);
}

/* -- messages -- */

static void receive(uint8_t type, const void *header, size_t header_bytes, const void *body, size_t body_bytes)
{
    const struct peers_message message = {.type = type, .header = header, .header_bytes = header_bytes, .body = body, .body_bytes = body_bytes};
    enum status status = catchup_message(catchup, PEER, &message);
    CHECK(status == STATUS_OK || status == STATUS_INVALID || status == STATUS_CORRUPT);
    if (status != STATUS_OK) {
        catchup_down(catchup, PEER);
    }
}

/* A manifest of the pages below `pages` that can be good; then fields of it are changed. */
static void receive_manifest(struct fuzz_input *input)
{
    uint8_t pages = fuzz_byte(input) % PAGES, changes = fuzz_byte(input);
    struct catchup_hashes hashes = {.id = fuzz_byte(input) % 4u, .count = pages};
    struct catchup_manifest manifest = {.id = hashes.id,
                                        .snapshot = {.leader_id = raft_id_make(PEER, 77),
                                                     .term = 5,
                                                     .last_index = fuzz_byte(input),
                                                     .last_term = 4,
                                                     .configuration_index = 1,
                                                     .member_count = 1,
                                                     .members = {{.raft_id = raft_id_make(PEER, 77), .role = DISK_ROLE_VOTER}}},
                                        .epoch = fuzz_byte(input),
                                        .pages_max = PAGES,
                                        .record = {.version = WORLD_RECORD_VERSION,
                                                   .abi_version = ABI_VERSION,
                                                   .world_number = 1,
                                                   .memory_bytes = PAGES * 4096ull}};
    manifest.record.epoch = manifest.epoch;
    for (uint32_t page = 0; page < pages; page++) {
        uint8_t content[STORE_BLOCK_BYTES];
        page_content(page, content);
        hashes.hashes[page] = image_hash_content(page, content);
        manifest.digest += hashes.hashes[page];
    }
    for (unsigned i = 0; i < changes % 3u; i++) {
        size_t at = fuzz_short(input) % (sizeof manifest.snapshot / 4 + 8) * 4;
        at = at < sizeof manifest - 4 ? at : 0;
        uint32_t word = (uint32_t)fuzz_number(input);
        memcpy((uint8_t *)&manifest + at, &word, sizeof word);
    }
    if ((changes & 0x80) != 0) {
        hashes.hashes[fuzz_byte(input) % PAGES] = fuzz_number(input);
        hashes.first_page = fuzz_byte(input) % 2 * fuzz_word(input);
    }
    manifest.digest += (changes & 0x40) != 0 || manifest.epoch == 0 ? 0 : world_record_hash(&manifest.record);
    const struct catchup_note end = {.id = manifest.id};
    receive(CATCHUP_MANIFEST, &manifest, sizeof manifest, NULL, 0);
    receive(CATCHUP_HASHES, &hashes, offsetof(struct catchup_hashes, hashes) + hashes.count * sizeof(uint64_t), NULL, 0);
    receive(CATCHUP_END, &end, sizeof end, NULL, 0);
}

/* The pages that were asked for, some of them wrong. */
static void receive_pages(struct fuzz_input *input)
{
    static uint8_t body[CATCHUP_PAGES_MAX * STORE_BLOCK_BYTES];
    uint8_t flags = fuzz_byte(input);
    struct catchup_pages pages = {.id = asked.id, .request = asked.request, .count = asked.count};
    for (uint32_t i = 0; i < pages.count; i++) {
        uint8_t content[STORE_BLOCK_BYTES];
        uint32_t page = asked.pages[i];
        page_content(page, content);
        pages.pages[i] = (struct catchup_page){.page = page, .hash = image_hash_content(page, content)};
        struct seal_context context = seal_context_page(WORLD_NUMBER, page);
        content[7] = (flags & 1) != 0 ? fuzz_byte(input) : content[7];
        seal_body(&keys, &context, pages.pages[i].nonce, content, sizeof content, body + i * STORE_BLOCK_BYTES, pages.pages[i].tag);
    }
    if ((flags & 2) != 0) {
        size_t at = fuzz_short(input) % (sizeof pages / 4) * 4;
        uint32_t word = (uint32_t)fuzz_number(input);
        memcpy((uint8_t *)&pages + at, &word, sizeof word);
    }
    size_t count = pages.count < CATCHUP_PAGES_MAX ? pages.count : CATCHUP_PAGES_MAX;
    body[fuzz_short(input)] ^= (uint8_t)(flags >> 2 & 1);
    receive(CATCHUP_PAGES, &pages, sizeof pages, body, count * STORE_BLOCK_BYTES);
}

static void receive_want(struct fuzz_input *input)
{
    struct catchup_want want = {.id = (fuzz_byte(input) & 1) != 0 ? fuzz_number(input) : offered.id};
    want.request = fuzz_byte(input) % 6u;
    want.count = fuzz_byte(input) % 20u;
    for (uint32_t i = 0; i < CATCHUP_PAGES_MAX; i++) {
        want.pages[i] = (uint32_t)fuzz_number(input);
    }
    receive(CATCHUP_WANT, &want, sizeof want, NULL, 0);
}

static void receive_raw(struct fuzz_input *input)
{
    static uint8_t header[PEERS_HEADER_BYTES_MAX];
    uint8_t type = (uint8_t)(CATCHUP_MESSAGE_FIRST + fuzz_byte(input) % 9u);
    size_t bytes = fuzz_byte(input) % 4 == 0 ? fuzz_short(input) % sizeof header : fuzz_byte(input);
    uint8_t *start = header + sizeof header - bytes; /* what is read behind it is noticed */
    fuzz_copy(input, start, bytes);
    receive(type, start, bytes, header, fuzz_byte(input) % 8u == 0 ? STORE_BLOCK_BYTES : 0);
}

static void step(struct fuzz_input *input)
{
    uint8_t what = fuzz_byte(input);
    struct catchup_note note = {.id = (what & 0x80) != 0 ? fuzz_number(input) : asked.id != 0 ? asked.id : offered.id, .outcome = (what >> 4) % 5u};
    switch (what % 8) {
    case 0:
        receive_manifest(input);
        break;
    case 1:
    case 2:
        receive_pages(input);
        break;
    case 3:
        receive_want(input);
        break;
    case 4:
        receive((what & 0x40) != 0 ? CATCHUP_ENDED : CATCHUP_GONE, &note, sizeof note, NULL, 0);
        break;
    case 5:
        receive_raw(input);
        break;
    case 6:
        catchup_down(catchup, PEER);
        break;
    default:
        machine->fake.now_ns += (what & 0x80) != 0 ? 6000 * MS : 0;
        break;
    }
    pass(1 + (what >> 3) % 4u);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, bytes};
    bool leads = (fuzz_byte(&input) & 3) == 3;
    prepare(leads);
    for (unsigned i = 0; i < STEPS_MAX && input.left > 0; i++) {
        step(&input);
    }
    pass(50); /* a superblock that is on its way arrives */
    store_check(store);
    if (group.installed) {
        uint64_t digest = store_checkpoint(store)->digest;
        enum store_disk disk;
        char reason[REASON_BYTES_MAX];
        make_store();
        CHECK(store_open(store, &disk, reason) == STATUS_OK);
        CHECK(disk == STORE_DISK_OK);
        CHECK(store_checkpoint(store)->digest == digest);
        bool done = false;
        uint32_t page = 0;
        image_clear(image);
        while (!done) {
            CHECK(store_fill_step(store, image, 64, &done, &page) == STATUS_OK);
        }
        uint64_t record = store_checkpoint(store)->epoch > 0 ? world_record_hash(&store_checkpoint(store)->record) : 0;
        CHECK(image_digest(image) + record == digest);
    }
    return 0;
}
