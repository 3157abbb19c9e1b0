/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* A RST to the client in the name of a VIP that cannot go on with this flow. */
#ifndef L4D_RESET_H
#define L4D_RESET_H

#include "count.h"
#include "parse.h"
#include "rewrite.h"
#include "transport.h"

#define TCP_WORDS (sizeof(struct tcphdr) / 2)

/*
 * Turns the client's segment into its reset (RFC 9293 section 3.10.7.1): SEQ = SEG.ACK when it
 * has one, else SEQ = 0 and ACK = SEG.SEQ + SEG.LEN. `segment_length` is the payload in bytes.
 */
static __always_inline void make_reset(struct tcphdr *tcp, __u32 segment_length, __u32 pseudo_sum)
{
	__be16 client_port = tcp->source;
	__u32 length = segment_length + tcp->syn + tcp->fin;
	__be32 sequence = tcp->ack ? tcp->ack_seq : 0;
	__be32 acknowledged = tcp->ack ? 0 : bpf_htonl(bpf_ntohl(tcp->seq) + length);
	__u16 answers_ack = tcp->ack;

	tcp->source = tcp->dest;
	tcp->dest = client_port;
	tcp->seq = sequence;
	tcp->ack_seq = acknowledged;
	/* Data offset 5, no flag but RST and, without an ACK to refer to, ACK. */
	((__u16 *)tcp)[6] = bpf_htons(0x5000 | (answers_ack ? 0x04 : 0x14));
	tcp->window = 0;
	tcp->check = 0;
	tcp->urg_ptr = 0;
	tcp->check = fold_checksum(pseudo_sum + sum_words(tcp, TCP_WORDS));
}

/* Sends the RST of an IPv4 flow out of the interface it came in by, for the reason `sent`; a RST is never answered. */
static __always_inline int reset_flow4(struct xdp_md *context, __u32 network_offset, enum reason sent,
				       enum reason dropped)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct iphdr *ip = data + network_offset;
	struct tcphdr *tcp, *old_tcp;
	__u32 header_length, total_length, tcp_length, frame_length, reset_length;
	struct iphdr header = {};

	KEEP_POINTER(ip);
	tcp = (void *)(ip + 1);
	KEEP_POINTER(tcp);
	if (data + sizeof(struct ethhdr) > end || (void *)(tcp + 1) > end)
		return finish(DROP_MALFORMED, XDP_DROP);
	/* Who authenticates packets believes no reset without it. */
	if (ip->protocol != IPPROTO_TCP)
		return finish(DROP_NO_BACKEND, XDP_DROP);
	header_length = ip->ihl * 4;
	total_length = bpf_ntohs(ip->tot_len);
	old_tcp = (void *)ip + header_length;
	if (header_length < sizeof(*ip) || (void *)(old_tcp + 1) > end)
		return finish(DROP_MALFORMED, XDP_DROP);
	tcp_length = old_tcp->doff * 4;
	/* The frame may go on behind data_end, in further buffers. */
	frame_length = bpf_xdp_get_buff_len(context);
	if (tcp_length < sizeof(*tcp) || total_length < header_length + tcp_length ||
	    network_offset + total_length > frame_length)
		return finish(DROP_MALFORMED, XDP_DROP);
	if (old_tcp->rst)
		return finish(dropped, XDP_DROP);
	header.version = 4;
	header.ihl = 5;
	header.tot_len = bpf_htons(sizeof(*ip) + sizeof(*tcp));
	header.ttl = REPLY_TTL;
	header.protocol = IPPROTO_TCP;
	header.saddr = ip->daddr;
	header.daddr = ip->saddr;
	header.check = fold_checksum(sum_words(&header, sizeof(header) / 2));
	if (header_length > sizeof(*ip)) {
		struct tcphdr moved = *old_tcp;

		*tcp = moved;
	}
	*ip = header;
	make_reset(tcp, total_length - header_length - tcp_length,
		   sum_words(&ip->saddr, 4) + bpf_htons(IPPROTO_TCP) + bpf_htons(sizeof(*tcp)));
	swap_ethernet(data);
	reset_length = network_offset + sizeof(*ip) + sizeof(*tcp);
	if (bpf_xdp_adjust_tail(context, (int)reset_length - (int)frame_length))
		return finish(DROP_MALFORMED, XDP_DROP);
	return finish(sent, XDP_TX);
}

/*
 * Moves the TCP header of a packet with extension headers to where it is without them; false when there is none, or
 * what is authenticated. A function of its own, not inlined: few packets have them.
 */
__noinline int bring_tcp_forward(struct xdp_md *context, __u32 network_offset)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct transport_place place = {};
	struct tuple tuple = {};
	struct tcphdr *from, *to;
	struct tcphdr moved;
	struct ipv6hdr *ip;

	if (network_offset > 22)
		return 0;
	ip = data + network_offset;
	if (!read_packet(context, network_offset, 1, &tuple, &place) || place.protocol != IPPROTO_TCP || place.is_protected ||
	    place.fragment_offset || place.packet_length < place.offset)
		return 0;
	from = transport_of(ip, &place);
	to = (void *)(ip + 1);
	if ((void *)(from + 1) > end || (void *)(to + 1) > end)
		return 0;
	moved = *from;
	*to = moved;
	ip->nexthdr = IPPROTO_TCP;
	ip->payload_len = bpf_htons(place.packet_length - place.offset);
	return 1;
}

/* As reset_flow4. */
static __always_inline int reset_flow6(struct xdp_md *context, __u32 network_offset, enum reason sent,
				       enum reason dropped)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct ipv6hdr *ip = data + network_offset;
	struct tcphdr *tcp;
	struct in6_addr client;
	__u32 payload_length, tcp_length, frame_length, reset_length;

	KEEP_POINTER(ip);
	tcp = (void *)(ip + 1);
	KEEP_POINTER(tcp);
	if (data + sizeof(struct ethhdr) > end || (void *)(tcp + 1) > end)
		return finish(DROP_MALFORMED, XDP_DROP);
	if (ip->nexthdr != IPPROTO_TCP && !bring_tcp_forward(context, network_offset))
		return finish(DROP_NO_BACKEND, XDP_DROP);
	payload_length = bpf_ntohs(ip->payload_len);
	tcp_length = tcp->doff * 4;
	frame_length = bpf_xdp_get_buff_len(context);
	if (tcp_length < sizeof(*tcp) || payload_length < tcp_length ||
	    network_offset + sizeof(*ip) + payload_length > frame_length)
		return finish(DROP_MALFORMED, XDP_DROP);
	if (tcp->rst)
		return finish(dropped, XDP_DROP);
	client = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = client;
	ip->hop_limit = REPLY_TTL;
	ip->payload_len = bpf_htons(sizeof(*tcp));
	make_reset(tcp, payload_length - tcp_length,
		   sum_words(&ip->saddr, 16) + bpf_htons(IPPROTO_TCP) + bpf_htons(sizeof(*tcp)));
	swap_ethernet(data);
	reset_length = network_offset + sizeof(*ip) + sizeof(*tcp);
	if (bpf_xdp_adjust_tail(context, (int)reset_length - (int)frame_length))
		return finish(DROP_MALFORMED, XDP_DROP);
	return finish(sent, XDP_TX);
}

#endif
