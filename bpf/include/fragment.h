/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Fragments of packets to a VIP's address. The first one has the ports and decides; the others follow it, known by
 * addresses and identification. One without a first that came before is dropped: nothing is held back.
 *
 * Routers that spread by ports send the first fragment, which has them, elsewhere than the others. So when the fabric's
 * hosts are known, addresses and identification choose the one that places all fragments of a packet, and each host
 * sends what it gets on to that one by its MAC address. A fragment that comes from such an address was sent on
 * already, and is placed where it is: hosts with different views never play it to and fro.
 *
 * A first fragment that was sent on comes later than others that came to the right host at once. Those go round once: to
 * another host, from a source address with one bit turned, which sends them back. That takes longer than the way of
 * the first one.
 *
 * NAT has its connections on one host: its fragments are placed where they come, and need routers that send all
 * fragments of a packet to one host.
 */
#ifndef L4D_FRAGMENT_H
#define L4D_FRAGMENT_H

#include "behind.h"
#include "count.h"
#include "echo.h"
#include "fragment_memory.h"
#include "handover.h"
#include "serve.h"
#include "transport.h"
#include "vip_lookup.h"

/* A MAC address as a number. */
static __always_inline __u64 word_of_mac(const __u8 *mac)
{
	return (__u64) * (const __u16 *)(mac + 4) << 32 | *(const __u32 *)mac;
}

static __always_inline __u64 hash_of_packet(const struct fragment_key *key)
{
	__u64 hash = mix((__u64)key->client[0] << 32 | key->vip[0]);

	hash = mix(hash ^ ((__u64)key->id << 8 | key->protocol));
	if (!key->is_ipv6)
		return hash;
	hash = mix(hash ^ ((__u64)key->client[1] << 32 | key->vip[1]));
	hash = mix(hash ^ ((__u64)key->client[2] << 32 | key->vip[2]));
	return mix(hash ^ ((__u64)key->client[3] << 32 | key->vip[3]));
}

/* What other_host returns beside the index of the host that gets the fragment. */
#define PLACED_HERE 0x1000
/* With the index of a host to go round by while the first one is not known. */
#define PLACED_HERE_OR_ROUND 0x2000
/* By another host. */
#define SENT_ON 0x4000
#define HOST_INDEX_MASK 0xfff
/* The bit of a source address that tells of a fragment that goes round: "locally administered", turned. */
#define GOES_ROUND 0x02ull

/* The hosts, looked at one after the other. */
struct host_search {
	__u64 source; /* MAC address that the fragment comes from */
	__u32 round; /* a host that is not this one */
	int answer; /* of other_host; -1: the source tells nothing */
};

/* Looks at one host; 1 ends the search (bpf_loop, which is verified once for all of them). */
static long try_host(__u32 index, void *context)
{
	struct host_search *search = context;
	const struct fragment_host *host;
	const struct fragment_hosts *hosts;
	__u32 zero = 0;
	__u64 mac;

	hosts = bpf_map_lookup_elem(&fragment_hosts, &zero);
	if (!hosts || index >= hosts->count || index >= MAX_FRAGMENT_HOSTS)
		return 1;
	host = &hosts->host[index];
	mac = word_of_mac(host->mac);
	/* They are in the segment of the host's first interface: the programs of the others leave them alone. */
	if (host->is_self && !is_own_mac(host->mac))
		search->answer = PLACED_HERE;
	else if (mac == search->source)
		search->answer = PLACED_HERE | SENT_ON;
	else if (mac == (search->source ^ GOES_ROUND))
		search->answer = index;
	else if (!host->is_self)
		search->round = index;
	return search->answer >= 0;
}

/*
 * Where the packet of that hash is placed, as seen from this host, for a fragment from that MAC address. Not inlined:
 * verified once.
 */
