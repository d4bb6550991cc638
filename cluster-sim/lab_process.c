#include "cluster-sim/lab_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cluster-sim/lab_file.h"
#include "cluster-sim/lab_limits.h"

/* Start time of process `pid` in clock ticks since boot (field 22 of its stat). False: there is none, or it is a zombie. */
static bool process_start_time(pid_t pid, unsigned long long *start_time)
{
    char path[64];
    char text[1024];
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    if (file_read(path, text, sizeof text, NULL) != 0) {
        return false;
    }
    const char *at = strrchr(text, ')');     /* the name before it may hold anything */
    if (at == NULL || at[1] != ' ' || at[2] == 'Z' || at[2] == 'X') {
        return false;
    }
    at += 2;
    for (int field = 3; field < 22; field++) {
        at = strchr(at, ' ');
        if (at == NULL) {
            return false;
        }
        at++;
    }
    *start_time = strtoull(at, NULL, 10);
    return true;
}

/* The folder that we work in, which is the cluster's. One that is renamed stays what it is, and a copy is another one. */
struct folder {
    unsigned long long device, inode;
};

static bool folder_here(struct folder *folder)
{
    struct stat here;
    if (stat(".", &here) != 0) {
        return false;
    }
    *folder = (struct folder){here.st_dev, here.st_ino};
    return true;
}

static void boot_identity(char identity[64])
{
    char text[128];
    identity[0] = 0;
    if (file_read("/proc/sys/kernel/random/boot_id", text, sizeof text, NULL) == 0) {
        text[strcspn(text, "\n")] = 0;
        snprintf(identity, 64, "%.60s", text);
    }
    if (identity[0] == 0) {
        strcpy(identity, "-");
    }
}

static int process_record_self(const char *pid_path)
{
    unsigned long long start_time;
    struct folder folder;
    if (!process_start_time(getpid(), &start_time)) {
        return ESRCH;
    }
    if (!folder_here(&folder)) {
        return errno;
    }
    char identity[64];
    boot_identity(identity);
    char text[256];
    int length = snprintf(text, sizeof text, "%ld %llu %s %llu %llu\n", (long)getpid(), start_time, identity, folder.device, folder.inode);
    return file_write(pid_path, text, (size_t)length);
}

bool process_alive(const char *pid_path, pid_t *pid)
{
    char text[256];
    if (file_read(pid_path, text, sizeof text, NULL) != 0) {
        return false;
    }
    long number;
    unsigned long long recorded, actual;
    char identity[64], current[64];
    struct folder folder, here;
    if (sscanf(text, "%ld %llu %63s %llu %llu", &number, &recorded, identity, &folder.device, &folder.inode) != 5 || number <= 1) {
        return false;
    }
    boot_identity(current);
    if (strcmp(identity, current) != 0 || !folder_here(&here) || here.device != folder.device || here.inode != folder.inode ||
        !process_start_time((pid_t)number, &actual) || actual != recorded) {
        return false;
    }
    if (pid != NULL) {
        *pid = (pid_t)number;
    }
    return true;
}

void process_signal(const char *pid_path, int signal_number)
{
    pid_t pid;
    if (process_alive(pid_path, &pid)) {
        kill(pid, signal_number);
    }
}

bool process_end(const char *pid_path, int signal_number)
{
    uint64_t deadline = clock_ms() + LAB_TERMINATE_DEADLINE_MS;
    bool forced = signal_number == SIGKILL;
    process_signal(pid_path, signal_number);
    while (process_alive(pid_path, NULL)) {
        if (clock_ms() > deadline) {
            if (forced) {
                return false;
            }
            process_signal(pid_path, SIGKILL);
            forced = true;
            deadline = clock_ms() + LAB_TERMINATE_DEADLINE_MS;
        }
        sleep_ms(2);
    }
    unlink(pid_path);
    return true;
}

/* Runs in the new process: ends in execvp, or reports an errno value. */
static int become(const char *const argv[], const char *pid_path, const char *log_path)
{
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (nothing < 0 || log < 0 || dup2(nothing, STDIN_FILENO) < 0 || dup2(log, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0) {
        return errno;
    }
    int error = process_record_self(pid_path);
    if (error != 0) {
        return error;
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);   /* what the caller left open would stay so for as long as a node runs */
    execvp(argv[0], (char *const *)argv);   /* which promises not to write to them */
    error = errno;
    unlink(pid_path);
    return error;
}

int process_start(const char *const argv[], const char *pid_path, const char *log_path)
{
    /* The pipe closes by itself when exec succeeds; otherwise it carries the errno value. */
    int report[2];
    if (pipe2(report, O_CLOEXEC) != 0) {
        return errno;
    }
    pid_t middle = fork();
    if (middle < 0) {
        int error = errno;
        close(report[0]);
        close(report[1]);
        return error;
    }
    if (middle == 0) {
        setsid();
        pid_t last = fork();
        int error = last < 0 ? errno : 0;
        if (last == 0) {
            error = become(argv, pid_path, log_path);
        }
        if (error != 0 && write(report[1], &error, sizeof error) < 0) {
            _exit(2);
        }
        _exit(error != 0);
    }
    close(report[1]);
    int error = 0;
    ssize_t got;
    do {
        got = read(report[0], &error, sizeof error);
    } while (got < 0 && errno == EINTR);
    close(report[0]);
    while (waitpid(middle, NULL, 0) < 0 && errno == EINTR) {
    }
    return got == (ssize_t)sizeof error ? error : 0;
}
