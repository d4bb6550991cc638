/* VIRTIO 1.0, section 5.2. A request is an indirect table of header, data and status byte. */
#include "drivers/virtio_blk.h"

#include <string.h>

#include "drivers/limits.h"
#include "drivers/platform.h"
#include "drivers/timer.h"
#include "drivers/virtio.h"
#include "include/check.h"

enum {
    CONFIG_CAPACITY = 0,
    TYPE_READ = 0,
    TYPE_WRITE = 1,
    TYPE_FLUSH = 4,
    DEVICE_OK = 0,
    DEVICE_PENDING = 0xff,             /* ours: the device has not written the status yet */
    PARTS_MAX = 3,
    SYNC_SPINS = 200,                  /* looks at the ring before the processor halts: a cached read takes a few microseconds */
    SYNC_HALT_NS = 2000000,            /* longest halt while waiting */
};

#define FEATURE_READ_ONLY (1ull << 5)
#define FEATURE_FLUSH (1ull << 9)

struct request_header {
    uint32_t type;
    uint32_t reserved;
    uint64_t sector;
};

struct slot {
    struct virtio_descriptor parts[PARTS_MAX];
    struct request_header header;
    uint8_t status;
    struct block_request *request;     /* NULL: the synchronous request */
    enum status outcome;
};

static struct virtio_device device;
static struct virtqueue queue;
static struct slot slots[BLOCK_REQUESTS_MAX] __attribute__((aligned(64)));
static uint16_t free_slots[BLOCK_REQUESTS_MAX];
static unsigned free_count;
static uint64_t disk_bytes;
static bool failed;

/* Slots that are completed but whose `done` was not called yet, in order of completion; positions count for ever. */
static uint16_t completed[BLOCK_REQUESTS_MAX];
static unsigned completed_put, completed_taken;

/* Synchronous requests go through this, so that an answer after the deadline hits nobody's memory. */
static uint8_t sync_buffer[MACHINE_REQUEST_BYTES_MAX] __attribute__((aligned(4096)));
static bool sync_under_way;
static enum status sync_status;

static void interrupt(void *context)
{
    (void)context;
}

enum status virtio_blk_start(void)
{
    uint64_t features;
    enum status status = virtio_open(&device, VIRTIO_BLOCK, 0);
    if (status != STATUS_OK) {
        return status;
    }
    status = virtio_negotiate(&device, FEATURE_FLUSH | VIRTIO_FEATURE_INDIRECT, FEATURE_READ_ONLY, &features);
    if (status != STATUS_OK) {
        return status;
    }
    if ((features & FEATURE_READ_ONLY) != 0) {
        return STATUS_UNSUPPORTED;
    }
    status = virtio_start_queue(&device, 0, &queue, interrupt, NULL);
    if (status != STATUS_OK) {
        return status;
    }
    if (queue.size < BLOCK_REQUESTS_MAX) {
        return STATUS_UNSUPPORTED;
    }
    for (unsigned i = 0; i < BLOCK_REQUESTS_MAX; i++) {
        free_slots[free_count++] = (uint16_t)(BLOCK_REQUESTS_MAX - 1 - i);
    }
    uint64_t sectors = virtio_config_read64(&device, CONFIG_CAPACITY);
    if (sectors > UINT64_MAX / MACHINE_SECTOR_BYTES) {
        return STATUS_INVALID;
    }
    disk_bytes = sectors * MACHINE_SECTOR_BYTES / MACHINE_BLOCK_BYTES * MACHINE_BLOCK_BYTES;
    virtio_start(&device);
    platform_log(LOG_INFO, "disk: %llu MiB", (unsigned long long)(disk_bytes >> 20));
    return STATUS_OK;
}

uint64_t virtio_blk_bytes(void)
{
    return disk_bytes;
}

static bool range_valid(uint64_t offset, size_t bytes)
{
    return bytes > 0 && bytes <= MACHINE_REQUEST_BYTES_MAX && bytes % MACHINE_BLOCK_BYTES == 0 &&
           offset % MACHINE_BLOCK_BYTES == 0 && offset <= disk_bytes && bytes <= disk_bytes - offset;
}

/* Fill a free slot and hand it to the device. `data` is NULL for a flush. */
static void put_request(uint32_t type, uint64_t offset, uint64_t data, size_t bytes, struct block_request *request)
{
    CHECK(free_count > 0);
    uint16_t number = free_slots[--free_count];
    struct slot *slot = &slots[number];
    slot->request = request;
    slot->header = (struct request_header){.type = type, .sector = offset / MACHINE_SECTOR_BYTES};
    slot->status = DEVICE_PENDING;

    uint16_t count = 0;
    slot->parts[count++] = (struct virtio_descriptor){
        .address = platform_physical(&slot->header), .bytes = sizeof slot->header, .flags = VIRTIO_DESCRIPTOR_NEXT, .next = 1};
    if (bytes > 0) {
        uint16_t direction = type == TYPE_READ ? VIRTIO_DESCRIPTOR_WRITE : 0;
        slot->parts[count++] = (struct virtio_descriptor){
            .address = data, .bytes = (uint32_t)bytes, .flags = (uint16_t)(VIRTIO_DESCRIPTOR_NEXT | direction), .next = 2};
    }
    slot->parts[count++] =
        (struct virtio_descriptor){.address = platform_physical(&slot->status), .bytes = 1, .flags = VIRTIO_DESCRIPTOR_WRITE};
    virtqueue_put(&queue, number, platform_physical(slot->parts), (uint32_t)(count * sizeof slot->parts[0]),
                  VIRTIO_DESCRIPTOR_INDIRECT);
    virtqueue_notify(&queue);
}

