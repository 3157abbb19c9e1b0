/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Packets for the benches that measure with real drivers: BPF_PROG_TEST_RUN with live frames runs `bench_generate`,
 * which sends each frame out of an interface. The other programs are what a balancer is held against, and what its
 * packets end at.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "rewrite.h"

#define FRAME_WORDS 8

/* Interface to send from. */
const volatile __u32 target = 0;
/* How many source ports take turns, less one; a power of two less one. */
const volatile __u32 port_mask = 0;
/* Where the source port is. */
const volatile __u32 port_offset = 0;
const volatile __u64 frame[FRAME_WORDS] = {};

static __u32 turn = 0;

SEC("xdp")
int bench_generate(struct xdp_md *context)
{
	__u64 *data = (void *)(long)context->data;
	void *end = (void *)(long)context->data_end;

	if ((void *)(data + FRAME_WORDS) > end)
		return XDP_ABORTED;
	/* Every byte: the memory comes back as whoever got the frame before has left it. */
#pragma unroll
	for (int i = 0; i < FRAME_WORDS; i++)
		data[i] = frame[i];
	if (port_offset <= FRAME_WORDS * 8 - 2) {
		turn++;
		*(__be16 *)((void *)data + port_offset) = bpf_htons((__u16)(turn & port_mask));
	}
	return bpf_redirect(target, 0);
}

SEC("xdp.frags")
int bench_drop(struct xdp_md *context)
{
	return XDP_DROP;
}

/* The least that a balancer on layer 2 could do. */
SEC("xdp.frags")
int bench_swap_tx(struct xdp_md *context)
{
	struct ethhdr *ethernet = (void *)(long)context->data;

	if ((void *)(ethernet + 1) > (void *)(long)context->data_end)
		return XDP_DROP;
	swap_ethernet(ethernet);
	return XDP_TX;
}

char _license[] SEC("license") = "GPL";
