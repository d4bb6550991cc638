#include "tests/unit/catchup_pair.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "include/abi.h"

struct node *leader, *follower;

/* -- stand-ins -- */

void group_facts(const struct group *group, struct group_facts *out)
{
    *out = group->facts;
}

void group_hold_log(struct group *group, uint64_t index)
{
    group->held = index;
}

void group_snapshot_describe(const struct group *group, struct group_snapshot *out)
{
    *out = (struct group_snapshot){.leader_id = group->facts.raft_id, .term = group->facts.term};
}

bool group_contradicts(const struct group *group, uint64_t index, uint64_t term)
{
    (void)term;
    return index == group->contradicted;
}

enum status group_install(struct group *group, const struct group_snapshot *snapshot)
{
    if (group->install_status == STATUS_OK) {
        group->installed = *snapshot;
        group->installs++;
        group->facts.applied_index = snapshot->last_index;
    }
    return group->install_status;
}

void group_checkpoint_done(struct group *group, uint64_t index, uint64_t term)
{
    (void)term;
    group->checkpoint_done = index;
}

enum status peers_send(struct peers *peers, unsigned peer, unsigned lane, uint8_t type, const void *header, size_t header_bytes,
                       const struct peers_span *spans, size_t span_count)
{
    (void)peer;
    assert_int_equal(lane, PEERS_LANE_BULK);
    assert_true(header_bytes <= PEERS_HEADER_BYTES_MAX);
    if (!peers->up) {
        return STATUS_CLOSED;
    }
    if (peers->count == (peers->limit != 0 ? peers->limit : QUEUE_MAX)) {
        return STATUS_FULL;
    }
    struct wire_message *message = &peers->queue[peers->count++];
    *message = (struct wire_message){.type = type, .header_bytes = header_bytes};
    memcpy(message->header, header, header_bytes);
    for (size_t i = 0; i < span_count; i++) {
        message->body = realloc(message->body, message->body_bytes + spans[i].bytes);
        memcpy(message->body + message->body_bytes, spans[i].data, spans[i].bytes);
        message->body_bytes += spans[i].bytes;
    }
    assert_true(message->body_bytes <= PEERS_BODY_BYTES_MAX);
    return STATUS_OK;
}

void peers_flush(struct peers *peers)
{
    (void)peers;
}

const struct peers_hello *peers_hello_of(const struct peers *peers, unsigned peer, unsigned lane)
{
    (void)peer, (void)lane;
    return peers->up ? &peers->hello : NULL;
}

/* -- nodes -- */

static enum page_rights writable(void *context, uint32_t page)
{
    (void)context, (void)page;
    return PAGE_WRITE;
}

static void changing(void *context, uint32_t page, const uint8_t *captured)
{
    store_page_changing(((struct node *)context)->store, page, captured);
}

static void installed(void *context, const struct group_snapshot *snapshot)
{
    struct node *node = context;
    node->installed_calls++;
    assert_int_equal(snapshot->last_index, store_checkpoint(node->store)->raft_index);
}

static void want_checkpoint(void *context)
{
    ((struct node *)context)->wanted_checkpoints++;
}

uint64_t raft_id_of(unsigned number)
{
    return raft_id_make(number, 1000 + number);
}

static struct node *node_create(unsigned self, unsigned other)
{
    struct node *node = calloc(1, sizeof *node);
    static const uint8_t key[32] = {1, 2, 3}, cluster[16] = {9, 8, 7};
    seal_keys_derive(&node->keys, key, cluster);
    fake_machine_init(&node->fake, self, PAGES, DISK);
    node->self = self;
    node->delta_buffer = malloc(DELTA_BYTES_MAX);
    node->undo_buffer = malloc(UNDO_BYTES_MAX);
    node->peers = (struct peers){.self = self, .up = true, .hello = {.raft_id = raft_id_of(other)}};
    node->group.facts = (struct group_facts){.raft_id = raft_id_of(self), .term = 5, .leader_id = raft_id_of(LEADER)};
    struct store_config store_config = {
        .machine = &node->fake.machine, .keys = &node->keys, .node_number = self, .world_pages_max = PAGES};
    assert_int_equal(store_create(&node->store, &store_config), STATUS_OK);
    enum store_disk disk;
    char reason[200];
    assert_int_equal(store_open(node->store, &disk, reason), STATUS_OK);
    assert_int_equal(store_adopt(node->store, 1000 + self), STATUS_OK);
    struct image_config image_config = {
        .machine = &node->fake.machine, .before_change = changing, .segment_rights = writable, .context = node};
    assert_int_equal(image_create(&node->image, &image_config), STATUS_OK);
    struct catchup_config config = {
        .machine = &node->fake.machine,
        .peers = &node->peers,
        .store = node->store,
        .image = node->image,
        .group = &node->group,
        .keys = &node->keys,
        .world_pages_max = PAGES,
        .world_number = 1,
        .self = self,
        .context = node,
        .installed = installed,
        .want_checkpoint = want_checkpoint,
    };
    assert_int_equal(catchup_create(&node->catchup, &config), STATUS_OK);
    return node;
}

