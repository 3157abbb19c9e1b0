/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The outer headers of tunnelled packets: IP in IP (RFC 2003, RFC 2473, RFC 4213), IP in UDP by Generic UDP
 * Encapsulation (draft-ietf-intarea-gue), variant 1 or variant 0 with an empty header, and Ethernet in UDP (VXLAN,
 * RFC 7348). XDP writes them into the packet, tc into a buffer.
 */
#ifndef L4D_ENCAPSULATE_H
#define L4D_ENCAPSULATE_H

#include "packet_sum.h"
#include "maps.h"
#include "parse.h"
#include "rewrite.h"

#define GUE_HEADER_LENGTH 4
#define VXLAN_HEADER_LENGTH 8
/* The flag that says that the network's number is valid (RFC 7348 section 5). */
#define VXLAN_HAS_VNI 0x08000000
#define VXLAN_LENGTH (VXLAN_HEADER_LENGTH + ETH_HLEN)
/* The largest outer headers, of VXLAN and of the rest. */
#define VXLAN_OVERHEAD4 (sizeof(struct iphdr) + sizeof(struct udphdr) + VXLAN_LENGTH)
#define VXLAN_OVERHEAD6 (sizeof(struct ipv6hdr) + sizeof(struct udphdr) + VXLAN_LENGTH)
#define MAX_OVERHEAD4 (sizeof(struct iphdr) + sizeof(struct udphdr) + GUE_HEADER_LENGTH)
#define MAX_OVERHEAD6 (sizeof(struct ipv6hdr) + sizeof(struct udphdr) + GUE_HEADER_LENGTH)
/* The dynamic ports (RFC 6335), as both ask of the source: 14 bits follow from the flow. */
#define TUNNEL_SOURCE_PORTS 0xc000
#define TUNNEL_SOURCE_MASK 0x3fff
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

/* The way of one packet. */
struct tunnel {
	const struct egress *egress;
	const struct vxlan_end *vxlan; /* of BACKEND_VXLAN alone */
	const __u32 *remote; /* outer destination */
	__u64 hash; /* of the flow */
	__u32 overhead;
	__u16 flags; /* enum backend_flag */
	__u8 outer_ipv6;
};

static __always_inline int is_mapped_ipv4(const __u32 *address)
{
	return address[0] == 0 && address[1] == 0 && address[2] == bpf_htonl(0xffff);
}

/* Finds the end of a tunnelled backend; false when it is not known. */
static __always_inline int find_tunnel(const struct backend *backend, __u32 index, const struct egress *egress,
				       __u64 hash, struct tunnel *tunnel)
{
	tunnel->egress = egress;
	tunnel->flags = backend->flags;
	tunnel->hash = hash;
	tunnel->remote = (const __u32 *)backend->address;
	tunnel->vxlan = NULL;
	if (tunnel->flags & BACKEND_VXLAN) {
		tunnel->vxlan = bpf_map_lookup_elem(&vxlan_ends, &index);
		if (!tunnel->vxlan)
			return 0;
		tunnel->remote = tunnel->vxlan->remote;
	}
	tunnel->outer_ipv6 = !is_mapped_ipv4(tunnel->remote);
	tunnel->overhead = tunnel->outer_ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	if (tunnel->flags & BACKEND_VXLAN)
		tunnel->overhead += sizeof(struct udphdr) + VXLAN_LENGTH;
	else if (tunnel->flags & BACKEND_GUE)
		tunnel->overhead += sizeof(struct udphdr) + (egress->gue_header ? GUE_HEADER_LENGTH : 0);
	return 1;
}

static __always_inline int has_source(const struct tunnel *tunnel)
{
	const struct egress *egress = tunnel->egress;

	if (!tunnel->outer_ipv6)
		return egress->source4 != 0;
	return (egress->source6[0] | egress->source6[1] | egress->source6[2] | egress->source6[3]) != 0;
}

/* What GUE puts behind UDP; gives its sum. */
static __always_inline __u32 write_gue(void *at, const struct inner_packet *inner)
{
	__u8 protocol = inner->is_ipv6 ? IPPROTO_IPV6 : IPPROTO_IPIP;

	/* Version 0, no control message, no extension; then the protocol and no flags. */
	*(__u32 *)at = bpf_htonl((__u32)protocol << 16);
	return bpf_htons(protocol);
}

/* What VXLAN puts behind UDP: its header, and the Ethernet header of the tenant's network; gives their sum. */
static __always_inline __u32 write_vxlan(void *at, const struct tunnel *tunnel, const struct inner_packet *inner)
{
	__u32 *words = at;
	__u16 *ethernet = at + VXLAN_HEADER_LENGTH;
	const __u16 *source = (const __u16 *)tunnel->egress->mac;

	words[0] = bpf_htonl(VXLAN_HAS_VNI);
	words[1] = tunnel->vxlan->vni;
	copy_mac((__u8 *)ethernet, tunnel->vxlan->mac);
	/* On the stack of tc the verifier wants words where words may be. */
#pragma unroll
	for (int i = 0; i < ETH_ALEN / 2; i++)
		ethernet[ETH_ALEN / 2 + i] = source[i];
	ethernet[ETH_ALEN] = inner->is_ipv6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	return sum_words(at, VXLAN_LENGTH / 2);
}

