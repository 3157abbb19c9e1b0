/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * NAT from client to backend: packets go to the backend's own address and port, from an address and port of this host,
 * so that the backend needs no set-up and answers come back here (nat_return.h).
 */
#ifndef L4D_NAT_H
#define L4D_NAT_H

#include "fragment_memory.h"
#include "nat_allocate.h"
#include "nat_rewrite.h"
#include "nat_table.h"
#include "serve.h"

static __always_inline int read_way(const struct xdp_md *context, const struct handover *handed,
				    struct nat_way *way)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	const struct ethhdr *ethernet = data;

	/* A network header follows. */
	if (data + 22 > end)
		return 0;
	copy_mac(way->mac, ethernet->h_source);
	way->network_offset = handed->network_offset;
	way->tags[0] = handed->network_offset >= 18 ? *(const __u32 *)(data + 12) : 0;
	way->tags[1] = handed->network_offset >= 22 ? *(const __u32 *)(data + 16) : 0;
	way->egress = own_egress;
	return 1;
}

static __always_inline int read_signs(struct xdp_md *context, const struct handover *handed, struct nat_signs *signs)
{
	void *end = (void *)(long)context->data_end;
	void *network, *transport;
	__u32 network_offset;
	struct tcphdr *tcp;

	if (handed->tuple.protocol != IPPROTO_TCP)
		return 1;
	if (!headers_of(context, handed, &network_offset, &network, &transport))
		return 0;
	tcp = transport;
	if ((void *)(tcp + 1) > end)
		return 0;
	signs->is_tcp = 1;
	signs->acknowledged = tcp->ack ? tcp->ack_seq : 0;
	signs->syn = tcp->syn;
	signs->fin = tcp->fin;
	signs->rst = tcp->rst;
	return 1;
}

/* Both sides have spoken, and it does not end. */
static __always_inline int is_settled(const struct nat_flow *out, const struct nat_signs *signs)
{
	if (!signs->is_tcp)
		return 1;
	return (out->state & (NAT_ESTABLISHED | NAT_RESET)) == NAT_ESTABLISHED && !signs->syn && !signs->fin &&
	       !signs->rst;
}

static __always_inline void ends_of_tuple(struct nat_ends *ends, const void *tuple, const int is_ipv6)
{
	const struct nat4_tuple *four = tuple;
	const struct nat6_tuple *six = tuple;

	if (is_ipv6) {
		__builtin_memcpy(ends->source, six->source, 16);
		__builtin_memcpy(ends->destination, six->backend, 16);
		ends->source_port = six->source_port;
		ends->destination_port = six->backend_port;
	} else {
		ends->source[0] = four->source;
		ends->destination[0] = four->backend;
		ends->source_port = four->source_port;
		ends->destination_port = four->backend_port;
	}
}

/*
 * The size that a packet must not exceed to leave by the interface of these flags; 0: it may go. By the interface that
 * it came in by it may.
 */
static __always_inline __u32 exceeded_mtu(void *network, void *end, __u16 flags, const int is_ipv6)
{
	const struct egress *egress;
	struct ipv6hdr *ip6 = network;
	struct iphdr *ip4 = network;
	__u32 length;

	if (!is_elsewhere(flags))
		return 0;
	egress = find_egress(flags);
	if (!egress || network + (is_ipv6 ? sizeof(*ip6) : sizeof(*ip4)) > end)
		return 0;
	length = is_ipv6 ? sizeof(*ip6) + bpf_ntohs(ip6->payload_len) : bpf_ntohs(ip4->tot_len);
	return length > egress->mtu ? egress->mtu : 0;
}

/*
 * Writes the frame's header and sends it out of the interface of `flags`, with the tags of `way` (NULL: those that it
 * has, by its own interface; none by another one).
 */
