/* The calls of the world ABI, and the places that it fixes, as C sees them. No state. */
#ifndef OBJECTS_ABI_CALLS_H
#define OBJECTS_ABI_CALLS_H

#include <stdint.h>

#include "include/abi.h"

#define ABI_NEVER UINT64_MAX

static inline const volatile struct abi_info *abi_info(void)
{
    return (const volatile struct abi_info *)ABI_INFO_ADDRESS;
}

static inline const volatile struct abi_receive_info *abi_receive_info(void)
{
    return (const volatile struct abi_receive_info *)ABI_RECEIVE_INFO_ADDRESS;
}

static inline volatile struct abi_ring_state *abi_ring_state(void)
{
    return (volatile struct abi_ring_state *)ABI_RING_STATE_ADDRESS;
}

static inline int64_t abi_call(enum abi_call number, uint64_t a, uint64_t b, uint64_t c)
{
    int64_t result;
    __asm__ volatile("syscall" : "=a"(result) : "a"((uint64_t)number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

/* The world's monotonic clock, ns. */
static inline uint64_t abi_clock(void)
{
    return (uint64_t)abi_call(ABI_CALL_CLOCK, 0, 0, 0);
}

static inline void abi_entropy(void *buffer, uint32_t bytes)
{
    (void)abi_call(ABI_CALL_ENTROPY, (uintptr_t)buffer, bytes, 0);
}

static inline int abi_frame_waits(void)
{
    return abi_receive_info()->produced != abi_ring_state()->receive_consumed;
}

static inline uint32_t abi_transmit_room(void)
{
    return ABI_FRAME_SLOTS - (abi_ring_state()->transmit_produced - abi_info()->transmit_released);
}

/* Frames of the world have not left yet, as far as it knows. */
static inline int abi_frames_wait_for_gate(void)
{
    return abi_ring_state()->transmit_produced != abi_info()->transmit_released;
}

#endif
