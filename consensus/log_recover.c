/* Reading the log back at start.
 *
 *   1  read the whole region; remember each valid batch of this incarnation (its body in memory is not needed yet)
 *   2  what must be there: from the batch that the highest `flushed` names, back along `previous`, until `live` or the checkpoint says that nothing
 *      earlier is needed; one that is missing or not in its place (behind the one before it, or at the region's start) is corruption, and so is a
 *      first one that the checkpoint does not reach
 *   3  from there on forward along `previous` as far as batches are whole and in place: the tail that was written but not known to be flushed. The rest
 *      is torn: cut
 *   4  play the records of that chain in order, with truncations; keep what is behind the checkpoint. A batch whose numbers do not follow from those before
 *      it is corruption: so what is accepted once can be continued, and is accepted again */
#include "consensus/log_internal.h"

#include <stdio.h>
#include <string.h>

#include "include/check.h"
#include "include/hash64.h"

/* A batch that was found. They stand in the memory ring, which is not in use yet. */
struct found {
    uint64_t sequence, previous, before, checksum;
    uint32_t block, bytes, records, chain; /* chain: position of the batch that follows in it, NONE */
};

enum { WINDOW_BYTES = LOG_BATCHES_MAX * LOG_BATCH_BYTES_MAX };
#define NONE UINT32_MAX
static_assert(sizeof(struct found) * (LOG_REGION_BYTES_MAX / LOG_BLOCK) <= LOG_MEMORY_BYTES, "all batches of a region can be remembered");

struct recovery {
    struct log *log;
    struct found *found;
    uint32_t count;
    uint64_t flushed, live, sequence_max;
    bool disagrees; /* the log, as far as it was played, has another entry at the checkpoint */
    char *reason;
};

bool log_record_valid(const uint8_t *at, uint64_t left, struct log_record *out)
{
    if (left < sizeof *out) {
        return false;
    }
    memcpy(out, at, sizeof *out);
    return out->magic == LOG_RECORD_MAGIC && out->checksum == log_record_checksum(out) && out->body_bytes <= ENTRY_BODY_BYTES_MAX &&
           log_record_bytes_of(out->body_bytes) <= left && out->type >= LOG_COMMAND && out->type <= LOG_CHANGE && out->term > 0 &&
           out->term <= GROUP_NUMBER_MAX && out->index > 0 && out->index <= GROUP_NUMBER_MAX &&
           out->body_check == hash64(out->index, at + sizeof *out, out->body_bytes);
}

/* Is there a whole batch of ours at `at`, with `left` bytes from there to the end of the region or the window? */
static bool batch_valid(const struct log *log, uint8_t *at, uint64_t left, struct log_batch *out)
{
    memcpy(out, at, sizeof *out);
    if (out->magic != LOG_BATCH_MAGIC || out->version != LOG_VERSION || out->raft_id != log->raft_id || out->bytes > left || out->bytes == 0 ||
        out->bytes % LOG_BLOCK != 0 || out->used < sizeof *out || out->used > out->bytes) {
        return false;
    }
    struct log_batch *in_place = (struct log_batch *)(void *)at;
    in_place->checksum = 0;
    bool whole = log_batch_checksum(in_place) == out->checksum;
    in_place->checksum = out->checksum;
    return whole && out->sequence > out->previous && out->sequence > out->flushed && out->sequence >= out->live && out->live > 0;
}

