/* Inside of replicate/store: shared by the store*.c files alone.
 *
 * Invariants (store_check):
 *  1. A slot's flags say who needs it; a slot without flags is free. `free_slots` counts those.
 *  2. While nothing is under way `next` equals `current`. Otherwise an entry of `next` that differs stands in a slot of its own.
 *  3. A slot is written only while it is free of CURRENT and PINNED, and not again before the write under way has ended (MOVING).
 *  4. The superblock on disk names `current`.
 *
 *   phase      does                                        next        when
 *   IDLE                                                   PAGES       store_checkpoint_begin
 *                                                          PULL        store_install_begin
 *   PAGES      seals pages of the image into free slots    NODES       none left
 *   PULL       takes pages from a peer                     NODES       none is missing
 *   NODES      seals changed map nodes and the record      SETTLE      the root is sealed
 *   SETTLE     waits for the writes                        FLUSH       none under way
 *   FLUSH      makes them durable                          SUPERBLOCK  flushed
 *   SUPERBLOCK writes the superblock                       SEAL        written
 *   SEAL       makes it durable                            IDLE        flushed: `next` becomes `current`
 * A failure in any phase goes back to IDLE with `next` = `current`. */
#ifndef EIDOLON_REPLICATE_STORE_PRIVATE_H
#define EIDOLON_REPLICATE_STORE_PRIVATE_H

#include "replicate/limits.h"
#include "replicate/store.h"
#include "replicate/store_format.h"

enum slot_flag { SLOT_CURRENT = 1, SLOT_PINNED = 2, SLOT_NEXT = 4, SLOT_MOVING = 8 };

enum store_phase { PHASE_IDLE, PHASE_PAGES, PHASE_PULL, PHASE_NODES, PHASE_SETTLE, PHASE_FLUSH, PHASE_SUPERBLOCK, PHASE_SEAL };

enum batch_state { BATCH_FREE, BATCH_FILLING, BATCH_READY, BATCH_UNDER_WAY };

/* Consecutive slots written by one request. */
struct store_batch {
    struct block_request request;
    struct store *store;
    uint8_t *buffer;                /* STORE_BATCH_BLOCKS blocks */
    enum batch_state state;
    uint32_t first_slot;
    uint32_t slots;                 /* taken for it */
    uint32_t used;
};

struct store_map {
    struct store_page_reference *pages;
    struct disk_block_reference *nodes[STORE_LEVELS_MAX];   /* [level - 1][index] */
    struct disk_block_reference record;
};

struct store {
    struct store_config config;
    const struct machine *machine;

    uint32_t pages_max;
    uint32_t levels;
    uint32_t node_count[STORE_LEVELS_MAX];

    struct disk_superblock superblock;  /* the current one */
    uint32_t superblock_block;          /* where it stands: 0 or 1 */
    uint64_t sequence_seen;             /* highest of any superblock */
    struct checkpoint checkpoint;
    struct store_map current;

    uint8_t *slot_flags;                /* [1..slot_count] */
    uint32_t slot_count, slots_reserved;
    uint32_t free_slots;
    uint32_t slot_cursor;

    struct store_batch batches[STORE_REQUESTS_MAX];
    struct store_batch *filling;
    uint32_t writes_under_way;
    bool write_failed;
    uint64_t written_bytes;             /* handed to the disk since creation: pages, nodes, superblocks */

    enum store_phase phase;
    bool installing;                    /* else making a checkpoint of an image */
    bool hurry;
    struct checkpoint next_checkpoint;
    struct store_map next;
    uint64_t *changed_nodes[STORE_LEVELS_MAX]; /* bitmap: to be sealed anew */
    uint32_t node_level;                /* NODES: level under way, from 1 */
    uint32_t node_index;
    struct block_request control;       /* flush, superblock */
    bool control_under_way;
    enum status control_status;
    uint8_t *control_buffer;
    struct disk_superblock next_superblock;
    bool superblock_uncertain;          /* its write or flush failed: nobody knows which of the two the disk holds */
    uint64_t next_step_ns;              /* pace */

