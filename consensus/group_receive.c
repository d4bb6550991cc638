/* Hellos and messages on their way in. Everything is checked here (and in message.c) before the library sees it: what it asserts, a peer must not be able
 * to break. A message of another incarnation, in either direction, is dropped without a word. */
#include "consensus/group_internal.h"

#include <string.h>

enum { LIBRARY_VERSION_VOTE = 2, LIBRARY_VERSION_RESULT = 2 };
enum { CHANGE_BYTES_MAX = 256 }; /* of the library's encoding of DISK_MEMBERS_MAX members, each with its address */

/* -- hellos -- */

void group_own_hello(struct group *group, unsigned peer, struct peers_hello *hello)
{
    (void)peer;
    if (!group_running(group)) {
        return; /* an empty hello is no hello: a boot number that may still be lost again is never shown */
    }
    hello->raft_id = group->raft_id;
    hello->boot_number = vote_boot_number(group->vote);
    hello->term = vote_term(group->vote);
    hello->last_index = log_persisted(group->log);
    hello->last_term = log_term_of(group->log, hello->last_index);
    hello->flags = group->joining ? GROUP_HELLO_JOINING : 0;
    memcpy(hello->lives, vote_lives(group->vote), sizeof hello->lives);
}

void group_damaged_hello(uint64_t raft_id, struct peers_hello *hello)
{
    hello->raft_id = raft_id;
    hello->boot_number = 1;
    hello->flags = GROUP_HELLO_DAMAGED;
}

/* Is the boot that we have evidence of not among those that the hello's disk remembers? A copy that was put back and started again may count as many. */
static bool another_past(const struct peers_hello *hello, const struct disk_evidence *evidence)
{
    uint64_t since = hello->boot_number - evidence->boot_number;
    return hello->boot_number < evidence->boot_number || (evidence->boot_number != 0 && since < DISK_LIVES && hello->lives[since] != evidence->life);
}

enum status group_accept_hello(struct group *group, unsigned peer, const struct peers_hello *hello, enum peers_reason *reason)
{
    if (!group_running(group)) {
        *reason = PEERS_REASON_NOT_NOW;
        return STATUS_REFUSED;
    }
    if (hello->boot_number > GROUP_NUMBER_MAX || hello->term > GROUP_NUMBER_MAX || hello->last_index > GROUP_NUMBER_MAX ||
        hello->last_term > GROUP_NUMBER_MAX) {
        *reason = PEERS_REASON_NOT_NOW;
        return STATUS_REFUSED;
    }
    if ((hello->flags & GROUP_HELLO_DAMAGED) != 0) {
        *reason = membership_whole_without(group, peer) ? PEERS_REASON_REPAIR : PEERS_REASON_NOT_NOW;
        return STATUS_REFUSED;
    }
    const struct disk_evidence *evidence = vote_evidence(group->vote, hello->raft_id);
    /* A hello tells of the moment when its link came up. One that a slow handshake brings after the other lane has carried entries, or after a link
     * that was made later, shows less than the same life has acknowledged since. */
    struct group_peer *known = &group->peers[peer];
    bool same_life = known->life_raft_id == hello->raft_id && known->life == hello->lives[0];
    if (evidence != NULL && (another_past(hello, evidence) || (hello->last_index < evidence->match_index && !same_life))) {
        if (evidence->boot_number < GROUP_NUMBER_MAX) {
            group_say(group, LOG_WARNING,
                      "node %u shows boot %llu and entry %llu, but there is evidence of another boot %llu or of entry %llu: its disk is not what it was", peer,
                      (unsigned long long)hello->boot_number, (unsigned long long)hello->last_index, (unsigned long long)evidence->boot_number,
                      (unsigned long long)evidence->match_index);
        }
        if (hello->boot_number >= evidence->boot_number) { /* not the hello of a former life that comes late */
            /* For good: a disk that cannot be written stays what it is, and after some more boots it would show nothing that we know. */
            membership_note_evidence(group, hello->raft_id, GROUP_NUMBER_MAX, 0, 0);
        }
        *reason = PEERS_REASON_STALE;
        return STATUS_REFUSED;
    }
    if ((hello->flags & GROUP_HELLO_JOINING) == 0 && membership_certainly_removed(group, hello->raft_id, hello->term)) {
        *reason = PEERS_REASON_REPLACED;
        return STATUS_REFUSED;
    }
    membership_note_evidence(group, hello->raft_id, hello->boot_number, hello->lives[0], 0);
    known->life = hello->lives[0];
    known->life_raft_id = hello->raft_id;
    return STATUS_OK;
}

