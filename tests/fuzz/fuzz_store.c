/* The page store's superblocks, map and pages as they stand on a disk, all sealed by the cluster's key.
 * Input: for each superblock its fields; then the map as a tree of nodes, the record, some pages. What is accepted can fill an image, be
 * checkpointed, and be opened again. */
#include <string.h>

#include "crypto/random.h"
#include "include/abi.h"
#include "replicate/image.h"
#include "replicate/store_private.h"
#include "tests/fuzz/support/fuzz.h"

enum { PAGES = 256, NODE = 2, SLOTS = 64, CHILDREN_MAX = 6 };
#define DISK (64ull << 20)

static struct fuzz_machine machine;
static struct seal_keys keys;
static struct store *store;
static struct image *image;

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

static void boot(void)
{
    struct store_config config = {.machine = &machine.fake.machine, .keys = &keys, .node_number = NODE, .world_pages_max = PAGES};
    memcpy(config.cluster_id, keys.cluster_id, sizeof config.cluster_id);
    CHECK(store_create(&store, &config) == STATUS_OK);
    const struct image_config image_config = {.machine = &machine.fake.machine, .before_change = changing, .segment_rights = writable};
    CHECK(image_create(&image, &image_config) == STATUS_OK);
}

static void prepare(void)
{
    static struct store *kept_store;
    static struct image *kept_image;
    if (kept_store == NULL) {
        static const uint8_t key[32] = {1}, cluster[16] = {2};
        fuzz_machine_init(&machine, PAGES, DISK);
        CHECK(crypto_init(&machine.fake.machine) == STATUS_OK);
        seal_keys_derive(&keys, key, cluster);
        boot();
        fuzz_machine_keep(&machine);
        kept_store = store;
        kept_image = image;
    }
    fuzz_machine_reset(&machine);
    store = kept_store;
    image = kept_image;
}

/* Seal `plain` into the slot that the input names. */
static struct disk_block_reference put(struct fuzz_input *input, const struct seal_context *context, const uint8_t plain[STORE_BLOCK_BYTES])
{
    struct disk_block_reference reference = {.slot = fuzz_byte(input)};
    if (reference.slot >= SLOTS) {
        reference.slot = reference.slot < 250 ? reference.slot % SLOTS : fuzz_word(input);
    }
    reference.nonce[0] = (uint8_t)context->position;
    uint64_t offset = disk_store_offset(DISK) + (uint64_t)(reference.slot - 1) * STORE_BLOCK_BYTES;
    bool there = reference.slot >= 1 && reference.slot <= disk_store_slots(DISK);
    static uint8_t cipher[STORE_BLOCK_BYTES];
    seal_body(&keys, context, reference.nonce, plain, STORE_BLOCK_BYTES, there ? fuzz_machine_disk(&machine, offset, STORE_BLOCK_BYTES) : cipher, reference.tag);
    return reference;
}

static struct disk_block_reference put_page(struct fuzz_input *input, uint32_t page, uint64_t *hash)
{
    uint8_t plain[STORE_BLOCK_BYTES];
    memset(plain, fuzz_byte(input), sizeof plain);
    *hash = fuzz_byte(input) == 255 ? fuzz_number(input) : image_hash_content(page, plain);
    struct seal_context context = seal_context_page(WORLD_NUMBER, page);
    return put(input, &context, plain);
}

/* A node with some children, each made before it; the depth is that of the map. */
static struct disk_block_reference put_node(struct fuzz_input *input, uint32_t level, uint32_t index, uint64_t *pages)
{
    uint8_t plain[STORE_BLOCK_BYTES] = {0};
    uint8_t front = fuzz_byte(input);
    for (uint32_t left = front % (CHILDREN_MAX + 1); left > 0 && input->left > 0; left--) {
        uint32_t at = fuzz_byte(input);
        at %= level == 1 || at >= 240 ? STORE_FANOUT : PAGES / STORE_FANOUT;
        if (level == 1) {
            struct store_page_reference page = {0};
            struct disk_block_reference block = put_page(input, index * STORE_FANOUT + at, &page.hash);
            page.slot = block.slot;
            memcpy(page.nonce, block.nonce, sizeof page.nonce);
            memcpy(page.tag, block.tag, sizeof page.tag);
            memcpy(plain + at * sizeof page, &page, sizeof page);
            ++*pages;
        } else {
            struct disk_block_reference block = put_node(input, level - 1, index * STORE_FANOUT + at, pages);
            memcpy(plain + at * sizeof block, &block, sizeof block);
        }
    }
    struct seal_context context = seal_context_map_node(WORLD_NUMBER, (front & 0x80) != 0 ? level + 1 : level, index);
    return put(input, &context, plain);
}

static struct disk_block_reference put_record(struct fuzz_input *input, uint64_t epoch)
{
    uint8_t plain[STORE_BLOCK_BYTES] = {0};
    struct world_record record = {.version = WORLD_RECORD_VERSION,
                                  .abi_version = ABI_VERSION,
                                  .world_number = 1,
                                  .life = fuzz_byte(input) % 4,
                                  .memory_bytes = PAGES * 4096ull,
                                  .epoch = epoch};
    if ((fuzz_byte(input) & 0x80) != 0) {
        record.segment_count = fuzz_byte(input);
        fuzz_copy(input, record.segments, 64);
    }
    memcpy(plain, &record, sizeof record);
    struct seal_context context = seal_context_world_record(WORLD_NUMBER);
    return put(input, &context, plain);
}

