/* The clients outside. A client sends n+1 when n is answered, retransmits, and everything that ever left a gate is remembered:
 *   GATE          a frame contradicts one that left before, or answers what was never asked
 *   LINEARIZABLE  an answer's place in the order is before something that had been answered when it was asked; or a key was read as it never was */
#include <stdlib.h>
#include <string.h>

#include "cluster-sim/sim.h"
#include "include/check.h"
#include "replicate/node_internal.h"

enum { RETRY_MS = 200, HASTY_RETRY_MS = 10, HASTY_PAUSE_MS = 50, BURST_MAX = 30, SHORT_BURST_MAX = 6, LONG_PERCENT = 15, LOST_PERCENT = 2 };

/* The switch: the node that announced the address last. */
static struct sim_node *address_holder(struct sim *sim)
{
    struct sim_node *holder = NULL;
    for (unsigned i = 1; i <= sim->node_count; i++) {
        struct sim_node *node = &sim->nodes[i];
        if (sim_alive(node) && node->holds_address && (holder == NULL || node->held_at_ns > holder->held_at_ns)) {
            holder = node;
        }
    }
    return holder;
}

static void send_frame(struct sim *sim, const struct sim_frame *frame, sim_event_fn *arrives)
{
    struct sim_frame *copy = malloc(sizeof *copy);
    CHECK(copy != NULL);
    *copy = *frame;
    sim_at(sim, 100000 + sim_below(sim, 1000000), arrives, copy, 0);
}

static void request_arrives(struct sim *sim, void *context, uint64_t argument)
{
    (void)argument;
    struct sim_node *holder = address_holder(sim);
    if (holder != NULL && !sim->cut[0][holder->number] && holder->frozen_until_ns <= sim->now_ns) {
        node_world_frame_received(holder->node, context, sizeof(struct sim_frame));
        sim_wake(holder, 3000);
    }
    free(context);
}

static void client_send(struct sim *sim, void *context, uint64_t generation)
{
    struct sim_client *client = context;
    if (generation != client->retry_generation) {
        return;
    }
    if (client->sent == client->acknowledged) {
        if (sim->quiet) {
            return;
        }
        client->sent++;
        client->floor = sim->told;
    }
    struct sim_frame frame = {.client = client->number, .request = client->sent};
    frame.sum = sim_frame_sum(&frame);
    if (sim->healed || !sim_chance(sim, LOST_PERCENT)) {
        send_frame(sim, &frame, request_arrives);
        if (sim_chance(sim, LOST_PERCENT)) {
            send_frame(sim, &frame, request_arrives); /* twice */
        }
    }
    /* Hasty clients keep the pipeline of a host full that cannot commit. */
    uint64_t retry_ms = sim->pause_ms <= HASTY_PAUSE_MS && !sim->healed ? HASTY_RETRY_MS : RETRY_MS;
    sim_at(sim, retry_ms * SIM_MS, client_send, client, generation);
}

static void next_request(struct sim *sim, struct sim_client *client)
{
    uint64_t think = sim_below(sim, 4 * SIM_MS);
    if (client->burst == 0) {
        client->burst = 1 + (uint32_t)sim_below(sim, sim_chance(sim, LONG_PERCENT) ? BURST_MAX : SHORT_BURST_MAX);
        think = sim_below(sim, (sim->healed ? 300 : sim->pause_ms) * SIM_MS);
    }
    client->burst--;
    client->retry_generation++;
    sim_at(sim, think, client_send, client, client->retry_generation);
}

static void answer_arrives(struct sim *sim, void *context, uint64_t argument)
{
    struct sim_frame frame = *(struct sim_frame *)context;
    (void)argument;
    free(context);
    struct sim_client *client = &sim->clients[frame.client];
    if (frame.request != client->sent || client->sent != client->acknowledged + 1) {
        return;
    }
    if (frame.sequence <= client->floor) {
        sim_fail(sim, SIM_EXIT_INVARIANT + SIM_LINEARIZABLE, "LINEARIZABLE request %llu of client %u was done as %llu, but when it was sent %llu was known",
                 (unsigned long long)frame.request, client->number, (unsigned long long)frame.sequence, (unsigned long long)client->floor);
        return;
    }
    client->acknowledged = frame.request;
    client->last_answer_ns = sim->now_ns;
    sim->told = frame.sequence > sim->told ? frame.sequence : sim->told;
    next_request(sim, client);
}

