/* Messages on their way out. The library says who gets what; entries are read from the log when the message leaves, and a message that is too large for one
 * is sent as several. Each peer has a bounded queue: a message that finds it full is dropped, as a network may. A queue waits while a term or
 * vote is not durable, and while its link has no room. */
#include "consensus/group_internal.h"

#include <string.h>

static struct group_outgoing *queue_push(struct group_peer *peer)
{
    if (peer->queue_count == GROUP_QUEUE_MAX) {
        return NULL;
    }
    return &peer->queue[(peer->queue_front + peer->queue_count++) % GROUP_QUEUE_MAX];
}

static void queue_pop(struct group_peer *peer)
{
    peer->queue_front = (peer->queue_front + 1) % GROUP_QUEUE_MAX;
    peer->queue_count--;
}

void group_queues_clear(struct group *group)
{
    for (unsigned node = 1; node <= MACHINE_PEERS_MAX; node++) {
        group->peers[node].queue_count = 0;
        group->peers[node].under_way_from = group->peers[node].under_way_to = 0;
        group->peers[node].snapshot_wanted = false;
    }
}

static struct group_peer *peer_of(struct group *group, uint64_t raft_id)
{
    unsigned node = raft_id_node(raft_id);
    if (node < 1 || node > MACHINE_PEERS_MAX) {
        return NULL;
    }
    struct group_peer *peer = &group->peers[node];
    return peer->up && peer->raft_id == raft_id ? peer : NULL;
}

/* The library's message as ours. False: it is none that is sent. */
static bool translate(const struct raft_message *message, struct group_outgoing *out)
{
    switch (message->type) {
    case RAFT_APPEND_ENTRIES:
        out->type = MESSAGE_APPEND;
        out->append.front.term = message->append_entries.term;
        out->append.previous_index = message->append_entries.prev_log_index;
        out->append.previous_term = message->append_entries.prev_log_term;
        out->append.commit = message->append_entries.leader_commit;
        out->append.count = message->append_entries.n_entries;
        return true;
    case RAFT_APPEND_ENTRIES_RESULT:
        out->type = MESSAGE_APPEND_RESULT;
        out->append_result.front.term = message->append_entries_result.term;
        out->append_result.rejected = message->append_entries_result.rejected;
        out->append_result.last_index = message->append_entries_result.last_log_index;
        out->append_result.features = message->append_entries_result.features;
        out->append_result.capacity = message->append_entries_result.capacity;
        return true;
    case RAFT_REQUEST_VOTE:
        out->type = MESSAGE_VOTE;
        out->vote.front.term = message->request_vote.term;
        out->vote.last_index = message->request_vote.last_log_index;
        out->vote.last_term = message->request_vote.last_log_term;
        out->vote.disrupt = message->request_vote.disrupt_leader;
        out->vote.pre_vote = message->request_vote.pre_vote;
        return true;
    case RAFT_REQUEST_VOTE_RESULT:
        out->type = MESSAGE_VOTE_RESULT;
        out->vote_result.front.term = message->request_vote_result.term;
        out->vote_result.granted = message->request_vote_result.vote_granted;
        out->vote_result.pre_vote = message->request_vote_result.pre_vote;
        out->vote_result.features = message->request_vote_result.features;
        out->vote_result.capacity = message->request_vote_result.capacity;
        return true;
    case RAFT_TIMEOUT_NOW:
        out->type = MESSAGE_TIMEOUT_NOW;
        out->timeout_now.front.term = message->timeout_now.term;
        out->timeout_now.last_index = message->timeout_now.last_log_index;
        out->timeout_now.last_term = message->timeout_now.last_log_term;
        return true;
    case RAFT_INSTALL_SNAPSHOT:
        break;
    }
    return false;
}

/* Leave out of the message what is under way already: a link loses nothing while it stands. */
static void leave_out(const struct group *group, struct group_peer *peer, struct message_append *append)
{
    uint64_t from = append->previous_index + 1, now = group_now_ns(group);
    if (append->count == 0) {
        return;
    }
    bool joins = append->front.term == peer->under_way_term && from >= peer->under_way_from && from <= peer->under_way_to &&
                 now - peer->under_way_ns < GROUP_REPEAT_MS * 1000000ull;
    if (!joins) {
        peer->under_way_from = from;
        peer->under_way_to = from + append->count;
        peer->under_way_term = append->front.term;
        peer->under_way_ns = now;
        return;
    }
    uint64_t known = peer->under_way_to - from < append->count ? peer->under_way_to - from : append->count;
    uint64_t term = known > 0 ? log_term_of(group->log, append->previous_index + known) : append->previous_term;
    if (term == 0) {
        return; /* the log was cut there */
    }
    append->previous_index += known;
    append->previous_term = term;
    append->count -= (uint32_t)known;
    peer->under_way_to += append->count;
}

void group_enqueue(struct group *group, const struct raft_message *message)
{
    struct group_peer *peer = peer_of(group, message->server_id);
    if (peer == NULL) {
        return;
    }
    if (message->type == RAFT_INSTALL_SNAPSHOT) {
        peer->snapshot_wanted = true;
        return;
    }
    struct group_outgoing outgoing;
    memset(&outgoing, 0, sizeof outgoing);
    if (!translate(message, &outgoing)) {
        return;
    }
    outgoing.front.from = group->raft_id;
    outgoing.front.to = message->server_id;
    if (outgoing.type == MESSAGE_APPEND && peer->queue_count < GROUP_QUEUE_MAX) {
        leave_out(group, peer, &outgoing.append);
    }
    struct group_outgoing *place = queue_push(peer);
    if (place != NULL) {
        *place = outgoing;
    }
}

