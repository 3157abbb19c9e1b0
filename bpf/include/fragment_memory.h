/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What first fragments leave for those that follow them. */
#ifndef L4D_FRAGMENT_MEMORY_H
#define L4D_FRAGMENT_MEMORY_H

#include "clock.h"
#include "maps.h"
#include "parse.h"
#include "transport.h"

/* What one packet needs; too much for the stack, beside that of what it calls. */
struct fragment_work {
	struct fragment_key key;
	struct fragment fragment;
	struct transport_place place;
	struct tuple tuple;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct fragment_work);
	__uint(max_entries, 1);
} fragment_work SEC(".maps");

static __always_inline struct fragment_work *own_fragment_work(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&fragment_work, &key);
}

/* `protocol` is that of the IP header: identifications are of a protocol in IPv4 alone. */
static __always_inline void fill_fragment_key(struct fragment_key *key, const struct tuple *tuple, __be32 id,
					      __u8 protocol)
{
	__builtin_memcpy(key->client, tuple->client, 16);
	__builtin_memcpy(key->vip, tuple->vip, 16);
	key->id = id;
	key->is_ipv6 = tuple->is_ipv6;
	key->protocol = tuple->is_ipv6 ? 0 : protocol;
}

/* Stores what became of this CPU's first fragment. */
static __always_inline void remember(struct fragment_work *work, __u32 fate)
{
	work->fragment.fate = fate;
	work->fragment.tick = current_tick();
	bpf_map_update_elem(&fragments, &work->key, &work->fragment, BPF_ANY);
}

/* As remember, of one whose connection NAT has: its ports find it again. */
static __always_inline void remember_nat(struct fragment_work *work, const struct tuple *tuple, __u32 vip_id)
{
	work->fragment.vip_id = vip_id;
	work->fragment.protocol = tuple->protocol;
	work->fragment.sender_port = tuple->client_port;
	work->fragment.receiver_port = tuple->vip_port;
	remember(work, FRAGMENT_NAT);
}

/* What became of the first fragment of the work's packet; NULL when it has not come, or long ago. */
static __always_inline struct fragment *find_first(const struct fragment_work *work)
{
	struct fragment *first = bpf_map_lookup_elem(&fragments, &work->key);

	/* Signed: another CPU may have seen a later tick than this one. */
	return first && (__s32)(current_tick() - first->tick) <= FRAGMENT_TICKS ? first : NULL;
}

#endif
