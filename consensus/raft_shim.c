/* Stands in for the raft library's own tracing, which reads the environment and formats every line to stderr.
 * raft_init() starts with StderrTracer; consensus/ sets raft->tracer to NULL right after it. */

#include <raft.h>
#include <stdbool.h>

void raft_tracer_maybe_enable(struct raft_tracer *tracer, bool enabled);

static void discard_trace(struct raft_tracer *tracer, int type, const void *info)
{
	(void)tracer;
	(void)type;
	(void)info;
}

extern struct raft_tracer NoopTracer;
extern struct raft_tracer StderrTracer;
struct raft_tracer NoopTracer = {.version = 2, .emit = discard_trace};
struct raft_tracer StderrTracer = {.version = 2, .emit = discard_trace};

void raft_tracer_maybe_enable(struct raft_tracer *tracer, bool enabled)
{
	(void)tracer;
	(void)enabled;
}
