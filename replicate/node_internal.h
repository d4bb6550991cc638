/* What the files of replicate/node share. Nobody else includes this. */
#ifndef EIDOLON_REPLICATE_NODE_INTERNAL_H
#define EIDOLON_REPLICATE_NODE_INTERNAL_H

#include "consensus/group.h"
#include "consensus/peers.h"
#include "crypto/identity.h"
#include "crypto/seal.h"
#include "replicate/agreement.h"
#include "replicate/catchup.h"
#include "replicate/limits.h"
#include "replicate/node.h"
#include "replicate/store.h"
#include "replicate/world.h"

/* A planned move, as the node that hosted sees it (table in node_move.c). */
enum move_state { MOVE_IDLE, MOVE_APPROACHING, MOVE_DRAINING, MOVE_TRANSFERRING, MOVE_AWAY, MOVE_DONE, MOVE_FAILED };

struct move {
    enum move_state state;
    unsigned target;
    uint64_t started_ns;
    uint64_t paused_ns;               /* when the world was stopped for the present try */
    uint64_t stopped_ns;              /* how long the world stood still, once DONE */
    bool resumed_early;               /* the target said that it resumed the world; this node still led */
    char reason[120];
};

/* A standby to its host: what the log tells gives `digest` here. */
struct node_contradiction {
    uint64_t epoch, digest;
};

/* The measurement that the management port asked for (node_probe.c). */
enum probe_kind {
    PROBE_ENTRY,
    PROBE_FLUSH,
    PROBE_FAULT,
    PROBE_COPY,
    PROBE_COMPARE,
    PROBE_HASH,
    PROBE_SEAL,
    PROBE_OPEN,
    PROBE_MEMCPY,
    PROBE_MEMCMP,
    PROBE_CLOCK,
    PROBE_ECHO,
    PROBE_STREAM,
    PROBE_WRITE,
    PROBE_BULK,
    PROBE_READ,
    PROBE_GAP,
    PROBE_KINDS,
};
enum probe_state { PROBE_NONE, PROBE_RUNNING, PROBE_DONE, PROBE_FAILED };

struct probe {
    enum probe_state state;
    enum probe_kind kind;
    uint32_t samples;                 /* wanted */
    uint64_t number;                  /* of the echo under way; 0: none */
    uint64_t last_number;             /* never used again, so that a late answer is nobody's */
    unsigned peer;
    uint32_t sent;                    /* messages of the stream under way */
    uint32_t outstanding;             /* writes and flushes under way at the disk */
    bool failed;                      /* one of them */
    uint64_t read_offset;
    uint64_t began_ns;
    uint64_t checksum;                /* so that no compiler leaves the work out */
    struct histogram times;
    struct block_request requests[NODE_PROBE_REQUESTS];
    uint8_t tag[16];                  /* of the sealed page that is opened */
    uint8_t *pages;                   /* PROBE_PAGES; reserved at creation */
};

struct node {
    const struct machine *machine;
    const struct boot_config *boot;
    struct seal_keys keys;
    struct identity identity;
    struct store *store;
    struct world *world;
    struct peers *peers;
    struct group *group;
    struct catchup *catchup;
    uint64_t started_ns;

    enum store_disk disk;
    char disk_reason[320];
    uint64_t damaged_id;              /* what the hello shows while the corrupt disk awaits its repair; 0: it does not */
    char last_words[NODE_LAST_WORDS_BYTES];

    bool filling;                     /* the image is not yet the checkpoint's */
    bool leading;                     /* the group says: lead; the world resumes when the image is filled */
    bool restarting;                  /* machine->restart was called: nothing is done any more */

    /* The epoch being assembled from its parts (standby). */
    uint64_t assembly_epoch;
    uint32_t assembly_parts, assembly_next;
    size_t assembly_bytes;
    uint64_t assembly_open_ns;        /* spent opening its parts' seals */
    struct histogram open_times;      /* the same, of epochs that were applied */
    struct checkpoint assembly_start; /* only what the group says of it: the last entry before its first part */

    bool checkpoint_wanted;
    uint64_t checkpoint_retry_ns;

    uint32_t scrub_page;
    uint64_t scrub_ns;

    struct move move;
    struct probe probe;

    struct agreement agreement;
    struct node_contradiction contradiction; /* of the host, by us; epoch 0: none */
    uint32_t contradiction_sent;      /* times */
    uint64_t contradiction_ns;        /* when it is sent next */
};

void node_log(const struct node *node, enum log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));
void node_restart(struct node *node, const char *why);
uint64_t node_now_ns(const struct node *node);
/* The number of the node that leads the group, as far as is known here; 0: none. */
unsigned node_leader(const struct node *node);
/* node_disk.c */
void node_open_disk(struct node *node);
/* The disk is damaged, `damage` says where: take no part and leave it as it is, until a leader says that a majority does without this node. */
void node_await_repair(struct node *node, const char *damage);
bool node_awaits_repair(const struct node *node);
/* A majority that does without this node is there: what its disk still has is needed no more. */
void node_repair(struct node *node);
/* Give the disk's incarnation up and start anew as a stranger. Others have said that they can do without it. */
void node_become_stranger(struct node *node, const char *why);
/* Take no part any more until this node is started again, and leave the disk as it is: `format` says why. */
void node_stand_aside(struct node *node, enum store_disk disk, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The image is what the checkpoint says: from now on it is read, some pages a step. */
void node_begin_filling(struct node *node);
void node_fill_step(struct node *node);
/* node_checkpoint.c */
void node_want_checkpoint(void *node); /* group_ops, catchup_config */
void node_checkpoint_tick(struct node *node);
/* node_agreement.c */
void node_agreement_tick(struct node *node);
void node_agreement_applied(struct node *node, bool contradicts);
MUST_CHECK enum status node_agreement_message(struct node *node, unsigned peer, const struct peers_message *message);
uint64_t node_agreement_deadline_ns(const struct node *node);
/* node_apply.c: the group's callbacks. */
struct group_ops node_group_ops(struct node *node);
/* node_move.c */
int64_t node_move_request(struct node *node, uint64_t target);
void node_move_tick(struct node *node);
void node_move_lost(struct node *node);
void node_move_resumed(struct node *node, unsigned peer);
uint64_t node_move_deadline_ns(const struct node *node);
/* node_probe.c */
MUST_CHECK enum status node_probe_create(struct node *node);
/* UNSUPPORTED: this machine cannot measure that. NOT_FOUND: no such probe. INVALID: the number of samples. BUSY: one is under way. */
MUST_CHECK enum status node_probe_begin(struct node *node, const char *name, uint64_t samples);
void node_probe_tick(struct node *node);
uint64_t node_probe_deadline_ns(const struct node *node);
void node_probe_peer_down(struct node *node, unsigned peer);
/* A peer asks for its number back, or sends ours. INVALID. */
MUST_CHECK enum status node_probe_message(struct node *node, unsigned peer, const struct peers_message *message);
const char *node_probe_name(enum probe_kind kind);
uint32_t node_probe_batch(enum probe_kind kind);

#endif
