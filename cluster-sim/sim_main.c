/* Options, runs, and what is printed. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cluster-sim/sim.h"
#include "crypto/random.h"
#include "include/check.h"
#include "include/hash64.h"

enum { LIVENESS_SECONDS = 40, JOBS_MAX = 64, MINUTES_MAX = 10000, RARE_PERCENT = 3, RESTLESS_PAUSE_MS = 200, STORM_INTERVAL_MS = 400 };

/* A named mixture; 0: chosen by the seed. */
static const struct scenario {
    const char *name, *faults;
    uint64_t interval_ms;
    unsigned pause_ms;
    bool heavy, late_rot;
    bool plain; /* what a user's node would write: see struct sim */
} scenarios[] = {
    {.name = "mix", .faults = "all"},
    {.name = "lost-disks", .faults = "crash,disk-loss,loss,move,cut", .interval_ms = 2500, .pause_ms = 1500},
    {.name = "power", .faults = "power,crash,loss", .interval_ms = 3000, .pause_ms = 300},
    {.name = "one-way", .faults = "one-way,flap,freeze,loss", .interval_ms = 800, .pause_ms = 1500},
    {.name = "deposed", .faults = "cut,one-way,freeze,loss", .interval_ms = 1200, .pause_ms = 20, .heavy = true},
    {.name = "moves", .faults = "move,cut,freeze,loss", .interval_ms = 1500, .pause_ms = 500},
    {.name = "busy", .faults = "crash,one-way,disk-loss,slow-disk,loss", .interval_ms = 8000, .pause_ms = 5},
    {.name = "bad-disks", .faults = "rot,lying-flush,old-disk,disk-error,full-disk,slow-disk,crash,loss", .interval_ms = 2000, .pause_ms = 1000},
    {.name = "old-disks", .faults = "old-disk,crash,freeze", .interval_ms = 1000, .pause_ms = 1000},
    {.name = "bad-wire", .faults = "alter,flap,loss,freeze,clock", .interval_ms = 1200, .pause_ms = 800},
    {.name = "altered", .faults = "alter,loss", .interval_ms = 3000, .pause_ms = 300},
    {.name = "changes", .faults = "alter,disk-loss,loss", .interval_ms = 1200, .pause_ms = 1000},
    {.name = "aimed", .faults = "aimed,loss", .interval_ms = 400, .pause_ms = 300},
    {.name = "heavy", .faults = "aimed,one-way,loss", .interval_ms = 1000, .pause_ms = 500, .heavy = true},
    {.name = "crossed", .faults = "aimed,one-way,flap,freeze,loss", .interval_ms = 500, .pause_ms = 300},
    {.name = "flips", .faults = "flip,move,loss", .interval_ms = 1500, .pause_ms = 300},
    {.name = "late-rot", .faults = "rot,crash,loss", .interval_ms = 1000, .pause_ms = 300, .late_rot = true},
    {.name = "calm", .faults = "none", .interval_ms = 1000, .pause_ms = 2000},
    {.name = "plain", .faults = "none", .interval_ms = 1000, .pause_ms = 2000, .plain = true},
};

struct options {
    unsigned nodes, faults, jobs;
    bool verbose;
    uint64_t first, last, minutes;
    const struct scenario *scenario;
    const char *trace, *fault_list;  /* NULL: not given */
};

static struct sim sim;
static char replay[300];

static void print_usage(FILE *to)
{
    fprintf(to, "usage: eidolon-sim [--nodes 1|3|5] [--seed S | --seeds A..B] [--minutes M] [--scenario NAME] [--faults LIST] [--trace FILE] [--jobs J]\n"
                "M is 1 to %d, J 1 to %d\n"
                "scenarios:", MINUTES_MAX, JOBS_MAX);
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++) {
        fprintf(to, " %s", scenarios[i].name);
    }
    fprintf(to, "\nfaults, separated by commas: crash cut one-way flap freeze disk-loss power loss move disk-error full-disk rot lying-flush slow-disk\n"
                    "  old-disk alter clock aimed all none flip (not in all)\n--trace -: to standard error\n"
                    "exit codes: 0 held, 1 usage, 2 liveness, 3 the code crashed, 11 GATE, 12 ONE-STORY, 13 NO-TEAR, 14 DURABLE, 15 NO-AMNESIA,\n"
                    "  16 BOUND, 17 VERIFY, 18 IDLE, 19 RAFT, 20 LINEARIZABLE\n");
}

