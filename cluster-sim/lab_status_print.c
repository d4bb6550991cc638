#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster-sim/lab_file.h"
#include "cluster-sim/lab_status.h"

const char *cluster_state_name(enum cluster_state state)
{
    static const char *const names[] = {"ok", "degraded", "no-quorum", "stopped"};
    return names[state];
}

const char *node_state_name(enum node_state state)
{
    static const char *const names[] = {"down", "joining", "up"};
    return names[state];
}

/* --- Table --- */

static void print_node_row(unsigned number, const struct node_status *node, bool host)
{
    char pid[24] = "-", term[24] = "-", commit[24] = "-", epoch[24] = "-";
    if (node->pid != 0) {
        snprintf(pid, sizeof pid, "%ld", (long)node->pid);
    }
    if (node->answered) {
        snprintf(term, sizeof term, "%llu", (unsigned long long)node->term);
        snprintf(commit, sizeof commit, "%llu", (unsigned long long)node->commit_index);
        snprintf(epoch, sizeof epoch, "%llu", (unsigned long long)node->world_epoch);
    }
    printf("%-4u  %-7s  %-9s  %4s  %8s  %8s  %7s  %s%s%s\n", number, node_state_name(node->state), node->answered ? node->role : "-", term,
           commit, epoch, pid, host ? "runs the world" : "", host && node->reason[0] != 0 ? "; " : "", node->reason);
    if (node->last_words[0] != 0) {
        printf("      before its last restart it said: %s\n", node->last_words);
    }
}

/* A node whose disk is not well takes no part until somebody does something: what. Of several nodes, a corrupt disk is the others' to repair. */
static void advise_disk(const struct cluster *cluster, unsigned number, const struct node_status *node)
{
    const char *name = command_name(), *shown = cluster->shown;
    printf("  node %u takes no part: %s\n", number, node->reason);
    if (strcmp(node->disk_state, "failed") == 0) {
        printf("    when its disk is well again (is the host's full?): %s node stop %s %u; %s node start %s %u\n", name, shown, number, name,
               shown, number);
    } else if (cluster->nodes == 1) {
        printf("    without a copy of its own disk, %s/node%u/disk.img, its world is lost; a new cluster: %s destroy %s; %s create --nodes 1 %s\n",
               shown, number, name, shown, name, shown);
    } else if (strcmp(node->disk_state, "corrupt") != 0) {
        printf("    put its own disk back, or a blank one: %s node stop %s %u; %s node lose-disk %s %u; %s node start %s %u\n", name, shown, number,
               name, shown, number, name, shown, number);
    }
}

static void advise_nodes(const struct cluster *cluster, const struct cluster_status *status)
{
    unsigned down = 0;
    for (unsigned node = 1; node <= cluster->nodes; node++) {
        const struct node_status *about = &status->nodes[node];
        if (about->pid == 0) {
            down++;
            printf("  node %u is down; start it: %s node start %s %u\n", node, command_name(), cluster->shown, node);
        } else if (!about->answered) {
            printf("  node %u is silent; read its log: %s log %s %u\n", node, command_name(), cluster->shown, node);
        } else if (about->disk_state[0] != 0 && strcmp(about->disk_state, "ok") != 0) {
            advise_disk(cluster, node, about);
        } else if (about->state == NODE_JOINING) {
            printf("  node %u %s; it becomes a voter by itself\n", node,
                   status->state == CLUSTER_NO_QUORUM ? "waits for a majority, then it catches up" : "is catching up");
        } else if (about->reason[0] != 0) {
            printf("  node %u: %s; if that lasts, read its log: %s log %s %u\n", node, about->reason, command_name(), cluster->shown, node);
        }
    }
    if (down > 1) {
        printf("  or start all that are down: %s start %s\n", command_name(), cluster->shown);
    }
}

static void advise(const struct cluster *cluster, const struct cluster_status *status)
{
    if (status->state == CLUSTER_OK && status->faults[0] == 0) {
        return;
    }
    if (status->state == CLUSTER_STOPPED) {
        printf("stopped: no node runs; everything is kept; start it: %s start %s\n", command_name(), cluster->shown);
        return;
    }
    if (status->state == CLUSTER_NO_QUORUM && cluster->nodes == 1) {
        printf("no quorum: the only node takes no part, so nothing can be committed and the world waits\n");
    } else if (status->state == CLUSTER_NO_QUORUM) {
        printf("no quorum: fewer than %u of %u nodes hear each other, so nothing can be committed and the world waits\n",
               cluster->nodes / 2 + 1, cluster->nodes);
    } else if (status->state == CLUSTER_DEGRADED) {
        printf("degraded: what is wrong, and what to do:\n");
    }
    if (!status->background_alive) {
        printf("  the background process (switch and way in) %s: %s start %s\n",
               status->background_runs ? "does not answer, so nothing is known of the nodes; replace it" : "is gone; nodes go on; start it",
               command_name(), cluster->shown);
    }
    if (status->faults[0] != 0) {
        printf("  cables: %s; mend them: %s fault heal %s\n", status->faults, command_name(), cluster->shown);
    }
    if (strcmp(status->world_state, "stopped") == 0) {
        printf("  the world is stopped; a fresh one in its place: %s world reset %s\n", command_name(), cluster->shown);
    }
    advise_nodes(cluster, status);
}

