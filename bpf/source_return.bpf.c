/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Gives the proxy what backends answer to their clients' own addresses (tc, ingress).
 *
 * The proxy speaks to backends of an l7 VIP with `source: client` from the client's address, which is no address of this
 * host: what the backend answers is addressed to the client, comes here because the backend's route back is this
 * host, and would be forwarded. When it belongs to a socket of this host it is marked instead, and a rule for the mark
 * has it delivered here (l4d/src/io/source-routing.ts); the stack then finds the socket by itself.
 *
 * Looked at is only what comes from a declared backend's address and port, and ICMP errors about what was sent there.
 * Everything else, such as what a backend whose router this host is sends to others, is left alone.
 *
 * Map, pinned by name under the fabric's bpffs folder:
 *   source_backends      written by l4d: address, port and protocol of those backends
 *   source_return_stats  read by whoever counts, one slot a result
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/stddef.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "l4d.h"
#include "parse.h"

/* As many as there are backends of l7 VIPs on the largest host; without preallocation unused room costs no memory. */
#define MAX_SOURCE_BACKENDS 65536

enum return_result {
	RETURN_DELIVERED = 0,   /* for a socket of this host */
	RETURN_ERROR_DELIVERED, /* an ICMP error about what such a socket has sent */
	RETURN_NO_SOCKET,       /* from a declared backend, for no socket of this host: goes its way */
	RETURN_RESULTS,
};

/* Keeps the enum's names among the object's types, where user space reads them. */
const volatile enum return_result return_result_type = 0;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SOURCE_BACKENDS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct vip_key);
	__type(value, __u32);
} source_backends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, RETURN_RESULTS);
	__type(key, __u32);
	__type(value, __u64);
} source_return_stats SEC(".maps");

/* The first four bytes of a TCP header. */
struct ports {
	__be16 source;
	__be16 destination;
};

static __always_inline void count_return(__u32 result)
{
	__u64 *counter = bpf_map_lookup_elem(&source_return_stats, &result);

	if (counter)
		*counter += 1;
}

static __always_inline int is_backend(const __u32 *address, __be16 port)
{
	struct vip_key key = { .port = port, .protocol = IPPROTO_TCP };

	__builtin_memcpy(key.address, address, sizeof(key.address));
	return bpf_map_lookup_elem(&source_backends, &key) != NULL;
}

/* Whether a connection of this host has these ends: not a service that merely listens on the client's port. */
static __always_inline int has_connection(struct __sk_buff *skb, struct bpf_sock_tuple *tuple, __u32 size)
{
	struct bpf_sock *sk = bpf_skc_lookup_tcp(skb, tuple, size, BPF_F_CURRENT_NETNS, 0);
	__u32 state;

	if (!sk)
		return 0;
	state = sk->state;
	bpf_sk_release(sk);
	return state != BPF_TCP_LISTEN;
}

static __always_inline int deliver(struct __sk_buff *skb, struct bpf_sock_tuple *tuple, __u32 size, __u32 result)
{
	__u32 mark = (skb->mark & ~RETURN_MARK_MASK) | RETURN_MARK;

	/* Else clang writes the one byte that differs, which the verifier refuses for a context. */
	asm volatile("" : "+r"(mark));
	if (has_connection(skb, tuple, size))
		skb->mark = mark;
	else
		result = RETURN_NO_SOCKET;
	count_return(result);
	return TC_ACT_UNSPEC;
}

static __always_inline void map_address(__u32 *address, __be32 ipv4)
{
	address[0] = 0;
	address[1] = 0;
	address[2] = bpf_htonl(0x0000ffff);
	address[3] = ipv4;
}

