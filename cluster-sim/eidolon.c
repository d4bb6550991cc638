/* The command `eidolon`: what it takes, and which part of cluster-sim/ does it. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster-sim/lab_background.h"
#include "cluster-sim/lab_commands.h"
#include "cluster-sim/lab_create.h"
#include "cluster-sim/lab_file.h"
#include "cluster-sim/lab_lifecycle.h"
#include "cluster-sim/lab_terminal.h"

static const char usage[] =
    "usage:\n"
    "  eidolon create DIR [--nodes N] [--memory MIB] [--world-memory MIB] [--disk MIB] [--heartbeat MS]\n"
    "                     [--election-timeout MS]\n"
    "                                      a new cluster; N is 1, 3 or 5; defaults 3, 256, 64, 512, 50, 200\n"
    "  eidolon start DIR [--timeout S]     boot all nodes; returns when the world answers\n"
    "  eidolon status DIR [-o table|json]\n"
    "  eidolon attach DIR [--session NAME] terminal to a session; Ctrl-] detaches\n"
    "  eidolon exec DIR [--session NAME] [--timeout S] SOURCE\n"
    "                                      run Python in a session; SOURCE - is standard input\n"
    "  eidolon forward DIR [--node N] PORT open a port of 127.0.0.1 to a port of the world, or of a node\n"
    "  eidolon move DIR NODE               planned switchover of the world\n"
    "  eidolon world reset DIR             a fresh world in place of a stopped one\n"
    "  eidolon node stop|start|kill DIR NODE\n"
    "  eidolon node lose-disk DIR NODE     make the disk of a node that is down blank\n"
    "  eidolon node manage DIR NODE LINE   a line to the node's management port, and its answer; --raw in place\n"
    "                                      of LINE: the bytes of standard input\n"
    "  eidolon fault cut DIR A B [--one-way]\n"
    "                                      A and B are nodes; one may be `outside`, the way in\n"
    "  eidolon fault isolate DIR NODE\n"
    "  eidolon fault heal DIR\n"
    "  eidolon log DIR NODE                what the node said\n"
    "  eidolon capture DIR FILE.pcap       all frames of the switch from now on; --stop ends it\n"
    "  eidolon port DIR                    a Unix socket into the switch\n"
    "  eidolon stop DIR                    end all processes; everything is kept\n"
    "  eidolon destroy DIR                 stop, and remove the cluster\n"
    "exit codes: 0 ok, 1 failed, 2 usage, 3 degraded, 4 no quorum, 5 timed out, 6 no such cluster or node\n";

/* --- Arguments --- */

enum { WORDS_MAX = 4, OPTIONS_MAX = 6, NUMBER_MOST = 999999999, TIMEOUT_S_MOST = 86400 };

struct option_value {
    const char *name;            /* with its dashes */
    bool takes_value;
    const char *value;           /* NULL: not given; the option's name if it takes none */
};

struct arguments {
    const char *words[WORDS_MAX];
    unsigned word_count;
    struct option_value options[OPTIONS_MAX];
};

static const char *option(const struct arguments *arguments, const char *name)
{
    for (unsigned at = 0; at < OPTIONS_MAX && arguments->options[at].name != NULL; at++) {
        if (strcmp(arguments->options[at].name, name) == 0) {
            return arguments->options[at].value;
        }
    }
    return NULL;
}

static enum outcome take_option(struct arguments *arguments, int count, char **texts, int *at)
{
    for (unsigned number = 0; number < OPTIONS_MAX && arguments->options[number].name != NULL; number++) {
        struct option_value *known = &arguments->options[number];
        size_t name_bytes = strlen(known->name);
        if (strncmp(texts[*at], known->name, name_bytes) != 0 || (texts[*at][name_bytes] != 0 && texts[*at][name_bytes] != '=')) {
            continue;
        }
        if (known->value != NULL) {
            return outcome_fail(OUTCOME_USAGE, "%s is given twice", known->name);
        }
        if (!known->takes_value) {
            known->value = known->name;
            return texts[*at][name_bytes] == 0 ? OUTCOME_OK : outcome_fail(OUTCOME_USAGE, "%s takes no value", known->name);
        }
        if (texts[*at][name_bytes] == '=') {
            known->value = texts[*at] + name_bytes + 1;
        } else if (*at + 1 < count) {
            known->value = texts[++*at];
        } else {
            return outcome_fail(OUTCOME_USAGE, "%s needs a value", known->name);
        }
        return OUTCOME_OK;
    }
    return outcome_fail(OUTCOME_USAGE, "there is no option %s here; see: %s help", texts[*at], command_name());
}

