/* Whole nodes (replicate/node) on fake machines: disks that forget, links that the cluster delivers, and a program in the world that counts.
 *
 * The program fills a page with its count, then counts on; before, it looks at the page that it filled last (NO-TEAR). Each committed epoch's digest is
 * remembered: no node may ever show another one (ONE-STORY), and what a host called committed is never lost (DURABLE): checked after each turn, by
 * assertion. A turn is a millisecond. A node that asks to be restarted is, as after a power cut. */
#ifndef EIDOLON_TESTS_NODE_CLUSTER_H
#define EIDOLON_TESTS_NODE_CLUSTER_H

#include "include/boot_config.h"
#include "replicate/node_internal.h"
#include "tests/unit/support/fake_links.h"

enum {
    NODES_MAX = 3,
    NODES_WORLD_BYTES = 16 << 20,
    NODES_DISK_BYTES = 64 << 20,
    NODES_EPOCHS_MAX = 1 << 16,
    NODES_LINES = 48,
    NODES_WORK_PAGES = 12,
};

struct nodes;

struct nodes_node {
    struct nodes *nodes;
    unsigned number;
    struct fake_machine fake;
    struct boot_config boot;
    struct node *node;                /* NULL: off */
    bool restart_asked;
    unsigned restarts, restart_in;    /* turns until it boots again */
    char lines[NODES_LINES][400];     /* what it logged last, also in former lives */
    unsigned line_count, errors;      /* errors: lines of LOG_ERROR, in all */
    bool create_failed;               /* node_create said no, in this life: `reason` */
    char reason[REASON_BYTES_MAX];
};

struct nodes {
    unsigned count;
    struct fake_links links;
    struct nodes_node node[NODES_MAX + 1];
    bool asleep;                      /* the program waits, until its node starts again */
    uint64_t digests[NODES_EPOCHS_MAX];
    uint64_t committed;               /* the highest epoch that a host called committed */
};

/* Disks as `create` makes them; all off. */
struct nodes *nodes_create(unsigned count, uint64_t seed);
void nodes_destroy(struct nodes *nodes);
void nodes_power_on(struct nodes_node *node);
void nodes_power_cut(struct nodes_node *node);
void nodes_turn(struct nodes *nodes);
/* Up to `turns` of them, until `done` (NULL: all of them). False: it never was. */
bool nodes_run(struct nodes *nodes, unsigned turns, bool (*done)(const struct nodes *nodes));
/* Takes part, and its image is there? */
bool nodes_serving(const struct nodes_node *node);
/* It takes no part, or is off, until somebody starts it again: its disk failed, or its machine had not enough memory. */
bool nodes_needs_care(const struct nodes_node *node);
/* All on are voters that serve, with the same image, not older than what was committed; one hosts. */
bool nodes_whole(const struct nodes *nodes);
struct nodes_node *nodes_host(struct nodes *nodes); /* NULL: none */
uint64_t nodes_raft_id(const struct nodes_node *node);
/* Did it log a line with this text? */
bool nodes_said(const struct nodes_node *node, const char *text);
void nodes_forget_lines(struct nodes_node *node);

#endif
