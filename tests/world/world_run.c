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
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "tests/world/world_run.h"

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_ON 1
#endif

#define ABOVE_THE_WORLD 0x100000000ull
#define USER_SPACE_END 0x7ffffffff000ull
#define STACK_BYTES (512u * 1024u)
#define SIGNAL_STACK_BYTES (1024u * 1024u)
#define FRAME_TIMER_US 2000
#define FORWARDS_MAX 8

struct world_run run = {.epoch = 1, .node = 1};

_Noreturn void fail(const char *what)
{
    fprintf(stderr, "world_run: %s: %s\n", what, strerror(errno));
    exit(1);
}

uint64_t monotonic_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

uint64_t world_clock(void)
{
    return monotonic_ns(CLOCK_MONOTONIC) - run.born_ns + 1;
}

struct abi_ring_state *ring_state(void)
{
    return (struct abi_ring_state *)ABI_RING_STATE_ADDRESS;
}

void console_from_world(void)
{
    const char *ring = (const char *)ABI_CONSOLE_ADDRESS;
    while (run.info->console_released != ring_state()->console_produced) {
        fputc(ring[run.info->console_released++ % ABI_CONSOLE_BYTES], stderr);
        run.console_bytes++;
    }
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
    if (mprotect((void *)base, bytes, rights) != 0) {
        fail("mprotect");
    }
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
    if (got <= 0) {
        exit(0); /* whoever started it has gone */
    }
    filled += (size_t)got;
    buffer[filled] = 0;
    char *end;
    while ((end = strchr(buffer, '\n')) != NULL) {
        *end = 0;
        answer(buffer);
        filled -= (size_t)(end + 1 - buffer);
        memmove(buffer, end + 1, filled + 1);
    }
    if (filled == sizeof buffer - 1) {
        filled = 0;
    }
}

/* --- The event loop: what happens besides the world ------------------------------------------------------- */

void pump(uint64_t wait_ns)
{
    bridge_frames_from_world();
    console_from_world();
    if (run.receive_info->produced != ring_state()->receive_consumed) {
        wait_ns = 0; /* the answer came at once */
    }
    uint32_t timeout_ms = (uint32_t)((wait_ns < 1000000000ull ? wait_ns : 1000000000ull) / 1000000ull);
    run.poll_count = 0;
    bridge_add_polls(&timeout_ms);
    struct pollfd *commands = &run.polls[run.poll_count++];
    *commands = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
    uint64_t exact_ns = (uint64_t)timeout_ms * 1000000ull;
    if (wait_ns < exact_ns || wait_ns < 1000000ull) {
        exact_ns = wait_ns;
    }
    struct timespec timeout = {.tv_sec = (time_t)(exact_ns / 1000000000ull), .tv_nsec = (long)(exact_ns % 1000000000ull)};
    int ready = ppoll(run.polls, run.poll_count, &timeout, NULL);
    bridge_serve(ready);
    if (ready > 0 && (commands->revents & (POLLIN | POLLHUP)) != 0) {
        read_commands();
    }
    calls_due();
}

/* --- Signals ---------------------------------------------------------------------------------------------- */

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
    if (at == MAP_FAILED) {
        fail("mmap");
    }
    return at;
}

/* The pages that the world may only read, with a second, writable view for us. */
static void map_shared_pages(void)
{
    uint64_t bytes = ABI_IMAGE_BASE - ABI_WORLD_BASE;
    int fd = memfd_create("world", 0);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0) {
        fail("memfd_create");
    }
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
    if (fd < 0 || pread(fd, &header, sizeof header, 0) != sizeof header || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) {
        fail(path);
    }
    *end = ABI_IMAGE_BASE;
    for (unsigned i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr segment;
        if (pread(fd, &segment, sizeof segment, (off_t)(header.e_phoff + i * sizeof segment)) != sizeof segment) {
            fail(path);
        }
        if (segment.p_type != PT_LOAD) {
            continue;
        }
        uint64_t bytes = (segment.p_memsz + ABI_PAGE_BYTES - 1) & ~(ABI_PAGE_BYTES - 1);
        map(segment.p_vaddr, bytes, PROT_READ | PROT_WRITE, -1, 0);
        if (pread(fd, (void *)segment.p_vaddr, segment.p_filesz, (off_t)segment.p_offset) != (ssize_t)segment.p_filesz) {
            fail(path);
        }
        protect(segment.p_vaddr, bytes,
                (segment.p_flags & PF_R ? PROT_READ : 0) | (segment.p_flags & PF_W ? PROT_WRITE : 0)
                    | (segment.p_flags & PF_X ? PROT_EXEC : 0));
        if (segment.p_flags & PF_W) {
            run.data_base = segment.p_vaddr;
            run.data_bytes = bytes;
        }
        if (segment.p_vaddr + bytes > *end) {
            *end = segment.p_vaddr + bytes;
        }
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

static void handle(int signal_number, void (*handler)(int, siginfo_t *, void *))
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigfillset(&action.sa_mask);
    sigdelset(&action.sa_mask, SIGSEGV);
    sigdelset(&action.sa_mask, SIGINT);
    sigdelset(&action.sa_mask, SIGTERM);
    if (sigaction(signal_number, &action, NULL) != 0) {
        fail("sigaction");
    }
}

static void start_signals(void)
{
    stack_t stack = {.ss_sp = map(0, SIGNAL_STACK_BYTES, PROT_READ | PROT_WRITE, -1, 0), .ss_size = SIGNAL_STACK_BYTES};
    if (sigaltstack(&stack, NULL) != 0) {
        fail("sigaltstack");
    }
    signal(SIGPIPE, SIG_IGN);
    handle(SIGSYS, on_call);
    handle(SIGALRM, on_timer);
    handle(SIGSEGV, on_fault);
    handle(SIGBUS, on_fault);
    handle(SIGILL, on_fault);
    handle(SIGFPE, on_fault);
    handle(SIGTRAP, on_fault);
    struct itimerval interval = {.it_interval.tv_usec = FRAME_TIMER_US, .it_value.tv_usec = FRAME_TIMER_US};
    if (setitimer(ITIMER_REAL, &interval, NULL) != 0) {
        fail("setitimer");
    }
    if (prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, ABOVE_THE_WORLD, USER_SPACE_END - ABOVE_THE_WORLD, NULL) != 0) {
        fail("syscall user dispatch");
    }
}

int main(int argc, char **argv)
{
    const char *forwards[FORWARDS_MAX];
    unsigned forward_count = 0;
    int option;
    run.memory_bytes = 64ull << 20;
    while ((option = getopt(argc, argv, "m:f:t:")) != -1) {
        if (option == 'm') {
            run.memory_bytes = strtoull(optarg, NULL, 10) << 20;
        } else if (option == 'f' && forward_count < FORWARDS_MAX) {
            forwards[forward_count++] = optarg;
        } else if (option == 't') {
            bridge_listen(optarg);
        } else {
            optind = argc + 1;
        }
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
    bridge_start();
    for (unsigned i = 0; i < forward_count; i++) {
        bridge_forward(forwards[i]);
    }
    start_signals();
    __asm__ volatile("xorl %%ebp, %%ebp\n\tmovq %0, %%rsp\n\tjmp *%1"
                     :
                     : "r"(run.info->stack_base + run.info->stack_bytes), "r"(entry)
                     : "memory");
    __builtin_unreachable();
}
