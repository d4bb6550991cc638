#include "kernel/machine.h"

#include "drivers/links.h"
#include "drivers/timer.h"
#include "drivers/virtio_blk.h"
#include "drivers/world_port.h"
#include "kernel/console.h"
#include "kernel/epitaph.h"
#include "kernel/log.h"
#include "kernel/memory.h"
#include "kernel/probe.h"
#include "kernel/random.h"
#include "kernel/world_memory.h"

extern const char world_image_start[], world_image_end[];

static uint64_t now_ns(void *context)
{
    (void)context;
    return timer_now_ns();
}

static uint64_t wall_clock_ns(void *context)
{
    (void)context;
    return timer_wall_clock_ns();
}

static void entropy(void *context, void *buffer, size_t bytes)
{
    (void)context;
    random_fill(buffer, bytes);
}

static void write_log(void *context, enum log_level level, const char *line)
{
    (void)context;
    log_line(level, line);
}

static enum status block_read(void *context, uint64_t offset, void *buffer, size_t bytes)
{
    (void)context;
    return virtio_blk_read(offset, buffer, bytes);
}

static enum status block_write(void *context, uint64_t offset, const void *buffer, size_t bytes)
{
    (void)context;
    return virtio_blk_write(offset, buffer, bytes);
}

static enum status block_submit(void *context, struct block_request *request)
{
    (void)context;
    return virtio_blk_submit(request);
}

static void restart(void *context, const char *why)
{
    (void)context;
    epitaph_write_and_reset(why);
}

static size_t link_room(void *context, unsigned peer, unsigned lane)
{
    (void)context;
    return links_room(peer, lane);
}

static enum status link_send(void *context, unsigned peer, unsigned lane, const void *data, size_t bytes)
{
    (void)context;
    return links_send(peer, lane, data, bytes);
}

static void link_flush(void *context, unsigned peer, unsigned lane)
{
    (void)context;
    links_flush(peer, lane);
}

static void link_reset(void *context, unsigned peer, unsigned lane)
{
    (void)context;
    links_reset(peer, lane);
}

static void world_frame_send(void *context, const void *frame, size_t bytes)
{
    (void)context;
    world_port_send(frame, bytes);
}

static void world_address_hold(void *context, bool hold)
{
    (void)context;
    world_port_hold(hold);
}

static void world_console_write(void *context, const char *text, size_t bytes)
{
    (void)context;
    console_write(timer_now_ns(), text, bytes);
}

static void *reserve(void *context, size_t bytes, size_t alignment)
{
    (void)context;
    return memory_reserve(bytes, alignment);
}

const struct machine *machine_init(void)
{
    static struct machine machine = {
        .now_ns = now_ns,
        .wall_clock_ns = wall_clock_ns,
        .entropy = entropy,
        .log = write_log,
        .block_read = block_read,
        .block_write = block_write,
        .block_submit = block_submit,
        .link_room = link_room,
        .link_send = link_send,
        .link_flush = link_flush,
        .link_reset = link_reset,
        .world_frame_send = world_frame_send,
        .world_console_write = world_console_write,
        .world_address_hold = world_address_hold,
        .page_frame = world_memory_page_frame,
        .page_add = world_memory_page_add,
        .page_remove = world_memory_page_remove,
        .page_protect = world_memory_page_protect,
        .pages_flush = world_memory_pages_flush,
        .probe = probe_run,
        .restart = restart,
        .reserve = reserve,
    };
    machine.disk_bytes = virtio_blk_bytes();
    machine.pages_max = world_memory_pages_max();
    machine.world_elf = world_image_start;
    machine.world_elf_bytes = (size_t)(world_image_end - world_image_start);
    return &machine;
}
