/* States of writing, one request at a time:
 *
 *   IDLE      state not durable, or evidence old, or the mirror is behind   WRITING    begin_write
 *   WRITING   completed                                                     WRITTEN    write_done
 *   WRITTEN   the device took the flush                                     FLUSHING   vote_tick
 *   FLUSHING  completed                                                     IDLE       flush_done
 *
 * Each write is the whole state with the next sequence, into the slot that does not hold the newest one. Once a state is durable the same state is
 * written once more, into the other slot (the mirror). So a slot that goes bad later forgets nothing, and a slot torn in mid-write was never spoken of.
 * One window remains: a slot that goes bad before its mirror is durable looks like a torn one. */
#include "consensus/vote.h"

#include <string.h>

#include "consensus/limits.h"
#include "crypto/seal.h"
#include "include/check.h"
#include "include/machine_log.h"

enum {
    FIRST_SLOT_BLOCK = DISK_VOTE_BLOCK_FIRST,
    SLOTS = DISK_VOTE_BLOCKS,
    EVIDENCE_DELAY_MS = 2000, /* evidence grows with each entry and is written so often at most */
    RETRY_NS = 1000000,       /* a device whose queue was full is asked again */
};

enum vote_phase { VOTE_IDLE, VOTE_WRITING, VOTE_WRITTEN, VOTE_FLUSHING };

struct vote {
    const struct machine *machine;
    uint8_t *block;              /* write buffer, one block */
    struct disk_vote state;      /* `sequence` is that of the newest one written */
    uint64_t generation;         /* of term, vote and boot number: grows with each change */
    uint64_t writing_generation;
    uint64_t durable_generation;
    unsigned next_slot;
    unsigned copies;             /* slots that hold the durable generation, with the evidence that was written last */
    bool evidence_changed;
    bool writing_evidence;
    uint64_t evidence_since_ns;
    enum vote_phase phase;
    bool failed;
    uint64_t retry_ns;
    struct block_request request;
    uint64_t written_bytes;
};

enum status vote_create(struct vote **out, const struct machine *machine)
{
    struct vote *vote = machine->reserve(machine->context, sizeof *vote, _Alignof(struct vote));
    if (vote == NULL) {
        return STATUS_NO_MEMORY;
    }
    vote->machine = machine;
    vote->block = machine->reserve(machine->context, DISK_BLOCK_BYTES, DISK_BLOCK_BYTES);
    if (vote->block == NULL) {
        return STATUS_NO_MEMORY;
    }
    *out = vote;
    return STATUS_OK;
}

static bool is_zero(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

/* The block of `slot` into *out; *there: false for one that was never written. CORRUPT: it does not verify. INVALID: it does, and its numbers cannot be. */
static enum status read_slot(struct vote *vote, const uint8_t cluster_id[16], unsigned slot, struct disk_vote *out, bool *there)
{
    enum status status =
        vote->machine->block_read(vote->machine->context, (uint64_t)(FIRST_SLOT_BLOCK + slot) * DISK_BLOCK_BYTES, vote->block, DISK_BLOCK_BYTES);
    if (status != STATUS_OK) {
        return status;
    }
    *there = !is_zero(vote->block, DISK_BLOCK_BYTES);
    memcpy(out, vote->block, sizeof *out);
    status = *there ? seal_check_vote(out, cluster_id) : STATUS_OK;
    if (status != STATUS_OK) {
        return status;
    }
    bool possible = out->sequence <= GROUP_NUMBER_MAX && out->term <= GROUP_NUMBER_MAX && out->boot_number <= GROUP_NUMBER_MAX &&
                    (out->term != 0 || out->voted_for == 0);
    return possible ? STATUS_OK : STATUS_INVALID;
}

/* One slot is used and the other one does not verify, or is blank though it was written: so it stands after a power loss in mid-write, or something has
 * harmed it. */
static void tell_bad_slot(const struct vote *vote, unsigned slot)
{
    machine_log(vote->machine, LOG_WARNING, "vote slot %u (block %u) does not verify: vote slot %u is used", slot, FIRST_SLOT_BLOCK + slot, 1 - slot);
}

enum status vote_open(struct vote *vote, const uint8_t cluster_id[16], uint64_t raft_id, bool *fresh)
{
    if (vote->phase == VOTE_WRITING || vote->phase == VOTE_FLUSHING) {
        return STATUS_BUSY;
    }
    unsigned bad = 0, blank = 0, best_slot = 0;
    uint64_t sequence_max = 0;
    struct disk_vote best = {.sequence = 0};
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        struct disk_vote found;
        bool there = false;
        enum status status = read_slot(vote, cluster_id, slot, &found, &there);
        if (status == STATUS_CORRUPT) {
            bad++;
            continue;
        }
        if (status != STATUS_OK) {
            return status == STATUS_INVALID ? STATUS_CORRUPT : status; /* the other slot may be older than what was promised */
        }
        blank += !there;
        sequence_max = found.sequence > sequence_max ? found.sequence : sequence_max;
        if (found.raft_id == raft_id && found.sequence > best.sequence) {
            best = found;
            best_slot = slot;
        }
    }
    if (bad == SLOTS) {
        return STATUS_CORRUPT;
    }
    *fresh = best.sequence == 0;
    if (bad > 0 || (blank > 0 && best.sequence > 1)) {
        tell_bad_slot(vote, *fresh ? 0 : 1 - best_slot);
    }
    if (*fresh) {
        best = (struct disk_vote){.sequence = sequence_max, .raft_id = raft_id};
        memcpy(best.cluster_id, cluster_id, sizeof best.cluster_id);
    }
    vote->state = best;
    vote->next_slot = *fresh ? 0 : 1 - best_slot;
    vote->generation = vote->durable_generation = 1;
    vote->copies = *fresh ? SLOTS : 1;
    vote->evidence_changed = vote->writing_evidence = false;
    vote->phase = VOTE_IDLE;
    vote->failed = false;
    vote->retry_ns = 0;
    return STATUS_OK;
}

