/* The fresh world: the ABI page, the segments, the ELF image and the first registers, written into the open epoch like any other
 * change, so that a birth is replicated as an epoch. */
#include <stdio.h>
#include <string.h>

#include "include/check.h"
#include "replicate/node.h"
#include "replicate/world_internal.h"

enum { STACK_BYTES = 256 * 1024, GUARD_BYTES = 64 * 1024, LOAD_SEGMENTS_MAX = 6 };

/* The parts of ELF64 that a static executable needs (ELF-64 Object File Format, version 1.5). */
struct elf_header {
    uint8_t identification[16];
    uint16_t type, machine;
    uint32_t version;
    uint64_t entry, program_offset, section_offset;
    uint32_t flags;
    uint16_t header_bytes, program_bytes, program_count, section_bytes, section_count, names;
};

struct elf_program {
    uint32_t type, flags;
    uint64_t offset, address, physical, file_bytes, memory_bytes, alignment;
};

enum { ELF_LOAD = 1, ELF_EXECUTE = 1, ELF_WRITE = 2, ELF_MACHINE_X86_64 = 62 };

static uint64_t round_up(uint64_t value)
{
    return (value + ABI_PAGE_BYTES - 1) & ~(ABI_PAGE_BYTES - 1);
}

static bool add_segment(struct world_record *record, uint64_t address, uint64_t bytes, enum page_rights rights)
{
    if (record->segment_count == WORLD_SEGMENTS_MAX) {
        return false;
    }
    record->segments[record->segment_count++] = (struct world_segment){
        .first_page = (uint32_t)((address - ABI_WORLD_BASE) / ABI_PAGE_BYTES),
        .pages = (uint32_t)(round_up(bytes) / ABI_PAGE_BYTES),
        .rights = rights,
    };
    return true;
}

static bool add_fixed_segments(struct world_record *record)
{
    return add_segment(record, ABI_INFO_ADDRESS, 2 * ABI_PAGE_BYTES, PAGE_READ) &&
           add_segment(record, ABI_RING_STATE_ADDRESS,
                       ABI_TRANSMIT_ADDRESS + ABI_FRAME_SLOTS * ABI_FRAME_SLOT_BYTES - ABI_RING_STATE_ADDRESS, PAGE_WRITE) &&
           add_segment(record, ABI_RECEIVE_ADDRESS, ABI_FRAME_SLOTS * ABI_FRAME_SLOT_BYTES, PAGE_READ);
}

/* Check and write one loadable segment; *end moves behind it. */
static bool load_segment(struct world *world, const struct elf_program *program, uint64_t *end)
{
    uint64_t limit = ABI_WORLD_BASE + world->boot->world_memory_bytes;
    size_t elf_bytes = world->machine->world_elf_bytes;
    bool in_file = program->offset <= elf_bytes && program->file_bytes <= elf_bytes - program->offset;
    bool in_world = program->address % ABI_PAGE_BYTES == 0 && program->address >= *end && program->address <= limit &&
                    program->memory_bytes <= limit - program->address && program->file_bytes <= program->memory_bytes;
    if (!in_file || !in_world || ((program->flags & ELF_EXECUTE) != 0 && (program->flags & ELF_WRITE) != 0)) {
        return false;
    }
    enum page_rights rights = (program->flags & ELF_EXECUTE) != 0 ? PAGE_EXECUTE : (program->flags & ELF_WRITE) != 0 ? PAGE_WRITE : PAGE_READ;
    if (!add_segment(&world->record, program->address, program->memory_bytes, rights)) {
        return false;
    }
    const uint8_t *content = (const uint8_t *)world->machine->world_elf + program->offset;
    for (uint64_t done = 0; done < program->file_bytes; done += ABI_PAGE_BYTES) {
        uint64_t bytes = program->file_bytes - done < ABI_PAGE_BYTES ? program->file_bytes - done : ABI_PAGE_BYTES;
        if (!world_has_room(world) || world_write(world, program->address + done, content + done, (size_t)bytes) != STATUS_OK) {
            return false;
        }
    }
    *end = round_up(program->address + program->memory_bytes);
    return true;
}

