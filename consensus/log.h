/* The Raft log on disk, in a fixed region used as a ring.
 *
 * Owns: the log region, the index of the entries in it, recent bodies in memory. Promises: log_persisted() never names an entry that a flush does not
 * cover; entries are written in order, and while a flush is outstanding later ones coalesce into the next write (group commit); a write never
 * touches a block of an earlier one, so a torn write damages nothing that was flushed. What was flushed and is bad at the next start is
 * CORRUPT, never a shorter log. Everything is bounded (consensus/limits.h). Called by consensus/group, from the event loop only.
 *
 * Format. The region is a sequence of *batches*, each one write: whole blocks, starting with a struct log_batch, then its records one after the other, then
 * zeros. A batch does not wrap; one that does not fit before the end of the region starts at its beginning. Batches are found by
 * reading the whole region; their order is that of `sequence`, which grows by at least one with each and is never used twice by an incarnation.
 *   flushed   the highest sequence known durable when this one was written: what it names, and all before it down to `live`, must be there.
 *   previous  sequence of the batch before it, 0 for the first: after a torn tail was cut, sequences go on above all that were seen.
 *   live      batches below it are needed no more (a durable checkpoint covers them, or the log was restarted).
 *   before    the last index in the log before this batch's records, which follow it one by one: if the checkpoint is not below it, nothing earlier is
 *             needed; what earlier batches hold behind it has been dropped (truncation).
 * A batch without records is a marker: written
 * when the log goes quiet, so that the last entry is covered by a `flushed`, and so that a log that was restarted says which checkpoint it needs. */
#ifndef EIDOLON_CONSENSUS_LOG_H
#define EIDOLON_CONSENSUS_LOG_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consensus/group.h"
#include "consensus/limits.h"
#include "include/machine.h"
#include "include/status.h"

#define LOG_BATCH_MAGIC 0x474f4c424e444945ull  /* "EIDNBLOG" */
#define LOG_RECORD_MAGIC 0x434552444e444945ull /* "EIDNDREC" */
#define LOG_VERSION 1u

struct log_batch {
    uint64_t magic;
    uint32_t version;
    uint32_t bytes;          /* of the batch, whole blocks */
    uint64_t raft_id;        /* another incarnation's batch is none */
    uint64_t sequence;
    uint64_t previous;
    uint64_t flushed;
    uint64_t live;
    uint64_t before;
    uint32_t records;
    uint32_t used;           /* bytes of header and records */
    uint64_t checksum;       /* hash64(LOG_BATCH_MAGIC, [0, used) with this field 0) */
};

/* Numbers are those of the raft library. */
enum log_type { LOG_COMMAND = 1, LOG_BARRIER = 2, LOG_CHANGE = 3 };

struct log_record {
    uint64_t magic;
    uint64_t index;
    uint64_t term;
    uint32_t type;           /* enum log_type */
    uint32_t body_bytes;     /* a multiple of 8 follows: padded with zeros */
    struct group_entry entry; /* LOG_COMMAND; zero otherwise */
    uint64_t body_check;     /* hash64(index, body) */
    uint64_t checksum;       /* hash64(LOG_RECORD_MAGIC, everything before) */
};

static_assert(sizeof(struct log_batch) == 80, "log batch layout");
static_assert(sizeof(struct log_record) == 128, "log record layout");

struct log;

/* An entry, as given out. */
struct log_view {
    uint64_t term;
    enum log_type type;
    struct group_entry entry;
    const uint8_t *body;
    uint32_t body_bytes;
};

/* Reserve memory for a region of up to `region_bytes`. NO_MEMORY: the machine has not that much. */
MUST_CHECK enum status log_create(struct log **out, const struct machine *machine, uint64_t region_bytes);