void clear_wire(struct peers *peers)
{
    while (peers->count > 0) {
        free(peers->queue[--peers->count].body);
    }
}

static void node_destroy(struct node *node)
{
    clear_wire(&node->peers);
    fake_machine_destroy(&node->fake);
    free(node->delta_buffer);
    free(node->undo_buffer);
    free(node);
}

void write_page(struct node *node, uint32_t page, uint32_t value)
{
    assert_int_equal(image_write(node->image, (uint64_t)page * PAGE + page % 1000, &value, sizeof value), STATUS_OK);
}

void make_checkpoint(struct node *node)
{
    struct delta_writer delta;
    struct undo_record undo;
    delta_writer_init(&delta, node->delta_buffer, DELTA_BYTES_MAX);
    undo_record_init(&undo, node->undo_buffer, UNDO_BYTES_MAX);
    assert_int_equal(image_freeze(node->image, &delta, &undo), STATUS_OK);
    assert_true(image_capture_step(node->image, UINT32_MAX));
    node->epoch++;
    struct checkpoint checkpoint = {
        .raft_index = 100 + node->epoch,
        .raft_term = 3,
        .configuration_index = 1,
        .member_count = 1,
        .members = {{.raft_id = raft_id_of(LEADER), .role = DISK_ROLE_VOTER}},
        .epoch = node->epoch,
        .record = {.version = WORLD_RECORD_VERSION,
                   .abi_version = ABI_VERSION,
                   .world_number = 1,
                   .life = WORLD_LIFE_RUNNING,
                   .memory_bytes = (uint64_t)PAGES * PAGE,
                   .epoch = node->epoch},
    };
    checkpoint.digest = image_digest(node->image) + world_record_hash(&checkpoint.record);
    node->group.facts.applied_index = checkpoint.raft_index;
    assert_int_equal(store_checkpoint_begin(node->store, node->image, &checkpoint), STATUS_OK);
    enum status status;
    while ((status = store_checkpoint_step(node->store)) == STATUS_OK) {
        fake_disk_complete(&node->fake, false);
    }
    assert_int_equal(status, STATUS_EMPTY);
}

int pair_set_up(void **state)
{
    (void)state;
    leader = node_create(LEADER, FOLLOWER);
    follower = node_create(FOLLOWER, LEADER);
    leader->group.facts.role = GROUP_LEADER;
    for (uint32_t page = 0; page < 600; page++) {
        write_page(leader, page * 3, page + 1);
    }
    make_checkpoint(leader);
    return 0;
}

int pair_tear_down(void **state)
{
    (void)state;
    node_destroy(leader);
    node_destroy(follower);
    return 0;
}

enum status deliver(struct node *from, struct node *to)
{
    struct wire_message message = from->peers.queue[0];
    from->peers.count--;
    memmove(&from->peers.queue[0], &from->peers.queue[1], from->peers.count * sizeof message);
    struct peers_message in = {
        .type = message.type, .header = message.header, .header_bytes = message.header_bytes, .body = message.body, .body_bytes = message.body_bytes};
    enum status status = catchup_message(to->catchup, from->self, &in);
    free(message.body);
    return status;
}

void tick(struct node *node)
{
    catchup_tick(node->catchup);
    fake_disk_complete(&node->fake, true);
}

void turn(void)
{
    leader->fake.now_ns += MS;
    follower->fake.now_ns += MS;
    tick(leader);
    tick(follower);
    while (leader->peers.count > 0) {
        assert_int_equal(deliver(leader, follower), STATUS_OK);
    }
    while (follower->peers.count > 0) {
        assert_int_equal(deliver(follower, leader), STATUS_OK);
    }
}

bool quiet(const struct node *node)
{
    struct catchup_facts facts;
    catchup_facts(node->catchup, &facts);
    return !facts.receiving && facts.serving == 0;
}

unsigned run(unsigned turns)
{
    unsigned taken = 0;
    do {
        turn();
        taken++;
    } while (taken < turns && !(quiet(leader) && quiet(follower)));
    return taken;
}

void fill_and_compare(void)
{
    bool done = false;
    uint32_t page;
    store_fill_restart(follower->store);
    while (!done) {
        assert_int_equal(store_fill_step(follower->store, follower->image, 50, &done, &page), STATUS_OK);
    }
    assert_int_equal(image_digest(follower->image), image_digest(leader->image));
    store_check(follower->store);
    store_check(leader->store);
}
