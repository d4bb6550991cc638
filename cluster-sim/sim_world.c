/* The program in the world, and its clients outside.
 *
 * The program is a machine of small steps; each writes at most one place, so that a write fault repeats just that step and a freeze may come between
 * any two. It serves numbered requests: request n of a client overwrites some pages that n chooses, after checking that they hold what
 * the last writer put there, and is answered with the number of the last request it has done. A client sends n+1 when n is answered, retransmits,
 * and remembers everything it was told:
 *   GATE      an answer names a request that the client never sent, or goes back behind one that was answered before
 *   NO-TEAR   the program finds memory that does not agree with itself or with its registers */
#include <stdlib.h>
#include <string.h>

#include "cluster-sim/sim.h"
#include "include/abi.h"
#include "include/check.h"
#include "include/hash64.h"
#include "replicate/node_internal.h"

enum { WORK_PAGES = 600, WORK_WRITES_MAX = 40, STEPS_PER_RUN = 200, FRAME_BYTES = 64 };

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
    uint64_t writes;
    uint64_t produced;       /* what the frame of step 5 will be */
};

/* At the base of the heap. */
struct state {
    uint64_t last[SIM_CLIENTS];
};

struct work_page {
    uint64_t writer;         /* client << 48 | request */
    uint64_t mark;           /* hash of page number and writer */
};

