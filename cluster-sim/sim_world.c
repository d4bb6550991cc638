/* The program in the world: a machine of small steps; each writes to at most one page, so that a write fault repeats just that step and a freeze may
 * come between any two. It serves numbered requests. Request n of a client chooses by its number what it changes: a few places, many, whole pages,
 * or nothing that differs; each place is checked first to hold what its last writer put there. It then writes a key of a small store, remembers what
 * it did, and is answered with its place in the order of all requests and the one that wrote the key before. */
#include <stdlib.h>
#include <string.h>

#include "cluster-sim/sim.h"
#include "include/abi.h"
#include "include/check.h"
#include "include/hash64.h"
#include "replicate/image_private.h"
#include "replicate/node_internal.h"

enum { WORK_PAGES = 100, HEAVY_WORK_PAGES = 500, WHOLE_PAGES_MIN = 40, WHOLE_PAGES_MAX = 200, HEAVY_WHOLE_PAGES_MAX = 1400, STEPS_PER_RUN = 200, FRAME_BYTES = sizeof(struct sim_frame) };

/* What a request writes: places of 16 bytes, the same places with what stands there already, or whole pages. */
enum work_kind { WORK_PLACES, WORK_SILENT, WORK_WHOLE };

/* -- an ELF that only lays out memory -- */

const uint8_t sim_world_elf[2 * 4096] = {
    [0] = 0x7f, 'E', 'L', 'F', 2, 1, 1, [16] = 2, [18] = 62, [20] = 1,
    [25] = 0x00, [26] = 0x20, [27] = 0x10,       /* entry 0x10200000 */
    [32] = 64, [54] = 56, [56] = 1,              /* one program header at 64 */
    [64] = 1, [68] = 5, [73] = 0x10,             /* loadable, read and execute, file offset 4096 */
    [82] = 0x20, [83] = 0x10,                    /* address 0x10200000 */
    [97] = 0x10, [105] = 0x10, [113] = 0x10,     /* 4096 bytes in file and memory, aligned to 4096 */
    [4096] = 0xf4,
};

size_t sim_world_elf_bytes(void)
{
    return sizeof sim_world_elf;
}

/* The program's registers: what the kernel would keep of ring 3. */
struct program {
    uint64_t entry, stack;
    uint64_t step;           /* 0: at birth */
    uint64_t request, client;
    uint64_t write;          /* of this request, 0.. */
    uint64_t writes, kind;
    uint64_t done;           /* requests done: what the memory says, too */
    uint64_t produced;       /* what the frame of step 5 will be */
};

struct work_page {
    uint64_t writer;         /* client << 48 | request */
    uint64_t mark;           /* hash of page number and writer */
};

enum { STEP_WAIT = 0, STEP_TAKE, STEP_CHECK, STEP_WRITE, STEP_DONE, STEP_ANSWER, STEP_PRODUCE, STEP_CONSUME };

void machine_registers_init(uint8_t registers[1024], uint64_t entry, uint64_t stack)
{
    struct program program = {.entry = entry, .stack = stack};
    memset(registers, 0, 1024);
    memcpy(registers, &program, sizeof program);
}

/* -- memory of the world as ring 3 sees it -- */

static uint8_t *frame_at(struct sim_node *node, uint64_t address)
{
    return node->frames[(address - ABI_WORLD_BASE) / 4096];
}

static bool world_read(struct sim_node *node, uint64_t address, void *data, size_t bytes)
{
    uint32_t page = (uint32_t)((address - ABI_WORLD_BASE) / 4096);
    if (node->frames[page] == NULL || node->rights[page] == PAGE_NONE) {
        node_world_page_fault(node->node, address, false, false);
        if (node->frames[page] == NULL || !node_world_runnable(node->node)) {
            return false;
        }
    }
    memcpy(data, frame_at(node, address) + address % 4096, bytes);
    return true;
}

static bool world_put(struct sim_node *node, uint64_t address, const void *data, size_t bytes)
{
    uint32_t page = (uint32_t)((address - ABI_WORLD_BASE) / 4096);
    if (node->rights[page] != PAGE_WRITE) {
        const struct image *image = world_image(node->node->world);
        bool frozen = image->pages[page].state == PAGE_FROZEN;
        uint64_t hash = frozen ? image_hash_or_zero(page, node->frames[page]) : 0;
        node_world_page_fault(node->node, address, true, false);
        if (frozen && image_page_hash(image, page) != hash) {
            sim_fail(node->sim, SIM_EXIT_INVARIANT + SIM_NO_TEAR, "NO-TEAR node %u: page %u is written before it was captured for the epoch that is closed",
                     node->number, page);
        }
        if (node->rights[page] != PAGE_WRITE || !node_world_runnable(node->node)) {
            return false;
        }
    }
    memcpy(frame_at(node, address) + address % 4096, data, bytes);
    return true;
}

