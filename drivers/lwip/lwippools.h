/* The pools behind lwIP's mem_malloc in the kernel. Read by lwIP several times, so without a guard. */
LWIP_MALLOC_MEMPOOL_START
/* Packets without data, and small ones. */
LWIP_MALLOC_MEMPOOL(512, 256)
/* Small pieces of a stream with headers, options and lwIP's own fields: 8 links with TCP_SND_QUEUELEN of them, and some more. */
LWIP_MALLOC_MEMPOOL(2200, 1680)
/* Large pieces, up to TCP_MSS: each 8 KiB of a link's TCP_SND_BUF is at most two. */
LWIP_MALLOC_MEMPOOL(528, 9216)
LWIP_MALLOC_MEMPOOL_END