/* Sort `texts` into words and options. `--` ends the options; `-` is a word. */
static enum outcome take_arguments(struct arguments *arguments, int count, char **texts, unsigned words_least, unsigned words_most,
                                   const char *form)
{
    bool options_over = false;
    for (int at = 0; at < count; at++) {
        if (!options_over && strcmp(texts[at], "--") == 0) {
            options_over = true;
        } else if (!options_over && texts[at][0] == '-' && texts[at][1] != 0) {
            enum outcome outcome = take_option(arguments, count, texts, &at);
            if (outcome != OUTCOME_OK) {
                return outcome;
            }
        } else if (arguments->word_count == words_most) {
            return outcome_fail(OUTCOME_USAGE, "`%s` is one argument too many; the form is: %s %s", texts[at], command_name(), form);
        } else {
            arguments->words[arguments->word_count++] = texts[at];
        }
    }
    if (arguments->word_count < words_least) {
        return outcome_fail(OUTCOME_USAGE, "an argument is missing; the form is: %s %s", command_name(), form);
    }
    return OUTCOME_OK;
}

static enum outcome take_number(const struct arguments *arguments, const char *name, unsigned *number)
{
    const char *text = option(arguments, name);
    uint64_t value;
    if (text == NULL) {
        return OUTCOME_OK;
    }
    if (!parse_number(text, 0, NUMBER_MOST, &value)) {
        return outcome_fail(OUTCOME_USAGE, "%s takes a whole number of at most nine digits, not `%s`", name, text);
    }
    *number = (unsigned)value;
    return OUTCOME_OK;
}

static enum outcome take_timeout(const struct arguments *arguments, unsigned *timeout_s)
{
    enum outcome outcome = take_number(arguments, "--timeout", timeout_s);
    if (outcome == OUTCOME_OK && *timeout_s > TIMEOUT_S_MOST) {
        outcome = outcome_fail(OUTCOME_USAGE, "--timeout takes at most %d s, not %u", TIMEOUT_S_MOST, *timeout_s);
    }
    return outcome;
}

/* --- Commands: `count` texts follow the command's name --- */

static enum outcome run_create(int count, char **texts)
{
    struct arguments arguments = {.options = {{"--nodes", true, NULL}, {"--memory", true, NULL}, {"--world-memory", true, NULL},
                                              {"--disk", true, NULL}, {"--heartbeat", true, NULL}, {"--election-timeout", true, NULL}}};
    struct create_options options = {.nodes = 3, .memory_mib = 256, .world_memory_mib = 64, .disk_mib = 512,
                                     .heartbeat_ms = 50, .election_timeout_ms = 200};
    const struct {
        const char *name;
        unsigned *number;
    } numbers[] = {
        {"--nodes", &options.nodes}, {"--memory", &options.memory_mib}, {"--world-memory", &options.world_memory_mib},
        {"--disk", &options.disk_mib}, {"--heartbeat", &options.heartbeat_ms}, {"--election-timeout", &options.election_timeout_ms},
    };
    enum outcome outcome = take_arguments(&arguments, count, texts, 1, 1,
                                          "create DIR [--nodes N] [--memory MIB] [--world-memory MIB] [--disk MIB] [--heartbeat MS] [--election-timeout MS]");
    for (unsigned at = 0; at < sizeof numbers / sizeof numbers[0] && outcome == OUTCOME_OK; at++) {
        outcome = take_number(&arguments, numbers[at].name, numbers[at].number);
    }
    options.directory = arguments.words[0];
    return outcome == OUTCOME_OK ? create_cluster(&options) : outcome;
}

static enum outcome run_start(int count, char **texts)
{
    struct arguments arguments = {.options = {{"--timeout", true, NULL}}};
    static struct cluster cluster;
    unsigned timeout_s = LAB_START_TIMEOUT_S;
    enum outcome outcome = take_arguments(&arguments, count, texts, 1, 1, "start DIR [--timeout S]");
    if (outcome == OUTCOME_OK) {
        outcome = take_timeout(&arguments, &timeout_s);
    }
    if (outcome == OUTCOME_OK) {
        outcome = cluster_enter(&cluster, arguments.words[0]);
    }
    return outcome == OUTCOME_OK ? lifecycle_start(&cluster, timeout_s) : outcome;
}

