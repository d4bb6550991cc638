/* Where things stand in the kernel's address space. Included by C, by assembly and by the linker script.
 *
 *   0x0000000010000000  the world (ABI_WORLD_BASE), user pages, 4 KiB each; nothing else below half
 *   0xffff800000000000  direct map: all RAM except the kernel image; writable, never executable
 *   0xffffc00000000000  device registers, uncached, at the same offset as their physical address
 *   0xffffffff80000000  kernel image: text (execute), rodata (read), data (write), stack behind an absent guard page */
#ifndef EIDOLON_KERNEL_LAYOUT_H
#define EIDOLON_KERNEL_LAYOUT_H

#define KERNEL_VIRTUAL_BASE 0xffffffff80000000
#define KERNEL_PHYSICAL_START 0x200000
#define DIRECT_MAP_BASE 0xffff800000000000
#define DEVICE_MAP_BASE 0xffffc00000000000
#define DEVICE_MAP_BYTES (KERNEL_VIRTUAL_BASE - DEVICE_MAP_BASE)

/* Survives a reset, as no loader and no firmware touches it: the epitaph of a failed CHECK. */
#define EPITAPH_PHYSICAL 0x100000

#define KERNEL_STACK_BYTES 65536
#define EMERGENCY_STACK_BYTES 8192

/* Segment selectors. The order user data, user code is what `syscall` would want of `sysret`; ring 3 is left by iretq alone. */
#define SELECTOR_KERNEL_CODE 0x08
#define SELECTOR_KERNEL_DATA 0x10
#define SELECTOR_USER_DATA 0x1b
#define SELECTOR_USER_CODE 0x23
#define SELECTOR_TASK 0x28

#endif
