#include "cluster-sim/lab_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster-sim/lab_file.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "crypto/seal.h"
#include "include/boot_config.h"
#include "include/disk_format.h"
#include "include/hash64.h"

static int draw(void *buffer, size_t bytes)
{
    uint8_t *at = buffer;
    while (bytes > 0) {
        ssize_t got = getrandom(at, bytes, 0);
        if (got < 0) {
            if (errno == EINTR) {
                continue;
            }
            return errno;
        }
        at += got;
        bytes -= (size_t)got;
    }
    return 0;
}

/* The library draws once while it initialises itself; a system without entropy is found by secrets_draw. */
static void machine_entropy(void *context, void *buffer, size_t bytes)
{
    (void)context;
    if (draw(buffer, bytes) != 0) {
        abort();
    }
}

int secrets_draw(struct cluster_secrets *secrets, unsigned nodes)
{
    const struct machine machine = {.entropy = machine_entropy};
    int error = draw(secrets->sealing_key, sizeof secrets->sealing_key);
    if (error != 0) {
        return error;
    }
    if (crypto_init(&machine) != STATUS_OK) {
        return ENOTSUP;
    }
    for (unsigned at = 0; at < nodes; at++) {
        error = draw(secrets->identity_seeds[at], sizeof secrets->identity_seeds[at]);
        while (error == 0 && secrets->incarnations[at] == 0) {
            error = draw(&secrets->incarnations[at], sizeof secrets->incarnations[at]);
            secrets->incarnations[at] >>= 8;
        }
        if (error != 0) {
            return error;
        }
        struct identity identity;
        identity_from_seed(&identity, secrets->identity_seeds[at]);
        memcpy(secrets->identities[at], identity.public_key, sizeof secrets->identities[at]);
        identity_wipe(&identity);
    }
    return 0;
}

int disk_write_boot_configuration(const struct cluster *cluster, const struct cluster_secrets *secrets, unsigned node, const char *path)
{
    struct boot_config config = {
        .magic = BOOT_CONFIG_MAGIC,
        .version = BOOT_CONFIG_VERSION,
        .bytes = sizeof config,
        .node_number = node,
        .node_count = cluster->nodes,
        .world_memory_bytes = (uint64_t)cluster->world_memory_mib << 20,
        .heartbeat_ms = secrets->heartbeat_ms,
        .election_timeout_ms = secrets->election_timeout_ms,
    };
    memcpy(config.cluster_id, cluster->id, sizeof config.cluster_id);
    memcpy(config.sealing_key, secrets->sealing_key, sizeof config.sealing_key);
    memcpy(config.identity_seed, secrets->identity_seeds[node - 1], sizeof config.identity_seed);
    for (unsigned at = 0; at < cluster->nodes; at++) {
        memcpy(config.identities[at], secrets->identities[at], sizeof config.identities[at]);
        lab_node_address(at + 1, config.node_addresses[at]);
        lab_node_mac(at + 1, config.node_macs[at]);
    }
    memcpy(config.netmask, lab_netmask, sizeof config.netmask);
    memcpy(config.gateway, lab_gateway_address, sizeof config.gateway);
    memcpy(config.world_address, lab_world_address, sizeof config.world_address);
    memcpy(config.world_mac, lab_world_mac, sizeof config.world_mac);
    config.checksum = hash64(BOOT_CONFIG_MAGIC, &config, offsetof(struct boot_config, checksum));
    int error = file_write(path, &config, sizeof config);
    explicit_bzero(&config, sizeof config);
    return error;
}

const char *disk_check_boot_configuration(const struct cluster *cluster, unsigned node, const char *path)
{
    static char content[LAB_SMALL_FILE_BYTES_MAX];
    struct boot_config config;
    size_t bytes;
    int error = file_read(path, content, sizeof content, &bytes);
    if (error != 0) {
        return strerror(error);
    }
    const char *wrong = NULL;
    if (bytes != sizeof config) {
        wrong = "it has the wrong size";
    } else {
        memcpy(&config, content, sizeof config);
        if (config.magic != BOOT_CONFIG_MAGIC || config.version != BOOT_CONFIG_VERSION ||
            config.checksum != hash64(BOOT_CONFIG_MAGIC, &config, offsetof(struct boot_config, checksum))) {
            wrong = "it is damaged";
        } else if (memcmp(config.cluster_id, cluster->id, CLUSTER_ID_BYTES) != 0 || config.node_number != node) {
            wrong = "it belongs to another cluster or node";
        }
    }
    explicit_bzero(content, sizeof content);
    explicit_bzero(&config, sizeof config);
    return wrong;
}

/* A sparse image of the cluster's disk size whose first bytes are `head`; whole or not there. */
static int write_image(const struct cluster *cluster, const char *path, const void *head, size_t head_bytes)
{
    return file_write_sparse(path, head, head_bytes, (uint64_t)cluster->disk_mib << 20);
}

int disk_write_blank(const struct cluster *cluster, const char *path)
{
    return write_image(cluster, path, "", 0);
}

int disk_write_first(const struct cluster *cluster, const struct cluster_secrets *secrets, unsigned node, const char *path)
{
    struct disk_superblock superblock = disk_superblock_first((uint64_t)cluster->disk_mib << 20, (uint64_t)cluster->world_memory_mib << 20, node,
                                                              secrets->incarnations, cluster->nodes);
    struct seal_keys keys;
    seal_keys_derive(&keys, secrets->sealing_key, cluster->id);
    seal_superblock(&keys, &superblock);
    seal_keys_wipe(&keys);
    uint8_t block[DISK_BLOCK_BYTES] = {0};
    memcpy(block, &superblock, sizeof superblock);
    return write_image(cluster, path, block, sizeof block);
}
