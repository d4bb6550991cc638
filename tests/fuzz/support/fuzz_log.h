/* Batches of the log with right checksums and the input's numbers, for the targets that start from a log region. */
#ifndef EIDOLON_TESTS_FUZZ_LOG_H
#define EIDOLON_TESTS_FUZZ_LOG_H

#include "tests/fuzz/support/fuzz.h"

/* Write up to 15 batches that the input describes into the region of `region_bytes` at `offset` of the machine's disk. */
void fuzz_log_write(struct fuzz_input *input, struct fuzz_machine *machine, uint64_t offset, uint64_t region_bytes, uint64_t raft_id);

#endif
