/* What the running world does to the kernel: calls, page faults, frames. Everything it says is checked (RING). */
#include <stdio.h>
#include <string.h>

#include "include/check.h"
#include "replicate/world_internal.h"

static uint64_t failure(int64_t number)
{
    return (uint64_t)-number;
}

/* -- waiting -- */

static bool receive_pending(const struct world *world)
{
    struct abi_ring_state state;
    if (image_read(world->image, ABI_RING_STATE_ADDRESS - ABI_WORLD_BASE, &state, sizeof state) != STATUS_OK) {
        return false;
    }
    return state.receive_consumed != world->receive_produced;
}

bool world_wait_over(const struct world *world)
{
    return world->wake || world_clock_ns(world) >= world->record.wait_deadline_ns;
}

bool world_runnable(const struct world *world)
{
    if (!world->hosting || world->record.life != WORLD_LIFE_RUNNING || world->paused || world->blocked) {
        return false;
    }
    return world->record.waiting == 0 || world_wait_over(world);
}

static bool call_wait(struct world *world, const uint64_t arguments[4], uint64_t *result)
{
    struct world_record *record = &world->record;
    record->wait_deadline_ns = arguments[0];
    record->wait_resumed = arguments[1];
    record->wait_epoch = arguments[2];
    bool epoch_reached = arguments[2] != 0 && world->committed >= arguments[2];
    if (world_wait_over(world) || arguments[1] != world->resumed || epoch_reached || receive_pending(world)) {
        world->wake = false;
        record->waiting = 0;
        record->wait_deadline_ns = record->wait_resumed = record->wait_epoch = 0;
        *result = 0;
        return true;
    }
    record->waiting = 1;
    return false;
}

/* -- the other calls -- */

/* May the world itself write to [address, address + bytes)? */
static bool writable_range(const struct world *world, uint64_t address, uint64_t bytes)
{
    if (address < ABI_WORLD_BASE || bytes > world->record.memory_bytes || address - ABI_WORLD_BASE > world->record.memory_bytes - bytes) {
        return false;
    }
    uint64_t first = (address - ABI_WORLD_BASE) / ABI_PAGE_BYTES;
    uint64_t last = (address - ABI_WORLD_BASE + (bytes == 0 ? 0 : bytes - 1)) / ABI_PAGE_BYTES;
    for (uint64_t page = first; page <= last; page++) {
        if (world_page_rights(world, (uint32_t)page) != PAGE_WRITE) {
            return false;
        }
    }
    return true;
}

/* Give `bytes` bytes to the world. False: there is no room in the epoch, the world waits and repeats the call. */
static bool give(struct world *world, uint64_t address, const void *data, size_t bytes, uint64_t *result)
{
    if (!world_has_room(world) || world_write(world, address, data, bytes) != STATUS_OK) {
        world->blocked = world->freeze_asked = true;
        return false;
    }
    *result = 0;
    return true;
}

static bool call_entropy(struct world *world, const uint64_t arguments[4], uint64_t *result)
{
    uint8_t bytes[256];
    if (arguments[1] > sizeof bytes) {
        *result = failure(ABI_EINVAL);
        return true;
    }
    if (!writable_range(world, arguments[0], arguments[1])) {
        *result = failure(ABI_EFAULT);
        return true;
    }
    world->machine->entropy(world->machine->context, bytes, (size_t)arguments[1]);
    return give(world, arguments[0], bytes, (size_t)arguments[1], result);
}

static uint64_t call_commit(struct world *world, uint64_t epoch)
{
    if (epoch != 0) {
        return world->committed >= epoch ? 1 : 0;
    }
    if (world->dirty_since_ns == 0) {
        return world->epoch;
    }
    world->freeze_asked = true;
    return world->epoch + 1;
}

static bool call_status(struct world *world, const uint64_t arguments[4], uint64_t *result)
{
    struct abi_status status = {0};
    if (arguments[1] != sizeof status) {
        *result = failure(ABI_EINVAL);
        return true;
    }
    if (!writable_range(world, arguments[0], sizeof status)) {
        *result = failure(ABI_EFAULT);
        return true;
    }
    world->ops.describe(world->ops.context, &status);
    status.epoch = world->epoch + 1;
    status.epoch_committed = world->committed;
    return give(world, arguments[0], &status, sizeof status, result);
}

static void call_exit(struct world *world, const uint64_t arguments[4])
{
    char message[WORLD_REASON_BYTES] = "the world ended itself";
    uint64_t bytes = arguments[2];
    bool readable = arguments[1] >= ABI_WORLD_BASE && bytes > 0 && bytes <= 200 && arguments[1] - ABI_WORLD_BASE <= world->record.memory_bytes - bytes;
    if (readable) {
        char text[201] = {0};
        if (image_read(world->image, arguments[1] - ABI_WORLD_BASE, text, (size_t)bytes) == STATUS_OK) {
            memcpy(message, text, sizeof text);
        }
    }
    world_stop(world, (uint32_t)arguments[0], message);
}

