/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The entries of NAT's connections: finding and deleting them, and when one is over. */
#ifndef L4D_NAT_ENTRIES_H
#define L4D_NAT_ENTRIES_H

#include "flow_table.h"
#include "nat_maps.h"

union nat_tuple {
	struct nat4_tuple ipv4;
	struct nat6_tuple ipv6;
};

static __always_inline struct nat_flow *find_nat_out(const union flow_key *key, int is_ipv6)
{
	if (is_ipv6)
		return bpf_map_lookup_elem(&nat6_out, &key->ipv6);
	return bpf_map_lookup_elem(&nat4_out, &key->ipv4);
}

static __always_inline struct nat_flow *find_nat_in(const union nat_tuple *tuple, int is_ipv6)
{
	if (is_ipv6)
		return bpf_map_lookup_elem(&nat6_in, &tuple->ipv6);
	return bpf_map_lookup_elem(&nat4_in, &tuple->ipv4);
}

static __always_inline void delete_nat_out(const union flow_key *key, int is_ipv6)
{
	if (is_ipv6)
		bpf_map_delete_elem(&nat6_out, &key->ipv6);
	else
		bpf_map_delete_elem(&nat4_out, &key->ipv4);
}

static __always_inline void delete_nat_in(const union nat_tuple *tuple, int is_ipv6)
{
	if (is_ipv6)
		bpf_map_delete_elem(&nat6_in, &tuple->ipv6);
	else
		bpf_map_delete_elem(&nat4_in, &tuple->ipv4);
}

static __always_inline int is_same_words(const void *one, const void *other, const int words)
{
	const __u32 *a = one, *b = other;

#pragma unroll
	for (int i = 0; i < words; i++)
		if (a[i] != b[i])
			return 0;
	return 1;
}

/* The entry of an entry's other direction: NULL when it is gone, or belongs to another connection by now. */
static __always_inline struct nat_flow *in_of_out(struct nat_flow *out, const union flow_key *key, int is_ipv6)
{
	struct nat_flow *in;

	if (is_ipv6) {
		in = bpf_map_lookup_elem(&nat6_in, &((struct nat6_out *)out)->tuple);
		return in && is_same_words(&((struct nat6_in *)in)->client, &key->ipv6, sizeof(key->ipv6) / 4) ? in :
														  NULL;
	}
	in = bpf_map_lookup_elem(&nat4_in, &((struct nat4_out *)out)->tuple);
	return in && is_same_words(&((struct nat4_in *)in)->client, &key->ipv4, sizeof(key->ipv4) / 4) ? in : NULL;
}

static __always_inline struct nat_flow *out_of_in(struct nat_flow *in, const union nat_tuple *tuple, int is_ipv6)
{
	struct nat_flow *out;

	if (is_ipv6) {
		out = bpf_map_lookup_elem(&nat6_out, &((struct nat6_in *)in)->client);
		return out && is_same_words(&((struct nat6_out *)out)->tuple, &tuple->ipv6, sizeof(tuple->ipv6) / 4) ?
			       out :
			       NULL;
	}
	out = bpf_map_lookup_elem(&nat4_out, &((struct nat4_in *)in)->client);
	return out && is_same_words(&((struct nat4_out *)out)->tuple, &tuple->ipv4, sizeof(tuple->ipv4) / 4) ? out :
													       NULL;
}

static __always_inline int is_nat_closed(__u32 state)
{
	return (state & NAT_RESET) ||
	       (state & (NAT_CLIENT_FIN | NAT_BACKEND_FIN)) == (NAT_CLIENT_FIN | NAT_BACKEND_FIN);
}

/* For how many ticks a connection in that state may be idle. */
static __always_inline __u32 nat_idle_ticks(const struct nat_flow *flow)
{
	__u32 state = flow->state, most = flow->idle_ticks, limit = most;

	if (state & NAT_RESET)
		limit = NAT_RESET_TICKS;
	else if (is_nat_closed(state))
		limit = NAT_CLOSED_TICKS;
	else if (state & (NAT_CLIENT_FIN | NAT_BACKEND_FIN))
		limit = NAT_CLOSING_TICKS;
	else if (!(state & NAT_ESTABLISHED))
		limit = NAT_OPENING_TICKS;
	return limit < most ? limit : most;
}

/* Signed: another CPU may have seen a later tick than this one. */
static __always_inline int is_nat_expired(const struct nat_flow *flow, __u32 tick)
{
	return (__s32)(tick - flow->last_tick) > (__s32)nat_idle_ticks(flow);
}

#endif
