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
    WINDOW_BYTES = 64, /* in which runs are sought at once */
    LENGTH_SHIFT = 12, /* in a run's head, above its offset */
};

struct run {
    uint32_t offset;
    uint32_t bytes;
};

struct run_list {
    uint32_t count;
    uint32_t bytes;         /* of all runs */
    uint32_t changed;       /* of them, bytes that differ */
    uint32_t stretches;     /* of bytes that all differ */
    uint32_t heads[RUNS_MAX]; /* as the format has them: offset | (bytes - 1) << 12 */
};

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

/* Bit i: byte i of `word` is not zero. */
static uint64_t bytes_not_zero(uint64_t word)
{
    const uint64_t low = 0x7f7f7f7f7f7f7f7full;
    uint64_t tops = (((word & low) + low) | word) & ~low;
    return (tops >> 7) * 0x0102040810204080ull >> 56;
}

/* Bit i: byte i of `bytes` bytes differs; a multiple of 8, at most WINDOW_BYTES. */
static inline uint64_t bytes_different(const uint8_t *a, const uint8_t *b, uint32_t bytes)
{
    uint64_t bits = 0;
#pragma GCC unroll 8
    for (uint32_t at = 0; at < bytes; at += 8) {
        bits |= bytes_not_zero(word_at(a + at) ^ word_at(b + at)) << at;
    }
    return bits;
}

static uint32_t bits_count(uint64_t bits)
{
    const uint64_t pairs = 0x3333333333333333ull;
    bits -= bits >> 1 & 0x5555555555555555ull;
    bits = (bits & pairs) + (bits >> 2 & pairs);
    bits = (bits + (bits >> 4)) & 0x0f0f0f0f0f0f0f0full;
    return (uint32_t)(bits * 0x0101010101010101ull >> 56);
}

/* Find the runs in which `a` and `b` differ; `bytes` is a multiple of 8, at most a page. */
static void find_runs(const uint8_t *a, const uint8_t *b, uint32_t bytes, struct run_list *out)
{
    static_assert(RUN_GAP_BYTES == 4, "`above` and `below` reach as far");
    uint32_t count = 0, sum = 0, changed = 0, stretches = 0, next = 0;
    uint32_t begin = 0, end = 0u - RUN_GAP_BYTES; /* of the last run; at first too far away for any other */
    uint64_t before = 0; /* bit 63: the byte before differs */
    for (uint32_t at = next_difference(a, b, 0, bytes); at < bytes; at = next_difference(a, b, next, bytes)) {
        uint32_t window = bytes - at < WINDOW_BYTES ? bytes - at : WINDOW_BYTES;
        uint64_t bits = window == WINDOW_BYTES ? bytes_different(a + at, b + at, WINDOW_BYTES) : bytes_different(a + at, b + at, window);
        before = at == next ? before : 0;
        changed += bits_count(bits);
        stretches += bits_count(bits & ~(bits << 1 | before >> 63));
        before = bits;
        next = at + window;

        uint64_t above = bits | bits << 1, below = bits | bits >> 1;
        uint64_t firsts = bits & ~((above | above << 2) << 1), lasts = bits & ~((below | below >> 2) >> 1);
        do {
            uint32_t first = at + (uint32_t)__builtin_ctzll(firsts);
            if (first - end >= RUN_GAP_BYTES) {
                begin = first;
                end = first;
                count++;
            }
            uint32_t behind = at + (uint32_t)__builtin_ctzll(lasts) + 1;
            sum += behind - end;
            end = behind;
            out->heads[count - 1] = begin | (end - begin - 1) << LENGTH_SHIFT;
            firsts &= firsts - 1;
            lasts &= lasts - 1;
        } while (firsts != 0);
    }
    out->count = count;
    out->bytes = sum;
    out->changed = changed;
    out->stretches = stretches;
}

static struct run run_of(uint32_t head)
{
    return (struct run){.offset = head & ((1u << LENGTH_SHIFT) - 1), .bytes = (head >> LENGTH_SHIFT) + 1};
}

/* The runs' heads and their bytes of `content`, which has `limit`. Up to 7 bytes behind them are written over. */
static uint8_t *write_runs(uint8_t *at, const struct run_list *list, const uint8_t *content, uint32_t limit)
{
    const uint32_t *heads = list->heads, *end = heads + list->count;
    for (const uint32_t *head = heads; head < end; head++) {
        memcpy(at, head, sizeof *head); /* a byte more than it has: the next one's, or of the bytes */
        at += DELTA_RUN_BYTES;
    }
    for (const uint32_t *head = heads; head < end; head++) {
        struct run run = run_of(*head);
        if (run.bytes <= 8 && run.offset + 8 <= limit) { /* the common case, for which calling memcpy costs more than the copy */
            memcpy(at, content + run.offset, 8);
        } else {
            memcpy(at, content + run.offset, run.bytes);
        }
        at += run.bytes;
    }
    return at;
}

static struct run read_run(const uint8_t *at)
{
    uint16_t low;
    memcpy(&low, at, sizeof low);
    return run_of((uint32_t)low | (uint32_t)at[2] << 16);
}

/* Runs ascend, do not overlap and end by `limit`; *bytes is their sum. */
static bool runs_valid(const uint8_t *runs, uint32_t count, uint32_t limit, uint32_t *bytes)
{
    uint32_t end = 0, sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct run run = read_run(runs + i * DELTA_RUN_BYTES);
        if (run.offset < end || run.offset + run.bytes > limit) {
            return false;
        }
        end = run.offset + run.bytes;
        sum += run.bytes;
    }
    *bytes = sum;
    return true;
}

static void apply_runs(const uint8_t *runs, uint32_t count, const uint8_t *bytes, uint8_t *content)
{
    for (uint32_t i = 0; i < count; i++) {
        struct run run = read_run(runs + i * DELTA_RUN_BYTES);
        uint8_t *to = content + run.offset;
        if (run.bytes <= 3) { /* the first, the middle and the last are all */
            to[0] = bytes[0];
            to[run.bytes / 2] = bytes[run.bytes / 2];
            to[run.bytes - 1] = bytes[run.bytes - 1];
        } else if (run.bytes <= 8) {
            memcpy(to, bytes, 4);
            memcpy(to + run.bytes - 4, bytes + run.bytes - 4, 4);
        } else {
            memcpy(to, bytes, run.bytes);
        }
        bytes += run.bytes;
    }
}

static void append_item(struct page_items *items, uint32_t page, const struct run_list *list, const uint8_t *content)
{
    CHECK(items->capacity - items->bytes >= DELTA_ITEM_BYTES + REPLICATE_PAGE_BYTES + 7); /* write_runs' */
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
        body = write_runs(body, list, content, REPLICATE_PAGE_BYTES);
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
    uint8_t *end = write_runs(record_at + sizeof run_count, &list, (const uint8_t *)record, sizeof *record);

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
