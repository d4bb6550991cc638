/* Allocation goes through the functions at the end of this file; the heap below them is MicroPython's, included so that its
 * parts can be composed anew: marking in turns, and a limit for each session. */
#define gc_alloc memory_alloc_unlimited
#define gc_realloc memory_realloc_unlimited
#define gc_free memory_free_uncounted
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wpointer-arith"
#include "py/gc.c"
#pragma GCC diagnostic pop
#undef gc_alloc
#undef gc_realloc
#undef gc_free

#include "objects/console.h"
#include "objects/limits.h"
#include "objects/memory.h"
#include "objects/session.h"
#include "objects/threads.h"
#include "objects/tree.h"

void *gc_alloc(size_t bytes, unsigned int flags);
void *gc_realloc(void *pointer, size_t bytes, bool allow_move);
void gc_free(void *pointer);

unsigned long memory_words_scanned; /* counted by MICROPY_GC_HOOK_LOOP */

static size_t heap_bytes, reserve_bytes, share_bytes;
static size_t used_bytes; /* alive at the last collection, and allocated since */
static size_t shared_bytes; /* of the last collection: nobody's */
static uintptr_t initial_stack_top;
/* Index in the allocation table below which no run of several free blocks is expected: set by the last search, taken back when
 * something below is freed. Without it each allocation of several blocks would search a filled heap from its first hole on. */
static size_t search_from;

void memory_init(uint8_t *base, size_t bytes, uintptr_t stack_top)
{
    gc_init(base, base + bytes);
    heap_bytes = (size_t)(MP_STATE_MEM(area).gc_pool_end - MP_STATE_MEM(area).gc_pool_start);
    reserve_bytes = heap_bytes / HEAP_RESERVE_SHARE;
    share_bytes = reserve_bytes / SESSIONS_MAX;
    CHECK(share_bytes > HEAP_PROMPT_BYTES / 2);
    CHECK(reserve_bytes / 2 > HEAP_PROMPTS_KEPT_BYTES);
    initial_stack_top = stack_top;
    MP_STATE_MEM(gc_alloc_threshold) = HEAP_COLLECT_BYTES_MIN / BYTES_PER_BLOCK;
}

/* --- Collection ----------------------------------------------------------------------------------------- */

void memory_mark(const void *low, const void *high)
{
    gc_collect_root((void **)(uintptr_t)low, (size_t)((uintptr_t)high - (uintptr_t)low) / sizeof(void *));
}

static void mark_range(uintptr_t low, uintptr_t high)
{
    memory_mark((const void *)low, (const void *)high);
}

/* What belongs to no session: the runtime's own roots, the object tree, the scheduler's stack. */
static void mark_shared(uintptr_t stack_pointer)
{
    mp_obj_dict_t modules = MP_STATE_VM(mp_loaded_modules_dict);
    mp_obj_t path = mp_sys_path;
    memset(&MP_STATE_VM(mp_loaded_modules_dict), 0, sizeof modules); /* the running session's: marked with it */
    mp_sys_path = MP_OBJ_NULL;
    gc_collect_start();
    MP_STATE_VM(mp_loaded_modules_dict) = modules;
    mp_sys_path = path;
    tree_mark();
    uintptr_t low = thread_current() == NULL ? stack_pointer : threads_scheduler_stack_pointer();
    mark_range(low, initial_stack_top);
}

static void mark_threads(const struct session *session, uintptr_t stack_pointer)
{
    for (struct thread *thread = threads_next(NULL); thread != NULL; thread = threads_next(thread)) {
        if (thread->session != session)
            continue;
        uintptr_t low, high;
        thread_stack_range(thread, &low, &high);
        if (thread == thread_current())
            low = stack_pointer;
        mark_range(low, high);
    }
}

/* Bytes of marked blocks: what the allocation table says up to the last used block. */
static size_t count_marked(void)
{
    const mp_state_mem_area_t *area = &MP_STATE_MEM(area);
    size_t blocks = 0;
    bool alive = false;
    for (size_t block = 0; block <= area->gc_last_used_block; block++) {
        switch (ATB_GET_KIND(area, block)) {
        case AT_MARK:
            alive = true;
            blocks++;
            break;
        case AT_TAIL:
            blocks += alive;
            break;
        default:
            alive = false;
        }
    }
    return blocks * BYTES_PER_BLOCK;
}

/* Complete a turn of marking and return the bytes it marked; `before`: bytes that earlier turns marked. Each word of a marked block is
 * scanned once, except when the mark stack overflows: then the table is counted. */
static size_t finish_marking(size_t before)
{
    if (!MP_STATE_MEM(gc_stack_overflow))
        return memory_words_scanned * sizeof(void *);
    gc_deal_with_stack_overflow();
    size_t marked_bytes = count_marked();
    return marked_bytes > before ? marked_bytes - before : 0;
}

/* All are below 2^32, as the world's addresses are. */
static size_t part_of(size_t whole, size_t numerator, size_t denominator)
{
    return denominator == 0 ? 0 : whole * numerator / denominator;
}

