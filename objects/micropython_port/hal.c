/* MicroPython's view of the machine: time, waiting, the terminal; and what it must be told does not exist. */
#include <stdio.h>
#include <string.h>

#include "py/builtin.h"
#include "py/gc.h"
#include "py/lexer.h"
#include "py/mperrno.h"
#include "py/mphal.h"
#include "py/runtime.h"
#include "py/stream.h"
#include "shared/readline/readline.h"

#include "objects/abi_calls.h"
#include "objects/console.h"
#include "objects/network.h"
#include "objects/session.h"
#include "objects/threads.h"
#include "objects/viewer.h"
#include "objects/waiting.h"

#define NS_PER_MS 1000000ull
#define NS_PER_US 1000ull

/* --- Time ----------------------------------------------------------------------------------------------- */

mp_uint_t mp_hal_ticks_ms(void)
{
    return abi_clock() / NS_PER_MS;
}

mp_uint_t mp_hal_ticks_us(void)
{
    return abi_clock() / NS_PER_US;
}

mp_uint_t mp_hal_ticks_cpu(void)
{
    return abi_clock();
}

uint64_t mp_hal_time_ns(void)
{
    return (uint64_t)abi_call(ABI_CALL_WALL_CLOCK, 0, 0, 0);
}

static void sleep_until(uint64_t deadline_ns)
{
    do {
        (void)world_park(NULL, deadline_ns);
    } while (abi_clock() < deadline_ns);
}

void mp_hal_delay_ms(mp_uint_t ms)
{
    sleep_until(ms > (UINT64_MAX / 2) / NS_PER_MS ? ABI_NEVER : abi_clock() + ms * NS_PER_MS);
}

void mp_hal_delay_us(mp_uint_t us)
{
    sleep_until(abi_clock() + us * NS_PER_US);
}

void world_wait(const void *object, unsigned long timeout_ms)
{
    uint64_t deadline_ns = timeout_ms > (UINT64_MAX / 2) / NS_PER_MS ? ABI_NEVER : abi_clock() + timeout_ms * NS_PER_MS;
    (void)world_park(object == NULL ? &threads_any_event : object, deadline_ns);
}

void world_socket_event(const void *socket)
{
    if (socket != NULL)
        threads_wake_all(socket);
    threads_wake_all(&threads_any_event);
}

/* Sockets that nobody holds any more give their connections back first. */
struct tcp_pcb *world_new_connection(void)
{
    struct tcp_pcb *connection = network_new_connection();
    if (connection != NULL)
        return connection;
    gc_collect();
    return network_new_connection();
}

unsigned long world_random_seed(void)
{
    unsigned long seed;
    abi_entropy(&seed, sizeof seed);
    return seed;
}

/* --- The terminal --------------------------------------------------------------------------------------- */

mp_uint_t mp_hal_stdout_tx_strn(const char *text, size_t bytes)
{
    struct thread *thread = thread_current();
    if (thread == NULL)
        return bytes;
    if (thread->exec != NULL)
        viewer_exec_write(thread->exec, text, bytes);
    else
        session_write(thread->session, text, bytes);
    return bytes;
}

void mp_hal_stdout_tx_str(const char *text)
{
    (void)mp_hal_stdout_tx_strn(text, strlen(text));
}

/* Lines of a session end as a terminal wants them; output of an exec is as it was printed. */
void mp_hal_stdout_tx_strn_cooked(const char *text, size_t bytes)
{
    struct thread *thread = thread_current();
    if (thread == NULL)
        return;
    if (thread->exec != NULL || thread->kind == THREAD_EXEC) {
        if (thread->exec != NULL)
            viewer_exec_write(thread->exec, text, bytes);
        return;
    }
    while (bytes > 0) {
        const char *end = memchr(text, '\n', bytes);
        size_t part = end == NULL ? bytes : (size_t)(end - text);
        session_write(thread->session, text, part);
        if (end == NULL)
            return;
        session_write(thread->session, "\r\n", 2);
        text += part + 1;
        bytes -= part + 1;
    }
}

int mp_hal_stdin_rx_chr(void)
{
    return session_read_char(session_current());
}

uintptr_t mp_hal_stdio_poll(uintptr_t flags)
{
    uintptr_t ready = flags & MP_STREAM_POLL_WR;
    if ((flags & MP_STREAM_POLL_RD) != 0 && session_input_waits(session_current()))
        ready |= MP_STREAM_POLL_RD;
    return ready;
}

/* input(): a program that came by exec has nobody to ask. */
int mp_hal_readline(vstr_t *line, const char *prompt)
{
    if (thread_current()->kind == THREAD_EXEC)
        return CHAR_CTRL_D;
    return session_read_line(session_current(), line, prompt);
}

/* --- What does not exist, and the end -------------------------------------------------------------------- */

mp_import_stat_t mp_import_stat(const char *path)
{
    (void)path;
    return MP_IMPORT_STAT_NO_EXIST;
}

mp_lexer_t *mp_lexer_new_from_file(qstr name)
{
    (void)name;
    mp_raise_OSError(MP_ENOENT);
}

_Noreturn void nlr_jump_fail(void *value)
{
    (void)value;
    world_stop("an exception of the runtime was caught by nobody");
}

const char world_help_text[] =
    "This is a world of Eidolon: Python (MicroPython) whose memory outlives the\n"
    "machines it runs on.\n"
    "\n"
    "Nothing is saved and nothing is opened: names, objects, running threads and\n"
    "connections just stay.\n"
    "  root             what all sessions share: root.lab = Directory(); ls(root)\n"
    "  import eidolon   node(), nodes(), epoch(), commit(), move(n), memory(),\n"
    "                   session(), sessions(), threads(), interrupt(thread),\n"
    "                   end(thread), entropy(n)\n"
    "  import socket, asyncio, _thread, time, json, re, ...\n"
    "                   help('modules') lists them\n"
    "\n"
    "Ctrl-C interrupts this session's program, Ctrl-E begins paste mode,\n"
    "Ctrl-] detaches; sys.exit() ends the session.\n";
