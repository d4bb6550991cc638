/* The first line of a connection to the world's port (objects/viewer.h has its forms). Pure. */
#ifndef OBJECTS_GREETING_H
#define OBJECTS_GREETING_H

#include <stdbool.h>
#include <stddef.h>

#define GREETING_ROWS 24

enum greeting_kind { GREETING_SESSION, GREETING_TERMINAL, GREETING_EXEC };

struct greeting {
    enum greeting_kind kind;
    const char *name;       /* in the line */
    size_t name_bytes;
    unsigned rows;          /* of the terminal; GREETING_ROWS otherwise */
    size_t bytes;           /* exec: of the source */
};

/* Parse a line of `bytes` bytes, without its newline. False: it is not such a line. The name is not checked. */
bool greeting_parse(const char *line, size_t bytes, struct greeting *greeting);

#endif
