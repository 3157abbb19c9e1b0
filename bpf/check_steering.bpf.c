/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Sends a marked health check of VIP:port to one given backend. A host's own traffic never
 * enters XDP, so the last step of forwarding, the destination MAC, is done here on the way out.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include "maps.h"

SEC("tc")
int check_steering(struct __sk_buff *skb)
{
	__u32 index = skb->mark & ~CHECK_MARK_MASK;
	struct backend *backend;

	if ((skb->mark & CHECK_MARK_MASK) != CHECK_MARK)
		return TC_ACT_UNSPEC;
	backend = bpf_map_lookup_elem(&backends, &index);
	/* Sent elsewhere, the check would tell the health of something else. */
	if (!backend || backend->vip_id == 0 || !(*(__u32 *)backend->mac | *(__u16 *)(backend->mac + 4)))
		return TC_ACT_SHOT;
	if (bpf_skb_store_bytes(skb, 0, backend->mac, ETH_ALEN, 0))
		return TC_ACT_SHOT;
	return TC_ACT_UNSPEC;
}

char _license[] SEC("license") = "GPL";
