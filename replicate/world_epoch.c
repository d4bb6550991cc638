/* From freeze to commit: the pipeline of a host.
 *
 *   freeze_epoch      open epoch -> flight CAPTURING       when freeze_due_ns says now and the pipeline has room
 *   capture_step      CAPTURING -> SUBMITTING              all frozen pages are in the delta, the digest is known
 *   submit_part       SUBMITTING -> COMMITTING             each part sealed and appended to the log
 *   world_epoch_committed  COMMITTING -> gone              the gate opens
 *
 * One delta buffer: a freeze waits until the newest flight is COMMITTING, and until the log has room for the largest delta that it can make: what
 * is closed can always be submitted, so the pipeline drains, and the checkpoint that makes room waits for no one. Everything is in bounded
 * steps of the event loop. */
#include <string.h>

#include "include/check.h"
#include "replicate/world_internal.h"

static uint64_t now_ns(const struct world *world)
{
    return world->machine->now_ns(world->machine->context);
}

static uint64_t ms(uint64_t count)
{
    return count * 1000000u;
}

bool world_has_room(const struct world *world)
{
    return image_dirty_pages(world->image) < DIRTY_PAGES_MAX - DIRTY_PAGES_RESERVE;
}

void world_mark_dirty(struct world *world)
{
    if (world->dirty_since_ns == 0) {
        world->dirty_since_ns = now_ns(world) | 1;
    }
}

enum status world_write(struct world *world, uint64_t address, const void *data, size_t bytes)
{
    enum status status = image_write(world->image, address - ABI_WORLD_BASE, data, bytes);
    if (status == STATUS_OK) {
        world_mark_dirty(world);
    }
    return status;
}

void world_write_progress(struct world *world)
{
    uint32_t progress[2] = {gate_transmit_released(world->gate), gate_console_released(world->gate)};
    if (progress[0] == world->progress_written && progress[1] == world->console_progress_written) {
        return;
    }
    bool was_short = gate_transmit_short(world->gate, world->image, world->progress_written);
    static_assert(offsetof(struct abi_info, console_released) == offsetof(struct abi_info, transmit_released) + 4, "written together");
    if (world_write(world, ABI_INFO_ADDRESS + offsetof(struct abi_info, transmit_released), progress, sizeof progress) == STATUS_OK) {
        world->progress_written = progress[0];
        world->console_progress_written = progress[1];
        world->wake |= was_short && !gate_transmit_short(world->gate, world->image, progress[0]);
    }
}

void world_stop(struct world *world, uint32_t code, const char *reason)
{
    if (world->record.life != WORLD_LIFE_RUNNING) {
        return;
    }
    world->record.life = WORLD_LIFE_STOPPED;
    world->record.stop_code = code;
    memset(world->record.stop_reason, 0, sizeof world->record.stop_reason);
    for (size_t i = 0; i + 1 < sizeof world->record.stop_reason && reason[i] != '\0'; i++) {
        world->record.stop_reason[i] = reason[i] >= ' ' && reason[i] <= '~' ? reason[i] : '?';
    }
    world->freeze_asked = true;
    world_mark_dirty(world);
    world_log_stop(world);
}

/* -- freeze -- */

static bool pipeline_has_room(const struct world *world)
{
    if (world->flight_count == EPOCHS_IN_FLIGHT_MAX) {
        return false;
    }
    return world->flight_count == 0 || world_newest_flight(world)->state == FLIGHT_COMMITTING;
}

/* Does the log take all parts of the open epoch's delta, whatever the pages hold? */
static bool log_has_room(const struct world *world)
{
    size_t pages = image_dirty_pages(world->image) + DIRTY_PAGES_RESERVE;
    size_t bytes = pages * (REPLICATE_PAGE_BYTES + 16) + DELTA_HEADER_BYTES_MAX;
    uint32_t parts = (uint32_t)((bytes + DELTA_PART_BYTES_MAX - 1) / DELTA_PART_BYTES_MAX);
    return world->ops.room(world->ops.context, parts, bytes);
}

/* A world that broke its rings has output too: the freeze that it makes due stops it. */
static bool output_pending(const struct world *world)
{
    bool pending = false;
    if (world->record.life != WORLD_LIFE_RUNNING) {
        return false;
    }
    return gate_pending(world->gate, world->image, &pending) != STATUS_OK || pending;
}

