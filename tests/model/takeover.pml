/* Gate, takeover and incarnation on three nodes. README.md beside this file says what stands for what and what is left out.
 *
 * Each step of a node is one indivisible transition. A message is the step that it causes at its receiver: one that is lost, cut off or late is
 * a step that is not taken, or taken later. Requests and replies are different steps, so a cut may be one-way.
 * Bounds: TERMS, ENTRIES (of a log), CRASHES, POWER_LOSSES (of all nodes at once), LOST_DISKS; PARTS 1: epochs of two entries too.
 * WITHOUT_... takes one rule out: the property beside it in `check` must then be refuted. */

#ifndef TERMS
#define TERMS 3
#endif
#ifndef ENTRIES
#define ENTRIES 5
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef POWER_LOSSES
#define POWER_LOSSES 1
#endif
#ifndef LOST_DISKS
#define LOST_DISKS 1
#endif
#ifndef PARTS
#define PARTS 0
#endif

#define NODES 3
#define NOBODY 3
#define FOLLOWER 0
#define CANDIDATE 1
#define LEADER 2 /* its barrier is not committed yet */
#define HOST 3   /* runs the world */

/* Properties. The number is how `run` tells from the checker's output which one was refuted. */
#define GATE 1
#define ONE_STORY 2
#define NO_TEAR 3
#define DURABLE 4
#define NO_AMNESIA 5
#define ELECTION_SAFETY 6
#define REACHED 7 /* none: WITNESS asks for a run that gets there */
#define HOLDS(property, condition) assert((property) == 0 || (condition))

/* An entry: term and kind. With ELECTION_SAFETY index and term name one entry. */
#define BARRIER 0
#define WHOLE 1       /* an epoch in one entry */
#define FIRST 2       /* an epoch in two */
#define LAST 3
#define REPLACE 4     /* + node: its voter is removed, its new incarnation is a standby */
#define PROMOTE 8     /* + node: the standby is a voter */
#define ENTRY(t, kind) ((t) * 16 + (kind))
#define TERM_OF(entry) ((entry) >> 4)
#define KIND_OF(entry) ((entry) & 15)
#define LOG(i, k) log[(i) * ENTRIES + (k) - 1]

/* On the disk: term, vote (flushed before anything else happens), incarnation, and the log up to `flushed`. */
byte term[NODES], vote[NODES], incarnation[NODES], flushed[NODES];
byte log[NODES * ENTRIES];
/* In memory. */
byte role[NODES], length[NODES], matched[NODES];
byte commit[NODES];  /* applied as well: an image stands where its commit stands */
byte half[NODES];    /* term of a first part that waits for its last; 0: none */
bool torn[NODES];    /* the image holds a first part without its last */
bool foreign[NODES]; /* the image of one that hosts no more holds epochs that are not committed */
byte votes[NODES];   /* candidate: bit of each node that granted */
byte acknowledged[NODES * NODES]; /* leader: by node, the entries that its disk has */

byte crashes, power_losses, lost_disks;

/* What only the checks know. */
byte committed[ENTRIES];   /* by index: the entry that some leader called committed; 0: none */
byte seen[ENTRIES];        /* by index: the epoch whose output the outside has seen; 0: none */
byte leader_of[TERMS + 1]; /* node + 1 */
byte disks_lost[NODES];

/* Scratch, not part of a state; a breadth-first search knows no hidden variables and wants them cleared. */
#ifdef BREADTH_FIRST
#define SCRATCH byte
#define DONE k = 0; m = 0; n = 0; kind = 0; voters = 0; replaced = 0; entry_now = 0; count = 0; found = 0
#else
#define SCRATCH hidden byte
#define DONE skip
#endif
SCRATCH k, m, n, kind, voters, replaced, entry_now, count, found;