static void put_superblock(struct fuzz_input *input, unsigned block)
{
    uint8_t flags = fuzz_byte(input);
    struct disk_superblock superblock = {.sequence = fuzz_number(input),
                                         .node_number = NODE,
                                         .world_pages_max = PAGES,
                                         .incarnation = 7,
                                         .disk_bytes = DISK,
                                         .log_offset = DISK_LOG_OFFSET,
                                         .log_bytes = disk_log_bytes(DISK),
                                         .store_offset = disk_store_offset(DISK),
                                         .store_slots = disk_store_slots(DISK),
                                         .raft_index = 5,
                                         .raft_term = 2,
                                         .configuration_index = 1,
                                         .member_count = 1,
                                         .members = {{.raft_id = raft_id_make(NODE, 7), .role = DISK_ROLE_VOTER}},
                                         .epoch = flags & 3};
    memcpy(superblock.cluster_id, keys.cluster_id, sizeof superblock.cluster_id);
    if ((flags & 4) != 0) {
        superblock.map_levels = (flags & 8) != 0 ? fuzz_byte(input) % 6u : 2;
        superblock.map_root = put_node(input, 2, 0, &superblock.page_count);
    }
    if (superblock.epoch > 0) {
        superblock.world_record = put_record(input, superblock.epoch);
    }
    /* Any eight bytes of it; the seal is made over them. */
    if ((flags & 16) != 0) {
        uint64_t at = 8 + fuzz_short(input) % (offsetof(struct disk_superblock, seal) - 16);
        fuzz_copy(input, (uint8_t *)&superblock + at, 8);
    }
    seal_superblock(&keys, &superblock);
    if ((flags & 32) != 0) {
        ((uint8_t *)&superblock)[fuzz_short(input) % sizeof superblock] ^= 1;
    }
    memcpy(fuzz_machine_disk(&machine, block * (uint64_t)DISK_BLOCK_BYTES, DISK_BLOCK_BYTES), &superblock, sizeof superblock);
}

static enum status fill(void)
{
    bool done = false;
    uint32_t page = 0;
    store_fill_restart(store);
    enum status status = STATUS_OK;
    while (!done && status == STATUS_OK) {
        status = store_fill_step(store, image, 64, &done, &page);
        CHECK(status == STATUS_OK || page < PAGES);
    }
    return status;
}

/* The image as it is becomes the next checkpoint; the next start finds it. */
static void checkpoint(void)
{
    struct checkpoint next = *store_checkpoint(store);
    uint64_t index = ++next.raft_index;
    next.epoch = next.record.epoch = next.epoch + 1;
    next.record.version = WORLD_RECORD_VERSION;
    next.record.abi_version = ABI_VERSION;
    next.record.memory_bytes = PAGES * 4096ull;
    next.digest = image_digest(image) + world_record_hash(&next.record);
    uint64_t digest = image_digest(image);
    uint8_t content[STORE_BLOCK_BYTES] = {1};
    CHECK(store_checkpoint_begin(store, image, &next) == STATUS_OK);
    CHECK(image_put_page(image, 3, content) == STATUS_OK); /* changes behind it do not enter */
    enum status status = STATUS_OK;
    for (unsigned turn = 0; turn < 10000 && status == STATUS_OK; turn++) {
        status = store_checkpoint_step(store);
        fake_disk_complete(&machine.fake, false);
        machine.fake.now_ns += 1000000;
    }
    CHECK(status == STATUS_EMPTY);
    store_check(store);
    enum store_disk disk;
    char reason[REASON_BYTES_MAX];
    image_clear(image);
    boot();
    CHECK(store_open(store, &disk, reason) == STATUS_OK);
    CHECK(disk == STORE_DISK_OK);
    CHECK(store_checkpoint(store)->raft_index == index);
    CHECK(fill() == STATUS_OK);
    CHECK(image_digest(image) == digest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, bytes};
    prepare();
    uint8_t flags = fuzz_byte(&input);
    put_superblock(&input, 0);
    if ((flags & 1) != 0) {
        put_superblock(&input, 1);
    }
    enum store_disk disk = STORE_DISK_FAILED;
    char reason[REASON_BYTES_MAX];
    CHECK(store_open(store, &disk, reason) == STATUS_OK);
    store_check(store);
    if (disk == STORE_DISK_OK && fill() == STATUS_OK) {
        image_check(image);
        if ((flags & 2) != 0 && store_superblock(store)->disk_bytes == DISK && store_superblock(store)->sequence < UINT64_MAX - 2) {
            checkpoint();
        }
    } else if (disk == STORE_DISK_OK || disk == STORE_DISK_CORRUPT) {
        CHECK(store_adopt(store, 99) == STATUS_OK);
        store_check(store);
        image_clear(image);
        boot();
        CHECK(store_open(store, &disk, reason) == STATUS_OK);
        CHECK(disk == STORE_DISK_OK);
        CHECK(store_superblock(store)->joining == 1);
    }
    return 0;
}
