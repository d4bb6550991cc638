/* A packet capture of the switch in the pcap format (microseconds, Ethernet). Bounded by LAB_CAPTURE_BYTES_MAX. */
#ifndef EIDOLON_LAB_CAPTURE_H
#define EIDOLON_LAB_CAPTURE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "include/status.h"

struct capture {
    FILE *file;                  /* NULL: off */
    uint64_t bytes;
};

/* Start a capture into a new file of mode 0600, or into one that is emptied and keeps its mode; one that is under way ends. An ordinary file: a pipe would
 * block the switch.
 * Returns NULL, or what is wrong. */
MUST_CHECK const char *capture_start(struct capture *capture, const char *path);
void capture_frame(struct capture *capture, const uint8_t *frame, size_t bytes);

/* Hand to the system what was captured so far. */
void capture_flush(struct capture *capture);
void capture_stop(struct capture *capture);

#endif
