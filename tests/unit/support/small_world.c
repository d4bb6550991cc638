#include "tests/unit/support/small_world.h"

#include <string.h>

#include "replicate/node.h"

void machine_registers_init(uint8_t registers[1024], uint64_t entry, uint64_t stack)
{
    memset(registers, 0, 1024);
    memcpy(registers, &entry, sizeof entry);
    memcpy(registers + 8, &stack, sizeof stack);
}

void small_world_describe(void *context, struct abi_status *out)
{
    (void)context;
    out->node = 1;
}

int64_t small_world_move(void *context, uint64_t node)
{
    (void)context;
    return node == 2 ? 0 : -ABI_EINVAL;
}

void small_world_make_elf(uint8_t out[SMALL_WORLD_ELF_BYTES])
{
    struct {
        uint8_t identification[16];
        uint16_t type, machine;
        uint32_t version;
        uint64_t entry, program_offset, section_offset;
        uint32_t flags;
        uint16_t header_bytes, program_bytes, program_count, section_bytes, section_count, names;
    } header = {.identification = "\177ELF\2\1\1", .type = 2, .machine = 62, .version = 1, .entry = ABI_IMAGE_BASE, .program_offset = 64,
                .program_bytes = 56, .program_count = 2};
    struct {
        uint32_t type, flags;
        uint64_t offset, address, physical, file_bytes, memory_bytes, alignment;
    } programs[2] = {{1, 5, 4096, ABI_IMAGE_BASE, 0, 4096, 4096, 4096}, {1, 6, 8192, ABI_IMAGE_BASE + 4096, 0, 4096, 65536, 4096}};
    memset(out, 0x5a, SMALL_WORLD_ELF_BYTES);
    memcpy(out, &header, sizeof header);
    memcpy(out + 64, programs, sizeof programs);
}
