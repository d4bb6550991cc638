#include "tests/unit/support/group_cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consensus/group_internal.h"
#include "include/check.h"
#include "include/hash64.h"

enum { DISK_BYTES = 40 << 20, LINK_BYTES = 256 * 1024 };

/* -- the state machine -- */

static enum status apply(void *context, uint64_t index, uint64_t term, bool own, const struct group_entry *entry, const uint8_t *body)
{
    struct cluster_node *node = context;
    struct cluster *cluster = node->cluster;
    if (node->busy) {
        return STATUS_BUSY;
    }
    node->fake.now_ns += node->apply_cost_ns;
    CHECK(index > node->applied_index);
    CHECK(!own || node->leads);
    if (cluster->lies) {
        node->applied_index = index;
        return STATUS_OK;
    }
    CHECK(index < CLUSTER_HISTORY);
    uint64_t hash = hash64(term ^ hash64(index, entry, sizeof *entry), body, entry->bytes) | 1;
    if (cluster->history[index] == 0) {
        cluster->history[index] = hash;
    }
    CHECK(cluster->history[index] == hash);
    CHECK(entry->check == hash64(entry->epoch, body, entry->bytes));
    if (own && entry->parts > 1 && entry->part == 0) {
        node->own_parts = true;
        node->state_before_parts = node->state;
        node->index_before_parts = node->applied_index;
    }
    node->own_parts = node->own_parts && own && entry->part + 1 < entry->parts;
    node->state = hash64_fold(node->state ^ 0x1234567, hash);
    node->applied_index = index;
    node->applied_count++;
    node->own_count += own;
    return STATUS_OK;
}

static void discard_parts(void *context)
{
    (void)context;
}

static void lead(void *context, uint64_t term)
{
    struct cluster_node *node = context;
    (void)term;
    CHECK(!node->leads);
    node->leads = true;
    node->lead_count++;
}

static void lost(void *context)
{
    struct cluster_node *node = context;
    CHECK(node->leads);
    node->leads = false;
    node->lost_count++;
    if (node->own_parts) { /* the image is that before the epoch again, and nothing of it was assembled */
        node->own_parts = false;
        node->state = node->state_before_parts;
        node->applied_index = node->index_before_parts;
    }
}

static void want_checkpoint(void *context)
{
    struct cluster_node *node = context;
    if (node->auto_checkpoint) {
        cluster_checkpoint(node);
    }
}

static void send_snapshot(void *context, uint64_t raft_id)
{
    struct cluster_node *node = context;
    node->snapshot_for = node->sends_no_snapshot ? 0 : raft_id;
}

/* -- the store -- */

static void adopt(struct cluster_node *node)
{
    uint64_t incarnation = (test_random(&node->cluster->seed) & ((1ull << 56) - 1)) | 1;
    struct disk_superblock *superblock = &node->superblock;
    uint64_t sequence = superblock->sequence;
    *superblock = (struct disk_superblock){.sequence = sequence + 1,
                                           .node_number = node->number,
                                           .incarnation = incarnation,
                                           .log_offset = DISK_LOG_OFFSET,
                                           .log_bytes = 16 << 20,
                                           .joining = 1};
    node->checkpoint_state = 0;
}

static void removed(void *context)
{
    struct cluster_node *node = context;
    node->removed_count++;
    adopt(node);
    node->start_wanted = true;
}

/* The node above would leave its disk as it is until a majority of the others says that it does without: they are taken to say so at once. */
static void damaged(void *context, const char *damage)
{
    struct cluster_node *node = context;
    node->damaged_count++;
    snprintf(node->reason, sizeof node->reason, "%s", damage);
    if (node->cluster->count > 1) {
        adopt(node);
        node->start_wanted = true;
    }
}

void cluster_checkpoint(struct cluster_node *node)
{
    struct disk_superblock *superblock = &node->superblock;
    group_applied(node->group, &superblock->raft_index, &superblock->raft_term, &superblock->configuration_index, superblock->members,
                  &superblock->member_count);
    superblock->sequence++;
    node->checkpoint_state = node->state;
    group_checkpoint_done(node->group, superblock->raft_index, superblock->raft_term);
}

