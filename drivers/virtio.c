/* Virtual I/O Device (VIRTIO) Version 1.0: sections 2.4 (split virtqueues), 3.1 (initialisation), 4.1 (PCI). */
#include "drivers/virtio.h"

#include "drivers/platform.h"
#include "include/check.h"
#include "kernel/processor.h"

enum {
    VENDOR = 0x1af4,
    MODERN_DEVICE = 0x1040,            /* + kind */
    TRANSITIONAL_NETWORK = 0x1000,
    TRANSITIONAL_BLOCK = 0x1001,
    TRANSITIONAL_ENTROPY = 0x1005,

    CAPABILITY_VENDOR = 9,
    CAPABILITY_KIND = 3,
    CAPABILITY_WINDOW = 4,
    CAPABILITY_OFFSET = 8,
    CAPABILITY_BYTES = 12,
    CAPABILITY_MULTIPLIER = 16,
    KIND_COMMON = 1,
    KIND_NOTIFY = 2,
    KIND_DEVICE = 4,

    COMMON_FEATURE_SELECT = 0,
    COMMON_FEATURE = 4,
    COMMON_GUEST_SELECT = 8,
    COMMON_GUEST = 12,
    COMMON_CONFIG_MESSAGE = 16,
    COMMON_STATUS = 20,
    COMMON_GENERATION = 21,
    COMMON_QUEUE_SELECT = 22,
    COMMON_QUEUE_SIZE = 24,
    COMMON_QUEUE_MESSAGE = 26,
    COMMON_QUEUE_ENABLE = 28,
    COMMON_QUEUE_DOORBELL = 30,
    COMMON_QUEUE_DESCRIPTORS = 32,
    COMMON_QUEUE_AVAILABLE = 40,
    COMMON_QUEUE_USED = 48,
    COMMON_BYTES = 56,
    NO_MESSAGE = 0xffff,

    STATUS_BIT_ACKNOWLEDGE = 1,
    STATUS_BIT_DRIVER = 2,
    STATUS_BIT_DRIVER_OK = 4,
    STATUS_BIT_FEATURES_OK = 8,
    STATUS_BIT_FAILED = 128,
    RESET_READS_MAX = 1000000,

    AVAILABLE_NO_INTERRUPT = 1,
    USED_NO_NOTIFY = 1,
};

static uint8_t read8(volatile uint8_t *registers, unsigned offset)
{
    return registers[offset];
}

static void write8(volatile uint8_t *registers, unsigned offset, uint8_t value)
{
    registers[offset] = value;
}

static uint16_t read16(volatile uint8_t *registers, unsigned offset)
{
    return *(volatile uint16_t *)(registers + offset);
}

static void write16(volatile uint8_t *registers, unsigned offset, uint16_t value)
{
    *(volatile uint16_t *)(registers + offset) = value;
}

static uint32_t read32(volatile uint8_t *registers, unsigned offset)
{
    return *(volatile uint32_t *)(registers + offset);
}

static void write32(volatile uint8_t *registers, unsigned offset, uint32_t value)
{
    *(volatile uint32_t *)(registers + offset) = value;
}

/* 4.1.3.1: 64-bit fields are written as two halves. */
static void write64(volatile uint8_t *registers, unsigned offset, uint64_t value)
{
    write32(registers, offset, (uint32_t)value);
    write32(registers, offset + 4, (uint32_t)(value >> 32));
}

static void add_status(struct virtio_device *device, unsigned bits)
{
    write8(device->common, COMMON_STATUS, (uint8_t)(read8(device->common, COMMON_STATUS) | bits));
}

/* Map the register range that a vendor capability describes. NULL if it makes no sense. */
static volatile uint8_t *map_range(struct pci_function *function, unsigned capability, uint64_t *bytes)
{
    unsigned window = pci_read8(function, capability + CAPABILITY_WINDOW);
    uint64_t offset = pci_read32(function, capability + CAPABILITY_OFFSET);
    *bytes = pci_read32(function, capability + CAPABILITY_BYTES);
    if (window >= PCI_WINDOWS || offset % 4 != 0 || offset + *bytes > function->window_bytes[window]) {
        return NULL;
    }
    if (pci_map_window(function, window) != STATUS_OK) {
        return NULL;
    }
    return function->windows[window] + offset;
}

