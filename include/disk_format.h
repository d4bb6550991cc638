/* What stands on a node's disk. Shared by the kernel, the simulator and the host tool.
 *
 * All little-endian, in blocks of 4096 bytes:
 *   block 0, 1           superblocks, alternating by sequence
 *   block 2, 3           vote slots (term, vote, boot number, evidence), alternating by sequence
 *   block 4              what the management command `probe write` writes; never read. Blocks 64 to 255: `probe bulk`
 *   log_offset           log region, a ring of records (format in consensus/log.h)
 *   store_offset         page store: slots of one block each (format of map nodes in replicate/store_format.h)
 *
 * Only `eidolon create` makes a disk that may start a cluster: it writes superblock 0 with sequence 1, a checkpoint of an empty
 * image (epoch 0) at Raft index 1, term 1, and the first configuration. All else stays zero. A disk whose first four blocks are zero
 * is blank: its node is a stranger and asks to join. */
#ifndef EIDOLON_DISK_FORMAT_H
#define EIDOLON_DISK_FORMAT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define DISK_MAGIC 0x4b5349444e444945ull /* "EIDNDISK" */
#define DISK_VOTE_MAGIC 0x45544f564e444945ull /* "EIDNVOTE" */
#define DISK_VERSION 2u
#define DISK_BLOCK_BYTES 4096u
#define DISK_VOTE_BLOCK_FIRST 2u
#define DISK_VOTE_BLOCKS 2u
#define DISK_PROBE_BLOCK 4u
#define DISK_PROBE_BULK_BLOCK 64u
#define DISK_PROBE_BULK_REQUESTS 3u  /* of 64 blocks each */
#define DISK_BYTES_MIN (64ull << 20)
#define DISK_MEMBERS_MAX 8u       /* members of a Raft configuration: at most 5 nodes and ids on their way in or out */

/* A Raft id is an incarnation of a node's disk: 56 random bits and the node number. */
static inline uint64_t raft_id_make(unsigned node_number, uint64_t incarnation)
{
    return (incarnation << 8) | node_number;
}
static inline unsigned raft_id_node(uint64_t raft_id)
{
    return (unsigned)(raft_id & 0xff);
}
static inline uint64_t raft_id_incarnation(uint64_t raft_id)
{
    return raft_id >> 8;
}

/* A sealed block in the page store. slot 0 means "absent" (slot numbers start at 1). */
struct disk_block_reference {
    uint32_t slot;
    uint32_t reserved;
    uint8_t nonce[24];
    uint8_t tag[16];
};

enum disk_role { DISK_ROLE_STANDBY = 0, DISK_ROLE_VOTER = 1, DISK_ROLE_SPARE = 2 }; /* as raft numbers them */

struct disk_member {
    uint64_t raft_id;
    uint32_t role;
    uint32_t reserved;
};

struct disk_superblock {
    uint64_t magic;
    uint32_t version;
    uint32_t bytes;                 /* sizeof(struct disk_superblock) */
    uint64_t sequence;              /* from 1; the valid superblock with the higher one is the current one */
    uint8_t cluster_id[16];
    uint32_t node_number;
    uint32_t world_pages_max;
    uint64_t incarnation;           /* 1..2^56-1 */
    uint64_t disk_bytes;
    uint64_t log_offset;
    uint64_t log_bytes;
    uint64_t store_offset;
    uint64_t store_slots;
    /* The checkpoint. */
    uint64_t raft_index;            /* the last entry it covers */
    uint64_t raft_term;
    uint64_t configuration_index;
    uint32_t member_count;
    uint32_t map_levels;            /* height of the map; 0: empty image */
    struct disk_member members[DISK_MEMBERS_MAX];
    uint64_t epoch;                 /* last epoch it covers; 0: no world yet */
    uint64_t digest;                /* of that epoch */
    struct disk_block_reference map_root;
    struct disk_block_reference world_record;
    uint64_t page_count;            /* pages present */
    uint64_t joining;               /* 1: this incarnation has not been admitted yet and has no state */
    uint8_t seal[32];               /* keyed BLAKE2b of everything before, key from the sealing key: forged ones are found */
    uint64_t checksum;              /* hash64(DISK_MAGIC, everything before this field) */
};

/* Of so many boots a disk can tell what each was called. A copy that was put back counts the same numbers, but under other names. */
enum { DISK_LIVES = 8 };

