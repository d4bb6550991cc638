/* Two nodes' catch-up over a wire that the test owns; the group behind it is a stand-in that remembers what it was told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "include/abi.h"
#include "replicate/catchup_private.h"
#include "replicate/delta.h"
#include "tests/unit/support/fake_machine.h"

enum { PAGE = REPLICATE_PAGE_BYTES, PAGES = 2000, LEADER = 1, FOLLOWER = 2, QUEUE_MAX = 64 };
#define DISK (64ull << 20)
#define MS 1000000ull

struct group {
    struct group_facts facts;
    uint64_t held;
    struct group_snapshot installed;
    unsigned installs;
    uint64_t checkpoint_done;
    uint64_t contradicted;          /* index of an entry that it has under another term than any checkpoint; 0: none */
    enum status install_status;
};

struct wire_message {
    uint8_t type;
    size_t header_bytes, body_bytes;
    uint8_t header[PEERS_HEADER_BYTES_MAX];
    uint8_t *body;
};

/* What a node has sent and the other has not received. */
struct peers {
    unsigned self;
    struct peers_hello hello;       /* the other's */
    bool up;
    struct wire_message queue[QUEUE_MAX];
    size_t count;
};

struct node {
    struct fake_machine fake;
    struct seal_keys keys;
    struct image *image;
    struct store *store;
    struct group group;
    struct peers peers;
    struct catchup *catchup;
    unsigned self;
    uint64_t epoch;
    unsigned installed_calls, wanted_checkpoints;
    uint8_t *delta_buffer, *undo_buffer;
};

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
    if (peers->count == QUEUE_MAX) {
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

static uint64_t raft_id_of(unsigned number)
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

static void clear_wire(struct peers *peers)
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

static struct node *leader, *follower;

static void write_page(struct node *node, uint32_t page, uint32_t value)
{
    assert_int_equal(image_write(node->image, (uint64_t)page * PAGE + page % 1000, &value, sizeof value), STATUS_OK);
}

static void make_checkpoint(struct node *node)
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

static int set_up(void **state)
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

static int tear_down(void **state)
{
    (void)state;
    node_destroy(leader);
    node_destroy(follower);
    return 0;
}

/* Deliver the oldest message of `from` to `to`. */
static enum status deliver(struct node *from, struct node *to)
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

static void tick(struct node *node)
{
    catchup_tick(node->catchup);
    fake_disk_complete(&node->fake, true);
}

/* One millisecond of both. */
static void turn(void)
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

static bool quiet(const struct node *node)
{
    struct catchup_facts facts;
    catchup_facts(node->catchup, &facts);
    return !facts.receiving && facts.serving == 0;
}

static unsigned run(unsigned turns)
{
    unsigned taken = 0;
    do {
        turn();
        taken++;
    } while (taken < turns && !(quiet(leader) && quiet(follower)));
    return taken;
}

static void fill_and_compare(void)
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

/* -- tests -- */

static void test_catchup_brings_a_blank_node_to_the_checkpoint(void **state)
{
    (void)state;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    assert_true(run(5000) < 5000);
    assert_int_equal(follower->installed_calls, 1);
    assert_int_equal(follower->group.installs, 1);
    assert_int_equal(follower->group.installed.last_index, 101);
    assert_int_equal(follower->group.installed.last_term, 3);
    assert_int_equal(follower->group.installed.leader_id, raft_id_of(LEADER));
    assert_int_equal(follower->group.installed.term, 5);
    assert_int_equal(follower->group.installed.member_count, 1);
    fill_and_compare();
    assert_null(store_pinned(leader->store));
    struct catchup_facts facts;
    catchup_facts(leader->catchup, &facts);
    assert_int_equal(facts.pages_sent, 600);
    assert_int_equal(facts.manifests_sent, 1);
}

static void test_catchup_of_an_empty_world_works(void **state)
{
    (void)state;
    image_clear(leader->image);
    make_checkpoint(leader);
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    assert_true(run(1000) < 1000);
    assert_int_equal(follower->installed_calls, 1);
    fill_and_compare();
}

static void test_catchup_moves_only_what_differs(void **state)
{
    (void)state;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    run(5000);
    write_page(leader, 6, 77);
    write_page(leader, 7, 78);
    make_checkpoint(leader);
    leader->fake.now_ns += CATCHUP_AGAIN_MS * MS;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    assert_true(run(5000) < 5000);
    struct catchup_facts facts;
    catchup_facts(leader->catchup, &facts);
    assert_int_equal(facts.pages_sent, 602);
    assert_int_equal(follower->installed_calls, 2);
    fill_and_compare();
}

static void test_catchup_repeated_wish_does_nothing(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 50; i++) {
        catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
        turn();
    }
    struct catchup_facts facts;
    catchup_facts(leader->catchup, &facts);
    assert_int_equal(facts.manifests_sent, 1);
}

