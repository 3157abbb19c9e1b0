/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* How large an outer packet may be: what is declared of the way, or less where a router has said so (tunnel_error.h). */
#ifndef L4D_PATH_MTU_H
#define L4D_PATH_MTU_H

#include "clock.h"
#include "encapsulate.h"
#include "maps.h"

/*
 * What a way carries at least, whatever an ICMP error says. RFC 8200 section 5 says so of IPv6. Of IPv4 it is as much, not the 576
 * of RFC 791: anybody can forge an error, and below it QUIC would end (its datagrams have 1200 bytes, RFC 9000 section 14).
 */
#define LEAST_PATH_MTU 1280
/* What an IPv6 packet may always have: nobody sends less for "packet too big" (RFC 8200 section 5). */
#define LEAST_MTU6 1280

static __always_inline int is_learned_lately(__u32 then, __u32 tick)
{
	return (__s32)(tick - then) <= PATH_MTU_TICKS;
}

/* What was learned of the way to an end; 0: nothing, or long ago. */
static __always_inline __u32 learned_mtu(const struct tunnel_end *end, __u32 tick)
{
	__u32 mtu = *(const volatile __u32 *)&end->mtu;

	return mtu && is_learned_lately(end->mtu_tick, tick) ? mtu : 0;
}

/* The MTU of a packet's way. Small packets fit anyway, and without news of any way none is looked for. */
static __always_inline __u32 path_mtu(const struct egress *egress, const struct tunnel *tunnel,
				      const struct inner_packet *inner)
{
	__u32 learned_at = path_mtu_tick, tick, mtu;
	const struct tunnel_end *end;

	if (!learned_at || inner->length + tunnel->overhead <= LEAST_PATH_MTU)
		return egress->tunnel_mtu;
	tick = current_tick();
	if (!is_learned_lately(learned_at, tick))
		return egress->tunnel_mtu;
	end = bpf_map_lookup_elem(&tunnel_ends, tunnel->remote);
	mtu = end ? learned_mtu(end, tick) : 0;
	if (!mtu || mtu >= egress->tunnel_mtu)
		return egress->tunnel_mtu;
	/* What cannot be made smaller goes on its way: perhaps another one has been found by now. */
	if (inner->is_ipv6 && mtu < LEAST_MTU6 + tunnel->overhead)
		mtu = LEAST_MTU6 + tunnel->overhead;
	return mtu < egress->tunnel_mtu ? mtu : egress->tunnel_mtu;
}

#endif
