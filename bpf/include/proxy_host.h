/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Which host's proxy gets a packet, when several hosts serve the same VIPs of the proxy.
 *
 * A connection that lives here stays here, whatever the table says: the kernel's own sockets tell, and of UDP the table of
 * sessions. All others go to their slot's owner, by its MAC address or (proxy_far.h) through a tunnel. Who has got one that is in the middle of a connection which it does not know
 * hands it on once more, to the one that may have older connections, from a source address with one bit turned. Such a
 * packet is never handed on: hosts with different views do not play it to and fro.
 */
#ifndef L4D_PROXY_HOST_H
#define L4D_PROXY_HOST_H

#include "count.h"
#include "forward.h"
#include "handover.h"
#include "proxy_far.h"
#include "slot.h"
#include "udp_sessions.h"

enum proxy_local {
	PROXY_ABSENT, /* no worker of this host's proxy listens */
	PROXY_LISTENS,
	PROXY_CONNECTED, /* established, being opened or just closed; or the packet answers a SYN cookie of this host */
};

/* A host's struct as one word, as it is written. */
static __always_inline __u64 word_of_host(const struct proxy_host *host)
{
	return *(const volatile __u64 *)host;
}

static __always_inline __u64 mac_of_host(__u64 host)
{
	return host & PROXY_MAC_BITS;
}

static __always_inline __u32 way_of_host(__u64 host)
{
	return host >> 48;
}

static __always_inline int is_self_host(__u64 host)
{
	return way_of_host(host) & PROXY_IS_SELF;
}

static __always_inline int is_other_host(__u64 host)
{
	return host != 0 && !is_self_host(host);
}

/* Whether an ACK answers a SYN cookie that this listener has sent lately. */
static __always_inline int answers_cookie(struct xdp_md *context, struct handover *handed, struct bpf_sock *listener)
{
	void *end = (void *)(long)context->data_end;
	void *network, *transport;
	struct tuple seen = {};
	__u32 network_offset;

	if ((handed->tuple.tcp_flags & (TCP_FLAG_SYN_BIT | TCP_FLAG_RST_BIT | TCP_FLAG_ACK_BIT)) != TCP_FLAG_ACK_BIT)
		return 0;
	find_headers(context, handed, &seen);
	if (handed->parsed != PARSE_OK || !headers_of(context, handed, &network_offset, &network, &transport) ||
	    transport + sizeof(struct tcphdr) > end)
		return 0;
	if (handed->tuple.is_ipv6) {
		if (network + sizeof(struct ipv6hdr) > end)
			return 0;
		return bpf_tcp_check_syncookie(listener, network, sizeof(struct ipv6hdr), transport,
					       sizeof(struct tcphdr)) == 0;
	}
	if (network + sizeof(struct iphdr) > end)
		return 0;
	return bpf_tcp_check_syncookie(listener, network, sizeof(struct iphdr), transport, sizeof(struct tcphdr)) == 0;
}

static __always_inline void fill_socket_key(const struct tuple *tuple, struct bpf_sock_tuple *key)
{
	if (tuple->is_ipv6) {
		__builtin_memcpy(key->ipv6.saddr, tuple->client, 16);
		__builtin_memcpy(key->ipv6.daddr, tuple->vip, 16);
		key->ipv6.sport = tuple->client_port;
		key->ipv6.dport = tuple->vip_port;
		return;
	}
	key->ipv4.saddr = tuple->client[0];
	key->ipv4.daddr = tuple->vip[0];
	key->ipv4.sport = tuple->client_port;
	key->ipv4.dport = tuple->vip_port;
}