static enum outcome run_status(int count, char **texts)
{
    struct arguments arguments = {.options = {{"-o", true, NULL}}};
    static struct cluster cluster;
    enum outcome outcome = take_arguments(&arguments, count, texts, 1, 1, "status DIR [-o table|json]");
    if (outcome != OUTCOME_OK) {
        return outcome;
    }
    const char *form = option(&arguments, "-o");
    bool json = form != NULL && strcmp(form, "json") == 0;
    if (form != NULL && !json && strcmp(form, "table") != 0) {
        return outcome_fail(OUTCOME_USAGE, "-o takes table or json, not `%s`", form);
    }
    outcome = cluster_enter(&cluster, arguments.words[0]);
    return outcome == OUTCOME_OK ? command_status(&cluster, json) : outcome;
}

static enum outcome run_attach(int count, char **texts)
{
    struct arguments arguments = {.options = {{"--session", true, NULL}}};
    static struct cluster cluster;
    enum outcome outcome = take_arguments(&arguments, count, texts, 1, 1, "attach DIR [--session NAME]");
    if (outcome == OUTCOME_OK) {
        outcome = cluster_enter(&cluster, arguments.words[0]);
    }
    return outcome == OUTCOME_OK ? terminal_attach(&cluster, option(&arguments, "--session")) : outcome;
}

static enum outcome run_exec(int count, char **texts)
{
    struct arguments arguments = {.options = {{"--session", true, NULL}, {"--timeout", true, NULL}}};
    static struct cluster cluster;
    unsigned timeout_s = 0;
    enum outcome outcome = take_arguments(&arguments, count, texts, 2, 2, "exec DIR [--session NAME] [--timeout S] SOURCE");
    if (outcome == OUTCOME_OK) {
        outcome = take_timeout(&arguments, &timeout_s);
    }
    if (outcome == OUTCOME_OK) {
        outcome = cluster_enter(&cluster, arguments.words[0]);
    }
    return outcome == OUTCOME_OK ? terminal_exec(&cluster, option(&arguments, "--session"), arguments.words[1], timeout_s) : outcome;
}

static enum outcome run_forward(int count, char **texts)
{
    struct arguments arguments = {.options = {{"--node", true, NULL}}};
    static struct cluster cluster;
    unsigned node = 0;
    uint64_t port;
    enum outcome outcome = take_arguments(&arguments, count, texts, 2, 2, "forward DIR [--node N] PORT");
    if (outcome != OUTCOME_OK) {
        return outcome;
    }
    if (!parse_number(arguments.words[1], 1, UINT16_MAX, &port)) {
        return outcome_fail(OUTCOME_USAGE, "`%s` is not a TCP port (1 to 65535)", arguments.words[1]);
    }
    outcome = cluster_enter(&cluster, arguments.words[0]);
    if (outcome == OUTCOME_OK && option(&arguments, "--node") != NULL) {
        outcome = cluster_parse_node(&cluster, option(&arguments, "--node"), &node);
    }
    return outcome == OUTCOME_OK ? command_forward(&cluster, node, (unsigned)port) : outcome;
}

/* Commands of the form `NAME DIR NODE`. */
static enum outcome take_node(int count, char **texts, const char *form, struct cluster *cluster, unsigned *node)
{
    struct arguments arguments = {.word_count = 0};
    enum outcome outcome = take_arguments(&arguments, count, texts, 2, 2, form);
    if (outcome == OUTCOME_OK) {
        outcome = cluster_enter(cluster, arguments.words[0]);
    }
    return outcome == OUTCOME_OK ? cluster_parse_node(cluster, arguments.words[1], node) : outcome;
}

/* Commands of the form `NAME DIR`. */
static enum outcome take_cluster(int count, char **texts, const char *form, struct cluster *cluster)
{
    struct arguments arguments = {.word_count = 0};
    enum outcome outcome = take_arguments(&arguments, count, texts, 1, 1, form);
    return outcome == OUTCOME_OK ? cluster_enter(cluster, arguments.words[0]) : outcome;
}

static enum outcome run_move(int count, char **texts)
{
    static struct cluster cluster;
    unsigned node;
    enum outcome outcome = take_node(count, texts, "move DIR NODE", &cluster, &node);
    return outcome == OUTCOME_OK ? command_move(&cluster, node) : outcome;
}