static void test_catchup_offers_nothing_just_after_a_transfer_and_again_later(void **state)
{
    (void)state;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    run(5000);
    struct catchup_facts facts;
    for (unsigned i = 0; i < CATCHUP_AGAIN_MS - 10u; i++) {
        catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
        turn();
    }
    catchup_facts(leader->catchup, &facts);
    assert_int_equal(facts.manifests_sent, 1);
    for (unsigned i = 0; i < 100; i++) {
        catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
        turn();
    }
    catchup_facts(leader->catchup, &facts);
    assert_int_equal(facts.manifests_sent, 2);
}

static void test_catchup_for_another_incarnation_or_absent_peer_starts_nothing(void **state)
{
    (void)state;
    catchup_send_snapshot(leader->catchup, raft_id_make(FOLLOWER, 5));
    catchup_send_snapshot(leader->catchup, raft_id_make(77, 5));
    catchup_send_snapshot(leader->catchup, raft_id_of(LEADER));
    turn();
    assert_true(quiet(leader));
    leader->peers.up = false;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    turn();
    assert_true(quiet(leader));
    assert_null(store_pinned(leader->store));
}

static void test_catchup_holds_the_log_and_lets_it_go(void **state)
{
    (void)state;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    turn();
    assert_int_equal(leader->group.held, 101);
    assert_non_null(store_pinned(leader->store));
    run(5000);
    assert_int_equal(leader->group.held, 101);
    leader->fake.now_ns += CATCHUP_LINGER_MS * MS;
    assert_true(catchup_deadline_ns(leader->catchup) <= leader->fake.now_ns);
    tick(leader);
    assert_int_equal(leader->group.held, 0);
    assert_int_equal(catchup_deadline_ns(leader->catchup), UINT64_MAX);
}

/* The follower has a part of the checkpoint, and what was on the wire is lost. */
static void pull_some_pages(void)
{
    struct catchup_facts facts;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    do {
        turn();
        catchup_facts(follower->catchup, &facts);
    } while (facts.pages_received < 200);
    clear_wire(&leader->peers);
    clear_wire(&follower->peers);
}

static void test_catchup_newer_checkpoint_after_link_loss_keeps_pages(void **state)
{
    (void)state;
    pull_some_pages();
    catchup_down(leader->catchup, FOLLOWER);
    catchup_down(follower->catchup, LEADER);
    assert_null(store_pinned(leader->store));
    assert_true(catchup_receiving(follower->catchup));
    write_page(leader, 1, 1);
    make_checkpoint(leader);
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    assert_true(run(5000) < 5000);
    struct catchup_facts facts;
    catchup_facts(leader->catchup, &facts);
    assert_true(facts.pages_sent < 600 + 1 + CATCHUP_PAGES_MAX * CATCHUP_REQUESTS_MAX);
    assert_int_equal(follower->installed_calls, 1);
    assert_int_equal(follower->group.installed.last_index, 102);
    fill_and_compare();
}

static void test_catchup_lost_answers_are_asked_for_again(void **state)
{
    (void)state;
    uint64_t random = test_seed(__func__, 3);
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    for (unsigned i = 0; i < 60000 && !(quiet(leader) && quiet(follower) && i > 5); i++) {
        leader->fake.now_ns += MS;
        follower->fake.now_ns += MS;
        tick(leader);
        tick(follower);
        for (size_t at = 0; at < leader->peers.count; at++) {
            struct wire_message *message = &leader->peers.queue[at];
            if (message->type == CATCHUP_PAGES && test_random_below(&random, 4) == 0) {
                /* as if the disk had been too far behind to take them */
                struct catchup_pages *pages = (struct catchup_pages *)(void *)message->header;
                pages->count = 0;
                message->body_bytes = 0;
            }
        }
        while (leader->peers.count > 0) {
            assert_int_equal(deliver(leader, follower), STATUS_OK);
        }
        while (follower->peers.count > 0) {
            assert_int_equal(deliver(follower, leader), STATUS_OK);
        }
    }
    assert_int_equal(follower->installed_calls, 1);
    fill_and_compare();
}

