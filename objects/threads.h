/* Green threads: the scheduler of the world.
 *
 * Owns the threads' stacks and run queue. The kernel knows one context; threads are memory and persist like everything.
 * Switching is cooperative: a thread runs until it yields, parks or exits. The scheduler itself runs on the initial stack: it lets
 * frames and timers in, runs what is runnable, and waits in the kernel when nothing is, until the nearest deadline. While it waits
 * it writes nothing. Knows no language: that layer hooks in by struct threads_hooks.
 *
 * Bounds: THREADS_MAX threads in all, and a number of each kind, so that one kind cannot starve another. */
#ifndef OBJECTS_THREADS_H
#define OBJECTS_THREADS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct session;
struct viewer;

enum thread_kind { THREAD_SESSION, THREAD_EXEC, THREAD_PYTHON, THREAD_KINDS };
enum thread_state { THREAD_FREE, THREAD_RUNNABLE, THREAD_PARKED };

struct thread {
    enum thread_state state;
    enum thread_kind kind;
    uint32_t number;             /* 1.. , never reused within 2^32 */
    struct thread *next;         /* in the run queue */
    uintptr_t stack_pointer;     /* while it does not run */
    uint8_t *stack;
    size_t stack_bytes;
    const void *awaited;         /* what it is parked for */
    uint64_t deadline_ns;
    bool woken;                  /* by an event, not by the deadline */
    void *language_state;        /* the runtime's */
    struct session *session;     /* whose program it belongs to; never NULL for a thread that runs Python */
    struct viewer *exec;         /* the request whose output it writes, else NULL: the session's */
    bool running;                /* a program: only that can be ended */
    bool ending;                 /* it is interrupted at every step until it is through */
    unsigned callback_turns;     /* taken by the scheduled callback that runs in it, and one; 0: none does */
    const void *outermost;       /* the handler outside of it */
    bool in_editor;              /* the session's line editor is loaded while it runs */
    bool at_prompt;              /* reads or compiles a line: may use a little of the heap's reserve */
    size_t prompt_bytes;         /* allocated so, for the present line */
};

struct threads_hooks {
    /* Let in what arrived and what is due; return the next time at which something will be due (ABI_NEVER: nothing). */
    uint64_t (*poll)(uint64_t now_ns);
    /* Has the running thread left something for poll to do: output, a deadline that poll does not know yet? Asked often: cheap. */
    bool (*poll_is_due)(void);
    /* Before `thread` runs, and after it stopped running. */
    void (*enter)(struct thread *thread);
    void (*leave)(struct thread *thread);
};

/* Carve the stacks from [base, base + bytes); returns the bytes used. Called once, at birth. `hooks` is kept. */
size_t threads_init(uint8_t *base, size_t bytes, const struct threads_hooks *hooks);

/* Bytes that threads_init takes. */
size_t threads_stack_bytes(void);

/* A new runnable thread that calls entry(argument), or NULL when its kind's bound is reached. */
struct thread *thread_create(enum thread_kind kind, void (*entry)(void *), void *argument, struct session *session);

/* The running thread; NULL: the scheduler itself. */
struct thread *thread_current(void);

/* Let others run. Only from a thread. */
void thread_yield(void);

/* Would a yield be of use to anybody now: another thread, a frame, a deadline that has come, output to send? Cheap. */
bool thread_yield_is_due(void);

/* Park the running thread until thread_wake, threads_wake_all of `awaited`, or the deadline (ABI_NEVER: none). True: woken. May return
 * early: the caller looks at its condition again. Only from a thread. */
bool thread_park(const void *awaited, uint64_t deadline_ns);

/* Make a parked thread runnable. No effect on others. */
void thread_wake(struct thread *thread);
void threads_wake_all(const void *awaited);

/* End the running thread; its stack is free at once. */
_Noreturn void thread_exit(void);

/* The scheduler: never returns. */
_Noreturn void threads_run(void);

/* Iterate over living threads: pass NULL first; NULL at the end. */
struct thread *threads_next(const struct thread *previous);

/* The stack range in use of a thread that does not run. */
void thread_stack_range(const struct thread *thread, uintptr_t *low, uintptr_t *high);

/* The scheduler's own stack while a thread runs. */
uintptr_t threads_scheduler_stack_pointer(void);

/* An epoch whose commit somebody waits for (0: nobody): the wait in the kernel ends with it too, and then those who are parked for
 * &threads_commit_event look again. */
extern uint64_t threads_commit_epoch;
extern const char threads_commit_event, threads_resume_event;
/* What threads are parked for that wait for any of several things (select). */
extern const char threads_any_event;

#endif
