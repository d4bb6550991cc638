/* Runs a world as a Linux process: what the kernel does for build/world.elf, without machines, epochs or replication.
 *
 *   world_run [-m MIB] [-f HOSTPORT:WORLDPORT]... [-t SOCKET] WORLD.ELF
 *
 * The world's memory stands at its own addresses; its `syscall` instructions are caught by syscall user dispatch and answered here.
 * The frame rings are bridged to libslirp: 127.0.0.1:HOSTPORT reaches WORLDPORT, and 10.0.2.2 in the world is the host's loopback.
 * At SOCKET, a Unix socket, one neighbour at a time may send and receive frames of its own, each after its length in four bytes, high first.
 * While the world computes, a timer lets frames in, as interrupts do.
 *
 * Commands on stdin, one a line, each answered by one line:
 *   stats    waits N wakes N frames_in N frames_out N unread N held N pages_written N resumed N console N
 *            (unread: frames that the world has not taken yet; held: frames of the world that have not gone out yet;
 *            pages_written: world pages that were written since the last `watch`, for as long as it is on)
 *   watch    count the pages that are written from now on
 *   resume   the world is told that it was taken over
 *   hold     frames of the world are kept back, and their slots not released
 *   release  they go out
 *   drop     frames that are kept back are lost, as with a node that died
 *   forward MS  the world's clock jumps forward by so many milliseconds
 *   quit     as the end of stdin does
 * Console lines of the world appear on stderr. Exit status: 0 after quit, 1 when the world stopped or faulted. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <slirp/libslirp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "include/abi.h"

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_ON 1
#endif

#define ABOVE_THE_WORLD 0x100000000ull
#define USER_SPACE_END 0x7ffffffff000ull
#define STACK_BYTES (512u * 1024u)
#define SIGNAL_STACK_BYTES (1024u * 1024u)
#define FRAME_TIMER_US 2000
#define COMMIT_DELAY_NS 5000000ull
#define POLLS_MAX 256
#define OWN_POLLS 3
#define FORWARDS_MAX 8
#define NODES 3
#define NODE_DOWN 3

static struct {
    Slirp *slirp;
    int listener, neighbour;              /* -1: none */
    uint8_t neighbour_mac[6];
    struct pollfd polls[POLLS_MAX];
    unsigned poll_count;
    struct abi_info *info;                /* our writable view of the read-only pages */
    struct abi_receive_info *receive_info;
    struct abi_frame_slot *receive_slots;
    uint64_t memory_bytes;
    uint64_t data_base, data_bytes;       /* the image's writable segment */
    uint64_t born_ns;
    uint32_t transmit_taken;              /* frames handed on, or kept back */
    int holding;
    int transmit_has_room; /* again, after the world saw less than ABI_FRAME_SLOTS_LOW */
    int watching;
    uint8_t *written;                     /* a byte for each page */
    uint64_t waits, wakes, frames_in, frames_out, pages_written, console_bytes;
    uint64_t epoch, epoch_committed, commit_due_ns;
    uint32_t node, move_to;
    uint64_t move_due_ns;
} run = {.listener = -1, .neighbour = -1, .epoch = 1, .node = 1};

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "world_run: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t monotonic_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static uint64_t world_clock(void)
{
    return monotonic_ns(CLOCK_MONOTONIC) - run.born_ns + 1;
}

static struct abi_ring_state *ring_state(void)
{
    return (struct abi_ring_state *)ABI_RING_STATE_ADDRESS;
}

/* --- Frames --------------------------------------------------------------------------------------------- */

static ssize_t frame_to_world(const void *frame, size_t bytes, void *opaque)
{
    (void)opaque;
    uint32_t produced = run.receive_info->produced;
    if (bytes > ABI_FRAME_BYTES_MAX || produced - ring_state()->receive_consumed >= ABI_FRAME_SLOTS)
        return (ssize_t)bytes; /* lost, as on a wire */
    struct abi_frame_slot *slot = &run.receive_slots[produced % ABI_FRAME_SLOTS];
    /* A frame on Ethernet has 60 bytes at least. */
    memset(slot->frame, 0, 60);
    memcpy(slot->frame, frame, bytes);
    slot->bytes = (uint32_t)(bytes < 60 ? 60 : bytes);
    __atomic_store_n(&run.receive_info->produced, produced + 1, __ATOMIC_RELEASE);
    run.frames_in++;
    return (ssize_t)bytes;
}

