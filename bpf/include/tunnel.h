/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Forwarding to a backend behind routers: the packet goes on whole, within one to the backend's own address. */
#ifndef L4D_TUNNEL_H
#define L4D_TUNNEL_H

#include "count.h"
#include "encapsulate.h"
#include "forward.h"
#include "parse.h"
#include "select.h"
#include "too_big.h"

/* A packet that is to go through a tunnel. */
struct tunnel_job {
	__u64 hash; /* of the flow */
	__u32 network_offset;
	__u32 vip_id;
	__u32 backend; /* index */
	__u32 begun;
	__u8 is_ipv6;
	__u8 is_quote; /* an ICMP error: none is sent about it (RFC 1122 section 3.2.2) */
	__u8 pad[6];
};

/* Reads what the outer header needs; false for a packet that contradicts itself. Takes the hop. */
static __always_inline int describe_inner4(struct iphdr *ip, void *end, struct inner_packet *inner)
{
	void *transport;

	if ((void *)(ip + 1) > end || ip->ihl < 5)
		return 0;
	inner->length = bpf_ntohs(ip->tot_len);
	inner->traffic_class = ip->tos;
	inner->is_ipv6 = 0;
	transport = (void *)ip + ip->ihl * 4;
	if (inner->length < ip->ihl * 4 || transport + sizeof(struct udphdr) > end)
		return 0;
	inner->is_summed = ip->protocol != IPPROTO_UDP || ((struct udphdr *)transport)->check != 0;
	return 1;
}

static __always_inline int describe_inner6(struct ipv6hdr *ip, void *end, struct inner_packet *inner)
{
	struct udphdr *udp = (void *)(ip + 1);

	if ((void *)(udp + 1) > end)
		return 0;
	inner->length = sizeof(*ip) + bpf_ntohs(ip->payload_len);
	inner->traffic_class = (bpf_ntohl(*(__u32 *)ip) >> 20) & 0xff;
	inner->is_ipv6 = 1;
	inner->is_summed = ip->nexthdr == IPPROTO_TCP || ip->nexthdr == IPPROTO_ICMPV6 ||
			   (ip->nexthdr == IPPROTO_UDP && udp->check != 0);
	return 1;
}

/* The frame's Ethernet header and tags, moved to its new beginning. */
static __always_inline void write_ethernet(void *data, __u32 network_offset, const struct backend *backend,
					   const __u32 *tags, int outer_ipv6)
{
	__be16 protocol = outer_ipv6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);

	copy_mac(data, backend->mac);
	*(__u32 *)(data + 6) = *(const volatile __u32 *)own_mac;
	*(__u16 *)(data + 10) = *(const volatile __u16 *)(own_mac + 4);
	if (network_offset == 14) {
		*(__be16 *)(data + 12) = protocol;
		return;
	}
	*(__u32 *)(data + 12) = tags[0];
	if (network_offset == 18) {
		*(__be16 *)(data + 16) = protocol;
		return;
	}
	*(__u32 *)(data + 16) = tags[1];
	*(__be16 *)(data + 20) = protocol;
}

/*
 * What forward_tunnelled returns in place of an action, plus the size that fits. It does not call what
 * answers by itself: three functions deep, the stack would be too small.
 */
#define TUNNEL_TOO_BIG 0x100

/*
 * Wraps a packet and sends it on. A function of its own, not inlined: it is verified once and takes no
 * registers from the packets that need none of it.
 */