#define MAJORITY(mask) (((mask) & 1) + (((mask) >> 1) & 1) + (((mask) >> 2) & 1))
#define ID_IS_CURRENT(j) (incarnation[j] == ((replaced >> (j)) & 1))
#define IS_VOTER(j) (((voters >> (j)) & 1) && ID_IS_CURRENT(j))

/* voters, replaced: the latest configuration in the log of `i`, committed or not, as Raft has it. */
inline read_configuration(i)
{
    voters = 7; replaced = 0; k = 1;
    do
    :: k <= length[i] ->
        kind = KIND_OF(LOG(i, k));
        if
        :: kind >= PROMOTE -> voters = voters | (1 << (kind - PROMOTE))
        :: kind >= REPLACE && kind < PROMOTE ->
            voters = voters & (7 - (1 << (kind - REPLACE)));
            replaced = replaced | (1 << (kind - REPLACE))
        :: else
        fi;
        k++
    :: else -> break
    od
}

/* DURABLE: what was committed is on at least one disk, under the id that its node has now. */
inline check_durable()
{
    m = 1;
    do
    :: m <= ENTRIES && committed[m - 1] != 0 ->
        found = (flushed[0] >= m && LOG(0, m) == committed[m - 1]) ||
            (flushed[1] >= m && LOG(1, m) == committed[m - 1]) ||
            (flushed[2] >= m && LOG(2, m) == committed[m - 1]);
        HOLDS(DURABLE, found);
        m++
    :: else -> break
    od
}

/* The gate lets the output of epoch `index` of host `i` out. */
inline release(i, index)
{
    kind = KIND_OF(LOG(i, index));
    if
    :: kind == WHOLE || kind == LAST ->
        HOLDS(GATE, seen[index - 1] == 0 || seen[index - 1] == LOG(i, index)); /* two histories were told */
        seen[index - 1] = LOG(i, index)
    :: else
    fi
}

/* `i` becomes host of the world. GATE: its image explains what was seen, except of later hosts: who was deposed and does not know it may resume an
 * older image, from which nothing new passes its gate (`release` checks what does). */
inline resume(i)
{
    role[i] = HOST;
#ifdef WITNESS
    HOLDS(REACHED, disks_lost[i] == 0);
#endif
    HOLDS(NO_TEAR, !torn[i] && half[i] == 0);
    HOLDS(ONE_STORY, !foreign[i]);
    m = 1;
    do
    :: m <= ENTRIES ->
        HOLDS(GATE, seen[m - 1] == 0 || TERM_OF(seen[m - 1]) > term[i] || (m <= commit[i] && LOG(i, m) == seen[m - 1]));
        m++
    :: else -> break
    od;
    m = 1;
    do
    :: m <= commit[i] -> release(i, m); m++
    :: else -> break
    od
}

/* `i` applies everything up to `upto`. */
inline advance(i, upto)
{
    do
    :: commit[i] < upto ->
        commit[i]++;
        entry_now = LOG(i, commit[i]);
        HOLDS(ONE_STORY, committed[commit[i] - 1] == entry_now); /* every image takes the same entry at the same place */
        HOLDS(ONE_STORY, !foreign[i]);
        kind = KIND_OF(entry_now);
        if
#ifdef WITHOUT_DISCARDED_PARTS
        :: kind == FIRST -> half[i] = (half[i] == 0 -> TERM_OF(entry_now) : half[i])
        :: kind == BARRIER || kind == WHOLE -> skip
#elif defined(WITHOUT_LAST_PART)
        :: kind == FIRST -> half[i] = TERM_OF(entry_now); torn[i] = true
        :: kind == BARRIER || kind == WHOLE -> half[i] = 0
#else
        :: kind == FIRST -> half[i] = TERM_OF(entry_now)
        :: kind == BARRIER || kind == WHOLE -> half[i] = 0
#endif
        :: kind == LAST ->
            HOLDS(NO_TEAR, half[i] == TERM_OF(entry_now)); /* both parts are of one epoch */
            half[i] = 0;
            torn[i] = false
        :: else
        fi;
        if
        :: role[i] == HOST -> release(i, commit[i])
        :: else
        fi
    :: else -> break
    od
}

