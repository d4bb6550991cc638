/* The world ABI: what a world and the kernel below it have agreed on.
 *
 * Included by the kernel, by replicate/ and by the world itself. Nothing here knows the language that runs in the world.
 *
 * A call is the `syscall` instruction: number in rax; arguments in rdi, rsi, rdx, r10; the result returns in rax (negative:
 * -ABI_E*); rcx and r11 are destroyed. A call that waits is restarted: the kernel leaves rip at the instruction and
 * executes it again when the world wakes, also on another node. So every call must be harmless to repeat. A number that is no call's returns -ABI_ENOSYS.
 *
 * Registers: the general ones, the flags of arithmetic and DF, the x87 and the SSE state are the world's and go on wherever it does, except as said of calls.
 * Everything else is the same whenever the world is entered, which may be at any instruction: TF, NT, AC and ID are clear, ds, es, fs and gs are
 * null with base 0, MXCSR.DAZ is off, and AVX is not there.
 *
 * Memory: the world owns [ABI_WORLD_BASE, ABI_WORLD_BASE + memory_bytes). The first pages hold the ABI page, the rings and the
 * console ring at fixed places; the ELF image follows at ABI_IMAGE_BASE; stack and heap are segments that the kernel lays out behind
 * the image and tells in the ABI page. Pages exist from their first touch and read as zero before. */
#ifndef EIDOLON_ABI_H
#define EIDOLON_ABI_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define ABI_VERSION 1u
#define ABI_MAGIC 0x4e4f4c4f44494531ull /* "1EIDOLON" */

#define ABI_PAGE_BYTES 4096ull
#define ABI_WORLD_BASE 0x10000000ull                      /* 256 MiB: low enough for the small code model */
#define ABI_WORLD_BYTES_MAX (2304ull << 20)               /* memory_bytes is at most this */

/* Fixed places. Guard pages are never mapped. */
#define ABI_INFO_ADDRESS ABI_WORLD_BASE                    /* struct abi_info, read-only for the world */
#define ABI_RECEIVE_INFO_ADDRESS (ABI_WORLD_BASE + 0x1000) /* struct abi_receive_info, written by the kernel; read-only for the world */
#define ABI_RING_STATE_ADDRESS (ABI_WORLD_BASE + 0x2000)   /* struct abi_ring_state, written by the world */
#define ABI_CONSOLE_ADDRESS (ABI_WORLD_BASE + 0x4000)      /* ABI_CONSOLE_BYTES, written by the world */
#define ABI_TRANSMIT_ADDRESS (ABI_WORLD_BASE + 0x10000)    /* ABI_FRAME_SLOTS slots, written by the world */
#define ABI_RECEIVE_ADDRESS (ABI_WORLD_BASE + 0x100000)    /* ABI_FRAME_SLOTS slots, written by the kernel; read-only */
#define ABI_IMAGE_BASE (ABI_WORLD_BASE + 0x200000)         /* where the world's ELF is linked */

#define ABI_FRAME_SLOTS 256u                               /* a power of two */
#define ABI_FRAME_SLOTS_LOW 64u                            /* of free transmit slots: ABI_CALL_WAIT */
#define ABI_FRAME_SLOT_BYTES 2048u                         /* u32 length, then the frame */
#define ABI_FRAME_BYTES_MAX 1514u                          /* Ethernet without checksum */
#define ABI_CONSOLE_BYTES 16384u                           /* a power of two. Lines for the host's log, which takes 24 KiB at once and 1 KiB a second and
                                                            * counts what is over it (kernel/console.h) */

/* The kernel's page of facts. The kernel writes it through dirty marking, only at a resume, an undo, or with a freeze. */
struct abi_info {
    uint64_t magic;            /* ABI_MAGIC */
    uint32_t version;          /* ABI_VERSION */
    uint32_t world_number;
    uint64_t memory_bytes;     /* of the world in all, from ABI_WORLD_BASE */
    uint64_t stack_base;       /* lowest address of the initial stack */
    uint64_t stack_bytes;
    uint64_t heap_base;        /* page-aligned; to heap_base + heap_bytes everything is the runtime's */
    uint64_t heap_bytes;
    uint64_t resumed;          /* grows by one at every takeover, undo-and-resume and return from power loss */
    uint8_t mac[6];
    uint8_t reserved[2];
    uint8_t address[4];        /* IPv4 address, netmask and gateway of the world */
    uint8_t netmask[4];
    uint8_t gateway[4];
    uint32_t transmit_released; /* transmit frames released so far (a count modulo 2^32): their slots are free again */
    uint32_t console_released;  /* console bytes released so far, modulo 2^32 */
    uint32_t resume_kind;       /* enum abi_resume of the last change of `resumed` */
};