__noinline int other_host(__u64 hash, __u64 source)
{
	struct host_search search = { .source = source, .round = MAX_FRAGMENT_HOSTS, .answer = -1 };
	__u32 zero = 0, chosen;
	const struct fragment_hosts *hosts = bpf_map_lookup_elem(&fragment_hosts, &zero);

	if (!hosts || hosts->count < 2 || hosts->count > MAX_FRAGMENT_HOSTS)
		return PLACED_HERE;
	bpf_loop(MAX_FRAGMENT_HOSTS, try_host, &search, 0);
	if (search.answer >= 0)
		return search.answer;
	chosen = (hash >> 32) * hosts->count >> 32;
	if (chosen >= MAX_FRAGMENT_HOSTS || hosts->host[chosen].is_self)
		return PLACED_HERE_OR_ROUND | search.round;
	return chosen;
}

static __always_inline int send_to_host(struct xdp_md *context, __u32 network_offset, int is_ipv6, __u32 index,
					enum reason reason)
{
	__u32 zero = 0;
	const struct fragment_hosts *hosts = bpf_map_lookup_elem(&fragment_hosts, &zero);
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct ethhdr *ethernet = data;

	if (!hosts || index >= MAX_FRAGMENT_HOSTS)
		return finish(DROP_FRAGMENT, XDP_DROP);
	if ((void *)(ethernet + 1) > end || !take_hop(data + network_offset, end, is_ipv6))
		return finish(DROP_TTL_EXPIRED, XDP_DROP);
	copy_mac(ethernet->h_source, ethernet->h_dest);
	if (reason == TX_FRAGMENT_ROUND)
		ethernet->h_source[0] ^= GOES_ROUND;
	/* Linux 6.1 has forgotten the bound of what was kept on the stack meanwhile. */
	KEEP_POINTER(index);
	index &= MAX_FRAGMENT_HOSTS - 1;
	copy_mac(ethernet->h_dest, hosts->host[index].mac);
	return finish(reason, XDP_TX);
}

/*
 * A later fragment of ICMP: what it carries is in the reply to an echo request too, and nothing else of ICMP is that
 * large. So every host answers what it gets, in whatever order. Whether it is of a request is not known: the TTL goes
 * down, not up, so that two VIPs which get one in the name of each other do not send it to and fro for ever.
 */
static __always_inline int echo_fragment(struct xdp_md *context, __u32 network_offset, int is_ipv6)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	void *network = data + network_offset;

	if (data + sizeof(struct ethhdr) > end)
		return finish(DROP_MALFORMED, XDP_DROP);
	if (!take_hop(network, end, is_ipv6))
		return finish(DROP_TTL_EXPIRED, XDP_DROP);
	if (is_ipv6)
		turn_addresses6(network);
	else
		turn_addresses4(network);
	swap_ethernet(data);
	return finish(TX_ECHO, XDP_TX);
}

/*
 * To the backend of the first fragment, without an ICMP error about what is too big: there are none about later
 * fragments (RFC 1122 section 3.2.2), and what came from another host would be answered to that one.
 */
static __always_inline int send_untold(struct xdp_md *context, __u32 network_offset, int is_ipv6, __u32 vip_id,
				       const struct selection *chosen, __u64 hash)
{
	struct way_job job = {
		.hash = hash,
		.network_offset = network_offset,
		.vip_id = vip_id,
		.backend = chosen->index,
		.begun = chosen->begun,
		.is_ipv6 = is_ipv6,
		.is_untold = 1,
	};
	struct vip vip = { .id = vip_id };

	if (!needs_way(chosen->backend))
		return forward(context, network_offset, is_ipv6, &vip, chosen,
			       frame_bytes(context, network_offset, is_ipv6), TX_FORWARD);
	return chosen->backend->flags & BACKEND_TUNNELLED ? forward_tunnelled(context, &job) :
							    forward_elsewhere(context, &job);
}

