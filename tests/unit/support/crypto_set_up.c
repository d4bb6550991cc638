#include "tests/unit/support/crypto_set_up.h"

#include "crypto/random.h"
#include "tests/unit/support/fake_machine.h"

int test_crypto_set_up(void **state)
{
    (void)state;
    struct fake_machine fake;
    fake_machine_init(&fake, 1, 16, 1 << 20);
    enum status status = crypto_init(&fake.machine);
    fake_machine_destroy(&fake);
    return status == STATUS_OK ? 0 : -1;
}
