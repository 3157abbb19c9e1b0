/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Programs of their own for what most packets do not need. The first program goes on to one by a tail call and so
 * keeps its own code, registers and stack small; a stage has a fresh stack and reads the packet anew.
 */
#ifndef L4D_STAGES_H
#define L4D_STAGES_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "count.h"

enum stage {
	STAGE_ICMP,
	STAGE_BEHIND, /* headers before the transport header, and fragments */
	STAGE_FRAGMENT,
	STAGE_NAT, /* to a backend, of a connection that is known */
	STAGE_NAT_BEGIN, /* of one that is not */
	STAGE_NAT_FRAGMENT, /* a later fragment of one that is */
	STAGE_NAT_ERROR, /* to a backend, an ICMP error */
	STAGE_NAT_ERROR_OTHER, /* one about no connection of NAT */
	STAGE_NAT_RETURN, /* from a backend, both */
	STAGE_NEIGHBOUR,
	STAGE_TUNNEL_ERROR, /* an ICMP error that may be about an outer packet */
	STAGE_PROXY_HOST, /* for the proxy, which several hosts have */
	STAGE_PROXY_ARRIVAL, /* UDP to this host, perhaps a tunnel between such hosts */
	STAGE_ANEW, /* what was in it, from the begin on */
	STAGE_COUNT,
};

int l4d_icmp(struct xdp_md *context);
int l4d_behind(struct xdp_md *context);
int l4d_fragment(struct xdp_md *context);
int l4d_nat(struct xdp_md *context);
int l4d_nat_begin(struct xdp_md *context);
int l4d_nat_fragment(struct xdp_md *context);
int l4d_nat_error(struct xdp_md *context);
int l4d_nat_error_other(struct xdp_md *context);
int l4d_nat_return(struct xdp_md *context);
int l4d_neighbour(struct xdp_md *context);
int l4d_tunnel_error(struct xdp_md *context);
int l4d_proxy_host(struct xdp_md *context);
int l4d_proxy_arrival(struct xdp_md *context);
int l4d_xdp(struct xdp_md *context);

/*
 * One for each loaded set of programs, so that a set never goes on to a stage of another version. The kernel
 * empties it when nobody in user space holds it: it is pinned beside the link of its set.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(max_entries, STAGE_COUNT);
	__array(values, int(struct xdp_md *));
} stages SEC(".maps") = {
	.values = {
		[STAGE_ICMP] = (void *)&l4d_icmp,
		[STAGE_BEHIND] = (void *)&l4d_behind,
		[STAGE_FRAGMENT] = (void *)&l4d_fragment,
		[STAGE_NAT] = (void *)&l4d_nat,
		[STAGE_NAT_BEGIN] = (void *)&l4d_nat_begin,
		[STAGE_NAT_FRAGMENT] = (void *)&l4d_nat_fragment,
		[STAGE_NAT_ERROR] = (void *)&l4d_nat_error,
		[STAGE_NAT_ERROR_OTHER] = (void *)&l4d_nat_error_other,
		[STAGE_NAT_RETURN] = (void *)&l4d_nat_return,
		[STAGE_NEIGHBOUR] = (void *)&l4d_neighbour,
		[STAGE_TUNNEL_ERROR] = (void *)&l4d_tunnel_error,
		[STAGE_PROXY_HOST] = (void *)&l4d_proxy_host,
		[STAGE_PROXY_ARRIVAL] = (void *)&l4d_proxy_arrival,
		[STAGE_ANEW] = (void *)&l4d_xdp,
	},
};

/* Never returns from the tail call; a stage that is not there leaves the packet to the stack. */
#define GO_ON(context, stage)                                                                                          \
	({                                                                                                             \
		bpf_tail_call_static(context, &stages, stage);                                                         \
		finish(PASS_NO_STAGE, XDP_PASS);                                                                       \
	})

#endif
