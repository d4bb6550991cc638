/* The taking side: a manifest, the pages it lacks, then the group. */
#include <string.h>

#include "consensus/message.h"
#include "replicate/catchup_private.h"

static void tell_ended(struct catchup *catchup, unsigned peer, uint64_t id, enum catchup_outcome outcome)
{
    if (peer != 0 && !catchup_send_note(catchup, peer, CATCHUP_ENDED, id, outcome)) {
        /* The server's own deadline ends it. */
        catchup_log(catchup, LOG_DEBUG, "catch-up: node %u could not be told that a transfer has ended", peer);
    }
}

static bool note_of(const struct peers_message *message, struct catchup_note *out)
{
    if (message->header_bytes != sizeof *out || message->body_bytes != 0) {
        return false;
    }
    memcpy(out, message->header, sizeof *out);
    return true;
}

/* -- the manifest comes in -- */

/* All that the group and a superblock will be held to: once it is durable it is too late to refuse it. */
static bool manifest_valid(const struct catchup *catchup, unsigned peer, const struct catchup_manifest *manifest)
{
    const struct group_snapshot *snapshot = &manifest->snapshot;
    return manifest->pages_max == catchup->config.world_pages_max && manifest->reserved == 0 && manifest->epoch <= GROUP_NUMBER_MAX &&
           snapshot->term <= GROUP_NUMBER_MAX && raft_id_node(snapshot->leader_id) == peer && snapshot->reserved == 0 && snapshot->last_index >= 1 &&
           snapshot->last_index <= GROUP_NUMBER_MAX && snapshot->last_term >= 1 && snapshot->last_term <= snapshot->term &&
           snapshot->configuration_index >= 1 && snapshot->configuration_index <= snapshot->last_index &&
           members_valid(snapshot->members, snapshot->member_count);
}

/* Does the group hold the giver for the leader of the present term? */
static bool giver_leads(const struct group_facts *facts, const struct group_snapshot *snapshot)
{
    return snapshot->term == facts->term && snapshot->leader_id == facts->leader_id;
}

/* Can it not be the present leader's? A leader offers a checkpoint only to who has answered it, and thus is in its term; but who has started again or stands
 * for election since may not know its leader, and takes pages until it does. */
static bool giver_lies(const struct group_facts *facts, const struct group_snapshot *snapshot)
{
    return snapshot->term > facts->term || (snapshot->term == facts->term && facts->leader_id != 0 && facts->leader_id != snapshot->leader_id);
}

/* Nothing to gain from it: this node leads, or has applied what it covers, or it is not the leader's, or a newer leader's is under way. */
static bool manifest_stale(const struct catchup *catchup, unsigned peer, const struct group_snapshot *snapshot)
{
    struct group_facts facts;
    group_facts(catchup->config.group, &facts);
    if (facts.role == GROUP_LEADER || snapshot->term < facts.term || giver_lies(&facts, snapshot) || snapshot->last_index <= facts.applied_index) {
        return true;
    }
    const struct group_snapshot *held = catchup->pull.phase != PULL_NONE ? &catchup->pull.snapshot : NULL;
    if (catchup->incoming.active && catchup->incoming.from != peer) {
        held = &catchup->incoming.manifest.snapshot;
    }
    return held != NULL && (snapshot->term < held->term || (snapshot->term == held->term && snapshot->last_index < held->last_index));
}

enum status client_manifest(struct catchup *catchup, unsigned peer, const struct peers_message *message)
{
    struct catchup_manifest manifest;
    if (message->header_bytes != sizeof manifest || message->body_bytes != 0) {
        return STATUS_INVALID;
    }
    memcpy(&manifest, message->header, sizeof manifest);
    if (!manifest_valid(catchup, peer, &manifest)) {
        return STATUS_INVALID;
    }
    if (manifest_stale(catchup, peer, &manifest.snapshot)) {
        tell_ended(catchup, peer, manifest.id, CATCHUP_STALE);
        return STATUS_OK;
    }
    catchup->incoming = (struct incoming){.active = true, .from = peer, .heard_ns = catchup_now_ns(catchup), .manifest = manifest};
    memset(catchup->hashes, 0, catchup->config.world_pages_max * sizeof *catchup->hashes);
    return STATUS_OK;
}