static void neighbour_leaves(void)
{
    close(run.neighbour);
    run.neighbour = -1;
}

/* False: the frame is not for the neighbour alone. */
static int frame_to_neighbour(const struct abi_frame_slot *slot)
{
    int is_its_own = memcmp(slot->frame, run.neighbour_mac, sizeof run.neighbour_mac) == 0;
    if (run.neighbour < 0 || (!is_its_own && (slot->frame[0] & 1) == 0))
        return 0;
    uint8_t message[4 + ABI_FRAME_BYTES_MAX];
    uint32_t header = htonl(slot->bytes);
    memcpy(message, &header, sizeof header);
    memcpy(message + 4, slot->frame, slot->bytes);
    /* One that does not read loses frames, as on a wire. */
    ssize_t sent = send(run.neighbour, message, 4 + slot->bytes, MSG_DONTWAIT);
    if (sent != 4 + (ssize_t)slot->bytes && !(sent < 0 && errno == EAGAIN))
        neighbour_leaves();
    return is_its_own;
}

static void frame_from_neighbour(void)
{
    uint8_t frame[ABI_FRAME_BYTES_MAX];
    uint32_t header, bytes = 0;
    if (recv(run.neighbour, &header, sizeof header, MSG_WAITALL) == sizeof header)
        bytes = ntohl(header);
    if (bytes < 14 || bytes > sizeof frame || recv(run.neighbour, frame, bytes, MSG_WAITALL) != (ssize_t)bytes) {
        neighbour_leaves();
        return;
    }
    memcpy(run.neighbour_mac, frame + 6, sizeof run.neighbour_mac);
    frame_to_world(frame, bytes, NULL);
}

static void frames_from_world(void)
{
    const struct abi_frame_slot *slots = (const struct abi_frame_slot *)ABI_TRANSMIT_ADDRESS;
    if (run.holding)
        return;
    uint32_t used = ring_state()->transmit_produced - run.info->transmit_released;
    run.transmit_has_room |= used > ABI_FRAME_SLOTS - ABI_FRAME_SLOTS_LOW;
    while (run.transmit_taken != ring_state()->transmit_produced) {
        const struct abi_frame_slot *slot = &slots[run.transmit_taken++ % ABI_FRAME_SLOTS];
        run.frames_out++;
        if (!frame_to_neighbour(slot))
            slirp_input(run.slirp, slot->frame, (int)slot->bytes);
    }
    run.info->transmit_released = run.transmit_taken;
}

static void console_from_world(void)
{
    const char *ring = (const char *)ABI_CONSOLE_ADDRESS;
    while (run.info->console_released != ring_state()->console_produced) {
        fputc(ring[run.info->console_released++ % ABI_CONSOLE_BYTES], stderr);
        run.console_bytes++;
    }
}

static void guest_error(const char *message, void *opaque)
{
    (void)opaque;
    fprintf(stderr, "world_run: slirp: %s\n", message);
}

static int64_t slirp_clock(void *opaque)
{
    (void)opaque;
    return (int64_t)monotonic_ns(CLOCK_MONOTONIC);
}

static void *timer_new(SlirpTimerCb callback, void *callback_opaque, void *opaque)
{
    (void)callback, (void)callback_opaque, (void)opaque;
    return &run;
}

static void timer_free(void *timer, void *opaque)
{
    (void)timer, (void)opaque;
}

static void timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
    (void)timer, (void)expire_ms, (void)opaque;
}

static void fd_ignored(int fd, void *opaque)
{
    (void)fd, (void)opaque;
}

static void notified(void *opaque)
{
    (void)opaque;
}

