/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Schedulers that answer differently each time they are asked: round robin and least connections. The first answer
 * of a flow is kept in a small table of its own, where a flood of first packets evicts other first packets alone, and
 * goes over into the flow table with the second packet (TCP: the first that is no SYN).
 */
#ifndef L4D_SCHEDULED_H
#define L4D_SCHEDULED_H

#include "flow_table.h"
#include "slot.h"

/*
 * What the functions that choose a backend return: its index, below 2^24 (CHECK_MARK), with these beside it; below 0
 * there is none.
 */
#define CHOSEN_BEGUN (1 << 30) /* this packet begins a flow */
#define CHOSEN_RESET (1 << 29) /* the flow's backend is down and the VIP says reset */

static __always_inline struct backend *live_backend(__u32 index, __u32 generation)
{
	struct backend *backend = bpf_map_lookup_elem(&backends, &index);

	if (!backend || backend->generation != generation)
		return NULL;
	return backend;
}

/*
 * Two packets of different CPUs may meet here: the sum is atomic, and what lies below zero for a while is no load
 * (load_of). A look before the sum would not hold when the sum is made.
 */
static __always_inline void count_load(__u32 index, int change)
{
	struct backend_load *load = bpf_map_lookup_elem(&backend_loads, &index);

	if (load)
		__sync_fetch_and_add(&load->flows, change);
}

static __always_inline __u64 load_of(const struct backend_load *load)
{
	__s32 flows = load->flows;

	return flows > 0 ? flows : 0;
}

/* The next slot of this CPU's round; the first is by chance, so that CPUs do not go in step. */
static __always_inline int next_in_turn(const struct vip *vip)
{
	__u32 id = vip->id, slot = 0;
	__u64 *turn = bpf_map_lookup_elem(&vip_turns, &id);

	if (turn) {
		if (!*turn)
			*turn = bpf_get_prandom_u32() | 1;
		slot = *turn % vip->table_size;
		*turn = slot + 1 == vip->table_size ? vip->table_size : slot + 1;
	}
	return backend_in_slot(vip, slot);
}

/*
 * The less loaded for its weight of two backends drawn by chance: much better than one, and unlike the least loaded
 * of all it does not send everybody to the same one while loads are a little old.
 */
static __always_inline int less_loaded(const struct vip *vip)
{
	int one = backend_in_slot(vip, (__u64)bpf_get_prandom_u32() * vip->table_size >> 32);
	int other = backend_in_slot(vip, (__u64)bpf_get_prandom_u32() * vip->table_size >> 32);
	struct backend_load *load_of_one = bpf_map_lookup_elem(&backend_loads, &one);
	struct backend_load *load_of_other = bpf_map_lookup_elem(&backend_loads, &other);

	if (!load_of_one || !load_of_other)
		return one;
	return load_of(load_of_other) * load_of_one->weight < load_of(load_of_one) * load_of_other->weight ? other : one;
}

static __always_inline struct flow *find_embryo(const struct tuple *tuple, const union flow_key *key)
{
	if (tuple->is_ipv6)
		return bpf_map_lookup_elem(&embryonic6, &key->ipv6);
	return bpf_map_lookup_elem(&embryonic4, &key->ipv4);
}

static __always_inline void store_embryo(const struct tuple *tuple, const union flow_key *key, const struct flow *flow)
{
	if (tuple->is_ipv6)
		bpf_map_update_elem(&embryonic6, &key->ipv6, flow, BPF_ANY);
	else
		bpf_map_update_elem(&embryonic4, &key->ipv4, flow, BPF_ANY);
	note(NOTE_FLOW_EMBRYONIC);
}

static __always_inline void remove_embryo(const struct tuple *tuple, const union flow_key *key)
{
	if (tuple->is_ipv6)
		bpf_map_delete_elem(&embryonic6, &key->ipv6);
	else
		bpf_map_delete_elem(&embryonic4, &key->ipv4);
}

/*
 * Index of the backend for a packet that no stored flow decides, -1 when there is none; stores what is to be stored.
 * `is_known`: the flow table has an entry for it, which does not hold any more and is overwritten. A segment in the
 * middle of a connection that nothing is known of goes by the hash, so that its next ones go there too.
 */
static __always_inline int choose_scheduled(const struct tuple *tuple, const struct vip *vip, int is_known)
{
	struct flow *embryo, fresh = {};
	struct backend *backend = NULL;
	union flow_key key = {};
	__u32 tick = current_tick();
	int index = -1, begins;

	fill_flow_key(&key, tuple, vip->id);
	embryo = find_embryo(tuple, &key);
	if (embryo && !is_expired(embryo, tick, vip)) {
		backend = live_backend(embryo->backend, embryo->generation);
		if (backend && (backend->flags & (BACKEND_DOWN | BACKEND_DRAINING)))
			backend = NULL;
		if (backend)
			index = embryo->backend;
	}
	begins = tuple->protocol == IPPROTO_TCP ? tuple->begins : !backend;
	if (!backend) {
		embryo = NULL;
		if (!begins && !is_known)
			index = backend_in_slot(vip, slot_of(tuple, vip));
		else if (vip->flags & VIP_ROUND_ROBIN)
			index = next_in_turn(vip);
		else
			index = less_loaded(vip);
		backend = bpf_map_lookup_elem(&backends, &index);
		if (index < 0 || !backend || backend->vip_id != vip->id)
			return -1;
	}
	fresh.backend = index;
	fresh.generation = backend->generation;
	fresh.last_tick = tick;
	/* What its client ends with this very packet is no load. */
	fresh.closed = is_end(tuple) ? 1 : 0;
	if (is_known) {
		if (!store_flow(tuple, &key, &fresh))
			note(NOTE_FLOW_NOT_STORED);
		count_load(index, !fresh.closed);
	} else if (begins) {
		if (!embryo)
			store_embryo(tuple, &key, &fresh);
	} else if (!is_reset(tuple) && insert_flow(tuple, &key, &fresh)) {
		count_load(index, !fresh.closed);
		if (embryo)
			remove_embryo(tuple, &key);
	}
	if (embryo)
		embryo->last_tick = tick;
	return begins ? index | CHOSEN_BEGUN : index;
}

#endif
