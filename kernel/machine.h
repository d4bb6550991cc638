/* The seam (include/machine.h) on metal: drivers and world memory, put together. */
#ifndef EIDOLON_KERNEL_MACHINE_H
#define EIDOLON_KERNEL_MACHINE_H

#include "include/machine.h"

/* After all drivers have started and world_memory_init: fill in the seam. Returned struct is static and for ever. */
const struct machine *machine_init(void);

#endif
