/* The two sides of a world (replicate/world) joined by hand, for tests: a host and a standby on fake machines, and a log that is committed when the test
 * says so. It owns the machines and what was submitted; frames that leave are only counted. One pair at a time. What a step of a test needs to succeed is
 * asserted here. */
#ifndef EIDOLON_TESTS_WORLD_SIDES_H
#define EIDOLON_TESTS_WORLD_SIDES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "replicate/world.h"
#include "tests/unit/support/fake_machine.h"
#include "tests/unit/support/small_world.h"

enum { SIDES_MEMORY_MIB = 32, SIDES_PAGES = SIDES_MEMORY_MIB * 256, SIDES_LOG_MAX = 4096 };

struct sides_entry {
    struct group_entry header;
    uint8_t *body;
};

struct side {
    struct fake_machine fake;
    struct boot_config boot;
    struct world *world;
};

struct sides {
    struct seal_keys keys;
    uint8_t elf[SMALL_WORLD_ELF_BYTES]; /* the program of both */
    struct side side[2];                /* nodes 1 and 2 */
    struct sides_entry log[SIDES_LOG_MAX];
    uint32_t log_count;                 /* submitted */
    uint32_t log_committed;
    bool log_full;
    uint32_t log_room;                  /* entries */
    uint32_t frames_sent;               /* by either side */
    uint8_t last_frame_byte;
};

/* For cmocka, around each test: both worlds anew, not born, the log empty; `state` is a struct sides. Afterwards both worlds are checked. */
int sides_set_up(void **state);
int sides_tear_down(void **state);

/* The first side hosts, and its world's birth is committed on both. */
void sides_born(struct sides *sides);
/* Time passes on both sides; nothing is done in it. */
void sides_pass(struct sides *sides, uint64_t milliseconds);
/* Commit up to `count` submitted entries: the host hears of it, the standby applies. */
void sides_commit(struct sides *sides, struct side *host, struct side *standby, uint32_t count);
/* The standby takes one entry, and applies the delta when that is its last part: what world_apply_delta says, else OK. */
enum status sides_apply_entry(struct sides *sides, struct side *side, const struct sides_entry *entry);

/* Let the side do everything that is due at this instant, or within 0.2 ms; its clock goes on by 1 ms at most. */
void side_settle(struct side *side);
/* The world writes. False: it has to wait. */
bool side_poke(struct side *side, uint64_t address, const void *data, size_t bytes);
struct world_facts side_facts(struct side *side);
/* What the world reads about itself. */
struct abi_info side_info(struct side *side);
/* The address of its heap. */
uint64_t side_heap(struct side *side);

#endif