/* `offset`: of the IPv4 header. Of an error it is the header that the error quotes, whose ends are the other way round. */
static __noinline int look_at4(struct __sk_buff *skb, __u32 offset, int is_quoted)
{
	struct bpf_sock_tuple tuple = {};
	struct ports ports;
	struct iphdr ip;
	__u32 remote[4];

	if (!skb || bpf_skb_load_bytes_relative(skb, offset, &ip, sizeof(ip), BPF_HDR_START_NET))
		return TC_ACT_UNSPEC;
	if (ip.ihl < 5 || ip.protocol != IPPROTO_TCP || (ip.frag_off & bpf_htons(IP_OFFSET_MASK)))
		return TC_ACT_UNSPEC;
	if (bpf_skb_load_bytes_relative(skb, offset + ip.ihl * 4, &ports, sizeof(ports), BPF_HDR_START_NET))
		return TC_ACT_UNSPEC;
	tuple.ipv4.saddr = is_quoted ? ip.daddr : ip.saddr;
	tuple.ipv4.daddr = is_quoted ? ip.saddr : ip.daddr;
	tuple.ipv4.sport = is_quoted ? ports.destination : ports.source;
	tuple.ipv4.dport = is_quoted ? ports.source : ports.destination;
	map_address(remote, tuple.ipv4.saddr);
	if (!is_backend(remote, tuple.ipv4.sport))
		return TC_ACT_UNSPEC;
	return deliver(skb, &tuple, sizeof(tuple.ipv4), is_quoted ? RETURN_ERROR_DELIVERED : RETURN_DELIVERED);
}

/* As look_at4. Extension headers are not looked behind: TCP has none. */
static __noinline int look_at6(struct __sk_buff *skb, __u32 offset, int is_quoted)
{
	struct bpf_sock_tuple tuple = {};
	struct ipv6hdr ip;
	struct ports ports;

	if (!skb || bpf_skb_load_bytes_relative(skb, offset, &ip, sizeof(ip), BPF_HDR_START_NET))
		return TC_ACT_UNSPEC;
	if (ip.nexthdr != IPPROTO_TCP)
		return TC_ACT_UNSPEC;
	if (bpf_skb_load_bytes_relative(skb, offset + sizeof(ip), &ports, sizeof(ports), BPF_HDR_START_NET))
		return TC_ACT_UNSPEC;
	__builtin_memcpy(tuple.ipv6.saddr, is_quoted ? &ip.daddr : &ip.saddr, sizeof(tuple.ipv6.saddr));
	__builtin_memcpy(tuple.ipv6.daddr, is_quoted ? &ip.saddr : &ip.daddr, sizeof(tuple.ipv6.daddr));
	tuple.ipv6.sport = is_quoted ? ports.destination : ports.source;
	tuple.ipv6.dport = is_quoted ? ports.source : ports.destination;
	if (!is_backend(tuple.ipv6.saddr, tuple.ipv6.sport))
		return TC_ACT_UNSPEC;
	return deliver(skb, &tuple, sizeof(tuple.ipv6), is_quoted ? RETURN_ERROR_DELIVERED : RETURN_DELIVERED);
}

static __always_inline int return4(struct __sk_buff *skb)
{
	struct iphdr ip;
	__u8 type;

	if (bpf_skb_load_bytes_relative(skb, 0, &ip, sizeof(ip), BPF_HDR_START_NET))
		return TC_ACT_UNSPEC;
	if (ip.protocol != IPPROTO_ICMP)
		return look_at4(skb, 0, 0);
	if (ip.ihl < 5 || (ip.frag_off & bpf_htons(IP_OFFSET_MASK)) ||
	    bpf_skb_load_bytes_relative(skb, ip.ihl * 4, &type, sizeof(type), BPF_HDR_START_NET))
		return TC_ACT_UNSPEC;
	if (type != ICMP_DEST_UNREACH && type != ICMP_TIME_EXCEEDED && type != ICMP_PARAMETERPROB)
		return TC_ACT_UNSPEC;
	return look_at4(skb, ip.ihl * 4 + sizeof(struct icmp_header), 1);
}

static __always_inline int return6(struct __sk_buff *skb)
{
	struct ipv6hdr ip;
	__u8 type;

	if (bpf_skb_load_bytes_relative(skb, 0, &ip, sizeof(ip), BPF_HDR_START_NET))
		return TC_ACT_UNSPEC;
	if (ip.nexthdr != IPPROTO_ICMPV6)
		return look_at6(skb, 0, 0);
	if (bpf_skb_load_bytes_relative(skb, sizeof(ip), &type, sizeof(type), BPF_HDR_START_NET))
		return TC_ACT_UNSPEC;
	/* RFC 4443 section 2.1: errors are below 128. */
	if (type >= ICMPV6_INFOMSG_MASK)
		return TC_ACT_UNSPEC;
	return look_at6(skb, sizeof(ip) + sizeof(struct icmp_header), 1);
}

SEC("tc")
int source_return(struct __sk_buff *skb)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return return4(skb);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return return6(skb);
	return TC_ACT_UNSPEC;
}

char _license[] SEC("license") = "GPL";
