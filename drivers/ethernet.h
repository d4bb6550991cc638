/* Ethernet, ARP and IPv4 headers as far as the drivers look at them (RFC 826, RFC 791, RFC 9293): offsets into a frame. */
#ifndef EIDOLON_DRIVERS_ETHERNET_H
#define EIDOLON_DRIVERS_ETHERNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    ETHERNET_DESTINATION = 0,
    ETHERNET_SOURCE = 6,
    ETHERNET_TYPE = 12,
    ETHERNET_HEADER_BYTES = 14,
    ETHERNET_ADDRESS_BYTES = 6,
    ETHERNET_FRAME_BYTES_MIN = 60,     /* shorter frames are padded with zeros */
    ETHERNET_TYPE_IPV4 = 0x0800,
    ETHERNET_TYPE_ARP = 0x0806,

    ARP_FIXED = 14,                    /* hardware and protocol, their address sizes: the same in every packet */
    ARP_FIXED_BYTES = 6,
    ARP_OPERATION = 20,
    ARP_SENDER_HARDWARE = 22,
    ARP_SENDER_ADDRESS = 28,
    ARP_TARGET_HARDWARE = 32,
    ARP_TARGET_ADDRESS = 38,
    ARP_FRAME_BYTES = 42,
    ARP_OPERATION_REQUEST = 1,
    ARP_OPERATION_REPLY = 2,

    IPV4_VERSION = 14,
    IPV4_PROTOCOL = 23,
    IPV4_SOURCE = 26,
    IPV4_DESTINATION = 30,
    IPV4_HEADER_BYTES_MIN = 20,
    IPV4_PROTOCOL_ICMP = 1,
    IPV4_PROTOCOL_TCP = 6,
    IPV4_ADDRESS_BYTES = 4,

    TCP_SOURCE_PORT = 0,               /* from the start of the TCP header */
    TCP_DESTINATION_PORT = 2,
    TCP_SEQUENCE = 4,
    TCP_FLAG_BITS = 13,
    TCP_HEADER_BYTES_MIN = 20,
    TCP_FLAG_SYN = 2,
    TCP_FLAG_RST = 4,
    TCP_FLAG_ACK = 16,
};

static inline uint16_t ethernet_read16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t ethernet_read32(const uint8_t *at)
{
    return (uint32_t)ethernet_read16(at) << 16 | ethernet_read16(at + 2);
}

static inline bool ethernet_same(const uint8_t *a, const uint8_t *b)
{
    return memcmp(a, b, ETHERNET_ADDRESS_BYTES) == 0;
}

static inline bool ethernet_same_ipv4(const uint8_t *a, const uint8_t *b)
{
    return memcmp(a, b, IPV4_ADDRESS_BYTES) == 0;
}

/* Is the frame a whole ARP packet for IPv4 over Ethernet? */
static inline bool ethernet_is_arp(const uint8_t *frame, size_t bytes)
{
    static const uint8_t fixed[ARP_FIXED_BYTES] = {0, 1, 8, 0, 6, 4};
    return bytes >= ARP_FRAME_BYTES && ethernet_read16(frame + ETHERNET_TYPE) == ETHERNET_TYPE_ARP &&
           memcmp(frame + ARP_FIXED, fixed, ARP_FIXED_BYTES) == 0;
}

#endif
