/* The entries of the log: index, memory ring, reading. See log.h for the promises; log_write.c and log_recover.c are its other halves.
 *
 * Invariants:
 *   1  base_index <= persisted <= staged <= last, last - base_index <= LOG_ENTRIES_MAX
 *   2  entries from resident_first to last have their bodies in the memory ring, one behind the other
 *   3  an entry above `persisted` is resident: what is not durable is never only on the disk
 *   4  memory_head is behind the newest resident entry; with none resident the ring is empty */
#include "consensus/log_internal.h"

#include <string.h>

#include "include/check.h"
#include "include/hash64.h"

enum status log_create(struct log **out, const struct machine *machine, uint64_t region_bytes)
{
    struct log *log = machine->reserve(machine->context, sizeof *log, _Alignof(struct log));
    if (log == NULL) {
        return STATUS_NO_MEMORY;
    }
    log->machine = machine;
    log->region_bytes_max = region_bytes;
    log->slots = machine->reserve(machine->context, sizeof(struct log_slot) * LOG_ENTRIES_MAX, _Alignof(struct log_slot));
    log->memory = machine->reserve(machine->context, LOG_MEMORY_BYTES, 64);
    log->batches = machine->reserve(machine->context, (size_t)LOG_BATCHES_MAX * LOG_BATCH_BYTES_MAX, LOG_BLOCK);
    log->read_buffer = machine->reserve(machine->context, LOG_READ_BYTES, LOG_BLOCK);
    if (log->slots == NULL || log->memory == NULL || log->batches == NULL || log->read_buffer == NULL) {
        return STATUS_NO_MEMORY;
    }
    log_restart(log, 0, 0);
    *out = log;
    return STATUS_OK;
}

/* -- facts -- */

uint64_t log_first_index(const struct log *log)
{
    return log->base_index + 1;
}

uint64_t log_last_index(const struct log *log)
{
    return log->last;
}

uint64_t log_term_of(const struct log *log, uint64_t index)
{
    if (index == log->base_index) {
        return log->base_term;
    }
    return index > log->base_index && index <= log->last ? log_slot_of(log, index)->term : 0;
}

enum log_type log_type_of(const struct log *log, uint64_t index)
{
    CHECK(index > log->base_index);
    CHECK(index <= log->last);
    return (enum log_type)log_slot_of(log, index)->type;
}

uint32_t log_body_bytes(const struct log *log, uint64_t index)
{
    CHECK(index > log->base_index);
    CHECK(index <= log->last);
    return log_slot_of(log, index)->body_bytes;
}

uint64_t log_persisted(const struct log *log)
{
    return log->persisted;
}

uint64_t log_tail(const struct log *log)
{
    if (log->base_index >= log->staged) {
        return log->head;
    }
    return (uint64_t)log_slot_of(log, log->base_index + 1)->block * LOG_BLOCK;
}

/* From there to the next write's place, round the ring. */
static uint64_t bytes_to_head(const struct log *log, uint64_t from)
{
    return log->head >= from ? log->head - from : log->region_bytes - from + log->head;
}

uint64_t log_used_bytes(const struct log *log)
{
    return bytes_to_head(log, log_tail(log));
}

uint64_t log_bytes_from(const struct log *log, uint64_t index)
{
    CHECK(index > log->base_index);
    const struct log_slot *slot = log_slot_of(log, index);
    return index <= log->last && slot->sequence != 0 ? bytes_to_head(log, (uint64_t)slot->block * LOG_BLOCK) : 0;
}

uint64_t log_region_bytes(const struct log *log)
{
    return log->region_bytes;
}

uint64_t log_written_bytes(const struct log *log)
{
    return log->written_bytes;
}

bool log_failed(const struct log *log)
{
    return log->failed;
}

bool log_room_for_all(const struct log *log, uint32_t entries, size_t bytes)
{
    /* What a wrap wastes at the end of the region is less than a write. */
    return log_room(log, entries + LOG_ENTRIES_BETWEEN, bytes + LOG_BATCH_BYTES_MAX + LOG_ENTRIES_BETWEEN * MACHINE_BLOCK_BYTES, LOG_FOR_SUBMISSION);
}

