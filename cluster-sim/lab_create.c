#include "cluster-sim/lab_create.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster-sim/lab_disk.h"
#include "cluster-sim/lab_file.h"
#include "include/disk_format.h"
#include "include/q35.h"

/* --- Removal: only files that a cluster's folder is known to hold --- */

static const char *const cluster_files[] = {
    "cluster", "cluster.new", "lock", "network", "network.new", "switch.pid", "switch.pid.new", "switch.log", "control.sock", "port.sock",
};
static const char *const node_files[] = {
    "boot.conf", "boot.conf.new", "disk.img", "disk.img.new", "qemu.pid", "qemu.pid.new", "qemu.log", "qemu.log.1", "node.log", "node.log.1",
    "note", "note.new", "net.sock", "mgmt.sock",
};
enum { CLUSTER_FILES = sizeof cluster_files / sizeof cluster_files[0], NODE_FILES = sizeof node_files / sizeof node_files[0] };

/* Empty the folder of the descriptor. The file `cluster` goes last: until then the rest can be found and removed again. */
static void remove_ours(int folder)
{
    for (unsigned node = 1; node <= LAB_NODES_MAX; node++) {
        char path[NODE_PATH_BYTES];
        for (unsigned at = 0; at < NODE_FILES; at++) {
            unlinkat(folder, node_path(path, node, node_files[at]), 0);
        }
        snprintf(path, sizeof path, "node%u", node);
        unlinkat(folder, path, AT_REMOVEDIR);
    }
    for (unsigned at = CLUSTER_FILES; at > 0; at--) {
        unlinkat(folder, cluster_files[at - 1], 0);
    }
}

static void remove_folder(const char *path)
{
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder >= 0) {
        remove_ours(folder);
        close(folder);
    }
    rmdir(path);
}

enum outcome destroy_files(const struct cluster *cluster)
{
    if (chdir("/") != 0) {
        return outcome_fail(OUTCOME_FAILED, "cannot leave %s: %s", cluster->shown, strerror(errno));
    }
    remove_folder(cluster->directory);
    struct stat about;
    if (stat(cluster->directory, &about) == 0) {
        return outcome_fail(OUTCOME_FAILED, "the cluster in %s is destroyed, but the folder holds other files or cannot be removed; "
                            "look into it and remove it yourself", cluster->shown);
    }
    return OUTCOME_OK;
}

/* --- Creation --- */

static enum outcome check_options(const struct create_options *options)
{
    if (options->nodes != 1 && options->nodes != 3 && options->nodes != 5) {
        return outcome_fail(OUTCOME_USAGE, "a cluster has 1, 3 or 5 nodes, not %u", options->nodes);
    }
    if (options->world_memory_mib < LAB_WORLD_MEMORY_MIB_MIN || options->world_memory_mib > LAB_WORLD_MEMORY_MIB_MAX) {
        return outcome_fail(OUTCOME_USAGE, "a world of %u MiB is not possible: --world-memory takes %d to %d", options->world_memory_mib,
                            LAB_WORLD_MEMORY_MIB_MIN, LAB_WORLD_MEMORY_MIB_MAX);
    }
    uint64_t disk_least = (disk_bytes_min((uint64_t)options->world_memory_mib << 20) + (1u << 20) - 1) >> 20;
    if (options->disk_mib < disk_least || options->disk_mib > LAB_DISK_MIB_MAX) {
        return outcome_fail(OUTCOME_USAGE, "a disk of %u MiB is too small or too large for a world of %u MiB: --disk takes %u to %d here",
                            options->disk_mib, options->world_memory_mib, (unsigned)disk_least, LAB_DISK_MIB_MAX);
    }
    unsigned memory_least = options->world_memory_mib + options->world_memory_mib / LAB_NODE_MEMORY_WORLD_SHARE +
                            options->disk_mib / LAB_NODE_MEMORY_DISK_SHARE + LAB_NODE_MEMORY_MIB_BESIDE_WORLD;
    if (options->memory_mib < memory_least || options->memory_mib > LAB_NODE_MEMORY_MIB_MAX) {
        return outcome_fail(OUTCOME_USAGE, "a node of %u MiB is too small or too large for a world of %u MiB and a disk of %u MiB: --memory takes %u "
                            "to %d here", options->memory_mib, options->world_memory_mib, options->disk_mib, memory_least,
                            LAB_NODE_MEMORY_MIB_MAX);
    }
    unsigned split_memory_least = Q35_MEMORY_MIB_LOWER + options->world_memory_mib;
    if (options->memory_mib >= Q35_MEMORY_MIB_SPLIT && options->memory_mib < split_memory_least &&
        options->world_memory_mib > Q35_MEMORY_MIB_LOWER - LAB_NODE_MEMORY_MIB_LOWER_TAKEN) {
        return outcome_fail(OUTCOME_USAGE, "a node of %u MiB has its memory in two parts, %d MiB and %u MiB, and neither holds a world of %u MiB, which is "
                            "one piece: --memory takes %u to %d here, or %u to %d", options->memory_mib, Q35_MEMORY_MIB_LOWER,
                            options->memory_mib - Q35_MEMORY_MIB_LOWER, options->world_memory_mib, memory_least,
                            Q35_MEMORY_MIB_SPLIT - 1, split_memory_least, LAB_NODE_MEMORY_MIB_MAX);
    }
    if (options->heartbeat_ms < 10 || options->heartbeat_ms > 1000 || options->election_timeout_ms < 3 * options->heartbeat_ms ||
        options->election_timeout_ms > 10000) {
        return outcome_fail(OUTCOME_USAGE, "a heartbeat of %u ms with an election timeout of %u ms is not possible: --heartbeat takes 10 to 1000, "
                            "--election-timeout three times that to 10000", options->heartbeat_ms, options->election_timeout_ms);
    }
    return OUTCOME_OK;
}

