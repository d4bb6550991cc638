#include "kernel/memory.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "include/check.h"
#include "kernel/epitaph.h"
#include "kernel/layout.h"
#include "kernel/limits.h"
#include "kernel/paging.h"
#include "kernel/processor.h"

/* The PVH start information, as Xen's public/arch-x86/hvm/start_info.h lays it out. */
enum {
    START_INFO_MAGIC = 0x336ec578,
    MAP_TYPE_RAM = 1,
};

struct start_info {
    uint32_t magic;
    uint32_t version;
    uint32_t flags;
    uint32_t module_count;
    uint64_t module_list;
    uint64_t command_line;
    uint64_t rsdp;
    uint64_t memory_map;          /* since version 1 */
    uint32_t memory_map_entries;
    uint32_t reserved;
};

struct start_module {
    uint64_t address;
    uint64_t bytes;
    uint64_t command_line;
    uint64_t reserved;
};

struct start_memory {
    uint64_t address;
    uint64_t bytes;
    uint32_t type;
    uint32_t reserved;
};

struct region {
    uint64_t start, end;
};

/* Below it is the firmware's, and the epitaph. */
#define RESERVED_LOW_END (EPITAPH_PHYSICAL + PAGE_BYTES)
#define BOOT_MAP_END (1ull << 30)

extern char kernel_image_start[], kernel_image_end[];
extern char kernel_text_start[], kernel_text_end[];
extern char kernel_rodata_start[], kernel_rodata_end[];
extern char kernel_data_start[], kernel_stack_guard[];

static struct region ram[MEMORY_REGIONS_MAX];  /* as the loader told */
static unsigned ram_count;
static struct region free_regions[MEMORY_REGIONS_MAX];
static unsigned free_count;
static struct start_module module;
static uint64_t *root;
static uint64_t mapped_end = BOOT_MAP_END; /* until the final tables stand */

static void *direct(uint64_t physical)
{
    return (void *)(DIRECT_MAP_BASE + physical);
}

static uint64_t image_physical(const void *address)
{
    return (uint64_t)address - KERNEL_VIRTUAL_BASE;
}

/* Take [start, end) out of the free regions. */
static void free_regions_cut(uint64_t start, uint64_t end)
{
    unsigned count = free_count;
    for (unsigned i = 0; i < count; i++) {
        struct region *region = &free_regions[i];
        if (start >= region->end || end <= region->start) {
            continue;
        }
        if (end < region->end) {
            CHECK(free_count < MEMORY_REGIONS_MAX);
            free_regions[free_count++] = (struct region){end, region->end};
        }
        region->end = start > region->start ? start : region->start;
    }
}

static void regions_read(uint64_t start_info_physical)
{
    const struct start_info *info = direct(start_info_physical);
    CHECK(start_info_physical + sizeof *info <= BOOT_MAP_END);
    CHECK(info->magic == START_INFO_MAGIC);
    CHECK(info->version >= 1);
    const struct start_memory *map = direct(info->memory_map);
    CHECK(info->memory_map + info->memory_map_entries * sizeof *map <= BOOT_MAP_END);
    for (uint32_t i = 0; i < info->memory_map_entries && ram_count < MEMORY_REGIONS_MAX / 2; i++) {
        uint64_t start = (map[i].address + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
        uint64_t end = (map[i].address + map[i].bytes) & ~(PAGE_BYTES - 1);
        if (map[i].type == MAP_TYPE_RAM && start < end) {
            ram[ram_count++] = (struct region){start, end};
            free_regions[free_count++] = (struct region){start, end};
        }
    }
    if (info->module_count > 0) {
        const struct start_module *list = direct(info->module_list);
        CHECK(info->module_list + sizeof *list <= BOOT_MAP_END);
        module = *list;
    }
    free_regions_cut(0, RESERVED_LOW_END);
    free_regions_cut(image_physical(kernel_image_start), image_physical(kernel_image_end));
    free_regions_cut(module.address & ~(PAGE_BYTES - 1), (module.address + module.bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1));
}

void memory_too_small(void)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < ram_count; i++) {
        bytes += ram[i].end - ram[i].start;
    }
    char sentence[EPITAPH_TEXT_BYTES_MAX];
    snprintf(sentence, sizeof sentence,
             "boot: this machine has too little memory (%lu MiB) for the kernel itself; give the node more: `eidolon create` says how much it needs with its world",
             (unsigned long)(bytes >> 20));
    epitaph_write_and_reset(sentence);
}

static uint64_t *table_new(void)
{
    uint64_t *table = memory_reserve(PAGE_BYTES, PAGE_BYTES);
    if (table == NULL) {
        memory_too_small();
    }
    return table;
}

/* The table that entry `index` of `table` points to, made if it is absent. Rights are narrowed by the leaf entries alone. */
static uint64_t *table_below(uint64_t *table, uint64_t index)
{
    if ((table[index] & ENTRY_PRESENT) == 0) {
        table[index] = memory_physical(table_new()) | ENTRY_PRESENT | ENTRY_WRITABLE;
    }
    CHECK((table[index] & ENTRY_LARGE) == 0);
    return direct(table[index] & ENTRY_ADDRESS);
}

