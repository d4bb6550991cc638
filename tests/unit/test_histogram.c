/* include/histogram.h: which bucket a duration falls into is part of what the management port says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "include/histogram.h"

static void test_histogram_bucket_start_begins_its_bucket(void **state)
{
    (void)state;
    for (unsigned bucket = 1; bucket < HISTOGRAM_BUCKETS; bucket++) {
        uint64_t start = histogram_bucket_start(bucket);
        assert_int_equal(histogram_bucket(start), bucket);
        assert_int_equal(histogram_bucket(start - 1), bucket - 1);
    }
}

static void test_histogram_ends_catch_everything(void **state)
{
    (void)state;
    assert_int_equal(histogram_bucket(0), 0);
    assert_int_equal(histogram_bucket(127), 0);
    assert_int_equal(histogram_bucket(128), 1);
    assert_int_equal(histogram_bucket(192), 2);
    assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static void test_histogram_add_keeps_count_sum_and_largest(void **state)
{
    (void)state;
    struct histogram histogram = {0};
    histogram_add(&histogram, 1000);
    histogram_add(&histogram, 5000);
    histogram_add(&histogram, 1010);
    assert_int_equal(histogram.count, 3);
    assert_int_equal(histogram.sum_ns, 7010);
    assert_int_equal(histogram.max_ns, 5000);
    assert_int_equal(histogram.buckets[histogram_bucket(1000)], 2);
    assert_int_equal(histogram.buckets[histogram_bucket(5000)], 1);
}

static void test_histogram_full_bucket_stays_full(void **state)
{
    (void)state;
    struct histogram histogram = {0};
    histogram.buckets[0] = UINT32_MAX;
    histogram_add(&histogram, 1);
    assert_int_equal(histogram.buckets[0], UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_histogram_bucket_start_begins_its_bucket),
        cmocka_unit_test(test_histogram_ends_catch_everything),
        cmocka_unit_test(test_histogram_add_keeps_count_sum_and_largest),
        cmocka_unit_test(test_histogram_full_bucket_stays_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
