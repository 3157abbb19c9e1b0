/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * ARP (RFC 826, 5227) and neighbour discovery (RFC 4861) for VIPs of the hosts' own segment. The host that owns the
 * virtual router which the client belongs to answers, and on no host does the question get to the stack.
 */
#ifndef L4D_NEIGHBOUR_H
#define L4D_NEIGHBOUR_H

#include "count.h"
#include "forward.h"
#include "parse.h"
#include "rewrite.h"

#define ARP_REQUEST 1
#define ARP_REPLY 2
#define NEIGHBOUR_ADVERTISEMENT 136
#define NEIGHBOUR_HOP_LIMIT 255
/* With a target address, and options: what is larger is not answered. */
#define LEAST_SOLICITATION 24
#define MOST_SOLICITATION 128
/* Router, solicited, override: RFC 9568 section 6.4.2, RFC 4861 section 4.4. */
#define ADVERTISED_SOLICITED 0xe0000000
#define ADVERTISED_OVERRIDE 0xa0000000
#define ADVERTISED_SHARED 0x80000000
#define TARGET_LINK_LAYER_ADDRESS 0x0201

/* For Ethernet and IPv4; <linux/if_arp.h> does not compile for this target. */
struct arp_message {
	__be16 hardware;
	__be16 protocol;
	__be16 lengths;
	__be16 operation;
	__u8 sender_mac[ETH_ALEN];
	__u8 sender[4];
	__u8 target_mac[ETH_ALEN];
	__u8 target[4];
} __attribute__((packed));

struct neighbour_message {
	struct icmp_header icmp; /* rest: the flags of an advertisement */
	__u32 target[4];
	__be16 option; /* of an advertisement: type and length */
	__u8 mac[ETH_ALEN];
};

#define ADVERTISEMENT_LENGTH (sizeof(struct ethhdr) + sizeof(struct ipv6hdr) + sizeof(struct neighbour_message))

/* The finalizer of MurmurHash3. */
static __always_inline __u32 mix32(__u32 value)
{
	value = (value ^ (value >> 16)) * 0x85ebca6bu;
	value = (value ^ (value >> 13)) * 0xc2b2ae35u;
	return value ^ (value >> 16);
}

/* The virtual router that a client belongs to; announcer/src/core/vrrp/share-owner.ts holds the same function. */
static __always_inline __u32 share_owner(const __u32 *client, const struct neighbour *neighbour)
{
	__u32 hash = 0x811c9dc5, best = 0, best_weight = 0;

	for (int i = 0; i < 4; i++)
		hash = mix32(hash ^ bpf_ntohl(client[i]));
	for (int i = 0; i < MAX_NEIGHBOUR_VRIDS; i++) {
		__u32 vrid = neighbour->vrids[i];
		__u32 weight = mix32(hash ^ vrid * 0x9e3779b1u);

		if (i >= neighbour->count)
			break;
		if (best == 0 || weight > best_weight || (weight == best_weight && vrid < best)) {
			best = vrid;
			best_weight = weight;
		}
	}
	return best;
}

/*
 * Whom to name to that client; false: another host names itself. `mac` gets the address. Not inlined: verified once.
 */
__noinline int find_answer(const struct neighbour_key *target, const struct neighbour_key *client, int is_ipv6,
			   struct neighbour_key *mac)
{
	const struct neighbour *neighbour;
	__u8 *bytes = (__u8 *)mac;
	struct neighbour_key key;
	const __u64 *until;
	__u32 vrid, index;

	if (!target || !client || !mac)
		return 0;
	/* Before Linux 6.2 a map's key may not lie in what a function was given. */
	key = *target;
	neighbour = bpf_map_lookup_elem(&neighbours, &key);
	if (!neighbour)
		return 0;
	vrid = share_owner(client->address, neighbour);
	index = (is_ipv6 ? VIRTUAL_MAC_IPV6 : 0) + vrid;
	until = bpf_map_lookup_elem(&neighbour_owners, &index);
	if (!until || bpf_ktime_get_ns() >= *until)
		return 0;
	if (!neighbour->is_virtual) {
		copy_mac(bytes, neighbour->interface_mac);
		return 1;
	}
	*(__u32 *)bytes = bpf_htonl(0x00005e00);
	bytes[4] = is_ipv6 ? 2 : 1;
	bytes[5] = vrid;
	return 1;
}