static __always_inline int send_frame(struct xdp_md *context, __u32 offset, const __u8 *destination, __u16 flags,
				      const struct nat_way *way, const int is_ipv6, enum reason reason)
{
	__u32 out_offset = way ? way->network_offset : is_elsewhere(flags) ? sizeof(struct ethhdr) : offset;
	__be16 protocol = is_ipv6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	const struct egress *egress = NULL;
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	__u32 tags[2] = {};
	int action;

	if (is_elsewhere(flags)) {
		egress = find_egress(flags);
		if (!egress)
			return finish(DROP_NO_EGRESS, XDP_DROP);
	}
	if ((out_offset != 14 && out_offset != 18 && out_offset != 22) || data + 22 > end)
		return finish(DROP_MALFORMED, XDP_DROP);
	tags[0] = way ? way->tags[0] : *(__u32 *)(data + 12);
	tags[1] = way ? way->tags[1] : *(__u32 *)(data + 16);
	if (out_offset != offset && bpf_xdp_adjust_head(context, (int)offset - (int)out_offset))
		return finish(DROP_MALFORMED, XDP_DROP);
	data = (void *)(long)context->data;
	end = (void *)(long)context->data_end;
	/* A network header follows. */
	if (data + 22 > end)
		return finish(DROP_MALFORMED, XDP_DROP);
	write_ethernet(data, out_offset, destination, egress ? egress->mac : (const __u8 *)own_mac, tags, protocol);
	action = leave(flags);
	return action ? finish(reason, action) : finish(DROP_NO_EGRESS, XDP_DROP);
}

/* Sends the frame on to a backend. */
static __always_inline int send_to_backend(struct xdp_md *context, __u32 network_offset, const struct vip *vip,
					   __u32 index, const struct backend *backend, __u32 begun, const int is_ipv6,
					   enum reason reason)
{
	__u32 bytes = frame_bytes(context, network_offset, is_ipv6);

	count_traffic(&vip_counters, vip->id, bytes, begun);
	count_traffic(&backend_counters, index, bytes, begun);
	return send_frame(context, network_offset, backend->mac, backend->flags, NULL, is_ipv6, reason);
}

/* Rewrites a packet whose connection is known, and sends it on. */
static __always_inline int nat_packet(struct xdp_md *context, const struct handover *handed,
				      const struct selection *chosen, const struct nat_ends *ends, const int is_ipv6)
{
	void *end = (void *)(long)context->data_end;
	__u32 network_offset, mtu;
	void *network, *transport;

	if (!chosen->backend || !is_resolved(chosen->backend))
		return finish(DROP_UNRESOLVED, XDP_DROP);
	if (!headers_of(context, handed, &network_offset, &network, &transport))
		return finish(DROP_MALFORMED, XDP_DROP);
	mtu = exceeded_mtu(network, end, chosen->backend->flags, is_ipv6);
	if (mtu)
		return is_ipv6 ? answer_too_big6(context, network_offset, mtu) :
				 answer_too_big4(context, network_offset, mtu);
	if (!take_hop(network, end, is_ipv6))
		return finish(DROP_TTL_EXPIRED, XDP_DROP);
	if (!rewrite_packet(network, transport, end, handed->tuple.protocol, ends, is_ipv6))
		return finish(DROP_MALFORMED, XDP_DROP);
	return send_to_backend(context, network_offset, &handed->vip, chosen->index, chosen->backend, chosen->begun, is_ipv6,
			       TX_NAT);
}

/* The stage: a packet of a VIP that has backends which are reached by NAT. What begins is for the next stage. */
static __always_inline int nat_to_backend(struct xdp_md *context, struct handover *handed, const int is_ipv6)
{
	struct nat_signs signs = { .tick = current_tick() };
	struct selection chosen = { .kind = SELECT_FORWARD };
	struct nat_ends ends = {};
	union flow_key key = {};
	struct nat_flow *out;
	int is_usual;

	if (handed->parsed != PARSE_OK || !read_way(context, handed, &signs.way) || !read_signs(context, handed, &signs))
		return finish(DROP_MALFORMED, XDP_DROP);
	nat_key(&key, &handed->tuple, handed->vip.id, is_ipv6);
	handed->is_refused = 0;
	out = find_nat_out(&key, is_ipv6);
	if (!out)
		return GO_ON(context, STAGE_NAT_BEGIN);
	chosen.index = out->backend;
	chosen.backend = live_backend(out->backend, out->generation);
	is_usual = out->last_tick == signs.tick && is_settled(out, &signs) && chosen.backend &&
		   (chosen.backend->flags & (BACKEND_NAT | BACKEND_DOWN)) == BACKEND_NAT &&
		   is_same_words(&out->way, &signs.way, sizeof(signs.way) / 4);
	if (!is_usual) {
		enum nat_fate fate = follow_client(out, &key, handed, &signs, is_ipv6);

		handed->is_refused = fate == NAT_REFUSE;
		if (fate != NAT_KEEP)
			return GO_ON(context, STAGE_NAT_BEGIN);
		chosen.begun = handed->tuple.begins;
	}
	if (signs.acknowledged)
		out->acknowledged = signs.acknowledged;
	if (is_ipv6)
		ends_of_tuple(&ends, &((struct nat6_out *)out)->tuple, 1);
	else
		ends_of_tuple(&ends, &((struct nat4_out *)out)->tuple, 0);
	return nat_packet(context, handed, &chosen, &ends, is_ipv6);
}

