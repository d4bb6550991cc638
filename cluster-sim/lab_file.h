/* Small files, numbers in text, clocks and Unix sockets: what several files of the command need of the system.
 *
 * Nothing here prints: functions return 0 or an errno value, so that the caller can say the sentence that fits. */
#ifndef EIDOLON_LAB_FILE_H
#define EIDOLON_LAB_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/status.h"

/* Read the whole file `path` (at most `bytes_max` - 1 bytes) into `text` and end it with a zero byte; `*bytes`: its length, may be
 * NULL. Returns 0 or an errno value (EFBIG: longer). */
MUST_CHECK int file_read(const char *path, char *text, size_t bytes_max, size_t *bytes);

/* Write `path` so that it holds either its old content or all of the new one: temporary file, fsync, rename. Mode 0600.
 * Returns 0 or an errno value; on failure nothing of the new file is left. */
MUST_CHECK int file_write(const char *path, const void *content, size_t bytes);

/* The same for a file of `file_bytes` bytes that begins with the content; the rest are zeros that take no room. */
MUST_CHECK int file_write_sparse(const char *path, const void *content, size_t bytes, uint64_t file_bytes);

/* Write all bytes to a descriptor. Returns 0 or an errno value. */
MUST_CHECK int file_write_all(int descriptor, const void *content, size_t bytes);

/* The last line of text file `path` that is not blank, without control characters, cut to `bytes_max` - 1 bytes; empty if there is none. */
void file_last_line(const char *path, char *line, size_t bytes_max);

/* Copy `text` into `copy`, cut to `bytes_max` - 1 bytes. */
void text_copy(char *copy, size_t bytes_max, const char *text);

/* Copy `text` as a shell takes it for one word: quoted if it must be, and as it is if that does not fit. */
void text_shell_word(char *copy, size_t bytes_max, const char *text);

/* Parse a whole decimal number, least..most. False: anything else. */
MUST_CHECK bool parse_number(const char *text, uint64_t least, uint64_t most, uint64_t *number);

/* `bytes` bytes as lowercase hexadecimal with a zero byte: `text` holds 2 * bytes + 1. */
void format_hex(const uint8_t *data, size_t bytes, char *text);

/* Exactly 2 * bytes hexadecimal digits into `data`. False: anything else. */
MUST_CHECK bool parse_hex(const char *text, uint8_t *data, size_t bytes);

/* Monotonic milliseconds. */
uint64_t clock_ms(void);
void sleep_ms(unsigned ms);

/* Connect to, or listen on, the Unix socket `path` (a path short enough for the system, see cluster_enter). The descriptor is
 * non-blocking and closed on exec. Returns it, or minus an errno value. `listen` removes a stale socket file first. */
MUST_CHECK int unix_connect(const char *path);
MUST_CHECK int unix_listen(const char *path);

/* Connect to 127.0.0.1:port (non-blocking afterwards). Returns the descriptor or minus an errno value. */
MUST_CHECK int local_connect(uint16_t port);

/* Wait until `descriptor` has one of the poll `events`, at most until clock_ms() is `deadline_ms`. False: it has not, or a signal. */
MUST_CHECK bool descriptor_wait(int descriptor, short events, uint64_t deadline_ms);

#endif
