/* The giving side: manifests and pages from the pinned checkpoint. */
#include <string.h>

#include "replicate/catchup_private.h"

static bool any_transfer(const struct catchup *catchup)
{
    for (unsigned peer = 1; peer <= MACHINE_PEERS_MAX; peer++) {
        if (catchup->transfers[peer].phase != TRANSFER_NONE) {
            return true;
        }
    }
    return false;
}

/* End the transfer to `peer`. The pin goes with the last; the log is held a little longer, so that who has installed can read on. */
static void end_transfer(struct catchup *catchup, unsigned peer)
{
    if (catchup->assembling == peer) {
        catchup->assembling = 0;
    }
    catchup->transfers[peer].phase = TRANSFER_NONE;
    if (!any_transfer(catchup)) {
        store_unpin(catchup->config.store);
        catchup->hold_until_ns = catchup_now_ns(catchup) + CATCHUP_LINGER_MS * 1000000ull;
    }
}

static void tell_gone(struct catchup *catchup, unsigned peer, uint64_t id)
{
    if (!catchup_send_note(catchup, peer, CATCHUP_GONE, id, 0)) {
        /* The client's own deadline ends what it waits for. */
        catchup_log(catchup, LOG_DEBUG, "catch-up: node %u could not be told that its transfer has ended", peer);
    }
}

static void stop_all(struct catchup *catchup)
{
    for (unsigned peer = 1; peer <= MACHINE_PEERS_MAX; peer++) {
        if (catchup->transfers[peer].phase != TRANSFER_NONE) {
            tell_gone(catchup, peer, catchup->transfers[peer].id);
            end_transfer(catchup, peer);
        }
    }
}

void catchup_yield_pin(struct catchup *catchup)
{
    stop_all(catchup);
    store_unpin(catchup->config.store);
}

void catchup_stop_serving(struct catchup *catchup)
{
    stop_all(catchup);
    for (unsigned peer = 1; peer <= MACHINE_PEERS_MAX; peer++) {
        catchup->transfers[peer].asked_for = 0;
    }
    if (catchup->hold_until_ns != 0) {
        catchup->hold_until_ns = catchup_now_ns(catchup);
    }
}

void catchup_send_snapshot(struct catchup *catchup, uint64_t raft_id)
{
    unsigned peer = raft_id_node(raft_id);
    if (peer >= 1 && peer <= MACHINE_PEERS_MAX && peer != catchup->config.self) {
        catchup->transfers[peer].asked_for = raft_id;
    }
}

static bool ended_just_now(const struct catchup *catchup, const struct transfer *transfer, uint64_t raft_id)
{
    return transfer->raft_id == raft_id && transfer->ended_ns != 0 &&
           catchup_now_ns(catchup) - transfer->ended_ns < CATCHUP_AGAIN_MS * 1000000ull;
}

/* What the group asked for, unless it is under way or the peer is not there. */
static void start_transfer(struct catchup *catchup, unsigned peer)
{
    struct transfer *transfer = &catchup->transfers[peer];
    uint64_t raft_id = transfer->asked_for;
    transfer->asked_for = 0;
    if (raft_id == 0) {
        return;
    }
    const struct peers_hello *hello = peers_hello_of(catchup->config.peers, peer, PEERS_LANE_BULK);
    if (hello == NULL || hello->raft_id != raft_id || (transfer->phase != TRANSFER_NONE && transfer->raft_id == raft_id) ||
        ended_just_now(catchup, transfer, raft_id)) {
        return;
    }
    if (!any_transfer(catchup)) {
        store_pin(catchup->config.store);
    }
    const struct checkpoint *checkpoint = store_pinned(catchup->config.store);
    group_hold_log(catchup->config.group, checkpoint->raft_index);
    catchup->hold_until_ns = UINT64_MAX;

    *transfer = (struct transfer){.phase = TRANSFER_MANIFEST, .raft_id = raft_id, .heard_ns = catchup_now_ns(catchup)};
    catchup->config.machine->entropy(catchup->config.machine->context, &transfer->id, sizeof transfer->id);
    group_snapshot_describe(catchup->config.group, &transfer->snapshot);
    transfer->snapshot.last_index = checkpoint->raft_index;
    transfer->snapshot.last_term = checkpoint->raft_term;
    transfer->snapshot.configuration_index = checkpoint->configuration_index;
    transfer->snapshot.member_count = checkpoint->member_count;
    transfer->snapshot.reserved = 0;
    memcpy(transfer->snapshot.members, checkpoint->members, sizeof transfer->snapshot.members);
    catchup_log(catchup, LOG_INFO, "catch-up: node %u is offered the checkpoint of epoch %llu", peer, (unsigned long long)checkpoint->epoch);
}