void group_peer_up(struct group *group, unsigned node, const struct peers_hello *hello)
{
    struct group_peer *peer = &group->peers[node];
    peer->up = true;
    peer->raft_id = hello->raft_id;
    peer->hello = *hello;
    peer->queue_count = 0;
    peer->under_way_from = peer->under_way_to = 0;
    peer->snapshot_wanted = false;
    peer->image_there = false;
    peer->removed_told_ns = 0;
    group_address_of(hello->raft_id, peer->address);
    group->membership.retry_ns = 0;
    group->poked = true;
}

void group_peer_down(struct group *group, unsigned node)
{
    group->peers[node].up = false;
    group->peers[node].queue_count = 0;
    group->peers[node].snapshot_wanted = false;
}

void group_peer_refused(struct group *group, unsigned peer, enum peers_reason reason)
{
    if (!group_running(group) || (reason != PEERS_REASON_STALE && reason != PEERS_REASON_REPLACED)) {
        return;
    }
    group_say(group, LOG_WARNING, "node %u says: %s; this node joins anew", peer,
              reason == PEERS_REASON_STALE ? "your disk is older than what you showed before" : "your incarnation was removed");
    group_give_up(group);
}

/* -- AppendEntries -- */

/* Do we have this entry already? Then its body was verified when it came. */
static bool entry_known(const struct group *group, uint64_t index, uint64_t term)
{
    return index < log_first_index(group->log) || (index <= log_last_index(group->log) && log_term_of(group->log, index) == term);
}

static enum status verify_body(const struct group *group, const struct message_entry *entry, const uint8_t *body)
{
    if (entry->type == LOG_CHANGE) {
        struct disk_member members[DISK_MEMBERS_MAX];
        uint32_t count = 0;
        enum status status = seal_check_members(group->config.keys, body, entry->body_bytes, entry->entry.tag);
        return status == STATUS_OK ? members_decode(body, entry->body_bytes, members, &count) : status;
    }
    if (entry->type != LOG_COMMAND || entry->entry.type != GROUP_ENTRY_EPOCH) {
        return STATUS_OK;
    }
    struct seal_context context = seal_context_delta(entry->entry.world, entry->entry.epoch, entry->entry.part, entry->entry.parts);
    return seal_verify_body(group->config.keys, &context, entry->entry.nonce, body, entry->body_bytes, entry->entry.tag);
}

/* What submissions leave of the log is left here, too, for the barrier of who leads next. */
static enum log_purpose purpose_of(const struct group *group, uint64_t index, bool begins_term)
{
    if (begins_term) {
        return LOG_FOR_TERM;
    }
    return index <= log_last_index(group->log) ? LOG_FOR_REPLACEMENT : LOG_FOR_SUBMISSION;
}

/* The longest run of the message's entries that is verified and that there is room for. */
static enum status take_entries(struct group *group, const struct message *message, const uint8_t *bodies, uint32_t *taken)
{
    struct group_incoming *incoming = &group->incoming;
    uint64_t term_before = message->append.previous_term;
    incoming->first_index = message->append.previous_index + 1;
    incoming->entries = message->entries;
    size_t bytes = 0;
    uint32_t fresh = 0; /* behind a new entry all are new */
    *taken = 0;
    for (uint32_t i = 0; i < message->append.count; i++) {
        const struct message_entry *entry = &message->entries[i];
        if (fresh > 0 || !entry_known(group, incoming->first_index + i, entry->term)) {
            bytes += entry->body_bytes;
            bool begins_term = entry->type == LOG_BARRIER && entry->term > term_before;
            if (!log_room(group->log, ++fresh, bytes, purpose_of(group, incoming->first_index + i, begins_term))) {
                break;
            }
            enum status status = verify_body(group, entry, bodies);
            if (status != STATUS_OK) {
                return status;
            }
        }
        term_before = entry->term;
        incoming->bodies[i] = bodies;
        bodies += entry->body_bytes;
        *taken = i + 1;
    }
    return STATUS_OK;
}

