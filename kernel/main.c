/* The boot, in order. */
#include <stdio.h>
#include <string.h>

#include "crypto/random.h"
#include "drivers/apic.h"
#include "drivers/entropy.h"
#include "drivers/net.h"
#include "drivers/pci.h"
#include "drivers/platform.h"
#include "drivers/serial.h"
#include "drivers/timer.h"
#include "drivers/virtio_blk.h"
#include "include/boot_config.h"
#include "kernel/epitaph.h"
#include "kernel/libc.h"
#include "kernel/limits.h"
#include "kernel/log.h"
#include "kernel/loop.h"
#include "kernel/machine.h"
#include "kernel/memory.h"
#include "kernel/random.h"
#include "kernel/trap.h"
#include "kernel/world_memory.h"
#include "replicate/node.h"

/* From boot.S: long mode, interrupts off, on the kernel's stack. `start_info` is the physical address of what the loader tells. */
_Noreturn void kernel_main(uint64_t start_info);

/* Boot cannot go on without this one: say what and why, and restart. */
static void require(enum status status, const char *what)
{
    if (status != STATUS_OK) {
        char sentence[EPITAPH_TEXT_BYTES_MAX];
        snprintf(sentence, sizeof sentence, "boot: %s: %s", what, status_sentence(status));
        platform_boot_failed(sentence);
    }
}

static void start_processor(uint64_t start_info)
{
    serial_init();
    trap_init();
    memory_init(start_info);
    epitaph_init();
    libc_init();
    apic_start();
    timer_start();
}

static const struct boot_config *read_boot_config(void)
{
    static struct boot_config config;
    const void *bytes;
    size_t count;
    char reason[FAULT_REASON_BYTES_MAX];
    require(memory_module(&bytes, &count), "the boot configuration (the loader's first module)");
    if (boot_config_check(bytes, count, reason) != STATUS_OK) {
        platform_boot_failed(reason);
    }
    memcpy(&config, bytes, sizeof config);
    return &config;
}

static void start_devices(void)
{
    pci_start();
    entropy_start();
    random_init();
    require(virtio_blk_start(), "the disk");
    serial_management_start();
}

static struct node *create_node(const struct boot_config *boot)
{
    struct node *node;
    char reason[FAULT_REASON_BYTES_MAX];
    require(world_memory_init(boot->world_memory_bytes), "the world's memory");
    const struct machine *machine = machine_init();
    require(crypto_init(machine), "cryptography");
    if (node_create(&node, machine, boot, reason) != STATUS_OK) {
        platform_boot_failed(reason);
    }
    node_set_last_words(node, epitaph_last_words());
    log_format(LOG_INFO, "boot: node %u of %u, %zu MiB of memory left", boot->node_number, boot->node_count, memory_left() >> 20);
    return node;
}

_Noreturn void kernel_main(uint64_t start_info)
{
    start_processor(start_info);
    const struct boot_config *boot = read_boot_config();
    start_devices();
    struct node *node = create_node(boot);
    node_start(node);
    require(loop_start(node, boot), "the network device");
    loop_run(node);
}
