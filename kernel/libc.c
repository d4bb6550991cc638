#include "kernel/libc.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "drivers/serial.h"
#include "include/check.h"
#include "kernel/epitaph.h"
#include "kernel/limits.h"
#include "kernel/memory.h"

static uint8_t *heap;
static size_t heap_used;

void libc_init(void)
{
    heap = memory_reserve(LIBRARY_HEAP_BYTES, 4096);
    if (heap == NULL) {
        memory_too_small();
    }
}

void *sbrk(ptrdiff_t increment);

/* A failed allocation is the caller's to handle: it sees NULL from malloc. */
void *sbrk(ptrdiff_t increment)
{
    if (increment < 0 ? (size_t)-increment > heap_used : (size_t)increment > LIBRARY_HEAP_BYTES - heap_used) {
        errno = ENOMEM;
        return (void *)-1;
    }
    uint8_t *start = heap + heap_used;
    heap_used = (size_t)((ptrdiff_t)heap_used + increment);
    return start;
}

void _exit(int code)
{
    (void)code;
    epitaph_write_and_reset("a library asked the kernel to exit");
}

static int put_character(char character, FILE *file)
{
    (void)file;
    serial_write(SERIAL_LOG, &character, 1);
    return (unsigned char)character;
}

static FILE log_stream = FDEV_SETUP_STREAM(put_character, NULL, NULL, _FDEV_SETUP_WRITE);
FILE *const stdin = &log_stream;
FILE *const stdout = &log_stream;
FILE *const stderr = &log_stream;