/* -- manifest -- */

static bool send_manifest(struct catchup *catchup, unsigned peer)
{
    const struct transfer *transfer = &catchup->transfers[peer];
    const struct checkpoint *checkpoint = store_pinned(catchup->config.store);
    struct catchup_manifest manifest = {
        .id = transfer->id,
        .snapshot = transfer->snapshot,
        .epoch = checkpoint->epoch,
        .digest = checkpoint->digest,
        .pages_max = catchup->config.world_pages_max,
        .record = checkpoint->record,
    };
    return catchup_send(catchup, peer, CATCHUP_MANIFEST, &manifest, sizeof manifest, NULL, 0);
}

/* One message of hashes from next_page on; runs of absent pages are not sent. False: no room. */
static bool send_hashes(struct catchup *catchup, unsigned peer)
{
    struct transfer *transfer = &catchup->transfers[peer];
    const struct store *store = catchup->config.store;
    uint32_t pages_max = catchup->config.world_pages_max, page = transfer->next_page;
    while (page < pages_max && store_pinned_hash(store, page) == 0) {
        page++;
    }
    transfer->next_page = page;
    if (page == pages_max) {
        transfer->phase = TRANSFER_END;
        return true;
    }
    struct catchup_hashes *message = catchup->hashes_message;
    message->id = transfer->id;
    message->first_page = page;
    message->count = 0;
    while (page < pages_max && message->count < CATCHUP_HASHES_MAX) {
        message->hashes[message->count++] = store_pinned_hash(store, page++);
    }
    size_t bytes = offsetof(struct catchup_hashes, hashes) + message->count * sizeof message->hashes[0];
    if (!catchup_send(catchup, peer, CATCHUP_HASHES, message, bytes, NULL, 0)) {
        return false;
    }
    transfer->next_page = page;
    transfer->heard_ns = catchup_now_ns(catchup); /* the receiver is silent until the end; whether it lives is the link's business */
    return true;
}

/* False: no room, go on later. */
static bool manifest_step(struct catchup *catchup, unsigned peer)
{
    struct transfer *transfer = &catchup->transfers[peer];
    switch (transfer->phase) {
    case TRANSFER_MANIFEST:
        if (!send_manifest(catchup, peer)) {
            return false;
        }
        catchup->facts.manifests_sent++;
        transfer->phase = TRANSFER_HASHES;
        transfer->next_page = 0;
        return true;
    case TRANSFER_HASHES:
        return send_hashes(catchup, peer);
    case TRANSFER_END:
        if (!catchup_send_note(catchup, peer, CATCHUP_END, transfer->id, 0)) {
            return false;
        }
        transfer->phase = TRANSFER_SERVING;
        transfer->heard_ns = catchup_now_ns(catchup);
        return true;
    case TRANSFER_NONE:
    case TRANSFER_SERVING:
        break;
    }
    return false;
}

/* -- pages -- */

enum status server_want(struct catchup *catchup, unsigned peer, const struct peers_message *message)
{
    struct catchup_want want;
    if (message->header_bytes != sizeof want || message->body_bytes != 0) {
        return STATUS_INVALID;
    }
    memcpy(&want, message->header, sizeof want);
    if (want.count > CATCHUP_PAGES_MAX || want.request >= CATCHUP_REQUESTS_MAX) {
        return STATUS_INVALID;
    }
    struct transfer *transfer = &catchup->transfers[peer];
    if (transfer->phase != TRANSFER_SERVING || transfer->id != want.id) {
        tell_gone(catchup, peer, want.id);
        return STATUS_OK;
    }
    transfer->heard_ns = catchup_now_ns(catchup);
    if (want.count == 0) {
        return STATUS_OK;
    }
    /* A request that is made again while its first answer is still due is answered once. */
    for (uint32_t i = 0; i < transfer->want_count; i++) {
        if (transfer->wants[i].request == want.request) {
            return STATUS_OK;
        }
    }
    if (transfer->want_count == CATCHUP_REQUESTS_MAX) {
        return STATUS_INVALID;
    }
    transfer->wants[transfer->want_count++] = want;
    return STATUS_OK;
}

