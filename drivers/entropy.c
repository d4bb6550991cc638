/* Intel DRNG Software Implementation Guide 2.1 for the instructions; VIRTIO 1.0, section 5.4 for the device; the health check is the
 * repetition count of NIST SP 800-90B, 4.4.1, at the strictest cutoff: a 64-bit word never comes twice in a row. */
#include "drivers/entropy.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "drivers/platform.h"
#include "drivers/timer.h"
#include "drivers/virtio.h"
#include "include/check.h"
#include "kernel/processor.h"

enum {
    INSTRUCTION_RETRIES = 100,
    HEALTH_WORDS = 64,
    POOL_WORDS = 32,
    DEVICE_DEADLINE_MS = 2000,
    CPUID_RDRAND_BIT = 30,             /* leaf 1, ecx */
    CPUID_RDSEED_BIT = 18,             /* leaf 7, ebx */
};

/* The better one last. */
enum instruction { INSTRUCTION_NONE, INSTRUCTION_RDRAND, INSTRUCTION_RDSEED };

static const char *const instruction_names[] = {
    [INSTRUCTION_NONE] = "none", [INSTRUCTION_RDRAND] = "rdrand", [INSTRUCTION_RDSEED] = "rdseed"};

static enum instruction instruction;
static uint64_t instruction_last;

static struct virtio_device device;
static struct virtqueue queue;
static bool device_usable;
static uint64_t pool[POOL_WORDS] __attribute__((aligned(64)));
static unsigned pool_left;
static uint64_t pool_last;

static uint64_t jitter_state;

static bool instruction_once(uint64_t *word)
{
    uint8_t carry;
    if (instruction == INSTRUCTION_RDSEED) {
        __asm__ volatile("rdseed %0; setc %1" : "=r"(*word), "=qm"(carry) : : "cc");
    } else {
        __asm__ volatile("rdrand %0; setc %1" : "=r"(*word), "=qm"(carry) : : "cc");
    }
    return carry != 0;
}

/* One word from the instruction that is in use. False: it ran dry, or failed its health check. */
static bool instruction_try(uint64_t *word)
{
    for (unsigned i = 0; i < INSTRUCTION_RETRIES; i++) {
        uint64_t got;
        if (instruction_once(&got)) {
            if (got == instruction_last || got == 0 || got == UINT64_MAX) {
                break;
            }
            instruction_last = got;
            *word = got;
            return true;
        }
        __asm__ volatile("pause");
    }
    platform_log(LOG_ERROR, "entropy: the processor's %s failed its health check; it is not used any more", instruction_names[instruction]);
    return false;
}

static bool instruction_is_there(enum instruction wanted)
{
    if (wanted == INSTRUCTION_RDSEED) {
        return cpuid(0, 0).eax >= 7 && (cpuid(7, 0).ebx >> CPUID_RDSEED_BIT & 1) != 0;
    }
    return (cpuid(1, 0).ecx >> CPUID_RDRAND_BIT & 1) != 0;
}

/* Use the best instruction, from `best` downwards, that is there and healthy. */
static void instruction_find(enum instruction best)
{
    for (instruction = best; instruction != INSTRUCTION_NONE; instruction--) {
        uint64_t word;
        unsigned healthy = 0;
        while (instruction_is_there(instruction) && healthy < HEALTH_WORDS && instruction_try(&word)) {
            healthy++;
        }
        if (healthy == HEALTH_WORDS) {
            return;
        }
    }
}

/* One word from the processor. False: it has no source, or none any more. */
static bool instruction_word(uint64_t *word)
{
    while (instruction != INSTRUCTION_NONE) {
        if (instruction_try(word)) {
            return true;
        }
        instruction_find(instruction - 1);
    }
    return false;
}

/* Have the device fill the pool. It is asked for all of it and may give less. */
static bool pool_fill(void)
{
    memset(pool, 0, sizeof pool);
    virtqueue_put(&queue, 0, platform_physical(pool), sizeof pool, VIRTIO_DESCRIPTOR_WRITE);
    virtqueue_notify(&queue);
    uint64_t deadline_ns = timer_now_ns() + DEVICE_DEADLINE_MS * 1000000ull;
    uint16_t entry;
    uint32_t bytes;
    enum status status;
    while ((status = virtqueue_take(&queue, &entry, &bytes)) == STATUS_EMPTY && timer_now_ns() < deadline_ns) {
        __asm__ volatile("pause");
    }
    if (status != STATUS_OK || bytes < sizeof pool[0] || bytes > sizeof pool) {
        return false;
    }
    pool_left = bytes / sizeof pool[0];
    for (unsigned i = 0; i < pool_left; i++) {
        if (pool[i] == pool_last || pool[i] == 0 || pool[i] == UINT64_MAX) {
            return false;
        }
        pool_last = pool[i];
    }
    return true;
}

static bool device_word(uint64_t *word)
{
    if (!device_usable) {
        return false;
    }
    if (pool_left == 0 && !pool_fill()) {
        platform_log(LOG_ERROR, "entropy: the virtio device failed or gave repeated words; it is not used any more");
        device_usable = false;
        pool_left = 0;
        return false;
    }
    pool_left--;
    *word = pool[pool_left];
    pool[pool_left] = 0;
    return true;
}

static void device_find(void)
{
    uint64_t features;
    if (virtio_open(&device, VIRTIO_ENTROPY, 0) != STATUS_OK || virtio_negotiate(&device, 0, 0, &features) != STATUS_OK ||
        virtio_start_queue(&device, 0, &queue, NULL, NULL) != STATUS_OK) {
        return;
    }
    virtio_start(&device);
    device_usable = true;
    device_usable = pool_fill();
}

/* The low bits of the counter, folded into a running word. An addition to real sources, never a source by itself. */
static uint64_t jitter_word(void)
{
    jitter_state = (jitter_state << 7 | jitter_state >> 57) ^ read_tsc() * 0x9e3779b97f4a7c15ull;
    return jitter_state;
}

void entropy_start(void)
{
    instruction_find(INSTRUCTION_RDSEED);
    device_find();
    platform_log(LOG_INFO, "entropy: processor %s, device %s", instruction_names[instruction], device_usable ? "virtio-rng" : "none");
    if (instruction == INSTRUCTION_NONE && !device_usable) {
        platform_boot_failed("no source of entropy: the processor has neither RDSEED nor RDRAND and there is no virtio-rng device; "
                             "give the node one of them (QEMU: -cpu max)");
    }
}

void entropy_fill(void *buffer, size_t bytes)
{
    uint8_t *to = buffer;
    while (bytes > 0) {
        uint64_t from_processor = 0;
        uint64_t from_device = 0;
        bool processor_gave = instruction_word(&from_processor);
        bool device_gave = device_word(&from_device);
        CHECK(processor_gave || device_gave);
        uint64_t word = from_processor ^ from_device ^ jitter_word();
        size_t count = bytes < sizeof word ? bytes : sizeof word;
        memcpy(to, &word, count);
        to += count;
        bytes -= count;
    }
}
