/* The module `eidolon`: what a program may ask of the cluster it runs on. */
#include <string.h>

#include "py/runtime.h"

#include "objects/abi_calls.h"
#include "objects/memory.h"
#include "objects/session.h"
#include "objects/threads.h"
#include "objects/waiting.h"

#define MOVE_TIMEOUT_NS 10000000000ull

static struct abi_status read_status(void)
{
    struct abi_status status = {0};
    if (abi_call(ABI_CALL_STATUS, (uintptr_t)&status, sizeof status, 0) != 0)
        mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("the kernel does not tell its status"));
    return status;
}

static mp_obj_t eidolon_node(void)
{
    return mp_obj_new_int_from_uint(read_status().node);
}
static MP_DEFINE_CONST_FUN_OBJ_0(eidolon_node_object, eidolon_node);

static mp_obj_t eidolon_epoch(void)
{
    return mp_obj_new_int_from_ull(read_status().epoch);
}
static MP_DEFINE_CONST_FUN_OBJ_0(eidolon_epoch_object, eidolon_epoch);

static mp_obj_t eidolon_nodes(void)
{
    struct abi_status status = read_status();
    mp_obj_t list = mp_obj_new_list(0, NULL);
    for (unsigned i = 0; i < MP_ARRAY_SIZE(status.nodes); i++) {
        const struct abi_node_status *node = &status.nodes[i];
        if (node->number == 0)
            continue;
        mp_obj_t entry = mp_obj_new_dict(4);
        mp_obj_dict_store(entry, MP_OBJ_NEW_QSTR(MP_QSTR_node), mp_obj_new_int_from_uint(node->number));
        mp_obj_dict_store(entry, MP_OBJ_NEW_QSTR(MP_QSTR_up), mp_obj_new_bool(node->up != 0));
        mp_obj_dict_store(entry, MP_OBJ_NEW_QSTR(MP_QSTR_voter), mp_obj_new_bool(node->voter != 0));
        mp_obj_dict_store(entry, MP_OBJ_NEW_QSTR(MP_QSTR_host), mp_obj_new_bool(node->host != 0));
        mp_obj_list_append(list, entry);
    }
    return list;
}
static MP_DEFINE_CONST_FUN_OBJ_0(eidolon_nodes_object, eidolon_nodes);

/* Returns when all that was done before the call is durable. Only the calling thread waits. */
static mp_obj_t eidolon_commit(void)
{
    uint64_t epoch = (uint64_t)abi_call(ABI_CALL_COMMIT, 0, 0, 0);
    while (abi_call(ABI_CALL_COMMIT, epoch, 0, 0) == 0) {
        if (threads_commit_epoch == 0 || epoch < threads_commit_epoch)
            threads_commit_epoch = epoch;
        (void)world_park(&threads_commit_event, ABI_NEVER);
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_0(eidolon_commit_object, eidolon_commit);

/* Returns when the world runs on node `number`. */
static mp_obj_t eidolon_move(mp_obj_t number)
{
    mp_int_t node = mp_obj_get_int(number);
    uint64_t resumed = abi_info()->resumed, deadline_ns = abi_clock() + MOVE_TIMEOUT_NS;
    switch (node < 1 || node > UINT32_MAX ? -ABI_EINVAL : abi_call(ABI_CALL_MOVE, (uint64_t)node, 0, 0)) {
    case 0:
        break;
    case 1:
        return mp_const_none;
    case -ABI_EAGAIN:
        mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("that node cannot take the world now"));
    case -ABI_ENOENT:
        mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("that node is down"));
    default:
        mp_raise_ValueError(MP_ERROR_TEXT("no such node"));
    }
    while (abi_info()->resumed == resumed) {
        if (!world_park(&threads_resume_event, deadline_ns) && abi_clock() >= deadline_ns)
            mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("the world was not moved; it runs where it was"));
    }
    if (read_status().node != (uint32_t)node)
        mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("the world resumed on another node"));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(eidolon_move_object, eidolon_move);

#define ENTROPY_BYTES_MAX 256

/* Unpredictable bytes, fresh on every node: for what must stay secret. (`random` is ordinary state: it goes on where it was.) */
static mp_obj_t eidolon_entropy(mp_obj_t count)
{
    mp_int_t bytes = mp_obj_get_int(count);
    if (bytes < 0 || bytes > ENTROPY_BYTES_MAX)
        mp_raise_ValueError(MP_ERROR_TEXT("0 to 256 bytes"));
    byte buffer[ENTROPY_BYTES_MAX];
    abi_entropy(buffer, (uint32_t)bytes);
    return mp_obj_new_bytes(buffer, (size_t)bytes);
}
static MP_DEFINE_CONST_FUN_OBJ_1(eidolon_entropy_object, eidolon_entropy);

/* The names of all sessions. */
static mp_obj_t eidolon_sessions(void)
{
    mp_obj_t list = mp_obj_new_list(0, NULL);
    for (struct session *session = sessions_next(NULL); session != NULL; session = sessions_next(session))
        mp_obj_list_append(list, mp_obj_new_str_from_cstr(session_name(session)));
    return list;
}
static MP_DEFINE_CONST_FUN_OBJ_0(eidolon_sessions_object, eidolon_sessions);

