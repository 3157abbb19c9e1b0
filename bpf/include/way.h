/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The ways to a backend that are not the plain one: through a tunnel, where the packet goes on whole, within one to the
 * backend's own address; and by another interface than the one that it came in by.
 */
#ifndef L4D_WAY_H
#define L4D_WAY_H

#include "count.h"
#include "egress.h"
#include "encapsulate.h"
#include "forward.h"
#include "parse.h"
#include "path_mtu.h"
#include "select.h"
#include "too_big.h"

/* A packet that is to go such a way. */
struct way_job {
	__u64 hash; /* of the flow */
	__u32 network_offset;
	__u32 vip_id;
	__u32 backend; /* index */
	__u32 begun;
	__u8 is_ipv6;
	__u8 is_quote; /* an ICMP error: none is sent about it (RFC 1122 section 3.2.2) */
	__u8 is_untold; /* a later fragment, or one that another host has sent on: nor about those */
	__u8 pad[5];
	/*
	 * Filled by what gets the job: what lies in an argument's memory the verifier knows no values of, and looks at the
	 * rest once, not for each kind of packet.
	 */
	struct inner_packet inner;
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
	/* Of a fragment the transport header may be missing, and its checksum is that of the whole. */
	if (ip->frag_off & bpf_htons(IP_FRAGMENT_MASK))
		return inner->length >= ip->ihl * 4;
	transport = (void *)ip + ip->ihl * 4;
	if (inner->length < ip->ihl * 4 || transport + sizeof(struct udphdr) > end)
		return 0;
	/* Behind an authentication header it is not looked for. */
	inner->is_summed = ip->protocol == IPPROTO_TCP || ip->protocol == IPPROTO_ICMP ||
			   (ip->protocol == IPPROTO_UDP && ((struct udphdr *)transport)->check != 0);
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

/*
 * What the two below return in place of an action, plus the size that fits. They do not call what
 * answers by themselves: three functions deep, the stack would be too small.
 */
#define WAY_TOO_BIG 0x100

/* What both need to know of a packet. */
static __always_inline int describe_inner(void *network, void *end, int is_ipv6, struct inner_packet *inner)
{
	return is_ipv6 ? describe_inner6(network, end, inner) : describe_inner4(network, end, inner);
}

/* Counts a packet that is on its way, if it is. */
static __always_inline int finish_way(const struct way_job *job, int action, __u32 bytes, enum reason reason)
{
	__u32 index = job->backend;

	if (!action)
		return finish(DROP_NO_EGRESS, XDP_DROP);
	count_traffic(&vip_counters, job->vip_id, bytes, job->begun);
	count_traffic(&backend_counters, index, bytes, job->begun);
	return finish(reason, action);
}

/*
 * Wraps a packet and sends it on. A function of its own, not inlined: it is verified once and takes no
 * registers from the packets that need none of it.
 */
__noinline int forward_tunnelled(struct xdp_md *context, struct way_job *job)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	const struct backend *backend;
	const struct egress *egress;
	struct tunnel tunnel = {};
	__u32 index, offset, out_offset, bytes, mtu, tags[2] = {};
	void *network;
	int is_whole;

	if (!job)
		return finish(DROP_MALFORMED, XDP_DROP);
	index = job->backend;
	offset = job->network_offset;
	backend = bpf_map_lookup_elem(&backends, &index);
	if (!backend || offset > 22)
		return finish(DROP_MALFORMED, XDP_DROP);
	egress = find_egress(backend->flags);
	if (!egress)
		return finish(DROP_NO_EGRESS, XDP_DROP);
	if (!is_resolved(backend) || !find_tunnel(backend, index, egress, job->hash, &tunnel))
		return finish(DROP_UNRESOLVED, XDP_DROP);
	if (!has_source(&tunnel))
		return finish(DROP_NO_TUNNEL_SOURCE, XDP_DROP);
	network = data + offset;
	is_whole = describe_inner(network, end, job->is_ipv6, &job->inner);
	bytes = end - data;
	if (is_whole && offset + job->inner.length > bytes)
		bytes = bpf_xdp_get_buff_len(context);
	if (!is_whole || offset + job->inner.length > bytes)
		return finish(DROP_MALFORMED, XDP_DROP);
	mtu = path_mtu(egress, &tunnel, &job->inner);
	if (job->inner.length + tunnel.overhead > mtu) {
		if (job->is_quote || job->is_untold || mtu <= tunnel.overhead)
			return finish(DROP_TOO_BIG, XDP_DROP);
		return WAY_TOO_BIG + mtu - tunnel.overhead;
	}
	if (!take_hop(network, end, job->is_ipv6))
		return finish(DROP_TTL_EXPIRED, XDP_DROP);
	if (tunnel.outer_ipv6 && (tunnel.flags & BACKEND_UDP)) {
		if (job->is_ipv6 && network + sizeof(struct ipv6hdr) <= end)
			job->inner.sum = sum_of_packet6(network);
		else if (!job->is_ipv6 && network + sizeof(struct iphdr) <= end)
			job->inner.sum = sum_of_packet4(network);
	}
	if (data + 20 > end)
		return finish(DROP_MALFORMED, XDP_DROP);
	tags[0] = *(__u32 *)(data + 12);
	tags[1] = *(__u32 *)(data + 16);
	out_offset = is_elsewhere(tunnel.flags) ? sizeof(struct ethhdr) : offset;
	if (bpf_xdp_adjust_head(context, (int)(offset - out_offset) - (int)tunnel.overhead))
		return finish(DROP_MALFORMED, XDP_DROP);
	data = (void *)(long)context->data;
	end = (void *)(long)context->data_end;
	/* The largest outer header fits behind a smaller one too: a packet of a VIP has 28 bytes at least. */
	network = data + out_offset;
	KEEP_POINTER(network);
	if (data + 22 > end || network + MAX_OVERHEAD4 > end)
		return finish(DROP_MALFORMED, XDP_DROP);
	write_ethernet(data, out_offset, backend->mac, egress->mac, tags,
		       tunnel.outer_ipv6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP));
	if (!tunnel.outer_ipv6) {
		if (tunnel.vxlan && network + VXLAN_OVERHEAD4 > end)
			return finish(DROP_MALFORMED, XDP_DROP);
		write_outer4(network, &tunnel, &job->inner);
	} else {
		if (network + (tunnel.vxlan ? VXLAN_OVERHEAD6 : MAX_OVERHEAD6) > end)
			return finish(DROP_MALFORMED, XDP_DROP);
		write_outer6(network, &tunnel, &job->inner);
	}
	return finish_way(job, leave(tunnel.flags), bytes, job->is_quote ? TX_ICMP_ERROR_TUNNEL : TX_TUNNEL);
}