/* Prepares the request, whose way is read, for a connection to a backend; false when this host has nothing to send from. */
static __always_inline int describe_request(struct nat_request *request, const struct handover *handed,
					    const struct selection *chosen, const int is_ipv6)
{
	const struct tuple *tuple = &handed->tuple;
	const struct backend *backend = chosen->backend;
	__be16 port = backend->port ? backend->port : tuple->vip_port;
	struct nat_settings *settings;
	__u32 key = 0;

	settings = bpf_map_lookup_elem(&nat_settings, &key);
	if (!settings || !settings->ports || !(is_ipv6 ? settings->sources6 : settings->sources4))
		return 0;
	request->settings = *settings;
	__builtin_memset(&request->tuple, 0, sizeof(request->tuple));
	nat_key(&request->key, tuple, handed->vip.id, is_ipv6);
	__builtin_memcpy(request->vip, tuple->vip, 16);
	if (is_ipv6) {
		__builtin_memcpy(request->tuple.ipv6.backend, backend->address, 16);
		request->tuple.ipv6.backend_port = port;
		request->tuple.ipv6.protocol = tuple->protocol;
	} else {
		request->tuple.ipv4.backend = *(const __be32 *)(backend->address + 12);
		request->tuple.ipv4.backend_port = port;
		request->tuple.ipv4.protocol = tuple->protocol;
	}
	request->flow.state = 0;
	request->flow.last_tick = current_tick();
	request->flow.idle_ticks = handed->vip.idle_ticks;
	request->flow.backend = chosen->index;
	request->flow.generation = backend->generation;
	request->flow.acknowledged = 0;
	return 1;
}

static __always_inline int refuse(struct xdp_md *context, __u32 network_offset, const int is_ipv6, enum reason sent,
				  enum reason dropped)
{
	return is_ipv6 ? reset_flow6(context, network_offset, sent, dropped) :
			 reset_flow4(context, network_offset, sent, dropped);
}

/* Those that follow this CPU's first fragment go to a backend without NAT, as it does. */
static __always_inline void remember_backend(const struct tuple *tuple, const struct vip *vip,
					     const struct selection *chosen)
{
	struct fragment_work *work = own_fragment_work();

	if (!work)
		return;
	work->fragment.hash = hash_of(tuple);
	work->fragment.backend = chosen->index;
	work->fragment.generation = chosen->backend->generation;
	work->fragment.vip_id = vip->id;
	remember(work, FRAGMENT_FORWARD);
}

/* The stage: a packet of a VIP with NAT whose connection is not known. It begins one, or is refused. */
static __always_inline int begin_to_backend(struct xdp_md *context, struct handover *handed, const int is_ipv6)
{
	struct nat_request *request = own_request();
	void *network, *transport;
	struct nat_ends ends = {};
	struct selection chosen;
	__u32 network_offset;
	__u64 hash;

	if (!headers_of(context, handed, &network_offset, &network, &transport))
		return finish(DROP_MALFORMED, XDP_DROP);
	/* No reset for a part of a segment: what it acknowledges is not known before the whole. */
	if (handed->is_refused && handed->fragment)
		return finish(DROP_NO_BACKEND, XDP_DROP);
	if (handed->is_refused)
		return refuse(context, network_offset, is_ipv6, TX_RESET, DROP_RESET_OF_DEAD);
	chosen = select_backend(context, network_offset, &handed->tuple, &handed->vip, 1, 1);
	if (chosen.kind != SELECT_FORWARD || !chosen.backend || !(chosen.backend->flags & BACKEND_NAT)) {
		if (handed->fragment) {
			if (chosen.kind != SELECT_FORWARD || !chosen.backend)
				return finish(DROP_NO_BACKEND, XDP_DROP);
			remember_backend(&handed->tuple, &handed->vip, &chosen);
		}
		return deliver(context, network_offset, &handed->tuple, &handed->vip, &chosen, 0);
	}
	if (handed->tuple.protocol == IPPROTO_TCP && !handed->tuple.begins && handed->fragment)
		return finish(DROP_FRAGMENT, XDP_DROP);
	if (handed->tuple.protocol == IPPROTO_TCP && !handed->tuple.begins)
		return refuse(context, network_offset, is_ipv6, TX_NAT_RESET, DROP_NAT_STRAY);
	if (!is_resolved(chosen.backend))
		return finish(DROP_UNRESOLVED, XDP_DROP);
	if (!request)
		return finish(DROP_MALFORMED, XDP_DROP);
	/* Into the request at once: this stage has no stack to spare (Linux 6.1 counts in steps of 32 bytes). */
	__builtin_memset(&request->flow.way, 0, sizeof(request->flow.way));
	if (!read_way(context, handed, &request->flow.way))
		return finish(DROP_MALFORMED, XDP_DROP);
	if (!describe_request(request, handed, &chosen, is_ipv6))
		return finish(DROP_NO_NAT_SOURCE, XDP_DROP);
	/* Another number than the one that has chosen the backend: it would leave ports unused. */
	hash = mix(hash_of(&handed->tuple) + 1);
	if (!(is_ipv6 ? begin_nat6(hash) : begin_nat4(hash)))
		return finish(DROP_NAT_FULL, XDP_DROP);
	if (is_ipv6)
		ends_of_tuple(&ends, &request->tuple.ipv6, 1);
	else
		ends_of_tuple(&ends, &request->tuple.ipv4, 0);
	return nat_packet(context, handed, &chosen, &ends, is_ipv6);
}

