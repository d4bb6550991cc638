/* Writing the log: rounds of group commit.
 *
 *   IDLE      entries wait, not held                 WRITING    begin_round
 *   WRITING   all writes completed                   WRITTEN    write_done
 *   WRITTEN   the device took the flush              FLUSHING   log_tick
 *   FLUSHING  completed                              IDLE       flush_done: the round's entries are persisted
 * A failed request ends in `failed`: after a failed write or flush nothing is known about what the disk holds. */
#include "consensus/log_internal.h"

#include <string.h>

#include "include/check.h"
#include "include/hash64.h"

/* How often a device whose queue was full is asked again. */
enum { RETRY_NS = 1000000 };

uint64_t log_batch_checksum(const struct log_batch *batch)
{
    return hash64(LOG_BATCH_MAGIC, batch, batch->used);
}

uint64_t log_record_checksum(const struct log_record *record)
{
    return hash64(LOG_RECORD_MAGIC, record, offsetof(struct log_record, checksum));
}

/* -- completions -- */

static void round_failed(struct log *log)
{
    log->failed = true;
    log->machine->log(log->machine->context, LOG_ERROR, "log: the disk reported an error for a write; nothing more is written until the node starts again");
}

static void write_done(struct block_request *request, enum status status)
{
    struct log *log = request->context;
    log->writing_failed |= status != STATUS_OK;
    CHECK(log->outstanding > 0);
    if (--log->outstanding == 0) {
        log->round = LOG_ROUND_WRITTEN;
        if (log->writing_failed) {
            log->round = LOG_ROUND_IDLE;
            round_failed(log);
        }
    }
}

static void flush_done(struct block_request *request, enum status status)
{
    struct log *log = request->context;
    log->round = LOG_ROUND_IDLE;
    if (status != STATUS_OK) {
        round_failed(log);
        return;
    }
    log->flushed_sequence = log->previous_sequence;
    log_advance_persisted(log, log->round_last);
    log->quiet_since_ns = log->machine->now_ns(log->machine->context);
}

/* -- a batch -- */

/* Space for `bytes` in the ring. The head never meets the tail from behind: equal means empty. */
static bool place_batch(struct log *log, uint64_t bytes, uint64_t *at)
{
    uint64_t tail = log_tail(log);
    if (log->head >= tail) {
        uint64_t end = log->region_bytes - log->head;
        if (bytes < end || (bytes == end && tail != 0)) {
            *at = log->head;
            return true;
        }
        *at = 0;
        return bytes < tail;
    }
    *at = log->head;
    return bytes < tail - log->head;
}

/* As many entries behind `staged` as one batch takes, into `buffer`. Returns the bytes used, header and records. */
static uint32_t fill_records(struct log *log, uint8_t *buffer, uint32_t *records)
{
    uint64_t used = sizeof(struct log_batch);
    *records = 0;
    for (uint64_t index = log->staged + 1; index <= log->last; index++) {
        const struct log_slot *slot = log_slot_of(log, index);
        uint64_t bytes = log_record_bytes_of(slot->body_bytes);
        if (used + bytes > LOG_BATCH_BYTES_MAX) {
            break;
        }
        struct log_record record = {
            .magic = LOG_RECORD_MAGIC, .index = index, .term = slot->term, .type = slot->type, .body_bytes = slot->body_bytes};
        const uint8_t *memory = log->memory + slot->memory;
        memcpy(&record.entry, memory, sizeof record.entry);
        record.body_check = hash64(index, memory + sizeof record.entry, slot->body_bytes);
        record.checksum = log_record_checksum(&record);
        memcpy(buffer + used, &record, sizeof record);
        memcpy(buffer + used + sizeof record, memory + sizeof record.entry, slot->body_bytes);
        memset(buffer + used + sizeof record + slot->body_bytes, 0, bytes - sizeof record - slot->body_bytes);
        used += bytes;
        ++*records;
    }
    return (uint32_t)used;
}

