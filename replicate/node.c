/* The node: creation, boot, the loop's steps, and the binding of its parts. What becomes of the disk stands in node_disk.c, callbacks of the
 * group in node_apply.c, planned moves in node_move.c, the management port in node_management.c. */
#include "replicate/node.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "crypto/random.h"
#include "include/check.h"
#include "include/machine_log.h"
#include "consensus/message_types.h"
#include "replicate/node_internal.h"

void node_log(const struct node *node, enum log_level level, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    machine_log_arguments(node->machine, level, format, arguments);
    va_end(arguments);
}

uint64_t node_now_ns(const struct node *node)
{
    return node->machine->now_ns(node->machine->context);
}

unsigned node_leader(const struct node *node)
{
    struct group_facts facts;
    group_facts(node->group, &facts);
    return raft_id_node(facts.leader_id);
}

void node_restart(struct node *node, const char *why)
{
    if (node->restarting) {
        return;
    }
    node->restarting = true;
    node_log(node, LOG_ERROR, "this node starts anew: %s", why);
    node->machine->restart(node->machine->context, why);
}

/* Is there anything left to do in this life? */
static bool takes_part(const struct node *node)
{
    return !node->restarting && node->disk == STORE_DISK_OK;
}

/* -- peers -- */

static void own_hello(void *context, unsigned peer, struct peers_hello *hello)
{
    struct node *node = context;
    if (node_awaits_repair(node)) {
        group_damaged_hello(node->damaged_id, hello);
    } else {
        group_own_hello(node->group, peer, hello);
    }
}

static enum status accept_hello(void *context, unsigned peer, unsigned lane, const struct peers_hello *hello, enum peers_reason *reason)
{
    struct node *node = context;
    (void)lane;
    if (node_awaits_repair(node)) {
        return STATUS_OK; /* nothing is said on the channel; but only who has accepted hears the answer to its own hello */
    }
    if (node->disk != STORE_DISK_OK) {
        *reason = PEERS_REASON_NOT_NOW;
        return STATUS_REFUSED;
    }
    return group_accept_hello(node->group, peer, hello, reason);
}

static void peer_up(void *context, unsigned peer, unsigned lane, const struct peers_hello *hello)
{
    struct node *node = context;
    if (lane == PEERS_LANE_RAFT && !node_awaits_repair(node)) {
        group_peer_up(node->group, peer, hello);
    }
}

static void peer_down(void *context, unsigned peer, unsigned lane)
{
    struct node *node = context;
    if (lane == PEERS_LANE_RAFT) {
        node_probe_peer_down(node, peer);
        group_peer_down(node->group, peer);
    } else {
        catchup_down(node->catchup, peer);
    }
}

static void peer_refused(void *context, unsigned peer, unsigned lane, enum peers_reason reason)
{
    struct node *node = context;
    (void)lane;
    if (!node_awaits_repair(node)) {
        group_peer_refused(node->group, peer, reason);
    } else if (reason == PEERS_REASON_REPAIR) {
        node_repair(node);
    }
}

static enum status peer_message(void *context, unsigned peer, unsigned lane, const struct peers_message *message)
{
    struct node *node = context;
    if (node_awaits_repair(node)) {
        return STATUS_REFUSED; /* two that wait have nothing to say to each other, and nobody else accepted us */
    }
    if (lane == PEERS_LANE_RAFT && message->type >= GROUP_MESSAGE_FIRST && message->type <= GROUP_MESSAGE_LAST) {
        return group_message(node->group, peer, message);
    }
    if (lane == PEERS_LANE_BULK && message->type >= CATCHUP_MESSAGE_FIRST && message->type <= CATCHUP_MESSAGE_LAST) {
        return catchup_message(node->catchup, peer, message);
    }
    if (lane == PEERS_LANE_RAFT && message->type == NODE_MESSAGE_RESUMED && message->header_bytes == 0 && message->body_bytes == 0) {
        node_move_resumed(node, peer);
        return STATUS_OK;
    }
    if (lane == PEERS_LANE_RAFT && (message->type == NODE_MESSAGE_CONTRADICTION || message->type == NODE_MESSAGE_ALONE)) {
        return node_agreement_message(node, peer, message);
    }
    if (lane == PEERS_LANE_RAFT && (message->type == NODE_MESSAGE_PROBE || message->type == NODE_MESSAGE_PROBE_ANSWER)) {
        return node_probe_message(node, peer, message);
    }
    return STATUS_INVALID;
}

