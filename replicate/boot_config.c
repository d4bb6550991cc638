/* Check of the boot configuration: its bytes come from a file. */
#include <stdio.h>
#include <string.h>

#include "include/boot_config.h"
#include "include/hash64.h"
#include "replicate/node.h"

static bool refuse(char reason[REASON_BYTES_MAX], const char *text)
{
    snprintf(reason, REASON_BYTES_MAX, "%s", text);
    return false;
}

static bool fields_valid(const struct boot_config *config, char reason[REASON_BYTES_MAX])
{
    bool count = config->node_count == 1 || config->node_count == 3 || config->node_count == 5;
    if (!count || config->node_number < 1 || config->node_number > config->node_count) {
        return refuse(reason, "the boot configuration names a node or a node count that cannot be (1, 3 or 5 nodes)");
    }
    uint64_t mib = config->world_memory_bytes >> 20;
    if (config->world_memory_bytes % (1u << 20) != 0 || mib < 16 || mib > 2048) {
        return refuse(reason, "the boot configuration's world memory is not a whole number of MiB from 16 to 2048");
    }
    if (config->heartbeat_ms < 10 || config->heartbeat_ms > 1000 || config->election_timeout_ms < 3 * config->heartbeat_ms ||
        config->election_timeout_ms > 10000) {
        return refuse(reason, "the boot configuration's heartbeat (10..1000 ms) or election timeout (at least three heartbeats, at most 10000 ms) is out of range");
    }
    return true;
}

enum status boot_config_check(const void *bytes, size_t length, char reason[REASON_BYTES_MAX])
{
    struct boot_config config;
    if (bytes == NULL || length < sizeof config) {
        refuse(reason, "there is no boot configuration, or it is too short: start the node with the file that `eidolon create` wrote");
        return STATUS_INVALID;
    }
    memcpy(&config, bytes, sizeof config);
    if (config.magic != BOOT_CONFIG_MAGIC) {
        refuse(reason, "the boot module is not an Eidolon boot configuration");
        return STATUS_INVALID;
    }
    if (config.version != BOOT_CONFIG_VERSION || config.bytes != sizeof config) {
        refuse(reason, "the boot configuration has a version that this kernel does not know");
        return STATUS_UNKNOWN_VERSION;
    }
    if (config.checksum != hash64(BOOT_CONFIG_MAGIC, &config, offsetof(struct boot_config, checksum))) {
        refuse(reason, "the boot configuration's checksum does not match: the file is damaged");
        return STATUS_INVALID;
    }
    return fields_valid(&config, reason) ? STATUS_OK : STATUS_INVALID;
}
