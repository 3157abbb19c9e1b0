/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Later fragments of what NAT has rewritten: they have no ports and no checksum but the IP header's, so that they get
 * the addresses that the connection of their first fragment has. Nobody is told what is too big: there are no ICMP
 * errors about later fragments (RFC 1122 section 3.2.2).
 */
#ifndef L4D_NAT_FRAGMENT_H
#define L4D_NAT_FRAGMENT_H

#include "fragment_memory.h"
#include "nat.h"

/* Takes a hop and writes the addresses; what is to be done with the frame otherwise, 0 when it may go. */
static __always_inline int rewrite_later(void *network, void *end, const struct nat_ends *ends, __u16 egress,
					 const int is_ipv6)
{
	if (exceeded_mtu(network, end, egress, is_ipv6))
		return finish(DROP_TOO_BIG, XDP_DROP);
	if (!take_hop(network, end, is_ipv6))
		return finish(DROP_TTL_EXPIRED, XDP_DROP);
	if (network + (is_ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) > end)
		return finish(DROP_MALFORMED, XDP_DROP);
	write_addresses(network, ends->source, ends->destination, is_ipv6);
	return 0;
}

/* The stage: to a backend; handed->tuple and the VIP's number are those of the first fragment. */
static __always_inline int nat_later_to_backend(struct xdp_md *context, struct handover *handed, const int is_ipv6)
{
	void *end = (void *)(long)context->data_end;
	void *network, *transport;
	struct backend *backend;
	struct nat_ends ends = {};
	union flow_key key = {};
	__u32 network_offset;
	struct nat_flow *out;
	int done;

	if (!headers_of(context, handed, &network_offset, &network, &transport))
		return finish(DROP_MALFORMED, XDP_DROP);
	nat_key(&key, &handed->tuple, handed->vip.id, is_ipv6);
	out = find_nat_out(&key, is_ipv6);
	if (!out)
		return finish(DROP_FRAGMENT, XDP_DROP);
	backend = live_backend(out->backend, out->generation);
	if (!backend)
		return finish(DROP_NO_BACKEND, XDP_DROP);
	if (!is_resolved(backend))
		return finish(DROP_UNRESOLVED, XDP_DROP);
	if (is_ipv6)
		ends_of_tuple(&ends, &((struct nat6_out *)out)->tuple, 1);
	else
		ends_of_tuple(&ends, &((struct nat4_out *)out)->tuple, 0);
	done = rewrite_later(network, end, &ends, backend->flags, is_ipv6);
	if (done)
		return done;
	return send_to_backend(context, network_offset, &handed->vip, out->backend, backend, 0, is_ipv6, TX_NAT);
}

#endif
