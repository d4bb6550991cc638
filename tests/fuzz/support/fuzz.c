#include "tests/fuzz/support/fuzz.h"

#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
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

enum { PAGE = 4096 };

static void map_reserved(struct fuzz_reserved *reserved, size_t bytes)
{
    size_t rounded = (bytes + PAGE - 1) / PAGE * PAGE;
    uint8_t *memory = mmap(NULL, rounded + 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(memory != MAP_FAILED);
    ASAN_POISON_MEMORY_REGION(memory, PAGE);
    ASAN_POISON_MEMORY_REGION(memory + PAGE + bytes, rounded - bytes + PAGE);
    __lsan_register_root_region(memory + PAGE, bytes);
    *reserved = (struct fuzz_reserved){memory + PAGE, bytes};
}

static void *reserve(void *context, size_t bytes, size_t alignment)
{
    struct fuzz_machine *machine = context;
    CHECK(machine->reserved_count < sizeof machine->reserved / sizeof machine->reserved[0]);
    CHECK(alignment <= PAGE);
    struct fuzz_reserved *reserved = &machine->reserved[machine->reserved_count++];
    if (machine->reserved_count > machine->reserved_known) {
        map_reserved(reserved, bytes);
        machine->reserved_known = machine->reserved_count;
    }
    CHECK(reserved->bytes == bytes);
    return reserved->memory;
}

void fuzz_machine_init(struct fuzz_machine *machine, uint32_t pages_max, uint64_t disk_bytes)
{
    fake_machine_init(&machine->fake, 1, pages_max, disk_bytes);
    machine->fake.machine.reserve = reserve;
    machine->reserved_count = machine->reserved_known = 0;
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
        int emptied = madvise(machine->reserved[i].memory, (machine->reserved[i].bytes + PAGE - 1) / PAGE * PAGE, MADV_DONTNEED);
        CHECK(emptied == 0);
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
