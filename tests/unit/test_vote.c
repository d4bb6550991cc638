/* Term, vote, boot number and evidence on disk. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "consensus/limits.h"
#include "consensus/vote.h"
#include "crypto/seal.h"
#include "tests/unit/support/crypto_set_up.h"
#include "tests/unit/support/fake_machine.h"

enum { DISK = 1 << 20, SLOT_A = 2 * DISK_BLOCK_BYTES, SLOT_B = 3 * DISK_BLOCK_BYTES };
static const uint8_t cluster_id[16] = "cluster";
static const uint64_t self = 0x4201;

struct bench {
    struct fake_machine fake;
    struct vote *vote;
    bool fresh;
};

static void make(struct bench *bench, uint64_t seed)
{
    fake_machine_init(&bench->fake, seed, 16, DISK);
    assert_int_equal(vote_create(&bench->vote, &bench->fake.machine), STATUS_OK);
    assert_int_equal(vote_open(bench->vote, cluster_id, self, &bench->fresh), STATUS_OK);
    assert_true(bench->fresh);
}

static enum status restart_as(struct bench *bench, uint64_t raft_id)
{
    fake_machine_power_cut(&bench->fake);
    assert_int_equal(vote_create(&bench->vote, &bench->fake.machine), STATUS_OK);
    return vote_open(bench->vote, cluster_id, raft_id, &bench->fresh);
}

static void settle(struct bench *bench)
{
    for (unsigned i = 0; i < 20; i++) {
        vote_tick(bench->vote);
        fake_disk_drain(&bench->fake);
    }
}

static void test_vote_is_durable_only_after_the_flush_and_survives(void **state)
{
    (void)state;
    struct bench bench;
    make(&bench, 1);
    assert_true(vote_durable(bench.vote));
    vote_raise_boot_number(bench.vote, 77);
    vote_set(bench.vote, 7, 0x4202);
    assert_false(vote_durable(bench.vote));
    vote_tick(bench.vote);
    assert_true(fake_disk_complete(&bench.fake, false));
    assert_false(vote_durable(bench.vote));
    vote_tick(bench.vote);
    assert_true(fake_disk_complete(&bench.fake, false));
    assert_true(vote_durable(bench.vote));
    assert_int_equal(restart_as(&bench, self), STATUS_OK);
    assert_false(bench.fresh);
    assert_int_equal(vote_term(bench.vote), 7);
    assert_int_equal(vote_voted_for(bench.vote), 0x4202);
    assert_int_equal(vote_boot_number(bench.vote), 1);
    fake_machine_destroy(&bench.fake);
}

static void test_vote_changed_during_a_write_is_not_yet_durable(void **state)
{
    (void)state;
    struct bench bench;
    make(&bench, 2);
    vote_set(bench.vote, 1, 0);
    vote_tick(bench.vote);
    vote_set(bench.vote, 2, 0x4203);
    fake_disk_drain(&bench.fake);
    vote_tick(bench.vote);
    fake_disk_drain(&bench.fake);
    assert_false(vote_durable(bench.vote));
    settle(&bench);
    assert_true(vote_durable(bench.vote));
    assert_int_equal(restart_as(&bench, self), STATUS_OK);
    assert_int_equal(vote_term(bench.vote), 2);
    fake_machine_destroy(&bench.fake);
}

static void test_vote_one_bad_slot_forgets_nothing(void **state)
{
    (void)state;
    for (unsigned slot = 0; slot < 2; slot++) {
        struct bench bench;
        make(&bench, 3);
        for (uint64_t term = 1; term < 6; term++) {
            vote_set(bench.vote, term, 0x4201 + term);
            settle(&bench);
        }
        fake_disk_flip(&bench.fake, (slot == 0 ? SLOT_A : SLOT_B) + 40, 2);
        assert_int_equal(restart_as(&bench, self), STATUS_OK);
        assert_int_equal(vote_term(bench.vote), 5);
        assert_int_equal(vote_voted_for(bench.vote), 0x4206);
        fake_machine_destroy(&bench.fake);
    }
}

static void test_vote_both_slots_bad_is_corrupt(void **state)
{
    (void)state;
    struct bench bench;
    make(&bench, 4);
    vote_set(bench.vote, 3, 0);
    settle(&bench);
    fake_disk_flip(&bench.fake, SLOT_A + 40, 2);
    fake_disk_flip(&bench.fake, SLOT_B + 40, 2);
    assert_int_equal(restart_as(&bench, self), STATUS_CORRUPT);
    fake_machine_destroy(&bench.fake);
}

/* Whoever can write to a disk can make a right checksum: a term that has no successor must not start a node. */
static void test_vote_of_numbers_that_cannot_be_is_corrupt(void **state)
{
    (void)state;
    for (unsigned field = 0; field < 4; field++) {
        struct bench bench;
        make(&bench, 9);
        struct disk_vote forged = {.sequence = field == 0 ? UINT64_MAX : 1,
                                   .raft_id = self,
                                   .term = field == 1 ? UINT64_MAX : field == 3 ? 0 : 1,
                                   .voted_for = 0x4202,
                                   .boot_number = field == 2 ? GROUP_NUMBER_MAX + 1 : GROUP_NUMBER_MAX};
        memcpy(forged.cluster_id, cluster_id, sizeof forged.cluster_id);
        seal_vote(&forged);
        memcpy(bench.fake.disk.current + SLOT_A, &forged, sizeof forged);
        assert_int_equal(vote_open(bench.vote, cluster_id, self, &bench.fresh), STATUS_CORRUPT);
        fake_machine_destroy(&bench.fake);
    }
}

