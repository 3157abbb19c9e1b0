/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which backend: the flow table first, the VIP's Maglev table on a miss. */
#ifndef L4D_SELECT_H
#define L4D_SELECT_H

#include "count.h"
#include "parse.h"

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

union flow_key {
	struct flow4_key ipv4;
	struct flow6_key ipv6;
};

/* The finalizer of SplitMix64: every bit of the input moves every bit of the output. */
static __always_inline __u64 mix(__u64 value)
{
	value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
	value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
	return value ^ (value >> 31);
}

/* A number that stays for a flow: of the client's address and both ports. */
static __always_inline __u64 hash_of(const struct tuple *tuple)
{
	__u64 ports = (__u64)tuple->client_port << 16 | tuple->vip_port;
	__u64 hash;

	if (!tuple->is_ipv6)
		return mix((__u64)tuple->client[0] << 32 | ports);
	hash = mix((__u64)tuple->client[0] << 32 | tuple->client[1]);
	hash = mix(hash ^ ((__u64)tuple->client[2] << 32 | tuple->client[3]));
	return mix(hash ^ ports);
}

/*
 * The slot of a tuple. It depends on the tuple alone, without a seed, so that every host of the
 * fabric answers alike; l4d/src/core/forwarding/flow-slot.ts holds the same function.
 */
static __always_inline __u32 slot_of(const struct tuple *tuple, __u32 table_size)
{
	return (__u32)((hash_of(tuple) >> 32) * table_size >> 32);
}

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

static __always_inline struct backend *live_backend(__u32 index, __u32 generation)
{
	struct backend *backend = bpf_map_lookup_elem(&backends, &index);

	if (!backend || backend->generation != generation)
		return NULL;
	return backend;
}

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

/* Nanoseconds of a jiffy on this machine; 0 where the loader does not know. */
const volatile __u32 jiffy_nanoseconds = 0;

/* The verifier inlines the jiffies' read and drops the other branch; the helper's call costs 15 ns. */
static __always_inline __u32 current_tick(void)
{
	if (jiffy_nanoseconds)
		return (bpf_jiffies64() * jiffy_nanoseconds) >> FLOW_TICK_SHIFT;
	return bpf_ktime_get_coarse_ns() >> FLOW_TICK_SHIFT;
}

/*
 * Chooses the backend of a tuple. `may_store` is 0 for ICMP errors, which only quote a flow.
 * A SYN is not stored: a flood of them cannot evict flows, and until the first segment after
 * the handshake the Maglev table gives the same answer.
 */
static __always_inline struct selection select_backend(const struct tuple *tuple, const struct vip *vip,
						       int may_store)
{
	struct selection chosen = { .kind = SELECT_FORWARD };
	union flow_key key = {};
	__u32 tick = current_tick();
	struct flow *flow, fresh = {};
	struct slot_pair *pair;
	__u32 slot, pair_index;

	fill_flow_key(&key, tuple, vip->id);
	if (tuple->is_ipv6)
		flow = bpf_map_lookup_elem(&flows6, &key.ipv6);
	else
		flow = bpf_map_lookup_elem(&flows4, &key.ipv4);
	if (flow) {
		/* Signed: another CPU may have seen a later tick than this one. */
		int expired = (__s32)(tick - flow->last_tick) > (__s32)vip->idle_ticks;

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

	if (vip->table_size == 0) {
		chosen.kind = SELECT_NONE;
		return chosen;
	}
	slot = vip->table_offset + slot_of(tuple, vip->table_size);
	pair_index = slot / SLOTS_PER_PAIR;
	pair = bpf_map_lookup_elem(&maglev_slots, &pair_index);
	if (!pair) {
		chosen.kind = SELECT_NONE;
		return chosen;
	}
	chosen.index = pair->slot[slot % SLOTS_PER_PAIR];
	chosen.backend = bpf_map_lookup_elem(&backends, &chosen.index);
	if (!chosen.backend || chosen.backend->vip_id != vip->id) {
		chosen.kind = SELECT_NONE;
		return chosen;
	}
	chosen.begun = tuple->protocol == IPPROTO_TCP ? tuple->begins : may_store;
	/* A SYN on a stored flow that moved must overwrite it: its ACK would find the old backend. */
	if (!may_store || ((tuple->begins || tuple->is_reset) && !flow))
		return chosen;
	fresh.backend = chosen.index;
	fresh.generation = chosen.backend->generation;
	fresh.last_tick = tick;
	if (tuple->is_ipv6)
		note(bpf_map_update_elem(&flows6, &key.ipv6, &fresh, BPF_ANY) ? NOTE_FLOW_NOT_STORED :
										NOTE_FLOW_NEW);
	else
		note(bpf_map_update_elem(&flows4, &key.ipv4, &fresh, BPF_ANY) ? NOTE_FLOW_NOT_STORED :
										NOTE_FLOW_NEW);
	return chosen;
}

#endif