/* When the open epoch is to be closed at the latest, if nothing else happens; 0: now; UINT64_MAX: nothing to close. */
static uint64_t freeze_due_ns(const struct world *world)
{
    if (world->freeze_asked) {
        return 0;
    }
    if (world->dirty_since_ns == 0) {
        return UINT64_MAX;
    }
    bool waiting = world->record.waiting != 0 && !world_runnable(world);
    if (image_dirty_pages(world->image) >= DIRTY_PAGES_MAX / 2) {
        return 0;
    }
    if (output_pending(world)) {
        return waiting || world->flight_count == 0 ? 0 : world->last_freeze_ns + ms(RUNNING_OUTPUT_INTERVAL_MS);
    }
    if (!waiting && world->dirty_age_us != 0) {
        return world->dirty_since_ns + world->dirty_age_us * 1000u;
    }
    return world->dirty_since_ns + ms(waiting ? WAITING_DIRTY_AGE_MS : RUNNING_DIRTY_AGE_MS);
}

enum status world_set_dirty_age(struct world *world, uint64_t age_us)
{
    if (age_us != 0 && (age_us < DIRTY_AGE_US_MIN || age_us > DIRTY_AGE_US_MAX)) {
        return STATUS_INVALID;
    }
    world->dirty_age_us = age_us;
    return STATUS_OK;
}

static void freeze_epoch(struct world *world)
{
    struct flight *flight = world_flight(world, world->flight_count);
    uint64_t epoch = world->epoch + 1;
    flight->frozen_ns = now_ns(world);
    flight->capture_ns = flight->seal_ns = 0;
    world_write_progress(world);
    if (gate_close_epoch(world->gate, world->image, epoch) != STATUS_OK) {
        world_stop(world, WORLD_STOP_RINGS, "the world broke the rules of its transmit or console ring");
    }
    world->record.epoch = epoch;
    world->record.clock_ns = world_clock_ns(world);
    world->record.wall_clock_ns = world->machine->wall_clock_ns(world->machine->context);
    world->record.host_node = world->boot->node_number;
    memcpy(world->record.registers, world->registers, sizeof world->registers);
    flight->state = FLIGHT_CAPTURING;
    flight->epoch = epoch;
    flight->record = world->record;
    world->freezes++;
    world->freeze_pages += image_dirty_pages(world->image);
    delta_writer_init(&world->delta, world->delta_buffer, DELTA_BYTES_MAX);
    undo_record_init(&flight->undo, flight->undo_buffer, UNDO_BYTES_MAX);
    enum status status = image_freeze(world->image, &world->delta, &flight->undo);
    CHECK(status == STATUS_OK); /* no capture is under way */
    world->flight_count++;
    world->epoch = epoch;
    world->dirty_since_ns = 0;
    world->freeze_asked = world->blocked = false;
    world->last_freeze_ns = now_ns(world);
    histogram_add(&world->times.freeze, world->last_freeze_ns - flight->frozen_ns);
}

/* -- capture and submission of the newest flight -- */

static void capture_step(struct world *world, struct flight *flight)
{
    uint64_t began_ns = now_ns(world);
    bool captured = image_capture_step(world->image, CAPTURE_STEP_PAGES);
    flight->capture_ns += now_ns(world) - began_ns;
    if (!captured) {
        return;
    }
    histogram_add(&world->times.capture, flight->capture_ns);
    flight->digest = image_digest(world->image) + world_record_hash(&flight->record);
    world->delta_bytes = delta_finish(&world->delta, WORLD_NUMBER, flight->epoch, flight->digest, &flight->record);
    world->delta_bytes_sum += world->delta_bytes;
    world->delta_item_bytes += world->delta.items.bytes;
    world->delta_pages += world->delta.items.count;
    world->delta_runs += world->delta.items.runs;
    world->delta_changed_bytes += world->delta.items.changed_bytes;
    world->parts = (uint32_t)((world->delta_bytes + DELTA_PART_BYTES_MAX - 1) / DELTA_PART_BYTES_MAX);
    world->parts_submitted = 0;
    world->part_sealed = false;
    flight->state = FLIGHT_SUBMITTING;
}

static void seal_part(struct world *world, struct flight *flight)
{
    uint64_t began_ns = now_ns(world);
    size_t offset = (size_t)world->parts_submitted * DELTA_PART_BYTES_MAX;
    size_t bytes = world->delta_bytes - offset;
    if (bytes > DELTA_PART_BYTES_MAX) {
        bytes = DELTA_PART_BYTES_MAX;
    }
    struct group_entry *entry = &world->part_entry;
    *entry = (struct group_entry){
        .type = GROUP_ENTRY_EPOCH,
        .world = WORLD_NUMBER,
        .epoch = flight->epoch,
        .part = world->parts_submitted,
        .parts = world->parts,
        .bytes = (uint32_t)bytes,
    };
    world->machine->entropy(world->machine->context, entry->nonce, sizeof entry->nonce);
    struct seal_context context = seal_context_delta(entry->world, entry->epoch, entry->part, entry->parts);
    seal_body(world->keys, &context, entry->nonce, world->delta_buffer + offset, bytes, world->part_buffer, entry->tag);
    entry->check = hash64(entry->epoch, world->part_buffer, bytes);
    world->part_sealed = true;
    flight->seal_ns += now_ns(world) - began_ns;
}

