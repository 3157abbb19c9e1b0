/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Echo replies in the name of a VIP (RFC 792, RFC 4443 section 4.2). */
#ifndef L4D_ECHO_H
#define L4D_ECHO_H

#include "count.h"
#include "parse.h"
#include "rewrite.h"

/* The two of each family: back to where it came from. No checksum changes when addresses trade places. */
static __always_inline void turn_addresses4(struct iphdr *ip)
{
	__be32 client = ip->saddr;

	ip->saddr = ip->daddr;
	ip->daddr = client;
}

static __always_inline void turn_addresses6(struct ipv6hdr *ip)
{
	struct in6_addr client = ip->saddr;

	ip->saddr = ip->daddr;
	ip->daddr = client;
}

/* Makes an IPv4 header that of an answer. */
static __always_inline void turn_ip4(struct iphdr *ip)
{
	__u16 *ttl_and_protocol = (__u16 *)&ip->ttl;
	__u16 old_word = *ttl_and_protocol;

	turn_addresses4(ip);
	ip->ttl = REPLY_TTL;
	ip->check = replace_in_checksum(ip->check, old_word, *ttl_and_protocol);
}

/* Alike. */
static __always_inline void turn_ip6(struct ipv6hdr *ip)
{
	turn_addresses6(ip);
	ip->hop_limit = REPLY_TTL;
}

static __always_inline int reply_to_echo4(struct ethhdr *ethernet, struct iphdr *ip, struct icmp_header *icmp)
{
	__u16 *type_and_code = (__u16 *)icmp;
	__u16 old_word = *type_and_code;

	turn_ip4(ip);
	icmp->type = ICMP_ECHOREPLY;
	icmp->checksum = replace_in_checksum(icmp->checksum, old_word, *type_and_code);
	/* A reply of zeros alone sums to 0, not to 0xffff as receivers ask; the two are equal otherwise. */
	if (icmp->checksum == 0)
		icmp->checksum = 0xffff;
	swap_ethernet(ethernet);
	return finish(TX_ECHO, XDP_TX);
}

static __always_inline int reply_to_echo6(struct ethhdr *ethernet, struct ipv6hdr *ip, struct icmp_header *icmp)
{
	__u16 *type_and_code = (__u16 *)icmp;
	__u16 old_word = *type_and_code;

	turn_ip6(ip);
	icmp->type = ICMPV6_ECHO_REPLY;
	icmp->checksum = replace_in_checksum(icmp->checksum, old_word, *type_and_code);
	swap_ethernet(ethernet);
	return finish(TX_ECHO, XDP_TX);
}

#endif
