#include "objects/repl.h"

#include <stdbool.h>
#include <string.h>

#include "py/compile.h"
#include "py/mphal.h"
#include "py/repl.h"
#include "py/runtime.h"
#include "shared/readline/readline.h"

#include "objects/abi_calls.h"
#include "objects/console.h"
#include "objects/limits.h"
#include "objects/session.h"
#include "objects/threads.h"
#include "objects/tree.h"
#include "objects/viewer.h"

#define RETRY_NS 1000000000ull
#define LINE_BYTES 64

enum run_outcome { RUN_ENDED, RUN_EXITED, RUN_EXITED_BADLY, RUN_RAISED };

void *repl_make_globals(void)
{
    nlr_buf_t nlr;
    for (;;) {
        if (nlr_push(&nlr) == 0) {
            mp_obj_t names = mp_obj_new_dict(0);
            mp_obj_dict_store(names, MP_OBJ_NEW_QSTR(MP_QSTR___name__), MP_OBJ_NEW_QSTR(MP_QSTR___main__));
            /* A builtin everywhere; a name of the session too, as completion begins with those. */
            mp_obj_dict_store(names, MP_OBJ_NEW_QSTR(MP_QSTR_root), MP_OBJ_FROM_PTR(&tree_root));
            mp_obj_t path[] = {MP_OBJ_NEW_QSTR(MP_QSTR_), MP_OBJ_NEW_QSTR(MP_QSTR__dot_frozen)};
            mp_sys_path = mp_obj_new_list(2, path);
            nlr_pop();
            return MP_OBJ_TO_PTR(names);
        }
        (void)thread_park(NULL, abi_clock() + RETRY_NS);
    }
}

/* --- Running -------------------------------------------------------------------------------------------- */

static mp_obj_t compile(const char *source, size_t bytes, mp_parse_input_kind_t kind, bool show)
{
    mp_lexer_t *lexer = mp_lexer_new_from_str_len(MP_QSTR__lt_stdin_gt_, source, bytes, 0);
    qstr name = lexer->source_name;
    mp_parse_tree_t tree = mp_parse(lexer, kind);
    return mp_compile(&tree, name, show);
}

/* What SystemExit says: the program ended as it should, or not; a value that is no number says why. */
static enum run_outcome exit_outcome(void *exception)
{
    mp_obj_t value = mp_obj_exception_get_value(MP_OBJ_FROM_PTR(exception));
    if (value == mp_const_none || value == mp_const_false || value == MP_OBJ_NEW_SMALL_INT(0))
        return RUN_EXITED;
    if (!mp_obj_is_int(value)) {
        mp_obj_print_protected(&mp_plat_print, value, PRINT_STR);
        mp_print_str(&mp_plat_print, "\n");
    }
    return RUN_EXITED_BADLY;
}

static enum run_outcome report(void *exception)
{
    mp_handle_pending(false);
    const mp_obj_type_t *type = ((mp_obj_base_t *)exception)->type;
    if (mp_obj_is_subclass_fast(MP_OBJ_FROM_PTR(type), MP_OBJ_FROM_PTR(&mp_type_SystemExit)))
        return exit_outcome(exception);
    mp_obj_print_protected(&mp_plat_print, MP_OBJ_FROM_PTR(exception), PRINT_EXC);
    return RUN_RAISED;
}

/* Compile and run; `show`: the value of an expression is printed. */
static enum run_outcome run(const char *source, size_t bytes, mp_parse_input_kind_t kind, bool show)
{
    struct thread *thread = thread_current();
    nlr_buf_t nlr;
    enum run_outcome outcome = RUN_ENDED;
    thread->at_prompt = thread->running = true;
    thread->outermost = MP_STATE_THREAD(nlr_top);
    if (nlr_push(&nlr) == 0) {
        mp_obj_t function = compile(source, bytes, kind, show);
        thread->at_prompt = false;
        mp_call_function_0(function);
        mp_handle_pending(true);
        nlr_pop();
    } else {
        thread->at_prompt = true; /* telling what went wrong must not fail for want of memory */
        outcome = report(nlr.ret_val);
    }
    thread->at_prompt = thread->running = thread->ending = false;
    return outcome;
}

/* --- The prompt ----------------------------------------------------------------------------------------- */

static void say(struct session *session, const char *text)
{
    session_write(session, text, strlen(text));
}

static void paste(struct session *session)
{
    vstr_t text;
    vstr_init(&text, 64);
    say(session, "\r\npaste mode; Ctrl-C to cancel, Ctrl-D to finish\r\n=== ");
    for (;;) {
        int key = session_read_char(session);
        if (key == CHAR_CTRL_C) {
            say(session, "\r\n");
            return;
        }
        if (key == CHAR_CTRL_D)
            break;
        if (key == '\r' || key == '\n') {
            vstr_add_byte(&text, '\n');
            say(session, "\r\n=== ");
        } else {
            char c = (char)key;
            vstr_add_byte(&text, (byte)key);
            session_write(session, &c, 1);
        }
    }
    say(session, "\r\n");
    session_set_busy(session, true);
    (void)run(text.buf, text.len, MP_PARSE_FILE_INPUT, true);
}

