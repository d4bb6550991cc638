/* For cmocka: prepares a group of tests that seal, sign or draw random numbers. */
#ifndef EIDOLON_TESTS_CRYPTO_SET_UP_H
#define EIDOLON_TESTS_CRYPTO_SET_UP_H

/* Set the cryptography up from a machine of its own, which is gone afterwards; `state` is left alone. -1: the library refuses it. */
int test_crypto_set_up(void **state);

#endif
