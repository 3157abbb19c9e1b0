/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Ends a connection of NAT that has expired, for the daemon, and tells what its entries held. Attached nowhere: run with a
 * frame that names the connection (enum nat_end_frame). The daemon could take an entry out by itself, but not only when it is
 * still the one that it has seen: here it is claimed by its tick first, as other programs do that take its place.
 */
#include "nat_entries.h"

/* Clang writes a type into BTF only when a variable has it; the daemon reads these there. */
const volatile enum nat_end_frame nat_end_frame_type = 0;
const volatile enum nat_end_result nat_end_result_type = 0;

/* A tick more than the programs' own rule: another CPU may be a tick ahead. */
#define SLACK_TICKS 1

_Static_assert(NAT_END_KEY + sizeof(union nat_tuple) <= NAT_END_IN, "the key has room");
_Static_assert(NAT_END_IN + sizeof(struct nat6_in) <= NAT_END_OUT, "so has the first entry");
_Static_assert(NAT_END_OUT + sizeof(struct nat6_out) <= NAT_END_LENGTH, "and the second one");

static __always_inline int end_connection(void *frame, const int is_ipv6)
{
	union nat_tuple key = {};
	union flow_key client = {};
	struct nat_flow *in, *out;
	__u32 tick = current_tick(), seen;

	if (is_ipv6)
		__builtin_memcpy(&key.ipv6, frame + NAT_END_KEY, sizeof(key.ipv6));
	else
		__builtin_memcpy(&key.ipv4, frame + NAT_END_KEY, sizeof(key.ipv4));
	in = find_nat_in(&key, is_ipv6);
	if (!in)
		return NAT_END_LIVES;
	seen = *(volatile __u32 *)&in->last_tick;
	if ((__s32)(tick - seen) <= (__s32)nat_idle_ticks(in) + SLACK_TICKS)
		return NAT_END_LIVES;
	/* A packet that came meanwhile, or another connection in its place, has another tick. */
	if (__sync_val_compare_and_swap(&in->last_tick, seen, tick) != seen)
		return NAT_END_LIVES;
	out = out_of_in(in, &key, is_ipv6);
	if (is_ipv6) {
		__builtin_memcpy(&client.ipv6, &((struct nat6_in *)in)->client, sizeof(client.ipv6));
		__builtin_memcpy(frame + NAT_END_IN, in, sizeof(struct nat6_in));
		if (out)
			__builtin_memcpy(frame + NAT_END_OUT, out, sizeof(struct nat6_out));
	} else {
		__builtin_memcpy(&client.ipv4, &((struct nat4_in *)in)->client, sizeof(client.ipv4));
		__builtin_memcpy(frame + NAT_END_IN, in, sizeof(struct nat4_in));
		if (out)
			__builtin_memcpy(frame + NAT_END_OUT, out, sizeof(struct nat4_out));
	}
	if (out)
		delete_nat_out(&client, is_ipv6);
	delete_nat_in(&key, is_ipv6);
	return out ? NAT_END_WHOLE : NAT_END_HALF;
}

SEC("xdp")
int l4d_nat_end(struct xdp_md *context)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;

	if (data + NAT_END_LENGTH > end)
		return NAT_END_LIVES;
	return *(__u8 *)(data + NAT_END_IS_IPV6) ? end_connection(data, 1) : end_connection(data, 0);
}

char _license[] SEC("license") = "GPL";
