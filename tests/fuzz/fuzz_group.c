/* A group from its disk, then messages from members whose keys are right and whose words are not.
 * Input: superblock, vote slots, log (tests/fuzz/support/fuzz_log.h); then a list of hellos, messages, time and completions. What happens
 * must not break what the raft library asserts, and what was applied is applied once, in order. */
#include <string.h>

#include "consensus/group_internal.h"
#include "consensus/message.h"
#include "crypto/random.h"
#include "include/hash64.h"
#include "tests/fuzz/support/fuzz_log.h"

enum { SELF = 2, NODES = 3, STEPS_MAX = 50, INCARNATION = 1, DISK_BYTES = 18 << 20 };
#define MS 1000000ull

static struct fuzz_machine machine, links; /* peers live in a machine of their own: they are made once */
static struct boot_config boot;
static struct seal_keys keys;
static struct identity identity;
static struct peers *peers;
static struct group *group;
static uint64_t applied;
static bool leads, gone;

/* -- the state machine -- */

static enum status apply(void *context, uint64_t index, uint64_t term, bool own, const struct group_entry *entry, const uint8_t *body)
{
    (void)context, (void)term;
    CHECK(index > applied);
    CHECK(!own || leads);
    static volatile uint8_t sum;
    for (uint32_t i = 0; i < entry->bytes; i++) {
        sum = (uint8_t)(sum + body[i]);
    }
    applied = index;
    return STATUS_OK;
}

static void discard_parts(void *context)
{
    (void)context;
}

static void lead(void *context, uint64_t term)
{
    (void)context, (void)term;
    CHECK(!leads);
    leads = true;
}

static void lost(void *context)
{
    (void)context;
    CHECK(leads);
    leads = false;
}

static void want_checkpoint(void *context)
{
    (void)context;
}

static void send_snapshot(void *context, uint64_t raft_id)
{
    (void)context, (void)raft_id;
}

static void removed(void *context)
{
    (void)context;
    gone = true;
}

static void damaged(void *context, const char *damage)
{
    (void)damage;
    removed(context);
}

/* -- the node -- */

static void make_group(void)
{
    struct group_config config = {.machine = &machine.fake.machine,
                                  .boot = &boot,
                                  .peers = peers,
                                  .keys = &keys,
                                  .ops = {.apply = apply,
                                          .discard_parts = discard_parts,
                                          .lead = lead,
                                          .lost = lost,
                                          .want_checkpoint = want_checkpoint,
                                          .send_snapshot = send_snapshot,
                                          .removed = removed,
                                          .damaged = damaged}};
    CHECK(group_create(&group, &config) == STATUS_OK);
}

static void prepare(void)
{
    if (peers == NULL) {
        static const uint8_t key[32] = {1};
        boot = (struct boot_config){.node_number = SELF, .node_count = NODES, .heartbeat_ms = 20, .election_timeout_ms = 100, .cluster_id = {2}};
        fuzz_machine_init(&machine, 1, DISK_BYTES);
        fuzz_machine_scratch(&machine, (size_t)LOG_BATCHES_MAX * LOG_BATCH_BYTES_MAX);
        fuzz_machine_init(&links, 1, 0);
        CHECK(crypto_init(&machine.fake.machine) == STATUS_OK);
        seal_keys_derive(&keys, key, boot.cluster_id);
        identity_from_seed(&identity, key);
        uint8_t identities[NODES][IDENTITY_PUBLIC_BYTES];
        for (unsigned i = 0; i < NODES; i++) {
            memcpy(identities[i], identity.public_key, sizeof identities[i]);
        }
        const struct peers_config config = {.machine = &links.fake.machine,
                                            .identity = &identity,
                                            .identities = (const uint8_t(*)[IDENTITY_PUBLIC_BYTES])identities,
                                            .self = SELF,
                                            .node_count = NODES,
                                            .election_timeout_ns = 100 * MS};
        const struct peers_events none = {0};
        CHECK(peers_create(&config, &none, &peers) == STATUS_OK);
        make_group();
        fuzz_machine_keep(&machine);
        fuzz_machine_keep(&links);
    }
    fuzz_machine_reset(&machine);
    fuzz_machine_reset(&links);
    leads = gone = false;
    applied = 0;
}

static void put_vote(struct fuzz_input *input, unsigned slot)
{
    struct disk_vote vote = {.raft_id = raft_id_make(SELF, INCARNATION), .sequence = 1 + slot, .boot_number = fuzz_number(input)};
    memcpy(vote.cluster_id, boot.cluster_id, sizeof vote.cluster_id);
    vote.term = fuzz_number(input);
    vote.voted_for = raft_id_make(fuzz_byte(input) % 5u, INCARNATION);
    vote.evidence[0] = (struct disk_evidence){.raft_id = raft_id_make(1, INCARNATION), .boot_number = fuzz_byte(input), .life = fuzz_byte(input) % 4, .match_index = fuzz_byte(input)};
    seal_vote(&vote);
    memcpy(fuzz_machine_disk(&machine, (uint64_t)(DISK_VOTE_BLOCK_FIRST + slot) * DISK_BLOCK_BYTES, DISK_BLOCK_BYTES), &vote, sizeof vote);
}

