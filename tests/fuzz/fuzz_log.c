/* Recovery of the log from its region. Input: what the checkpoint says, then the batches (tests/fuzz/support/fuzz_log.h).
 * Of what is accepted: every entry can be read, an entry can be appended, and all of it is there after the next start, twice (DURABLE). */
#include <string.h>

#include "consensus/log_internal.h"
#include "include/hash64.h"
#include "tests/fuzz/support/fuzz_log.h"

enum { OFFSET = 1 << 20, REGION_BYTES = 768 << 10 };
static const uint64_t raft_id = 0x1101;

static struct fuzz_machine machine;
static struct log *log_;

static void prepare(void)
{
    if (log_ == NULL) {
        fuzz_machine_init(&machine, 1, OFFSET + REGION_BYTES);
        fuzz_machine_scratch(&machine, (size_t)LOG_BATCHES_MAX * LOG_BATCH_BYTES_MAX);
        CHECK(log_create(&log_, &machine.fake.machine, REGION_BYTES) == STATUS_OK);
    }
    fuzz_machine_reset_disk(&machine);
}

/* Every entry can be asked for. Returns a hash of all above `after` up to `last`. */
static uint64_t read_all(uint64_t after, uint64_t last)
{
    static uint8_t scratch[ENTRY_BODY_BYTES_MAX];
    uint64_t sum = 0;
    for (uint64_t index = after + 1; index <= last; index++) {
        struct log_view view;
        CHECK(log_read(log_, index, scratch, &view) == STATUS_OK);
        CHECK(view.term == log_term_of(log_, index));
        CHECK(view.body_bytes == log_body_bytes(log_, index));
        sum = hash64(sum + view.term, view.body, view.body_bytes);
    }
    return sum;
}

static void settle(void)
{
    for (unsigned i = 0; i < 4; i++) {
        log_tick(log_, false);
        fake_disk_drain(&machine.fake);
        machine.fake.now_ns += 1000000;
    }
    log_check(log_);
}

/* Append one; the next start has it and all that was there, also behind a later checkpoint. False: the region is full, or numbers end. */
static bool go_on(uint64_t *checkpoint, uint64_t *term, uint64_t advance)
{
    static const uint8_t body[100] = "a body";
    uint64_t index = log_last_index(log_) + 1, last_term = log_term_of(log_, index - 1);
    if (last_term == 0 || !log_room(log_, 1, sizeof body, LOG_FOR_TERM)) {
        return false;
    }
    const struct group_entry entry = {.type = GROUP_ENTRY_EPOCH, .world = 1, .epoch = 5, .parts = 1, .bytes = sizeof body};
    CHECK(log_append(log_, index, last_term, LOG_COMMAND, &entry, body, sizeof body) == STATUS_OK);
    settle();
    if (log_persisted(log_) != index) {
        return false; /* the region is full */
    }
    advance = *checkpoint + advance < index ? *checkpoint + advance : index;
    *term = log_term_of(log_, advance);
    *checkpoint = advance;
    uint64_t sum = read_all(advance, index);
    char reason[REASON_BYTES_MAX];
    enum status status = log_open(log_, OFFSET, REGION_BYTES, raft_id, *checkpoint, *term, reason);
    if (status == STATUS_CORRUPT && log_->next_sequence == 1 && strstr(reason, "cannot be") != NULL) {
        return false; /* counted past what is believed: said, not forgotten */
    }
    CHECK(status == STATUS_OK);
    CHECK(log_last_index(log_) == index);
    CHECK(read_all(advance, index) == sum);
    log_recovered_durable(log_);
    log_check(log_);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, bytes};
    prepare();
    uint8_t first = fuzz_byte(&input);
    uint64_t checkpoint = first % 8u, term = checkpoint > 0 ? 1 + fuzz_byte(&input) % 4u : 0;
    fuzz_log_write(&input, &machine, OFFSET, REGION_BYTES, raft_id);
    char reason[REASON_BYTES_MAX] = "";
    enum status status = log_open(log_, OFFSET, REGION_BYTES, raft_id, checkpoint, term, reason);
    CHECK(status == STATUS_OK || status == STATUS_CORRUPT);
    CHECK(status == STATUS_OK || reason[0] != '\0');
    if (status != STATUS_OK) {
        return 0;
    }
    log_check(log_);
    read_all(checkpoint, log_last_index(log_));
    log_recovered_durable(log_);
    log_check(log_);
    for (unsigned i = 0; i < 2 && go_on(&checkpoint, &term, (first >> (3 + i)) & 1u); i++) {
    }
    /* Nothing of this run is under way in the next. */
    fake_disk_drain(&machine.fake);
    return 0;
}
