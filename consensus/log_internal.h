/* Inside of consensus/log: shared by log.c (entries), log_write.c (disk) and log_recover.c (start). */
#ifndef EIDOLON_CONSENSUS_LOG_INTERNAL_H
#define EIDOLON_CONSENSUS_LOG_INTERNAL_H

#include "consensus/log.h"

enum { LOG_BLOCK = MACHINE_BLOCK_BYTES, LOG_READ_BYTES = 96 * 1024 };
static_assert((int)LOG_READ_BYTES >= (int)ENTRY_BODY_BYTES_MAX + (int)sizeof(struct log_record) + 2 * (int)LOG_BLOCK,
              "a record with its surrounding blocks fits the read buffer");

/* Where an entry is. */
struct log_slot {
    uint64_t term;
    uint64_t sequence;      /* batch that holds its present version; 0: in none yet */
    uint32_t block;         /* first block of that batch, in the region */
    uint32_t record;        /* bytes from there to the record */
    uint32_t body_bytes;
    uint32_t type;
    uint64_t memory;        /* offset in the memory ring; meaningful from resident_first on */
};

enum log_round {
    LOG_ROUND_IDLE,
    LOG_ROUND_WRITING,      /* `outstanding` writes */
    LOG_ROUND_WRITTEN,      /* all writes completed; the flush is to be submitted */
    LOG_ROUND_FLUSHING,
};

struct log {
    const struct machine *machine;
    struct log_slot *slots;
    uint8_t *memory;
    uint8_t *batches;       /* LOG_BATCHES_MAX buffers */
    uint8_t *read_buffer;
    uint64_t region_bytes_max;

    uint64_t offset, region_bytes, raft_id;
    uint64_t base_index, base_term; /* the entry before the first one */
    uint64_t last;
    uint64_t staged;        /* last entry in a submitted batch */
    uint64_t persisted;
    uint64_t resident_first; /* entries from here on have their body in memory */
    uint64_t memory_head;
    uint64_t unpersisted_bytes; /* of memory, held by entries that cannot be evicted */
    uint64_t unstaged_bytes;    /* of disk, at most, that entries not staged will take */

    uint64_t head;          /* where the next batch starts, bytes in the region */
    uint64_t next_sequence, previous_sequence;
    uint64_t flushed_sequence;   /* known durable */
    uint64_t announced_sequence; /* `flushed` of the last batch submitted */
    uint64_t record_sequence;    /* last batch with records */
    bool restarted;              /* no batch says yet where the log begins */

    enum log_round round;
    unsigned outstanding;
    bool writing_failed, failed;
    uint64_t round_last;    /* highest entry of this round that still stands; 0: none */
    struct block_request requests[LOG_BATCHES_MAX];
    struct block_request flush;
    uint64_t retry_ns;      /* the device's queue was full, or the ring had no room; 0: no */
    uint64_t quiet_since_ns;
    uint64_t written_bytes; /* handed to the disk since creation */
    bool held;
};

static inline struct log_slot *log_slot_of(const struct log *log, uint64_t index)
{
    return &log->slots[index % LOG_ENTRIES_MAX];
}
static inline uint64_t log_round_up(uint64_t value, uint64_t to)
{
    return (value + to - 1) / to * to;
}
static inline uint64_t log_memory_bytes_of(uint32_t body_bytes)
{
    return log_round_up(sizeof(struct group_entry) + body_bytes, 8);
}
static inline uint64_t log_record_bytes_of(uint32_t body_bytes)
{
    return sizeof(struct log_record) + log_round_up(body_bytes, 8);
}
/* An entry's share of the region if it gets a batch of its own. */
static inline uint64_t log_disk_bytes_of(uint32_t body_bytes)
{
    return log_round_up(sizeof(struct log_batch) + log_record_bytes_of(body_bytes), LOG_BLOCK);
}

/* The oldest block that is needed, bytes in the region; the head if none is. */
uint64_t log_tail(const struct log *log);
/* Checksums. */
uint64_t log_batch_checksum(const struct log_batch *batch);
uint64_t log_record_checksum(const struct log_record *record);
/* Is there a well-formed record with its body at `at`, `left` bytes long? */
bool log_record_valid(const uint8_t *at, uint64_t left, struct log_record *out);
/* Drop entries from `index` on. */
void log_truncate(struct log *log, uint64_t index);
/* Entries up to `index` are durable. */
void log_advance_persisted(struct log *log, uint64_t index);

#endif
