/* The raft library's heap: the C library's, counted and bounded.
 *
 * One for the whole program, as the library has it; several groups in one program (tests, simulator) share it and its bound. */
#ifndef EIDOLON_CONSENSUS_RAFT_HEAP_H
#define EIDOLON_CONSENSUS_RAFT_HEAP_H

#include <stddef.h>

/* Install it; may be called again. `bytes_max` is the bound from now on. */
void raft_heap_bound(size_t bytes_max);

#endif
