/* CHECK(condition): our own impossibility.
 *
 * Always on, one condition each, no side effects. A failed CHECK leaves file, line and condition where the next boot
 * and the host tool can read them, and restarts the node (on the host: aborts). Never CHECK what came from a disk, a
 * peer or a world: that is data, and gets a status. */
#ifndef EIDOLON_CHECK_H
#define EIDOLON_CHECK_H

/* Provided by the kernel on metal, by tests/unit/support and cluster-sim on the host. Does not return. */
_Noreturn void check_failed(const char *file, int line, const char *condition);

#define CHECK(condition) \
    do { \
        if (__builtin_expect(!(condition), 0)) { \
            check_failed(__FILE__, __LINE__, #condition); \
        } \
    } while (0)

#endif
