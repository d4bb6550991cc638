#include "crypto/random.h"

#include <sodium.h>

#include "include/check.h"

/* The machine that serves the library's initialisation; NULL at all other times. */
static const struct machine *initialising;

static const char *name(void)
{
    return "machine entropy";
}

static void fill(void *const buffer, const size_t bytes)
{
    CHECK(initialising != NULL);
    initialising->entropy(initialising->context, buffer, bytes);
}

static uint32_t word(void)
{
    uint32_t value;
    fill(&value, sizeof value);
    return value;
}

static struct randombytes_implementation implementation = {
    .implementation_name = name,
    .random = word,
    .buf = fill,
};

enum status crypto_init(const struct machine *machine)
{
    CHECK(machine != NULL);
    CHECK(randombytes_set_implementation(&implementation) == 0);
    initialising = machine;
    int result = sodium_init();
    initialising = NULL;
    return result >= 0 ? STATUS_OK : STATUS_UNSUPPORTED;
}