static enum outcome run_log(int count, char **texts)
{
    static struct cluster cluster;
    unsigned node;
    enum outcome outcome = take_node(count, texts, "log DIR NODE", &cluster, &node);
    return outcome == OUTCOME_OK ? command_log(&cluster, node) : outcome;
}

static enum outcome run_world(int count, char **texts)
{
    static struct cluster cluster;
    if (count < 1 || strcmp(texts[0], "reset") != 0) {
        return outcome_fail(OUTCOME_USAGE, "the form is: %s world reset DIR", command_name());
    }
    enum outcome outcome = take_cluster(count - 1, texts + 1, "world reset DIR", &cluster);
    return outcome == OUTCOME_OK ? command_world_reset(&cluster) : outcome;
}

static enum outcome run_manage(int count, char **texts)
{
    struct arguments arguments = {.options = {{"--raw", false, NULL}}};
    static struct cluster cluster;
    unsigned node;
    enum outcome outcome = take_arguments(&arguments, count, texts, 2, 3,
                                          "node manage DIR NODE LINE, or --raw for the bytes of standard input");
    if (outcome == OUTCOME_OK && (arguments.word_count == 3) == (option(&arguments, "--raw") != NULL)) {
        outcome = outcome_fail(OUTCOME_USAGE, "`node manage` takes either a line or --raw");
    }
    if (outcome == OUTCOME_OK) {
        outcome = cluster_enter(&cluster, arguments.words[0]);
    }
    if (outcome == OUTCOME_OK) {
        outcome = cluster_parse_node(&cluster, arguments.words[1], &node);
    }
    if (outcome != OUTCOME_OK) {
        return outcome;
    }
    return arguments.word_count == 3 ? command_manage(&cluster, node, arguments.words[2]) : command_manage_raw(&cluster, node);
}

static enum outcome run_node(int count, char **texts)
{
    static const struct {
        const char *name;
        enum outcome (*run)(struct cluster *cluster, unsigned node);
    } actions[] = {
        {"start", lifecycle_node_start},
        {"stop", lifecycle_node_stop},
        {"kill", lifecycle_node_kill},
        {"lose-disk", lifecycle_node_lose_disk},
    };
    static struct cluster cluster;
    unsigned node;
    if (count >= 1 && strcmp(texts[0], "manage") == 0) {
        return run_manage(count - 1, texts + 1);
    }
    for (unsigned at = 0; count >= 1 && at < sizeof actions / sizeof actions[0]; at++) {
        if (strcmp(texts[0], actions[at].name) == 0) {
            enum outcome outcome = take_node(count - 1, texts + 1, "node stop|start|kill|lose-disk DIR NODE", &cluster, &node);
            return outcome == OUTCOME_OK ? actions[at].run(&cluster, node) : outcome;
        }
    }
    return outcome_fail(OUTCOME_USAGE, "the forms are: %s node stop|start|kill|lose-disk DIR NODE | node manage DIR NODE LINE", command_name());
}

/* An end of a cable: a node, or `outside`. */
static enum outcome take_end(const struct cluster *cluster, const char *text, unsigned *end)
{
    if (strcmp(text, "outside") == 0) {
        *end = 0;
        return OUTCOME_OK;
    }
    return cluster_parse_node(cluster, text, end);
}

static enum outcome run_cut(int count, char **texts)
{
    struct arguments arguments = {.options = {{"--one-way", false, NULL}}};
    static struct cluster cluster;
    unsigned from = 0;
    unsigned to = 0;
    enum outcome outcome = take_arguments(&arguments, count, texts, 3, 3, "fault cut DIR A B [--one-way]");
    if (outcome == OUTCOME_OK) {
        outcome = cluster_enter(&cluster, arguments.words[0]);
    }
    if (outcome == OUTCOME_OK) {
        outcome = take_end(&cluster, arguments.words[1], &from);
    }
    if (outcome == OUTCOME_OK) {
        outcome = take_end(&cluster, arguments.words[2], &to);
    }
    if (outcome == OUTCOME_OK && from == to) {
        outcome = outcome_fail(OUTCOME_USAGE, "a cable has two different ends");
    }
    return outcome == OUTCOME_OK ? command_cut(&cluster, from, to, option(&arguments, "--one-way") != NULL) : outcome;
}

