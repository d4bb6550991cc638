/* What single works of the processor cost on this machine: the seam's `probe` (include/machine.h), timed by its caller. */
#ifndef EIDOLON_KERNEL_PROBE_H
#define EIDOLON_KERNEL_PROBE_H

#include <stdint.h>

#include "include/machine.h"

/* The member of struct machine; `context` is not used. From the event loop only: fault enters ring 3, at an address that is never mapped. */
void probe_run(void *context, enum machine_probe what, uint32_t count);

#endif