static void reload_image(struct cluster_node *node)
{
    node->state = node->checkpoint_state;
    node->applied_index = node->superblock.raft_index;
}

/* Catch-up in no time: the receiver gets the sender's durable checkpoint. */
static void transfer_snapshot(struct cluster_node *from)
{
    struct cluster *cluster = from->cluster;
    unsigned number = raft_id_node(from->snapshot_for);
    uint64_t raft_id = from->snapshot_for;
    from->snapshot_for = 0;
    struct cluster_node *to = &cluster->nodes[number];
    if (!to->on || cluster->cut[from->number][number] || cluster_facts(to).raft_id != raft_id || !cluster_facts(to).started) {
        return;
    }
    const struct disk_superblock *source = &from->superblock;
    struct group_snapshot snapshot = {.leader_id = cluster_facts(from).raft_id,
                                      .term = cluster_facts(from).term,
                                      .last_index = source->raft_index,
                                      .last_term = source->raft_term,
                                      .configuration_index = source->configuration_index,
                                      .member_count = source->member_count};
    memcpy(snapshot.members, source->members, sizeof snapshot.members);
    if (snapshot.last_index <= to->applied_index) {
        return;
    }
    struct disk_superblock before = to->superblock;
    uint64_t state_before = to->checkpoint_state;
    struct disk_superblock *target = &to->superblock;
    target->sequence++;
    target->raft_index = source->raft_index;
    target->raft_term = source->raft_term;
    target->configuration_index = source->configuration_index;
    target->member_count = source->member_count;
    memcpy(target->members, source->members, sizeof target->members);
    target->joining = 0;
    to->checkpoint_state = from->checkpoint_state;
    if (group_install(to->group, &snapshot) == STATUS_OK) {
        to->install_count++;
        reload_image(to);
    } else {
        to->superblock = before;
        to->checkpoint_state = state_before;
    }
}

/* -- peers -- */

static void own_hello(void *context, unsigned peer, struct peers_hello *hello)
{
    group_own_hello(((struct cluster_node *)context)->group, peer, hello);
}

static enum status accept_hello(void *context, unsigned peer, unsigned lane, const struct peers_hello *hello, enum peers_reason *reason)
{
    (void)lane;
    return group_accept_hello(((struct cluster_node *)context)->group, peer, hello, reason);
}

static void peer_up(void *context, unsigned peer, unsigned lane, const struct peers_hello *hello)
{
    if (lane == PEERS_LANE_RAFT) {
        group_peer_up(((struct cluster_node *)context)->group, peer, hello);
    }
}

static void peer_down(void *context, unsigned peer, unsigned lane)
{
    if (lane == PEERS_LANE_RAFT) {
        group_peer_down(((struct cluster_node *)context)->group, peer);
    }
}

static void peer_refused(void *context, unsigned peer, unsigned lane, enum peers_reason reason)
{
    (void)lane;
    group_peer_refused(((struct cluster_node *)context)->group, peer, reason);
}

static enum status peer_message(void *context, unsigned peer, unsigned lane, const struct peers_message *message)
{
    CHECK(lane == PEERS_LANE_RAFT);
    return group_message(((struct cluster_node *)context)->group, peer, message);
}

static void link_up(void *context, unsigned node, unsigned peer, unsigned lane)
{
    struct cluster_node *at = &((struct cluster *)context)->nodes[node];
    struct group_facts facts = {0};
    if (at->on) {
        group_facts(at->group, &facts);
    }
    if (at->on && !facts.started) {
        at->fake.machine.link_reset(at->fake.machine.context, peer, lane);
    } else if (at->on) {
        peers_link_up(at->peers, peer, lane);
    }
}

static void link_data(void *context, unsigned node, unsigned peer, unsigned lane, const void *data, size_t bytes)
{
    struct cluster_node *at = &((struct cluster *)context)->nodes[node];
    if (at->on) {
        peers_link_data(at->peers, peer, lane, data, bytes);
    }
}

static void link_down(void *context, unsigned node, unsigned peer, unsigned lane)
{
    struct cluster_node *at = &((struct cluster *)context)->nodes[node];
    if (at->on) {
        peers_link_down(at->peers, peer, lane);
    }
}

