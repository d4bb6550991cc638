/* The page store: a node's on-disk checkpoint of the standby image, and the superblocks.
 *
 * Owns: both superblocks, the slots behind store_offset, the map (a tree of sealed nodes from page number to slot, hash, nonce and tag;
 * replicate/store_format.h).
 *
 * Promises: a checkpoint is complete or not there (NO-TEAR): pages into free slots, changed map nodes into free slots, flush, superblock, flush;
 * only then are old slots free. No sealed byte is used before its tag, held by its parent up to the superblock, is verified (VERIFY). Work is
 * in bounded steps at a bounded rate; at most STORE_REQUESTS_MAX + 1 requests are outstanding (BOUND). A pinned checkpoint's slots are not freed.
 * Blocks are sealed with the cluster's key without a node's name, so that a sealed page can be sent to and stored by another node as it is. */
#ifndef EIDOLON_REPLICATE_STORE_H
#define EIDOLON_REPLICATE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/seal.h"
#include "include/disk_format.h"
#include "include/machine.h"
#include "include/status.h"
#include "replicate/image.h"
#include "replicate/world_record.h"

struct store;

enum { STORE_BLOCK_BYTES = 4096 };

/* What a checkpoint stands for. */
struct checkpoint {
    uint64_t raft_index, raft_term;   /* last entry covered */
    uint64_t configuration_index;
    uint32_t member_count;
    struct disk_member members[DISK_MEMBERS_MAX];
    uint64_t epoch;
    uint64_t digest;
    struct world_record record;       /* life NONE when epoch is 0 */
};

/* A sealed page as it stands in a slot and travels to a peer. */
struct sealed_page {
    uint32_t page;
    uint32_t reserved;
    uint64_t hash;                    /* image_page_hash of the content */
    uint8_t nonce[24];
    uint8_t tag[16];
    uint8_t cipher[STORE_BLOCK_BYTES];
};

enum store_disk { STORE_DISK_OK, STORE_DISK_BLANK, STORE_DISK_CORRUPT, STORE_DISK_FOREIGN, STORE_DISK_SMALL, STORE_DISK_FAILED };

struct store_config {
    const struct machine *machine;
    const struct seal_keys *keys;
    uint8_t cluster_id[16];
    uint32_t node_number;
    uint32_t world_pages_max;
};

MUST_CHECK enum status store_create(struct store **out, const struct store_config *config);

/* Read superblocks and the whole map (not the pages). Synchronous, at boot. *disk says what was found; for CORRUPT and FOREIGN `reason`
 * says what exactly. Returns OK whenever *disk could be told. */
MUST_CHECK enum status store_open(struct store *store, enum store_disk *disk, char reason[REASON_BYTES_MAX]);
/* Make this disk a stranger's under a new incarnation (blank, or given up as corrupt): both superblocks anew, `joining` = 1, empty checkpoint, no votes.
 * Synchronous write and flush, at boot or on removal. */
MUST_CHECK enum status store_adopt(struct store *store, uint64_t incarnation);

const struct disk_superblock *store_superblock(const struct store *store);
const struct checkpoint *store_checkpoint(const struct store *store);

/* -- filling an image from the checkpoint, in bounded steps (boot, and after an install) -- */
/* Bring up to `pages_max` pages of `image` to the checkpoint's content (present hash equal: skipped). *done: nothing is left. CORRUPT: a slot does not
 * verify; *page says which. */
MUST_CHECK enum status store_fill_step(struct store *store, struct image *image, uint32_t pages_max, bool *done, uint32_t *page);
void store_fill_restart(struct store *store);
/* Where the checkpoint has `page`; 0: absent. */
uint32_t store_page_slot(const struct store *store, uint32_t page);

/* -- making a checkpoint of an image -- */
/* The captured content of the image now is the checkpoint's. BUSY: one is under way, or an install is. NO_SPACE: too few free slots (a pin holds
 * them: store_unpin). IO_ERROR: the disk failed before. From here on until the end the image's before_change must be forwarded to store_page_changing. */
