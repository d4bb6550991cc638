/* The node's random number generator: hardware entropy (drivers/entropy.h), expanded.
 *
 * A ChaCha20 stream under a key that each request replaces, so that a later leak of memory tells nothing about earlier bytes; fresh
 * hardware entropy is mixed in every RANDOM_RESEED_BYTES. */
#ifndef EIDOLON_KERNEL_RANDOM_H
#define EIDOLON_KERNEL_RANDOM_H

#include <stddef.h>

/* Draw the first key. After entropy_start. */
void random_init(void);

/* Fill `buffer`. Cheap: no hardware is asked but for reseeding. */
void random_fill(void *buffer, size_t bytes);

#endif