/* Map whole pages, large ones where alignment allows and nothing smaller is there yet. */
static void map_range(uint64_t virtual, uint64_t physical, uint64_t bytes, uint64_t rights)
{
    for (uint64_t done = 0; done < bytes;) {
        uint64_t at = virtual + done;
        uint64_t from = physical + done;
        uint64_t *pointers = table_below(root, at >> 39 & 511);
        uint64_t *directory = table_below(pointers, at >> 30 & 511);
        uint64_t *entry = &directory[at >> 21 & 511];
        bool large = ((at | from) & (LARGE_PAGE_BYTES - 1)) == 0 && bytes - done >= LARGE_PAGE_BYTES;
        if (large && ((*entry & ENTRY_PRESENT) == 0 || (*entry & ENTRY_LARGE) != 0)) {
            *entry = from | rights | ENTRY_PRESENT | ENTRY_LARGE;
            done += LARGE_PAGE_BYTES;
            continue;
        }
        if ((*entry & ENTRY_LARGE) == 0 || (*entry & ENTRY_PRESENT) == 0) {
            uint64_t *table = table_below(directory, at >> 21 & 511);
            table[at >> 12 & 511] = from | rights | ENTRY_PRESENT;
        }
        done += PAGE_BYTES;
    }
}

static void map_image(const char *start, const char *end, uint64_t rights)
{
    map_range((uint64_t)start, image_physical(start), (uint64_t)(end - start), rights | ENTRY_GLOBAL);
}

/* All RAM but the image, whose pages must not have a second, writable name. */
static void map_direct(void)
{
    uint64_t image_start = image_physical(kernel_image_start);
    uint64_t image_end = image_physical(kernel_image_end);
    uint64_t rights = ENTRY_WRITABLE | ENTRY_NO_EXECUTE | ENTRY_GLOBAL;
    for (unsigned i = 0; i < ram_count; i++) {
        uint64_t start = ram[i].start;
        uint64_t end = ram[i].end;
        if (image_start >= start && image_start < end) {
            CHECK(image_end <= end);
            map_range(DIRECT_MAP_BASE + start, start, image_start - start, rights);
            start = image_end;
        }
        map_range(DIRECT_MAP_BASE + start, start, end - start, rights);
    }
}

void memory_init(uint64_t start_info)
{
    regions_read(start_info);
    root = table_new();
    map_image(kernel_text_start, kernel_text_end, 0);
    map_image(kernel_rodata_start, kernel_rodata_end, ENTRY_NO_EXECUTE);
    map_image(kernel_data_start, kernel_stack_guard, ENTRY_WRITABLE | ENTRY_NO_EXECUTE);
    map_image(kernel_stack_guard + PAGE_BYTES, kernel_image_end, ENTRY_WRITABLE | ENTRY_NO_EXECUTE);
    map_direct();
    write_cr4(read_cr4() | CR4_PGE);
    write_cr3(memory_physical(root));
    mapped_end = UINT64_MAX;
}

enum status memory_module(const void **bytes, size_t *count)
{
    if (module.bytes == 0) {
        return STATUS_NOT_FOUND;
    }
    *bytes = direct(module.address);
    *count = module.bytes;
    return STATUS_OK;
}

static uint64_t aligned_start(const struct region *region, size_t alignment)
{
    return (region->start + alignment - 1) & ~(alignment - 1);
}

static bool region_holds(const struct region *region, size_t bytes, size_t alignment)
{
    uint64_t start = aligned_start(region, alignment);
    return start < region->end && region->end - start >= bytes && start + bytes <= mapped_end;
}

/* Out of the smallest region that has it, so that the largest stays whole for the world's frames. */
void *memory_reserve_raw(size_t bytes, size_t alignment)
{
    CHECK((alignment & (alignment - 1)) == 0);
    CHECK(alignment <= LARGE_PAGE_BYTES);
    struct region *best = NULL;
    for (unsigned i = 0; i < free_count; i++) {
        struct region *region = &free_regions[i];
        if (region_holds(region, bytes, alignment) && (best == NULL || region->end - region->start < best->end - best->start)) {
            best = region;
        }
    }
    if (best == NULL) {
        return NULL;
    }
    uint64_t start = aligned_start(best, alignment);
    best->start = start + bytes;
    return direct(start);
}

void *memory_reserve(size_t bytes, size_t alignment)
{
    void *reserved = memory_reserve_raw(bytes, alignment);
    return reserved != NULL ? memset(reserved, 0, bytes) : NULL;
}

size_t memory_left(void)
{
    uint64_t left = 0;
    for (unsigned i = 0; i < free_count; i++) {
        left += free_regions[i].end - free_regions[i].start;
    }
    return left;
}

size_t memory_largest(void)
{
    uint64_t largest = 0;
    for (unsigned i = 0; i < free_count; i++) {
        uint64_t bytes = free_regions[i].end - free_regions[i].start;
        largest = bytes > largest ? bytes : largest;
    }
    return largest;
}

uint64_t memory_physical(const void *address)
{
    uint64_t at = (uint64_t)address;
    if (at >= KERNEL_VIRTUAL_BASE) {
        return at - KERNEL_VIRTUAL_BASE;
    }
    CHECK(at >= DIRECT_MAP_BASE);
    CHECK(at < DEVICE_MAP_BASE);
    return at - DIRECT_MAP_BASE;
}

static uint64_t device_map_end(void)
{
    uint64_t addresses_end = 1ull << (cpuid(0x80000008, 0).eax & 0x3f); /* physical address bits */
    return addresses_end < DEVICE_MAP_BYTES ? addresses_end : DEVICE_MAP_BYTES;
}

void *memory_map_device(uint64_t physical, size_t bytes)
{
    uint64_t limit = device_map_end();
    if (bytes > limit || physical > limit - bytes) {
        return NULL;
    }
    uint64_t start = physical & ~(PAGE_BYTES - 1);
    uint64_t end = (physical + bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
    map_range(DEVICE_MAP_BASE + start, start, end - start,
              ENTRY_WRITABLE | ENTRY_NO_EXECUTE | ENTRY_CACHE_DISABLE | ENTRY_WRITE_THROUGH | ENTRY_GLOBAL);
    return (void *)(DEVICE_MAP_BASE + physical);
}

uint64_t *memory_root_table(void)
{
    return root;
}
