/* The page store's map on disk.
 *
 * The map is a tree of fixed height over the page numbers of a world. A node is one slot: STORE_FANOUT references, the rest zero, sealed whole as
 * SEAL_MAP_NODE at (level, index). Nodes of level 1 refer to pages, higher ones to nodes; the root stands in the superblock. A node
 * or page that is absent has slot 0; a node without children is absent itself. */
#ifndef EIDOLON_REPLICATE_STORE_FORMAT_H
#define EIDOLON_REPLICATE_STORE_FORMAT_H

#include <assert.h>
#include <stdint.h>

#include "include/disk_format.h"

enum { STORE_FANOUT = 64, STORE_LEVELS_MAX = 4 };

/* A page of the checkpoint. All zero: absent. */
struct store_page_reference {
    uint32_t slot;
    uint32_t reserved;
    uint64_t hash;          /* image_hash_content */
    uint8_t nonce[24];
    uint8_t tag[16];
};

static_assert(sizeof(struct store_page_reference) == 56, "page reference layout");
static_assert(sizeof(struct store_page_reference) * STORE_FANOUT <= DISK_BLOCK_BYTES, "a leaf fits a slot");
static_assert(sizeof(struct disk_block_reference) * STORE_FANOUT <= DISK_BLOCK_BYTES, "a node fits a slot");

#endif