/* Recover from the region at `offset`, `bytes` long, what the incarnation `raft_id` wrote behind the checkpoint (index, term). A log that ends before the
 * checkpoint or disagrees with it is dropped. Nothing recovered is called persisted before log_recovered_durable().
 * BUSY: requests of a former life are under way.  CORRUPT: a durable record is bad; `reason` says which.  IO_ERROR: the disk cannot be read. */
MUST_CHECK enum status log_open(struct log *log, uint64_t offset, uint64_t bytes, uint64_t raft_id, uint64_t index, uint64_t term,
                                char reason[REASON_BYTES_MAX]);
/* A flush that was submitted after log_open has completed. */
void log_recovered_durable(struct log *log);

/* -- facts -- */
uint64_t log_first_index(const struct log *log); /* of what can be read; last + 1 if nothing */
uint64_t log_last_index(const struct log *log);
uint64_t log_term_of(const struct log *log, uint64_t index); /* 0: not known; the entry before the first is known if a checkpoint gave its term */
enum log_type log_type_of(const struct log *log, uint64_t index); /* of an entry that can be read */
uint32_t log_body_bytes(const struct log *log, uint64_t index);
uint64_t log_persisted(const struct log *log);   /* all entries up to here are durable */
uint64_t log_used_bytes(const struct log *log);  /* of the region */
uint64_t log_bytes_from(const struct log *log, uint64_t index); /* ... from the write that holds this entry on; 0: it is in none yet, or behind the last */
uint64_t log_region_bytes(const struct log *log);
uint64_t log_written_bytes(const struct log *log); /* handed to the disk since log_create, with headers and padding */
bool log_failed(const struct log *log);          /* a write or a flush failed: nothing is written any more */

/* -- writing -- */
/* What an entry is for: how much of the log's reserve (LOG_RESERVE_BYTES) it has to leave. */
enum log_purpose {
    LOG_FOR_SUBMISSION,  /* all of it */
    LOG_FOR_REPLACEMENT, /* half: it takes the place of an entry that was never committed. A log full of those could take nothing else any more */
    LOG_FOR_TERM,        /* nothing: a barrier that begins a term, a change of members */
};
/* Could `entries` of `bytes` body bytes in all be appended? */
bool log_room(const struct log *log, uint32_t entries, size_t bytes, enum log_purpose purpose);
/* Will log_room say so of each of these submissions when they are appended one after the other, though the ring wraps meanwhile and the reserve's entries
 * come in between? Who has closed an epoch cannot take it back. */
bool log_room_for_all(const struct log *log, uint32_t entries, size_t bytes);
/* Append an entry at `index`, at most last + 1; an index that is there drops it and all behind it first. `entry` NULL: zero. All borrowed.
 * FULL: memory or index is exhausted (log_room would have said so); nothing was appended. */
MUST_CHECK enum status log_append(struct log *log, uint64_t index, uint64_t term, enum log_type type, const struct group_entry *entry, const void *body,
                                  uint32_t body_bytes);
/* Entries up to `index` are needed no more: a durable checkpoint covers them. */
void log_cut(struct log *log, uint64_t index);
/* Forget all entries: a snapshot up to (index, term) takes their place. */
void log_restart(struct log *log, uint64_t index, uint64_t term);
/* Forget the entries that are not durable yet. */
void log_drop_unpersisted(struct log *log);
/* Submit what is due, unless `hold` (a term or vote on which the entries depend is not durable yet). */
void log_tick(struct log *log, bool hold);
/* When log_tick is due next without a completion; UINT64_MAX: never. 0: at once. */
uint64_t log_deadline_ns(const struct log *log);

/* -- reading -- */
/* The entry at `index`; its body is in memory until the next log_append, or read (synchronously, verified) into `scratch`, which holds
 * ENTRY_BODY_BYTES_MAX. NOT_FOUND: not in the log.  CORRUPT, IO_ERROR: our disk is bad. */
MUST_CHECK enum status log_read(struct log *log, uint64_t index, uint8_t *scratch, struct log_view *out);

void log_check(const struct log *log);

#endif