__noinline int forward_tunnelled(struct xdp_md *context, const struct tunnel_job *job)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	const struct tunnel_settings *settings;
	struct inner_packet inner = {};
	const struct backend *backend;
	__u32 key = 0, index, offset, overhead, bytes, tags[2] = {};
	int outer_ipv6, is_whole;
	void *network;

	if (!job)
		return finish(DROP_MALFORMED, XDP_DROP);
	index = job->backend;
	offset = job->network_offset;
	settings = bpf_map_lookup_elem(&tunnel_settings, &key);
	backend = bpf_map_lookup_elem(&backends, &index);
	if (!settings || !backend || (offset != 14 && offset != 18 && offset != 22))
		return finish(DROP_MALFORMED, XDP_DROP);
	if (!is_resolved(backend))
		return finish(DROP_UNRESOLVED, XDP_DROP);
	outer_ipv6 = is_outer_ipv6(backend);
	if (!has_source(settings, outer_ipv6))
		return finish(DROP_NO_TUNNEL_SOURCE, XDP_DROP);
	network = data + offset;
	is_whole = job->is_ipv6 ? describe_inner6(network, end, &inner) : describe_inner4(network, end, &inner);
	bytes = end - data;
	if (is_whole && offset + inner.length > bytes)
		bytes = bpf_xdp_get_buff_len(context);
	if (!is_whole || offset + inner.length > bytes)
		return finish(DROP_MALFORMED, XDP_DROP);
	overhead = overhead_of(backend, settings);
	if (inner.length + overhead > settings->mtu) {
		if (job->is_quote || settings->mtu <= overhead)
			return finish(DROP_TOO_BIG, XDP_DROP);
		return TUNNEL_TOO_BIG + settings->mtu - overhead;
	}
	if (!take_hop(network, end, job->is_ipv6))
		return finish(DROP_TTL_EXPIRED, XDP_DROP);
	if (outer_ipv6 && (backend->flags & BACKEND_GUE)) {
		if (job->is_ipv6 && network + sizeof(struct ipv6hdr) <= end)
			inner.sum = sum_of_packet6(network);
		else if (!job->is_ipv6 && network + sizeof(struct iphdr) <= end)
			inner.sum = sum_of_packet4(network);
	}
	if (data + 20 > end)
		return finish(DROP_MALFORMED, XDP_DROP);
	tags[0] = *(__u32 *)(data + 12);
	tags[1] = *(__u32 *)(data + 16);
	if (bpf_xdp_adjust_head(context, -(int)overhead))
		return finish(DROP_MALFORMED, XDP_DROP);
	data = (void *)(long)context->data;
	end = (void *)(long)context->data_end;
	/* The largest outer header fits behind a smaller one too: a packet of a VIP has 28 bytes at least. */
	network = data + offset;
	KEEP_POINTER(network);
	if (data + 22 > end || network + MAX_OVERHEAD4 > end)
		return finish(DROP_MALFORMED, XDP_DROP);
	write_ethernet(data, offset, backend, tags, outer_ipv6);
	if (!outer_ipv6) {
		write_outer4(network, settings, backend, &inner, overhead, job->hash);
		if (backend->flags & BACKEND_GUE)
			write_gue(network + sizeof(struct iphdr), settings, &inner, job->hash, 0, 0);
	} else {
		if (network + MAX_OVERHEAD > end)
			return finish(DROP_MALFORMED, XDP_DROP);
		write_outer6(network, settings, backend, &inner, overhead, job->hash);
		if (backend->flags & BACKEND_GUE)
			write_gue6(network, settings, &inner, job->hash);
	}
	count_traffic(&vip_counters, job->vip_id, bytes, job->begun);
	count_traffic(&backend_counters, index, bytes, job->begun);
	return finish(job->is_quote ? TX_ICMP_ERROR_TUNNEL : TX_TUNNEL, XDP_TX);
}

/* Gathers what forward_tunnelled needs. */
static __always_inline int enter_tunnel(struct xdp_md *context, __u32 network_offset, const struct tuple *tuple,
					const struct vip *vip, const struct selection *chosen, int is_quote)
{
	struct tunnel_job job = {
		.hash = hash_of(tuple),
		.network_offset = network_offset,
		.vip_id = vip->id,
		.backend = chosen->index,
		.begun = chosen->begun,
		.is_ipv6 = tuple->is_ipv6,
		.is_quote = is_quote,
	};
	int action = forward_tunnelled(context, &job);

	if (action < TUNNEL_TOO_BIG)
		return action;
	return tuple->is_ipv6 ? answer_too_big6(context, network_offset, action - TUNNEL_TOO_BIG) :
				answer_too_big4(context, network_offset, action - TUNNEL_TOO_BIG);
}

#endif
