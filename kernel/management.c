#include "kernel/management.h"

#include <stdio.h>
#include <string.h>

#include "drivers/serial.h"
#include "include/check.h"
#include "include/management.h"
#include "kernel/limits.h"

/* The line that is being gathered; `refusal` is STATUS_OK while it may still become a command. */
static struct {
    char bytes[MANAGEMENT_LINE_BYTES_MAX];
    size_t length;
    enum status refusal;
} gathered;

struct answer {
    char text[MANAGEMENT_ANSWER_BYTES_MAX];
    size_t length;
    bool overflow;
};

static void answer_line(void *context, const char *text)
{
    struct answer *answer = context;
    size_t length = strlen(text);
    if (answer->overflow || length + 1 > sizeof answer->text - answer->length) {
        answer->overflow = true;
        return;
    }
    memcpy(answer->text + answer->length, text, length);
    answer->text[answer->length + length] = '\n';
    answer->length += length + 1;
}

static void answer_error(struct answer *answer, enum status status)
{
    answer->length = 0;
    answer->overflow = false;
    char text[MANAGEMENT_LINE_BYTES_MAX];
    snprintf(text, sizeof text, "error %s %s", status_name(status), status_sentence(status));
    answer_line(answer, text);
}

/* The line is complete: execute or refuse it, and be ready for the next. */
static void line_end(struct node *node)
{
    static struct answer answer;
    answer.length = 0;
    answer.overflow = false;
    if (gathered.refusal == STATUS_OK) {
        gathered.bytes[gathered.length] = '\0';
        node_management_line(node, gathered.bytes, gathered.length, answer_line, &answer);
        if (answer.overflow) {
            answer_error(&answer, STATUS_FULL);
        }
    } else {
        answer_error(&answer, gathered.refusal);
    }
    gathered.length = 0;
    gathered.refusal = STATUS_OK;
    enum status status = serial_management_send(answer.text, answer.length);
    CHECK(status == STATUS_OK); /* management_poll saw to the room */
}

static void line_add(char byte)
{
    if (byte < ' ' || byte > '~') {
        gathered.refusal = STATUS_INVALID;
    } else if (gathered.length == sizeof gathered.bytes - 1) {
        gathered.refusal = STATUS_FULL;
    } else if (gathered.refusal == STATUS_OK) {
        gathered.bytes[gathered.length++] = byte;
    }
}

bool management_poll(struct node *node)
{
    bool active = false;
    unsigned lines = 0;
    char byte;
    while (lines < MANAGEMENT_LINES_PER_ROUND_MAX && serial_management_room() >= MANAGEMENT_ANSWER_BYTES_MAX &&
           serial_management_receive(&byte, 1) == 1) {
        active = true;
        if (byte == '\n') {
            line_end(node);
            lines++;
        } else {
            line_add(byte);
        }
    }
    return active;
}