/* -- the program -- */

static uint64_t heap_of(struct sim_node *node)
{
    struct abi_info info;
    bool read = world_read(node, ABI_INFO_ADDRESS, &info, sizeof info);
    return read ? info.heap_base : 0;
}

uint64_t sim_frame_sum(const struct sim_frame *frame)
{
    return hash64(SIM_CLIENTS, &frame->client, offsetof(struct sim_frame, sum) - offsetof(struct sim_frame, client));
}

uint64_t sim_request_key(uint64_t client, uint64_t request)
{
    return hash64(client + 77, &request, sizeof request) % SIM_KEYS;
}

bool sim_world_state(struct sim_node *node, struct sim_state *out)
{
    struct abi_info info;
    struct image *image = world_image(node->node->world);
    return image_read(image, 0, &info, sizeof info) == STATUS_OK && info.heap_base != 0 &&
           image_read(image, info.heap_base - ABI_WORLD_BASE, out, sizeof *out) == STATUS_OK;
}

/* Mostly little, now and then much, rarely so much that an epoch has many parts. */
static void plan_work(struct program *program, bool heavy)
{
    uint64_t pick = hash64(program->client, &program->request, 8), amount = pick >> 16;
    program->write = 0;
    program->kind = WORK_PLACES;
    switch (pick % 64) {
    case 0:
        program->kind = WORK_WHOLE;
        program->writes = amount % (heavy || amount % 8 == 0 ? 200 : 20);
        break;
    case 1:
        program->kind = WORK_WHOLE;
        program->writes = amount % (heavy ? 40 : 4);
        break;
    case 2: case 3: case 4:
        program->kind = WORK_SILENT;
        program->writes = amount % (heavy ? 30 : 10);
        break;
    case 5: case 6: case 7: case 8:
        program->writes = amount % (heavy ? 60 : 20);
        break;
    default:
        program->writes = amount % 4;
        break;
    }
}

static uint64_t work_address(uint64_t heap, const struct program *program, bool heavy)
{
    uint64_t pick = hash64(program->client * 1000003 + program->request, &program->write, sizeof program->write);
    uint64_t work_pages = heavy ? HEAVY_WORK_PAGES : WORK_PAGES;
    if (program->kind == WORK_WHOLE) { /* a heap that grows */
        uint64_t pages = WHOLE_PAGES_MIN + program->request, most = heavy ? HEAVY_WHOLE_PAGES_MAX : WHOLE_PAGES_MAX;
        return heap + 4096 * (1 + work_pages + pick % (pages < most ? pages : most));
    }
    return heap + 4096 + pick % work_pages * 4096 + 16 * (pick >> 32 & 255);
}

static uint64_t whole_word(uint64_t writer, uint64_t address, uint64_t at)
{
    uint64_t word = (writer + at) * 0x9e3779b97f4a7c15ull + address;
    return (word ^ word >> 29) * 0xbf58476d1ce4e5b9ull;
}

static void whole_fill(uint64_t words[512], uint64_t writer, uint64_t address)
{
    words[0] = writer;
    for (uint64_t i = 1; i < 512; i++) {
        words[i] = whole_word(writer, address, i);
    }
}

/* One step. False: it could not be done (a fault that waits, or the world waits). */
static bool step_wait(struct sim_node *node, struct program *program)
{
    uint64_t result;
    struct abi_info info;
    if (!world_read(node, ABI_INFO_ADDRESS, &info, sizeof info)) {
        return false;
    }
    struct abi_ring_state ring;
    struct abi_receive_info receive;
    if (!world_read(node, ABI_RING_STATE_ADDRESS, &ring, sizeof ring) || !world_read(node, ABI_RECEIVE_INFO_ADDRESS, &receive, sizeof receive)) {
        return false;
    }
    if (receive.produced != ring.receive_consumed) {
        program->step = STEP_TAKE;
        return true;
    }
    const uint64_t arguments[4] = {UINT64_MAX, info.resumed, 0, 0};
    return node_world_call(node->node, ABI_CALL_WAIT, arguments, &result);
}

