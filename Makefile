# Eidolon: kernel, world, host command and tests, in one make.
#
#   make run       install what is missing, build, start a cluster and attach to a session
#   make test      all tests: unit and world, fuzz (bounded), simulator, QEMU
#   make demo      a narrated proof on a cluster of its own
#   make bench     figures and their ratios to probes (QUICK=1: small samples; LONG=1: large images too); make bench-compare
#   make bench-peers   the same counter on our world, on etcd, on Redis; QEMU's snapshots and moves (QUICK=1 too)
#   make           build everything
#   make fuzz      each decoder fuzzed for MINUTES=1; FUZZ=NAME: one of them
#   make test-long | model   longer proofs: every write prefix and every sector of a disk, 50 cuts of power; a model checked exhaustively
#   make test-unit | test-world | test-fuzz | test-sim | test-qemu | test-raft-hunks | sim-mutants | lint | clean | distclean | help
#
# V=1 shows each command. Everything made stands under build/. A folder's sources are found by wildcard.
#
#   build/kernel.elf    kernel with the world embedded      build/guest/lib*.a   libraries for ring 0
#   build/world.elf     the world (objects/objects.mk)      build/world/lib*.a   libraries for ring 3
#   build/eidolon       the host command                    build/host/lib*.a    libraries for Linux
#   build/asan/tests/   unit test programs                  build/asan/lib*.a    the same under sanitizers
#   build/fuzz/tests/   fuzz targets                        build/fuzz/lib*.a    the same, instrumented by clang
#
# Each of the five folders is a variant: one set of compiler flags. An object is build/VARIANT/PATH.o.

