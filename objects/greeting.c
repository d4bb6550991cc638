#include "objects/greeting.h"

#include <string.h>

/* The next word of [*at, end): false when there is none. */
static bool take_word(const char **at, const char *end, const char **word, size_t *bytes)
{
    while (*at < end && **at == ' ')
        (*at)++;
    *word = *at;
    while (*at < end && **at != ' ')
        (*at)++;
    *bytes = (size_t)(*at - *word);
    return *bytes > 0;
}

static bool word_is(const char *word, size_t bytes, const char *text)
{
    return bytes == strlen(text) && memcmp(word, text, bytes) == 0;
}

/* Digits up to `end`; false: something else, or too many. */
static bool parse_number(const char *at, const char *end, size_t *number)
{
    size_t value = 0;
    if (at == end || end - at > 9)
        return false;
    for (; at < end; at++) {
        if (*at < '0' || *at > '9')
            return false;
        value = value * 10 + (size_t)(*at - '0');
    }
    *number = value;
    return true;
}

static bool parse_size(const char *word, size_t bytes, unsigned *rows)
{
    const char *cross = memchr(word, 'x', bytes);
    size_t columns, lines;
    if (cross == NULL || !parse_number(word, cross, &columns) || !parse_number(cross + 1, word + bytes, &lines))
        return false;
    *rows = (unsigned)lines;
    return true;
}

bool greeting_parse(const char *line, size_t bytes, struct greeting *greeting)
{
    const char *at = line, *end = line + bytes, *word;
    size_t word_bytes;
    if (end > at && end[-1] == '\r')
        end--;
    struct greeting parsed = {.rows = GREETING_ROWS};
    if (!take_word(&at, end, &word, &word_bytes))
        return false;
    if (word_is(word, word_bytes, "session"))
        parsed.kind = GREETING_SESSION;
    else if (word_is(word, word_bytes, "terminal"))
        parsed.kind = GREETING_TERMINAL;
    else if (word_is(word, word_bytes, "exec"))
        parsed.kind = GREETING_EXEC;
    else
        return false;
    if (!take_word(&at, end, &parsed.name, &parsed.name_bytes))
        return false;
    bool more = take_word(&at, end, &word, &word_bytes);
    if (parsed.kind == GREETING_EXEC) {
        if (!more || !parse_number(word, word + word_bytes, &parsed.bytes))
            return false;
        more = take_word(&at, end, &word, &word_bytes);
    } else if (parsed.kind == GREETING_TERMINAL && more) {
        if (!parse_size(word, word_bytes, &parsed.rows))
            return false;
        more = take_word(&at, end, &word, &word_bytes);
    }
    if (more)
        return false;
    *greeting = parsed;
    return true;
}