enum status server_ended(struct catchup *catchup, unsigned peer, const struct peers_message *message)
{
    struct catchup_note note;
    if (message->header_bytes != sizeof note || message->body_bytes != 0) {
        return STATUS_INVALID;
    }
    memcpy(&note, message->header, sizeof note);
    struct transfer *transfer = &catchup->transfers[peer];
    if (transfer->phase != TRANSFER_NONE && transfer->id == note.id) {
        catchup_log(catchup, LOG_INFO, "catch-up: node %u %s", peer,
                    note.outcome == CATCHUP_DONE    ? "has the checkpoint"
                    : note.outcome == CATCHUP_STALE ? "does not need the checkpoint"
                                                    : "could not take the checkpoint");
        end_transfer(catchup, peer);
        transfer->ended_ns = note.outcome == CATCHUP_FAILED ? 0 : catchup_now_ns(catchup);
    }
    return STATUS_OK;
}

/* The sealed page into scratch; from memory, sealed anew, if the disk cannot give it any more. */
static enum status read_page(struct catchup *catchup, uint32_t page)
{
    enum status status = store_pinned_page(catchup->config.store, page, catchup->page);
    if (status == STATUS_OK || status == STATUS_NOT_FOUND) {
        return status;
    }
    const uint8_t *content = image_captured(catchup->config.image, page);
    uint64_t hash = store_pinned_hash(catchup->config.store, page);
    if (content == NULL || image_page_hash(catchup->config.image, page) != hash || image_scrub_page(catchup->config.image, page) != STATUS_OK) {
        return status;
    }
    catchup_log(catchup, LOG_WARNING, "catch-up: page %u is bad on this node's disk and is given from memory", (unsigned)page);
    *catchup->page = (struct sealed_page){.page = page, .hash = hash};
    catchup->config.machine->entropy(catchup->config.machine->context, catchup->page->nonce, sizeof catchup->page->nonce);
    struct seal_context context = seal_context_page(catchup->config.world_number, page);
    seal_body(catchup->config.keys, &context, catchup->page->nonce, content, STORE_BLOCK_BYTES, catchup->page->cipher, catchup->page->tag);
    return STATUS_OK;
}

static void add_to_answer(struct catchup *catchup)
{
    uint32_t at = catchup->answer.count++;
    struct catchup_page *entry = &catchup->answer.pages[at];
    *entry = (struct catchup_page){.page = catchup->page->page, .hash = catchup->page->hash};
    memcpy(entry->nonce, catchup->page->nonce, sizeof entry->nonce);
    memcpy(entry->tag, catchup->page->tag, sizeof entry->tag);
    memcpy(catchup->answer_body + (size_t)at * STORE_BLOCK_BYTES, catchup->page->cipher, STORE_BLOCK_BYTES);
}

/* Read a few pages of the request under assembly; send the answer when it is whole. False: the queue has no room. */
static bool assemble_step(struct catchup *catchup)
{
    unsigned peer = catchup->assembling;
    struct transfer *transfer = &catchup->transfers[peer];
    const struct catchup_want *want = &transfer->wants[0];
    for (uint32_t i = 0; i < CATCHUP_SERVE_STEP && catchup->answer.count < want->count; i++) {
        uint32_t page = want->pages[catchup->answer.count];
        enum status status = read_page(catchup, page);
        if (status != STATUS_OK) {
            catchup_log(catchup, LOG_ERROR, "catch-up: page %u cannot be given to node %u: %s", (unsigned)page, peer, status_sentence(status));
            tell_gone(catchup, peer, transfer->id);
            end_transfer(catchup, peer);
            transfer->ended_ns = catchup_now_ns(catchup);
            if (status != STATUS_NOT_FOUND) { /* nobody honest asks for a page that is not there */
                catchup->config.want_checkpoint(catchup->config.context);
            }
            return true;
        }
        add_to_answer(catchup);
    }
    if (catchup->answer.count < want->count) {
        return true;
    }
    if (!catchup_send(catchup, peer, CATCHUP_PAGES, &catchup->answer, sizeof catchup->answer, catchup->answer_body,
                      (size_t)catchup->answer.count * STORE_BLOCK_BYTES)) {
        return false;
    }
    catchup->facts.pages_sent += catchup->answer.count;
    catchup->assembling = 0;
    catchup->served = peer;
    transfer->want_count--;
    memmove(&transfer->wants[0], &transfer->wants[1], transfer->want_count * sizeof transfer->wants[0]);
    return true;
}

