/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Takes tunnelled packets out of their outer header on a backend whose kernel has no tunnel device: XDP on
 * the interface where they arrive. It takes them from the balancers' source ranges, to this machine's own
 * addresses, and with a packet to one of its VIPs within; every other packet goes to the stack untouched,
 * except what claims to be the balancers' and is not right, which is dropped for a counted reason.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "decap.h"
#include "parse.h"
#include "rewrite.h"
#include "unwrap.h"

#define GUE_HEADER_LENGTH 4

const volatile __be16 gue_port = 0;
/* Clang writes a type into BTF only when a variable has it; the attaching command reads these there. */
const volatile enum decap_reason decap_reason_type = 0;
const volatile enum decap_kind decap_kind_type = 0;

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct decap_source);
	__type(value, __u32);
	__uint(max_entries, 1024);
} decap_sources SEC(".maps");

/* This machine's own addresses, and its VIPs: IPv4 mapped into IPv6; the value tells which. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct decap_address);
	__type(value, __u32);
	__uint(max_entries, 4096);
} decap_addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, DECAP_REASON_COUNT);
} decap_reasons SEC(".maps");

static __always_inline int finish(enum decap_reason reason, int action)
{
	__u32 key = reason;
	__u64 *count = bpf_map_lookup_elem(&decap_reasons, &key);

	if (count)
		*count += 1;
	return action;
}

static __always_inline int is_address_of_kind(const __u32 *address, __u32 kind)
{
	__u32 *found = bpf_map_lookup_elem(&decap_addresses, address);

	return found && (*found & kind);
}

/*
 * What GUE says lies within: protocol 4 or 41, 0 when it is nothing that our balancers send. Adds to the
 * length of the outer header.
 */
static __always_inline __u8 read_gue(struct udphdr *udp, void *end, struct outer_header *outer)
{
	__u8 *gue = (void *)(udp + 1);
	__u32 length;

	if ((void *)(gue + GUE_HEADER_LENGTH) > end)
		return 0;
	length = bpf_ntohs(udp->len);
	if (length != outer->payload || length < sizeof(*udp) + GUE_HEADER_LENGTH)
		return 0;
	outer->length += sizeof(*udp);
	outer->payload -= sizeof(*udp);
	/* Variant 1: the version of the packet within tells; 01 are the first bits of 4 and of 6. */
	if (gue[0] >> 4 == 4)
		return IPPROTO_IPIP;
	if (gue[0] >> 4 == 6)
		return IPPROTO_IPV6;
	/* Variant 0 without options. */
	if (gue[0] != 0 || gue[2] != 0 || gue[3] != 0)
		return 0;
	outer->length += GUE_HEADER_LENGTH;
	outer->payload -= GUE_HEADER_LENGTH;
	return gue[1] == IPPROTO_IPIP || gue[1] == IPPROTO_IPV6 ? gue[1] : 0;
}

/* As is_udp_intact, with a header of GUE between or without. */
static __always_inline int is_gue_intact(struct udphdr *udp, void *inner, void *end, __u8 protocol,
					 const struct outer_header *outer)
{
	__u16 *gue = (void *)(udp + 1);

	if ((void *)(gue + GUE_HEADER_LENGTH / 2) > end)
		return 0;
	return is_udp_intact(udp, inner == (void *)gue ? 0 : sum_words(gue, GUE_HEADER_LENGTH / 2), inner, end, protocol,
			     outer);
}

/* Looks at the packet within: one to a VIP of ours, no longer than the outer one says. */
static __always_inline enum decap_reason check_inner(void *inner, void *end, __u8 protocol,
						     const struct outer_header *outer)
{
	struct ipv6hdr *ip6 = inner;
	struct iphdr *ip4 = inner;
	__u32 destination[4];

	if (protocol == IPPROTO_IPV6) {
		if ((void *)(ip6 + 1) > end || ip6->version != 6 ||
		    sizeof(*ip6) + bpf_ntohs(ip6->payload_len) > outer->payload)
			return DROP_DECAP_MALFORMED;
		__builtin_memcpy(destination, &ip6->daddr, 16);
		if (!is_address_of_kind(destination, DECAP_VIP))
			return DROP_DECAP_NOT_VIP;
		if (!merge_ecn6(ip6, outer->ecn))
			return DROP_DECAP_CONGESTED;
		return PASS_DECAPSULATED;
	}
	if ((void *)(ip4 + 1) > end || ip4->version != 4 || ip4->ihl < 5 ||
	    bpf_ntohs(ip4->tot_len) > outer->payload)
		return DROP_DECAP_MALFORMED;
	map_address4(destination, ip4->daddr);
	if (!is_address_of_kind(destination, DECAP_VIP))
		return DROP_DECAP_NOT_VIP;
	if (!merge_ecn4(ip4, outer->ecn))
		return DROP_DECAP_CONGESTED;
	return PASS_DECAPSULATED;
}

SEC("xdp.frags")
int decap(struct xdp_md *context)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	__u32 offset = 0;
	__be16 type = parse_ethernet(data, end, &offset);
	struct decap_source source = { .prefix_length = 128 };
	struct outer_header outer = {};
	enum decap_reason reason;
	void *network;
	__u8 protocol;

	if (type != bpf_htons(ETH_P_IP) && type != bpf_htons(ETH_P_IPV6))
		return finish(PASS_NOT_TUNNELLED, XDP_PASS);
	network = data + offset;
	if (!read_outer(network, end, type == bpf_htons(ETH_P_IPV6), &outer))
		return finish(PASS_NOT_TUNNELLED, XDP_PASS);
	protocol = outer.protocol;
	if (protocol == IPPROTO_UDP) {
		struct udphdr *udp = network + (outer.length & OUTER_LENGTH_MASK);

		if (!gue_port || (void *)(udp + 1) > end || udp->dest != gue_port)
			return finish(PASS_NOT_TUNNELLED, XDP_PASS);
	} else if (protocol != IPPROTO_IPIP && protocol != IPPROTO_IPV6) {
		return finish(PASS_NOT_TUNNELLED, XDP_PASS);
	}
	if (!is_address_of_kind(outer.destination, DECAP_OWN))
		return finish(PASS_OTHER_DESTINATION, XDP_PASS);
	__builtin_memcpy(source.address, outer.source, 16);
	if (!bpf_map_lookup_elem(&decap_sources, &source))
		return finish(PASS_OTHER_SOURCE, XDP_PASS);
	/* The stack does not see this header any more, so its checksum is ours to look at. */
	if (type == bpf_htons(ETH_P_IP) && network + sizeof(struct iphdr) <= end &&
	    fold_checksum(sum_words(network, sizeof(struct iphdr) / 2)))
		return finish(DROP_DECAP_MALFORMED, XDP_DROP);
	if (protocol == IPPROTO_UDP) {
		struct udphdr *udp = network + (outer.length & OUTER_LENGTH_MASK);

		protocol = read_gue(udp, end, &outer);
		if (!protocol || !is_gue_intact(udp, network + (outer.length & OUTER_LENGTH_MASK), end, protocol, &outer))
			return finish(DROP_DECAP_MALFORMED, XDP_DROP);
	}
	reason = check_inner(network + (outer.length & OUTER_LENGTH_MASK), end, protocol, &outer);
	if (reason != PASS_DECAPSULATED)
		return finish(reason, XDP_DROP);
	type = protocol == IPPROTO_IPV6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	if (!take_off(context, offset, outer.length, type))
		return finish(DROP_DECAP_MALFORMED, XDP_DROP);
	return finish(PASS_DECAPSULATED, XDP_PASS);
}

char _license[] SEC("license") = "GPL";