static bool incoming_is(const struct catchup *catchup, unsigned peer, uint64_t id)
{
    return catchup->incoming.active && !catchup->incoming.complete && catchup->incoming.from == peer && catchup->incoming.manifest.id == id;
}

enum status client_hashes(struct catchup *catchup, unsigned peer, const struct peers_message *message)
{
    const size_t fixed = offsetof(struct catchup_hashes, hashes);
    struct catchup_hashes head;
    if (message->header_bytes < fixed || message->body_bytes != 0) {
        return STATUS_INVALID;
    }
    memcpy(&head, message->header, fixed);
    uint32_t pages_max = catchup->config.world_pages_max;
    if (head.count > CATCHUP_HASHES_MAX || message->header_bytes != fixed + head.count * sizeof(uint64_t) || head.first_page > pages_max ||
        head.count > pages_max - head.first_page) {
        return STATUS_INVALID;
    }
    if (incoming_is(catchup, peer, head.id)) {
        memcpy(catchup->hashes + head.first_page, message->header + fixed, head.count * sizeof(uint64_t));
        catchup->incoming.heard_ns = catchup_now_ns(catchup);
    }
    return STATUS_OK;
}

enum status client_end(struct catchup *catchup, unsigned peer, const struct peers_message *message)
{
    struct catchup_note note;
    if (!note_of(message, &note)) {
        return STATUS_INVALID;
    }
    if (incoming_is(catchup, peer, note.id)) {
        catchup->incoming.complete = true;
    }
    return STATUS_OK;
}

static void end_pull(struct catchup *catchup, enum catchup_outcome outcome)
{
    struct pull *pull = &catchup->pull;
    tell_ended(catchup, pull->from, pull->id, outcome);
    pull->phase = PULL_NONE;
}

enum status client_gone(struct catchup *catchup, unsigned peer, const struct peers_message *message)
{
    struct catchup_note note;
    if (!note_of(message, &note)) {
        return STATUS_INVALID;
    }
    if (catchup->incoming.active && catchup->incoming.from == peer && catchup->incoming.manifest.id == note.id) {
        catchup->incoming.active = false;
    }
    if (catchup->pull.phase == PULL_PAGES && catchup->pull.from == peer && catchup->pull.id == note.id && store_install_left(catchup->config.store) > 0) {
        /* What was received stays for the next manifest. */
        catchup->pull.from = 0;
    }
    return STATUS_OK;
}

/* -- pages -- */

enum status client_pages(struct catchup *catchup, unsigned peer, const struct peers_message *message)
{
    struct catchup_pages pages;
    if (message->header_bytes != sizeof pages) {
        return STATUS_INVALID;
    }
    memcpy(&pages, message->header, sizeof pages);
    if (pages.count > CATCHUP_PAGES_MAX || pages.request >= CATCHUP_REQUESTS_MAX || message->body_bytes != (size_t)pages.count * STORE_BLOCK_BYTES) {
        return STATUS_INVALID;
    }
    struct pull *pull = &catchup->pull;
    if (pull->phase != PULL_PAGES || pull->from != peer || pull->id != pages.id) {
        return STATUS_OK;
    }
    for (uint32_t i = 0; i < pages.count; i++) {
        struct sealed_page *page = catchup->page;
        *page = (struct sealed_page){.page = pages.pages[i].page, .hash = pages.pages[i].hash};
        memcpy(page->nonce, pages.pages[i].nonce, sizeof page->nonce);
        memcpy(page->tag, pages.pages[i].tag, sizeof page->tag);
        memcpy(page->cipher, message->body + (size_t)i * STORE_BLOCK_BYTES, STORE_BLOCK_BYTES);
        enum status status = store_install_page(catchup->config.store, page);
        if (status == STATUS_CORRUPT) {
            return STATUS_CORRUPT;
        }
        /* FULL: the disk is behind. The page stays missing and is asked for again. */
        catchup->facts.pages_received += status == STATUS_OK;
    }
    pull->requests[pages.request].outstanding = false;
    pull->progress_ns = catchup_now_ns(catchup);
    return STATUS_OK;
}