static void test_catchup_dead_puller_releases_the_pin(void **state)
{
    (void)state;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    for (unsigned i = 0; i < 20; i++) {
        leader->fake.now_ns += MS;
        tick(leader);
    }
    clear_wire(&leader->peers);
    assert_non_null(store_pinned(leader->store));
    leader->fake.now_ns += CATCHUP_IDLE_MS * MS;
    tick(leader);
    assert_null(store_pinned(leader->store));
    assert_true(quiet(leader));
}

static void test_catchup_dead_server_ends_the_pull(void **state)
{
    (void)state;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    for (unsigned i = 0; i < 30; i++) {
        turn();
    }
    assert_true(catchup_receiving(follower->catchup));
    for (unsigned i = 0; i < CATCHUP_IDLE_MS + 100u; i++) {
        follower->fake.now_ns += MS;
        tick(follower);
        clear_wire(&follower->peers);
    }
    assert_false(catchup_receiving(follower->catchup));
    store_check(follower->store);
}

/* IDLE: what was asked of a giver that is gone is due to nobody. */
static void test_catchup_pull_without_a_giver_waits_for_the_next_one(void **state)
{
    (void)state;
    pull_some_pages();
    catchup_down(follower->catchup, LEADER);
    for (unsigned i = 0; i < CATCHUP_REQUEST_MS + 100u; i++) {
        follower->fake.now_ns += MS;
        tick(follower);
    }
    assert_true(catchup_receiving(follower->catchup));
    assert_true(catchup_deadline_ns(follower->catchup) > follower->fake.now_ns);
}

static void test_catchup_lost_leadership_stops_serving(void **state)
{
    (void)state;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    for (unsigned i = 0; i < 30; i++) {
        turn();
    }
    catchup_stop_serving(leader->catchup);
    assert_null(store_pinned(leader->store));
    assert_true(quiet(leader));
    turn();
    assert_int_equal(leader->group.held, 0);
}

static void test_catchup_yielded_pin_lets_the_next_manifest_continue(void **state)
{
    (void)state;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    struct catchup_facts facts;
    do {
        turn();
        catchup_facts(follower->catchup, &facts);
    } while (facts.pages_received < 100);
    catchup_yield_pin(leader->catchup);
    turn();
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    assert_true(run(5000) < 5000);
    assert_int_equal(follower->installed_calls, 1);
    catchup_facts(follower->catchup, &facts);
    assert_int_equal(facts.pages_received, 600);
    fill_and_compare();
}

static void test_catchup_that_the_log_overtook_installs_nothing(void **state)
{
    (void)state;
    follower->group.facts.applied_index = 101;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    assert_true(run(500) < 500);
    assert_int_equal(follower->installed_calls, 0);
    assert_int_equal(store_checkpoint(follower->store)->epoch, 0);
}

static void test_catchup_log_that_passes_while_pulling_only_moves_the_checkpoint(void **state)
{
    (void)state;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    for (unsigned i = 0; i < 30; i++) {
        turn();
    }
    follower->group.facts.applied_index = 500;
    run(5000);
    assert_int_equal(follower->installed_calls, 0);
    assert_int_equal(follower->group.installs, 0);
    assert_int_equal(follower->group.checkpoint_done, 101);
}

static void test_catchup_of_a_group_whose_disk_failed_ends_and_is_not_due(void **state)
{
    (void)state;
    follower->group.install_status = STATUS_REFUSED;
    follower->group.facts.disk_failed = true;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    assert_true(run(5000) < 5000);
    assert_int_equal(follower->installed_calls, 0);
    assert_int_equal(catchup_deadline_ns(follower->catchup), UINT64_MAX);
}

