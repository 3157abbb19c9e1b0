/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Sums of whole packets by their headers alone, for the checksums of tunnels around them. */
#ifndef L4D_PACKET_SUM_H
#define L4D_PACKET_SUM_H

#include "parse.h"
#include "rewrite.h"

static __always_inline __u32 negated_sum(__u32 sum)
{
	return fold_checksum(sum);
}

/*
 * The sum of a packet without reading its payload: a transport message whose checksum holds sums to the
 * complement of its pseudo-header, and an IPv4 header to nothing. (A message whose checksum does not hold
 * is refused by the outer one as it would be by its own.)
 */
static __always_inline __u32 sum_of_packet4(const struct iphdr *ip)
{
	__u32 length = bpf_ntohs(ip->tot_len) - ip->ihl * 4;

	/* The checksum of ICMP has no pseudo-header. */
	if (ip->protocol == IPPROTO_ICMP)
		return 0;
	return negated_sum(sum_words(&ip->saddr, 4) + bpf_htons(ip->protocol) + bpf_htons((__u16)length));
}

/* As sum_of_packet4, for a transport header that follows at once: addresses and length cancel out. */
static __always_inline __u32 sum_of_packet6(const struct ipv6hdr *ip)
{
	const __u16 *words = (const __u16 *)ip;

	return words[0] + words[1] + words[3] + negated_sum(bpf_htons(ip->nexthdr));
}

#endif
