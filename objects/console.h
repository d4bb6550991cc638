/* The world's console: lines for the node's log, and the end of the world.
 *
 * Console bytes pass the gate like frames. When the ring is full a line is counted and dropped, and the count is told with the next
 * line that fits: the world never waits for its log. */
#ifndef OBJECTS_CONSOLE_H
#define OBJECTS_CONSOLE_H

/* One line, without newline. */
void console_log(const char *line);

/* Stop the world on all nodes, with this reason (at most 200 bytes). */
_Noreturn void world_stop(const char *reason);

_Noreturn void world_check_failed(const char *condition, const char *file, int line);

/* Our own impossibility. One condition each, no side effects. */
#define CHECK(condition) ((condition) ? (void)0 : world_check_failed(#condition, __FILE__, __LINE__))

#endif
