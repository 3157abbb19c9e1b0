/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What does not fit into a tunnel: the client is told in the name of the VIP how large a packet may be
 * (RFC 1191 section 4, RFC 4443 section 3.2), not more often than TOO_BIG_INTERVAL allows.
 */
#ifndef L4D_TOO_BIG_H
#define L4D_TOO_BIG_H

#include "count.h"
#include "parse.h"
#include "rewrite.h"

#define ICMP_FRAG_NEEDED 4
#define ICMPV6_PKT_TOOBIG 2

/*
 * How much is quoted. IPv4: so that the message stays within 576 bytes (RFC 1812 section 4.3.2.3), in one
 * sum. IPv6: as much as goes into 1280 bytes (RFC 4443 section 2.4 c), or as much as IPv4 where the
 * driver's first buffer holds no more.
 */
#define QUOTED4 512
#define QUOTED6 1232

/* An Ethernet header with two tags is 22 bytes. */
#define ANSWERED_BYTES 24

/* One answer a millisecond and CPU, and so many at once. */
#define TOO_BIG_INTERVAL 1000000ull
#define TOO_BIG_BURST 50ull

/* When the next answer is due, in nanoseconds: the theoretical arrival time of the generic cell rate algorithm. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 1);
} too_big_due SEC(".maps");

static __always_inline int may_tell_too_big(void)
{
	__u32 key = 0;
	__u64 *due = bpf_map_lookup_elem(&too_big_due, &key);
	__u64 now = bpf_ktime_get_ns();

	if (!due || (__s64)(*due - now) > (__s64)(TOO_BIG_BURST * TOO_BIG_INTERVAL))
		return 0;
	*due = ((__s64)(*due - now) > 0 ? *due : now) + TOO_BIG_INTERVAL;
	return 1;
}

/* Sums so many bytes of the packet (a multiple of 4); 512 is the most that older kernels take at once. */
static __always_inline __u32 sum_packet(void *from, const int bytes, __u32 sum)
{
#pragma unroll
	for (int at = 0; at < bytes; at += 512)
		sum = bpf_csum_diff(NULL, 0, from + at, bytes - at < 512 ? bytes - at : 512, sum);
	return sum;
}

/* Cuts the frame behind what is quoted and makes room for the headers of the answer before it. */
static __always_inline int make_room(struct xdp_md *context, __u32 network_offset, __u32 headers, __u32 quoted,
				     __u64 *macs_and_tags)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;

	if (data + ANSWERED_BYTES > end)
		return 0;
	__builtin_memcpy(macs_and_tags, data, ANSWERED_BYTES);
	if (bpf_xdp_adjust_tail(context, (int)(network_offset + quoted) - (int)bpf_xdp_get_buff_len(context)))
		return 0;
	return bpf_xdp_adjust_head(context, -(int)headers) == 0;
}

/* The Ethernet header and tags of what came, back to where it came from. `words` are its first 24 bytes. */
static __always_inline void write_answered_ethernet(void *data, __u32 network_offset, const __u64 *words)
{
	const __u8 *old = (const __u8 *)words;
	struct ethhdr *ethernet = data;

	copy_mac(ethernet->h_dest, old + ETH_ALEN);
	copy_mac(ethernet->h_source, old);
	*(__u16 *)(data + 12) = *(const __u16 *)(old + 12);
	if (network_offset >= 18)
		*(__u32 *)(data + 14) = *(const __u32 *)(old + 14);
	if (network_offset >= 22)
		*(__u32 *)(data + 18) = *(const __u32 *)(old + 18);
}