/* A disk that takes its time. */
static enum status (*quick_read)(void *context, uint64_t offset, void *buffer, size_t bytes);
static uint64_t reading_ns;

static enum status slow_read(void *context, uint64_t offset, void *buffer, size_t bytes)
{
    leader->fake.now_ns += 2 * MS;
    reading_ns += 2 * MS;
    return quick_read(context, offset, buffer, bytes);
}

static void test_catchup_slow_disk_takes_a_third_of_the_servers_time(void **state)
{
    (void)state;
    quick_read = leader->fake.machine.block_read;
    leader->fake.machine.block_read = slow_read;
    reading_ns = 0;
    uint64_t began_ns = leader->fake.now_ns;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    assert_true(run(50000) < 50000);
    assert_int_equal(follower->installed_calls, 1);
    assert_true(reading_ns >= 600 * 2 * MS);
    uint64_t step_ns = CATCHUP_SERVE_STEP * 2 * MS;
    assert_true((reading_ns - step_ns) * CATCHUP_PACE <= leader->fake.now_ns - began_ns);
}

static void test_catchup_manifest_of_an_old_term_is_not_taken(void **state)
{
    (void)state;
    follower->group.facts.term = 6;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    assert_true(run(500) < 500);
    assert_int_equal(follower->installed_calls, 0);
}

/* RAFT: only the leader's log is certain to have what its checkpoint says is committed. */
static void test_catchup_manifest_of_who_does_not_lead_is_not_taken(void **state)
{
    (void)state;
    follower->group.facts.leader_id = raft_id_of(3);
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    assert_true(run(500) < 500);
    assert_int_equal(follower->installed_calls, 0);
}

static void test_catchup_manifest_of_a_term_that_the_group_has_not_heard_of_is_not_taken(void **state)
{
    (void)state;
    leader->group.facts.term = 6;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    assert_true(run(500) < 500);
    assert_int_equal(follower->installed_calls, 0);
}

/* What has just started again knows no leader: pages come, but nothing is made durable. */
static void pull_without_a_leader(void)
{
    follower->group.facts.leader_id = 0;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    for (unsigned i = 0; i < 1000; i++) {
        turn();
    }
    struct catchup_facts facts;
    catchup_facts(follower->catchup, &facts);
    assert_int_equal(facts.pages_received, 600);
    assert_true(facts.receiving);
    assert_int_equal(store_checkpoint(follower->store)->epoch, 0);
}

static void test_catchup_checkpoint_waits_until_its_giver_is_known_for_the_leader(void **state)
{
    (void)state;
    pull_without_a_leader();
    follower->group.facts.leader_id = raft_id_of(LEADER);
    assert_true(run(500) < 500);
    assert_int_equal(follower->installed_calls, 1);
    fill_and_compare();
}

static void test_catchup_checkpoint_of_who_turns_out_not_to_lead_is_given_up(void **state)
{
    (void)state;
    pull_without_a_leader();
    follower->group.facts.leader_id = raft_id_of(3);
    assert_true(run(500) < 500);
    assert_int_equal(follower->installed_calls, 0);
    assert_int_equal(store_checkpoint(follower->store)->epoch, 0);
}

static void test_catchup_checkpoint_of_who_led_is_taken_under_the_next_leader(void **state)
{
    (void)state;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    for (unsigned i = 0; i < 20; i++) {
        turn();
    }
    assert_int_equal(store_checkpoint(follower->store)->epoch, 0);
    follower->group.facts.leader_id = raft_id_of(3);
    follower->group.facts.term++;
    assert_true(run(5000) < 5000);
    assert_int_equal(follower->installed_calls, 1);
}

static void test_catchup_checkpoint_that_contradicts_the_log_is_given_up(void **state)
{
    (void)state;
    follower->group.contradicted = 101;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    assert_true(run(5000) < 5000);
    assert_int_equal(follower->installed_calls, 0);
    assert_int_equal(store_checkpoint(follower->store)->epoch, 0);
}