static struct disk_superblock make_superblock(struct fuzz_input *input, uint8_t flags)
{
    struct disk_superblock superblock = {.sequence = 1,
                                         .node_number = SELF,
                                         .incarnation = INCARNATION,
                                         .log_offset = DISK_LOG_OFFSET,
                                         .log_bytes = 16 << 20,
                                         .raft_index = 1,
                                         .raft_term = 1,
                                         .configuration_index = 1,
                                         .member_count = NODES,
                                         .joining = flags >> 2 & 1};
    unsigned count = (flags & 8) != 0 ? 1 : NODES;
    superblock.member_count = count;
    for (unsigned i = 0; i < count; i++) {
        unsigned number = count == 1 ? SELF : i + 1;
        superblock.members[i] = (struct disk_member){.raft_id = raft_id_make(number, INCARNATION), .role = DISK_ROLE_VOTER};
    }
    if ((flags & 16) != 0) {
        superblock.raft_index = fuzz_number(input);
        superblock.raft_term = fuzz_number(input);
        superblock.configuration_index = fuzz_byte(input) % 3u;
        superblock.members[fuzz_byte(input) % NODES].role = fuzz_byte(input) % 4u;
    }
    return superblock;
}

static void pass(unsigned milliseconds)
{
    for (unsigned i = 0; i < milliseconds; i++) {
        machine.fake.now_ns += MS;
        fake_disk_complete(&machine.fake, false);
        group_tick(group);
    }
}

/* -- messages -- */

static uint64_t near(struct fuzz_input *input, uint64_t value)
{
    uint8_t change = fuzz_byte(input);
    if (change >= 250) {
        return fuzz_number(input);
    }
    return value + change % 8u - 3u;
}

static void make_entries(struct fuzz_input *input, struct message *message, uint8_t *body, size_t *body_bytes)
{
    uint64_t term = message->append.previous_term;
    message->append.count = fuzz_byte(input) % 5u;
    for (uint32_t i = 0; i < message->append.count; i++) {
        uint8_t kind = fuzz_byte(input);
        struct message_entry *entry = &message->entries[i];
        term += kind >> 6;
        *entry = (struct message_entry){.term = term > 0 ? term : 1, .type = 1 + (kind & 3) % 3};
        if (entry->type == LOG_COMMAND) {
            static const uint8_t plain[64] = "a part of a delta";
            entry->body_bytes = (kind & 4) != 0 ? sizeof plain : 0;
            entry->entry = (struct group_entry){
                .type = (kind & 4) != 0 ? GROUP_ENTRY_EPOCH : GROUP_ENTRY_RESET, .world = 1, .epoch = 1 + fuzz_byte(input), .parts = 1, .bytes = entry->body_bytes};
            if (entry->body_bytes > 0) {
                struct seal_context context = seal_context_delta(1, entry->entry.epoch, 0, 1);
                seal_body(&keys, &context, entry->entry.nonce, plain, sizeof plain, body + *body_bytes, entry->entry.tag);
                entry->entry.check = hash64(entry->entry.epoch, body + *body_bytes, sizeof plain);
            }
        } else if (entry->type == LOG_CHANGE) {
            uint32_t front[2] = {1 + (kind >> 2) % 4u, 0};
            struct disk_member members[4] = {{0}};
            for (uint32_t m = 0; m < front[0]; m++) {
                uint8_t member = fuzz_byte(input);
                members[m] = (struct disk_member){.raft_id = raft_id_make(1 + member % 5u, 1 + (member >> 3) % 2), .role = member >> 6};
            }
            entry->body_bytes = (uint32_t)(sizeof front + front[0] * sizeof members[0]);
            memcpy(body + *body_bytes, front, sizeof front);
            memcpy(body + *body_bytes + sizeof front, members, front[0] * sizeof members[0]);
            if ((kind & 0x20) == 0) {
                seal_members(&keys, body + *body_bytes, entry->body_bytes, entry->entry.tag);
            }
        }
        *body_bytes += entry->body_bytes;
    }
}

