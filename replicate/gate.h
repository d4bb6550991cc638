/* The gate: everything that a world says to the outside waits here for the commit of the epoch that said it (GATE).
 *
 * Owns copies of the frames and console bytes that closed epochs produced, and the counts of what was taken and released. At a freeze the new
 * frames of the transmit ring are copied (so a world cannot change a frame after the freeze); at the commit they leave. A ring holds
 * ABI_FRAME_SLOTS frames from production to the written progress, so the copies are bounded by the same number (BOUND).
 * Called by replicate/world, from the event loop only. No allocation after gate_create. */
#ifndef EIDOLON_REPLICATE_GATE_H
#define EIDOLON_REPLICATE_GATE_H

#include <stdbool.h>
#include <stdint.h>

#include "include/machine.h"
#include "include/status.h"
#include "replicate/image.h"

struct gate;

/* Reserve the copies. `machine` is borrowed for the gate's life. NO_MEMORY. */
MUST_CHECK enum status gate_create(struct gate **out, const struct machine *machine);

/* Take over an image that was just resumed: everything from its released counts on is to be released again with the next epoch that closes. */
void gate_resume(struct gate *gate, uint32_t transmit_released, uint32_t console_released);

/* Has the world produced something that no closed epoch has taken yet? Reads the world's ring state. O(1).
 * INVALID: its counts break the ring's rule; the world must be stopped. */
MUST_CHECK enum status gate_pending(const struct gate *gate, const struct image *image, bool *pending);

/* Epoch `epoch` closes now: copy what it produced from the image's current content. O(frames). Epochs are closed in ascending order, at most
 * EPOCHS_IN_FLIGHT_MAX before a release.
 * INVALID: counts or a slot's length break the ring's rule; nothing was taken; the world must be stopped. */
MUST_CHECK enum status gate_close_epoch(struct gate *gate, const struct image *image, uint64_t epoch);

/* Epoch `epoch` is committed: send what it and its elders said, in order. */
void gate_release_epoch(struct gate *gate, uint64_t epoch);

/* This node is no longer host: everything that waits is dropped (the next host finds it in its image). */
void gate_discard(struct gate *gate);

/* Has a world that knows of `seen` released frames fewer than ABI_FRAME_SLOTS_LOW free slots? */
bool gate_transmit_short(const struct gate *gate, const struct image *image, uint32_t seen);

/* Released so far, modulo 2^32: what is to be written into the world's ABI page. */
uint32_t gate_transmit_released(const struct gate *gate);
uint32_t gate_console_released(const struct gate *gate);

/* Since gate_create. */
uint64_t gate_frames_released(const struct gate *gate);
void gate_check(const struct gate *gate);

#endif
