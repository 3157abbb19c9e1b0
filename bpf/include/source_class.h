/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Classes of a VIP's clients by the prefixes of their addresses: to a backend, to the proxy, dropped.
 *
 * A change of the list counts for new connections at once. What lives stays on the way that it has, as far as this host
 * knows it: a flow in the flow table or in that of NAT goes on to its backend, and what is the proxy's is known by the
 * kernel's own sockets. Dropped is dropped at once.
 */
#ifndef L4D_SOURCE_CLASS_H
#define L4D_SOURCE_CLASS_H

#include "clock.h"
#include "count.h"
#include "flow_table.h"
#include "nat_entries.h"
#include "parse.h"
#include "select.h"

/* What the list says, else the VIP itself. A number that is no class drops: what is not understood lets nobody in. */
static __always_inline int class_of_source(const struct tuple *tuple, const struct vip *vip)
{
	struct source_key key = { .prefix_length = SOURCE_KEY_BITS, .list = vip->source_list };
	const __u32 *class;

	if (tuple->is_ipv6) {
		__builtin_memcpy(key.address, tuple->client, 16);
	} else {
		key.address[2] = bpf_htonl(0xffff);
		key.address[3] = tuple->client[0];
	}
	class = bpf_map_lookup_elem(&vip_sources, &key);
	if (class)
		return *class < SOURCE_CLASS_COUNT ? *class : CLASS_DROP;
	if (vip->flags & VIP_DROP)
		return CLASS_DROP;
	return vip->flags & VIP_L7 ? CLASS_L7 : CLASS_FORWARD;
}

/* Whether a backend has the flow. `is_over`: it begins anew, as another one, and is forgotten. */
static __always_inline int has_backend_flow(const struct tuple *tuple, const struct vip *vip, int is_over)
{
	__u32 tick = current_tick();
	union flow_key key = {};
	struct nat_flow *out;
	struct flow *flow;

	fill_flow_key(&key, tuple, vip->id);
	out = vip->flags & VIP_NAT ? find_nat_out(&key, tuple->is_ipv6) : NULL;
	flow = vip->flags & VIP_STATELESS ? NULL : find_flow(tuple, &key);
	if (is_over) {
		if (out)
			delete_nat_out(&key, tuple->is_ipv6);
		if (flow && tuple->is_ipv6)
			bpf_map_delete_elem(&flows6, &key.ipv6);
		else if (flow)
			bpf_map_delete_elem(&flows4, &key.ipv4);
		return 0;
	}
	if (out && !is_nat_expired(out, tick))
		return 1;
	return flow && !is_expired(flow, tick, vip) && live_backend(flow->backend, flow->generation);
}

/*
 * Whether this host's stack has the connection. Of one that is over it waits for no more than the client's FIN, sent
 * again; all else may be of the client's next connection with these ports, whose SYN went to a backend.
 */
static __always_inline int has_own_connection(struct xdp_md *context, const struct tuple *tuple)
{
	struct bpf_sock_tuple key = {};
	struct bpf_sock *sk;
	__u32 state;

	if (tuple->is_ipv6) {
		__builtin_memcpy(key.ipv6.saddr, tuple->client, 16);
		__builtin_memcpy(key.ipv6.daddr, tuple->vip, 16);
		key.ipv6.sport = tuple->client_port;
		key.ipv6.dport = tuple->vip_port;
		sk = bpf_skc_lookup_tcp(context, &key, sizeof(key.ipv6), BPF_F_CURRENT_NETNS, 0);
	} else {
		key.ipv4.saddr = tuple->client[0];
		key.ipv4.daddr = tuple->vip[0];
		key.ipv4.sport = tuple->client_port;
		key.ipv4.dport = tuple->vip_port;
		sk = bpf_skc_lookup_tcp(context, &key, sizeof(key.ipv4), BPF_F_CURRENT_NETNS, 0);
	}
	if (!sk)
		return 0;
	state = sk->state;
	bpf_sk_release(sk);
	if (state == BPF_TCP_TIME_WAIT)
		return !!(tuple->tcp_flags & TCP_FLAG_FIN_BIT);
	return state != BPF_TCP_LISTEN;
}

/*
 * The way of a packet of a VIP with VIP_CLASSED: enum source_class. `is_quote`: an ICMP error that quotes the tuple, which
 * begins nothing. Not inlined: verified once, and in the way of no other VIP.
 */
__noinline int class_of_packet(struct xdp_md *context, const struct tuple *tuple, const struct vip *vip, int is_quote)
{
	int class;

	if (!tuple || !vip)
		return CLASS_DROP;
	class = class_of_source(tuple, vip);
	if (class == CLASS_DROP || !(vip->flags & VIP_PROXIED))
		return class;
	if (class == CLASS_L7)
		return has_backend_flow(tuple, vip, tuple->begins && !is_quote) ? CLASS_FORWARD : CLASS_L7;
	if (tuple->protocol != IPPROTO_TCP || tuple->begins || has_backend_flow(tuple, vip, 0))
		return CLASS_FORWARD;
	return has_own_connection(context, tuple) ? CLASS_L7 : CLASS_FORWARD;
}

/* Counts a packet that does not go to a backend, for its class. */
static __always_inline void count_class(const struct vip *vip, int class, __u32 bytes, __u32 begun)
{
	count_traffic(&class_counters, 2 * vip->id + (class == CLASS_DROP), bytes, begun);
}

#endif
