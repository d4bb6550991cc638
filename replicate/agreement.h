/* Who holds the image that the log tells of? (ONE-STORY)
 *
 * A standby that was exact before an epoch and gets another digest after it than the host names holds what the log says: the host's own image has
 * gone wrong. It goes on with what the log says, and tells the host, which counts: a host that most of those that are up contradict, or half of them,
 * starts anew and reads what the log says, as what a log says can be told again and an image in memory cannot. Otherwise those that contradict
 * are alone with it: their incarnation has ended.
 *
 * Owns: the digests of the last epochs and the reports of others. Knows neither messages nor nodes' lives: replicate/node does what it says. Bounded. */
#ifndef EIDOLON_REPLICATE_AGREEMENT_H
#define EIDOLON_REPLICATE_AGREEMENT_H

#include <stdint.h>

#include "include/machine.h"

enum {
    AGREEMENT_EPOCHS = 256,           /* reports of older epochs cannot be judged; a report is sent within milliseconds */
    AGREEMENT_GRACE_MS = 1000,        /* from the first report to the decision: other standbys may apply later */
    AGREEMENT_REPORT_MS = 250,        /* a standby repeats its report so often ... */
    AGREEMENT_REPORTS_MAX = 40,       /* ... and so many times */
};

enum agreement_verdict {
    AGREEMENT_NONE,                   /* nobody contradicts, or it is too early to tell */
    AGREEMENT_HOST_WRONG,
    AGREEMENT_OTHERS_WRONG,
};

struct agreement {
    struct {
        uint64_t epoch, digest;       /* epoch 0: none */
    } own[AGREEMENT_EPOCHS];
    uint32_t contradicting;           /* bit n: node n */
    uint64_t first_report_ns;
};

/* The image of this node had `digest` at the end of `epoch`. */
void agreement_note(struct agreement *agreement, uint64_t epoch, uint64_t digest);
/* Node `peer` (1..MACHINE_PEERS_MAX) had `digest` there, and says that the host's is another. Ignored if ours is the same, or not known any more. */
void agreement_report(struct agreement *agreement, unsigned peer, uint64_t epoch, uint64_t digest, uint64_t now_ns);
/* A new leadership: what was reported to an earlier one is void. */
void agreement_forget_reports(struct agreement *agreement);
/* What now? `up`: bit n for each other node that is connected. For OTHERS_WRONG *wrong has their bits. Whatever it says but NONE, the reports are
 * forgotten with it. */
enum agreement_verdict agreement_judge(struct agreement *agreement, uint32_t up, uint64_t now_ns, uint32_t *wrong);
/* When agreement_judge may say something; UINT64_MAX: nothing was reported. */
uint64_t agreement_deadline_ns(const struct agreement *agreement);

#endif