/*
 * UDP and what follows it up to the packet. `address_sum` is that of the outer addresses. Over IPv4 no checksum is
 * needed. Over IPv6 there is one whenever the sum of the packet within is known; where it is not (a UDP datagram
 * without a checksum of its own, extension headers) it is zero, as RFC 6935 allows to tunnels.
 */
static __always_inline void write_udp(struct udphdr *udp, const struct tunnel *tunnel,
				      const struct inner_packet *inner, __u32 address_sum)
{
	__u32 header_length = 0, header_sum = 0;
	__be16 length;

	/* The pointer, not the flag: kernels before 6.2 do not see that the one follows from the other. */
	if (tunnel->vxlan) {
		header_length = VXLAN_LENGTH;
		header_sum = write_vxlan(udp + 1, tunnel, inner);
		udp->dest = tunnel->egress->vxlan_port;
	} else {
		if (tunnel->egress->gue_header) {
			header_length = GUE_HEADER_LENGTH;
			header_sum = write_gue(udp + 1, inner);
		}
		udp->dest = tunnel->egress->gue_port;
	}
	length = bpf_htons(sizeof(*udp) + header_length + inner->length);
	udp->source = bpf_htons(TUNNEL_SOURCE_PORTS | (tunnel->hash & TUNNEL_SOURCE_MASK));
	udp->len = length;
	udp->check = 0;
	if (!tunnel->outer_ipv6 || !inner->is_summed)
		return;
	udp->check = fold_checksum(address_sum + length + bpf_htons(IPPROTO_UDP) + udp->source + udp->dest +
				   length + header_sum + inner->sum);
	if (udp->check == 0)
		udp->check = 0xffff;
}

static __always_inline __u8 outer_protocol(const struct tunnel *tunnel, const struct inner_packet *inner)
{
	if (tunnel->flags & BACKEND_UDP)
		return IPPROTO_UDP;
	return inner->is_ipv6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
}

/*
 * The outer IPv4 header and what follows it. DF: the way's MTU has been looked at; without fragments the
 * identification is free (RFC 6864).
 */
static __always_inline void write_outer4(struct iphdr *ip, const struct tunnel *tunnel,
					 const struct inner_packet *inner)
{
	const struct egress *egress = tunnel->egress;
	__u32 *words = (__u32 *)ip;

	/* DSCP and ECN are copied: RFC 2983 section 4.1, RFC 6040 section 4.1 (normal mode). */
	words[0] = bpf_htonl(0x45000000 | (__u32)inner->traffic_class << 16 | (inner->length + tunnel->overhead));
	words[1] = bpf_htonl(IP_DONT_FRAGMENT);
	ip->ttl = REPLY_TTL;
	ip->protocol = outer_protocol(tunnel, inner);
	ip->check = 0;
	ip->saddr = egress->source4 | (bpf_htonl((__u32)tunnel->hash) & egress->spread4);
	ip->daddr = tunnel->remote[3];
	ip->check = fold_checksum(sum_words(ip, sizeof(*ip) / 2));
	if (tunnel->flags & BACKEND_UDP)
		write_udp((struct udphdr *)(ip + 1), tunnel, inner, 0);
}

/* As write_outer4. The flow label tells flows apart for routers that spread (RFC 6438). */
static __always_inline void write_outer6(struct ipv6hdr *ip, const struct tunnel *tunnel,
					 const struct inner_packet *inner)
{
	const struct egress *egress = tunnel->egress;
	__u32 *words = (__u32 *)ip;

	words[0] = bpf_htonl(0x60000000 | (__u32)inner->traffic_class << 20 |
			     ((tunnel->hash >> 12) & FLOW_LABEL_MASK));
	ip->payload_len = bpf_htons(inner->length + tunnel->overhead - sizeof(*ip));
	ip->nexthdr = outer_protocol(tunnel, inner);
	ip->hop_limit = REPLY_TTL;
	words[2] = egress->source6[0];
	words[3] = egress->source6[1];
	words[4] = egress->source6[2];
	words[5] = egress->source6[3] | (bpf_htonl((__u32)tunnel->hash) & egress->spread6);
	__builtin_memcpy(&ip->daddr, tunnel->remote, 16);
	if (tunnel->flags & BACKEND_UDP)
		write_udp((struct udphdr *)(ip + 1), tunnel, inner, sum_words(&ip->saddr, 16));
}

#endif
