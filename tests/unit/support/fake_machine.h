/* A machine for unit tests: virtual time, frames from the heap, a disk that forgets what was not flushed.
 *
 * The disk keeps what a reader sees (`current`) and what survives a power cut (`durable`). A submitted request waits until the test completes
 * it, in any order it likes. At a power cut each 512-byte sector of each write that no flush covers survives or not, at random.
 * Everything random comes from `seed`. Links: fake_links.h, or the test's own functions in machine.link_*. */
#ifndef EIDOLON_TESTS_FAKE_MACHINE_H
#define EIDOLON_TESTS_FAKE_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/machine.h"

struct fake_write;
struct fake_reserved;

/* What a machine is asked that can fail. */
enum fake_call {
    FAKE_RESERVE,       /* no memory */
    FAKE_PAGE_ADD,      /* no frame */
    FAKE_READ,          /* IO_ERROR */
    FAKE_WRITE,         /* IO_ERROR; asynchronous ones at their completion; nothing is changed */
    FAKE_FLUSH,         /* IO_ERROR; what it would have covered survives or not, also if a later flush succeeds */
    FAKE_SUBMIT,        /* FULL */
    FAKE_SEND,          /* FULL */
    FAKE_CALLS,
};

struct fake_disk {
    uint64_t bytes;
    uint8_t *current;
    uint8_t *durable;
    struct fake_write *unflushed;       /* completed or not, oldest first */
    struct fake_write **unflushed_tail;
    struct block_request *queue;        /* submitted, not completed, oldest first */
    uint32_t queued;
    uint64_t completions;               /* requests completed so far */
    uint64_t flushes;                   /* of them */
    uint64_t dead_after;                /* no request completes once this many have; UINT64_MAX: never */
    uint64_t read_error_at;             /* a read that covers this offset fails; UINT64_MAX: none */
    bool write_errors;                  /* writes and flushes complete with IO_ERROR and change nothing */
    uint32_t queue_max;
};

struct fake_machine {
    struct machine machine;
    enum fake_call failing;             /* the `fail_at`th such call from now on fails, that one alone; 0: none */
    uint64_t fail_at;
    uint64_t now_ns;
    uint64_t wall_clock_ns;
    uint64_t seed;
    struct fake_disk disk;
    uint8_t **frames;
    enum page_rights *rights;
    uint32_t frames_left;               /* page_add fails when 0 */
    uint64_t page_flushes;
    struct fake_reserved *reserved;
    size_t reserved_count;
    size_t reserve_left;                /* reserve fails past this */
    char last_log[512];
    unsigned log_lines;
    struct fake_links *links;           /* tests/unit/support/fake_links.h, or NULL */
    unsigned node;                      /* its number there */
};

/* All of it fresh: a blank disk of `disk_bytes`, no frame present. The pieces are released by fake_machine_destroy. */
void fake_machine_init(struct fake_machine *fake, uint64_t seed, uint32_t pages_max, uint64_t disk_bytes);
void fake_machine_destroy(struct fake_machine *fake);
/* The node loses power and boots again: reserved memory and frames vanish, requests under way are forgotten, unflushed sectors
 * survive or not. Time goes on. */
void fake_machine_power_cut(struct fake_machine *fake);

/* Complete one queued request, a random one if `any_order`. False: nothing is queued, or the disk is dead. */
bool fake_disk_complete(struct fake_machine *fake, bool any_order);
/* Complete everything that is queued, and what that submits. */
void fake_disk_drain(struct fake_machine *fake);
/* Requests under way are forgotten; of the writes that no flush covers each sector survives or not. */
void fake_disk_forget_unflushed(struct fake_machine *fake);
/* The `n`th call of a kind from now on fails, and no other; 0: none. */
void fake_machine_fail_once(struct fake_machine *fake, enum fake_call call, uint64_t n);
/* Was it reached? */
bool fake_machine_has_failed(const struct fake_machine *fake);
/* Does this call fail? For fakes of other parts of the machine. */
bool fake_machine_fails(struct fake_machine *fake, enum fake_call call);
/* Flip one bit of what readers see and what survives. */
void fake_disk_flip(struct fake_machine *fake, uint64_t offset, unsigned bit);

/* The seed for a random test: EIDOLON_TEST_SEED if set, else `base`; printed. */
uint64_t test_seed(const char *test, uint64_t base);
uint64_t test_random(uint64_t *state);
/* 0..bound-1 */
uint32_t test_random_below(uint64_t *state, uint32_t bound);

#endif
