/* Faults after which a disk has forgotten what it acknowledged: lost, rotten, a flush that lied, an older one put back.
 *
 * DURABLE speaks of a minority of such disks, so no more are damaged at a time, and only while all others are voters with everything. A node whose
 * disk forgot without being blank comes back only when the others have all that it acknowledged and agree on a term: what nobody but the
 * forgotten disk can know, no protocol could bring back (a lost ack of {leader, liar} with the leader off). From there on NO-AMNESIA must hold. */
#include <string.h>

#include "cluster-sim/sim.h"
#include "consensus/group_internal.h"
#include "consensus/log_internal.h"
#include "include/abi.h"
#include "include/check.h"
#include "replicate/image_private.h"
#include "replicate/node_internal.h"

enum { RETURN_RETRY_MS = 100 };

static bool voter_for_certain(const struct group *group, uint64_t raft_id)
{
    for (uint32_t i = 0; i < group->member_count; i++) {
        if (group->members[i].raft_id == raft_id) {
            return group->members[i].role == DISK_ROLE_VOTER;
        }
    }
    return false;
}

/* Is `node` a voter for certain, by what every one of the undamaged has applied? */
static bool all_call_it_voter(struct sim *sim, const struct sim_node *node)
{
    for (unsigned i = 1; i <= sim->node_count; i++) {
        const struct sim_node *other = &sim->nodes[i];
        if ((other == node || !other->damaged) && (!sim_serving(other) || !voter_for_certain(other->node->group, node->node->group->raft_id))) {
            return false;
        }
    }
    return true;
}

/* Have the others accepted a hello of this life, the damaged that are on among them? One that is under way yet may tell of the moment when the tail was missing. */
static bool all_greeted(struct sim *sim, const struct sim_node *node)
{
    uint64_t life = vote_lives(node->node->group->vote)[0];
    for (unsigned i = 1; i <= sim->node_count; i++) {
        const struct sim_node *other = &sim->nodes[i];
        if (other != node && (!other->damaged || sim_alive(other)) && (!sim_serving(other) || other->node->group->peers[node->number].life != life)) {
            return false;
        }
    }
    return true;
}

static bool may_damage(struct sim *sim, const struct sim_node *victim)
{
    unsigned damaged = 1;
    if (victim->damaged || victim->known_id == 0) {
        return false;
    }
    for (unsigned i = 1; i <= sim->node_count; i++) {
        const struct sim_node *node = &sim->nodes[i];
        if (node == victim) {
            continue;
        }
        if (node->damaged) {
            damaged++;
        } else if (!sim_serving(node) || !all_call_it_voter(sim, node)) {
            return false;
        }
    }
    return damaged <= (sim->node_count - 1) / 2;
}

/* Do the undamaged agree on a term, which has a leader, and have committed up to the last index of `victim`? */
static bool others_have_all(struct sim *sim, const struct sim_node *victim)
{
    uint64_t term = 0, leader_term = 0;
    for (unsigned i = 1; i <= sim->node_count; i++) {
        const struct sim_node *node = &sim->nodes[i];
        bool serving = node != victim && sim_serving(node);
        if (node == victim || (node->damaged && !serving)) {
            continue;
        }
        if (!serving) {
            return false;
        }
        struct group_facts facts;
        group_facts(node->node->group, &facts);
        if (facts.role == GROUP_LEADER && facts.term > leader_term) {
            leader_term = facts.term;
        }
        if (!node->damaged && ((term != 0 && facts.term != term) || facts.commit_index < victim->known_last_index)) {
            return false;
        }
        term = node->damaged ? term : facts.term;
    }
    return term != 0 && leader_term == term;
}

static void return_event(struct sim *sim, void *context, uint64_t life)
{
    struct sim_node *node = context;
    (void)sim;
    if (node->life == life && !sim_alive(node)) {
        sim_return(node);
    }
}

void sim_return(struct sim_node *node)
{
    struct sim *sim = node->sim;
    CHECK(!sim_alive(node));
    bool forgot = node->damaged && node->known_id == node->damaged_id && node->known_last_index != 0;
    if (!forgot || others_have_all(sim, node)) {
        sim_boot(node);
    } else {
        sim_at(sim, RETURN_RETRY_MS * SIM_MS, return_event, node, node->life);
    }
}

