/* The world's console in the node's log: a line of the world is a line `world: ...`.
 *
 * A log line is written byte by byte while nothing else runs, so the world has an allowance: a burst of CONSOLE_BURST_BYTES, which comes back at
 * CONSOLE_BYTES_PER_S (kernel/limits.h). Lines over it are not logged; how many is said when the allowance is back to CONSOLE_RESUME_BYTES
 * and the world writes another line. Empty lines are left out. No call writes more than the burst. */
#ifndef EIDOLON_KERNEL_CONSOLE_H
#define EIDOLON_KERNEL_CONSOLE_H

#include <stddef.h>
#include <stdint.h>

/* The world has written `bytes` bytes (borrowed) by `now_ns`, which never falls. A line may come in several calls. */
void console_write(uint64_t now_ns, const char *text, size_t bytes);

#endif
