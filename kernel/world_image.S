# The world's ELF, embedded in the kernel: the bytes from world_image_start to world_image_end.
# WORLD_IMAGE is the path of the file, given by the Makefile.

	.section .rodata.world_image, "a", @progbits
	.balign 4096
	.globl world_image_start
world_image_start:
	.incbin WORLD_IMAGE
	.globl world_image_end
world_image_end:

	.section .note.GNU-stack, "", @progbits