static int usage(const char *what)
{
    fprintf(stderr, "eidolon-sim: %s\n", what);
    print_usage(stderr);
    return SIM_EXIT_USAGE;
}

/* -- a run -- */

void sim_create(struct sim *into, uint64_t seed, unsigned nodes, uint64_t minutes)
{
    into->seed = seed;
    into->random = seed * 0x2545f4914f6cdd1dull + 1;
    into->node_count = nodes;
    into->end_ns = minutes * 60 * SIM_SECOND;
    static const uint64_t fill_steps_ms[] = {0, 1, 4, 4, 20, 50};
    into->fill_step_ns = fill_steps_ms[hash64_fold(seed, into->random) % (sizeof fill_steps_ms / sizeof fill_steps_ms[0])] * SIM_MS;
    into->disk_bytes = into->plain ? SIM_DISK_BYTES_MAX : SIM_DISK_BYTES;
    into->term_newest = 1; /* of the disks of the day of `create` */
    uint64_t incarnations[SIM_NODES_MAX + 1];
    for (unsigned i = 1; i <= nodes; i++) {
        incarnations[i] = sim_random(into) >> 8 | 1;
    }
    for (unsigned i = 1; i <= nodes; i++) {
        sim_node_create(into, i);
        sim_disk_create(&into->nodes[i], incarnations);
    }
    /* Runs differ in how hard the clients work, how much a request changes, and how often something fails. Restless clients, heavy requests and storms
     * of faults are rare: they take long, and a fault rouses the clients of the others, so that it meets work under way. */
    static const unsigned pauses_ms[] = {3000, 10000, 20000, 40000, 40000};
    static const uint64_t intervals_ms[] = {2000, 4000, 6000, 6000, 10000};
    uint64_t interval_ms = intervals_ms[sim_below(into, sizeof intervals_ms / sizeof intervals_ms[0])];
    unsigned pause_ms = pauses_ms[sim_below(into, sizeof pauses_ms / sizeof pauses_ms[0])];
    if (sim_chance(into, RARE_PERCENT)) {
        pause_ms = RESTLESS_PAUSE_MS;
    }
    if (sim_chance(into, RARE_PERCENT)) {
        interval_ms = STORM_INTERVAL_MS;
    }
    static const uint64_t checkpoints_ms[] = {0, 400, 600, 1000, 1000, 1500, 1500, 4000};
    into->checkpoint_interval_ms = checkpoints_ms[sim_below(into, sizeof checkpoints_ms / sizeof checkpoints_ms[0])];
    if (into->plain) {
        into->checkpoint_interval_ms = 0;
    }
    into->heavy = into->heavy || sim_chance(into, RARE_PERCENT);
    into->pause_ms = into->pause_ms != 0 ? into->pause_ms : pause_ms;
    into->fault_interval_ms = into->fault_interval_ms != 0 ? into->fault_interval_ms : interval_ms;
    for (unsigned i = 1; i <= nodes; i++) {
        sim_boot(&into->nodes[i]);
    }
    sim_clients_start(into);
    sim_faults_start(into);
    sim_checkpoints_start(into);
}

void sim_run(struct sim *run)
{
    while (run->failed == 0 && run->now_ns < run->end_ns) {
        sim_run_until(run, run->now_ns + SIM_SECOND);
        sim_net_check(run);
    }
    if (run->failed != 0) {
        return;
    }
    sim_faults_heal(run);
    uint64_t limit = run->now_ns + LIVENESS_SECONDS * SIM_SECOND;
    while (run->failed == 0 && !sim_check_settled(run)) {
        if (run->now_ns >= limit) {
            sim_fail(run, SIM_EXIT_LIVENESS, "LIVENESS %d s after all faults healed the cluster does not serve, or its nodes are not all there", LIVENESS_SECONDS);
            return;
        }
        sim_run_until(run, run->now_ns + 500 * SIM_MS);
        sim_net_check(run);
    }
    if (run->failed == 0) {
        sim_check_quiet(run);
    }
}

