/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The outer headers of tunnelled packets: IP in IP (RFC 2003, RFC 2473, RFC 4213), and IP in UDP by
 * Generic UDP Encapsulation (draft-ietf-intarea-gue), variant 1 or variant 0 with an empty header.
 * XDP writes them into the packet, tc into a buffer.
 */
#ifndef L4D_ENCAPSULATE_H
#define L4D_ENCAPSULATE_H

#include "maps.h"
#include "parse.h"
#include "rewrite.h"

/* The largest outer headers: IP, UDP and the header of variant 0. */
#define MAX_OVERHEAD4 (sizeof(struct iphdr) + sizeof(struct udphdr) + GUE_HEADER_LENGTH)
#define MAX_OVERHEAD (sizeof(struct ipv6hdr) + sizeof(struct udphdr) + GUE_HEADER_LENGTH)
#define GUE_HEADER_LENGTH 4
/* The dynamic ports (RFC 6335), as the draft asks of the source: 14 bits follow from the flow. */
#define GUE_SOURCE_PORTS 0xc000
#define GUE_SOURCE_MASK 0x3fff
#define IP_DONT_FRAGMENT 0x4000
#define FLOW_LABEL_MASK 0xfffff

/* What the outer header must know of the packet within. */
struct inner_packet {
	__u32 length; /* of the IP packet; a frame may be longer by its padding */
	__u32 sum; /* one's complement sum of its bytes, when is_summed */
	__u8 is_ipv6;
	__u8 is_summed;
	__u8 traffic_class;
};

static __always_inline int is_outer_ipv6(const struct backend *backend)
{
	const __u32 *address = (const __u32 *)backend->address;

	return address[0] != 0 || address[1] != 0 || address[2] != bpf_htonl(0xffff);
}

static __always_inline __u32 overhead_of(const struct backend *backend, const struct tunnel_settings *settings)
{
	__u32 overhead = is_outer_ipv6(backend) ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);

	if (backend->flags & BACKEND_GUE)
		overhead += sizeof(struct udphdr) + (settings->gue_header ? GUE_HEADER_LENGTH : 0);
	return overhead;
}

static __always_inline int has_source(const struct tunnel_settings *settings, int outer_ipv6)
{
	if (!outer_ipv6)
		return settings->source4 != 0;
	return (settings->source6[0] | settings->source6[1] | settings->source6[2] | settings->source6[3]) != 0;
}

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

/* UDP and what GUE puts behind it. `pseudo_sum` is 0 where no checksum is needed: over IPv4. */
static __always_inline void write_gue(struct udphdr *udp, const struct tunnel_settings *settings,
				      const struct inner_packet *inner, __u64 hash, int has_checksum,
				      __u32 address_sum)
{
	__u16 header = settings->gue_header ? GUE_HEADER_LENGTH : 0;
	__be16 length = bpf_htons(sizeof(*udp) + header + inner->length);
	__u8 protocol = inner->is_ipv6 ? IPPROTO_IPV6 : IPPROTO_IPIP;

	udp->source = bpf_htons(GUE_SOURCE_PORTS | (hash & GUE_SOURCE_MASK));
	udp->dest = settings->gue_port;
	udp->len = length;
	udp->check = 0;
	if (header)
		/* Version 0, no control message, no extension; then the protocol and no flags. */
		*(__u32 *)(udp + 1) = bpf_htonl((__u32)protocol << 16);
	if (!has_checksum)
		return;
	udp->check = fold_checksum(address_sum + length + bpf_htons(IPPROTO_UDP) + udp->source + udp->dest +
				   length + (header ? bpf_htons(protocol) : 0) + inner->sum);
	if (udp->check == 0)
		udp->check = 0xffff;
}

/* The outer IPv4 header. DF: the way's MTU has been looked at; without fragments the identification is free (RFC 6864). */
static __always_inline void write_outer4(struct iphdr *ip, const struct tunnel_settings *settings,
					 const struct backend *backend, const struct inner_packet *inner,
					 __u32 overhead, __u64 hash)
{
	__u32 *words = (__u32 *)ip;

	/* DSCP and ECN are copied: RFC 2983 section 4.1, RFC 6040 section 4.1 (normal mode). */
	words[0] = bpf_htonl(0x45000000 | (__u32)inner->traffic_class << 16 | (inner->length + overhead));
	words[1] = bpf_htonl(IP_DONT_FRAGMENT);
	ip->ttl = REPLY_TTL;
	ip->protocol = backend->flags & BACKEND_GUE ? IPPROTO_UDP :
		       inner->is_ipv6		    ? IPPROTO_IPV6 :
						      IPPROTO_IPIP;
	ip->check = 0;
	ip->saddr = settings->source4 | (bpf_htonl((__u32)hash) & settings->spread4);
	ip->daddr = *(const __u32 *)(backend->address + 12);
	ip->check = fold_checksum(sum_words(ip, sizeof(*ip) / 2));
}

/* The outer IPv6 header; its flow label tells flows apart for routers that spread (RFC 6438). */
static __always_inline void write_outer6(struct ipv6hdr *ip, const struct tunnel_settings *settings,
					 const struct backend *backend, const struct inner_packet *inner,
					 __u32 overhead, __u64 hash)
{
	__u32 *words = (__u32 *)ip;

	words[0] = bpf_htonl(0x60000000 | (__u32)inner->traffic_class << 20 | ((hash >> 12) & FLOW_LABEL_MASK));
	ip->payload_len = bpf_htons(inner->length + overhead - sizeof(*ip));
	ip->nexthdr = backend->flags & BACKEND_GUE ? IPPROTO_UDP :
		      inner->is_ipv6		   ? IPPROTO_IPV6 :
						     IPPROTO_IPIP;
	ip->hop_limit = REPLY_TTL;
	words[2] = settings->source6[0];
	words[3] = settings->source6[1];
	words[4] = settings->source6[2];
	words[5] = settings->source6[3] | (bpf_htonl((__u32)hash) & settings->spread6);
	__builtin_memcpy(&ip->daddr, backend->address, 16);
}

/*
 * Checksum over IPv6: always when the sum of the packet within is known. Where it is not (a UDP datagram
 * without a checksum of its own, extension headers) it is zero, as RFC 6935 allows to tunnels.
 */
static __always_inline void write_gue6(struct ipv6hdr *outer, const struct tunnel_settings *settings,
				       const struct inner_packet *inner, __u64 hash)
{
	write_gue((struct udphdr *)(outer + 1), settings, inner, hash, inner->is_summed,
		  sum_words(&outer->saddr, 16));
}

#endif