static int add_poll(int fd, int events, void *opaque)
{
    (void)opaque;
    if (run.poll_count == POLLS_MAX - OWN_POLLS)
        return -1;
    short wanted = 0;
    if (events & SLIRP_POLL_IN)
        wanted |= POLLIN;
    if (events & SLIRP_POLL_OUT)
        wanted |= POLLOUT;
    if (events & SLIRP_POLL_PRI)
        wanted |= POLLPRI;
    run.polls[run.poll_count] = (struct pollfd){.fd = fd, .events = wanted};
    return (int)run.poll_count++;
}

static int get_events(int index, void *opaque)
{
    (void)opaque;
    short got = index < 0 ? 0 : run.polls[index].revents;
    return (got & POLLIN ? SLIRP_POLL_IN : 0) | (got & POLLOUT ? SLIRP_POLL_OUT : 0) | (got & POLLPRI ? SLIRP_POLL_PRI : 0)
           | (got & POLLERR ? SLIRP_POLL_ERR : 0) | (got & POLLHUP ? SLIRP_POLL_HUP : 0);
}

/* --- Commands ------------------------------------------------------------------------------------------- */

static int page_is_watched(uint64_t address)
{
    return (address >= run.data_base && address < run.data_base + run.data_bytes)
           || (address >= run.info->stack_base && address < ABI_WORLD_BASE + run.memory_bytes)
           || (address >= ABI_RING_STATE_ADDRESS && address < ABI_RECEIVE_ADDRESS);
}

static void protect(uint64_t base, uint64_t bytes, int rights)
{
    if (mprotect((void *)base, bytes, rights) != 0)
        fail("mprotect");
}

static void watch(void)
{
    memset(run.written, 0, run.memory_bytes / ABI_PAGE_BYTES);
    run.pages_written = 0;
    run.watching = 1;
    protect(run.data_base, run.data_bytes, PROT_READ);
    protect(ABI_RING_STATE_ADDRESS, ABI_RECEIVE_ADDRESS - ABI_RING_STATE_ADDRESS, PROT_READ);
    uint64_t end = ABI_WORLD_BASE + run.memory_bytes;
    protect(run.info->stack_base, end - run.info->stack_base, PROT_READ);
}

static void answer(const char *command)
{
    if (strcmp(command, "stats") == 0) {
        printf("waits %lu wakes %lu frames_in %lu frames_out %lu unread %u held %u pages_written %lu resumed %lu console %lu\n", run.waits,
               run.wakes, run.frames_in, run.frames_out, run.receive_info->produced - ring_state()->receive_consumed,
               ring_state()->transmit_produced - run.transmit_taken, run.pages_written, run.info->resumed, run.console_bytes);
    } else if (strcmp(command, "watch") == 0) {
        watch();
        puts("ok");
    } else if (strcmp(command, "resume") == 0) {
        run.info->resume_kind = ABI_RESUME_TAKEOVER;
        run.info->resumed++;
        puts("ok");
    } else if (strcmp(command, "hold") == 0) {
        run.holding = 1;
        puts("ok");
    } else if (strcmp(command, "release") == 0) {
        run.holding = 0;
        puts("ok");
    } else if (strcmp(command, "drop") == 0) {
        run.transmit_taken = run.info->transmit_released = ring_state()->transmit_produced;
        puts("ok");
    } else if (strncmp(command, "forward ", 8) == 0) {
        run.born_ns -= strtoull(command + 8, NULL, 10) * 1000000ull;
        puts("ok");
    } else if (strcmp(command, "quit") == 0) {
        puts("ok");
        exit(0);
    } else {
        puts("error no such command");
    }
    fflush(stdout);
}

static void read_commands(void)
{
    static char buffer[256];
    static size_t filled;
    ssize_t got = read(STDIN_FILENO, buffer + filled, sizeof buffer - 1 - filled);
    if (got <= 0)
        exit(0); /* whoever started it has gone */
    filled += (size_t)got;
    buffer[filled] = 0;
    char *end;
    while ((end = strchr(buffer, '\n')) != NULL) {
        *end = 0;
        answer(buffer);
        filled -= (size_t)(end + 1 - buffer);
        memmove(buffer, end + 1, filled + 1);
    }
    if (filled == sizeof buffer - 1)
        filled = 0;
}

/* --- The event loop: what happens besides the world ------------------------------------------------------- */

