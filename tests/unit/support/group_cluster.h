/* Groups of several nodes in one process, in virtual time: fake machines, real peers over fake links, a state machine that hashes what it is given, and a
 * checkpoint store that is only a copy. Every entry that any node applies is compared with what the others applied at that index. */
#ifndef EIDOLON_TESTS_GROUP_CLUSTER_H
#define EIDOLON_TESTS_GROUP_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>

#include "consensus/group.h"
#include "consensus/peers.h"
#include "crypto/identity.h"
#include "include/boot_config.h"
#include "include/disk_format.h"
#include "tests/unit/support/fake_links.h"

enum { CLUSTER_NODES_MAX = 5, CLUSTER_HISTORY = 1 << 17, CLUSTER_ELECTION_MS = 100, CLUSTER_HEARTBEAT_MS = 20 };

struct cluster_node {
    struct cluster *cluster;
    unsigned number;
    struct fake_machine fake;
    struct boot_config boot;
    struct identity identity;
    struct peers *peers;
    struct group *group;
    bool on;                        /* powered */
    bool stalled_disk;              /* its disk completes nothing */
    bool start_wanted;
    enum status start_status;
    char reason[REASON_BYTES_MAX];

    /* What the store would hold. */
    struct disk_superblock superblock;
    uint64_t checkpoint_state;

    uint64_t state;                 /* hash of all that was applied */
    uint64_t applied_index;
    unsigned applied_count, own_count;
    bool own_parts;                 /* of an epoch of its own the first parts were applied: if it is deposed, they never were */
    uint64_t state_before_parts, index_before_parts;
    bool busy;                      /* apply says BUSY */
    uint64_t apply_cost_ns;         /* what applying an entry takes */
    bool leads;
    unsigned lead_count, lost_count, removed_count, damaged_count, install_count;
    bool auto_checkpoint;
    bool sends_no_snapshot;
    uint64_t snapshot_for;          /* raft id that needs one; 0: none */
};

struct cluster {
    struct fake_links links;
    unsigned count;
    uint64_t seed;
    uint64_t ms;
    struct seal_keys keys;
    uint8_t identities[CLUSTER_NODES_MAX][IDENTITY_PUBLIC_BYTES];
    bool cut[CLUSTER_NODES_MAX + 1][CLUSTER_NODES_MAX + 1];
    struct cluster_node nodes[CLUSTER_NODES_MAX + 1];
    uint64_t history[CLUSTER_HISTORY]; /* hash of the entry applied at each index; 0: none */
    uint64_t next_epoch;
    bool lies;                         /* a node is a rogue: what is applied is not compared */
};

/* `count` nodes with disks that may start a cluster, powered on. */
struct cluster *cluster_create(unsigned count, uint64_t seed);
void cluster_destroy(struct cluster *cluster);

/* ... with a leader. */
struct cluster *cluster_elected(unsigned count, uint64_t seed);

/* Let time pass, millisecond by millisecond. */
void cluster_run(struct cluster *cluster, unsigned ms);
/* Until `condition`, at most `ms`; false: it did not come. */
bool cluster_until(struct cluster *cluster, bool (*condition)(struct cluster *), unsigned ms);
/* The node that leads and was told so; NULL: none, or it is not unique. */
struct cluster_node *cluster_leader(struct cluster *cluster);
bool cluster_has_leader(struct cluster *cluster);
/* All nodes that are on have applied the same, up to the leader's last entry. */
bool cluster_agrees(struct cluster *cluster);
/* ... and all nodes of the cluster are on and voters. */
bool cluster_is_whole(struct cluster *cluster);

/* A node other than `leader`, after `skip` others. */
struct cluster_node *cluster_follower(struct cluster *cluster, const struct cluster_node *leader, unsigned skip);
/* The cluster comes back to a leader, all nodes on, all voters, all with the same state; and it still commits. */
bool cluster_heals(struct cluster *cluster);

/* Submit up to `count` entries; a millisecond passes for each that is not taken. */
void cluster_submit_some(struct cluster *cluster, unsigned count, uint32_t bytes);
/* Submit an entry with a sealed body of `bytes` random bytes. */
enum status cluster_submit(struct cluster_node *leader, uint32_t bytes, uint64_t *index);
/* ... that is part `part` of `parts` of epoch `epoch`. */
enum status cluster_submit_part(struct cluster_node *leader, uint64_t epoch, uint32_t part, uint32_t parts, uint32_t bytes, uint64_t *index);
void cluster_checkpoint(struct cluster_node *node);

void cluster_power_cut(struct cluster_node *node);
void cluster_power_on(struct cluster_node *node);
/* The (powered off) node gets a blank disk. */
void cluster_blank_disk(struct cluster_node *node);
/* Take the link between two nodes away, or give it back. */
void cluster_cut(struct cluster *cluster, unsigned a, unsigned b, bool cut);
void cluster_isolate(struct cluster *cluster, unsigned node, bool cut);

struct group_facts cluster_facts(const struct cluster_node *node);

#endif
