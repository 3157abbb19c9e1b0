/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * A table for each CPU before the shared one: a hit in it touches no memory that another CPU writes. It holds
 * copies. The shared table has every flow, is looked in on a miss, and decides where a copy is in doubt.
 */
#ifndef L4D_OWN_FLOWS_H
#define L4D_OWN_FLOWS_H

#include "flow_table.h"

/* A copy tells the shared entry that its flow lives, so often at most: every 16 ticks. */
#define OWN_REFRESH_SHIFT 4

/* The compiler must not merge the calls for both families: of a table that may be either the kernel cannot inline any. */
#define KEEP_APART asm volatile("")

static __always_inline struct flow *find_own_flow(const struct tuple *tuple, const union flow_key *key)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct flow *flow = NULL;
	void *table;

	if (tuple->is_ipv6) {
		table = bpf_map_lookup_elem(&flows6_by_cpu, &cpu);
		if (table)
			flow = bpf_map_lookup_elem(table, &key->ipv6);
		KEEP_APART;
		return flow;
	}
	table = bpf_map_lookup_elem(&flows4_by_cpu, &cpu);
	if (table)
		flow = bpf_map_lookup_elem(table, &key->ipv4);
	return flow;
}

static __always_inline void store_own_flow(const struct tuple *tuple, const union flow_key *key,
					   const struct flow *flow)
{
	__u32 cpu = bpf_get_smp_processor_id();
	void *table;

	if (tuple->is_ipv6) {
		table = bpf_map_lookup_elem(&flows6_by_cpu, &cpu);
		if (table)
			bpf_map_update_elem(table, &key->ipv6, flow, BPF_ANY);
		KEEP_APART;
		return;
	}
	table = bpf_map_lookup_elem(&flows4_by_cpu, &cpu);
	if (table)
		bpf_map_update_elem(table, &key->ipv4, flow, BPF_ANY);
}

/* Keeps both entries of a flow young; the shared one that was evicted is stored again. */
static __always_inline void touch_own_flow(struct flow *own, const struct tuple *tuple, const union flow_key *key,
					   const struct vip *vip, __u32 tick)
{
	__u32 before = own->last_tick;
	struct flow *shared;

	if (before == tick)
		return;
	own->last_tick = tick;
	if ((before ^ tick) >> OWN_REFRESH_SHIFT == 0 && vip->idle_ticks > 4 << OWN_REFRESH_SHIFT)
		return;
	shared = find_flow(tuple, key);
	if (shared) {
		shared->last_tick = tick;
		return;
	}
	insert_flow(tuple, key, own);
}

#endif