static void before_change(void *context, uint32_t page, const uint8_t *captured)
{
    struct node *node = context;
    store_page_changing(node->store, page, captured);
}

/* A checkpoint from a peer is durable and the group begins anew behind it: the image follows. */
static void installed(void *context, const struct group_snapshot *snapshot)
{
    struct node *node = context;
    (void)snapshot;
    node->assembly_next = node->assembly_parts = 0;
    node_begin_filling(node);
}

/* -- the world's questions -- */

static enum status submit(void *context, const struct group_entry *entry, const uint8_t *body)
{
    struct node *node = context;
    uint64_t index;
    return group_submit(node->group, entry, body, &index);
}

/* A log without room for an epoch waits for a checkpoint, whatever its own threshold says. */
static bool room(void *context, uint32_t entries, size_t bytes)
{
    struct node *node = context;
    if (group_room(node->group, entries, bytes)) {
        return true;
    }
    node->checkpoint_wanted |= !group_transferring(node->group);
    return false;
}

static bool heard_lately(const struct node *node, const struct group_member_facts *member)
{
    uint64_t limit = 2ull * node->boot->election_timeout_ms * 1000000u;
    return member->link && member->heard_ns != 0 && node_now_ns(node) - member->heard_ns <= limit;
}

static void describe(void *context, struct abi_status *out)
{
    struct node *node = context;
    struct group_facts facts;
    group_facts(node->group, &facts);
    out->node = node->boot->node_number;
    out->node_count = node->boot->node_count;
    out->term = facts.term;
    for (unsigned number = 1; number <= node->boot->node_count; number++) {
        bool self = number == node->boot->node_number;
        struct group_member_facts member = {.raft_id = facts.raft_id, .role = facts.voter ? DISK_ROLE_VOTER : DISK_ROLE_STANDBY};
        if (!self) {
            group_member(node->group, number, &member);
        }
        out->nodes[number - 1] = (struct abi_node_status){
            .number = number,
            .up = self || heard_lately(node, &member),
            .voter = member.raft_id != 0 && member.role == DISK_ROLE_VOTER,
            .host = self,
        };
    }
}

static int64_t move(void *context, uint64_t target)
{
    return node_move_request(context, target);
}

/* -- creation -- */

static enum status create_group(struct node *node)
{
    const struct group_config config = {
        .machine = node->machine,
        .boot = node->boot,
        .peers = NULL,
        .keys = &node->keys,
        .ops = node_group_ops(node),
    };
    enum status status = group_create(&node->group, &config);
    if (status != STATUS_OK) {
        return status;
    }
    struct peers_config peers_config = {
        .machine = node->machine,
        .identity = &node->identity,
        .identities = node->boot->identities,
        .self = node->boot->node_number,
        .node_count = node->boot->node_count,
        .election_timeout_ns = node->boot->election_timeout_ms * 1000000ull,
    };
    memcpy(peers_config.cluster_id, node->boot->cluster_id, sizeof peers_config.cluster_id);
    const struct peers_events events = {
        .context = node,
        .own_hello = own_hello,
        .accept = accept_hello,
        .up = peer_up,
        .down = peer_down,
        .refused = peer_refused,
        .message = peer_message,
    };
    status = peers_create(&peers_config, &events, &node->peers);
    if (status != STATUS_OK) {
        return status;
    }
    group_set_peers(node->group, node->peers);
    const struct catchup_config catchup_config = {
        .machine = node->machine,
        .store = node->store,
        .group = node->group,
        .peers = node->peers,
        .image = world_image(node->world),
        .keys = &node->keys,
        .world_pages_max = (uint32_t)(node->boot->world_memory_bytes / ABI_PAGE_BYTES),
        .world_number = WORLD_NUMBER,
        .self = node->boot->node_number,
        .installed = installed,
        .want_checkpoint = node_want_checkpoint,
        .context = node,
    };
    return catchup_create(&node->catchup, &catchup_config);
}

