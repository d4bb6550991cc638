/* The group's messages: what is encoded comes back, what is out of range does not. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "consensus/log.h"
#include "consensus/message.h"
#include "tests/unit/support/fake_machine.h"

static const uint64_t one = 0x1101, two = 0x2202;

static struct message plain(enum message_type type)
{
    struct message message;
    memset(&message, 0, sizeof message);
    message.type = type;
    message.front = (struct message_front){.from = one, .to = two, .term = 9};
    if (type == MESSAGE_VOTE || type == MESSAGE_TIMEOUT_NOW) {
        message.vote.last_index = 30;
        message.vote.last_term = 8;
    }
    return message;
}

static struct message append_of(unsigned commands)
{
    struct message message = plain(MESSAGE_APPEND);
    message.append.previous_index = 41;
    message.append.previous_term = 7;
    message.append.commit = 40;
    message.append.count = commands + 2;
    for (unsigned i = 0; i < commands; i++) {
        message.entries[i] = (struct message_entry){
            .term = 8, .type = LOG_COMMAND, .body_bytes = 100, .entry = {.type = GROUP_ENTRY_EPOCH, .world = 1, .epoch = 5 + i, .parts = 1, .bytes = 100}};
    }
    message.entries[commands] = (struct message_entry){.term = 8, .type = LOG_CHANGE, .body_bytes = 8 + sizeof(struct disk_member)};
    message.entries[commands + 1] = (struct message_entry){.term = 9, .type = LOG_BARRIER};
    return message;
}

static size_t body_bytes_of(const struct message *message)
{
    size_t bytes = 0;
    for (unsigned i = 0; message->type == MESSAGE_APPEND && i < message->append.count; i++) {
        bytes += message->entries[i].body_bytes;
    }
    return bytes;
}

static enum status round_trip(const struct message *message, struct message *out)
{
    static uint8_t header[PEERS_HEADER_BYTES_MAX];
    size_t bytes = message_encode(message, header);
    return message_decode((uint8_t)message->type, header, bytes, body_bytes_of(message), out);
}

static void test_message_all_kinds_come_back(void **state)
{
    (void)state;
    for (unsigned type = MESSAGE_APPEND; type < MESSAGE_TYPE_END; type++) {
        struct message message = type == MESSAGE_APPEND ? append_of(APPEND_ENTRIES_MAX - 2) : plain((enum message_type)type), out;
        assert_int_equal(round_trip(&message, &out), STATUS_OK);
        assert_int_equal(out.type, type);
        assert_int_equal(out.front.term, 9);
        if (type == MESSAGE_APPEND) {
            assert_memory_equal(&out.append, &message.append, sizeof out.append);
            assert_memory_equal(out.entries, message.entries, message.append.count * sizeof *out.entries);
        }
    }
}

static void test_message_of_a_wrong_length_is_invalid(void **state)
{
    (void)state;
    static uint8_t header[PEERS_HEADER_BYTES_MAX];
    for (unsigned type = 0; type < 40; type++) {
        bool known = type >= MESSAGE_APPEND && type < MESSAGE_TYPE_END;
        struct message message = type == MESSAGE_APPEND ? append_of(3) : plain(known ? (enum message_type)type : MESSAGE_VOTE), out;
        size_t bytes = message_encode(&message, header);
        if (!known) {
            assert_int_equal(message_decode((uint8_t)type, header, bytes, 0, &out), STATUS_INVALID);
            continue;
        }
        for (size_t cut = 0; cut < bytes; cut++) {
            assert_int_equal(message_decode((uint8_t)type, header, cut, body_bytes_of(&message), &out), STATUS_INVALID);
        }
        assert_int_equal(message_decode((uint8_t)type, header, bytes + 1, body_bytes_of(&message), &out), STATUS_INVALID);
        assert_int_equal(message_decode((uint8_t)type, header, bytes, body_bytes_of(&message) + 1, &out), STATUS_INVALID);
    }
}

/* Change one thing; it must be refused. */
#define REFUSED(make, change) \
    do { \
        struct message message = make, out; \
        change; \
        assert_int_equal(round_trip(&message, &out), STATUS_INVALID); \
    } while (0)