bool log_room(const struct log *log, uint32_t entries, size_t bytes, enum log_purpose purpose)
{
    static const uint64_t reserves[] = {[LOG_FOR_SUBMISSION] = LOG_RESERVE_BYTES, [LOG_FOR_REPLACEMENT] = LOG_RESERVE_BYTES / 2, [LOG_FOR_TERM] = 0};
    uint64_t reserve = reserves[purpose];
    uint64_t count = log->last - log->base_index + entries + (purpose == LOG_FOR_SUBMISSION ? LOG_ENTRIES_RESERVE : 0);
    if (count > LOG_ENTRIES_MAX) {
        return false;
    }
    /* A wrap of the ring wastes less than the largest element at its end. */
    uint64_t memory = log->unpersisted_bytes + bytes + (uint64_t)entries * (sizeof(struct group_entry) + 8) + 2 * log_memory_bytes_of(ENTRY_BODY_BYTES_MAX);
    if (memory + reserve > LOG_MEMORY_BYTES) {
        return false;
    }
    uint64_t disk = log_used_bytes(log) + log->unstaged_bytes + bytes + (uint64_t)entries * log_disk_bytes_of(0) + 2 * LOG_BATCH_BYTES_MAX;
    return disk + reserve <= log->region_bytes;
}

/* -- the memory ring -- */

static uint64_t memory_tail(const struct log *log)
{
    return log_slot_of(log, log->resident_first)->memory;
}

/* Find `bytes` in the ring, evicting durable entries. */
static bool memory_take(struct log *log, uint64_t bytes, uint64_t *at)
{
    for (;;) {
        if (log->resident_first > log->last) {
            *at = 0;
            return bytes < LOG_MEMORY_BYTES;
        }
        uint64_t tail = memory_tail(log);
        if (log->memory_head > tail) {
            if (log->memory_head + bytes <= LOG_MEMORY_BYTES) {
                *at = log->memory_head;
                return true;
            }
            if (bytes < tail) {
                *at = 0;
                return true;
            }
        } else if (log->memory_head + bytes < tail) {
            *at = log->memory_head;
            return true;
        }
        if (log->resident_first > log->persisted) {
            return false;
        }
        log->resident_first++;
    }
}

/* -- writing -- */

void log_advance_persisted(struct log *log, uint64_t index)
{
    while (log->persisted < index) {
        log->persisted++;
        if (log->persisted >= log->resident_first) {
            log->unpersisted_bytes -= log_memory_bytes_of(log_slot_of(log, log->persisted)->body_bytes);
        }
    }
}

void log_truncate(struct log *log, uint64_t index)
{
    CHECK(index > log->base_index);
    for (; log->last >= index; log->last--) {
        const struct log_slot *slot = log_slot_of(log, log->last);
        if (log->last > log->persisted) {
            log->unpersisted_bytes -= log_memory_bytes_of(slot->body_bytes);
        }
        if (log->last > log->staged) {
            log->unstaged_bytes -= log_disk_bytes_of(slot->body_bytes);
        }
        if (log->last >= log->resident_first) {
            log->memory_head = slot->memory;
        }
    }
    if (log->resident_first > log->last + 1) {
        log->resident_first = log->last + 1;
    }
    log->persisted = log->persisted > log->last ? log->last : log->persisted;
    log->staged = log->staged > log->last ? log->last : log->staged;
    log->round_last = log->round_last > log->last ? log->last : log->round_last;
}

enum status log_append(struct log *log, uint64_t index, uint64_t term, enum log_type type, const struct group_entry *entry, const void *body,
                       uint32_t body_bytes)
{
    CHECK(index > log->base_index);
    CHECK(index <= log->last + 1);
    CHECK(body_bytes <= ENTRY_BODY_BYTES_MAX);
    if (index <= log->last) {
        log_truncate(log, index);
    }
    CHECK(term >= log_term_of(log, log->last));
    uint64_t memory = 0, bytes = log_memory_bytes_of(body_bytes);
    if (log->last - log->base_index == LOG_ENTRIES_MAX || !memory_take(log, bytes, &memory)) {
        return STATUS_FULL;
    }
    if (log->resident_first > log->last) {
        log->resident_first = index;
    }
    static const struct group_entry none;
    memcpy(log->memory + memory, entry != NULL ? entry : &none, sizeof *entry);
    if (body_bytes > 0) {
        memcpy(log->memory + memory + sizeof *entry, body, body_bytes);
    }
    *log_slot_of(log, index) = (struct log_slot){.term = term, .body_bytes = body_bytes, .type = (uint32_t)type, .memory = memory};
    log->memory_head = memory + bytes;
    log->unpersisted_bytes += bytes;
    log->unstaged_bytes += log_disk_bytes_of(body_bytes);
    log->last = index;
    return STATUS_OK;
}

