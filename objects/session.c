#include "objects/session.h"

#include <string.h>

#include "py/obj.h"
#include "py/objexcept.h"
#include "py/runtime.h"

#include "objects/abi_calls.h"
#include "objects/console.h"
#include "objects/repl.h"
#include "objects/terminal.h"
#include "objects/viewer.h"
#include "objects/waiting.h"

#define WRITE_PIECE_BYTES 1024u
#define NS_PER_MS 1000000ull

_Static_assert(VIEWER_LINE_BYTES_MAX == 8192, "a line that is too long is told so in words");

struct session {
    bool used;
    bool busy;                        /* runs a line or a program: not waiting at the prompt */
    char name[SESSION_NAME_BYTES_MAX + 1];
    struct thread *thread;            /* the foreground */
    struct thread *reader;            /* has the line editor; others that read a line wait for it */
    mp_obj_dict_t *globals;
    mp_obj_dict_t modules;            /* loaded modules, while the session is not the loaded one */
    mp_obj_t asyncio_context;         /* likewise: the names of its asyncio.core */
    mp_obj_t path;                    /* likewise: its sys.path */
    mp_obj_exception_t interrupt;     /* KeyboardInterrupt, raised without memory */
    struct memory_charge charge;
    uint64_t stream_end;
    char stream[SESSION_REPLAY_BYTES];
};

static const mp_obj_exception_t new_interrupt = {.base.type = &mp_type_KeyboardInterrupt, .args = (mp_obj_tuple_t *)&mp_const_empty_tuple_obj};

extern mp_obj_t mp_asyncio_context;   /* of extmod/modasyncio.c */

static struct session sessions[SESSIONS_MAX];
static struct session *loaded;        /* whose modules and asyncio the runtime has at hand; NULL: nobody's */

static unsigned index_of(const struct session *session)
{
    return (unsigned)(session - sessions);
}

bool session_name_is_valid(const char *name, size_t bytes)
{
    if (bytes == 0 || bytes > SESSION_NAME_BYTES_MAX)
        return false;
    for (size_t i = 0; i < bytes; i++) {
        char c = name[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && c != '_' && c != '-' && c != '.')
            return false;
    }
    return true;
}

static void session_main(void *argument)
{
    struct session *session = argument;
    mp_state_thread_t state = {0};
    mp_thread_init_state(&state, THREAD_SESSION_STACK_BYTES - ABI_PAGE_BYTES, NULL, NULL);
    thread_current()->at_prompt = true;
    session->globals = repl_make_globals();
    mp_globals_set(session->globals);
    mp_locals_set(session->globals);
    repl_run(session);
}

struct session *session_find_or_create(const char *name, size_t bytes)
{
    if (!session_name_is_valid(name, bytes))
        return NULL;
    struct session *unused = NULL;
    for (unsigned i = 0; i < SESSIONS_MAX; i++) {
        struct session *session = &sessions[i];
        if (!session->used) {
            if (unused == NULL)
                unused = session;
        } else if (strlen(session->name) == bytes && memcmp(session->name, name, bytes) == 0) {
            return session;
        }
    }
    if (unused == NULL)
        return NULL;
    unused->thread = thread_create(THREAD_SESSION, session_main, unused, unused);
    if (unused->thread == NULL)
        return NULL;
    memcpy(unused->name, name, bytes);
    unused->used = true;
    unused->asyncio_context = unused->path = MP_OBJ_NULL;
    mp_obj_dict_init(&unused->modules, 0);
    return unused;
}

static bool has_other_threads(const struct session *session)
{
    for (struct thread *thread = threads_next(NULL); thread != NULL; thread = threads_next(thread)) {
        if (thread->session == session && thread != session->thread)
            return true;
    }
    return false;
}

static void make_room(struct session *session, size_t bytes);

void session_end(struct session *session)
{
    CHECK(session->thread == thread_current());
    static const char text[] = "(session ended)\r\n"; /* cluster-sim/lab_terminal.c knows it */
    make_room(session, sizeof text - 1); /* may wait, and an exec may begin meanwhile; what follows waits for nothing */
    if (has_other_threads(session))
        return;
    session_write(session, text, sizeof text - 1);
    viewers_detach(session);
    session_save_current();
    loaded = NULL;
    memset(&MP_STATE_VM(mp_loaded_modules_dict), 0, sizeof MP_STATE_VM(mp_loaded_modules_dict));
    mp_asyncio_context = mp_sys_path = MP_OBJ_NULL;
    terminal_forget(index_of(session));
    memset(session, 0, sizeof *session);
    session->interrupt = new_interrupt; /* somebody may have kept it */
    thread_exit();
}

struct session *sessions_next(struct session *previous)
{
    unsigned i = previous == NULL ? 0 : index_of(previous) + 1;
    for (; i < SESSIONS_MAX; i++) {
        if (sessions[i].used)
            return &sessions[i];
    }
    return NULL;
}

