/* A node's page store and image over a fake disk, for tests: everything but the disk is made anew at each boot.
 *
 * Pages are written as a world would, epochs closed at once, checkpoints stepped while the disk completes requests in a random order.
 * What a step of a test needs to succeed is asserted here. */
#ifndef EIDOLON_TESTS_STORE_BENCH_H
#define EIDOLON_TESTS_STORE_BENCH_H

#include <stdint.h>

#include "replicate/image.h"
#include "replicate/store.h"
#include "tests/unit/support/fake_machine.h"

enum { PAGE = REPLICATE_PAGE_BYTES, PAGES = 300, NODE = 2 };
#define DISK (64ull << 20)
#define INCARNATION 0x1234567ull

struct bench {
    struct fake_machine fake;
    struct image *image;
    struct store *store;
    struct seal_keys keys;
    uint32_t pages;
    uint64_t epoch;
    uint8_t *delta_buffer, *undo_buffer;
    enum store_disk disk;
    char reason[REASON_BYTES_MAX];
};

/* Create store and image over the disk as it is, without opening it. */
void bench_make_store(struct bench *bench);
/* The same, and open: bench->disk, bench->reason. */
void bench_boot(struct bench *bench);
/* Power cut, then boot. */
void bench_reboot(struct bench *bench);
/* A blank disk, booted. */
struct bench *bench_create(uint64_t seed, uint32_t pages, uint64_t disk_bytes);
void bench_destroy(struct bench *bench);

/* The value of a page stands at an offset of its own. */
void bench_write_page(struct bench *bench, uint32_t page, uint32_t value);
uint32_t bench_value_of(struct bench *bench, uint32_t page);
void bench_close_epoch(struct bench *bench);

/* What a checkpoint of the image now stands for. */
struct checkpoint bench_checkpoint_of(const struct bench *bench);
enum status bench_begin_checkpoint(struct bench *bench);
/* Step until it has ended; TIMED_OUT: the disk is dead. */
enum status bench_run_checkpoint(struct bench *bench);
void bench_make_checkpoint(struct bench *bench);
enum status bench_fill(struct bench *bench);
/* Fill, and find the image exactly what the checkpoint says. */
void bench_assert_filled(struct bench *bench);

#endif
