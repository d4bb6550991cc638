/* The one list of outcomes.
 *
 * Every function that can fail returns `enum status`; results go through out parameters, untouched on failure.
 * The X-macro gives each code its name and its sentence, so that a log line, the management port and a test
 * speak of the same thing with the same words. Included by every folder, on metal and on the host. */
#ifndef EIDOLON_STATUS_H
#define EIDOLON_STATUS_H

/* X(code, sentence) */
#define STATUS_LIST(X) \
    X(OK, "done") \
    X(BUSY, "not now: an earlier step is still under way; try again when it has ended") \
    X(FULL, "a stated bound is reached; wait until something is released") \
    X(EMPTY, "there is nothing to take") \
    X(INVALID, "an argument or a field is out of its range") \
    X(CORRUPT, "a checksum or a seal does not match its bytes") \
    X(TRUNCATED, "the bytes end before the structure does") \
    X(UNKNOWN_VERSION, "the version is not one this build knows") \
    X(FOREIGN, "it belongs to another cluster, world or node") \
    X(STALE, "it is older than what is already known") \
    X(NOT_FOUND, "there is no such thing") \
    X(NOT_LEADER, "this node does not lead the group") \
    X(NO_MEMORY, "the arena that was reserved for this is exhausted") \
    X(NO_SPACE, "the disk region that was reserved for this is full") \
    X(IO_ERROR, "the device reported an error") \
    X(TIMED_OUT, "the deadline passed") \
    X(REFUSED, "the other side, or a rule, said no") \
    X(CLOSED, "the link or channel has ended") \
    X(UNSUPPORTED, "this build or this machine cannot do that")

enum status {
#define STATUS_ENUM(code, sentence) STATUS_##code,
    STATUS_LIST(STATUS_ENUM)
#undef STATUS_ENUM
};

/* Where a status is not enough: a sentence for a person, its terminating zero included. */
enum { REASON_BYTES_MAX = 200 };

#define MUST_CHECK __attribute__((warn_unused_result))

/* The sentence of `status`; never NULL. Returned string is static. */
static inline const char *status_sentence(enum status status)
{
    switch (status) {
#define STATUS_CASE(code, sentence) \
    case STATUS_##code: \
        return sentence;
        STATUS_LIST(STATUS_CASE)
#undef STATUS_CASE
    }
    return "unknown status";
}

/* The name of `status`, without its prefix; never NULL. Returned string is static. */
static inline const char *status_name(enum status status)
{
    switch (status) {
#define STATUS_CASE(code, sentence) \
    case STATUS_##code: \
        return #code;
        STATUS_LIST(STATUS_CASE)
#undef STATUS_CASE
    }
    return "UNKNOWN";
}

#endif
