# picolibc: the C library of the kernel (variant guest) and of the world (variant world).
# Built by its own meson files into build/VARIANT/picolibc, with the flags of that variant on the compiler line.
# We supply sbrk, _exit and stdin, stdout, stderr.

picolibc_options := -Dmultilib=false -Dpicocrt=false -Dpicocrt-lib=false -Dsemihost=false -Dtests=false \
	-Dthread-local-storage=false -Dsingle-thread=true -Dnewlib-global-errno=true -Dspecsdir=none \
	-Dformat-default=double -Dfreestanding=true -Dio-long-long=true -Dpicolib=false -Dinitfini-array=false \
	-Dnewlib-nano-malloc=false

# A compiler line as meson's list of quoted words.
meson_list = $(subst $(space),$(comma)$(space),$(patsubst %,'%',$(strip $(1))))

define picolibc_rules
# Written anew only when its content changes, so that a checkout does not rebuild the library.
$(build)/$(1)/picolibc.cross: FORCE
	@mkdir -p $$(@D)
	@{ echo '# $(picolibc_options)'; \
	   echo '[binaries]'; \
	   echo "c = [$$(call meson_list,gcc $(freestanding_flags) $($(1)_code_model) -nostdlib -static)]"; \
	   echo "ar = 'ar'"; echo "as = 'as'"; echo "nm = 'nm'"; echo "strip = 'strip'"; \
	   echo '[host_machine]'; \
	   echo "system = 'none'"; echo "cpu_family = 'x86_64'"; echo "cpu = 'x86_64'"; echo "endian = 'little'"; \
	   echo '[properties]'; \
	   echo 'skip_sanity_check = true'; echo 'needs_exe_wrapper = true'; \
	} >$$@.new
	@if cmp -s $$@.new $$@; then rm $$@.new; else mv $$@.new $$@; fi

$(build)/$(1)/libc.a: $(sources_dir)/picolibc.stamp $(build)/$(1)/picolibc.cross
	$$(call say,MESON,'picolibc  ($(1)$$(comma) about 20 s)')
	@rm -rf $(build)/$(1)/picolibc $(build)/$(1)/picolibc-build
	@log=$(build)/$(1)/picolibc.log; \
	{ meson setup $(build)/$(1)/picolibc-build $(sources_dir)/picolibc --cross-file $(build)/$(1)/picolibc.cross \
		--prefix $$(CURDIR)/$(build)/$(1)/picolibc --libdir lib --includedir include --buildtype plain \
		$(picolibc_options) && \
	  meson install -C $(build)/$(1)/picolibc-build; } >$$$$log 2>&1 || \
	{ tail -n 20 $$$$log; echo "picolibc did not build; the whole story is in $$$$log." >&2; exit 1; }
	$$(quiet)cp $(build)/$(1)/picolibc/lib/libc.a $$@
endef
$(foreach variant,guest world,$(eval $(call picolibc_rules,$(variant))))
