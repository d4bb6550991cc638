/* The two vote slots. Input: for each slot what it is (absent, raw, mended), then its fields; then what happens to the vote. */
#include <string.h>

#include "consensus/limits.h"
#include "consensus/vote.h"
#include "crypto/seal.h"
#include "tests/fuzz/support/fuzz.h"

enum { DISK_BYTES = 1 << 16, SLOT_ABSENT = 0, SLOT_RAW = 1 };
static const uint8_t cluster_id[16] = "cluster";
static const uint64_t raft_id = 0x1101;

static struct fuzz_machine machine;
static struct vote *vote;
static bool sequence_at_the_end;

static void write_slot(struct fuzz_input *input, unsigned slot)
{
    uint8_t *at = fuzz_machine_disk(&machine, (uint64_t)(DISK_VOTE_BLOCK_FIRST + slot) * DISK_BLOCK_BYTES, DISK_BLOCK_BYTES);
    struct disk_vote fields;
    uint8_t kind = fuzz_byte(input) % 4;
    if (kind == SLOT_ABSENT) {
        return;
    }
    if (kind == SLOT_RAW) {
        fuzz_copy(input, &fields, sizeof fields);
    } else {
        uint8_t flags = fuzz_byte(input);
        memset(&fields, 0, sizeof fields);
        memcpy(fields.cluster_id, cluster_id, sizeof cluster_id);
        fields.raft_id = (flags & 1) != 0 ? 7 : raft_id;
        fields.sequence = fuzz_number(input);
        sequence_at_the_end |= fields.sequence > GROUP_NUMBER_MAX - 8;
        fields.term = fuzz_number(input);
        fields.voted_for = fuzz_number(input);
        fields.boot_number = fuzz_number(input);
        for (unsigned i = 0; i < DISK_MEMBERS_MAX && i < flags >> 4; i++) {
            fields.evidence[i] =
                (struct disk_evidence){.raft_id = fuzz_number(input), .boot_number = fuzz_number(input), .life = fuzz_byte(input), .match_index = fuzz_number(input)};
        }
        seal_vote(&fields);
    }
    memcpy(at, &fields, sizeof fields);
}

static void settle(void)
{
    for (unsigned i = 0; i < 10; i++) {
        vote_tick(vote);
        fake_disk_drain(&machine.fake);
    }
    machine.fake.now_ns += 10000000000ull;
    for (unsigned i = 0; i < 10; i++) {
        vote_tick(vote);
        fake_disk_drain(&machine.fake);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, bytes};
    if (vote == NULL) {
        fuzz_machine_init(&machine, 1, DISK_BYTES);
        CHECK(vote_create(&vote, &machine.fake.machine) == STATUS_OK);
    }
    fuzz_machine_reset_disk(&machine);
    sequence_at_the_end = false;
    write_slot(&input, 0);
    write_slot(&input, 1);
    bool fresh = false;
    if (vote_open(vote, cluster_id, raft_id, &fresh) != STATUS_OK) {
        return 0;
    }
    bool at_the_end = vote_term(vote) >= GROUP_NUMBER_MAX || vote_boot_number(vote) >= GROUP_NUMBER_MAX;
    CHECK(!fresh || vote_term(vote) == 0);
    /* What a node does next is remembered, however often it starts. */
    uint64_t term = vote_term(vote) + 1, boot = vote_boot_number(vote) + 1;
    CHECK(term != 0);
    CHECK(boot != 0);
    vote_raise_boot_number(vote, 5);
    vote_set(vote, term, raft_id);
    uint64_t id = fuzz_number(&input);
    bool noted = vote_note_evidence(vote, id, fuzz_number(&input), 3, fuzz_number(&input), NULL, 0);
    settle();
    CHECK(vote_durable(vote));
    enum status status = vote_open(vote, cluster_id, raft_id, &fresh);
    if (status == STATUS_CORRUPT && (at_the_end || sequence_at_the_end)) {
        return 0; /* counted past what is believed: said, not forgotten */
    }
    CHECK(status == STATUS_OK);
    CHECK(!fresh);
    CHECK(vote_term(vote) == term);
    CHECK(vote_voted_for(vote) == raft_id);
    CHECK(vote_boot_number(vote) == boot);
    CHECK(!noted || vote_evidence(vote, id) != NULL);
    return 0;
}
