#include "kernel/world_memory.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "include/abi.h"
#include "include/check.h"
#include "kernel/memory.h"
#include "kernel/paging.h"
#include "kernel/processor.h"

/* A bit that the processor leaves to us: the page has its frame, whatever ring 3 may do with it. */
#define ENTRY_HAS_FRAME (1ull << 9)

enum {
    ENTRIES_PER_TABLE = 512,
    WORLD_DIRECTORIES = 3, /* GiB 0, 1 and 2, in which the largest world lies */
    NARROWED_PAGES_MAX = 64, /* to invalidate a page costs 0.2 us; an empty TLB costs some 50 us afterwards, all under emulation */
};

static_assert(ABI_WORLD_BASE % LARGE_PAGE_BYTES == 0, "the world starts with a page table of its own");
static_assert(ABI_WORLD_BASE + ABI_WORLD_BYTES_MAX <= (uint64_t)WORLD_DIRECTORIES << 30, "three directories reach all of it");
static_assert(ABI_PAGE_BYTES == PAGE_BYTES, "one page size");

static uint8_t *frames;
static uint64_t frames_physical;
static volatile uint64_t *entries; /* of all pages in order: the tables are contiguous */
static uint32_t pages_max;

/* Pages that lost a right since ring 3 ran last: the processor may still hold what it was allowed. Past as many the whole TLB is emptied. */
static uint32_t narrowed[NARROWED_PAGES_MAX];
static uint32_t narrowed_count;
static bool flush_due;

static const uint64_t entry_rights[] = {
    [PAGE_NONE] = 0,
    [PAGE_READ] = ENTRY_PRESENT | ENTRY_USER | ENTRY_NO_EXECUTE,
    [PAGE_WRITE] = ENTRY_PRESENT | ENTRY_USER | ENTRY_WRITABLE | ENTRY_NO_EXECUTE,
    [PAGE_EXECUTE] = ENTRY_PRESENT | ENTRY_USER,
};

/* The entry of `page` changes. An entry that was absent is in no TLB. */
static void set_entry(uint32_t page, uint64_t entry)
{
    uint64_t old = entries[page];
    uint64_t lost = old & ~entry & (ENTRY_PRESENT | ENTRY_WRITABLE);
    uint64_t gained = ~old & entry & ENTRY_NO_EXECUTE;
    if ((old & ENTRY_PRESENT) != 0 && (lost | gained) != 0) {
        if (narrowed_count < NARROWED_PAGES_MAX) {
            narrowed[narrowed_count] = page;
        }
        narrowed_count += narrowed_count <= NARROWED_PAGES_MAX;
    }
    entries[page] = entry;
}

static uint64_t entry_of(const void *table)
{
    return memory_physical(table) | ENTRY_PRESENT | ENTRY_WRITABLE | ENTRY_USER;
}

enum status world_memory_init(uint64_t bytes)
{
    CHECK(bytes % PAGE_BYTES == 0);
    CHECK(bytes <= ABI_WORLD_BYTES_MAX);
    uint64_t tables = (bytes + LARGE_PAGE_BYTES - 1) / LARGE_PAGE_BYTES;
    uint64_t *pointers = memory_reserve(PAGE_BYTES, PAGE_BYTES);
    uint64_t *directories = memory_reserve(WORLD_DIRECTORIES * PAGE_BYTES, PAGE_BYTES);
    uint64_t *page_tables = memory_reserve(tables * PAGE_BYTES, PAGE_BYTES);
    frames = memory_reserve_raw(bytes, PAGE_BYTES); /* a page is zeroed when it is added */
    if (pointers == NULL || directories == NULL || page_tables == NULL || frames == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (size_t i = 0; i < tables; i++) {
        directories[ABI_WORLD_BASE / LARGE_PAGE_BYTES + i] = entry_of(page_tables + i * ENTRIES_PER_TABLE);
    }
    for (size_t i = 0; i < WORLD_DIRECTORIES; i++) {
        pointers[i] = entry_of(directories + i * ENTRIES_PER_TABLE);
    }
    memory_root_table()[0] = entry_of(pointers);
    frames_physical = memory_physical(frames);
    entries = page_tables;
    pages_max = (uint32_t)(bytes / PAGE_BYTES);
    return STATUS_OK;
}

uint32_t world_memory_pages_max(void)
{
    return pages_max;
}

uint8_t *world_memory_page_frame(void *context, uint32_t page)
{
    (void)context;
    CHECK(page < pages_max);
    return (entries[page] & ENTRY_HAS_FRAME) != 0 ? frames + page * PAGE_BYTES : NULL;
}

enum status world_memory_page_add(void *context, uint32_t page)
{
    (void)context;
    CHECK(page < pages_max);
    CHECK((entries[page] & ENTRY_HAS_FRAME) == 0);
    memset(frames + page * PAGE_BYTES, 0, PAGE_BYTES);
    set_entry(page, ENTRY_HAS_FRAME);
    return STATUS_OK;
}

void world_memory_page_remove(void *context, uint32_t page)
{
    (void)context;
    CHECK(page < pages_max);
    CHECK((entries[page] & ENTRY_HAS_FRAME) != 0);
    set_entry(page, 0);
}

void world_memory_page_protect(void *context, uint32_t page, enum page_rights rights)
{
    (void)context;
    CHECK(page < pages_max);
    CHECK((entries[page] & ENTRY_HAS_FRAME) != 0);
    CHECK(rights <= PAGE_EXECUTE);
    set_entry(page, (frames_physical + page * PAGE_BYTES) | ENTRY_HAS_FRAME | entry_rights[rights]);
}

void world_memory_pages_flush(void *context)
{
    (void)context;
    flush_due = true;
}

void world_memory_settle(void)
{
    if (!flush_due) {
        return;
    }
    if (narrowed_count > NARROWED_PAGES_MAX) {
        write_cr3(read_cr3()); /* the world's entries are not global */
    } else {
        for (uint32_t i = 0; i < narrowed_count; i++) {
            invalidate_page(ABI_WORLD_BASE + narrowed[i] * PAGE_BYTES);
        }
    }
    narrowed_count = 0;
    flush_due = false;
}
