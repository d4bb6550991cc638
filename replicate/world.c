/* States of a world on this node and the functions behind each transition:
 *
 *   standby  --world_apply_delta--> standby      one epoch further
 *   standby  --world_host-------->  host         resume at the last committed epoch, or birth
 *   host     --world_step_down--->  standby      everything uncommitted is taken back, newest first
 *   host     --world_stop-------->  host         life STOPPED in the record; an epoch tells all nodes
 *   any      --world_reset------->  empty        at the commit of a RESET entry
 *
 * Invariants:
 *   1. committed <= epoch; flights are the epochs committed+1..epoch, oldest first; on a standby there are none.
 *   2. While hosting, `record` belongs to the open epoch; committed_record to `committed`.
 *   3. On a standby, image and record are exactly those of `committed` (NO-TEAR). */
#include "replicate/world.h"

#include <string.h>

#include "include/check.h"
#include "include/machine_log.h"
#include "replicate/world_internal.h"

static void *reserve(const struct machine *machine, size_t bytes)
{
    return machine->reserve(machine->context, bytes, 64);
}

enum page_rights world_page_rights(const struct world *world, uint32_t page)
{
    for (uint32_t i = 0; i < world->record.segment_count; i++) {
        const struct world_segment *segment = &world->record.segments[i];
        if (page >= segment->first_page && page - segment->first_page < segment->pages) {
            return (enum page_rights)segment->rights;
        }
    }
    return PAGE_NONE;
}

static enum page_rights segment_rights(void *context, uint32_t page)
{
    return world_page_rights(context, page);
}

static void before_change(void *context, uint32_t page, const uint8_t *captured)
{
    const struct world *world = context;
    world->ops.before_change(world->ops.context, page, captured);
}