MUST_CHECK enum status store_checkpoint_begin(struct store *store, struct image *image, const struct checkpoint *checkpoint);
/* Do a bounded amount of work, paced to a share of the time; submits writes. OK: more to do (call again at store_deadline_ns). EMPTY: ended, durable:
 * store_checkpoint() is the new one. Otherwise it has ended and the old checkpoint is intact: IO_ERROR: the disk failed. CORRUPT: memory flipped (each page
 * is scrubbed before it enters). FULL: more than STORE_COPIES_MAX pages changed before they were written: begin again when it is calmer. */
MUST_CHECK enum status store_checkpoint_step(struct store *store);
bool store_checkpointing(const struct store *store);
/* From now on checkpoints take half of the time instead of a fifth, or not any more. */
void store_hurry(struct store *store, bool hurry);
/* image's hook: always forwarded. Copies the page out if the checkpoint under way still needs it. Never fails: if there is no room for the copy,
 * the checkpoint ends (FULL). */
void store_page_changing(void *store, uint32_t page, const uint8_t *captured);

/* -- giving pages to a peer -- */
/* Pin the current checkpoint for a puller, so that its slots stay. One pin at a time, replaced by the next. */
void store_pin(struct store *store);
void store_unpin(struct store *store);
const struct checkpoint *store_pinned(const struct store *store); /* NULL: none */
/* Hash of `page` in the pinned checkpoint (0: absent). */
uint64_t store_pinned_hash(const struct store *store, uint32_t page);
/* Sealed page from the pinned checkpoint. NOT_FOUND: absent there, or no pin. CORRUPT/IO_ERROR: our disk is bad. One synchronous read of a block. */
MUST_CHECK enum status store_pinned_page(struct store *store, uint32_t page, struct sealed_page *out);

/* -- taking a checkpoint from a peer -- */
/* Start (or restart with a newer manifest, keeping pages already received or held that match) an install. hashes: world_pages_max entries, borrowed
 * only during the call. BUSY: a checkpoint, or the end of an install, is under way: finish it first. INVALID: the hashes do not add up to the digest, or a
 * field is out of range. NO_SPACE: too few free slots. IO_ERROR: the disk failed before. */
MUST_CHECK enum status store_install_begin(struct store *store, const struct checkpoint *checkpoint, const uint64_t *hashes);
/* Up to `max` pages that are still missing, in ascending order, from *cursor on (0 to start over). Returns the count. */
uint32_t store_install_missing(struct store *store, uint32_t *cursor, uint32_t *pages, uint32_t max);
/* A page arrived: verified (seal, hash against the manifest), queued to a slot. CORRUPT: does not verify. STALE: not of this manifest. FULL: too many
 * writes outstanding; try again after a completion. */
MUST_CHECK enum status store_install_page(struct store *store, const struct sealed_page *page);
uint32_t store_install_left(const struct store *store);
/* A bounded amount of work: when all pages are here, map, flush, superblock, flush. OK: more to do, or pages are
 * missing; EMPTY: durable, store_checkpoint() is the new one. IO_ERROR: the disk failed; the old checkpoint is intact. */
MUST_CHECK enum status store_install_step(struct store *store);
/* Give it up, unless its superblock is on its way already: then step on. */
void store_install_abort(struct store *store);

/* The disk failed while a superblock was written: nothing more is written until the next boot. */
bool store_failed(const struct store *store);
/* When store_checkpoint_step or store_install_step, whichever is under way, could do something: machine time in ns, in the past if now; UINT64_MAX:
 * nothing is under way, or it waits for the disk or the peer. */
uint64_t store_deadline_ns(const struct store *store);
/* Handed to the disk since store_create: pages, map nodes, superblocks. */
uint64_t store_written_bytes(const struct store *store);
void store_check(const struct store *store);

#endif