static void due_events(void)
{
    uint64_t now_ns = world_clock();
    if (run.commit_due_ns != 0 && now_ns >= run.commit_due_ns) {
        run.commit_due_ns = 0;
        run.epoch_committed = run.epoch++;
    }
    if (run.move_due_ns != 0 && now_ns >= run.move_due_ns) {
        run.move_due_ns = 0;
        run.node = run.move_to;
        run.info->resume_kind = ABI_RESUME_TAKEOVER;
        run.info->resumed++;
    }
}

/* A frame for which the ring has no room waits in the socket. */
static void add_neighbour_polls(void)
{
    int has_room = run.receive_info->produced - ring_state()->receive_consumed < ABI_FRAME_SLOTS;
    run.polls[run.poll_count++] = (struct pollfd){.fd = run.neighbour >= 0 ? -1 : run.listener, .events = POLLIN};
    run.polls[run.poll_count++] = (struct pollfd){.fd = has_room ? run.neighbour : -1, .events = POLLIN};
}

static void serve_neighbour(const struct pollfd polls[2])
{
    if (polls[0].revents != 0)
        run.neighbour = accept(run.listener, NULL, NULL);
    if (polls[1].revents != 0)
        frame_from_neighbour();
}

static void pump(uint64_t wait_ns)
{
    frames_from_world();
    console_from_world();
    if (run.receive_info->produced != ring_state()->receive_consumed)
        wait_ns = 0; /* the answer came at once */
    uint32_t timeout_ms = (uint32_t)((wait_ns < 1000000000ull ? wait_ns : 1000000000ull) / 1000000ull);
    run.poll_count = 0;
    slirp_pollfds_fill(run.slirp, &timeout_ms, add_poll, NULL);
    unsigned slirp_count = run.poll_count;
    run.polls[run.poll_count++] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
    add_neighbour_polls();
    uint64_t exact_ns = (uint64_t)timeout_ms * 1000000ull;
    if (wait_ns < exact_ns || wait_ns < 1000000ull)
        exact_ns = wait_ns;
    struct timespec timeout = {.tv_sec = (time_t)(exact_ns / 1000000000ull), .tv_nsec = (long)(exact_ns % 1000000000ull)};
    int ready = ppoll(run.polls, run.poll_count, &timeout, NULL);
    slirp_pollfds_poll(run.slirp, ready < 0, get_events, NULL);
    if (ready > 0 && (run.polls[slirp_count].revents & (POLLIN | POLLHUP)) != 0)
        read_commands();
    if (ready > 0)
        serve_neighbour(&run.polls[slirp_count + 1]);
    due_events();
}

/* --- Calls of the world ----------------------------------------------------------------------------------- */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static int64_t call_wait(uint64_t deadline_ns, uint64_t resumed, uint64_t commit)
{
    run.waits++;
    for (;;) {
        uint64_t now_ns = world_clock();
        if (run.receive_info->produced != ring_state()->receive_consumed || run.info->resumed != resumed || now_ns >= deadline_ns
            || (commit != 0 && commit <= run.epoch_committed) || run.transmit_has_room) {
            run.transmit_has_room = 0;
            run.wakes++;
            return 0;
        }
        uint64_t wait_ns = deadline_ns - now_ns;
        if (run.commit_due_ns != 0)
            wait_ns = least(wait_ns, run.commit_due_ns > now_ns ? run.commit_due_ns - now_ns : 0);
        if (run.move_due_ns != 0)
            wait_ns = least(wait_ns, run.move_due_ns > now_ns ? run.move_due_ns - now_ns : 0);
        pump(wait_ns);
    }
}

static int64_t call_commit(uint64_t epoch)
{
    if (epoch != 0)
        return epoch <= run.epoch_committed;
    if (run.commit_due_ns == 0)
        run.commit_due_ns = world_clock() + COMMIT_DELAY_NS;
    return (int64_t)run.epoch;
}

static int64_t call_status(struct abi_status *status, uint64_t bytes)
{
    if (bytes != sizeof *status)
        return -ABI_EINVAL;
    memset(status, 0, sizeof *status);
    status->node = run.node;
    status->node_count = NODES;
    status->epoch = run.epoch;
    status->epoch_committed = run.epoch_committed;
    status->term = 1;
    for (uint32_t i = 0; i < NODES; i++)
        status->nodes[i] =
            (struct abi_node_status){.number = i + 1, .up = i + 1 != NODE_DOWN, .voter = 1, .host = i + 1 == run.node};
    return 0;
}

