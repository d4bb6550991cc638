/* What a node that gives up leaves behind: a sentence on the serial line, and in a page that survives the reset. */
#ifndef EIDOLON_KERNEL_EPITAPH_H
#define EIDOLON_KERNEL_EPITAPH_H

/* Take the sentence of the previous boot out of the kept page, if there is a whole one. Once, after memory_init. */
void epitaph_init(void);

/* The sentence of the previous boot, or "" if it ended without one. Never NULL; static. */
const char *epitaph_last_words(void);

/* Write `text` (borrowed) to the log and the kept page, and restart the machine. Callable from any trap. */
_Noreturn void epitaph_write_and_reset(const char *text);

#endif
