/* MicroPython as it is built for the world. */
#ifndef OBJECTS_MPCONFIGPORT_H
#define OBJECTS_MPCONFIGPORT_H

#include <stdint.h>

#define MICROPY_CONFIG_ROM_LEVEL (MICROPY_CONFIG_ROM_LEVEL_EXTRA_FEATURES)

typedef long mp_int_t;
typedef unsigned long mp_uint_t;
typedef long mp_off_t;
#include <alloca.h>
#define MP_SSIZE_MAX INT64_MAX

#define MICROPY_HW_BOARD_NAME "world"
#define MICROPY_HW_MCU_NAME "x86-64"
#define MICROPY_PY_SYS_PLATFORM "eidolon"

/* Memory: one heap; a collection after a share of it was allocated, not only when all of it is used, so that garbage does not
 * spread over every page of the world. */
#define MICROPY_ENABLE_GC 1
#define MICROPY_ENABLE_FINALISER 1
#define MICROPY_GC_ALLOC_THRESHOLD 1
#define MICROPY_GC_STACK_ENTRY_TYPE uint32_t
#define MICROPY_ALLOC_GC_STACK_SIZE 16384
#define MICROPY_GC_HOOK_LOOP(i) (memory_words_scanned++)
extern unsigned long memory_words_scanned;
#define MICROPY_STACK_CHECK 1
#define MICROPY_STACK_CHECK_MARGIN (12 * 1024)
#define MICROPY_ENABLE_EMERGENCY_EXCEPTION_BUF 1
#define MICROPY_EMERGENCY_EXCEPTION_BUF_SIZE 512

/* Language. */
#define MICROPY_LONGINT_IMPL MICROPY_LONGINT_IMPL_MPZ
#define MICROPY_FLOAT_IMPL MICROPY_FLOAT_IMPL_DOUBLE
#define MICROPY_FLOAT_USE_NATIVE_FLT16 0
#define MICROPY_ERROR_REPORTING MICROPY_ERROR_REPORTING_DETAILED
#define MICROPY_WARNINGS 1
#define MICROPY_USE_INTERNAL_ERRNO 1
#define MICROPY_EPOCH_IS_1970 1
#define MICROPY_TRACKED_ALLOC 0
#define MICROPY_ENABLE_EXTERNAL_IMPORT 1
#define MICROPY_READER_POSIX 0
#define MICROPY_VFS 0
#define MICROPY_KBD_EXCEPTION 0
#define MICROPY_CAN_OVERRIDE_BUILTINS 0
#define MICROPY_PY_BUILTINS_INPUT 1
#define MICROPY_PY_BUILTINS_OPEN 0 /* there are no files, on purpose */
#define MICROPY_PY_BUILTINS_COMPILE 1
#define MICROPY_PY_BUILTINS_HELP_TEXT world_help_text
extern const char world_help_text[];

/* Editing at the prompt. */
#define MICROPY_HELPER_REPL 1
#define MICROPY_REPL_EMACS_KEYS 1
#define MICROPY_REPL_EMACS_WORDS_MOVE 1
#define MICROPY_REPL_EMACS_EXTRA_WORDS_MOVE 1
#define MICROPY_REPL_AUTO_INDENT 1
#define MICROPY_READLINE_HISTORY_SIZE 50

/* Threads: green ones (objects/threads.h). A turn is so many branches of the interpreter or steps of C loops, counted over all
 * functions. The interpreter lock is only a name: one thread runs at a time. */
#define MICROPY_PY_THREAD 1
#define MICROPY_PY_THREAD_GIL 1
#define MICROPY_PY_THREAD_GIL_VM_DIVISOR 0x40000000
extern int world_turn_left;
void world_turn_ended(void);
void world_turn_ended_in_c(void);
#define MICROPY_VM_HOOK_LOOP \
    if (--world_turn_left < 0) { \
        world_turn_ended(); \
    }
#define MICROPY_C_LOOP_HOOK(steps) \
    do { \
        if ((world_turn_left -= (int)(steps)) < 0) \
            world_turn_ended_in_c(); \
    } while (0)
