/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * QUIC by connection id (draft-ietf-quic-load-balancers, the plain algorithm of section 5.2): the server puts its id
 * into the connection ids that it gives out, so a client may change address and port and stays with its server.
 */
#ifndef L4D_QUIC_H
#define L4D_QUIC_H

#include "count.h"
#include "parse.h"
#include "scheduled.h"
#include "transport.h"

#define QUIC_LONG_HEADER 0x80 /* RFC 8999 section 5.1 */
/* First byte, version, length of the destination connection id. */
#define QUIC_LONG_ID_OFFSET 6
#define QUIC_SHORT_ID_OFFSET 1
/* Bits of config rotation in the first byte of a connection id; the other five are its length or chance. */
#define QUIC_CONFIG_SHIFT 5
/* Behind the server id stand so many bytes at least. */
#define QUIC_LEAST_NONCE 4

/*
 * Finds the UDP header of a whole packet, behind extension headers too; false when there is none. QUIC sends nothing in
 * fragments (RFC 9000 section 14). Not by read_packet: addresses take stack, of which Linux 6.1 counts every call's.
 */
static __always_inline int find_udp(struct xdp_md *context, __u32 network_offset, struct transport_place *place)
{
	void *end = (void *)(long)context->data_end;
	struct ipv6hdr *ip6 = (void *)(long)context->data + network_offset;
	struct iphdr *ip4 = (void *)ip6;

	if ((void *)(ip4 + 1) > end)
		return 0;
	if (ip4->version == 4) {
		if (ip4->ihl < 5 || (ip4->frag_off & bpf_htons(IP_FRAGMENT_MASK)))
			return 0;
		place->offset = ip4->ihl * 4;
		place->protocol = ip4->protocol;
		if (ip4->protocol == IPPROTO_AH && !walk_headers(context, network_offset, 0, place))
			return 0;
	} else {
		if ((void *)(ip6 + 1) > end)
			return 0;
		place->offset = sizeof(*ip6);
		place->protocol = ip6->nexthdr;
		if (ip6->nexthdr != IPPROTO_UDP && !walk_headers(context, network_offset, 1, place))
			return 0;
	}
	return !place->is_fragment && place->protocol == IPPROTO_UDP && place->offset <= TRANSPORT_OFFSET_MASK;
}

/*
 * Index of the backend that the packet's connection id names; -1: none that may have it, and the flow table decides.
 * An id that the client has chosen may name a server by chance: then each packet with it goes there, as it should.
 * Not inlined: its stack is then beside that of choose_backend, not below it.
 */
__noinline int find_quic_server(struct xdp_md *context, __u32 network_offset, const struct vip *vip)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct quic_server_key key = {};
	struct transport_place place = {};
	struct backend *backend;
	__u8 *udp_payload, *id;
	__u32 *index, length;
	int is_long;

	if (!vip || network_offset > 22)
		return -1;
	if (data + network_offset + 1 > end)
		return -1;
	if (!find_udp(context, network_offset, &place))
		return -1;
	udp_payload = transport_of(data + network_offset, &place) + sizeof(struct udphdr);
	KEEP_POINTER(udp_payload);
	if ((void *)(udp_payload + QUIC_LONG_ID_OFFSET) > end)
		return -1;
	length = vip->quic_id_length;
	is_long = *udp_payload & QUIC_LONG_HEADER;
	if (is_long && udp_payload[QUIC_LONG_ID_OFFSET - 1] < 1 + length + QUIC_LEAST_NONCE)
		return -1;
	id = udp_payload + (is_long ? QUIC_LONG_ID_OFFSET : QUIC_SHORT_ID_OFFSET);
	if ((void *)(id + 1) > end || *id >> QUIC_CONFIG_SHIFT != vip->quic_config)
		return -1;
	key.vip_id = vip->id;
	for (__u32 i = 0; i < MAX_QUIC_SERVER_ID; i++) {
		if (i >= length)
			break;
		if ((void *)(id + 2 + i) > end)
			return -1;
		key.server_id[i] = id[1 + i];
	}
	index = bpf_map_lookup_elem(&quic_servers, &key);
	backend = index ? bpf_map_lookup_elem(&backends, index) : NULL;
	if (!backend || backend->vip_id != vip->id || (backend->flags & BACKEND_DOWN))
		return -1;
	/* A handshake with a server that drains is in the flow table if it began before; what is new goes elsewhere. */
	if (is_long && (backend->flags & BACKEND_DRAINING))
		return -1;
	return *index;
}

#endif
