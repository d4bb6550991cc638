#include "replicate/delta.h"

#include <string.h>

#include "include/check.h"

enum {
    KIND_SHIFT = 14,
    RUN_COUNT_MASK = (1 << KIND_SHIFT) - 1,
    /* Runs closer than this are merged: what stands between them costs no more than the head of another run. */
    RUN_GAP_BYTES = DELTA_RUN_BYTES + 1,
    /* A run of at least one byte and the gap behind it. */
    RUNS_MAX = REPLICATE_PAGE_BYTES / (1 + RUN_GAP_BYTES) + 1,
};

struct run {
    uint16_t offset;
    uint16_t bytes;
};

struct run_list {
    uint32_t count;
    uint32_t bytes;         /* of all runs */
    uint32_t changed;       /* of them, bytes that differ */
    uint32_t stretches;     /* of bytes that all differ */
    struct run runs[RUNS_MAX];
};

#define BYTE_TOPS 0x8080808080808080ull

static const uint8_t zero_page[REPLICATE_PAGE_BYTES] __attribute__((aligned(64)));

/* Encoding of small numbers in the host's order: the format is little-endian, as is every machine this runs on. */
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "formats are written as they stand in memory");

static uint64_t word_at(const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

/* The first word at or behind `at` that differs, or `bytes` (a multiple of 8). Four words a turn: most of a page is equal. */
static uint32_t next_difference(const uint8_t *a, const uint8_t *b, uint32_t at, uint32_t bytes)
{
    while (at + 32 <= bytes) {
        uint64_t difference = (word_at(a + at) ^ word_at(b + at)) | (word_at(a + at + 8) ^ word_at(b + at + 8)) |
                              (word_at(a + at + 16) ^ word_at(b + at + 16)) | (word_at(a + at + 24) ^ word_at(b + at + 24));
        if (difference != 0) {
            break;
        }
        at += 32;
    }
    while (at < bytes && word_at(a + at) == word_at(b + at)) {
        at += 8;
    }
    return at;
}

/* The top bit of each byte of `difference` that is not zero. */
static uint64_t byte_flags(uint64_t difference)
{
    const uint64_t low = ~BYTE_TOPS;
    return (((difference & low) + low) | difference) & BYTE_TOPS;
}

static uint32_t flags_count(uint64_t flags)
{
    return (uint32_t)((flags >> 7) * 0x0101010101010101ull >> 56);
}

/* The bytes [begin, end) differ, behind all that was added before. */
static void add_run(struct run_list *out, uint32_t begin, uint32_t end)
{
    if (out->count > 0) {
        struct run *last = &out->runs[out->count - 1];
        if (begin - (last->offset + (uint32_t)last->bytes) < RUN_GAP_BYTES) {
            last->bytes = (uint16_t)(end - last->offset);
            return;
        }
    }
    out->runs[out->count++] = (struct run){(uint16_t)begin, (uint16_t)(end - begin)};
}

/* The runs of one word, whose bytes that differ are in `flags`: two, if RUN_GAP_BYTES equal ones stand between them (more do not fit). */
static void add_word(struct run_list *out, uint32_t at, uint64_t flags)
{
    uint32_t first = (uint32_t)__builtin_ctzll(flags) / 8, end = 8 - (uint32_t)__builtin_clzll(flags) / 8;
    uint64_t near = flags | flags << 8 | flags << 16 | flags << 24; /* each, and as many behind it as a run bridges */
    uint64_t gap = ~near & BYTE_TOPS & (UINT64_MAX << first * 8) & (UINT64_MAX >> (8 - end) * 8);
    if (gap == 0) {
        add_run(out, at + first, at + end);
        return;
    }
    uint32_t gap_at = (uint32_t)__builtin_ctzll(gap) / 8;
    add_run(out, at + first, at + gap_at - (RUN_GAP_BYTES - 1));
    add_run(out, at + (uint32_t)__builtin_ctzll(flags & UINT64_MAX << gap_at * 8) / 8, at + end);
}

/* Find the runs in which `a` and `b` differ; `bytes` is a multiple of 8, at most a page. */
static void find_runs(const uint8_t *a, const uint8_t *b, uint32_t bytes, struct run_list *out)
{
    uint64_t before = 0; /* the top bit set: the byte before differs */
    uint32_t next = 0;
    out->count = out->bytes = out->changed = out->stretches = 0;
    uint32_t at = next_difference(a, b, 0, bytes);
    while (at < bytes) {
        uint64_t flags = byte_flags(word_at(a + at) ^ word_at(b + at));
        before = at == next ? before : 0;
        if (flags == BYTE_TOPS && before != 0) {
            out->runs[out->count - 1].bytes += 8; /* in the midst of a stretch: the common case of a page that is new throughout */
            out->changed += 8;
        } else {
            out->changed += flags_count(flags);
            out->stretches += flags_count(flags & ~(flags << 8 | before >> 56));
            add_word(out, at, flags);
            before = flags & 1ull << 63;
        }
        next = at + 8;
        bool goes_on = next < bytes && word_at(a + next) != word_at(b + next);
        at = goes_on ? next : next_difference(a, b, next, bytes);
    }
    for (uint32_t i = 0; i < out->count; i++) {
        out->bytes += out->runs[i].bytes;
    }
}

static uint8_t *write_runs(uint8_t *at, const struct run_list *list, const uint8_t *content)
{
    for (uint32_t i = 0; i < list->count; i++) {
        uint32_t packed = (uint32_t)list->runs[i].offset | (uint32_t)(list->runs[i].bytes - 1) << 12;
        at[0] = (uint8_t)packed;
        at[1] = (uint8_t)(packed >> 8);
        at[2] = (uint8_t)(packed >> 16);
        at += DELTA_RUN_BYTES;
    }
    for (uint32_t i = 0; i < list->count; i++) {
        memcpy(at, content + list->runs[i].offset, list->runs[i].bytes);
        at += list->runs[i].bytes;
    }
    return at;
}

static struct run read_run(const uint8_t *at)
{
    uint32_t packed = (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16;
    return (struct run){(uint16_t)(packed & 0xfff), (uint16_t)((packed >> 12) + 1)};
}

/* Runs ascend, do not overlap and end by `limit`; *bytes is their sum. */
static bool runs_valid(const uint8_t *runs, uint32_t count, uint32_t limit, uint32_t *bytes)
{
    uint32_t end = 0, sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct run run = read_run(runs + i * DELTA_RUN_BYTES);
        if (run.offset < end || (uint32_t)run.offset + run.bytes > limit) {
            return false;
        }
        end = (uint32_t)run.offset + run.bytes;
        sum += run.bytes;
    }
    *bytes = sum;
    return true;
}

static void apply_runs(const uint8_t *runs, uint32_t count, const uint8_t *bytes, uint8_t *content)
{
    for (uint32_t i = 0; i < count; i++) {
        struct run run = read_run(runs + i * DELTA_RUN_BYTES);
        memcpy(content + run.offset, bytes, run.bytes);
        bytes += run.bytes;
    }
}

static void append_item(struct page_items *items, uint32_t page, const struct run_list *list, const uint8_t *content)
{
    CHECK(items->capacity - items->bytes >= DELTA_ITEM_BYTES + REPLICATE_PAGE_BYTES);
    uint8_t *at = items->buffer + items->bytes;
    uint16_t kind;
    uint8_t *body = at + DELTA_ITEM_BYTES;
    if (content == NULL) {
        kind = DELTA_KIND_ZERO << KIND_SHIFT;
    } else if (list->bytes + list->count * DELTA_RUN_BYTES >= REPLICATE_PAGE_BYTES) {
        kind = DELTA_KIND_RAW << KIND_SHIFT;
        memcpy(body, content, REPLICATE_PAGE_BYTES);
        body += REPLICATE_PAGE_BYTES;
    } else {
        kind = (uint16_t)(DELTA_KIND_RUNS << KIND_SHIFT | list->count);
        body = write_runs(body, list, content);
    }
    if (content != NULL) {
        items->runs += list->stretches;
        items->changed_bytes += list->changed;
    }
    memcpy(at, &page, sizeof page);
    memcpy(at + sizeof page, &kind, sizeof kind);
    items->bytes = (size_t)(body - items->buffer);
    items->count++;
}

void delta_writer_init(struct delta_writer *writer, void *buffer, size_t capacity)
{
    CHECK(capacity >= DELTA_BYTES_MAX);
    *writer = (struct delta_writer){
        .buffer = buffer,
        .capacity = capacity,
        .items = {.buffer = (uint8_t *)buffer + sizeof(struct delta_wire_header),
                  .capacity = capacity - DELTA_HEADER_BYTES_MAX},
    };
}

size_t delta_item_bytes(const struct delta_writer *writer)
{
    return writer->items.bytes;
}

size_t delta_finish(struct delta_writer *writer, uint32_t world, uint64_t epoch, uint64_t digest, const struct world_record *record)
{
    struct run_list list;
    find_runs(zero_page, (const uint8_t *)record, sizeof *record, &list);
    uint8_t *record_at = writer->items.buffer + writer->items.bytes;
    uint16_t run_count = (uint16_t)list.count;
    memcpy(record_at, &run_count, sizeof run_count);
    uint8_t *end = write_runs(record_at + sizeof run_count, &list, (const uint8_t *)record);

    struct delta_wire_header header = {
        .version = DELTA_VERSION,
        .world = world,
        .epoch = epoch,
        .digest = digest,
        .pages = writer->items.count,
        .run_bytes = (uint32_t)writer->items.bytes,
        .record_bytes = (uint32_t)(end - record_at),
    };
    memcpy(writer->buffer, &header, sizeof header);
    size_t bytes = (size_t)(end - writer->buffer);
    CHECK(bytes <= writer->capacity);
    return bytes;
}

/* The record from its runs, `bytes` bytes in all. */
static enum status decode_record(const uint8_t *at, uint32_t bytes, struct world_record *out)
{
    uint16_t run_count;
    if (bytes < sizeof run_count) {
        return STATUS_TRUNCATED;
    }
    memcpy(&run_count, at, sizeof run_count);
    const uint8_t *runs = at + sizeof run_count;
    uint32_t left = bytes - (uint32_t)sizeof run_count;
    if ((uint32_t)run_count * DELTA_RUN_BYTES > left) {
        return STATUS_TRUNCATED;
    }
    left -= (uint32_t)run_count * DELTA_RUN_BYTES;
    uint32_t sum;
    if (!runs_valid(runs, run_count, sizeof *out, &sum) || sum != left) {
        return STATUS_INVALID;
    }
    memset(out, 0, sizeof *out);
    apply_runs(runs, run_count, runs + (uint32_t)run_count * DELTA_RUN_BYTES, (uint8_t *)out);
    return STATUS_OK;
}

enum status delta_decode(const uint8_t *delta, size_t bytes, uint64_t memory_bytes, struct delta *out)
{
    struct delta_wire_header header;
    if (bytes < sizeof header) {
        return STATUS_TRUNCATED;
    }
    memcpy(&header, delta, sizeof header);
    if (header.version != DELTA_VERSION) {
        return STATUS_UNKNOWN_VERSION;
    }
    uint64_t expected = sizeof header + (uint64_t)header.run_bytes + header.record_bytes;
    if (bytes < expected) {
        return STATUS_TRUNCATED;
    }
    if (bytes > expected || bytes > DELTA_BYTES_MAX || header.reserved != 0 || header.pages > DIRTY_PAGES_MAX) {
        return STATUS_INVALID;
    }
    struct world_record record;
    const uint8_t *items = delta + sizeof header;
    enum status status = decode_record(items + header.run_bytes, header.record_bytes, &record);
    if (status == STATUS_OK) {
        status = world_record_check(&record, memory_bytes);
    }
    if (status != STATUS_OK) {
        return status;
    }
    if (record.epoch != header.epoch || record.world_number != header.world) {
        return STATUS_INVALID;
    }
    *out = (struct delta){
        .world = header.world,
        .epoch = header.epoch,
        .digest = header.digest,
        .pages = header.pages,
        .items = items,
        .item_bytes = header.run_bytes,
        .record = record,
    };
    return STATUS_OK;
}

void undo_record_init(struct undo_record *undo, void *buffer, size_t capacity)
{
    CHECK(capacity >= UNDO_BYTES_MAX);
    *undo = (struct undo_record){.items = {.buffer = buffer, .capacity = capacity}};
}

static bool all_zero(const uint8_t *content)
{
    return next_difference(content, zero_page, 0, REPLICATE_PAGE_BYTES) == REPLICATE_PAGE_BYTES;
}

bool delta_append_page(struct page_items *now, struct page_items *before, uint32_t page, const uint8_t *old_content, const uint8_t *new_content)
{
    struct run_list list;
    find_runs(old_content != NULL ? old_content : zero_page, new_content != NULL ? new_content : zero_page, REPLICATE_PAGE_BYTES, &list);
    if (list.count == 0) {
        return false;
    }
    bool old_absent = old_content == NULL || all_zero(old_content);
    bool new_absent = new_content == NULL || all_zero(new_content);
    append_item(now, page, &list, new_absent ? NULL : new_content);
    append_item(before, page, &list, old_absent ? NULL : old_content);
    return true;
}

enum status page_item_next(const uint8_t *items, size_t bytes, uint32_t pages_max, size_t *offset, struct page_item *out)
{
    size_t left = bytes - *offset;
    if (left == 0) {
        return STATUS_EMPTY;
    }
    if (left < DELTA_ITEM_BYTES) {
        return STATUS_TRUNCATED;
    }
    const uint8_t *at = items + *offset;
    uint32_t page;
    uint16_t kind_and_count;
    memcpy(&page, at, sizeof page);
    memcpy(&kind_and_count, at + sizeof page, sizeof kind_and_count);
    uint32_t kind = kind_and_count >> KIND_SHIFT, run_count = kind_and_count & RUN_COUNT_MASK;
    at += DELTA_ITEM_BYTES;
    left -= DELTA_ITEM_BYTES;
    if (page >= pages_max || kind > DELTA_KIND_ZERO || (kind == DELTA_KIND_RUNS) != (run_count > 0)) {
        return STATUS_INVALID;
    }
    uint32_t body_bytes = kind == DELTA_KIND_RAW ? REPLICATE_PAGE_BYTES : 0;
    if (run_count * DELTA_RUN_BYTES > left) {
        return STATUS_TRUNCATED;
    }
    if (kind == DELTA_KIND_RUNS && !runs_valid(at, run_count, REPLICATE_PAGE_BYTES, &body_bytes)) {
        return STATUS_INVALID;
    }
    size_t item_bytes = run_count * DELTA_RUN_BYTES + body_bytes;
    if (item_bytes > left) {
        return STATUS_TRUNCATED;
    }
    *out = (struct page_item){
        .page = page,
        .kind = (enum delta_kind)kind,
        .run_count = run_count,
        .runs = at,
        .bytes = at + run_count * DELTA_RUN_BYTES,
    };
    *offset += DELTA_ITEM_BYTES + item_bytes;
    return STATUS_OK;
}

void page_item_apply(const struct page_item *item, uint8_t *content)
{
    CHECK(item->kind != DELTA_KIND_ZERO);
    if (item->kind == DELTA_KIND_RAW) {
        memcpy(content, item->bytes, REPLICATE_PAGE_BYTES);
    } else {
        apply_runs(item->runs, item->run_count, item->bytes, content);
    }
}
