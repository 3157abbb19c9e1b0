/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Hosts of other subnets that share connections for the proxy: packets go to them whole, within UDP (GUE variant 0,
 * draft-ietf-intarea-gue, with the mark as private data), from this host's declared address to theirs.
 *
 * What comes from such an address is taken out and goes the ordinary way from the begin on, from a MAC address that is
 * made up for its sender, which says what the source MAC address of a host in the same subnet says. Nothing else takes a mark out
 * of a packet, so that no client can write one: it would have to send from the address of a host.
 */
#ifndef L4D_PROXY_FAR_H
#define L4D_PROXY_FAR_H

#include "count.h"
#include "encapsulate.h"
#include "forward.h"
#include "handover.h"
#include "serve.h"
#include "stages.h"
#include "unwrap.h"
#include "vip_lookup.h"
#include "way.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct proxy_far);
	__uint(max_entries, MAX_PROXY_HOSTS);
} proxy_far SEC(".maps");

/* Numbers in it, by the address of the host; those that do not answer too: what they still send is marked. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct tunnel_end_key);
	__type(value, __u32);
	__uint(max_entries, 2 * MAX_PROXY_HOSTS);
} proxy_far_numbers SEC(".maps");

#define PROXY_MAC_BITS 0xffffffffffffull
#define PROXY_TUNNEL_BYTES (sizeof(struct udphdr) + sizeof(struct proxy_tunnel_header))

/* A packet that is to be wrapped. */
struct far_job {
	__u64 hash; /* of the flow */
	__u32 network_offset;
	__u32 number; /* in proxy_far */
	__u8 is_ipv6;
	__u8 mark; /* enum proxy_mark */
	__u8 is_untold; /* another host has handed it over: its sender is not where it came from */
	__u8 pad[5];
	/* Filled by what gets the job, as in struct way_job. */
	struct inner_packet inner;
};

/* UDP and the header behind it. `address_sum`: of the outer addresses where a checksum is to be written, as in write_udp. */
static __always_inline void write_proxy_tunnel(struct udphdr *udp, const struct proxy_far *far,
					       const struct far_job *job, int has_checksum, __u32 address_sum)
{
	struct proxy_tunnel_header *header = (void *)(udp + 1);
	__u32 *words = (__u32 *)header;

	words[0] = bpf_htonl((__u32)PROXY_TUNNEL_LENGTH << 24 |
			     (__u32)(job->inner.is_ipv6 ? IPPROTO_IPV6 : IPPROTO_IPIP) << 16);
	words[1] = bpf_htonl((__u32)job->mark << 24);
	udp->source = bpf_htons(TUNNEL_SOURCE_PORTS | (job->hash & TUNNEL_SOURCE_MASK));
	udp->dest = far->port;
	udp->len = bpf_htons(PROXY_TUNNEL_BYTES + job->inner.length);
	udp->check = 0;
	if (!has_checksum)
		return;
	udp->check = fold_checksum(address_sum + bpf_htons(IPPROTO_UDP) + udp->len +
				   sum_words(udp, PROXY_TUNNEL_BYTES / 2) + job->inner.sum);
	if (udp->check == 0)
		udp->check = 0xffff;
}

static __always_inline void write_far4(struct iphdr *ip, const struct proxy_far *far, const struct far_job *job)
{
	__u32 *words = (__u32 *)ip;

	words[0] = bpf_htonl(0x45000000 | (__u32)job->inner.traffic_class << 16 |
			     (sizeof(*ip) + PROXY_TUNNEL_BYTES + job->inner.length));
	words[1] = bpf_htonl(IP_DONT_FRAGMENT);
	words[2] = bpf_htonl(REPLY_TTL << 24 | IPPROTO_UDP << 16);
	ip->saddr = far->source[3];
	ip->daddr = far->remote[3];
	ip->check = fold_checksum(sum_words(ip, sizeof(*ip) / 2));
	write_proxy_tunnel((struct udphdr *)(ip + 1), far, job, 0, 0);
}

static __always_inline void write_far6(struct ipv6hdr *ip, const struct proxy_far *far, const struct far_job *job)
{
	*(__u32 *)ip = bpf_htonl(0x60000000 | (__u32)job->inner.traffic_class << 20 | ((job->hash >> 12) & FLOW_LABEL_MASK));
	ip->payload_len = bpf_htons(PROXY_TUNNEL_BYTES + job->inner.length);
	ip->nexthdr = IPPROTO_UDP;
	ip->hop_limit = REPLY_TTL;
	__builtin_memcpy(&ip->saddr, far->source, 16);
	__builtin_memcpy(&ip->daddr, far->remote, 16);
	write_proxy_tunnel((struct udphdr *)(ip + 1), far, job, job->inner.is_summed, sum_words(&ip->saddr, 16));
}

