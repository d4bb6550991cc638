#include "cluster-sim/lab_lifecycle.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cluster-sim/lab_control.h"
#include "cluster-sim/lab_create.h"
#include "cluster-sim/lab_file.h"
#include "cluster-sim/lab_process.h"
#include "cluster-sim/lab_qemu.h"
#include "cluster-sim/lab_status.h"

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

/* --- The background process --- */

static enum outcome wait_for_switch(const struct cluster *cluster)
{
    uint64_t deadline = clock_ms() + LAB_SPAWN_DEADLINE_MS;
    while (!control_alive()) {
        bool alive = process_alive("switch.pid", NULL);
        if (!alive || clock_ms() > deadline) {
            char line[256];
            file_last_line("switch.log", line, sizeof line);
            process_signal("switch.pid", SIGKILL);
            return outcome_fail(alive ? OUTCOME_TIMED_OUT : OUTCOME_FAILED,
                                "the background process of %s %s%s%s%s %s/switch.log", cluster->shown,
                                alive ? "does not answer" : "ended at once", line[0] != 0 ? ": " : "", line,
                                line[0] != 0 ? "; all it said is in" : " and left nothing in", cluster->shown);
        }
        sleep_ms(10);
    }
    return OUTCOME_OK;
}

static enum outcome ensure_switch(const struct cluster *cluster)
{
    if (control_alive()) {
        return OUTCOME_OK;
    }
    pid_t pid;
    if (process_alive("switch.pid", &pid)) {
        progress("the background process (%ld) does not answer; it is replaced", (long)pid);
    }
    if (!process_end("switch.pid", SIGKILL)) {
        return outcome_fail(OUTCOME_FAILED, "the background process of %s does not end", cluster->shown);
    }
    unlink("switch.log");
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length <= 0) {
        return outcome_fail(OUTCOME_FAILED, "cannot find where this command stands: %s", strerror(errno));
    }
    self[length] = 0;
    const char *const arguments[] = {self, "switch", cluster->directory, NULL};
    int error = process_start(arguments, "switch.pid", "switch.log");
    if (error != 0) {
        return outcome_fail(OUTCOME_FAILED, "cannot start the background process of %s: %s", cluster->shown, strerror(error));
    }
    return wait_for_switch(cluster);
}

static unsigned count_running(const struct cluster *cluster)
{
    unsigned running = 0;
    for (unsigned node = 1; node <= cluster->nodes; node++) {
        running += qemu_running(node, NULL);
    }
    return running;
}

static bool end_switch(void)
{
    static struct control_call call;
    if (control_request(&call, LAB_CONTROL_DEADLINE_MS, "quit") == STATUS_OK) {
        uint64_t deadline = clock_ms() + LAB_TERMINATE_DEADLINE_MS;
        while (process_alive("switch.pid", NULL) && clock_ms() < deadline) {
            sleep_ms(2);
        }
    }
    bool ended = process_end("switch.pid", SIGTERM);
    if (ended) {
        unlink("control.sock");
        unlink("port.sock");
    }
    return ended;
}

/* Does nothing of the cluster run but the background process? Then that ends too. */
static void end_switch_without_nodes(const struct cluster *cluster)
{
    if (count_running(cluster) == 0 && !end_switch()) {
        progress("the background process of %s does not end", cluster->shown);
    }
}

/* The same, for who does not hold the lock: another command may be at work on the cluster by now, and then it is that one's. */
static void end_lonely_switch(struct cluster *cluster)
{
    if (count_running(cluster) == 0 && cluster_lock(cluster) == OUTCOME_OK) {
        end_switch_without_nodes(cluster);
        cluster_unlock(cluster);
    }
}

/* --- Waiting for the world --- */

/* Does the world's terminal say anything to a new connection? `*descriptor` is the attempt under way, -1 between attempts. */
static bool terminal_answers(unsigned host_port, int *descriptor, uint64_t *attempt_deadline_ms)
{
    uint64_t now_ms = clock_ms();
    if (*descriptor < 0) {
        *descriptor = local_connect((uint16_t)host_port);
        *attempt_deadline_ms = now_ms + 1000;
        if (*descriptor < 0) {
            sleep_ms(50);
            return false;
        }
    }
    if (!descriptor_wait(*descriptor, POLLIN, now_ms + 100)) {
        if (clock_ms() < *attempt_deadline_ms) {
            return false;
        }
    } else {
        char byte;
        if (read(*descriptor, &byte, 1) == 1) {
            close(*descriptor);
            *descriptor = -1;
            return true;
        }
        sleep_ms(50);
    }
    close(*descriptor);
    *descriptor = -1;
    return false;
}

/* What the user should know when the world does not come. */
static void tell_nodes(const struct cluster *cluster, const struct cluster_status *status)
{
    for (unsigned node = 1; node <= cluster->nodes; node++) {
        const struct node_status *about = &status->nodes[node];
        progress("  node %u: %s%s%s", node, node_state_name(about->state), about->reason[0] != 0 ? ": " : "", about->reason);
    }
}

