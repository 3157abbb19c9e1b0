/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* NAT from backend to client: what a backend sends to an address and port of this host goes on from the VIP. */
#ifndef L4D_NAT_RETURN_H
#define L4D_NAT_RETURN_H

#include "nat_fragment.h"

/* The key under which the connection of such a tuple is stored; `host` is this host's address. */
static __always_inline void fill_nat_tuple(union nat_tuple *key, const __u32 *host, const __u32 *backend, __be16 port,
					   __be16 backend_port, __u8 protocol, const int is_ipv6)
{
	if (is_ipv6) {
		__builtin_memcpy(key->ipv6.source, host, 16);
		__builtin_memcpy(key->ipv6.backend, backend, 16);
		key->ipv6.source_port = port;
		key->ipv6.backend_port = backend_port;
		key->ipv6.protocol = protocol;
	} else {
		key->ipv4.source = host[0];
		key->ipv4.backend = backend[0];
		key->ipv4.source_port = port;
		key->ipv4.backend_port = backend_port;
		key->ipv4.protocol = protocol;
	}
}

/* What the client is to be sent: from the VIP. */
static __always_inline void ends_of_client(struct nat_ends *ends, const struct nat_flow *in, const int is_ipv6)
{
	const struct nat4_in *four = (const struct nat4_in *)in;
	const struct nat6_in *six = (const struct nat6_in *)in;

	if (is_ipv6) {
		__builtin_memcpy(ends->source, six->vip, 16);
		__builtin_memcpy(ends->destination, six->client.client, 16);
		ends->source_port = six->client.vip_port;
		ends->destination_port = six->client.client_port;
	} else {
		ends->source[0] = four->vip;
		ends->destination[0] = four->client.client;
		ends->source_port = four->client.vip_port;
		ends->destination_port = four->client.client_port;
	}
}

/* Those that follow a first fragment from a backend belong to its connection. */
static __always_inline void remember_answer(const struct handover *handed)
{
	struct fragment_work *work = own_fragment_work();

	if (!work)
		return;
	__builtin_memset(work, 0, sizeof(*work));
	fill_fragment_key(&work->key, &handed->tuple, handed->fragment_id, handed->tuple.protocol);
	remember_nat(work, &handed->tuple, 0);
}

static __always_inline int return_packet(struct xdp_md *context, struct handover *handed, const int is_ipv6)
{
	void *end = (void *)(long)context->data_end;
	const struct tuple *tuple = &handed->tuple;
	struct nat_signs signs = { .tick = current_tick() };
	struct nat_ends ends = {};
	union nat_tuple key = {};
	__u32 network_offset, mtu;
	void *network, *transport;
	struct nat_flow *in;

	/* Whatever ports are declared now: the connection may be older. */
	fill_nat_tuple(&key, tuple->vip, tuple->client, tuple->vip_port, tuple->client_port, tuple->protocol, is_ipv6);
	in = find_nat_in(&key, is_ipv6);
	if (!in || !read_signs(context, handed, &signs))
		return finish(PASS_NOT_VIP, XDP_PASS);
	if (in->last_tick != signs.tick || (in->state & (NAT_ANSWERED | NAT_RESET)) != NAT_ANSWERED || signs.fin ||
	    signs.rst) {
		/* The stack has no socket either, and says so to the backend. */
		if (!follow_backend(in, &key, &signs, is_ipv6))
			return finish(PASS_NOT_VIP, XDP_PASS);
	}
	if (signs.acknowledged)
		in->acknowledged = signs.acknowledged;
	if (handed->fragment)
		remember_answer(handed);
	ends_of_client(&ends, in, is_ipv6);
	if (!headers_of(context, handed, &network_offset, &network, &transport))
		return finish(DROP_MALFORMED, XDP_DROP);
	mtu = exceeded_mtu(network, end, in->way.egress, is_ipv6);
	if (mtu)
		return is_ipv6 ? answer_too_big6(context, network_offset, mtu) :
				 answer_too_big4(context, network_offset, mtu);
	if (!take_hop(network, end, is_ipv6))
		return finish(DROP_TTL_EXPIRED, XDP_DROP);
	if (!rewrite_packet(network, transport, end, tuple->protocol, &ends, is_ipv6))
		return finish(DROP_MALFORMED, XDP_DROP);
	return send_frame(context, network_offset, in->way.mac, in->way.egress, &in->way, is_ipv6, TX_NAT_RETURN);
}

