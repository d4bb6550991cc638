/* What drivers/platform.h asks of the kernel. */
#include "drivers/platform.h"

#include <stdarg.h>

#include "kernel/epitaph.h"
#include "kernel/log.h"
#include "kernel/memory.h"
#include "kernel/trap.h"

unsigned platform_vector_claim(platform_interrupt_handler *handler, void *context)
{
    return trap_claim_vector(handler, context);
}

volatile void *platform_map_device(uint64_t physical, size_t bytes)
{
    return memory_map_device(physical, bytes);
}

uint64_t platform_physical(const void *pointer)
{
    return memory_physical(pointer);
}

void platform_idle(void)
{
    processor_idle();
}

void platform_log(enum log_level level, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    log_arguments(level, format, arguments);
    va_end(arguments);
}

void platform_boot_failed(const char *sentence)
{
    epitaph_write_and_reset(sentence);
}
