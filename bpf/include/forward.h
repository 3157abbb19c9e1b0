/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Layer 2 direct return by the packet's own interface (other ways: way.h): the Ethernet addresses change, and the TTL as by any router; the backend owns the VIP. */
#ifndef L4D_FORWARD_H
#define L4D_FORWARD_H

#include "count.h"
#include "parse.h"
#include "rewrite.h"
#include "select.h"

/* MAC address of the interface that this copy of the program is attached to. */
const volatile __u8 own_mac[ETH_ALEN] = {};

static __always_inline int is_own_mac(const __u8 *mac)
{
	return *(__u32 *)mac == *(const volatile __u32 *)own_mac &&
	       *(__u16 *)(mac + 4) == *(const volatile __u16 *)(own_mac + 4);
}

/*
 * Takes a frame for a virtual router of this host: it goes on as one for the interface's own address, which the
 * stack takes too. Only frames for other addresses get here.
 */
static __always_inline int take_virtual_mac(__u8 *mac)
{
	__u32 family_offset = mac[4] == 2 ? VIRTUAL_MAC_IPV6 : 0;
	__u32 index = family_offset + mac[5];
	__u32 *is_owned;

	if (*(__u32 *)mac != bpf_htonl(0x00005e00) || mac[4] - 1U > 1)
		return 0;
	is_owned = bpf_map_lookup_elem(&virtual_macs, &index);
	if (!is_owned || !*is_owned)
		return 0;
	for (int i = 0; i < ETH_ALEN; i++)
		mac[i] = own_mac[i];
	return 1;
}

static __always_inline int is_resolved(const struct backend *backend)
{
	return *(const __u32 *)backend->mac != 0 || *(const __u16 *)(backend->mac + 4) != 0;
}

/*
 * Takes one hop from the TTL or hop limit; false when none is left to go on with. Two balancers that
 * are each other's backends would hand a packet to and fro for ever without it.
 */
static __always_inline int take_hop(void *network, void *end, int is_ipv6)
{
	struct ipv6hdr *ip6 = network;
	struct iphdr *ip4 = network;
	if (is_ipv6) {
		if ((void *)(ip6 + 1) > end || ip6->hop_limit <= 1)
			return 0;
		ip6->hop_limit -= 1;
		return 1;
	}
	if ((void *)(ip4 + 1) > end || ip4->ttl <= 1)
		return 0;
	ip4->ttl -= 1;
	/*
	 * RFC 1624 equation 3 with what is known of the two words: their difference. Reading the word back
	 * after its one byte was written would make the processor wait for the write.
	 */
	ip4->check = fold_checksum((__u16)~ip4->check + bpf_htons(0xfeff));
	return 1;
}

static __always_inline int forward(struct xdp_md *context, __u32 network_offset, int is_ipv6,
				   const struct vip *vip, const struct selection *chosen, __u32 bytes,
				   enum reason reason)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct ethhdr *ethernet = data;

	if (!is_resolved(chosen->backend))
		return finish(DROP_UNRESOLVED, XDP_DROP);
	if ((void *)(ethernet + 1) > end || !take_hop(data + network_offset, end, is_ipv6))
		return finish(DROP_TTL_EXPIRED, XDP_DROP);
	copy_mac(ethernet->h_source, ethernet->h_dest);
	copy_mac(ethernet->h_dest, chosen->backend->mac);
	count_traffic(&vip_counters, vip->id, bytes, chosen->begun);
	count_traffic(&backend_counters, chosen->index, bytes, chosen->begun);
	return finish(reason, XDP_TX);
}

#endif