/* Leader `i` counts the disks of its voters: an entry of its own term on a majority is committed, with all before it. */
inline count_acknowledged(i)
{
    read_configuration(i);
    n = length[i];
    do
    :: n > commit[i] && TERM_OF(LOG(i, n)) == term[i] ->
        count = (IS_VOTER(0) && acknowledged[i * NODES] >= n -> 1 : 0) +
            (IS_VOTER(1) && acknowledged[i * NODES + 1] >= n -> 1 : 0) +
            (IS_VOTER(2) && acknowledged[i * NODES + 2] >= n -> 1 : 0);
        if
        :: 2 * count > MAJORITY(voters) ->
            m = commit[i] + 1;
            do
            :: m <= n ->
                HOLDS(DURABLE, committed[m - 1] == 0 || committed[m - 1] == LOG(i, m)); /* committed is for ever */
                committed[m - 1] = LOG(i, m);
                m++
            :: else -> break
            od;
            advance(i, n);
            if
            :: role[i] == LEADER -> resume(i)
            :: else
            fi;
            break
        :: else -> n--
        fi
    :: else -> break
    od
}

inline forget_leadership(i)
{
    votes[i] = 0;
    acknowledged[i * NODES] = 0; acknowledged[i * NODES + 1] = 0; acknowledged[i * NODES + 2] = 0
}

/* A host that is none any more undoes what is not committed. */
inline step_down(i)
{
#ifdef WITHOUT_UNDO
    k = commit[i] + 1;
    do
    :: role[i] == HOST && k <= length[i] ->
        kind = KIND_OF(LOG(i, k));
        if
        :: kind == WHOLE || kind == FIRST || kind == LAST -> foreign[i] = true
        :: else
        fi;
        k++
    :: else -> break
    od;
#endif
    role[i] = FOLLOWER;
    forget_leadership(i)
}

inline learn_term(i, t)
{
    if
    :: t > term[i] ->
        step_down(i);
        term[i] = t;
        vote[i] = NOBODY;
        matched[i] = 0
    :: else
    fi
}

inline append(i, e)
{
    length[i]++;
    LOG(i, length[i]) = e
}

inline become_leader(i)
{
    HOLDS(ELECTION_SAFETY, leader_of[term[i]] == 0);
    leader_of[term[i]] = i + 1;
    m = 1;
    do
    :: m <= ENTRIES ->
        HOLDS(DURABLE, committed[m - 1] == 0 || (m <= length[i] && LOG(i, m) == committed[m - 1])); /* who leads has it */
        m++
    :: else -> break
    od;
    role[i] = LEADER;
    votes[i] = 0;
    append(i, ENTRY(term[i], BARRIER));
#ifdef WITHOUT_BARRIER
    resume(i)
#endif
}

/* Room for the barriers of the terms to come. */
#define ROOM(i) (length[i] + TERMS - term[i] < ENTRIES)

inline host_append(i, e)
{
    append(i, e);
#ifdef WITHOUT_GATE
    release(i, length[i])
#endif
}

/* The kind of the last epoch entry of the host's own term. */
inline read_last_kind(i)
{
    n = BARRIER; k = length[i];
    do
    :: k > 0 && TERM_OF(LOG(i, k)) == term[i] && n == BARRIER ->
        kind = KIND_OF(LOG(i, k));
        if
        :: kind == WHOLE || kind == FIRST || kind == LAST -> n = kind
        :: else
        fi;
        k--
    :: else -> break
    od
}

inline cut_log(i, kept)
{
    do
    :: length[i] > kept -> LOG(i, length[i]) = 0; length[i]--
    :: else -> break
    od;
    flushed[i] = (flushed[i] > kept -> kept : flushed[i])
}

