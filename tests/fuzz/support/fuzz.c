#include "tests/fuzz/support/fuzz.h"

#include <string.h>

void fuzz_copy(struct fuzz_input *input, void *out, size_t bytes)
{
    size_t there = input->left < bytes ? input->left : bytes;
    if (there > 0) {
        memcpy(out, input->at, there);
    }
    memset((uint8_t *)out + there, 0, bytes - there);
    input->at += there;
    input->left -= there;
}

uint8_t fuzz_byte(struct fuzz_input *input)
{
    uint8_t value;
    fuzz_copy(input, &value, sizeof value);
    return value;
}

uint16_t fuzz_short(struct fuzz_input *input)
{
    uint16_t value;
    fuzz_copy(input, &value, sizeof value);
    return value;
}

uint32_t fuzz_word(struct fuzz_input *input)
{
    uint32_t value;
    fuzz_copy(input, &value, sizeof value);
    return value;
}

uint64_t fuzz_number(struct fuzz_input *input)
{
    uint8_t first = fuzz_byte(input);
    uint64_t any;
    switch (first) {
    case 255:
        fuzz_copy(input, &any, sizeof any);
        return any;
    case 254:
        return fuzz_word(input);
    case 253:
        return UINT64_MAX - fuzz_byte(input);
    case 252:
        return (1ull << 56) - fuzz_byte(input);
    default:
        return first;
    }
}
