/* Invariants:
 *   1. released <= end(oldest closed epoch) <= ... <= end(newest) == taken, as counts modulo 2^32; taken - released <= ABI_FRAME_SLOTS.
 *   2. copies[count % ABI_FRAME_SLOTS] holds frame `count` for released <= count < taken. The same for console bytes.
 *   3. A frame is sent only from gate_release_epoch, never before its epoch's commit (GATE). */
#include "replicate/gate.h"

#include <string.h>

#include "include/abi.h"
#include "include/check.h"
#include "replicate/limits.h"

struct gate_mark {
    uint64_t epoch;
    uint32_t transmit_end;
    uint32_t console_end;
};

struct gate {
    const struct machine *machine;
    uint32_t transmit_taken, transmit_released;
    uint32_t console_taken, console_released;
    uint32_t mark_count;
    struct gate_mark marks[EPOCHS_IN_FLIGHT_MAX];
    uint64_t frames_released;
    struct abi_frame_slot *copies;
    char *console;
};

enum status gate_create(struct gate **out, const struct machine *machine)
{
    struct gate *gate = machine->reserve(machine->context, sizeof *gate, 64);
    if (gate == NULL) {
        return STATUS_NO_MEMORY;
    }
    gate->machine = machine;
    gate->copies = machine->reserve(machine->context, ABI_FRAME_SLOTS * sizeof *gate->copies, 64);
    gate->console = machine->reserve(machine->context, ABI_CONSOLE_BYTES, 64);
    if (gate->copies == NULL || gate->console == NULL) {
        return STATUS_NO_MEMORY;
    }
    *out = gate;
    return STATUS_OK;
}

void gate_resume(struct gate *gate, uint32_t transmit_released, uint32_t console_released)
{
    gate->mark_count = 0;
    gate->transmit_taken = gate->transmit_released = transmit_released;
    gate->console_taken = gate->console_released = console_released;
}

/* The world's ring state, checked against what was taken. */
static enum status read_produced(const struct gate *gate, const struct image *image, struct abi_ring_state *state)
{
    enum status status = image_read(image, ABI_RING_STATE_ADDRESS - ABI_WORLD_BASE, state, sizeof *state);
    if (status != STATUS_OK) {
        return status;
    }
    if (state->transmit_produced - gate->transmit_released > ABI_FRAME_SLOTS ||
        state->transmit_produced - gate->transmit_released < gate->transmit_taken - gate->transmit_released) {
        return STATUS_INVALID;
    }
    if (state->console_produced - gate->console_released > ABI_CONSOLE_BYTES ||
        state->console_produced - gate->console_released < gate->console_taken - gate->console_released) {
        return STATUS_INVALID;
    }
    return STATUS_OK;
}

enum status gate_pending(const struct gate *gate, const struct image *image, bool *pending)
{
    struct abi_ring_state state;
    enum status status = read_produced(gate, image, &state);
    if (status == STATUS_OK) {
        *pending = state.transmit_produced != gate->transmit_taken || state.console_produced != gate->console_taken;
    }
    return status;
}

static enum status copy_frames(struct gate *gate, const struct image *image, uint32_t end)
{
    for (uint32_t count = gate->transmit_taken; count != end; count++) {
        uint32_t slot = count % ABI_FRAME_SLOTS;
        struct abi_frame_slot *copy = &gate->copies[slot];
        enum status status = image_read(image, ABI_TRANSMIT_ADDRESS - ABI_WORLD_BASE + (uint64_t)slot * ABI_FRAME_SLOT_BYTES, copy, sizeof *copy);
        if (status != STATUS_OK) {
            return status;
        }
        if (copy->bytes < 14 || copy->bytes > ABI_FRAME_BYTES_MAX) {
            return STATUS_INVALID;
        }
    }
    return STATUS_OK;
}

static enum status copy_console(struct gate *gate, const struct image *image, uint32_t end)
{
    uint32_t count = gate->console_taken;
    while (count != end) {
        uint32_t at = count % ABI_CONSOLE_BYTES;
        uint32_t bytes = end - count;
        if (bytes > ABI_CONSOLE_BYTES - at) {
            bytes = ABI_CONSOLE_BYTES - at;
        }
        enum status status = image_read(image, ABI_CONSOLE_ADDRESS - ABI_WORLD_BASE + at, gate->console + at, bytes);
        if (status != STATUS_OK) {
            return status;
        }
        count += bytes;
    }
    return STATUS_OK;
}

