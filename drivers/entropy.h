/* Raw entropy for the kernel's random number generator, which expands it (kernel/random.c).
 *
 * Sources: the processor's RDSEED or RDRAND, and a virtio-rng device if there is one; the counter's jitter is added to both. At
 * least one of the first two must pass its health check, or the node does not boot. Words of all sources are combined by exclusive
 * or, so the result is as good as the best of them. */
#ifndef EIDOLON_DRIVERS_ENTROPY_H
#define EIDOLON_DRIVERS_ENTROPY_H

#include <stddef.h>

/* Find and check the sources. Stops the boot if there is none. After pci_start; once. */
void entropy_start(void);

/* Fill `buffer`. A source that fails later is left out and logged; if none is left the node stops (CHECK). Not for a hot path:
 * a device source may be waited for. */
void entropy_fill(void *buffer, size_t bytes);

#endif
