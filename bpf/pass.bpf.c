/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Passes every packet. veth delivers frames that its peer sent by XDP_TX only to an interface
 * that runs XDP itself, so the lab attaches this to the far end of each l4d host's cable.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp.frags")
int pass(struct xdp_md *context)
{
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
