/* Links between nodes: ordered byte streams with delay; while a direction is cut its bytes wait, and as acknowledgements do not come back
 * the sender's window fills. A link of a node that died ends at its peer when the node is back, or by the peer's own reset. Now and then bytes on
 * the way are altered, doubled or taken out, as no TCP would: the channel above must end the link (VERIFY). */
#include <stdlib.h>
#include <string.h>

#include "cluster-sim/sim.h"
#include "consensus/group_internal.h"
#include "include/check.h"
#include "replicate/node_internal.h"

static struct sim_link *link_of(struct sim *sim, unsigned a, unsigned b, unsigned lane)
{
    return a < b ? &sim->links[a][b][lane] : &sim->links[b][a][lane];
}

static struct sim_pipe *pipe_from(struct sim_link *link, unsigned from, unsigned to)
{
    return &link->pipes[from < to ? 0 : 1];
}

static void empty_pipe(struct sim_pipe *pipe)
{
    while (pipe->first != NULL) {
        struct sim_segment *next = pipe->first->next;
        free(pipe->first);
        pipe->first = next;
    }
    pipe->last = NULL;
    pipe->queued = 0;
    pipe->delivering = false;
}

/* What an event about a link needs to know. */
struct link_event {
    unsigned from, to, lane;
    uint64_t life;
};

static struct link_event *event_of(unsigned from, unsigned to, unsigned lane, uint64_t life)
{
    struct link_event *event = malloc(sizeof *event);
    CHECK(event != NULL);
    *event = (struct link_event){from, to, lane, life};
    return event;
}

static bool path_open(const struct sim *sim, unsigned a, unsigned b)
{
    return !sim->cut[a][b] && !sim->cut[b][a];
}

static void connect_later(struct sim *sim, unsigned a, unsigned b, unsigned lane, uint64_t delay);

static void end_link(struct sim *sim, struct sim_link *link)
{
    (void)sim;
    link->up = false;
    link->connecting = false;
    link->life++;
    link->altered_ns = link->altered_term = 0;
    empty_pipe(&link->pipes[0]);
    empty_pipe(&link->pipes[1]);
}

static void connect_event(struct sim *sim, void *context, uint64_t argument)
{
    struct link_event event = *(struct link_event *)context;
    (void)argument;
    free(context);
    struct sim_link *link = link_of(sim, event.from, event.to, event.lane);
    if (link->life != event.life || link->up) {
        return;
    }
    struct sim_node *a = &sim->nodes[event.from], *b = &sim->nodes[event.to];
    link->connecting = false;
    if (!sim_alive(a) || !sim_alive(b)) {
        return;
    }
    if (!path_open(sim, event.from, event.to) || a->frozen_until_ns > sim->now_ns || b->frozen_until_ns > sim->now_ns) {
        connect_later(sim, event.from, event.to, event.lane, 150000000);
        return;
    }
    link->up = true;
    link->life++;
    node_link_up(a->node, event.to, event.lane);
    node_link_up(b->node, event.from, event.lane);
    peers_check(a->node->peers);
    peers_check(b->node->peers);
    sim_wake(a, 3000);
    sim_wake(b, 3000);
}

static void connect_later(struct sim *sim, unsigned a, unsigned b, unsigned lane, uint64_t delay)
{
    struct sim_link *link = link_of(sim, a, b, lane);
    if (!link->up && !link->connecting) {
        link->connecting = true;
        sim_at(sim, delay + sim_below(sim, 50000000), connect_event, event_of(a, b, lane, link->life), 0);
    }
}

static void down_event(struct sim *sim, void *context, uint64_t argument)
{
    struct link_event event = *(struct link_event *)context;
    (void)argument;
    free(context);
    struct sim_link *link = link_of(sim, event.from, event.to, event.lane);
    struct sim_node *node = &sim->nodes[event.to];
    if (link->life == event.life && !link->up && sim_alive(node)) {
        if (node->frozen_until_ns > sim->now_ns) {
            sim_at(sim, node->frozen_until_ns - sim->now_ns, down_event, event_of(event.from, event.to, event.lane, event.life), 0);
            return;
        }
        node_link_down(node->node, event.from, event.lane);
        peers_check(node->node->peers);
        sim_wake(node, 3000);
        connect_later(sim, event.from, event.to, event.lane, 100000000);
    }
}

static void deliver_event(struct sim *sim, void *context, uint64_t argument);

