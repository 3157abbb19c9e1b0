/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * ICMP errors about outer packets, which routers between this host and an end of a tunnel send to the outer source.
 * What is too big there is remembered of the way (path_mtu.h), and the client is told at once where enough of its packet
 * is quoted (RFC 2003 section 5, RFC 4459 section 3.2). The others are counted by the end.
 *
 * Anybody can send such an error. So it counts only when it quotes what this host may have sent: to an end that it has, from
 * the source that it has for it, with the flags and ports that it writes, no larger than it sends and larger than the
 * MTU that is told. A client is told only about a packet for a VIP, from the very source and port that follow
 * from its flow. What a forged one still does is bounded: no way gets smaller than LEAST_PATH_MTU, nor for longer than
 * PATH_MTU_TICKS, and answers are limited as those of too_big.h, with which they share the rate.
 */
#ifndef L4D_TUNNEL_ERROR_H
#define L4D_TUNNEL_ERROR_H

#include "count.h"
#include "egress.h"
#include "handover.h"
#include "path_mtu.h"
#include "serve.h"
#include "slot.h"
#include "too_big.h"
#include "vip_lookup.h"

#define ICMPV6_DEST_UNREACH 1
#define ICMPV6_TIME_EXCEED 3

/* No error is longer: RFC 1812 section 4.3.2.3 says 576 bytes, RFC 4443 1280. Those that are, are not looked at. */
#define MOST_ERROR_BYTES 1536
/* A frame's offsets are below it; a mask, for the verifier. */
#define ERROR_OFFSET_MASK 0xfff

/* What is read of an error: in memory of which the verifier knows no values, so that it looks at the rest once. */
struct tunnel_error {
	struct tunnel_end_key remote; /* outer destination that is quoted */
	__u32 source[4]; /* outer source; IPv4 in source[0] */
	__u32 kind; /* enum path_error */
	__u32 mtu; /* of PATH_TOO_BIG */
	__u32 length; /* of the quoted packet, as it says */
	__u32 message_length; /* bytes of the ICMP message */
	__u32 outer_at; /* of the quoted packet, from the frame's begin */
	__u32 payload_at; /* behind the quoted IP header */
	__u32 inner_at; /* of the packet within */
	__u32 protocol; /* of the quoted IP header */
	__u8 inner_ipv6;
	__u8 type; /* of the ICMP message */
	__u8 code;
	__u8 pad;
	struct tuple inner;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct tunnel_error);
	__uint(max_entries, 1);
} tunnel_error SEC(".maps");

/*
 * What lies so many bytes behind the frame's begin; the caller has compared the number. Linux 6.1 does not remember of a
 * comparison that it holds for the number's copy on the stack, too: hence the mask, which the compiler may not take for needless.
 */
static __always_inline void *error_part(void *data, __u32 at)
{
	void *part;

	asm volatile("" : "+r"(at));
	at &= ERROR_OFFSET_MASK;
	part = data + at;
	KEEP_POINTER(part);
	return part;
}

static __always_inline struct tunnel_error *own_tunnel_error(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&tunnel_error, &key);
}

/*
 * The sum of so many bytes of the packet, folded to 16 bits; -1 when they are not all in the first buffer, or are too
 * many. Not inlined: verified once.
 */
__noinline int sum_span(struct xdp_md *context, __u32 at, __u32 bytes)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	const void *from;
	__u64 sum = 0;

	if (at > ERROR_OFFSET_MASK || bytes > MOST_ERROR_BYTES)
		return -1;
	from = data + at;
	for (__u32 i = 0; i < MOST_ERROR_BYTES / 2; i++) {
		const __u16 *word = from + 2 * i;

		if (2 * i >= bytes)
			break;
		KEEP_POINTER(word);
		if (2 * i + 1 == bytes) {
			if ((void *)word + 1 > end)
				return -1;
			sum += *(const __u8 *)word;
			break;
		}
		if ((void *)(word + 1) > end)
			return -1;
		sum += *word;
	}
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* The next smaller size of RFC 1191 section 7.1, for routers of before it that tell none. */
static __always_inline __u32 plateau_below(__u32 length)
{
	if (length > 8166)
		return 8166;
	if (length > 4352)
		return 4352;
	if (length > 2002)
		return 2002;
	if (length > 1492)
		return 1492;
	return LEAST_PATH_MTU;
}

