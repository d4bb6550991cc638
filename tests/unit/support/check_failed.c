#include <stdio.h>
#include <stdlib.h>

#include "include/check.h"

_Noreturn void check_failed(const char *file, int line, const char *condition)
{
    fprintf(stderr, "%s:%d: CHECK(%s) failed\n", file, line, condition);
    abort();
}
