#include "replicate/agreement.h"

#include "include/check.h"

void agreement_note(struct agreement *agreement, uint64_t epoch, uint64_t digest)
{
    uint64_t at = epoch % AGREEMENT_EPOCHS;
    agreement->own[at].epoch = epoch;
    agreement->own[at].digest = digest;
}

void agreement_report(struct agreement *agreement, unsigned peer, uint64_t epoch, uint64_t digest, uint64_t now_ns)
{
    uint64_t at = epoch % AGREEMENT_EPOCHS;
    CHECK(peer >= 1);
    CHECK(peer <= MACHINE_PEERS_MAX);
    if (epoch == 0 || agreement->own[at].epoch != epoch || agreement->own[at].digest == digest) {
        return;
    }
    if (agreement->contradicting == 0) {
        agreement->first_report_ns = now_ns;
    }
    agreement->contradicting |= 1u << peer;
}

void agreement_forget_reports(struct agreement *agreement)
{
    agreement->contradicting = 0;
}

enum agreement_verdict agreement_judge(struct agreement *agreement, uint32_t up, uint64_t now_ns, uint32_t *wrong)
{
    if (now_ns < agreement_deadline_ns(agreement)) {
        return AGREEMENT_NONE;
    }
    uint32_t contradicting = agreement->contradicting & up;
    agreement->contradicting = 0;
    if (contradicting == 0) {
        return AGREEMENT_NONE; /* who said so is gone */
    }
    unsigned against = 0, with = 1;
    for (unsigned peer = 1; peer <= MACHINE_PEERS_MAX; peer++) {
        against += (contradicting & 1u << peer) != 0;
        with += (up & ~contradicting & 1u << peer) != 0;
    }
    if (against >= with) {
        return AGREEMENT_HOST_WRONG;
    }
    *wrong = contradicting;
    return AGREEMENT_OTHERS_WRONG;
}

uint64_t agreement_deadline_ns(const struct agreement *agreement)
{
    return agreement->contradicting == 0 ? UINT64_MAX : agreement->first_report_ns + AGREEMENT_GRACE_MS * 1000000ull;
}