static __always_inline int read_error4(void *network, struct icmp_header *icmp, void *end, struct tunnel_error *error)
{
	struct iphdr *ip = network, *outer = (void *)(icmp + 1);

	if ((void *)(ip + 1) > end || (void *)(outer + 1) > end)
		return 0;
	if (icmp->type == ICMP_DEST_UNREACH)
		error->kind = icmp->code == ICMP_FRAG_NEEDED ? PATH_TOO_BIG : PATH_UNREACHABLE;
	else if (icmp->type == ICMP_TIME_EXCEEDED)
		error->kind = PATH_TIME_EXCEEDED;
	else if (icmp->type == ICMP_PARAMETERPROB)
		error->kind = PATH_OTHER;
	else
		return 0;
	/* As write_outer4 makes them. */
	if (*(__u8 *)outer != 0x45 || outer->frag_off != bpf_htons(IP_DONT_FRAGMENT) || outer->id != 0 ||
	    outer->saddr != ip->daddr)
		return 0;
	error->message_length = bpf_ntohs(ip->tot_len) - ((void *)icmp - network);
	error->source[0] = outer->saddr;
	error->remote.address[2] = bpf_htonl(0xffff);
	error->remote.address[3] = outer->daddr;
	error->length = bpf_ntohs(outer->tot_len);
	error->protocol = outer->protocol;
	error->payload_at = error->outer_at + sizeof(*outer);
	error->mtu = bpf_ntohl(icmp->rest) & 0xffff;
	if (!error->mtu)
		error->mtu = plateau_below(error->length);
	if (error->mtu < LEAST_PATH_MTU)
		error->mtu = LEAST_PATH_MTU;
	return 1;
}

static __always_inline int read_error6(void *network, struct icmp_header *icmp, void *end, struct tunnel_error *error)
{
	struct ipv6hdr *ip = network, *outer = (void *)(icmp + 1);

	if ((void *)(ip + 1) > end || (void *)(outer + 1) > end)
		return 0;
	/* Types below 128 are errors (RFC 4443 section 2.1). */
	if (icmp->type & ICMPV6_INFOMSG_MASK)
		return 0;
	error->kind = icmp->type == ICMPV6_PKT_TOOBIG	 ? PATH_TOO_BIG :
		      icmp->type == ICMPV6_DEST_UNREACH ? PATH_UNREACHABLE :
		      icmp->type == ICMPV6_TIME_EXCEED  ? PATH_TIME_EXCEEDED :
							   PATH_OTHER;
	if (outer->version != 6 || !is_same_address6((__u32 *)&outer->saddr, (__u32 *)&ip->daddr))
		return 0;
	error->message_length = sizeof(*ip) + bpf_ntohs(ip->payload_len) - ((void *)icmp - network);
	__builtin_memcpy(error->source, &outer->saddr, 16);
	__builtin_memcpy(error->remote.address, &outer->daddr, 16);
	error->length = sizeof(*outer) + bpf_ntohs(outer->payload_len);
	error->protocol = outer->nexthdr;
	error->payload_at = error->outer_at + sizeof(*outer);
	error->mtu = bpf_ntohl(icmp->rest);
	if (error->mtu < LEAST_PATH_MTU)
		error->mtu = LEAST_PATH_MTU;
	return 1;
}

