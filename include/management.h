/* The management port: each node's second serial line, so that a node that is cut off can still speak.
 *
 * The host sends one command a line (ASCII, ended by LF, at most MANAGEMENT_LINE_BYTES_MAX with it). The node answers with zero or
 * more lines `KEY VALUES...` and a last line that is either `ok` or `error NAME sentence` (NAME: a status name). Every answer is
 * complete before the next command is read. A line that is too long, has other bytes than printable ASCII, or names no command is
 * answered by an error; nothing else happens. Everything after ` reason ` in a line is free text to its end.
 *
 * Commands:
 *   status        node lines (below)
 *   move N        ask for a planned switchover of the world to node N. Answer at once; progress shows in status. A node that does
 *                 not host answers `error NOT_LEADER ... reason host is node K`.
 *   reset         a fresh world in place of a stopped one (host only; `error REFUSED` if the world is not stopped)
 *   ping TEXT     `pong TEXT`
 *   metrics       `metric NAME VALUE` lines (counters, ns) and `histogram` lines (below); names are stable within a version
 *   probe NAME COUNT
 *                 begin to measure what this machine can do at best, COUNT samples (1..100000), in bounded steps of the event loop; NAME is one of
 *                 entry, flush, fault (processor), copy, compare, hash, seal, open (a page), memcpy, memcmp (the library's), clock (reading it),
 *                 echo (round trip to a peer), stream (768 KiB to a peer and its answer), write (4 KiB and a flush), bulk (768 KiB and a flush),
 *                 read (256 KiB of the page store), gap (between two rounds of the loop: how long this node was held up).
 *                 Nothing is measured unless asked for. `error BUSY` while one is under way.
 *   probe         a line `probe NAME state running|done|failed batch N`, then its histogram; a sample is `batch` operations. `error EMPTY` if nothing was
 *                 measured since this boot
 *
 *   dirty-age N   while the world runs on this node, close an epoch that has been dirty for N microseconds (100..10000000; 0: as usual), until this node's
 *                 next boot: to measure what snapshots cost
 *
 * histogram NAME count N sum_ns N max_ns N buckets B:N B:N ...      durations; empty buckets are left out; numbers as in include/histogram.h
 *
 * Lines of `status`, each once unless said otherwise:
 *   version 1
 *   node N raft_id HEX incarnation HEX boot N uptime_ms N
 *   raft role leader|follower|candidate|joining term N commit_index N applied_index N last_index N leader N voter 0|1 majority 0|1
 *   disk state ok|blank|corrupt|foreign|small|failed reason TEXT
 *   peer N link 0|1 heard_ms N raft_id HEX role voter|standby|none match_index N        (one for each other node, if the disk is ok)
 *                 heard_ms 4294967295: never
 *   world NAME state none|standby|filling|running|moving|waiting-commit|stopped host 0|1 epoch N committed N digest HEX resumed N reason TEXT
 *                 epoch: last epoch applied to this node's image (host: last captured); digest: of the last committed one
 *   move state idle|under-way|done|failed target N stopped_us N reason TEXT             (of the last move this node led)
 *   last_words TEXT                                                                   (epitaph of the previous boot, if any) */
#ifndef EIDOLON_MANAGEMENT_H
#define EIDOLON_MANAGEMENT_H

#define MANAGEMENT_LINE_BYTES_MAX 256
#define MANAGEMENT_ANSWER_BYTES_MAX 8192
#define MANAGEMENT_VERSION 1

#endif
