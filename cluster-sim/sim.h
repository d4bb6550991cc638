/* The simulator: a cluster of nodes in one process, in virtual time, from a seed.
 *
 * It drives the real replicate/, consensus/ and crypto/ code through the seam (include/machine.h) and replicate/node.h, as the kernel does. One
 * thread; no real time; everything random comes from the seed, so that the same seed and build give the same trace hash. Files: sim_main.c
 * options and runs; sim_core.c time, events, the trace; sim_node.c a node's life; sim_disk.c, sim_net.c models of the machine; sim_world.c the
 * program in the world; sim_client.c its clients outside and what they remember; sim_fault.c, sim_damage.c, sim_aim.c what goes wrong and when;
 * sim_check.c, sim_raft.c, sim_promise.c, sim_settle.c the invariants. */
#ifndef EIDOLON_CLUSTER_SIM_SIM_H
#define EIDOLON_CLUSTER_SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/boot_config.h"
#include "include/disk_format.h"
#include "include/machine.h"
#include "replicate/node.h"

enum {
    SIM_NODES_MAX = 5,
    SIM_DISK_BYTES = 64 << 20,      /* as small as a disk may be: its log is soon round */
    SIM_DISK_BYTES_MAX = 512 << 20, /* what `eidolon create` makes unless told */
    SIM_WORLD_BYTES = 16 << 20,
    SIM_LINK_WINDOW = 256 * 1024,
    SIM_CLIENTS = 3,
    SIM_KEYS = 16,
    SIM_TRACE_LINES = 600,
    SIM_BANNED_MAX = 64,
};

#define SIM_MS 1000000ull
#define SIM_SECOND 1000000000ull

/* Exit codes; 10 + k is invariant k. */
enum sim_invariant { SIM_GATE = 1, SIM_ONE_STORY, SIM_NO_TEAR, SIM_DURABLE, SIM_NO_AMNESIA, SIM_BOUND, SIM_VERIFY, SIM_IDLE, SIM_RAFT, SIM_LINEARIZABLE };
enum { SIM_EXIT_OK = 0, SIM_EXIT_USAGE = 1, SIM_EXIT_LIVENESS = 2, SIM_EXIT_CRASH = 3, SIM_EXIT_INVARIANT = 10 };

/* What can go wrong; a run enables a set of these bits. */
enum sim_fault {
    SIM_FAULT_CRASH,
    SIM_FAULT_CUT,
    SIM_FAULT_ONE_WAY,
    SIM_FAULT_FLAP,
    SIM_FAULT_FREEZE,
    SIM_FAULT_DISK_LOSS,
    SIM_FAULT_POWER,
    SIM_FAULT_LOSS,
    SIM_FAULT_MOVE,
    SIM_FAULT_DISK_ERROR,
    SIM_FAULT_FULL,
    SIM_FAULT_ROT,
    SIM_FAULT_LYING,
    SIM_FAULT_SLOW_DISK,
    SIM_FAULT_OLD_DISK,
    SIM_FAULT_ALTER,
    SIM_FAULT_CLOCK,
    SIM_FAULT_AIMED,
    SIM_FAULT_FLIP,
    SIM_FAULT_KINDS,
};
/* Not memory that flips: while its host is in doubt a cluster that loses a node, too, may take the wrong one's side. */
enum { SIM_FAULTS_ALL = ((1 << SIM_FAULT_KINDS) - 1) & ~(1 << SIM_FAULT_FLIP) };

struct sim;
struct sim_node;

typedef void sim_event_fn(struct sim *sim, void *context, uint64_t argument);

/* A write that a power cut may take back. */
struct sim_write {
    struct sim_write *next;          /* older */
    uint64_t offset;
    size_t bytes;
    uint64_t order;                  /* completions so far on this disk */
    uint8_t before[];                /* what stood there */
};

struct sim_disk {
    uint8_t *bytes;
    uint64_t ever_written[SIM_DISK_BYTES_MAX / 4096 / 64]; /* a bit for each block; the others are zero */
    uint8_t *older;                  /* a copy from a former day; NULL: none */
    uint64_t older_boot;             /* boot number when it was taken */
    uint64_t older_id;
    struct disk_superblock created;  /* as of the day of `create` */
    struct sim_write *unflushed;     /* newest first */
    uint64_t completed;
    uint64_t log_written, other_written, store_written; /* bytes; other: votes, superblocks */
    uint32_t outstanding;
    uint64_t slow_until_ns, errors_until_ns, full_until_ns; /* full: a block that was never written has no room */
    bool lying;                      /* flushes do nothing until the next power cut */
    bool error_told;                 /* in this life */
};