/* Whether the checksum of the message holds (RFC 792, RFC 4443 section 2.3). */
static __always_inline int is_sound_error(struct xdp_md *context, __u32 network_offset, __u32 icmp_at,
					  const struct tunnel_error *error, const int is_ipv6)
{
	__u32 length = error->message_length;
	int sum = sum_span(context, icmp_at, length);
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct ipv6hdr *ip = data + network_offset;
	__u32 whole = sum;

	if (sum < 0)
		return 0;
	if (is_ipv6) {
		if ((void *)(ip + 1) > end)
			return 0;
		whole += sum_words(&ip->saddr, 16) + bpf_htons(IPPROTO_ICMPV6) + bpf_htons((__u16)length);
	}
	return fold_checksum(whole) == 0;
}

/* Whether this host sends from that address to the end, and by such a protocol; finds the packet within. */
static __always_inline int is_own_outer(void *data, void *end, const struct egress *egress, struct tunnel_error *error,
					const int is_ipv6)
{
	__u32 payload_at = *(volatile __u32 *)&error->payload_at;
	struct udphdr *udp;

	if (is_ipv6) {
		if (error->source[0] != egress->source6[0] || error->source[1] != egress->source6[1] ||
		    error->source[2] != egress->source6[2] ||
		    (error->source[3] & ~egress->spread6) != egress->source6[3])
			return 0;
	} else if ((error->source[0] & ~egress->spread4) != egress->source4) {
		return 0;
	}
	error->inner_at = payload_at;
	if (error->protocol == IPPROTO_IPIP || error->protocol == IPPROTO_IPV6)
		return 1;
	if (error->protocol != IPPROTO_UDP || payload_at > ERROR_OFFSET_MASK)
		return 0;
	udp = error_part(data, payload_at);
	/* 8 bytes are sure to be there (RFC 792). */
	if ((void *)(udp + 1) > end || (udp->source & bpf_htons(TUNNEL_SOURCE_PORTS)) != bpf_htons(TUNNEL_SOURCE_PORTS))
		return 0;
	if (udp->dest == egress->vxlan_port)
		error->inner_at += sizeof(*udp) + VXLAN_LENGTH;
	else if (udp->dest == egress->gue_port)
		error->inner_at += sizeof(*udp) + egress->gue_header;
	else
		return 0;
	return 1;
}

/* Counts an error, and remembers who has sent it. */
static __always_inline void note_path_error(struct tunnel_end *end, const struct tunnel_error *error,
					    const __u32 *reporter, __u32 tick, const int is_ipv6)
{
	__u32 kind = error->kind;

	if (kind < PATH_ERROR_COUNT)
		__sync_fetch_and_add(&end->errors[kind], 1);
	end->last_tick = tick;
	end->last_type = error->type;
	end->last_code = error->code;
	if (is_ipv6) {
		__builtin_memcpy(end->reporter, reporter, 16);
	} else {
		end->reporter[0] = 0;
		end->reporter[1] = 0;
		end->reporter[2] = bpf_htonl(0xffff);
		end->reporter[3] = reporter[0];
	}
}

/* Remembers a smaller MTU. One that is larger than what is known comes by another way to the end: the smaller one holds. */
static __always_inline void learn_mtu(struct tunnel_end *end, __u32 mtu, __u32 tick)
{
	__u32 known = learned_mtu(end, tick);

	if (known && known < mtu)
		return;
	end->mtu_tick = tick;
	*(volatile __u32 *)&end->mtu = mtu;
	path_mtu_tick = tick ? tick : 1;
}

