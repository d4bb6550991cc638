/* A cluster's folder: what is in it, and how a command finds it.
 *
 *   DIR/cluster            what `create` was told, one `key value` a line; never changes
 *   DIR/lock               held by a command that starts or stops processes
 *   DIR/network            forwards and cuts, so that a new background process takes over those of a dead one
 *   DIR/switch.pid .log    the background process (lab_background.h)
 *   DIR/control.sock       its control socket; DIR/port.sock: a way into the switch
 *   DIR/nodeN/boot.conf disk.img         what the node is
 *   DIR/nodeN/qemu.pid qemu.log node.log note    its QEMU, what it said since its start, what the node said, who stopped it last; .log.1: before that
 *   DIR/nodeN/net.sock mgmt.sock         its network card and its management port
 *
 * Every process of ours works inside DIR and names these files relative to it: Unix socket paths are limited to 108 bytes. */
#ifndef EIDOLON_LAB_CLUSTER_H
#define EIDOLON_LAB_CLUSTER_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster-sim/lab_limits.h"
#include "cluster-sim/lab_outcome.h"

enum { CLUSTER_ID_BYTES = 16, NODE_PATH_BYTES = 64 };

struct cluster {
    char shown[PATH_MAX];        /* the folder as the user wrote it, quoted for a shell if it must be: for messages */
    char directory[PATH_MAX];    /* the same, absolute; also the working directory */
    char caller[PATH_MAX];       /* where the command was called: relative paths of arguments start here */
    uint8_t id[CLUSTER_ID_BYTES];
    unsigned nodes;
    unsigned memory_mib;
    unsigned world_memory_mib;
    unsigned disk_mib;
    int lock;                    /* descriptor, -1: not held */
};

/* The addresses of every cluster's own network, 10.77.0.0/24. */
#define LAB_WORLD_ADDRESS "10.77.0.100"
enum { LAB_WORLD_TERMINAL_PORT = 7000 };
void lab_node_address(unsigned node, uint8_t address[4]);
void lab_node_mac(unsigned node, uint8_t mac[6]);
extern const uint8_t lab_world_mac[6];
extern const uint8_t lab_world_address[4];
extern const uint8_t lab_gateway_address[4];
extern const uint8_t lab_netmask[4];

/* Read the cluster in `directory` and make it the working directory.
 * NOT_FOUND: there is none. FAILED: it is damaged or not readable; said. */
MUST_CHECK enum outcome cluster_enter(struct cluster *cluster, const char *directory);

/* Write the file `cluster` of `cluster` as `path`. Returns 0 or an errno value. */
MUST_CHECK int cluster_write(const struct cluster *cluster, const char *path);

/* Be the only command that starts or stops processes of this cluster, until the command ends or cluster_unlock.
 * TIMED_OUT: another one is at work; said. */
MUST_CHECK enum outcome cluster_lock(struct cluster *cluster);
void cluster_unlock(struct cluster *cluster);

/* A node number in `text`. USAGE: not a number. NOT_FOUND: the cluster has no such node; said. */
MUST_CHECK enum outcome cluster_parse_node(const struct cluster *cluster, const char *text, unsigned *node);

/* `nodeN/file` in `path`; returns `path`. */
const char *node_path(char path[NODE_PATH_BYTES], unsigned node, const char *file);

/* `path` as the caller meant it, absolute. False: too long. */
MUST_CHECK bool cluster_resolve(const struct cluster *cluster, const char *path, char resolved[PATH_MAX]);

#endif