static bool load_elf(struct world *world, uint64_t *entry, uint64_t *end)
{
    struct elf_header header;
    size_t elf_bytes = world->machine->world_elf_bytes;
    if (elf_bytes < sizeof header) {
        return false;
    }
    memcpy(&header, world->machine->world_elf, sizeof header);
    if (memcmp(header.identification, "\177ELF\2\1\1", 7) != 0 || header.machine != ELF_MACHINE_X86_64 ||
        header.program_bytes != sizeof(struct elf_program) || header.program_offset > elf_bytes ||
        (uint64_t)header.program_count * sizeof(struct elf_program) > elf_bytes - header.program_offset) {
        return false;
    }
    *end = ABI_IMAGE_BASE;
    uint32_t loaded = 0;
    for (uint32_t i = 0; i < header.program_count; i++) {
        struct elf_program program;
        memcpy(&program, (const uint8_t *)world->machine->world_elf + header.program_offset + i * sizeof program, sizeof program);
        if (program.type != ELF_LOAD || program.memory_bytes == 0) {
            continue;
        }
        if (++loaded > LOAD_SEGMENTS_MAX || !load_segment(world, &program, end)) {
            return false;
        }
    }
    *entry = header.entry;
    return loaded > 0;
}

static void fill_info(const struct world *world, struct abi_info *info, uint64_t stack_base, uint64_t heap_base)
{
    *info = (struct abi_info){
        .magic = ABI_MAGIC,
        .version = ABI_VERSION,
        .world_number = WORLD_NUMBER,
        .memory_bytes = world->boot->world_memory_bytes,
        .stack_base = stack_base,
        .stack_bytes = STACK_BYTES,
        .heap_base = heap_base,
        .heap_bytes = ABI_WORLD_BASE + world->boot->world_memory_bytes - heap_base,
        .resumed = 1,
        .resume_kind = ABI_RESUME_BIRTH,
    };
    memcpy(info->mac, world->boot->world_mac, sizeof info->mac);
    memcpy(info->address, world->boot->world_address, sizeof info->address);
    memcpy(info->netmask, world->boot->netmask, sizeof info->netmask);
    memcpy(info->gateway, world->boot->gateway, sizeof info->gateway);
}

void world_birth(struct world *world)
{
    struct world_record *record = &world->record;
    uint64_t entry = 0, end = 0;
    image_clear(world->image); /* pages that a birth which never came to be had read are still present */
    *record = (struct world_record){
        .version = WORLD_RECORD_VERSION,
        .abi_version = ABI_VERSION,
        .world_number = WORLD_NUMBER,
        .life = WORLD_LIFE_RUNNING,
        .memory_bytes = world->boot->world_memory_bytes,
    };
    world->resumed = 1;
    world->progress_written = world->console_progress_written = 0;
    world->receive_produced = 0;
    world->clock_base_ns = 1;
    world->clock_machine_ns = world->machine->now_ns(world->machine->context);
    gate_resume(world->gate, 0, 0);
    bool loaded = add_fixed_segments(record) && load_elf(world, &entry, &end);
    uint64_t stack_base = end + GUARD_BYTES;
    uint64_t heap_base = stack_base + STACK_BYTES + GUARD_BYTES;
    if (!loaded || heap_base + (1u << 20) > ABI_WORLD_BASE + record->memory_bytes ||
        !add_segment(record, stack_base, STACK_BYTES, PAGE_WRITE) ||
        !add_segment(record, heap_base, ABI_WORLD_BASE + record->memory_bytes - heap_base, PAGE_WRITE)) {
        world_stop(world, WORLD_STOP_BIRTH,
                   "the fresh world of this build cannot be loaded: its image is missing, malformed or larger than the world's memory");
        return;
    }
    struct abi_info info;
    fill_info(world, &info, stack_base, heap_base);
    enum status status = world_write(world, ABI_INFO_ADDRESS, &info, sizeof info);
    CHECK(status == STATUS_OK); /* the reserve is there */
    machine_registers_init(world->registers, entry, stack_base + STACK_BYTES);
    world->freeze_asked = true;
    world->machine->world_address_hold(world->machine->context, true);
}
