#include "cluster-sim/lab_commands.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cluster-sim/lab_control.h"
#include "cluster-sim/lab_file.h"
#include "cluster-sim/lab_qemu.h"
#include "cluster-sim/lab_status.h"

static struct control_call call;
static struct cluster_status status;

enum outcome command_status(const struct cluster *cluster, bool json)
{
    status_collect(cluster, &status);
    if (json) {
        status_print_json(cluster, &status);
    } else {
        status_print_table(cluster, &status);
    }
    return status_outcome(&status);
}

enum outcome command_forward(const struct cluster *cluster, unsigned target, unsigned port)
{
    char request[64];
    snprintf(request, sizeof request, "forward %u %u 0", target, port);
    enum outcome outcome = control_ask(cluster, &call, "forward", request);
    unsigned host_port;
    if (outcome == OUTCOME_OK && sscanf(call.text, "port %u", &host_port) == 1) {
        printf("127.0.0.1:%u\n", host_port);
    }
    return outcome;
}

/* --- Move --- */

static enum outcome request_move(const struct cluster *cluster, unsigned node)
{
    enum status result = control_request(&call, LAB_MANAGEMENT_DEADLINE_MS + 500, "manage %u %d move %u", status.host,
                                         LAB_MANAGEMENT_DEADLINE_MS, node);
    if (result == STATUS_OK) {
        return OUTCOME_OK;
    }
    enum outcome outcome = result == STATUS_TIMED_OUT ? OUTCOME_TIMED_OUT : OUTCOME_FAILED;
    return outcome_fail(outcome, "the world cannot move to node %u: %s; look at: %s status %s", node, call.sentence, command_name(),
                        cluster->shown);
}

enum outcome command_move(const struct cluster *cluster, unsigned node)
{
    enum outcome outcome = status_await_world(cluster, &status, "move", 0);
    if (outcome != OUTCOME_OK) {
        return outcome;
    }
    if (status.host == 0) {
        return outcome_fail(OUTCOME_FAILED, "move failed: no node runs the world at this moment; try again, or look at: %s status %s",
                            command_name(), cluster->shown);
    }
    if (status.host == node) {
        printf("the world is on node %u already\n", node);
        return OUTCOME_OK;
    }
    if (!status.nodes[node].answered || status.nodes[node].state != NODE_UP) {
        return outcome_fail(OUTCOME_DEGRADED, "the world cannot move to node %u: it is %s: %s", node,
                            node_state_name(status.nodes[node].state), status.nodes[node].reason);
    }
    unsigned from = status.host;
    outcome = request_move(cluster, node);
    uint64_t deadline_ms = clock_ms() + LAB_MOVE_DEADLINE_MS;
    while (outcome == OUTCOME_OK) {
        status_collect(cluster, &status);
        const struct node_status *old_host = &status.nodes[from];
        if (old_host->answered && strcmp(old_host->move_state, "failed") == 0) {
            return outcome_fail(OUTCOME_FAILED, "the world stays on node %u: the move to node %u failed: %s", from, node,
                                old_host->move_reason[0] != 0 ? old_host->move_reason : "no reason is known");
        }
        if (status.host == node && old_host->answered && strcmp(old_host->move_state, "done") == 0) {
            printf("moved from node %u to node %u, stopped for %.1f ms\n", from, node, (double)old_host->move_stopped_us / 1000.0);
            return OUTCOME_OK;
        }
        if (clock_ms() > deadline_ms) {
            return outcome_fail(OUTCOME_TIMED_OUT, "the move to node %u has not ended in %d s; look at: %s status %s", node,
                                LAB_MOVE_DEADLINE_MS / 1000, command_name(), cluster->shown);
        }
        sleep_ms(20);
    }
    return outcome;
}

/* --- Reset --- */

static enum outcome wait_for_fresh_world(const struct cluster *cluster)
{
    uint64_t deadline_ms = clock_ms() + LAB_RESET_DEADLINE_MS;
    while (status.host == 0 || strcmp(status.world_state, "running") != 0) {
        if (clock_ms() > deadline_ms) {
            return outcome_fail(OUTCOME_TIMED_OUT, "the reset was accepted, but no fresh world runs after %d s; look at: %s status %s",
                                LAB_RESET_DEADLINE_MS / 1000, command_name(), cluster->shown);
        }
        sleep_ms(20);
        status_collect(cluster, &status);
    }
    return OUTCOME_OK;
}

enum outcome command_world_reset(const struct cluster *cluster)
{
    status_collect(cluster, &status);
    if (status.state == CLUSTER_STOPPED || status.state == CLUSTER_NO_QUORUM || !status.background_alive) {
        return status_require_world(cluster, &status, "world reset");
    }
    if (strcmp(status.world_state, "stopped") != 0) {
        return outcome_fail(OUTCOME_FAILED, "world reset refused: the world is not stopped but %s; a reset would destroy it",
                            status.world_state);
    }
    unsigned leader = status.leader;
    if (control_request(&call, LAB_MANAGEMENT_DEADLINE_MS + 500, "manage %u %d reset", leader, LAB_MANAGEMENT_DEADLINE_MS) != STATUS_OK) {
        return outcome_fail(OUTCOME_FAILED, "world reset failed: node %u said: %s; look at: %s status %s", leader, call.sentence,
                            command_name(), cluster->shown);
    }
    return wait_for_fresh_world(cluster);
}

/* --- Faults --- */

static enum outcome ask_formatted(const struct cluster *cluster, const char *what, const char *verb, unsigned a, unsigned b, bool two)
{
    char request[64];
    if (two) {
        snprintf(request, sizeof request, "%s %u %u", verb, a, b);
    } else {
        snprintf(request, sizeof request, "%s %u", verb, a);
    }
    return control_ask(cluster, &call, what, request);
}

