/* What MicroPython's core asks of the machine below it; the rest is declared in py/mphal.h and defined in hal.c. */
#ifndef OBJECTS_MPHALPORT_H
#define OBJECTS_MPHALPORT_H

#include <stddef.h>

static inline void mp_hal_set_interrupt_char(int c)
{
    (void)c;
}

struct _vstr_t;
int mp_hal_readline(struct _vstr_t *line, const char *prompt);
#define mp_hal_readline mp_hal_readline

#endif