const char *session_name(const struct session *session)
{
    return session->name;
}

struct session *session_current(void)
{
    struct thread *thread = thread_current();
    return thread == NULL ? NULL : thread->session;
}

void *session_globals(const struct session *session)
{
    return session->globals;
}

void sessions_init(void)
{
    CHECK(session_find_or_create("main", 4) != NULL);
}

/* --- The stream ----------------------------------------------------------------------------------------- */

uint64_t session_stream_start(const struct session *session)
{
    return session->stream_end < SESSION_REPLAY_BYTES ? 0 : session->stream_end - SESSION_REPLAY_BYTES;
}

uint64_t session_stream_end(const struct session *session)
{
    return session->stream_end;
}

size_t session_stream_piece(const struct session *session, uint64_t position, const char **piece)
{
    size_t offset = position % SESSION_REPLAY_BYTES;
    size_t run = SESSION_REPLAY_BYTES - offset;
    uint64_t left = session->stream_end - position;
    *piece = session->stream + offset;
    return left < run ? (size_t)left : run;
}

uint64_t session_stream_replay(const struct session *session, unsigned lines)
{
    uint64_t start = session_stream_start(session), position = session->stream_end, line_start = session->stream_end;
    unsigned seen = 0;
    for (; position > start; position--) {
        if (session->stream[(position - 1) % SESSION_REPLAY_BYTES] == '\n') {
            line_start = position;
            if (++seen >= lines)
                return position;
        }
    }
    /* The ring may begin amid a line, or amid an escape sequence: begin with the first whole line. */
    return start == 0 || seen == 0 ? start : line_start;
}

/* Wait until there is room, at most so long. What was waited counts against the viewers that lag still, unless it was not theirs: the gate
 * was shut (frames waited for it and none left), or the world was resumed meanwhile and its clock went on without it. */
static void wait_for_room(struct session *session, size_t bytes, uint64_t most_ns)
{
    uint64_t resumed = abi_info()->resumed, end_ns = abi_clock() + most_ns;
    uint32_t released = abi_info()->transmit_released;
    do {
        (void)thread_park(&session->stream, end_ns);
    } while (viewers_would_lose(session, bytes) && abi_clock() < end_ns);
    bool shut = abi_frames_wait_for_gate() && abi_info()->transmit_released == released;
    if (!shut && abi_info()->resumed == resumed)
        viewers_lag_used(session, bytes, most_ns);
}

/* Hold the printing thread up, within each viewer's allowance, while viewers would lose output; those that lag on are dropped. */
static void make_room(struct session *session, size_t bytes)
{
    if (!viewers_would_lose(session, bytes))
        return;
    viewers_flush(session);
    while (viewers_would_lose(session, bytes)) {
        uint64_t left_ns = viewers_lag_left_ns(session, bytes);
        if (thread_current() == NULL || (MP_STATE_THREAD(gc_lock_depth) & GC_COLLECT_FLAG) != 0) {
            viewers_lag_used(session, bytes, left_ns);
            return;
        }
        wait_for_room(session, bytes, left_ns < VIEWER_LAG_STEP_MS * NS_PER_MS ? left_ns : VIEWER_LAG_STEP_MS * NS_PER_MS);
    }
}

void session_write(struct session *session, const char *text, size_t bytes)
{
    while (bytes > 0) {
        size_t part = bytes < WRITE_PIECE_BYTES ? bytes : WRITE_PIECE_BYTES;
        make_room(session, part);
        for (size_t i = 0; i < part; i++)
            session->stream[(session->stream_end + i) % SESSION_REPLAY_BYTES] = text[i];
        session->stream_end += part;
        text += part;
        bytes -= part;
    }
    viewers_note_output();
}

void session_output_drained(struct session *session)
{
    threads_wake_all(&session->stream);
}

/* --- Input ---------------------------------------------------------------------------------------------- */

void session_input_arrived(struct session *session)
{
    threads_wake_all(&session->busy);
    threads_wake_all(&threads_any_event);
}

bool session_is_busy(const struct session *session)
{
    return session->busy;
}

void session_set_busy(struct session *session, bool busy)
{
    session->busy = busy;
    if (busy)
        viewers_look_for_interrupts(session);
    else
        viewers_line_ended(session);
}

void session_interrupt_thread(struct thread *thread)
{
    mp_state_thread_t *state = thread->language_state;
    if (state == NULL)
        return;
    mp_obj_exception_t *interrupt = &thread->session->interrupt;
    *interrupt = new_interrupt;
    state->mp_pending_exception = MP_OBJ_FROM_PTR(interrupt);
    thread_wake(thread);
}

bool session_interrupt(struct session *session)
{
    if (!session->busy)
        return false;
    session_interrupt_thread(session->thread);
    return true;
}

bool session_input_waits(const struct session *session)
{
    return viewers_input_waits(session, true);
}

