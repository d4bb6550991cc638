/* The world record, as a delta, a disk or a manifest brings it. Input: a byte of what is mended, then the record. */
#include <string.h>

#include "include/abi.h"
#include "include/machine.h"
#include "replicate/world_record.h"
#include "tests/fuzz/support/fuzz.h"

#define MEMORY_BYTES (16ull << 20)
enum { MEND_VERSIONS = 1, MEND_NUMBERS = 2, PAGES = MEMORY_BYTES / 4096 };

static void check_accepted(const struct world_record *record)
{
    static uint8_t taken[PAGES];
    memset(taken, 0, sizeof taken);
    CHECK(record->segment_count <= WORLD_SEGMENTS_MAX);
    for (uint32_t i = 0; i < record->segment_count; i++) {
        const struct world_segment *segment = &record->segments[i];
        CHECK(segment->rights == PAGE_READ || segment->rights == PAGE_WRITE || segment->rights == PAGE_EXECUTE);
        for (uint64_t page = segment->first_page; page < (uint64_t)segment->first_page + segment->pages; page++) {
            CHECK(page < PAGES);
            CHECK(taken[page]++ == 0);
        }
    }
    CHECK(memchr(record->stop_reason, 0, sizeof record->stop_reason) != NULL);
    CHECK(record->life <= WORLD_LIFE_STOPPED);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, bytes};
    uint8_t mend = fuzz_byte(&input);
    struct world_record record;
    fuzz_copy(&input, &record, sizeof record);
    if ((mend & MEND_VERSIONS) != 0) {
        record.version = WORLD_RECORD_VERSION;
        record.abi_version = ABI_VERSION;
        record.memory_bytes = MEMORY_BYTES;
    }
    if ((mend & MEND_NUMBERS) != 0) {
        record.life %= 3;
        record.waiting &= 1;
        record.host_node %= 6;
        record.segment_count %= WORLD_SEGMENTS_MAX + 1;
        for (uint32_t i = 0; i < record.segment_count; i++) {
            record.segments[i].rights = 1 + record.segments[i].rights % 3;
            record.segments[i].reserved = 0;
        }
    }
    if (world_record_check(&record, MEMORY_BYTES) == STATUS_OK) {
        check_accepted(&record);
    }
    return 0;
}
