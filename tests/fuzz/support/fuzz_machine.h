/* A machine for fuzz targets: what a first run made is kept, and each later run starts from it at the cost of what the one before touched.
 *
 * Reserved memory has poison before and behind it, absent pages are poison. The n-th reservation asks for the same in each run. */
#ifndef EIDOLON_TESTS_FUZZ_MACHINE_H
#define EIDOLON_TESTS_FUZZ_MACHINE_H

#include "tests/unit/support/fake_machine.h"

struct fuzz_reserved;

enum { FUZZ_RESERVED_MAX = 256 };

struct fuzz_machine {
    struct fake_machine fake;           /* first: it is the context of the machine's functions */
    enum status (*fake_write)(void *context, uint64_t offset, const void *buffer, size_t bytes);
    uint64_t (*fake_now)(void *context);
    enum status (*fake_submit)(void *context, struct block_request *request);
    struct fuzz_reserved *reserved;
    unsigned reserved_count, reserved_known;
    uint8_t *frames;                    /* of all pages */
    uint32_t *touched;                  /* blocks of the disk that may be other than zero */
    uint32_t touched_count;
    bool *is_touched;
    /* What a reset brings back. */
    struct fake_machine kept;
    unsigned kept_reserved;
    uint8_t **kept_frames;              /* of each page; NULL: it was absent */
    enum page_rights *kept_rights;
    uint8_t **kept_blocks;              /* of `touched`, the first kept_touched */
    uint32_t kept_touched;
    size_t scratch_bytes;
    uint8_t *scratch;
    bool *scratch_blank;                /* its pages that the last reads made zero, and nobody had a reason to touch since */
};

/* A blank disk, no page, reserved memory that is zero. */
void fuzz_machine_init(struct fuzz_machine *machine, uint32_t pages_max, uint64_t disk_bytes);
/* Before anything is reserved: what is of this size is the log's buffer. What it holds stays from run to run, as it is written before it is used. */
void fuzz_machine_scratch(struct fuzz_machine *machine, size_t bytes);
/* Once: memory, pages, disk and clock as they are now are where each run starts. No request is under way. */
void fuzz_machine_keep(struct fuzz_machine *machine);
/* All as it was kept. What was reserved since is reserved no more, and what the disk was asked is forgotten. */
void fuzz_machine_reset(struct fuzz_machine *machine);
/* Only the disk, for a target whose module starts anew by itself. Also without a fuzz_machine_keep: a blank one. */
void fuzz_machine_reset_disk(struct fuzz_machine *machine);
/* The `bytes` bytes of the disk at `offset`, to be written. */
uint8_t *fuzz_machine_disk(struct fuzz_machine *machine, uint64_t offset, uint64_t bytes);

#endif
