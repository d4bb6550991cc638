#include "cluster-sim/lab_status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster-sim/lab_control.h"
#include "cluster-sim/lab_file.h"
#include "cluster-sim/lab_management.h"
#include "cluster-sim/lab_process.h"
#include "cluster-sim/lab_qemu.h"

/* --- Parsing --- */

/* The word after ` key ` in `line`, before any reason; empty if absent. */
static void get_word(const char *line, const char *key, char word[STATUS_WORD_BYTES])
{
    word[0] = 0;
    const char *end = strstr(line, " reason ");
    size_t key_bytes = strlen(key);
    for (const char *at = strchr(line, ' '); at != NULL && (end == NULL || at < end); at = strchr(at + 1, ' ')) {
        if (strncmp(at + 1, key, key_bytes) == 0 && at[1 + key_bytes] == ' ') {
            const char *value = at + 1 + key_bytes + 1;
            snprintf(word, STATUS_WORD_BYTES, "%.*s", (int)strcspn(value, " "), value);
            return;
        }
    }
}

static uint64_t get_number(const char *line, const char *key)
{
    char word[STATUS_WORD_BYTES];
    uint64_t number = 0;
    get_word(line, key, word);
    return parse_number(word, 0, INT64_MAX, &number) ? number : 0;
}

static void get_reason(const char *line, char reason[STATUS_REASON_BYTES])
{
    const char *at = strstr(line, " reason ");
    text_copy(reason, STATUS_REASON_BYTES, at == NULL ? "" : at + strlen(" reason "));
}

static void parse_world(struct node_status *node, const char *line)
{
    const char *name = line + strlen("world ");
    snprintf(node->world_name, sizeof node->world_name, "%.*s", (int)strcspn(name, " "), name);
    get_word(line, "state", node->world_state);
    node->world_host = get_number(line, "host") == 1;
    node->world_epoch = get_number(line, "epoch");
    node->world_committed = get_number(line, "committed");
    node->world_resumed = get_number(line, "resumed");
    get_word(line, "digest", node->world_digest);
    get_reason(line, node->world_reason);
}

static void parse_peer(struct node_status *node, const char *line)
{
    unsigned number;
    if (sscanf(line, "peer %u", &number) == 1 && number >= 1 && number <= LAB_NODES_MAX) {
        node->peers[number].known = true;
        node->peers[number].link = get_number(line, "link") == 1;
    }
}

static void parse_line(struct node_status *node, const char *line)
{
    if (strncmp(line, "node ", 5) == 0) {
        get_word(line, "incarnation", node->incarnation);
        node->boot = get_number(line, "boot");
    } else if (strncmp(line, "raft ", 5) == 0) {
        get_word(line, "role", node->role);
        node->term = get_number(line, "term");
        node->commit_index = get_number(line, "commit_index");
        node->leader = get_number(line, "leader");
        node->voter = get_number(line, "voter") == 1;
        node->majority = get_number(line, "majority") == 1;
    } else if (strncmp(line, "disk ", 5) == 0) {
        get_word(line, "state", node->disk_state);
        char reason[STATUS_REASON_BYTES];
        get_reason(line, reason);
        if (strcmp(node->disk_state, "ok") != 0) {
            snprintf(node->reason, sizeof node->reason, "disk %s%s%.250s", node->disk_state, reason[0] != 0 ? ": " : "", reason);
        }
    } else if (strncmp(line, "peer ", 5) == 0) {
        parse_peer(node, line);
    } else if (strncmp(line, "world ", 6) == 0 && node->world_name[0] == 0) {
        parse_world(node, line);
    } else if (strncmp(line, "move ", 5) == 0) {
        get_word(line, "state", node->move_state);
        node->move_stopped_us = get_number(line, "stopped_us");
        get_reason(line, node->move_reason);
    } else if (strncmp(line, "last_words ", 11) == 0) {
        text_copy(node->last_words, sizeof node->last_words, line + 11);
    }
}