ifneq ($(words $(CURDIR)),1)
$(error The path of this folder, "$(CURDIR)", has a space in it, which make and the libraries' own builds cannot take: move it elsewhere)
endif

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all
SHELL := /bin/bash

V ?= 0
ifeq ($(V),1)
quiet :=
say = @:
else
quiet := @
# Usage: $(call say,WORD,WHAT), on a line of its own.
say = @printf '  %-8s %s\n' $(1) $(2)
endif

build := build
world_image := $(build)/world.elf
comma := ,
empty :=
space := $(empty) $(empty)
sources_dir := $(build)/third-party
generated_include := $(build)/include

CC := gcc
CLANG := clang

# --- What every compilation of our own code has in common -------------------------------------------------

own_warnings := -Wall -Wextra -Wconversion -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes \
	-Wpointer-arith -Wundef -Wwrite-strings -Werror
own_flags := -std=c17 $(own_warnings) -I. -isystem $(generated_include)
debug_flags := -g

# Ring 0: no red zone (interrupts use the same stack), top 2 GiB.
freestanding_flags := -O2 $(debug_flags) -ffreestanding -fno-pic -fno-pie -fcf-protection=none \
	-fno-asynchronous-unwind-tables -ffunction-sections -fdata-sections -fno-common
# The compiler knows the C library, so that the copy of a word is no call (the library itself is compiled without that). Longer ones stay calls: the
# repeated string instructions that it would use are slower under emulation.
inline_library := -fbuiltin -mmemcpy-strategy=unrolled_loop:64:noalign,libcall:-1:noalign -mmemset-strategy=unrolled_loop:64:noalign,libcall:-1:noalign
guest_code_model := -mno-red-zone -mcmodel=kernel
world_code_model := -mcmodel=small
compiler_include = $(shell $(CC) -print-file-name=include)
libc_include = -nostdinc -isystem $(build)/$(1)/picolibc/include -isystem $(compiler_include)

guest_flags = $(freestanding_flags) $(inline_library) $(guest_code_model) $(call libc_include,guest)
world_flags = $(freestanding_flags) $(inline_library) $(world_code_model) $(call libc_include,world)
host_flags := -O2 $(debug_flags)
sanitizers := -fsanitize=address,undefined -fno-sanitize-recover=all
asan_flags := -O1 $(debug_flags) -fno-omit-frame-pointer $(sanitizers)
fuzz_flags := $(asan_flags) -fsanitize=fuzzer-no-link -fsanitize-coverage-ignorelist=tests/fuzz/uninstrumented

stack_protector := -fstack-protector-strong -mstack-protector-guard=global

# Own code may need more for one folder or file: own_flags_VARIANT, flags_PATH.o (path without build/VARIANT/).
own_flags_guest = $(stack_protector) -isystem $(sources_dir)/lwip/src/include -Idrivers/lwip
own_flags_world = $(stack_protector)
own_flags_host := -D_GNU_SOURCE
own_flags_asan := -D_GNU_SOURCE
own_flags_fuzz := -D_GNU_SOURCE

variants := guest world host asan fuzz
# The compiler of a variant, where it is not $(CC).
compiler_fuzz := $(CLANG)

# --- Sources ---------------------------------------------------------------------------------------------

portable_dirs := replicate consensus crypto
metal_dirs := kernel drivers

portable_sources := $(sort $(wildcard $(addsuffix /*.c,$(portable_dirs))))
metal_sources := $(sort $(wildcard $(addsuffix /*.c,$(metal_dirs)) $(addsuffix /*.S,$(metal_dirs))))
simulator_sources := $(sort $(wildcard cluster-sim/sim_*.c))
command_sources := $(sort $(filter-out $(simulator_sources),$(wildcard cluster-sim/*.c)))
test_sources := $(sort $(wildcard tests/unit/test_*.c))
test_support_sources := $(sort $(wildcard tests/unit/support/*.c))
fuzz_sources := $(sort $(wildcard tests/fuzz/fuzz_*.c))
fuzz_support_sources := $(sort $(wildcard tests/fuzz/support/*.c)) $(addprefix tests/unit/support/,fake_machine.c check_failed.c small_world.c)

# objects_of VARIANT,SOURCES
objects_of = $(patsubst %,$(build)/$(1)/%.o,$(2))

# --- Third-party sources: fetched before the rules below are read, as the rules list their files ------------

goals_without_sources := clean distclean help setup bench-compare model
ifneq ($(filter-out $(goals_without_sources),$(or $(MAKECMDGOALS),all)),)
include $(sources_dir)/unpacked.mk
endif

.PHONY: setup
setup:
	@third-party/setup.sh

$(build)/setup.stamp: third-party/setup.sh third-party/packages
	@mkdir -p $(@D)
	@third-party/setup.sh
	@touch $@

$(sources_dir)/unpacked.mk: third-party/lock third-party/fetch.sh $(wildcard */*-*.patch) | $(build)/setup.stamp
	@third-party/fetch.sh $(build)
	@echo '# The sources of third-party/lock are unpacked beside this file.' >$@

# --- Compilation -----------------------------------------------------------------------------------------

# Headers that a variant's sources may include exist before any of them is compiled.
sodium_headers := $(generated_include)/sodium/version.h
raft_headers := $(generated_include)/raft.h
headers_guest := $(sodium_headers) $(raft_headers) $(build)/guest/libc.a
headers_world := $(build)/world/libc.a
headers_host := $(sodium_headers) $(raft_headers)
headers_asan := $(headers_host)
headers_fuzz := $(headers_host)

# What our own sources of a variant are compiled with.
compile_of = $(or $(compiler_$(1)),$(CC)) $(own_flags) $($(1)_flags) $(own_flags_$(1))
# Files besides a source that its object is made of.
inputs_fuzz := tests/fuzz/uninstrumented

define variant_rules
# As old as the last change of the variant's flags, so that all objects follow it.
$(build)/$(1)/flags: FORCE
	@mkdir -p $$(@D)
	@echo '$$(subst ','\'',$$(call compile_of,$(1)))' | cmp -s - $$@ || echo '$$(subst ','\'',$$(call compile_of,$(1)))' >$$@

$(build)/$(1)/%.c.o: %.c $(build)/$(1)/flags $$(inputs_$(1)) | $$(headers_$(1))
	$$(call say,CC,'$$<  ($(1))')
	@mkdir -p $$(@D)
	$$(quiet)$$(call compile_of,$(1)) $$(flags_$$*.c.o) -MMD -MP -c $$< -o $$@

$(build)/$(1)/%.S.o: %.S $(build)/$(1)/flags | $$(headers_$(1))
	$$(call say,AS,'$$<  ($(1))')
	@mkdir -p $$(@D)
	$$(quiet)$$(CC) -I. $$($(1)_flags) $$(flags_$$*.S.o) -MMD -MP -c $$< -o $$@
endef
$(foreach variant,$(variants),$(eval $(call variant_rules,$(variant))))

# archive_rule TARGET,OBJECTS: a static library, made anew so that no dropped object stays in it.
define archive_rule
$(1).objects: FORCE
	@mkdir -p $$(@D)
	@echo '$(2)' | cmp -s - $$@ || echo '$(2)' >$$@

$(1): $(2) $(1).objects
	$$(call say,AR,'$$@')
	@rm -f $$@
	$$(quiet)ar rcs $$@ $$(filter %.o,$$^)
endef

# third_party_library VARIANT,NAME,ARCHIVE,FILES: build/VARIANT/ARCHIVE from FILES (paths below build/third-party), with the
# variant's flags, third_party_flags_NAME (called with the file) and third_party_flags_VARIANT_NAME. Called in the file that sets those: when it
# changes, all is compiled anew.
define third_party_library
$(build)/$(1)/third-party/$(2).begun: $(sources_dir)/$(2).stamp
	$$(call say,CC,'$(2)  ($(1)$$(comma) $(words $(4)) files)')
	@mkdir -p $$(@D) && touch $$@

$(patsubst %,$(build)/$(1)/third-party/%.o,$(4)): $(build)/$(1)/third-party/%.o: $(sources_dir)/% $(build)/$(1)/flags $(lastword $(MAKEFILE_LIST)) $(build)/$(1)/third-party/$(2).begun | $$(headers_$(1))
	@mkdir -p $$(@D)
	$$(quiet)$$(or $$(compiler_$(1)),$$(CC)) $$(call third_party_flags_$(2),$$*) $$($(1)_flags) $$(third_party_flags_$(1)_$(2)) -MMD -MP -c $$< -o $$@

$(call archive_rule,$(build)/$(1)/$(3),$(patsubst %,$(build)/$(1)/third-party/%.o,$(4)))
endef

include kernel/picolibc.mk
include crypto/libsodium.mk
include drivers/lwip.mk
include consensus/raft.mk

# --- The world -------------------------------------------------------------------------------------------

# Builds $(build)/world.elf.
include objects/objects.mk

# --- The kernel ------------------------------------------------------------------------------------------

kernel_objects := $(call objects_of,guest,$(metal_sources) $(portable_sources))
kernel_libraries := $(addprefix $(build)/guest/,libraft.a libsodium.a liblwip.a libc.a)

flags_kernel/world_image.S.o = -DWORLD_IMAGE='"$(world_image)"'
$(build)/guest/kernel/world_image.S.o: $(world_image)

$(build)/kernel.elf: kernel/kernel.ld $(kernel_objects) $(kernel_libraries)
	$(call say,LD,'$@')
	$(quiet)$(CC) -nostdlib -static -no-pie -Wl,--gc-sections -Wl,-z,max-page-size=4096 -Wl,-z,noexecstack \
		-Wl,--build-id=none -Wl,-Map=$(build)/kernel.map -T kernel/kernel.ld $(kernel_objects) \
		-Wl,--start-group $(kernel_libraries) -Wl,--end-group -o $@

# --- The host command ------------------------------------------------------------------------------------

command_objects := $(call objects_of,host,$(command_sources))

$(build)/eidolon: $(command_objects) $(build)/host/libportable.a $(build)/host/libraft.a $(build)/host/libsodium.a
	$(call say,LD,'$@')
	$(quiet)$(CC) $(host_flags) $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group \
		-lslirp -o $@

$(build)/eidolon-sim: $(call objects_of,host,$(simulator_sources)) $(build)/host/libportable.a $(build)/host/libraft.a $(build)/host/libsodium.a
	$(call say,LD,'$@')
	$(quiet)$(CC) $(host_flags) $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group -o $@

$(eval $(call archive_rule,$(build)/host/libportable.a,$(call objects_of,host,$(portable_sources))))

# --- Tests -----------------------------------------------------------------------------------------------

test_programs := $(patsubst %.c,$(build)/asan/%,$(test_sources))
# What tests share is a library too: a test that stands in for a module links without those who use the real one.
test_libraries := $(addprefix $(build)/asan/,libsupport.a libportable.a libraft.a libsodium.a)

$(eval $(call archive_rule,$(build)/asan/libportable.a,$(call objects_of,asan,$(portable_sources))))
$(eval $(call archive_rule,$(build)/asan/libsupport.a,$(call objects_of,asan,$(test_support_sources))))

$(test_programs): $(build)/asan/%: $(build)/asan/%.c.o $(test_libraries)
	$(call say,LD,'$@')
	$(quiet)$(CC) $(asan_flags) $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group -lcmocka -o $@

# Both sides of the catch-up share stand-ins, which the library would give to programs that use the real modules.
$(addprefix $(build)/asan/tests/unit/test_catchup_,giver taker): $(build)/asan/tests/unit/catchup_pair.c.o

# One program for each decoder. libsodium is the host's: what the fuzzer should see is our code.
fuzz_programs := $(patsubst %.c,$(build)/fuzz/%,$(fuzz_sources))
fuzz_libraries := $(addprefix $(build)/fuzz/,libsupport.a libportable.a libraft.a) $(build)/host/libsodium.a

$(eval $(call archive_rule,$(build)/fuzz/libportable.a,$(call objects_of,fuzz,$(portable_sources))))
$(eval $(call archive_rule,$(build)/fuzz/libsupport.a,$(call objects_of,fuzz,$(fuzz_support_sources))))

# tests/fuzz/support/remembered_curves.c; and no_compares.c, for targets that build a node's part.
fuzz_wraps := crypto_scalarmult crypto_scalarmult_base crypto_sign_ed25519_detached crypto_sign_ed25519_verify_detached
fuzz_node_wraps := $(foreach bytes,1 2 4 8,__sanitizer_cov_trace_cmp$(bytes) __sanitizer_cov_trace_const_cmp$(bytes))
$(patsubst %,$(build)/fuzz/tests/fuzz/fuzz_%,catchup group log management node peers store vote world world_elf): fuzz_wraps += $(fuzz_node_wraps)

$(fuzz_programs): $(build)/fuzz/%: $(build)/fuzz/%.c.o $(fuzz_libraries)
	$(call say,LD,'$@')
	$(quiet)$(CLANG) $(fuzz_flags) -fsanitize=fuzzer $(addprefix -Wl$(comma)--wrap=,$(fuzz_wraps)) $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group -o $@

.PHONY: test test-unit test-world test-fuzz fuzz test-sim test-qemu test-raft-hunks test-long model sim-mutants lint run demo bench bench-compare bench-peers clean distclean help all FORCE

# These check the machine each time, then build with all processors unless told otherwise.
whole_make = $(MAKE) --no-print-directory $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))