enum abi_resume {
    ABI_RESUME_BIRTH = 0,
    ABI_RESUME_TAKEOVER = 1,    /* leadership changed hands: another node ran it before, or this one and others led in between */
    ABI_RESUME_POWER = 2,       /* the whole cluster was off, or this node alone ran it and restarted */
};

/* Written by the kernel as frames arrive (through dirty marking). */
struct abi_receive_info {
    uint32_t produced;         /* frames put into the receive ring so far, modulo 2^32 */
};

/* Written by the world. Counts modulo 2^32; slot = count % ABI_FRAME_SLOTS. The kernel validates
 * transmit_produced - transmit_released <= ABI_FRAME_SLOTS and produced - receive_consumed <= ABI_FRAME_SLOTS; a world that breaks
 * this is stopped. */
struct abi_ring_state {
    uint32_t transmit_produced;
    uint32_t receive_consumed;
    uint32_t console_produced;
};

/* One slot of a frame ring. From production to release a transmit slot must not change. */
struct abi_frame_slot {
    uint32_t bytes;            /* 14..ABI_FRAME_BYTES_MAX */
    uint8_t frame[ABI_FRAME_SLOT_BYTES - 4];
};

enum abi_call {
    /* Wait until a frame is in the receive ring (produced != receive_consumed), the resumed count differs from `resumed`, or the
     * world's clock reaches the deadline, or the free slots of the transmit ring, as transmit_released tells them, become ABI_FRAME_SLOTS_LOW
     * or more after they were fewer. rdi: deadline, world clock in ns (UINT64_MAX: none); rsi: resumed count last seen.
     * Returns 0. Returns at once when one already holds. */
    ABI_CALL_WAIT = 1,
    /* Returns the world's monotonic clock in ns, from 1 at birth. */
    ABI_CALL_CLOCK = 2,
    /* Returns wall-clock ns since 1970 UTC. */
    ABI_CALL_WALL_CLOCK = 3,
    /* rdi: address, rsi: bytes (<= 256): fill with entropy. Returns 0, -ABI_EINVAL: more bytes, -ABI_EFAULT: the world may not write all of them. */
    ABI_CALL_ENTROPY = 4,
    /* Two steps, so that only the thread that asked needs to wait. rdi = 0: close the epoch soon; returns the epoch number
     * whose commit covers all done so far. rdi = that number: returns 1 if committed, else 0 (wakes WAIT when it becomes so:
     * WAIT also returns when rdx != 0 and epoch rdx is committed). */
    ABI_CALL_COMMIT = 5,
    /* rdi: address of struct abi_status, rsi: its bytes. Returns 0, -ABI_EINVAL: another size, -ABI_EFAULT: the world may not write all of it. */
    ABI_CALL_STATUS = 6,
    /* rdi: node number. Asks for a planned move; returns 0 if the request was taken (the world notices by the resumed count),
     * -ABI_EINVAL: no such node, -ABI_EAGAIN: that node cannot take it now, -ABI_ENOENT: it is down, 1: the world is there already. */
    ABI_CALL_MOVE = 7,
    /* rdi: code, rsi: address, rdx: bytes (<= 200) of a message. Stops the world on all nodes, with this reason. Does not return. */
    ABI_CALL_EXIT = 8,
};

#define ABI_EINVAL 22
#define ABI_EAGAIN 11
#define ABI_EFAULT 14
#define ABI_ENOENT 2
#define ABI_ENOSYS 38

struct abi_node_status {
    uint32_t number;           /* 1..5; 0: no entry */
    uint32_t up;               /* 1: heard of within the election timeout */
    uint32_t voter;
    uint32_t host;             /* 1: runs this world */
};

struct abi_status {
    uint32_t node;             /* this node's number */
    uint32_t node_count;
    uint64_t epoch;            /* the open epoch */
    uint64_t epoch_committed;
    uint64_t term;
    struct abi_node_status nodes[5];
};

static_assert(sizeof(struct abi_frame_slot) == ABI_FRAME_SLOT_BYTES, "slot size");
static_assert(ABI_TRANSMIT_ADDRESS + ABI_FRAME_SLOTS * ABI_FRAME_SLOT_BYTES <= ABI_RECEIVE_ADDRESS, "rings do not overlap");
static_assert(ABI_RECEIVE_ADDRESS + ABI_FRAME_SLOTS * ABI_FRAME_SLOT_BYTES <= ABI_IMAGE_BASE, "ring ends before the image");
static_assert(ABI_CONSOLE_ADDRESS + ABI_CONSOLE_BYTES <= ABI_TRANSMIT_ADDRESS, "console ends before the ring");
static_assert(sizeof(struct abi_info) <= ABI_PAGE_BYTES, "facts fit a page");

#endif