static void test_catchup_waits_for_a_checkpoint_under_way(void **state)
{
    (void)state;
    write_page(follower, 3, 3);
    struct checkpoint own = *store_checkpoint(leader->store);
    own.epoch = 0;
    memset(&own.record, 0, sizeof own.record);
    struct delta_writer delta;
    struct undo_record undo;
    delta_writer_init(&delta, follower->delta_buffer, DELTA_BYTES_MAX);
    undo_record_init(&undo, follower->undo_buffer, UNDO_BYTES_MAX);
    assert_int_equal(image_freeze(follower->image, &delta, &undo), STATUS_OK);
    assert_true(image_capture_step(follower->image, UINT32_MAX));
    assert_int_equal(store_checkpoint_begin(follower->store, follower->image, &own), STATUS_OK);
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    for (unsigned i = 0; i < 50; i++) {
        turn();
    }
    assert_true(store_checkpointing(follower->store));
    assert_true(catchup_receiving(follower->catchup));
    enum status status;
    while ((status = store_checkpoint_step(follower->store)) == STATUS_OK) {
        fake_disk_complete(&follower->fake, false);
    }
    assert_int_equal(status, STATUS_EMPTY);
    assert_true(run(5000) < 5000);
    assert_int_equal(follower->installed_calls, 1);
    fill_and_compare();
}

static void test_catchup_page_that_the_disk_lost_comes_from_memory(void **state)
{
    (void)state;
    fake_disk_flip(&leader->fake, leader->store == NULL ? 0 : disk_store_offset(DISK) + 10 * PAGE + 5, 2);
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    assert_true(run(5000) < 5000);
    assert_int_equal(follower->installed_calls, 1);
    fill_and_compare();
}

static void test_catchup_page_that_is_nowhere_ends_the_transfer(void **state)
{
    (void)state;
    for (uint32_t block = 0; block < 600; block++) {
        fake_disk_flip(&leader->fake, disk_store_offset(DISK) + block * PAGE + 5, 2);
    }
    image_clear(leader->image);
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    for (unsigned i = 0; i < 100; i++) {
        turn();
    }
    assert_true(quiet(leader));
    assert_int_equal(follower->installed_calls, 0);
    assert_null(store_pinned(leader->store));
}

/* DURABLE: an idle world writes no checkpoint of its own accord, so a page that cannot be given would have kept the other node out for ever. */
static void test_catchup_page_that_rotted_and_has_changed_asks_for_a_new_checkpoint_and_waits_for_it(void **state)
{
    (void)state;
    fake_disk_flip(&leader->fake, disk_store_offset(DISK) + 10 * PAGE + 5, 2);
    for (uint32_t page = 0; page < 600; page++) {
        write_page(leader, page * 3, page + 7);
    }
    struct delta_writer delta;
    struct undo_record undo;
    delta_writer_init(&delta, leader->delta_buffer, DELTA_BYTES_MAX);
    undo_record_init(&undo, leader->undo_buffer, UNDO_BYTES_MAX);
    assert_int_equal(image_freeze(leader->image, &delta, &undo), STATUS_OK);
    assert_true(image_capture_step(leader->image, UINT32_MAX));
    struct catchup_facts facts;
    for (unsigned i = 0; i < CATCHUP_AGAIN_MS; i++) {
        catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER)); /* as the group does with each heartbeat */
        turn();
    }
    catchup_facts(leader->catchup, &facts);
    assert_int_equal(facts.manifests_sent, 1);
    assert_int_equal(leader->wanted_checkpoints, 1);
    make_checkpoint(leader);
    for (unsigned i = 0; i < 5000 && follower->installed_calls == 0; i++) {
        catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
        turn();
    }
    assert_int_equal(follower->installed_calls, 1);
    fill_and_compare();
}

/* BOUND: while a manifest comes in this node makes no checkpoint; its end, and the word that it is served no more, may both be lost. */
static void test_catchup_manifest_whose_rest_never_comes_is_forgotten(void **state)
{
    (void)state;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    tick(leader);
    assert_int_equal(deliver(leader, follower), STATUS_OK);
    clear_wire(&leader->peers);
    assert_true(catchup_receiving(follower->catchup));
    assert_int_equal(catchup_deadline_ns(follower->catchup), follower->fake.now_ns + CATCHUP_IDLE_MS * MS);
    follower->fake.now_ns += CATCHUP_IDLE_MS * MS;
    tick(follower);
    assert_false(catchup_receiving(follower->catchup));
    assert_int_equal(catchup_deadline_ns(follower->catchup), UINT64_MAX);
}