static enum status map_registers(struct virtio_device *device)
{
    struct pci_function *function = device->function;
    unsigned capability = 0;
    for (unsigned i = 0; i < PCI_CAPABILITIES_MAX; i++) {
        capability = pci_next_capability(function, CAPABILITY_VENDOR, capability);
        if (capability == 0) {
            break;
        }
        uint64_t bytes;
        /* 4.1.4: of several capabilities of one kind the first that can be used counts; unknown kinds are skipped. */
        switch (pci_read8(function, capability + CAPABILITY_KIND)) {
        case KIND_COMMON:
            if (device->common == NULL) {
                device->common = map_range(function, capability, &bytes);
                if (device->common != NULL && bytes < COMMON_BYTES) {
                    return STATUS_INVALID;
                }
            }
            break;
        case KIND_NOTIFY:
            if (device->notify == NULL) {
                device->notify = map_range(function, capability, &device->notify_bytes);
                device->notify_multiplier = pci_read32(function, capability + CAPABILITY_MULTIPLIER);
            }
            break;
        case KIND_DEVICE:
            if (device->config == NULL) {
                device->config = map_range(function, capability, &device->config_bytes);
            }
            break;
        default:
            break;
        }
    }
    return device->common != NULL && device->notify != NULL ? STATUS_OK : STATUS_UNSUPPORTED;
}

static uint16_t transitional_device(enum virtio_kind kind)
{
    switch (kind) {
    case VIRTIO_NETWORK:
        return TRANSITIONAL_NETWORK;
    case VIRTIO_BLOCK:
        return TRANSITIONAL_BLOCK;
    case VIRTIO_ENTROPY:
        return TRANSITIONAL_ENTROPY;
    }
    return 0;
}

enum status virtio_open(struct virtio_device *device, enum virtio_kind kind, unsigned n)
{
    struct virtio_device opened = {0};
    enum status status = pci_find(VENDOR, (uint16_t)(MODERN_DEVICE + kind), n, &opened.function);
    if (status != STATUS_OK) {
        status = pci_find(VENDOR, transitional_device(kind), n, &opened.function);
    }
    if (status != STATUS_OK) {
        return status;
    }
    pci_enable(opened.function);
    status = map_registers(&opened);
    if (status != STATUS_OK) {
        return status;
    }
    write8(opened.common, COMMON_STATUS, 0);
    unsigned reads = 0;
    while (read8(opened.common, COMMON_STATUS) != 0) {
        if (++reads == RESET_READS_MAX) {
            return STATUS_INVALID;
        }
    }
    add_status(&opened, STATUS_BIT_ACKNOWLEDGE);
    add_status(&opened, STATUS_BIT_DRIVER);
    write16(opened.common, COMMON_CONFIG_MESSAGE, NO_MESSAGE);
    *device = opened;
    return STATUS_OK;
}

enum status virtio_negotiate(struct virtio_device *device, uint64_t required, uint64_t wanted, uint64_t *agreed)
{
    required |= VIRTIO_FEATURE_VERSION_1;
    write32(device->common, COMMON_FEATURE_SELECT, 0);
    uint64_t offered = read32(device->common, COMMON_FEATURE);
    write32(device->common, COMMON_FEATURE_SELECT, 1);
    offered |= (uint64_t)read32(device->common, COMMON_FEATURE) << 32;
    uint64_t features = offered & (required | wanted);
    if ((features & required) != required) {
        add_status(device, STATUS_BIT_FAILED);
        return STATUS_UNSUPPORTED;
    }
    write32(device->common, COMMON_GUEST_SELECT, 0);
    write32(device->common, COMMON_GUEST, (uint32_t)features);
    write32(device->common, COMMON_GUEST_SELECT, 1);
    write32(device->common, COMMON_GUEST, (uint32_t)(features >> 32));
    add_status(device, STATUS_BIT_FEATURES_OK);
    if ((read8(device->common, COMMON_STATUS) & STATUS_BIT_FEATURES_OK) == 0) {
        return STATUS_UNSUPPORTED;
    }
    *agreed = features;
    return STATUS_OK;
}

uint8_t virtio_config_read8(const struct virtio_device *device, unsigned offset)
{
    return device->config != NULL && offset < device->config_bytes ? read8(device->config, offset) : 0;
}

static uint32_t config_read32(const struct virtio_device *device, unsigned offset)
{
    return device->config != NULL && offset + 4ull <= device->config_bytes ? read32(device->config, offset) : 0;
}

uint64_t virtio_config_read64(const struct virtio_device *device, unsigned offset)
{
    /* 4.1.3.1: the two halves belong together only if the generation did not change between them. */
    for (unsigned reads = 0; reads < VIRTIO_CONFIG_READS_MAX; reads++) {
        uint8_t generation = read8(device->common, COMMON_GENERATION);
        uint64_t value = config_read32(device, offset);
        value |= (uint64_t)config_read32(device, offset + 4) << 32;
        if (read8(device->common, COMMON_GENERATION) == generation) {
            return value;
        }
    }
    platform_log(LOG_ERROR, "virtio: the device changes its registers all the time; they are taken for zeros");
    return 0;
}