/* The entries as the library wants them: contents only of changes, all in one block of its heap. */
static void make_library_entries(struct group *group, const struct message *message, uint32_t count)
{
    uint8_t *batch = raft_malloc((size_t)(count + 1) * CHANGE_BYTES_MAX);
    CHECK(batch != NULL); /* RAFT_HEAP_BYTES_MAX */
    for (uint32_t i = 0; i < count; i++) {
        struct raft_entry *entry = &group->library_entries[i];
        *entry = (struct raft_entry){
            .term = message->entries[i].term, .type = (enum raft_entry_type)message->entries[i].type, .batch = batch, .buf = {.base = batch, .len = 0}};
        if (entry->type != RAFT_CHANGE) {
            continue;
        }
        struct disk_member members[DISK_MEMBERS_MAX];
        uint32_t member_count = 0;
        enum status status = members_decode(group->incoming.bodies[i], message->entries[i].body_bytes, members, &member_count);
        if (status != STATUS_OK) {
            continue; /* one that we know already, which the library skips */
        }
        struct raft_buffer encoded;
        group_encode_change(members, member_count, &encoded);
        CHECK(encoded.len <= CHANGE_BYTES_MAX);
        entry->buf.base = batch + (size_t)(i + 1) * CHANGE_BYTES_MAX;
        entry->buf.len = encoded.len;
        memcpy(entry->buf.base, encoded.base, encoded.len);
        raft_free(encoded.base);
    }
}

static enum status step_message(struct group *group, struct raft_message *library)
{
    struct raft_event event = {.type = RAFT_RECEIVE, .receive = {.message = library}};
    int error = group_step(group, &event);
    group->incoming.count = 0;
    if (error == RAFT_SHUTDOWN) {
        group_say(group, LOG_ERROR, "raft: node %u contradicts an entry that is committed here", raft_id_node(library->server_id));
        return STATUS_INVALID;
    }
    CHECK(error == 0);
    return STATUS_OK;
}

static enum status receive_append(struct group *group, const struct message *message, const uint8_t *bodies, struct raft_message *library)
{
    const struct message_append *append = &message->append;
    uint64_t term = raft_current_term(&group->raft);
    if (append->front.term == term && group->raft.state == RAFT_LEADER) {
        return STATUS_INVALID; /* two leaders in one term: the library asserts that this cannot be */
    }
    uint32_t count = 0;
    /* Of an old term only the refusal matters; without a checkpoint there is nothing that entries could follow. */
    if (append->front.term >= term && log_last_index(group->log) > 0) {
        enum status status = take_entries(group, message, bodies, &count);
        if (status != STATUS_OK) {
            return status;
        }
    }
    if (append->front.term >= term) {
        group->leader_heard_ns = group_now_ns(group);
    }
    library->type = RAFT_APPEND_ENTRIES;
    library->append_entries = (struct raft_append_entries){
        .term = append->front.term,
        .prev_log_index = append->previous_index,
        .prev_log_term = append->previous_term,
        .leader_commit = append->commit,
        .entries = group->library_entries,
        .n_entries = count,
    };
    if (count > 0) {
        make_library_entries(group, message, count);
    }
    group->incoming.count = count;
    return step_message(group, library);
}

/* -- the others -- */

static enum status receive_append_result(struct group *group, const struct message_append_result *result, struct raft_message *library)
{
    library->type = RAFT_APPEND_ENTRIES_RESULT;
    library->append_entries_result = (struct raft_append_entries_result){
        .version = LIBRARY_VERSION_RESULT,
        .term = result->front.term,
        .rejected = result->rejected,
        .last_log_index = result->last_index,
        .features = result->features,
        .capacity = result->capacity,
    };
    return step_message(group, library);
}