test:
	@third-party/setup.sh
	@$(whole_make) test-unit
	@$(whole_make) test-fuzz
	@$(whole_make) test-sim
	@$(whole_make) test-qemu
	@$(whole_make) $(bench_python) # of our patch, so that a change of it that Linux's port cannot follow is seen

test-unit: test-world $(test_programs)
	@tests/unit/run $(build)/test-results $(test_programs)

test-fuzz: $(fuzz_programs)
	@tests/fuzz/run runs $(build)/fuzz-results $(fuzz_programs)

# New inputs that reach more are kept in build/fuzz-results/NAME/corpus and are where the next `make fuzz` begins.
fuzz: $(if $(FUZZ),$(build)/fuzz/tests/fuzz/fuzz_$(FUZZ),$(fuzz_programs))
	@tests/fuzz/run minutes=$(or $(MINUTES),1) $(build)/fuzz-results $^

# Takes each change of the raft library's patch out again and expects the tests of that change to fail. Not part of `test`.
raft_patch_programs := $(filter $(build)/asan/tests/unit/test_raft_patch_%,$(test_programs))
test-raft-hunks: $(raft_patch_programs)
	@compile="$(CC) $(call third_party_flags_raft) $(asan_flags) $(third_party_flags_asan_raft)" link="$(CC) $(asan_flags)" \
		tests/unit/raft-hunks.sh consensus/raft-0.22.1.patch $(build) \
		-Wl,--start-group $(test_libraries) -Wl,--end-group -lcmocka

