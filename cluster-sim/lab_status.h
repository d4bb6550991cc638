/* The state of a cluster: asked of every node over its management port at the same time, then judged.
 *
 * A node that is down or silent is listed like any other, with the reason in words. Nodes are asked through the background process, or
 * directly when there is none. */
#ifndef EIDOLON_LAB_STATUS_H
#define EIDOLON_LAB_STATUS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cluster-sim/lab_cluster.h"

enum cluster_state { CLUSTER_OK, CLUSTER_DEGRADED, CLUSTER_NO_QUORUM, CLUSTER_STOPPED };
enum node_state { NODE_DOWN, NODE_JOINING, NODE_UP };

enum { STATUS_WORD_BYTES = 32, STATUS_REASON_BYTES = 320 };

struct node_peer {
    bool known;
    bool link;
};

struct node_status {
    enum node_state state;
    pid_t pid;                               /* 0: no QEMU */
    bool answered;                           /* its management port did; what follows is then set */
    char reason[STATUS_REASON_BYTES];        /* why it is not well; empty if it is */
    char role[STATUS_WORD_BYTES];
    uint64_t term;
    uint64_t commit_index;
    uint64_t leader;                         /* node number, 0: knows none */
    bool voter;
    bool majority;
    char incarnation[STATUS_WORD_BYTES];
    uint64_t boot;
    char disk_state[STATUS_WORD_BYTES];
    struct node_peer peers[LAB_NODES_MAX + 1];
    char world_name[STATUS_WORD_BYTES];
    char world_state[STATUS_WORD_BYTES];
    bool world_host;
    uint64_t world_epoch;
    uint64_t world_committed;
    uint64_t world_resumed;
    char world_digest[STATUS_WORD_BYTES];
    char world_reason[STATUS_REASON_BYTES];
    char move_state[STATUS_WORD_BYTES];
    uint64_t move_stopped_us;
    char move_reason[STATUS_REASON_BYTES];
    char last_words[STATUS_REASON_BYTES];
};

struct cluster_status {
    enum cluster_state state;
    bool background_alive;                   /* the background process answers */
    bool background_runs;                    /* ... or its process is there at least */
    unsigned attach_port;                    /* of 127.0.0.1, for the world's terminal; 0: none */
    char faults[LAB_FAULTS_BYTES];           /* cuts in words; empty: none */
    unsigned leader;                         /* node that leads a majority; 0: none */
    unsigned host;                           /* node that runs the world; 0: none */
    char world_state[STATUS_WORD_BYTES];
    char world_reason[STATUS_REASON_BYTES];
    struct node_status nodes[LAB_NODES_MAX + 1];   /* [node number] */
};

/* Ask and judge; takes at most LAB_STATUS_DEADLINE_MS longer than the slowest node that answers. Prints nothing. */
void status_collect(const struct cluster *cluster, struct cluster_status *status);

/* The exit code that stands for the state. A stopped cluster has no quorum. */
enum outcome status_outcome(const struct cluster_status *status);

const char *cluster_state_name(enum cluster_state state);
const char *node_state_name(enum node_state state);

/* Print to stdout. */
void status_print_table(const struct cluster *cluster, const struct cluster_status *status);
void status_print_json(const struct cluster *cluster, const struct cluster_status *status);

/* Collect until the world is there, at most LAB_ELECTION_WAIT_MS, or until clock_ms() is `deadline_ms` (0: none), and only while a majority of nodes runs at
 * all: in the middle of a takeover no node leads. Then as status_require_world. */
MUST_CHECK enum outcome status_await_world(const struct cluster *cluster, struct cluster_status *status, const char *what, uint64_t deadline_ms);

/* The world is needed for `what` and is not there: say why and what to do. Returns the outcome; OK if it is there. */
MUST_CHECK enum outcome status_require_world(const struct cluster *cluster, const struct cluster_status *status, const char *what);

#endif