/* Park until a viewer has sent something; raises KeyboardInterrupt. */
static void wait_for_input(struct session *session, bool keys)
{
    while (!viewers_input_waits(session, keys)) {
        (void)world_park(&session->busy, ABI_NEVER);
    }
}

int session_read_char(struct session *session)
{
    int key = 0;
    size_t bytes;
    struct viewer *from;
    do {
        wait_for_input(session, true);
    } while (viewers_take_input(session, true, &key, NULL, &bytes, &from) != VIEWER_INPUT_KEY);
    return key;
}

/* Take input until a line is complete. */
static int edit_line(struct session *session, const vstr_t *line)
{
    static char text[VIEWER_LINE_BYTES_MAX]; /* of all sessions: used between two waits only */
    for (;;) {
        int key = 0;
        size_t bytes = 0;
        struct viewer *from = NULL;
        wait_for_input(session, false);
        enum viewer_input input = viewers_take_input(session, false, &key, text, &bytes, &from);
        if (input == VIEWER_INPUT_TOO_LONG)
            mp_raise_ValueError(MP_ERROR_TEXT("the line is too long (more than 8192 bytes)"));
        if (input == VIEWER_INPUT_NONE)
            continue;
        if (input == VIEWER_INPUT_LINE) {
            session->busy = true;
            terminal_whole_line(text, bytes);
            /* The others see the line as if it were typed here. Held up for them, this thread lets others use the text meanwhile. */
            make_room(session, bytes + 2);
            viewer_skip(from, session->stream_end, session->stream_end + bytes + 2);
            session_write(session, line->buf + line->len - bytes, bytes);
            session_write(session, "\r\n", 2);
            return 0;
        }
        int end = terminal_key(key == '\n' ? '\r' : key);
        if (end >= 0)
            return end;
    }
}

/* Wait for the line editor. Whoever has it hands it on, so that the prompt, which comes back again and again, does not keep it from others. */
static void take_editor(struct session *session)
{
    struct thread *thread = thread_current();
    if (thread->in_editor || !world_may_wait())
        mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("a line is being read: callbacks and finalisers cannot"));
    while (session->reader != NULL && session->reader != thread) {
        mp_handle_pending(true);
        (void)thread_park(&session->reader, ABI_NEVER);
    }
    session->reader = thread;
}

/* To whoever waits for it next, in the order of the threads from the running one on: each has its turn. */
static void give_editor_on(struct session *session)
{
    struct thread *self = thread_current(), *thread = self;
    session->reader = NULL;
    do {
        thread = threads_next(thread);
        if (thread != NULL && thread->state == THREAD_PARKED && thread->awaited == &session->reader) {
            session->reader = thread;
            thread_wake(thread);
            return;
        }
    } while (thread != self);
}

int session_read_line(struct session *session, vstr_t *line, const char *prompt)
{
    struct thread *thread = thread_current();
    nlr_buf_t nlr;
    take_editor(session);
    thread->in_editor = true;
    terminal_load(index_of(session));
    int end = 0;
    bool raised = true;
    if (nlr_push(&nlr) == 0) {
        /* What is there already was pasted, with an indentation of its own. */
        terminal_begin(line, prompt, viewers_have_terminal(session) && !viewers_input_waits(session, false));
        end = edit_line(session, line);
        nlr_pop();
        raised = false;
    }
    terminal_save(index_of(session));
    thread->in_editor = false;
    give_editor_on(session);
    if (raised)
        nlr_jump(nlr.ret_val);
    return end;
}

/* --- Switching ------------------------------------------------------------------------------------------ */

void session_save_current(void)
{
    if (loaded != NULL) {
        loaded->modules = MP_STATE_VM(mp_loaded_modules_dict);
        loaded->asyncio_context = mp_asyncio_context;
        loaded->path = mp_sys_path;
    }
}

void session_enter(struct thread *thread)
{
    struct session *session = thread->session;
    if (session != loaded) {
        session_save_current();
        MP_STATE_VM(mp_loaded_modules_dict) = session->modules;
        mp_asyncio_context = session->asyncio_context;
        mp_sys_path = session->path;
        loaded = session;
    }
    if (thread->in_editor)
        terminal_load(index_of(session));
}

void session_leave(struct thread *thread)
{
    if (thread->in_editor)
        terminal_save(index_of(thread->session));
}

void session_mark(struct session *session)
{
    memory_mark(&session->globals, &session->globals + 1);
    memory_mark(&session->modules, &session->modules + 1);
    memory_mark(&session->asyncio_context, &session->asyncio_context + 1);
    memory_mark(&session->path, &session->path + 1);
    memory_mark(&session->interrupt, &session->interrupt + 1);
    terminal_mark(index_of(session));
    viewers_mark(session);
}

struct memory_charge *session_charge(struct session *session)
{
    return &session->charge;
}

const struct memory_charge *session_charge_const(const struct session *session)
{
    return &session->charge;
}