static __always_inline const struct proxy_far *find_far(__u32 number)
{
	return bpf_map_lookup_elem(&proxy_far, &number);
}

/* No ICMP error is sent about one (RFC 1122 section 3.2.2). */
static __always_inline int is_icmp_packet(void *network, void *end, int is_ipv6)
{
	if (is_ipv6)
		return network + sizeof(struct ipv6hdr) <= end && ((struct ipv6hdr *)network)->nexthdr == IPPROTO_ICMPV6;
	return network + sizeof(struct iphdr) <= end && ((struct iphdr *)network)->protocol == IPPROTO_ICMP;
}

/*
 * Wraps a packet and sends it on; WAY_TOO_BIG plus the size that fits when it is too big. Not inlined: verified once, and
 * it takes no registers from what is handed over by MAC address.
 */
__noinline int send_far(struct xdp_md *context, struct far_job *job)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	const struct proxy_far *far;
	__u32 offset, overhead, words[5];
	int outer_ipv6, mtu;
	void *network;
	__u64 way;

	if (!job)
		return finish(DROP_MALFORMED, XDP_DROP);
	offset = job->network_offset;
	far = find_far(job->number);
	if (!far || offset > 22)
		return finish(DROP_MALFORMED, XDP_DROP);
	way = *(const volatile __u64 *)far->mac;
	if (!(way & PROXY_MAC_BITS))
		return finish(DROP_UNRESOLVED, XDP_DROP);
	mtu = way >> 48;
	outer_ipv6 = !is_mapped_ipv4(far->remote);
	overhead = PROXY_TUNNEL_BYTES + (outer_ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	network = data + offset;
	if (!describe_inner(network, end, job->is_ipv6, &job->inner) ||
	    offset + job->inner.length > bpf_xdp_get_buff_len(context))
		return finish(DROP_MALFORMED, XDP_DROP);
	if (job->inner.length + overhead > mtu) {
		if (job->is_untold || is_icmp_packet(network, end, job->is_ipv6))
			return finish(DROP_TOO_BIG, XDP_DROP);
		return WAY_TOO_BIG + mtu - overhead;
	}
	if (!take_hop(network, end, job->is_ipv6))
		return finish(DROP_TTL_EXPIRED, XDP_DROP);
	if (outer_ipv6) {
		if (job->is_ipv6 && network + sizeof(struct ipv6hdr) <= end)
			job->inner.sum = sum_of_packet6(network);
		else if (!job->is_ipv6 && network + sizeof(struct iphdr) <= end)
			job->inner.sum = sum_of_packet4(network);
	}
	if (data + 22 > end)
		return finish(DROP_MALFORMED, XDP_DROP);
	__builtin_memcpy(words, data, sizeof(words));
	if (bpf_xdp_adjust_head(context, -(int)overhead))
		return finish(DROP_MALFORMED, XDP_DROP);
	data = (void *)(long)context->data;
	end = (void *)(long)context->data_end;
	network = data + offset;
	KEEP_POINTER(network);
	if (data + 22 > end || network + sizeof(struct ipv6hdr) + PROXY_TUNNEL_BYTES > end)
		return finish(DROP_MALFORMED, XDP_DROP);
	write_ethernet(data, offset, (const __u8 *)&way, (const __u8 *)words, &words[3],
		       outer_ipv6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP));
	if (outer_ipv6)
		write_far6(network, far, job);
	else
		write_far4(network, far, job);
	note(NOTE_PROXY_WRAPPED);
	return finish(job->mark == PROXY_HANDED_LAST ? TX_PROXY_SECOND : TX_PROXY_HOST, XDP_TX);
}

/* Hands a packet over to a host of another subnet; a client whose packet does not fit is told. */
static __always_inline int hand_far(struct xdp_md *context, const struct handover *handed, __u32 number, int is_last)
{
	struct far_job job = {
		.hash = hash_of(&handed->tuple),
		.network_offset = *(const volatile __u32 *)&handed->network_offset,
		.number = number,
		.is_ipv6 = handed->tuple.is_ipv6,
		.mark = is_last ? PROXY_HANDED_LAST : PROXY_HANDED,
		.is_untold = handed->proxy_mark != 0,
	};
	int action = send_far(context, &job);

	if (action < WAY_TOO_BIG)
		return action;
	return job.is_ipv6 ? answer_too_big6(context, job.network_offset, action - WAY_TOO_BIG) :
			     answer_too_big4(context, job.network_offset, action - WAY_TOO_BIG);
}

#endif