void sim_damage_review(struct sim_node *node)
{
    struct sim *sim = node->sim;
    if (!node->damaged || !sim_serving(node) || node->disk.lying || node->disk.errors_until_ns > sim->now_ns) {
        return;
    }
    const struct group *group = node->node->group;
    struct group_facts facts;
    group_facts(group, &facts);
    /* Under a new id all that it is said to have was written anew; under the old one it was only a tail that was forgotten, if every page has been read. */
    bool anew = facts.raft_id != node->damaged_id;
    bool tail_again = !node->rotten && !node->node->filling && facts.commit_index >= node->known_last_index && others_have_all(sim, node) &&
                      all_greeted(sim, node);
    if ((anew || tail_again) && all_call_it_voter(sim, node)) {
        node->damaged = node->rotten = false;
        node->flipped_life = 0;
        node->known_id = facts.raft_id;
        sim_note(sim, node->number, "has everything again, as %llx", (unsigned long long)facts.raft_id);
    }
}

static void ban(struct sim *sim, uint64_t raft_id)
{
    if (raft_id != 0 && sim->ban_count < SIM_BANNED_MAX) {
        struct sim_ban *ban = &sim->bans[sim->ban_count++];
        ban->raft_id = raft_id;
        for (unsigned i = 1; i <= sim->node_count; i++) {
            ban->witnesses[i] = sim->nodes[i].known_id;
        }
    }
}

static void damage(struct sim_node *node)
{
    if (sim_alive(node)) {
        sim_power_off(node);
    }
    node->damaged = true;
    node->damaged_id = node->known_id;
}

/* The source of what the blank node will pull dies in the middle, sometimes. */
static void crash_host_event(struct sim *sim, void *context, uint64_t argument)
{
    (void)context;
    (void)argument;
    for (unsigned i = 1; i <= sim->node_count && !sim->healed; i++) {
        if (sim_serving(&sim->nodes[i]) && sim->nodes[i].node->leading) {
            sim_crash(&sim->nodes[i], sim_below(sim, 3 * SIM_SECOND));
            return;
        }
    }
}

static void lose(struct sim *sim, struct sim_node *node)
{
    damage(node);
    ban(sim, node->damaged_id);
    node->known_last_index = 0; /* nothing of it comes back */
    sim_note(sim, node->number, "FAULT disk lost");
    sim_disk_lose(node);
    uint64_t off = 100 * SIM_MS + sim_below(sim, 3 * SIM_SECOND);
    sim_boot_later(node, off);
    if (sim_chance(sim, 30) && (sim->faults & 1u << SIM_FAULT_CRASH) != 0) {
        sim_at(sim, off + sim_below(sim, 2 * SIM_SECOND), crash_host_event, NULL, 0);
    }
}

/* A place of the log that its recovery needs: an entry behind the checkpoint, in a batch that a later, durable one calls flushed. 0: there is none. */
static uint64_t needed_place(struct sim *sim, const struct sim_node *node)
{
    const struct log *log = node->node->group->log;
    uint64_t first = store_superblock(node->node->store)->raft_index + 1, last = log->last;
    if (log->round != LOG_ROUND_IDLE || log->staged < last || first <= log->base_index || store_checkpointing(node->node->store)) {
        return 0; /* of a checkpoint under way the superblock may be on the disk already */
    }
    while (last >= first && log_slot_of(log, last)->sequence > log->announced_sequence) {
        last--;
    }
    if (last < first) {
        return 0;
    }
    const struct log_slot *slot = log_slot_of(log, first + sim_below(sim, last + 1 - first));
    return log->offset + (uint64_t)slot->block * LOG_BLOCK + slot->record + sim_below(sim, sizeof(struct log_record) + slot->body_bytes);
}

static bool rot_log(struct sim *sim, struct sim_node *node)
{
    uint64_t place = needed_place(sim, node);
    if (place == 0) {
        return false;
    }
    sim_note(sim, node->number, "FAULT its log rots at %llu %s", (unsigned long long)place, sim->late_rot ? "when it has been recovered" : "while it is off");
    node->rotten = true;
    damage(node);
    if (sim->late_rot) {
        node->rots_at = place;
    } else {
        node->log_rotten_id = node->damaged_id;
        sim_disk_flip(node, place);
    }
    sim_boot_later(node, sim_below(sim, 2 * SIM_SECOND));
    return true;
}

