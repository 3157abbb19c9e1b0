/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The hash of a tuple, and the slot of a VIP's table that it stands for. */
#ifndef L4D_SLOT_H
#define L4D_SLOT_H

#include "maps.h"
#include "parse.h"

/* The finalizer of SplitMix64: every bit of the input moves every bit of the output. */
static __always_inline __u64 mix(__u64 value)
{
	value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
	value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
	return value ^ (value >> 31);
}

static __always_inline __u64 hash_of_address6(const __u32 *address)
{
	__u64 hash = mix((__u64)address[0] << 32 | address[1]);

	return mix(hash ^ ((__u64)address[2] << 32 | address[3]));
}

/* A number that stays for a flow: of the client's address and both ports. */
static __always_inline __u64 hash_of(const struct tuple *tuple)
{
	__u64 ports = (__u64)tuple->client_port << 16 | tuple->vip_port;

	if (!tuple->is_ipv6)
		return mix((__u64)tuple->client[0] << 32 | ports);
	return mix(hash_of_address6(tuple->client) ^ ports);
}

/* The first bits of 32, in network order, that a prefix of so many leaves. */
static __always_inline __be32 prefix_mask(int bits)
{
	if (bits <= 0)
		return 0;
	return bits >= 32 ? 0xffffffff : bpf_htonl(0xffffffff << (32 - bits));
}

/* A number that stays for a client, or for a prefix of clients. */
static __always_inline __u64 hash_of_source(const struct tuple *tuple, int bits)
{
	__u32 masked[4];

	if (!tuple->is_ipv6)
		return mix((__u64)(tuple->client[0] & prefix_mask(bits)) << 32);
	for (int i = 0; i < 4; i++)
		masked[i] = tuple->client[i] & prefix_mask(bits - 32 * i);
	return mix(hash_of_address6(masked));
}

/*
 * The slot of a tuple. It depends on the tuple alone, without a seed, so that every host of the
 * fabric answers alike; l4d/src/core/forwarding/flow-slot.ts holds the same function.
 */
static __always_inline __u32 slot_of(const struct tuple *tuple, const struct vip *vip)
{
	__u64 hash = vip->flags & VIP_SOURCE ? hash_of_source(tuple, vip->source_bits) : hash_of(tuple);

	return (__u32)((hash >> 32) * vip->table_size >> 32);
}

/* Index of the backend in a slot of the VIP's table; -1 where there is none. */
static __always_inline int backend_in_slot(const struct vip *vip, __u32 slot)
{
	__u32 place = vip->table_offset + slot;
	__u32 pair_index = place / SLOTS_PER_PAIR;
	struct slot_pair *pair = bpf_map_lookup_elem(&maglev_slots, &pair_index);

	return pair ? pair->slot[place % SLOTS_PER_PAIR] : -1;
}

#endif