static void schedule_delivery(struct sim *sim, struct sim_link *link, unsigned from, unsigned to, unsigned lane)
{
    struct sim_pipe *pipe = pipe_from(link, from, to);
    if (pipe->first == NULL || pipe->delivering || sim->cut[from][to]) {
        return;
    }
    pipe->delivering = true;
    uint64_t delay = pipe->first->due_ns > sim->now_ns ? pipe->first->due_ns - sim->now_ns : 0;
    sim_at(sim, delay, deliver_event, event_of(from, to, lane, link->life), 0);
}

/* Must the node see that a bit of the segment was altered? Not in the body of an entry that it has, that comes too late or that it has no room for. */
static bool looks_at(struct sim_node *node, unsigned lane, const struct sim_segment *segment)
{
    enum { LOOKED_AT = 128, LEAST_BYTES = 9 };
    if (segment->was_bytes == 0) {
        return true; /* more than a bit */
    }
    if (lane != PEERS_LANE_RAFT || segment->was_bytes < LEAST_BYTES || !sim_serving(node)) {
        return false;
    }
    struct group *group = node->node->group;
    uint64_t last = log_last_index(group->log), index = last > LOOKED_AT ? last - LOOKED_AT : 0;
    if (last == 0 || segment->term < raft_current_term(&group->raft) || !log_room(group->log, APPEND_ENTRIES_MAX, APPEND_BYTES_MAX, false)) {
        return false;
    }
    for (index++; index <= last; index++) {
        struct log_view view;
        if (log_read(group->log, index, group->apply_scratch, &view) == STATUS_OK &&
            memmem(view.body, view.body_bytes, segment->was, segment->was_bytes) != NULL) {
            return false;
        }
    }
    return true;
}

static uint64_t messages_received(const struct sim_node *node)
{
    struct peers_counters counters;
    peers_count(node->node->peers, &counters);
    return counters.messages_received;
}

/* A segment's bytes to the node. If a bit of it was altered, or of one before, it is judged when the whole message has come: of an older term by then it
 * is not looked at. */
static void give(struct sim *sim, struct sim_link *link, struct sim_node *node, const struct link_event *event, const struct sim_segment *segment)
{
    if (segment->altered && link->altered_ns == 0 && looks_at(node, event->lane, segment)) {
        link->altered_ns = sim->now_ns;
        link->altered_term = segment->was_bytes != 0 ? segment->term : 0;
        link->altered_to = event->to;
    }
    bool open = link->altered_term != 0 && link->altered_to == event->to && sim_serving(node);
    bool late = open && link->altered_term < raft_current_term(&node->node->group->raft);
    uint64_t life = link->life, before = open ? messages_received(node) : 0;
    node_link_data(node->node, event->from, event->lane, segment->data, segment->bytes);
    if (open && link->life == life && messages_received(node) != before) {
        link->altered_term = 0;
        link->altered_ns = late ? 0 : link->altered_ns;
    }
}

static void deliver_event(struct sim *sim, void *context, uint64_t argument)
{
    struct link_event event = *(struct link_event *)context;
    (void)argument;
    free(context);
    struct sim_link *link = link_of(sim, event.from, event.to, event.lane);
    if (link->life != event.life || !link->up) {
        return;
    }
    struct sim_pipe *pipe = pipe_from(link, event.from, event.to);
    struct sim_node *node = &sim->nodes[event.to];
    pipe->delivering = false;
    if (sim->cut[event.from][event.to] || !sim_alive(node)) {
        return;
    }
    if (node->frozen_until_ns > sim->now_ns) {
        pipe->delivering = true;
        sim_at(sim, node->frozen_until_ns - sim->now_ns, deliver_event, event_of(event.from, event.to, event.lane, link->life), 0);
        return;
    }
    struct sim_segment *segment = pipe->first;
    pipe->first = segment->next;
    if (pipe->first == NULL) {
        pipe->last = NULL;
    }
    if (!sim->cut[event.to][event.from]) {
        pipe->queued -= segment->bytes; /* otherwise the acknowledgement does not come back */
    }
    uint64_t life = link->life;
    give(sim, link, node, &event, segment);
    free(segment);
    sim_wake(node, 3000);
    if (link->life == life && link->up) {
        schedule_delivery(sim, link, event.from, event.to, event.lane);
    }
}

/* -- the seam -- */

