/* Making a cluster's folder, blanking a disk in it, and removing it. */
#ifndef EIDOLON_LAB_CREATE_H
#define EIDOLON_LAB_CREATE_H

#include "cluster-sim/lab_cluster.h"
#include "cluster-sim/lab_outcome.h"

struct create_options {
    const char *directory;
    unsigned nodes;                 /* 1, 3 or 5 */
    unsigned memory_mib;
    unsigned world_memory_mib;
    unsigned disk_mib;
    unsigned heartbeat_ms;
    unsigned election_timeout_ms;
};

/* Draw identity and keys of a new cluster and make its folder, all or nothing: it is built beside its place and renamed into it.
 * USAGE: a number that makes no cluster. FAILED: the folder exists, or the system refused; said, and nothing is left behind. */
MUST_CHECK enum outcome create_cluster(const struct create_options *options);

/* Make the disk of `node` blank. Its QEMU must be down (checked by the caller). FAILED: said; the old disk is still whole then. */
MUST_CHECK enum outcome create_blank_disk(const struct cluster *cluster, unsigned node);

/* Remove everything in the folder that is ours, and the folder if nothing else is in it. Its processes are gone (the caller's). */
MUST_CHECK enum outcome destroy_files(const struct cluster *cluster);

#endif