static bool step_take(struct sim_node *node, struct program *program, uint64_t heap)
{
    struct abi_ring_state ring;
    struct sim_frame request;
    struct sim_state state;
    if (!world_read(node, ABI_RING_STATE_ADDRESS, &ring, sizeof ring) || !world_read(node, heap, &state, sizeof state)) {
        return false;
    }
    uint64_t slot = ABI_RECEIVE_ADDRESS + (uint64_t)(ring.receive_consumed % ABI_FRAME_SLOTS) * ABI_FRAME_SLOT_BYTES;
    if (!world_read(node, slot + 4, &request, sizeof request)) {
        return false;
    }
    if (request.client >= SIM_CLIENTS || request.sum != sim_frame_sum(&request)) {
        sim_fail(node->sim, SIM_EXIT_INVARIANT + SIM_NO_TEAR, "NO-TEAR node %u: the world reads a received frame that nobody sent", node->number);
        return false;
    }
    if (state.sequence != program->done) {
        sim_fail(node->sim, SIM_EXIT_INVARIANT + SIM_NO_TEAR, "NO-TEAR node %u: registers know of %llu requests, memory of %llu", node->number,
                 (unsigned long long)program->done, (unsigned long long)state.sequence);
        return false;
    }
    program->client = request.client;
    program->request = request.request;
    plan_work(program, node->sim->heavy);
    program->step = request.request == state.last[request.client] + 1 ? STEP_CHECK : STEP_ANSWER;
    return true;
}

static bool torn(struct sim_node *node, uint64_t address)
{
    sim_fail(node->sim, SIM_EXIT_INVARIANT + SIM_NO_TEAR, "NO-TEAR node %u: memory at 0x%llx is not what its last writer wrote", node->number,
             (unsigned long long)address);
    return false;
}

static bool check_place(struct sim_node *node, uint64_t address)
{
    struct work_page work;
    if (!world_read(node, address, &work, sizeof work)) {
        return false;
    }
    return work.mark == (work.writer == 0 ? 0 : hash64(address, &work.writer, 8)) || torn(node, address);
}

static bool check_whole(struct sim_node *node, uint64_t address)
{
    uint64_t words[512], expected[512] = {0};
    if (!world_read(node, address, words, sizeof words)) {
        return false;
    }
    if (words[0] != 0) {
        whole_fill(expected, words[0], address);
    }
    return memcmp(words, expected, sizeof words) == 0 || torn(node, address);
}

static bool step_check(struct sim_node *node, struct program *program, uint64_t heap)
{
    if (program->write == program->writes) {
        program->step = STEP_DONE;
        return true;
    }
    uint64_t address = work_address(heap, program, node->sim->heavy);
    if (!(program->kind == WORK_WHOLE ? check_whole(node, address) : check_place(node, address))) {
        return false;
    }
    program->step = STEP_WRITE;
    return true;
}

static bool write_work(struct sim_node *node, const struct program *program, uint64_t address)
{
    uint64_t writer = (program->client + 1) << 48 | program->request;
    if (program->kind == WORK_WHOLE) {
        uint64_t words[512];
        whole_fill(words, writer, address);
        return world_put(node, address, words, sizeof words);
    }
    struct work_page work = {.writer = writer, .mark = hash64(address, &writer, 8)};
    if (program->kind == WORK_SILENT && !world_read(node, address, &work, sizeof work)) {
        return false;
    }
    return world_put(node, address, &work, sizeof work);
}

static bool step_write(struct sim_node *node, struct program *program, uint64_t heap)
{
    if (!write_work(node, program, work_address(heap, program, node->sim->heavy))) {
        return false;
    }
    program->write++;
    program->step = STEP_CHECK;
    return true;
}

static bool step_done(struct sim_node *node, struct program *program, uint64_t heap)
{
    struct sim_state state;
    if (!world_read(node, heap, &state, sizeof state)) {
        return false;
    }
    uint64_t client = program->client, key = sim_request_key(client, program->request);
    if (state.last[client] + 1 != program->request) {
        sim_fail(node->sim, SIM_EXIT_INVARIANT + SIM_NO_TEAR, "NO-TEAR node %u: registers are at request %llu, memory at %llu", node->number,
                 (unsigned long long)program->request, (unsigned long long)state.last[client]);
        return false;
    }
    state.sequence++;
    state.last[client] = program->request;
    state.last_sequence[client] = state.sequence;
    state.last_previous[client] = state.keys[key];
    state.keys[key] = state.sequence;
    if (!world_put(node, heap, &state, sizeof state)) {
        return false;
    }
    program->done = state.sequence;
    program->step = STEP_ANSWER;
    return true;
}

