/* What a world needs to be born where there is no kernel: a program, and registers that hold entry and stack. */
#ifndef EIDOLON_TESTS_SMALL_WORLD_H
#define EIDOLON_TESTS_SMALL_WORLD_H

#include <stdint.h>

enum { SMALL_WORLD_ELF_BYTES = 3 * 4096 };

/* An ELF with one segment that is read-only and executable and one that is writable, the rest bytes 0x5a. */
void small_world_make_elf(uint8_t out[SMALL_WORLD_ELF_BYTES]);

#endif
