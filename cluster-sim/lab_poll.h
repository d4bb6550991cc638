/* One round of the background process's waiting: what each module waits for, and what came.
 *
 * Each module adds its descriptors before the poll and keeps the index; after the poll it asks by that index. */
#ifndef EIDOLON_LAB_POLL_H
#define EIDOLON_LAB_POLL_H

#include <poll.h>
#include <stdint.h>

#include "cluster-sim/lab_limits.h"

struct poll_set {
    struct pollfd entries[LAB_POLLS_MAX];
    int count;
    uint32_t timeout_ms;
};

/* Wait for `events` on `descriptor`. Returns its index, or -1 if the set is full (it then simply reports nothing in this round). */
static inline int poll_set_add(struct poll_set *set, int descriptor, short events)
{
    if (descriptor < 0 || set->count >= LAB_POLLS_MAX) {
        return -1;
    }
    set->entries[set->count] = (struct pollfd){.fd = descriptor, .events = events};
    return set->count++;
}

/* What came for `index`; 0 for -1. */
static inline short poll_set_result(const struct poll_set *set, int index)
{
    return index < 0 || index >= set->count ? 0 : set->entries[index].revents;
}

/* Wake up at `at_ms` at the latest. */
static inline void poll_set_wake_at(struct poll_set *set, uint64_t now_ms, uint64_t at_ms)
{
    uint64_t pause = at_ms > now_ms ? at_ms - now_ms : 0;
    if (pause < set->timeout_ms) {
        set->timeout_ms = (uint32_t)pause;
    }
}

#endif