static enum status read_region(struct log *log, uint64_t from, uint64_t bytes, uint8_t *to)
{
    for (uint64_t done = 0; done < bytes; done += MACHINE_REQUEST_BYTES_MAX) {
        uint64_t part = bytes - done < MACHINE_REQUEST_BYTES_MAX ? bytes - done : MACHINE_REQUEST_BYTES_MAX;
        enum status status = log->machine->block_read(log->machine->context, log->offset + from + done, to + done, part);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

/* Step 1. */
static enum status find_batches(struct recovery *recovery)
{
    struct log *log = recovery->log;
    uint64_t kept = 0; /* bytes of the window that were read already, too few for the largest batch */
    for (uint64_t window = 0; window < log->region_bytes;) {
        uint64_t whole_requests = kept + (WINDOW_BYTES - kept) / MACHINE_REQUEST_BYTES_MAX * MACHINE_REQUEST_BYTES_MAX;
        uint64_t bytes = log->region_bytes - window < whole_requests ? log->region_bytes - window : whole_requests;
        bool last = window + bytes == log->region_bytes;
        enum status status = read_region(log, window + kept, bytes - kept, log->batches + kept);
        if (status != STATUS_OK) {
            snprintf(recovery->reason, 200, "log region cannot be read: %s", status_sentence(status));
            return status;
        }
        uint64_t at = 0;
        while (at < bytes && (last || bytes - at >= LOG_BATCH_BYTES_MAX)) {
            struct log_batch batch;
            if (!batch_valid(log, log->batches + at, bytes - at, &batch)) {
                at += LOG_BLOCK;
                continue;
            }
            recovery->found[recovery->count++] = (struct found){.sequence = batch.sequence,
                                                                .previous = batch.previous,
                                                                .before = batch.before,
                                                                .checksum = batch.checksum,
                                                                .block = (uint32_t)((window + at) / LOG_BLOCK),
                                                                .bytes = batch.bytes,
                                                                .records = batch.records,
                                                                .chain = NONE};
            recovery->flushed = batch.flushed > recovery->flushed ? batch.flushed : recovery->flushed;
            recovery->live = batch.live > recovery->live ? batch.live : recovery->live;
            recovery->sequence_max = batch.sequence > recovery->sequence_max ? batch.sequence : recovery->sequence_max;
            at += batch.bytes;
        }
        window += at;
        kept = bytes - at;
        memmove(log->batches, log->batches + at, kept);
    }
    return STATUS_OK;
}

/* By sequence. Shell sort: in place, no recursion, and the batches are nearly in order. */
static void sort_found(struct found *found, uint32_t count)
{
    uint32_t gap = 1;
    while (gap < count / 3) {
        gap = gap * 3 + 1;
    }
    for (; gap > 0; gap /= 3) {
        for (uint32_t i = gap; i < count; i++) {
            struct found moved = found[i];
            uint32_t j = i;
            for (; j >= gap && found[j - gap].sequence > moved.sequence; j -= gap) {
                found[j] = found[j - gap];
            }
            found[j] = moved;
        }
    }
}

/* A sequence is never used twice: of two different batches nobody could say which one counts. */
static enum status check_sequences(const struct recovery *recovery)
{
    for (uint32_t i = 1; i < recovery->count; i++) {
        const struct found *one = &recovery->found[i - 1], *other = &recovery->found[i];
        if (one->sequence == other->sequence && one->checksum != other->checksum) {
            snprintf(recovery->reason, 200, "two different log batches have the sequence %llu", (unsigned long long)one->sequence);
            return STATUS_CORRUPT;
        }
    }
    return STATUS_OK;
}

/* Does `next` stand where the writer goes on after `batch`? */
static bool leads_to(const struct recovery *recovery, const struct found *batch, const struct found *next)
{
    return next->block == 0 || (uint64_t)batch->block * LOG_BLOCK + batch->bytes == (uint64_t)next->block * LOG_BLOCK % recovery->log->region_bytes;
}

/* The first of those that were found with `sequence` or a higher one. */
static uint32_t lower_bound(const struct recovery *recovery, uint64_t sequence)
{
    uint32_t low = 0, high = recovery->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (recovery->found[middle].sequence < sequence) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* How well a copy of a batch stands: right in front of `next`; if that is NONE, behind the batch before it, or in front of one that follows. */
static unsigned place_rank(const struct recovery *recovery, uint32_t at, uint32_t next)
{
    const struct found *found = recovery->found;
    if (next != NONE) {
        return leads_to(recovery, &found[at], &found[next]);
    }
    unsigned rank = 0;
    for (uint32_t i = lower_bound(recovery, found[at].previous); i < recovery->count && found[i].sequence == found[at].previous; i++) {
        rank = leads_to(recovery, &found[i], &found[at]) ? 2 : rank;
    }
    for (uint32_t i = at + 1; i < recovery->count && rank % 2 == 0; i++) {
        rank += found[i].previous == found[at].sequence && leads_to(recovery, &found[at], &found[i]);
    }
    return rank;
}

/* The batch `sequence`, in front of `next` if that is not NONE. A write that went astray may have left a copy: one that stands in its place goes first;
 * if that does not tell, the one in the lowest block, so that each start takes the same. */
static uint32_t find_sequence(const struct recovery *recovery, uint64_t sequence, uint32_t next)
{
    const struct found *found = recovery->found;
    uint32_t first = lower_bound(recovery, sequence), best = NONE;
    unsigned best_rank = 0;
    for (uint32_t at = first; at < recovery->count && found[at].sequence == sequence; at++) {
        bool alone = at == first && (at + 1 == recovery->count || found[at + 1].sequence != sequence);
        unsigned rank = alone ? 0 : place_rank(recovery, at, next);
        if (best == NONE || rank > best_rank || (rank == best_rank && found[at].block < found[best].block)) {
            best = at;
            best_rank = rank;
        }
    }
    return best;
}

/* The chain begins with `first`: does the checkpoint reach that far? */
static enum status check_first(struct recovery *recovery, uint64_t checkpoint, uint32_t first)
{
    if (first != NONE && recovery->found[first].before > checkpoint) {
        snprintf(recovery->reason, 200, "the log begins behind entry %llu, but the checkpoint covers only entries up to %llu",
                 (unsigned long long)recovery->found[first].before, (unsigned long long)checkpoint);
        return STATUS_CORRUPT;
    }
    return STATUS_OK;
}

/* The newest flushed batch is missing. A batch behind it that the checkpoint reaches makes it needless; NONE: it is needed. */
static uint32_t find_successor(const struct recovery *recovery, uint64_t sequence, uint64_t checkpoint)
{
    for (uint32_t i = recovery->count; i-- > 0 && recovery->found[i].sequence > sequence;) {
        if (recovery->found[i].previous == sequence && recovery->found[i].before <= checkpoint) {
            return i;
        }
    }
    return NONE;
}

/* Step 2. *first and *tip: both ends of what must be there; NONE if nothing must. */
static enum status link_flushed(struct recovery *recovery, uint64_t checkpoint, uint32_t *first, uint32_t *tip)
{
    struct found *found = recovery->found;
    *first = *tip = NONE;
    if (recovery->flushed == 0 || recovery->flushed < recovery->live) {
        *first = *tip = recovery->live > 0 ? find_sequence(recovery, recovery->live, NONE) : NONE;
        return check_first(recovery, checkpoint, *first);
    }
    uint64_t needed = recovery->flushed;
    uint32_t next = NONE, enough = NONE;
    for (;;) {
        uint32_t at = find_sequence(recovery, needed, next);
        if (at == NONE && next == NONE) {
            at = find_successor(recovery, needed, checkpoint);
        }
        bool follows = at != NONE && (next == NONE || leads_to(recovery, &found[at], &found[next]));
        if (!follows && enough != NONE) {
            *first = enough;
            return STATUS_OK;
        }
        if (at == NONE) {
            snprintf(recovery->reason, 200, "log batch %llu is missing or does not match its checksum, though batch %llu was flushed after it",
                     (unsigned long long)needed, (unsigned long long)recovery->flushed);
            return STATUS_CORRUPT;
        }
        if (!follows) {
            snprintf(recovery->reason, 200, "log batch %llu does not stand behind batch %llu: they are in blocks %u and %u of the log",
                     (unsigned long long)found[next].sequence, (unsigned long long)needed, (unsigned)found[next].block, (unsigned)found[at].block);
            return STATUS_CORRUPT;
        }
        found[at].chain = next;
        next = at;
        *tip = *tip == NONE ? at : *tip;
        *first = at;
        if (found[at].before < checkpoint || found[at].previous < recovery->live) {
            return check_first(recovery, checkpoint, at);
        }
        /* Enough, but the entry at the checkpoint itself, if it is still there, tells whether what follows was another history. */
        enough = found[at].before == checkpoint && enough == NONE ? at : enough;
        needed = found[at].previous;
    }
}

/* Step 3. Two batches may follow the same one: the older was behind a torn tail that a former start cut off. */
static void follow_tail(struct recovery *recovery, uint32_t tip)
{
    struct found *found = recovery->found;
    for (;;) {
        uint32_t next = NONE;
        for (uint32_t i = tip + 1; i < recovery->count; i++) {
            if (found[i].previous == found[tip].sequence && leads_to(recovery, &found[tip], &found[i])) {
                next = i;
            }
        }
        found[tip].chain = next;
        if (next == NONE) {
            return;
        }
        tip = next;
    }
}

static enum status gap_found(struct recovery *recovery, uint64_t index, uint64_t expected)
{
    snprintf(recovery->reason, 200, "log holds entry %llu where entry %llu must be", (unsigned long long)index, (unsigned long long)expected);
    return STATUS_CORRUPT;
}

/* What the log was when `batch` was written: entries up to `before`. What was played behind it had been dropped. */
static enum status rewind_to(struct recovery *recovery, const struct found *batch)
{
    struct log *log = recovery->log;
    if (batch->before <= log->base_index) {
        log_restart(log, log->base_index, log->base_term);
        recovery->disagrees &= batch->before == log->base_index;
    } else if (batch->before < log->last) {
        log_truncate(log, batch->before + 1);
    } else if (batch->before > log->last && !recovery->disagrees) {
        return gap_found(recovery, batch->before + 1, log->last + 1);
    }
    return STATUS_OK;
}

/* Take over one record, which stands `offset` bytes into `batch`. */
static enum status play_record(struct recovery *recovery, const struct found *batch, uint32_t offset, const struct log_record *record)
{
    struct log *log = recovery->log;
    if (record->index <= log->base_index) {
        recovery->disagrees = record->index == log->base_index && record->term != log->base_term;
        return STATUS_OK;
    }
    recovery->disagrees |= record->index == log->base_index + 1 && record->term < log->base_term;
    if (recovery->disagrees) {
        return STATUS_OK; /* it followed an entry that the checkpoint says was another */
    }
    if (record->term < log_term_of(log, log->last) || log->last - log->base_index == LOG_ENTRIES_MAX) {
        return gap_found(recovery, record->index, log->last + 1);
    }
    CHECK(record->index == log->last + 1);
    log->last = log->staged = log->persisted = record->index;
    log->resident_first = log->last + 1;
    *log_slot_of(log, record->index) = (struct log_slot){.term = record->term,
                                                         .sequence = batch->sequence,
                                                         .block = batch->block,
                                                         .record = offset,
                                                         .body_bytes = record->body_bytes,
                                                         .type = record->type};
    return STATUS_OK;
}

/* Step 4, for one batch. */
static enum status play_batch(struct recovery *recovery, const struct found *batch)
{
    struct log *log = recovery->log;
    enum status status = rewind_to(recovery, batch);
    if (status != STATUS_OK) {
        return status;
    }
    status = read_region(log, (uint64_t)batch->block * LOG_BLOCK, batch->bytes, log->batches);
    uint32_t offset = sizeof(struct log_batch);
    for (uint32_t i = 0; i < batch->records && status == STATUS_OK; i++) {
        struct log_record record;
        if (!log_record_valid(log->batches + offset, batch->bytes - offset, &record)) {
            snprintf(recovery->reason, 200, "log batch %llu holds a bad record", (unsigned long long)batch->sequence);
            return STATUS_CORRUPT;
        }
        if (record.index != batch->before + 1 + i) {
            return gap_found(recovery, record.index, batch->before + 1 + i);
        }
        status = play_record(recovery, batch, offset, &record);
        offset += (uint32_t)log_record_bytes_of(record.body_bytes);
    }
    if (status == STATUS_IO_ERROR) {
        snprintf(recovery->reason, 200, "log region cannot be read: %s", status_sentence(status));
    }
    return status;
}

/* Step 4. */
static enum status play_chain(struct recovery *recovery, uint32_t first)
{
    struct log *log = recovery->log;
    for (uint32_t at = first; at != NONE; at = recovery->found[at].chain) {
        const struct found *batch = &recovery->found[at];
        enum status status = play_batch(recovery, batch);
        if (status != STATUS_OK) {
            return status;
        }
        log->head = ((uint64_t)batch->block * LOG_BLOCK + batch->bytes) % log->region_bytes;
        log->previous_sequence = batch->sequence;
        log->record_sequence = batch->records > 0 ? batch->sequence : log->record_sequence;
        if (log->last > log->base_index && log->head == log_tail(log)) {
            snprintf(recovery->reason, 200, "log batch %llu fills the log to the last block", (unsigned long long)batch->sequence);
            return STATUS_CORRUPT; /* no writer does that: full would look like empty */
        }
    }
    return STATUS_OK;
}

enum status log_open(struct log *log, uint64_t offset, uint64_t bytes, uint64_t raft_id, uint64_t index, uint64_t term,
                     char reason[REASON_BYTES_MAX])
{
    CHECK(bytes <= log->region_bytes_max);
    CHECK(bytes % LOG_BLOCK == 0);
    if (log->round != LOG_ROUND_IDLE && log->round != LOG_ROUND_WRITTEN) {
        return STATUS_BUSY;
    }
    log->round = LOG_ROUND_IDLE;
    log->offset = offset;
    log->region_bytes = bytes;
    log->raft_id = raft_id;
    log->head = 0;
    log->failed = false;
    log->flushed_sequence = log->announced_sequence = log->previous_sequence = 0;
    log->next_sequence = 1;
    log_restart(log, index, term);

    struct recovery recovery = {.log = log, .found = (struct found *)(void *)log->memory, .reason = reason};
    enum status status = find_batches(&recovery);
    if (status != STATUS_OK) {
        return status;
    }
    if (recovery.sequence_max > GROUP_NUMBER_MAX) {
        snprintf(reason, REASON_BYTES_MAX, "log batch %llu: a sequence that cannot be", (unsigned long long)recovery.sequence_max);
        return STATUS_CORRUPT;
    }
    log->restarted = false;
    sort_found(recovery.found, recovery.count);
    uint32_t first = NONE, tip = NONE;
    status = check_sequences(&recovery);
    if (status == STATUS_OK) {
        status = link_flushed(&recovery, index, &first, &tip);
    }
    if (status != STATUS_OK) {
        return status;
    }
    log->next_sequence = recovery.sequence_max + 1;
    if (first == NONE) {
        return STATUS_OK;
    }
    follow_tail(&recovery, tip);
    status = play_chain(&recovery, first);
    if (status != STATUS_OK) {
        return status;
    }
    log->restarted = false;
    log->announced_sequence = recovery.flushed;
    log->persisted = log->base_index;
    return STATUS_OK;
}

void log_recovered_durable(struct log *log)
{
    log->persisted = log->last;
    log->flushed_sequence = log->previous_sequence;
    log->quiet_since_ns = log->machine->now_ns(log->machine->context);
}
