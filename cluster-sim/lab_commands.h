/* The commands that ask a running cluster for something. Each works in the cluster's folder and prints its data to stdout. */
#ifndef EIDOLON_LAB_COMMANDS_H
#define EIDOLON_LAB_COMMANDS_H

#include <stdbool.h>

#include "cluster-sim/lab_cluster.h"

MUST_CHECK enum outcome command_status(const struct cluster *cluster, bool json);

/* `target`: 0 is the world. Prints 127.0.0.1:P. */
MUST_CHECK enum outcome command_forward(const struct cluster *cluster, unsigned target, unsigned port);

MUST_CHECK enum outcome command_move(const struct cluster *cluster, unsigned node);
MUST_CHECK enum outcome command_world_reset(const struct cluster *cluster);

/* Ends of a cut: node numbers, or 0 for the outside. */
MUST_CHECK enum outcome command_cut(const struct cluster *cluster, unsigned from, unsigned to, bool one_way);
MUST_CHECK enum outcome command_isolate(const struct cluster *cluster, unsigned node);
MUST_CHECK enum outcome command_heal(const struct cluster *cluster);

MUST_CHECK enum outcome command_log(const struct cluster *cluster, unsigned node);
MUST_CHECK enum outcome command_capture(const struct cluster *cluster, const char *file);
MUST_CHECK enum outcome command_capture_stop(const struct cluster *cluster);
MUST_CHECK enum outcome command_port(const struct cluster *cluster);

/* Send one line to the management port of `node` and print the whole answer. FAILED: the answer was an error. */
MUST_CHECK enum outcome command_manage(const struct cluster *cluster, unsigned node, const char *line);

/* Send the bytes of stdin there as they are. OK: the port has answered a ping after them. */
MUST_CHECK enum outcome command_manage_raw(const struct cluster *cluster, unsigned node);

#endif
