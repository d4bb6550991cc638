/* One node's QEMU: its command line, its start and its end. Works in the cluster's folder, under cluster_lock. */
#ifndef EIDOLON_LAB_QEMU_H
#define EIDOLON_LAB_QEMU_H

#include <stdbool.h>
#include <sys/types.h>

#include "cluster-sim/lab_cluster.h"

/* Start the QEMU of `node` and return when its sockets listen. Already running: nothing happens.
 * FAILED: QEMU or the kernel is missing, a file of the node is, or QEMU ended at once; said with QEMU's own words. `*for_all`: it failed for what keeps
 * every node from starting, not this one. */
MUST_CHECK enum outcome qemu_start(const struct cluster *cluster, unsigned node, bool *for_all);

/* Is it running? `*pid` may be NULL. */
MUST_CHECK bool qemu_running(unsigned node, pid_t *pid);

/* End the QEMU of one node, or of all nodes (node 0) at the same time, and leave `note` as the reason that `status` tells.
 * FAILED: a process does not end; said. */
MUST_CHECK enum outcome qemu_end(const struct cluster *cluster, unsigned node, int signal_number, const char *note);

/* Why is the node's QEMU not running, in words. */
void qemu_explain_absence(unsigned node, char *reason, size_t reason_bytes);

#endif
