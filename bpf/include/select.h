/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which backend: the flow table first, the VIP's scheduler over its table of slots on a miss. */
#ifndef L4D_SELECT_H
#define L4D_SELECT_H

#include "clock.h"
#include "count.h"
#include "flow_table.h"
#include "own_flows.h"
#include "parse.h"
#include "quic.h"
#include "scheduled.h"
#include "slot.h"

enum selection_kind {
	SELECT_FORWARD,
	SELECT_RESET, /* the flow's backend is down and the VIP says reset */
	SELECT_NONE, /* no backend is up */
};

struct selection {
	enum selection_kind kind;
	__u32 index;
	__u32 begun; /* this packet begins a flow */
	struct backend *backend;
};

/* Whether a stored flow's packet stays with its backend; NULL of `backend` means it is gone. */
static __always_inline int flow_stays(const struct backend *backend, const struct tuple *tuple,
				      const struct vip *vip)
{
	if (!backend)
		return 0;
	if (!(backend->flags & (BACKEND_DOWN | BACKEND_DRAINING)))
		return 1;
	/* A new connection on a tuple that is known from an old one. */
	if (tuple->begins)
		return 0;
	if (!(backend->flags & BACKEND_DOWN))
		return 1;
	return tuple->protocol == IPPROTO_TCP && !(vip->flags & VIP_REPICK);
}

static __always_inline struct selection selection_of(int chosen)
{
	struct selection selection = { .kind = SELECT_NONE };

	if (chosen < 0)
		return selection;
	selection.kind = chosen & CHOSEN_RESET ? SELECT_RESET : SELECT_FORWARD;
	selection.begun = !!(chosen & CHOSEN_BEGUN);
	selection.index = chosen & ~(CHOSEN_BEGUN | CHOSEN_RESET);
	selection.backend = bpf_map_lookup_elem(&backends, &selection.index);
	return selection;
}

/*
 * Chooses for a packet that no stored flow decides, and stores the flow. `is_known`: the table has an entry for it,
 * which holds no more. `may_store` is 0 for ICMP errors, which only quote a flow.
 * A SYN is not stored: a flood of them cannot evict flows, and until the first segment after
 * the handshake the table of slots gives the same answer. Where it would not, scheduled.h keeps it elsewhere.
 */
__noinline int choose_backend(const struct tuple *tuple, const struct vip *vip, int is_known, int may_store)
{
	union flow_key key = {};
	struct flow fresh = {};
	struct backend *backend;
	int index, begun;

	if (!tuple || !vip || vip->table_size == 0)
		return -1;
	if (may_store && (vip->flags & VIP_SCHEDULED))
		return choose_scheduled(tuple, vip, is_known);
	index = backend_in_slot(vip, slot_of(tuple, vip));
	backend = bpf_map_lookup_elem(&backends, &index);
	if (index < 0 || !backend || backend->vip_id != vip->id)
		return -1;
	/* Without a flow table the first datagram of a flow cannot be told from the others. */
	begun = tuple->protocol == IPPROTO_TCP ? tuple->begins : may_store && !(vip->flags & VIP_STATELESS);
	/* NAT keeps a table of its own. */
	if (backend->flags & BACKEND_NAT)
		may_store = 0;
	/* A SYN on a stored flow that moved must overwrite it: its ACK would find the old backend. */
	if (may_store && !(vip->flags & VIP_STATELESS) && (is_known || !(tuple->begins || is_reset(tuple)))) {
		fill_flow_key(&key, tuple, vip->id);
		fresh.backend = index;
		fresh.generation = backend->generation;
		fresh.last_tick = current_tick();
		if (!is_known)
			insert_flow(tuple, &key, &fresh);
		else if (!store_flow(tuple, &key, &fresh))
			note(NOTE_FLOW_NOT_STORED);
	}
	return begun ? index | CHOSEN_BEGUN : index;
}

/*
 * Counts the end of a flow of a VIP whose scheduler compares loads; whether this packet is a SYN on such a flow, which
 * then begins afresh. The server's own FIN does not pass here: the client's, which answers it, does.
 */
static __always_inline int is_reopened(struct flow *flow, const struct tuple *tuple)
{
	if (is_end(tuple) && !flow->closed) {
		flow->closed = 1;
		/* The number may be another backend's by now, which has not counted this flow. */
		if (live_backend(flow->backend, flow->generation))
			count_load(flow->backend, -1);
	}
	return tuple->begins && flow->closed;
}

