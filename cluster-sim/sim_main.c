/* Options, seeds, and what is printed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cluster-sim/sim.h"
#include "crypto/random.h"

struct options {
    unsigned nodes, faults;
    uint64_t first, last, minutes;
    bool verbose;
};

static const struct {
    const char *name;
    unsigned bit;
} fault_names[] = {{"crash", SIM_FAULT_CRASH}, {"cut", SIM_FAULT_CUT}, {"one-way", SIM_FAULT_ONE_WAY}, {"freeze", SIM_FAULT_FREEZE},
                   {"disk-loss", SIM_FAULT_DISK_LOSS}, {"power", SIM_FAULT_POWER}, {"loss", SIM_FAULT_LOSS}, {"move", SIM_FAULT_MOVE},
                   {"all", SIM_FAULT_ALL}};

static int usage(const char *what)
{
    fprintf(stderr, "eidolon-sim: %s\nusage: eidolon-sim [--nodes 1|3|5] [--seed S | --seeds A..B] [--minutes M] [--faults LIST] [--trace]\n"
                    "faults, separated by commas: crash cut one-way freeze disk-loss power loss move all none\n", what);
    return SIM_EXIT_USAGE;
}

static bool parse_faults(const char *list, unsigned *out)
{
    unsigned faults = 0;
    while (*list != '\0') {
        size_t length = strcspn(list, ",");
        bool known = length == 4 && strncmp(list, "none", 4) == 0;
        for (size_t i = 0; i < sizeof fault_names / sizeof fault_names[0]; i++) {
            if (strlen(fault_names[i].name) == length && strncmp(fault_names[i].name, list, length) == 0) {
                faults |= fault_names[i].bit;
                known = true;
            }
        }
        if (!known) {
            return false;
        }
        list += length + (list[length] == ',');
    }
    *out = faults;
    return true;
}

static bool parse_number(const char *text, uint64_t *out, char **end)
{
    errno = 0;
    *out = strtoull(text, end, 10);
    return *text >= '0' && *text <= '9' && errno == 0;
}

static bool parse_option(struct options *options, const char *name, const char *value)
{
    char *end = NULL;
    uint64_t number = 0;
    if (strcmp(name, "--faults") == 0) {
        return parse_faults(value, &options->faults);
    }
    if (!parse_number(value, &number, &end)) {
        return false;
    }
    if (strcmp(name, "--seeds") == 0) {
        options->first = number;
        return strncmp(end, "..", 2) == 0 && parse_number(end + 2, &options->last, &end) && *end == '\0' && options->last >= options->first;
    }
    if (*end != '\0') {
        return false;
    }
    if (strcmp(name, "--seed") == 0) {
        options->first = options->last = number;
        return true;
    }
    if (strcmp(name, "--minutes") == 0) {
        options->minutes = number;
        return number >= 1 && number <= 1000;
    }
    options->nodes = (unsigned)number;
    return strcmp(name, "--nodes") == 0 && (number == 1 || number == 3 || number == 5);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void print_failure(struct sim *sim, const struct options *options)
{
    for (unsigned i = 0; i < SIM_TRACE_LINES && !options->verbose; i++) {
        const char *line = sim->lines[(sim->line_next + i) % SIM_TRACE_LINES];
        if (line != NULL) {
            fprintf(stderr, "%s\n", line);
        }
    }
    printf("seed %llu FAILED: %s\nreplay: build/eidolon-sim --nodes %u --seed %llu --minutes %llu --trace\n", (unsigned long long)sim->seed, sim->failure,
           options->nodes, (unsigned long long)sim->seed, (unsigned long long)options->minutes);
}

static int run_seed(struct sim *sim, const struct options *options, uint64_t seed)
{
    double started = seconds();
    sim->verbose = options->verbose;
    sim_create(sim, seed, options->nodes, options->faults, options->minutes);
    sim_run(sim);
    double took = seconds() - started;
    uint64_t answered = 0;
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        answered += sim->clients[i].acknowledged;
    }
    int code = sim->failed;
    if (code != 0) {
        print_failure(sim, options);
    } else {
        printf("seed %llu held: %.1f simulated s, %llu events, %llu requests, %.0f times real time, trace %016llx\n", (unsigned long long)seed,
               (double)sim->now_ns / 1e9, (unsigned long long)sim->events, (unsigned long long)answered, (double)sim->now_ns / 1e9 / took,
               (unsigned long long)sim->trace_hash);
    }
    fflush(stdout);
    sim_destroy(sim);
    return code;
}

static uint64_t zero_clock(void *context)
{
    (void)context;
    return 0;
}

static void zero_entropy(void *context, void *buffer, size_t bytes)
{
    (void)context;
    memset(buffer, 0, bytes);
}

int main(int count, char **arguments)
{
    struct options options = {.nodes = 3, .faults = SIM_FAULT_ALL, .first = 1, .last = 1, .minutes = 10};
    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--trace") == 0) {
            options.verbose = true;
        } else if (i + 1 == count || !parse_option(&options, arguments[i], arguments[i + 1])) {
            return usage(arguments[i]);
        } else {
            i++;
        }
    }
    static const struct machine machine = {.now_ns = zero_clock, .entropy = zero_entropy};
    if (crypto_init(&machine) != STATUS_OK) {
        return usage("libsodium refuses this machine");
    }
    static struct sim sim;
    for (uint64_t seed = options.first; seed <= options.last; seed++) {
        int code = run_seed(&sim, &options, seed);
        if (code != 0) {
            return code;
        }
    }
    return SIM_EXIT_OK;
}