/* Answers a packet of IPv4 with "fragmentation needed" for that MTU. Verified on its own: never inlined. */
__noinline int answer_too_big4(struct xdp_md *context, __u32 network_offset, __u32 mtu)
{
	const __u32 headers = sizeof(struct iphdr) + sizeof(struct icmp_header);
	__u64 old[3];
	void *data, *end;
	struct iphdr *ip, *inner;
	struct icmp_header *icmp;

	if (network_offset != 14 && network_offset != 18 && network_offset != 22)
		return finish(DROP_MALFORMED, XDP_DROP);
	if (!may_tell_too_big() || !make_room(context, network_offset, headers, QUOTED4, old))
		return finish(DROP_TOO_BIG, XDP_DROP);
	data = (void *)(long)context->data;
	end = (void *)(long)context->data_end;
	ip = data + network_offset;
	KEEP_POINTER(ip);
	icmp = (void *)(ip + 1);
	inner = (void *)(icmp + 1);
	if (data + ANSWERED_BYTES > end || (void *)inner + QUOTED4 > end)
		return finish(DROP_TOO_BIG, XDP_DROP);
	write_answered_ethernet(data, network_offset, old);
	((__u32 *)ip)[0] = bpf_htonl(0x45c00000 | (headers + QUOTED4));
	((__u32 *)ip)[1] = 0;
	((__u32 *)ip)[2] = bpf_htonl(REPLY_TTL << 24 | IPPROTO_ICMP << 16);
	ip->saddr = inner->daddr;
	ip->daddr = inner->saddr;
	ip->check = fold_checksum(sum_words(ip, sizeof(*ip) / 2));
	icmp->type = ICMP_DEST_UNREACH;
	icmp->code = ICMP_FRAG_NEEDED;
	icmp->checksum = 0;
	icmp->rest = bpf_htonl(mtu & 0xffff);
	icmp->checksum = fold_checksum(sum_packet(icmp, sizeof(*icmp) + QUOTED4, 0));
	return finish(TX_TOO_BIG, XDP_TX);
}

/* Writes and sends the ICMPv6 message, once the room for it is made. */
static __always_inline int send_too_big6(struct xdp_md *context, __u32 network_offset, __u32 mtu,
					 const int quoted, const __u64 *old)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct ipv6hdr *ip = data + network_offset;
	struct icmp_header *icmp;
	struct ipv6hdr *inner;
	__u32 sum;

	KEEP_POINTER(ip);
	icmp = (void *)(ip + 1);
	inner = (void *)(icmp + 1);
	if (data + ANSWERED_BYTES > end || (void *)inner + quoted > end)
		return finish(DROP_TOO_BIG, XDP_DROP);
	write_answered_ethernet(data, network_offset, old);
	*(__u32 *)ip = bpf_htonl(0x60000000);
	ip->payload_len = bpf_htons(sizeof(*icmp) + quoted);
	ip->nexthdr = IPPROTO_ICMPV6;
	ip->hop_limit = REPLY_TTL;
	ip->saddr = inner->daddr;
	ip->daddr = inner->saddr;
	icmp->type = ICMPV6_PKT_TOOBIG;
	icmp->code = 0;
	icmp->checksum = 0;
	icmp->rest = bpf_htonl(mtu);
	sum = sum_words(&ip->saddr, 16) + bpf_htons(IPPROTO_ICMPV6) + ip->payload_len;
	icmp->checksum = fold_checksum(sum_packet(icmp, sizeof(*icmp) + quoted, sum));
	return finish(TX_TOO_BIG, XDP_TX);
}

/* As answer_too_big4, with "packet too big". */
__noinline int answer_too_big6(struct xdp_md *context, __u32 network_offset, __u32 mtu)
{
	const __u32 headers = sizeof(struct ipv6hdr) + sizeof(struct icmp_header);
	__u64 old[3];
	int is_whole;

	if (network_offset != 14 && network_offset != 18 && network_offset != 22)
		return finish(DROP_MALFORMED, XDP_DROP);
	if (!may_tell_too_big())
		return finish(DROP_TOO_BIG, XDP_DROP);
	is_whole = (void *)(long)context->data + network_offset + QUOTED6 <= (void *)(long)context->data_end;
	if (!make_room(context, network_offset, headers, is_whole ? QUOTED6 : QUOTED4, old))
		return finish(DROP_TOO_BIG, XDP_DROP);
	return is_whole ? send_too_big6(context, network_offset, mtu, QUOTED6, old) :
			  send_too_big6(context, network_offset, mtu, QUOTED4, old);
}

#endif
