/* The world record: everything the kernel knows that affects a world's future, and nothing else.
 *
 * Part of every delta; enters the digest as one more page. A format on disk and on the wire: fixed size, little-endian, no padding left
 * uninitialised. It comes from peers and disks: world_record_check before use. */
#ifndef EIDOLON_REPLICATE_WORLD_RECORD_H
#define EIDOLON_REPLICATE_WORLD_RECORD_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "include/hash64.h"
#include "include/status.h"

/* The one world of a cluster, in seals, deltas, entries of the log and the ABI page. */
enum { WORLD_NUMBER = 1 };

enum { WORLD_SEGMENTS_MAX = 12, WORLD_REGISTERS_BYTES = 1024, WORLD_REASON_BYTES = 232 };

enum world_life { WORLD_LIFE_NONE = 0, WORLD_LIFE_RUNNING = 1, WORLD_LIFE_STOPPED = 2 };

/* Why the kernel stopped the world. A world that ends itself puts a number of its own there (ABI_CALL_EXIT). */
enum world_stop_code { WORLD_STOP_RINGS = 1, WORLD_STOP_ACCESS = 2, WORLD_STOP_NO_MEMORY = 3, WORLD_STOP_BIRTH = 4, WORLD_STOP_FAULT = 5 };

struct world_segment {
    uint32_t first_page;
    uint32_t pages;
    uint32_t rights;              /* enum page_rights: READ, WRITE or EXECUTE */
    uint32_t reserved;
};

struct world_record {
    uint32_t version;             /* WORLD_RECORD_VERSION */
    uint32_t abi_version;
    uint32_t world_number;        /* WORLD_NUMBER */
    uint32_t life;                /* enum world_life */
    uint64_t memory_bytes;
    uint64_t epoch;               /* the epoch that this record ends */
    uint64_t clock_ns;            /* the world's clock at the freeze */
    uint64_t wall_clock_ns;       /* the host's wall clock at the freeze, for what it is worth */
    uint32_t waiting;             /* 1: the world sits in ABI_CALL_WAIT (its registers re-execute the call) */
    uint32_t host_node;           /* the node that wrote this record */
    uint64_t wait_deadline_ns;    /* UINT64_MAX: none */
    uint64_t wait_resumed;        /* resumed count that the world had seen; kept for who reads a record, nothing here decides by it */
    uint64_t wait_epoch;          /* 0: none; else WAIT also ends when this epoch is committed */
    uint32_t segment_count;
    uint32_t stop_code;           /* enum world_stop_code, or what the world gave ABI_CALL_EXIT; likewise only kept */
    struct world_segment segments[WORLD_SEGMENTS_MAX];
    char stop_reason[WORLD_REASON_BYTES]; /* text, zero-terminated */
    _Alignas(64) uint8_t registers[WORLD_REGISTERS_BYTES]; /* kernel/user.h: opaque here; the kernel sanitises on entry and loads the
                                                            * floating-point state from where it lies, which must be aligned */
};

#define WORLD_RECORD_VERSION 1u

static_assert(offsetof(struct world_record, stop_reason) + WORLD_REASON_BYTES == offsetof(struct world_record, registers),
              "no padding before the registers");
static_assert(sizeof(struct world_record) == offsetof(struct world_record, registers) + WORLD_REGISTERS_BYTES, "no tail padding");
static_assert(sizeof(struct world_record) <= 2048, "fits the delta header");

/* The record's share of the digest, as one more page. */
static inline uint64_t world_record_hash(const struct world_record *record)
{
    return hash64(UINT64_MAX, record, sizeof *record);
}

/* UNKNOWN_VERSION, or INVALID: a field is out of range (segments overlap or leave the world, text without end). */
MUST_CHECK enum status world_record_check(const struct world_record *record, uint64_t memory_bytes);

#endif