/* A later fragment, by NAT as its first one. */
static __always_inline int follow_by_nat(struct xdp_md *context, __u32 network_offset, struct fragment_work *work,
					 const struct fragment *first)
{
	struct handover *handover = handed_over();

	if (!handover)
		return finish(PASS_NO_STAGE, XDP_PASS);
	handover->tuple = work->tuple;
	handover->tuple.protocol = first->protocol;
	handover->tuple.client_port = first->sender_port;
	handover->tuple.vip_port = first->receiver_port;
	handover->vip.id = first->vip_id;
	handover->network_offset = network_offset;
	handover->transport_offset = network_offset + work->place.offset;
	return GO_ON(context, STAGE_NAT_FRAGMENT);
}

/* A fragment without ports, when the first one has come. */
static __always_inline int follow_first(struct xdp_md *context, __u32 network_offset, int is_ipv6,
					struct fragment_work *work, __u32 where)
{
	struct fragment *first = find_first(work);
	struct selection chosen = { .kind = SELECT_FORWARD };

	if (first && first->fate == FRAGMENT_NAT)
		return follow_by_nat(context, network_offset, work, first);
	if (first && first->fate == FRAGMENT_PASS)
		return finish(PASS_NOT_VIP, XDP_PASS);
	if (!(where & (PLACED_HERE | PLACED_HERE_OR_ROUND)))
		return send_to_host(context, network_offset, is_ipv6, where, TX_FRAGMENT_HOST);
	if (!first) {
		if (where & PLACED_HERE_OR_ROUND)
			return send_to_host(context, network_offset, is_ipv6, where & HOST_INDEX_MASK, TX_FRAGMENT_ROUND);
		return finish(DROP_FRAGMENT, XDP_DROP);
	}
	chosen.index = first->backend;
	chosen.backend = live_backend(first->backend, first->generation);
	if (!chosen.backend || chosen.backend->vip_id != first->vip_id)
		return finish(DROP_NO_BACKEND, XDP_DROP);
	return send_untold(context, network_offset, is_ipv6, first->vip_id, &chosen, first->hash);
}

/* A first fragment of ICMP: of an echo request, or for the stack. */
static __always_inline int place_icmp(struct xdp_md *context, __u32 network_offset, int is_ipv6,
				      struct fragment_work *work)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	void *network = data + network_offset;
	struct icmp_header *icmp = transport_of(network, &work->place);

	if ((void *)(icmp + 1) > end || data + sizeof(struct ethhdr) > end)
		return finish(DROP_MALFORMED, XDP_DROP);
	if (icmp->type != (is_ipv6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO) || icmp->code != 0)
		return finish(PASS_VIP_ICMP, XDP_PASS);
	if (is_ipv6) {
		if (network + sizeof(struct ipv6hdr) > end)
			return finish(DROP_MALFORMED, XDP_DROP);
		return reply_to_echo6(data, network, icmp);
	}
	if (network + sizeof(struct iphdr) > end)
		return finish(DROP_MALFORMED, XDP_DROP);
	return reply_to_echo4(data, network, icmp);
}

/*
 * A first fragment for NAT, which has its connections here alone: it is not sent on, and neither are those that follow
 * it here. What an older version on another host has sent on does not show the way back to the client.
 */
static __always_inline int place_first_of_nat(struct xdp_md *context, struct fragment_work *work,
					      const struct vip *vip, __u32 where)
{
	if (where & SENT_ON)
		return finish(DROP_FRAGMENT, XDP_DROP);
	remember_nat(work, &work->tuple, vip->id);
	return enter_nat(context, &work->tuple, vip, 0);
}

