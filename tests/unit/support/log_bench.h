/* A log alone over a fake disk, for tests. What a step of a test needs to succeed is asserted here. */
#ifndef EIDOLON_TESTS_LOG_BENCH_H
#define EIDOLON_TESTS_LOG_BENCH_H

#include <stdint.h>

#include "consensus/limits.h"
#include "consensus/log.h"
#include "tests/unit/support/fake_machine.h"

#define MS 1000000ull
enum { REGION_OFFSET = 1 << 20, REGION_BYTES = LOG_REGION_BYTES_MIN, DISK = REGION_OFFSET + REGION_BYTES };
static const uint64_t raft_id = 0x1101;

struct bench {
    struct fake_machine fake;
    struct log *log;
    uint64_t checkpoint, checkpoint_term;
    char reason[200];
};

/* A blank disk with an open log behind checkpoint 1. */
struct bench *bench_make(uint64_t seed);
void bench_free(struct bench *bench);
/* Open the log as the disk is, behind bench->checkpoint; bench->reason says what is wrong. */
enum status reopen(struct bench *bench);
/* Power goes and comes back. */
enum status restart(struct bench *bench);

/* The body of an entry is made of its index, its term and its length. */
void make_body(uint8_t *body, uint64_t index, uint64_t term, uint32_t bytes);
enum status append(struct bench *bench, uint64_t index, uint64_t term, uint32_t bytes);
void append_many(struct bench *bench, uint64_t first, unsigned count, uint64_t term, uint32_t bytes);
/* Everything that can be written is written and flushed. */
void settle(struct bench *bench);
/* ... and the marker behind it. */
void go_quiet(struct bench *bench);
/* The entry is there, of that term and with its body. */
void assert_entry(struct bench *bench, uint64_t index, uint64_t term);
/* Where the record of an entry stands on the disk. */
uint64_t place_of(const struct bench *bench, uint64_t index);

#endif
