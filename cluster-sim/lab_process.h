/* Background processes of a cluster: started detached, found again by a pid file, ended.
 *
 * A pid file holds pid, start time and the identity of the system's boot, so that a stale one never names a stranger; and the folder that it was written
 * in (the cluster's, in which we work), so that a copied one names nobody. A process is started in a session of its own, with no terminal, so that it
 * lives on when the command that started it ends. */
#ifndef EIDOLON_LAB_PROCESS_H
#define EIDOLON_LAB_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

#include "include/status.h"

/* Start `argv` (argv[0] is a path, or a name to look up in PATH), with standard output and error going to the end of `log_path`,
 * and write `pid_path`. Returns 0, or the errno value of what failed; nothing runs then. */
MUST_CHECK int process_start(const char *const argv[], const char *pid_path, const char *log_path);

/* Is the process of `pid_path` alive? `*pid` is set if so; may be NULL. */
MUST_CHECK bool process_alive(const char *pid_path, pid_t *pid);

/* Send `signal_number` to the process of `pid_path` and wait until it is gone; SIGKILL follows when it has not gone by
 * LAB_TERMINATE_DEADLINE_MS. Removes `pid_path`. True: gone (or was not there). */
MUST_CHECK bool process_end(const char *pid_path, int signal_number);

/* Only send the signal; process_end follows. So several processes end at the same time. */
void process_signal(const char *pid_path, int signal_number);

#endif