static int64_t call_move(uint64_t node)
{
    if (node < 1 || node > NODES)
        return -ABI_EINVAL;
    if (node == NODE_DOWN)
        return -ABI_ENOENT;
    if (node == run.node)
        return 1;
    run.move_to = (uint32_t)node;
    run.move_due_ns = world_clock() + COMMIT_DELAY_NS;
    return 0;
}

static int64_t call(uint64_t number, uint64_t a, uint64_t b, uint64_t c)
{
    switch (number) {
    case ABI_CALL_WAIT:
        return call_wait(a, b, c);
    case ABI_CALL_CLOCK:
        return (int64_t)world_clock();
    case ABI_CALL_WALL_CLOCK:
        return (int64_t)monotonic_ns(CLOCK_REALTIME);
    case ABI_CALL_ENTROPY:
        return b > 256 || getrandom((void *)a, b, 0) != (ssize_t)b ? -ABI_EINVAL : 0;
    case ABI_CALL_COMMIT:
        return call_commit(a);
    case ABI_CALL_STATUS:
        return call_status((struct abi_status *)a, b);
    case ABI_CALL_MOVE:
        return call_move(a);
    case ABI_CALL_EXIT:
        console_from_world();
        fprintf(stderr, "world_run: the world stopped: %.*s\n", (int)(c < 200 ? c : 200), (const char *)b);
        exit(1);
    default:
        return -ABI_ENOSYS;
    }
}

static void on_call(int signal_number, siginfo_t *info, void *context)
{
    (void)signal_number, (void)info;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    registers[REG_RAX] = call((uint64_t)registers[REG_RAX], (uint64_t)registers[REG_RDI], (uint64_t)registers[REG_RSI],
                              (uint64_t)registers[REG_RDX]);
    registers[REG_RCX] = registers[REG_R11] = (greg_t)0xdeadbeefdeadbeef;
}

static void on_timer(int signal_number, siginfo_t *info, void *context)
{
    (void)signal_number, (void)info, (void)context;
    int before = errno;
    pump(0);
    errno = before;
}

static void on_fault(int signal_number, siginfo_t *info, void *context)
{
    uint64_t address = (uint64_t)info->si_addr;
    if (signal_number == SIGSEGV && run.watching && page_is_watched(address)) {
        uint64_t page = address & ~(ABI_PAGE_BYTES - 1);
        uint8_t *written = &run.written[(page - ABI_WORLD_BASE) / ABI_PAGE_BYTES];
        if (!*written) {
            *written = 1;
            run.pages_written++;
            protect(page, ABI_PAGE_BYTES, PROT_READ | PROT_WRITE);
            return;
        }
    }
    const greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    fprintf(stderr, "world_run: the world faulted: signal %d at rip %llx, address %lx, rsp %llx\n", signal_number,
            (unsigned long long)registers[REG_RIP], address, (unsigned long long)registers[REG_RSP]);
    exit(1);
}

/* --- The start ------------------------------------------------------------------------------------------ */

static void *map(uint64_t address, uint64_t bytes, int rights, int fd, uint64_t offset)
{
    int flags = (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED) | (address != 0 ? MAP_FIXED : 0);
    void *at = mmap((void *)address, bytes, rights, flags, fd, (off_t)offset);
    if (at == MAP_FAILED)
        fail("mmap");
    return at;
}