void sim_destroy(struct sim *run)
{
    for (unsigned i = 1; i <= run->node_count; i++) {
        sim_node_destroy(&run->nodes[i]);
    }
    sim_net_destroy(run);
    for (unsigned i = 0; i < SIM_TRACE_LINES; i++) {
        free(run->lines[i]);
    }
    free(run->heap);
    free(run->history);
    free(run->digests);
    free(run->term_leaders);
    free(run->committed_terms);
    memset(run, 0, sizeof *run);
}

/* -- a fault of the code -- */

_Noreturn void sim_crashed(const char *what)
{
    sim_print_timeline(&sim);
    printf("seed %llu CRASHED at %.6f s: %s\nreplay: %s\n", (unsigned long long)sim.seed, (double)sim.now_ns / 1e9, what, replay);
    fflush(stdout);
    _exit(SIM_EXIT_CRASH);
}

_Noreturn void check_failed(const char *file, int line, const char *condition)
{
    char what[300];
    snprintf(what, sizeof what, "CHECK %s:%d: %s", file, line, condition);
    sim_crashed(what);
}

static void on_signal(int number)
{
    sim_crashed(number == SIGSEGV ? "it used memory that it has not" : "it aborted");
}

/* -- seeds -- */

static double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static const char *build_commit(void)
{
    static char commit[64] = "";
    FILE *git = commit[0] == '\0' ? popen("git rev-parse --short HEAD 2>/dev/null", "r") : NULL;
    if (git != NULL) {
        if (fgets(commit, sizeof commit, git) != NULL) {
            commit[strcspn(commit, "\n")] = '\0';
        }
        pclose(git);
    }
    return commit[0] != '\0' ? commit : "unknown";
}

/* What the disks took for what all deltas brought. */
static void print_bytes(const struct sim *run)
{
    uint64_t deltas = run->delta_bytes, log = 0, store = 0, other = 0;
    for (unsigned i = 1; i <= run->node_count; i++) {
        const struct sim_node *node = &run->nodes[i];
        log += node->disk.log_written;
        store += node->disk.store_written;
        other += node->disk.other_written;
        deltas += sim_delta_bytes(node);
    }
    unsigned nodes = run->node_count;
    printf(", %llu delta bytes, %llu bytes to each disk (log %llu, store %llu, votes and superblocks %llu)", (unsigned long long)deltas,
           (unsigned long long)((log + store + other) / nodes), (unsigned long long)(log / nodes), (unsigned long long)(store / nodes),
           (unsigned long long)(other / nodes));
}

static int run_seed(const struct options *options, uint64_t seed)
{
    double started = cpu_seconds();
    const struct scenario *scenario = options->scenario;
    int at = snprintf(replay, sizeof replay, "build/eidolon-sim --nodes %u --seed %llu --minutes %llu --scenario %s", options->nodes,
                      (unsigned long long)seed, (unsigned long long)options->minutes, scenario->name);
    if (options->fault_list != NULL) {
        snprintf(replay + at, sizeof replay - (size_t)at, " --faults %s", options->fault_list);
    }
    memset(&sim, 0, sizeof sim);
    sim.verbose = options->verbose;
    sim.pause_ms = scenario->pause_ms;
    sim.fault_interval_ms = scenario->interval_ms;
    sim.heavy = scenario->heavy;
    sim.late_rot = scenario->late_rot;
    sim.plain = scenario->plain;
    sim.faults = options->faults;
    sim_create(&sim, seed, options->nodes, options->minutes);
    sim_run(&sim);
    double took = cpu_seconds() - started;
    int code = sim.failed;
    if (code != 0) {
        sim_print_timeline(&sim);
        printf("seed %llu FAILED at %.6f s, event %llu, commit %s: %s\nreplay: %s\n", (unsigned long long)seed, (double)sim.now_ns / 1e9,
               (unsigned long long)sim.events, build_commit(), sim.failure, replay);
    } else {
        printf("seed %llu held: %.1f s, %llu events, %llu requests, %.0f times real time, trace %016llx, faults:", (unsigned long long)seed,
               (double)sim.now_ns / 1e9, (unsigned long long)sim.events, (unsigned long long)sim.released, (double)sim.now_ns / 1e9 / took,
               (unsigned long long)sim.trace_hash);
        sim_print_faults(&sim);
        print_bytes(&sim);
        printf("\n");
    }
    fflush(stdout);
    sim_destroy(&sim);
    return code;
}

