/* The management port's commands (include/management.h). The line comes from outside: bounded, checked, and never a reason to stop. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "include/management.h"
#include "replicate/node_internal.h"

struct answer {
    node_answer_fn *line;
    void *context;
};

static void say(const struct answer *answer, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(const struct answer *answer, const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    answer->line(answer->context, line);
}

static void fail(const struct answer *answer, enum status status, const char *reason)
{
    say(answer, "error %s %s reason %s", status_name(status), status_sentence(status), reason);
}

typedef unsigned long long ull;

static const char *disk_word(enum store_disk disk)
{
    switch (disk) {
    case STORE_DISK_OK:
        return "ok";
    case STORE_DISK_BLANK:
        return "blank";
    case STORE_DISK_CORRUPT:
        return "corrupt";
    case STORE_DISK_FOREIGN:
        return "foreign";
    case STORE_DISK_SMALL:
        return "small";
    case STORE_DISK_FAILED:
        return "failed";
    }
    return "failed";
}

static const char *role_word(enum group_role role)
{
    switch (role) {
    case GROUP_FOLLOWER:
        return "follower";
    case GROUP_CANDIDATE:
        return "candidate";
    case GROUP_LEADER:
        return "leader";
    case GROUP_JOINING:
        return "joining";
    }
    return "joining";
}

static const char *move_word(enum move_state state)
{
    switch (state) {
    case MOVE_IDLE:
        return "idle";
    case MOVE_APPROACHING:
    case MOVE_DRAINING:
    case MOVE_TRANSFERRING:
    case MOVE_AWAY:
        return "under-way";
    case MOVE_DONE:
        return "done";
    case MOVE_FAILED:
        return "failed";
    }
    return "failed";
}

static const char *world_word(const struct node *node, const struct world_facts *world, bool majority)
{
    if (node->filling) {
        return "filling";
    }
    if (world->life == WORLD_LIFE_STOPPED) {
        return "stopped";
    }
    if (!world->host) {
        return world->life == WORLD_LIFE_NONE ? "none" : "standby";
    }
    if (world->paused) {
        return "moving";
    }
    return majority ? "running" : "waiting-commit";
}

static const char *member_word(const struct group_member_facts *member)
{
    if (member->raft_id == 0) {
        return "none";
    }
    return member->role == DISK_ROLE_VOTER ? "voter" : "standby";
}

static void say_peers(const struct node *node, const struct answer *answer)
{
    uint64_t now = node_now_ns(node);
    for (unsigned number = 1; number <= node->boot->node_count; number++) {
        if (number == node->boot->node_number) {
            continue;
        }
        struct group_member_facts member;
        group_member(node->group, number, &member);
        uint64_t heard_ms = member.heard_ns == 0 ? 4294967295u : (now - member.heard_ns) / 1000000u;
        say(answer, "peer %u link %d heard_ms %llu raft_id %llx role %s match_index %llu", number, member.link ? 1 : 0, (ull)heard_ms,
            (ull)member.raft_id, member_word(&member), (ull)member.match_index);
    }
}

static void command_status(struct node *node, const struct answer *answer)
{
    struct group_facts group = {.role = GROUP_JOINING};
    struct world_facts world;
    bool part = node->disk == STORE_DISK_OK;
    if (part) {
        group_facts(node->group, &group);
    }
    world_facts(node->world, &world);
    say(answer, "version %d", MANAGEMENT_VERSION);
    say(answer, "node %u raft_id %llx incarnation %llx boot %llu uptime_ms %llu", (unsigned)node->boot->node_number, (ull)group.raft_id,
        (ull)group.incarnation, (ull)group.boot_number, (ull)((node_now_ns(node) - node->started_ns) / 1000000u));
    say(answer, "raft role %s term %llu commit_index %llu applied_index %llu last_index %llu leader %u voter %d majority %d", role_word(group.role),
        (ull)group.term, (ull)group.commit_index, (ull)group.applied_index, (ull)group.last_index, raft_id_node(group.leader_id), group.voter ? 1 : 0,
        group.majority ? 1 : 0);
    say(answer, "disk state %s reason %s", group.disk_failed ? "failed" : disk_word(node->disk),
        group.disk_failed ? "a write failed: the node stands aside until it is started again" : node->disk_reason);
    if (part) {
        say_peers(node, answer);
    }
    say(answer, "world main state %s host %d epoch %llu committed %llu digest %016llx resumed %llu reason %s", world_word(node, &world, group.majority),
        world.host ? 1 : 0, (ull)world.epoch, (ull)world.committed, (ull)world.digest, (ull)world.resumed, world.reason);
    say(answer, "move state %s target %u stopped_us %llu reason %s", move_word(node->move.state), node->move.target,
        (ull)(node->move.stopped_ns / 1000u), node->move.reason);
    if (node->last_words[0] != '\0') {
        say(answer, "last_words %s", node->last_words);
    }
    say(answer, "ok");
}

static void say_histogram(const struct answer *answer, const char *name, const struct histogram *histogram)
{
    enum { FRONT_BYTES = 128, BUCKET_BYTES = 16 };
    char line[FRONT_BYTES + HISTOGRAM_BUCKETS * BUCKET_BYTES];
    int length = snprintf(line, FRONT_BYTES, "histogram %s count %llu sum_ns %llu max_ns %llu buckets", name, (ull)histogram->count,
                          (ull)histogram->sum_ns, (ull)histogram->max_ns);
    char *at = line + length;
    for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        if (histogram->buckets[bucket] != 0) {
            at += snprintf(at, BUCKET_BYTES, " %u:%lu", bucket, (unsigned long)histogram->buckets[bucket]);
        }
    }
    answer->line(answer->context, line);
}

static const char *probe_word(enum probe_state state)
{
    switch (state) {
    case PROBE_NONE:
        return "none";
    case PROBE_RUNNING:
        return "running";
    case PROBE_DONE:
        return "done";
    case PROBE_FAILED:
        return "failed";
    }
    return "failed";
}

static void command_probe(struct node *node, const struct answer *answer)
{
    const struct probe *probe = &node->probe;
    if (probe->state == PROBE_NONE) {
        fail(answer, STATUS_EMPTY, "nothing was measured since this node started");
        return;
    }
    const char *name = node_probe_name(probe->kind);
    say(answer, "probe %s state %s batch %lu", name, probe_word(probe->state), (unsigned long)node_probe_batch(probe->kind));
    say_histogram(answer, name, &probe->times);
    say(answer, "ok");
}

static void command_probe_begin(struct node *node, const struct answer *answer, char *arguments)
{
    char *count = strchr(arguments, ' ');
    if (count == NULL || count[1] < '0' || count[1] > '9') {
        fail(answer, STATUS_INVALID, "probe takes a name and a number of samples");
        return;
    }
    *count++ = '\0';
    char *end;
    unsigned long samples = strtoul(count, &end, 10);
    enum status status = *end == '\0' ? node_probe_begin(node, arguments, samples) : STATUS_INVALID;
    if (status == STATUS_OK) {
        say(answer, "ok");
    } else {
        fail(answer, status, "entry, flush, fault, copy, compare, hash, seal, open, memcpy, memcmp, clock, echo, stream, write, bulk, read or gap, and 1 to 100000 samples");
    }
}

static void command_dirty_age(struct node *node, const struct answer *answer, const char *argument)
{
    char *end;
    unsigned long age_us = strtoul(argument, &end, 10);
    if (*argument < '0' || *argument > '9' || *end != '\0' || world_set_dirty_age(node->world, age_us) != STATUS_OK) {
        fail(answer, STATUS_INVALID, "dirty-age takes 100 to 10000000 microseconds, or 0");
        return;
    }
    say(answer, "ok");
}

static void command_metrics(struct node *node, const struct answer *answer)
{
    struct world_facts world;
    world_facts(node->world, &world);
    say(answer, "metric world_freezes %llu", (ull)world.freezes);
    say(answer, "metric world_freeze_pages %llu", (ull)world.freeze_pages);
    say(answer, "metric world_delta_bytes %llu", (ull)world.delta_bytes);
    say(answer, "metric world_delta_item_bytes %llu", (ull)world.delta_item_bytes);
    say(answer, "metric world_delta_pages %llu", (ull)world.delta_pages);
    say(answer, "metric world_delta_runs %llu", (ull)world.delta_runs);
    say(answer, "metric world_delta_changed_bytes %llu", (ull)world.delta_changed_bytes);
    say(answer, "metric world_write_faults %llu", (ull)world.write_faults);
    say(answer, "metric world_undone_epochs %llu", (ull)world.undone_epochs);
    say(answer, "metric world_frames_in %llu", (ull)world.frames_in);
    say(answer, "metric world_frames_dropped %llu", (ull)world.frames_dropped);
    say(answer, "metric world_frames_out %llu", (ull)world.frames_out);
    say(answer, "metric world_present_pages %u", (unsigned)world.present_pages);
    if (node->disk == STORE_DISK_OK) {
        struct group_facts group;
        struct peers_counters peers;
        group_facts(node->group, &group);
        peers_count(node->peers, &peers);
        say(answer, "metric log_bytes %llu", (ull)group.log_bytes);
        say(answer, "metric disk_log_bytes %llu", (ull)group.log_written_bytes);
        say(answer, "metric disk_vote_bytes %llu", (ull)group.vote_written_bytes);
        say(answer, "metric disk_store_bytes %llu", (ull)store_written_bytes(node->store));
        say(answer, "metric leader_detections %llu", (ull)group.detections);
        say(answer, "metric leader_detection_ns %llu", (ull)group.detection_ns);
        say(answer, "metric peers_bytes_sent %llu", (ull)peers.bytes_sent);
        say(answer, "metric peers_bytes_received %llu", (ull)peers.bytes_received);
        say(answer, "metric peers_bulk_bytes_sent %llu", (ull)peers.bulk_bytes_sent);
        say(answer, "metric peers_bulk_bytes_received %llu", (ull)peers.bulk_bytes_received);
        say(answer, "metric peers_messages_sent %llu", (ull)peers.messages_sent);
        say(answer, "metric peers_messages_received %llu", (ull)peers.messages_received);
        say(answer, "metric peers_links_violated %llu", (ull)peers.links_violated);
        say(answer, "metric peers_links_silent %llu", (ull)peers.links_silent);
        say(answer, "metric peers_hellos_refused %llu", (ull)peers.hellos_refused);
    }
    const struct world_times *times = world_times(node->world);
    say_histogram(answer, "world_freeze", &times->freeze);
    say_histogram(answer, "world_capture", &times->capture);
    say_histogram(answer, "world_seal", &times->seal);
    say_histogram(answer, "world_commit", &times->commit);
    say_histogram(answer, "world_apply", &times->apply);
    say_histogram(answer, "world_open", &node->open_times);
    say(answer, "ok");
}

static void fail_not_host(const struct node *node, const struct answer *answer)
{
    char reason[64];
    snprintf(reason, sizeof reason, "host is node %u", node_leader(node));
    fail(answer, STATUS_NOT_LEADER, reason);
}

static void command_move(struct node *node, const struct answer *answer, const char *argument)
{
    char *end;
    unsigned long target = strtoul(argument, &end, 10);
    if (*argument < '0' || *argument > '9' || *end != '\0') {
        fail(answer, STATUS_INVALID, "move takes a node number");
        return;
    }
    if (!world_hosting(node->world)) {
        fail_not_host(node, answer);
        return;
    }
    switch (node_move_request(node, target)) {
    case 0:
        say(answer, "ok");
        break;
    case 1:
        node->move = (struct move){.state = MOVE_DONE, .target = (unsigned)target};
        say(answer, "ok");
        break;
    case -ABI_EINVAL:
        fail(answer, STATUS_INVALID, "there is no such node");
        break;
    case -ABI_ENOENT:
        fail(answer, STATUS_NOT_FOUND, "that node is down or not connected");
        break;
    default:
        fail(answer, STATUS_BUSY, "that node is not a voter yet, or a move is under way");
        break;
    }
}

static void command_reset(struct node *node, const struct answer *answer)
{
    if (!world_hosting(node->world)) {
        fail_not_host(node, answer);
        return;
    }
    struct world_facts world;
    world_facts(node->world, &world);
    if (world.life != WORLD_LIFE_STOPPED || !world_drained(node->world)) {
        fail(answer, STATUS_REFUSED, "the world is not stopped: only a stopped world is replaced by a fresh one");
        return;
    }
    const struct group_entry entry = {.type = GROUP_ENTRY_RESET, .world = WORLD_NUMBER, .epoch = world.epoch + 1, .part = 0, .parts = 1};
    uint64_t index;
    enum status status = group_submit(node->group, &entry, NULL, &index);
    if (status != STATUS_OK) {
        fail(answer, status, "the reset could not be written to the log: try again");
        return;
    }
    say(answer, "ok");
}

void node_management_line(struct node *node, const char *line, size_t bytes, node_answer_fn *answer_line, void *context)
{
    const struct answer answer = {.line = answer_line, .context = context};
    char text[MANAGEMENT_LINE_BYTES_MAX + 1];
    if (bytes > MANAGEMENT_LINE_BYTES_MAX) {
        fail(&answer, STATUS_INVALID, "the line is too long");
        return;
    }
    for (size_t i = 0; i < bytes; i++) {
        if (line[i] < ' ' || line[i] > '~') {
            fail(&answer, STATUS_INVALID, "the line has other bytes than printable ASCII");
            return;
        }
        text[i] = line[i];
    }
    text[bytes] = '\0';
    bool part = node->disk == STORE_DISK_OK && !node->restarting;
    if (strcmp(text, "status") == 0) {
        command_status(node, &answer);
    } else if (strcmp(text, "metrics") == 0) {
        command_metrics(node, &answer);
    } else if (strcmp(text, "probe") == 0) {
        command_probe(node, &answer);
    } else if (strncmp(text, "probe ", 6) == 0 && part) {
        command_probe_begin(node, &answer, text + 6);
    } else if (strncmp(text, "dirty-age ", 10) == 0) {
        command_dirty_age(node, &answer, text + 10);
    } else if (strncmp(text, "ping ", 5) == 0) {
        say(&answer, "pong %s", text + 5);
        say(&answer, "ok");
    } else if (strncmp(text, "move ", 5) == 0 && part) {
        command_move(node, &answer, text + 5);
    } else if (strcmp(text, "reset") == 0 && part) {
        command_reset(node, &answer);
    } else {
        fail(&answer, STATUS_INVALID, "there is no such command here: status, metrics, probe [NAME COUNT], dirty-age US, ping TEXT, move N, reset");
    }
}