static mp_obj_t eidolon_session(void)
{
    return mp_obj_new_str_from_cstr(session_name(session_current()));
}
static MP_DEFINE_CONST_FUN_OBJ_0(eidolon_session_object, eidolon_session);

/* All threads: 'prompt' is the foreground of its session, 'exec' runs what a client sent, 'thread' was started by a program. */
static mp_obj_t eidolon_threads(void)
{
    static const qstr_short_t kinds[THREAD_KINDS] = {[THREAD_SESSION] = MP_QSTR_prompt, [THREAD_EXEC] = MP_QSTR_exec, [THREAD_PYTHON] = MP_QSTR_thread};
    mp_obj_t list = mp_obj_new_list(0, NULL);
    for (const struct thread *thread = threads_next(NULL); thread != NULL; thread = threads_next(thread)) {
        mp_obj_t entry = mp_obj_new_dict(3);
        mp_obj_dict_store(entry, MP_OBJ_NEW_QSTR(MP_QSTR_thread), mp_obj_new_int_from_uint(thread->number));
        mp_obj_dict_store(entry, MP_OBJ_NEW_QSTR(MP_QSTR_session), mp_obj_new_str_from_cstr(session_name(thread->session)));
        mp_obj_dict_store(entry, MP_OBJ_NEW_QSTR(MP_QSTR_kind), MP_OBJ_NEW_QSTR(kinds[thread->kind]));
        mp_obj_list_append(list, entry);
    }
    return list;
}
static MP_DEFINE_CONST_FUN_OBJ_0(eidolon_threads_object, eidolon_threads);

static struct thread *thread_of(mp_obj_t number)
{
    mp_int_t wanted = mp_obj_get_int(number);
    struct thread *thread = threads_next(NULL);
    while (thread != NULL && thread->number != wanted)
        thread = threads_next(thread);
    if (thread == NULL)
        mp_raise_ValueError(MP_ERROR_TEXT("no such thread"));
    return thread;
}

static void interrupt(struct thread *thread)
{
    if (thread->kind == THREAD_SESSION)
        (void)session_interrupt(thread->session);
    else
        session_interrupt_thread(thread);
}

/* KeyboardInterrupt in the thread of that number, as Ctrl-C in its session or its exec: nothing, at a prompt that waits. */
static mp_obj_t eidolon_interrupt(mp_obj_t number)
{
    interrupt(thread_of(number));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(eidolon_interrupt_object, eidolon_interrupt);

/* For a program that catches KeyboardInterrupt and goes on: it is raised again at every step until what runs in the thread is through. */
static mp_obj_t eidolon_end(mp_obj_t number)
{
    struct thread *thread = thread_of(number);
    thread->ending = thread->running;
    interrupt(thread);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(eidolon_end_object, eidolon_end);

/* (heap, in use, reserve, charged to this session, this session's share of the reserve), bytes. */
static mp_obj_t eidolon_memory(void)
{
    struct memory_facts facts;
    memory_get_facts(session_current(), &facts);
    mp_obj_t items[5] = {mp_obj_new_int_from_ull(facts.total), mp_obj_new_int_from_ull(facts.used),
                         mp_obj_new_int_from_ull(facts.reserve), mp_obj_new_int_from_ull(facts.session_bytes),
                         mp_obj_new_int_from_ull(facts.session_share)};
    return mp_obj_new_tuple(5, items);
}
static MP_DEFINE_CONST_FUN_OBJ_0(eidolon_memory_object, eidolon_memory);

static const mp_rom_map_elem_t eidolon_names_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_eidolon)},
    {MP_ROM_QSTR(MP_QSTR_node), MP_ROM_PTR(&eidolon_node_object)},
    {MP_ROM_QSTR(MP_QSTR_nodes), MP_ROM_PTR(&eidolon_nodes_object)},
    {MP_ROM_QSTR(MP_QSTR_epoch), MP_ROM_PTR(&eidolon_epoch_object)},
    {MP_ROM_QSTR(MP_QSTR_commit), MP_ROM_PTR(&eidolon_commit_object)},
    {MP_ROM_QSTR(MP_QSTR_move), MP_ROM_PTR(&eidolon_move_object)},
    {MP_ROM_QSTR(MP_QSTR_session), MP_ROM_PTR(&eidolon_session_object)},
    {MP_ROM_QSTR(MP_QSTR_sessions), MP_ROM_PTR(&eidolon_sessions_object)},
    {MP_ROM_QSTR(MP_QSTR_threads), MP_ROM_PTR(&eidolon_threads_object)},
    {MP_ROM_QSTR(MP_QSTR_interrupt), MP_ROM_PTR(&eidolon_interrupt_object)},
    {MP_ROM_QSTR(MP_QSTR_end), MP_ROM_PTR(&eidolon_end_object)},
    {MP_ROM_QSTR(MP_QSTR_entropy), MP_ROM_PTR(&eidolon_entropy_object)},
    {MP_ROM_QSTR(MP_QSTR_memory), MP_ROM_PTR(&eidolon_memory_object)},
};
static MP_DEFINE_CONST_DICT(eidolon_names, eidolon_names_table);

const mp_obj_module_t module_eidolon = {
    .base = {&mp_type_module},
    .globals = (mp_obj_dict_t *)&eidolon_names,
};
MP_REGISTER_MODULE(MP_QSTR_eidolon, module_eidolon);
