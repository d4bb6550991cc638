/* What the fuzz targets share: reading an input piece by piece; their machine is in fuzz_machine.h.
 *
 * A target turns an input into what a disk, a peer or a world would show, lets the product decode it, and CHECKs what the module promises
 * of whatever it accepted. Where a seal or a checksum stands before a decoder, the target makes it over the input's plain text: the fuzzer
 * would never get past it otherwise. An input that ends early reads as zeros. */
#ifndef EIDOLON_TESTS_FUZZ_H
#define EIDOLON_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/check.h"
#include "tests/fuzz/support/fuzz_machine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

struct fuzz_input {
    const uint8_t *at;
    size_t left;
};

/* Copy `bytes` bytes out; zeros behind the end. */
void fuzz_copy(struct fuzz_input *input, void *out, size_t bytes);
uint8_t fuzz_byte(struct fuzz_input *input);
uint16_t fuzz_short(struct fuzz_input *input);
uint32_t fuzz_word(struct fuzz_input *input);
/* A number as counters have them: mostly small, sometimes any, sometimes at the end of the range. One to nine bytes. */
uint64_t fuzz_number(struct fuzz_input *input);

#endif