/* Ends for what goes the other way. */
static __always_inline void turn_ends(struct nat_ends *turned, const struct nat_ends *ends)
{
	__builtin_memcpy(turned->source, ends->destination, 16);
	__builtin_memcpy(turned->destination, ends->source, 16);
	turned->source_port = ends->destination_port;
	turned->destination_port = ends->source_port;
}

/* The stage: an ICMP error for a VIP about a packet that a client was sent; handed->tuple is what it quotes, turned round. */
static __always_inline int nat_error_to_backend(struct xdp_md *context, struct handover *handed, const int is_ipv6)
{
	void *end = (void *)(long)context->data_end;
	struct nat_ends ends = {}, turned = {};
	void *network, *transport;
	struct backend *backend;
	union flow_key key = {};
	__u32 network_offset;
	struct nat_flow *out;

	if (handed->parsed != PARSE_OTHER_TRANSPORT ||
	    !headers_of(context, handed, &network_offset, &network, &transport))
		return finish(DROP_MALFORMED, XDP_DROP);
	nat_key(&key, &handed->tuple, handed->vip.id, is_ipv6);
	out = find_nat_out(&key, is_ipv6);
	if (!out)
		return GO_ON(context, STAGE_NAT_ERROR_OTHER);
	backend = live_backend(out->backend, out->generation);
	if (!backend || !is_resolved(backend))
		return finish(DROP_UNRESOLVED, XDP_DROP);
	if (is_ipv6)
		ends_of_tuple(&ends, &((struct nat6_out *)out)->tuple, 1);
	else
		ends_of_tuple(&ends, &((struct nat4_out *)out)->tuple, 0);
	/* What the client was sent, the backend had sent to this host. */
	turn_ends(&turned, &ends);
	if (!take_hop(network, end, is_ipv6))
		return finish(DROP_TTL_EXPIRED, XDP_DROP);
	if (transport + sizeof(struct icmp_header) > end || !rewrite_error(network, transport, end, &turned, is_ipv6))
		return finish(DROP_MALFORMED, XDP_DROP);
	return send_to_backend(context, network_offset, &handed->vip, out->backend, backend, 0, is_ipv6, TX_NAT_ERROR);
}

/* The stage: an ICMP error for a VIP with NAT that quotes no connection of NAT. Other backends may have it. */
static __always_inline int deliver_error(struct xdp_md *context, struct handover *handed)
{
	void *network, *transport;
	struct selection chosen;
	__u32 network_offset;

	if (!headers_of(context, handed, &network_offset, &network, &transport))
		return finish(DROP_MALFORMED, XDP_DROP);
	chosen = select_backend(context, network_offset, &handed->tuple, &handed->vip, 0, 1);
	/* Without its connection the packet that is quoted is nobody's. */
	if (chosen.backend && (chosen.backend->flags & BACKEND_NAT))
		return finish(PASS_VIP_ICMP, XDP_PASS);
	return deliver(context, network_offset, &handed->tuple, &handed->vip, &chosen, 1);
}

#endif
