#include "tests/fuzz/support/fuzz_machine.h"

#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "include/check.h"

enum { PAGE = 4096, LARGE_BYTES = 32 << 10 };

/* Small pieces are copied back; large ones are private views of a file, which forget at a word what was written. */
struct fuzz_reserved {
    uint8_t *memory;
    size_t bytes;
    uint8_t *kept;      /* of a small one; NULL: zero */
    int file;           /* of a large one; -1 */
};

static size_t whole_pages(size_t bytes)
{
    return (bytes + PAGE - 1) / PAGE * PAGE;
}

static uint8_t *map(size_t bytes, int file)
{
    int flags = MAP_PRIVATE | MAP_NORESERVE | (file < 0 ? MAP_ANONYMOUS : 0);
    uint8_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, file, 0);
    CHECK(memory != MAP_FAILED);
    return memory;
}

/* -- reserved memory -- */

static void map_reserved(struct fuzz_reserved *reserved, size_t bytes)
{
    size_t inner = whole_pages(bytes), all = inner + 2 * PAGE;
    *reserved = (struct fuzz_reserved){.bytes = bytes, .file = -1};
    if (bytes >= LARGE_BYTES) {
        reserved->file = memfd_create("reserved", MFD_CLOEXEC);
        CHECK(reserved->file >= 0);
        int sized = ftruncate(reserved->file, (off_t)all);
        CHECK(sized == 0);
    }
    reserved->memory = map(all, reserved->file) + PAGE;
    ASAN_POISON_MEMORY_REGION(reserved->memory - PAGE, PAGE);
    ASAN_POISON_MEMORY_REGION(reserved->memory + bytes, inner - bytes + PAGE);
    __lsan_register_root_region(reserved->memory, bytes);
}

static void *reserve(void *context, size_t bytes, size_t alignment)
{
    struct fuzz_machine *machine = context;
    CHECK(machine->reserved_count < FUZZ_RESERVED_MAX);
    CHECK(alignment <= PAGE);
    struct fuzz_reserved *reserved = &machine->reserved[machine->reserved_count++];
    if (machine->reserved_count > machine->reserved_known) {
        map_reserved(reserved, bytes);
        machine->reserved_known = machine->reserved_count;
    }
    CHECK(reserved->bytes == bytes);
    if (bytes == machine->scratch_bytes) {
        machine->scratch = reserved->memory;
    }
    return reserved->memory;
}

static void keep_reserved(struct fuzz_reserved *reserved)
{
    if (reserved->file < 0) {
        reserved->kept = malloc(reserved->bytes);
        CHECK(reserved->kept != NULL);
        memcpy(reserved->kept, reserved->memory, reserved->bytes);
        return;
    }
    static const uint8_t zero[PAGE];
    for (size_t at = 0; at < reserved->bytes; at += PAGE) {
        size_t part = reserved->bytes - at < PAGE ? reserved->bytes - at : PAGE;
        if (memcmp(reserved->memory + at, zero, part) != 0) {
            ssize_t written = pwrite(reserved->file, reserved->memory + at, part, (off_t)(PAGE + at));
            CHECK(written == (ssize_t)part);
        }
    }
}

static void bring_back_reserved(struct fuzz_reserved *reserved)
{
    if (reserved->file >= 0) {
        int forgotten = madvise(reserved->memory, whole_pages(reserved->bytes), MADV_DONTNEED);
        CHECK(forgotten == 0);
    } else if (reserved->kept != NULL) {
        memcpy(reserved->memory, reserved->kept, reserved->bytes);
    } else {
        memset(reserved->memory, 0, reserved->bytes);
    }
}

/* -- pages -- */

static enum status page_add(void *context, uint32_t page)
{
    struct fuzz_machine *machine = context;
    struct fake_machine *fake = &machine->fake;
    CHECK(page < fake->machine.pages_max);
    CHECK(fake->frames[page] == NULL);
    fake->frames[page] = machine->frames + (size_t)page * PAGE;
    ASAN_UNPOISON_MEMORY_REGION(fake->frames[page], PAGE);
    memset(fake->frames[page], 0, PAGE);
    fake->rights[page] = PAGE_NONE;
    return STATUS_OK;
}