/* What a node flushed before it spoke of it. */
struct disk_evidence {
    uint64_t raft_id;
    uint64_t boot_number;           /* the highest that it showed */
    uint64_t life;                  /* ... and what that boot was called */
    uint64_t match_index;           /* highest index that this id acknowledged to us */
};

struct disk_vote {
    uint64_t magic;
    uint32_t version;
    uint32_t bytes;
    uint64_t sequence;
    uint8_t cluster_id[16];
    uint64_t raft_id;               /* whose vote */
    uint64_t term;
    uint64_t voted_for;
    uint64_t boot_number;           /* grows by one at each boot, flushed before the first message */
    uint64_t lives[DISK_LIVES];     /* drawn at random: what boot `boot_number` - i is called; 0: there was none */
    struct disk_evidence evidence[DISK_MEMBERS_MAX];
    uint64_t checksum;              /* hash64(DISK_VOTE_MAGIC, everything before) */
};

static_assert(sizeof(struct disk_block_reference) == 48, "reference layout");
static_assert(sizeof(struct disk_superblock) <= DISK_BLOCK_BYTES, "a superblock fits its block");
static_assert(sizeof(struct disk_superblock) % 8 == 0, "no tail padding");
static_assert(sizeof(struct disk_vote) % 8 == 0, "no tail padding");

/* The geometry of a disk of `disk_bytes`: a quarter for the log (16 MiB..128 MiB), the rest for the page store. Both sides compute it
 * with this function. The log starts at 1 MiB. */
static inline uint64_t disk_log_bytes(uint64_t disk_bytes)
{
    uint64_t quarter = disk_bytes / 4 & ~(uint64_t)(DISK_BLOCK_BYTES - 1);
    uint64_t low = 16ull << 20, high = 128ull << 20;
    return quarter < low ? low : quarter > high ? high : quarter;
}
#define DISK_LOG_OFFSET (1ull << 20)
static_assert((DISK_PROBE_BULK_BLOCK + DISK_PROBE_BULK_REQUESTS * 64) * DISK_BLOCK_BYTES <= DISK_LOG_OFFSET, "the probes' blocks are nobody else's");
static inline uint64_t disk_store_offset(uint64_t disk_bytes)
{
    return DISK_LOG_OFFSET + disk_log_bytes(disk_bytes);
}
static inline uint64_t disk_store_slots(uint64_t disk_bytes)
{
    return (disk_bytes - disk_store_offset(disk_bytes)) / DISK_BLOCK_BYTES;
}
/* The smallest disk for a world: the image and everything of it changed once, with map nodes. */
static inline uint64_t disk_bytes_min(uint64_t world_memory_bytes)
{
    uint64_t least = (1ull << 20) + (16ull << 20) + world_memory_bytes * 9 / 4;
    uint64_t with_log = least < (68ull << 20) ? least : (1ull << 20) + (world_memory_bytes * 9 / 4) * 4 / 3;
    return with_log > DISK_BYTES_MIN ? with_log : DISK_BYTES_MIN;
}

/* The superblock, not sealed yet, with which a node's disk of a new cluster begins: checkpoint of the empty image, all nodes voters.
 * `incarnations`: `nodes` of them (at most DISK_MEMBERS_MAX), that of node 1 first. */
static inline struct disk_superblock disk_superblock_first(uint64_t disk_bytes, uint64_t world_memory_bytes, unsigned node_number, const uint64_t *incarnations,
                                                           unsigned nodes)
{
    struct disk_superblock superblock = {
        .sequence = 1,
        .node_number = node_number,
        .world_pages_max = (uint32_t)(world_memory_bytes / DISK_BLOCK_BYTES),
        .incarnation = incarnations[node_number - 1],
        .disk_bytes = disk_bytes,
        .log_offset = DISK_LOG_OFFSET,
        .log_bytes = disk_log_bytes(disk_bytes),
        .store_offset = disk_store_offset(disk_bytes),
        .store_slots = disk_store_slots(disk_bytes),
        .raft_index = 1,
        .raft_term = 1,
        .configuration_index = 1,
        .member_count = nodes,
    };
    for (unsigned at = 0; at < nodes; at++) {
        superblock.members[at] = (struct disk_member){.raft_id = raft_id_make(at + 1, incarnations[at]), .role = DISK_ROLE_VOTER};
    }
    return superblock;
}

#endif