static enum status create_parts(struct node *node)
{
    struct store_config store_config = {
        .machine = node->machine,
        .keys = &node->keys,
        .node_number = node->boot->node_number,
        .world_pages_max = (uint32_t)(node->boot->world_memory_bytes / ABI_PAGE_BYTES),
    };
    memcpy(store_config.cluster_id, node->boot->cluster_id, sizeof store_config.cluster_id);
    enum status status = store_create(&node->store, &store_config);
    if (status != STATUS_OK) {
        return status;
    }
    const struct world_config world_config = {
        .machine = node->machine,
        .boot = node->boot,
        .keys = &node->keys,
        .ops = {.context = node, .submit = submit, .room = room, .describe = describe, .move = move, .before_change = before_change},
    };
    status = world_create(&node->world, &world_config);
    if (status == STATUS_OK) {
        status = node_probe_create(node);
    }
    if (status != STATUS_OK) {
        return status;
    }
    return create_group(node);
}

enum status node_create(struct node **out, const struct machine *machine, const struct boot_config *boot, char reason[REASON_BYTES_MAX])
{
    struct node *node = machine->reserve(machine->context, sizeof *node, 64);
    if (node == NULL) {
        snprintf(reason, REASON_BYTES_MAX, "this machine has no memory left for the node");
        return STATUS_NO_MEMORY;
    }
    node->machine = machine;
    node->boot = boot;
    node->started_ns = machine->now_ns(machine->context);
    enum status status = crypto_init(machine);
    if (status != STATUS_OK) {
        snprintf(reason, REASON_BYTES_MAX, "the cryptographic library does not work on this machine: %s", status_sentence(status));
        return status;
    }
    seal_keys_derive(&node->keys, boot->sealing_key, boot->cluster_id);
    status = identity_from_pinned_seed(&node->identity, boot->identity_seed, boot->identities[boot->node_number - 1]);
    if (status != STATUS_OK) {
        snprintf(reason, REASON_BYTES_MAX, "the boot configuration's identity is not the one that it pins for this node");
        return status;
    }
    status = create_parts(node);
    if (status != STATUS_OK) {
        snprintf(reason, REASON_BYTES_MAX, "the node cannot be set up for a world of %llu MiB: %s; give the node more memory",
                 (unsigned long long)(boot->world_memory_bytes >> 20), status_sentence(status));
        return status;
    }
    *out = node;
    return STATUS_OK;
}

/* -- boot -- */

static void start_group(struct node *node)
{
    char why[REASON_BYTES_MAX] = "";
    enum status status = group_start(node->group, store_superblock(node->store), why);
    if (status == STATUS_CORRUPT) {
        node_await_repair(node, why);
    } else if (status != STATUS_OK) {
        node_stand_aside(node, STORE_DISK_FAILED, "the group cannot start: %s (%s)", why, status_sentence(status));
    }
}

void node_start(struct node *node)
{
    node_open_disk(node);
    if (node->disk == STORE_DISK_OK) {
        node_begin_filling(node);
        start_group(node);
    }
}

/* -- links -- */

void node_link_up(struct node *node, unsigned peer, unsigned lane)
{
    struct group_facts facts = {0};
    if (node->disk == STORE_DISK_OK) {
        group_facts(node->group, &facts);
    }
    if (node->restarting || (!facts.started && !node_awaits_repair(node))) {
        node->machine->link_reset(node->machine->context, peer, lane); /* nothing can be said yet of this incarnation: a new link comes soon */
        return;
    }
    peers_link_up(node->peers, peer, lane);
}

void node_link_data(struct node *node, unsigned peer, unsigned lane, const void *data, size_t bytes)
{
    if (!node->restarting) {
        peers_link_data(node->peers, peer, lane, data, bytes);
    }
}

void node_link_down(struct node *node, unsigned peer, unsigned lane)
{
    if (!node->restarting) {
        peers_link_down(node->peers, peer, lane);
    }
}

/* -- the loop -- */

