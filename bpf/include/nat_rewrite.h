/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Changing the addresses and ports of packets, and of those that ICMP errors quote. Checksums follow from what they
 * were (RFC 1624): what was wrong stays wrong, and is not made right on the way.
 */
#ifndef L4D_NAT_REWRITE_H
#define L4D_NAT_REWRITE_H

#include "forward.h"
#include "parse.h"
#include "rewrite.h"

/* Between whom a packet is to go; network order. */
struct nat_ends {
	__u32 source[4];
	__u32 destination[4];
	__be16 source_port;
	__be16 destination_port;
};

/* The difference that a change makes to a one's complement sum. */
static __always_inline __u64 change_of(__u32 old_word, __u32 new_word)
{
	return (__u64)(__u32)~old_word + new_word;
}

static __always_inline __u64 change_of_half(__u16 old_half, __u16 new_half)
{
	return (__u64)(__u16)~old_half + new_half;
}

/* The checksum after changes whose differences add up to `change`. */
static __always_inline __u16 changed_checksum(__u16 checksum, __u64 change)
{
	__u64 sum = (__u16)~checksum + change;

	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~(__u16)sum;
}

/* Where the checksum lies behind the ports. */
#define TCP_CHECKSUM_AT 16
#define UDP_CHECKSUM_AT 6

/* The new value of a transport checksum: of UDP, 0 says that there is none (RFC 768), and stays. */
static __always_inline __u16 changed_transport(__u16 checksum, __u64 change, int is_udp)
{
	if (is_udp && checksum == 0)
		return 0;
	checksum = changed_checksum(checksum, change);
	return is_udp && checksum == 0 ? 0xffff : checksum;
}

/* Writes the addresses of a network header, and its checksum; returns the difference that the addresses make. */
static __always_inline __u64 write_addresses(void *network, const __u32 *source, const __u32 *destination,
					     const int is_ipv6)
{
	__u64 change = 0;

	if (is_ipv6) {
		__u32 *words = network + 8;

#pragma unroll
		for (int i = 0; i < 4; i++) {
			change += change_of(words[i], source[i]) + change_of(words[4 + i], destination[i]);
			words[i] = source[i];
			words[4 + i] = destination[i];
		}
		return change;
	}
	struct iphdr *ip = network;

	change = change_of(ip->saddr, source[0]) + change_of(ip->daddr, destination[0]);
	ip->saddr = source[0];
	ip->daddr = destination[0];
	ip->check = changed_checksum(ip->check, change);
	return change;
}

/* Writes both ports; returns the difference. */
static __always_inline __u64 write_ports(void *transport, const struct nat_ends *ends)
{
	__u32 *ports = transport;
	/* Both, as they stand in the packet. */
	__u32 now = *(const __u32 *)&ends->source_port;
	__u64 change = change_of(*ports, now);

	*ports = now;
	return change;
}

/* Rewrites a packet of TCP or UDP whose headers are within the first buffer; false when they are not. */
static __always_inline int rewrite_packet(void *network, void *transport, void *end, __u8 protocol,
					  const struct nat_ends *ends, const int is_ipv6)
{
	int is_udp = protocol == IPPROTO_UDP;
	__u16 *checksum;
	__u64 change;

	if (network + (is_ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) > end)
		return 0;
	KEEP_POINTER(transport);
	checksum = transport + (is_udp ? UDP_CHECKSUM_AT : TCP_CHECKSUM_AT);
	if (transport + sizeof(struct udphdr) > end || (void *)(checksum + 1) > end)
		return 0;
	change = write_addresses(network, ends->source, ends->destination, is_ipv6);
	change += write_ports(transport, ends);
	*checksum = changed_transport(*checksum, change, is_udp);
	return 1;
}

/*
 * Rewrites an ICMP error and the packet that it quotes, which becomes one between `ends`; the error itself goes the
 * other way. False when less than 8 bytes of the quoted transport are there (RFC 792).
 */
static __always_inline int rewrite_error(void *network, struct icmp_header *icmp, void *end,
					 const struct nat_ends *ends, const int is_ipv6)
{
	void *inner = (void *)(icmp + 1), *transport;
	__u16 *checksum, before;
	__u64 change, message;
	__u8 protocol;

	if (network + (is_ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) > end)
		return 0;
	if (is_ipv6) {
		struct ipv6hdr *ip = inner;

		if ((void *)(ip + 1) > end)
			return 0;
		protocol = ip->nexthdr;
		transport = ip + 1;
	} else {
		struct iphdr *ip = inner;

		if ((void *)(ip + 1) > end || ip->ihl < 5)
			return 0;
		protocol = ip->protocol;
		transport = inner + ip->ihl * 4;
	}
	KEEP_POINTER(transport);
	if ((protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) || transport + 8 > end)
		return 0;
	before = is_ipv6 ? 0 : ((struct iphdr *)inner)->check;
	change = write_addresses(inner, ends->source, ends->destination, is_ipv6);
	message = is_ipv6 ? 0 : change_of_half(before, ((struct iphdr *)inner)->check);
	change += write_ports(transport, ends);
	message += change;
	checksum = transport + (protocol == IPPROTO_UDP ? UDP_CHECKSUM_AT : TCP_CHECKSUM_AT);
	if ((void *)(checksum + 1) <= end) {
		before = *checksum;
		*checksum = changed_transport(before, change, protocol == IPPROTO_UDP);
		message += change_of_half(before, *checksum);
	}
	change = write_addresses(network, ends->destination, ends->source, is_ipv6);
	/* ICMPv6 alone has its addresses in its checksum (RFC 4443 section 2.3). */
	if (is_ipv6)
		message += change;
	icmp->checksum = changed_checksum(icmp->checksum, message);
	return 1;
}

#endif
