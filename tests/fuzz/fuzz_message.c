/* The codec of the group's messages and of lists of members. Input: type, length of the body (3 bytes), header; for type 0 a list of members. */
#include <stdlib.h>
#include <string.h>

#include "consensus/log.h"
#include "consensus/message.h"
#include "tests/fuzz/support/fuzz.h"

static void try_members(const uint8_t *data, size_t bytes)
{
    struct disk_member members[DISK_MEMBERS_MAX];
    uint32_t count = 0;
    if (members_decode(data, bytes, members, &count) == STATUS_OK) {
        uint8_t again[MEMBERS_BYTES_MAX];
        CHECK(members_encode(members, count, again) == bytes);
        CHECK(memcmp(again, data, bytes) == 0);
    }
}

static void check_accepted(const struct message *message, const uint8_t *header, size_t header_bytes, size_t body_bytes)
{
    static uint8_t again[PEERS_HEADER_BYTES_MAX];
    CHECK(message_encode(message, again) == header_bytes);
    CHECK(memcmp(again, header, header_bytes) == 0);
    if (message->type != MESSAGE_APPEND) {
        CHECK(body_bytes == 0);
        return;
    }
    size_t sum = 0;
    for (uint32_t i = 0; i < message->append.count; i++) {
        CHECK(message->entries[i].body_bytes <= ENTRY_BODY_BYTES_MAX);
        CHECK(message->entries[i].term <= message->append.front.term);
        sum += message->entries[i].body_bytes;
    }
    CHECK(sum == body_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct message message;
    struct fuzz_input input = {data, bytes};
    uint8_t type = fuzz_byte(&input);
    size_t body_bytes = 0;
    fuzz_copy(&input, &body_bytes, 3);
    size_t header_bytes = input.left < PEERS_HEADER_BYTES_MAX ? input.left : PEERS_HEADER_BYTES_MAX;
    uint8_t *header = malloc(header_bytes > 0 ? header_bytes : 1);
    CHECK(header != NULL);
    fuzz_copy(&input, header, header_bytes);
    if (type == 0) {
        try_members(header, header_bytes);
    } else if (message_decode(type, header, header_bytes, body_bytes, &message) == STATUS_OK) {
        check_accepted(&message, header, header_bytes, body_bytes);
    }
    free(header);
    return 0;
}
