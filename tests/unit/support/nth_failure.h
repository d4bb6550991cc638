/* Lives in which one call fails, the n-th, for every n. */
#ifndef EIDOLON_TESTS_NTH_FAILURE_H
#define EIDOLON_TESTS_NTH_FAILURE_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/unit/support/fake_machine.h"

/* Run `life` with n = 1, 2, ... until it returns false: it ended without reaching its n-th call. It must have had at least `at_least` of them. */
void nth_failure_each(bool (*life)(enum fake_call call, uint64_t n), enum fake_call call, uint64_t at_least);

/* A test of that, for cmocka. */
#define NTH_FAILURE_TEST(name, life, call, at_least) \
    static void name(void **state) \
    { \
        (void)state; \
        nth_failure_each(life, call, at_least); \
    }

#endif
