#include "objects/viewer.h"

#include <stdio.h>
#include <string.h>

#include "py/gc.h"
#include "py/mpstate.h"

#include "objects/abi_calls.h"
#include "objects/session.h"
#include "objects/viewer_state.h"
#include "objects/waiting.h"

/* Frame what was gathered; false: the connection does not take it now. */
bool viewer_exec_flush(struct viewer *viewer)
{
    if (viewer->output_bytes == 0)
        return true;
    char head[24];
    int head_bytes = snprintf(head, sizeof head, "o %u\n", (unsigned)viewer->output_bytes);
    if (tcp_sndbuf(viewer->connection) < (size_t)head_bytes + viewer->output_bytes
        || tcp_sndqueuelen(viewer->connection) + 8 > TCP_SND_QUEUELEN)
        return false;
    if (tcp_write(viewer->connection, head, (u16_t)head_bytes, TCP_WRITE_FLAG_COPY | TCP_WRITE_FLAG_MORE) != ERR_OK)
        return false;
    if (tcp_write(viewer->connection, viewer->output, (u16_t)viewer->output_bytes, TCP_WRITE_FLAG_COPY) != ERR_OK) {
        viewer_close_later(viewer); /* the head is out: what follows would be nonsense */
        return false;
    }
    viewer->output_bytes = 0;
    (void)tcp_output(viewer->connection);
    return true;
}

/* Is the request's client still there? */
static bool exec_lives(const struct viewer *viewer)
{
    const struct thread *thread = thread_current();
    return thread != NULL && thread->exec == viewer && viewer->connection != NULL && !viewer->closing;
}

static bool exec_flush_waiting(struct viewer *viewer)
{
    while (exec_lives(viewer) && !viewer_exec_flush(viewer)) {
        if (!world_may_wait())
            return false; /* what a finaliser or a callback prints beyond the buffer is lost */
        (void)thread_park(viewer, abi_clock() + NETWORK_MEMORY_RETRY_MS * NS_PER_MS);
    }
    return true;
}

void viewer_exec_write(struct viewer *viewer, const char *text, size_t bytes)
{
    while (bytes > 0 && exec_lives(viewer)) {
        size_t room = EXEC_OUTPUT_BYTES - viewer->output_bytes;
        if (room == 0) {
            if (!exec_flush_waiting(viewer))
                return;
            continue;
        }
        size_t part = bytes < room ? bytes : room;
        memcpy(viewer->output + viewer->output_bytes, text, part);
        viewer->output_bytes += part;
        text += part;
        bytes -= part;
        viewers_work_waits = true;
    }
}

void viewer_exec_end(struct viewer *viewer, bool raised)
{
    const char *end = raised ? "x 1\n" : "x 0\n";
    (void)exec_flush_waiting(viewer);
    while (exec_lives(viewer) && !viewer_send_text(viewer, end, strlen(end)))
        (void)thread_park(viewer, abi_clock() + NETWORK_MEMORY_RETRY_MS * NS_PER_MS);
    if (!exec_lives(viewer))
        return;
    viewer->thread->exec = NULL;
    viewer->thread = NULL;
    viewer_close_later(viewer);
}
