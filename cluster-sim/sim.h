/* The simulator: a cluster of nodes in one process, in virtual time, from a seed.
 *
 * It drives the real replicate/, consensus/ and crypto/ code through the seam (include/machine.h) and replicate/node.h, as the kernel does. One
 * thread; no real time; everything random comes from the seed, so that the same seed and build give the same trace hash. Files: sim_main.c
 * options and runs; sim_core.c time, events, node life; sim_disk.c, sim_net.c models of the machine; sim_world.c the program in the world and its
 * client outside; sim_fault.c what goes wrong and when; sim_check.c the invariants. */
#ifndef EIDOLON_CLUSTER_SIM_SIM_H
#define EIDOLON_CLUSTER_SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/boot_config.h"
#include "include/machine.h"
#include "replicate/node.h"

enum {
    SIM_NODES_MAX = 5,
    SIM_DISK_BYTES = 96 << 20,
    SIM_WORLD_BYTES = 16 << 20,
    SIM_LINK_WINDOW = 256 * 1024,
    SIM_CLIENTS = 3,
    SIM_TRACE_LINES = 400,
};

/* Exit codes; 10 + k is invariant k. */
enum sim_invariant { SIM_GATE = 1, SIM_ONE_STORY, SIM_NO_TEAR, SIM_DURABLE, SIM_NO_AMNESIA, SIM_BOUND, SIM_VERIFY, SIM_IDLE, SIM_RAFT };
enum { SIM_EXIT_OK = 0, SIM_EXIT_USAGE = 1, SIM_EXIT_LIVENESS = 2, SIM_EXIT_CRASH = 3, SIM_EXIT_INVARIANT = 10 };

enum { SIM_FAULT_CRASH = 1, SIM_FAULT_CUT = 2, SIM_FAULT_ONE_WAY = 4, SIM_FAULT_FREEZE = 8, SIM_FAULT_DISK_LOSS = 16, SIM_FAULT_POWER = 32,
       SIM_FAULT_LOSS = 64, SIM_FAULT_MOVE = 128, SIM_FAULT_ALL = 255 };

struct sim;
struct sim_node;

typedef void sim_event_fn(struct sim *sim, void *context, uint64_t argument);

/* A write that a power cut may take back. */
struct sim_write {
    struct sim_write *next;          /* older */
    uint64_t offset;
    size_t bytes;
    uint8_t *before;                 /* what stood there */
    uint64_t order;                  /* completions so far on this disk */
};

struct sim_disk {
    uint8_t *bytes;
    struct sim_write *unflushed;     /* newest first */
    uint64_t completed;
    uint32_t outstanding;
};

/* One direction of a link between two nodes on one lane: a FIFO of segments. */
struct sim_segment {
    struct sim_segment *next;
    size_t bytes;
    uint64_t due_ns;
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
    struct sim_pipe pipes[2];        /* [0]: lower to higher number */
};

struct sim_memory {
    struct sim_memory *next;
    void *bytes;
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
    uint64_t clock_offset_ns;
    struct sim_memory *memory;
    struct sim_disk disk;
    uint8_t **frames;
    uint8_t *rights;
    bool holds_address;
    uint64_t held_at_ns;
    uint64_t wake_ns;                /* of the scheduled wake; UINT64_MAX: none */
    uint64_t wake_generation;
    bool running_loop;
    bool disk_lost;                  /* since the last time it was a voter */
    uint64_t entropy;
};

struct sim_client {
    struct sim *sim;
    unsigned number;
    uint64_t sent;                   /* highest request id sent */
    uint64_t acknowledged;           /* highest request id answered */
    uint64_t answered;               /* answers in all */
    uint64_t retry_generation;
    uint64_t last_answer_ns;
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
    bool healed, verbose;
    struct sim_event *heap;
    size_t heap_count, heap_size;
    struct sim_node nodes[SIM_NODES_MAX + 1];
    struct sim_link links[SIM_NODES_MAX + 1][SIM_NODES_MAX + 1][MACHINE_LANES]; /* [lower][higher] */
    bool cut[SIM_NODES_MAX + 1][SIM_NODES_MAX + 1];                             /* [from][to]; 0 is the outside */
    struct sim_client clients[SIM_CLIENTS];
    uint64_t *digests;               /* by epoch */
    size_t digest_count;
    uint64_t *term_leaders;          /* by term */
    size_t term_count;
    uint64_t counters[16];
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
void sim_create(struct sim *sim, uint64_t seed, unsigned nodes, unsigned faults, uint64_t minutes);
void sim_run(struct sim *sim);
void sim_destroy(struct sim *sim);
void sim_boot(struct sim_node *node);
void sim_power_off(struct sim_node *node);
void sim_wake(struct sim_node *node, uint64_t delay_ns);
bool sim_alive(const struct sim_node *node);

/* -- sim_disk.c -- */
void sim_disk_create(struct sim_node *node, const uint64_t *incarnations);
void sim_disk_attach(struct sim_node *node);
void sim_disk_power_cut(struct sim_node *node);
void sim_disk_lose(struct sim_node *node);
void sim_disk_destroy(struct sim_node *node);

/* -- sim_net.c -- */
void sim_net_attach(struct sim_node *node);
void sim_net_node_off(struct sim_node *node);
void sim_net_connect_all(struct sim_node *node);
void sim_net_path_changed(struct sim *sim);
void sim_net_destroy(struct sim *sim);

/* -- sim_world.c -- */
extern const uint8_t sim_world_elf[];
size_t sim_world_elf_bytes(void);
void sim_world_attach(struct sim_node *node);
/* Run the program for a bounded number of steps. Returns the virtual time that it took. */
uint64_t sim_world_run(struct sim_node *node);
void sim_world_frame_out(struct sim_node *node, const void *frame, size_t bytes);
void sim_clients_start(struct sim *sim);

/* -- sim_fault.c -- */
void sim_faults_start(struct sim *sim);
void sim_faults_heal(struct sim *sim);

/* -- sim_check.c -- */
void sim_check_node(struct sim_node *node);
bool sim_check_settled(struct sim *sim);

#endif
