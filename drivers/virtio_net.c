/* VIRTIO 1.0, section 5.1. */
#include "drivers/virtio_net.h"

#include <assert.h>
#include <string.h>

#include "drivers/limits.h"
#include "drivers/platform.h"
#include "drivers/virtio.h"
#include "include/check.h"

enum {
    QUEUE_RECEIVE = 0,
    QUEUE_TRANSMIT = 1,
    HEADER_BYTES = 12,                 /* 5.1.6: with version 1 the header always has its last field */
    BUFFER_BYTES = 9216,
    CONFIG_MTU = 10,
    NO_ENTRY = 0xffff,
};

static struct virtio_device device;
static struct virtqueue receive_queue;
static struct virtqueue transmit_queue;
#define FEATURE_MTU (1ull << 3)

static uint8_t receive_buffers[NET_FRAMES_MAX][BUFFER_BYTES] __attribute__((aligned(4096)));
static uint8_t transmit_buffers[NET_FRAMES_MAX][BUFFER_BYTES] __attribute__((aligned(4096)));
static uint16_t transmit_free[NET_FRAMES_MAX];
static unsigned transmit_free_count;
static uint16_t transmit_place = NO_ENTRY;
static bool started;
static unsigned mtu = NET_MTU_DEFAULT;

static_assert(HEADER_BYTES + NET_FRAME_BYTES_MAX <= BUFFER_BYTES, "header and frame fit a buffer");

static void interrupt(void *context)
{
    (void)context;
}

static unsigned smaller(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

static void put_receive_buffer(uint16_t entry)
{
    virtqueue_put(&receive_queue, entry, platform_physical(receive_buffers[entry]), BUFFER_BYTES, VIRTIO_DESCRIPTOR_WRITE);
}

enum status virtio_net_start(void)
{
    uint64_t features;
    enum status status = virtio_open(&device, VIRTIO_NETWORK, 0);
    if (status != STATUS_OK) {
        return status;
    }
    status = virtio_negotiate(&device, 0, FEATURE_MTU, &features);
    if (status != STATUS_OK) {
        return status;
    }
    if ((features & FEATURE_MTU) != 0) {
        /* A wire for more than our buffers hold is used for what they hold: nobody but other nodes sends us more than ordinary frames. */
        mtu = virtio_config_read8(&device, CONFIG_MTU) | (unsigned)virtio_config_read8(&device, CONFIG_MTU + 1) << 8;
        mtu = mtu < NET_MTU_DEFAULT ? NET_MTU_DEFAULT : smaller(mtu, NET_MTU_MAX);
    }
    status = virtio_start_queue(&device, QUEUE_RECEIVE, &receive_queue, interrupt, NULL);
    if (status != STATUS_OK) {
        return status;
    }
    /* Sent buffers are taken back when room is needed: nobody waits for them. */
    status = virtio_start_queue(&device, QUEUE_TRANSMIT, &transmit_queue, NULL, NULL);
    if (status != STATUS_OK) {
        return status;
    }
    virtio_start(&device);
    for (unsigned i = 0; i < smaller(NET_FRAMES_MAX, receive_queue.size); i++) {
        put_receive_buffer((uint16_t)i);
    }
    virtqueue_notify(&receive_queue);
    for (unsigned i = 0; i < smaller(NET_FRAMES_MAX, transmit_queue.size); i++) {
        transmit_free[transmit_free_count++] = (uint16_t)i;
    }
    started = true;
    return STATUS_OK;
}

unsigned virtio_net_mtu(void)
{
    return mtu;
}

bool virtio_net_poll(void (*received)(const uint8_t *frame, size_t bytes))
{
    if (!started) {
        return false;
    }
    bool more = true;
    for (unsigned i = 0; i < NET_POLL_FRAMES_MAX; i++) {
        uint16_t entry;
        uint32_t bytes;
        if (virtqueue_take(&receive_queue, &entry, &bytes) != STATUS_OK) {
            more = false;
            break;
        }
        /* The device may tell a length that no frame has. */
        if (bytes >= HEADER_BYTES + NET_FRAME_BYTES_MIN && bytes <= HEADER_BYTES + NET_FRAME_BYTES_MAX) {
            received(receive_buffers[entry] + HEADER_BYTES, bytes - HEADER_BYTES);
        }
        put_receive_buffer(entry);
    }
    virtqueue_notify(&receive_queue);
    return more;
}

static void take_back_sent(void)
{
    uint16_t entry;
    uint32_t bytes;
    while (virtqueue_take(&transmit_queue, &entry, &bytes) == STATUS_OK) {
        transmit_free[transmit_free_count++] = entry;
    }
}

uint8_t *virtio_net_place(void)
{
    if (transmit_place == NO_ENTRY) {
        if (transmit_free_count == 0) {
            virtqueue_notify(&transmit_queue);
            take_back_sent();
        }
        if (transmit_free_count == 0) {
            return NULL;
        }
        transmit_place = transmit_free[--transmit_free_count];
    }
    return transmit_buffers[transmit_place] + HEADER_BYTES;
}

void virtio_net_commit(size_t bytes)
{
    CHECK(transmit_place != NO_ENTRY);
    CHECK(bytes >= NET_FRAME_BYTES_MIN);
    CHECK(bytes <= NET_FRAME_BYTES_MAX);
    uint8_t *buffer = transmit_buffers[transmit_place];
    memset(buffer, 0, HEADER_BYTES);
    virtqueue_put(&transmit_queue, transmit_place, platform_physical(buffer), (uint32_t)(HEADER_BYTES + bytes), 0);
    transmit_place = NO_ENTRY;
}

void virtio_net_flush(void)
{
    if (started) {
        virtqueue_notify(&transmit_queue);
    }
}
