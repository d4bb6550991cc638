/* Term, vote, boot number and evidence on disk: two slots of one block each, alternating.
 *
 * Owns blocks 2 and 3 of the disk (struct disk_vote). Promises: vote_durable() is true only when the present term and vote are covered by a flush,
 * written in order; the state goes to both slots in the end, so that one bad slot forgets nothing that was spoken of. Called by
 * consensus/group, from the event loop only; writes are asynchronous. Evidence (what peers showed us) is written with the next state, or by
 * itself after a while, and nothing waits for it. */
#ifndef EIDOLON_CONSENSUS_VOTE_H
#define EIDOLON_CONSENSUS_VOTE_H

#include <stdbool.h>
#include <stdint.h>

#include "include/disk_format.h"
#include "include/machine.h"
#include "include/status.h"

struct vote;

MUST_CHECK enum status vote_create(struct vote **out, const struct machine *machine);
/* Read the slots (synchronous). *fresh: this incarnation never wrote one.
 * BUSY: a write of a former life is under way.  CORRUPT: both slots are bad, or one has a right checksum and numbers that cannot be (beyond
 * GROUP_NUMBER_MAX, a vote without a term): what was promised is not known.  FOREIGN: another cluster's.  UNKNOWN_VERSION.  IO_ERROR. */
MUST_CHECK enum status vote_open(struct vote *vote, const uint8_t cluster_id[16], uint64_t raft_id, bool *fresh);

uint64_t vote_term(const struct vote *vote);
uint64_t vote_voted_for(const struct vote *vote);
uint64_t vote_boot_number(const struct vote *vote);

void vote_set(struct vote *vote, uint64_t term, uint64_t voted_for);
/* A new boot, called `life` (random). */
void vote_raise_boot_number(struct vote *vote, uint64_t life);
/* What this boot and those before it are called. */
const uint64_t *vote_lives(const struct vote *vote);
/* The term, vote and boot number as they are now are durable. */
bool vote_durable(const struct vote *vote);

/* What `raft_id` showed us; numbers never shrink. When all slots are taken the one of an id that `keep` does not name makes room; false: none. */
bool vote_note_evidence(struct vote *vote, uint64_t raft_id, uint64_t boot_number, uint64_t life, uint64_t match_index, const uint64_t *keep, uint32_t keep_count);
/* NULL: none. */
const struct disk_evidence *vote_evidence(const struct vote *vote, uint64_t raft_id);

void vote_tick(struct vote *vote);
uint64_t vote_deadline_ns(const struct vote *vote); /* 0: at once; UINT64_MAX: only a completion can change anything */
bool vote_failed(const struct vote *vote);
uint64_t vote_written_bytes(const struct vote *vote); /* handed to the disk since vote_create */

#endif
