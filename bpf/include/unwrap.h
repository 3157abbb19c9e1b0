/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Taking packets out of their outer header: at a backend, and at a host that gets what another one hands over. */
#ifndef L4D_UNWRAP_H
#define L4D_UNWRAP_H

#include "packet_sum.h"
#include "parse.h"
#include "rewrite.h"

/* No outer header is longer (52 bytes); the mask is what the verifier wants to see. */
#define OUTER_LENGTH_MASK 63
#define ECN_MASK 3
#define ECN_ECT1 1
#define ECN_ECT0 2
#define ECN_CE 3

static __always_inline void map_address4(__u32 *to, __be32 address)
{
	to[0] = 0;
	to[1] = 0;
	to[2] = bpf_htonl(0xffff);
	to[3] = address;
}

/* The outer header, as far as it matters. */
struct outer_header {
	__u32 source[4]; /* IPv4 mapped into IPv6 */
	__u32 destination[4];
	__u32 length; /* of the headers to be taken off */
	__u32 payload; /* bytes behind the IP header, as it says */
	__u8 protocol;
	__u8 ecn;
};

static __always_inline int read_outer(void *network, void *end, int is_ipv6, struct outer_header *outer)
{
	struct ipv6hdr *ip6 = network;
	struct iphdr *ip4 = network;

	if (is_ipv6) {
		if ((void *)(ip6 + 1) > end || ip6->version != 6)
			return 0;
		__builtin_memcpy(outer->source, &ip6->saddr, 16);
		__builtin_memcpy(outer->destination, &ip6->daddr, 16);
		outer->length = sizeof(*ip6);
		outer->payload = bpf_ntohs(ip6->payload_len);
		outer->protocol = ip6->nexthdr;
		outer->ecn = (bpf_ntohl(*(__u32 *)ip6) >> 20) & ECN_MASK;
		return 1;
	}
	/* Options and fragments are the stack's: no balancer of ours sends them. */
	if ((void *)(ip4 + 1) > end || ip4->version != 4 || ip4->ihl != 5 ||
	    (ip4->frag_off & bpf_htons(IP_FRAGMENT_MASK)) || bpf_ntohs(ip4->tot_len) < sizeof(*ip4))
		return 0;
	map_address4(outer->source, ip4->saddr);
	map_address4(outer->destination, ip4->daddr);
	outer->length = sizeof(*ip4);
	outer->payload = bpf_ntohs(ip4->tot_len) - sizeof(*ip4);
	outer->protocol = ip4->protocol;
	outer->ecn = ip4->tos & ECN_MASK;
	return 1;
}

/* Whether the packet within has one transport message with a checksum, so that its sum follows from its headers. */
static __always_inline int sum_of_inner(void *inner, void *end, __u8 protocol, __u32 *sum)
{
	struct ipv6hdr *ip6 = inner;
	struct iphdr *ip4 = inner;
	struct udphdr *udp;
	__u8 transport;

	if (protocol == IPPROTO_IPV6) {
		udp = (void *)(ip6 + 1);
		if ((void *)(udp + 1) > end)
			return 0;
		transport = ip6->nexthdr;
		*sum = sum_of_packet6(ip6);
	} else {
		udp = (void *)(ip4 + 1);
		if ((void *)(udp + 1) > end || ip4->ihl != 5 || (ip4->frag_off & bpf_htons(IP_FRAGMENT_MASK)))
			return 0;
		transport = ip4->protocol;
		*sum = sum_of_packet4(ip4);
	}
	return transport == IPPROTO_TCP || (transport == IPPROTO_UDP && udp->check);
}

/*
 * False when the checksum of the outer UDP header does not hold. 0 says that there is none, which tunnels may do over
 * IPv6 too (RFC 6935). The stack does not see this header any more; what lies behind it is summed by the packet within,
 * which the stack looks at: so the headers are summed here, and the payload is not read. Not looked at where the sum of
 * the packet within does not follow from its headers. `between`: the sum of what is between UDP and that packet.
 */
static __always_inline int is_udp_intact(const struct udphdr *udp, __u32 between, void *inner, void *end,
					 __u8 protocol, const struct outer_header *outer)
{
	__u32 sum = 0;

	if (!udp->check || !sum_of_inner(inner, end, protocol, &sum))
		return 1;
	/* The ffff of mapped IPv4 addresses is a zero in this arithmetic. */
	sum += sum_words(outer->source, 8) + sum_words(outer->destination, 8) + bpf_htons(IPPROTO_UDP) + udp->len;
	sum += sum_words(udp, sizeof(*udp) / 2) + between;
	return fold_checksum(sum) == 0;
}

/* The outer congestion mark goes into the packet within (RFC 6040 section 4.2); false: it must be dropped. */
static __always_inline int merge_ecn(__u8 outer, __u8 inner, __u8 *merged)
{
	*merged = inner;
	if (outer == ECN_CE) {
		*merged = ECN_CE;
		return inner != 0;
	}
	if (outer == ECN_ECT1 && inner == ECN_ECT0)
		*merged = ECN_ECT1;
	return 1;
}

/* Carries the outer congestion mark into a packet of IPv4; false: it must be dropped. */
static __always_inline int merge_ecn4(struct iphdr *ip, __u8 outer)
{
	__u16 *word = (__u16 *)ip;
	__u16 old_word = *word;
	__u8 merged;

	if (!merge_ecn(outer, ip->tos & ECN_MASK, &merged))
		return 0;
	if (merged != (ip->tos & ECN_MASK)) {
		ip->tos = (ip->tos & ~ECN_MASK) | merged;
		ip->check = replace_in_checksum(ip->check, old_word, *word);
	}
	return 1;
}

/* Alike for IPv6. */
static __always_inline int merge_ecn6(struct ipv6hdr *ip, __u8 outer)
{
	__u32 *word = (__u32 *)ip;
	__u8 merged;

	if (!merge_ecn(outer, (bpf_ntohl(*word) >> 20) & ECN_MASK, &merged))
		return 0;
	*word = (*word & ~bpf_htonl((__u32)ECN_MASK << 20)) | bpf_htonl((__u32)merged << 20);
	return 1;
}

/* Takes off the outer header; the Ethernet header, with that many bytes of tags, moves behind it. */
static __always_inline int take_off(struct xdp_md *context, __u32 network_offset, __u32 length, __be16 protocol)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	__u32 words[5];

	if (data + 22 > end)
		return 0;
	__builtin_memcpy(words, data, sizeof(words));
	if (bpf_xdp_adjust_head(context, (int)length))
		return 0;
	data = (void *)(long)context->data;
	end = (void *)(long)context->data_end;
	if (data + 22 > end)
		return 0;
	__builtin_memcpy(data, words, 12);
	if (network_offset == 14) {
		*(__be16 *)(data + 12) = protocol;
		return 1;
	}
	*(__u32 *)(data + 12) = words[3];
	if (network_offset == 18) {
		*(__be16 *)(data + 16) = protocol;
		return 1;
	}
	*(__u32 *)(data + 16) = words[4];
	*(__be16 *)(data + 20) = protocol;
	return 1;
}

#endif