uint64_t vote_term(const struct vote *vote)
{
    return vote->state.term;
}

uint64_t vote_voted_for(const struct vote *vote)
{
    return vote->state.voted_for;
}

uint64_t vote_boot_number(const struct vote *vote)
{
    return vote->state.boot_number;
}

void vote_set(struct vote *vote, uint64_t term, uint64_t voted_for)
{
    CHECK(term >= vote->state.term);
    if (term != vote->state.term || voted_for != vote->state.voted_for) {
        vote->state.term = term;
        vote->state.voted_for = voted_for;
        vote->generation++;
    }
}

const uint64_t *vote_lives(const struct vote *vote)
{
    return vote->state.lives;
}

void vote_raise_boot_number(struct vote *vote, uint64_t life)
{
    vote->state.boot_number++;
    memmove(&vote->state.lives[1], &vote->state.lives[0], (DISK_LIVES - 1) * sizeof vote->state.lives[0]);
    vote->state.lives[0] = life;
    vote->generation++;
}

bool vote_durable(const struct vote *vote)
{
    return vote->durable_generation == vote->generation;
}

const struct disk_evidence *vote_evidence(const struct vote *vote, uint64_t raft_id)
{
    for (unsigned i = 0; i < DISK_MEMBERS_MAX; i++) {
        if (vote->state.evidence[i].raft_id == raft_id) {
            return &vote->state.evidence[i];
        }
    }
    return NULL;
}

static struct disk_evidence *evidence_slot(struct vote *vote, uint64_t raft_id, const uint64_t *keep, uint32_t keep_count)
{
    struct disk_evidence *replaceable = NULL;
    for (unsigned i = 0; i < DISK_MEMBERS_MAX; i++) {
        struct disk_evidence *evidence = &vote->state.evidence[i];
        if (evidence->raft_id == raft_id) {
            return evidence;
        }
        bool kept = false;
        for (uint32_t k = 0; k < keep_count; k++) {
            kept |= keep[k] == evidence->raft_id;
        }
        if (evidence->raft_id == 0 || (!kept && (replaceable == NULL || replaceable->raft_id != 0))) {
            replaceable = evidence;
        }
    }
    if (replaceable != NULL) {
        *replaceable = (struct disk_evidence){.raft_id = raft_id};
    }
    return replaceable;
}

