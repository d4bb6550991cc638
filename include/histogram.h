/* Durations, counted in fixed buckets: two for each power of two of nanoseconds, so a percentile read from them may be too high or too low by a bucket's
 * width: up to a half.
 *
 * Zero-initialised is empty. No allocation; adding costs a few instructions. Bucket 0 is everything below 128 ns; bucket b > 0 starts at
 * histogram_bucket_start(b); the last one is open. Counts stay at their maximum instead of wrapping. Used by replicate/ for the management
 * port (include/management.h), whose readers know the bucket numbers. */
#ifndef EIDOLON_HISTOGRAM_H
#define EIDOLON_HISTOGRAM_H

#include <assert.h>
#include <stdint.h>

enum {
    HISTOGRAM_FIRST_SHIFT = 7, /* 128 ns: reading the clock costs about that much */
    HISTOGRAM_BUCKETS = 54,    /* up to about 11 seconds */
};

struct histogram {
    uint64_t count, sum_ns, max_ns;
    uint32_t buckets[HISTOGRAM_BUCKETS];
};

/* The first duration of bucket `bucket`, in ns. */
static inline uint64_t histogram_bucket_start(unsigned bucket)
{
    if (bucket == 0) {
        return 0;
    }
    unsigned half = bucket - 1;
    return (2ull + half % 2) << (half / 2 + HISTOGRAM_FIRST_SHIFT - 1);
}

static inline unsigned histogram_bucket(uint64_t duration_ns)
{
    if (duration_ns >> HISTOGRAM_FIRST_SHIFT == 0) {
        return 0;
    }
    unsigned top = 63u - (unsigned)__builtin_clzll(duration_ns);
    unsigned bucket = 1 + 2 * (top - HISTOGRAM_FIRST_SHIFT) + (unsigned)(duration_ns >> (top - 1) & 1);
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static inline void histogram_add(struct histogram *histogram, uint64_t duration_ns)
{
    uint32_t *bucket = &histogram->buckets[histogram_bucket(duration_ns)];
    *bucket += *bucket != UINT32_MAX;
    histogram->count++;
    histogram->sum_ns += duration_ns;
    if (duration_ns > histogram->max_ns) {
        histogram->max_ns = duration_ns;
    }
}

#endif
