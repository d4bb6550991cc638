/* The event loop: everything that a node does after its boot, one thing at a time.
 *
 * A round: completions and arrivals, the node's own work and once more what that made due, then the world until an interrupt or the next deadline. When
 * the world has nothing to do either, the processor halts until an interrupt or the next deadline: nothing polls (IDLE). A round in which an interrupt
 * was taken, as in a synchronous read, is followed by another. */
#ifndef EIDOLON_KERNEL_LOOP_H
#define EIDOLON_KERNEL_LOOP_H

#include "replicate/node.h"

/* Start the network for `node`; what arrives is told to it from loop_run. `boot` (checked) is borrowed for ever.
 * NOT_FOUND, UNSUPPORTED, INVALID: the network device, as drivers/net.h says. */
MUST_CHECK enum status loop_start(struct node *node, const struct boot_config *boot);

/* Run `node` for ever. */
_Noreturn void loop_run(struct node *node);

#endif