static enum status receive_vote(struct group *group, const struct message_vote *vote, struct raft_message *library)
{
    library->type = RAFT_REQUEST_VOTE;
    library->request_vote = (struct raft_request_vote){
        .version = LIBRARY_VERSION_VOTE,
        .term = vote->front.term,
        .candidate_id = vote->front.from,
        .last_log_index = vote->last_index,
        .last_log_term = vote->last_term,
        .disrupt_leader = vote->disrupt != 0,
        .pre_vote = vote->pre_vote != 0,
    };
    return step_message(group, library);
}

static enum status receive_vote_result(struct group *group, const struct message_vote_result *result, struct raft_message *library)
{
    if (result->pre_vote != 0 && result->granted != 0 && result->front.term != raft_current_term(&group->raft) + 1) {
        return STATUS_OK; /* not what is asked for now: late, or to an earlier life */
    }
    library->type = RAFT_REQUEST_VOTE_RESULT;
    library->request_vote_result = (struct raft_request_vote_result){
        .version = LIBRARY_VERSION_RESULT,
        .term = result->front.term,
        .vote_granted = result->granted != 0,
        .pre_vote = result->pre_vote != 0,
        .features = result->features,
        .capacity = result->capacity,
    };
    return step_message(group, library);
}

static enum status receive_timeout_now(struct group *group, const struct message_timeout_now *message, struct raft_message *library)
{
    if (!group_barrier_room(group) || group->image_missing) {
        return STATUS_OK;
    }
    library->type = RAFT_TIMEOUT_NOW;
    library->timeout_now = (struct raft_timeout_now){
        .term = message->front.term, .last_log_index = message->last_index, .last_log_term = message->last_term};
    return step_message(group, library);
}

static void receive_removed(struct group *group, const struct message_removed *message)
{
    if (group->joining || message->front.term < raft_current_term(&group->raft)) {
        return;
    }
    group_say(group, LOG_WARNING, "node %u, which leads, says that this incarnation was removed; this node joins anew", raft_id_node(message->front.from));
    group_give_up(group);
}

enum status group_message(struct group *group, unsigned node, const struct peers_message *raw)
{
    struct message *message = &group->message;
    enum status status = message_decode(raw->type, raw->header, raw->header_bytes, raw->body_bytes, message);
    if (status != STATUS_OK) {
        return status;
    }
    struct group_peer *peer = &group->peers[node];
    if (!group_running(group) || !peer->up || message->front.from != peer->raft_id || message->front.to != group->raft_id) {
        return STATUS_OK;
    }
    struct raft_message library = {.server_id = peer->raft_id, .server_address = peer->address};
    uint64_t term_believed = raft_current_term(&group->raft) + GROUP_TERM_JUMP_MAX;
    if (message->front.term > term_believed) {
        /* Nothing in it is taken, but the term comes nearer: two that a liar has driven apart agree again after some messages. */
        const struct message_vote_result refused = {.front = {.from = message->front.from, .to = message->front.to, .term = term_believed}};
        status = receive_vote_result(group, &refused, &library);
        group_pump(group);
        return status;
    }
    switch (message->type) {
    case MESSAGE_APPEND:
        status = receive_append(group, message, raw->body, &library);
        break;
    case MESSAGE_APPEND_RESULT:
        peer->image_there = message->append_result.capacity != GROUP_CAPACITY_NONE;
        if (message->append_result.rejected == 0) {
            peer->under_way_ns = group_now_ns(group);
        } else {
            peer->under_way_from = peer->under_way_to = 0; /* something did not arrive as it was sent */
        }
        status = receive_append_result(group, &message->append_result, &library);
        break;
    case MESSAGE_VOTE:
        status = receive_vote(group, &message->vote, &library);
        break;
    case MESSAGE_VOTE_RESULT:
        status = receive_vote_result(group, &message->vote_result, &library);
        break;
    case MESSAGE_TIMEOUT_NOW:
        status = receive_timeout_now(group, &message->timeout_now, &library);
        break;
    case MESSAGE_REMOVED:
        receive_removed(group, &message->removed);
        break;
    case MESSAGE_TYPE_END:
        break;
    }
    group_pump(group);
    return status;
}