static void test_message_with_a_field_out_of_range_is_invalid(void **state)
{
    (void)state;
    REFUSED(plain(MESSAGE_VOTE), message.front.from = 0);
    REFUSED(plain(MESSAGE_VOTE), message.front.from = 5);                /* no incarnation */
    REFUSED(plain(MESSAGE_VOTE), message.front.to = 0x1100);             /* no node */
    REFUSED(plain(MESSAGE_VOTE), message.front.to = 0x1106);
    REFUSED(plain(MESSAGE_VOTE), message.front.term = 0);
    REFUSED(plain(MESSAGE_VOTE), message.front.term = 1ull << 60);
    REFUSED(plain(MESSAGE_VOTE), message.vote.last_term = 10);           /* later than its own term */
    REFUSED(plain(MESSAGE_VOTE), message.vote.last_term = 0);            /* an entry of no term */
    REFUSED(plain(MESSAGE_VOTE), message.vote.last_index = 1ull << 60);
    REFUSED(plain(MESSAGE_VOTE), message.vote.pre_vote = 2);
    REFUSED(plain(MESSAGE_VOTE), message.vote.reserved[5] = 1);
    REFUSED(plain(MESSAGE_VOTE_RESULT), message.vote_result.granted = 7);
    REFUSED(plain(MESSAGE_TIMEOUT_NOW), message.timeout_now.last_term = 10);
    REFUSED(plain(MESSAGE_APPEND_RESULT), message.append_result.rejected = message.append_result.last_index = 4);
    REFUSED(plain(MESSAGE_APPEND_RESULT), message.append_result.last_index = 1ull << 60);
    REFUSED(append_of(3), message.append.previous_term = 0);
    REFUSED(append_of(3), message.append.previous_term = 10);
    REFUSED(append_of(3), message.append.previous_index = 0);
    REFUSED(append_of(3), message.append.commit = 1ull << 60);
    REFUSED(append_of(3), message.append.reserved = 1);
    REFUSED(append_of(3), message.entries[0].term = 6);                  /* before the previous one's */
    REFUSED(append_of(3), message.entries[1].term = 9);                  /* the next one's goes back */
    REFUSED(append_of(3), message.entries[4].term = 10);                 /* after the message's */
    REFUSED(append_of(3), message.entries[0].type = 4);
    REFUSED(append_of(3), message.entries[0].type = 0);
    REFUSED(append_of(3), message.entries[0].body_bytes = ENTRY_BODY_BYTES_MAX + 1);
    REFUSED(append_of(3), message.entries[0].entry.bytes = 99);
    REFUSED(append_of(3), message.entries[0].entry.part = 1);
    REFUSED(append_of(3), message.entries[0].entry.parts = 0);
    REFUSED(append_of(3), message.entries[0].entry.epoch = 0);
    REFUSED(append_of(3), message.entries[0].entry.type = 3);
    REFUSED(append_of(3), message.entries[0].entry.reserved = 1);
    REFUSED(append_of(3), message.entries[3].body_bytes = 0);            /* a change to nobody */
    REFUSED(append_of(3), message.entries[3].body_bytes = MEMBERS_BYTES_MAX + 1);
    REFUSED(append_of(3), message.entries[4].body_bytes = 1);            /* a barrier has no body */
    REFUSED(append_of(3), message.entries[4].entry.epoch = 1);
}

static void test_message_too_many_entries_are_invalid(void **state)
{
    (void)state;
    static uint8_t header[PEERS_HEADER_BYTES_MAX];
    struct message message = append_of(3), out;
    size_t bytes = message_encode(&message, header);
    uint32_t count = APPEND_ENTRIES_MAX + 1;
    memcpy(header + offsetof(struct message_append, count), &count, sizeof count);
    assert_int_equal(message_decode(MESSAGE_APPEND, header, bytes, 0, &out), STATUS_INVALID);
    count = UINT32_MAX;
    memcpy(header + offsetof(struct message_append, count), &count, sizeof count);
    assert_int_equal(message_decode(MESSAGE_APPEND, header, bytes, 0, &out), STATUS_INVALID);
}

static void test_message_random_bytes_do_no_harm(void **state)
{
    (void)state;
    uint64_t random = test_seed("random messages", 5);
    static uint8_t header[PEERS_HEADER_BYTES_MAX];
    for (unsigned i = 0; i < 200000; i++) {
        struct message message = append_of(test_random_below(&random, 5)), out;
        size_t bytes = message_encode(&message, header);
        for (uint32_t flips = 1 + test_random_below(&random, 4); flips > 0; flips--) {
            header[test_random_below(&random, (uint32_t)bytes)] ^= (uint8_t)(1u << test_random_below(&random, 8));
        }
        if (message_decode(MESSAGE_APPEND, header, bytes, body_bytes_of(&message), &out) == STATUS_OK) {
            assert_true(out.append.count <= APPEND_ENTRIES_MAX);
            assert_int_equal(body_bytes_of(&out), body_bytes_of(&message));
        }
    }
}

static void test_members_lists_come_back_and_bad_ones_do_not(void **state)
{
    (void)state;
    struct disk_member members[DISK_MEMBERS_MAX] = {{.raft_id = one, .role = DISK_ROLE_VOTER}, {.raft_id = two, .role = DISK_ROLE_STANDBY}}, out[DISK_MEMBERS_MAX];
    uint8_t body[MEMBERS_BYTES_MAX + 1];
    uint32_t count = 0;
    size_t bytes = members_encode(members, 2, body);
    assert_int_equal(members_decode(body, bytes, out, &count), STATUS_OK);
    assert_int_equal(count, 2);
    assert_memory_equal(out, members, 2 * sizeof *members);
    assert_int_equal(members_decode(body, bytes - 1, out, &count), STATUS_INVALID);
    assert_int_equal(members_decode(body, 4, out, &count), STATUS_INVALID);
    members[1].raft_id = one;
    assert_false(members_valid(members, 2));
    members[1] = (struct disk_member){.raft_id = two, .role = 3};
    assert_false(members_valid(members, 2));
    members[1] = (struct disk_member){.raft_id = 0x2200};
    assert_false(members_valid(members, 2));
    assert_false(members_valid(members, 0));
    assert_false(members_valid(members, DISK_MEMBERS_MAX + 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message_all_kinds_come_back),
        cmocka_unit_test(test_message_of_a_wrong_length_is_invalid),
        cmocka_unit_test(test_message_with_a_field_out_of_range_is_invalid),
        cmocka_unit_test(test_message_too_many_entries_are_invalid),
        cmocka_unit_test(test_message_random_bytes_do_no_harm),
        cmocka_unit_test(test_members_lists_come_back_and_bad_ones_do_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