void group_enqueue_removed(struct group *group, unsigned node)
{
    struct group_peer *peer = &group->peers[node];
    struct group_outgoing *place = peer->up ? queue_push(peer) : NULL;
    if (place != NULL) {
        memset(place, 0, sizeof *place);
        place->type = MESSAGE_REMOVED;
        place->removed.front = (struct message_front){.from = group->raft_id, .to = peer->raft_id, .term = raft_current_term(&group->raft)};
    }
}

/* -- leaving -- */

/* Is what the message says of our log still so? */
static bool append_stands(const struct group *group, const struct message_append *append)
{
    if (!group_is_leader(group) || append->front.term != raft_current_term(&group->raft)) {
        return false;
    }
    return append->count == 0 || (append->previous_index + 1 >= log_first_index(group->log) &&
                                  append->previous_index + append->count <= log_last_index(group->log) &&
                                  log_term_of(group->log, append->previous_index) == append->previous_term);
}

/* Read as many entries as one message takes; the message says how many. One that cannot be read ends it, and is told when it comes first. */
static enum status collect_entries(struct group *group, const struct message_append *append, size_t room, struct peers_span *spans)
{
    struct message *message = &group->message;
    size_t bytes = 0, read = 0;
    message->append.count = 0;
    while (message->append.count < append->count && message->append.count < APPEND_ENTRIES_MAX) {
        uint64_t index = append->previous_index + 1 + message->append.count;
        if (bytes + log_body_bytes(group->log, index) > room) {
            break;
        }
        struct log_view view;
        enum status status = log_read(group->log, index, group->send_scratch + read, &view);
        if (status != STATUS_OK) {
            return message->append.count > 0 ? STATUS_OK : status;
        }
        read += view.body == group->send_scratch + read ? view.body_bytes : 0;
        bytes += view.body_bytes;
        message->entries[message->append.count] =
            (struct message_entry){.term = view.term, .type = (uint32_t)view.type, .body_bytes = view.body_bytes, .entry = view.entry};
        spans[message->append.count++] = (struct peers_span){.data = view.body, .bytes = view.body_bytes};
    }
    return STATUS_OK;
}

/* Said once: the follower asks again and again until the log is cut behind the entry. If our checkpoint covers it already, that will do: a newer one may never
 * come, as nothing may be committed before this follower is there. */
static void entry_unreadable(struct group *group, struct group_peer *peer, uint64_t index, enum status status)
{
    peer->snapshot_wanted |= index <= group->raft.trail.snapshot.index;
    if (index > group->unreadable_index) {
        group->unreadable_index = index;
        group_say(group, LOG_ERROR, "log: entry %llu cannot be read for a follower: %s; it will get a checkpoint", (unsigned long long)index,
                  status_sentence(status));
    }
}

/* Send the peer's first message, or the next part of it. BUSY: it waits. */
static enum status send_front(struct group *group, unsigned node)
{
    struct group_peer *peer = &group->peers[node];
    struct group_outgoing *outgoing = &peer->queue[peer->queue_front];
    struct message *message = &group->message;
    struct peers_span spans[APPEND_ENTRIES_MAX];
    uint32_t count = 0;
    message->type = outgoing->type;
    memcpy(&message->append, &outgoing->append, sizeof outgoing->append);
    if (outgoing->type == MESSAGE_APPEND) {
        if (!append_stands(group, &outgoing->append)) {
            queue_pop(peer);
            return STATUS_OK;
        }
        size_t room = peers_room(group_peers(group), node, PEERS_LANE_RAFT);
        room = room > APPEND_BYTES_MAX ? APPEND_BYTES_MAX : room;
        enum status status = collect_entries(group, &outgoing->append, room, spans);
        if (status != STATUS_OK) {
            entry_unreadable(group, peer, outgoing->append.previous_index + 1, status);
            queue_pop(peer);
            return STATUS_OK;
        }
        count = message->append.count;
        if (count == 0 && outgoing->append.count > 0) {
            return STATUS_BUSY;
        }
    }
    size_t header_bytes = message_encode(message, group->header);
    enum status status =
        peers_send(group_peers(group), node, PEERS_LANE_RAFT, (uint8_t)outgoing->type, group->header, header_bytes, spans, count);
    if (status == STATUS_FULL) {
        return STATUS_BUSY;
    }
    if (count > 0 && count < outgoing->append.count) {
        outgoing->append.previous_index += count;
        outgoing->append.previous_term = message->entries[count - 1].term;
        outgoing->append.count -= count;
    } else {
        queue_pop(peer);
    }
    return STATUS_OK;
}

void group_pump(struct group *group)
{
    if (!group_running(group) || !vote_durable(group->vote)) {
        return;
    }
    for (unsigned node = 1; node <= MACHINE_PEERS_MAX; node++) {
        struct group_peer *peer = &group->peers[node];
        while (peer->up && peer->queue_count > 0 && send_front(group, node) == STATUS_OK) {
        }
    }
}

bool group_pump_waits(const struct group *group)
{
    for (unsigned node = 1; node <= MACHINE_PEERS_MAX; node++) {
        if (group->peers[node].up && group->peers[node].queue_count > 0) {
            return true;
        }
    }
    return false;
}