# Gate, takeover and incarnation, exhaustively within bounds, and each property refuted once (tests/model/README.md). Not part of `test`.
model:
	@third-party/setup.sh packages-model
	@tests/model/check $(build)/model

# Simulated clusters; tests/sim/run says what and how long.
test-sim: $(build)/eidolon-sim
	@tests/sim/run $(build)/eidolon-sim

# Plants defects, each alone in a build of its own, two builds at a time, and expects the simulator to notice each. Not part of `test`.
sim-mutants: $(build)/eidolon-sim
	@compile="$(CC) $(host_flags) $(own_flags) $(own_flags_host)" \
		compile_raft="$(CC) $(host_flags) $(call third_party_flags_raft)" link="$(CC) $(host_flags)" \
		tests/sim/mutants $(build) $(call objects_of,host,$(simulator_sources))

# --- Everything ------------------------------------------------------------------------------------------

products := $(build)/kernel.elf $(world_image) $(build)/eidolon $(build)/eidolon-sim

all: $(products) $(call objects_of,guest,$(portable_sources)) $(foreach variant,guest host,$(addprefix $(build)/$(variant)/,libraft.a libsodium.a))

test-qemu: $(products)
	@tests/qemu/run

# What takes minutes and more of its kind than `test` has.
write_prefixes := $(build)/asan/tests/unit/test_write_prefixes
every_sector_nodes := $(build)/asan/tests/unit/test_every_sector_nodes
test-long: $(write_prefixes) $(every_sector_nodes) $(products)
	@EIDOLON_TEST_IMAGES=$(or $(IMAGES),100000) $(write_prefixes)
	@EIDOLON_TEST_SECTORS=1 $(every_sector_nodes)
	@EIDOLON_POWER_CUTS=$(or $(CUTS),50) tests/qemu/run PowerCut