struct request_frame {
    uint8_t ethernet[14];
    uint8_t padding[2];
    uint64_t client, request, sum;
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
        node_world_page_fault(node->node, address, true, false);
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

static uint64_t work_address(uint64_t heap, const struct program *program, uint64_t write)
{
    uint64_t pick = hash64(program->client * 1000003 + program->request, &write, sizeof write);
    return heap + 4096 + pick % WORK_PAGES * 4096 + 16 * (pick >> 32 & 31);
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
    struct request_frame request;
    struct state state;
    if (!world_read(node, ABI_RING_STATE_ADDRESS, &ring, sizeof ring) || !world_read(node, heap, &state, sizeof state)) {
        return false;
    }
    uint64_t slot = ABI_RECEIVE_ADDRESS + (uint64_t)(ring.receive_consumed % ABI_FRAME_SLOTS) * ABI_FRAME_SLOT_BYTES;
    if (!world_read(node, slot + 4, &request, sizeof request)) {
        return false;
    }
    if (request.client >= SIM_CLIENTS || request.sum != hash64(request.client, &request.request, 8)) {
        sim_fail(node->sim, SIM_EXIT_INVARIANT + SIM_NO_TEAR, "NO-TEAR node %u: the world reads a received frame that nobody sent", node->number);
        return false;
    }
    program->client = request.client;
    program->request = request.request;
    program->write = 0;
    program->writes = hash64(request.client, &request.request, 8) % (WORK_WRITES_MAX + 1);
    program->step = request.request == state.last[request.client] + 1 ? STEP_CHECK : STEP_ANSWER;
    return true;
}

static bool step_check(struct sim_node *node, struct program *program, uint64_t heap)
{
    if (program->write == program->writes) {
        program->step = STEP_DONE;
        return true;
    }
    struct work_page work;
    uint64_t address = work_address(heap, program, program->write);
    if (!world_read(node, address, &work, sizeof work)) {
        return false;
    }
    if (work.mark != (work.writer == 0 ? 0 : hash64(address, &work.writer, 8))) {
        sim_fail(node->sim, SIM_EXIT_INVARIANT + SIM_NO_TEAR, "NO-TEAR node %u: memory at 0x%llx is not what its last writer wrote", node->number,
                 (unsigned long long)address);
        return false;
    }
    program->step = STEP_WRITE;
    return true;
}

static bool step_write(struct sim_node *node, struct program *program, uint64_t heap)
{
    uint64_t address = work_address(heap, program, program->write);
    struct work_page work = {.writer = (program->client + 1) << 48 | program->request};
    work.mark = hash64(address, &work.writer, 8);
    if (!world_put(node, address, &work, sizeof work)) {
        return false;
    }
    program->write++;
    program->step = STEP_CHECK;
    return true;
}

static bool step_done(struct sim_node *node, struct program *program, uint64_t heap)
{
    uint64_t last;
    uint64_t address = heap + offsetof(struct state, last) + 8 * program->client;
    if (!world_read(node, address, &last, 8)) {
        return false;
    }
    if (last + 1 != program->request) {
        sim_fail(node->sim, SIM_EXIT_INVARIANT + SIM_NO_TEAR, "NO-TEAR node %u: registers are at request %llu, memory at %llu", node->number,
                 (unsigned long long)program->request, (unsigned long long)last);
        return false;
    }
    if (!world_put(node, address, &program->request, 8)) {
        return false;
    }
    program->step = STEP_ANSWER;
    return true;
}

static bool step_answer(struct sim_node *node, struct program *program, uint64_t heap)
{
    struct abi_ring_state ring;
    struct abi_info info;
    struct state state;
    if (!world_read(node, ABI_RING_STATE_ADDRESS, &ring, sizeof ring) || !world_read(node, ABI_INFO_ADDRESS, &info, sizeof info) ||
        !world_read(node, heap, &state, sizeof state)) {
        return false;
    }
    if (ring.transmit_produced - info.transmit_released == ABI_FRAME_SLOTS) {
        uint64_t result;
        const uint64_t arguments[4] = {UINT64_MAX, info.resumed, 0, 0};
        return node_world_call(node->node, ABI_CALL_WAIT, arguments, &result);
    }
    struct request_frame answer = {.client = program->client, .request = state.last[program->client]};
    answer.sum = hash64(answer.client, &answer.request, 8);
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

/* -- clients -- */

struct travelling {
    struct request_frame frame;
};

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

static void request_arrives(struct sim *sim, void *context, uint64_t argument)
{
    (void)argument;
    struct sim_node *holder = address_holder(sim);
    if (holder != NULL && !sim->cut[0][holder->number] && holder->frozen_until_ns <= sim->now_ns) {
        uint8_t frame[FRAME_BYTES] = {0};
        memcpy(frame, context, sizeof(struct request_frame));
        node_world_frame_received(holder->node, frame, sizeof frame);
        sim_wake(holder, 1000);
    }
    free(context);
}

static void client_send(struct sim *sim, void *context, uint64_t generation)
{
    struct sim_client *client = context;
    if (generation != client->retry_generation) {
        return;
    }
    client->sent = client->acknowledged + 1;
    struct request_frame *frame = calloc(1, sizeof *frame);
    CHECK(frame != NULL);
    frame->client = client->number;
    frame->request = client->sent;
    frame->sum = hash64(frame->client, &frame->request, 8);
    if (sim->healed || !sim_chance(sim, 2)) {
        sim_at(sim, 100000 + sim_below(sim, 1000000), request_arrives, frame, 0);
    } else {
        free(frame);
    }
    sim_at(sim, 200000000, client_send, client, generation);
}

static void answer_arrives(struct sim *sim, void *context, uint64_t argument)
{
    struct request_frame frame = *(struct request_frame *)context;
    (void)argument;
    free(context);
    struct sim_client *client = &sim->clients[frame.client];
    client->answered++;
    if (frame.request == client->sent && client->sent == client->acknowledged + 1) {
        client->acknowledged = frame.request;
        client->last_answer_ns = sim->now_ns;
        client->retry_generation++;
        uint64_t think = sim_chance(sim, 10) ? sim_below(sim, 300000000) : sim_below(sim, 5000000);
        sim_at(sim, think, client_send, client, client->retry_generation);
    }
}

void sim_world_frame_out(struct sim_node *node, const void *frame, size_t bytes)
{
    struct sim *sim = node->sim;
    struct request_frame answer;
    CHECK(bytes == FRAME_BYTES);
    memcpy(&answer, frame, sizeof answer);
    if (answer.client >= SIM_CLIENTS || answer.sum != hash64(answer.client, &answer.request, 8)) {
        sim_fail(sim, SIM_EXIT_INVARIANT + SIM_NO_TEAR, "NO-TEAR node %u: a frame left that is none of the program's", node->number);
        return;
    }
    struct sim_client *client = &sim->clients[answer.client];
    if (answer.request > client->sent) {
        sim_fail(sim, SIM_EXIT_INVARIANT + SIM_GATE, "GATE node %u: client %u is answered request %llu and sent only %llu", node->number, client->number,
                 (unsigned long long)answer.request, (unsigned long long)client->sent);
        return;
    }
    if (sim->cut[node->number][0]) {
        return;
    }
    struct request_frame *copy = malloc(sizeof *copy);
    CHECK(copy != NULL);
    *copy = answer;
    sim_at(sim, 100000 + sim_below(sim, 1000000), answer_arrives, copy, 0);
}

void sim_clients_start(struct sim *sim)
{
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        sim->clients[i] = (struct sim_client){.sim = sim, .number = i};
        sim_at(sim, 100000000 * (i + 1), client_send, &sim->clients[i], 0);
    }
}