static void receive(struct fuzz_input *input, unsigned peer)
{
    static struct message message;
    static uint8_t header[PEERS_HEADER_BYTES_MAX], body[8192];
    size_t body_bytes = 0;
    struct group_facts facts;
    group_facts(group, &facts);
    memset(&message, 0, sizeof message);
    message.type = (enum message_type)(MESSAGE_APPEND + fuzz_byte(input) % (MESSAGE_TYPE_END - MESSAGE_APPEND));
    message.front = (struct message_front){.from = group->peers[peer].raft_id, .to = facts.raft_id, .term = near(input, facts.term)};
    uint64_t index = near(input, facts.last_index), term = near(input, log_term_of(group->log, index));
    switch (message.type) {
    case MESSAGE_APPEND:
        message.append.previous_index = index;
        message.append.previous_term = term;
        message.append.commit = near(input, facts.commit_index);
        make_entries(input, &message, body, &body_bytes);
        break;
    case MESSAGE_APPEND_RESULT:
        message.append_result.rejected = (fuzz_byte(input) & 1) != 0 ? index : 0;
        message.append_result.last_index = near(input, facts.last_index);
        message.append_result.features = fuzz_byte(input);
        message.append_result.capacity = fuzz_short(input);
        break;
    case MESSAGE_VOTE:
        message.vote.last_index = index;
        message.vote.last_term = term;
        message.vote.disrupt = fuzz_byte(input) & 1;
        message.vote.pre_vote = fuzz_byte(input) & 1;
        break;
    case MESSAGE_VOTE_RESULT:
        message.vote_result.granted = fuzz_byte(input) & 1;
        message.vote_result.pre_vote = fuzz_byte(input) & 1;
        message.vote_result.capacity = fuzz_short(input);
        break;
    case MESSAGE_TIMEOUT_NOW:
        message.timeout_now.last_index = index;
        message.timeout_now.last_term = term;
        break;
    case MESSAGE_REMOVED:
    case MESSAGE_TYPE_END:
        break;
    }
    struct peers_message raw = {.type = (uint8_t)message.type, .header = header, .body = body, .body_bytes = body_bytes};
    raw.header_bytes = message_encode(&message, header);
    if (fuzz_byte(input) == 255) {
        header[fuzz_short(input) % raw.header_bytes] = fuzz_byte(input);
    }
    enum status status = group_message(group, peer, &raw);
    CHECK(status == STATUS_OK || status == STATUS_INVALID || status == STATUS_CORRUPT);
}

static void greet(struct fuzz_input *input, unsigned peer)
{
    struct peers_hello hello = {.raft_id = raft_id_make(peer, 1 + fuzz_byte(input) % 2u),
                                .boot_number = 1 + fuzz_number(input) % UINT64_MAX,
                                .term = fuzz_number(input),
                                .last_index = fuzz_number(input),
                                .last_term = fuzz_byte(input),
                                .flags = fuzz_byte(input) & (GROUP_HELLO_JOINING | GROUP_HELLO_DAMAGED)};
    for (unsigned i = 0; i < DISK_LIVES; i++) {
        hello.lives[i] = fuzz_byte(input) % 4;
    }
    enum peers_reason reason = PEERS_REASON_NONE;
    if (group->peers[peer].up) {
        group_peer_down(group, peer);
    }
    if (group_accept_hello(group, peer, &hello, &reason) == STATUS_OK) {
        group_peer_up(group, peer, &hello);
    } else {
        CHECK(reason != PEERS_REASON_NONE);
    }
}

static void submit(uint8_t bytes)
{
    static uint8_t body[256];
    uint64_t index;
    const struct group_entry entry = {.type = GROUP_ENTRY_EPOCH, .world = 1, .epoch = 9, .parts = 1, .bytes = bytes, .check = hash64(9, body, bytes)};
    enum status status = group_submit(group, &entry, body, &index);
    CHECK(status == STATUS_OK || status == STATUS_NOT_LEADER || status == STATUS_FULL || status == STATUS_BUSY);
}

static void step(struct fuzz_input *input)
{
    uint8_t what = fuzz_byte(input);
    unsigned peer = (what & 0x80) != 0 ? 1 : 3;
    switch (what % 8) {
    case 0:
        greet(input, peer);
        break;
    case 1:
        pass(what >> 3);
        break;
    case 2:
        submit(what);
        break;
    case 3:
        if (group->peers[peer].up) {
            group_peer_down(group, peer);
        }
        break;
    case 4:
        group_peer_refused(group, peer, (enum peers_reason)((what >> 3) % 4));
        break;
    default:
        receive(input, peer);
        break;
    }
    pass(1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct fuzz_input input = {data, bytes};
    prepare();
    uint8_t flags = fuzz_byte(&input);
    struct disk_superblock superblock = make_superblock(&input, flags);
    if ((flags & 1) != 0) {
        put_vote(&input, 0);
    }
    if ((flags & 2) != 0) {
        put_vote(&input, 1);
    }
    if ((flags & 32) != 0) {
        fuzz_log_write(&input, &machine, DISK_LOG_OFFSET, superblock.log_bytes, raft_id_make(SELF, INCARNATION));
    }
    char reason[REASON_BYTES_MAX] = "";
    enum status status = group_start(group, &superblock, reason);
    CHECK(status == STATUS_OK || status == STATUS_CORRUPT || status == STATUS_INVALID);
    CHECK(status == STATUS_OK || reason[0] != '\0');
    if (status != STATUS_OK) {
        group_stop(group);
        return 0;
    }
    applied = superblock.joining != 0 ? 0 : superblock.raft_index;
    pass(6);
    for (unsigned i = 0; i < STEPS_MAX && input.left > 0 && !gone; i++) {
        step(&input);
        group_check(group);
    }
    pass(120);
    group_check(group);
    group_stop(group);
    return 0;
}