static enum outcome explain_no_world(const struct cluster *cluster, unsigned timeout_s)
{
    static struct cluster_status status;
    status_collect(cluster, &status);
    tell_nodes(cluster, &status);
    return outcome_fail(OUTCOME_TIMED_OUT, "the world did not answer in %u s (state: %s; world: %s%s%s); what was started goes on; look again "
                        "with: %s status %s, or wait longer with: %s start %s --timeout S", timeout_s,
                        cluster_state_name(status.state), status.world_state, status.world_reason[0] != 0 ? ": " : "", status.world_reason,
                        command_name(), cluster->shown, command_name(), cluster->shown);
}

/* A world that is stopped will never answer, nor one that most nodes cannot serve: each of them is gone, or stands aside for its disk until somebody does
 * something. Say so instead of waiting. */
static enum outcome check_world_may_come(const struct cluster *cluster)
{
    static struct cluster_status status;
    status_collect(cluster, &status);
    if (strcmp(status.world_state, "stopped") == 0) {
        return status_require_world(cluster, &status, "start");
    }
    unsigned able = 0;
    for (unsigned node = 1; node <= cluster->nodes; node++) {
        const struct node_status *about = &status.nodes[node];
        able += about->pid != 0 && (about->disk_state[0] == 0 || strcmp(about->disk_state, "ok") == 0);
    }
    if (able > cluster->nodes / 2) {
        return OUTCOME_OK;
    }
    tell_nodes(cluster, &status);
    return outcome_fail(OUTCOME_NO_QUORUM, "the world cannot start: only %u of %u nodes can take part, which is no quorum; what to do: %s status %s", able,
                        cluster->nodes, command_name(), cluster->shown);
}

static enum outcome wait_for_world(const struct cluster *cluster, unsigned host_port, unsigned timeout_s)
{
    uint64_t deadline_ms = clock_ms() + (uint64_t)timeout_s * 1000;
    uint64_t next_look_ms = clock_ms() + 2000;
    int descriptor = -1;
    uint64_t attempt_deadline_ms = 0;
    enum outcome outcome = OUTCOME_OK;
    while (!terminal_answers(host_port, &descriptor, &attempt_deadline_ms)) {
        if (interrupted) {
            outcome = outcome_fail(OUTCOME_FAILED, "interrupted; what was started goes on: look with `%s status %s`, end it with "
                                   "`%s stop %s`", command_name(), cluster->shown, command_name(), cluster->shown);
        } else if (clock_ms() >= deadline_ms) {
            outcome = explain_no_world(cluster, timeout_s);
        } else if (clock_ms() >= next_look_ms) {
            outcome = check_world_may_come(cluster);
            next_look_ms = clock_ms() + 2000;
        }
        if (outcome != OUTCOME_OK) {
            break;
        }
    }
    if (descriptor >= 0) {
        close(descriptor);
    }
    return outcome;
}

/* --- Commands --- */

/* Start every node that is down. One that cannot start does not keep the others from it, as long as a majority can run. */
static enum outcome start_nodes(const struct cluster *cluster)
{
    enum outcome outcome = OUTCOME_OK;
    unsigned failed = 0;
    bool for_all = false;
    for (unsigned node = 1; node <= cluster->nodes && !interrupted && !for_all && failed <= cluster->nodes / 2; node++) {
        if (!qemu_running(node, NULL)) {
            progress("starting node %u", node);
            enum outcome one = qemu_start(cluster, node, &for_all);
            failed = for_all ? cluster->nodes - count_running(cluster) : failed + (one != OUTCOME_OK);
            outcome = one != OUTCOME_OK ? one : outcome;
        }
    }
    return failed > cluster->nodes / 2 || failed == 0 ? outcome : OUTCOME_DEGRADED;
}

static enum outcome start_processes(struct cluster *cluster, unsigned *host_port)
{
    static struct control_call call;
    enum outcome outcome = ensure_switch(cluster);
    if (outcome != OUTCOME_OK) {
        return outcome;
    }
    outcome = control_ask(cluster, &call, "opening the way to the world's terminal", "forward 0 7000 0");
    if (outcome == OUTCOME_OK && sscanf(call.text, "port %u", host_port) != 1) {
        outcome = outcome_fail(OUTCOME_FAILED, "the background process of %s gave an answer that cannot be read", cluster->shown);
    }
    if (outcome == OUTCOME_OK) {
        outcome = start_nodes(cluster);
    }
    if (outcome != OUTCOME_OK) {
        end_switch_without_nodes(cluster);
    }
    return outcome;
}