static size_t link_room(void *context, unsigned peer, unsigned lane)
{
    struct sim_node *node = context;
    struct sim_link *link = link_of(node->sim, node->number, peer, lane);
    return link->up ? SIM_LINK_WINDOW - pipe_from(link, node->number, peer)->queued : 0;
}

static void append_segment(struct sim *sim, struct sim_pipe *pipe, const void *data, size_t bytes)
{
    struct sim_segment *segment = malloc(sizeof *segment + bytes);
    CHECK(segment != NULL);
    segment->next = NULL;
    segment->bytes = bytes;
    segment->altered = false;
    segment->was_bytes = 0;
    segment->due_ns = sim->now_ns + 50000 + sim_below(sim, 300000) + bytes * 10;
    if (!sim->healed && (sim->faults & 1u << SIM_FAULT_LOSS) != 0 && sim_chance(sim, 1)) {
        segment->due_ns += sim_below(sim, 200 * SIM_MS); /* lost and sent again */
    }
    memcpy(segment->data, data, bytes);
    if (pipe->last != NULL) {
        pipe->last->next = segment;
        if (segment->due_ns < pipe->last->due_ns) {
            segment->due_ns = pipe->last->due_ns;
        }
    } else {
        pipe->first = segment;
    }
    pipe->last = segment;
    pipe->queued += bytes;
}

/* Harm what was appended last. */
static void alter(struct sim *sim, struct sim_pipe *pipe, unsigned from, unsigned to, unsigned lane, bool aimed)
{
    static const char *const words[] = {"altered", "cut short", "doubled"};
    struct sim_segment *segment = pipe->last;
    uint64_t at = sim_below(sim, segment->bytes), how = aimed ? 0 : sim_below(sim, 3);
    sim->injected[SIM_FAULT_ALTER]++;
    sim_note(sim, 0, "FAULT %zu bytes from %u to %u, lane %u, are %s at %llu", segment->bytes, from, to, lane, words[how], (unsigned long long)at);
    segment->altered = true;
    switch (how) {
    case 0: { /* perhaps in a body that nobody looks at: see looks_at */
        uint64_t start = at < 8 ? 0 : at - 8, left = segment->bytes - start;
        segment->was_bytes = (uint8_t)(left < sizeof segment->was ? left : sizeof segment->was);
        memcpy(segment->was, segment->data + start, segment->was_bytes);
        segment->term = sim_serving(&sim->nodes[from]) ? raft_current_term(&sim->nodes[from].node->group->raft) : 0;
        segment->data[at] ^= (uint8_t)(1u << sim_below(sim, 8));
        break;
    }
    case 1: /* the end is missing */
        pipe->queued -= segment->bytes - at;
        segment->bytes = at;
        break;
    default: { /* it comes twice */
        struct sim_segment *first = segment;
        append_segment(sim, pipe, first->data, first->bytes);
        pipe->last->altered = true;
        break;
    }
    }
}

static enum status link_send(void *context, unsigned peer, unsigned lane, const void *data, size_t bytes)
{
    struct sim_node *node = context;
    struct sim *sim = node->sim;
    struct sim_link *link = link_of(sim, node->number, peer, lane);
    if (!link->up) {
        return STATUS_CLOSED;
    }
    struct sim_pipe *pipe = pipe_from(link, node->number, peer);
    if (bytes > SIM_LINK_WINDOW - pipe->queued) {
        return STATUS_FULL;
    }
    if (bytes == 0) {
        return STATUS_OK;
    }
    append_segment(sim, pipe, data, bytes);
    /* Few messages say who belongs to the cluster, so those are aimed at. */
    bool members = lane == PEERS_LANE_RAFT && bytes > 8 && bytes <= MEMBERS_BYTES_MAX && (bytes - 8) % sizeof(struct disk_member) == 0;
    bool once = sim->alter_once_bytes != 0 && bytes >= sim->alter_once_bytes;
    if ((once || (sim->alter_until_ns > sim->now_ns && sim_chance(sim, members ? 50 : 2))) && pipe->queued < SIM_LINK_WINDOW / 2) {
        alter(sim, pipe, node->number, peer, lane, members);
        sim->alter_once_bytes = once ? 0 : sim->alter_once_bytes;
    }
    schedule_delivery(sim, link, node->number, peer, lane);
    return STATUS_OK;
}