/* The next peer, in turn, whose oldest request is answered. */
static void choose_request(struct catchup *catchup)
{
    for (unsigned i = 1; i <= MACHINE_PEERS_MAX && catchup->assembling == 0; i++) {
        unsigned peer = (catchup->served + i - 1) % MACHINE_PEERS_MAX + 1;
        const struct transfer *transfer = &catchup->transfers[peer];
        if (transfer->phase == TRANSFER_SERVING && transfer->want_count > 0) {
            catchup->assembling = peer;
            memset(&catchup->answer, 0, sizeof catchup->answer);
            catchup->answer.id = transfer->id;
            catchup->answer.request = transfer->wants[0].request;
        }
    }
}

static void drop_idle(struct catchup *catchup, uint64_t now)
{
    for (unsigned peer = 1; peer <= MACHINE_PEERS_MAX; peer++) {
        const struct transfer *transfer = &catchup->transfers[peer];
        if (transfer->phase != TRANSFER_NONE && now - transfer->heard_ns >= CATCHUP_IDLE_MS * 1000000ull) {
            catchup_log(catchup, LOG_WARNING, "catch-up: node %u has asked for nothing for %d ms; its transfer ends", peer, CATCHUP_IDLE_MS);
            tell_gone(catchup, peer, transfer->id);
            end_transfer(catchup, peer);
        }
    }
    if (catchup->hold_until_ns != 0 && now >= catchup->hold_until_ns) {
        group_hold_log(catchup->config.group, 0);
        catchup->hold_until_ns = 0;
    }
}

void server_tick(struct catchup *catchup)
{
    uint64_t now = catchup_now_ns(catchup);
    drop_idle(catchup, now);
    for (unsigned peer = 1; peer <= MACHINE_PEERS_MAX; peer++) {
        start_transfer(catchup, peer);
    }
    if (!any_transfer(catchup) || now < catchup->serve_ns) {
        return;
    }
    catchup->serve_ns = now + CATCHUP_SERVE_STEP * 1000000ull / CATCHUP_SERVE_PAGES;
    for (unsigned peer = 1; peer <= MACHINE_PEERS_MAX; peer++) {
        for (unsigned i = 0; i < CATCHUP_MANIFEST_STEP && manifest_step(catchup, peer); i++) {
        }
    }
    choose_request(catchup);
    if (catchup->assembling != 0 && !assemble_step(catchup)) {
        catchup->serve_ns = now + CATCHUP_RETRY_MS * 1000000ull;
    }
    peers_flush(catchup->config.peers);
    /* Where reading and sending take long, on a slow disk or a busy machine, the world is not to wait for it all the time. */
    uint64_t paced_ns = now + replicate_step_ns(now, catchup_now_ns(catchup)) * CATCHUP_PACE;
    catchup->serve_ns = paced_ns > catchup->serve_ns ? paced_ns : catchup->serve_ns;
}

uint64_t server_deadline_ns(const struct catchup *catchup)
{
    uint64_t deadline = catchup->hold_until_ns != 0 ? catchup->hold_until_ns : UINT64_MAX;
    for (unsigned peer = 1; peer <= MACHINE_PEERS_MAX; peer++) {
        const struct transfer *transfer = &catchup->transfers[peer];
        if (transfer->asked_for != 0) {
            return 0;
        }
        if (transfer->phase == TRANSFER_NONE) {
            continue;
        }
        bool waits = transfer->phase == TRANSFER_SERVING && transfer->want_count == 0;
        uint64_t due = waits ? transfer->heard_ns + CATCHUP_IDLE_MS * 1000000ull : catchup->serve_ns;
        deadline = due < deadline ? due : deadline;
    }
    return deadline;
}

void server_down(struct catchup *catchup, unsigned peer)
{
    if (catchup->transfers[peer].phase != TRANSFER_NONE) {
        end_transfer(catchup, peer);
    }
}
