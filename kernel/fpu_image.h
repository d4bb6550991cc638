/* Where things stand in an fxsave image (Intel SDM volume 1, 10.5.1), and what a fresh one holds. For C and assembly; no state. */
#ifndef EIDOLON_KERNEL_FPU_IMAGE_H
#define EIDOLON_KERNEL_FPU_IMAGE_H

#define FPU_CONTROL 0
#define FPU_STATUS 2
#define FPU_TAGS 4 /* abridged */
#define FPU_MXCSR 24
#define FPU_SSE 160

#define FPU_CONTROL_DEFAULT 0x37f /* what fninit leaves */
#define MXCSR_DEFAULT 0x1f80      /* every exception masked, round to nearest */

#endif
