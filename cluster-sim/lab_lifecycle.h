/* Starting and ending: the whole cluster, one node, the background process. Works in the cluster's folder. */
#ifndef EIDOLON_LAB_LIFECYCLE_H
#define EIDOLON_LAB_LIFECYCLE_H

#include "cluster-sim/lab_cluster.h"

/* Start what is not running (background process, nodes) and wait until the world's terminal answers.
 * TIMED_OUT: it did not in `timeout_s`; what runs goes on. NO_QUORUM: no majority of nodes can take part; what runs goes on.
 * FAILED: something cannot be started; said. */
MUST_CHECK enum outcome lifecycle_start(struct cluster *cluster, unsigned timeout_s);

/* End all nodes, then the background process. Everything is resumable. */
MUST_CHECK enum outcome lifecycle_stop(struct cluster *cluster);

/* Stop, then remove the folder. */
MUST_CHECK enum outcome lifecycle_destroy(struct cluster *cluster);

MUST_CHECK enum outcome lifecycle_node_start(struct cluster *cluster, unsigned node);
MUST_CHECK enum outcome lifecycle_node_stop(struct cluster *cluster, unsigned node);
MUST_CHECK enum outcome lifecycle_node_kill(struct cluster *cluster, unsigned node);
MUST_CHECK enum outcome lifecycle_node_lose_disk(struct cluster *cluster, unsigned node);

#endif