/* Every step-th seed from `first` on. All are run, also behind one that failed; the first failure's code counts. */
static int run_seeds(const struct options *options, uint64_t first, uint64_t step)
{
    int worst = SIM_EXIT_OK;
    for (uint64_t seed = first; seed <= options->last; seed += step) {
        int code = run_seed(options, seed);
        worst = worst == SIM_EXIT_OK ? code : worst;
    }
    return worst;
}

static int run_jobs(const struct options *options)
{
    int worst = SIM_EXIT_OK;
    for (unsigned job = 0; job < options->jobs; job++) {
        pid_t child = fork();
        if (child < 0) {
            return usage("no process could be started");
        }
        if (child == 0) {
            _exit(run_seeds(options, options->first + job, options->jobs));
        }
    }
    for (unsigned job = 0; job < options->jobs; job++) {
        int status = 0;
        if (wait(&status) > 0) {
            int code = WIFEXITED(status) ? WEXITSTATUS(status) : SIM_EXIT_CRASH;
            worst = worst == SIM_EXIT_OK ? code : worst;
        }
    }
    return worst;
}

/* -- options -- */

static bool parse_number(const char *text, uint64_t *out, char **end)
{
    errno = 0;
    *out = strtoull(text, end, 10);
    return *text >= '0' && *text <= '9' && errno == 0;
}

static bool parse_numeric(struct options *options, const char *name, const char *value)
{
    char *end = NULL;
    uint64_t number = 0;
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
        return number >= 1 && number <= MINUTES_MAX;
    }
    if (strcmp(name, "--jobs") == 0) {
        options->jobs = (unsigned)number;
        return number >= 1 && number <= JOBS_MAX;
    }
    options->nodes = (unsigned)number;
    return strcmp(name, "--nodes") == 0 && (number == 1 || number == 3 || number == 5);
}

static bool parse_option(struct options *options, const char *name, const char *value)
{
    if (strcmp(name, "--faults") == 0) {
        options->fault_list = value;
        return sim_parse_faults(value, &options->faults);
    }
    if (strcmp(name, "--trace") == 0) {
        options->trace = value;
        return true;
    }
    if (strcmp(name, "--scenario") == 0) {
        for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++) {
            if (strcmp(scenarios[i].name, value) == 0) {
                options->scenario = &scenarios[i];
                return true;
            }
        }
        return false;
    }
    return parse_numeric(options, name, value);
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
    struct options options = {.nodes = 3, .jobs = 1, .first = 1, .last = 1, .minutes = 10, .scenario = &scenarios[0]};
    for (int i = 1; i < count; i += 2) {
        if (strcmp(arguments[i], "--help") == 0) {
            print_usage(stdout);
            return SIM_EXIT_OK;
        }
        if (i + 1 == count || !parse_option(&options, arguments[i], arguments[i + 1])) {
            char what[200];
            snprintf(what, sizeof what, "there is no option %s that takes %s", arguments[i], i + 1 == count ? "nothing" : arguments[i + 1]);
            return usage(what);
        }
    }
    if (options.fault_list == NULL && !sim_parse_faults(options.scenario->faults, &options.faults)) {
        return usage("a scenario's faults");
    }
    if (options.trace != NULL) {
        options.verbose = true;
        if (strcmp(options.trace, "-") != 0 && freopen(options.trace, "w", stderr) == NULL) {
            return usage("the trace file cannot be written");
        }
    }
    static const struct machine machine = {.now_ns = zero_clock, .entropy = zero_entropy};
    if (crypto_init(&machine) != STATUS_OK) {
        return usage("libsodium refuses this machine");
    }
    signal(SIGSEGV, on_signal);
    signal(SIGABRT, on_signal);
    return options.jobs > 1 ? run_jobs(&options) : run_seeds(&options, options.first, 1);
}