/* Reads the packet within: the client's, as far as it is quoted. False when that does not tell whose it is. */
static __always_inline int read_inner(void *data, void *end, struct tunnel_error *error)
{
	__u32 inner_at = *(volatile __u32 *)&error->inner_at;
	struct tuple *inner = &error->inner;
	struct ipv6hdr *ip6;
	struct iphdr *ip4;
	__be16 *ports;

	if (inner_at > ERROR_OFFSET_MASK)
		return 0;
	ip4 = error_part(data, inner_at);
	ip6 = (void *)ip4;
	if ((void *)(ip4 + 1) > end)
		return 0;
	__builtin_memset(inner, 0, sizeof(*inner));
	error->inner_ipv6 = ip4->version == 6;
	if (ip4->version == 6) {
		if ((void *)(ip6 + 1) > end)
			return 0;
		inner->is_ipv6 = 1;
		__builtin_memcpy(inner->client, &ip6->saddr, 16);
		__builtin_memcpy(inner->vip, &ip6->daddr, 16);
		inner->protocol = ip6->nexthdr;
		ports = (void *)(ip6 + 1);
	} else {
		if (ip4->version != 4 || ip4->ihl < 5 || (ip4->frag_off & bpf_htons(IP_OFFSET_MASK)))
			return 0;
		inner->client[0] = ip4->saddr;
		inner->vip[0] = ip4->daddr;
		inner->protocol = ip4->protocol;
		ports = (void *)ip4 + ip4->ihl * 4;
		KEEP_POINTER(ports);
	}
	/* An ICMP error is never answered (RFC 1122 section 3.2.2), and a client needs 8 bytes of its transport's header. */
	if ((inner->protocol != IPPROTO_TCP && inner->protocol != IPPROTO_UDP) || (void *)(ports + 4) > end)
		return 0;
	inner->client_port = ports[0];
	inner->vip_port = ports[1];
	return 1;
}

/* Whether the quoted packet's source, and its port, are those that follow from the flow within, which is a VIP's. */
static __always_inline int is_of_its_flow(void *data, void *end, const struct egress *egress,
					  const struct tunnel_error *error, const int is_ipv6)
{
	const struct tuple *inner = &error->inner;
	__u32 payload_at = *(const volatile __u32 *)&error->payload_at;
	__u64 hash = hash_of(inner);
	const struct vip *vip;
	struct udphdr *udp;

	vip = inner->is_ipv6 ? find_vip6(inner->vip, inner->vip_port, inner->protocol) :
			       find_vip4(inner->vip[0], inner->vip_port, inner->protocol);
	if (!vip)
		return 0;
	if (is_ipv6) {
		if (error->source[3] != (egress->source6[3] | (bpf_htonl((__u32)hash) & egress->spread6)))
			return 0;
	} else if (error->source[0] != (egress->source4 | (bpf_htonl((__u32)hash) & egress->spread4))) {
		return 0;
	}
	if (error->protocol != IPPROTO_UDP)
		return 1;
	if (payload_at > ERROR_OFFSET_MASK)
		return 0;
	udp = error_part(data, payload_at);
	return (void *)(udp + 1) <= end &&
	       udp->source == bpf_htons(TUNNEL_SOURCE_PORTS | (hash & TUNNEL_SOURCE_MASK));
}

/*
 * Makes of the error one about the packet within, in the name of the VIP, and sends it back by the router that it came from,
 * which has routes. The sum of what is quoted follows from that of the message, which holds: it is not read again.
 */