/* A first fragment: as a whole packet, and what it leads to is remembered. */
static __always_inline int place_first(struct xdp_md *context, __u32 network_offset, int is_ipv6,
				       struct fragment_work *work, __u32 where)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct selection chosen;
	enum parse_result parsed;
	int class = CLASS_FORWARD;
	struct vip *vip;

	parsed = parse_transport(transport_of(data + network_offset, &work->place), end, &work->tuple);
	if (parsed == PARSE_SHORT)
		return finish(DROP_MALFORMED, XDP_DROP);
	vip = parsed == PARSE_OK ? find_vip_of(&work->tuple) : NULL;
	if (vip)
		class = vip->flags & VIP_CLASSED ? class_of_packet(context, &work->tuple, vip, 0) :
			vip->flags & VIP_L7	 ? CLASS_L7 :
						   CLASS_FORWARD;
	if (vip && class != CLASS_FORWARD && (vip->flags & VIP_CLASSED))
		count_class(vip, class, frame_bytes(context, network_offset, is_ipv6), work->tuple.begins);
	if (class == CLASS_DROP)
		return finish(DROP_SOURCE, XDP_DROP);
	/* Connections of the proxy are on one host, as those of NAT. */
	if (class == CLASS_L7) {
		remember(work, FRAGMENT_PASS);
		return finish(PASS_L7, XDP_PASS);
	}
	if (vip && (vip->flags & VIP_NAT))
		return place_first_of_nat(context, work, vip, where);
	if (!(where & (PLACED_HERE | PLACED_HERE_OR_ROUND)))
		return send_to_host(context, network_offset, is_ipv6, where, TX_FRAGMENT_HOST);
	if (!vip) {
		remember(work, FRAGMENT_PASS);
		return finish(PASS_NOT_VIP, XDP_PASS);
	}
	chosen = select_backend(context, network_offset, &work->tuple, vip, 1, 1);
	/* No reset for a part of a segment: what it acknowledges is not known before the whole. */
	if (chosen.kind != SELECT_FORWARD || !chosen.backend)
		return finish(DROP_NO_BACKEND, XDP_DROP);
	work->fragment.hash = hash_of(&work->tuple);
	work->fragment.backend = chosen.index;
	work->fragment.generation = chosen.backend->generation;
	work->fragment.vip_id = vip->id;
	remember(work, FRAGMENT_FORWARD);
	if ((where & SENT_ON) || !needs_way(chosen.backend))
		return send_untold(context, network_offset, is_ipv6, vip->id, &chosen, work->fragment.hash);
	return go_way(context, network_offset, &work->tuple, vip, &chosen, 0);
}

/* The stage's way in: a fragment to a VIP's address. */
static __always_inline int handle_fragment(struct xdp_md *context)
{
	struct fragment_work *work = own_fragment_work();
	__u32 network_offset = 0, where;
	struct vip *address;
	void *data, *end;
	int is_ipv6;

	if (!work || !find_network(context, &network_offset, &is_ipv6))
		return finish(DROP_MALFORMED, XDP_DROP);
	data = (void *)(long)context->data;
	end = (void *)(long)context->data_end;
	if (data + sizeof(struct ethhdr) > end)
		return finish(DROP_MALFORMED, XDP_DROP);
	__builtin_memset(work, 0, sizeof(*work));
	if (!read_packet(context, network_offset, is_ipv6, &work->tuple, &work->place) || !work->place.is_fragment)
		return finish(DROP_MALFORMED, XDP_DROP);
	address = is_ipv6 ? find_vip6(work->tuple.vip, 0, IPPROTO_ICMPV6) :
			    find_vip4(work->tuple.vip[0], 0, IPPROTO_ICMP);
	if (!address)
		return finish(PASS_NOT_VIP, XDP_PASS);
	/* The stack, which has the proxy's connections, puts them together by itself. */
	if (address->flags & VIP_L7)
		return finish(PASS_L7, XDP_PASS);
	if (!is_sound_fragment(&work->place))
		return finish(DROP_MALFORMED, XDP_DROP);
	if (work->place.protocol == (is_ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP))
		return work->place.fragment_offset ? echo_fragment(context, network_offset, is_ipv6) :
						     place_icmp(context, network_offset, is_ipv6, work);
	fill_fragment_key(&work->key, &work->tuple, work->place.fragment_id, work->place.protocol);
	where = other_host(hash_of_packet(&work->key), word_of_mac(data + ETH_ALEN));
	if (work->place.fragment_offset)
		return follow_first(context, network_offset, is_ipv6, work, where);
	return place_first(context, network_offset, is_ipv6, work, where);
}

#endif
