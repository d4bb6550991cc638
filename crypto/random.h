/* Where randomness comes from.
 *
 * Every random byte of a node is drawn by its caller from that node's `machine->entropy`; the library's own global generator is never
 * used, because one process may hold several nodes (the simulator) and each must be reproducible from its own seed. The library
 * nevertheless draws from it once, while it initialises itself: that draw is served by the machine given here, and any later one is
 * our own impossibility (CHECK). */
#ifndef EIDOLON_CRYPTO_RANDOM_H
#define EIDOLON_CRYPTO_RANDOM_H

#include "include/machine.h"
#include "include/status.h"

/* Make the cryptographic library ready; before any other function of crypto/. May be called again, also for another machine.
 * UNSUPPORTED: the library refuses this machine. */
MUST_CHECK enum status crypto_init(const struct machine *machine);

#endif
