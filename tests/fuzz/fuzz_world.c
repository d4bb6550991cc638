/* A world that does what it likes to its kernel: its rings, its calls, its faults, frames for it, time, commits and takeovers.
 * Input: 255 for many pages, then a list of what happens. Two nodes; each committed delta is applied by the other, and both agree (ONE-STORY); nothing
 * leaves before its commit (GATE); the kernel goes on (RING). */
#include <string.h>

#include "crypto/random.h"
#include "include/abi.h"
#include "replicate/limits.h"
#include "replicate/node.h"
#include "replicate/world.h"
#include "tests/fuzz/support/fuzz.h"
#include "tests/unit/support/small_world.h"

/* Pages that a run writes at most; those that ask for it more than fill an epoch, which costs a hundred other runs. */
enum { MEMORY_MIB = 16, PAGES = MEMORY_MIB * 256, ENTRIES_MAX = 400, STEPS_MAX = 60, FEW_PAGES = 60, MANY_PAGES = DIRTY_PAGES_MAX + 200 };

struct side {
    struct fuzz_machine machine;
    struct boot_config boot;
    struct world *world;
};

struct entry {
    struct group_entry header;
    uint8_t body[ENTRY_BODY_BYTES_MAX];
};

static struct seal_keys keys;
static struct side sides[2];
static unsigned host;
static struct entry entries[ENTRIES_MAX];
static uint32_t submitted, committed;
static uint32_t room_left, pages_left;
static uint8_t elf[SMALL_WORLD_ELF_BYTES];
static bool releasing;            /* a commit is being told: the only time at which something may leave */

/* -- the node around the world -- */

static enum status submit(void *context, const struct group_entry *header, const uint8_t *body)
{
    CHECK(context == &sides[host]);
    if (room_left == 0 || submitted == ENTRIES_MAX) {
        return STATUS_FULL;
    }
    room_left--;
    CHECK(header->bytes <= ENTRY_BODY_BYTES_MAX);
    struct entry *entry = &entries[submitted++];
    entry->header = *header;
    memcpy(entry->body, body, header->bytes);
    return STATUS_OK;
}

static bool room(void *context, uint32_t count, size_t bytes)
{
    (void)context, (void)bytes;
    return count <= room_left && count <= ENTRIES_MAX - submitted;
}

static void before_change(void *context, uint32_t page, const uint8_t *captured)
{
    (void)context, (void)captured;
    CHECK(page < PAGES);
}

static void frame_send(void *context, const void *frame, size_t bytes)
{
    static volatile uint8_t sum;
    CHECK(context == &sides[host].machine);
    CHECK(releasing);
    CHECK(bytes >= 14);
    CHECK(bytes <= ABI_FRAME_BYTES_MAX);
    sum = (uint8_t)(sum + ((const uint8_t *)frame)[bytes - 1]);
}

static void console_write(void *context, const char *text, size_t bytes)
{
    (void)text;
    CHECK(context == &sides[host].machine);
    CHECK(releasing);
    CHECK(bytes <= ABI_CONSOLE_BYTES);
}

static void boot(unsigned number)
{
    struct side *side = &sides[number];
    side->boot = (struct boot_config){.node_number = number + 1, .node_count = 3, .world_memory_bytes = (uint64_t)MEMORY_MIB << 20};
    struct machine *machine = &side->machine.fake.machine;
    machine->world_frame_send = frame_send;
    machine->world_console_write = console_write;
    machine->world_elf = elf;
    machine->world_elf_bytes = sizeof elf;
    const struct world_config config = {
        .machine = machine,
        .boot = &side->boot,
        .keys = &keys,
        .ops = {.context = side, .submit = submit, .room = room, .describe = small_world_describe, .move = small_world_move, .before_change = before_change},
    };
    CHECK(world_create(&side->world, &config) == STATUS_OK);
}

static void apply(struct side *side, const struct entry *entry)
{
    static size_t assembled;
    assembled = entry->header.part == 0 ? 0 : assembled;
    struct seal_context context = seal_context_delta(entry->header.world, entry->header.epoch, entry->header.part, entry->header.parts);
    uint8_t *to = world_delta_buffer(side->world) + assembled;
    CHECK(seal_open_body(&keys, &context, entry->header.nonce, entry->body, entry->header.bytes, entry->header.tag, to) == STATUS_OK);
    assembled += entry->header.bytes;
    if (entry->header.part + 1 == entry->header.parts) {
        CHECK(world_apply_delta(side->world, assembled) == STATUS_OK);
    }
}

