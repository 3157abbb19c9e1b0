/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What one program of a packet has found out and its next stage goes on with. */
#ifndef L4D_HANDOVER_H
#define L4D_HANDOVER_H

#include "maps.h"
#include "parse.h"
#include "transport.h"

enum fragment_part {
	FRAGMENT_NONE, /* a packet that is whole */
	FRAGMENT_FIRST, /* with ports */
	FRAGMENT_LATER,
};

struct handover {
	struct vip vip;
	struct tuple tuple; /* for an ICMP error, what it quotes */
	__u32 is_refused; /* of NAT: its backend is down, and the VIP says reset */
	__u32 fragment; /* enum fragment_part */
	__be32 fragment_id;
	__u32 network_offset;
	__u32 transport_offset;
	__u32 parsed; /* enum parse_result */
	__u32 proxy_mark; /* enum proxy_mark: of a packet for the proxy that another host has handed over; 0: a client's */
};

/* Per CPU: a stage runs at once after the program that goes on to it, on the same CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct handover);
	__uint(max_entries, 1);
} handover SEC(".maps");

static __always_inline struct handover *handed_over(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&handover, &key);
}

/*
 * Where the network header is, of a frame that a stage begins with: through memory, of which the verifier knows no values,
 * so that it looks at the rest once and not for each number of tags. False for a frame that has none.
 */
static __always_inline int find_network(struct xdp_md *context, __u32 *network_offset, int *is_ipv6)
{
	struct handover *handed = handed_over();
	volatile __u32 *kept;
	__u32 offset = 0;
	__be16 protocol;

	if (!handed)
		return 0;
	kept = &handed->network_offset;
	protocol = parse_ethernet((void *)(long)context->data, (void *)(long)context->data_end, &offset);
	*kept = offset;
	*network_offset = *kept;
	*is_ipv6 = protocol == bpf_htons(ETH_P_IPV6);
	return *network_offset <= 22;
}

/*
 * Finds the headers again, once for all that follows: what is read from a map, the verifier knows no values of, so it
 * looks at the rest once and not for each number of tags and of extension headers.
 */
static __always_inline void find_headers(struct xdp_md *context, struct handover *handed, struct tuple *tuple)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct transport_place place = {};
	__u32 network_offset = 0;
	int is_ipv6 = parse_ethernet(data, end, &network_offset) == bpf_htons(ETH_P_IPV6);

	handed->parsed = PARSE_BEHIND;
	handed->fragment = FRAGMENT_NONE;
	handed->network_offset = network_offset;
	if (!read_packet(context, network_offset, is_ipv6, tuple, &place))
		return;
	handed->transport_offset = network_offset + place.offset;
	if (place.is_fragment) {
		handed->fragment = place.fragment_offset ? FRAGMENT_LATER : FRAGMENT_FIRST;
		handed->fragment_id = place.fragment_id;
		if (place.fragment_offset || !is_sound_fragment(&place))
			return;
	}
	handed->parsed = parse_transport(transport_of(data + network_offset, &place), end, tuple);
}

/* Headers farther into the frame are not looked at: four extension headers are much shorter. */
#define MAX_TRANSPORT_OFFSET 0x1fff

/* Places of the headers in a frame that find_headers has looked at; false when there are none. */
static __always_inline int headers_of(struct xdp_md *context, const struct handover *handed, __u32 *network_offset,
				      void **network, void **transport)
{
	void *data = (void *)(long)context->data;
	__u32 at = *(const volatile __u32 *)&handed->network_offset;
	__u32 transport_at = *(const volatile __u32 *)&handed->transport_offset;

	if (at > 22 || transport_at > MAX_TRANSPORT_OFFSET)
		return 0;
	*network_offset = at;
	*network = data + at;
	*transport = data + transport_at;
	return 1;
}

#endif
