#include "cluster-sim/lab_qemu.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster-sim/lab_disk.h"
#include "cluster-sim/lab_file.h"
#include "cluster-sim/lab_process.h"

/* The kernel stands beside the command; EIDOLON_KERNEL names another. */
static enum outcome find_kernel(const struct cluster *cluster, char path[PATH_MAX])
{
    const char *named = getenv("EIDOLON_KERNEL");
    if (named != NULL && named[0] != 0) {
        if (!cluster_resolve(cluster, named, path)) {
            return outcome_fail(OUTCOME_FAILED, "EIDOLON_KERNEL is too long a path");
        }
    } else {
        ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - sizeof "/kernel.elf");
        if (length <= 0) {
            return outcome_fail(OUTCOME_FAILED, "cannot find where this command stands: %s", strerror(errno));
        }
        path[length] = 0;
        strcpy(strrchr(path, '/'), "/kernel.elf");
    }
    if (access(path, R_OK) != 0) {
        return outcome_fail(OUTCOME_FAILED, "cannot read the kernel %s: %s; build it with: make", path, strerror(errno));
    }
    return OUTCOME_OK;
}

/* The program to run as QEMU: a name to look for, or a path as the caller sees it. */
static enum outcome find_qemu(const struct cluster *cluster, char path[PATH_MAX])
{
    const char *named = getenv("EIDOLON_QEMU");
    if (named == NULL || named[0] == 0) {
        named = "qemu-system-x86_64";
    }
    bool fits = strchr(named, '/') != NULL ? cluster_resolve(cluster, named, path) : snprintf(path, PATH_MAX, "%s", named) < PATH_MAX;
    return fits ? OUTCOME_OK : outcome_fail(OUTCOME_FAILED, "EIDOLON_QEMU is too long a path");
}

static enum outcome check_files(const struct cluster *cluster, unsigned node)
{
    char path[NODE_PATH_BYTES];
    struct stat about;
    if (stat(node_path(path, node, "disk.img"), &about) != 0) {
        return outcome_fail(OUTCOME_FAILED, "node %u has no disk: %s/%s: %s; give it a blank one with: %s node lose-disk %s %u", node,
                            cluster->shown, path, strerror(errno), command_name(), cluster->shown, node);
    }
    const char *wrong = disk_check_boot_configuration(cluster, node, node_path(path, node, "boot.conf"));
    if (wrong != NULL) {
        return outcome_fail(OUTCOME_FAILED, "node %u cannot start with its boot configuration %s/%s: %s; restore it from a copy: its keys "
                            "exist nowhere else", node, cluster->shown, path, wrong);
    }
    return OUTCOME_OK;
}

/* A log of more than `bytes_max` is set aside; one older generation is kept. */
static void bound_log(unsigned node, const char *name, off_t bytes_max)
{
    char path[NODE_PATH_BYTES];
    struct stat about;
    if (stat(node_path(path, node, name), &about) == 0 && about.st_size > bytes_max) {
        char older[NODE_PATH_BYTES + 2];
        snprintf(older, sizeof older, "%s.1", path);
        if (rename(path, older) != 0) {
            unlink(path);
        }
    }
}