enum outcome lifecycle_start(struct cluster *cluster, unsigned timeout_s)
{
    enum outcome outcome = cluster_lock(cluster);
    if (outcome != OUTCOME_OK) {
        return outcome;
    }
    struct sigaction action = {.sa_handler = on_interrupt};      /* until here an interrupt simply ends the command */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    unsigned host_port = 0;
    enum outcome started = start_processes(cluster, &host_port);
    cluster_unlock(cluster);
    if (started != OUTCOME_OK && started != OUTCOME_DEGRADED) {
        return started;
    }
    progress("waiting for the world");
    uint64_t from_ms = clock_ms();
    outcome = wait_for_world(cluster, host_port, timeout_s);
    if (outcome != OUTCOME_OK) {
        end_lonely_switch(cluster);
        return outcome;
    }
    progress("the world answers after %llu ms; come in with: %s attach %s   (or: nc 127.0.0.1 %u)",
             (unsigned long long)(clock_ms() - from_ms), command_name(), cluster->shown, host_port);
    return started;
}

/* The way to the terminal keeps its port over a stop; other forwards and all cuts end with it. */
static void keep_attach_port(void)
{
    char text[LAB_SMALL_FILE_BYTES_MAX];
    char kept[64] = "";
    if (file_read("network", text, sizeof text, NULL) != 0) {
        return;
    }
    char *rest = text;
    for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) {
        unsigned target, port, host_port;
        if (sscanf(line, "forward %u %u %u", &target, &port, &host_port) == 3 && target == 0 && port == LAB_WORLD_TERMINAL_PORT) {
            snprintf(kept, sizeof kept, "forward 0 %u %u\n", port, host_port);
        }
    }
    if (file_write("network", kept, strlen(kept)) != 0) {
        unlink("network");
    }
}

static enum outcome stop_processes(struct cluster *cluster)
{
    enum outcome outcome = qemu_end(cluster, 0, SIGTERM, "stopped by `eidolon stop`");
    if (!end_switch() && outcome == OUTCOME_OK) {
        outcome = outcome_fail(OUTCOME_FAILED, "the background process of %s does not end", cluster->shown);
    }
    keep_attach_port();
    return outcome;
}

enum outcome lifecycle_stop(struct cluster *cluster)
{
    enum outcome outcome = cluster_lock(cluster);
    if (outcome == OUTCOME_OK) {
        outcome = stop_processes(cluster);
        cluster_unlock(cluster);
    }
    return outcome;
}

enum outcome lifecycle_destroy(struct cluster *cluster)
{
    enum outcome outcome = cluster_lock(cluster);
    if (outcome == OUTCOME_OK) {
        outcome = stop_processes(cluster);
    }
    if (outcome == OUTCOME_OK) {
        outcome = destroy_files(cluster);
    }
    cluster_unlock(cluster);
    return outcome;
}

enum outcome lifecycle_node_start(struct cluster *cluster, unsigned node)
{
    if (qemu_running(node, NULL)) {
        progress("node %u runs already", node);
        return OUTCOME_OK;
    }
    enum outcome outcome = cluster_lock(cluster);
    if (outcome == OUTCOME_OK) {
        outcome = ensure_switch(cluster);
    }
    if (outcome == OUTCOME_OK) {
        bool for_all;
        outcome = qemu_start(cluster, node, &for_all);
        if (outcome != OUTCOME_OK) {
            end_switch_without_nodes(cluster);
        }
    }
    cluster_unlock(cluster);
    return outcome;
}

static enum outcome end_node(struct cluster *cluster, unsigned node, int signal_number, const char *note)
{
    enum outcome outcome = cluster_lock(cluster);
    if (outcome != OUTCOME_OK) {
        return outcome;
    }
    if (!qemu_running(node, NULL)) {
        progress("node %u is down already", node);
    }
    outcome = qemu_end(cluster, node, signal_number, note);
    cluster_unlock(cluster);
    return outcome;
}

enum outcome lifecycle_node_stop(struct cluster *cluster, unsigned node)
{
    return end_node(cluster, node, SIGTERM, "stopped by `eidolon node stop`");
}

enum outcome lifecycle_node_kill(struct cluster *cluster, unsigned node)
{
    return end_node(cluster, node, SIGKILL, "killed by `eidolon node kill`");
}

enum outcome lifecycle_node_lose_disk(struct cluster *cluster, unsigned node)
{
    enum outcome outcome = cluster_lock(cluster);
    if (outcome != OUTCOME_OK) {
        return outcome;
    }
    if (qemu_running(node, NULL)) {
        outcome = outcome_fail(OUTCOME_FAILED, "node %u runs; a disk is lost only while its node is down: %s node kill %s %u", node,
                               command_name(), cluster->shown, node);
    } else {
        outcome = create_blank_disk(cluster, node);
        char path[NODE_PATH_BYTES];
        static const char note[] = "down, and its disk was made blank by `eidolon node lose-disk`";
        if (outcome == OUTCOME_OK && file_write(node_path(path, node, "note"), note, sizeof note - 1) != 0) {
            progress("cannot write %s/%s; status will not know that the disk is blank", cluster->shown, path);
        }
    }
    cluster_unlock(cluster);
    return outcome;
}