/* Make the folders above `path` that are missing; `*there`: length of the part of `path` that was there before. */
static int make_parents(const char *path, size_t *there)
{
    char partial[PATH_MAX];
    snprintf(partial, sizeof partial, "%s", path);
    *there = 0;
    bool missing = false;
    for (char *slash = strchr(partial + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(partial, 0700) == 0) {
            missing = true;
        } else if (errno != EEXIST) {
            return errno;
        } else if (!missing) {
            *there = (size_t)(slash - partial);
        }
        *slash = '/';
    }
    return 0;
}

/* Take them away again, as far as they are still empty. */
static void remove_parents(const char *path, size_t there)
{
    char partial[PATH_MAX];
    snprintf(partial, sizeof partial, "%s", path);
    for (char *slash = strrchr(partial, '/'); slash != NULL && (size_t)(slash - partial) > there; slash = strrchr(partial, '/')) {
        *slash = 0;
        rmdir(partial);
    }
}

/* Write all files of `cluster` below the fresh folder `building`. */
static int fill_folder(struct cluster *cluster, struct cluster_secrets *secrets, const char *building)
{
    int error = getrandom(cluster->id, sizeof cluster->id, 0) == (ssize_t)sizeof cluster->id ? 0 : EIO;
    if (error == 0) {
        error = secrets_draw(secrets, cluster->nodes);
    }
    if (error == 0 && chdir(building) != 0) {
        error = errno;
    }
    for (unsigned node = 1; node <= cluster->nodes && error == 0; node++) {
        char path[NODE_PATH_BYTES];
        snprintf(path, sizeof path, "node%u", node);
        if (mkdir(path, 0700) != 0) {
            error = errno;
            break;
        }
        error = disk_write_boot_configuration(cluster, secrets, node, node_path(path, node, "boot.conf"));
        if (error == 0) {
            error = disk_write_first(cluster, secrets, node, node_path(path, node, "disk.img"));
        }
    }
    return error == 0 ? cluster_write(cluster, "cluster") : error;
}

/* An interrupted `create` must leave nothing behind: signals wait until it is whole or removed. */
static void block_interrupts(sigset_t *before)
{
    sigset_t interrupts;
    sigemptyset(&interrupts);
    sigaddset(&interrupts, SIGINT);
    sigaddset(&interrupts, SIGTERM);
    sigaddset(&interrupts, SIGHUP);
    sigprocmask(SIG_BLOCK, &interrupts, before);
}

/* Rename the folder `building` to `target`, which must not exist. Where the file system cannot promise that in one step (NFS), an empty folder holds the
 * place. Returns 0 or an errno value. */