#define MICROPY_ENABLE_SCHEDULER 1
#define MICROPY_SCHEDULER_DEPTH 32
void world_call_back(void *function, void *argument);
#define MICROPY_SCHED_CALL(function, argument) world_call_back(function, argument)

/* Modules. */
#define MICROPY_PY_OS 0
#define MICROPY_PY_MACHINE 0
#define MICROPY_PY_NETWORK 0
#define MICROPY_PY_SOCKET 0
#define MICROPY_PY_LWIP 1
#define MICROPY_PY_LWIP_SOCK_RAW 0
#define MICROPY_PY_SOCKET_LISTEN_BACKLOG_DEFAULT 8
#define MICROPY_PY_WEBSOCKET 0
#define MICROPY_PY_WEBREPL 0
#define MICROPY_PY_ONEWIRE 0
#define MICROPY_PY_FRAMEBUF 0
#define MICROPY_PY_BTREE 0
#define MICROPY_PY_UCTYPES 1
#define MICROPY_PY_CRYPTOLIB 0
#define MICROPY_PY_DEFLATE 0
#define MICROPY_PY_HASHLIB 1
#define MICROPY_PY_HASHLIB_SHA256 1
#define MICROPY_PY_HASHLIB_SHA1 0
#define MICROPY_PY_HASHLIB_MD5 0
#define MICROPY_PY_PLATFORM 0
#define MICROPY_PY_MARSHAL 0
#define MICROPY_PY_SYS_PATH_ARGV_DEFAULTS 1
#define MICROPY_PY_SYS_PS1_PS2 0
#define MICROPY_PY_SYS_EXIT 1
#define MICROPY_PY_SYS_STDFILES 1
#define MICROPY_PY_TIME 1
#define MICROPY_PY_TIME_INCLUDEFILE "time_port.inc"
#define MICROPY_PY_TIME_GMTIME_LOCALTIME_MKTIME 1
#define MICROPY_PY_TIME_TIME_TIME_NS 1
#define MICROPY_PY_RANDOM_SEED_INIT_FUNC (world_random_seed())
unsigned long world_random_seed(void);
#define MICROPY_PY_MATH_SPECIAL_FUNCTIONS 1
#define MICROPY_PY_MATH_ISCLOSE 1
#define MICROPY_PY_BUILTINS_STR_UNICODE 1
#define MICROPY_PY_COLLECTIONS_NAMEDTUPLE__ASDICT 1
#define MICROPY_PY_STRUCT 1

/* A blocked call parks its thread until an event or a deadline (milliseconds; -1: none). */
void world_wait(const void *object, unsigned long timeout_ms);
void world_socket_event(const void *socket);
#define MICROPY_PY_LWIP_WAIT(object, timeout_ms) world_wait(object, timeout_ms)
#define MICROPY_PY_LWIP_EVENT(socket) world_socket_event(socket)
struct tcp_pcb *world_new_connection(void);
#define MICROPY_PY_SELECT_WAKE() world_socket_event((void *)0)
#define MICROPY_PY_LWIP_TCP_NEW() world_new_connection()
_Bool network_may_send(void);
#define MICROPY_PY_LWIP_MAY_SEND() network_may_send()
#define MICROPY_INTERNAL_WFE(timeout_ms) world_wait((void *)0, (unsigned long)(mp_int_t)(timeout_ms))

/* Names that every session has besides Python's own. */
extern struct tree_directory tree_root;
#define MICROPY_PORT_BUILTINS \
    { MP_ROM_QSTR(MP_QSTR_root), MP_ROM_PTR(&tree_root) }, \
    { MP_ROM_QSTR(MP_QSTR_Directory), MP_ROM_PTR(&tree_directory_type) }, \
    { MP_ROM_QSTR(MP_QSTR_ls), MP_ROM_PTR(&tree_ls_object) },
extern const struct _mp_obj_type_t tree_directory_type;
extern const struct _mp_obj_fun_builtin_var_t tree_ls_object;

#define MP_STATE_PORT MP_STATE_VM

#endif