static void rot(struct sim *sim, struct sim_node *node)
{
    if (sim_chance(sim, 40) && rot_log(sim, node)) {
        return;
    }
    bool at_rest = sim_chance(sim, 50);
    node->rotten = true;
    unsigned places = 1 + (unsigned)sim_below(sim, 6);
    sim_note(sim, node->number, "FAULT %u places of its disk rot%s", places, at_rest ? " while it is off" : "");
    if (at_rest) {
        damage(node);
    } else {
        node->damaged = true;
        node->damaged_id = node->known_id;
    }
    for (unsigned i = 0; i < places; i++) {
        sim_disk_rot(node);
    }
    if (at_rest) {
        sim_boot_later(node, sim_below(sim, 2 * SIM_SECOND));
    }
}

static void lie_event(struct sim *sim, void *context, uint64_t life)
{
    struct sim_node *node = context;
    if (node->life == life && sim_alive(node)) {
        sim_crash(node, sim_below(sim, 2 * SIM_SECOND));
    }
}

static void lie(struct sim *sim, struct sim_node *node)
{
    uint64_t duration = sim_below(sim, 4 * SIM_SECOND);
    sim_note(sim, node->number, "FAULT flushes do nothing for %llu ms, then the power goes", (unsigned long long)(duration / SIM_MS));
    node->damaged = true;
    node->damaged_id = node->known_id;
    node->disk.lying = true;
    sim_at(sim, duration, lie_event, node, node->life);
}

/* It may give its incarnation up when it cannot read what it has. */
static void disk_error(struct sim *sim, struct sim_node *node)
{
    uint64_t duration = sim_below(sim, SIM_SECOND);
    sim_note(sim, node->number, "FAULT disk fails requests for %llu ms", (unsigned long long)(duration / SIM_MS));
    node->damaged = true;
    node->damaged_id = node->known_id;
    node->disk.errors_until_ns = sim->now_ns + duration;
}

/* Evidence waits a while before it is written. The second slot is written when the first is flushed: what both show, no power cut takes back. */
static bool evidence_durable(const struct sim_node *node, uint64_t raft_id, uint64_t shows_boot)
{
    for (unsigned slot = 0; slot < DISK_VOTE_BLOCKS; slot++) {
        struct disk_vote vote;
        bool shown = false;
        memcpy(&vote, node->disk.bytes + (size_t)(DISK_VOTE_BLOCK_FIRST + slot) * DISK_BLOCK_BYTES, sizeof vote);
        for (unsigned i = 0; i < DISK_MEMBERS_MAX; i++) {
            shown |= vote.evidence[i].raft_id == raft_id && vote.evidence[i].boot_number > shows_boot;
        }
        if (!shown) {
            return false;
        }
    }
    return true;
}

/* Have all others durable evidence of a later boot than that which the older disk will show? */
static bool evidence_everywhere(struct sim *sim, const struct sim_node *victim, uint64_t raft_id, uint64_t shows_boot)
{
    for (unsigned i = 1; i <= sim->node_count; i++) {
        const struct sim_node *node = &sim->nodes[i];
        if (node != victim && (!sim_serving(node) || !evidence_durable(node, raft_id, shows_boot))) {
            return false;
        }
    }
    return true;
}

/* The older disk is started `left` times more before it can speak with anybody: it counts as many boots as others have seen, or more. */
static void start_again_event(struct sim *sim, void *context, uint64_t left)
{
    struct sim_node *node = context;
    if (sim_alive(node) && node->damaged && node->known_id == node->damaged_id && !sim->healed) {
        sim_crash(node, SIM_MS);
        if (left > 1) {
            sim_at(sim, SIM_MS + sim_below(sim, 4 * SIM_MS), start_again_event, node, left - 1);
        }
    }
}