enum outcome command_cut(const struct cluster *cluster, unsigned from, unsigned to, bool one_way)
{
    enum outcome outcome = ask_formatted(cluster, "fault cut", "cut", from, to, true);
    if (outcome == OUTCOME_OK && !one_way) {
        outcome = ask_formatted(cluster, "fault cut", "cut", to, from, true);
    }
    return outcome;
}

enum outcome command_isolate(const struct cluster *cluster, unsigned node)
{
    return ask_formatted(cluster, "fault isolate", "isolate", node, 0, false);
}

enum outcome command_heal(const struct cluster *cluster)
{
    return control_ask(cluster, &call, "fault heal", "heal");
}

/* --- Looking --- */

static enum outcome copy_file(const struct cluster *cluster, const char *path)
{
    static char buffer[65536];
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        return outcome_fail(OUTCOME_FAILED, "cannot read %s/%s: %s", cluster->shown, path, strerror(errno));
    }
    enum outcome outcome = OUTCOME_OK;
    for (;;) {
        ssize_t got = read(descriptor, buffer, sizeof buffer);
        if (got == 0) {
            break;
        }
        int error = got < 0 ? errno : file_write_all(STDOUT_FILENO, buffer, (size_t)got);
        if (error != 0) {
            outcome = outcome_fail(OUTCOME_FAILED, "copying %s/%s to standard output failed: %s", cluster->shown, path, strerror(error));
            break;
        }
    }
    close(descriptor);
    return outcome;
}

enum outcome command_log(const struct cluster *cluster, unsigned node)
{
    char path[NODE_PATH_BYTES];
    if (access(node_path(path, node, "node.log"), F_OK) != 0) {
        return outcome_fail(OUTCOME_FAILED, "node %u has no log: it has never been started; start it with: %s node start %s %u", node,
                            command_name(), cluster->shown, node);
    }
    return copy_file(cluster, path);
}

enum outcome command_capture(const struct cluster *cluster, const char *file)
{
    char path[PATH_MAX];
    char what[PATH_MAX + 16];
    char request[PATH_MAX + 16];
    if (!cluster_resolve(cluster, file, path)) {
        return outcome_fail(OUTCOME_USAGE, "the name of the capture file is too long");
    }
    snprintf(request, sizeof request, "capture %s", path);
    snprintf(what, sizeof what, "capture into %s", path);
    enum outcome outcome = control_ask(cluster, &call, what, request);
    if (outcome == OUTCOME_OK) {
        progress("all frames of the switch go to %s until: %s capture %s --stop", path, command_name(), cluster->shown);
    }
    return outcome;
}

enum outcome command_capture_stop(const struct cluster *cluster)
{
    return control_ask(cluster, &call, "capture", "capture-stop");
}

enum outcome command_port(const struct cluster *cluster)
{
    enum outcome outcome = control_ask(cluster, &call, "port", "ping");
    if (outcome == OUTCOME_OK) {
        printf("%s/port.sock\n", cluster->directory);
        if (strlen(cluster->directory) + sizeof "/port.sock" > sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
            progress("that path is longer than an address of a Unix socket may be; connect to port.sock from within the folder");
        }
    }
    return outcome;
}

/* --- The management port itself --- */

static enum outcome check_runs(const struct cluster *cluster, unsigned node)
{
    return qemu_running(node, NULL) ? OUTCOME_OK : outcome_fail(OUTCOME_FAILED, "node %u is down; start it: %s node start %s %u", node, command_name(),
                                                                cluster->shown, node);
}

static enum outcome judge_management(const struct cluster *cluster, unsigned node, enum status result)
{
    if (result == STATUS_OK) {
        return OUTCOME_OK;
    }
    if (result == STATUS_TIMED_OUT) {
        return outcome_fail(OUTCOME_TIMED_OUT, "the management port of node %u does not answer; read its log: %s log %s %u", node,
                            command_name(), cluster->shown, node);
    }
    return outcome_fail(OUTCOME_FAILED, "node %u: %s: %s", node, status_name(result), call.sentence);
}

enum outcome command_manage(const struct cluster *cluster, unsigned node, const char *line)
{
    enum outcome outcome = check_runs(cluster, node);
    if (outcome != OUTCOME_OK) {
        return outcome;
    }
    enum status result = control_request(&call, LAB_MANAGEMENT_DEADLINE_MS + 500, "manage %u %d %s", node, LAB_MANAGEMENT_DEADLINE_MS, line);
    fputs(call.text, stdout);
    return judge_management(cluster, node, result);
}

enum outcome command_manage_raw(const struct cluster *cluster, unsigned node)
{
    enum outcome outcome = check_runs(cluster, node);
    if (outcome != OUTCOME_OK) {
        return outcome;
    }
    uint8_t bytes[LAB_RAW_BYTES_MAX + 1];
    size_t count = fread(bytes, 1, sizeof bytes, stdin);
    if (count > LAB_RAW_BYTES_MAX) {
        return outcome_fail(OUTCOME_USAGE, "at most %d bytes can be sent to a management port at once", LAB_RAW_BYTES_MAX);
    }
    char hex[2 * LAB_RAW_BYTES_MAX + 1];
    format_hex(bytes, count, hex);
    enum status result = control_request(&call, LAB_MANAGEMENT_RAW_DEADLINE_MS + 500, "raw %u %d %s", node, LAB_MANAGEMENT_RAW_DEADLINE_MS, hex);
    return judge_management(cluster, node, result);
}