/* Nobody wrote the key between the request and the one that it says wrote it before. */
static void check_key(struct sim *sim, uint64_t sequence, const struct sim_done *done)
{
    for (uint64_t between = sequence - 1; between > done->previous; between--) {
        if (sim->history[between].request != 0 && sim->history[between].key == done->key) {
            sim_fail(sim, SIM_EXIT_INVARIANT + SIM_LINEARIZABLE, "LINEARIZABLE request %llu in order saw key %llu as %llu wrote it, but %llu wrote it later",
                     (unsigned long long)sequence, (unsigned long long)done->key, (unsigned long long)done->previous, (unsigned long long)between);
            return;
        }
    }
}

static void remember(struct sim_node *node, const struct sim_frame *answer)
{
    struct sim *sim = node->sim;
    sim->history = sim_slot(sim->history, &sim->history_count, answer->sequence, sizeof *sim->history);
    struct sim_done *known = &sim->history[answer->sequence];
    struct sim_done done = {answer->client, answer->request, answer->previous, sim_request_key(answer->client, answer->request)};
    if (known->request == 0) {
        *known = done;
        check_key(sim, answer->sequence, &done);
    } else if (memcmp(known, &done, sizeof done) != 0) {
        sim_fail(sim, SIM_EXIT_INVARIANT + SIM_GATE, "GATE node %u: %llu in order is request %llu of client %llu, but request %llu of client %llu left before",
                 node->number, (unsigned long long)answer->sequence, (unsigned long long)done.request, (unsigned long long)done.client,
                 (unsigned long long)known->request, (unsigned long long)known->client);
    }
    sim->released = answer->sequence > sim->released ? answer->sequence : sim->released;
}

void sim_world_frame_out(struct sim_node *node, const void *frame, size_t bytes)
{
    struct sim *sim = node->sim;
    struct sim_frame answer;
    CHECK(bytes == sizeof answer);
    memcpy(&answer, frame, sizeof answer);
    if (answer.client >= SIM_CLIENTS || answer.sum != sim_frame_sum(&answer)) {
        sim_fail(sim, SIM_EXIT_INVARIANT + SIM_NO_TEAR, "NO-TEAR node %u: a frame left that is none of the program's", node->number);
        return;
    }
    struct sim_client *client = &sim->clients[answer.client];
    if (answer.request > client->sent) {
        sim_fail(sim, SIM_EXIT_INVARIANT + SIM_GATE, "GATE node %u: client %u is answered request %llu and sent only %llu", node->number, client->number,
                 (unsigned long long)answer.request, (unsigned long long)client->sent);
        return;
    }
    if (answer.request == 0) {
        return; /* an old request came first: nothing was done yet */
    }
    remember(node, &answer);
    sim_aim_released(node);
    if (!sim->cut[node->number][0] && sim->failed == 0) {
        send_frame(sim, &answer, answer_arrives);
    }
}

void sim_clients_rouse(struct sim *sim, unsigned percent)
{
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        struct sim_client *client = &sim->clients[i];
        if (client->sent == client->acknowledged && sim_chance(sim, percent)) {
            client->burst = 1 + (uint32_t)sim_below(sim, SHORT_BURST_MAX);
            client->retry_generation++;
            sim_at(sim, sim_below(sim, 4 * SIM_MS), client_send, client, client->retry_generation);
        }
    }
}

void sim_clients_start(struct sim *sim)
{
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        sim->clients[i] = (struct sim_client){.sim = sim, .number = i};
        sim_at(sim, 100 * SIM_MS * (i + 1), client_send, &sim->clients[i], 0);
    }
}