    struct image *image;                /* of the checkpoint under way */
    uint64_t *unwritten;                /* bitmap of pages still to be sealed from the image */
    uint32_t unwritten_left;
    uint32_t unwritten_cursor;
    uint32_t *copied_page;              /* ring of STORE_COPIES_MAX pages that changed before they were sealed */
    uint8_t *copies;
    uint32_t copied_put, copied_taken;
    bool copies_overflowed;

    uint64_t *wanted;                   /* hash of each page of the manifest */
    uint32_t missing_left;

    struct store_page_reference *pinned;
    struct checkpoint pinned_checkpoint;
    bool pin;

    uint32_t fill_cursor;
    uint8_t *read_buffer;               /* STORE_FILL_PAGES blocks */
    uint8_t *scratch;                   /* a block */
};

static inline bool bit_get(const uint64_t *bits, uint32_t at)
{
    return (bits[at / 64] >> (at % 64) & 1) != 0;
}
static inline void bit_set(uint64_t *bits, uint32_t at)
{
    bits[at / 64] |= 1ull << (at % 64);
}
static inline void bit_clear(uint64_t *bits, uint32_t at)
{
    bits[at / 64] &= ~(1ull << (at % 64));
}
static inline size_t bit_words(uint32_t count)
{
    return (count + 63u) / 64u;
}

uint64_t store_now_ns(const struct store *store);
uint64_t store_slot_offset(const struct store *store, uint32_t slot);

/* -- store_slots.c -- */
void slot_mark(struct store *store, uint32_t slot, enum slot_flag flag);
void slot_unmark(struct store *store, uint32_t slot, enum slot_flag flag);
/* Forget all flags but MOVING: every other slot is free. */
void slots_clear(struct store *store);
/* Room for one more block? */
bool store_block_room(const struct store *store);
/* The buffer of a fresh slot (marked NEXT), to be filled at once; NULL: no room now. */
uint8_t *store_block_take(struct store *store, uint32_t *slot);
/* No more blocks come: let the last batch go. */
void store_blocks_end(struct store *store);
/* Hand full batches to the machine. */
void store_blocks_submit(struct store *store);
/* Give up what was not handed to the machine yet. */
void store_blocks_drop(struct store *store);

/* -- store_map.c -- */
/* Read the map that `superblock` names into `current` and mark its slots. CORRUPT, IO_ERROR: `reason` says what; what did verify is in `current`.
 * UNKNOWN_VERSION: the world was left by another build. */
MUST_CHECK enum status map_load(struct store *store, const struct disk_superblock *superblock, char reason[REASON_BYTES_MAX]);
void map_clear_current(struct store *store);
/* Replace the entry of `page` in `next`; NULL: absent. A slot that only the old entry needed is free. */
void map_set_next(struct store *store, uint32_t page, const struct store_page_reference *reference);
/* Mark the nodes above every page whose entry differs. */
void map_mark_changed(struct store *store);
/* Mark the nodes above the leaves that are marked in changed_nodes[0]. Returns how many nodes are marked in all. */
uint32_t map_mark_parents(struct store *store);
void map_unmark_all(struct store *store);
/* Seal up to `count` marked nodes into slots. True: none is left. */
bool map_seal_step(struct store *store, uint32_t count);
/* Seal the world record into a slot. False: no room now. */
bool map_seal_record(struct store *store);
/* `next` is durable: it becomes `current`, and what only the old one needed is free. */
void map_adopt_next(struct store *store);
/* Give `next` up: it becomes `current` again. */
void map_drop_next(struct store *store);
uint64_t map_page_count(const struct store_page_reference *pages, uint32_t pages_max);

/* -- store_commit.c: phases NODES to SEAL -- */
void commit_begin(struct store *store);
/* OK: more to do. EMPTY: durable. IO_ERROR. */
MUST_CHECK enum status commit_step(struct store *store);
/* Back to IDLE with `next` = `current`. */
void commit_abort(struct store *store);
/* The fields of a superblock that do not come from a checkpoint. */
void superblock_base(const struct store *store, struct disk_superblock *out);

#endif
