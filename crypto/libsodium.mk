# libsodium: all cryptography, for kernel, host and tests. Compiled without its configure; entropy comes from us
# through randombytes_set_implementation(), called before sodium_init().

sodium_source := libsodium/src/libsodium
sodium_files := $(patsubst $(sources_dir)/%,%,$(sort $(shell find $(sources_dir)/$(sodium_source) -name '*.[cS]' \
	-not -path '*/randombytes/sysrandom/*' -not -path '*/randombytes/internal/*' 2>/dev/null)))

# Wider instructions go only into the files that are chosen at run time by what the processor has.
sodium_wide_flags = $(if $(findstring avx2,$(1)),-mavx2 -msse4.1 -mssse3) $(if $(findstring sse41,$(1)),-msse4.1 -mssse3) \
	$(if $(findstring ssse3,$(1)),-mssse3) $(if $(findstring aesni,$(1)),-maes -mpclmul -msse4.1)

# The emulator goes from one page of code to another by a detour: the cipher's loops begin at a page, so that none lies across two.
sodium_loop_flags = $(if $(findstring chacha20_ref,$(1))$(findstring poly1305_donna,$(1)),-falign-functions=4096)

third_party_flags_libsodium = -std=gnu99 -w -I$(generated_include)/sodium $(call sodium_wide_flags,$(1)) $(call sodium_loop_flags,$(1)) \
	$(addprefix -D,CONFIGURED NATIVE_LITTLE_ENDIAN HAVE_TI_MODE HAVE_CPUID HAVE_INLINE_ASM HAVE_AMD64_ASM \
	HAVE_AVX_ASM HAVE_MMINTRIN_H HAVE_EMMINTRIN_H HAVE_PMMINTRIN_H HAVE_TMMINTRIN_H HAVE_SMMINTRIN_H \
	HAVE_AVXINTRIN_H HAVE_AVX2INTRIN_H HAVE_WMMINTRIN_H HAVE_C_VARARRAYS HAVE_WEAK_SYMBOLS HAVE_ATOMIC_OPS \
	CPU_UNALIGNED_ACCESS ASM_HIDE_SYMBOL=.hidden TLS= RANDOMBYTES_CUSTOM_IMPLEMENTATION \
	RANDOMBYTES_DEFAULT_IMPLEMENTATION=NULL DEV_MODE SODIUM_STATIC)

# In the kernel without wider instructions at all: under emulation they are slower than plain ones. Sealing a page took 174 us with them, 42 us without.
third_party_flags_guest_libsodium := $(addprefix -U,HAVE_MMINTRIN_H HAVE_EMMINTRIN_H HAVE_PMMINTRIN_H HAVE_TMMINTRIN_H HAVE_SMMINTRIN_H \
	HAVE_AVXINTRIN_H HAVE_AVX2INTRIN_H HAVE_WMMINTRIN_H)

# Its field arithmetic shifts negative numbers, on purpose.
third_party_flags_asan_libsodium := -fno-sanitize=undefined

$(sodium_headers): $(sources_dir)/libsodium.stamp
	@mkdir -p $(generated_include)
	@cp -R $(sources_dir)/$(sodium_source)/include/sodium.h $(sources_dir)/$(sodium_source)/include/sodium $(generated_include)/
	@cp $(sources_dir)/libsodium/builds/msvc/version.h $@

$(foreach variant,guest host asan,$(eval $(call third_party_library,$(variant),libsodium,libsodium.a,$(sodium_files))))
