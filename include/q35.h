/* How QEMU's q35, the machine that nodes are today, lays out their memory: what `create` refuses and what a node says of too little follow from it. */
#ifndef EIDOLON_Q35_H
#define EIDOLON_Q35_H

enum {
    /* Less than so much is one piece; of more, only the lower part is below the addresses of the devices and the rest above 4 GiB. */
    Q35_MEMORY_MIB_SPLIT = 2816,
    Q35_MEMORY_MIB_LOWER = 2048,
};

#endif