/* A flow of this CPU's own table decides when its backend is up; in all other cases the shared table does: -1. */
static __always_inline int find_own_backend(const struct tuple *tuple, const struct vip *vip,
					    const union flow_key *key, __u32 tick, int may_store)
{
	struct backend *backend;
	struct flow *own;

	if ((vip->flags & VIP_SCHEDULED) && (tuple->begins || is_end(tuple)))
		return -1;
	own = find_own_flow(tuple, key);
	if (!own || is_expired(own, tick, vip))
		return -1;
	backend = live_backend(own->backend, own->generation);
	if (!backend || (backend->flags & (BACKEND_DOWN | BACKEND_DRAINING)))
		return -1;
	if (may_store)
		touch_own_flow(own, tuple, key, vip, tick);
	return own->backend;
}

/* As select_backend, for what most VIPs and hosts do not use: none of it is in the way of those. */
__noinline int choose_otherwise(struct xdp_md *context, __u32 network_offset, const struct tuple *tuple,
				const struct vip *vip, int may_store)
{
	union flow_key key = {};
	struct backend *backend;
	struct flow *flow;
	__u32 tick;
	int index;

	if (!tuple || !vip)
		return -1;
	if ((vip->flags & VIP_QUIC) && may_store) {
		index = find_quic_server(context, network_offset, vip);
		if (index >= 0)
			return index;
		note(NOTE_QUIC_BY_TUPLE);
	}
	if (vip->flags & VIP_STATELESS)
		return choose_backend(tuple, vip, 0, may_store);
	tick = current_tick();
	fill_flow_key(&key, tuple, vip->id);
	if (has_table_by_cpu) {
		index = find_own_backend(tuple, vip, &key, tick, may_store);
		if (index >= 0)
			return tuple->begins ? index | CHOSEN_BEGUN : index;
	}
	flow = find_flow(tuple, &key);
	if (flow) {
		int expired = is_expired(flow, tick, vip);
		int reopened = (vip->flags & VIP_SCHEDULED) && may_store && is_reopened(flow, tuple);

		backend = live_backend(flow->backend, flow->generation);
		if (!expired && !reopened && flow_stays(backend, tuple, vip)) {
			index = flow->backend;
			if ((backend->flags & BACKEND_DOWN) && (vip->flags & VIP_RESET))
				return index | CHOSEN_RESET;
			if (may_store && flow->last_tick != tick)
				flow->last_tick = tick;
			if (has_table_by_cpu && may_store)
				store_own_flow(tuple, &key, flow);
			return tuple->begins ? index | CHOSEN_BEGUN : index;
		}
		if (!reopened)
			note(expired ? NOTE_FLOW_EXPIRED : NOTE_FLOW_REPICKED);
	}
	return choose_backend(tuple, vip, flow != NULL, may_store);
}

/*
 * Chooses the backend of a tuple: that of its stored flow, else what the VIP's scheduler says. What is given to a
 * function lies in memory: the first program gives a copy, so that the tuple itself stays in registers; a stage, which
 * has less stack to spare than time, gives the tuple.
 */
static __always_inline struct selection select_backend(struct xdp_md *context, __u32 network_offset,
						       const struct tuple *tuple, const struct vip *vip,
						       int may_store, const int is_stage)
{
	struct selection chosen = { .kind = SELECT_FORWARD };
	union flow_key key = {};
	const struct tuple *given = tuple;
	struct tuple copy;
	struct flow *flow;
	__u32 tick;

	if (has_table_by_cpu || (vip->flags & (VIP_STATELESS | VIP_SCHEDULED | VIP_QUIC))) {
		if (!is_stage) {
			copy = *tuple;
			given = &copy;
		}
		return selection_of(choose_otherwise(context, network_offset, given, vip, may_store));
	}
	tick = current_tick();
	fill_flow_key(&key, tuple, vip->id);
	flow = find_flow(tuple, &key);
	if (flow) {
		int expired = is_expired(flow, tick, vip);

		chosen.index = flow->backend;
		chosen.backend = live_backend(flow->backend, flow->generation);
		if (!expired && flow_stays(chosen.backend, tuple, vip)) {
			if ((chosen.backend->flags & BACKEND_DOWN) && (vip->flags & VIP_RESET)) {
				chosen.kind = SELECT_RESET;
				return chosen;
			}
			if (may_store && flow->last_tick != tick)
				flow->last_tick = tick;
			chosen.begun = tuple->begins;
			return chosen;
		}
		note(expired ? NOTE_FLOW_EXPIRED : NOTE_FLOW_REPICKED);
	}
	if (!is_stage) {
		copy = *tuple;
		given = &copy;
	}
	return selection_of(choose_backend(given, vip, flow != NULL, may_store));
}

#endif
