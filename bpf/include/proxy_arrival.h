/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* UDP to this host that may come from a host of another subnet: what it hands over, and whether this one runs. */
#ifndef L4D_PROXY_ARRIVAL_H
#define L4D_PROXY_ARRIVAL_H

#include "echo.h"
#include "proxy_far.h"

/* Answers a probe: it goes back as it came, with the other type. No larger, and to a declared host alone. */
static __always_inline int answer_probe(void *data, void *network, struct udphdr *udp,
					struct proxy_tunnel_header *header, const int is_ipv6)
{
	__u16 *word = (__u16 *)header, old_word = *word;
	__be16 port = udp->source;

	header->type = PROXY_PROBE_ANSWER;
	if (udp->check) {
		udp->check = replace_in_checksum(udp->check, old_word, *word);
		if (udp->check == 0)
			udp->check = 0xffff;
	}
	udp->source = udp->dest;
	udp->dest = port;
	if (is_ipv6)
		turn_ip6(network);
	else
		turn_ip4(network);
	swap_ethernet(data);
	return finish(TX_PROXY_PROBE, XDP_TX);
}

/* Whether what is within is one packet to an address that the proxy has, for all of its clients or some; takes the outer congestion mark over. */
static __always_inline int is_for_proxy(void *inner, void *end, __u8 protocol, const struct outer_header *outer)
{
	struct ipv6hdr *ip6 = inner;
	struct iphdr *ip4 = inner;
	const struct vip *address;

	if (protocol == IPPROTO_IPV6) {
		if ((void *)(ip6 + 1) > end || ip6->version != 6 ||
		    sizeof(*ip6) + bpf_ntohs(ip6->payload_len) > outer->payload)
			return 0;
		address = find_vip6((const __u32 *)&ip6->daddr, 0, IPPROTO_ICMPV6);
		return address && (address->flags & (VIP_L7 | VIP_PROXIED)) && merge_ecn6(ip6, outer->ecn);
	}
	if ((void *)(ip4 + 1) > end || ip4->version != 4 || ip4->ihl < 5 || bpf_ntohs(ip4->tot_len) > outer->payload)
		return 0;
	address = find_vip4(ip4->daddr, 0, IPPROTO_ICMP);
	return address && (address->flags & (VIP_L7 | VIP_PROXIED)) && merge_ecn4(ip4, outer->ecn);
}

/* A frame that was handed over: taken out, it comes from the MAC address that stands for its sender and its mark. */
static __always_inline int take_handed(struct xdp_md *context, __u32 network_offset, __u32 number, __u8 mark,
				       __u8 protocol, __u32 length)
{
	__be16 type = protocol == IPPROTO_IPV6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	struct ethhdr *ethernet;

	if (!take_off(context, network_offset, length, type))
		return finish(DROP_PROXY_TUNNEL, XDP_DROP);
	ethernet = (void *)(long)context->data;
	if ((void *)(ethernet + 1) > (void *)(long)context->data_end)
		return finish(DROP_PROXY_TUNNEL, XDP_DROP);
	*(__u32 *)ethernet->h_source = bpf_htonl(PROXY_FAR_MAC);
	if (mark == PROXY_HANDED_LAST)
		ethernet->h_source[0] ^= PROXY_LAST_BIT;
	*(__u16 *)(ethernet->h_source + 4) = bpf_htons((__u16)number);
	note(NOTE_PROXY_UNWRAPPED);
	return GO_ON(context, STAGE_ANEW);
}

/* The stage's way in: UDP to an address of this host. What is not another host's is the stack's, as ever. */
static __always_inline int handle_proxy_arrival(struct xdp_md *context)
{
	struct proxy_tunnel_header *header;
	struct outer_header outer = {};
	const struct proxy_far *far;
	void *data, *end, *network;
	__u32 network_offset = 0;
	struct udphdr *udp;
	__u32 *number;
	int is_ipv6;

	if (!find_network(context, &network_offset, &is_ipv6))
		return pass_on(context);
	data = (void *)(long)context->data;
	end = (void *)(long)context->data_end;
	network = data + network_offset;
	KEEP_POINTER(network);
	if (!read_outer(network, end, is_ipv6, &outer) || outer.protocol != IPPROTO_UDP)
		return pass_on(context);
	udp = network + (outer.length & OUTER_LENGTH_MASK);
	KEEP_POINTER(udp);
	header = (void *)(udp + 1);
	number = bpf_map_lookup_elem(&proxy_far_numbers, outer.source);
	if (!number || (void *)(header + 1) > end || data + sizeof(struct ethhdr) > end)
		return pass_on(context);
	far = find_far(*number);
	if (!far || udp->dest != far->port || !is_same_address6(outer.destination, far->source))
		return pass_on(context);
	if (network + sizeof(struct ipv6hdr) > end || bpf_ntohs(udp->len) != outer.payload ||
	    outer.payload < PROXY_TUNNEL_BYTES || header->flags ||
	    (!is_ipv6 && fold_checksum(sum_words(network, sizeof(struct iphdr) / 2))))
		return finish(DROP_PROXY_TUNNEL, XDP_DROP);
	if (header->length == (PROXY_TUNNEL_CONTROL | PROXY_TUNNEL_LENGTH) && header->type == PROXY_PROBE)
		return is_ipv6 ? answer_probe(data, network, udp, header, 1) : answer_probe(data, network, udp, header, 0);
	if (header->length != PROXY_TUNNEL_LENGTH || (header->type != IPPROTO_IPIP && header->type != IPPROTO_IPV6) ||
	    (header->mark != PROXY_HANDED && header->mark != PROXY_HANDED_LAST))
		return finish(DROP_PROXY_TUNNEL, XDP_DROP);
	outer.payload -= PROXY_TUNNEL_BYTES;
	if (!is_udp_intact(udp, sum_words(header, sizeof(*header) / 2), header + 1, end, header->type, &outer) ||
	    !is_for_proxy(header + 1, end, header->type, &outer))
		return finish(DROP_PROXY_TUNNEL, XDP_DROP);
	return take_handed(context, network_offset, *number, header->mark, header->type,
			   (outer.length & OUTER_LENGTH_MASK) + PROXY_TUNNEL_BYTES);
}

#endif
