/* The runtime's heap, shared fairly among sessions.
 *
 * One garbage-collected heap serves all sessions, so that objects can be shared. Each session is charged for what is alive only through
 * it: a collection marks what is shared first (`root`, modules, names), then session by session, and what is found first in a session's
 * turn is its own. What a session allocates between collections is charged at once.
 *
 * A reserve (1/HEAP_RESERVE_SHARE of the heap) is kept: only sessions whose charge is below their share of it may use it. So when one
 * session has filled the heap, its allocations fail with MemoryError while the others still work.
 *
 * What hangs from `root` is nobody's. So while the heap is filled up to its reserve, each collection spreads what the shared part has grown by
 * over the sessions, by what they allocated, as blame that counts like a charge, until the reserve is whole again: a session cannot eat the
 * reserve by way of `root` either.
 *
 * Reading and compiling a line and telling what it raised (struct thread, at_prompt) may take HEAP_PROMPT_BYTES where programs get nothing
 * any more, so that a full session can still `del`. Programs leave twice that free, whatever their charge; lines of a session that is to
 * blame, or has grown itself meanwhile, by more than its share leave half of the reserve: lines cannot lock out other sessions' lines.
 *
 * Collections also follow allocation (HEAP_COLLECT_BYTES_MIN): garbage is taken back before it spreads over every page. */
#ifndef OBJECTS_MEMORY_H
#define OBJECTS_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct session;

/* What the heap knows of a session; embedded in it. */
struct memory_charge {
    size_t bytes;     /* alive at the last collection, and allocated since */
    size_t allocated; /* since the last collection */
    size_t alive;     /* of the last collection */
    size_t blame;     /* of what the shared part took of the reserve */
    size_t grown;     /* by so much itself, since the reserve was touched */
};

/* The heap is [base, base + bytes). Once, at birth, on the initial stack, whose high end is `stack_top`. */
void memory_init(uint8_t *base, size_t bytes, uintptr_t stack_top);

struct memory_facts {
    size_t total, used, reserve, session_bytes, session_share;
};
void memory_get_facts(const struct session *session, struct memory_facts *facts);

/* Mark what [low, high) points to; only from the collect functions that memory.c calls. */
void memory_mark(const void *low, const void *high);

#endif
