/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* ICMP and ICMPv6 for a VIP's address: echo requests are answered, errors go to the backend of the flow that they quote. */
#ifndef L4D_ICMP_H
#define L4D_ICMP_H

#include "count.h"
#include "echo.h"
#include "parse.h"
#include "handover.h"
#include "serve.h"
#include "stages.h"
#include "transport.h"
#include "vip_lookup.h"

/* The packet that an ICMP error quotes went from the VIP to the client: turn its tuple round. */
static __always_inline void turn_round(struct tuple *quoted)
{
	__u32 address[4];
	__be16 port = quoted->client_port;

	__builtin_memcpy(address, quoted->client, 16);
	__builtin_memcpy(quoted->client, quoted->vip, 16);
	__builtin_memcpy(quoted->vip, address, 16);
	quoted->client_port = quoted->vip_port;
	quoted->vip_port = port;
	quoted->begins = 0;
	quoted->tcp_flags = 0;
}

/* Ports of a quoted packet, of which 8 transport bytes are sure to be there (RFC 792). */
static __always_inline int parse_quoted_ports(void *transport, void *end, struct tuple *quoted)
{
	__be16 *ports = transport;

	if ((void *)(ports + 2) > end)
		return 0;
	if (quoted->protocol != IPPROTO_TCP && quoted->protocol != IPPROTO_UDP)
		return 0;
	quoted->client_port = ports[0];
	quoted->vip_port = ports[1];
	return 1;
}

/* ICMP for no VIP: of this host's own packets routers may report on those that go through tunnels. */
static __always_inline int pass_on_icmp(struct xdp_md *context)
{
	if (has_feature(FEATURE_TUNNELS))
		return GO_ON(context, STAGE_TUNNEL_ERROR);
	return pass_on(context);
}

static __always_inline int handle_icmp4(struct xdp_md *context, __u32 network_offset, struct iphdr *ip,
					struct icmp_header *icmp, __u32 quote_offset)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct vip *address = find_vip4(ip->daddr, 0, IPPROTO_ICMP);
	struct transport_place place = {};
	struct tuple quoted = {};
	struct iphdr *inner;
	struct vip *vip;

	if (!address)
		return pass_on_icmp(context);
	if ((void *)(icmp + 1) > end || (void *)(ip + 1) > end || data + sizeof(struct ethhdr) > end)
		return finish(DROP_MALFORMED, XDP_DROP);
	if (icmp->type == ICMP_ECHO && icmp->code == 0)
		return reply_to_echo4(data, ip, icmp);
	if (icmp->type != ICMP_DEST_UNREACH && icmp->type != ICMP_TIME_EXCEEDED &&
	    icmp->type != ICMP_PARAMETERPROB)
		return finish(PASS_VIP_ICMP, XDP_PASS);
	inner = data + quote_offset;
	/* Only a first fragment has ports. */
	if (!read_packet(context, quote_offset, 0, &quoted, &place) || place.fragment_offset)
		return finish(PASS_VIP_ICMP, XDP_PASS);
	if (!parse_quoted_ports(transport_of(inner, &place), end, &quoted))
		return finish(PASS_VIP_ICMP, XDP_PASS);
	turn_round(&quoted);
	vip = find_vip4(quoted.vip[0], quoted.vip_port, quoted.protocol);
	if (!vip || quoted.vip[0] != ip->daddr)
		return finish(PASS_VIP_ICMP, XDP_PASS);
	return serve(context, network_offset, &quoted, vip, 1, 1);
}

static __always_inline int handle_icmp6(struct xdp_md *context, __u32 network_offset, struct ipv6hdr *ip,
					const struct tuple *tuple, struct icmp_header *icmp,
					__u32 quote_offset)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct vip *address = find_vip6(tuple->vip, 0, IPPROTO_ICMPV6);
	struct transport_place place = {};
	struct tuple quoted = {};
	struct ipv6hdr *inner;
	struct vip *vip;

	if (!address)
		return pass_on_icmp(context);
	if ((void *)(icmp + 1) > end || (void *)(ip + 1) > end || data + sizeof(struct ethhdr) > end)
		return finish(DROP_MALFORMED, XDP_DROP);
	if (icmp->type == ICMPV6_ECHO_REQUEST && icmp->code == 0)
		return reply_to_echo6(data, ip, icmp);
	if (icmp->type == ICMPV6_NEIGHBOUR_SOLICITATION && has_feature(FEATURE_NEIGHBOURS))
		return GO_ON(context, STAGE_NEIGHBOUR);
	/* Types below 128 are errors (RFC 4443 section 2.1). */
	if (icmp->type & ICMPV6_INFOMSG_MASK)
		return finish(PASS_VIP_ICMP, XDP_PASS);
	inner = data + quote_offset;
	/* Only a first fragment has ports. */
	if (!read_packet(context, quote_offset, 1, &quoted, &place) || place.fragment_offset)
		return finish(PASS_VIP_ICMP, XDP_PASS);
	if (!parse_quoted_ports(transport_of(inner, &place), end, &quoted))
		return finish(PASS_VIP_ICMP, XDP_PASS);
	turn_round(&quoted);
	vip = find_vip6(quoted.vip, quoted.vip_port, quoted.protocol);
	if (!vip || !is_same_address6(quoted.vip, tuple->vip))
		return finish(PASS_VIP_ICMP, XDP_PASS);
	return serve(context, network_offset, &quoted, vip, 1, 1);
}

/* The stage's way in: an IPv4 or IPv6 packet whose transport is ICMP or ICMPv6, no fragment. */
static __always_inline int handle_icmp(struct xdp_md *context)
{
	struct transport_place place = {};
	struct tuple tuple = {};
	__u32 network_offset = 0, quote_offset;
	void *network, *transport;
	int is_ipv6;

	if (!find_network(context, &network_offset, &is_ipv6))
		return finish(PASS_NOT_VIP, XDP_PASS);
	network = (void *)(long)context->data + network_offset;
	if (!read_packet(context, network_offset, is_ipv6, &tuple, &place) || place.is_fragment)
		return finish(PASS_NOT_VIP, XDP_PASS);
	transport = transport_of(network, &place);
	quote_offset = network_offset + (place.offset & TRANSPORT_OFFSET_MASK) + sizeof(struct icmp_header);
	if (is_ipv6)
		return handle_icmp6(context, network_offset, network, &tuple, transport, quote_offset);
	return handle_icmp4(context, network_offset, network, transport, quote_offset);
}

#endif