static enum outcome run_fault(int count, char **texts)
{
    static struct cluster cluster;
    unsigned node;
    if (count >= 1 && strcmp(texts[0], "cut") == 0) {
        return run_cut(count - 1, texts + 1);
    }
    if (count >= 1 && strcmp(texts[0], "isolate") == 0) {
        enum outcome outcome = take_node(count - 1, texts + 1, "fault isolate DIR NODE", &cluster, &node);
        return outcome == OUTCOME_OK ? command_isolate(&cluster, node) : outcome;
    }
    if (count >= 1 && strcmp(texts[0], "heal") == 0) {
        enum outcome outcome = take_cluster(count - 1, texts + 1, "fault heal DIR", &cluster);
        return outcome == OUTCOME_OK ? command_heal(&cluster) : outcome;
    }
    return outcome_fail(OUTCOME_USAGE, "the forms are: %s fault cut DIR A B [--one-way] | fault isolate DIR NODE | fault heal DIR",
                        command_name());
}

static enum outcome run_capture(int count, char **texts)
{
    struct arguments arguments = {.options = {{"--stop", false, NULL}}};
    static struct cluster cluster;
    enum outcome outcome = take_arguments(&arguments, count, texts, 1, 2, "capture DIR FILE.pcap, or: capture DIR --stop");
    bool stop = option(&arguments, "--stop") != NULL;
    if (outcome == OUTCOME_OK && stop == (arguments.word_count == 2)) {
        outcome = outcome_fail(OUTCOME_USAGE, "the form is: %s capture DIR FILE.pcap, or: capture DIR --stop", command_name());
    }
    if (outcome == OUTCOME_OK) {
        outcome = cluster_enter(&cluster, arguments.words[0]);
    }
    if (outcome != OUTCOME_OK) {
        return outcome;
    }
    return stop ? command_capture_stop(&cluster) : command_capture(&cluster, arguments.words[1]);
}

static enum outcome run_port(int count, char **texts)
{
    static struct cluster cluster;
    enum outcome outcome = take_cluster(count, texts, "port DIR", &cluster);
    return outcome == OUTCOME_OK ? command_port(&cluster) : outcome;
}

static enum outcome run_stop(int count, char **texts)
{
    static struct cluster cluster;
    enum outcome outcome = take_cluster(count, texts, "stop DIR", &cluster);
    return outcome == OUTCOME_OK ? lifecycle_stop(&cluster) : outcome;
}

static enum outcome run_destroy(int count, char **texts)
{
    static struct cluster cluster;
    enum outcome outcome = take_cluster(count, texts, "destroy DIR", &cluster);
    return outcome == OUTCOME_OK ? lifecycle_destroy(&cluster) : outcome;
}

/* Not for users: `start` runs it in the background. */
static enum outcome run_background(int count, char **texts)
{
    return count == 1 ? background_run(texts[0]) : outcome_fail(OUTCOME_USAGE, "the form is: %s switch DIR", command_name());
}

static enum outcome run_help(int count, char **texts)
{
    (void)count;
    (void)texts;
    fputs(usage, stdout);
    return OUTCOME_OK;
}

int main(int count, char **texts)
{
    static const struct {
        const char *name;
        enum outcome (*run)(int count, char **texts);
    } commands[] = {
        {"create", run_create}, {"start", run_start}, {"status", run_status}, {"attach", run_attach}, {"exec", run_exec},
        {"forward", run_forward}, {"move", run_move}, {"world", run_world}, {"node", run_node}, {"fault", run_fault},
        {"log", run_log}, {"capture", run_capture}, {"port", run_port}, {"stop", run_stop}, {"destroy", run_destroy},
        {"switch", run_background}, {"help", run_help}, {"--help", run_help}, {"-h", run_help},
    };
    signal(SIGPIPE, SIG_IGN);
    static char name[PATH_MAX];
    if (count > 0) {
        text_shell_word(name, sizeof name, texts[0]);
        command_name_set(name);
    }
    if (count < 2) {
        fputs(usage, stderr);
        return OUTCOME_USAGE;
    }
    for (unsigned at = 0; at < sizeof commands / sizeof commands[0]; at++) {
        if (strcmp(texts[1], commands[at].name) == 0) {
            enum outcome outcome = commands[at].run(count - 2, texts + 2);
            if ((fflush(stdout) != 0 || ferror(stdout)) && outcome == OUTCOME_OK) {
                outcome = outcome_fail(OUTCOME_FAILED, "standard output cannot be written");
            }
            return (int)outcome;
        }
    }
    return (int)outcome_fail(OUTCOME_USAGE, "there is no command `%s`; see: %s help", texts[1], command_name());
}