static void test_vote_of_another_incarnation_is_fresh_and_of_another_cluster_foreign(void **state)
{
    (void)state;
    struct bench bench;
    make(&bench, 5);
    vote_set(bench.vote, 3, 0);
    settle(&bench);
    assert_int_equal(restart_as(&bench, self + 256), STATUS_OK);
    assert_true(bench.fresh);
    assert_int_equal(vote_term(bench.vote), 0);
    assert_int_equal(vote_open(bench.vote, (const uint8_t *)"another cluster", self, &bench.fresh), STATUS_FOREIGN);
    bench.fake.disk.read_error_at = SLOT_B;
    assert_int_equal(vote_open(bench.vote, cluster_id, self, &bench.fresh), STATUS_IO_ERROR);
    fake_machine_destroy(&bench.fake);
}

static void test_vote_power_cuts_at_random_never_forget_what_was_durable(void **state)
{
    (void)state;
    uint64_t random = test_seed("vote power cuts", 99);
    struct bench bench;
    make(&bench, random);
    uint64_t term = 0, durable = 0;
    for (unsigned step = 0; step < 3000; step++) {
        switch (test_random_below(&random, 8)) {
        case 0:
            vote_set(bench.vote, ++term, self);
            break;
        case 1:
            if (step % 3 == 0) {
                assert_int_equal(restart_as(&bench, self), STATUS_OK);
                assert_true(vote_term(bench.vote) >= durable);
                term = durable = vote_term(bench.vote);
            }
            break;
        case 2:
        case 3:
        case 4:
            vote_tick(bench.vote);
            break;
        default:
            fake_disk_complete(&bench.fake, true);
            break;
        }
        durable = vote_durable(bench.vote) ? vote_term(bench.vote) : durable;
    }
    assert_true(term > 50);
    fake_machine_destroy(&bench.fake);
}

static void test_vote_evidence_grows_is_kept_and_makes_room(void **state)
{
    (void)state;
    struct bench bench;
    make(&bench, 6);
    const uint64_t keep[] = {0x101, 0x102, 0x103};
    for (unsigned i = 0; i < DISK_MEMBERS_MAX; i++) {
        assert_true(vote_note_evidence(bench.vote, 0x101 + i, 5, 50, 10 * i, keep, 3));
    }
    assert_true(vote_note_evidence(bench.vote, 0x102, 3, 30, 99, keep, 3));
    assert_int_equal(vote_evidence(bench.vote, 0x102)->boot_number, 5);
    assert_int_equal(vote_evidence(bench.vote, 0x102)->life, 50);
    assert_int_equal(vote_evidence(bench.vote, 0x102)->match_index, 99);
    assert_true(vote_note_evidence(bench.vote, 0x999, 1, 10, 1, keep, 3));
    for (unsigned i = 0; i < 3; i++) {
        assert_non_null(vote_evidence(bench.vote, keep[i]));
    }
    assert_true(vote_durable(bench.vote)); /* nothing waits for evidence */
    bench.fake.now_ns += 10000000000ull;
    assert_true(vote_deadline_ns(bench.vote) <= bench.fake.now_ns);
    settle(&bench);
    assert_int_equal(vote_deadline_ns(bench.vote), UINT64_MAX);
    assert_int_equal(restart_as(&bench, self), STATUS_OK);
    assert_int_equal(vote_evidence(bench.vote, 0x102)->match_index, 99);
    assert_non_null(vote_evidence(bench.vote, 0x999));
    uint64_t all[DISK_MEMBERS_MAX] = {0x999};
    unsigned count = 1;
    for (uint64_t id = 0x101; id < 0x101 + DISK_MEMBERS_MAX; id++) {
        if (vote_evidence(bench.vote, id) != NULL) {
            all[count++] = id;
        }
    }
    assert_int_equal(count, DISK_MEMBERS_MAX);
    assert_false(vote_note_evidence(bench.vote, 0x777, 1, 10, 1, all, DISK_MEMBERS_MAX));
    fake_machine_destroy(&bench.fake);
}

static void test_vote_failed_write_is_never_durable(void **state)
{
    (void)state;
    struct bench bench;
    make(&bench, 7);
    bench.fake.disk.write_errors = true;
    vote_set(bench.vote, 3, 0);
    settle(&bench);
    assert_true(vote_failed(bench.vote));
    assert_false(vote_durable(bench.vote));
    bench.fake.disk.write_errors = false;
    assert_int_equal(vote_open(bench.vote, cluster_id, self, &bench.fresh), STATUS_OK);
    vote_set(bench.vote, 3, 0);
    vote_tick(bench.vote);
    assert_int_equal(vote_open(bench.vote, cluster_id, self, &bench.fresh), STATUS_BUSY);
    settle(&bench);
    assert_true(vote_durable(bench.vote));
    fake_machine_destroy(&bench.fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vote_is_durable_only_after_the_flush_and_survives),
        cmocka_unit_test(test_vote_changed_during_a_write_is_not_yet_durable),
        cmocka_unit_test(test_vote_one_bad_slot_forgets_nothing),
        cmocka_unit_test(test_vote_both_slots_bad_is_corrupt),
        cmocka_unit_test(test_vote_of_numbers_that_cannot_be_is_corrupt),
        cmocka_unit_test(test_vote_of_another_incarnation_is_fresh_and_of_another_cluster_foreign),
        cmocka_unit_test(test_vote_power_cuts_at_random_never_forget_what_was_durable),
        cmocka_unit_test(test_vote_evidence_grows_is_kept_and_makes_room),
        cmocka_unit_test(test_vote_failed_write_is_never_durable),
    };
    return cmocka_run_group_tests(tests, test_crypto_set_up, NULL);
}
