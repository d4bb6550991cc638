#include "tests/unit/support/nth_failure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

enum { TRIES_MAX = 10000 };

void nth_failure_each(bool (*life)(enum fake_call call, uint64_t n), enum fake_call call, uint64_t at_least)
{
    uint64_t n = 1;
    while (life(call, n)) {
        n++;
        assert_true(n < TRIES_MAX);
    }
    printf("  %llu failures\n", (unsigned long long)(n - 1));
    assert_true(n > at_least); /* a life that asks for nothing proves nothing */
}