/* The answer to a `status` command of one node. Fields that are absent stay as they are. */
static void parse_node(struct node_status *node, const char *answer)
{
    for (const char *line = answer; *line != 0;) {
        char copy[1024];
        size_t bytes = strcspn(line, "\n");
        snprintf(copy, sizeof copy, "%.*s", (int)bytes, line);
        parse_line(node, copy);
        line += line[bytes] == '\n' ? bytes + 1 : bytes;
    }
}

/* --- Asking --- */

static struct control_call calls[LAB_NODES_MAX + 1];       /* [0]: info; [node]: its status */

static void parse_fault(const char *line, char *faults, size_t faults_bytes)
{
    unsigned from, to;
    char part[64] = "";
    if (sscanf(line, "isolated %u", &from) == 1) {
        snprintf(part, sizeof part, "node %u is isolated", from);
    } else if (sscanf(line, "cut %u %u", &from, &to) == 2) {
        char ends[2][16] = {"outside", "outside"};
        if (from != 0) {
            snprintf(ends[0], sizeof ends[0], "node %u", from);
        }
        if (to != 0) {
            snprintf(ends[1], sizeof ends[1], "node %u", to);
        }
        snprintf(part, sizeof part, "cut from %s to %s", ends[0], ends[1]);
    } else {
        return;
    }
    size_t used = strlen(faults);
    snprintf(faults + used, faults_bytes - used, "%s%s", used > 0 ? "; " : "", part);
}

static void parse_info(struct cluster_status *status, char *text)
{
    char *rest = text;
    for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) {
        unsigned target, port, host_port;
        if (sscanf(line, "forward %u %u %u", &target, &port, &host_port) == 3 && target == 0 && port == LAB_WORLD_TERMINAL_PORT) {
            status->attach_port = host_port;
        }
        parse_fault(line, status->faults, sizeof status->faults);
    }
}

static void ask_through_switch(const struct cluster *cluster, struct cluster_status *status)
{
    control_call_start(&calls[0], "info");
    for (unsigned node = 1; node <= cluster->nodes; node++) {
        char request[64];
        snprintf(request, sizeof request, "manage %u %d status", node, LAB_STATUS_DEADLINE_MS);
        if (status->nodes[node].pid != 0) {
            control_call_start(&calls[node], request);
        } else {
            calls[node].descriptor = -1;
            calls[node].status = STATUS_CLOSED;
        }
    }
    control_calls_wait(calls, cluster->nodes + 1, clock_ms() + LAB_STATUS_DEADLINE_MS + 500);
    status->background_alive = calls[0].status == STATUS_OK;
    status->background_runs = process_alive("switch.pid", NULL);
    if (status->background_alive) {
        parse_info(status, calls[0].text);
    }
    for (unsigned node = 1; node <= cluster->nodes; node++) {
        if (calls[node].status == STATUS_OK) {
            status->nodes[node].answered = true;
            parse_node(&status->nodes[node], calls[node].text);
        }
    }
}

/* The answer of a node that is asked directly. */
static void take_direct_answer(void *context, unsigned node, uint64_t ticket, enum status result, const char *answer)
{
    (void)ticket;
    struct cluster_status *status = context;
    if (result == STATUS_OK) {
        status->nodes[node].answered = true;
        parse_node(&status->nodes[node], answer);
    }
}