static void link_flush(void *context, unsigned peer, unsigned lane)
{
    (void)context;
    (void)peer;
    (void)lane;
}

static void link_reset(void *context, unsigned peer, unsigned lane)
{
    struct sim_node *node = context;
    struct sim *sim = node->sim;
    struct sim_link *link = link_of(sim, node->number, peer, lane);
    if (!link->up) {
        return;
    }
    end_link(sim, link);
    sim_at(sim, 100000 + sim_below(sim, 1000000), down_event, event_of(node->number, peer, lane, link->life), 0);
    if (!path_open(sim, node->number, peer)) {
        connect_later(sim, node->number, peer, lane, 150000000);
    }
}

void sim_net_attach(struct sim_node *node)
{
    node->machine.link_room = link_room;
    node->machine.link_send = link_send;
    node->machine.link_flush = link_flush;
    node->machine.link_reset = link_reset;
}

void sim_net_node_off(struct sim_node *node)
{
    struct sim *sim = node->sim;
    for (unsigned peer = 1; peer <= sim->node_count; peer++) {
        for (unsigned lane = 0; lane < MACHINE_LANES && peer != node->number; lane++) {
            struct sim_link *link = link_of(sim, node->number, peer, lane);
            bool was_up = link->up;
            end_link(sim, link);
            if (was_up) {
                sim_at(sim, 500000000 + sim_below(sim, 500000000), down_event, event_of(node->number, peer, lane, link->life), 0);
            }
        }
    }
}

void sim_net_connect_all(struct sim_node *node)
{
    struct sim *sim = node->sim;
    for (unsigned peer = 1; peer <= sim->node_count; peer++) {
        for (unsigned lane = 0; lane < MACHINE_LANES && peer != node->number; lane++) {
            connect_later(sim, node->number, peer, lane, 1000000);
        }
    }
}

void sim_net_path_changed(struct sim *sim)
{
    for (unsigned a = 1; a <= sim->node_count; a++) {
        for (unsigned b = 1; b <= sim->node_count; b++) {
            for (unsigned lane = 0; lane < MACHINE_LANES && a != b; lane++) {
                struct sim_link *link = link_of(sim, a, b, lane);
                if (link->up) {
                    struct sim_pipe *pipe = pipe_from(link, a, b);
                    size_t queued = 0;
                    for (struct sim_segment *segment = pipe->first; segment != NULL; segment = segment->next) {
                        queued += segment->bytes;
                    }
                    if (path_open(sim, a, b)) {
                        pipe->queued = queued;
                    }
                    schedule_delivery(sim, link, a, b, lane);
                } else {
                    connect_later(sim, a, b, lane, 10000000);
                }
            }
        }
    }
}

uint64_t sim_link_life(struct sim *sim, unsigned a, unsigned b, unsigned lane)
{
    const struct sim_link *link = link_of(sim, a, b, lane);
    return link->up ? link->life : 0;
}

void sim_net_check(struct sim *sim)
{
    /* A lane on which no message is whole any more is ended after five silences of its kind. */
    static const uint64_t limit_ns[MACHINE_LANES] = {5 * SIM_SECOND, 15 * SIM_SECOND};
    for (unsigned a = 1; a <= sim->node_count; a++) {
        for (unsigned b = a + 1; b <= sim->node_count; b++) {
            for (unsigned lane = 0; lane < MACHINE_LANES; lane++) {
                struct sim_link *link = &sim->links[a][b][lane];
                bool frozen = sim->nodes[a].frozen_until_ns > sim->now_ns || sim->nodes[b].frozen_until_ns > sim->now_ns;
                if (link->altered_ns != 0 && frozen) {
                    link->altered_ns = sim->now_ns;
                }
                if (link->up && link->altered_ns != 0 && sim->now_ns - link->altered_ns > limit_ns[lane]) {
                    sim_fail(sim, SIM_EXIT_INVARIANT + SIM_VERIFY, "VERIFY the link between nodes %u and %u, lane %u, goes on behind altered bytes", a, b, lane);
                }
            }
        }
    }
}

void sim_net_destroy(struct sim *sim)
{
    for (unsigned a = 1; a <= sim->node_count; a++) {
        for (unsigned b = a + 1; b <= sim->node_count; b++) {
            for (unsigned lane = 0; lane < MACHINE_LANES; lane++) {
                end_link(sim, &sim->links[a][b][lane]);
            }
        }
    }
}
