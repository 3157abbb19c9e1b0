/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The packet's way: parse, find the VIP, choose the backend, forward. What is not a VIP's is
 * passed to the stack untouched; no packet is dropped but a VIP's, and each for a counted reason.
 */
#include "count.h"
#include "echo.h"
#include "forward.h"
#include "parse.h"
#include "reset.h"
#include "select.h"
#include "tunnel.h"

static __always_inline struct vip *find_vip4(__be32 address, __be16 port, __u8 protocol)
{
	struct vip4_key key = { .address = address, .port = port, .protocol = protocol };

	return bpf_map_lookup_elem(&vips4, &key);
}

static __always_inline struct vip *find_vip6(const __u32 *address, __be16 port, __u8 protocol)
{
	struct vip6_key key = { .port = port, .protocol = protocol };

	__builtin_memcpy(key.address, address, 16);
	return bpf_map_lookup_elem(&vips6, &key);
}

static __always_inline int is_same_address6(const __u32 *one, const __u32 *other)
{
	return one[0] == other[0] && one[1] == other[1] && one[2] == other[2] && one[3] == other[3];
}

/*
 * The frame's bytes. Only a packet that says that it goes on behind data_end may lie in several
 * buffers: the others are spared the helper's call.
 */
static __always_inline __u32 frame_bytes(struct xdp_md *context, __u32 network_offset, int is_ipv6)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct ipv6hdr *ip6 = data + network_offset;
	struct iphdr *ip4 = data + network_offset;
	__u32 claimed = network_offset;

	if (is_ipv6 && (void *)(ip6 + 1) <= end)
		claimed += sizeof(*ip6) + bpf_ntohs(ip6->payload_len);
	else if (!is_ipv6 && (void *)(ip4 + 1) <= end)
		claimed += bpf_ntohs(ip4->tot_len);
	return claimed > end - data ? bpf_xdp_get_buff_len(context) : end - data;
}

/* Chooses and forwards a packet of a VIP. `is_quote`: an ICMP error that quotes the tuple. */
static __always_inline int serve(struct xdp_md *context, __u32 network_offset, const struct tuple *tuple,
				 const struct vip *vip, int is_quote)
{
	struct selection chosen;

	if (vip->flags & VIP_L7)
		return finish(PASS_L7, XDP_PASS);
	chosen = select_backend(tuple, vip, !is_quote);
	if (chosen.kind == SELECT_FORWARD && chosen.backend) {
		if (chosen.backend->flags & BACKEND_TUNNELLED)
			return enter_tunnel(context, network_offset, tuple, vip, &chosen, is_quote);
		return forward(context, network_offset, tuple->is_ipv6, vip, &chosen,
			       frame_bytes(context, network_offset, tuple->is_ipv6),
			       is_quote ? TX_ICMP_ERROR : TX_FORWARD);
	}
	if (chosen.kind == SELECT_RESET && !is_quote)
		return tuple->is_ipv6 ? reset_flow6(context, network_offset) :
					reset_flow4(context, network_offset);
	return finish(DROP_NO_BACKEND, XDP_DROP);
}

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
	quoted->is_reset = 0;
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

static __always_inline int handle_icmp4(struct xdp_md *context, __u32 network_offset, struct iphdr *ip,
					struct icmp_header *icmp)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct vip *address = find_vip4(ip->daddr, 0, IPPROTO_ICMP);
	struct tuple quoted = {};
	struct iphdr *inner;
	struct vip *vip;

	if (!address)
		return finish(PASS_NOT_VIP, XDP_PASS);
	if ((void *)(icmp + 1) > end)
		return finish(DROP_MALFORMED, XDP_DROP);
	if (icmp->type == ICMP_ECHO && icmp->code == 0)
		return reply_to_echo4(data, ip, icmp);
	if (icmp->type != ICMP_DEST_UNREACH && icmp->type != ICMP_TIME_EXCEEDED &&
	    icmp->type != ICMP_PARAMETERPROB)
		return finish(PASS_VIP_ICMP, XDP_PASS);
	inner = (void *)(icmp + 1);
	/* Only a first fragment has ports where they are looked for. */
	if ((void *)(inner + 1) > end || inner->version != 4 || inner->ihl < 5 ||
	    (inner->frag_off & bpf_htons(IP_OFFSET_MASK)))
		return finish(PASS_VIP_ICMP, XDP_PASS);
	quoted.client[0] = inner->saddr;
	quoted.vip[0] = inner->daddr;
	quoted.protocol = inner->protocol;
	if (!parse_quoted_ports((void *)inner + inner->ihl * 4, end, &quoted))
		return finish(PASS_VIP_ICMP, XDP_PASS);
	turn_round(&quoted);
	vip = find_vip4(quoted.vip[0], quoted.vip_port, quoted.protocol);
	if (!vip || quoted.vip[0] != ip->daddr)
		return finish(PASS_VIP_ICMP, XDP_PASS);
	return serve(context, network_offset, &quoted, vip, 1);
}

