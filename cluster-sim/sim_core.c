/* Time, events, the trace. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster-sim/sim.h"
#include "include/check.h"
#include "include/hash64.h"

void sim_print_timeline(const struct sim *sim)
{
    for (unsigned i = 0; i < SIM_TRACE_LINES && !sim->verbose; i++) {
        const char *line = sim->lines[(sim->line_next + i) % SIM_TRACE_LINES];
        if (line != NULL) {
            fprintf(stderr, "%s\n", line);
        }
    }
}

uint64_t sim_random(struct sim *sim)
{
    uint64_t z = sim->random += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

uint64_t sim_below(struct sim *sim, uint64_t bound)
{
    return bound == 0 ? 0 : sim_random(sim) % bound;
}

bool sim_chance(struct sim *sim, unsigned percent)
{
    return sim_below(sim, 100) < percent;
}

/* -- the event queue: a binary heap by (time, order) -- */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void swap(struct sim_event *a, struct sim_event *b)
{
    struct sim_event c = *a;
    *a = *b;
    *b = c;
}

void sim_at(struct sim *sim, uint64_t delay_ns, sim_event_fn *function, void *context, uint64_t argument)
{
    if (sim->heap_count == sim->heap_size) {
        sim->heap_size = sim->heap_size == 0 ? 1024 : 2 * sim->heap_size;
        sim->heap = realloc(sim->heap, sim->heap_size * sizeof *sim->heap);
        CHECK(sim->heap != NULL);
    }
    size_t i = sim->heap_count++;
    sim->heap[i] = (struct sim_event){sim->now_ns + delay_ns, sim->event_order++, function, context, argument};
    while (i > 0 && before(&sim->heap[i], &sim->heap[(i - 1) / 2])) {
        swap(&sim->heap[i], &sim->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
}

void *sim_slot(void *table, size_t *count, uint64_t index, size_t element_bytes)
{
    char *bytes = table;
    if (index >= *count) {
        size_t wanted = (size_t)index * 2 + 1024;
        bytes = realloc(bytes, wanted * element_bytes);
        CHECK(bytes != NULL);
        memset(bytes + *count * element_bytes, 0, (wanted - *count) * element_bytes);
        *count = wanted;
    }
    return bytes;
}

static struct sim_event take_event(struct sim *sim)
{
    struct sim_event first = sim->heap[0];
    sim->heap[0] = sim->heap[--sim->heap_count];
    size_t i = 0;
    for (;;) {
        size_t least = i, left = 2 * i + 1, right = left + 1;
        if (left < sim->heap_count && before(&sim->heap[left], &sim->heap[least])) {
            least = left;
        }
        if (right < sim->heap_count && before(&sim->heap[right], &sim->heap[least])) {
            least = right;
        }
        if (least == i) {
            return first;
        }
        swap(&sim->heap[i], &sim->heap[least]);
        i = least;
    }
}

/* -- the trace -- */

void sim_note(struct sim *sim, unsigned node, const char *format, ...)
{
    char text[420];
    int at = snprintf(text, sizeof text, "%12.6f node %u: ", (double)sim->now_ns / 1e9, node);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + at, sizeof text - (size_t)at, format, arguments);
    va_end(arguments);
    sim->trace_hash = hash64(sim->trace_hash, text, strlen(text));
    free(sim->lines[sim->line_next]);
    sim->lines[sim->line_next] = strdup(text);
    sim->line_next = (sim->line_next + 1) % SIM_TRACE_LINES;
    if (sim->verbose) {
        fprintf(stderr, "%s\n", text);
    }
}

void sim_fail(struct sim *sim, int code, const char *format, ...)
{
    if (sim->failed != 0) {
        return;
    }
    sim->failed = code;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sim->failure, sizeof sim->failure, format, arguments);
    va_end(arguments);
    sim_note(sim, 0, "VIOLATION %s", sim->failure);
}

void sim_run_until(struct sim *sim, uint64_t end_ns)
{
    while (sim->failed == 0 && sim->heap_count > 0 && sim->heap[0].at_ns <= end_ns) {
        struct sim_event event = take_event(sim);
        sim->now_ns = event.at_ns;
        sim->events++;
        event.function(sim, event.context, event.argument);
    }
    if (sim->failed == 0) {
        sim->now_ns = end_ns;
    }
}
