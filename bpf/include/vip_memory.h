/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What each CPU remembers of the VIPs that it has looked up, "no VIP" too: reading it costs a third of a hash map's
 * lookup, of which there may be several for one packet. Direct-mapped: a destination that shares its place with
 * another one is looked up again.
 */
#ifndef L4D_VIP_MEMORY_H
#define L4D_VIP_MEMORY_H

#include "vip_lookup.h"

/* Places for each family; a power of two. */
#define VIP_MEMORY_BITS 10

struct remembered_vip4 {
	struct vip4_key key;
	__u32 epoch; /* vip_epoch + 1 when it was looked up; 0: the place is empty */
	struct vip vip; /* its id is 0 for "no VIP" */
};

struct remembered_vip6 {
	struct vip6_key key;
	__u32 epoch;
	struct vip vip;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct remembered_vip4);
	__uint(max_entries, 1 << VIP_MEMORY_BITS);
} vip_memory4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct remembered_vip6);
	__uint(max_entries, 1 << VIP_MEMORY_BITS);
} vip_memory6 SEC(".maps");

static __always_inline __u32 current_vip_epoch(void)
{
	__u32 key = 0;
	const volatile __u32 *epoch = bpf_map_lookup_elem(&vip_epoch, &key);

	return epoch ? *epoch + 1 : 0;
}

/* The place of a key: the upper bits of a product with 2^64 divided by the golden ratio. */
static __always_inline __u32 memory_place(__u64 words)
{
	return words * 0x9e3779b97f4a7c15ull >> (64 - VIP_MEMORY_BITS);
}

/*
 * Orders the read of the epoch before those of the maps: a change that comes between them leaves a remembered VIP with
 * the epoch of before, so that it is never taken. An atomic operation with a result is a full barrier.
 */
static __always_inline void order_after_epoch(__u32 *any)
{
	__sync_fetch_and_add(any, 0);
}

/* As find_vip4. */
static __always_inline const struct vip *recall_vip4(__be32 address, __be16 port, __u8 protocol)
{
	__u32 place = memory_place((__u64)address << 32 | (__u32)protocol << 16 | port);
	struct remembered_vip4 *remembered = bpf_map_lookup_elem(&vip_memory4, &place);
	__u32 epoch = current_vip_epoch();
	const struct vip *found;

	if (!remembered)
		return NULL;
	if (remembered->epoch != epoch || remembered->key.address != address ||
	    remembered->key.port != port || remembered->key.protocol != protocol) {
		order_after_epoch(&remembered->epoch);
		found = find_vip4(address, port, protocol);
		remembered->key.address = address;
		remembered->key.port = port;
		remembered->key.protocol = protocol;
		remembered->epoch = epoch;
		remembered->vip.id = 0;
		if (found)
			remembered->vip = *found;
	}
	return remembered->vip.id ? &remembered->vip : NULL;
}

/* As find_vip6. */
static __always_inline const struct vip *recall_vip6(const __u32 *address, __be16 port, __u8 protocol)
{
	__u64 words = ((__u64)address[0] << 32 | address[1]) ^ ((__u64)address[2] << 32 | address[3]);
	__u32 place = memory_place(words ^ ((__u64)protocol << 16 | port));
	struct remembered_vip6 *remembered = bpf_map_lookup_elem(&vip_memory6, &place);
	__u32 epoch = current_vip_epoch();
	const struct vip *found;

	if (!remembered)
		return NULL;
	if (remembered->epoch != epoch || !is_same_address6(remembered->key.address, address) ||
	    remembered->key.port != port || remembered->key.protocol != protocol) {
		order_after_epoch(&remembered->epoch);
		found = find_vip6(address, port, protocol);
		__builtin_memcpy(remembered->key.address, address, 16);
		remembered->key.port = port;
		remembered->key.protocol = protocol;
		remembered->epoch = epoch;
		remembered->vip.id = 0;
		if (found)
			remembered->vip = *found;
	}
	return remembered->vip.id ? &remembered->vip : NULL;
}

#endif