static void restore_links(struct cluster *cluster)
{
    for (unsigned a = 1; a <= cluster->count; a++) {
        for (unsigned b = a + 1; b <= cluster->count; b++) {
            struct fake_pipe *one = &cluster->links.pipes[a][b][0], *other = &cluster->links.pipes[b][a][0];
            bool wanted = cluster->nodes[a].on && cluster->nodes[b].on && !cluster->cut[a][b];
            bool open = one->open || other->open || one->ending || other->ending;
            if (wanted && !open && !cluster->nodes[a].start_wanted && !cluster->nodes[b].start_wanted) {
                fake_links_up(&cluster->links, a, b, 0);
            } else if (!wanted && open) {
                fake_links_down(&cluster->links, a, b, 0);
            }
        }
    }
}

/* -- power -- */

static void make_boot(struct cluster_node *node)
{
    struct boot_config *boot = &node->boot;
    boot->node_number = node->number;
    boot->node_count = node->cluster->count;
    boot->heartbeat_ms = CLUSTER_HEARTBEAT_MS;
    boot->election_timeout_ms = CLUSTER_ELECTION_MS;
    memcpy(boot->cluster_id, node->cluster->keys.cluster_id, sizeof boot->cluster_id);
}

static void try_start(struct cluster_node *node)
{
    node->start_status = group_start(node->group, &node->superblock, node->reason);
    node->start_wanted = node->start_status == STATUS_BUSY;
    if (node->start_status == STATUS_CORRUPT) {
        node->removed_count++;
        adopt(node);
        node->start_wanted = true;
        return;
    }
    reload_image(node);
}

void cluster_power_on(struct cluster_node *node)
{
    CHECK(!node->on);
    fake_links_attach(&node->cluster->links, &node->fake, node->number);
    struct group_config config = {
        .machine = &node->fake.machine,
        .boot = &node->boot,
        .keys = &node->cluster->keys,
        .ops = {.context = node,
                .apply = apply,
                .discard_parts = discard_parts,
                .lead = lead,
                .lost = lost,
                .want_checkpoint = want_checkpoint,
                .send_snapshot = send_snapshot,
                .removed = removed,
                .damaged = damaged},
    };
    enum status status = group_create(&node->group, &config);
    CHECK(status == STATUS_OK);
    struct peers_config peers_config = {.machine = &node->fake.machine,
                                        .identity = &node->identity,
                                        .identities = (const uint8_t(*)[IDENTITY_PUBLIC_BYTES])node->cluster->identities,
                                        .self = node->number,
                                        .node_count = node->cluster->count,
                                        .election_timeout_ns = CLUSTER_ELECTION_MS * 1000000ull};
    memcpy(peers_config.cluster_id, node->boot.cluster_id, sizeof peers_config.cluster_id);
    struct peers_events events = {.context = node,
                                  .own_hello = own_hello,
                                  .accept = accept_hello,
                                  .up = peer_up,
                                  .down = peer_down,
                                  .refused = peer_refused,
                                  .message = peer_message};
    status = peers_create(&peers_config, &events, &node->peers);
    CHECK(status == STATUS_OK);
    group_set_peers(node->group, node->peers);
    node->leads = false;
    node->snapshot_for = 0;
    node->on = true;
    try_start(node);
}

void cluster_power_cut(struct cluster_node *node)
{
    CHECK(node->on);
    group_stop(node->group); /* gives the library's heap back; what it would say no longer leaves */
    node->on = false;
    restore_links(node->cluster);
    fake_machine_power_cut(&node->fake);
}

void cluster_blank_disk(struct cluster_node *node)
{
    CHECK(!node->on);
    memset(node->fake.disk.current, 0, node->fake.disk.bytes);
    memset(node->fake.disk.durable, 0, node->fake.disk.bytes);
    node->superblock.sequence = 0;
    adopt(node);
}

static void first_superblock(struct cluster_node *node, const struct disk_member *members, unsigned count)
{
    node->superblock = (struct disk_superblock){.sequence = 1,
                                                .node_number = node->number,
                                                .incarnation = raft_id_incarnation(members[node->number - 1].raft_id),
                                                .log_offset = DISK_LOG_OFFSET,
                                                .log_bytes = 16 << 20,
                                                .raft_index = 1,
                                                .raft_term = 1,
                                                .configuration_index = 1,
                                                .member_count = count};
    memcpy(node->superblock.members, members, count * sizeof *members);
}

