/* What the parts of world_run share.
 *
 * world_run.c starts the world and holds the event loop, world_bridge.c takes frames to and from libslirp and a neighbour,
 * world_calls.c answers the world's calls. One thread: all of it runs at the start, or in a signal that the world's own code raised. */
#ifndef EIDOLON_TESTS_WORLD_RUN_H
#define EIDOLON_TESTS_WORLD_RUN_H

#include <poll.h>
#include <stdint.h>
#include <time.h>

#include "include/abi.h"

#define POLLS_MAX 256
#define OWN_POLLS 3 /* of them, besides libslirp's */

struct world_run {
    struct abi_info *info;                /* our writable view of the read-only pages */
    struct abi_receive_info *receive_info;
    struct abi_frame_slot *receive_slots;
    uint64_t memory_bytes;
    uint64_t data_base, data_bytes;       /* the image's writable segment */
    uint64_t born_ns;
    struct pollfd polls[POLLS_MAX];
    unsigned poll_count;
    uint32_t transmit_taken;              /* frames handed on, or kept back */
    int holding;
    int transmit_has_room;                /* again, after the world saw less than ABI_FRAME_SLOTS_LOW */
    int watching;
    uint8_t *written;                     /* a byte for each page */
    uint64_t waits, wakes, frames_in, frames_out, pages_written, console_bytes;
    uint64_t epoch, epoch_committed;
    uint32_t node, move_to;
    uint64_t commit_due_ns, move_due_ns;  /* 0: nothing is under way */
};

extern struct world_run run;

/* -- world_run.c -- */

/* Ends the program, with errno's text. */
_Noreturn void fail(const char *what);
uint64_t monotonic_ns(clockid_t clock);
uint64_t world_clock(void);
struct abi_ring_state *ring_state(void);
void console_from_world(void);
/* One round of the event loop; waits at most so long. */
void pump(uint64_t wait_ns);

/* -- world_bridge.c -- */

void bridge_start(void);
/* HOSTPORT:WORLDPORT */
void bridge_forward(const char *ports);
/* One neighbour at a time connects to a Unix socket at `path`. */
void bridge_listen(const char *path);
/* Takes the world's frames on, unless they are held. */
void bridge_frames_from_world(void);
/* Adds what is waited for to run.polls; no longer than `timeout_ms`, which may become less. */
void bridge_add_polls(uint32_t *timeout_ms);
/* Serves what bridge_add_polls added; `ready` as poll says. */
void bridge_serve(int ready);

/* -- world_calls.c -- */

/* What a `syscall` instruction of the world returns. */
int64_t call(uint64_t number, uint64_t a, uint64_t b, uint64_t c);
/* Commits the epoch, and ends a move, when their time has come. */
void calls_due(void);

#endif