# DIR is the cluster's folder; without a terminal there is nobody to attach, so the demonstration runs.
run:
	@third-party/setup.sh
	@$(whole_make) all
	@if [ -t 0 ]; then cluster-sim/run $(if $(DIR),"$(DIR)"); else cluster-sim/demo; fi

demo:
	@third-party/setup.sh
	@$(whole_make) all
	@cluster-sim/demo

# MicroPython for Linux, of the world's sources: its unix port without what needs other libraries. Our patch asks for the macros.
bench_python_macros := -D"MICROPY_PY_SELECT_WAKE()=(void)0" -D"mp_thread_mutex_lock_ms(mutex,ms)=mp_thread_mutex_lock(mutex,(ms)!=0)" \
	-D"mp_thread_mutex_locked(mutex)=((mutex)->__data.__lock!=0)"
bench_python := $(build)/bench/micropython/micropython
$(bench_python): $(sources_dir)/micropython.stamp $(mpy_cross)
	$(call say,MAKE,'MicroPython  (Linux$(comma) about 20 s)')
	@mkdir -p $(@D)
	$(quiet)$(MAKE) --no-print-directory -C $(sources_dir)/micropython/ports/unix BUILD=$(abspath $(@D)) FROZEN_MANIFEST= \
		MICROPY_PY_BTREE=0 MICROPY_PY_FFI=0 MICROPY_PY_SSL=0 MICROPY_SSL_MBEDTLS=0 MICROPY_MPYCROSS=$(abspath $(mpy_cross)) MICROPY_MPYCROSS_DEPENDENCY= \
		COPT='-O2 -DNDEBUG' CFLAGS_EXTRA='$(bench_python_macros)' LDFLAGS_EXTRA=-static \
		>$(@D).log 2>&1 || { tail -n 20 $(@D).log; exit 1; }
	@touch $@

