/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The packet's way: parse, find the VIP, choose the backend, forward. What is not a VIP's is
 * passed to the stack untouched; no packet is dropped but a VIP's, and each for a counted reason.
 */
#include "behind.h"
#include "count.h"
#include "forward.h"
#include "fragment.h"
#include "icmp.h"
#include "nat.h"
#include "nat_return.h"
#include "neighbour.h"
#include "parse.h"
#include "proxy_arrival.h"
#include "proxy_host.h"
#include "serve.h"
#include "stages.h"
#include "tunnel_error.h"
#include "vip_memory.h"

static __always_inline int handle_ipv4(struct xdp_md *context, __u32 network_offset)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct iphdr *ip = data + network_offset;
	struct tuple tuple = {};
	void *transport = NULL;
	enum parse_result parsed = parse_ipv4(ip, end, &tuple, &transport);
	const struct vip *vip;

	if (parsed == PARSE_OK) {
		vip = recall_vip4(tuple.vip[0], tuple.vip_port, tuple.protocol);
		if (!vip)
			return pass_on_packet(context, &tuple);
		return serve(context, network_offset, &tuple, vip, 0, 0);
	}
	if (parsed == PARSE_OTHER_TRANSPORT && tuple.protocol == IPPROTO_ICMP)
		return GO_ON(context, STAGE_ICMP);
	if (parsed == PARSE_OTHER_TRANSPORT || (void *)(ip + 1) > end ||
	    !find_vip4(tuple.vip[0], 0, IPPROTO_ICMP))
		return parsed == PARSE_BEHIND ? pass_on(context) : finish(PASS_NOT_VIP, XDP_PASS);
	return parsed == PARSE_BEHIND ? GO_ON(context, STAGE_BEHIND) : finish(DROP_MALFORMED, XDP_DROP);
}

static __always_inline int handle_ipv6(struct xdp_md *context, __u32 network_offset)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct ipv6hdr *ip = data + network_offset;
	struct tuple tuple = {};
	void *transport = NULL;
	enum parse_result parsed = parse_ipv6(ip, end, &tuple, &transport);
	const struct vip *vip;

	if (parsed == PARSE_OK) {
		vip = recall_vip6(tuple.vip, tuple.vip_port, tuple.protocol);
		if (!vip)
			return pass_on_packet(context, &tuple);
		return serve(context, network_offset, &tuple, vip, 0, 0);
	}
	if (parsed == PARSE_OTHER_TRANSPORT && tuple.protocol == IPPROTO_ICMPV6)
		return GO_ON(context, STAGE_ICMP);
	if (parsed == PARSE_OTHER_TRANSPORT || (void *)(ip + 1) > end ||
	    !find_vip6(tuple.vip, 0, IPPROTO_ICMPV6))
		return parsed == PARSE_BEHIND ? pass_on(context) : finish(PASS_NOT_VIP, XDP_PASS);
	return parsed == PARSE_BEHIND ? GO_ON(context, STAGE_BEHIND) : finish(DROP_MALFORMED, XDP_DROP);
}

SEC("xdp.frags")
int l4d_xdp(struct xdp_md *context)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	__u32 network_offset = 0;
	__be16 protocol = parse_ethernet(data, end, &network_offset);

	if (protocol != bpf_htons(ETH_P_IP) && protocol != bpf_htons(ETH_P_IPV6)) {
		if (protocol == bpf_htons(ETH_P_ARP) && has_feature(FEATURE_NEIGHBOURS))
			return GO_ON(context, STAGE_NEIGHBOUR);
		return finish(PASS_NOT_IP, XDP_PASS);
	}
	/* A switch floods frames for hosts that it does not know: forwarding those would double them. */
	if (data + ETH_ALEN > end || !(is_own_mac(data) || take_virtual_mac(data))) {
		/* Solicitations go to a group (RFC 4291 section 2.7.1). */
		if (data + ETH_ALEN <= end && *(__u16 *)data == bpf_htons(0x3333) && has_feature(FEATURE_NEIGHBOURS))
			return GO_ON(context, STAGE_NEIGHBOUR);
		return finish(PASS_OTHER_HOST, XDP_PASS);
	}
	if (protocol == bpf_htons(ETH_P_IP))
		return handle_ipv4(context, network_offset);
	return handle_ipv6(context, network_offset);
}

SEC("xdp.frags")
int l4d_icmp(struct xdp_md *context)
{
	return handle_icmp(context);
}

SEC("xdp.frags")
int l4d_behind(struct xdp_md *context)
{
	return handle_behind(context);
}

SEC("xdp.frags")
int l4d_fragment(struct xdp_md *context)
{
	return handle_fragment(context);
}

SEC("xdp.frags")
int l4d_nat(struct xdp_md *context)
{
	struct handover *handed = handed_over();

	if (!handed)
		return finish(PASS_NO_STAGE, XDP_PASS);
	find_headers(context, handed, &handed->tuple);
	return handed->tuple.is_ipv6 ? nat_to_backend(context, handed, 1) : nat_to_backend(context, handed, 0);
}

SEC("xdp.frags")
int l4d_nat_begin(struct xdp_md *context)
{
	struct handover *handed = handed_over();

	if (!handed)
		return finish(PASS_NO_STAGE, XDP_PASS);
	return handed->tuple.is_ipv6 ? begin_to_backend(context, handed, 1) : begin_to_backend(context, handed, 0);
}

SEC("xdp.frags")
int l4d_nat_fragment(struct xdp_md *context)
{
	struct handover *handed = handed_over();

	if (!handed)
		return finish(PASS_NO_STAGE, XDP_PASS);
	return handed->tuple.is_ipv6 ? nat_later_to_backend(context, handed, 1) :
				       nat_later_to_backend(context, handed, 0);
}

SEC("xdp.frags")
int l4d_nat_error(struct xdp_md *context)
{
	struct handover *handed = handed_over();
	struct tuple error = {};

	if (!handed)
		return finish(PASS_NO_STAGE, XDP_PASS);
	find_headers(context, handed, &error);
	return handed->tuple.is_ipv6 ? nat_error_to_backend(context, handed, 1) :
				       nat_error_to_backend(context, handed, 0);
}

SEC("xdp.frags")
int l4d_nat_error_other(struct xdp_md *context)
{
	struct handover *handed = handed_over();

	return handed ? deliver_error(context, handed) : finish(PASS_NO_STAGE, XDP_PASS);
}

SEC("xdp.frags")
int l4d_nat_return(struct xdp_md *context)
{
	struct handover *handed = handed_over();

	if (!handed)
		return finish(PASS_NO_STAGE, XDP_PASS);
	__builtin_memset(&handed->tuple, 0, sizeof(handed->tuple));
	find_headers(context, handed, &handed->tuple);
	return handed->tuple.is_ipv6 ? nat_to_client(context, handed, 1) : nat_to_client(context, handed, 0);
}

SEC("xdp.frags")
int l4d_neighbour(struct xdp_md *context)
{
	return handle_neighbour(context);
}

SEC("xdp.frags")
int l4d_tunnel_error(struct xdp_md *context)
{
	return handle_tunnel_error(context);
}

SEC("xdp.frags")
int l4d_proxy_host(struct xdp_md *context)
{
	return handle_proxy_host(context);
}

SEC("xdp.frags")
int l4d_proxy_arrival(struct xdp_md *context)
{
	return handle_proxy_arrival(context);
}

char _license[] SEC("license") = "GPL";
