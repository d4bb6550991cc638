#include "replicate/world_record.h"

#include <stdbool.h>
#include <string.h>

#include "include/abi.h"
#include "include/boot_config.h"
#include "include/machine.h"

static bool segment_valid(const struct world_segment *segment, uint64_t pages_max)
{
    return segment->rights >= PAGE_READ && segment->rights <= PAGE_EXECUTE && segment->reserved == 0 && segment->pages > 0 &&
           (uint64_t)segment->first_page + segment->pages <= pages_max;
}

static bool segments_overlap(const struct world_segment *a, const struct world_segment *b)
{
    return a->first_page < b->first_page + b->pages && b->first_page < a->first_page + a->pages;
}

enum status world_record_check(const struct world_record *record, uint64_t memory_bytes)
{
    if (record->version != WORLD_RECORD_VERSION || record->abi_version != ABI_VERSION) {
        return STATUS_UNKNOWN_VERSION;
    }
    if (record->life > WORLD_LIFE_STOPPED || record->waiting > 1 || record->memory_bytes != memory_bytes ||
        record->host_node > BOOT_CONFIG_NODES_MAX || record->segment_count > WORLD_SEGMENTS_MAX) {
        return STATUS_INVALID;
    }
    for (uint32_t i = 0; i < record->segment_count; i++) {
        if (!segment_valid(&record->segments[i], memory_bytes / ABI_PAGE_BYTES)) {
            return STATUS_INVALID;
        }
        for (uint32_t j = 0; j < i; j++) {
            if (segments_overlap(&record->segments[i], &record->segments[j])) {
                return STATUS_INVALID;
            }
        }
    }
    if (memchr(record->stop_reason, 0, sizeof record->stop_reason) == NULL) {
        return STATUS_INVALID;
    }
    return STATUS_OK;
}
