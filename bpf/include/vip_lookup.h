/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which VIP a destination is: the one that has its port, else the one that has every port. */
#ifndef L4D_VIP_LOOKUP_H
#define L4D_VIP_LOOKUP_H

#include "maps.h"
#include "parse.h"

static __always_inline int is_same_address6(const __u32 *one, const __u32 *other)
{
	return one[0] == other[0] && one[1] == other[1] && one[2] == other[2] && one[3] == other[3];
}

static __always_inline struct vip *find_vip4(__be32 address, __be16 port, __u8 protocol)
{
	struct vip4_key key = { .address = address, .port = port, .protocol = protocol };
	struct vip *vip = bpf_map_lookup_elem(&vips4, &key);

	if (vip || !has_feature(FEATURE_ANY_PORT))
		return vip;
	key.port = 0;
	return bpf_map_lookup_elem(&vips4, &key);
}

static __always_inline struct vip *find_vip6(const __u32 *address, __be16 port, __u8 protocol)
{
	struct vip6_key key = { .port = port, .protocol = protocol };

	struct vip *vip;

	__builtin_memcpy(key.address, address, 16);
	vip = bpf_map_lookup_elem(&vips6, &key);
	if (vip || !has_feature(FEATURE_ANY_PORT))
		return vip;
	key.port = 0;
	return bpf_map_lookup_elem(&vips6, &key);
}

#endif
