/* One world on this node: standby or host.
 *
 * Owns the image, the world record, the gate, the pipeline of closed epochs that are on their way to commit, and the world's clock. Promises: GATE
 * (through the gate), NO-TEAR (resumes only at the end of an epoch; pages and record change together), BOUND (at most EPOCHS_IN_FLIGHT_MAX
 * epochs in flight; past it the world waits), IDLE (nothing dirty: no epoch), RING (what the world says is checked, and at worst stops it).
 * Called by replicate/node from the event loop only. Files: world.c standby side and life; world_epoch.c freeze to commit; world_call.c calls,
 * faults, frames; world_birth.c the fresh world. */
#ifndef EIDOLON_REPLICATE_WORLD_H
#define EIDOLON_REPLICATE_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "consensus/group.h"
#include "crypto/seal.h"
#include "include/abi.h"
#include "include/boot_config.h"
#include "include/histogram.h"
#include "include/machine.h"
#include "include/status.h"
#include "replicate/image.h"
#include "replicate/world_record.h"

struct world;

struct world_ops {
    void *context;
    /* As group_submit. */
    enum status (*submit)(void *context, const struct group_entry *entry, const uint8_t *body);
    /* Could this many entries of so many bytes in all be submitted now? */
    bool (*room)(void *context, uint32_t entries, size_t bytes);
    /* Fill in what the world may know of the cluster; epochs are the world's to fill. */
    void (*describe)(void *context, struct abi_status *out);
    /* The world asks to be moved to `node`; result as ABI_CALL_MOVE. */
    int64_t (*move)(void *context, uint64_t node);
    /* The captured content of a page is about to change: for the page store. */
    image_before_change_fn *before_change;
};

struct world_config {
    const struct machine *machine;      /* borrowed for the world's life */
    const struct boot_config *boot;     /* borrowed for the world's life */
    const struct seal_keys *keys;       /* borrowed for the world's life */
    struct world_ops ops;
};

/* Reserve everything; the image is empty at epoch 0. NO_MEMORY. */
MUST_CHECK enum status world_create(struct world **out, const struct world_config *config);
struct image *world_image(struct world *world);
/* The record at the end of the last committed epoch. */
const struct world_record *world_committed_record(const struct world *world);

/* -- standby -- */
/* The image now has the content of `epoch` (filled from the page store); take its record. CORRUPT: image and record do not have `digest`. */
MUST_CHECK enum status world_load(struct world *world, const struct world_record *record, uint64_t epoch, uint64_t digest);
/* A buffer of DELTA_BYTES_MAX to assemble a delta in; free while this node does not host. Borrowed. */
uint8_t *world_delta_buffer(struct world *world);
/* Apply a complete plain delta that stands in the delta buffer. REFUSED: it was applied to an image that was exact, and the digest after it is not what
 * its host says: the host's image was not what the log tells (replicate/agreement). The digest here is this image's. CORRUPT: memory of this node has
 * flipped, nothing changed. INVALID, TRUNCATED, UNKNOWN_VERSION: malformed, nothing changed. STALE: not the next epoch. NO_MEMORY. */
MUST_CHECK enum status world_apply_delta(struct world *world, size_t bytes);
/* The world is gone as of `epoch`: an empty image. If this node hosts, a fresh one is born. STALE: not the next epoch; nothing changed. */
MUST_CHECK enum status world_reset(struct world *world, uint64_t epoch);

/* -- host -- */
/* Everything committed is applied and this node leads: resume the world, or give birth to it if there is none. */
void world_host(struct world *world);
/* This node no longer leads: take back everything that is not committed. Afterwards the image is an exact standby. */
void world_step_down(struct world *world);
bool world_hosting(const struct world *world);
/* The last part of `epoch`, which this node submitted, is committed. */
void world_epoch_committed(struct world *world, uint64_t epoch);
/* Do what is due: capture, sealing, submission, a freeze. Bounded. */
void world_tick(struct world *world);
uint64_t world_deadline_ns(const struct world *world);
/* For a planned move: the world does not run, and the open epoch is closed as soon as possible; false: it goes on. */
void world_pause(struct world *world, bool pause);
/* For a checkpoint: no new freeze, so that the pipeline drains. */
void world_hold_freezes(struct world *world, bool hold);
/* While the world runs, close an epoch that has been dirty for `age_us` (DIRTY_AGE_US_MIN..MAX; 0: RUNNING_DIRTY_AGE_MS again). Until this node's next
 * boot. INVALID: out of range. */
MUST_CHECK enum status world_set_dirty_age(struct world *world, uint64_t age_us);
/* No epoch is in flight or being captured. */
bool world_pipeline_empty(const struct world *world);
/* Nothing is dirty either. */
bool world_drained(const struct world *world);

/* -- the running world: as node_world_* (replicate/node.h) -- */
bool world_runnable(const struct world *world);
uint8_t *world_registers(struct world *world);
void world_page_fault(struct world *world, uint64_t address, bool write, bool execute);
void world_faulted(struct world *world, const char *reason);
bool world_call(struct world *world, uint64_t number, const uint64_t arguments[4], uint64_t *result);
void world_frame_received(struct world *world, const void *frame, size_t bytes);

/* -- facts -- */
struct world_facts {
    uint32_t life;                    /* enum world_life */
    bool host, paused;
    uint64_t epoch;                   /* last closed (host) or applied epoch */
    uint64_t committed;
    uint64_t digest;                  /* of the last committed epoch */
    uint64_t resumed;
    char reason[WORLD_REASON_BYTES];  /* why it is stopped */
    uint64_t freezes, freeze_pages, write_faults, undone_epochs, frames_in, frames_dropped, frames_out;
    uint64_t delta_bytes, delta_item_bytes, delta_pages, delta_runs, delta_changed_bytes; /* before sealing; struct page_items */
    uint32_t in_flight, dirty_pages, present_pages;
};
void world_facts(struct world *world, struct world_facts *out);

/* How long things took since boot. */
struct world_times {
    struct histogram freeze;          /* host: the world stands still while an epoch is closed */
    struct histogram capture, seal;   /* host: processor time for one epoch */
    struct histogram commit;          /* host: from the freeze to the opened gate */
    struct histogram apply;           /* standby: from the complete plain delta to the image and its digest */
};
/* Borrowed for the world's life. */
const struct world_times *world_times(const struct world *world);
void world_check(const struct world *world);

#endif
