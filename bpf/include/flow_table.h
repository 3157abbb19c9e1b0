/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The stored flows: keys, lookups, and how fast new ones may come in. */
#ifndef L4D_FLOW_TABLE_H
#define L4D_FLOW_TABLE_H

#include "clock.h"
#include "count.h"
#include "parse.h"

/* Whether each CPU has a table of its own before the shared one. */
const volatile __u32 has_table_by_cpu = 0;

union flow_key {
	struct flow4_key ipv4;
	struct flow6_key ipv6;
};

static __always_inline void fill_flow_key(union flow_key *key, const struct tuple *tuple, __u32 vip_id)
{
	if (tuple->is_ipv6) {
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

static __always_inline struct flow *find_flow(const struct tuple *tuple, const union flow_key *key)
{
	if (tuple->is_ipv6)
		return bpf_map_lookup_elem(&flows6, &key->ipv6);
	return bpf_map_lookup_elem(&flows4, &key->ipv4);
}

/* False when the table refuses it: it is full of entries that are being changed. */
static __always_inline int store_flow(const struct tuple *tuple, const union flow_key *key, const struct flow *flow)
{
	if (tuple->is_ipv6)
		return bpf_map_update_elem(&flows6, &key->ipv6, flow, BPF_ANY) == 0;
	return bpf_map_update_elem(&flows4, &key->ipv4, flow, BPF_ANY) == 0;
}

static __always_inline int is_expired(const struct flow *flow, __u32 tick, const struct vip *vip)
{
	/* Signed: another CPU may have seen a later tick than this one. */
	return (__s32)(tick - flow->last_tick) > (__s32)vip->idle_ticks;
}

/* When the next batch of stores is due, in coarse nanoseconds; one for all CPUs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 1);
} insert_due SEC(".maps");

/* Stores that this CPU has taken from the host's bucket and not used yet. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 1);
} insert_credit SEC(".maps");

/* Taken from the host's bucket at a time, so that CPUs rarely meet there. */
#define INSERT_BATCH 8

/*
 * Whether a flow that the table does not hold may be stored. The bucket is the host's and not a CPU's:
 * how receive queues spread the traffic does not change what may be stored. A race lets a batch more through.
 */
static __always_inline int may_insert(void)
{
	__u32 zero = 0;
	struct flow_settings *settings = bpf_map_lookup_elem(&flow_settings, &zero);
	__u64 *credit, *due, now, seen;

	if (!settings || !settings->insert_interval)
		return 1;
	credit = bpf_map_lookup_elem(&insert_credit, &zero);
	due = bpf_map_lookup_elem(&insert_due, &zero);
	if (!credit || !due)
		return 1;
	if (*credit) {
		*credit -= 1;
		return 1;
	}
	now = coarse_nanoseconds();
	seen = *(volatile __u64 *)due;
	if ((__s64)(seen - now) > (__s64)settings->insert_burst)
		return 0;
	/* What was not used while nothing came is saved up to the burst and no further. */
	if ((__s64)(seen - now) < 0)
		__sync_val_compare_and_swap(due, seen, now);
	__sync_fetch_and_add(due, INSERT_BATCH * settings->insert_interval);
	*credit = INSERT_BATCH - 1;
	return 1;
}

/* Stores a flow that the shared table does not hold, as fast as may be. */
static __always_inline int insert_flow(const struct tuple *tuple, const union flow_key *key, const struct flow *flow)
{
	int is_stored;

	if (!may_insert()) {
		note(NOTE_FLOW_LIMITED);
		return 0;
	}
	is_stored = store_flow(tuple, key, flow);
	note(is_stored ? NOTE_FLOW_NEW : NOTE_FLOW_NOT_STORED);
	return is_stored;
}

#endif