struct cluster *cluster_create(unsigned count, uint64_t seed)
{
    struct cluster *cluster = calloc(1, sizeof *cluster);
    CHECK(cluster != NULL);
    cluster->count = count;
    cluster->seed = seed;
    static const uint8_t sealing_key[SEAL_KEY_BYTES] = "sealing key of a test";
    static const uint8_t cluster_id[SEAL_CLUSTER_ID_BYTES] = "cluster of test";
    seal_keys_derive(&cluster->keys, sealing_key, cluster_id);
    struct fake_links_events events = {.context = cluster, .up = link_up, .data = link_data, .down = link_down};
    fake_links_init(&cluster->links, LINK_BYTES, &events);
    struct disk_member members[DISK_MEMBERS_MAX] = {0};
    for (unsigned number = 1; number <= count; number++) {
        members[number - 1] = (struct disk_member){.raft_id = raft_id_make(number, test_random(&cluster->seed) >> 9 | 1), .role = DISK_ROLE_VOTER};
    }
    for (unsigned number = 1; number <= count; number++) {
        struct cluster_node *node = &cluster->nodes[number];
        node->cluster = cluster;
        node->number = number;
        node->auto_checkpoint = true;
        fake_machine_init(&node->fake, test_random(&cluster->seed), 16, DISK_BYTES);
        uint8_t identity_seed[IDENTITY_SEED_BYTES] = {(uint8_t)number};
        identity_from_seed(&node->identity, identity_seed);
        memcpy(cluster->identities[number - 1], node->identity.public_key, IDENTITY_PUBLIC_BYTES);
        make_boot(node);
        first_superblock(node, members, count);
    }
    for (unsigned number = 1; number <= count; number++) {
        cluster_power_on(&cluster->nodes[number]);
    }
    return cluster;
}

void cluster_destroy(struct cluster *cluster)
{
    for (unsigned number = 1; number <= cluster->count; number++) {
        if (cluster->nodes[number].on) {
            cluster_power_cut(&cluster->nodes[number]);
        }
        fake_machine_destroy(&cluster->nodes[number].fake);
    }
    fake_links_destroy(&cluster->links);
    free(cluster);
}

/* -- time -- */

static void tick_node(struct cluster_node *node)
{
    struct cluster *cluster = node->cluster;
    for (uint32_t left = test_random_below(&cluster->seed, 4); left > 0 && !node->stalled_disk; left--) {
        fake_disk_complete(&node->fake, true);
    }
    peers_tick(node->peers, node->fake.now_ns);
    if (node->start_wanted) {
        try_start(node);
    }
    group_tick(node->group);
    if (node->snapshot_for != 0) {
        transfer_snapshot(node);
    }
    peers_flush(node->peers);
    if (cluster->ms % 32 == 0) {
        group_check(node->group);
    }
}

static void run_ms(struct cluster *cluster)
{
    cluster->ms++;
    for (unsigned number = 1; number <= cluster->count; number++) {
        cluster->nodes[number].fake.now_ns += 1000000;
    }
    restore_links(cluster);
    fake_links_settle(&cluster->links, 100000);
    unsigned first = test_random_below(&cluster->seed, cluster->count);
    for (unsigned i = 0; i < cluster->count; i++) {
        struct cluster_node *node = &cluster->nodes[1 + (first + i) % cluster->count];
        if (node->on) {
            tick_node(node);
        }
    }
    fake_links_settle(&cluster->links, 100000);
}

void cluster_run(struct cluster *cluster, unsigned ms)
{
    while (ms-- > 0) {
        run_ms(cluster);
    }
}

bool cluster_until(struct cluster *cluster, bool (*condition)(struct cluster *), unsigned ms)
{
    while (!condition(cluster)) {
        if (ms-- == 0) {
            return false;
        }
        run_ms(cluster);
    }
    return true;
}

/* -- questions -- */

struct group_facts cluster_facts(const struct cluster_node *node)
{
    struct group_facts facts;
    group_facts(node->group, &facts);
    return facts;
}