bool world_call(struct world *world, uint64_t number, const uint64_t arguments[4], uint64_t *result)
{
    switch (number) {
    case ABI_CALL_WAIT:
        return call_wait(world, arguments, result);
    case ABI_CALL_CLOCK:
        *result = world_clock_ns(world);
        return true;
    case ABI_CALL_WALL_CLOCK:
        *result = world->machine->wall_clock_ns(world->machine->context);
        return true;
    case ABI_CALL_ENTROPY:
        return call_entropy(world, arguments, result);
    case ABI_CALL_COMMIT:
        *result = call_commit(world, arguments[0]);
        return true;
    case ABI_CALL_STATUS:
        return call_status(world, arguments, result);
    case ABI_CALL_MOVE:
        *result = (uint64_t)world->ops.move(world->ops.context, arguments[0]);
        return true;
    case ABI_CALL_EXIT:
        call_exit(world, arguments);
        return false;
    default:
        *result = failure(ABI_ENOSYS);
        return true;
    }
}

/* -- faults -- */

void world_faulted(struct world *world, const char *reason)
{
    world_stop(world, WORLD_STOP_FAULT, reason);
}

static void stop_at(struct world *world, const char *what, uint64_t address)
{
    char reason[WORLD_REASON_BYTES];
    snprintf(reason, sizeof reason, "it %s at 0x%llx, where its memory does not allow that", what, (unsigned long long)address);
    world_stop(world, WORLD_STOP_ACCESS, reason);
}

void world_page_fault(struct world *world, uint64_t address, bool write, bool execute)
{
    const char *what = execute ? "jumped" : write ? "wrote" : "read";
    if (address < ABI_WORLD_BASE || address - ABI_WORLD_BASE >= world->record.memory_bytes) {
        stop_at(world, what, address);
        return;
    }
    uint32_t page = (uint32_t)((address - ABI_WORLD_BASE) / ABI_PAGE_BYTES);
    enum page_rights rights = world_page_rights(world, page);
    bool allowed = execute ? rights == PAGE_EXECUTE : write ? rights == PAGE_WRITE : rights != PAGE_NONE;
    if (!allowed) {
        stop_at(world, what, address);
        return;
    }
    if (write && !world_has_room(world)) {
        world->blocked = world->freeze_asked = true;
        return;
    }
    world->write_faults += write;
    enum status status = write ? image_touch_write(world->image, page) : image_touch_read(world->image, page);
    if (status == STATUS_FULL) {
        world->blocked = world->freeze_asked = true;
    } else if (status != STATUS_OK) {
        world_stop(world, WORLD_STOP_NO_MEMORY, "the node has no memory left for the world");
    } else if (write) {
        world_mark_dirty(world);
    }
}

/* -- frames -- */

static bool put_frame(struct world *world, const struct queued_frame *frame)
{
    struct abi_ring_state state;
    if (!world_has_room(world) || image_read(world->image, ABI_RING_STATE_ADDRESS - ABI_WORLD_BASE, &state, sizeof state) != STATUS_OK) {
        return false;
    }
    uint32_t pending = world->receive_produced - state.receive_consumed;
    if (pending > ABI_FRAME_SLOTS) {
        world_stop(world, WORLD_STOP_RINGS, "the world broke the rules of its receive ring");
        return false;
    }
    if (pending == ABI_FRAME_SLOTS) {
        return false;
    }
    uint64_t slot = ABI_RECEIVE_ADDRESS + (uint64_t)(world->receive_produced % ABI_FRAME_SLOTS) * ABI_FRAME_SLOT_BYTES;
    if (world_write(world, slot, frame, 4 + frame->bytes) != STATUS_OK) {
        return false;
    }
    uint32_t produced = world->receive_produced + 1;
    if (world_write(world, ABI_RECEIVE_INFO_ADDRESS, &produced, sizeof produced) != STATUS_OK) {
        return false; /* the slot is not produced: it is written again */
    }
    world->receive_produced = produced;
    world->wake = true;
    world->frames_in++;
    return true;
}

void world_deliver_frames(struct world *world)
{
    if (world->queue_count > 0) {
        world_write_progress(world);
    }
    while (world->queue_count > 0 && put_frame(world, &world->queue[world->queue_first])) {
        world->queue_first = (world->queue_first + 1) % WORLD_FRAMES_QUEUED_MAX;
        world->queue_count--;
    }
}

void world_frame_received(struct world *world, const void *frame, size_t bytes)
{
    bool running = world->hosting && world->record.life == WORLD_LIFE_RUNNING;
    if (!running || bytes < 14 || bytes > ABI_FRAME_BYTES_MAX || world->queue_count == WORLD_FRAMES_QUEUED_MAX) {
        world->frames_dropped++;
        return;
    }
    struct queued_frame *slot = &world->queue[(world->queue_first + world->queue_count) % WORLD_FRAMES_QUEUED_MAX];
    slot->bytes = (uint32_t)bytes;
    memcpy(slot->frame, frame, bytes);
    world->queue_count++;
    if (!world->paused) {
        world_deliver_frames(world);
    }
}
