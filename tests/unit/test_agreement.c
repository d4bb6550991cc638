/* Who is believed when a standby contradicts its host. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "replicate/agreement.h"

#define MS 1000000ull

static struct agreement agreement;
static const uint32_t nodes_2_and_3 = 1u << 2 | 1u << 3;

static int setup(void **state)
{
    (void)state;
    memset(&agreement, 0, sizeof agreement);
    for (uint64_t epoch = 1; epoch <= 1000; epoch++) {
        agreement_note(&agreement, epoch, epoch * 10);
    }
    return 0;
}

static enum agreement_verdict judge(uint32_t up, uint64_t now_ms)
{
    uint32_t wrong = 0;
    enum agreement_verdict verdict = agreement_judge(&agreement, up, now_ms * MS, &wrong);
    assert_true(verdict == AGREEMENT_OTHERS_WRONG || wrong == 0);
    return verdict;
}

static void test_agreement_host_that_both_others_contradict_is_wrong(void **state)
{
    (void)state;
    agreement_report(&agreement, 2, 999, 1, 100 * MS);
    agreement_report(&agreement, 3, 1000, 2, 300 * MS);
    assert_int_equal(judge(nodes_2_and_3, 100 + AGREEMENT_GRACE_MS - 1), AGREEMENT_NONE);
    assert_int_equal(judge(nodes_2_and_3, 100 + AGREEMENT_GRACE_MS), AGREEMENT_HOST_WRONG);
    assert_int_equal(judge(nodes_2_and_3, 100000), AGREEMENT_NONE);
}

static void test_agreement_one_of_two_is_alone(void **state)
{
    (void)state;
    uint32_t wrong = 0;
    agreement_report(&agreement, 3, 999, 1, 0);
    agreement_report(&agreement, 3, 1000, 1, MS);
    assert_int_equal(agreement_judge(&agreement, nodes_2_and_3, AGREEMENT_GRACE_MS * MS, &wrong), AGREEMENT_OTHERS_WRONG);
    assert_int_equal(wrong, 1u << 3);
}

static void test_agreement_without_a_third_the_log_is_believed(void **state)
{
    (void)state;
    agreement_report(&agreement, 3, 1000, 1, 0);
    assert_int_equal(judge(1u << 3, AGREEMENT_GRACE_MS), AGREEMENT_HOST_WRONG);
}

static void test_agreement_same_story_and_forgotten_epochs_are_no_contradiction(void **state)
{
    (void)state;
    agreement_report(&agreement, 2, 1000, 10000, 0);
    agreement_report(&agreement, 2, 1000 - AGREEMENT_EPOCHS, 1, 0);
    agreement_report(&agreement, 2, 1001, 1, 0);
    agreement_report(&agreement, 2, 0, 1, 0);
    assert_int_equal(agreement_deadline_ns(&agreement), UINT64_MAX);
    assert_int_equal(judge(nodes_2_and_3, 100000), AGREEMENT_NONE);
}

static void test_agreement_reporter_that_is_gone_does_not_count(void **state)
{
    (void)state;
    agreement_report(&agreement, 3, 1000, 1, 0);
    assert_int_equal(judge(1u << 2, AGREEMENT_GRACE_MS), AGREEMENT_NONE);
}

static void test_agreement_new_leadership_forgets_reports(void **state)
{
    (void)state;
    agreement_report(&agreement, 3, 1000, 1, 0);
    agreement_forget_reports(&agreement);
    assert_int_equal(judge(nodes_2_and_3, AGREEMENT_GRACE_MS), AGREEMENT_NONE);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_agreement_host_that_both_others_contradict_is_wrong),
        TEST(test_agreement_one_of_two_is_alone),
        TEST(test_agreement_without_a_third_the_log_is_believed),
        TEST(test_agreement_same_story_and_forgotten_epochs_are_no_contradiction),
        TEST(test_agreement_reporter_that_is_gone_does_not_count),
        TEST(test_agreement_new_leadership_forgets_reports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
