# build/world.elf: the sources of objects/ with MicroPython (its own build rules, objects/micropython_port/Makefile), lwIP and the
# C library.

micropython_dir := $(sources_dir)/micropython
mpy_cross := $(build)/host/mpy-cross/mpy-cross
world_libraries := $(build)/world/liblwip.a $(build)/world/libc.a
world_sources := $(wildcard objects/*.c objects/*.h objects/*.S objects/*.ld objects/lwip/*.h objects/lwip/arch/*.h include/*.h objects/micropython_port/*)

# The compiler of frozen Python modules runs on the host.
$(mpy_cross): $(sources_dir)/micropython.stamp
	$(call say,MAKE,'mpy-cross  (host$(comma) about 20 s)')
	@mkdir -p $(@D)
	$(quiet)$(MAKE) --no-print-directory -C $(micropython_dir)/mpy-cross BUILD=../../../host/mpy-cross PROG=mpy-cross \
		>$(build)/host/mpy-cross.log 2>&1 || { tail -n 20 $(build)/host/mpy-cross.log; exit 1; }
	@touch $@

# Paths as that folder sees them: relative, so that a copy of the whole tree builds by its own files.
world_path = $(patsubst %,../../%,$(1))
world_make_flags = $(patsubst $(build)/%,$(call world_path,$(build))/%,$(filter-out -I.,$(world_flags)))

$(world_image): $(mpy_cross) $(world_libraries) $(world_sources) objects/objects.mk $(build)/world/flags $(sources_dir)/micropython.stamp
	$(call say,MAKE,'world')
	$(quiet)$(MAKE) --no-print-directory -C objects/micropython_port -f Makefile $(if $(filter 1,$(V)),V=1,) \
		ROOT=../.. MICROPYTHON=$(call world_path,$(micropython_dir)) LWIP=$(call world_path,$(sources_dir)/lwip) \
		BUILD=$(call world_path,$(build)/world/runtime) MICROPY_MPYCROSS=$(call world_path,$(mpy_cross)) \
		FLAGS=$(call world_path,$(build)/world/flags) WORLD=$(call world_path,$@) LIBRARIES='$(call world_path,$(world_libraries))' world_flags='$(world_make_flags)' \
		world_own_flags='-std=gnu17 $(filter-out -std=c17 -I. -isystem $(generated_include),$(own_flags)) $(own_flags_world)' \
		>$(build)/world/objects.log 2>&1 || { grep -E -A6 'error|warning|undefined|Error' $(build)/world/objects.log | head -n 60; exit 1; }
	@touch $@

# --- Tests of the world, without a kernel: it runs as a Linux process ----------------------------------------

world_run := $(build)/world_run

$(world_run): $(call objects_of,host,$(sort $(wildcard tests/world/*.c)))
	$(call say,LD,'$@')
	$(quiet)$(CC) $(host_flags) $^ -lslirp -o $@

test-world: $(world_image) $(world_run)
	@BUILD=$(abspath $(build)) tests/world/run