void status_print_table(const struct cluster *cluster, const struct cluster_status *status)
{
    printf("cluster %s: %s\n\n", cluster->shown, cluster_state_name(status->state));
    printf("node  state    role       term    commit     epoch      pid\n");
    for (unsigned node = 1; node <= cluster->nodes; node++) {
        print_node_row(node, &status->nodes[node], status->host == node);
    }
    printf("\nworld main: %s", status->world_state);
    if (status->host != 0) {
        printf(" on node %u, epoch %llu", status->host, (unsigned long long)status->nodes[status->host].world_epoch);
    }
    if (status->world_reason[0] != 0) {
        printf(": %s", status->world_reason);
    }
    printf("\n");
    if (status->attach_port != 0 && status->background_alive) {
        printf("attach: %s attach %s   (or: nc 127.0.0.1 %u)\n", command_name(), cluster->shown, status->attach_port);
    }
    advise(cluster, status);
}

/* --- JSON --- */

/* A string: everything that comes here is printable ASCII or a file name. */
static void print_string(const char *text)
{
    putchar('"');
    for (; *text != 0; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte == '"' || byte == '\\') {
            printf("\\%c", byte);
        } else if (byte < 0x20) {
            printf("\\u%04x", byte);
        } else {
            putchar(byte);
        }
    }
    putchar('"');
}

static void print_string_field(const char *key, const char *text, bool known)
{
    printf(",\"%s\":", key);
    if (known) {
        print_string(text);
    } else {
        printf("null");
    }
}

static void print_number_field(const char *key, uint64_t number, bool known)
{
    if (known) {
        printf(",\"%s\":%llu", key, (unsigned long long)number);
    } else {
        printf(",\"%s\":null", key);
    }
}

static void print_node_json(unsigned number, const struct node_status *node)
{
    printf("{\"id\":%u", number);
    print_number_field("pid", (uint64_t)node->pid, node->pid != 0);
    print_string_field("state", node_state_name(node->state), true);
    print_string_field("reason", node->reason, true);
    print_string_field("role", node->role, node->answered);
    print_number_field("term", node->term, node->answered);
    print_number_field("commit_index", node->commit_index, node->answered);
    print_string_field("incarnation", node->incarnation, node->answered);
    print_number_field("boot", node->boot, node->answered);
    print_string_field("disk", node->disk_state, node->answered);
    printf(",\"voter\":%s,\"majority\":%s", node->voter ? "true" : "false", node->majority ? "true" : "false");
    print_string_field("last_words", node->last_words, node->answered);
    printf(",\"worlds\":[");
    if (node->world_name[0] != 0 && node->answered) {
        printf("{\"name\":");
        print_string(node->world_name);
        print_string_field("state", node->world_state, true);
        print_number_field("epoch", node->world_epoch, true);
        print_number_field("committed", node->world_committed, true);
        print_number_field("resumed", node->world_resumed, true);
        print_string_field("digest", node->world_digest, true);
        printf("}");
    }
    printf("]}");
}

static void print_world_json(const struct cluster_status *status)
{
    const struct node_status *host = &status->nodes[status->host];
    printf("{\"name\":\"main\"");
    print_number_field("host", status->host, status->host != 0);
    print_number_field("epoch", host->world_epoch, status->host != 0);
    print_string_field("state", status->world_state, true);
    print_string_field("reason", status->world_reason, true);
    print_string_field("address", LAB_WORLD_ADDRESS, true);
    char attach[32];
    snprintf(attach, sizeof attach, "127.0.0.1:%u", status->attach_port);
    print_string_field("attach", attach, status->attach_port != 0);
    printf("}");
}

void status_print_json(const struct cluster *cluster, const struct cluster_status *status)
{
    printf("{\"schema\":1,\"state\":\"%s\",\"switch\":\"%s\"", cluster_state_name(status->state), status->background_alive ? "up" : "down");
    print_string_field("faults", status->faults, true);
    printf(",\"nodes\":[");
    for (unsigned node = 1; node <= cluster->nodes; node++) {
        printf("%s", node > 1 ? "," : "");
        print_node_json(node, &status->nodes[node]);
    }
    printf("],\"worlds\":[");
    print_world_json(status);
    printf("]}\n");
}