/* Memory is gone; of the entries that no flush covers the first `kept` - `flushed` happen to survive. */
inline lose_power(i, kept)
{
    cut_log(i, kept);
    flushed[i] = length[i];
    role[i] = FOLLOWER;
    forget_leadership(i);
    commit[i] = 0; matched[i] = 0; half[i] = 0; torn[i] = false; foreign[i] = false;
#ifdef WITHOUT_FLUSHED_VOTE
    vote[i] = NOBODY
#endif
}

/* AppendEntries from `i` arrives at `j`: the next entry that it lacks, and the commit index. */
inline receive_entries(i, j)
{
    read_configuration(i);
    if
    :: ID_IS_CURRENT(j) && term[j] <= term[i] ->
        learn_term(j, term[i]);
        if
        :: role[j] == CANDIDATE -> step_down(j)
        :: else
        fi;
        m = 0;
        do
        :: m < length[i] && m < length[j] && LOG(i, m + 1) == LOG(j, m + 1) -> m++
        :: else -> break
        od;
        HOLDS(ONE_STORY, m >= commit[j] || m == length[i]); /* nothing applied is ever replaced */
        if
        :: m < length[i] -> cut_log(j, m); append(j, LOG(i, m + 1)); m++
        :: else
        fi;
        matched[j] = m;
        n = (commit[i] < m -> commit[i] : m);
        advance(j, n)
    :: else
    fi
}

/* The reply of `j` arrives at leader `i`: what of its entries the disk of `j` has. */
inline receive_acknowledgement(i, j)
{
#ifdef WITHOUT_FLUSH
    m = matched[j];
#else
    m = (matched[j] < flushed[j] -> matched[j] : flushed[j]);
#endif
    if
    :: m > acknowledged[i * NODES + j] ->
#ifndef ONLY_CONSEQUENCES
        HOLDS(NO_AMNESIA, incarnation[j] == disks_lost[j]);
#endif
        acknowledged[i * NODES + j] = m;
        count_acknowledged(i)
    :: else
    fi
}

/* RequestVote from `i` arrives at `j`; the reply comes back unless it is `lost`. */
inline receive_vote_request(i, j, lost)
{
    read_configuration(i);
    if
    :: IS_VOTER(j) && term[j] <= term[i] ->
        learn_term(j, term[i]);
        k = (length[i] > 0 -> TERM_OF(LOG(i, length[i])) : 0);
        m = (length[j] > 0 -> TERM_OF(LOG(j, length[j])) : 0);
        if
        :: role[j] == FOLLOWER && (vote[j] == NOBODY || vote[j] == i) && (k > m || (k == m && length[i] >= length[j])) ->
#ifndef ONLY_CONSEQUENCES
            HOLDS(NO_AMNESIA, incarnation[j] == disks_lost[j]);
#endif
            vote[j] = i;
            if
            :: !lost ->
                votes[i] = votes[i] | (1 << j);
                if
                :: 2 * MAJORITY(votes[i] & voters) > MAJORITY(voters) -> become_leader(i)
                :: else
                fi
            :: else
            fi
        :: else
        fi
    :: else
    fi
}

inline start_election(i)
{
    read_configuration(i);
    if
    :: IS_VOTER(i) ->
        term[i]++;
        vote[i] = i;
        matched[i] = 0;
        role[i] = CANDIDATE;
        votes[i] = 1 << i
    :: else
    fi
}

/* Host `i` sees another incarnation of `j` ask to join; it begins one change when the one before is committed. */
inline change_membership(i, j)
{
    read_configuration(i);
    m = commit[i] + 1; found = false;
    do
    :: m <= length[i] -> found = found || KIND_OF(LOG(i, m)) >= REPLACE; m++
    :: else -> break
    od;
    if
    :: !found && !ID_IS_CURRENT(j) -> append(i, ENTRY(term[i], REPLACE + j))
    :: !found && ID_IS_CURRENT(j) && !((voters >> j) & 1) && acknowledged[i * NODES + j] >= commit[i] ->
        append(i, ENTRY(term[i], PROMOTE + j))
    :: else
    fi
}

