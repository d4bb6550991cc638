#include "cluster-sim/lab_cluster.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "cluster-sim/lab_file.h"

#define CLUSTER_HEADING "eidolon-cluster"
enum { CLUSTER_VERSION = 1 };

const uint8_t lab_world_mac[6] = {0x02, 0xe1, 0xd0, 0x00, 0x00, 0x01};
const uint8_t lab_world_address[4] = {10, 77, 0, 100};
const uint8_t lab_gateway_address[4] = {10, 77, 0, 2};
const uint8_t lab_netmask[4] = {255, 255, 255, 0};

void lab_node_address(unsigned node, uint8_t address[4])
{
    const uint8_t full[4] = {10, 77, 0, (uint8_t)(10 + node)};
    memcpy(address, full, sizeof full);
}

void lab_node_mac(unsigned node, uint8_t mac[6])
{
    const uint8_t full[6] = {0x52, 0x54, 0x00, 0xe1, 0x00, (uint8_t)node};
    memcpy(mac, full, sizeof full);
}

const char *node_path(char path[NODE_PATH_BYTES], unsigned node, const char *file)
{
    snprintf(path, NODE_PATH_BYTES, "node%u/%s", node, file);
    return path;
}

int cluster_write(const struct cluster *cluster, const char *path)
{
    char id[2 * CLUSTER_ID_BYTES + 1];
    format_hex(cluster->id, CLUSTER_ID_BYTES, id);
    char text[512];
    int length = snprintf(text, sizeof text,
                          CLUSTER_HEADING " %d\nid %s\nnodes %u\nmemory_mib %u\nworld_memory_mib %u\ndisk_mib %u\n",
                          CLUSTER_VERSION, id, cluster->nodes, cluster->memory_mib, cluster->world_memory_mib,
                          cluster->disk_mib);
    return file_write(path, text, (size_t)length);
}

static bool parse_field(struct cluster *cluster, const char *key, const char *value, unsigned *seen)
{
    static const struct {
        const char *key;
        size_t offset;
        uint64_t most;
    } numbers[] = {
        {"nodes", offsetof(struct cluster, nodes), LAB_NODES_MAX},
        {"memory_mib", offsetof(struct cluster, memory_mib), LAB_NODE_MEMORY_MIB_MAX},
        {"world_memory_mib", offsetof(struct cluster, world_memory_mib), LAB_WORLD_MEMORY_MIB_MAX},
        {"disk_mib", offsetof(struct cluster, disk_mib), LAB_DISK_MIB_MAX},
    };
    if (strcmp(key, "id") == 0) {
        *seen |= 1u << 31;
        return parse_hex(value, cluster->id, CLUSTER_ID_BYTES);
    }
    for (unsigned at = 0; at < sizeof numbers / sizeof numbers[0]; at++) {
        uint64_t number;
        if (strcmp(key, numbers[at].key) == 0) {
            if (!parse_number(value, 1, numbers[at].most, &number)) {
                return false;
            }
            unsigned small = (unsigned)number;
            memcpy((char *)cluster + numbers[at].offset, &small, sizeof small);
            *seen |= 1u << at;
            return true;
        }
    }
    return false;
}

/* Line by line; an unknown or missing field means that the file is not one of ours. */
static bool parse_cluster(struct cluster *cluster, char *text)
{
    unsigned seen = 0;
    bool first = true;
    char *rest = text;
    for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) {
        if (line[0] == 0) {
            continue;
        }
        char *value = strchr(line, ' ');
        if (value == NULL) {
            return false;
        }
        *value++ = 0;
        if (first) {
            uint64_t version;
            if (strcmp(line, CLUSTER_HEADING) != 0 || !parse_number(value, CLUSTER_VERSION, CLUSTER_VERSION, &version)) {
                return false;
            }
            first = false;
        } else if (!parse_field(cluster, line, value, &seen)) {
            return false;
        }
    }
    return seen == (1u << 31 | 0xfu) && (cluster->nodes == 1 || cluster->nodes == 3 || cluster->nodes == 5);
}

