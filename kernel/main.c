/* The boot, in order. */
#include <stdio.h>
#include <string.h>

#include "drivers/apic.h"
#include "drivers/entropy.h"
#include "drivers/net.h"
#include "drivers/pci.h"
#include "drivers/platform.h"
#include "drivers/serial.h"
#include "drivers/timer.h"
#include "drivers/virtio_blk.h"
#include "include/boot_config.h"
#include "include/q35.h"
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

/* Boot cannot go on without this one: say what, why and what to do, and restart. */
static void require(enum status status, const char *what, const char *remedy)
{
    if (status != STATUS_OK) {
        char sentence[EPITAPH_TEXT_BYTES_MAX];
        snprintf(sentence, sizeof sentence, "boot: %s: %s; %s", what, status_sentence(status), remedy);
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
    char reason[REASON_BYTES_MAX];
    require(memory_module(&bytes, &count), "the boot configuration (the loader's first module)",
            "give the node its boot.conf (QEMU: -initrd), as `eidolon start` does");
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
    require(virtio_blk_start(), "the disk", "give the node a disk that it may write (QEMU: a virtio-blk-pci device with its usual queue)");
    serial_management_start();
}

/* A world's frames are one piece of memory, and that of a machine may be in two. */
static void reserve_world(uint64_t bytes)
{
    unsigned wanted_mib = (unsigned)(bytes >> 20);
    unsigned left_mib = (unsigned)(memory_left() >> 20);
    unsigned largest_mib = (unsigned)(memory_largest() >> 20);
    if (world_memory_init(bytes) == STATUS_OK) {
        return;
    }
    unsigned missing_mib = largest_mib < wanted_mib ? wanted_mib - largest_mib : 1;
    char sentence[EPITAPH_TEXT_BYTES_MAX];
    if (left_mib > wanted_mib) {
        snprintf(sentence, sizeof sentence,
                 "boot: the world's memory: of %u MiB in one piece %u are missing; give the node less than %d MiB, which is one piece, or at least "
                 "%u, or its world less",
                 wanted_mib, missing_mib, Q35_MEMORY_MIB_SPLIT, Q35_MEMORY_MIB_LOWER + wanted_mib);
    } else {
        snprintf(sentence, sizeof sentence,
                 "boot: the world's memory: of %u MiB in one piece %u are missing; give the node at least so much more, or its world less",
                 wanted_mib, missing_mib);
    }
    platform_boot_failed(sentence);
}

static struct node *create_node(const struct boot_config *boot)
{
    struct node *node;
    char reason[REASON_BYTES_MAX];
    reserve_world(boot->world_memory_bytes);
    if (node_create(&node, machine_init(), boot, reason) != STATUS_OK) {
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
    require(loop_start(node, boot), "the network", "give the node a network card (QEMU: a virtio-net-pci device)");
    loop_run(node);
}
