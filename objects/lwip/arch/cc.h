/* What lwIP needs to know of the compiler and of the world around it. Read by lwIP's arch.h, in world code only. */
#ifndef OBJECTS_LWIP_ARCH_CC_H
#define OBJECTS_LWIP_ARCH_CC_H

#include <limits.h>
#include <stdint.h>
#include <sys/types.h>

#ifndef SSIZE_MAX
#define SSIZE_MAX LONG_MAX
#endif

#define BYTE_ORDER LITTLE_ENDIAN
#define LWIP_NO_UNISTD_H 1

/* Stops the world with file and line. */
_Noreturn void lwip_assert_failed(const char *what, const char *file, int line);

/* Unpredictable, from the ABI's entropy: initial sequence numbers and ports come from it. */
uint32_t lwip_random(void);

/* Throws an IP packet that arrived away, returning 1, when memory does not suffice to keep it. */
struct pbuf;
int lwip_refuse_packet(struct pbuf *packet);

#define LWIP_PLATFORM_DIAG(message)
#define LWIP_PLATFORM_ASSERT(what) lwip_assert_failed(what, __FILE__, __LINE__)
#define LWIP_RAND() lwip_random()

#endif