enum outcome cluster_enter(struct cluster *cluster, const char *directory)
{
    memset(cluster, 0, sizeof *cluster);
    cluster->lock = -1;
    if (strlen(directory) == 0 || strlen(directory) >= sizeof cluster->shown) {
        return outcome_fail(OUTCOME_NOT_FOUND, "the name of the cluster's folder is empty or too long");
    }
    text_shell_word(cluster->shown, sizeof cluster->shown, directory);
    if (getcwd(cluster->caller, sizeof cluster->caller) == NULL) {
        strcpy(cluster->caller, "/");
    }
    if (realpath(directory, cluster->directory) == NULL || chdir(cluster->directory) != 0) {
        if (errno == ENOTDIR) {
            return outcome_fail(OUTCOME_NOT_FOUND, "no cluster in %s: that is no folder; make one elsewhere with: %s create DIR", directory,
                                command_name());
        }
        if (errno == ENOENT) {
            return outcome_fail(OUTCOME_NOT_FOUND, "no cluster in %s: there is no such folder; make one with: %s create %s",
                                directory, command_name(), cluster->shown);
        }
        return outcome_fail(OUTCOME_FAILED, "cannot enter %s: %s", directory, strerror(errno));
    }
    char text[LAB_SMALL_FILE_BYTES_MAX];
    int error = file_read("cluster", text, sizeof text, NULL);
    if (error == ENOENT) {
        return outcome_fail(OUTCOME_NOT_FOUND, "no cluster in %s: the folder has no file `cluster`; make one elsewhere with: "
                            "%s create DIR", directory, command_name());
    }
    if (error != 0) {
        return outcome_fail(OUTCOME_FAILED, "cannot read %s/cluster: %s", directory, strerror(error));
    }
    if (!parse_cluster(cluster, text)) {
        return outcome_fail(OUTCOME_FAILED, "%s/cluster is damaged: it does not say what `create` writes; restore it from a copy, "
                            "or remove the folder and create the cluster again", directory);
    }
    return OUTCOME_OK;
}

enum outcome cluster_lock(struct cluster *cluster)
{
    int descriptor = open("lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (descriptor < 0) {
        return outcome_fail(OUTCOME_FAILED, "cannot open %s/lock: %s", cluster->shown, strerror(errno));
    }
    uint64_t deadline = clock_ms() + LAB_LOCK_DEADLINE_MS;
    bool said = false;
    while (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            int error = errno;
            close(descriptor);
            return outcome_fail(OUTCOME_FAILED, "cannot lock %s/lock: %s", cluster->shown, strerror(error));
        }
        if (clock_ms() > deadline) {
            close(descriptor);
            return outcome_fail(OUTCOME_TIMED_OUT, "another eidolon command is at work on %s and has not ended in %d s; "
                                "wait for it or end it, then try again", cluster->shown, LAB_LOCK_DEADLINE_MS / 1000);
        }
        if (!said && clock_ms() + LAB_LOCK_DEADLINE_MS > deadline + 2000) {
            progress("waiting for another eidolon command that is at work on %s", cluster->shown);
            said = true;
        }
        sleep_ms(20);
    }
    cluster->lock = descriptor;
    return OUTCOME_OK;
}

void cluster_unlock(struct cluster *cluster)
{
    if (cluster->lock >= 0) {
        close(cluster->lock);
        cluster->lock = -1;
    }
}

enum outcome cluster_parse_node(const struct cluster *cluster, const char *text, unsigned *node)
{
    uint64_t number;
    if (!parse_number(text, 0, UINT32_MAX, &number)) {
        return outcome_fail(OUTCOME_USAGE, "`%s` is not a node number; nodes of %s are 1 to %u", text, cluster->shown, cluster->nodes);
    }
    if (number < 1 || number > cluster->nodes) {
        return outcome_fail(OUTCOME_NOT_FOUND, "there is no node %s in %s: its nodes are 1 to %u", text, cluster->shown, cluster->nodes);
    }
    *node = (unsigned)number;
    return OUTCOME_OK;
}

bool cluster_resolve(const struct cluster *cluster, const char *path, char resolved[PATH_MAX])
{
    int length = path[0] == '/' ? snprintf(resolved, PATH_MAX, "%s", path) : snprintf(resolved, PATH_MAX, "%s/%s", cluster->caller, path);
    return length > 0 && length < PATH_MAX;
}