static bool put_older_back(struct sim *sim, struct sim_node *node)
{
    bool from_create = sim_chance(sim, 30);
    uint64_t created_id = raft_id_make(node->number, node->disk.created.incarnation);
    uint64_t raft_id = from_create ? created_id : node->disk.older_id;
    uint64_t shows_boot = from_create ? 1 : node->disk.older_boot + 1;
    if (raft_id != node->known_id || !evidence_everywhere(sim, node, raft_id, shows_boot)) {
        return false;
    }
    damage(node);
    ban(sim, node->damaged_id);
    sim_note(sim, node->number, "FAULT an older disk is put back: %s", from_create ? "as on the day of create" : "a former copy");
    if (from_create) {
        sim_disk_recreate(node);
    } else {
        sim_disk_put_back(node);
    }
    uint64_t off = sim_below(sim, 2 * SIM_SECOND);
    sim_boot_later(node, off);
    if (sim_chance(sim, 30) && (sim->faults & 1u << SIM_FAULT_CRASH) != 0) {
        sim_at(sim, off + sim_below(sim, 4 * SIM_MS), start_again_event, node, 1 + sim_below(sim, 4));
    }
    return true;
}

static bool older_disk(struct sim *sim, struct sim_node *node)
{
    if (put_older_back(sim, node)) {
        return true;
    }
    if (sim_alive(node) && !node->damaged) {
        sim_power_off(node);
        sim_disk_keep_copy(node);
        sim_boot_later(node, sim_below(sim, SIM_SECOND));
    }
    return false;
}

/* Behind the program's state, on the page that each request writes: the program never looks there, only hashes and digests can tell. What comes of it
 * may be in a checkpoint, so it is as good as a damaged disk. */
static bool flip(struct sim *sim, struct sim_node *node)
{
    const struct image *image = world_image(node->node->world);
    struct abi_info info;
    if (node->node->filling || image_read(image, 0, &info, sizeof info) != STATUS_OK || info.heap_base == 0) {
        return false;
    }
    uint32_t page = (uint32_t)((info.heap_base - ABI_WORLD_BASE) / 4096);
    if (image->pages[page].state != PAGE_CLEAN || image->pages[page].hash == 0) {
        return false;
    }
    sim_note(sim, node->number, "FAULT a bit of memory flips, page %u", page);
    node->frames[page][2048 + sim_below(sim, 2048)] ^= (uint8_t)(1u << sim_below(sim, 8));
    node->flipped_life = node->life;
    node->damaged = node->rotten = true;
    node->damaged_id = node->known_id;
    return true;
}

/* A bit that flips in a host which has just resumed the world: what it captures of the page is compared with nothing of its own, only by the others. */
void sim_resumed(struct sim_node *node)
{
    struct sim *sim = node->sim;
    if (sim->flip_awaits_host && may_damage(sim, node) && flip(sim, node)) {
        sim->injected[SIM_FAULT_FLIP]++;
        sim->flip_awaits_host = false;
    }
}

void sim_flip_mended(struct sim_node *node)
{
    sim_note(node->sim, node->number, "has the image that all have");
    node->flipped_life = 0;
    if (node->node->group->raft_id == node->damaged_id) {
        node->damaged = node->rotten = false; /* otherwise it counts when it is a voter */
    }
}

void sim_damage(struct sim *sim, enum sim_fault kind)
{
    struct sim_node *node = &sim->nodes[1 + sim_below(sim, sim->node_count)];
    if (!may_damage(sim, node) || !sim_serving(node)) {
        return;
    }
    struct group_facts facts;
    group_facts(node->node->group, &facts);
    node->known_id = facts.raft_id;
    node->known_boot = facts.boot_number;
    switch (kind) {
    case SIM_FAULT_FLIP:
        if (sim_chance(sim, 70) || node->was_host) {
            sim->flip_awaits_host = true;
            return;
        }
        if (!flip(sim, node)) {
            return;
        }
        break;
    case SIM_FAULT_DISK_LOSS:
        lose(sim, node);
        break;
    case SIM_FAULT_ROT:
        rot(sim, node);
        break;
    case SIM_FAULT_LYING:
        lie(sim, node);
        break;
    case SIM_FAULT_DISK_ERROR:
        disk_error(sim, node);
        break;
    case SIM_FAULT_OLD_DISK:
        if (!older_disk(sim, node)) {
            return;
        }
        break;
    default:
        return;
    }
    sim->injected[kind]++;
}