/* A disk is lost; the node comes back with a blank one. */
inline lose_disk(i)
{
    lose_power(i, 0);
    term[i] = 0;
    vote[i] = NOBODY;
    disks_lost[i]++;
    lost_disks++;
#ifndef WITHOUT_NEW_INCARNATION
    incarnation[i]++;
#endif
    check_durable()
}

/* Steps that `i` takes with another node. */
#define STEPS_WITH(j) \
    :: d_step { role[i] >= LEADER -> receive_entries(i, j); DONE } \
    :: d_step { role[i] >= LEADER && role[j] == FOLLOWER && term[j] == term[i] -> receive_acknowledgement(i, j); DONE } \
    :: d_step { role[i] == CANDIDATE -> receive_vote_request(i, j, false); DONE } \
    :: d_step { role[i] == CANDIDATE -> receive_vote_request(i, j, true); DONE } \
    :: d_step { role[i] == HOST && ROOM(i) && disks_lost[j] != 0 -> change_membership(i, j); DONE }

proctype node(byte i)
{
end:
    do
    STEPS_WITH((i + 1) % NODES)
    STEPS_WITH((i + 2) % NODES)
    /* What was appended is flushed; the leader's own disk counts then, not before. */
    :: d_step { flushed[i] < length[i] ->
        flushed[i] = length[i];
        if
        :: role[i] >= LEADER -> acknowledged[i * NODES + i] = length[i]; count_acknowledged(i)
        :: else
        fi;
        DONE }
    :: d_step { role[i] <= CANDIDATE && term[i] < TERMS && length[i] < ENTRIES -> start_election(i); DONE }
    /* The world runs: an epoch is closed and its delta appended. */
    :: d_step { role[i] == HOST && ROOM(i) ->
        read_last_kind(i);
        if
        :: n == FIRST -> host_append(i, ENTRY(term[i], LAST))
        :: else -> host_append(i, ENTRY(term[i], WHOLE))
        fi;
        DONE }
#if PARTS
    :: d_step { role[i] == HOST && ROOM(i) ->
        read_last_kind(i);
        if
        :: n != FIRST -> host_append(i, ENTRY(term[i], FIRST))
        :: else
        fi;
        DONE }
#endif
    :: d_step { crashes < CRASHES -> crashes++; lose_power(i, flushed[i]); check_durable(); DONE }
    :: d_step { crashes < CRASHES && length[i] > flushed[i] -> crashes++; lose_power(i, length[i]); check_durable(); DONE }
    :: d_step { crashes < CRASHES && length[i] > flushed[i] + 1 -> crashes++; lose_power(i, flushed[i] + 1); check_durable(); DONE }
    :: d_step { i == 0 && power_losses < POWER_LOSSES ->
        power_losses++;
        lose_power(0, flushed[0]); lose_power(1, flushed[1]); lose_power(2, flushed[2]);
        check_durable(); DONE }
    :: d_step { lost_disks < LOST_DISKS && disks_lost[i] == 0 -> lose_disk(i); DONE }
    od
}

/* Node 0 has won the first election; its barrier is committed and everywhere. */
init
{
    d_step {
        n = 0;
        do
        :: n < NODES ->
            term[n] = 1; vote[n] = 0;
            append(n, ENTRY(1, BARRIER));
            flushed[n] = 1; commit[n] = 1; matched[n] = (n == 0 -> 0 : 1);
            acknowledged[n] = 1;
            n++
        :: else -> break
        od;
        committed[0] = ENTRY(1, BARRIER);
        leader_of[1] = 1;
        role[0] = HOST;
        DONE
    };
    atomic { run node(0); run node(1); run node(2) }
}