# QUICK=1: small samples; LONG=1: large images too. Timings are never tests; tests/bench/README.md says how to read them.
bench:
	@third-party/setup.sh
	@third-party/setup.sh packages-bench || echo "bench: goes on without plots"
	@$(whole_make) all $(bench_python)
	@tests/bench/guest/fetch $(build)/bench/guest || echo "bench: goes on without a Linux guest"
	@QUICK=$(QUICK) LONG=$(LONG) tests/bench/run $(BENCH)

# Linux guests are made of Debian packages that are unpacked, not installed (tests/bench/guest/fetch).
bench-peers:
	@third-party/setup.sh
	@third-party/setup.sh packages-peers
	@$(whole_make) all
	@tests/bench/guest/fetch $(build)/bench/guest
	@QUICK=$(QUICK) tests/bench/peers $(BENCH)

bench-compare:
	@tests/bench/compare

# What gcc compiles of our own for the host, and the kernel and drivers, with clang's warnings too; nothing is kept. Clang does not know two of gcc's options.
lint_host_sources := $(portable_sources) $(command_sources) $(simulator_sources) $(test_sources) $(test_support_sources) $(wildcard tests/world/*.c) tests/unit/catchup_pair.c
lint_guest_flags = $(own_flags) $(filter-out -mmemcpy-strategy=% -mmemset-strategy=%,$(guest_flags)) $(own_flags_guest)
lint: $(headers_host) $(headers_guest)
	$(call say,LINT,'portable folders$(comma) host command$(comma) simulator$(comma) tests with clang')
	$(quiet)for source in $(lint_host_sources); do \
		$(CLANG) $(own_flags) $(own_flags_host) -fsyntax-only $$source || exit 1; \
	done
	$(call say,LINT,'kernel and drivers with clang')
	$(quiet)for source in $(filter %.c,$(metal_sources)); do \
		$(CLANG) $(lint_guest_flags) -fsyntax-only $$source || exit 1; \
	done

# Third-party sources, the benchmarks' Linux guest and what they measured stay.
clean:
	rm -rf $(build)/guest $(build)/world $(build)/host $(build)/asan $(build)/fuzz $(build)/include $(build)/test-results $(build)/fuzz-results
	rm -rf $(build)/raft-hunks $(build)/model $(build)/mutants $(build)/bench/micropython $(build)/bench/micropython.log
	rm -f $(build)/*.elf $(build)/*.map $(build)/eidolon $(build)/eidolon-sim $(build)/world_run

distclean:
	rm -rf $(build)

help:
	@sed -n '3,22s/^# \{0,1\}//p' Makefile

-include $(shell find $(foreach variant,$(variants),$(build)/$(variant)) -name '*.d' -not -path '*/picolibc-build/*' 2>/dev/null)