static __always_inline int tell_client(struct xdp_md *context, __u32 network_offset, struct tunnel_error *error,
				       __u32 mtu, __u32 quoted_sum, const int inner_ipv6)
{
	const __u32 headers = (inner_ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) + sizeof(struct icmp_header);
	__u32 inner_at = *(volatile __u32 *)&error->inner_at;
	__u32 quoted = error->message_length - (inner_at - error->outer_at) - sizeof(struct icmp_header);
	const struct tuple *inner = &error->inner;
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	__u8 destination[8], source[8];
	struct icmp_header *icmp;
	struct ipv6hdr *ip6;
	struct iphdr *ip4;
	__u32 tags[2];

	if (inner_at > ERROR_OFFSET_MASK || inner_at < network_offset + headers || data + 22 > end)
		return finish(PASS_TUNNEL_ERROR, XDP_PASS);
	copy_mac(destination, data + ETH_ALEN);
	copy_mac(source, data);
	tags[0] = *(__u32 *)(data + 12);
	tags[1] = *(__u32 *)(data + 16);
	if (bpf_xdp_adjust_head(context, (int)(inner_at - network_offset - headers)))
		return finish(PASS_TUNNEL_ERROR, XDP_PASS);
	data = (void *)(long)context->data;
	end = (void *)(long)context->data_end;
	ip4 = data + network_offset;
	KEEP_POINTER(ip4);
	ip6 = (void *)ip4;
	if (data + 22 > end || (void *)ip4 + headers > end)
		return finish(DROP_MALFORMED, XDP_DROP);
	write_ethernet(data, network_offset, destination, source, tags,
		       inner_ipv6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP));
	icmp = (void *)ip4 + headers - sizeof(*icmp);
	icmp->code = inner_ipv6 ? 0 : ICMP_FRAG_NEEDED;
	icmp->type = inner_ipv6 ? ICMPV6_PKT_TOOBIG : ICMP_DEST_UNREACH;
	icmp->checksum = 0;
	/* Without extensions (RFC 4884), for which the length of the quoted packet would have to be told. */
	icmp->rest = bpf_htonl(inner_ipv6 ? mtu : mtu & 0xffff);
	if (inner_ipv6) {
		*(__u32 *)ip6 = bpf_htonl(0x60000000);
		ip6->payload_len = bpf_htons((__u16)(sizeof(*icmp) + quoted));
		ip6->nexthdr = IPPROTO_ICMPV6;
		ip6->hop_limit = REPLY_TTL;
		__builtin_memcpy(&ip6->saddr, inner->vip, 16);
		__builtin_memcpy(&ip6->daddr, inner->client, 16);
		quoted_sum += sum_words(&ip6->saddr, 16) + bpf_htons(IPPROTO_ICMPV6) + ip6->payload_len;
	} else {
		((__u32 *)ip4)[0] = bpf_htonl(0x45c00000 | ((headers + quoted) & 0xffff));
		((__u32 *)ip4)[1] = 0;
		((__u32 *)ip4)[2] = bpf_htonl(REPLY_TTL << 24 | IPPROTO_ICMP << 16);
		ip4->saddr = inner->vip[0];
		ip4->daddr = inner->client[0];
		ip4->check = fold_checksum(sum_words(ip4, sizeof(*ip4) / 2));
	}
	icmp->checksum = fold_checksum(quoted_sum + sum_words(icmp, sizeof(*icmp) / 2));
	return finish(TX_TUNNEL_ERROR, XDP_TX);
}

/* The size that the packet within may have, when its sender is to be told; 0: it is not. */
static __always_inline __u32 mtu_to_tell(const struct tunnel_error *error)
{
	__u32 overhead = error->inner_at - error->payload_at +
			 (error->payload_at - error->outer_at);
	__u32 mtu;

	if (error->mtu <= overhead || error->length <= overhead)
		return 0;
	mtu = error->mtu - overhead;
	if (error->inner_ipv6 && mtu < LEAST_MTU6)
		mtu = LEAST_MTU6;
	return mtu < error->length - overhead ? mtu : 0;
}