/* A later fragment: to the client of its first one, or the stack's. */
static __always_inline int return_later(struct xdp_md *context, struct handover *handed, const int is_ipv6)
{
	void *end = (void *)(long)context->data_end;
	struct fragment_work *work = own_fragment_work();
	const struct tuple *tuple = &handed->tuple;
	struct nat_ends ends = {};
	union nat_tuple key = {};
	void *network, *transport;
	struct fragment *first;
	__u32 network_offset;
	struct nat_flow *in;
	int done;

	if (!work || !headers_of(context, handed, &network_offset, &network, &transport))
		return finish(PASS_NOT_VIP, XDP_PASS);
	__builtin_memset(work, 0, sizeof(*work));
	fill_fragment_key(&work->key, tuple, handed->fragment_id, tuple->protocol);
	first = find_first(work);
	if (!first || first->fate != FRAGMENT_NAT)
		return finish(PASS_NOT_VIP, XDP_PASS);
	fill_nat_tuple(&key, tuple->vip, tuple->client, first->receiver_port, first->sender_port, first->protocol, is_ipv6);
	in = find_nat_in(&key, is_ipv6);
	if (!in)
		return finish(DROP_FRAGMENT, XDP_DROP);
	ends_of_client(&ends, in, is_ipv6);
	done = rewrite_later(network, end, &ends, in->way.egress, is_ipv6);
	if (done)
		return done;
	return send_frame(context, network_offset, in->way.mac, in->way.egress, &in->way, is_ipv6, TX_NAT_RETURN);
}

/* An ICMP error about what this host has sent to a backend: the client is told as of what it has sent to the VIP. */
static __always_inline int return_error(struct xdp_md *context, struct handover *handed, const int is_ipv6)
{
	void *end = (void *)(long)context->data_end;
	__u32 host[4] = {}, backend[4] = {};
	struct nat_ends ends = {}, turned = {};
	union nat_tuple key = {};
	void *network, *transport;
	struct icmp_header *icmp;
	__u32 network_offset;
	struct nat_flow *in;
	__be16 *ports;
	__u8 protocol;

	if (!headers_of(context, handed, &network_offset, &network, &transport))
		return finish(PASS_NOT_VIP, XDP_PASS);
	icmp = transport;
	if ((void *)(icmp + 1) > end)
		return finish(PASS_NOT_VIP, XDP_PASS);
	if (is_ipv6) {
		struct ipv6hdr *inner = (void *)(icmp + 1);

		if ((icmp->type & ICMPV6_INFOMSG_MASK) || (void *)(inner + 1) > end || inner->version != 6)
			return finish(PASS_NOT_VIP, XDP_PASS);
		__builtin_memcpy(host, &inner->saddr, 16);
		__builtin_memcpy(backend, &inner->daddr, 16);
		protocol = inner->nexthdr;
		ports = (void *)(inner + 1);
	} else {
		struct iphdr *inner = (void *)(icmp + 1);

		if ((icmp->type != ICMP_DEST_UNREACH && icmp->type != ICMP_TIME_EXCEEDED &&
		     icmp->type != ICMP_PARAMETERPROB) ||
		    (void *)(inner + 1) > end || inner->version != 4 || inner->ihl < 5 ||
		    (inner->frag_off & bpf_htons(IP_OFFSET_MASK)))
			return finish(PASS_NOT_VIP, XDP_PASS);
		host[0] = inner->saddr;
		backend[0] = inner->daddr;
		protocol = inner->protocol;
		ports = (void *)inner + inner->ihl * 4;
	}
	KEEP_POINTER(ports);
	if ((void *)(ports + 4) > end || (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) ||
	    !is_same_words(host, handed->tuple.vip, is_ipv6 ? 4 : 1))
		return finish(PASS_NOT_VIP, XDP_PASS);
	fill_nat_tuple(&key, host, backend, ports[0], ports[1], protocol, is_ipv6);
	in = find_nat_in(&key, is_ipv6);
	if (!in || is_nat_expired(in, current_tick()))
		return finish(PASS_NOT_VIP, XDP_PASS);
	ends_of_client(&ends, in, is_ipv6);
	turn_ends(&turned, &ends);
	if (!take_hop(network, end, is_ipv6))
		return finish(DROP_TTL_EXPIRED, XDP_DROP);
	if (!rewrite_error(network, icmp, end, &turned, is_ipv6))
		return finish(DROP_MALFORMED, XDP_DROP);
	return send_frame(context, network_offset, in->way.mac, in->way.egress, &in->way, is_ipv6,
			  TX_NAT_RETURN_ERROR);
}

/* The stage: a packet that is no VIP's, while NAT is in use. */
static __always_inline int nat_to_client(struct xdp_md *context, struct handover *handed, const int is_ipv6)
{
	if (handed->fragment == FRAGMENT_LATER)
		return return_later(context, handed, is_ipv6);
	if (handed->parsed == PARSE_OK)
		return return_packet(context, handed, is_ipv6);
	if (handed->parsed == PARSE_OTHER_TRANSPORT && !handed->fragment && handed->tuple.protocol == (is_ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
		return return_error(context, handed, is_ipv6);
	return finish(PASS_NOT_VIP, XDP_PASS);
}

#endif
