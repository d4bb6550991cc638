#include "consensus/message.h"

#include <string.h>

#include "consensus/log.h"
#include "include/check.h"

static size_t fixed_bytes_of(unsigned type)
{
    switch (type) {
    case MESSAGE_APPEND:
        return sizeof(struct message_append);
    case MESSAGE_APPEND_RESULT:
        return sizeof(struct message_append_result);
    case MESSAGE_VOTE:
        return sizeof(struct message_vote);
    case MESSAGE_VOTE_RESULT:
        return sizeof(struct message_vote_result);
    case MESSAGE_TIMEOUT_NOW:
        return sizeof(struct message_timeout_now);
    case MESSAGE_REMOVED:
        return sizeof(struct message_removed);
    default:
        return 0;
    }
}

static bool id_valid(uint64_t raft_id)
{
    unsigned node = raft_id_node(raft_id);
    return node >= 1 && node <= BOOT_CONFIG_NODES_MAX && raft_id_incarnation(raft_id) != 0;
}

static bool position_valid(uint64_t index, uint64_t term)
{
    return index <= GROUP_NUMBER_MAX && term <= GROUP_NUMBER_MAX && (index == 0) == (term == 0);
}

static bool group_entry_valid(const struct group_entry *entry, uint32_t body_bytes)
{
    if (entry->reserved != 0 || entry->bytes != body_bytes || entry->epoch > GROUP_NUMBER_MAX) {
        return false;
    }
    if (entry->type == GROUP_ENTRY_RESET) {
        return body_bytes == 0 && entry->part == 0 && entry->parts <= 1;
    }
    return entry->type == GROUP_ENTRY_EPOCH && entry->epoch > 0 && entry->parts > 0 && entry->part < entry->parts;
}

static bool entry_valid(const struct message_entry *entry, uint64_t term_min, uint64_t term_max)
{
    if (entry->term < term_min || entry->term > term_max || entry->term == 0 || entry->body_bytes > ENTRY_BODY_BYTES_MAX) {
        return false;
    }
    static const struct group_entry none;
    struct group_entry untagged = entry->entry;
    memset(untagged.tag, 0, sizeof untagged.tag);
    switch (entry->type) {
    case LOG_COMMAND:
        return group_entry_valid(&entry->entry, entry->body_bytes);
    case LOG_BARRIER:
        return entry->body_bytes == 0 && memcmp(&entry->entry, &none, sizeof none) == 0;
    case LOG_CHANGE:
        return entry->body_bytes > 0 && entry->body_bytes <= MEMBERS_BYTES_MAX && memcmp(&untagged, &none, sizeof none) == 0;
    default:
        return false;
    }
}

static bool append_valid(struct message *message, const uint8_t *rest, size_t rest_bytes, size_t body_bytes)
{
    const struct message_append *append = &message->append;
    if (append->count > APPEND_ENTRIES_MAX || rest_bytes != append->count * sizeof(struct message_entry) || append->reserved != 0 ||
        append->commit > GROUP_NUMBER_MAX || !position_valid(append->previous_index, append->previous_term) ||
        append->previous_term > append->front.term) {
        return false;
    }
    memcpy(message->entries, rest, rest_bytes);
    uint64_t term = append->previous_term;
    size_t bodies = 0;
    for (uint32_t i = 0; i < append->count; i++) {
        if (!entry_valid(&message->entries[i], term, append->front.term)) {
            return false;
        }
        term = message->entries[i].term;
        bodies += message->entries[i].body_bytes;
    }
    return bodies == body_bytes;
}

