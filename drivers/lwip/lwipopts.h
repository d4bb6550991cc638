/* lwIP in the kernel: a few TCP connections between nodes, driven by the event loop. */
#ifndef DRIVERS_LWIP_LWIPOPTS_H
#define DRIVERS_LWIP_LWIPOPTS_H

/* One context, no threads: the raw callback API from the event loop. */
#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0
#define LWIP_TIMERS 1

/* Addresses are fixed by the boot configuration: no DHCP, no probing for duplicates, IPv4 only. */
#define LWIP_IPV4 1
#define LWIP_IPV6 0
#define LWIP_ARP 1
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

/* Memory: a fixed heap and fixed pools; exhaustion is an error that the caller sees (BOUND). */
#define MEM_LIBC_MALLOC 0
#define MEM_ALIGNMENT 16
#define MEM_SIZE (4 * 1024 * 1024)
#define MEMP_NUM_PBUF 1024
#define MEMP_NUM_TCP_PCB 32
#define MEMP_NUM_TCP_PCB_LISTEN 4
#define MEMP_NUM_TCP_SEG 2048
#define PBUF_POOL_SIZE 1024
#define PBUF_POOL_BUFSIZE 1600

/* Deltas are large and come in bursts: wide windows, so scaling is on. */
#define TCP_MSS 1460
#define LWIP_WND_SCALE 1
#define TCP_RCV_SCALE 4
#define TCP_WND (512 * 1024)
#define TCP_SND_BUF (512 * 1024)
#define TCP_SND_QUEUELEN 1024
#define TCP_SNDLOWAT (32 * 1024)
#define TCP_QUEUE_OOSEQ 1
#define TCP_OVERSIZE TCP_MSS
#define LWIP_TCP_KEEPALIVE 1
#define TCP_LISTEN_BACKLOG 1

#define LWIP_NETIF_HOSTNAME 0
#define LWIP_NETIF_API 0
#define LWIP_STATS 0
#define LWIP_CHECKSUM_CTRL_PER_NETIF 0

#endif
