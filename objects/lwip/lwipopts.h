/* lwIP in the world: the connections of sessions and of users' programs. It lives in world memory and persists. */
#ifndef OBJECTS_LWIP_LWIPOPTS_H
#define OBJECTS_LWIP_LWIPOPTS_H

/* One context, no threads: the raw callback API. */
#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0

/* Cyclic timers run only while something needs them (IDLE): the port supplies them. */
#define LWIP_TIMERS 1
#define LWIP_TIMERS_CUSTOM 1

/* The address is the world's own, fixed: no DHCP, no probing for duplicates, IPv4 only. */
#define LWIP_IPV4 1
#define LWIP_IPV6 0
#define LWIP_ARP 1
#define LWIP_ACD 0
#define LWIP_DHCP 0
#define LWIP_AUTOIP 0
#define LWIP_DNS 0
#define LWIP_IGMP 0
#define LWIP_RAW 1
#define LWIP_UDP 1
#define LWIP_ICMP 1
#define LWIP_TCP 1
/* Programs of the world may talk to each other: 127.0.0.1 and the world's own address stay inside. */
#define LWIP_HAVE_LOOPIF 1
#define LWIP_NETIF_LOOPBACK 1
#define LWIP_LOOPBACK_MAX_PBUFS 1024 /* under way; what is full sends again soon */
/* What a program sends to itself and does not read must leave memory for others. */
#define LWIP_HOOK_IP4_INPUT(packet, netif) lwip_refuse_packet(packet)
#define IP_REASSEMBLY 0
#define IP_FRAG 0

/* Memory: a fixed heap and fixed pools; exhaustion is an error that the caller sees (BOUND). */
#define MEM_LIBC_MALLOC 0
#define MEM_ALIGNMENT 16
#define MEM_SIZE (4 * 1024 * 1024)
#define MEMP_NUM_PBUF 256
#define MEMP_NUM_UDP_PCB 32
#define MEMP_NUM_TCP_PCB 96
#define MEMP_NUM_TCP_PCB_LISTEN 32
#define MEMP_NUM_TCP_SEG 2048
#define PBUF_POOL_SIZE 1024
#define PBUF_POOL_BUFSIZE 1600

#define TCP_MSS 1460
/* Both below 64 KiB: chains of received data and the room to send are counted in 16 bits. */
#define TCP_WND (44 * TCP_MSS)
#define TCP_SND_BUF (44 * TCP_MSS)
#define TCP_SND_QUEUELEN 256
#define TCP_SNDLOWAT (16 * 1024)
#define TCP_QUEUE_OOSEQ 1
/* Nobody outside foresees a sequence number or a port. */
#define LWIP_HOOK_TCP_ISN(local_ip, local_port, remote_ip, remote_port) lwip_random()
#define LWIP_RANDOMIZE_INITIAL_LOCAL_PORTS 1
#define TCP_OVERSIZE TCP_MSS
#define TCP_LISTEN_BACKLOG 1
/* Up to where a connection asks for what was lost with a host (network.c). */
#define LWIP_TCP_PCB_NUM_EXT_ARGS 1
/* Nothing lingers in a network of one virtual switch: a closed connection's port rests for ten seconds, not minutes. */
#define TCP_MSL 5000
#define SO_REUSE 1

#define LWIP_NETIF_HOSTNAME 0
#define LWIP_NETIF_API 0
/* Only how much of the heap and of each pool is in use. */
#define LWIP_STATS 1
#define LWIP_STATS_DISPLAY 0
#define LINK_STATS 0
#define ETHARP_STATS 0
#define IP_STATS 0
#define IPFRAG_STATS 0
#define ICMP_STATS 0
#define UDP_STATS 0
#define TCP_STATS 0
#define MEM_STATS 1
#define SYS_STATS 0
#define MEMP_STATS 1

#endif