static bool fields_valid(const struct message *message)
{
    switch (message->type) {
    case MESSAGE_APPEND_RESULT: {
        const struct message_append_result *result = &message->append_result;
        return result->rejected <= GROUP_NUMBER_MAX && result->last_index <= GROUP_NUMBER_MAX &&
               (result->rejected == 0 || result->last_index < result->rejected) && result->reserved == 0;
    }
    case MESSAGE_VOTE: {
        static const uint8_t zero[sizeof message->vote.reserved];
        return position_valid(message->vote.last_index, message->vote.last_term) && message->vote.last_term <= message->vote.front.term &&
               message->vote.disrupt <= 1 && message->vote.pre_vote <= 1 && memcmp(message->vote.reserved, zero, sizeof zero) == 0;
    }
    case MESSAGE_VOTE_RESULT:
        return message->vote_result.granted <= 1 && message->vote_result.pre_vote <= 1 && message->vote_result.reserved == 0;
    case MESSAGE_TIMEOUT_NOW:
        return position_valid(message->timeout_now.last_index, message->timeout_now.last_term) &&
               message->timeout_now.last_term <= message->timeout_now.front.term;
    case MESSAGE_REMOVED:
        return true;
    case MESSAGE_APPEND:
    case MESSAGE_TYPE_END:
        break;
    }
    return false;
}

enum status message_decode(uint8_t type, const uint8_t *header, size_t header_bytes, size_t body_bytes, struct message *out)
{
    size_t fixed = fixed_bytes_of(type);
    if (fixed == 0 || header_bytes < fixed) {
        return STATUS_INVALID;
    }
    out->type = (enum message_type)type;
    memcpy(&out->append, header, fixed);
    if (!id_valid(out->front.from) || !id_valid(out->front.to) || out->front.term == 0 || out->front.term > GROUP_NUMBER_MAX) {
        return STATUS_INVALID;
    }
    bool valid = type == MESSAGE_APPEND ? append_valid(out, header + fixed, header_bytes - fixed, body_bytes)
                                        : header_bytes == fixed && body_bytes == 0 && fields_valid(out);
    return valid ? STATUS_OK : STATUS_INVALID;
}

size_t message_encode(const struct message *message, uint8_t *header)
{
    size_t fixed = fixed_bytes_of((unsigned)message->type);
    CHECK(fixed > 0);
    memcpy(header, &message->append, fixed);
    if (message->type != MESSAGE_APPEND) {
        return fixed;
    }
    CHECK(message->append.count <= APPEND_ENTRIES_MAX);
    memcpy(header + fixed, message->entries, message->append.count * sizeof(struct message_entry));
    return fixed + message->append.count * sizeof(struct message_entry);
}

/* -- members -- */

bool members_valid(const struct disk_member *members, uint32_t count)
{
    if (count == 0 || count > DISK_MEMBERS_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!id_valid(members[i].raft_id) || members[i].role > DISK_ROLE_SPARE || members[i].reserved != 0) {
            return false;
        }
        for (uint32_t j = 0; j < i; j++) {
            if (members[j].raft_id == members[i].raft_id) {
                return false;
            }
        }
    }
    return true;
}

size_t members_encode(const struct disk_member *members, uint32_t count, uint8_t out[MEMBERS_BYTES_MAX])
{
    CHECK(members_valid(members, count));
    uint32_t front[2] = {count, 0};
    memcpy(out, front, sizeof front);
    memcpy(out + sizeof front, members, count * sizeof *members);
    return sizeof front + count * sizeof *members;
}

enum status members_decode(const uint8_t *body, size_t bytes, struct disk_member members[DISK_MEMBERS_MAX], uint32_t *count)
{
    uint32_t front[2];
    struct disk_member found[DISK_MEMBERS_MAX];
    if (bytes < sizeof front) {
        return STATUS_INVALID;
    }
    memcpy(front, body, sizeof front);
    if (front[0] > DISK_MEMBERS_MAX || front[1] != 0 || bytes != sizeof front + front[0] * sizeof *found) {
        return STATUS_INVALID;
    }
    memcpy(found, body + sizeof front, front[0] * sizeof *found);
    if (!members_valid(found, front[0])) {
        return STATUS_INVALID;
    }
    memcpy(members, found, front[0] * sizeof *found);
    *count = front[0];
    return STATUS_OK;
}
