/* The node's disk: a virtio block device with a flush command.
 *
 * Requests as in include/machine.h. Completions are noted by virtio_blk_poll and told from there, never from inside another function.
 * A device without VIRTIO_BLK_F_FLUSH is refused: durability would be a guess. */
#ifndef EIDOLON_DRIVERS_VIRTIO_BLK_H
#define EIDOLON_DRIVERS_VIRTIO_BLK_H

#include "include/machine.h"

/* Find the disk and start it. After pci_start; once.
 * NOT_FOUND: no disk.  UNSUPPORTED: it lacks a feature that is needed (flush, indirect tables), or is read-only.
 * INVALID: the device is broken. */
enum status virtio_blk_start(void) MUST_CHECK;

/* Size in bytes, a multiple of MACHINE_BLOCK_BYTES. 0 before virtio_blk_start. */
uint64_t virtio_blk_bytes(void);

/* Take `request` until its `done`. FULL: BLOCK_REQUESTS_MAX - 1 are under way.  INVALID: offset or size is not on the disk, not a
 * multiple of MACHINE_BLOCK_BYTES, or too large.  IO_ERROR: the device was given up. */
enum status virtio_blk_submit(struct block_request *request) MUST_CHECK;

/* Read and wait, at most BLOCK_SYNC_DEADLINE_MS. Completions of other requests meanwhile are kept for virtio_blk_poll.
 * INVALID as above.  IO_ERROR: the device failed, or did not answer in time. */
enum status virtio_blk_read(uint64_t offset, void *buffer, size_t bytes) MUST_CHECK;

/* Write, flush, and wait for both, each at most BLOCK_SYNC_DEADLINE_MS. Otherwise as virtio_blk_read.
 * IO_ERROR: what stands there now is not known. */
enum status virtio_blk_write(uint64_t offset, const void *buffer, size_t bytes) MUST_CHECK;

/* Call `done` of every completed request. By the loop after every wake. True: more were completed meanwhile; do not halt. */
bool virtio_blk_poll(void);

#endif
