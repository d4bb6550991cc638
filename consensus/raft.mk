# raft: the consensus algorithm as an event machine (raft_step), with raft-0.22.1.patch.
# The sources of its core, without its tracing (raft_shim.c stands in) and without the older API and its backends.

raft_files := $(patsubst %,raft/src/%.c,byte client compress configuration convert election entry err heap membership \
	message progress random raft recv recv_append_entries recv_append_entries_result recv_request_vote \
	recv_request_vote_result recv_install_snapshot recv_timeout_now restore replication state syscall timeout trail)

# -iquote: the sources say "../include/raft.h"; raft/src itself stays off the path, its assert.h would hide libc's.
third_party_flags_raft = -std=gnu11 -w -iquote $(generated_include)

$(raft_headers): $(sources_dir)/raft.stamp
	@mkdir -p $(generated_include)
	@sed 's/@enable_v0@/no/' $(sources_dir)/raft/include/raft.h.in >$@

$(foreach variant,guest host asan fuzz,$(eval $(call third_party_library,$(variant),raft,libraft.a,$(raft_files))))