/* Peer `peer` asks for pages under transfer `id`; the wire holds nothing else. */
static void want_pages(unsigned peer, uint64_t id, uint32_t request)
{
    struct catchup_want want = {.id = id, .request = request, .count = CATCHUP_PAGES_MAX};
    for (uint32_t i = 0; i < CATCHUP_PAGES_MAX; i++) {
        want.pages[i] = i * 3;
    }
    const struct peers_message message = {.type = CATCHUP_WANT, .header = (const uint8_t *)&want, .header_bytes = sizeof want};
    assert_int_equal(catchup_message(leader->catchup, peer, &message), STATUS_OK);
}

static void test_catchup_peers_are_served_in_turn(void **state)
{
    (void)state;
    enum { OTHER = 3 };
    uint64_t id[OTHER + 1] = {0};
    unsigned answers[OTHER + 1] = {0};
    for (unsigned peer = FOLLOWER; peer <= OTHER; peer++) {
        leader->peers.hello.raft_id = raft_id_of(peer);
        catchup_send_snapshot(leader->catchup, raft_id_of(peer));
        for (unsigned i = 0; i < 20; i++) {
            leader->fake.now_ns += MS;
            tick(leader);
            for (size_t at = 0; at < leader->peers.count; at++) {
                if (leader->peers.queue[at].type == CATCHUP_END) {
                    memcpy(&id[peer], leader->peers.queue[at].header, sizeof id[peer]);
                }
            }
            clear_wire(&leader->peers);
        }
        assert_true(id[peer] != 0);
    }
    for (unsigned i = 0; i < 200; i++) {
        for (unsigned peer = FOLLOWER; peer <= OTHER; peer++) {
            want_pages(peer, id[peer], i % CATCHUP_REQUESTS_MAX);
        }
        leader->fake.now_ns += MS;
        tick(leader);
        for (size_t at = 0; at < leader->peers.count; at++) {
            assert_int_equal(leader->peers.queue[at].type, CATCHUP_PAGES);
            uint64_t whose;
            memcpy(&whose, leader->peers.queue[at].header, sizeof whose);
            answers[whose == id[OTHER] ? OTHER : FOLLOWER]++;
        }
        clear_wire(&leader->peers);
    }
    assert_true(answers[FOLLOWER] >= 10);
    assert_in_range(answers[OTHER], answers[FOLLOWER] - 1, answers[FOLLOWER] + 1);
}

/* -- messages that lie -- */

static void test_catchup_altered_page_ends_the_channel(void **state)
{
    (void)state;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    enum status status = STATUS_OK;
    for (unsigned i = 0; i < 1000 && status == STATUS_OK; i++) {
        leader->fake.now_ns += MS;
        follower->fake.now_ns += MS;
        tick(leader);
        tick(follower);
        while (leader->peers.count > 0 && status == STATUS_OK) {
            if (leader->peers.queue[0].type == CATCHUP_PAGES) {
                leader->peers.queue[0].body[4096 + 17] ^= 1;
            }
            status = deliver(leader, follower);
        }
        while (follower->peers.count > 0) {
            assert_int_equal(deliver(follower, leader), STATUS_OK);
        }
    }
    assert_int_equal(status, STATUS_CORRUPT);
    clear_wire(&leader->peers);
}

static void test_catchup_hashes_that_do_not_add_up_are_not_begun(void **state)
{
    (void)state;
    bool altered = false;
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    for (unsigned i = 0; i < 100; i++) {
        leader->fake.now_ns += MS;
        follower->fake.now_ns += MS;
        tick(leader);
        tick(follower);
        while (leader->peers.count > 0) {
            if (leader->peers.queue[0].type == CATCHUP_HASHES && !altered) {
                leader->peers.queue[0].header[16] ^= 1;
                altered = true;
            }
            assert_int_equal(deliver(leader, follower), STATUS_OK);
        }
        while (follower->peers.count > 0) {
            assert_int_equal(deliver(follower, leader), STATUS_OK);
        }
    }
    assert_true(quiet(leader));
    assert_true(quiet(follower));
    assert_int_equal(follower->installed_calls, 0);
}

