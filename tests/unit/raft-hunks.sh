#!/bin/bash
# Takes each change of the raft library's patch out again, one at a time, and expects that the change's tests notice.
#
#   compile=COMMAND link=COMMAND tests/unit/raft-hunks.sh PATCH BUILD_DIR LINK_INPUT...      (see make test-raft-hunks)
#
# It works on a copy of the library's sources under BUILD_DIR/raft-hunks. For each row of the table below: the tests
# selected must pass with the library as it is, and at least one must fail, abort or hang with the change taken out.
# A hunk of the patch that no row takes out is an error too. Exit status 0 when all is as expected.
set -uo pipefail

patch_file=$1
build=$2
shift 2
link_inputs=("$@")
compile=${compile:?command that compiles the library for the tests}
link=${link:?command that links a test}
scratch=$build/raft-hunks
readonly seconds_max=60
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1}

# change | test program | pattern of test names | source | what is taken out; `test_raft_patch_` is before both names.
# What: `file`, all hunks of that source; `hunk TEXT`, the only one with TEXT in it; `line TEXT`, the only line with it.
table() {
    cat <<'END'
1|safety|01_*|replication.c|hunk membershipUncommittedChange(r, index + i, entry)
2|safety|02_*|membership.c|hunk the previous one must have been committed by the leader
3|safety|03_stale_entries_from_*|recv_append_entries.c|hunk if (result->rejected == 0)
3|safety|03_stale_entries_are_*|recv_append_entries.c|hunk if (result->rejected == 0)
3|safety|03_stale_snapshot_*|recv_install_snapshot.c|file
4|safety|04_*|convert.c|hunk r->current_term += 1
5|safety|05_change_waits_*|membership.c|hunk r->commit_index) != r->current_term
5|safety|05_leader_*|convert.c|hunk (void)isDqliteUnitTest
5|safety|05_sole_voter_*|convert.c|hunk (void)isDqliteUnitTest
6|aborts|06_repeated_*|progress.c|hunk return false; /* stale */
6|aborts|06_repeated_*|progress.c|line return false; /* stale */
6|aborts|06_outdated_*|progress.c|line max(p->next_index, p->match_index + 1)
7|aborts|07_entries_*|recv_append_entries.c|hunk was compacted into our snapshot
7|aborts|07_compacted_*|recv_append_entries.c|hunk was compacted into our snapshot
8|aborts|08_*|client.c|file
9|availability|09_pre_vote_*|recv_request_vote.c|hunk if (args->pre_vote && result->vote_granted)
9|availability|09_refused_*|recv_request_vote.c|hunk if (args->pre_vote && result->vote_granted)
9|availability|09_survivors_*|recv_request_vote.c|hunk if (args->pre_vote && result->vote_granted)
10|availability|10_transferee_*|timeout.c|line candidate_state.disrupt_leader = false
10|availability|10_transferee_*|timeout.c|line candidate_state.in_pre_vote = r->pre_vote
10|availability|10_candidate_*|timeout.c|hunk candidate_state.in_pre_vote = r->pre_vote
11|availability|11_*|raft.c|file
12|availability|12_server_that_*|election.c|hunk (void)local_server
12|availability|12_standby_*|timeout.c|hunk raft_role_name(server->role)
12|availability|12_server_outside_*|timeout.c|hunk server not in current configuration
13|availability|13_*|recv_request_vote_result.c|hunk if (result->version > 1
14|minor|14_*|replication.c|hunk return RAFT_BUSY
15|minor|15_*|replication.c|hunk if (last_new_entry > r->commit_index)
16|minor|16_*|replication.c|hunk match_index == TrailLastIndex(&r->trail) &&
17|minor|17_*|replication.c|hunk if (!progressMaybeUpdate(r, i, last_index))
18|availability|18_*|replication.c|hunk if (!TrailHasEntry(&r->trail, 1))
19|availability|19_*|recv_request_vote.c|hunk r->now - r->election_timer_start
20|availability|20_server_that_*|progress.c|hunk It may have installed another snapshot
20|availability|20_server_with_*|progress.c|line last_index != p->tried &&
21|availability|21_candidate_refuses_*|election.c|hunk else if (args->term == r->current_term
21|availability|21_candidate_wins_*|election.c|hunk else if (args->term == r->current_term
21|availability|21_refused_*|recv_request_vote_result.c|hunk if (!result->vote_granted ||
END
}

# Hunks that serve another one and change nothing alone: source and text, as in the table.
auxiliary() {
    cat <<'END'
convert.c|#include "message.h"
progress.c|p->tried = 0;
progress.h|raft_index tried;
END
}

fail() {
    echo "raft-hunks: $*" >&2
    exit 2
}

# One file per hunk, SOURCE.NUMBER, each a patch of its own.
split_patch() {
    mkdir -p "$scratch/hunks"
    awk -v folder="$scratch/hunks" '
        /^diff /          { out = ""; number = 0; next }
        out == "" && /^--- a\/src\// { source = substr($2, 7); minus = $0; next }
        out == "" && /^\+\+\+ b\/src\// { plus = $0; next }
        /^@@ / && source  { number++; out = folder "/" source "." number; print minus "\n" plus >out }
        out != ""         { print >out }
    ' "$patch_file"
}

# The hunk files of `source` ($1) that `what` ($2) means: all, or the only one that has the text.
hunks_of() {
    case $2 in
    file) ls "$scratch/hunks/$1".* ;;
    'hunk '*) grep -lF -- "${2#hunk }" "$scratch/hunks/$1".* ;;
    esac
}

# Put a copy of `source` ($1) in the scratch folder and take `what` ($2) out of it.
take_out() {
    local target=$scratch/raft/src/$1 hunk hunks
    cp "$build/third-party/raft/src/$1" "$target"
    if [[ $2 == 'line '* ]]; then
        [ "$(grep -cF -- "${2#line }" "$target")" -eq 1 ] || fail "not exactly one line of $1 has: ${2#line }"
        grep -vF -- "${2#line }" "$build/third-party/raft/src/$1" >"$target"
        return
    fi
    mapfile -t hunks < <(hunks_of "$1" "$2")
    [ "${#hunks[@]}" -gt 0 ] || fail "no hunk of $1 for: $2"
    [[ $2 == file || ${#hunks[@]} -eq 1 ]] || fail "more than one hunk of $1 for: $2"
    for hunk in "${hunks[@]}"; do
        patch --reverse --quiet --no-backup-if-mismatch -d "$scratch/raft" -p1 <"$hunk" || fail "cannot take out $hunk"
        echo "$hunk" >>"$scratch/covered"
    done
}

# Link test program `name` ($1) with the scratch copy of `source` ($2) in the place of the library's.
build_without() {
    $compile -c "$scratch/raft/src/$2" -o "$scratch/changed.o" || fail "$2 does not compile with a change taken out"
    local test=$build/asan/tests/unit/test_raft_patch_$1.c.o
    $link "$scratch/changed.o" "$test" "${link_inputs[@]}" -o "$scratch/program" ||
        fail "test_raft_patch_$1 does not link with $2 changed"
}

# Run `program` ($1) with the tests of `pattern` ($2): status in `status`, output in the scratch folder.
run_tests() {
    # The outer redirection hides what the shell says about an aborted program.
    { timeout "$seconds_max" "$1" "test_raft_patch_$2" >"$scratch/output" 2>&1 </dev/null; } 2>/dev/null
    status=$?
}

# In a few words, how the last run failed.
how_it_failed() {
    local assertion place
    assertion=$(sed -n 's/^.*Assertion `\(.*\)'"'"' failed\.$/\1/p' "$scratch/output" | head -n 1)
    place=$(sed -n 's/^.*\/\([a-z_]*\.c:[0-9]*\): error: .*$/\1/p' "$scratch/output" | head -n 1)
    if [ "$status" -eq 124 ]; then
        echo "hangs"
    elif [ -n "$assertion" ]; then
        echo "aborts: $assertion"
    elif [ -n "$place" ]; then
        echo "fails: $place"
    else
        echo "fails: exit status $status"
    fi
}

[ -r "$build/third-party/raft/src/raft.c" ] || fail "no unpacked library under $build"
rm -rf "$scratch"
mkdir -p "$scratch/raft/src"
cp -r "$build/third-party/raft/src/." "$scratch/raft/src"
split_patch
: >"$scratch/covered"

rows=0
unexpected=0
printf '%-6s  %-33s  %-34s  %s\n' CHANGE 'TESTS OF IT' 'TAKEN OUT OF' 'WITH IT, WITHOUT IT'
while IFS='|' read -r change name pattern source what; do
    rows=$((rows + 1))
    run_tests "$build/asan/tests/unit/test_raft_patch_$name" "$pattern"
    if [ "$status" -eq 0 ] && grep -q '^\[  PASSED  \] [1-9]' "$scratch/output"; then
        with=pass
    else
        with="FAIL ($(how_it_failed))"
    fi
    take_out "$source" "$what"
    build_without "$name" "$source"
    run_tests "$scratch/program" "$pattern"
    if [ "$status" -eq 0 ]; then
        without='PASS ALL THE SAME'
    else
        without=$(how_it_failed)
    fi
    cp "$build/third-party/raft/src/$source" "$scratch/raft/src/$source"
    if [ "$with" != pass ] || [ "$status" -eq 0 ]; then
        unexpected=$((unexpected + 1))
    fi
    kind=${what%% *}
    printf '%-6s  %-33s  %-34s  %s\n' "$change" "$name: $pattern" "$source ($kind)" "$with, $without"
done < <(table)

while IFS='|' read -r source text; do
    hunks_of "$source" "hunk $text" >>"$scratch/covered"
done < <(auxiliary)
for hunk in "$scratch"/hunks/*; do
    if ! grep -qxF "$hunk" "$scratch/covered"; then
        echo "no row takes out ${hunk##*/}:"
        tail -n +3 "$hunk"
        unexpected=$((unexpected + 1))
    fi
done

echo "$((rows)) rows, $(find "$scratch/hunks" -type f | wc -l) hunks, $unexpected unexpected"
[ "$unexpected" -eq 0 ]
