/* What the files of replicate/world share. Nobody else includes this. */
#ifndef EIDOLON_REPLICATE_WORLD_INTERNAL_H
#define EIDOLON_REPLICATE_WORLD_INTERNAL_H

#include "replicate/delta.h"
#include "replicate/gate.h"
#include "replicate/limits.h"
#include "replicate/world.h"

/* A closed epoch on its way: CAPTURING -> SUBMITTING -> COMMITTING -> (committed: gone). Only the newest is not COMMITTING. */
enum flight_state { FLIGHT_CAPTURING, FLIGHT_SUBMITTING, FLIGHT_COMMITTING };

struct flight {
    enum flight_state state;
    uint64_t epoch;
    uint64_t digest;                 /* after it; known when captured */
    uint64_t frozen_ns;              /* machine time of the freeze */
    uint64_t capture_ns, seal_ns;    /* processor time so far */
    struct world_record record;
    struct undo_record undo;
    uint8_t *undo_buffer;            /* UNDO_BYTES_MAX */
};

struct queued_frame {
    uint32_t bytes;
    uint8_t frame[ABI_FRAME_SLOT_BYTES - 4];
};

struct world {
    const struct machine *machine;
    const struct boot_config *boot;
    const struct seal_keys *keys;
    struct world_ops ops;
    struct image *image;
    struct gate *gate;

    _Alignas(64) uint8_t registers[WORLD_REGISTERS_BYTES]; /* the live ones of a host; `record` has those of the last freeze */
    struct world_record record;      /* of the running world or, on a standby, of the last applied epoch */
    struct world_record committed_record;
    uint64_t epoch;                  /* last closed or applied; the open one is epoch + 1 */
    uint64_t committed;
    uint64_t committed_digest;
    uint64_t applied_at_ns;          /* machine time when the image reached `committed`, for the clock of a takeover */

    /* Host. */
    bool hosting;
    bool hosted_before;              /* in this boot */
    bool paused;                     /* a move is under way */
    bool freezes_held;               /* a checkpoint waits for the pipeline */
    bool blocked;                    /* a write fault found no room: the world waits for a freeze */
    bool freeze_asked;               /* commit, stop or no room: close the epoch as soon as the pipeline allows */
    bool wake;                       /* something happened that ends a wait */
    uint64_t clock_base_ns, clock_machine_ns; /* world clock = base + (now - machine) */
    uint64_t dirty_since_ns;         /* first write of the open epoch; 0: nothing dirty */
    uint64_t last_freeze_ns;
    uint64_t dirty_age_us;           /* 0: RUNNING_DIRTY_AGE_MS */
    uint64_t resumed;                /* as the ABI page says */
    uint32_t progress_written;       /* transmit_released as the ABI page says */
    uint32_t console_progress_written;
    uint32_t receive_produced;

    uint32_t flight_first, flight_count;
    struct flight flights[EPOCHS_IN_FLIGHT_MAX]; /* a ring: a flight stays in its place, as the image points to its undo record */

    /* The delta under way (host), or being assembled (standby: node's). */
    uint8_t *delta_buffer;
    uint8_t *part_buffer;            /* one sealed part */
    struct delta_writer delta;
    size_t delta_bytes;              /* complete delta, once finished */
    uint32_t parts, parts_submitted;
    bool part_sealed;                /* part_buffer holds part `parts_submitted`, refused for lack of room so far */
    struct group_entry part_entry;

    uint32_t queue_first, queue_count;
    struct queued_frame *queue;

    uint64_t freezes, freeze_pages, delta_bytes_sum, delta_item_bytes, delta_pages, delta_runs, delta_changed_bytes, write_faults, undone_epochs, frames_in, frames_dropped;
    struct world_times times;
};

/* The flight `age` places behind the oldest. */
static inline struct flight *world_flight(struct world *world, uint32_t age)
{
    return &world->flights[(world->flight_first + age) % EPOCHS_IN_FLIGHT_MAX];
}
static inline const struct flight *world_newest_flight(const struct world *world)
{
    return &world->flights[(world->flight_first + world->flight_count - 1) % EPOCHS_IN_FLIGHT_MAX];
}

uint64_t world_clock_ns(const struct world *world);
/* A kernel write into the image; keeps dirty_since_ns. */
MUST_CHECK enum status world_write(struct world *world, uint64_t address, const void *data, size_t bytes);
/* Is there room for the kernel to dirty pages beside its reserve? */
bool world_has_room(const struct world *world);
/* Note that the open epoch has dirty pages. */
void world_mark_dirty(struct world *world);
/* Write release progress into the ABI page (the epoch is dirty anyway). */
void world_write_progress(struct world *world);
/* Stop the world by an epoch. `code`: struct world_record. Text is borrowed. */
void world_stop(struct world *world, uint32_t code, const char *reason);
/* Say in the node's log why the world was stopped. */
void world_log_stop(const struct world *world);
/* Move queued frames into the receive ring as far as there is room. */
void world_deliver_frames(struct world *world);
/* Does the world's wait end now? */
bool world_wait_over(const struct world *world);
/* Build the fresh world in the open epoch. */
void world_birth(struct world *world);
/* What the segments allow the world to do with `page`; PAGE_NONE outside of all. */
enum page_rights world_page_rights(const struct world *world, uint32_t page);

#endif
