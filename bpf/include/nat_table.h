/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The connections of NAT: keeping and ending them. */
#ifndef L4D_NAT_TABLE_H
#define L4D_NAT_TABLE_H

#include "clock.h"
#include "count.h"
#include "nat_entries.h"
#include "parse.h"
#include "select.h"

/* What of a packet moves a connection on. */
struct nat_signs {
	struct nat_way way; /* of the client */
	__u32 tick; /* when it came */
	__be32 acknowledged; /* of TCP; 0: nothing */
	__u8 is_tcp;
	__u8 syn; /* also with ACK */
	__u8 fin;
	__u8 rst;
};

/* The key of a client's tuple: as of the flow table. */
static __always_inline void nat_key(union flow_key *key, const struct tuple *tuple, __u32 vip_id, const int is_ipv6)
{
	if (is_ipv6) {
		__builtin_memcpy(key->ipv6.client, tuple->client, 16);
		key->ipv6.vip_id = vip_id;
		key->ipv6.client_port = tuple->client_port;
		key->ipv6.vip_port = tuple->vip_port;
	} else {
		key->ipv4.client = tuple->client[0];
		key->ipv4.vip_id = vip_id;
		key->ipv4.client_port = tuple->client_port;
		key->ipv4.vip_port = tuple->vip_port;
	}
}

/* Sets and clears bits of both entries' state. */
static __always_inline void mark_nat(struct nat_flow *one, struct nat_flow *other, __u32 set, __u32 clear)
{
	if (~one->state & set)
		__sync_fetch_and_or(&one->state, set);
	if (~other->state & set)
		__sync_fetch_and_or(&other->state, set);
	if (one->state & clear)
		__sync_fetch_and_and(&one->state, ~clear);
	if (other->state & clear)
		__sync_fetch_and_and(&other->state, ~clear);
}

static __always_inline void forget_nat_out(struct nat_flow *out, const union flow_key *key, int is_ipv6)
{
	union nat_tuple tuple = {};
	int has_in = in_of_out(out, key, is_ipv6) != NULL;

	if (is_ipv6)
		__builtin_memcpy(&tuple.ipv6, &((struct nat6_out *)out)->tuple, sizeof(tuple.ipv6));
	else
		__builtin_memcpy(&tuple.ipv4, &((struct nat4_out *)out)->tuple, sizeof(tuple.ipv4));
	delete_nat_out(key, is_ipv6);
	if (has_in)
		delete_nat_in(&tuple, is_ipv6);
}

/* What becomes of a packet whose connection is known. */
enum nat_fate {
	NAT_KEEP, /* goes on */
	NAT_BEGIN, /* is forgotten, and the packet may begin another one */
	NAT_REFUSE, /* is forgotten, for its backend is down and the VIP says reset */
};

/*
 * Follows a connection by a packet of the client that is more than one of many within a tick: what it says of the
 * connection's state, whether its backend still has it, and the way that answers take.
 */
static __noinline enum nat_fate follow_client(struct nat_flow *out, const union flow_key *key, struct handover *handed,
					      const struct nat_signs *signs, int is_ipv6)
{
	const struct tuple *tuple = &handed->tuple;
	const struct vip *vip = &handed->vip;
	const struct nat_way *way = &signs->way;
	struct nat_flow *in = in_of_out(out, key, is_ipv6);
	struct backend *backend = live_backend(out->backend, out->generation);
	__u32 set = 0, clear = 0, tick = signs->tick;

	if (!in || is_nat_expired(out, tick)) {
		note(NOTE_FLOW_EXPIRED);
		forget_nat_out(out, key, is_ipv6);
		return NAT_BEGIN;
	}
	if (!backend || !(backend->flags & BACKEND_NAT) || !flow_stays(backend, tuple, vip)) {
		note(NOTE_FLOW_REPICKED);
		forget_nat_out(out, key, is_ipv6);
		return NAT_BEGIN;
	}
	if ((backend->flags & BACKEND_DOWN) && (vip->flags & VIP_RESET)) {
		forget_nat_out(out, key, is_ipv6);
		return NAT_REFUSE;
	}
	if (tuple->begins) {
		/* The client's ports serve again: a new connection in the place of one that was over for the client. */
		if (out->state & (NAT_CLIENT_FIN | NAT_BACKEND_FIN | NAT_RESET))
			clear = ~0u;
	} else if (signs->rst) {
		set = NAT_RESET;
	} else {
		clear = NAT_RESET;
		if (signs->fin)
			set = NAT_CLIENT_FIN;
		if (out->state & NAT_ANSWERED)
			set |= NAT_ESTABLISHED;
	}
	mark_nat(out, in, set, clear);
	if (!is_same_words(&out->way, way, sizeof(*way) / 4)) {
		out->way = *way;
		in->way = *way;
	}
	out->idle_ticks = vip->idle_ticks;
	in->idle_ticks = vip->idle_ticks;
	out->last_tick = tick;
	in->last_tick = tick;
	return NAT_KEEP;
}

/* As follow_client, by a packet of the backend; false when the connection is over. */
static __noinline int follow_backend(struct nat_flow *in, const union nat_tuple *tuple, const struct nat_signs *signs,
				     int is_ipv6)
{
	struct nat_flow *out = out_of_in(in, tuple, is_ipv6);
	__u32 set = NAT_ANSWERED, clear = 0, tick = signs->tick;

	if (!out || is_nat_expired(in, tick))
		return 0;
	if (signs->rst) {
		set |= NAT_RESET;
	} else {
		if (!signs->syn)
			clear = NAT_RESET;
		if (signs->fin)
			set |= NAT_BACKEND_FIN;
		if (!signs->is_tcp)
			set |= NAT_ESTABLISHED;
	}
	mark_nat(in, out, set, clear);
	in->last_tick = tick;
	out->last_tick = tick;
	return 1;
}

#endif
