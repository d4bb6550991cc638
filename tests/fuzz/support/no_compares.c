/* What the compiler calls at each comparison, for targets that build a node's part: they make their own checksums and magic numbers, so what the fuzzer
 * would learn from comparisons is not worth half of the run. The linker puts these in their place (--wrap, in the Makefile). */
#include <stdint.h>

#define NOTHING(name, type)                     \
    void __wrap_##name(type one, type other);   \
    void __wrap_##name(type one, type other)    \
    {                                           \
        (void)one, (void)other;                 \
    }

NOTHING(__sanitizer_cov_trace_cmp1, uint8_t)
NOTHING(__sanitizer_cov_trace_cmp2, uint16_t)
NOTHING(__sanitizer_cov_trace_cmp4, uint32_t)
NOTHING(__sanitizer_cov_trace_cmp8, uint64_t)
NOTHING(__sanitizer_cov_trace_const_cmp1, uint8_t)
NOTHING(__sanitizer_cov_trace_const_cmp2, uint16_t)
NOTHING(__sanitizer_cov_trace_const_cmp4, uint32_t)
NOTHING(__sanitizer_cov_trace_const_cmp8, uint64_t)
