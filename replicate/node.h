/* The orchestrator of one node: binds group (consensus), peers and channels (crypto), image, store, catch-up, world and gate.
 *
 * The kernel and the simulator own the event loop and call it; nothing here blocks, except reads at boot. The loop's shape:
 *
 *     deliver completions and arrivals (node_link_*, node_world_frame_received, block_request.done)
 *     node_tick
 *     if node_world_runnable: enter ring 3 with node_world_registers until a trap, or until node_deadline_ns;
 *                             then node_world_page_fault / node_world_call / node_world_faulted, or nothing for an interrupt
 *     else halt until an interrupt or node_deadline_ns
 *
 * All functions are called from the loop only, never from a trap handler and never from inside a function of `struct machine`. */
#ifndef EIDOLON_REPLICATE_NODE_H
#define EIDOLON_REPLICATE_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/boot_config.h"
#include "include/machine.h"
#include "include/status.h"

struct node;

/* INVALID or UNKNOWN_VERSION: the boot configuration is not usable, `reason` says why. Callable on the raw bytes of the module, before
 * node_create. */
MUST_CHECK enum status boot_config_check(const void *bytes, size_t length, char reason[REASON_BYTES_MAX]);

/* Reserve all memory. `machine` and `boot` are borrowed for the node's life. NO_MEMORY: `reason` says how much is needed. */
MUST_CHECK enum status node_create(struct node **out, const struct machine *machine, const struct boot_config *boot, char reason[REASON_BYTES_MAX]);
/* Read the disk, recover, join the group. Always leaves a node that answers management; what is wrong with its disk shows in `status`. */
void node_start(struct node *node);

/* -- the loop -- */
void node_tick(struct node *node);
/* When node_tick is due next, machine time in ns; may be in the past (work is pending). */
uint64_t node_deadline_ns(const struct node *node);
/* Has a majority been heard within the election timeout? The kernel answers ARP for the world only then. */
bool node_majority(const struct node *node);

/* -- links (struct machine, peers 1..5, lanes 0..1) -- */
void node_link_up(struct node *node, unsigned peer, unsigned lane);
void node_link_data(struct node *node, unsigned peer, unsigned lane, const void *data, size_t bytes);
void node_link_down(struct node *node, unsigned peer, unsigned lane);

/* -- the world, while this node is its host -- */
/* May ring 3 be entered now? */
bool node_world_runnable(const struct node *node);
/* The saved registers: WORLD_REGISTERS_BYTES (replicate/world_record.h), 64-byte aligned. The kernel saves into and loads from it, and sanitises what
 * it loads. Their layout is the kernel's: machine_registers_init, below, makes those of a birth. */
uint8_t *node_world_registers(struct node *node);
/* A ring-3 page fault at an address inside [ABI_WORLD_BASE, + memory). Afterwards the world is run again if runnable (the access is repeated): the
 * page was made accessible, or the world waits for room, or it was stopped because its segments do not allow this. */
void node_world_page_fault(struct node *node, uint64_t address, bool write, bool execute);
/* Any other fault of the world: it is stopped by an epoch with this reason (at most 200 bytes, text). */
void node_world_faulted(struct node *node, const char *reason);
/* A call (include/abi.h). True: done, *result goes to rax. False: the world does not go on now; leave rip at the instruction so that it is executed
 * again when the world runs next. */
bool node_world_call(struct node *node, uint64_t number, const uint64_t arguments[4], uint64_t *result);
/* A frame for the world's address arrived. Dropped (counted) if this node does not run the world or the bounded queue is full. */
void node_world_frame_received(struct node *node, const void *frame, size_t bytes);

/* The kernel's part in a birth: fill fresh registers so that ring 3 starts at `entry` with the stack pointer `stack` (16-byte aligned as the ABI of a
 * C function's caller wants). Implemented by the kernel and by the simulator. */
void machine_registers_init(uint8_t registers[1024], uint64_t entry, uint64_t stack);

/* -- management -- */
typedef void node_answer_fn(void *context, const char *line);
/* Execute one management command line (include/management.h), without its newline; every answer line goes through `answer`, the last being
 * `ok` or `error ...`. */
void node_management_line(struct node *node, const char *line, size_t bytes, node_answer_fn *answer, void *context);
/* The epitaph of the previous boot, shown in status; borrowed text. */
void node_set_last_words(struct node *node, const char *text);

#endif