enum status gate_close_epoch(struct gate *gate, const struct image *image, uint64_t epoch)
{
    CHECK(gate->mark_count < EPOCHS_IN_FLIGHT_MAX);
    CHECK(gate->mark_count == 0 || gate->marks[gate->mark_count - 1].epoch < epoch);
    struct abi_ring_state state;
    enum status status = read_produced(gate, image, &state);
    if (status != STATUS_OK) {
        return status;
    }
    status = copy_frames(gate, image, state.transmit_produced);
    if (status != STATUS_OK) {
        return status;
    }
    status = copy_console(gate, image, state.console_produced);
    if (status != STATUS_OK) {
        return status;
    }
    gate->transmit_taken = state.transmit_produced;
    gate->console_taken = state.console_produced;
    gate->marks[gate->mark_count++] = (struct gate_mark){
        .epoch = epoch, .transmit_end = gate->transmit_taken, .console_end = gate->console_taken};
    return STATUS_OK;
}

static void release_until(struct gate *gate, const struct gate_mark *mark)
{
    const struct machine *machine = gate->machine;
    while (gate->transmit_released != mark->transmit_end) {
        const struct abi_frame_slot *copy = &gate->copies[gate->transmit_released % ABI_FRAME_SLOTS];
        machine->world_frame_send(machine->context, copy->frame, copy->bytes);
        gate->transmit_released++;
        gate->frames_released++;
    }
    while (gate->console_released != mark->console_end) {
        uint32_t at = gate->console_released % ABI_CONSOLE_BYTES;
        uint32_t bytes = mark->console_end - gate->console_released;
        if (bytes > ABI_CONSOLE_BYTES - at) {
            bytes = ABI_CONSOLE_BYTES - at;
        }
        machine->world_console_write(machine->context, gate->console + at, bytes);
        gate->console_released += bytes;
    }
}

void gate_release_epoch(struct gate *gate, uint64_t epoch)
{
    uint32_t released = 0;
    while (released < gate->mark_count && gate->marks[released].epoch <= epoch) {
        release_until(gate, &gate->marks[released]);
        released++;
    }
    gate->mark_count -= released;
    memmove(gate->marks, gate->marks + released, gate->mark_count * sizeof gate->marks[0]);
}

void gate_discard(struct gate *gate)
{
    gate->transmit_taken = gate->transmit_released;
    gate->console_taken = gate->console_released;
    gate->mark_count = 0;
}

bool gate_transmit_short(const struct gate *gate, const struct image *image, uint32_t seen)
{
    struct abi_ring_state state;
    return read_produced(gate, image, &state) == STATUS_OK && state.transmit_produced - seen > ABI_FRAME_SLOTS - ABI_FRAME_SLOTS_LOW;
}

uint32_t gate_transmit_released(const struct gate *gate)
{
    return gate->transmit_released;
}

uint32_t gate_console_released(const struct gate *gate)
{
    return gate->console_released;
}

uint64_t gate_frames_released(const struct gate *gate)
{
    return gate->frames_released;
}

void gate_check(const struct gate *gate)
{
    CHECK(gate->transmit_taken - gate->transmit_released <= ABI_FRAME_SLOTS);
    CHECK(gate->console_taken - gate->console_released <= ABI_CONSOLE_BYTES);
    CHECK(gate->mark_count <= EPOCHS_IN_FLIGHT_MAX);
    uint32_t transmit = gate->transmit_released, console = gate->console_released;
    for (uint32_t i = 0; i < gate->mark_count; i++) {
        const struct gate_mark *mark = &gate->marks[i];
        CHECK(mark->transmit_end - gate->transmit_released >= transmit - gate->transmit_released);
        CHECK(mark->console_end - gate->console_released >= console - gate->console_released);
        CHECK(i == 0 || gate->marks[i - 1].epoch < mark->epoch);
        transmit = mark->transmit_end;
        console = mark->console_end;
    }
    CHECK(transmit == gate->transmit_taken);
    CHECK(console == gate->console_taken);
}
