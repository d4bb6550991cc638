/* A plain delta from its bytes into an image, as a standby does once the seal of its parts was opened.
 * Input: flags; two bytes: how many of page items; these; then the record's fields (or its encoded form). */
#include <stdlib.h>
#include <string.h>

#include "include/abi.h"
#include "replicate/delta.h"
#include "replicate/image.h"
#include "tests/fuzz/support/fuzz.h"

enum { PAGES = 64, MEND_HEADER = 1, MEND_RECORD = 2, ITEM_BYTES_MAX = 40000, RECORD_BYTES_MAX = 8192 };
#define MEMORY_BYTES (PAGES * 4096ull)

static struct fuzz_machine machine;
static struct image *image;

static void before_change(void *context, uint32_t page, const uint8_t *captured)
{
    (void)context, (void)captured;
    CHECK(page < PAGES);
}

static enum page_rights writable(void *context, uint32_t page)
{
    (void)context, (void)page;
    return PAGE_WRITE;
}

static void prepare(void)
{
    if (image == NULL) {
        fuzz_machine_init(&machine, PAGES, 0);
        const struct image_config config = {.machine = &machine.fake.machine, .before_change = before_change, .segment_rights = writable};
        CHECK(image_create(&image, &config) == STATUS_OK);
    }
    image_clear(image);
    uint8_t content[4096];
    for (uint32_t page = 0; page < 4; page++) {
        memset(content, (int)page + 7, sizeof content);
        CHECK(image_put_page(image, page * 9, content) == STATUS_OK);
    }
}

/* The record's section: a record of the input's fields in one run, or the input's bytes as they are. */
static size_t make_record(struct fuzz_input *input, bool mend, uint64_t *epoch, uint32_t *world, uint8_t *out)
{
    if (!mend) {
        size_t bytes = input->left < RECORD_BYTES_MAX ? input->left : RECORD_BYTES_MAX;
        fuzz_copy(input, out, bytes);
        return bytes;
    }
    struct world_record record;
    fuzz_copy(input, &record, sizeof record);
    record.version = WORLD_RECORD_VERSION;
    record.abi_version = ABI_VERSION;
    record.memory_bytes = MEMORY_BYTES;
    record.life %= 3;
    record.waiting &= 1;
    record.host_node %= 6;
    record.segment_count %= 3;
    *epoch = record.epoch;
    *world = record.world_number;
    const uint8_t front[5] = {1, 0, 0, (sizeof record - 1) << 4 & 0xff, (sizeof record - 1) >> 4};
    memcpy(out, front, sizeof front);
    memcpy(out + sizeof front, &record, sizeof record);
    return sizeof front + sizeof record;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static uint8_t assembled[sizeof(struct delta_wire_header) + ITEM_BYTES_MAX + RECORD_BYTES_MAX];
    struct fuzz_input input = {data, bytes};
    uint8_t flags = fuzz_byte(&input);
    size_t item_bytes = fuzz_short(&input);
    item_bytes = item_bytes < ITEM_BYTES_MAX ? item_bytes : ITEM_BYTES_MAX;
    item_bytes = item_bytes < input.left ? item_bytes : input.left;
    struct delta_wire_header header = {.version = DELTA_VERSION, .world = 1, .epoch = 1};
    fuzz_copy(&input, assembled + sizeof header, item_bytes);
    size_t record_bytes =
        make_record(&input, (flags & MEND_RECORD) != 0, &header.epoch, &header.world, assembled + sizeof header + item_bytes);
    header.run_bytes = (uint32_t)item_bytes;
    header.record_bytes = (uint32_t)record_bytes;
    header.pages = flags >> 4;
    if ((flags & MEND_HEADER) == 0) {
        fuzz_copy(&input, &header, sizeof header);
    }
    memcpy(assembled, &header, sizeof header);
    size_t whole = sizeof header + item_bytes + record_bytes;
    uint8_t *exact = malloc(whole);
    CHECK(exact != NULL);
    memcpy(exact, assembled, whole);

    struct delta delta;
    if (delta_decode(exact, whole, MEMORY_BYTES, &delta) == STATUS_OK) {
        CHECK(world_record_check(&delta.record, MEMORY_BYTES) == STATUS_OK);
        CHECK(delta.items >= exact && delta.items + delta.item_bytes <= exact + whole);
        prepare();
        uint64_t before = image_digest(image);
        enum status status = image_apply(image, delta.items, delta.item_bytes);
        image_check(image);
        if (status == STATUS_OK) {
            uint64_t after = image_digest(image);
            CHECK(image_apply(image, delta.items, delta.item_bytes) == STATUS_OK);
            CHECK(image_digest(image) == after);
        } else {
            CHECK(image_digest(image) == before);
        }
    }
    free(exact);
    return 0;
}