/* One direction of a link between two nodes on one lane: a FIFO of segments. */
struct sim_segment {
    struct sim_segment *next;
    size_t bytes;
    uint64_t due_ns;
    bool altered;
    uint8_t was_bytes, was[16];      /* what stood around an altered bit */
    uint64_t term;                   /* of the sender, when a bit of it was altered */
    uint8_t data[];
};

struct sim_pipe {
    struct sim_segment *first, *last;
    size_t queued;
    bool delivering;                 /* an event is scheduled */
};

struct sim_link {
    bool up;
    bool connecting;
    uint64_t life;                   /* grows with each link: events of an older one are void */
    uint64_t altered_ns;             /* altered bytes were delivered then; 0: never in this life */
    uint64_t altered_term;           /* of the message that has the altered bit, while the rest of it is still under way; 0: it is not */
    unsigned altered_to;             /* who gets it */
    struct sim_pipe pipes[2];        /* [0]: lower to higher number */
};

/* Moments in a node's life at which the power may go (sim_aim.c). */
enum sim_moment {
    SIM_MOMENT_VOTED,                /* it gave its vote to another node */
    SIM_MOMENT_ENTRIES,              /* entries came into its log, in memory */
    SIM_MOMENT_PART,                 /* of an epoch it has applied some parts and not all */
    SIM_MOMENT_RELEASED,             /* a frame left its gate */
    SIM_MOMENT_VOTE_WRITTEN,         /* a write completed, and is not flushed */
    SIM_MOMENT_LOG_WRITTEN,
    SIM_MOMENT_SUPERBLOCK_WRITTEN,
    SIM_MOMENT_PAGES_WRITTEN,
    SIM_MOMENTS,
};

/* What a node has told others, which its disk must show in every later life (sim_promise.c). */
struct sim_promise {
    uint64_t raft_id, life;          /* told by; looked at in that life */
    uint64_t boot;                   /* boot number that was presented */
    uint64_t term, vote;             /* a vote that left */
    uint64_t entry;                  /* acknowledged, and committed with its help */
    /* A vote that was cast and may still wait in the queue to its candidate, on a link of that life. */
    uint64_t cast_term, cast_vote, cast_link, cast_start;
    uint64_t seen_term, seen_vote;
};

struct sim_node {
    struct sim *sim;
    unsigned number;                 /* 1.. */
    struct machine machine;
    struct boot_config boot;
    struct node *node;               /* NULL: off */
    uint64_t life;                   /* grows with each boot */
    uint64_t frozen_until_ns;
    bool restart_asked;
    char restart_why[160];
    /* Its clock: machine time was clock_node_ns at simulated time clock_sim_ns, and runs drift_ppm faster since. */
    uint64_t clock_node_ns, clock_sim_ns;
    int64_t drift_ppm;
    uint8_t *memory;                 /* what its modules reserve; given back as a whole at power off */
    size_t memory_used;
    struct sim_disk disk;
    uint8_t **frames;
    uint8_t *rights;
    bool holds_address;
    uint64_t held_at_ns;
    uint64_t wake_ns;                /* of the scheduled wake; UINT64_MAX: none */
    uint64_t wake_generation;
    uint64_t entropy;

    /* What its disk should know, kept by the simulator. */
    bool damaged;                    /* its disk may have forgotten something: it counts as lost until it is a voter with everything again */
    bool rotten;                     /* damaged in places that it may not have looked at yet */
    uint64_t damaged_id;             /* raft id under which the damage was done */
    uint64_t known_last_index, known_id, known_boot; /* of its last life */

    /* Checkers. */
    uint64_t checked_commit, checked_epoch, checked_term, checked_first, checked_last, checked_start, checked_configuration,
        checked_superblock;
    bool was_leader, was_host;
    uint64_t flipped_life;           /* in which a bit of its memory flipped; 0: it is right again */
    struct sim_promise promise;
    uint64_t candidate_ns;           /* it raised its term last, by its clock; 0: not in this life */
    uint64_t turns;                  /* of its loop */
    uint64_t rots_at;                /* place of its log that rots as soon as its next life has recovered it; 0: none */
    uint64_t log_rotten_id;          /* raft id under which its log rotted where it must be noticed at the next start; 0: no */
};

struct sim_client {
    struct sim *sim;
    unsigned number;
    uint64_t sent;                   /* highest request id sent */
    uint64_t acknowledged;           /* highest request id answered */
    uint64_t floor;                  /* the highest sequence that anyone was told when `sent` was sent first */
    uint64_t retry_generation;
    uint64_t last_answer_ns;
    uint32_t burst;                  /* requests left of the present burst */
};

/* A request as the outside saw it done. */
struct sim_done {
    uint64_t client, request, previous, key; /* request 0: not seen */
};

struct sim_event {
    uint64_t at_ns;
    uint64_t order;
    sim_event_fn *function;
    void *context;
    uint64_t argument;
};