static int launch(const struct cluster *cluster, unsigned node, const char *qemu, const char *kernel)
{
    char id[2 * CLUSTER_ID_BYTES + 1];
    format_hex(cluster->id, CLUSTER_ID_BYTES, id);
    char name[64], memory[16], boot[NODE_PATH_BYTES], log[128], management[128], drive[160], network[128], card[128];
    char pid_path[NODE_PATH_BYTES], log_path[NODE_PATH_BYTES];
    snprintf(name, sizeof name, "eidolon-%.8s-node%u", id, node);
    snprintf(memory, sizeof memory, "%u", cluster->memory_mib);
    snprintf(log, sizeof log, "file,id=log,path=node%u/node.log,append=on", node);
    snprintf(management, sizeof management, "socket,id=management,path=node%u/mgmt.sock,server=on,wait=off", node);
    snprintf(drive, sizeof drive, "if=none,id=disk,file=node%u/disk.img,format=raw,cache=writeback,werror=report,rerror=report", node);
    snprintf(network, sizeof network, "stream,id=network,server=on,addr.type=unix,addr.path=node%u/net.sock", node);
    uint8_t mac[6];
    lab_node_mac(node, mac);
    snprintf(card, sizeof card, "virtio-net-pci,netdev=network,disable-legacy=on,romfile=,host_mtu=%d,mac=%02x:%02x:%02x:%02x:%02x:%02x",
             LAB_MTU, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
    /* With room for one processor QEMU before 8.1 leaves the kernel's memory barriers out, though its devices work in threads of their own: then a device may
     * go to sleep and the kernel not see that it must be woken. */
    const char *const arguments[] = {
        qemu,
        "-smp", "1,maxcpus=2",
        "-name", name, "-no-user-config", "-nodefaults",
        "-M", "q35", "-cpu", "max", "-accel", "tcg", "-m", memory, "-display", "none",
        "-kernel", kernel, "-initrd", node_path(boot, node, "boot.conf"),
        "-chardev", log, "-serial", "chardev:log",
        "-chardev", management, "-serial", "chardev:management",
        "-drive", drive, "-device", "virtio-blk-pci,drive=disk,disable-legacy=on",
        "-netdev", network, "-device", card,
        NULL,
    };
    return process_start(arguments, node_path(pid_path, node, "qemu.pid"), node_path(log_path, node, "qemu.log"));
}

/* Until both sockets of the node are there. QEMU makes them before it runs the first instruction. */
static enum outcome wait_for_sockets(const struct cluster *cluster, unsigned node)
{
    char network[NODE_PATH_BYTES], management[NODE_PATH_BYTES], path[NODE_PATH_BYTES];
    node_path(network, node, "net.sock");
    node_path(management, node, "mgmt.sock");
    uint64_t deadline = clock_ms() + LAB_SPAWN_DEADLINE_MS;
    struct stat about;
    while (stat(network, &about) != 0 || stat(management, &about) != 0) {
        if (!qemu_running(node, NULL)) {
            char line[256];
            file_last_line(node_path(path, node, "qemu.log"), line, sizeof line);
            unlink(node_path(path, node, "qemu.pid"));
            return outcome_fail(OUTCOME_FAILED, "QEMU of node %u ended at once%s%s%s %s/node%u/qemu.log", node, line[0] != 0 ? ": " : "", line,
                                line[0] != 0 ? "; all it said is in" : " and left nothing in", cluster->shown, node);
        }
        if (clock_ms() > deadline) {
            return outcome_fail(OUTCOME_TIMED_OUT, "QEMU of node %u runs but has not opened its sockets in %d s; end it with: %s node "
                                "kill %s %u", node, LAB_SPAWN_DEADLINE_MS / 1000, command_name(), cluster->shown, node);
        }
        sleep_ms(5);
    }
    return OUTCOME_OK;
}

enum outcome qemu_start(const struct cluster *cluster, unsigned node, bool *for_all)
{
    *for_all = false;
    if (qemu_running(node, NULL)) {
        return OUTCOME_OK;
    }
    char kernel[PATH_MAX], qemu[PATH_MAX];
    enum outcome outcome = find_kernel(cluster, kernel);
    if (outcome == OUTCOME_OK) {
        outcome = find_qemu(cluster, qemu);
    }
    *for_all = outcome != OUTCOME_OK;
    if (outcome != OUTCOME_OK) {
        return outcome;
    }
    /* From here on, what was said of the last life is no longer why the node is down. */
    static const char *const stale[] = {"net.sock", "mgmt.sock", "note", "qemu.pid"};
    char path[NODE_PATH_BYTES];
    for (unsigned at = 0; at < sizeof stale / sizeof stale[0]; at++) {
        unlink(node_path(path, node, stale[at]));
    }
    bound_log(node, "node.log", LAB_LOG_BYTES_MAX);
    bound_log(node, "qemu.log", 0);     /* its last line is this life's, or there is none */
    outcome = check_files(cluster, node);
    if (outcome != OUTCOME_OK) {
        return outcome;
    }
    int error = launch(cluster, node, qemu, kernel);
    *for_all = error != 0;
    if (error == ENOENT) {
        return outcome_fail(OUTCOME_FAILED, "cannot start node %u: %s is not installed; QEMU is, after: apt-get install qemu-system-x86",
                            node, qemu);
    }
    if (error != 0) {
        return outcome_fail(OUTCOME_FAILED, "cannot start QEMU of node %u, %s: %s", node, qemu, strerror(error));
    }
    return wait_for_sockets(cluster, node);
}

bool qemu_running(unsigned node, pid_t *pid)
{
    char path[NODE_PATH_BYTES];
    return process_alive(node_path(path, node, "qemu.pid"), pid);
}

enum outcome qemu_end(const struct cluster *cluster, unsigned node, int signal_number, const char *note)
{
    unsigned first = node == 0 ? 1 : node;
    unsigned last = node == 0 ? cluster->nodes : node;
    char path[NODE_PATH_BYTES];
    bool was_running[LAB_NODES_MAX + 1] = {false};
    for (unsigned at = first; at <= last; at++) {
        was_running[at] = qemu_running(at, NULL);
        process_signal(node_path(path, at, "qemu.pid"), signal_number);
    }
    enum outcome outcome = OUTCOME_OK;
    for (unsigned at = first; at <= last; at++) {
        if (!process_end(node_path(path, at, "qemu.pid"), signal_number)) {
            outcome = outcome_fail(OUTCOME_FAILED, "QEMU of node %u does not end, not even by SIGKILL; look for what holds it", at);
            continue;
        }
        unlink(node_path(path, at, "net.sock"));
        unlink(node_path(path, at, "mgmt.sock"));
        if (was_running[at] && file_write(node_path(path, at, "note"), note, strlen(note)) != 0) {
            progress("cannot write %s/%s; status will not know why node %u is down", cluster->shown, path, at);
        }
    }
    return outcome;
}

void qemu_explain_absence(unsigned node, char *reason, size_t reason_bytes)
{
    char path[NODE_PATH_BYTES];
    char line[256];
    struct stat about;
    file_last_line(node_path(path, node, "note"), line, sizeof line);
    if (line[0] != 0) {
        snprintf(reason, reason_bytes, "%s", line);
    } else if (stat(node_path(path, node, "qemu.pid"), &about) == 0) {
        file_last_line(node_path(path, node, "qemu.log"), line, sizeof line);
        snprintf(reason, reason_bytes, "its QEMU is gone, and no command ended it%s%s", line[0] != 0 ? "; it said: " : "", line);
    } else {
        snprintf(reason, reason_bytes, "not started");
    }
}
