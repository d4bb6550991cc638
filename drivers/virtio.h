/* The virtio transport: devices on PCI as of version 1.0 of the specification, split virtqueues.
 *
 * Every buffer here is one ring entry: a network frame with its header, or a table of a block request's parts. So the entry's number
 * names the buffer, in both directions, and no free list is needed inside. What a device says (numbers, lengths, offsets) is
 * range-checked; a device that breaks a rule is given up: its queue reports CORRUPT for ever. */
#ifndef EIDOLON_DRIVERS_VIRTIO_H
#define EIDOLON_DRIVERS_VIRTIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "drivers/limits.h"
#include "drivers/pci.h"
#include "include/status.h"

enum virtio_kind {
    VIRTIO_NETWORK = 1,
    VIRTIO_BLOCK = 2,
    VIRTIO_ENTROPY = 4,
};

#define VIRTIO_FEATURE_INDIRECT (1ull << 28)
#define VIRTIO_FEATURE_VERSION_1 (1ull << 32)

struct virtio_device {
    struct pci_function *function;
    volatile uint8_t *common;
    volatile uint8_t *notify;
    uint64_t notify_bytes;
    uint32_t notify_multiplier;
    volatile uint8_t *config;         /* the device's own registers */
    uint64_t config_bytes;
};

/* One entry of a virtqueue's table or of an indirect table (VIRTIO 1.0, 2.4.5). */
struct virtio_descriptor {
    uint64_t address;
    uint32_t bytes;
    uint16_t flags;
    uint16_t next;
};

enum {
    VIRTIO_DESCRIPTOR_NEXT = 1,
    VIRTIO_DESCRIPTOR_WRITE = 2,      /* the device writes */
    VIRTIO_DESCRIPTOR_INDIRECT = 4,
};

/* Rings as the device sees them, and what we know of them. Statically allocated by the driver. */
struct virtqueue {
    _Alignas(4096) struct virtio_descriptor descriptors[VIRTQUEUE_ENTRIES_MAX];
    struct {
        uint16_t flags;
        uint16_t index;
        uint16_t ring[VIRTQUEUE_ENTRIES_MAX];
        uint16_t unused;
    } available;
    _Alignas(4096) struct {
        uint16_t flags;
        uint16_t index;
        struct {
            uint32_t entry;
            uint32_t bytes;
        } ring[VIRTQUEUE_ENTRIES_MAX];
        uint16_t unused;
    } used;
    volatile uint16_t *doorbell;
    uint16_t number;
    uint16_t size;                    /* entries in use, a power of two, at most VIRTQUEUE_ENTRIES_MAX */
    uint16_t put;                     /* available index, published by virtqueue_notify */
    uint16_t published;
    uint16_t taken;                   /* used index up to which entries were taken */
    bool broken;
    bool with_device[VIRTQUEUE_ENTRIES_MAX];
};

/* Find the n-th device of a kind, map its registers, reset it and greet it.
 * NOT_FOUND: there is none.  UNSUPPORTED: it does not speak version 1.  INVALID: its registers make no sense. */
enum status virtio_open(struct virtio_device *device, enum virtio_kind kind, unsigned n) MUST_CHECK;

/* Agree on features: all of `required`, and of `wanted` what it has. UNSUPPORTED: it lacks a required one. */
enum status virtio_negotiate(struct virtio_device *device, uint64_t required, uint64_t wanted, uint64_t *agreed) MUST_CHECK;

/* Read the device's own registers. `offset` + width beyond its window reads as 0; so do 64 bits that never stay the same. */
uint8_t virtio_config_read8(const struct virtio_device *device, unsigned offset);
uint64_t virtio_config_read64(const struct virtio_device *device, unsigned offset);

/* Set queue `number` up in `queue` (zeroed, static). `handler` NULL: no interrupts are wanted.
 * NOT_FOUND: the device has no such queue.  INVALID or UNSUPPORTED: it refuses the interrupt. */
enum status virtio_start_queue(struct virtio_device *device, unsigned number, struct virtqueue *queue,
                               void (*handler)(void *context), void *context) MUST_CHECK;

/* All queues are set up: the device may work. */
void virtio_start(struct virtio_device *device);

/* Hand the buffer at physical address `address` to the device as entry `entry` (< queue->size, not with the device).
 * `flags`: VIRTIO_DESCRIPTOR_WRITE or _INDIRECT. The device may look only after virtqueue_notify. */
void virtqueue_put(struct virtqueue *queue, uint16_t entry, uint64_t address, uint32_t bytes, uint16_t flags);

/* Publish what was put, and wake the device if it wants that. Cheap if nothing was put. */
void virtqueue_notify(struct virtqueue *queue);

/* Take back one entry that the device has finished; `bytes` is what it says that it wrote (not checked against the buffer).
 * EMPTY: none.  CORRUPT: the device broke the rules, now or earlier. */
enum status virtqueue_take(struct virtqueue *queue, uint16_t *entry, uint32_t *bytes) MUST_CHECK;

#endif