static void submit_part(struct world *world, struct flight *flight)
{
    if (!world->part_sealed) {
        seal_part(world, flight);
    }
    if (world->ops.submit(world->ops.context, &world->part_entry, world->part_buffer) != STATUS_OK) {
        return; /* no room, or a transfer: tried again with the next tick */
    }
    world->part_sealed = false;
    world->parts_submitted++;
    if (world->parts_submitted == world->parts) {
        flight->state = FLIGHT_COMMITTING;
        histogram_add(&world->times.seal, flight->seal_ns);
    }
}

/* Is there work for the very next tick? */
static bool work_pending(const struct world *world)
{
    if (world->flight_count == 0) {
        return false;
    }
    const struct flight *newest = world_newest_flight(world);
    return newest->state == FLIGHT_CAPTURING || (newest->state == FLIGHT_SUBMITTING && !world->part_sealed);
}

void world_tick(struct world *world)
{
    if (!world->hosting) {
        return;
    }
    if (world->record.life == WORLD_LIFE_RUNNING && !world->paused) {
        world_deliver_frames(world);
    }
    if (!world->freezes_held && pipeline_has_room(world) && freeze_due_ns(world) <= now_ns(world) && log_has_room(world)) {
        freeze_epoch(world);
    }
    if (world->flight_count == 0) {
        return;
    }
    struct flight *newest = world_flight(world, world->flight_count - 1);
    if (newest->state == FLIGHT_CAPTURING) {
        capture_step(world, newest);
    }
    if (newest->state == FLIGHT_SUBMITTING) {
        submit_part(world, newest);
    }
}

uint64_t world_deadline_ns(const struct world *world)
{
    if (!world->hosting) {
        return UINT64_MAX;
    }
    uint64_t now = now_ns(world);
    bool runnable = world_runnable(world);
    if (work_pending(world)) {
        return runnable ? now + CAPTURE_SLICE_US * 1000u : 0;
    }
    uint64_t deadline = UINT64_MAX;
    if (world->flight_count > 0 && world_newest_flight(world)->state == FLIGHT_SUBMITTING) {
        deadline = now + ms(RUNNING_OUTPUT_INTERVAL_MS); /* refused for lack of room */
    }
    if (pipeline_has_room(world) && !world->freezes_held) {
        uint64_t due = freeze_due_ns(world);
        if (due <= now && !log_has_room(world)) {
            due = now + ms(RUNNING_OUTPUT_INTERVAL_MS);
        }
        deadline = due < deadline ? due : deadline;
    }
    if (runnable && deadline > now + ms(RUNNING_OUTPUT_INTERVAL_MS)) {
        deadline = now + ms(RUNNING_OUTPUT_INTERVAL_MS); /* look for output */
    }
    if (!runnable && world->record.life == WORLD_LIFE_RUNNING && world->record.waiting != 0 && !world->paused &&
        world->record.wait_deadline_ns != UINT64_MAX) {
        uint64_t clock = world_clock_ns(world);
        uint64_t left = world->record.wait_deadline_ns > clock ? world->record.wait_deadline_ns - clock : 0;
        const uint64_t hour = ms(3600u * 1000u); /* the world's deadline may be any number */
        uint64_t due = now + (left < hour ? left : hour);
        deadline = due < deadline ? due : deadline;
    }
    return deadline;
}

/* -- commit -- */

void world_epoch_committed(struct world *world, uint64_t epoch)
{
    CHECK(world->hosting);
    CHECK(world->flight_count > 0);
    struct flight *oldest = world_flight(world, 0);
    CHECK(oldest->epoch == epoch);
    CHECK(oldest->state == FLIGHT_COMMITTING);
    world->committed = epoch;
    world->committed_digest = oldest->digest;
    world->committed_record = oldest->record;
    world->flight_first = (world->flight_first + 1) % EPOCHS_IN_FLIGHT_MAX;
    world->flight_count--;
    gate_release_epoch(world->gate, epoch);
    histogram_add(&world->times.commit, now_ns(world) - oldest->frozen_ns);
    if (world->record.wait_epoch != 0 && world->record.wait_epoch <= epoch) {
        world->wake = true;
    }
    /* A world that filled its ring may wait for slots with nothing else to wake it. */
    if (world->record.life == WORLD_LIFE_RUNNING && gate_transmit_short(world->gate, world->image, world->progress_written) &&
        !gate_transmit_short(world->gate, world->image, gate_transmit_released(world->gate))) {
        world_write_progress(world);
    }
}