struct sim {
    uint64_t seed, random, now_ns, end_ns, event_order, trace_hash, events;
    unsigned node_count, faults;
    uint64_t disk_bytes;             /* of each node; at most SIM_DISK_BYTES_MAX */
    uint64_t fault_interval_ms;      /* mean */
    unsigned pause_ms;               /* between bursts of a client, at most */
    bool heavy;                      /* requests change much memory */
    bool late_rot;                   /* a log that rots where it must be noticed does so behind the recovery, before it is applied */
    bool plain;                      /* disks as `eidolon create` makes them, and no checkpoints but those that a full log asks for */
    uint64_t fill_step_ns;           /* what a step of reading an image from the disk takes, in which its node does nothing else */
    uint64_t checkpoint_interval_ms; /* mean, beyond those; 0: none */
    bool healed, quiet, verbose;
    struct sim_event *heap;
    size_t heap_count, heap_size;
    struct sim_node nodes[SIM_NODES_MAX + 1];
    struct sim_link links[SIM_NODES_MAX + 1][SIM_NODES_MAX + 1][MACHINE_LANES]; /* [lower][higher] */
    bool cut[SIM_NODES_MAX + 1][SIM_NODES_MAX + 1];                             /* [from][to]; 0 is the outside */
    uint64_t alter_until_ns;
    size_t alter_once_bytes;         /* the next segment of so many bytes is altered, and no other; 0: none */
    struct {
        enum sim_moment moment;
        unsigned node;               /* whose; 0: anyone's */
        unsigned skip;               /* so many such moments pass first */
        uint64_t until_ns;           /* 0: not armed */
    } aim;
    bool flip_awaits_host;           /* a bit flips in the memory of whoever resumes the world next */
    struct sim_client clients[SIM_CLIENTS];
    struct sim_done *history;        /* by sequence, as it left a gate */
    size_t history_count;
    uint64_t released, told;         /* highest sequence that left a gate; that a client received */
    uint64_t *digests;               /* by epoch */
    size_t digest_count;
    uint64_t term_newest, term_led;  /* that anyone was in; that anyone led */
    uint64_t *term_leaders;          /* by term */
    size_t term_count;
    uint64_t *committed_terms;       /* by Raft index */
    size_t committed_count;
    uint64_t committed_index;        /* highest that any node called committed */
    /* Raft ids whose disk was lost, and who knew of it: the other nodes as they were. Who joined later learns all from those, and may be deceived. */
    struct sim_ban {
        uint64_t raft_id, witnesses[SIM_NODES_MAX + 1];
    } bans[SIM_BANNED_MAX];
    unsigned ban_count;
    uint64_t injected[SIM_FAULT_KINDS];
    uint64_t delta_bytes;            /* captured by lives that have ended */
    char *lines[SIM_TRACE_LINES];
    unsigned line_next;
    int failed;                      /* exit code; 0: none yet */
    char failure[512];
};

