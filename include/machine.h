/* The seam: everything that replicate/, consensus/ and crypto/ know of the machine.
 *
 * The kernel implements it with drivers, the simulator with models, unit tests with fakes. Nothing behind it calls back
 * from inside one of these functions: completions and arrivals are delivered by the event loop, one at a time, each handler
 * running to completion. There are no threads and no locks on this side of the seam. */
#ifndef EIDOLON_MACHINE_H
#define EIDOLON_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/status.h"

enum {
    MACHINE_SECTOR_BYTES = 512,
    MACHINE_BLOCK_BYTES = 4096,       /* every request is a multiple of this and aligned to it */
    MACHINE_PEERS_MAX = 5,            /* node numbers are 1..5 */
    MACHINE_LANES = 2,                /* lane 0: raft; lane 1: bulk (page pulls), so that bulk never delays raft */
    MACHINE_REQUEST_BYTES_MAX = 256 * 1024,
    MACHINE_LOG_BYTES_MAX = 400,      /* a line of the log */
};

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

/* What the world may do with a page. Never both to write and to execute. */
enum page_rights { PAGE_NONE, PAGE_READ, PAGE_WRITE, PAGE_EXECUTE };

/* What the processor's own work costs, for the management command `probe`: a write to a page table entry, a TLB flush, entering ring 3 and coming back by
 * a page fault. */
enum machine_probe { MACHINE_PROBE_ENTRY, MACHINE_PROBE_FLUSH, MACHINE_PROBE_FAULT };

enum block_operation { BLOCK_WRITE, BLOCK_FLUSH };

/* An asynchronous request to the node's disk. The struct and its buffer are the caller's and must live, unchanged, until
 * `done` was called. A write is durable only after a flush that was submitted after the write's completion has completed.
 * Writes may complete in any order. */
struct block_request {
    enum block_operation operation;
    uint64_t offset;                  /* bytes from the start of the disk */
    const void *buffer;
    size_t bytes;
    void (*done)(struct block_request *request, enum status status); /* OK or IO_ERROR; from the event loop */
    void *context;                    /* the caller's */
    struct block_request *next;       /* the driver's while the request is under way */
};

struct machine {
    void *context;                    /* passed to every function below */

    /* Monotonic nanoseconds since an arbitrary instant; never goes back. */
    uint64_t (*now_ns)(void *context);
    /* Nanoseconds since 1970 UTC by the machine's real-time clock; may jump. */
    uint64_t (*wall_clock_ns)(void *context);
    /* Fill `buffer` with unpredictable bytes. */
    void (*entropy)(void *context, void *buffer, size_t bytes);
    /* One line, without newline, at most MACHINE_LOG_BYTES_MAX bytes (longer ones are cut). include/machine_log.h: with a format. */
    void (*log)(void *context, enum log_level level, const char *line);

    /* Disk. */
    uint64_t disk_bytes;
    /* Synchronous: for boot and for rare reads (an old log entry, a page of a checkpoint); bytes <= MACHINE_REQUEST_BYTES_MAX.
     * IO_ERROR: the device failed; `buffer` is then undefined. */
    enum status (*block_read)(void *context, uint64_t offset, void *buffer, size_t bytes);
    /* Synchronous and durable: write, then flush. For the rare change that nothing may overtake: a disk given a new incarnation. Same bounds.
     * IO_ERROR: the device failed; what stands there is not known. */
    enum status (*block_write)(void *context, uint64_t offset, const void *buffer, size_t bytes);
    /* Takes the request until its `done`. FULL: the device queue is full (bound: at least 64), try after a completion. */
    enum status (*block_submit)(void *context, struct block_request *request);

    /* Links to peers: ordered byte streams, one per peer node and lane, that may end at any time and are re-established by the
     * machine without being asked (events: up, data, down). Bytes are not trusted: crypto/channel runs on top. */
    /* Bytes that link_send would accept now; 0 while the link is down. */
    size_t (*link_room)(void *context, unsigned peer, unsigned lane);
    /* Copies `bytes` bytes out, all or nothing. FULL: more than link_room. CLOSED: link is down. */
    enum status (*link_send)(void *context, unsigned peer, unsigned lane, const void *data, size_t bytes);
    /* Push out what was sent so far (end of a batch). */
    void (*link_flush)(void *context, unsigned peer, unsigned lane);
    /* End the link now; a new one is attempted later. No down event follows for a link ended so. */
    void (*link_reset)(void *context, unsigned peer, unsigned lane);

    /* The frames behind the world's pages. Page number = (address - ABI_WORLD_BASE) / 4096, < pages_max. */
    uint32_t pages_max;
    /* Kernel address of the page's frame, or NULL if the page is absent. Valid until page_remove. */
    uint8_t *(*page_frame)(void *context, uint32_t page);
    /* Give the absent page a zeroed frame, with PAGE_NONE. NO_MEMORY: no frame is left. */
    enum status (*page_add)(void *context, uint32_t page);
    /* Take the frame away; the page is absent. */
    void (*page_remove)(void *context, uint32_t page);
    /* What the world may do with the present page from now on. Taking a right away takes effect before the world runs again after pages_flush. */
    void (*page_protect)(void *context, uint32_t page, enum page_rights rights);
    /* What was taken away since the last call is gone before the world runs again; the caller's own accesses are not affected. */
    void (*pages_flush)(void *context);

    /* A frame has passed the gate: put it on the wire. The machine may drop it if its own queue is full, as a wire may. */
    void (*world_frame_send)(void *context, const void *frame, size_t bytes);
    /* Console bytes of the world have passed the gate. The machine takes all of them and may leave out lines that are more than its log takes, if it says
     * how many. */
    void (*world_console_write)(void *context, const char *text, size_t bytes);
    /* This node starts or stops answering for the world's address. On `true`: announce it (gratuitous ARP, repeated). */
    void (*world_address_hold)(void *context, bool hold);
    /* The ELF image of the fresh world that this build carries. */
    const void *world_elf;
    size_t world_elf_bytes;

    /* Do `what` `count` times, for the caller to measure; nothing else changes. NULL: this machine has no such processor. */
    void (*probe)(void *context, enum machine_probe what, uint32_t count);

    /* Start this node anew, as after a power cut: its memory is gone, its disk stays. Does not return into the caller's event (the
     * simulator discards the node at the end of the present event). `why` is logged and shown by the next boot as last words. */
    void (*restart)(void *context, const char *why);

    /* Memory that is reserved at boot and never returned; zeroed; aligned to `alignment` (a power of two).
     * NULL: the machine has not that much. Only during *_init functions. */
    void *(*reserve)(void *context, size_t bytes, size_t alignment);
};

#endif
