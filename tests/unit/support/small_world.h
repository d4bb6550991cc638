/* What a world needs to be born where there is no kernel: a program, and registers that hold entry and stack. */
#ifndef EIDOLON_TESTS_SMALL_WORLD_H
#define EIDOLON_TESTS_SMALL_WORLD_H

#include <stdint.h>

#include "include/abi.h"

enum { SMALL_WORLD_ELF_BYTES = 3 * 4096 };

/* An ELF with one segment that is read-only and executable and one that is writable, the rest bytes 0x5a. */
void small_world_make_elf(uint8_t out[SMALL_WORLD_ELF_BYTES]);

/* What a node answers to the world's questions (struct world_ops): it is node 1, and node 2 is the only one to move to. */
void small_world_describe(void *context, struct abi_status *out);
int64_t small_world_move(void *context, uint64_t node);

#endif