static bool send_want(struct catchup *catchup, uint32_t number)
{
    struct pull *pull = &catchup->pull;
    const struct request *request = &pull->requests[number];
    struct catchup_want want = {.id = pull->id, .request = number, .count = request->count};
    memcpy(want.pages, request->pages, request->count * sizeof want.pages[0]);
    return catchup_send(catchup, pull->from, CATCHUP_WANT, &want, sizeof want, NULL, 0);
}

static bool any_outstanding(const struct pull *pull)
{
    for (uint32_t i = 0; i < CATCHUP_REQUESTS_MAX; i++) {
        if (pull->requests[i].outstanding) {
            return true;
        }
    }
    return false;
}

/* Fill free requests with missing pages; make late ones again. */
static void ask(struct catchup *catchup, uint64_t now)
{
    struct pull *pull = &catchup->pull;
    for (uint32_t i = 0; i < CATCHUP_REQUESTS_MAX; i++) {
        struct request *request = &pull->requests[i];
        if (request->outstanding && now < request->deadline_ns) {
            continue;
        }
        if (!request->outstanding) {
            request->count = store_install_missing(catchup->config.store, &pull->cursor, request->pages, CATCHUP_PAGES_MAX);
            if (request->count == 0 && !any_outstanding(pull)) {
                /* What was lost on the way is asked for again. */
                pull->cursor = 0;
                request->count = store_install_missing(catchup->config.store, &pull->cursor, request->pages, CATCHUP_PAGES_MAX);
            }
            if (request->count == 0) {
                continue;
            }
            request->outstanding = true;
        }
        if (!send_want(catchup, i)) {
            /* It is made again at its deadline. */
            catchup_log(catchup, LOG_DEBUG, "catch-up: no room for a request to node %u", pull->from);
        }
        request->deadline_ns = now + CATCHUP_REQUEST_MS * 1000000ull;
    }
}

static void keep_alive(struct catchup *catchup, uint64_t now)
{
    struct pull *pull = &catchup->pull;
    if (pull->from != 0 && now >= pull->keepalive_ns) {
        struct catchup_want nothing = {.id = pull->id};
        pull->keepalive_ns = now + CATCHUP_KEEPALIVE_MS * 1000000ull;
        if (!catchup_send(catchup, pull->from, CATCHUP_WANT, &nothing, sizeof nothing, NULL, 0)) {
            catchup_log(catchup, LOG_DEBUG, "catch-up: no room for a keepalive to node %u", pull->from);
        }
    }
}

/* -- from manifest to durable -- */

