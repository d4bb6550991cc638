/* lwIP in the kernel: a few TCP connections between nodes, driven by the event loop. */
#ifndef DRIVERS_LWIP_LWIPOPTS_H
#define DRIVERS_LWIP_LWIPOPTS_H

/* One context, no threads: the raw callback API from the event loop. Timers are ours (drivers/net.c): they run only while a
 * connection needs them. */
#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0
#define LWIP_TIMERS 0

/* Addresses are fixed by the boot configuration: no DHCP, no probing for duplicates, IPv4 only. */
#define LWIP_IPV4 1
#define LWIP_IPV6 0
#define LWIP_ARP 1
#define ETHARP_SUPPORT_STATIC_ENTRIES 1
#define LWIP_ACD 0
#define LWIP_DHCP 0
#define LWIP_AUTOIP 0
#define LWIP_DNS 0
#define LWIP_IGMP 0
#define LWIP_RAW 0
#define LWIP_UDP 0
#define LWIP_ICMP 1
#define LWIP_TCP 1
#define IP_REASSEMBLY 0
#define IP_FRAG 0

/* Memory: fixed pools; exhaustion is an error that the caller sees (BOUND). Pools and not a heap, as a heap's search grows with the
 * number of blocks. Five nodes have 8 links of TCP_SND_QUEUELEN segments each: every one can be full at once. */
#define MEM_LIBC_MALLOC 0
#define MEM_ALIGNMENT 16
#define MEM_USE_POOLS 1
#define MEMP_USE_CUSTOM_POOLS 1
#define MEM_USE_POOLS_TRY_BIGGER_POOL 1
#define MEMP_NUM_PBUF 64
#define MEMP_NUM_TCP_PCB 40
#define MEMP_NUM_TCP_PCB_LISTEN 2
#define MEMP_NUM_TCP_SEG 4096
#define PBUF_POOL_SIZE 1024
#define PBUF_POOL_BUFSIZE 1600

/* Deltas are large and come in bursts: wide windows, so scaling is on. */
#define TCP_MSS 8960 /* NET_MTU_MAX without headers; less where the device's wire takes less */
#define LWIP_WND_SCALE 1
#define TCP_RCV_SCALE 3
#define TCP_WND (256 * 1024)
#define TCP_SND_BUF (256 * 1024)
#define TCP_SND_QUEUELEN 256
#define TCP_SNDLOWAT (16 * 1024) /* not used by the raw API; the default does not suit large buffers */
#define TCP_QUEUE_OOSEQ 1
#define TCP_OOSEQ_MAX_PBUFS 168 /* what a window holds in buffers of the pool */
#define TCP_OVERSIZE TCP_MSS
#define TCP_LISTEN_BACKLOG 1
#define TCP_DEFAULT_LISTEN_BACKLOG 8

/* A lost segment must not cost an election: retransmission timers count in ticks of twice the interval, and lwIP's estimate does not
 * fall below three ticks, so 150 ms; 500 ms ticks as in stock lwIP would make that 1.5 s. */
#define TCP_TMR_INTERVAL 25
#define LWIP_TCP_RTO_TIME 200
/* Connections are ended by reset; nothing of them lingers. */
#define TCP_MSL 500

#define LWIP_RANDOMIZE_INITIAL_LOCAL_PORTS 1
#define LWIP_HOOK_TCP_ISN(local_ip, local_port, remote_ip, remote_port) lwip_random()

#define LWIP_NETIF_HOSTNAME 0
#define LWIP_NETIF_API 0
#define LWIP_STATS 0
#define LWIP_CHECKSUM_CTRL_PER_NETIF 0

#endif
