/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What is done with a packet whose VIP is known. */
#ifndef L4D_SERVE_H
#define L4D_SERVE_H

#include "count.h"
#include "forward.h"
#include "handover.h"
#include "parse.h"
#include "reset.h"
#include "select.h"
#include "source_class.h"
#include "stages.h"
#include "way.h"

/*
 * The frame's bytes. Only a packet that says that it goes on behind data_end may lie in several
 * buffers: the others are spared the helper's call.
 */
static __always_inline __u32 frame_bytes(struct xdp_md *context, __u32 network_offset, int is_ipv6)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct ipv6hdr *ip6 = data + network_offset;
	struct iphdr *ip4 = data + network_offset;
	__u32 claimed = network_offset;

	if (is_ipv6 && (void *)(ip6 + 1) <= end)
		claimed += sizeof(*ip6) + bpf_ntohs(ip6->payload_len);
	else if (!is_ipv6 && (void *)(ip4 + 1) <= end)
		claimed += bpf_ntohs(ip4->tot_len);
	return claimed > end - data ? bpf_xdp_get_buff_len(context) : end - data;
}

/* Not a VIP's: it may be what a backend sends, else it is the stack's. */
static __always_inline int pass_on(struct xdp_md *context)
{
	if (has_feature(FEATURE_NAT))
		return GO_ON(context, STAGE_NAT_RETURN);
	return finish(PASS_NOT_VIP, XDP_PASS);
}

/* As pass_on, of a whole packet whose tuple is known: UDP may come from a host of another subnet. */
static __always_inline int pass_on_packet(struct xdp_md *context, const struct tuple *tuple)
{
	__u32 used = features;

	if (!(used & (FEATURE_NAT | FEATURE_PROXY_FAR)))
		return finish(PASS_NOT_VIP, XDP_PASS);
	if ((used & FEATURE_PROXY_FAR) && tuple->protocol == IPPROTO_UDP)
		return GO_ON(context, STAGE_PROXY_ARRIVAL);
	return pass_on(context);
}

/* Goes on with NAT in a stage of its own. */
static __always_inline int enter_nat(struct xdp_md *context, const struct tuple *tuple, const struct vip *vip,
				     const int is_quote)
{
	struct handover *handover = handed_over();

	if (!handover)
		return finish(PASS_NO_STAGE, XDP_PASS);
	handover->vip = *vip;
	handover->tuple = *tuple;
	if (is_quote)
		return GO_ON(context, STAGE_NAT_ERROR);
	return GO_ON(context, STAGE_NAT);
}

/* To the stack, where the proxy is; which host's, a stage of its own decides when there are several. */
static __always_inline int enter_proxy(struct xdp_md *context, __u32 network_offset, const struct tuple *tuple)
{
	struct handover *handover;

	if (!has_feature(FEATURE_PROXY_HOSTS))
		return finish(PASS_L7, XDP_PASS);
	handover = handed_over();
	if (!handover)
		return finish(PASS_NO_STAGE, XDP_PASS);
	handover->tuple = *tuple;
	handover->network_offset = network_offset;
	return GO_ON(context, STAGE_PROXY_HOST);
}

/* Sends a packet of a VIP to the backend that was chosen, unless it is reached by NAT. */
static __always_inline int deliver(struct xdp_md *context, __u32 network_offset, const struct tuple *tuple,
				   const struct vip *vip, const struct selection *chosen, const int is_quote)
{
	if (chosen->kind == SELECT_FORWARD && chosen->backend) {
		if (needs_way(chosen->backend))
			return go_way(context, network_offset, tuple, vip, chosen, is_quote);
		return forward(context, network_offset, tuple->is_ipv6, vip, chosen,
			       frame_bytes(context, network_offset, tuple->is_ipv6),
			       is_quote ? TX_ICMP_ERROR : TX_FORWARD);
	}
	if (chosen->kind == SELECT_RESET && !is_quote)
		return tuple->is_ipv6 ? reset_flow6(context, network_offset, TX_RESET, DROP_RESET_OF_DEAD) :
					reset_flow4(context, network_offset, TX_RESET, DROP_RESET_OF_DEAD);
	return finish(DROP_NO_BACKEND, XDP_DROP);
}

/* Chooses and forwards a packet of a VIP. `is_quote`: an ICMP error that quotes the tuple. */
static __always_inline int serve(struct xdp_md *context, __u32 network_offset, const struct tuple *tuple,
				 const struct vip *vip, const int is_quote, const int is_stage)
{
	struct selection chosen;

	if (vip->flags & (VIP_L7 | VIP_NAT | VIP_CLASSED)) {
		int class = vip->flags & VIP_L7 ? CLASS_L7 : CLASS_FORWARD;

		if (vip->flags & VIP_CLASSED) {
			/* What is given to a function lies in memory: see select_backend. */
			struct tuple copy = *tuple;

			class = class_of_packet(context, &copy, vip, is_quote);
			if (class != CLASS_FORWARD)
				count_class(vip, class, frame_bytes(context, network_offset, copy.is_ipv6), copy.begins);
			if (class == CLASS_DROP)
				return finish(DROP_SOURCE, XDP_DROP);
		}
		if (class == CLASS_L7)
			return enter_proxy(context, network_offset, tuple);
		if (vip->flags & VIP_NAT)
			return enter_nat(context, tuple, vip, is_quote);
	}
	chosen = select_backend(context, network_offset, tuple, vip, !is_quote, is_stage);
	return deliver(context, network_offset, tuple, vip, &chosen, is_quote);
}

#endif
