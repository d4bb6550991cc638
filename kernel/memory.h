/* The node's physical memory and the kernel's own address space (layout: kernel/layout.h).
 *
 * Memory is handed out once, at boot, and never returned: there is no page allocator to run dry later. */
#ifndef EIDOLON_KERNEL_MEMORY_H
#define EIDOLON_KERNEL_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "include/status.h"

/* Take over from the boot tables: read the loader's memory map and modules from `start_info` (physical address of the PVH
 * hvm_start_info), build the final page tables with text, rodata and data under their own rights, and switch to them.
 * The start info itself and module 0 stay readable through memory_module. */
void memory_init(uint64_t start_info);

/* The loader's first module: borrowed for ever, read-only by agreement. NOT_FOUND: there is none. */
MUST_CHECK enum status memory_module(const void **bytes, size_t *count);

/* `bytes` bytes of zeroed, physically contiguous memory in the direct map, aligned to `alignment` (a power of two, at most 2 MiB).
 * For ever. NULL: there is not that much. */
void *memory_reserve(size_t bytes, size_t alignment);
/* The same, not zeroed: what stood there in a former life may be read from it. */
void *memory_reserve_raw(size_t bytes, size_t alignment);

/* Bytes that memory_reserve could still give in all. */
size_t memory_left(void);
/* The same, in one piece. */
size_t memory_largest(void);

/* The physical address of something in the direct map or in the kernel image; contiguous as far as the object is. */
uint64_t memory_physical(const void *address);

/* There is not even enough for the kernel: say so, with what to do, and restart. */
_Noreturn void memory_too_small(void);

/* The registers of a device, uncached. Mapping the same range again is harmless. NULL: beyond the device map, or no physical address here. */
void *memory_map_device(uint64_t physical, size_t bytes);

/* The root of all page tables; its lower half is the world's. For kernel/world_memory.c. */
uint64_t *memory_root_table(void);

#endif