/* -- sim_core.c -- */
uint64_t sim_random(struct sim *sim);
uint64_t sim_below(struct sim *sim, uint64_t bound);            /* 0..bound-1; 0 for bound 0 */
bool sim_chance(struct sim *sim, unsigned percent);
void sim_at(struct sim *sim, uint64_t delay_ns, sim_event_fn *function, void *context, uint64_t argument);
void sim_note(struct sim *sim, unsigned node, const char *format, ...) __attribute__((format(printf, 3, 4)));
void sim_fail(struct sim *sim, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
void sim_print_timeline(const struct sim *sim);
/* Reports a run that ends the process by a fault of the code. */
_Noreturn void sim_crashed(const char *what);
/* The element of a growing table of zeroed elements. */
void *sim_slot(void *table, size_t *count, uint64_t index, size_t element_bytes);
void sim_run_until(struct sim *sim, uint64_t end_ns);

/* -- sim_main.c: a run -- */
void sim_create(struct sim *sim, uint64_t seed, unsigned nodes, uint64_t minutes);
void sim_run(struct sim *sim);
void sim_destroy(struct sim *sim);

/* -- sim_node.c -- */
void sim_node_create(struct sim *sim, unsigned number);
void sim_node_destroy(struct sim_node *node);
void sim_boot(struct sim_node *node);
void sim_power_off(struct sim_node *node);
/* Captured in its present life. */
uint64_t sim_delta_bytes(const struct sim_node *node);
/* Boot it after a while, if nothing else happened to it. */
void sim_boot_later(struct sim_node *node, uint64_t delay_ns);
void sim_wake(struct sim_node *node, uint64_t delay_ns);
bool sim_alive(const struct sim_node *node);
bool sim_serving(const struct sim_node *node);                  /* alive, and its group has started */
uint64_t sim_node_time(const struct sim_node *node);
void sim_clock_change(struct sim_node *node, uint64_t jump_ns, int64_t drift_ppm);

/* -- sim_disk.c -- */
void sim_disk_create(struct sim_node *node, const uint64_t *incarnations);
void sim_disk_attach(struct sim_node *node);
void sim_disk_power_cut(struct sim_node *node);
void sim_disk_lose(struct sim_node *node);
void sim_disk_recreate(struct sim_node *node);                  /* as on the day of `create` */
void sim_disk_keep_copy(struct sim_node *node);
void sim_disk_put_back(struct sim_node *node);
void sim_disk_rot(struct sim_node *node);                       /* a bit flipped, or a block that stands in another's place */
void sim_disk_flip(struct sim_node *node, uint64_t place);      /* a bit of the byte there */
void sim_disk_destroy(struct sim_node *node);

/* -- sim_net.c -- */
void sim_net_attach(struct sim_node *node);
void sim_net_node_off(struct sim_node *node);
void sim_net_connect_all(struct sim_node *node);
void sim_net_path_changed(struct sim *sim);
/* The life of the link between two nodes; 0: it is down. */
uint64_t sim_link_life(struct sim *sim, unsigned a, unsigned b, unsigned lane);
void sim_net_check(struct sim *sim);
void sim_net_destroy(struct sim *sim);

/* -- sim_world.c -- */
/* A frame to or from the program: a request has sequence and previous 0. */
struct sim_frame {
    uint8_t ethernet[14];
    uint8_t padding[2];
    uint64_t client, request, sequence, previous, sum;
};
/* What the program keeps at the base of its heap. */
struct sim_state {
    uint64_t sequence;               /* requests done */
    uint64_t last[SIM_CLIENTS];      /* request done last, of each client */
    uint64_t last_sequence[SIM_CLIENTS];
    uint64_t last_previous[SIM_CLIENTS];
    uint64_t keys[SIM_KEYS];         /* the sequence that wrote each key last */
};
extern const uint8_t sim_world_elf[];
size_t sim_world_elf_bytes(void);
void sim_world_attach(struct sim_node *node);
/* Run the program for a bounded number of steps. Returns the virtual time that it took. */
uint64_t sim_world_run(struct sim_node *node);
uint64_t sim_frame_sum(const struct sim_frame *frame);
uint64_t sim_request_key(uint64_t client, uint64_t request);
/* The program's state in the node's image; false: not born there. */
bool sim_world_state(struct sim_node *node, struct sim_state *out);

/* -- sim_client.c -- */
void sim_clients_start(struct sim *sim);
/* Of the clients that rest, some begin a burst now. */
void sim_clients_rouse(struct sim *sim, unsigned percent);
void sim_world_frame_out(struct sim_node *node, const void *frame, size_t bytes);

/* -- sim_fault.c -- */
void sim_faults_start(struct sim *sim);
void sim_faults_heal(struct sim *sim);
/* Nodes are asked for checkpoints now and then: by itself a log of this size asks for few, and each start would play all of it again. */
void sim_checkpoints_start(struct sim *sim);
void sim_want_checkpoint(struct sim_node *node);
struct sim_node *sim_host(struct sim *sim);                     /* NULL: nobody leads */
void sim_cut(struct sim *sim, unsigned from, unsigned to, uint64_t duration_ns);
void sim_crash(struct sim_node *node, uint64_t off_ns);
bool sim_parse_faults(const char *list, unsigned *out);
void sim_print_faults(const struct sim *sim);

/* -- sim_damage.c: faults that make a disk forget -- */
void sim_damage(struct sim *sim, enum sim_fault kind);
void sim_resumed(struct sim_node *node);
/* It has another image than all others no more. */
void sim_flip_mended(struct sim_node *node);
/* Has the node everything again? Then it is not damaged any more. */
void sim_damage_review(struct sim_node *node);
/* Boot the node now, or as soon as the others have everything that it acknowledged. */
void sim_return(struct sim_node *node);

/* -- sim_aim.c: power cuts at a moment -- */
/* Choose a moment, and make it likely to come. */
void sim_aim(struct sim *sim);
void sim_moment(struct sim_node *node, enum sim_moment moment);
void sim_aim_written(struct sim_node *node, uint64_t offset);
void sim_aim_released(struct sim_node *node);

/* -- sim_check.c -- */
void sim_check_node(struct sim_node *node);

/* -- sim_raft.c -- */
void sim_check_raft(struct sim_node *node);

/* -- sim_promise.c -- */
void sim_check_promises(struct sim_node *node);

/* -- sim_settle.c: after all faults healed -- */
bool sim_check_settled(struct sim *sim);
void sim_check_quiet(struct sim *sim);

#endif
