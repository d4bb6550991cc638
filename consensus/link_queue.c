#include "consensus/link_queue.h"

#include <string.h>

#include "consensus/limits.h"
#include "include/check.h"

void link_queue_init(struct link_queue *queue, const struct machine *machine, unsigned peer, unsigned lane, uint8_t *ring)
{
    *queue = (struct link_queue){.machine = machine, .peer = peer, .lane = lane, .ring = ring};
}

void link_queue_clear(struct link_queue *queue)
{
    queue->first = 0;
    queue->bytes = 0;
    queue->unflushed = false;
}

size_t link_queue_room(const struct link_queue *queue)
{
    return PEERS_QUEUE_BYTES - queue->bytes;
}

/* How many of `bytes` bytes the link has taken. */
static size_t give_to_link(struct link_queue *queue, const uint8_t *data, size_t bytes)
{
    const struct machine *machine = queue->machine;
    size_t room = machine->link_room(machine->context, queue->peer, queue->lane);
    size_t given = bytes < room ? bytes : room;
    if (given == 0 || machine->link_send(machine->context, queue->peer, queue->lane, data, given) != STATUS_OK) {
        queue->retry_ns = machine->now_ns(machine->context) + PEERS_RETRY_US * 1000ull;
        return 0;
    }
    queue->unflushed = true;
    return given;
}

void link_queue_write(struct link_queue *queue, const void *data, size_t bytes)
{
    const uint8_t *from = data;
    CHECK(bytes <= link_queue_room(queue));
    if (queue->bytes == 0 && bytes > 0) {
        size_t given = give_to_link(queue, from, bytes);
        from += given;
        bytes -= given;
    }
    while (bytes > 0) {
        size_t end = (queue->first + queue->bytes) % PEERS_QUEUE_BYTES;
        size_t piece = PEERS_QUEUE_BYTES - end < bytes ? PEERS_QUEUE_BYTES - end : bytes;
        memcpy(queue->ring + end, from, piece);
        queue->bytes += piece;
        from += piece;
        bytes -= piece;
    }
}

void link_queue_pump(struct link_queue *queue)
{
    while (queue->bytes > 0) {
        size_t contiguous = PEERS_QUEUE_BYTES - queue->first;
        size_t given = give_to_link(queue, queue->ring + queue->first, queue->bytes < contiguous ? queue->bytes : contiguous);
        if (given == 0) {
            return;
        }
        queue->first = (queue->first + given) % PEERS_QUEUE_BYTES;
        queue->bytes -= given;
    }
}

void link_queue_flush(struct link_queue *queue)
{
    if (queue->unflushed) {
        queue->unflushed = false;
        queue->machine->link_flush(queue->machine->context, queue->peer, queue->lane);
    }
}

void link_queue_check(const struct link_queue *queue)
{
    CHECK(queue->first < PEERS_QUEUE_BYTES);
    CHECK(queue->bytes <= PEERS_QUEUE_BYTES);
}
