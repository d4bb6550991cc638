#include "tests/unit/support/fake_links.h"

#include <stdlib.h>
#include <string.h>

#include "include/check.h"

static struct fake_pipe *pipe_of(void *context, unsigned peer, unsigned lane)
{
    struct fake_machine *fake = context;
    CHECK(peer >= 1 && peer <= MACHINE_PEERS_MAX && peer != fake->node && lane < MACHINE_LANES);
    return &fake->links->pipes[fake->node][peer][lane];
}

static size_t link_room(void *context, unsigned peer, unsigned lane)
{
    struct fake_pipe *pipe = pipe_of(context, peer, lane);
    return pipe->open ? ((struct fake_machine *)context)->links->capacity - pipe->count : 0;
}

static enum status link_send(void *context, unsigned peer, unsigned lane, const void *data, size_t bytes)
{
    struct fake_pipe *pipe = pipe_of(context, peer, lane);
    if (!pipe->open) {
        return STATUS_CLOSED;
    }
    if (bytes > link_room(context, peer, lane) || fake_machine_fails(context, FAKE_SEND)) {
        return STATUS_FULL;
    }
    memcpy(pipe->bytes + pipe->count, data, bytes);
    pipe->count += bytes;
    return STATUS_OK;
}

static void link_flush(void *context, unsigned peer, unsigned lane)
{
    (void)pipe_of(context, peer, lane);
}

static void link_reset(void *context, unsigned peer, unsigned lane)
{
    struct fake_machine *fake = context;
    struct fake_pipe *out = pipe_of(context, peer, lane), *in = &fake->links->pipes[peer][fake->node][lane];
    fake->links->resets++;
    out->ending = out->open;
    out->open = in->open = in->ending = false;
    out->count = in->count = 0;
}

void fake_links_init(struct fake_links *links, size_t capacity, const struct fake_links_events *events)
{
    memset(links, 0, sizeof *links);
    links->events = *events;
    links->capacity = capacity;
}

void fake_links_destroy(struct fake_links *links)
{
    for (unsigned from = 1; from <= MACHINE_PEERS_MAX; from++) {
        for (unsigned to = 1; to <= MACHINE_PEERS_MAX; to++) {
            for (unsigned lane = 0; lane < MACHINE_LANES; lane++) {
                free(links->pipes[from][to][lane].bytes);
            }
        }
    }
}

void fake_links_attach(struct fake_links *links, struct fake_machine *fake, unsigned node)
{
    fake->links = links;
    fake->node = node;
    fake->machine.link_room = link_room;
    fake->machine.link_send = link_send;
    fake->machine.link_flush = link_flush;
    fake->machine.link_reset = link_reset;
}

static void pipe_open(struct fake_links *links, struct fake_pipe *pipe)
{
    if (pipe->bytes == NULL) {
        pipe->bytes = malloc(links->capacity);
    }
    pipe->count = 0;
    pipe->ending = false;
    pipe->open = true;
}

void fake_links_up(struct fake_links *links, unsigned a, unsigned b, unsigned lane)
{
    pipe_open(links, &links->pipes[a][b][lane]);
    pipe_open(links, &links->pipes[b][a][lane]);
    links->events.up(links->events.context, a, b, lane);
    links->events.up(links->events.context, b, a, lane);
}

void fake_links_down(struct fake_links *links, unsigned a, unsigned b, unsigned lane)
{
    struct fake_pipe *pipes[2] = {&links->pipes[a][b][lane], &links->pipes[b][a][lane]};
    for (size_t i = 0; i < 2; i++) {
        pipes[i]->open = pipes[i]->ending = false;
        pipes[i]->count = 0;
    }
    links->events.down(links->events.context, a, b, lane);
    links->events.down(links->events.context, b, a, lane);
}

bool fake_links_deliver(struct fake_links *links, unsigned from, unsigned to, unsigned lane, size_t bytes)
{
    struct fake_pipe *pipe = &links->pipes[from][to][lane];
    if (pipe->stopped) {
        return false;
    }
    if (pipe->ending) {
        pipe->ending = false;
        links->events.down(links->events.context, to, from, lane);
        return true;
    }
    if (!pipe->open || pipe->count == 0) {
        return false;
    }
    size_t taken = pipe->count < bytes ? pipe->count : bytes;
    uint8_t *data = malloc(taken);
    memcpy(data, pipe->bytes, taken);
    memmove(pipe->bytes, pipe->bytes + taken, pipe->count - taken);
    pipe->count -= taken;
    links->events.data(links->events.context, to, from, lane, data, taken);
    free(data);
    return true;
}

void fake_links_settle(struct fake_links *links, size_t piece)
{
    bool any = true;
    while (any) {
        any = false;
        for (unsigned from = 1; from <= MACHINE_PEERS_MAX; from++) {
            for (unsigned to = 1; to <= MACHINE_PEERS_MAX; to++) {
                for (unsigned lane = 0; lane < MACHINE_LANES; lane++) {
                    while (fake_links_deliver(links, from, to, lane, piece)) {
                        any = true;
                    }
                }
            }
        }
    }
}
