/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Where the transport header is when it does not follow the IP header at once: behind IPv6 extension headers (RFC 8200
 * section 4), an authentication header (RFC 4302), or in another fragment. For the stages; trusts no length.
 */
#ifndef L4D_TRANSPORT_H
#define L4D_TRANSPORT_H

#include "parse.h"
#include "rewrite.h"

/* Headers before the transport header. RFC 8200 names six that may be there, destination options twice. */
#define MAX_HEADERS_BEFORE 12
/* Bytes of all of them: what a first buffer holds at most anyway; a mask, for the verifier. */
#define TRANSPORT_OFFSET_MASK 0xfff
#define IP_MORE_FRAGMENTS 0x2000
#define MAX_IP_PAYLOAD 65535

/* What all headers before the transport header begin with. */
struct header_before {
	__u8 next_header;
	/* In units of 8 bytes without the first; of an authentication header in units of 4 without the first two. */
	__u8 length;
};

/* RFC 8200 section 4.5. */
struct fragment_header {
	__u8 next_header;
	__u8 reserved;
	__be16 offset_and_more;
	__be32 id;
};

struct transport_place {
	__u32 offset; /* of the transport header, or of a later fragment's data, from the IP header */
	__u32 packet_length; /* as the IP header says */
	__be32 fragment_id;
	__u32 fragment_offset; /* bytes */
	__u8 is_fragment; /* part of a packet, not one whole (RFC 6946 tells of those in IPv6) */
	__u8 is_more; /* fragments follow */
	__u8 protocol; /* of the transport header; of a later fragment, what its first one begins with */
	__u8 is_protected; /* an authentication header covers the packet */
};

/* Goes on behind a fragment header; false when it is the second one. */
static __always_inline int enter_fragment(const struct fragment_header *header, struct transport_place *place)
{
	__u16 offset_and_more = bpf_ntohs(header->offset_and_more);

	if (place->is_fragment)
		return 0;
	place->fragment_offset = offset_and_more & 0xfff8;
	place->is_more = offset_and_more & 1;
	place->is_fragment = offset_and_more & 0xfff9 ? 1 : 0;
	place->fragment_id = header->id;
	return 1;
}

/*
 * Walks from `place`, which is set to what follows the IP header, which is so many bytes behind the frame's begin.
 * False when the packet ends early or never comes to an end. Not inlined, so that it is verified once; what
 * changes from round to round is kept in memory, of which the verifier remembers nothing, or the rounds
 * would multiply.
 */
__noinline int walk_headers(struct xdp_md *context, __u32 begin, int is_ipv6, struct transport_place *place)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;

	if (!place || begin > TRANSPORT_OFFSET_MASK)
		return 0;
	for (int i = 0; i < MAX_HEADERS_BEFORE; i++) {
		volatile __u32 *offset = &place->offset;
		volatile __u8 *protocol = &place->protocol;
		__u8 what = *protocol;
		__u32 at = *offset, length;
		struct header_before *header;

		if (place->fragment_offset || !stands_before(what, is_ipv6))
			return 1;
		if (at > TRANSPORT_OFFSET_MASK)
			return 0;
		header = data + begin + at;
		KEEP_POINTER(header);
		if ((void *)header + sizeof(struct fragment_header) > end)
			return 0;
		length = (header->length + 1) * 8;
		if (what == IPPROTO_AH) {
			length = (header->length + 2) * 4;
			place->is_protected = 1;
		} else if (what == IPPROTO_FRAGMENT) {
			length = sizeof(struct fragment_header);
			if (!enter_fragment((void *)header, place))
				return 0;
		}
		*protocol = header->next_header;
		*offset = at + length;
	}
	return 0;
}

/* Reads an IPv4 header. False for one that contradicts itself. */
static __always_inline int read_packet4(struct xdp_md *context, __u32 begin, struct tuple *tuple,
					struct transport_place *place)
{
	void *end = (void *)(long)context->data_end;
	struct iphdr *ip = (void *)(long)context->data + begin;
	__u16 fragment;

	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
		return 0;
	tuple->client[0] = ip->saddr;
	tuple->vip[0] = ip->daddr;
	fragment = bpf_ntohs(ip->frag_off);
	place->offset = ip->ihl * 4;
	place->packet_length = bpf_ntohs(ip->tot_len);
	place->protocol = ip->protocol;
	place->fragment_offset = (fragment & IP_OFFSET_MASK) * 8;
	place->is_more = fragment & IP_MORE_FRAGMENTS ? 1 : 0;
	place->is_fragment = place->fragment_offset || place->is_more;
	place->fragment_id = bpf_htonl(bpf_ntohs(ip->id));
	return ip->protocol != IPPROTO_AH || walk_headers(context, begin, 0, place);
}

/* Alike for IPv6. */
static __always_inline int read_packet6(struct xdp_md *context, __u32 begin, struct tuple *tuple,
					struct transport_place *place)
{
	void *end = (void *)(long)context->data_end;
	struct ipv6hdr *ip = (void *)(long)context->data + begin;

	if ((void *)(ip + 1) > end || ip->version != 6)
		return 0;
	__builtin_memcpy(tuple->client, &ip->saddr, 16);
	__builtin_memcpy(tuple->vip, &ip->daddr, 16);
	tuple->is_ipv6 = 1;
	place->offset = sizeof(*ip);
	place->packet_length = sizeof(*ip) + bpf_ntohs(ip->payload_len);
	place->protocol = ip->nexthdr;
	return walk_headers(context, begin, 1, place);
}

/*
 * A packet of either family that begins so many bytes behind the frame's: its addresses, and where its transport
 * header is. False for one that contradicts itself.
 */
static __always_inline int read_packet(struct xdp_md *context, __u32 begin, int is_ipv6, struct tuple *tuple,
				       struct transport_place *place)
{
	if (!(is_ipv6 ? read_packet6(context, begin, tuple, place) : read_packet4(context, begin, tuple, place)))
		return 0;
	tuple->protocol = place->protocol;
	return place->offset <= TRANSPORT_OFFSET_MASK;
}

/* What of TCP and UDP must be in the first fragment: else another one could overwrite it (RFC 1858, 3128, 7112). */
static __always_inline __u32 least_in_first(__u8 protocol)
{
	return protocol == IPPROTO_TCP ? sizeof(struct tcphdr) : sizeof(struct udphdr);
}

/* Lengths and offsets that a receiver would refuse, or that overlap the transport header. */
static __always_inline int is_sound_fragment(const struct transport_place *place)
{
	__u32 length = place->packet_length - place->offset;

	if (place->packet_length <= place->offset || (place->is_more && length % 8))
		return 0;
	if (place->fragment_offset + length > MAX_IP_PAYLOAD)
		return 0;
	if (place->fragment_offset)
		return place->protocol != IPPROTO_TCP || place->fragment_offset >= sizeof(struct tcphdr);
	return length >= least_in_first(place->protocol);
}

/* The transport header, or a later fragment's data, of the packet at `network`. */
static __always_inline void *transport_of(void *network, const struct transport_place *place)
{
	void *transport = network + (place->offset & TRANSPORT_OFFSET_MASK);

	KEEP_POINTER(transport);
	return transport;
}

#endif