struct cluster_node *cluster_leader(struct cluster *cluster)
{
    struct cluster_node *leader = NULL;
    for (unsigned number = 1; number <= cluster->count; number++) {
        struct cluster_node *node = &cluster->nodes[number];
        if (node->on && node->leads) {
            if (leader == NULL || cluster_facts(node).term > cluster_facts(leader).term) {
                leader = node;
            }
        }
    }
    return leader;
}

bool cluster_has_leader(struct cluster *cluster)
{
    struct cluster_node *leader = cluster_leader(cluster);
    return leader != NULL && cluster_facts(leader).majority;
}

bool cluster_agrees(struct cluster *cluster)
{
    struct cluster_node *leader = cluster_leader(cluster);
    if (leader == NULL) {
        return false;
    }
    struct group_facts facts = cluster_facts(leader);
    for (unsigned number = 1; number <= cluster->count; number++) {
        struct cluster_node *node = &cluster->nodes[number];
        if (node->on && (cluster_facts(node).applied_index != facts.last_index || node->state != leader->state)) {
            return false;
        }
    }
    return true;
}

bool cluster_is_whole(struct cluster *cluster)
{
    for (unsigned number = 1; number <= cluster->count; number++) {
        if (!cluster->nodes[number].on || !cluster_facts(&cluster->nodes[number]).voter) {
            return false;
        }
    }
    return cluster_agrees(cluster);
}

struct cluster *cluster_elected(unsigned count, uint64_t seed)
{
    struct cluster *cluster = cluster_create(count, seed);
    CHECK(cluster_until(cluster, cluster_has_leader, 5000));
    return cluster;
}

struct cluster_node *cluster_follower(struct cluster *cluster, const struct cluster_node *leader, unsigned skip)
{
    for (unsigned number = 1; number <= cluster->count; number++) {
        if (&cluster->nodes[number] != leader && skip-- == 0) {
            return &cluster->nodes[number];
        }
    }
    return NULL;
}

bool cluster_heals(struct cluster *cluster)
{
    if (!cluster_until(cluster, cluster_is_whole, 20000)) {
        return false;
    }
    cluster_submit_some(cluster, 3, 500);
    return cluster_until(cluster, cluster_is_whole, 20000);
}

/* -- deeds -- */

void cluster_submit_some(struct cluster *cluster, unsigned count, uint32_t bytes)
{
    for (unsigned i = 0; i < count; i++) {
        struct cluster_node *leader = cluster_leader(cluster);
        uint64_t index = 0;
        if (leader == NULL || cluster_submit(leader, bytes, &index) != STATUS_OK) {
            cluster_run(cluster, 1);
        }
    }
}

enum status cluster_submit(struct cluster_node *leader, uint32_t bytes, uint64_t *index)
{
    return cluster_submit_part(leader, ++leader->cluster->next_epoch, 0, 1, bytes, index);
}

enum status cluster_submit_part(struct cluster_node *leader, uint64_t epoch, uint32_t part, uint32_t parts, uint32_t bytes, uint64_t *index)
{
    static uint8_t body[ENTRY_BODY_BYTES_MAX];
    struct cluster *cluster = leader->cluster;
    struct group_entry entry = {.type = GROUP_ENTRY_EPOCH, .world = 1, .epoch = epoch, .part = part, .parts = parts, .bytes = bytes};
    leader->fake.machine.entropy(&leader->fake, entry.nonce, sizeof entry.nonce);
    leader->fake.machine.entropy(&leader->fake, body, bytes);
    struct seal_context context = seal_context_delta(entry.world, entry.epoch, entry.part, entry.parts);
    seal_body(&cluster->keys, &context, entry.nonce, body, bytes, body, entry.tag);
    entry.check = hash64(entry.epoch, body, bytes);
    return group_submit(leader->group, &entry, body, index);
}

void cluster_cut(struct cluster *cluster, unsigned a, unsigned b, bool cut)
{
    cluster->cut[a][b] = cluster->cut[b][a] = cut;
}

void cluster_isolate(struct cluster *cluster, unsigned node, bool cut)
{
    for (unsigned other = 1; other <= cluster->count; other++) {
        if (other != node) {
            cluster_cut(cluster, node, other, cut);
        }
    }
}
