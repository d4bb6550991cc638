/* The management port (include/management.h) on the second serial line: gathers command lines, has the node execute them, sends
 * the answers.
 *
 * Nothing here waits: a command is read only when a whole answer fits into the port's output buffer, so a host that does not
 * read stops being listened to and costs nothing. Any bytes at all may come; what is not a command gets an error line. */
#ifndef EIDOLON_KERNEL_MANAGEMENT_H
#define EIDOLON_KERNEL_MANAGEMENT_H

#include <stdbool.h>

#include "replicate/node.h"

/* Take what has arrived and execute at most MANAGEMENT_LINES_PER_ROUND_MAX commands. Returns true if it took or sent
 * anything: then the port must be polled once more before the processor halts. */
bool management_poll(struct node *node);

#endif
