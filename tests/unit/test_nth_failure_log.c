/* Each read, write, flush and reservation of the log and of the vote slots fails once, for every n until a life passes without reaching it.
 * Whatever fails, what was called persisted or durable is there at the next start. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "consensus/log_internal.h"
#include "consensus/vote.h"
#include "tests/unit/support/fake_machine.h"
#include "tests/unit/support/nth_failure.h"

#define MS 1000000ull
enum { REGION_OFFSET = 1 << 20, REGION_BYTES = LOG_REGION_BYTES_MIN, DISK = REGION_OFFSET + REGION_BYTES, BODY = 3000 };
enum { TURNS = 14, BATCH = 6 };
static const uint64_t raft_id = 0x1101;
static const uint8_t cluster_id[16] = "cluster";

/* -- log -- */

struct life {
    struct fake_machine fake;
    struct log *log;
    uint64_t terms[TURNS * BATCH + 2]; /* of the entry at each index, as last appended */
    uint64_t last, persisted, checkpoint;
};

static enum status append(struct life *life, uint64_t index, uint64_t term)
{
    uint8_t body[BODY];
    memset(body, (int)(index * 7 + term), sizeof body);
    struct group_entry entry = {.type = GROUP_ENTRY_EPOCH, .epoch = index, .parts = 1, .bytes = BODY};
    return log_append(life->log, index, term, LOG_COMMAND, &entry, body, BODY);
}

static enum status open_log(struct life *life)
{
    char reason[REASON_BYTES_MAX] = "";
    enum status status = log_create(&life->log, &life->fake.machine, REGION_BYTES);
    if (status == STATUS_OK) {
        status = log_open(life->log, REGION_OFFSET, REGION_BYTES, raft_id, life->checkpoint, 1, reason);
        assert_true(status == STATUS_OK || reason[0] != 0);
    }
    if (status == STATUS_OK) {
        log_recovered_durable(life->log);
    }
    return status;
}

/* Truncations, cuts and markers among appends; ends early when the log says that its disk has failed. */
static void live(struct life *life)
{
    uint64_t term = 1;
    for (unsigned turn = 0; turn < TURNS && !log_failed(life->log); turn++) {
        uint64_t first = life->last + 1;
        if (turn % 7 == 6) {
            first -= 3;
            term++;
            life->persisted = life->persisted < first - 1 ? life->persisted : first - 1;
        }
        for (unsigned i = 0; i < BATCH; i++) {
            assert_int_equal(append(life, first + i, term), STATUS_OK);
            life->terms[first + i] = term;
            life->last = first + i;
        }
        for (unsigned step = 0; step < 8; step++) {
            log_tick(life->log, false);
            fake_disk_complete(&life->fake, true);
            life->persisted = log_persisted(life->log) > life->persisted ? log_persisted(life->log) : life->persisted;
            assert_true(life->persisted <= life->last);
        }
        life->fake.now_ns += (turn % 5 == 4 ? LOG_MARKER_MS + 1 : 1) * MS;
        log_check(life->log);
    }
}

static void assert_kept(struct life *life)
{
    static uint8_t scratch[ENTRY_BODY_BYTES_MAX];
    assert_true(log_last_index(life->log) >= life->persisted);
    assert_true(log_last_index(life->log) <= life->last);
    for (uint64_t index = life->checkpoint + 1; index <= life->persisted; index++) {
        struct log_view view;
        bool before = fake_machine_has_failed(&life->fake);
        enum status status = log_read(life->log, index, scratch, &view);
        if (status == STATUS_IO_ERROR && !before && fake_machine_has_failed(&life->fake)) {
            status = log_read(life->log, index, scratch, &view);
        }
        assert_int_equal(status, STATUS_OK);
        assert_int_equal(view.term, life->terms[index]);
        assert_int_equal(view.body[BODY - 1], (uint8_t)(index * 7 + view.term));
    }
}

/* True: the failure was reached. */
static bool log_life(enum fake_call call, uint64_t n)
{
    static struct life life;
    memset(&life, 0, sizeof life);
    fake_machine_init(&life.fake, n, 16, DISK);
    life.last = life.checkpoint = life.persisted = 1;
    fake_machine_fail_once(&life.fake, call, n);
    for (unsigned start = 0; start < 2; start++) {
        enum status status = open_log(&life);
        if (status != STATUS_OK) {
            assert_true(fake_machine_has_failed(&life.fake));
            assert_int_equal(status, call == FAKE_RESERVE ? STATUS_NO_MEMORY : STATUS_IO_ERROR);
        } else {
            assert_kept(&life);
        }
        if (status == STATUS_OK && start == 0) {
            live(&life);
        }
        fake_machine_power_cut(&life.fake);
    }
    bool reached = fake_machine_has_failed(&life.fake);
    fake_machine_fail_once(&life.fake, call, 0);
    if (reached) {
        assert_int_equal(open_log(&life), STATUS_OK); /* it was one failure: nothing of it stays */
        assert_kept(&life);
    }
    fake_machine_destroy(&life.fake);
    return reached;
}

