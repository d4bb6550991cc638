#include "cluster-sim/lab_capture.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cluster-sim/lab_limits.h"

struct pcap_header {
    uint32_t magic;
    uint16_t version_major;
    uint16_t version_minor;
    int32_t zone;
    uint32_t accuracy;
    uint32_t frame_bytes_max;
    uint32_t link_type;          /* 1: Ethernet */
};

struct pcap_record {
    uint32_t seconds;
    uint32_t microseconds;
    uint32_t captured_bytes;
    uint32_t frame_bytes;
};

const char *capture_start(struct capture *capture, const char *path)
{
    static const char not_a_file[] = "that is no ordinary file; whoever reads it could hold up the switch";
    int descriptor = open(path, O_WRONLY | O_CREAT | O_NONBLOCK | O_CLOEXEC, 0600);
    if (descriptor < 0) {
        return errno == ENXIO ? not_a_file : strerror(errno);
    }
    struct stat about;
    if (fstat(descriptor, &about) != 0 || !S_ISREG(about.st_mode)) {
        close(descriptor);
        return not_a_file;
    }
    FILE *file = ftruncate(descriptor, 0) == 0 ? fdopen(descriptor, "wb") : NULL;
    if (file == NULL) {
        int error = errno;
        close(descriptor);
        return strerror(error);
    }
    const struct pcap_header header = {.magic = 0xa1b2c3d4u, .version_major = 2, .version_minor = 4, .frame_bytes_max = 65535,
                                       .link_type = 1};
    if (fwrite(&header, sizeof header, 1, file) != 1 || fflush(file) != 0) {
        int error = errno;
        fclose(file);
        return strerror(error);
    }
    capture_stop(capture);
    capture->file = file;
    capture->bytes = sizeof header;
    return NULL;
}

void capture_stop(struct capture *capture)
{
    if (capture->file != NULL) {
        fclose(capture->file);
        capture->file = NULL;
    }
}

void capture_frame(struct capture *capture, const uint8_t *frame, size_t bytes)
{
    if (capture->file == NULL) {
        return;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const struct pcap_record record = {.seconds = (uint32_t)now.tv_sec, .microseconds = (uint32_t)(now.tv_nsec / 1000),
                                       .captured_bytes = (uint32_t)bytes, .frame_bytes = (uint32_t)bytes};
    capture->bytes += sizeof record + bytes;
    if (capture->bytes > LAB_CAPTURE_BYTES_MAX) {
        fprintf(stderr, "capture: ended at its limit of %d bytes\n", LAB_CAPTURE_BYTES_MAX);
        capture_stop(capture);
    } else if (fwrite(&record, sizeof record, 1, capture->file) != 1 || fwrite(frame, bytes, 1, capture->file) != 1) {
        fprintf(stderr, "capture: ended: the file cannot be written\n");
        capture_stop(capture);
    }
}

void capture_flush(struct capture *capture)
{
    if (capture->file != NULL && fflush(capture->file) != 0) {
        fprintf(stderr, "capture: ended: the file cannot be written\n");
        capture_stop(capture);
    }
}
