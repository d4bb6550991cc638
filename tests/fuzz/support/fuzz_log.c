#include "tests/fuzz/support/fuzz_log.h"

#include <string.h>

#include "consensus/log_internal.h"
#include "consensus/message.h"
#include "include/hash64.h"

enum { BATCHES_MAX = 15, RECORDS_MAX = 7, BLOCKS_USED = 24, DAMAGE = 0x80 };

/* Append a record with its body to `at`; returns its bytes, 0 if it does not fit into `left`. */
static uint64_t write_record(struct fuzz_input *input, uint8_t *at, uint64_t left, uint64_t index, uint64_t term)
{
    static uint8_t body[ENTRY_BODY_BYTES_MAX];
    uint8_t kind = fuzz_byte(input);
    struct log_record record = {.magic = LOG_RECORD_MAGIC,
                                .index = (kind & 0x10) != 0 ? fuzz_number(input) : index,
                                .term = (kind & 0x20) != 0 ? fuzz_number(input) : term,
                                .type = 1 + (kind & 3) % 3};
    if (record.type == LOG_COMMAND) {
        record.entry = (struct group_entry){.type = GROUP_ENTRY_EPOCH, .world = 1, .epoch = fuzz_byte(input), .parts = 1};
        record.body_bytes = fuzz_byte(input) * ((kind & 4) != 0 ? 64u : 1u);
        record.entry.bytes = record.body_bytes;
        memset(body, kind, record.body_bytes);
    } else if (record.type == LOG_CHANGE) {
        uint32_t front[2] = {fuzz_byte(input) % 6u, 0};
        struct disk_member members[6] = {{0}};
        for (uint32_t i = 0; i < front[0]; i++) {
            uint8_t member = fuzz_byte(input);
            members[i] = (struct disk_member){.raft_id = raft_id_make(member % 6u, 1), .role = member >> 6};
        }
        memcpy(body, front, sizeof front);
        memcpy(body + sizeof front, members, sizeof members);
        record.body_bytes = (uint32_t)(sizeof front + front[0] * sizeof *members);
    }
    uint64_t bytes = log_record_bytes_of(record.body_bytes);
    if (bytes > left) {
        return 0;
    }
    record.body_check = hash64(record.index, body, record.body_bytes);
    record.checksum = log_record_checksum(&record);
    memcpy(at, &record, sizeof record);
    memcpy(at + sizeof record, body, record.body_bytes);
    return bytes;
}

static void write_batch(struct fuzz_input *input, struct fuzz_machine *machine, uint64_t offset, uint64_t region_bytes, uint64_t raft_id)
{
    static _Alignas(8) uint8_t buffer[LOG_BATCH_BYTES_MAX];
    uint64_t block = fuzz_byte(input) % BLOCKS_USED;
    block = block == BLOCKS_USED - 1 ? region_bytes / LOG_BLOCK - 1 : block;
    uint8_t flags = fuzz_byte(input);
    struct log_batch batch = {.magic = LOG_BATCH_MAGIC, .version = LOG_VERSION, .raft_id = raft_id, .records = flags & RECORDS_MAX};
    batch.sequence = fuzz_number(input);
    batch.previous = (flags & 0x08) != 0 ? fuzz_number(input) : batch.sequence - 1;
    batch.flushed = (flags & 0x10) != 0 ? fuzz_number(input) : batch.previous;
    batch.live = (flags & 0x20) != 0 ? fuzz_number(input) : 1;
    batch.before = fuzz_number(input);
    uint64_t left = region_bytes - block * LOG_BLOCK;
    left = left < LOG_BATCH_BYTES_MAX ? left : LOG_BATCH_BYTES_MAX;
    uint8_t *at = buffer;
    uint64_t used = sizeof batch, term = 1 + (flags >> 6);
    for (uint32_t i = 0; i < batch.records; i++) {
        uint64_t bytes = write_record(input, at + used, left - used, batch.before + 1 + i, term);
        if (bytes == 0) {
            batch.records = i;
            break;
        }
        used += bytes;
    }
    batch.used = (uint32_t)used;
    batch.bytes = (uint32_t)log_round_up(used, LOG_BLOCK);
    memset(at + used, 0, batch.bytes - used);
    memcpy(at, &batch, sizeof batch);
    uint8_t after = fuzz_byte(input);
    if ((after & 0x40) != 0) {
        /* Anything, behind a right checksum. */
        uint64_t where = fuzz_short(input) % used;
        at[where] = fuzz_byte(input);
        memcpy(&batch, at, sizeof batch);
        batch.used = batch.used <= log_round_up(used, LOG_BLOCK) ? batch.used : (uint32_t)used;
        memcpy(at, &batch, sizeof batch);
    }
    struct log_batch *in_place = (struct log_batch *)(void *)at;
    in_place->checksum = 0;
    in_place->checksum = in_place->used >= sizeof batch ? log_batch_checksum(in_place) : 0;
    if ((after & DAMAGE) != 0) {
        at[fuzz_short(input) % used] ^= 1;
    }
    uint64_t bytes = log_round_up(used, LOG_BLOCK);
    memcpy(fuzz_machine_disk(machine, offset + block * LOG_BLOCK, bytes), at, bytes);
}

void fuzz_log_write(struct fuzz_input *input, struct fuzz_machine *machine, uint64_t offset, uint64_t region_bytes, uint64_t raft_id)
{
    for (unsigned left = fuzz_byte(input) % (BATCHES_MAX + 1); left > 0 && input->left > 0; left--) {
        write_batch(input, machine, offset, region_bytes, raft_id);
    }
}