/* Whether an address is one of this segment's; the hosts' further interfaces are other segments. */
static __always_inline const struct neighbour *find_neighbour(const struct neighbour_key *target)
{
	const struct neighbour *neighbour = bpf_map_lookup_elem(&neighbours, target);

	return neighbour && is_own_mac(neighbour->interface_mac) ? neighbour : NULL;
}

static __always_inline int handle_arp(void *data, void *end)
{
	struct arp_message *arp = data + sizeof(struct ethhdr);
	struct neighbour_key target = {}, client = {}, mac = {};
	struct ethhdr *ethernet = data;

	if ((void *)(arp + 1) > end || arp->hardware != bpf_htons(1) || arp->protocol != bpf_htons(ETH_P_IP) ||
	    arp->lengths != bpf_htons(0x0604) || arp->operation != bpf_htons(ARP_REQUEST))
		return finish(PASS_NOT_IP, XDP_PASS);
	target.address[2] = client.address[2] = bpf_htonl(0xffff);
	target.address[3] = *(__u32 *)arp->target;
	client.address[3] = *(__u32 *)arp->sender;
	/* Who names himself asks nothing (RFC 5227 section 3). */
	if (target.address[3] == client.address[3] || !find_neighbour(&target))
		return finish(PASS_NOT_IP, XDP_PASS);
	/* Of a group address nobody can be the sender. */
	if ((ethernet->h_source[0] & 1) || !find_answer(&target, &client, 0, &mac))
		return finish(DROP_NEIGHBOUR, XDP_DROP);
	copy_mac(ethernet->h_dest, ethernet->h_source);
	copy_mac(ethernet->h_source, (__u8 *)&mac);
	arp->operation = bpf_htons(ARP_REPLY);
	copy_mac(arp->target_mac, ethernet->h_dest);
	copy_mac(arp->sender_mac, (__u8 *)&mac);
	*(__u32 *)arp->target = client.address[3];
	*(__u32 *)arp->sender = target.address[3];
	return finish(TX_NEIGHBOUR, XDP_TX);
}

/* Whether the checksum of a solicitation holds (RFC 4861 section 7.1.1). */
static __always_inline int is_sound_solicitation(const struct ipv6hdr *ip, void *end)
{
	__u32 length = bpf_ntohs(ip->payload_len);
	const __u16 *word = (const void *)(ip + 1);
	__u32 sum = sum_words(&ip->saddr, 16) + ip->payload_len + bpf_htons(IPPROTO_ICMPV6);

	if (length < LEAST_SOLICITATION || length > MOST_SOLICITATION || length % 8 ||
	    ip->hop_limit != NEIGHBOUR_HOP_LIMIT)
		return 0;
	for (int i = 0; i < MOST_SOLICITATION / 2; i++) {
		const __u16 *at = word + i;

		if (2 * i >= length)
			break;
		KEEP_POINTER(at);
		if ((void *)(at + 1) > end)
			return 0;
		sum += *at;
	}
	return fold_checksum(sum) == 0;
}

