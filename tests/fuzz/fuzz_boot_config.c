/* The boot configuration: any bytes as the boot module. Input: a byte of what is mended, then the module. */
#include <stdlib.h>
#include <string.h>

#include "include/hash64.h"
#include "replicate/node.h"
#include "tests/fuzz/support/fuzz.h"

enum { MEND_FRONT = 1, MEND_CHECKSUM = 2 };

static void check_accepted(const struct boot_config *config)
{
    CHECK(config->node_count <= BOOT_CONFIG_NODES_MAX);
    CHECK(config->node_count % 2 == 1);
    CHECK(config->node_number - 1 < config->node_count);
    CHECK(config->world_memory_bytes >= 16ull << 20);
    CHECK(config->world_memory_bytes <= 2ull << 30);
    CHECK(config->world_memory_bytes % (1 << 20) == 0);
    CHECK(config->heartbeat_ms - 10 <= 990);
    CHECK(config->election_timeout_ms <= 10000);
    CHECK(config->election_timeout_ms / config->heartbeat_ms >= 3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, bytes};
    uint8_t mend = fuzz_byte(&input);
    size_t length = input.left;
    uint8_t *module = malloc(length + 1); /* an exact end for the sanitizer, and never NULL */
    CHECK(module != NULL);
    module = realloc(module, length > 0 ? length : 1);
    fuzz_copy(&input, module, length);
    struct boot_config config;
    if (length >= sizeof config) {
        memcpy(&config, module, sizeof config);
        if ((mend & MEND_FRONT) != 0) {
            config.magic = BOOT_CONFIG_MAGIC;
            config.version = BOOT_CONFIG_VERSION;
            config.bytes = sizeof config;
        }
        if ((mend & MEND_CHECKSUM) != 0) {
            config.checksum = hash64(BOOT_CONFIG_MAGIC, &config, offsetof(struct boot_config, checksum));
        }
        memcpy(module, &config, sizeof config);
    }
    char reason[REASON_BYTES_MAX];
    memset(reason, 'x', sizeof reason);
    if (boot_config_check(module, length, reason) == STATUS_OK) {
        check_accepted(&config);
    } else {
        CHECK(memchr(reason, 0, sizeof reason) != NULL);
        CHECK(reason[0] != '\0');
    }
    free(module);
    return 0;
}
