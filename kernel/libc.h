/* What picolibc asks of the kernel: a bounded heap, an exit, and the three standard streams, which all go to the log port. */
#ifndef EIDOLON_KERNEL_LIBC_H
#define EIDOLON_KERNEL_LIBC_H

/* Reserve the heap, LIBRARY_HEAP_BYTES. After memory_init and before the first malloc. */
void libc_init(void);

#endif
