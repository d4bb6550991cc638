/* What the fuzz targets share: reading an input piece by piece, and a machine that is fresh for each run at little cost.
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
#include "tests/unit/support/fake_machine.h"

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

/* A reservation, with poison before and behind it. The next life asks for the same ones in the same order. */
struct fuzz_reserved {
    uint8_t *memory;
    size_t bytes;
};

struct fuzz_machine {
    struct fake_machine fake; /* first: it is the context of the machine's functions */
    struct fuzz_reserved reserved[256];
    unsigned reserved_count, reserved_known;
};

/* A blank disk, no page, reserved memory that is zero without being touched and has poison around it. */
void fuzz_machine_init(struct fuzz_machine *machine, uint32_t pages_max, uint64_t disk_bytes);
/* The same again, for the next run: all pointers into the old life are dead. */
void fuzz_machine_reset(struct fuzz_machine *machine);
/* Only the disk is blank again. */
void fuzz_machine_blank_disk(struct fuzz_machine *machine);
/* What stands on the disk at `offset`; what is written there is durable. */
uint8_t *fuzz_machine_disk(struct fuzz_machine *machine, uint64_t offset);

#endif
