#include "cluster-sim/lab_file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

int file_read(const char *path, char *text, size_t bytes_max, size_t *bytes)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (descriptor < 0) {
        return errno;
    }
    size_t have = 0;
    int error = 0;
    for (;;) {
        ssize_t got = read(descriptor, text + have, bytes_max - have);
        if (got < 0) {
            if (errno == EINTR) {
                continue;
            }
            error = errno;
            break;
        }
        if (got == 0) {
            break;
        }
        have += (size_t)got;
        if (have == bytes_max) {
            error = EFBIG;
            break;
        }
    }
    close(descriptor);
    if (error == 0) {
        text[have] = 0;
        if (bytes != NULL) {
            *bytes = have;
        }
    }
    return error;
}

int file_write_all(int descriptor, const void *content, size_t bytes)
{
    const char *at = content;
    while (bytes > 0) {
        ssize_t put = write(descriptor, at, bytes);
        if (put < 0) {
            if (errno == EINTR) {
                continue;
            }
            return errno;
        }
        at += put;
        bytes -= (size_t)put;
    }
    return 0;
}

int file_write(const char *path, const void *content, size_t bytes)
{
    return file_write_sparse(path, content, bytes, bytes);
}

int file_write_sparse(const char *path, const void *content, size_t bytes, uint64_t file_bytes)
{
    char temporary[4096];
    int length = snprintf(temporary, sizeof temporary, "%s.new", path);
    if (length < 0 || (size_t)length >= sizeof temporary) {
        return ENAMETOOLONG;
    }
    int descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (descriptor < 0) {
        return errno;
    }
    int error = file_write_all(descriptor, content, bytes);
    if (error == 0 && file_bytes > bytes && ftruncate(descriptor, (off_t)file_bytes) != 0) {
        error = errno;
    }
    if (error == 0 && fsync(descriptor) != 0) {
        error = errno;
    }
    if (close(descriptor) != 0 && error == 0) {
        error = errno;
    }
    if (error == 0 && rename(temporary, path) != 0) {
        error = errno;
    }
    if (error != 0) {
        unlink(temporary);
    }
    return error;
}

void file_last_line(const char *path, char *line, size_t bytes_max)
{
    line[0] = 0;
    char tail[4097];
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        return;
    }
    struct stat about;
    off_t from = 0;
    if (fstat(descriptor, &about) == 0 && about.st_size > (off_t)(sizeof tail - 1)) {
        from = about.st_size - (off_t)(sizeof tail - 1);
    }
    ssize_t got = pread(descriptor, tail, sizeof tail - 1, from);
    close(descriptor);
    if (got <= 0) {
        return;
    }
    size_t end = (size_t)got;
    while (end > 0 && isspace((unsigned char)tail[end - 1])) {
        end--;
    }
    size_t start = end;
    while (start > 0 && tail[start - 1] != '\n' && tail[start - 1] != '\r') {
        start--;
    }
    size_t out = 0;
    for (size_t at = start; at < end && out + 1 < bytes_max; at++) {
        if (tail[at] >= ' ' && tail[at] <= '~') {
            line[out++] = tail[at];
        }
    }
    line[out] = 0;
}

void text_copy(char *copy, size_t bytes_max, const char *text)
{
    size_t bytes = strnlen(text, bytes_max - 1);
    memcpy(copy, text, bytes);
    copy[bytes] = 0;
}

void text_shell_word(char *copy, size_t bytes_max, const char *text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./~+-@%,:=";
    size_t used = 0;
    text_copy(copy, bytes_max, text);
    if (text[strspn(text, plain)] == 0 || strlen(text) * strlen("'\\''") + sizeof "''" > bytes_max) {
        return;
    }
    copy[used++] = '\'';
    for (; *text != 0; text++) {
        used += (size_t)snprintf(copy + used, bytes_max - used, *text == '\'' ? "'\\''" : "%c", *text);
    }
    snprintf(copy + used, bytes_max - used, "'");
}

bool parse_number(const char *text, uint64_t least, uint64_t most, uint64_t *number)
{
    uint64_t value = 0;
    size_t digits = 0;
    for (; text[digits] >= '0' && text[digits] <= '9'; digits++) {
        if (digits == 19) {
            return false;
        }
        value = value * 10 + (uint64_t)(text[digits] - '0');
    }
    if (digits == 0 || text[digits] != 0 || value < least || value > most) {
        return false;
    }
    *number = value;
    return true;
}

static int hex_digit(char digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    if (digit >= 'a' && digit <= 'f') {
        return digit - 'a' + 10;
    }
    if (digit >= 'A' && digit <= 'F') {
        return digit - 'A' + 10;
    }
    return -1;
}

void format_hex(const uint8_t *data, size_t bytes, char *text)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t at = 0; at < bytes; at++) {
        text[2 * at] = digits[data[at] >> 4];
        text[2 * at + 1] = digits[data[at] & 15];
    }
    text[2 * bytes] = 0;
}

bool parse_hex(const char *text, uint8_t *data, size_t bytes)
{
    if (strlen(text) != 2 * bytes) {
        return false;
    }
    for (size_t at = 0; at < 2 * bytes; at++) {
        if (hex_digit(text[at]) < 0) {
            return false;
        }
    }
    for (size_t at = 0; at < bytes; at++) {
        data[at] = (uint8_t)(hex_digit(text[2 * at]) << 4 | hex_digit(text[2 * at + 1]));
    }
    return true;
}

uint64_t clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void sleep_ms(unsigned ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&pause, NULL);
}

static int unix_address(const char *path, struct sockaddr_un *address)
{
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof address->sun_path) {
        return ENAMETOOLONG;
    }
    memcpy(address->sun_path, path, strlen(path));
    return 0;
}

int unix_connect(const char *path)
{
    struct sockaddr_un address;
    int error = unix_address(path, &address);
    if (error != 0) {
        return -error;
    }
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0) {
        return -errno;
    }
    if (connect(descriptor, (const struct sockaddr *)&address, sizeof address) != 0) {
        error = errno;
        close(descriptor);
        return -error;
    }
    return descriptor;
}

int unix_listen(const char *path)
{
    struct sockaddr_un address;
    int error = unix_address(path, &address);
    if (error != 0) {
        return -error;
    }
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0) {
        return -errno;
    }
    unlink(path);
    if (bind(descriptor, (const struct sockaddr *)&address, sizeof address) != 0 || chmod(path, 0600) != 0 ||
        listen(descriptor, SOMAXCONN) != 0) {
        error = errno;
        close(descriptor);
        return -error;
    }
    return descriptor;
}

int local_connect(uint16_t port)
{
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) {
        return -errno;
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int one = 1;
    if (connect(descriptor, (const struct sockaddr *)&address, sizeof address) != 0 ||
        setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0 ||
        fcntl(descriptor, F_SETFL, O_NONBLOCK) != 0) {
        int error = errno;
        close(descriptor);
        return -error;
    }
    return descriptor;
}

bool descriptor_wait(int descriptor, short events, uint64_t deadline_ms)
{
    uint64_t now = clock_ms();
    int timeout = now >= deadline_ms ? 0 : (int)(deadline_ms - now);
    struct pollfd wanted = {.fd = descriptor, .events = events};
    return poll(&wanted, 1, timeout) > 0;
}