static void page_remove(void *context, uint32_t page)
{
    struct fuzz_machine *machine = context;
    struct fake_machine *fake = &machine->fake;
    CHECK(fake->frames[page] != NULL);
    ASAN_POISON_MEMORY_REGION(fake->frames[page], PAGE);
    fake->frames[page] = NULL;
    fake->rights[page] = PAGE_NONE;
}

static void keep_pages(struct fuzz_machine *machine)
{
    const struct fake_machine *fake = &machine->fake;
    machine->kept_frames = calloc(fake->machine.pages_max, sizeof *machine->kept_frames);
    machine->kept_rights = calloc(fake->machine.pages_max, sizeof *machine->kept_rights);
    CHECK(machine->kept_frames != NULL);
    CHECK(machine->kept_rights != NULL);
    for (uint32_t page = 0; page < fake->machine.pages_max; page++) {
        machine->kept_rights[page] = fake->rights[page];
        if (fake->frames[page] != NULL) {
            machine->kept_frames[page] = malloc(PAGE);
            CHECK(machine->kept_frames[page] != NULL);
            memcpy(machine->kept_frames[page], fake->frames[page], PAGE);
        }
    }
}

static void bring_back_pages(struct fuzz_machine *machine)
{
    struct fake_machine *fake = &machine->fake;
    for (uint32_t page = 0; page < fake->machine.pages_max; page++) {
        const uint8_t *kept = machine->kept_frames[page];
        if (kept == NULL && fake->frames[page] == NULL) {
            continue;
        }
        if (kept == NULL) {
            page_remove(machine, page);
            continue;
        }
        if (fake->frames[page] == NULL) {
            enum status added = page_add(machine, page);
            CHECK(added == STATUS_OK);
        }
        fake->rights[page] = machine->kept_rights[page];
        memcpy(fake->frames[page], kept, PAGE);
    }
}

/* -- disk -- */

static void touch(struct fuzz_machine *machine, uint64_t offset, uint64_t bytes)
{
    CHECK(offset + bytes <= machine->fake.disk.bytes);
    for (uint64_t block = offset / PAGE; block * PAGE < offset + bytes; block++) {
        if (!machine->is_touched[block]) {
            machine->is_touched[block] = true;
            machine->touched[machine->touched_count++] = (uint32_t)block;
        }
    }
}

uint8_t *fuzz_machine_disk(struct fuzz_machine *machine, uint64_t offset, uint64_t bytes)
{
    touch(machine, offset, bytes);
    return machine->fake.disk.current + offset;
}

/* The log reads its whole region, window by window, into the same buffer, and writes there only when something is to be written. */
static bool *blank_of(struct fuzz_machine *machine, const uint8_t *page)
{
    bool inside = machine->scratch != NULL && page >= machine->scratch && page < machine->scratch + machine->scratch_bytes;
    return inside ? &machine->scratch_blank[(size_t)(page - machine->scratch) / PAGE] : NULL;
}

static void forget_blank(struct fuzz_machine *machine)
{
    if (machine->scratch_blank != NULL) {
        memset(machine->scratch_blank, 0, machine->scratch_bytes / PAGE);
    }
}

static uint64_t now_ns(void *context)
{
    struct fuzz_machine *machine = context;
    forget_blank(machine); /* whoever goes on to write asks for the time first */
    return machine->fake_now(context);
}

/* What nobody wrote is zero, without looking there: most of a disk. */
static enum status block_read(void *context, uint64_t offset, void *buffer, size_t bytes)
{
    struct fuzz_machine *machine = context;
    const struct fake_disk *disk = &machine->fake.disk;
    CHECK(bytes > 0);
    CHECK(bytes <= MACHINE_REQUEST_BYTES_MAX);
    CHECK(offset % PAGE == 0);
    CHECK(bytes % PAGE == 0);
    CHECK(offset + bytes <= disk->bytes);
    uint8_t *page = buffer;
    for (uint64_t block = offset / PAGE; block * PAGE < offset + bytes; block++, page += PAGE) {
        bool *blank = blank_of(machine, page);
        if (machine->is_touched[block]) {
            memcpy(page, disk->current + block * PAGE, PAGE);
        } else if (blank == NULL || !*blank) {
            memset(page, 0, PAGE);
        }
        if (blank != NULL) {
            CHECK(!*blank || machine->is_touched[block] || page[0] == 0);
            *blank = !machine->is_touched[block];
        }
    }
    return STATUS_OK;
}

