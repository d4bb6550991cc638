/* The boot configuration of one node: who it is, who its peers are, and the keys.
 *
 * Written by `eidolon create`, one file for each node, and handed to the kernel by the boot loader as its first module (PVH module 0).
 * It never changes during a cluster's life. It holds secrets (this node's identity key, the cluster's sealing key): it is never written
 * to the node's disk. Fixed size, little-endian. The kernel checks everything before it uses anything. */
#ifndef EIDOLON_BOOT_CONFIG_H
#define EIDOLON_BOOT_CONFIG_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define BOOT_CONFIG_MAGIC 0x544f4f424e444945ull /* "EIDNBOOT" */
#define BOOT_CONFIG_VERSION 1u
#define BOOT_CONFIG_NODES_MAX 5u

struct boot_config {
    uint64_t magic;
    uint32_t version;
    uint32_t bytes;                 /* sizeof(struct boot_config) */
    uint8_t cluster_id[16];
    uint32_t node_number;           /* 1..node_count */
    uint32_t node_count;            /* 1, 3 or 5 */
    uint64_t world_memory_bytes;    /* multiple of 1 MiB, 16 MiB..2 GiB */
    uint32_t heartbeat_ms;          /* 10..1000 */
    uint32_t election_timeout_ms;   /* 30..10000, at least 3 * heartbeat_ms */
    uint8_t sealing_key[32];
    uint8_t identity_seed[32];      /* Ed25519 seed of this node */
    uint8_t identities[5][32];      /* Ed25519 public keys of nodes 1..5 */
    uint8_t node_addresses[5][4];   /* IPv4 */
    uint8_t node_macs[5][6];
    uint8_t netmask[4];
    uint8_t gateway[4];
    uint8_t world_address[4];
    uint8_t world_mac[6];
    uint8_t reserved[12];           /* zero */
    uint64_t checksum;              /* hash64(BOOT_CONFIG_MAGIC, everything before this field) */
};

static_assert(sizeof(struct boot_config) == 368, "boot configuration layout");
static_assert(offsetof(struct boot_config, checksum) == 360, "boot configuration layout");

#endif
