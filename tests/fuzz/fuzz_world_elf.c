/* The world's program, as it stands in the kernel's image. Input: changes of its headers, then how much of it is there.
 * A world that is born has a record that every node accepts; any other one is stopped, and says why. */
#include <string.h>

#include "crypto/random.h"
#include "include/abi.h"
#include "replicate/node.h"
#include "replicate/world_internal.h"
#include "tests/fuzz/support/fuzz.h"
#include "tests/unit/support/small_world.h"

enum { MEMORY_MIB = 16, PAGES = MEMORY_MIB * 256 };

static struct fuzz_machine machine;
static struct boot_config boot = {.node_number = 1, .node_count = 3, .world_memory_bytes = (uint64_t)MEMORY_MIB << 20};
static struct world *world;
static uint8_t elf[SMALL_WORLD_ELF_BYTES];

static enum status submit(void *context, const struct group_entry *header, const uint8_t *body)
{
    (void)context, (void)header, (void)body;
    return STATUS_FULL;
}

static bool room(void *context, uint32_t count, size_t bytes)
{
    (void)context, (void)count, (void)bytes;
    return false;
}

static void before_change(void *context, uint32_t page, const uint8_t *captured)
{
    (void)context, (void)captured;
    CHECK(page < PAGES);
}

static void prepare(void)
{
    if (world == NULL) {
        static const uint8_t key[32] = {1}, cluster[16] = {2};
        static struct seal_keys keys;
        fuzz_machine_init(&machine, PAGES, 0);
        CHECK(crypto_init(&machine.fake.machine) == STATUS_OK);
        seal_keys_derive(&keys, key, cluster);
        machine.fake.machine.world_elf = elf;
        const struct world_config config = {.machine = &machine.fake.machine,
                                            .boot = &boot,
                                            .keys = &keys,
                                            .ops = {.submit = submit, .room = room, .before_change = before_change}};
        CHECK(world_create(&world, &config) == STATUS_OK);
        fuzz_machine_keep(&machine);
    }
    fuzz_machine_reset(&machine);
    small_world_make_elf(elf);
}

/* A few bytes of header and program headers are changed. */
static void change(struct fuzz_input *input)
{
    for (unsigned i = fuzz_byte(input) % 8u; i > 0; i--) {
        uint8_t at = fuzz_byte(input), bytes = 1 + fuzz_byte(input) % 8u;
        uint64_t value = fuzz_number(input);
        memcpy(elf + at, &value, bytes);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, bytes};
    prepare();
    change(&input);
    machine.fake.machine.world_elf_bytes = sizeof elf - fuzz_short(&input) % sizeof elf;
    world_host(world);
    world_check(world);
    CHECK(world_record_check(&world->record, boot.world_memory_bytes) == STATUS_OK);
    CHECK(world_runnable(world) == (world->record.life == WORLD_LIFE_RUNNING));
    CHECK(world_runnable(world) || world->record.stop_reason[0] != '\0');
    return 0;
}
