# lwIP: TCP/IP, twice. The kernel's copy (links to peers) reads drivers/lwip/, the world's
# copy (sessions) objects/lwip/ (lwipopts.h and arch/cc.h each). All its state is static; the copies live in different ELFs.

lwip_files := $(patsubst $(sources_dir)/%,%,$(sort $(wildcard $(addprefix $(sources_dir)/lwip/src/, \
	core/*.c core/ipv4/*.c netif/ethernet.c))))

lwip_options_guest := drivers/lwip
lwip_options_world := objects/lwip
third_party_flags_lwip = -std=gnu11 -w -I$(sources_dir)/lwip/src/include
third_party_flags_guest_lwip := -I$(lwip_options_guest)
third_party_flags_world_lwip := -I$(lwip_options_world)

$(foreach variant,guest world,$(eval $(call third_party_library,$(variant),lwip,liblwip.a,$(lwip_files))))
