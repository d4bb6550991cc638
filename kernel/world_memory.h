/* The frames and page tables behind the world's pages: the page functions of struct machine.
 *
 * The frame of page n is the n-th of one contiguous pool, reserved at boot: the world's whole memory has its frames, so adding
 * a page cannot fail for want of one. A page is present (it has its frame) or absent; what ring 3 may do with a present page is in its table entry.
 * The kernel reaches frames through the direct map only, never through the world's addresses, so SMAP stays closed for ever. */
#ifndef EIDOLON_KERNEL_WORLD_MEMORY_H
#define EIDOLON_KERNEL_WORLD_MEMORY_H

#include <stdint.h>

#include "include/machine.h"
#include "include/status.h"

/* Reserve frames and tables for `bytes` bytes of world memory (a multiple of 4096, at most ABI_WORLD_BYTES_MAX) and hang them
 * into the kernel's root table. Once. NO_MEMORY: the node has not that much. */
MUST_CHECK enum status world_memory_init(uint64_t bytes);

/* The members of struct machine of these names; `context` is not used. */
uint32_t world_memory_pages_max(void);
uint8_t *world_memory_page_frame(void *context, uint32_t page);
enum status world_memory_page_add(void *context, uint32_t page) MUST_CHECK;
void world_memory_page_remove(void *context, uint32_t page);
void world_memory_page_protect(void *context, uint32_t page, enum page_rights rights);
void world_memory_pages_flush(void *context);

/* Before each entry into ring 3: what pages_flush asked for. Only ring 3 uses the world's addresses, so until then nothing old can be used, and what the
 * kernel does between a freeze and the world's next instruction keeps its own translations. */
void world_memory_settle(void);

#endif