static int move_into_place(const char *building, const char *target)
{
    if (renameat2(AT_FDCWD, building, AT_FDCWD, target, RENAME_NOREPLACE) == 0) {
        return 0;
    }
    if (errno != EINVAL || mkdir(target, 0700) != 0) {
        return errno;
    }
    int error = rename(building, target) == 0 ? 0 : errno;
    if (error != 0) {
        rmdir(target);
    }
    return error;
}

static enum outcome build_folder(const struct create_options *options, const char *target)
{
    char building[PATH_MAX];
    int length = snprintf(building, sizeof building, "%.*s/.creating-%ld", (int)(strrchr(target, '/') - target), target, (long)getpid());
    if (length < 0 || length >= PATH_MAX) {
        return outcome_fail(OUTCOME_USAGE, "the name of the folder is too long: %s", options->directory);
    }
    struct cluster cluster = {.nodes = options->nodes, .memory_mib = options->memory_mib,
                              .world_memory_mib = options->world_memory_mib, .disk_mib = options->disk_mib, .lock = -1};
    struct cluster_secrets secrets = {.heartbeat_ms = options->heartbeat_ms, .election_timeout_ms = options->election_timeout_ms};
    sigset_t before;
    block_interrupts(&before);
    size_t there;
    int error = make_parents(target, &there);
    if (error == 0 && mkdir(building, 0700) != 0) {
        error = errno;
    }
    if (error == 0) {
        error = fill_folder(&cluster, &secrets, building);
        error = error == 0 ? move_into_place(building, target) : error;
        if (error != 0) {
            remove_folder(building);
        }
    }
    if (error != 0) {
        remove_parents(target, there);
    }
    explicit_bzero(&secrets, sizeof secrets);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        return outcome_fail(OUTCOME_FAILED, "cannot create a cluster in %s: %s; nothing was left behind%s", options->directory,
                            strerror(error), error == ENOSPC ? "; free some room on that file system, then try again"
                                             : error == EEXIST ? "; another command was faster: look at what it made, or choose another folder" : "");
    }
    return OUTCOME_OK;
}

static bool holds_cluster(const char *target)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/cluster", target);
    return length < PATH_MAX && access(path, F_OK) == 0;
}

enum outcome create_cluster(const struct create_options *options)
{
    enum outcome outcome = check_options(options);
    if (outcome != OUTCOME_OK) {
        return outcome;
    }
    char target[PATH_MAX];
    char here[PATH_MAX];
    size_t name_bytes = strlen(options->directory);
    if (name_bytes == 0) {
        return outcome_fail(OUTCOME_USAGE, "the name of the folder is empty");
    }
    if (options->directory[0] != '/' && getcwd(here, sizeof here) == NULL) {
        return outcome_fail(OUTCOME_FAILED, "cannot tell which folder this is: %s; name the new one with its whole path", strerror(errno));
    }
    int length = options->directory[0] == '/' ? snprintf(target, sizeof target, "%s", options->directory)
                                              : snprintf(target, sizeof target, "%s/%s", here, options->directory);
    if (length < 0 || length >= PATH_MAX) {
        return outcome_fail(OUTCOME_USAGE, "the name of the folder is too long: %s", options->directory);
    }
    while (length > 1 && target[length - 1] == '/') {
        target[--length] = 0;
    }
    struct stat about;
    if (lstat(target, &about) == 0) {
        char shown[PATH_MAX];
        text_shell_word(shown, sizeof shown, options->directory);
        return holds_cluster(target) ? outcome_fail(OUTCOME_FAILED, "%s exists already; choose another folder, or remove that cluster with: "
                                                    "%s destroy %s", shown, command_name(), shown)
                                     : outcome_fail(OUTCOME_FAILED, "%s exists already and is no cluster; choose another folder, or remove it",
                                                    shown);
    }
    return build_folder(options, target);
}

enum outcome create_blank_disk(const struct cluster *cluster, unsigned node)
{
    char path[NODE_PATH_BYTES];
    int error = disk_write_blank(cluster, node_path(path, node, "disk.img"));
    if (error != 0) {
        return outcome_fail(OUTCOME_FAILED, "cannot make the disk of node %u blank: %s", node, strerror(error));
    }
    return OUTCOME_OK;
}