/* Commit whole epochs, up to `epochs` of them. */
static void commit(unsigned epochs)
{
    while (epochs > 0 && committed < submitted) {
        uint32_t parts = entries[committed].header.parts;
        if (submitted - committed < parts) {
            return;
        }
        for (uint32_t part = 0; part < parts; part++) {
            apply(&sides[1 - host], &entries[committed++]);
        }
        releasing = true;
        world_epoch_committed(sides[host].world, entries[committed - 1].header.epoch);
        releasing = false;
        epochs--;
        struct world_facts here, there;
        world_facts(sides[host].world, &here);
        world_facts(sides[1 - host].world, &there);
        CHECK(here.committed == there.committed);
        CHECK(here.digest == there.digest);
    }
}

static void pass(uint64_t nanoseconds)
{
    for (unsigned i = 0; i < 2; i++) {
        sides[i].machine.fake.now_ns += nanoseconds;
    }
    struct side *side = &sides[host];
    for (unsigned step = 0; step < 300; step++) {
        world_tick(side->world);
        if (world_deadline_ns(side->world) > side->machine.fake.now_ns + 200000) {
            break;
        }
        side->machine.fake.now_ns += 1000;
    }
}

/* What is not committed is gone; the other node resumes the same world. */
static void take_over(void)
{
    world_step_down(sides[host].world);
    submitted = committed;
    struct world_facts here, there;
    world_facts(sides[host].world, &here);
    world_facts(sides[1 - host].world, &there);
    CHECK(here.epoch == there.epoch);
    CHECK(image_digest(world_image(sides[host].world)) == image_digest(world_image(sides[1 - host].world)));
    host = 1 - host;
    world_host(sides[host].world);
}

static void be_born(void)
{
    room_left = ENTRIES_MAX;
    world_host(sides[0].world);
    pass(0);
    commit(1);
    CHECK(committed > 0);
    CHECK(committed == submitted);
}

static void prepare(void)
{
    static uint32_t kept;
    if (sides[0].world == NULL) {
        const uint8_t key[32] = {1}, cluster[16] = {2};
        small_world_make_elf(elf);
        fuzz_machine_init(&sides[0].machine, PAGES, 0);
        fuzz_machine_init(&sides[1].machine, PAGES, 0);
        CHECK(crypto_init(&sides[0].machine.fake.machine) == STATUS_OK);
        seal_keys_derive(&keys, key, cluster);
        boot(0);
        boot(1);
        be_born();
        kept = committed;
        fuzz_machine_keep(&sides[0].machine);
        fuzz_machine_keep(&sides[1].machine);
    }
    fuzz_machine_reset(&sides[0].machine);
    fuzz_machine_reset(&sides[1].machine);
    host = 0;
    room_left = ENTRIES_MAX;
    submitted = committed = kept;
}

/* -- the world -- */

/* Its write, with the faults that it takes. */
static void poke(uint64_t address, const void *data, size_t bytes)
{
    struct side *side = &sides[host];
    for (size_t done = 0; done < bytes;) {
        uint32_t page = (uint32_t)((address + done - ABI_WORLD_BASE) / 4096);
        size_t offset = (address + done) % 4096, part = bytes - done < 4096 - offset ? bytes - done : 4096 - offset;
        if (!world_runnable(side->world)) {
            return;
        }
        if (side->machine.fake.rights[page] != PAGE_WRITE) {
            world_page_fault(side->world, address + done, true, false);
        }
        if (!world_runnable(side->world) || side->machine.fake.rights[page] != PAGE_WRITE) {
            return;
        }
        memcpy(side->machine.fake.frames[page] + offset, (const uint8_t *)data + done, part);
        done += part;
    }
}

static struct abi_ring_state ring_state(void)
{
    struct abi_ring_state state;
    CHECK(image_read(world_image(sides[host].world), ABI_RING_STATE_ADDRESS - ABI_WORLD_BASE, &state, sizeof state) == STATUS_OK);
    return state;
}

static uint64_t an_address(struct fuzz_input *input)
{
    static const uint64_t places[] = {ABI_INFO_ADDRESS, ABI_RECEIVE_INFO_ADDRESS, ABI_RING_STATE_ADDRESS, ABI_CONSOLE_ADDRESS, ABI_TRANSMIT_ADDRESS,
                                      ABI_RECEIVE_ADDRESS, ABI_IMAGE_BASE, ABI_IMAGE_BASE + 4096, ABI_WORLD_BASE + ((uint64_t)MEMORY_MIB << 20), 0};
    uint8_t what = fuzz_byte(input);
    if (what >= 240) {
        return fuzz_number(input);
    }
    return places[what % 10] + (uint64_t)(int64_t)(int8_t)fuzz_byte(input) * ((what & 0x40) != 0 ? 512 : 1);
}