/* The pages that the world may only read, with a second, writable view for us. */
static void map_shared_pages(void)
{
    uint64_t bytes = ABI_IMAGE_BASE - ABI_WORLD_BASE;
    int fd = memfd_create("world", 0);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0)
        fail("memfd_create");
    uint8_t *view = map(0, bytes, PROT_READ | PROT_WRITE, fd, 0);
    map(ABI_WORLD_BASE, bytes, PROT_READ, fd, 0);
    protect(ABI_RING_STATE_ADDRESS, ABI_PAGE_BYTES, PROT_READ | PROT_WRITE);
    protect(ABI_CONSOLE_ADDRESS, ABI_CONSOLE_BYTES, PROT_READ | PROT_WRITE);
    protect(ABI_TRANSMIT_ADDRESS, ABI_FRAME_SLOTS * ABI_FRAME_SLOT_BYTES, PROT_READ | PROT_WRITE);
    run.info = (struct abi_info *)view;
    run.receive_info = (struct abi_receive_info *)(view + (ABI_RECEIVE_INFO_ADDRESS - ABI_WORLD_BASE));
    run.receive_slots = (struct abi_frame_slot *)(view + (ABI_RECEIVE_ADDRESS - ABI_WORLD_BASE));
}

/* Map the segments; returns the entry, and in *end the first page behind the image. */
static uint64_t load_image(const char *path, uint64_t *end)
{
    int fd = open(path, O_RDONLY);
    Elf64_Ehdr header;
    if (fd < 0 || pread(fd, &header, sizeof header, 0) != sizeof header || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
        fail(path);
    *end = ABI_IMAGE_BASE;
    for (unsigned i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr segment;
        if (pread(fd, &segment, sizeof segment, (off_t)(header.e_phoff + i * sizeof segment)) != sizeof segment)
            fail(path);
        if (segment.p_type != PT_LOAD)
            continue;
        uint64_t bytes = (segment.p_memsz + ABI_PAGE_BYTES - 1) & ~(ABI_PAGE_BYTES - 1);
        map(segment.p_vaddr, bytes, PROT_READ | PROT_WRITE, -1, 0);
        if (pread(fd, (void *)segment.p_vaddr, segment.p_filesz, (off_t)segment.p_offset) != (ssize_t)segment.p_filesz)
            fail(path);
        protect(segment.p_vaddr, bytes,
                (segment.p_flags & PF_R ? PROT_READ : 0) | (segment.p_flags & PF_W ? PROT_WRITE : 0)
                    | (segment.p_flags & PF_X ? PROT_EXEC : 0));
        if (segment.p_flags & PF_W) {
            run.data_base = segment.p_vaddr;
            run.data_bytes = bytes;
        }
        if (segment.p_vaddr + bytes > *end)
            *end = segment.p_vaddr + bytes;
    }
    close(fd);
    return header.e_entry;
}

static void fill_info(uint64_t image_end)
{
    const uint8_t mac[6] = {0x02, 0, 0, 0, 0, 0x99};
    const uint8_t address[4] = {10, 0, 2, 15}, netmask[4] = {255, 255, 255, 0}, gateway[4] = {10, 0, 2, 2};
    struct abi_info *info = run.info;
    info->magic = ABI_MAGIC;
    info->version = ABI_VERSION;
    info->world_number = 1;
    info->memory_bytes = run.memory_bytes;
    info->stack_base = image_end + ABI_PAGE_BYTES; /* a guard page on either side */
    info->stack_bytes = STACK_BYTES;
    info->heap_base = info->stack_base + STACK_BYTES + ABI_PAGE_BYTES;
    info->heap_bytes = ABI_WORLD_BASE + run.memory_bytes - info->heap_base;
    info->resumed = 1;
    memcpy(info->mac, mac, sizeof mac);
    memcpy(info->address, address, sizeof address);
    memcpy(info->netmask, netmask, sizeof netmask);
    memcpy(info->gateway, gateway, sizeof gateway);
    map(info->stack_base, info->stack_bytes, PROT_READ | PROT_WRITE, -1, 0);
    map(info->heap_base, info->heap_bytes, PROT_READ | PROT_WRITE, -1, 0);
    map(info->stack_base + STACK_BYTES, ABI_PAGE_BYTES, PROT_NONE, -1, 0);
}

static void start_slirp(void)
{
    static const SlirpCb callbacks = {
        .send_packet = frame_to_world,
        .guest_error = guest_error,
        .clock_get_ns = slirp_clock,
        .timer_new = timer_new,
        .timer_free = timer_free,
        .timer_mod = timer_mod,
        .register_poll_fd = fd_ignored,
        .unregister_poll_fd = fd_ignored,
        .notify = notified,
    };
    SlirpConfig config = {.version = 1, .in_enabled = true};
    inet_aton("10.0.2.0", &config.vnetwork);
    inet_aton("255.255.255.0", &config.vnetmask);
    inet_aton("10.0.2.2", &config.vhost);
    inet_aton("10.0.2.100", &config.vdhcp_start);
    inet_aton("10.0.2.3", &config.vnameserver);
    run.slirp = slirp_new(&config, &callbacks, NULL);
    if (run.slirp == NULL)
        fail("slirp");
}

static void add_forward(const char *ports)
{
    struct in_addr loopback, world;
    int host_port, world_port;
    inet_aton("127.0.0.1", &loopback);
    inet_aton("10.0.2.15", &world);
    if (sscanf(ports, "%d:%d", &host_port, &world_port) != 2
        || slirp_add_hostfwd(run.slirp, 0, loopback, host_port, world, world_port) != 0)
        fail(ports);
}

static void listen_for_neighbour(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    run.listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (run.listener < 0 || bind(run.listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(run.listener, 1) != 0)
        fail(path);
}

static void handle(int signal_number, void (*handler)(int, siginfo_t *, void *))
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigfillset(&action.sa_mask);
    sigdelset(&action.sa_mask, SIGSEGV);
    sigdelset(&action.sa_mask, SIGINT);
    sigdelset(&action.sa_mask, SIGTERM);
    if (sigaction(signal_number, &action, NULL) != 0)
        fail("sigaction");
}

static void start_signals(void)
{
    stack_t stack = {.ss_sp = map(0, SIGNAL_STACK_BYTES, PROT_READ | PROT_WRITE, -1, 0), .ss_size = SIGNAL_STACK_BYTES};
    if (sigaltstack(&stack, NULL) != 0)
        fail("sigaltstack");
    signal(SIGPIPE, SIG_IGN);
    handle(SIGSYS, on_call);
    handle(SIGALRM, on_timer);
    handle(SIGSEGV, on_fault);
    handle(SIGBUS, on_fault);
    handle(SIGILL, on_fault);
    handle(SIGFPE, on_fault);
    handle(SIGTRAP, on_fault);
    struct itimerval interval = {.it_interval.tv_usec = FRAME_TIMER_US, .it_value.tv_usec = FRAME_TIMER_US};
    if (setitimer(ITIMER_REAL, &interval, NULL) != 0)
        fail("setitimer");
    if (prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, ABOVE_THE_WORLD, USER_SPACE_END - ABOVE_THE_WORLD, NULL) != 0)
        fail("syscall user dispatch");
}