static enum status route_interrupt(struct virtio_device *device, unsigned number, void (*handler)(void *context), void *context)
{
    enum status status = pci_set_message(device->function, number, handler, context);
    if (status != STATUS_OK) {
        return status;
    }
    write16(device->common, COMMON_QUEUE_MESSAGE, (uint16_t)number);
    return read16(device->common, COMMON_QUEUE_MESSAGE) == number ? STATUS_OK : STATUS_UNSUPPORTED;
}

enum status virtio_start_queue(struct virtio_device *device, unsigned number, struct virtqueue *queue,
                               void (*handler)(void *context), void *context)
{
    write16(device->common, COMMON_QUEUE_SELECT, (uint16_t)number);
    unsigned size = read16(device->common, COMMON_QUEUE_SIZE);
    if (size == 0) {
        return STATUS_NOT_FOUND;
    }
    size = size > VIRTQUEUE_ENTRIES_MAX ? VIRTQUEUE_ENTRIES_MAX : size;
    uint64_t doorbell = (uint64_t)read16(device->common, COMMON_QUEUE_DOORBELL) * device->notify_multiplier;
    if ((size & (size - 1)) != 0 || doorbell % 2 != 0 || doorbell + 2 > device->notify_bytes) {
        return STATUS_INVALID;
    }
    queue->number = (uint16_t)number;
    queue->size = (uint16_t)size;
    queue->doorbell = (volatile uint16_t *)(device->notify + doorbell);
    write16(device->common, COMMON_QUEUE_SIZE, queue->size);
    write64(device->common, COMMON_QUEUE_DESCRIPTORS, platform_physical(queue->descriptors));
    write64(device->common, COMMON_QUEUE_AVAILABLE, platform_physical(&queue->available));
    write64(device->common, COMMON_QUEUE_USED, platform_physical(&queue->used));
    if (handler != NULL) {
        enum status status = route_interrupt(device, number, handler, context);
        if (status != STATUS_OK) {
            return status;
        }
    } else {
        write16(device->common, COMMON_QUEUE_MESSAGE, NO_MESSAGE);
        queue->available.flags = AVAILABLE_NO_INTERRUPT;
    }
    write16(device->common, COMMON_QUEUE_ENABLE, 1);
    return STATUS_OK;
}

void virtio_start(struct virtio_device *device)
{
    add_status(device, STATUS_BIT_DRIVER_OK);
}

void virtqueue_put(struct virtqueue *queue, uint16_t entry, uint64_t address, uint32_t bytes, uint16_t flags)
{
    CHECK(entry < queue->size);
    CHECK(!queue->with_device[entry]);
    queue->with_device[entry] = true;
    queue->descriptors[entry] = (struct virtio_descriptor){.address = address, .bytes = bytes, .flags = flags};
    queue->available.ring[queue->put++ % queue->size] = entry;
}

void virtqueue_notify(struct virtqueue *queue)
{
    if (queue->published == queue->put) {
        return;
    }
    __atomic_store_n(&queue->available.index, queue->put, __ATOMIC_RELEASE);
    queue->published = queue->put;
    /* The device must see the index before we look whether it sleeps. */
    memory_barrier();
    if ((__atomic_load_n(&queue->used.flags, __ATOMIC_RELAXED) & USED_NO_NOTIFY) == 0) {
        *queue->doorbell = queue->number;
    }
}

static enum status give_up(struct virtqueue *queue, const char *what)
{
    platform_log(LOG_ERROR, "virtio: the device broke the rules of queue %u (%s); it is not used any more", queue->number, what);
    queue->broken = true;
    return STATUS_CORRUPT;
}

enum status virtqueue_take(struct virtqueue *queue, uint16_t *entry, uint32_t *bytes)
{
    if (queue->broken) {
        return STATUS_CORRUPT;
    }
    uint16_t used = __atomic_load_n(&queue->used.index, __ATOMIC_ACQUIRE);
    if (used == queue->taken) {
        return STATUS_EMPTY;
    }
    if ((uint16_t)(used - queue->taken) > queue->size) {
        return give_up(queue, "used index");
    }
    /* Read once: the device could change it between check and use. */
    uint32_t number = *(volatile uint32_t *)&queue->used.ring[queue->taken % queue->size].entry;
    uint32_t written = *(volatile uint32_t *)&queue->used.ring[queue->taken % queue->size].bytes;
    if (number >= queue->size || !queue->with_device[number]) {
        return give_up(queue, "entry number");
    }
    queue->with_device[number] = false;
    queue->taken++;
    *entry = (uint16_t)number;
    *bytes = written;
    return STATUS_OK;
}