static enum status create_buffers(struct world *world)
{
    const struct machine *machine = world->machine;
    world->delta_buffer = reserve(machine, DELTA_BYTES_MAX);
    world->part_buffer = reserve(machine, DELTA_PART_BYTES_MAX);
    world->queue = reserve(machine, WORLD_FRAMES_QUEUED_MAX * sizeof *world->queue);
    if (world->delta_buffer == NULL || world->part_buffer == NULL || world->queue == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (uint32_t i = 0; i < EPOCHS_IN_FLIGHT_MAX; i++) {
        world->flights[i].undo_buffer = reserve(machine, UNDO_BYTES_MAX);
        if (world->flights[i].undo_buffer == NULL) {
            return STATUS_NO_MEMORY;
        }
    }
    return STATUS_OK;
}

enum status world_create(struct world **out, const struct world_config *config)
{
    struct world *world = reserve(config->machine, sizeof *world);
    if (world == NULL) {
        return STATUS_NO_MEMORY;
    }
    world->machine = config->machine;
    world->boot = config->boot;
    world->keys = config->keys;
    world->ops = config->ops;
    const struct image_config image_config = {
        .machine = config->machine,
        .before_change = before_change,
        .segment_rights = segment_rights,
        .context = world,
    };
    enum status status = image_create(&world->image, &image_config);
    if (status == STATUS_OK) {
        status = gate_create(&world->gate, config->machine);
    }
    if (status == STATUS_OK) {
        status = create_buffers(world);
    }
    if (status == STATUS_OK) {
        *out = world;
    }
    return status;
}

struct image *world_image(struct world *world)
{
    return world->image;
}

const struct world_record *world_committed_record(const struct world *world)
{
    return &world->committed_record;
}

/* -- standby -- */

void world_log_stop(const struct world *world)
{
    machine_log(world->machine, LOG_WARNING, "the world is stopped: %s", world->record.stop_reason);
}

static void take_record(struct world *world, const struct world_record *record, uint64_t epoch, uint64_t digest)
{
    bool segments_changed = world->record.segment_count != record->segment_count ||
                            memcmp(world->record.segments, record->segments, sizeof record->segments) != 0;
    bool stopped = record->life == WORLD_LIFE_STOPPED && world->record.life != WORLD_LIFE_STOPPED;
    world->record = *record;
    world->committed_record = *record;
    if (stopped) {
        world_log_stop(world);
    }
    world->epoch = world->committed = epoch;
    world->committed_digest = digest;
    world->applied_at_ns = world->machine->now_ns(world->machine->context);
    if (segments_changed) {
        image_refresh_rights(world->image);
    }
}

enum status world_load(struct world *world, const struct world_record *record, uint64_t epoch, uint64_t digest)
{
    CHECK(!world->hosting);
    if (epoch != 0 && record->life != WORLD_LIFE_NONE && image_digest(world->image) + world_record_hash(record) != digest) {
        return STATUS_CORRUPT;
    }
    take_record(world, record, epoch, digest);
    return STATUS_OK;
}

uint8_t *world_delta_buffer(struct world *world)
{
    CHECK(!world->hosting);
    return world->delta_buffer;
}

enum status world_apply_delta(struct world *world, size_t bytes)
{
    CHECK(!world->hosting);
    uint64_t began_ns = world->machine->now_ns(world->machine->context);
    struct delta delta;
    enum status status = delta_decode(world->delta_buffer, bytes, world->boot->world_memory_bytes, &delta);
    if (status != STATUS_OK) {
        return status;
    }
    if (delta.world != WORLD_NUMBER) {
        return STATUS_INVALID;
    }
    if (delta.epoch != world->epoch + 1) {
        return STATUS_STALE;
    }
    bool exact = world->committed == 0 || image_digest(world->image) + world_record_hash(&world->committed_record) == world->committed_digest;
    if (!exact || image_scrub_items(world->image, delta.items, delta.item_bytes) != STATUS_OK) {
        return STATUS_CORRUPT;
    }
    status = image_apply(world->image, delta.items, delta.item_bytes);
    if (status != STATUS_OK) {
        return status;
    }
    uint64_t digest = image_digest(world->image) + world_record_hash(&delta.record);
    take_record(world, &delta.record, delta.epoch, digest);
    histogram_add(&world->times.apply, world->machine->now_ns(world->machine->context) - began_ns);
    return digest == delta.digest ? STATUS_OK : STATUS_REFUSED;
}

enum status world_reset(struct world *world, uint64_t epoch)
{
    if (epoch != world->committed + 1) {
        return STATUS_STALE;
    }
    CHECK(world->flight_count == 0); /* it was asked for while the world was stopped and drained */
    image_clear(world->image);
    gate_discard(world->gate);
    /* A checkpoint may fall on this epoch: its record must be as good as any. */
    const struct world_record nothing = {
        .version = WORLD_RECORD_VERSION,
        .abi_version = ABI_VERSION,
        .world_number = WORLD_NUMBER,
        .life = WORLD_LIFE_NONE,
        .memory_bytes = world->boot->world_memory_bytes,
        .epoch = epoch,
    };
    take_record(world, &nothing, epoch, image_digest(world->image) + world_record_hash(&nothing));
    world->dirty_since_ns = 0;
    world->queue_count = 0;
    world->blocked = world->freeze_asked = false;
    if (world->hosting) {
        world_birth(world);
    }
    return STATUS_OK;
}

/* -- host -- */

static void announce_resume(struct world *world, uint32_t kind)
{
    struct abi_info info;
    const struct machine *machine = world->machine;
    enum status status = image_read(world->image, ABI_INFO_ADDRESS - ABI_WORLD_BASE, &info, sizeof info);
    CHECK(status == STATUS_OK);
    info.resumed++;
    info.resume_kind = kind;
    world->resumed = info.resumed;
    world->progress_written = info.transmit_released;
    world->console_progress_written = info.console_released;
    struct abi_receive_info receive;
    status = image_read(world->image, ABI_RECEIVE_INFO_ADDRESS - ABI_WORLD_BASE, &receive, sizeof receive);
    CHECK(status == STATUS_OK);
    world->receive_produced = receive.produced;
    gate_resume(world->gate, info.transmit_released, info.console_released);
    status = world_write(world, ABI_INFO_ADDRESS, &info, sizeof info);
    CHECK(status == STATUS_OK); /* nothing else is dirty: there is room */
    machine->world_address_hold(machine->context, true);
}

void world_host(struct world *world)
{
    CHECK(!world->hosting);
    CHECK(world->flight_count == 0);
    uint64_t now = world->machine->now_ns(world->machine->context);
    bool ran_here = world->record.host_node == world->boot->node_number;
    uint32_t kind = ran_here && !world->hosted_before ? ABI_RESUME_POWER : ABI_RESUME_TAKEOVER;
    world->hosting = true;
    world->hosted_before = true;
    memcpy(world->registers, world->record.registers, sizeof world->registers);
    world->paused = world->freezes_held = world->blocked = world->freeze_asked = false;
    world->wake = true;
    world->queue_count = 0;
    world->dirty_since_ns = 0;
    world->clock_base_ns = world->record.clock_ns + (now - world->applied_at_ns);
    world->clock_machine_ns = now;
    world->last_freeze_ns = now;
    if (world->record.life == WORLD_LIFE_NONE) {
        world_birth(world);
    } else if (world->record.life == WORLD_LIFE_RUNNING) {
        announce_resume(world, kind);
    }
}

void world_step_down(struct world *world)
{
    if (!world->hosting) {
        return;
    }
    world->machine->world_address_hold(world->machine->context, false);
    image_undo_open(world->image);
    while (world->flight_count > 0) {
        image_undo_epoch(world->image, &world_newest_flight(world)->undo);
        world->flight_count--;
        world->undone_epochs++;
    }
    gate_discard(world->gate);
    world->hosting = false;
    world->paused = world->freezes_held = world->blocked = world->freeze_asked = false;
    world->part_sealed = false;
    world->queue_count = 0;
    world->dirty_since_ns = 0;
    world->delta_bytes = 0;
    world->epoch = world->committed;
    bool segments_changed = memcmp(world->record.segments, world->committed_record.segments, sizeof world->record.segments) != 0;
    world->record = world->committed_record;
    if (segments_changed) {
        image_refresh_rights(world->image);
    }
    /* The clock of a later takeover goes on from what the committed record says, at the machine time when it was written here. */
    uint64_t now = world->machine->now_ns(world->machine->context);
    world->applied_at_ns = world->clock_machine_ns + (world->record.clock_ns - world->clock_base_ns); /* that may be before the resume */
    if (world->applied_at_ns > now) {
        world->applied_at_ns = now;
    }
}

bool world_hosting(const struct world *world)
{
    return world->hosting;
}

void world_pause(struct world *world, bool pause)
{
    world->paused = pause;
    if (pause && world->dirty_since_ns != 0) {
        world->freeze_asked = true;
    }
}

void world_hold_freezes(struct world *world, bool hold)
{
    world->freezes_held = hold;
}

bool world_pipeline_empty(const struct world *world)
{
    return world->flight_count == 0;
}

bool world_drained(const struct world *world)
{
    return world->flight_count == 0 && image_dirty_pages(world->image) == 0 && !world->freeze_asked;
}

uint8_t *world_registers(struct world *world)
{
    return world->registers;
}

uint64_t world_clock_ns(const struct world *world)
{
    return world->clock_base_ns + (world->machine->now_ns(world->machine->context) - world->clock_machine_ns);
}

/* -- facts -- */

void world_facts(struct world *world, struct world_facts *out)
{
    *out = (struct world_facts){
        .life = world->record.life,
        .host = world->hosting,
        .paused = world->paused,
        .epoch = world->epoch,
        .committed = world->committed,
        .digest = world->committed_digest,
        .resumed = world->resumed,
        .freezes = world->freezes,
        .freeze_pages = world->freeze_pages,
        .delta_bytes = world->delta_bytes_sum,
        .delta_item_bytes = world->delta_item_bytes,
        .delta_pages = world->delta_pages,
        .delta_runs = world->delta_runs,
        .delta_changed_bytes = world->delta_changed_bytes,
        .write_faults = world->write_faults,
        .undone_epochs = world->undone_epochs,
        .frames_in = world->frames_in,
        .frames_dropped = world->frames_dropped,
        .frames_out = gate_frames_released(world->gate),
        .in_flight = world->flight_count,
        .dirty_pages = image_dirty_pages(world->image),
        .present_pages = image_present_pages(world->image),
    };
    memcpy(out->reason, world->record.stop_reason, sizeof out->reason);
    out->reason[sizeof out->reason - 1] = '\0';
}

const struct world_times *world_times(const struct world *world)
{
    return &world->times;
}

void world_check(const struct world *world)
{
    CHECK(world->committed + world->flight_count == world->epoch);
    CHECK(world->hosting || world->flight_count == 0);
    for (uint32_t i = 0; i < world->flight_count; i++) {
        const struct flight *flight = &world->flights[(world->flight_first + i) % EPOCHS_IN_FLIGHT_MAX];
        CHECK(flight->epoch == world->committed + 1 + i);
        CHECK(i + 1 == world->flight_count || flight->state == FLIGHT_COMMITTING);
    }
    gate_check(world->gate);
    image_check(world->image);
}
