/* VERIFY: a device that breaks the rules of the transport (drivers/virtio.c) is refused and holds nobody up. Its configuration space is faked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "drivers/virtio.c" /* metal code is in no host library */

enum { CAPABILITY = 0x40, WALKS_MAX = 10000 };

static struct pci_function function;
static uint8_t space[256];
static uint8_t window[4096] __attribute__((aligned(8)));
static unsigned walks;

/* -- fakes: a list of one capability that is its own successor -- */

enum status pci_find(uint16_t vendor, uint16_t device, unsigned n, struct pci_function **found)
{
    (void)vendor;
    (void)device;
    (void)n;
    *found = &function;
    return STATUS_OK;
}

void pci_enable(struct pci_function *enabled)
{
    (void)enabled;
}

unsigned pci_next_capability(const struct pci_function *of, uint8_t id, unsigned after)
{
    (void)of;
    (void)id;
    (void)after;
    assert_true(++walks < WALKS_MAX);
    return CAPABILITY;
}

uint8_t pci_read8(const struct pci_function *of, unsigned offset)
{
    (void)of;
    return space[offset];
}

uint32_t pci_read32(const struct pci_function *of, unsigned offset)
{
    (void)of;
    uint32_t value;
    memcpy(&value, space + offset, sizeof value);
    return value;
}

enum status pci_map_window(struct pci_function *of, unsigned number)
{
    of->windows[number] = window;
    return STATUS_OK;
}

enum status pci_set_message(struct pci_function *of, unsigned number, void (*handler)(void *context), void *context)
{
    (void)of;
    (void)number;
    (void)handler;
    (void)context;
    return STATUS_OK;
}

uint64_t platform_physical(const void *pointer)
{
    return (uintptr_t)pointer;
}

void platform_log(enum log_level level, const char *format, ...)
{
    (void)level;
    (void)format;
}

/* -- tests -- */

static enum status open_with_capability(uint8_t kind)
{
    struct virtio_device device;
    memset(space, 0, sizeof space);
    space[CAPABILITY + CAPABILITY_KIND] = kind;
    space[CAPABILITY + CAPABILITY_BYTES] = COMMON_BYTES;
    function.window_bytes[0] = sizeof window;
    walks = 0;
    return virtio_open(&device, VIRTIO_BLOCK, 0);
}

static void test_virtio_capability_that_follows_itself_is_unsupported(void **state)
{
    (void)state;
    assert_int_equal(open_with_capability(KIND_COMMON), STATUS_UNSUPPORTED);
    assert_int_equal(open_with_capability(KIND_NOTIFY), STATUS_UNSUPPORTED);
    assert_int_equal(open_with_capability(0xff), STATUS_UNSUPPORTED);
}

static void test_virtio_used_index_beyond_the_queue_ends_the_queue(void **state)
{
    (void)state;
    static struct virtqueue queue;
    uint16_t entry;
    uint32_t bytes;
    queue.size = 4;
    queue.used.index = 5;
    assert_int_equal(virtqueue_take(&queue, &entry, &bytes), STATUS_CORRUPT);
    queue.used.index = 0;
    assert_int_equal(virtqueue_take(&queue, &entry, &bytes), STATUS_CORRUPT);
}

static void test_virtio_used_entry_that_was_not_given_ends_the_queue(void **state)
{
    (void)state;
    static struct virtqueue queue;
    uint16_t entry;
    uint32_t bytes;
    queue.size = 4;
    virtqueue_put(&queue, 1, 0, 0, 0);
    queue.used.index = 1;
    queue.used.ring[0].entry = 2;
    assert_int_equal(virtqueue_take(&queue, &entry, &bytes), STATUS_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_virtio_capability_that_follows_itself_is_unsupported),
        cmocka_unit_test(test_virtio_used_index_beyond_the_queue_ends_the_queue),
        cmocka_unit_test(test_virtio_used_entry_that_was_not_given_ends_the_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
