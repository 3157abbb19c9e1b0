/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Packets to a VIP's address whose transport header does not follow the IP header at once, or is not in them. */
#ifndef L4D_BEHIND_H
#define L4D_BEHIND_H

#include "count.h"
#include "handover.h"
#include "serve.h"
#include "stages.h"
#include "transport.h"
#include "vip_lookup.h"

static __always_inline struct vip *find_vip_of(const struct tuple *tuple)
{
	return tuple->is_ipv6 ? find_vip6(tuple->vip, tuple->vip_port, tuple->protocol) :
				find_vip4(tuple->vip[0], tuple->vip_port, tuple->protocol);
}

/* The stage's way in. */
static __always_inline int handle_behind(struct xdp_md *context)
{
	struct transport_place place = {};
	struct tuple tuple = {};
	__u32 network_offset = 0;
	enum parse_result parsed;
	void *network, *end;
	struct vip *vip;
	int is_ipv6;

	if (!find_network(context, &network_offset, &is_ipv6))
		return finish(DROP_MALFORMED, XDP_DROP);
	network = (void *)(long)context->data + network_offset;
	end = (void *)(long)context->data_end;
	if (!read_packet(context, network_offset, is_ipv6, &tuple, &place))
		return finish(DROP_MALFORMED, XDP_DROP);
	if (place.is_fragment)
		return GO_ON(context, STAGE_FRAGMENT);
	if (place.protocol == (is_ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
		return GO_ON(context, STAGE_ICMP);
	parsed = parse_transport(transport_of(network, &place), end, &tuple);
	if (parsed == PARSE_SHORT)
		return finish(DROP_MALFORMED, XDP_DROP);
	vip = parsed == PARSE_OK ? find_vip_of(&tuple) : NULL;
	if (!vip)
		return finish(PASS_NOT_VIP, XDP_PASS);
	return serve(context, network_offset, &tuple, vip, 0, 1);
}

#endif