static void test_catchup_malformed_messages_are_invalid(void **state)
{
    (void)state;
    uint8_t header[PEERS_HEADER_BYTES_MAX] = {0}, body[PAGE] = {0};
    struct {
        uint8_t type;
        size_t header_bytes, body_bytes;
    } cases[] = {
        {CATCHUP_MANIFEST, sizeof(struct catchup_manifest), 0}, /* all zero: fields out of range */
        {CATCHUP_MANIFEST, 10, 0},
        {CATCHUP_HASHES, 8, 0},
        {CATCHUP_HASHES, 24, 0},
        {CATCHUP_HASHES, 16, 8},
        {CATCHUP_END, 3, 0},
        {CATCHUP_WANT, 3, 0},
        {CATCHUP_WANT, sizeof(struct catchup_want), 1},
        {CATCHUP_PAGES, sizeof(struct catchup_pages), PAGE},
        {CATCHUP_PAGES, 16, 0},
        {CATCHUP_ENDED, 1, 0},
        {CATCHUP_GONE, 1, 0},
        {CATCHUP_GONE + 1, sizeof(struct catchup_note), 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct peers_message message = {
            .type = cases[i].type, .header = header, .header_bytes = cases[i].header_bytes, .body = body, .body_bytes = cases[i].body_bytes};
        assert_int_equal(catchup_message(follower->catchup, LEADER, &message), STATUS_INVALID);
    }
    struct catchup_want want = {.count = CATCHUP_PAGES_MAX + 1};
    struct peers_message message = {.type = CATCHUP_WANT, .header = (uint8_t *)&want, .header_bytes = sizeof want};
    assert_int_equal(catchup_message(leader->catchup, FOLLOWER, &message), STATUS_INVALID);
    want = (struct catchup_want){.request = CATCHUP_REQUESTS_MAX};
    assert_int_equal(catchup_message(leader->catchup, FOLLOWER, &message), STATUS_INVALID);
}

/* Once a manifest is durable the next start is held to it: what no group would take must not get that far. */
static void test_catchup_manifest_that_no_group_would_take_is_invalid(void **state)
{
    (void)state;
    for (unsigned field = 0; field < 6; field++) {
        struct catchup_manifest manifest = {.id = 1,
                                            .snapshot = {.leader_id = raft_id_of(LEADER),
                                                         .term = 5,
                                                         .last_index = 9,
                                                         .last_term = 4,
                                                         .configuration_index = 1,
                                                         .member_count = 1,
                                                         .members = {{.raft_id = raft_id_of(LEADER), .role = DISK_ROLE_VOTER}}},
                                            .pages_max = PAGES};
        struct group_snapshot *snapshot = &manifest.snapshot;
        struct peers_message message = {.type = CATCHUP_MANIFEST, .header = (uint8_t *)&manifest, .header_bytes = sizeof manifest};
        assert_int_equal(catchup_message(follower->catchup, LEADER, &message), STATUS_OK);
        snapshot->configuration_index = field == 0 ? 0 : 1;
        snapshot->members[0].raft_id = field == 1 ? 0 : raft_id_of(LEADER);
        snapshot->members[0].role = field == 2 ? 3 : DISK_ROLE_VOTER;
        snapshot->last_index = field == 3 ? UINT64_MAX : 9;
        snapshot->term = field == 4 ? UINT64_MAX : 5;
        manifest.epoch = field == 5 ? UINT64_MAX : 1;
        assert_int_equal(catchup_message(follower->catchup, LEADER, &message), STATUS_INVALID);
    }
}

static void test_catchup_random_messages_hurt_nothing(void **state)
{
    (void)state;
    uint64_t random = test_seed(__func__, 17);
    catchup_send_snapshot(leader->catchup, raft_id_of(FOLLOWER));
    turn();
    static const size_t sizes[] = {sizeof(struct catchup_manifest), 16 + 8 * 4, sizeof(struct catchup_note), sizeof(struct catchup_want),
                                   sizeof(struct catchup_pages), sizeof(struct catchup_note), sizeof(struct catchup_note)};
    for (unsigned i = 0; i < 20000; i++) {
        unsigned kind = test_random_below(&random, 7);
        size_t bytes = sizes[kind], body_bytes = kind == 4 ? (size_t)test_random_below(&random, 3) * PAGE : 0;
        uint8_t *header = malloc(bytes), *body = malloc(body_bytes + 1);
        for (size_t at = 0; at < bytes; at++) {
            header[at] = test_random(&random) % 3 == 0 ? (uint8_t)test_random(&random) : 0;
        }
        memset(body, 7, body_bytes + 1);
        struct node *to = test_random(&random) % 2 ? leader : follower;
        uint64_t id = leader->catchup->transfers[FOLLOWER].id;
        memcpy(header, &id, sizeof id);
        struct peers_message message = {
            .type = (uint8_t)(CATCHUP_MANIFEST + kind), .header = header, .header_bytes = bytes, .body = body, .body_bytes = body_bytes};
        enum status status = catchup_message(to->catchup, to == leader ? FOLLOWER : LEADER, &message);
        assert_true(status == STATUS_OK || status == STATUS_INVALID || status == STATUS_CORRUPT);
        free(header);
        free(body);
        if (i % 50 == 0) {
            tick(leader);
            tick(follower);
            clear_wire(&leader->peers);
            clear_wire(&follower->peers);
        }
    }
    store_check(leader->store);
    store_check(follower->store);
    assert_int_equal(follower->installed_calls, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_catchup_brings_a_blank_node_to_the_checkpoint),
        TEST(test_catchup_of_an_empty_world_works),
        TEST(test_catchup_moves_only_what_differs),
        TEST(test_catchup_repeated_wish_does_nothing),
        TEST(test_catchup_offers_nothing_just_after_a_transfer_and_again_later),
        TEST(test_catchup_for_another_incarnation_or_absent_peer_starts_nothing),
        TEST(test_catchup_holds_the_log_and_lets_it_go),
        TEST(test_catchup_newer_checkpoint_after_link_loss_keeps_pages),
        TEST(test_catchup_lost_answers_are_asked_for_again),
        TEST(test_catchup_dead_puller_releases_the_pin),
        TEST(test_catchup_dead_server_ends_the_pull),
        TEST(test_catchup_pull_without_a_giver_waits_for_the_next_one),
        TEST(test_catchup_lost_leadership_stops_serving),
        TEST(test_catchup_yielded_pin_lets_the_next_manifest_continue),
        TEST(test_catchup_that_the_log_overtook_installs_nothing),
        TEST(test_catchup_log_that_passes_while_pulling_only_moves_the_checkpoint),
        TEST(test_catchup_of_a_group_whose_disk_failed_ends_and_is_not_due),
        TEST(test_catchup_slow_disk_takes_a_third_of_the_servers_time),
        TEST(test_catchup_manifest_of_an_old_term_is_not_taken),
        TEST(test_catchup_manifest_of_who_does_not_lead_is_not_taken),
        TEST(test_catchup_manifest_of_a_term_that_the_group_has_not_heard_of_is_not_taken),
        TEST(test_catchup_checkpoint_waits_until_its_giver_is_known_for_the_leader),
        TEST(test_catchup_checkpoint_of_who_turns_out_not_to_lead_is_given_up),
        TEST(test_catchup_checkpoint_of_who_led_is_taken_under_the_next_leader),
        TEST(test_catchup_checkpoint_that_contradicts_the_log_is_given_up),
        TEST(test_catchup_waits_for_a_checkpoint_under_way),
        TEST(test_catchup_page_that_the_disk_lost_comes_from_memory),
        TEST(test_catchup_page_that_is_nowhere_ends_the_transfer),
        TEST(test_catchup_page_that_rotted_and_has_changed_asks_for_a_new_checkpoint_and_waits_for_it),
        TEST(test_catchup_manifest_whose_rest_never_comes_is_forgotten),
        TEST(test_catchup_peers_are_served_in_turn),
        TEST(test_catchup_altered_page_ends_the_channel),
        TEST(test_catchup_hashes_that_do_not_add_up_are_not_begun),
        TEST(test_catchup_malformed_messages_are_invalid),
        TEST(test_catchup_manifest_that_no_group_would_take_is_invalid),
        TEST(test_catchup_random_messages_hurt_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