/* What this host's stack has for the tuple. A listener is found as for a SYN: by the program that steers to the proxy. */
static __always_inline enum proxy_local find_local(struct xdp_md *context, struct handover *handed)
{
	const struct tuple *tuple = &handed->tuple;
	enum proxy_local found = PROXY_CONNECTED;
	struct bpf_sock_tuple key = {};
	struct bpf_sock *sk;

	fill_socket_key(tuple, &key);
	if (tuple->is_ipv6)
		sk = bpf_skc_lookup_tcp(context, &key, sizeof(key.ipv6), BPF_F_CURRENT_NETNS, 0);
	else
		sk = bpf_skc_lookup_tcp(context, &key, sizeof(key.ipv4), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return PROXY_ABSENT;
	if (sk->state == BPF_TCP_LISTEN)
		found = answers_cookie(context, handed, sk) ? PROXY_CONNECTED : PROXY_LISTENS;
	bpf_sk_release(sk);
	return found;
}

/*
 * As find_local, of datagrams: a worker's session, or a socket for new ones. Without a socket no worker lives, and what
 * the table says is of those that did.
 */
static __always_inline enum proxy_local find_session(struct xdp_md *context, const struct tuple *tuple)
{
	struct bpf_sock_tuple key = {};
	struct udp_flow_key flow = {};
	struct bpf_sock *sk;

	if (tuple->is_ipv6) {
		__builtin_memcpy(flow.client, tuple->client, 16);
		__builtin_memcpy(flow.vip, tuple->vip, 16);
	} else {
		map_address4(flow.client, tuple->client[0]);
		map_address4(flow.vip, tuple->vip[0]);
	}
	flow.client_port = tuple->client_port;
	flow.vip_port = tuple->vip_port;
	fill_socket_key(tuple, &key);
	if (tuple->is_ipv6)
		sk = bpf_sk_lookup_udp(context, &key, sizeof(key.ipv6), BPF_F_CURRENT_NETNS, 0);
	else
		sk = bpf_sk_lookup_udp(context, &key, sizeof(key.ipv4), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return PROXY_ABSENT;
	bpf_sk_release(sk);
	return bpf_map_lookup_elem(&l7_udp_flows, &flow) ? PROXY_CONNECTED : PROXY_LISTENS;
}

static __always_inline int hand_over(struct xdp_md *context, const struct handover *handed, __u64 host, int is_last)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	__u32 network_offset = *(const volatile __u32 *)&handed->network_offset;
	struct ethhdr *ethernet = data;
	struct proxy_mark_key key = {};
	__u64 mac = mac_of_host(host);
	__u32 *mark;

	/* The hosts are in the segment of the first interface: what comes by another one stays. */
	if ((void *)(ethernet + 1) > end)
		return finish(PASS_NO_STAGE, XDP_PASS);
	copy_mac(key.mac, ethernet->h_dest);
	mark = bpf_map_lookup_elem(&proxy_marks, &key);
	if (!mark || *mark != PROXY_SELF)
		return finish(PASS_L7, XDP_PASS);
	if (way_of_host(host) & PROXY_IS_FAR)
		return hand_far(context, handed, mac >> 40, is_last);
	if (network_offset > 22 || !take_hop(data + network_offset, end, handed->tuple.is_ipv6))
		return finish(DROP_TTL_EXPIRED, XDP_DROP);
	copy_mac(ethernet->h_source, ethernet->h_dest);
	if (is_last)
		ethernet->h_source[0] ^= PROXY_LAST_BIT;
	copy_mac(ethernet->h_dest, (const __u8 *)&mac);
	return finish(is_last ? TX_PROXY_SECOND : TX_PROXY_HOST, XDP_TX);
}

/* A packet that begins a connection: the owner takes it, or, where its proxy is down, whoever has one. */
static __always_inline int place_begin(struct xdp_md *context, const struct handover *handed, enum proxy_local local,
				       __u32 mark, __u64 owner, __u64 alternate)
{
	if (mark == PROXY_HANDED_LAST)
		return finish(PASS_L7, XDP_PASS);
	if (local == PROXY_LISTENS && (mark == PROXY_HANDED || !is_other_host(owner)))
		return finish(PASS_L7, XDP_PASS);
	if (is_other_host(owner))
		return hand_over(context, handed, owner, mark == PROXY_HANDED);
	if (is_other_host(alternate))
		return hand_over(context, handed, alternate, 1);
	return finish(PASS_L7, XDP_PASS);
}

/*
 * A datagram of no session here. Any may begin one, so who may have it from before is asked first, where the table names
 * one (a host that drains, or who was the owner before one that joins), and the owner takes it when that one has none.
 */
static __always_inline int place_datagram(struct xdp_md *context, const struct handover *handed,
					  enum proxy_local local, __u32 mark, __u64 owner, __u64 alternate)
{
	if (mark == PROXY_HANDED_LAST)
		return finish(PASS_L7, XDP_PASS);
	if (!mark && (way_of_host(alternate) & PROXY_ASKED_FIRST) && is_other_host(alternate))
		return hand_over(context, handed, alternate, 0);
	if (is_other_host(owner))
		return hand_over(context, handed, owner, mark == PROXY_HANDED);
	if (local == PROXY_ABSENT && is_other_host(alternate))
		return hand_over(context, handed, alternate, 1);
	return finish(PASS_L7, XDP_PASS);
}

/* In the middle of a connection that this host has not. `sender`: the MAC address of who handed it over. */
static __always_inline int place_other(struct xdp_md *context, const struct handover *handed, __u32 mark, __u64 sender,
				       __u64 owner, __u64 alternate)
{
	int may_owner = is_other_host(owner) && mac_of_host(owner) != sender;
	int may_alternate = is_other_host(alternate) && mac_of_host(alternate) != sender;

	if (mark != PROXY_HANDED_LAST) {
		if (may_owner)
			return hand_over(context, handed, owner, mark == PROXY_HANDED);
		if (may_alternate)
			return hand_over(context, handed, alternate, 1);
	} else if (may_owner || may_alternate) {
		/* This host's view names one that has perhaps not been asked: no RST, and the client sends again. */
		return finish(DROP_PROXY_STRAY, XDP_DROP);
	}
	/* Whoever could have it has been asked. */
	note(NOTE_PROXY_UNKNOWN);
	return finish(PASS_L7, XDP_PASS);
}

static __always_inline int handle_proxy_host(struct xdp_md *context)
{
	struct handover *handed = handed_over();
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct ethhdr *ethernet = data;
	struct proxy_mark_key key = {};
	__u64 owner, alternate, sender = 0;
	const struct proxy_slot *slot;
	enum proxy_local local;
	__u32 index, *mark;
	int is_datagram;

	if (!handed || (void *)(ethernet + 1) > end)
		return finish(PASS_NO_STAGE, XDP_PASS);
	index = (__u32)((hash_of(&handed->tuple) >> 32) * PROXY_SLOTS >> 32);
	slot = bpf_map_lookup_elem(&proxy_slots, &index);
	if (!slot)
		return finish(PASS_L7, XDP_PASS);
	owner = word_of_host(&slot->owner);
	alternate = word_of_host(&slot->alternate);
	copy_mac(key.mac, ethernet->h_source);
	mark = bpf_map_lookup_elem(&proxy_marks, &key);
	if (mark) {
		if (*mark == PROXY_HANDED_LAST)
			key.mac[0] ^= PROXY_LAST_BIT;
		__builtin_memcpy(&sender, key.mac, 6);
	}
	handed->proxy_mark = mark ? *mark : 0;
	is_datagram = handed->tuple.protocol == IPPROTO_UDP;
	local = is_datagram ? find_session(context, &handed->tuple) : find_local(context, handed);
	if (local == PROXY_CONNECTED || owner == 0)
		return finish(PASS_L7, XDP_PASS);
	if (is_datagram)
		return place_datagram(context, handed, local, mark ? *mark : 0, owner, alternate);
	if (handed->tuple.begins)
		return place_begin(context, handed, local, mark ? *mark : 0, owner, alternate);
	return place_other(context, handed, mark ? *mark : 0, sender, owner, alternate);
}

#endif
