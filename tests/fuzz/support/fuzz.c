#include "tests/fuzz/support/fuzz.h"

#include <sanitizer/asan_interface.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

void fuzz_copy(struct fuzz_input *input, void *out, size_t bytes)
{
    size_t there = input->left < bytes ? input->left : bytes;
    if (there > 0) {
        memcpy(out, input->at, there);
    }
    memset((uint8_t *)out + there, 0, bytes - there);
    input->at += there;
    input->left -= there;
}

uint8_t fuzz_byte(struct fuzz_input *input)
{
    uint8_t value;
    fuzz_copy(input, &value, sizeof value);
    return value;
}

uint16_t fuzz_short(struct fuzz_input *input)
{
    uint16_t value;
    fuzz_copy(input, &value, sizeof value);
    return value;
}

uint32_t fuzz_word(struct fuzz_input *input)
{
    uint32_t value;
    fuzz_copy(input, &value, sizeof value);
    return value;
}

uint64_t fuzz_number(struct fuzz_input *input)
{
    uint8_t first = fuzz_byte(input);
    uint64_t any;
    switch (first) {
    case 255:
        fuzz_copy(input, &any, sizeof any);
        return any;
    case 254:
        return fuzz_word(input);
    case 253:
        return UINT64_MAX - fuzz_byte(input);
    case 252:
        return (1ull << 56) - fuzz_byte(input);
    default:
        return first;
    }
}

static void *reserve(void *context, size_t bytes, size_t alignment)
{
    struct fuzz_machine *machine = context;
    CHECK(machine->reserved_count < sizeof machine->reserved / sizeof machine->reserved[0]);
    size_t whole = bytes + 2 * alignment;
    uint8_t *memory = calloc(1, whole);
    CHECK(memory != NULL);
    machine->reserved[machine->reserved_count++] = memory;
    uintptr_t start = ((uintptr_t)memory + alignment - 1) / alignment * alignment;
    size_t skipped = start - (uintptr_t)memory;
    ASAN_POISON_MEMORY_REGION(memory, skipped);
    ASAN_POISON_MEMORY_REGION(memory + skipped + bytes, whole - skipped - bytes);
    return memory + skipped;
}

void fuzz_machine_init(struct fuzz_machine *machine, uint32_t pages_max, uint64_t disk_bytes)
{
    fake_machine_init(&machine->fake, 1, pages_max, disk_bytes);
    machine->fake.machine.reserve = reserve;
    machine->reserved_count = 0;
}

void fuzz_machine_blank_disk(struct fuzz_machine *machine)
{
    struct fake_disk *disk = &machine->fake.disk;
    int current = madvise(disk->current, disk->bytes, MADV_DONTNEED);
    int durable = madvise(disk->durable, disk->bytes, MADV_DONTNEED);
    CHECK(current == 0);
    CHECK(durable == 0);
}

void fuzz_machine_reset(struct fuzz_machine *machine)
{
    for (unsigned i = 0; i < machine->reserved_count; i++) {
        free(machine->reserved[i]);
    }
    machine->reserved_count = 0;
    fake_machine_power_cut(&machine->fake);
    machine->fake.seed = 1;
    machine->fake.now_ns = 1000000000;
    if (machine->fake.disk.bytes > 0) {
        fuzz_machine_blank_disk(machine);
    }
}

uint8_t *fuzz_machine_disk(struct fuzz_machine *machine, uint64_t offset)
{
    CHECK(offset < machine->fake.disk.bytes);
    return machine->fake.disk.current + offset;
}