/* Who is to blame when what is shared grows into the reserve: those that allocated since the last collection, each by how much. When it
 * shrinks, all are to blame for less, and for nothing once the reserve is whole. */
static void spread_blame(size_t shared_before)
{
    size_t grown = shared_bytes > shared_before ? shared_bytes - shared_before : 0;
    size_t shrunk = shared_bytes < shared_before ? shared_before - shared_bytes : 0;
    size_t allocated = 0, blame = 0;
    bool whole = used_bytes + reserve_bytes <= heap_bytes;
    for (struct session *session = sessions_next(NULL); session != NULL; session = sessions_next(session)) {
        allocated += session_charge(session)->allocated;
        blame += session_charge(session)->blame;
    }
    for (struct session *session = sessions_next(NULL); session != NULL; session = sessions_next(session)) {
        struct memory_charge *charge = session_charge(session);
        size_t less = part_of(shrunk, charge->blame, blame);
        charge->blame += part_of(grown, charge->allocated, allocated);
        charge->blame -= less < charge->blame ? less : charge->blame;
        charge->allocated = 0;
        if (whole)
            charge->blame = charge->grown = 0;
    }
}

static void set_alive(struct memory_charge *charge, size_t bytes)
{
    size_t shrunk = bytes < charge->alive ? charge->alive - bytes : 0;
    charge->grown += bytes > charge->alive ? bytes - charge->alive : 0;
    charge->grown -= shrunk < charge->grown ? shrunk : charge->grown;
    charge->alive = charge->bytes = bytes;
}

static __attribute__((noinline)) void collect_from(uintptr_t stack_pointer)
{
    size_t shared_before = shared_bytes;
    session_save_current();
    memory_words_scanned = 0;
    mark_shared(stack_pointer);
    size_t marked_bytes = finish_marking(0);
    shared_bytes = marked_bytes;
    for (struct session *session = sessions_next(NULL); session != NULL; session = sessions_next(session)) {
        memory_words_scanned = 0;
        session_mark(session);
        mark_threads(session, stack_pointer);
        size_t bytes = finish_marking(marked_bytes);
        set_alive(session_charge(session), bytes);
        marked_bytes += bytes;
    }
    used_bytes = marked_bytes;
    spread_blame(shared_before);
    gc_collect_end();
    search_from = 0;
    size_t threshold = used_bytes / 2 > HEAP_COLLECT_BYTES_MIN ? used_bytes / 2 : HEAP_COLLECT_BYTES_MIN;
    MP_STATE_MEM(gc_alloc_threshold) = threshold / BYTES_PER_BLOCK;
}

void gc_collect(void)
{
    /* Registers that a caller may keep a pointer in are on this stack before it is scanned. */
    uintptr_t registers[6];
    __asm__ volatile("movq %%rbx, 0(%0)\n\tmovq %%rbp, 8(%0)\n\tmovq %%r12, 16(%0)\n\t"
                     "movq %%r13, 24(%0)\n\tmovq %%r14, 32(%0)\n\tmovq %%r15, 40(%0)"
                     :
                     : "r"(registers)
                     : "memory");
    collect_from((uintptr_t)registers);
    __asm__ volatile("" : : "r"(registers) : "memory");
}

/* --- Allocation ----------------------------------------------------------------------------------------- */

void memory_get_facts(const struct session *session, struct memory_facts *facts)
{
    facts->total = heap_bytes;
    facts->used = used_bytes;
    facts->reserve = reserve_bytes;
    facts->session_bytes = session == NULL ? 0 : session_charge_const(session)->bytes;
    facts->session_share = share_bytes;
}

static struct memory_charge *current_charge(void)
{
    struct thread *thread = thread_current();
    return thread == NULL || thread->session == NULL ? NULL : session_charge(thread->session);
}

/* How much the running thread must leave free when it allocates so much for its session (NULL: the scheduler for a client). */
static size_t kept_bytes(const struct memory_charge *charge, size_t bytes)
{
    const struct thread *thread = thread_current();
    if (charge == NULL)
        return HEAP_PROMPT_BYTES;
    if (thread->at_prompt && thread->prompt_bytes + bytes <= HEAP_PROMPT_BYTES)
        return charge->blame + charge->grown > share_bytes ? reserve_bytes / 2 : 0;
    return charge->bytes + charge->blame + bytes > share_bytes ? reserve_bytes : HEAP_PROMPTS_KEPT_BYTES;
}

/* May the session allocate so much, by the numbers as they stand? */
static bool within_limit(const struct memory_charge *charge, size_t bytes)
{
    size_t free_bytes = heap_bytes > used_bytes ? heap_bytes - used_bytes : 0;
    return bytes <= free_bytes && free_bytes - bytes >= kept_bytes(charge, bytes);
}

static bool make_room(const struct memory_charge *charge, size_t bytes)
{
    if (within_limit(charge, bytes))
        return true;
    if (MP_STATE_THREAD(gc_lock_depth) > 0)
        return false;
    gc_collect();
    return within_limit(charge, bytes);
}

