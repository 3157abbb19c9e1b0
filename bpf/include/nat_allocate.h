/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * A source address and port for a new connection: one that no other connection to the same address, port and protocol
 * has. Candidates follow from the client's tuple; the table's own "only when there is none" decides between CPUs.
 */
#ifndef L4D_NAT_ALLOCATE_H
#define L4D_NAT_ALLOCATE_H

#include "nat_table.h"

/* Candidates looked at. With nine of ten ports in use, one connection in 30 finds none: sources are then too few. */
#define NAT_PROBES 32

/* As many as the addresses and ports of the daemon's largest settings have. */
#define MAX_NAT_SPACE (1 << 24)

/*
 * A stride between candidates: a prime above MAX_NAT_SPACE, so that it has no divisor in common with their number, and
 * none comes twice before all were looked at. One of four, so that clusters do not grow. (With a table of
 * constants in the object, verifying all programs takes ten times as long.)
 */
static __always_inline __u32 nat_stride(__u32 hash)
{
	if (hash & 1)
		return hash & 2 ? 0x9e3779cd : 0x3c6ef387;
	return hash & 2 ? 0xdaa66d37 : 0x78dde727;
}

/* A connection that was closed rests for so many ticks before its port is taken early, for want of another. */
#define NAT_REST_TICKS 3

/* A connection that is to begin. */
struct nat_request {
	union flow_key key;
	union nat_tuple tuple; /* without its source */
	struct nat_flow flow;
	union {
		struct nat4_in ipv4;
		struct nat6_in ipv6;
	} in; /* the entry of what the backend sends: the same for all candidates */
	__u32 vip[4];
	struct nat_settings settings;
	__u32 start; /* first candidate */
	__u32 step; /* between candidates */
	__u32 space; /* how many there are */
	__s32 rested; /* candidate of a closed connection; -1: none was met */
	__u32 is_found;
	__u32 is_reused;
};

/* Per CPU, and not on the stack, which is too small for it and what works on it. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct nat_request);
	__uint(max_entries, 1);
} nat_request SEC(".maps");

static __always_inline struct nat_request *own_request(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&nat_request, &key);
}

static __always_inline void set_candidate(struct nat_request *request, __u32 number, const int is_ipv6)
{
	const struct nat_settings *settings = &request->settings;
	__u32 ports = settings->ports ? settings->ports : 1;
	__be16 port = bpf_htons(settings->first_port + number % ports);

	/* A prefix's host bits are 0: adding is or-ing. */
	if (is_ipv6) {
		__builtin_memcpy(request->tuple.ipv6.source, settings->source6, 16);
		request->tuple.ipv6.source[3] |= bpf_htonl(number / ports);
		request->tuple.ipv6.source_port = port;
	} else {
		request->tuple.ipv4.source = settings->source4 | bpf_htonl(number / ports);
		request->tuple.ipv4.source_port = port;
	}
}

static __always_inline void fill_nat_in(struct nat_request *request, const int is_ipv6)
{
	if (is_ipv6) {
		request->in.ipv6.flow = request->flow;
		request->in.ipv6.client = request->key.ipv6;
		__builtin_memcpy(request->in.ipv6.vip, request->vip, 16);
	} else {
		request->in.ipv4.flow = request->flow;
		request->in.ipv4.client = request->key.ipv4;
		request->in.ipv4.vip = request->vip[0];
	}
}

static __always_inline long store_nat_in(const struct nat_request *request, __u64 flags, const int is_ipv6)
{
	if (is_ipv6)
		return bpf_map_update_elem(&nat6_in, &request->tuple.ipv6, &request->in.ipv6, flags);
	return bpf_map_update_elem(&nat4_in, &request->tuple.ipv4, &request->in.ipv4, flags);
}

static __always_inline long store_nat_out(const struct nat_request *request, const int is_ipv6)
{
	if (is_ipv6) {
		struct nat6_out out = { .flow = request->flow, .tuple = request->tuple.ipv6 };

		return bpf_map_update_elem(&nat6_out, &request->key.ipv6, &out, BPF_NOEXIST);
	}
	struct nat4_out out = { .flow = request->flow, .tuple = request->tuple.ipv4 };

	return bpf_map_update_elem(&nat4_out, &request->key.ipv4, &out, BPF_NOEXIST);
}

