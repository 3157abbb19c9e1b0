/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Sends a marked health check of VIP:port to one given backend. A host's own traffic never
 * enters XDP, so the last step of forwarding is done here on the way out: the destination MAC, for a
 * tunnelled backend the outer header, and for one behind another interface the way out there.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/stddef.h>
#include <bpf/bpf_helpers.h>
#include "egress.h"
#include "encapsulate.h"
#include "maps.h"

/* Enough of a check's packet: an IPv6 header and the UDP header, or IPv4 with the longest options and ports. */
#define READ_ROOM 64

/* Multipliers of mix() in select.h would do as well: any number that differs between connections. */
#define PORTS_MULTIPLIER 0x9e3779b97f4a7c15ull

/* An outer header, as long as any, on a boundary of 8 bytes. */
struct outer {
	__u8 bytes[(VXLAN_OVERHEAD6 + 7) / 8 * 8];
};

/* Reads what the outer header must know of a check's packet; false when it cannot be read. */
static __always_inline int read_check(struct __sk_buff *skb, __u8 *head, struct inner_packet *inner, __u64 *hash)
{
	struct ipv6hdr *ip6 = (void *)head;
	struct iphdr *ip4 = (void *)head;

	if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
		if (bpf_skb_load_bytes(skb, ETH_HLEN, head, sizeof(*ip6) + sizeof(struct udphdr)))
			return 0;
		inner->is_ipv6 = 1;
		inner->length = sizeof(*ip6) + bpf_ntohs(ip6->payload_len);
		inner->traffic_class = (bpf_ntohl(*(__u32 *)head) >> 20) & 0xff;
		inner->sum = sum_of_packet6(ip6);
		inner->is_summed = ip6->nexthdr == IPPROTO_TCP ||
				   (ip6->nexthdr == IPPROTO_UDP && ((struct udphdr *)(ip6 + 1))->check != 0);
		*hash = *(__u32 *)(ip6 + 1);
	} else {
		if (bpf_skb_load_bytes(skb, ETH_HLEN, head, sizeof(*ip4) + sizeof(struct udphdr)))
			return 0;
		inner->length = bpf_ntohs(ip4->tot_len);
		inner->traffic_class = ip4->tos;
		inner->sum = sum_of_packet4(ip4);
		inner->is_summed = ip4->ihl == 5 && (ip4->protocol == IPPROTO_TCP ||
						     (ip4->protocol == IPPROTO_UDP &&
						      ((struct udphdr *)(ip4 + 1))->check != 0));
		*hash = *(__u32 *)(ip4 + 1);
	}
	*hash = *hash * PORTS_MULTIPLIER >> 16;
	return 1;
}

/* Wraps the check as XDP wraps packets. Returns 0, or what the kernel refused. */
static __noinline int encapsulate(struct __sk_buff *skb, const struct backend *backend, __u32 index)
{
	__u8 head[READ_ROOM] __attribute__((aligned(8))) = {};
	struct outer outer __attribute__((aligned(8))) = {};
	struct inner_packet inner = {};
	struct tunnel tunnel = {};
	const struct egress *egress;
	__be16 protocol;
	__u64 flags, hash = 0;
	__u32 overhead;

	if (!backend)
		return -1;
	egress = find_egress(backend->flags);
	if (!egress || !read_check(skb, head, &inner, &hash))
		return -1;
	if (!find_tunnel(backend, index, egress, hash, &tunnel) || !has_source(&tunnel))
		return -1;
	overhead = tunnel.overhead;
	flags = tunnel.outer_ipv6 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV4;
	protocol = tunnel.outer_ipv6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	if (tunnel.flags & BACKEND_UDP)
		flags |= BPF_F_ADJ_ROOM_ENCAP_L4_UDP;
	if (tunnel.flags & BACKEND_VXLAN)
		flags |= BPF_F_ADJ_ROOM_ENCAP_L2(VXLAN_LENGTH) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH;
	if (tunnel.outer_ipv6)
		write_outer6((void *)outer.bytes, &tunnel, &inner);
	else
		write_outer4((void *)outer.bytes, &tunnel, &inner);
	if (overhead == 0 || overhead > sizeof(outer.bytes))
		return -1;
	if (bpf_skb_adjust_room(skb, (int)overhead, BPF_ADJ_ROOM_MAC, flags))
		return -1;
	if (bpf_skb_store_bytes(skb, ETH_HLEN, outer.bytes, overhead, 0))
		return -1;
	return (int)bpf_skb_store_bytes(skb, ETH_HLEN - sizeof(protocol), &protocol, sizeof(protocol), 0);
}

/* Sends the check by the interface of its backend, when that is not the one that it was routed to. */
static __always_inline int leave_by(struct __sk_buff *skb, const struct egress *egress)
{
	if (egress->index == skb->ifindex)
		return TC_ACT_UNSPEC;
	if (bpf_skb_store_bytes(skb, ETH_ALEN, egress->mac, ETH_ALEN, 0))
		return TC_ACT_SHOT;
	/* This program is there too. */
	skb->mark = 0;
	return (int)bpf_redirect(egress->index, 0);
}

SEC("tc")
int check_steering(struct __sk_buff *skb)
{
	__u32 index = skb->mark & ~CHECK_MARK_MASK;
	const struct egress *egress;
	struct backend *backend;

	if ((skb->mark & CHECK_MARK_MASK) != CHECK_MARK)
		return TC_ACT_UNSPEC;
	backend = bpf_map_lookup_elem(&backends, &index);
	/* Sent elsewhere, the check would tell the health of something else. */
	if (!backend || backend->vip_id == 0 || !(*(__u32 *)backend->mac | *(__u16 *)(backend->mac + 4)))
		return TC_ACT_SHOT;
	egress = find_egress(backend->flags);
	if (!egress)
		return TC_ACT_SHOT;
	if ((backend->flags & BACKEND_TUNNELLED) && encapsulate(skb, backend, index))
		return TC_ACT_SHOT;
	if (bpf_skb_store_bytes(skb, 0, backend->mac, ETH_ALEN, 0))
		return TC_ACT_SHOT;
	return leave_by(skb, egress);
}

char _license[] SEC("license") = "GPL";