enum status virtio_blk_submit(struct block_request *request)
{
    if (failed) {
        return STATUS_IO_ERROR;
    }
    if (request->operation == BLOCK_WRITE && !range_valid(request->offset, request->bytes)) {
        return STATUS_INVALID;
    }
    /* One slot stays for the synchronous request. */
    if (free_count <= 1) {
        return STATUS_FULL;
    }
    if (request->operation == BLOCK_WRITE) {
        put_request(TYPE_WRITE, request->offset, platform_physical(request->buffer), request->bytes, request);
    } else {
        put_request(TYPE_FLUSH, 0, 0, 0, request);
    }
    return STATUS_OK;
}

static void complete(uint16_t number, enum status outcome)
{
    slots[number].outcome = outcome;
    completed[completed_put++ % BLOCK_REQUESTS_MAX] = number;
}

/* A device that broke the rules never answers again: everything under way ends with an error. */
static void fail_all(void)
{
    failed = true;
    for (uint16_t i = 0; i < BLOCK_REQUESTS_MAX; i++) {
        if (queue.with_device[i] && slots[i].request != NULL) {
            complete(i, STATUS_IO_ERROR);
        }
    }
    sync_under_way = false;
    sync_status = STATUS_IO_ERROR;
}

/* Take back what the device has finished, and note it. */
static void collect(void)
{
    uint16_t number;
    uint32_t bytes;
    enum status status;
    while (!failed && (status = virtqueue_take(&queue, &number, &bytes)) != STATUS_EMPTY) {
        if (status != STATUS_OK || number >= BLOCK_REQUESTS_MAX) {
            fail_all();
            return;
        }
        struct slot *slot = &slots[number];
        uint8_t device_status = *(volatile uint8_t *)&slot->status;
        enum status outcome = device_status == DEVICE_OK ? STATUS_OK : STATUS_IO_ERROR;
        if (outcome != STATUS_OK) {
            platform_log(LOG_ERROR, "disk: request of type %u at sector %llu failed with status %u", slot->header.type,
                         (unsigned long long)slot->header.sector, device_status);
        }
        if (slot->request != NULL) {
            complete(number, outcome);
        } else {
            sync_under_way = false;
            sync_status = outcome;
            free_slots[free_count++] = number;
        }
    }
}

static void wait_for_sync(void)
{
    uint64_t deadline_ns = timer_now_ns() + BLOCK_SYNC_DEADLINE_MS * 1000000ull;
    for (unsigned spins = 0; sync_under_way; spins++) {
        collect();
        if (!sync_under_way || spins < SYNC_SPINS) {
            continue;
        }
        uint64_t now_ns = timer_now_ns();
        if (now_ns >= deadline_ns) {
            return;
        }
        timer_arm(now_ns + SYNC_HALT_NS);
        platform_idle();
    }
}

/* Is the buffer of synchronous requests ours? One that missed its deadline still owns it. */
static bool sync_possible(void)
{
    collect();
    return !failed && !sync_under_way && free_count > 0;
}

/* One request through sync_buffer (0 bytes: a flush), waited for. */
static enum status sync_request(uint32_t type, uint64_t offset, size_t bytes)
{
    sync_under_way = true;
    put_request(type, offset, platform_physical(sync_buffer), bytes, NULL);
    wait_for_sync();
    if (sync_under_way) {
        platform_log(LOG_ERROR, "disk: no answer to a request of type %u at byte %llu within %d ms", (unsigned)type,
                     (unsigned long long)offset, BLOCK_SYNC_DEADLINE_MS);
        return STATUS_IO_ERROR;
    }
    return sync_status;
}

enum status virtio_blk_read(uint64_t offset, void *buffer, size_t bytes)
{
    if (!range_valid(offset, bytes)) {
        return STATUS_INVALID;
    }
    if (!sync_possible()) {
        return STATUS_IO_ERROR;
    }
    enum status status = sync_request(TYPE_READ, offset, bytes);
    if (status == STATUS_OK) {
        memcpy(buffer, sync_buffer, bytes);
    }
    return status;
}

enum status virtio_blk_write(uint64_t offset, const void *buffer, size_t bytes)
{
    if (!range_valid(offset, bytes)) {
        return STATUS_INVALID;
    }
    if (!sync_possible()) {
        return STATUS_IO_ERROR;
    }
    memcpy(sync_buffer, buffer, bytes);
    enum status status = sync_request(TYPE_WRITE, offset, bytes);
    return status == STATUS_OK ? sync_request(TYPE_FLUSH, 0, 0) : status;
}

bool virtio_blk_poll(void)
{
    collect();
    /* `done` may submit again, and read, which completes others: those are for the next poll. */
    unsigned end = completed_put;
    while (completed_taken != end) {
        uint16_t number = completed[completed_taken++ % BLOCK_REQUESTS_MAX];
        struct block_request *request = slots[number].request;
        enum status outcome = slots[number].outcome;
        slots[number].request = NULL;
        free_slots[free_count++] = number;
        request->done(request, outcome);
    }
    return completed_taken != completed_put;
}