/* Takes the candidate from the connection that has it; false when another CPU was faster, or the connection lives. */
static __always_inline int take_over(struct nat_request *request, struct nat_flow *in, const int is_ipv6)
{
	__u32 tick = request->flow.last_tick, seen = in->last_tick;
	union flow_key old = {};
	struct nat_flow *out;

	if (__sync_val_compare_and_swap(&in->last_tick, seen, tick) != seen)
		return 0;
	if (is_ipv6)
		__builtin_memcpy(&old.ipv6, &((struct nat6_in *)in)->client, sizeof(old.ipv6));
	else
		__builtin_memcpy(&old.ipv4, &((struct nat4_in *)in)->client, sizeof(old.ipv4));
	out = out_of_in(in, &request->tuple, is_ipv6);
	if (out)
		delete_nat_out(&old, is_ipv6);
	if (store_nat_in(request, BPF_ANY, is_ipv6))
		return 0;
	request->is_reused = 1;
	request->is_found = 1;
	return 1;
}

/* Looks at one candidate; 1 ends the search (bpf_loop). */
static __always_inline long try_candidate(__u32 turn, const int is_ipv6)
{
	struct nat_request *request = own_request();
	struct nat_flow *in;
	__u32 number, tick;

	if (!request)
		return 1;
	number = (request->start + turn * request->step) % (request->space ? request->space : 1);
	tick = request->flow.last_tick;
	set_candidate(request, number, is_ipv6);
	if (store_nat_in(request, BPF_NOEXIST, is_ipv6) == 0) {
		request->is_found = 1;
		return 1;
	}
	/* The table may also be full: the place of a connection that is over is still to be had. */
	in = find_nat_in(&request->tuple, is_ipv6);
	if (!in)
		return 0;
	if (is_nat_expired(in, tick))
		return take_over(request, in, is_ipv6);
	if (request->rested < 0 && is_nat_closed(in->state) && (__s32)(tick - in->last_tick) >= NAT_REST_TICKS)
		request->rested = number;
	return 0;
}

static long try_candidate4(__u32 turn, void *unused)
{
	return try_candidate(turn, 0);
}

static long try_candidate6(__u32 turn, void *unused)
{
	return try_candidate(turn, 1);
}

/* Takes the tuple of the connection of that key; false when there is none. */
static __always_inline int adopt_nat_out(struct nat_request *request, const int is_ipv6)
{
	struct nat4_out *known4;
	struct nat6_out *known6;

	if (is_ipv6) {
		known6 = bpf_map_lookup_elem(&nat6_out, &request->key.ipv6);
		if (known6)
			request->tuple.ipv6 = known6->tuple;
		return known6 != NULL;
	}
	known4 = bpf_map_lookup_elem(&nat4_out, &request->key.ipv4);
	if (known4)
		request->tuple.ipv4 = known4->tuple;
	return known4 != NULL;
}

/* Searches; the request has the connection's tuple afterwards. */
static __always_inline int find_port(struct nat_request *request, __u64 hash, const int is_ipv6)
{
	const struct nat_settings *settings = &request->settings;

	request->space = settings->ports * (is_ipv6 ? settings->sources6 : settings->sources4);
	if (request->space == 0 || request->space > MAX_NAT_SPACE)
		return 0;
	request->start = (__u32)hash % request->space;
	request->step = nat_stride(hash >> 32) % request->space;
	request->rested = -1;
	request->is_found = 0;
	request->is_reused = 0;
	fill_nat_in(request, is_ipv6);
	if (is_ipv6)
		bpf_loop(NAT_PROBES, try_candidate6, NULL, 0);
	else
		bpf_loop(NAT_PROBES, try_candidate4, NULL, 0);
	if (!request->is_found && request->rested >= 0) {
		struct nat_flow *in;

		set_candidate(request, request->rested, is_ipv6);
		in = find_nat_in(&request->tuple, is_ipv6);
		if (in)
			take_over(request, in, is_ipv6);
	}
	if (!request->is_found)
		return 0;
	if (store_nat_out(request, is_ipv6)) {
		delete_nat_in(&request->tuple, is_ipv6);
		/* Another CPU may have begun it meanwhile, by the same packet once more. */
		return adopt_nat_out(request, is_ipv6);
	}
	note(request->is_reused ? NOTE_NAT_REUSED : NOTE_NAT_NEW);
	return 1;
}

/*
 * Begins the connection that this CPU's request describes: both entries are there afterwards. False when there is no
 * port. At most NAT_PROBES candidates are looked at, without a lock of our own. Verified on its own: never inlined.
 */
__noinline int begin_nat4(__u64 hash)
{
	struct nat_request *request = own_request();

	return request ? find_port(request, hash, 0) : 0;
}

/* As begin_nat4. */
__noinline int begin_nat6(__u64 hash)
{
	struct nat_request *request = own_request();

	return request ? find_port(request, hash, 1) : 0;
}

#endif