/* Sends a packet to a backend by another interface, as forward() does by its own. */
__noinline int forward_elsewhere(struct xdp_md *context, struct way_job *job)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	const struct backend *backend;
	const struct egress *egress;
	__u32 index, offset, bytes;
	void *network;

	if (!job)
		return finish(DROP_MALFORMED, XDP_DROP);
	index = job->backend;
	offset = job->network_offset;
	backend = bpf_map_lookup_elem(&backends, &index);
	if (!backend || offset > 22)
		return finish(DROP_MALFORMED, XDP_DROP);
	egress = find_egress(backend->flags);
	if (!egress)
		return finish(DROP_NO_EGRESS, XDP_DROP);
	if (!is_resolved(backend))
		return finish(DROP_UNRESOLVED, XDP_DROP);
	network = data + offset;
	if (!describe_inner(network, end, job->is_ipv6, &job->inner))
		return finish(DROP_MALFORMED, XDP_DROP);
	if (job->inner.length > egress->mtu)
		return job->is_quote || job->is_untold ? finish(DROP_TOO_BIG, XDP_DROP) : WAY_TOO_BIG + (int)egress->mtu;
	if (!take_hop(network, end, job->is_ipv6))
		return finish(DROP_TTL_EXPIRED, XDP_DROP);
	bytes = bpf_xdp_get_buff_len(context);
	if (offset != sizeof(struct ethhdr)) {
		if (bpf_xdp_adjust_head(context, (int)(offset - sizeof(struct ethhdr))))
			return finish(DROP_MALFORMED, XDP_DROP);
		data = (void *)(long)context->data;
		end = (void *)(long)context->data_end;
	}
	if (data + sizeof(struct ethhdr) > end)
		return finish(DROP_MALFORMED, XDP_DROP);
	write_ethernet(data, sizeof(struct ethhdr), backend->mac, egress->mac, NULL,
		       job->is_ipv6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP));
	return finish_way(job, leave(backend->flags), bytes, job->is_quote ? TX_ICMP_ERROR : TX_FORWARD);
}

/* Whether a backend is not reached in the plain way: forward() is for the others. */
static __always_inline int needs_way(const struct backend *backend)
{
	return (backend->flags & (BACKEND_TUNNELLED | BACKEND_EGRESS)) != own_egress;
}

/* Gathers what is needed and goes the backend's way. */
static __always_inline int go_way(struct xdp_md *context, __u32 network_offset, const struct tuple *tuple,
				  const struct vip *vip, const struct selection *chosen, int is_quote)
{
	struct way_job job = {
		.hash = hash_of(tuple),
		.network_offset = network_offset,
		.vip_id = vip->id,
		.backend = chosen->index,
		.begun = chosen->begun,
		.is_ipv6 = tuple->is_ipv6,
		.is_quote = is_quote,
	};
	int action = chosen->backend->flags & BACKEND_TUNNELLED ? forward_tunnelled(context, &job) :
								  forward_elsewhere(context, &job);

	if (action < WAY_TOO_BIG)
		return action;
	return tuple->is_ipv6 ? answer_too_big6(context, network_offset, action - WAY_TOO_BIG) :
				answer_too_big4(context, network_offset, action - WAY_TOO_BIG);
}

#endif