bool vote_note_evidence(struct vote *vote, uint64_t raft_id, uint64_t boot_number, uint64_t life, uint64_t match_index, const uint64_t *keep,
                        uint32_t keep_count)
{
    struct disk_evidence *evidence = evidence_slot(vote, raft_id, keep, keep_count);
    if (evidence == NULL) {
        return false;
    }
    if (boot_number > evidence->boot_number || match_index > evidence->match_index) {
        if (boot_number > evidence->boot_number) {
            evidence->boot_number = boot_number;
            evidence->life = life;
        }
        evidence->match_index = match_index > evidence->match_index ? match_index : evidence->match_index;
        if (!vote->evidence_changed) {
            vote->evidence_changed = true;
            vote->evidence_since_ns = vote->machine->now_ns(vote->machine->context);
        }
    }
    return true;
}

/* -- writing -- */

static void write_failed(struct vote *vote)
{
    vote->failed = true;
    vote->phase = VOTE_IDLE;
    vote->machine->log(vote->machine->context, LOG_ERROR, "vote: the disk reported an error for a write; this node neither votes nor speaks until it starts again");
}

static void write_done(struct block_request *request, enum status status)
{
    struct vote *vote = request->context;
    vote->phase = VOTE_WRITTEN;
    if (status != STATUS_OK) {
        write_failed(vote);
    }
}

static void flush_done(struct block_request *request, enum status status)
{
    struct vote *vote = request->context;
    vote->phase = VOTE_IDLE;
    if (status != STATUS_OK) {
        write_failed(vote);
        return;
    }
    vote->copies = vote->writing_generation == vote->durable_generation && !vote->writing_evidence ? vote->copies + 1 : 1;
    vote->durable_generation = vote->writing_generation;
}

static bool submit(struct vote *vote, enum block_operation operation)
{
    vote->request = (struct block_request){
        .operation = operation,
        .offset = operation == BLOCK_WRITE ? (uint64_t)(FIRST_SLOT_BLOCK + vote->next_slot) * DISK_BLOCK_BYTES : 0,
        .buffer = vote->block,
        .bytes = operation == BLOCK_WRITE ? DISK_BLOCK_BYTES : 0,
        .done = operation == BLOCK_WRITE ? write_done : flush_done,
        .context = vote,
    };
    if (vote->machine->block_submit(vote->machine->context, &vote->request) == STATUS_OK) {
        return true;
    }
    vote->retry_ns = vote->machine->now_ns(vote->machine->context) + RETRY_NS;
    return false;
}

/* When a write is due; UINT64_MAX: never. */
static uint64_t write_due_ns(const struct vote *vote)
{
    if (!vote_durable(vote) || vote->copies < SLOTS) {
        return 0;
    }
    return vote->evidence_changed ? vote->evidence_since_ns + EVIDENCE_DELAY_MS * 1000000ull : UINT64_MAX;
}

static void begin_write(struct vote *vote)
{
    struct disk_vote next = vote->state;
    next.sequence++;
    seal_vote(&next);
    memset(vote->block, 0, DISK_BLOCK_BYTES);
    memcpy(vote->block, &next, sizeof next);
    if (!submit(vote, BLOCK_WRITE)) {
        return;
    }
    vote->state.sequence = next.sequence;
    vote->writing_generation = vote->generation;
    vote->next_slot = 1 - vote->next_slot;
    vote->writing_evidence = vote->evidence_changed;
    vote->evidence_changed = false;
    vote->phase = VOTE_WRITING;
    vote->written_bytes += DISK_BLOCK_BYTES;
}

void vote_tick(struct vote *vote)
{
    uint64_t now = vote->machine->now_ns(vote->machine->context);
    if (vote->failed || now < vote->retry_ns) {
        return;
    }
    if (vote->phase == VOTE_IDLE && now >= write_due_ns(vote)) {
        begin_write(vote);
    } else if (vote->phase == VOTE_WRITTEN && submit(vote, BLOCK_FLUSH)) {
        vote->phase = VOTE_FLUSHING;
    }
}

uint64_t vote_deadline_ns(const struct vote *vote)
{
    if (vote->failed || vote->phase == VOTE_WRITING || vote->phase == VOTE_FLUSHING) {
        return UINT64_MAX;
    }
    uint64_t due = vote->phase == VOTE_WRITTEN ? 0 : write_due_ns(vote);
    return due > vote->retry_ns ? due : vote->retry_ns;
}

bool vote_failed(const struct vote *vote)
{
    return vote->failed;
}

uint64_t vote_written_bytes(const struct vote *vote)
{
    return vote->written_bytes;
}