static __always_inline void write_advertisement(struct ethhdr *ethernet, const __u8 *to,
						const struct neighbour_key *target,
						const struct neighbour_key *client, const struct neighbour_key *mac,
						int is_shared)
{
	int is_probe = (client->address[0] | client->address[1] | client->address[2] | client->address[3]) == 0;
	struct ipv6hdr *ip = (void *)(ethernet + 1);
	struct neighbour_message *message = (void *)(ip + 1);
	__u32 flags = ADVERTISED_SOLICITED;

	copy_mac(ethernet->h_source, (const __u8 *)mac);
	ethernet->h_proto = bpf_htons(ETH_P_IPV6);
	*(__u32 *)ip = bpf_htonl(0x6c000000);
	ip->payload_len = bpf_htons(sizeof(*message));
	ip->nexthdr = IPPROTO_ICMPV6;
	ip->hop_limit = NEIGHBOUR_HOP_LIMIT;
	__builtin_memcpy(&ip->saddr, target->address, 16);
	if (is_probe) {
		/* To all nodes (section 7.2.4); it must not override what others know of a shared address. */
		struct neighbour_key all_nodes = { .address = { bpf_htonl(0xff020000), 0, 0, bpf_htonl(1) } };

		flags = is_shared ? ADVERTISED_SHARED : ADVERTISED_OVERRIDE;
		__builtin_memcpy(&ip->daddr, all_nodes.address, 16);
		*(__u32 *)ethernet->h_dest = bpf_htonl(0x33330000);
		*(__u16 *)(ethernet->h_dest + 4) = bpf_htons(1);
	} else {
		__builtin_memcpy(&ip->daddr, client->address, 16);
		copy_mac(ethernet->h_dest, to);
	}
	message->icmp.type = NEIGHBOUR_ADVERTISEMENT;
	message->icmp.code = 0;
	message->icmp.checksum = 0;
	message->icmp.rest = bpf_htonl(flags);
	__builtin_memcpy(message->target, target->address, 16);
	message->option = bpf_htons(TARGET_LINK_LAYER_ADDRESS);
	copy_mac(message->mac, (const __u8 *)mac);
	message->icmp.checksum = fold_checksum(sum_words(&ip->saddr, 16) + ip->payload_len +
					       bpf_htons(IPPROTO_ICMPV6) +
					       sum_words(message, sizeof(*message) / 2));
}

static __always_inline int handle_solicitation(struct xdp_md *context)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct neighbour_key target = {}, client = {}, mac = {};
	struct ethhdr *ethernet = data;
	struct ipv6hdr *ip = (void *)(ethernet + 1);
	struct neighbour_message *message = (void *)(ip + 1);
	const struct neighbour *neighbour;
	__u32 to[2] = {};
	int is_shared;

	/* Without the option, which a solicitation may lack. */
	if (data + ADVERTISEMENT_LENGTH - 8 > end || ip->version != 6 || ip->nexthdr != IPPROTO_ICMPV6 ||
	    message->icmp.type != ICMPV6_NEIGHBOUR_SOLICITATION || message->icmp.code != 0)
		return finish(PASS_OTHER_HOST, XDP_PASS);
	__builtin_memcpy(target.address, message->target, 16);
	__builtin_memcpy(client.address, &ip->saddr, 16);
	copy_mac((__u8 *)to, ethernet->h_source);
	neighbour = find_neighbour(&target);
	if (!neighbour)
		return finish(PASS_OTHER_HOST, XDP_PASS);
	is_shared = neighbour->count > 1;
	if (!is_sound_solicitation(ip, end))
		return finish(DROP_MALFORMED, XDP_DROP);
	if ((ethernet->h_source[0] & 1) || !find_answer(&target, &client, 1, &mac))
		return finish(DROP_NEIGHBOUR, XDP_DROP);
	/* The whole frame is written anew, so it may grow and shrink at its begin, where there is room. */
	if (bpf_xdp_adjust_head(context, (int)bpf_xdp_get_buff_len(context) - (int)ADVERTISEMENT_LENGTH))
		return finish(DROP_MALFORMED, XDP_DROP);
	data = (void *)(long)context->data;
	end = (void *)(long)context->data_end;
	if (data + ADVERTISEMENT_LENGTH > end)
		return finish(DROP_MALFORMED, XDP_DROP);
	write_advertisement(data, (const __u8 *)to, &target, &client, &mac, is_shared);
	return finish(TX_NEIGHBOUR, XDP_TX);
}

/* The stage's way in: ARP, or what may be a neighbour solicitation. Tagged frames are of other segments. */
static __always_inline int handle_neighbour(struct xdp_md *context)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct ethhdr *ethernet = data;

	if ((void *)(ethernet + 1) > end)
		return finish(PASS_NOT_IP, XDP_PASS);
	if (ethernet->h_proto == bpf_htons(ETH_P_ARP))
		return handle_arp(data, end);
	if (ethernet->h_proto == bpf_htons(ETH_P_IPV6))
		return handle_solicitation(context);
	return finish(PASS_NOT_IP, XDP_PASS);
}

#endif