static bool step_answer(struct sim_node *node, struct program *program, uint64_t heap)
{
    struct abi_ring_state ring;
    struct abi_info info;
    struct sim_state state;
    if (!world_read(node, ABI_RING_STATE_ADDRESS, &ring, sizeof ring) || !world_read(node, ABI_INFO_ADDRESS, &info, sizeof info) ||
        !world_read(node, heap, &state, sizeof state)) {
        return false;
    }
    if (ring.transmit_produced - info.transmit_released == ABI_FRAME_SLOTS) {
        uint64_t result;
        const uint64_t arguments[4] = {UINT64_MAX, info.resumed, 0, 0};
        return node_world_call(node->node, ABI_CALL_WAIT, arguments, &result);
    }
    uint64_t client = program->client;
    struct sim_frame answer = {
        .client = client, .request = state.last[client], .sequence = state.last_sequence[client], .previous = state.last_previous[client]};
    answer.sum = sim_frame_sum(&answer);
    struct abi_frame_slot slot = {.bytes = FRAME_BYTES};
    memcpy(slot.frame, &answer, sizeof answer);
    uint64_t address = ABI_TRANSMIT_ADDRESS + (uint64_t)(ring.transmit_produced % ABI_FRAME_SLOTS) * ABI_FRAME_SLOT_BYTES;
    if (!world_put(node, address, &slot, 4 + FRAME_BYTES)) {
        return false;
    }
    program->produced = ring.transmit_produced + 1;
    program->step = STEP_PRODUCE;
    return true;
}

static bool step_count(struct sim_node *node, struct program *program)
{
    uint32_t value = (uint32_t)program->produced;
    uint64_t field = offsetof(struct abi_ring_state, transmit_produced);
    if (program->step == STEP_CONSUME) {
        field = offsetof(struct abi_ring_state, receive_consumed);
        if (!world_read(node, ABI_RING_STATE_ADDRESS + field, &value, 4)) {
            return false;
        }
        value++;
    }
    if (!world_put(node, ABI_RING_STATE_ADDRESS + field, &value, 4)) {
        return false;
    }
    program->step = program->step == STEP_CONSUME ? STEP_WAIT : STEP_CONSUME;
    return true;
}

static bool step(struct sim_node *node, struct program *program)
{
    uint64_t heap = heap_of(node);
    if (heap == 0) {
        return false;
    }
    switch (program->step) {
    case STEP_WAIT:
        return step_wait(node, program);
    case STEP_TAKE:
        return step_take(node, program, heap);
    case STEP_CHECK:
        return step_check(node, program, heap);
    case STEP_WRITE:
        return step_write(node, program, heap);
    case STEP_DONE:
        return step_done(node, program, heap);
    case STEP_ANSWER:
        return step_answer(node, program, heap);
    case STEP_PRODUCE:
    case STEP_CONSUME:
        return step_count(node, program);
    default:
        sim_fail(node->sim, SIM_EXIT_INVARIANT + SIM_NO_TEAR, "NO-TEAR node %u: the program's registers are not a program's", node->number);
        return false;
    }
}

uint64_t sim_world_run(struct sim_node *node)
{
    unsigned done = 0;
    unsigned limit = 1 + (unsigned)sim_below(node->sim, STEPS_PER_RUN);
    while (done < limit && node->sim->failed == 0 && !node->restart_asked && node_world_runnable(node->node)) {
        struct program *program = (struct program *)(void *)node_world_registers(node->node);
        done++;
        if (!step(node, program)) {
            break;
        }
    }
    return 1000ull * done;
}

/* -- pages -- */

static uint8_t *page_frame(void *context, uint32_t page)
{
    return ((struct sim_node *)context)->frames[page];
}

static enum status page_add(void *context, uint32_t page)
{
    struct sim_node *node = context;
    CHECK(node->frames[page] == NULL);
    node->frames[page] = calloc(1, 4096);
    CHECK(node->frames[page] != NULL);
    node->rights[page] = PAGE_NONE;
    return STATUS_OK;
}

static void page_remove(void *context, uint32_t page)
{
    struct sim_node *node = context;
    free(node->frames[page]);
    node->frames[page] = NULL;
    node->rights[page] = PAGE_NONE;
}

static void page_protect(void *context, uint32_t page, enum page_rights rights)
{
    ((struct sim_node *)context)->rights[page] = (uint8_t)rights;
}

static void pages_flush(void *context)
{
    (void)context;
}

static void frame_send(void *context, const void *frame, size_t bytes)
{
    sim_world_frame_out(context, frame, bytes);
}

static void console_write(void *context, const char *text, size_t bytes)
{
    (void)context;
    (void)text;
    (void)bytes;
}

static void address_hold(void *context, bool hold)
{
    struct sim_node *node = context;
    node->holds_address = hold;
    node->held_at_ns = node->sim->now_ns;
}

void sim_world_attach(struct sim_node *node)
{
    node->machine.pages_max = SIM_WORLD_BYTES / 4096;
    node->machine.page_frame = page_frame;
    node->machine.page_add = page_add;
    node->machine.page_remove = page_remove;
    node->machine.page_protect = page_protect;
    node->machine.pages_flush = pages_flush;
    node->machine.world_frame_send = frame_send;
    node->machine.world_console_write = console_write;
    node->machine.world_address_hold = address_hold;
}