static enum status block_write(void *context, uint64_t offset, const void *buffer, size_t bytes)
{
    struct fuzz_machine *machine = context;
    touch(machine, offset, bytes);
    return machine->fake_write(context, offset, buffer, bytes);
}

static enum status block_submit(void *context, struct block_request *request)
{
    struct fuzz_machine *machine = context;
    forget_blank(machine);
    if (request->operation == BLOCK_WRITE) {
        touch(machine, request->offset, request->bytes);
    }
    return machine->fake_submit(context, request);
}

static void keep_disk(struct fuzz_machine *machine)
{
    machine->kept_touched = machine->touched_count;
    machine->kept_blocks = calloc(machine->touched_count + 1u, sizeof *machine->kept_blocks);
    CHECK(machine->kept_blocks != NULL);
    for (uint32_t i = 0; i < machine->touched_count; i++) {
        machine->kept_blocks[i] = malloc(PAGE);
        CHECK(machine->kept_blocks[i] != NULL);
        memcpy(machine->kept_blocks[i], machine->fake.disk.current + (size_t)machine->touched[i] * PAGE, PAGE);
    }
}

/* What would survive a power cut needs no care: no run has one. */
void fuzz_machine_reset_disk(struct fuzz_machine *machine)
{
    fake_disk_forget_unflushed(&machine->fake);
    for (uint32_t i = 0; i < machine->touched_count; i++) {
        uint8_t *block = machine->fake.disk.current + (size_t)machine->touched[i] * PAGE;
        if (i < machine->kept_touched) {
            memcpy(block, machine->kept_blocks[i], PAGE);
        } else {
            memset(block, 0, PAGE);
            machine->is_touched[machine->touched[i]] = false;
        }
    }
    machine->touched_count = machine->kept_touched;
}

/* -- all of it -- */

void fuzz_machine_init(struct fuzz_machine *machine, uint32_t pages_max, uint64_t disk_bytes)
{
    memset(machine, 0, sizeof *machine);
    struct machine *seam = &machine->fake.machine;
    fake_machine_init(&machine->fake, 1, pages_max, disk_bytes);
    machine->reserved = calloc(FUZZ_RESERVED_MAX, sizeof *machine->reserved);
    machine->touched = calloc(disk_bytes / PAGE + 1, sizeof *machine->touched);
    machine->is_touched = calloc(disk_bytes / PAGE + 1, sizeof *machine->is_touched);
    CHECK(machine->reserved != NULL);
    CHECK(machine->touched != NULL);
    CHECK(machine->is_touched != NULL);
    machine->frames = map((size_t)pages_max * PAGE, -1);
    ASAN_POISON_MEMORY_REGION(machine->frames, (size_t)pages_max * PAGE);
    machine->fake_write = seam->block_write;
    machine->fake_submit = seam->block_submit;
    machine->fake_now = seam->now_ns;
    seam->now_ns = now_ns;
    seam->reserve = reserve;
    seam->page_add = page_add;
    seam->page_remove = page_remove;
    seam->block_read = block_read;
    seam->block_write = block_write;
    seam->block_submit = block_submit;
}

void fuzz_machine_keep(struct fuzz_machine *machine)
{
    CHECK(machine->kept_frames == NULL);
    CHECK(machine->fake.disk.unflushed == NULL);
    CHECK(machine->fake.disk.queue == NULL);
    machine->kept = machine->fake;
    machine->kept_reserved = machine->reserved_count;
    for (unsigned i = 0; i < machine->reserved_count; i++) {
        keep_reserved(&machine->reserved[i]);
    }
    keep_pages(machine);
    keep_disk(machine);
}

void fuzz_machine_reset(struct fuzz_machine *machine)
{
    CHECK(machine->kept_frames != NULL);
    fuzz_machine_reset_disk(machine);
    for (unsigned i = 0; i < machine->reserved_count; i++) {
        if (machine->reserved[i].bytes != machine->scratch_bytes) {
            bring_back_reserved(&machine->reserved[i]);
        }
    }
    machine->reserved_count = machine->kept_reserved;
    bring_back_pages(machine);
    machine->fake = machine->kept;
}

void fuzz_machine_scratch(struct fuzz_machine *machine, size_t bytes)
{
    CHECK(machine->reserved_known == 0);
    machine->scratch_bytes = bytes;
    machine->scratch_blank = calloc(bytes / PAGE, sizeof *machine->scratch_blank);
    CHECK(machine->scratch_blank != NULL);
}