static void resume_world(struct node *node)
{
    world_host(node->world);
    struct world_facts facts;
    world_facts(node->world, &facts);
    node_log(node, LOG_INFO, "this node hosts the world from epoch %llu on", (unsigned long long)facts.epoch);
    for (unsigned peer = 1; peer <= node->boot->node_count; peer++) {
        if (peer != node->boot->node_number && peers_is_up(node->peers, peer, PEERS_LANE_RAFT)) {
            enum status status = peers_send(node->peers, peer, PEERS_LANE_RAFT, NODE_MESSAGE_RESUMED, NULL, 0, NULL, 0);
            (void)status; /* it only ends a measurement: a lost one shows there as unknown */
        }
    }
}

/* One page now and then, while the node is awake anyway. */
static void scrub_tick(struct node *node)
{
    uint64_t now = node_now_ns(node);
    if (node->filling || now - node->scrub_ns < (uint64_t)NODE_SCRUB_INTERVAL_MS * 1000000u) {
        return;
    }
    node->scrub_ns = now;
    if (image_scrub_page(world_image(node->world), node->scrub_page) != STATUS_OK) {
        node_restart(node, "a page in memory no longer has the hash it was captured with");
        return;
    }
    node->scrub_page = (node->scrub_page + 1) % node->machine->pages_max;
}

void node_tick(struct node *node)
{
    if (node_awaits_repair(node)) {
        peers_tick(node->peers, node_now_ns(node));
        peers_flush(node->peers);
    }
    if (!takes_part(node)) {
        return;
    }
    group_tick(node->group);
    if (takes_part(node)) {
        peers_tick(node->peers, node_now_ns(node));
        catchup_tick(node->catchup);
    }
    if (takes_part(node) && node->filling) {
        node_fill_step(node);
    }
    if (takes_part(node) && node->leading && !node->filling && !world_hosting(node->world)) {
        resume_world(node);
    }
    if (takes_part(node)) {
        world_tick(node->world);
        peers_flush(node->peers); /* the others work on an epoch while our own disk does */
        group_write(node->group);
        node_move_tick(node);
        node_checkpoint_tick(node);
    }
    if (takes_part(node)) {
        scrub_tick(node);
        node_agreement_tick(node);
    }
    if (takes_part(node)) {
        node_probe_tick(node);
        peers_flush(node->peers);
    }
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t node_deadline_ns(const struct node *node)
{
    if (node_awaits_repair(node)) {
        return peers_deadline_ns(node->peers);
    }
    if (!takes_part(node)) {
        return UINT64_MAX;
    }
    if (node->filling) {
        return 0;
    }
    uint64_t deadline = earlier(group_deadline_ns(node->group), peers_deadline_ns(node->peers));
    deadline = earlier(deadline, catchup_deadline_ns(node->catchup));
    deadline = earlier(deadline, world_deadline_ns(node->world));
    deadline = earlier(deadline, node_move_deadline_ns(node));
    deadline = earlier(deadline, node_agreement_deadline_ns(node));
    deadline = earlier(deadline, node_probe_deadline_ns(node));
    return earlier(deadline, store_deadline_ns(node->store));
}

bool node_majority(const struct node *node)
{
    if (node->restarting || node->disk != STORE_DISK_OK) {
        return false;
    }
    struct group_facts facts;
    group_facts(node->group, &facts);
    return facts.majority;
}

/* -- the world -- */

bool node_world_runnable(const struct node *node)
{
    return !node->restarting && world_runnable(node->world);
}

uint8_t *node_world_registers(struct node *node)
{
    return world_registers(node->world);
}

void node_world_page_fault(struct node *node, uint64_t address, bool write, bool execute)
{
    world_page_fault(node->world, address, write, execute);
}

void node_world_faulted(struct node *node, const char *reason)
{
    world_faulted(node->world, reason);
}

bool node_world_call(struct node *node, uint64_t number, const uint64_t arguments[4], uint64_t *result)
{
    return world_call(node->world, number, arguments, result);
}

void node_world_frame_received(struct node *node, const void *frame, size_t bytes)
{
    if (!node->restarting) {
        world_frame_received(node->world, frame, bytes);
    }
}

void node_set_last_words(struct node *node, const char *text)
{
    snprintf(node->last_words, sizeof node->last_words, "%s", text);
}