/* Without the background process the ports are free for us. */
static void ask_directly(const struct cluster *cluster, struct cluster_status *status)
{
    static struct management_link links[LAB_NODES_MAX + 1];
    static struct poll_set set;
    uint64_t deadline_ms = clock_ms() + LAB_STATUS_DEADLINE_MS;
    for (unsigned node = 1; node <= cluster->nodes; node++) {
        management_init(&links[node], node, take_direct_answer, status);
        if (status->nodes[node].pid != 0 && management_submit(&links[node], "status", deadline_ms, 0) != STATUS_OK) {
            continue;
        }
    }
    for (;;) {
        uint64_t now_ms = clock_ms();
        unsigned waiting = 0;
        set.count = 0;
        set.timeout_ms = 50;
        for (unsigned node = 1; node <= cluster->nodes; node++) {
            if (links[node].request_count > 0) {
                waiting++;
                management_fill(&links[node], &set, now_ms);
            }
        }
        if (waiting == 0) {
            break;
        }
        if (poll(set.entries, (nfds_t)set.count, (int)set.timeout_ms) < 0) {
            set.count = 0;
        }
        for (unsigned node = 1; node <= cluster->nodes; node++) {
            if (links[node].request_count > 0) {
                management_serve(&links[node], &set, clock_ms());
            }
        }
    }
    for (unsigned node = 1; node <= cluster->nodes; node++) {
        management_close(&links[node]);
    }
}

/* --- Judging --- */

static void explain_silence(unsigned number, struct node_status *node)
{
    char path[NODE_PATH_BYTES];
    char line[200];
    file_last_line(node_path(path, number, "node.log"), line, sizeof line);
    snprintf(node->reason, sizeof node->reason, "its QEMU runs, but its management port does not answer%s%s",
             line[0] != 0 ? "; last line of its log: " : "; its log is empty", line);
}

static void judge_node(unsigned number, struct node_status *node, bool quorum)
{
    if (node->pid == 0) {
        node->state = NODE_DOWN;
        qemu_explain_absence(number, node->reason, sizeof node->reason);
    } else if (!node->answered) {
        node->state = NODE_DOWN;
        explain_silence(number, node);
    } else if (strcmp(node->role, "joining") == 0 || !node->voter) {
        node->state = NODE_JOINING;
        if (node->reason[0] == 0) {
            snprintf(node->reason, sizeof node->reason, "not a voter yet: it %s",
                     quorum ? "catches up with the others" : "waits for a majority, then catches up");
        }
    } else {
        node->state = NODE_UP;
        if (!node->majority && node->reason[0] == 0) {
            snprintf(node->reason, sizeof node->reason, "it does not hear a majority");
        }
    }
}

/* The leader that hears a majority; of two (one is deposed and does not know it yet) that of the higher term. 0: none. */
static unsigned find_leader(const struct cluster *cluster, const struct cluster_status *status)
{
    unsigned leader = 0;
    for (unsigned node = 1; node <= cluster->nodes; node++) {
        const struct node_status *about = &status->nodes[node];
        if (about->answered && about->majority && strcmp(about->role, "leader") == 0 &&
            (leader == 0 || about->term > status->nodes[leader].term)) {
            leader = node;
        }
    }
    return leader;
}

static void note_lost_links(const struct cluster *cluster, struct cluster_status *status, unsigned leader)
{
    for (unsigned node = 1; node <= cluster->nodes; node++) {
        const struct node_peer *peer = &status->nodes[leader].peers[node];
        struct node_status *about = &status->nodes[node];
        if (node != leader && peer->known && !peer->link && about->state == NODE_UP && about->reason[0] == 0) {
            snprintf(about->reason, sizeof about->reason, "the leader, node %u, has no link to it", leader);
        }
    }
}

static void judge_world(struct cluster_status *status, unsigned leader)
{
    snprintf(status->world_state, sizeof status->world_state, "none");
    if (leader == 0) {
        snprintf(status->world_reason, sizeof status->world_reason, "no node leads a majority");
        return;
    }
    const struct node_status *about = &status->nodes[leader];
    if (about->world_host) {
        status->host = leader;
    }
    if (about->world_state[0] != 0) {
        text_copy(status->world_state, sizeof status->world_state, about->world_state);
        text_copy(status->world_reason, sizeof status->world_reason, about->world_reason);
    }
}

