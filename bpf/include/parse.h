/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* From a frame to the tuple that decides its way. Reads only; trusts no length. */
#ifndef L4D_PARSE_H
#define L4D_PARSE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* A VLAN tag and the tag of QinQ before it: what switches put on frames in practice. */
#define MAX_VLAN_TAGS 2
#define IP_FRAGMENT_MASK 0x3fff /* more-fragments bit and offset */
#define IP_OFFSET_MASK 0x1fff

/* <linux/icmp.h> needs headers of user space that the bpf target has not. */
#define ICMP_ECHOREPLY 0
#define ICMP_DEST_UNREACH 3
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12
#define ICMPV6_INFOMSG_MASK 0x80
#define ICMPV6_ECHO_REQUEST 128
#define ICMPV6_ECHO_REPLY 129
#define ICMPV6_NEIGHBOUR_SOLICITATION 135

/* Where the flags stand in a TCP header, and what they are (RFC 9293 section 3.1). */
#define TCP_FLAGS_OFFSET 13
#define TCP_FLAG_FIN_BIT 0x01
#define TCP_FLAG_SYN_BIT 0x02
#define TCP_FLAG_RST_BIT 0x04
#define TCP_FLAG_ACK_BIT 0x10

/* The part that all ICMP and ICMPv6 messages have. */
struct icmp_header {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__u32 rest;
};

struct vlan_tag {
	__be16 tci;
	__be16 next_protocol;
};

enum parse_result {
	PARSE_OK,
	PARSE_SHORT, /* ends before its headers do */
	PARSE_BEHIND, /* a fragment, or headers stand before the transport header: read by a stage (transport.h) */
	PARSE_OTHER_TRANSPORT, /* neither TCP, UDP nor ICMP */
};

/* What a client sent, seen from the VIP's side; for an ICMP error, what the quoted packet was. */
struct tuple {
	__u32 client[4]; /* IPv4 in client[0]; network order */
	__u32 vip[4];
	__be16 client_port;
	__be16 vip_port;
	__u8 protocol;
	__u8 begins; /* a TCP SYN without ACK */
	__u8 tcp_flags; /* as in the header's byte; TCP_FLAG_FIN_BIT and the others */
	__u8 is_ipv6;
};

static __always_inline int is_reset(const struct tuple *tuple)
{
	return tuple->tcp_flags & TCP_FLAG_RST_BIT;
}

/* Whether the client says that it sends no more. */
static __always_inline int is_end(const struct tuple *tuple)
{
	return tuple->tcp_flags & (TCP_FLAG_FIN_BIT | TCP_FLAG_RST_BIT);
}

/* Skips VLAN tags. Returns the network header's protocol, 0 when the frame is short. */
static __always_inline __be16 parse_ethernet(void *data, void *end, __u32 *offset)
{
	struct ethhdr *ethernet = data;
	__be16 protocol;

	if ((void *)(ethernet + 1) > end)
		return 0;
	protocol = ethernet->h_proto;
	*offset = sizeof(*ethernet);
#pragma unroll
	for (int i = 0; i < MAX_VLAN_TAGS; i++) {
		struct vlan_tag *tag = data + *offset;

		if (protocol != bpf_htons(ETH_P_8021Q) && protocol != bpf_htons(ETH_P_8021AD))
			break;
		if ((void *)(tag + 1) > end)
			return 0;
		protocol = tag->next_protocol;
		*offset += sizeof(*tag);
	}
	return protocol;
}

/* Reads ports and TCP flags behind the network header. */
static __always_inline enum parse_result parse_transport(void *transport, void *end, struct tuple *tuple)
{
	if (tuple->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = transport;

		if ((void *)(tcp + 1) > end)
			return PARSE_SHORT;
		tuple->client_port = tcp->source;
		tuple->vip_port = tcp->dest;
		tuple->tcp_flags = ((__u8 *)tcp)[TCP_FLAGS_OFFSET];
		tuple->begins = (tuple->tcp_flags & (TCP_FLAG_SYN_BIT | TCP_FLAG_ACK_BIT)) == TCP_FLAG_SYN_BIT;
		return PARSE_OK;
	}
	if (tuple->protocol == IPPROTO_UDP) {
		struct udphdr *udp = transport;

		if ((void *)(udp + 1) > end)
			return PARSE_SHORT;
		tuple->client_port = udp->source;
		tuple->vip_port = udp->dest;
		return PARSE_OK;
	}
	return PARSE_OTHER_TRANSPORT;
}

/*
 * Parses an IPv4 header at `ip`; `transport` is set when the result is PARSE_OK or
 * PARSE_OTHER_TRANSPORT. tuple->vip is the destination also of a fragment.
 */
static __always_inline enum parse_result parse_ipv4(struct iphdr *ip, void *end, struct tuple *tuple,
						     void **transport)
{
	__u32 header_length;

	if ((void *)(ip + 1) > end)
		return PARSE_SHORT;
	header_length = ip->ihl * 4;
	tuple->client[0] = ip->saddr;
	tuple->vip[0] = ip->daddr;
	tuple->protocol = ip->protocol;
	if (ip->version != 4 || header_length < sizeof(*ip))
		return PARSE_SHORT;
	if (ip->frag_off & bpf_htons(IP_FRAGMENT_MASK))
		return PARSE_BEHIND;
	*transport = (void *)ip + header_length;
	if (ip->protocol == IPPROTO_AH)
		return PARSE_BEHIND;
	return parse_transport(*transport, end, tuple);
}

/* Whether such a header may stand between the IP header and the transport header: the authentication header in both families. */
static __always_inline int stands_before(__u8 protocol, int is_ipv6)
{
	if (protocol == IPPROTO_AH)
		return 1;
	return is_ipv6 && (protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING ||
			   protocol == IPPROTO_DSTOPTS || protocol == IPPROTO_FRAGMENT);
}

/* As parse_ipv4. */
static __always_inline enum parse_result parse_ipv6(struct ipv6hdr *ip, void *end, struct tuple *tuple,
						     void **transport)
{
	enum parse_result parsed;

	if ((void *)(ip + 1) > end)
		return PARSE_SHORT;
	__builtin_memcpy(tuple->client, &ip->saddr, 16);
	__builtin_memcpy(tuple->vip, &ip->daddr, 16);
	tuple->is_ipv6 = 1;
	tuple->protocol = ip->nexthdr;
	if (ip->version != 6)
		return PARSE_SHORT;
	*transport = ip + 1;
	parsed = parse_transport(ip + 1, end, tuple);
	return parsed == PARSE_OTHER_TRANSPORT && stands_before(ip->nexthdr, 1) ? PARSE_BEHIND : parsed;
}

#endif