/* -- vote -- */

enum { TERMS = 12 };

static enum status open_vote(struct fake_machine *fake, struct vote **vote, bool *fresh)
{
    enum status status = vote_create(vote, &fake->machine);
    return status == STATUS_OK ? vote_open(*vote, cluster_id, raft_id, fresh) : status;
}

static uint64_t candidate_of(uint64_t term)
{
    return 0x4200 + term % 3;
}

static bool vote_life(enum fake_call call, uint64_t n)
{
    struct fake_machine fake;
    struct vote *vote;
    bool fresh = false;
    uint64_t promised = 0, said = 0;
    fake_machine_init(&fake, n, 16, DISK);
    fake_machine_fail_once(&fake, call, n);
    for (unsigned start = 0; start < 2; start++) {
        enum status status = open_vote(&fake, &vote, &fresh);
        if (status != STATUS_OK) {
            assert_true(fake_machine_has_failed(&fake));
            assert_int_equal(status, call == FAKE_RESERVE ? STATUS_NO_MEMORY : STATUS_IO_ERROR);
        }
        for (uint64_t step = 0; status == STATUS_OK && start == 0 && step < TERMS && !vote_failed(vote); step++) {
            vote_set(vote, step + 1, candidate_of(step + 1));
            said = step + 1;
            for (unsigned turn = 0; turn < 8; turn++) {
                vote_tick(vote);
                fake_disk_complete(&fake, true);
                promised = vote_durable(vote) ? vote_term(vote) : promised;
                fake.now_ns += MS;
            }
        }
        fake_machine_power_cut(&fake);
    }
    bool reached = fake_machine_has_failed(&fake);
    fake_machine_fail_once(&fake, call, 0);
    assert_int_equal(open_vote(&fake, &vote, &fresh), STATUS_OK);
    assert_true(vote_term(vote) >= promised);
    assert_true(vote_term(vote) <= said);
    assert_true(vote_term(vote) == 0 || vote_voted_for(vote) == candidate_of(vote_term(vote)));
    fake_machine_destroy(&fake);
    return reached;
}

/* -- every n -- */

NTH_FAILURE_TEST(test_log_each_failed_reservation_is_no_memory, log_life, FAKE_RESERVE, 2)
NTH_FAILURE_TEST(test_log_each_failed_read_is_told_and_loses_nothing, log_life, FAKE_READ, 10)
NTH_FAILURE_TEST(test_log_each_failed_write_loses_nothing_persisted, log_life, FAKE_WRITE, 10)
NTH_FAILURE_TEST(test_log_each_failed_flush_loses_nothing_persisted, log_life, FAKE_FLUSH, 10)
NTH_FAILURE_TEST(test_vote_each_failed_reservation_is_no_memory, vote_life, FAKE_RESERVE, 1)
NTH_FAILURE_TEST(test_vote_each_failed_read_is_told_and_forgets_nothing, vote_life, FAKE_READ, 4)
NTH_FAILURE_TEST(test_vote_each_failed_write_forgets_nothing_promised, vote_life, FAKE_WRITE, 10)
NTH_FAILURE_TEST(test_vote_each_failed_flush_forgets_nothing_promised, vote_life, FAKE_FLUSH, 10)
NTH_FAILURE_TEST(test_vote_each_full_queue_is_tried_again, vote_life, FAKE_SUBMIT, 10)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_each_failed_reservation_is_no_memory),
        cmocka_unit_test(test_log_each_failed_read_is_told_and_loses_nothing),
        cmocka_unit_test(test_log_each_failed_write_loses_nothing_persisted),
        cmocka_unit_test(test_log_each_failed_flush_loses_nothing_persisted),
        cmocka_unit_test(test_vote_each_failed_reservation_is_no_memory),
        cmocka_unit_test(test_vote_each_failed_read_is_told_and_forgets_nothing),
        cmocka_unit_test(test_vote_each_failed_write_forgets_nothing_promised),
        cmocka_unit_test(test_vote_each_failed_flush_forgets_nothing_promised),
        cmocka_unit_test(test_vote_each_full_queue_is_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