/* Tells the client, if that can and may be. The error is known to be about a packet of this host that was too big. */
static __always_inline int answer_tunnel_error(struct xdp_md *context, __u32 network_offset, __u32 icmp_at,
					       const struct egress *egress, struct tunnel_error *error,
					       const int is_ipv6)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	__u32 mtu, span, quoted_sum;
	int sum;

	if (!read_inner(data, end, error) || !is_of_its_flow(data, end, egress, error, is_ipv6))
		return finish(PASS_TUNNEL_ERROR, XDP_PASS);
	mtu = mtu_to_tell(error);
	span = error->inner_at - icmp_at;
	if (!mtu || error->message_length < span || !may_tell_too_big())
		return finish(PASS_TUNNEL_ERROR, XDP_PASS);
	sum = sum_span(context, icmp_at, span);
	if (sum < 0)
		return finish(PASS_TUNNEL_ERROR, XDP_PASS);
	/* All of the message, with the pseudo-header of IPv6, sums to nothing: the rest is the complement of its begin. */
	quoted_sum = sum;
	data = (void *)(long)context->data;
	end = (void *)(long)context->data_end;
	if (is_ipv6) {
		struct ipv6hdr *ip = data + network_offset;

		if ((void *)(ip + 1) > end)
			return finish(PASS_TUNNEL_ERROR, XDP_PASS);
		quoted_sum += sum_words(&ip->saddr, 16) + bpf_htons(IPPROTO_ICMPV6) +
			      bpf_htons((__u16)error->message_length);
	}
	quoted_sum = negated_sum(quoted_sum);
	return error->inner_ipv6 ? tell_client(context, network_offset, error, mtu, quoted_sum, 1) :
				   tell_client(context, network_offset, error, mtu, quoted_sum, 0);
}

static __always_inline int take_tunnel_error(struct xdp_md *context, struct handover *handed, const int is_ipv6)
{
	struct tunnel_error *error = own_tunnel_error();
	__u32 network_offset, icmp_at, tick = current_tick();
	const struct egress *egress;
	struct tunnel_end *found;
	struct icmp_header *icmp;
	void *network, *transport, *data, *end;

	if (!error || !headers_of(context, handed, &network_offset, &network, &transport))
		return pass_on(context);
	icmp_at = *(volatile __u32 *)&handed->transport_offset;
	data = (void *)(long)context->data;
	end = (void *)(long)context->data_end;
	icmp = transport;
	KEEP_POINTER(icmp);
	if ((void *)(icmp + 1) > end)
		return pass_on(context);
	__builtin_memset(error, 0, sizeof(*error));
	error->outer_at = icmp_at + sizeof(*icmp);
	error->type = icmp->type;
	error->code = icmp->code;
	if (!(is_ipv6 ? read_error6(network, icmp, end, error) : read_error4(network, icmp, end, error)))
		return pass_on(context);
	found = bpf_map_lookup_elem(&tunnel_ends, &error->remote);
	if (!found)
		return pass_on(context);
	egress = find_egress((__u16)(found->egress << BACKEND_EGRESS_SHIFT));
	if (!egress || !is_own_outer(data, end, egress, error, is_ipv6))
		return pass_on(context);
	if (!is_sound_error(context, network_offset, icmp_at, error, is_ipv6))
		return pass_on(context);
	/* A router that forwards what it calls too big, or says that of what this host never sends. */
	if (error->kind == PATH_TOO_BIG && (error->mtu >= error->length || error->length > egress->tunnel_mtu))
		error->kind = PATH_OTHER;
	note_path_error(found, error, handed->tuple.client, tick, is_ipv6);
	if (error->kind != PATH_TOO_BIG)
		return finish(PASS_TUNNEL_ERROR, XDP_PASS);
	learn_mtu(found, error->mtu, tick);
	return answer_tunnel_error(context, network_offset, icmp_at, egress, error, is_ipv6);
}

/* The stage's way in: ICMP for no VIP. What is about no outer packet is answered to a backend by NAT, or the stack's. */
static __always_inline int handle_tunnel_error(struct xdp_md *context)
{
	struct handover *handed = handed_over();

	if (!handed)
		return finish(PASS_NO_STAGE, XDP_PASS);
	__builtin_memset(&handed->tuple, 0, sizeof(handed->tuple));
	find_headers(context, handed, &handed->tuple);
	if (handed->parsed != PARSE_OTHER_TRANSPORT || handed->fragment)
		return pass_on(context);
	if (handed->tuple.is_ipv6)
		return handed->tuple.protocol == IPPROTO_ICMPV6 ? take_tunnel_error(context, handed, 1) : pass_on(context);
	return handed->tuple.protocol == IPPROTO_ICMP ? take_tunnel_error(context, handed, 0) : pass_on(context);
}

#endif
