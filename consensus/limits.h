/* Every bound of consensus/, with its reason. */
#ifndef EIDOLON_CONSENSUS_LIMITS_H
#define EIDOLON_CONSENSUS_LIMITS_H

enum {
    /* Body of one entry: a sealed delta part (64 KiB) with slack. */
    ENTRY_BODY_BYTES_MAX = 68 * 1024,
    /* Recent entry bodies kept in memory for sending and applying; older ones are read from disk. */
    LOG_MEMORY_BYTES = 24 << 20,
    /* Entries of one AppendEntries message: with bodies at most about 256 KiB, so that a heartbeat behind it is not late. */
    APPEND_ENTRIES_MAX = 64,
    APPEND_BYTES_MAX = 256 * 1024,
    /* Entries between the checkpoint and the end of the log; the library keeps index and term of each. */
    LOG_ENTRIES_MAX = 65536,
};

#endif