static enum cluster_state judge(const struct cluster *cluster, struct cluster_status *status)
{
    unsigned running = 0;
    bool all_well = true;
    unsigned leader = find_leader(cluster, status);
    status->leader = leader;
    for (unsigned node = 1; node <= cluster->nodes; node++) {
        judge_node(node, &status->nodes[node], leader != 0);
        running += status->nodes[node].pid != 0;
    }
    if (leader != 0) {
        note_lost_links(cluster, status, leader);
    }
    judge_world(status, leader);
    for (unsigned node = 1; node <= cluster->nodes; node++) {
        all_well = all_well && status->nodes[node].state == NODE_UP && status->nodes[node].reason[0] == 0;
    }
    if (running == 0) {
        return CLUSTER_STOPPED;
    }
    if (leader == 0) {
        return CLUSTER_NO_QUORUM;
    }
    bool world_well = status->host != 0 && strcmp(status->world_state, "stopped") != 0;
    return all_well && world_well && status->background_alive ? CLUSTER_OK : CLUSTER_DEGRADED;
}

void status_collect(const struct cluster *cluster, struct cluster_status *status)
{
    memset(status, 0, sizeof *status);
    for (unsigned node = 1; node <= cluster->nodes; node++) {
        pid_t pid;
        status->nodes[node].pid = qemu_running(node, &pid) ? pid : 0;
    }
    ask_through_switch(cluster, status);
    if (calls[0].status == STATUS_CLOSED) {
        ask_directly(cluster, status);
    }
    status->state = judge(cluster, status);
}

enum outcome status_outcome(const struct cluster_status *status)
{
    static const enum outcome outcomes[] = {
        [CLUSTER_OK] = OUTCOME_OK,
        [CLUSTER_DEGRADED] = OUTCOME_DEGRADED,
        [CLUSTER_NO_QUORUM] = OUTCOME_NO_QUORUM,
        [CLUSTER_STOPPED] = OUTCOME_NO_QUORUM,
    };
    return outcomes[status->state];
}

enum outcome status_require_world(const struct cluster *cluster, const struct cluster_status *status, const char *what)
{
    if (status->state == CLUSTER_STOPPED) {
        return outcome_fail(OUTCOME_NO_QUORUM, "%s failed: the cluster in %s is stopped; start it with: %s start %s", what, cluster->shown,
                            command_name(), cluster->shown);
    }
    if (!status->background_alive) {
        return outcome_fail(OUTCOME_FAILED, "%s failed: the background process of %s is not running; start it with: %s start %s", what,
                            cluster->shown, command_name(), cluster->shown);
    }
    if (status->state == CLUSTER_NO_QUORUM) {
        return outcome_fail(OUTCOME_NO_QUORUM, "%s failed: no quorum in %s, so the world cannot go on; look at: %s status %s", what,
                            cluster->shown, command_name(), cluster->shown);
    }
    if (strcmp(status->world_state, "stopped") == 0) {
        return outcome_fail(OUTCOME_DEGRADED, "%s failed: the world is stopped: %s; a fresh one in its place: %s world reset %s", what,
                            status->world_reason[0] != 0 ? status->world_reason : "no reason is known", command_name(), cluster->shown);
    }
    return OUTCOME_OK;
}

enum outcome status_await_world(const struct cluster *cluster, struct cluster_status *status, const char *what, uint64_t deadline_ms)
{
    uint64_t wait_end_ms = clock_ms() + LAB_ELECTION_WAIT_MS;
    if (deadline_ms != 0 && deadline_ms < wait_end_ms) {
        wait_end_ms = deadline_ms;
    }
    for (;;) {
        status_collect(cluster, status);
        unsigned running = 0;
        for (unsigned node = 1; node <= cluster->nodes; node++) {
            running += status->nodes[node].pid != 0;
        }
        bool may_come = status->background_alive && running > cluster->nodes / 2 && strcmp(status->world_state, "stopped") != 0;
        if (status->host != 0 || !may_come || clock_ms() >= wait_end_ms) {
            return status_require_world(cluster, status, what);
        }
        sleep_ms(50);
    }
}
