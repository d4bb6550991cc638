#include "tests/unit/support/fake_machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "include/check.h"

struct fake_write {
    uint64_t offset;
    size_t bytes;
    struct fake_write *next;
    const struct block_request *request;    /* NULL once completed */
    uint64_t completed_at;                  /* value of `sequence` */
    uint8_t data[];
};

/* What reserve gave out: mapped, or from the heap. */
struct fake_reserved {
    void *memory;
    size_t mapped_bytes;
};

enum { LARGE_BYTES = 1 << 20, GUARD_BYTES = 4096 };

static uint64_t sequence; /* orders completions and flush submissions */

uint64_t test_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15ull;
    uint64_t x = *state;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

uint32_t test_random_below(uint64_t *state, uint32_t bound)
{
    return (uint32_t)(test_random(state) % bound);
}

uint64_t test_seed(const char *test, uint64_t base)
{
    const char *given = getenv("EIDOLON_TEST_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 0) : base;
    printf("%s: seed %llu (EIDOLON_TEST_SEED=%llu repeats it)\n", test, (unsigned long long)seed, (unsigned long long)seed);
    return seed;
}

/* -- the n-th failure -- */

void fake_machine_fail_once(struct fake_machine *fake, enum fake_call call, uint64_t n)
{
    fake->failing = call;
    fake->fail_at = n;
}

bool fake_machine_has_failed(const struct fake_machine *fake)
{
    return fake->fail_at == 0;
}

bool fake_machine_fails(struct fake_machine *fake, enum fake_call call)
{
    return fake->fail_at > 0 && fake->failing == call && --fake->fail_at == 0;
}

/* -- clock, entropy, log -- */

static uint64_t fake_now(void *context)
{
    return ((struct fake_machine *)context)->now_ns;
}

static uint64_t fake_wall_clock(void *context)
{
    return ((struct fake_machine *)context)->wall_clock_ns;
}

static void fake_entropy(void *context, void *buffer, size_t bytes)
{
    struct fake_machine *fake = context;
    for (size_t i = 0; i < bytes; i++) {
        ((uint8_t *)buffer)[i] = (uint8_t)test_random(&fake->seed);
    }
}

static void fake_log(void *context, enum log_level level, const char *line)
{
    struct fake_machine *fake = context;
    fake->log_lines++;
    snprintf(fake->last_log, sizeof fake->last_log, "%s", line);
    if (getenv("EIDOLON_TEST_LOG") != NULL) {
        printf("  log %d: %s\n", (int)level, line);
    }
}

/* -- disk -- */

static enum status fake_block_read(void *context, uint64_t offset, void *buffer, size_t bytes)
{
    struct fake_machine *fake = context;
    CHECK(bytes > 0);
    CHECK(bytes <= MACHINE_REQUEST_BYTES_MAX);
    CHECK(offset % MACHINE_BLOCK_BYTES == 0);
    CHECK(bytes % MACHINE_BLOCK_BYTES == 0);
    CHECK(offset + bytes <= fake->disk.bytes);
    if (fake_machine_fails(fake, FAKE_READ)) {
        memset(buffer, 0xa5, bytes);
        return STATUS_IO_ERROR;
    }
    if (fake->disk.read_error_at >= offset && fake->disk.read_error_at < offset + bytes) {
        return STATUS_IO_ERROR;
    }
    memcpy(buffer, fake->disk.current + offset, bytes);
    return STATUS_OK;
}

static enum status fake_block_submit(void *context, struct block_request *request)
{
    struct fake_machine *fake = context;
    struct fake_disk *disk = &fake->disk;
    if (disk->queued >= disk->queue_max || fake_machine_fails(fake, FAKE_SUBMIT)) {
        return STATUS_FULL;
    }
    if (request->operation == BLOCK_WRITE) {
        CHECK(request->bytes > 0);
        CHECK(request->bytes <= MACHINE_REQUEST_BYTES_MAX);
        CHECK(request->offset % MACHINE_BLOCK_BYTES == 0);
        CHECK(request->bytes % MACHINE_BLOCK_BYTES == 0);
        CHECK(request->offset + request->bytes <= disk->bytes);
        struct fake_write *write = malloc(sizeof *write + request->bytes);
        CHECK(write != NULL);
        write->offset = request->offset;
        write->bytes = request->bytes;
        write->next = NULL;
        write->request = request;
        memcpy(write->data, request->buffer, request->bytes);
        *disk->unflushed_tail = write;
        disk->unflushed_tail = &write->next;
    } else {
        request->offset = ++sequence; /* covers what was completed until now */
    }
    request->next = NULL;
    struct block_request **tail = &disk->queue;
    while (*tail != NULL) {
        tail = &(*tail)->next;
    }
    *tail = request;
    disk->queued++;
    return STATUS_OK;
}

/* Durable at once, with everything that stood there unflushed forgotten. */
static enum status fake_block_write(void *context, uint64_t offset, const void *buffer, size_t bytes)
{
    struct fake_machine *fake = context;
    CHECK(offset % MACHINE_BLOCK_BYTES == 0);
    CHECK(bytes > 0);
    CHECK(bytes % MACHINE_BLOCK_BYTES == 0);
    CHECK(offset + bytes <= fake->disk.bytes);
    if (fake->disk.write_errors || fake_machine_fails(fake, FAKE_WRITE)) {
        return STATUS_IO_ERROR;
    }
    memcpy(fake->disk.current + offset, buffer, bytes);
    memcpy(fake->disk.durable + offset, buffer, bytes);
    return STATUS_OK;
}

static void retire_flushed(struct fake_disk *disk, uint64_t until)
{
    struct fake_write **at = &disk->unflushed;
    while (*at != NULL) {
        struct fake_write *write = *at;
        if (write->request == NULL && write->completed_at < until) {
            memcpy(disk->durable + write->offset, write->data, write->bytes);
            *at = write->next;
            free(write);
        } else {
            at = &write->next;
        }
    }
    disk->unflushed_tail = at;
}

/* Each sector of a write that no flush covers survives or not. */
static void keep_some_sectors(struct fake_machine *fake, const struct fake_write *write)
{
    for (size_t at = 0; at < write->bytes; at += MACHINE_SECTOR_BYTES) {
        if (test_random(&fake->seed) % 2 == 0) {
            memcpy(fake->disk.durable + write->offset + at, write->data + at, MACHINE_SECTOR_BYTES);
        }
    }
}

/* A flush that failed: of what it would have covered each sector survives or not, and no later flush makes up for it. */
static void forget_completed(struct fake_machine *fake, uint64_t until)
{
    struct fake_disk *disk = &fake->disk;
    struct fake_write **at = &disk->unflushed;
    while (*at != NULL) {
        struct fake_write *write = *at;
        if (write->request == NULL && write->completed_at < until) {
            keep_some_sectors(fake, write);
            *at = write->next;
            free(write);
        } else {
            at = &write->next;
        }
    }
    disk->unflushed_tail = at;
}

bool fake_disk_complete(struct fake_machine *fake, bool any_order)
{
    struct fake_disk *disk = &fake->disk;
    if (disk->queue == NULL || disk->completions >= disk->dead_after) {
        return false;
    }
    struct block_request **at = &disk->queue;
    for (uint32_t skip = any_order ? test_random_below(&fake->seed, disk->queued) : 0; skip > 0; skip--) {
        at = &(*at)->next;
    }
    struct block_request *request = *at;
    *at = request->next;
    disk->queued--;
    disk->completions++;
    bool fails = fake_machine_fails(fake, request->operation == BLOCK_FLUSH ? FAKE_FLUSH : FAKE_WRITE);
    enum status status = disk->write_errors || fails ? STATUS_IO_ERROR : STATUS_OK;
    if (request->operation == BLOCK_FLUSH) {
        disk->flushes++;
        if (status == STATUS_OK) {
            retire_flushed(disk, request->offset);
        } else if (fails) {
            forget_completed(fake, request->offset);
        }
    } else {
        struct fake_write *write = disk->unflushed;
        while (write->request != request) {
            write = write->next;
        }
        CHECK(memcmp(write->data, request->buffer, request->bytes) == 0);
        write->request = NULL;
        write->completed_at = ++sequence;
        if (status == STATUS_OK) {
            memcpy(disk->current + write->offset, write->data, write->bytes);
        } else {
            memcpy(write->data, disk->current + write->offset, write->bytes);
        }
    }
    request->done(request, status);
    return true;
}

void fake_disk_drain(struct fake_machine *fake)
{
    while (fake_disk_complete(fake, false)) {
    }
}

void fake_disk_flip(struct fake_machine *fake, uint64_t offset, unsigned bit)
{
    fake->disk.current[offset] ^= (uint8_t)(1u << bit);
    fake->disk.durable[offset] ^= (uint8_t)(1u << bit);
}

void fake_disk_forget_unflushed(struct fake_machine *fake)
{
    struct fake_disk *disk = &fake->disk;
    for (struct fake_write *write = disk->unflushed; write != NULL; write = write->next) {
        keep_some_sectors(fake, write);
    }
    while (disk->unflushed != NULL) {
        struct fake_write *write = disk->unflushed;
        memcpy(disk->current + write->offset, disk->durable + write->offset, write->bytes);
        disk->unflushed = write->next;
        free(write);
    }
    disk->unflushed_tail = &disk->unflushed;
    disk->queue = NULL;
    disk->queued = 0;
}

/* -- pages -- */

static uint8_t *fake_page_frame(void *context, uint32_t page)
{
    struct fake_machine *fake = context;
    CHECK(page < fake->machine.pages_max);
    return fake->frames[page];
}

static enum status fake_page_add(void *context, uint32_t page)
{
    struct fake_machine *fake = context;
    CHECK(page < fake->machine.pages_max);
    CHECK(fake->frames[page] == NULL);
    if (fake->frames_left == 0 || fake_machine_fails(fake, FAKE_PAGE_ADD)) {
        return STATUS_NO_MEMORY;
    }
    fake->frames_left--;
    fake->frames[page] = aligned_alloc(4096, 4096);
    CHECK(fake->frames[page] != NULL);
    memset(fake->frames[page], 0, 4096);
    fake->rights[page] = PAGE_NONE;
    return STATUS_OK;
}

static void fake_page_remove(void *context, uint32_t page)
{
    struct fake_machine *fake = context;
    CHECK(fake->frames[page] != NULL);
    free(fake->frames[page]);
    fake->frames[page] = NULL;
    fake->rights[page] = PAGE_NONE;
    fake->frames_left++;
}

static void fake_page_protect(void *context, uint32_t page, enum page_rights rights)
{
    struct fake_machine *fake = context;
    CHECK(fake->frames[page] != NULL);
    fake->rights[page] = rights;
}

static void fake_pages_flush(void *context)
{
    ((struct fake_machine *)context)->page_flushes++;
}

/* -- the rest -- */

/* A blank disk: untouched pages cost nothing. */
static uint8_t *disk_memory(uint64_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(memory != MAP_FAILED);
    return memory;
}

static void *fake_reserve(void *context, size_t bytes, size_t alignment)
{
    struct fake_machine *fake = context;
    size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    if (rounded > fake->reserve_left || fake_machine_fails(fake, FAKE_RESERVE)) {
        return NULL;
    }
    struct fake_reserved *reserved = realloc(fake->reserved, (fake->reserved_count + 1) * sizeof *reserved);
    CHECK(reserved != NULL);
    fake->reserved = reserved;
    struct fake_reserved *made = &fake->reserved[fake->reserved_count++];
    fake->reserve_left -= rounded;
    void *memory;
    if (rounded >= LARGE_BYTES && alignment <= GUARD_BYTES) {
        /* Pages that nobody touches cost nothing; what is written behind the end faults. */
        size_t pages = (rounded + GUARD_BYTES - 1) / GUARD_BYTES * GUARD_BYTES;
        uint8_t *mapped = disk_memory(pages + GUARD_BYTES);
        CHECK(mprotect(mapped + pages, GUARD_BYTES, PROT_NONE) == 0);
        *made = (struct fake_reserved){.memory = mapped, .mapped_bytes = pages + GUARD_BYTES};
        memory = mapped + (pages - rounded);
    } else {
        memory = aligned_alloc(alignment < sizeof(void *) ? sizeof(void *) : alignment, rounded > 0 ? rounded : alignment);
        CHECK(memory != NULL);
        memset(memory, 0, rounded);
        *made = (struct fake_reserved){.memory = memory};
    }
    return memory;
}

static size_t no_link_room(void *context, unsigned peer, unsigned lane)
{
    (void)context, (void)peer, (void)lane;
    return 0;
}

static enum status no_link_send(void *context, unsigned peer, unsigned lane, const void *data, size_t bytes)
{
    (void)context, (void)peer, (void)lane, (void)data, (void)bytes;
    return STATUS_CLOSED;
}

static void no_link_action(void *context, unsigned peer, unsigned lane)
{
    (void)context, (void)peer, (void)lane;
}

static void drop_frame(void *context, const void *frame, size_t bytes)
{
    (void)context, (void)frame, (void)bytes;
}

static void drop_text(void *context, const char *text, size_t bytes)
{
    (void)context, (void)text, (void)bytes;
}

static void ignore_address(void *context, bool hold)
{
    (void)context, (void)hold;
}

void fake_machine_init(struct fake_machine *fake, uint64_t seed, uint32_t pages_max, uint64_t disk_bytes)
{
    memset(fake, 0, sizeof *fake);
    fake->seed = seed;
    fake->now_ns = 1000000000;
    fake->wall_clock_ns = 1700000000000000000ull;
    fake->frames_left = UINT32_MAX;
    fake->reserve_left = SIZE_MAX;
    fake->frames = calloc(pages_max, sizeof *fake->frames);
    fake->rights = calloc(pages_max, sizeof *fake->rights);
    fake->disk.bytes = disk_bytes;
    if (disk_bytes > 0) {
        fake->disk.current = disk_memory(disk_bytes);
        fake->disk.durable = disk_memory(disk_bytes);
    }
    fake->disk.unflushed_tail = &fake->disk.unflushed;
    fake->disk.dead_after = UINT64_MAX;
    fake->disk.read_error_at = UINT64_MAX;
    fake->disk.queue_max = 64;
    fake->machine = (struct machine){
        .context = fake,
        .now_ns = fake_now,
        .wall_clock_ns = fake_wall_clock,
        .entropy = fake_entropy,
        .log = fake_log,
        .disk_bytes = disk_bytes,
        .block_read = fake_block_read,
        .block_write = fake_block_write,
        .block_submit = fake_block_submit,
        .link_room = no_link_room,
        .link_send = no_link_send,
        .link_flush = no_link_action,
        .link_reset = no_link_action,
        .pages_max = pages_max,
        .page_frame = fake_page_frame,
        .page_add = fake_page_add,
        .page_remove = fake_page_remove,
        .page_protect = fake_page_protect,
        .pages_flush = fake_pages_flush,
        .world_frame_send = drop_frame,
        .world_console_write = drop_text,
        .world_address_hold = ignore_address,
        .world_elf = "",
        .reserve = fake_reserve,
    };
}

static void release_memory(struct fake_machine *fake)
{
    for (size_t i = 0; i < fake->reserved_count; i++) {
        if (fake->reserved[i].mapped_bytes > 0) {
            munmap(fake->reserved[i].memory, fake->reserved[i].mapped_bytes);
        } else {
            free(fake->reserved[i].memory);
        }
    }
    free(fake->reserved);
    fake->reserved = NULL;
    fake->reserved_count = 0;
    for (uint32_t page = 0; page < fake->machine.pages_max; page++) {
        if (fake->frames[page] != NULL) {
            fake_page_remove(fake, page);
        }
    }
}

void fake_machine_power_cut(struct fake_machine *fake)
{
    fake_disk_forget_unflushed(fake);
    release_memory(fake);
    fake->disk.dead_after = UINT64_MAX;
    fake->disk.completions = 0;
}

void fake_machine_destroy(struct fake_machine *fake)
{
    fake_disk_forget_unflushed(fake);
    release_memory(fake);
    free(fake->frames);
    free(fake->rights);
    if (fake->disk.bytes > 0) {
        munmap(fake->disk.current, fake->disk.bytes);
        munmap(fake->disk.durable, fake->disk.bytes);
    }
}
