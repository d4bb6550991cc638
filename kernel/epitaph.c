#include "kernel/epitaph.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "drivers/timer.h"
#include "include/check.h"
#include "include/hash64.h"
#include "kernel/layout.h"
#include "kernel/limits.h"
#include "kernel/log.h"
#include "kernel/processor.h"
#include "kernel/trap.h"

#define EPITAPH_MAGIC 0x4850415449504545ull

struct epitaph {
    uint64_t magic;
    char text[EPITAPH_TEXT_BYTES_MAX];
    uint64_t checksum;
};

static char last_words[EPITAPH_TEXT_BYTES_MAX];

static struct epitaph *epitaph_place(void)
{
    return (struct epitaph *)(DIRECT_MAP_BASE + EPITAPH_PHYSICAL);
}

static uint64_t epitaph_checksum(const struct epitaph *epitaph)
{
    return hash64(EPITAPH_MAGIC, epitaph->text, sizeof epitaph->text);
}

void epitaph_init(void)
{
    struct epitaph *epitaph = epitaph_place();
    if (epitaph->magic == EPITAPH_MAGIC && epitaph->checksum == epitaph_checksum(epitaph)) {
        memcpy(last_words, epitaph->text, sizeof last_words);
        last_words[sizeof last_words - 1] = '\0';
        log_format(LOG_WARNING, "last words of the previous boot: %s", last_words);
    }
    memset(epitaph, 0, sizeof *epitaph);
}

const char *epitaph_last_words(void)
{
    return last_words;
}

/* Before there is a clock: what ends a boot there ends the next one too. */
static void pause_without_clock(void)
{
    uint64_t start = read_tsc();
    while (read_tsc() - start < EPITAPH_PAUSE_TICKS) {
    }
}

/* A node that dies again and again must not use up its host. */
static void pause_if_repeated(void)
{
    uint64_t now_ns = timer_now_ns();
    if (now_ns == 0) {
        pause_without_clock();
        return;
    }
    if (last_words[0] == '\0' || now_ns > EPITAPH_REPEATED_MS * 1000000ull) {
        return;
    }
    uint64_t until_ns = now_ns + EPITAPH_PAUSE_MS * 1000000ull;
    while (timer_now_ns() < until_ns) {
        timer_arm(until_ns);
        processor_idle();
    }
}

void epitaph_write_and_reset(const char *text)
{
    static bool giving_up;
    if (giving_up) {
        processor_reset(); /* the words of the first failure are the ones that count */
    }
    giving_up = true;
    struct epitaph *epitaph = epitaph_place();
    memset(epitaph, 0, sizeof *epitaph);
    strncpy(epitaph->text, text, sizeof epitaph->text - 1);
    epitaph->checksum = epitaph_checksum(epitaph);
    epitaph->magic = EPITAPH_MAGIC;
    log_format(LOG_ERROR, "%s; the node restarts", text);
    log_flush();
    pause_if_repeated();
    processor_reset();
}

void check_failed(const char *file, int line, const char *condition)
{
    char text[EPITAPH_TEXT_BYTES_MAX];
    snprintf(text, sizeof text, "check failed at %s:%d: %s", file, line, condition);
    epitaph_write_and_reset(text);
}

/* Called by compiled code when a function's stack frame was overrun. */
void __stack_chk_fail(void);

_Noreturn void __stack_chk_fail(void)
{
    epitaph_write_and_reset("a stack frame of the kernel was overrun");
}