static size_t whole_blocks(size_t bytes)
{
    return (bytes + BYTES_PER_BLOCK - 1) & ~(size_t)(BYTES_PER_BLOCK - 1);
}

static void count(struct memory_charge *charge, size_t bytes)
{
    used_bytes += bytes;
    if (charge == NULL)
        return;
    charge->bytes += bytes;
    charge->allocated += bytes;
    if (thread_current()->at_prompt)
        thread_current()->prompt_bytes += bytes;
}

static void discount(struct memory_charge *charge, size_t bytes)
{
    used_bytes -= bytes < used_bytes ? bytes : used_bytes;
    if (charge == NULL)
        return;
    struct thread *thread = thread_current();
    charge->bytes -= bytes < charge->bytes ? bytes : charge->bytes;
    if (thread->at_prompt)
        thread->prompt_bytes -= bytes < thread->prompt_bytes ? bytes : thread->prompt_bytes;
}

static size_t block_of(const void *pointer)
{
    return (size_t)((const uint8_t *)pointer - MP_STATE_MEM(area).gc_pool_start) / BYTES_PER_BLOCK;
}

/* Where the allocation table tells of the block. */
static size_t table_index(const void *pointer)
{
    return block_of(pointer) / BLOCKS_PER_ATB;
}

/* Several blocks: search from where the last search ended, and from the beginning only when nothing is found there. */
static void *alloc_run(size_t bytes, unsigned int flags)
{
    mp_state_mem_area_t *area = &MP_STATE_MEM(area);
    void *pointer = NULL;
    if (search_from > area->gc_last_free_atb_index && MP_STATE_THREAD(gc_lock_depth) == 0
        && MP_STATE_MEM(gc_alloc_amount) < MP_STATE_MEM(gc_alloc_threshold)) {
        size_t first_free = area->gc_last_free_atb_index;
        uint16_t automatic = MP_STATE_MEM(gc_auto_collect_enabled);
        area->gc_last_free_atb_index = search_from;
        MP_STATE_MEM(gc_auto_collect_enabled) = 0;
        pointer = memory_alloc_unlimited(bytes, flags);
        MP_STATE_MEM(gc_auto_collect_enabled) = automatic;
        area->gc_last_free_atb_index = first_free;
    }
    if (pointer == NULL)
        pointer = memory_alloc_unlimited(bytes, flags);
    if (pointer == NULL && !MP_STATE_MEM(gc_auto_collect_enabled) && MP_STATE_THREAD(gc_lock_depth) == 0) {
        gc_collect(); /* gc.disable() is one program's wish: it takes no memory from others */
        pointer = memory_alloc_unlimited(bytes, flags);
    }
    if (pointer != NULL)
        search_from = table_index(pointer);
    return pointer;
}

static void freed(const void *pointer)
{
    if (pointer != NULL && table_index(pointer) < search_from)
        search_from = table_index(pointer);
}

void *gc_alloc(size_t bytes, unsigned int flags)
{
    struct memory_charge *charge = current_charge();
    if (bytes > heap_bytes || !make_room(charge, bytes))
        return NULL;
    void *pointer = bytes > BYTES_PER_BLOCK ? alloc_run(bytes, flags) : memory_alloc_unlimited(bytes, flags);
    if (pointer != NULL)
        count(charge, whole_blocks(bytes));
    return pointer;
}

/* It does not fit where it stands. */
static void *move_run(void *pointer, size_t before, size_t bytes)
{
    mp_state_mem_area_t *area = &MP_STATE_MEM(area);
    unsigned flags = FTB_GET(area, block_of(pointer)) ? GC_ALLOC_FLAG_HAS_FINALISER : 0;
    void *moved = alloc_run(bytes, flags);
    if (moved == NULL)
        return NULL;
    memcpy(moved, pointer, before < bytes ? before : bytes);
    memory_free_uncounted(pointer);
    freed(pointer);
    return moved;
}

void *gc_realloc(void *pointer, size_t bytes, bool allow_move)
{
    if (pointer == NULL)
        return gc_alloc(bytes, 0);
    struct memory_charge *charge = current_charge();
    size_t before = gc_nbytes(pointer);
    if (bytes > heap_bytes || (bytes > before && !make_room(charge, bytes - before)))
        return NULL;
    void *moved = memory_realloc_unlimited(pointer, bytes, false);
    if (moved == NULL && bytes > 0 && allow_move)
        moved = move_run(pointer, before, bytes);
    if (moved == NULL && bytes > 0)
        return NULL;
    if (bytes < before)
        freed(pointer);
    size_t after = whole_blocks(bytes);
    if (after > before)
        count(charge, after - before);
    else
        discount(charge, before - after);
    return moved;
}

void gc_free(void *pointer)
{
    if (MP_STATE_THREAD(gc_lock_depth) == 0)
        discount(current_charge(), gc_nbytes(pointer));
    memory_free_uncounted(pointer);
    freed(pointer);
}
