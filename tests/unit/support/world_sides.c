#include "tests/unit/support/world_sides.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "crypto/random.h"

static struct sides *current; /* where both worlds' operations and machines report to */

static enum status submit(void *context, const struct group_entry *header, const uint8_t *body)
{
    (void)context;
    if (current->log_full || current->log_count == SIDES_LOG_MAX) {
        return STATUS_FULL;
    }
    struct sides_entry *entry = &current->log[current->log_count++];
    entry->header = *header;
    entry->body = malloc(header->bytes);
    memcpy(entry->body, body, header->bytes);
    return STATUS_OK;
}

static bool room(void *context, uint32_t entries, size_t bytes)
{
    (void)context;
    return bytes > 0 && entries <= current->log_room;
}

static void before_change(void *context, uint32_t page, const uint8_t *captured)
{
    (void)context;
    (void)page;
    (void)captured;
}

static void frame_send(void *context, const void *frame, size_t bytes)
{
    (void)context;
    current->frames_sent++;
    current->last_frame_byte = ((const uint8_t *)frame)[bytes - 1];
}

static void console_write(void *context, const char *text, size_t bytes)
{
    (void)context;
    (void)text;
    (void)bytes;
}

static void address_hold(void *context, bool hold)
{
    (void)context;
    (void)hold;
}

static void side_create(struct sides *sides, unsigned number)
{
    struct side *side = &sides->side[number - 1];
    fake_machine_init(&side->fake, number, SIDES_PAGES, 1 << 20);
    side->fake.machine.world_frame_send = frame_send;
    side->fake.machine.world_console_write = console_write;
    side->fake.machine.world_address_hold = address_hold;
    side->fake.machine.world_elf = sides->elf;
    side->fake.machine.world_elf_bytes = sizeof sides->elf;
    side->boot = (struct boot_config){.node_number = number, .node_count = 3, .world_memory_bytes = (uint64_t)SIDES_MEMORY_MIB << 20};
    const struct world_config config = {
        .machine = &side->fake.machine,
        .boot = &side->boot,
        .keys = &sides->keys,
        .ops = {.submit = submit, .room = room, .describe = small_world_describe, .move = small_world_move, .before_change = before_change},
    };
    assert_int_equal(world_create(&side->world, &config), STATUS_OK);
}

int sides_set_up(void **state)
{
    struct sides *sides = calloc(1, sizeof *sides);
    const uint8_t key[32] = {1}, cluster[16] = {2};
    current = sides;
    sides->log_room = SIDES_LOG_MAX;
    small_world_make_elf(sides->elf);
    seal_keys_derive(&sides->keys, key, cluster);
    side_create(sides, 1);
    assert_int_equal(crypto_init(&sides->side[0].fake.machine), STATUS_OK);
    side_create(sides, 2);
    *state = sides;
    return 0;
}

int sides_tear_down(void **state)
{
    struct sides *sides = *state;
    for (unsigned i = 0; i < 2; i++) {
        world_check(sides->side[i].world);
        fake_machine_destroy(&sides->side[i].fake);
    }
    for (uint32_t i = 0; i < sides->log_count; i++) {
        free(sides->log[i].body);
    }
    free(sides);
    return 0;
}

void sides_pass(struct sides *sides, uint64_t milliseconds)
{
    for (unsigned i = 0; i < 2; i++) {
        sides->side[i].fake.now_ns += milliseconds * 1000000u;
    }
}

void side_settle(struct side *side)
{
    world_tick(side->world);
    for (unsigned step = 0; step < 1000 && world_deadline_ns(side->world) <= side->fake.now_ns + 200000u; step++) {
        side->fake.now_ns += 1000;
        world_tick(side->world);
    }
}

enum status sides_apply_entry(struct sides *sides, struct side *side, const struct sides_entry *entry)
{
    static size_t assembled;
    assembled = entry->header.part == 0 ? 0 : assembled;
    struct seal_context context = seal_context_delta(entry->header.world, entry->header.epoch, entry->header.part, entry->header.parts);
    uint8_t *to = world_delta_buffer(side->world) + assembled;
    assert_int_equal(seal_open_body(&sides->keys, &context, entry->header.nonce, entry->body, entry->header.bytes, entry->header.tag, to), STATUS_OK);
    assembled += entry->header.bytes;
    return entry->header.part + 1 == entry->header.parts ? world_apply_delta(side->world, assembled) : STATUS_OK;
}

void sides_commit(struct sides *sides, struct side *host, struct side *standby, uint32_t count)
{
    for (; count > 0 && sides->log_committed < sides->log_count; count--) {
        const struct sides_entry *entry = &sides->log[sides->log_committed++];
        if (entry->header.part + 1 == entry->header.parts) {
            world_epoch_committed(host->world, entry->header.epoch);
        }
        assert_int_equal(sides_apply_entry(sides, standby, entry), STATUS_OK);
    }
}

bool side_poke(struct side *side, uint64_t address, const void *data, size_t bytes)
{
    uint32_t page = (uint32_t)((address - ABI_WORLD_BASE) / 4096);
    for (unsigned tries = 0; side->fake.rights[page] != PAGE_WRITE; tries++) {
        if (tries == 2 || !world_runnable(side->world)) {
            return false;
        }
        world_page_fault(side->world, address, true, false);
    }
    memcpy(side->fake.frames[page] + address % 4096, data, bytes);
    return true;
}

struct abi_info side_info(struct side *side)
{
    struct abi_info info;
    assert_int_equal(image_read(world_image(side->world), ABI_INFO_ADDRESS - ABI_WORLD_BASE, &info, sizeof info), STATUS_OK);
    return info;
}

uint64_t side_heap(struct side *side)
{
    return side_info(side).heap_base;
}

struct world_facts side_facts(struct side *side)
{
    struct world_facts facts;
    world_facts(side->world, &facts);
    return facts;
}

void sides_born(struct sides *sides)
{
    world_host(sides->side[0].world);
    side_settle(&sides->side[0]);
    sides_commit(sides, &sides->side[0], &sides->side[1], SIDES_LOG_MAX);
    assert_int_equal(side_facts(&sides->side[0]).committed, 1);
}
