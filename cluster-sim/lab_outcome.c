#include "cluster-sim/lab_outcome.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "include/check.h"

static const char *name_of_command = "eidolon";

void command_name_set(const char *name)
{
    name_of_command = name;
}

const char *command_name(void)
{
    return name_of_command;
}

enum outcome outcome_fail(enum outcome code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("eidolon: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return code;
}

void progress(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

void check_failed(const char *file, int line, const char *condition)
{
    fprintf(stderr, "eidolon: internal error at %s:%d: %s does not hold\n", file, line, condition);
    abort();
}
