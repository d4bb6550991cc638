#include "objects/terminal.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wundef"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wimplicit-fallthrough"
#include "shared/readline/readline.c"
#pragma GCC diagnostic pop

#include "objects/limits.h"
#include "objects/memory.h"

struct terminal_state {
    readline_t editor;
    const char *history[MICROPY_READLINE_HISTORY_SIZE];
};

static struct terminal_state states[SESSIONS_MAX];

_Static_assert(MICROPY_READLINE_HISTORY_SIZE == SESSION_HISTORY_LINES, "one bound, two names");

void terminal_load(unsigned index)
{
    rl = states[index].editor;
    memcpy(MP_STATE_PORT(readline_hist), states[index].history, sizeof states[index].history);
}

void terminal_save(unsigned index)
{
    states[index].editor = rl;
    memcpy(states[index].history, MP_STATE_PORT(readline_hist), sizeof states[index].history);
    memset(MP_STATE_PORT(readline_hist), 0, sizeof states[index].history);
}

void terminal_mark(unsigned index)
{
    memory_mark(&states[index], &states[index] + 1);
}

void terminal_forget(unsigned index)
{
    memset(&states[index], 0, sizeof states[index]);
}

void terminal_begin(vstr_t *line, const char *prompt, bool indent)
{
    if (!indent) {
        rl.auto_indent_state = 0; /* else as the lines before of this statement left it; its first one enables it */
    }
    readline_init(line, prompt);
}

int terminal_key(int key)
{
    return readline_process_char(key);
}

void terminal_whole_line(const char *text, size_t bytes)
{
    vstr_t *line = rl.line;
    line->len = rl.orig_line_len;
    vstr_add_strn(line, text, bytes);
    readline_push_history(vstr_null_terminated_str(line) + rl.orig_line_len);
}
