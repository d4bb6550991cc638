/* Who owns which type of peers' messages (consensus/peers.h gives 0..127 to its users). Numbers are part of the protocol. */
#ifndef EIDOLON_CONSENSUS_MESSAGE_TYPES_H
#define EIDOLON_CONSENSUS_MESSAGE_TYPES_H

enum {
    GROUP_MESSAGE_FIRST = 1,    /* lane 0: raft's messages (consensus/message.h) */
    GROUP_MESSAGE_LAST = 31,
    CATCHUP_MESSAGE_FIRST = 32, /* lane 1: manifests and pages (replicate/catchup.h) */
    CATCHUP_MESSAGE_LAST = 63,
    NODE_MESSAGE_RESUMED = 64,  /* lane 0: the sender has resumed the world; tells a planned move's source that it has ended */
    /* lane 0, to the host: a struct node_contradiction (replicate/node_internal.h); and its answer, without content: you are alone with that. */
    NODE_MESSAGE_CONTRADICTION = 65,
    NODE_MESSAGE_ALONE = 66,
    /* lane 0: a number (8 bytes) that the receiver sends back, unless it is 0 (replicate/node_probe.c); a body is only there to be carried. */
    NODE_MESSAGE_PROBE = 67,
    NODE_MESSAGE_PROBE_ANSWER = 68,
};

#endif