static __always_inline int handle_icmp6(struct xdp_md *context, __u32 network_offset, struct ipv6hdr *ip,
					const struct tuple *tuple, struct icmp_header *icmp)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct vip *address = find_vip6(tuple->vip, 0, IPPROTO_ICMPV6);
	struct tuple quoted = { .is_ipv6 = 1 };
	struct ipv6hdr *inner;
	struct vip *vip;

	if (!address)
		return finish(PASS_NOT_VIP, XDP_PASS);
	if ((void *)(icmp + 1) > end)
		return finish(DROP_MALFORMED, XDP_DROP);
	if (icmp->type == ICMPV6_ECHO_REQUEST && icmp->code == 0)
		return reply_to_echo6(data, ip, icmp);
	/* Types below 128 are errors (RFC 4443 section 2.1). */
	if (icmp->type & ICMPV6_INFOMSG_MASK)
		return finish(PASS_VIP_ICMP, XDP_PASS);
	inner = (void *)(icmp + 1);
	if ((void *)(inner + 1) > end || inner->version != 6)
		return finish(PASS_VIP_ICMP, XDP_PASS);
	__builtin_memcpy(quoted.client, &inner->saddr, 16);
	__builtin_memcpy(quoted.vip, &inner->daddr, 16);
	quoted.protocol = inner->nexthdr;
	if (!parse_quoted_ports(inner + 1, end, &quoted))
		return finish(PASS_VIP_ICMP, XDP_PASS);
	turn_round(&quoted);
	vip = find_vip6(quoted.vip, quoted.vip_port, quoted.protocol);
	if (!vip || !is_same_address6(quoted.vip, tuple->vip))
		return finish(PASS_VIP_ICMP, XDP_PASS);
	return serve(context, network_offset, &quoted, vip, 1);
}

static __always_inline int handle_ipv4(struct xdp_md *context, __u32 network_offset)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct iphdr *ip = data + network_offset;
	struct tuple tuple = {};
	void *transport = NULL;
	enum parse_result parsed = parse_ipv4(ip, end, &tuple, &transport);
	struct vip *vip;

	if (parsed == PARSE_OK) {
		vip = find_vip4(tuple.vip[0], tuple.vip_port, tuple.protocol);
		if (!vip)
			return finish(PASS_NOT_VIP, XDP_PASS);
		return serve(context, network_offset, &tuple, vip, 0);
	}
	if (parsed == PARSE_OTHER_TRANSPORT && tuple.protocol == IPPROTO_ICMP && (void *)(ip + 1) <= end)
		return handle_icmp4(context, network_offset, ip, transport);
	if (parsed == PARSE_OTHER_TRANSPORT || (void *)(ip + 1) > end ||
	    !find_vip4(tuple.vip[0], 0, IPPROTO_ICMP))
		return finish(PASS_NOT_VIP, XDP_PASS);
	return finish(parsed == PARSE_FRAGMENT ? DROP_FRAGMENT : DROP_MALFORMED, XDP_DROP);
}

static __always_inline int handle_ipv6(struct xdp_md *context, __u32 network_offset)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	struct ipv6hdr *ip = data + network_offset;
	struct tuple tuple = {};
	void *transport = NULL;
	enum parse_result parsed = parse_ipv6(ip, end, &tuple, &transport);
	struct vip *vip;

	if (parsed == PARSE_OK) {
		vip = find_vip6(tuple.vip, tuple.vip_port, tuple.protocol);
		if (!vip)
			return finish(PASS_NOT_VIP, XDP_PASS);
		return serve(context, network_offset, &tuple, vip, 0);
	}
	if (parsed == PARSE_OTHER_TRANSPORT && tuple.protocol == IPPROTO_ICMPV6 && (void *)(ip + 1) <= end)
		return handle_icmp6(context, network_offset, ip, &tuple, transport);
	if (parsed == PARSE_OTHER_TRANSPORT || (void *)(ip + 1) > end ||
	    !find_vip6(tuple.vip, 0, IPPROTO_ICMPV6))
		return finish(PASS_NOT_VIP, XDP_PASS);
	return finish(parsed == PARSE_FRAGMENT ? DROP_FRAGMENT : DROP_MALFORMED, XDP_DROP);
}

SEC("xdp.frags")
int l4d_xdp(struct xdp_md *context)
{
	void *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;
	__u32 network_offset = 0;
	__be16 protocol = parse_ethernet(data, end, &network_offset);

	if (protocol != bpf_htons(ETH_P_IP) && protocol != bpf_htons(ETH_P_IPV6))
		return finish(PASS_NOT_IP, XDP_PASS);
	/* A switch floods frames for hosts that it does not know: forwarding those would double them. */
	if (data + ETH_ALEN > end || !(is_own_mac(data) || take_virtual_mac(data)))
		return finish(PASS_OTHER_HOST, XDP_PASS);
	if (protocol == bpf_htons(ETH_P_IP))
		return handle_ipv4(context, network_offset);
	return handle_ipv6(context, network_offset);
}

char _license[] SEC("license") = "GPL";
