/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Layer 2 direct return: only the Ethernet addresses change; the backend owns the VIP. */
#ifndef L4D_FORWARD_H
#define L4D_FORWARD_H

#include "count.h"
#include "rewrite.h"
#include "select.h"

/* MAC address of the interface that this copy of the program is attached to. */
const volatile __u8 own_mac[ETH_ALEN] = {};

static __always_inline int is_own_mac(const __u8 *mac)
{
	return *(__u32 *)mac == *(const volatile __u32 *)own_mac &&
	       *(__u16 *)(mac + 4) == *(const volatile __u16 *)(own_mac + 4);
}

static __always_inline int is_resolved(const struct backend *backend)
{
	return *(const __u32 *)backend->mac != 0 || *(const __u16 *)(backend->mac + 4) != 0;
}

static __always_inline int forward(struct ethhdr *ethernet, const struct vip *vip,
				   const struct selection *chosen, __u32 bytes, enum reason reason)
{
	if (!is_resolved(chosen->backend))
		return finish(DROP_UNRESOLVED, XDP_DROP);
	copy_mac(ethernet->h_source, ethernet->h_dest);
	copy_mac(ethernet->h_dest, chosen->backend->mac);
	count_traffic(&vip_counters, vip->id, bytes, chosen->begun);
	count_traffic(&backend_counters, chosen->index, bytes, chosen->begun);
	return finish(reason, XDP_TX);
}

#endif