int main(int argc, char **argv)
{
    const char *forwards[FORWARDS_MAX];
    unsigned forward_count = 0;
    int option;
    run.memory_bytes = 64ull << 20;
    while ((option = getopt(argc, argv, "m:f:t:")) != -1) {
        if (option == 'm')
            run.memory_bytes = strtoull(optarg, NULL, 10) << 20;
        else if (option == 'f' && forward_count < FORWARDS_MAX)
            forwards[forward_count++] = optarg;
        else if (option == 't')
            listen_for_neighbour(optarg);
        else
            optind = argc + 1;
    }
    if (optind + 1 != argc) {
        fprintf(stderr, "usage: world_run [-m MIB] [-f HOSTPORT:WORLDPORT]... [-t SOCKET] WORLD.ELF\n");
        return 2;
    }
    run.born_ns = monotonic_ns(CLOCK_MONOTONIC);
    run.written = calloc(run.memory_bytes / ABI_PAGE_BYTES, 1);
    uint64_t image_end;
    map_shared_pages();
    uint64_t entry = load_image(argv[optind], &image_end);
    fill_info(image_end);
    start_slirp();
    for (unsigned i = 0; i < forward_count; i++)
        add_forward(forwards[i]);
    start_signals();
    __asm__ volatile("xorl %%ebp, %%ebp\n\tmovq %0, %%rsp\n\tjmp *%1"
                     :
                     : "r"(run.info->stack_base + run.info->stack_bytes), "r"(entry)
                     : "memory");
    __builtin_unreachable();
}