void log_cut(struct log *log, uint64_t index)
{
    index = index > log->persisted ? log->persisted : index;
    if (index <= log->base_index) {
        return;
    }
    log->base_term = log_term_of(log, index);
    log->base_index = index;
    if (log->resident_first <= index) {
        log->resident_first = index + 1;
    }
    log->retry_ns = 0;
}

void log_restart(struct log *log, uint64_t index, uint64_t term)
{
    log->base_index = log->last = log->staged = log->persisted = index;
    log->base_term = term;
    log->resident_first = index + 1;
    log->memory_head = 0;
    log->unpersisted_bytes = log->unstaged_bytes = 0;
    log->round_last = 0;
    log->retry_ns = 0;
    log->record_sequence = 0;
    log->restarted = true;
    log->quiet_since_ns = log->machine->now_ns(log->machine->context);
}

void log_drop_unpersisted(struct log *log)
{
    if (log->last > log->persisted) {
        log_truncate(log, log->persisted + 1);
    }
}

/* -- reading -- */

static enum status read_from_disk(struct log *log, uint64_t index, uint8_t *scratch, struct log_view *out)
{
    const struct log_slot *slot = log_slot_of(log, index);
    CHECK(slot->sequence != 0);
    uint64_t start = (uint64_t)slot->block * LOG_BLOCK + slot->record;
    uint64_t from = start / LOG_BLOCK * LOG_BLOCK;
    uint64_t bytes = log_round_up(start - from + log_record_bytes_of(slot->body_bytes), LOG_BLOCK);
    CHECK(bytes <= LOG_READ_BYTES);
    enum status status = log->machine->block_read(log->machine->context, log->offset + from, log->read_buffer, bytes);
    if (status != STATUS_OK) {
        return status;
    }
    struct log_record record;
    if (!log_record_valid(log->read_buffer + (start - from), bytes - (start - from), &record) || record.index != index || record.term != slot->term ||
        record.body_bytes != slot->body_bytes) {
        return STATUS_CORRUPT;
    }
    memcpy(scratch, log->read_buffer + (start - from) + sizeof record, record.body_bytes);
    *out = (struct log_view){
        .term = record.term, .type = (enum log_type)record.type, .entry = record.entry, .body = scratch, .body_bytes = record.body_bytes};
    return STATUS_OK;
}

enum status log_read(struct log *log, uint64_t index, uint8_t *scratch, struct log_view *out)
{
    if (index <= log->base_index || index > log->last) {
        return STATUS_NOT_FOUND;
    }
    if (index < log->resident_first) {
        return read_from_disk(log, index, scratch, out);
    }
    const struct log_slot *slot = log_slot_of(log, index);
    out->term = slot->term;
    out->type = (enum log_type)slot->type;
    memcpy(&out->entry, log->memory + slot->memory, sizeof out->entry);
    out->body = log->memory + slot->memory + sizeof out->entry;
    out->body_bytes = slot->body_bytes;
    return STATUS_OK;
}

void log_check(const struct log *log)
{
    CHECK(log->base_index <= log->persisted);
    CHECK(log->persisted <= log->staged);
    CHECK(log->staged <= log->last);
    CHECK(log->last - log->base_index <= LOG_ENTRIES_MAX);
    CHECK(log->resident_first > log->base_index);
    CHECK(log->resident_first <= log->last + 1);
    CHECK(log->head < log->region_bytes || log->region_bytes == 0);
    uint64_t unpersisted = 0, unstaged = 0, term = log->base_term;
    for (uint64_t index = log->base_index + 1; index <= log->last; index++) {
        const struct log_slot *slot = log_slot_of(log, index);
        unpersisted += index > log->persisted && index >= log->resident_first ? log_memory_bytes_of(slot->body_bytes) : 0;
        unstaged += index > log->staged ? log_disk_bytes_of(slot->body_bytes) : 0;
        CHECK(slot->term >= term);
        CHECK((slot->sequence != 0) == (index <= log->staged));
        term = slot->term;
    }
    CHECK(unpersisted == log->unpersisted_bytes);
    CHECK(unstaged == log->unstaged_bytes);
}