static void begin_pull(struct catchup *catchup, uint64_t now)
{
    struct incoming *incoming = &catchup->incoming;
    const struct catchup_manifest *manifest = &incoming->manifest;
    if (manifest_stale(catchup, incoming->from, &manifest->snapshot)) {
        tell_ended(catchup, incoming->from, manifest->id, CATCHUP_STALE);
        incoming->active = false;
        return;
    }
    struct checkpoint checkpoint = {
        .raft_index = manifest->snapshot.last_index,
        .raft_term = manifest->snapshot.last_term,
        .configuration_index = manifest->snapshot.configuration_index,
        .member_count = manifest->snapshot.member_count,
        .epoch = manifest->epoch,
        .digest = manifest->digest,
        .record = manifest->record,
    };
    memcpy(checkpoint.members, manifest->snapshot.members, sizeof checkpoint.members);
    enum status status = store_install_begin(catchup->config.store, &checkpoint, catchup->hashes);
    if (status == STATUS_BUSY) {
        return;
    }
    incoming->active = false;
    if (status != STATUS_OK) {
        catchup_log(catchup, LOG_ERROR, "catch-up: the checkpoint of epoch %llu that node %u offers cannot be taken: %s",
                    (unsigned long long)manifest->epoch, incoming->from, status_sentence(status));
        tell_ended(catchup, incoming->from, manifest->id, CATCHUP_FAILED);
        if (catchup->pull.phase == PULL_PAGES && status == STATUS_NO_SPACE) {
            catchup->pull.phase = PULL_NONE; /* the store has given up what was under way */
        }
        return;
    }
    catchup->pull = (struct pull){
        .phase = PULL_PAGES,
        .from = incoming->from,
        .id = manifest->id,
        .snapshot = manifest->snapshot,
        .epoch = manifest->epoch,
        .progress_ns = now,
    };
    catchup_log(catchup, LOG_INFO, "catch-up: the checkpoint of epoch %llu comes from node %u; %u pages are missing here",
                (unsigned long long)manifest->epoch, incoming->from, (unsigned)store_install_left(catchup->config.store));
}

/* The checkpoint is durable: the group begins behind it, unless its log got past it meanwhile. */
static void finish_pull(struct catchup *catchup)
{
    struct pull *pull = &catchup->pull;
    struct group_facts facts;
    group_facts(catchup->config.group, &facts);
    if (facts.disk_failed) {
        end_pull(catchup, CATCHUP_FAILED); /* the group takes nothing any more; the next boot begins from the checkpoint */
        return;
    }
    if (facts.applied_index >= pull->snapshot.last_index) {
        group_checkpoint_done(catchup->config.group, pull->snapshot.last_index, pull->snapshot.last_term);
        end_pull(catchup, CATCHUP_STALE);
        return;
    }
    enum status status = group_install(catchup->config.group, &pull->snapshot);
    if (status == STATUS_BUSY || status == STATUS_REFUSED) {
        return; /* again at the next tick */
    }
    if (status != STATUS_OK) {
        catchup_log(catchup, LOG_ERROR, "catch-up: the group does not take the checkpoint of epoch %llu: %s", (unsigned long long)pull->epoch,
                    status_sentence(status));
        end_pull(catchup, CATCHUP_FAILED);
        return;
    }
    catchup_log(catchup, LOG_INFO, "catch-up: the checkpoint of epoch %llu is durable here", (unsigned long long)pull->epoch);
    catchup->facts.installs++;
    struct group_snapshot snapshot = pull->snapshot;
    end_pull(catchup, CATCHUP_DONE);
    catchup->config.installed(catchup->config.context, &snapshot);
}

static void give_up(struct catchup *catchup, enum catchup_outcome outcome)
{
    store_install_abort(catchup->config.store);
    end_pull(catchup, outcome);
}

/* May what was pulled replace this node's checkpoint? False: not yet, or it was given up. Asked before the superblock is written, as afterwards the group
 * is held to it: the giver was known for the leader of its term, and our own log does not know better. */
static bool may_commit(struct catchup *catchup)
{
    struct pull *pull = &catchup->pull;
    struct group_facts facts;
    group_facts(catchup->config.group, &facts);
    pull->giver_led |= giver_leads(&facts, &pull->snapshot);
    if (pull->commits || store_install_left(catchup->config.store) > 0) {
        return true;
    }
    bool contradicts = group_contradicts(catchup->config.group, pull->snapshot.last_index, pull->snapshot.last_term);
    if (contradicts || (!pull->giver_led && (facts.term != pull->snapshot.term || facts.leader_id != 0 || facts.disk_failed))) {
        catchup_log(catchup, LOG_WARNING, "catch-up: the checkpoint of epoch %llu is not taken: %s", (unsigned long long)pull->epoch,
                    contradicts ? "it contradicts what is committed here" : "who gave it does not lead");
        give_up(catchup, CATCHUP_STALE);
        return false;
    }
    pull->commits = pull->giver_led;
    return pull->commits;
}

