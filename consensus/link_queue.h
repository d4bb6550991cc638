/* What waits to be sent on one link: a ring of bytes between peers and the machine's link.
 *
 * Owns the bytes that the link did not take at once. Promises: bytes leave in the order in which they were written, none left out; what the
 * link takes at once is not copied here. Bounded: PEERS_QUEUE_BYTES. Used by consensus/peers alone. */
#ifndef EIDOLON_CONSENSUS_LINK_QUEUE_H
#define EIDOLON_CONSENSUS_LINK_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/machine.h"

struct link_queue {
    const struct machine *machine;
    unsigned peer, lane;
    uint8_t *ring;               /* PEERS_QUEUE_BYTES */
    size_t first, bytes;
    uint64_t retry_ns;           /* when bytes that found no room are tried again */
    bool unflushed;              /* the link was given bytes since the last flush */
};

/* An empty queue for the link to `peer` on `lane`; `ring` (taken) has PEERS_QUEUE_BYTES. */
void link_queue_init(struct link_queue *queue, const struct machine *machine, unsigned peer, unsigned lane, uint8_t *ring);

/* Forget everything: the link has ended. */
void link_queue_clear(struct link_queue *queue);

/* Bytes that link_queue_write would take now. */
size_t link_queue_room(const struct link_queue *queue);

/* Send `bytes` bytes of `data` (borrowed), or keep what the link does not take. At most link_queue_room bytes. */
void link_queue_write(struct link_queue *queue, const void *data, size_t bytes);

/* Move kept bytes to the link, as many as it takes. */
void link_queue_pump(struct link_queue *queue);

/* Let the link push out what it was given. */
void link_queue_flush(struct link_queue *queue);

void link_queue_check(const struct link_queue *queue);

#endif
