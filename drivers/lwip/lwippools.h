/* The pools behind lwIP's mem_malloc in the kernel. Read by lwIP several times, so without a guard. */
LWIP_MALLOC_MEMPOOL_START
/* Packets without data, and small ones. */
LWIP_MALLOC_MEMPOOL(512, 256)
/* Segments: TCP_MSS with headers, options and lwIP's own fields. 8 links with TCP_SND_QUEUELEN segments, and some more. */
LWIP_MALLOC_MEMPOOL(3200, 1680)
LWIP_MALLOC_MEMPOOL_END