/* Frames or console bytes as a world should, or not quite. */
static void produce(struct fuzz_input *input)
{
    struct abi_ring_state state = ring_state();
    uint8_t count = fuzz_byte(input);
    for (uint32_t i = 0; i < count % 8u; i++) {
        struct abi_frame_slot slot = {.bytes = 60};
        slot.bytes = count >= 128 ? (uint32_t)fuzz_number(input) : 14 + fuzz_byte(input) % 1500u;
        poke(ABI_TRANSMIT_ADDRESS + (uint64_t)((state.transmit_produced + i) % ABI_FRAME_SLOTS) * ABI_FRAME_SLOT_BYTES, &slot, 64);
    }
    state.transmit_produced += count % 8u;
    state.console_produced += fuzz_byte(input) * 64u;
    poke(ABI_RING_STATE_ADDRESS, &state, sizeof state);
}

static void break_rings(struct fuzz_input *input)
{
    struct abi_ring_state state = ring_state();
    uint8_t which = fuzz_byte(input);
    uint32_t change = (uint32_t)fuzz_number(input) - 128;
    state.transmit_produced += (which & 1) != 0 ? change : 0;
    state.receive_consumed += (which & 2) != 0 ? change : 0;
    state.console_produced += (which & 4) != 0 ? change : 0;
    poke(ABI_RING_STATE_ADDRESS, &state, sizeof state);
}

static void call(struct fuzz_input *input)
{
    uint64_t arguments[4], result = 0;
    uint8_t number = fuzz_byte(input), shape = fuzz_byte(input);
    for (unsigned i = 0; i < 4; i++) {
        arguments[i] = (shape >> i & 1) != 0 ? an_address(input) : fuzz_number(input);
    }
    if ((shape & 0x10) != 0) {
        arguments[1] = sizeof(struct abi_status);
    }
    bool done = world_call(sides[host].world, number % 8 == 0 ? number : number % 16u, arguments, &result);
    CHECK(!done || number % 16u != ABI_CALL_EXIT || number % 8 == 0);
}

static void write_many(struct fuzz_input *input)
{
    uint32_t first = fuzz_short(input) % PAGES, count = fuzz_byte(input) * 8u;
    uint8_t value = fuzz_byte(input);
    for (uint32_t page = first; page < first + count && page < PAGES && pages_left > 0; page++, pages_left--) {
        poke(ABI_WORLD_BASE + page * 4096ull + value, &value, 1);
    }
}

static void step(struct fuzz_input *input)
{
    static const uint8_t frame[2000] = "a frame";
    uint8_t what = fuzz_byte(input), more = what >> 4;
    struct world *world = sides[host].world;
    /* The kernel enters ring 3 only then; what the world does otherwise does not happen. */
    bool runs = world_runnable(world);
    switch (what % 12) {
    case 0:
        commit(1 + more);
        break;
    case 1:
        pass((uint64_t)more * 3000000);
        break;
    case 2:
        if (runs) {
            produce(input);
        }
        break;
    case 3:
        if (runs) {
            break_rings(input);
        }
        break;
    case 4:
        if (runs) {
            call(input);
        }
        break;
    case 5:
        if (runs) {
            world_page_fault(world, an_address(input), (more & 1) != 0, (more & 3) == 2);
        }
        break;
    case 6:
        world_frame_received(world, frame, fuzz_byte(input) * 8u);
        break;
    case 7:
        for (unsigned i = 0; i < more * 20u; i++) {
            world_frame_received(world, frame, 60);
        }
        break;
    case 8:
        take_over();
        break;
    case 9:
        world_pause(world, (more & 1) != 0);
        break;
    case 10:
        room_left = more < 8 ? more : ENTRIES_MAX;
        break;
    default:
        if (runs) {
            write_many(input);
        }
        break;
    }
    pass(0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, bytes};
    prepare();
    pages_left = fuzz_byte(&input) == 255 ? MANY_PAGES : FEW_PAGES;
    for (unsigned i = 0; i < STEPS_MAX && input.left > 0; i++) {
        step(&input);
    }
    room_left = ENTRIES_MAX;
    pass(200000000);
    commit(10);
    world_check(sides[0].world);
    world_check(sides[1].world);
    return 0;
}
