/* Disk images and boot configurations: what `create` writes for each node, in the formats that the kernel reads. */
#ifndef EIDOLON_LAB_DISK_H
#define EIDOLON_LAB_DISK_H

#include <stdint.h>

#include "cluster-sim/lab_cluster.h"

/* The secrets and identities of a cluster while it is made. Wipe with explicit_bzero. */
struct cluster_secrets {
    uint8_t sealing_key[32];
    uint8_t identity_seeds[LAB_NODES_MAX][32];
    uint8_t identities[LAB_NODES_MAX][32];
    uint64_t incarnations[LAB_NODES_MAX];
    uint32_t heartbeat_ms;
    uint32_t election_timeout_ms;
};

/* Draw everything from the system's entropy. Returns 0 or an errno value. */
MUST_CHECK int secrets_draw(struct cluster_secrets *secrets, unsigned nodes);

/* Write the boot configuration of `node`. Returns 0 or an errno value. */
MUST_CHECK int disk_write_boot_configuration(const struct cluster *cluster, const struct cluster_secrets *secrets, unsigned node,
                                             const char *path);

/* Write a sparse image that may start the cluster: superblock 0, all else zero. Returns 0 or an errno value. */
MUST_CHECK int disk_write_first(const struct cluster *cluster, const struct cluster_secrets *secrets, unsigned node, const char *path);

/* Write a sparse image of zeros. Returns 0 or an errno value. */
MUST_CHECK int disk_write_blank(const struct cluster *cluster, const char *path);

/* Is the boot configuration at `path` whole, and that of `node` of this cluster? It is checked by the kernel too; here so that the user
 * reads a sentence. Returns NULL, or what is wrong with it. */
const char *disk_check_boot_configuration(const struct cluster *cluster, unsigned node, const char *path);

#endif