static void pull_step(struct catchup *catchup, uint64_t now)
{
    struct pull *pull = &catchup->pull;
    struct store *store = catchup->config.store;
    bool standing = store_install_left(store) > 0 && now - pull->progress_ns >= CATCHUP_IDLE_MS * 1000000ull;
    if (standing) {
        catchup_log(catchup, LOG_WARNING, "catch-up: no page has come for %d ms; %u are missing", CATCHUP_IDLE_MS,
                    (unsigned)store_install_left(store));
        give_up(catchup, CATCHUP_FAILED);
        return;
    }
    if (!may_commit(catchup)) {
        return;
    }
    enum status status = store_install_step(store);
    if (status == STATUS_EMPTY) {
        pull->phase = PULL_DURABLE;
    } else if (status != STATUS_OK) {
        catchup_log(catchup, LOG_ERROR, "catch-up: the checkpoint cannot be written: %s", status_sentence(status));
        end_pull(catchup, CATCHUP_FAILED);
    } else if (pull->from != 0) {
        ask(catchup, now);
    }
}

/* When a manifest whose rest does not come is forgotten: while one is taken this node makes no checkpoint of its own. */
static uint64_t incoming_deadline_ns(const struct incoming *incoming)
{
    return incoming->active && !incoming->complete ? incoming->heard_ns + CATCHUP_IDLE_MS * 1000000ull : UINT64_MAX;
}

void client_tick(struct catchup *catchup)
{
    uint64_t now = catchup_now_ns(catchup);
    if (!catchup_receiving(catchup)) {
        return;
    }
    if (now >= incoming_deadline_ns(&catchup->incoming)) {
        catchup_log(catchup, LOG_WARNING, "catch-up: the rest of a manifest of node %u has not come for %d ms", catchup->incoming.from, CATCHUP_IDLE_MS);
        tell_ended(catchup, catchup->incoming.from, catchup->incoming.manifest.id, CATCHUP_FAILED);
        catchup->incoming.active = false;
    }
    if (catchup->incoming.active && catchup->incoming.complete) {
        begin_pull(catchup, now);
    }
    if (catchup->pull.phase == PULL_PAGES) {
        pull_step(catchup, now);
    }
    if (catchup->pull.phase == PULL_DURABLE) {
        finish_pull(catchup);
    }
    if (catchup->pull.phase != PULL_NONE) {
        keep_alive(catchup, now);
    }
    peers_flush(catchup->config.peers);
}

uint64_t client_deadline_ns(const struct catchup *catchup)
{
    const struct pull *pull = &catchup->pull;
    uint64_t now = catchup_now_ns(catchup), deadline = incoming_deadline_ns(&catchup->incoming);
    if ((catchup->incoming.active && catchup->incoming.complete) || pull->phase == PULL_DURABLE) {
        deadline = now + CATCHUP_RETRY_MS * 1000000ull;
    }
    if (pull->phase != PULL_PAGES) {
        return deadline;
    }
    if (pull->from != 0) {
        deadline = pull->keepalive_ns < deadline ? pull->keepalive_ns : deadline;
    }
    if (store_install_left(catchup->config.store) > 0) {
        uint64_t idle = pull->progress_ns + CATCHUP_IDLE_MS * 1000000ull;
        deadline = idle < deadline ? idle : deadline;
    }
    for (uint32_t i = 0; i < CATCHUP_REQUESTS_MAX && pull->from != 0; i++) { /* without a giver nothing is asked for */
        if (pull->requests[i].outstanding && pull->requests[i].deadline_ns < deadline) {
            deadline = pull->requests[i].deadline_ns;
        }
    }
    return deadline;
}

void client_down(struct catchup *catchup, unsigned peer)
{
    if (catchup->incoming.active && catchup->incoming.from == peer) {
        catchup->incoming.active = false;
    }
    if (catchup->pull.phase != PULL_NONE && catchup->pull.from == peer) {
        catchup->pull.from = 0;
    }
}