/* Build the next batch in buffer `number` and account for it. False: there is no room in the region. */
static bool stage_batch(struct log *log, unsigned number)
{
    uint8_t *buffer = log->batches + (size_t)number * LOG_BATCH_BYTES_MAX;
    struct log_batch batch = {.magic = LOG_BATCH_MAGIC, .version = LOG_VERSION, .raft_id = log->raft_id};
    batch.used = fill_records(log, buffer, &batch.records);
    batch.bytes = (uint32_t)log_round_up(batch.used, LOG_BLOCK);
    uint64_t at = 0;
    if (!place_batch(log, batch.bytes, &at)) {
        return false;
    }
    memset(buffer + batch.used, 0, batch.bytes - batch.used);
    batch.sequence = log->next_sequence++;
    batch.previous = log->previous_sequence;
    batch.flushed = log->flushed_sequence;
    batch.live = log->base_index < log->staged ? log_slot_of(log, log->base_index + 1)->sequence : batch.sequence;
    batch.before = log->staged;
    memcpy(buffer, &batch, sizeof batch);
    batch.checksum = log_batch_checksum((const struct log_batch *)(const void *)buffer);
    memcpy(buffer, &batch, sizeof batch);

    uint32_t record = sizeof batch;
    for (uint32_t i = 0; i < batch.records; i++) {
        struct log_slot *slot = log_slot_of(log, ++log->staged);
        slot->sequence = batch.sequence;
        slot->block = (uint32_t)(at / LOG_BLOCK);
        slot->record = record;
        record += (uint32_t)log_record_bytes_of(slot->body_bytes);
        log->unstaged_bytes -= log_disk_bytes_of(slot->body_bytes);
    }
    log->restarted = false;
    log->previous_sequence = batch.sequence;
    log->announced_sequence = batch.flushed;
    if (batch.records > 0) {
        log->record_sequence = batch.sequence;
    }
    log->head = at + batch.bytes == log->region_bytes ? 0 : at + batch.bytes;
    log->requests[number] = (struct block_request){
        .operation = BLOCK_WRITE, .offset = log->offset + at, .buffer = buffer, .bytes = batch.bytes, .done = write_done, .context = log};
    return true;
}

/* -- rounds -- */

static void submit_writes(struct log *log, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        enum status status = log->machine->block_submit(log->machine->context, &log->requests[i]);
        CHECK(status == STATUS_OK); /* LOG_BATCHES_MAX, and what the store and the vote may have outstanding, is less than the device's queue */
        log->outstanding++;
        log->written_bytes += log->requests[i].bytes;
    }
}

static bool marker_due(const struct log *log)
{
    return (log->record_sequence > log->announced_sequence || log->restarted) && log->last == log->persisted;
}

static void begin_round(struct log *log, uint64_t now)
{
    unsigned count = 0;
    bool marker = marker_due(log) && now >= log->quiet_since_ns + LOG_MARKER_MS * 1000000ull;
    while (count < LOG_BATCHES_MAX && (log->staged < log->last || (marker && count == 0))) {
        if (!stage_batch(log, count)) {
            break;
        }
        count++;
    }
    if (count == 0) {
        if (log->staged < log->last) {
            log->retry_ns = UINT64_MAX; /* there is no room until log_cut */
        }
        return;
    }
    log->round = LOG_ROUND_WRITING;
    log->writing_failed = false;
    log->round_last = log->staged;
    submit_writes(log, count);
}

void log_tick(struct log *log, bool hold)
{
    log->held = hold;
    uint64_t now = log->machine->now_ns(log->machine->context);
    if (log->failed || now < log->retry_ns) {
        return;
    }
    log->retry_ns = 0;
    if (log->round == LOG_ROUND_IDLE && !hold) {
        begin_round(log, now);
    }
    if (log->round == LOG_ROUND_WRITTEN) {
        log->flush = (struct block_request){.operation = BLOCK_FLUSH, .done = flush_done, .context = log};
        if (log->machine->block_submit(log->machine->context, &log->flush) == STATUS_OK) {
            log->round = LOG_ROUND_FLUSHING;
        } else {
            log->retry_ns = now + RETRY_NS;
        }
    }
}

uint64_t log_deadline_ns(const struct log *log)
{
    if (log->failed) {
        return UINT64_MAX;
    }
    if (log->retry_ns != 0) {
        return log->retry_ns;
    }
    if (log->round == LOG_ROUND_WRITTEN) {
        return 0;
    }
    if (log->round != LOG_ROUND_IDLE || log->held) {
        return UINT64_MAX;
    }
    if (log->staged < log->last) {
        return 0;
    }
    return marker_due(log) ? log->quiet_since_ns + LOG_MARKER_MS * 1000000ull : UINT64_MAX;
}
