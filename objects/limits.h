/* Every bound of the world, with its reason. Included by objects/ only. */
#ifndef OBJECTS_LIMITS_H
#define OBJECTS_LIMITS_H

#include <assert.h>

#include "include/abi.h"

/* Sessions: enough for a team at work; each has a fixed block of static memory (terminal, replay). */
#define SESSIONS_MAX 32
#define SESSION_NAME_BYTES_MAX 32
#define SESSION_REPLAY_BYTES 16384u   /* a power of two; several screenfuls of text */
#define SESSION_REPLAY_LINES_MAX 60   /* of the last output, shown to a viewer that comes (a terminal: as many as it has rows) */
#define SESSION_HISTORY_LINES 50

/* Connections to port 7000: viewers of sessions and running `exec` requests. */
#define VIEWERS_MAX 48
#define VIEWER_LINE_BYTES_MAX 8192    /* of one line of a viewer without a terminal */
#define VIEWER_GREETING_BYTES_MAX 96  /* of a first line */
#define VIEWER_GREETING_MS 300        /* without a first line for so long, the viewer gets session `main` */
#define VIEWER_SOURCE_MS 10000        /* without more of an exec's source for so long, it is given up: it holds memory and a place */
#define VIEWER_LAG_MS 200             /* how long, in all until it has caught up, a viewer may hold up a thread that prints */
#define VIEWER_LAG_STEP_MS 20         /* counted in such steps, those left out in which the gate was shut: longer than a commit takes */
#define VIEWER_SKIPS_MAX 8            /* own lines not shown again to the viewer that typed them */
#define EXEC_SOURCE_BYTES_MAX (256u * 1024u)
#define EXEC_OUTPUT_BYTES 4096u       /* gathered before a piece of output is framed */

/* Threads: each has its C stack in world memory; only touched pages cost anything. A session's program recurses deeper than
 * a background thread needs to. */
#define THREADS_SESSION_MAX SESSIONS_MAX
#define THREADS_EXEC_MAX 8
#define THREADS_PYTHON_MAX 64
#define THREADS_PYTHON_SESSION_MAX 48 /* of one session: others find some left */
#define THREADS_MAX (THREADS_SESSION_MAX + THREADS_EXEC_MAX + THREADS_PYTHON_MAX)
#define THREAD_SESSION_STACK_BYTES (192u * 1024u)
#define THREAD_PYTHON_STACK_BYTES (96u * 1024u)
#define THREAD_TURN_BRANCHES 256      /* of the interpreter, before others get a turn; 0.2 ms under software emulation */
#define FINALISER_TURNS_MAX 1000      /* then a finaliser is ended by an exception: nothing else runs while it does */
#define CALLBACK_TURNS_MAX 1000       /* of a scheduled callback, then it is ended likewise: it holds up a thread that may be another session's */
#define THREAD_STACK_MARGIN_BYTES (12u * 1024u) /* what C code may use between two checks of the runtime */

/* Heap. */
#define HEAP_RESERVE_SHARE 8          /* 1/8 of the heap is for sessions below their share only */
#define HEAP_PROMPT_BYTES (64u * 1024u) /* for reading and compiling a line in any session, when the heap is full */
#define HEAP_PROMPTS_KEPT_BYTES (2 * HEAP_PROMPT_BYTES) /* programs leave so much free: two lines at once */
#define HEAP_COLLECT_BYTES_MIN (512u * 1024u) /* allocated between two collections, or half of what is alive: so much a program writes anew again and again */
#define TREE_DEPTH_MAX 16             /* levels that ls() descends */
#define TREE_ENTRIES_MAX 200          /* entries of a directory that ls() shows */
#define TREE_LINES_MAX 2000           /* ... and of all of them */

/* Network. */
#define WORLD_PORT 7000
#define NETWORK_FRAMES_PER_POLL 64    /* taken in before Python gets the processor again */
#define NETWORK_TICKS_PER_POLL 8      /* TCP timer ticks made up for at once: a gap must not end connections */
#define NETWORK_CONNECTIONS_KEPT 32   /* of all connections, for the world's own port */
#define NETWORK_UNREAD_BYTES 1024      /* of a viewer's input: with them and one segment more it holds NETWORK_UNREAD_BUFFERS at most */
#define NETWORK_UNREAD_BUFFERS 3
#define NETWORK_BUFFERS_KEPT (VIEWERS_MAX * NETWORK_UNREAD_BUFFERS + 32) /* when only so many are left, they are for viewers with less unread */
#define NETWORK_MEMORY_KEPT_BYTES (1024u * 1024u) /* of the network's heap, and */
#define NETWORK_SEGMENTS_KEPT 512      /* of its segments: programs send nothing, to themselves or others, when only so much is left */
#define NETWORK_MEMORY_RETRY_MS 20    /* without memory for output: try again after so long */

static_assert((SESSION_REPLAY_BYTES & (SESSION_REPLAY_BYTES - 1)) == 0, "positions wrap by masking");
static_assert(THREADS_PYTHON_SESSION_MAX < THREADS_PYTHON_MAX, "one session cannot take all");
static_assert(THREADS_EXEC_MAX < VIEWERS_MAX, "an exec that runs never gives way to a new viewer, so others must");
static_assert(THREAD_STACK_MARGIN_BYTES * 4 <= THREAD_PYTHON_STACK_BYTES, "the margin leaves room to run");
static_assert(THREAD_PYTHON_STACK_BYTES % ABI_PAGE_BYTES == 0 && THREAD_SESSION_STACK_BYTES % ABI_PAGE_BYTES == 0, "whole pages");

#endif
