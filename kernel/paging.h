/* Bits of page table entries. */
#ifndef EIDOLON_KERNEL_PAGING_H
#define EIDOLON_KERNEL_PAGING_H

#define PAGE_BYTES 4096ull
#define LARGE_PAGE_BYTES (2ull << 20)

#define ENTRY_PRESENT (1ull << 0)
#define ENTRY_WRITABLE (1ull << 1)
#define ENTRY_USER (1ull << 2)
#define ENTRY_WRITE_THROUGH (1ull << 3)
#define ENTRY_CACHE_DISABLE (1ull << 4)
#define ENTRY_LARGE (1ull << 7)
#define ENTRY_GLOBAL (1ull << 8)
#define ENTRY_NO_EXECUTE (1ull << 63)
#define ENTRY_ADDRESS 0x000ffffffffff000ull

#endif