/* Read one statement, with its continuation lines; false: there is nothing to run. */
static bool read_statement(struct session *session, vstr_t *line)
{
    int end = session_read_line(session, line, ">>> ");
    if (end == CHAR_CTRL_D)
        say(session, "\r\nThe session lives on. Ctrl-] detaches from it.\r\n");
    else if (end == CHAR_CTRL_E)
        paste(session);
    else if (end != 0)
        say(session, "\r\n");
    if (end != 0 || vstr_len(line) == 0)
        return false;
    while (mp_repl_continue_with_input(vstr_null_terminated_str(line))) {
        vstr_add_byte(line, '\n');
        end = session_read_line(session, line, "... ");
        if (end == CHAR_CTRL_C) {
            say(session, "\r\n");
            return false;
        }
        if (end == CHAR_CTRL_D) {
            say(session, "\r\n");
            break;
        }
        if (end != 0) { /* another key of an empty line: nothing here */
            vstr_cut_tail_bytes(line, 1);
            say(session, "\r\n");
        }
    }
    return true;
}

/* The line is kept, so that without memory the prompt still reads what fits into it. */
static void init_line(vstr_t *line)
{
    *line = (vstr_t){.alloc = LINE_BYTES};
    while ((line->buf = m_new_maybe(char, LINE_BYTES)) == NULL)
        (void)thread_park(NULL, abi_clock() + RETRY_NS);
}

static void empty_line(vstr_t *line)
{
    vstr_reset(line);
    if (line->alloc > LINE_BYTES)
        line->buf = m_renew(char, line->buf, line->alloc, LINE_BYTES);
    line->alloc = LINE_BYTES;
}

/* Everything that may raise here has taken input before: without input nothing is tried again. */
static void serve_statement(struct session *session, vstr_t *line)
{
    struct thread *thread = thread_current();
    nlr_buf_t nlr;
    thread->at_prompt = true;
    thread->prompt_bytes = 0;
    MP_STATE_THREAD(gc_lock_depth) = 0; /* a statement's lock of the heap ends with it: lines need memory */
    empty_line(line);
    session_set_busy(session, false);
    if (nlr_push(&nlr) == 0) {
        if (read_statement(session, line)) {
            session_set_busy(session, true);
            enum run_outcome outcome = run(line->buf, line->len, MP_PARSE_SINGLE_INPUT, true);
            if (outcome == RUN_EXITED || outcome == RUN_EXITED_BADLY) {
                session_end(session);
                say(session, "The session stays: it has threads that run.\r\n");
            }
        }
        nlr_pop();
    } else {
        thread->at_prompt = true;
        thread->running = thread->ending = false;
        (void)report(nlr.ret_val);
    }
}

_Noreturn void repl_run(struct session *session)
{
    vstr_t line;
    init_line(&line);
    for (;;)
        serve_statement(session, &line);
}

/* --- Exec ----------------------------------------------------------------------------------------------- */

struct exec_request {
    struct session *session;
    char *source;
    size_t bytes;
};

/* Is the source one expression, whose value is to be printed? Syntax decides, so it is parsed. */
static bool is_expression(const char *source, size_t bytes)
{
    struct thread *thread = thread_current();
    nlr_buf_t nlr;
    bool expression = false;
    thread->at_prompt = true;
    if (nlr_push(&nlr) == 0) {
        mp_lexer_t *lexer = mp_lexer_new_from_str_len(MP_QSTR__lt_stdin_gt_, source, bytes, 0);
        mp_parse_tree_t tree = mp_parse(lexer, MP_PARSE_EVAL_INPUT);
        mp_parse_tree_clear(&tree);
        nlr_pop();
        expression = true;
    } else if (mp_obj_is_subclass_fast(((mp_obj_base_t *)nlr.ret_val)->type, &mp_type_KeyboardInterrupt)) {
        session_interrupt_thread(thread); /* meant for the run of it */
    }
    thread->at_prompt = false;
    return expression;
}

static void exec_main(void *argument)
{
    struct exec_request *request = argument;
    struct thread *thread = thread_current();
    mp_state_thread_t state = {0};
    while (session_globals(request->session) == NULL)
        (void)thread_park(NULL, abi_clock() + RETRY_NS); /* a new session that waits for memory */
    mp_thread_init_state(&state, THREAD_SESSION_STACK_BYTES - ABI_PAGE_BYTES, session_globals(request->session),
                         session_globals(request->session));
    if (thread->exec != NULL)
        viewer_exec_begin(thread->exec);
    mp_parse_input_kind_t kind = is_expression(request->source, request->bytes) ? MP_PARSE_SINGLE_INPUT : MP_PARSE_FILE_INPUT;
    enum run_outcome outcome = run(request->source, request->bytes, kind, kind == MP_PARSE_SINGLE_INPUT);
    if (thread->exec != NULL)
        viewer_exec_end(thread->exec, outcome == RUN_RAISED || outcome == RUN_EXITED_BADLY);
}

struct thread *repl_start_exec(struct session *session, struct viewer *viewer, char *source, size_t bytes)
{
    struct exec_request *request = m_new_obj_maybe(struct exec_request);
    if (request == NULL)
        return NULL;
    *request = (struct exec_request){.session = session, .source = source, .bytes = bytes};
    struct thread *thread = thread_create(THREAD_EXEC, exec_main, request, session);
    if (thread != NULL)
        thread->exec = viewer;
    return thread;
}
