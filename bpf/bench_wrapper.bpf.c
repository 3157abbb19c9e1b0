/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Measures another program with BPF_PROG_TEST_RUN, which repeats it on one buffer: before each
 * repeat the wrapper restores the packet, varies its source, and goes on to the program by a tail
 * call. What the wrapper itself costs is measured with `bench_tx` in the program's place.
 * `dirty_headroom` is for tests: what is in the room before a packet must not matter.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Sizes of the frames: a minimal Ethernet frame without its check sequence, and for IPv6 the next multiple of 16. */
#define FRAME4_LENGTH 64
#define FRAME6_LENGTH 80
#define FRAME_ROOM 96

struct bench_config {
	__u32 flows; /* how many sources take turns; 1: the packet stays as it is */
	__u32 turn;
	__u8 frame[FRAME_ROOM];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct bench_config);
	__uint(max_entries, 1);
} bench_config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} bench_program SEC(".maps");

/* `address` is the offset of the low half of the source address, `port` that of the source port. */
static __always_inline int wrap(struct xdp_md *context, const int length, const int address, const int port)
{
	__u32 key = 0;
	struct bench_config *config = bpf_map_lookup_elem(&bench_config, &key);
	int surplus = (int)(context->data_end - context->data) - length;
	void *data, *end;

	if (!config)
		return XDP_ABORTED;
	if (surplus && bpf_xdp_adjust_head(context, surplus))
		return XDP_ABORTED;
	data = (void *)(long)context->data;
	end = (void *)(long)context->data_end;
	if (data + length > end)
		return XDP_ABORTED;
	__builtin_memcpy(data, config->frame, length);
	if (config->flows > 1) {
		__u32 turn = config->turn + 1;

		if (turn >= config->flows)
			turn = 0;
		config->turn = turn;
		*(__be16 *)(data + port) = bpf_htons((__u16)turn);
		*(__be16 *)(data + address) = bpf_htons((__u16)(turn >> 16));
	}
	bpf_tail_call_static(context, &bench_program, 0);
	return XDP_ABORTED;
}

SEC("xdp.frags")
int bench_wrap4(struct xdp_md *context)
{
	return wrap(context, FRAME4_LENGTH, ETH_HLEN + 14, ETH_HLEN + sizeof(struct iphdr));
}

SEC("xdp.frags")
int bench_wrap6(struct xdp_md *context)
{
	return wrap(context, FRAME6_LENGTH, ETH_HLEN + 22, ETH_HLEN + sizeof(struct ipv6hdr));
}

#define DIRTY_ROOM 64

SEC("xdp.frags")
int dirty_headroom(struct xdp_md *context)
{
	void *data, *end;

	if (bpf_xdp_adjust_head(context, -DIRTY_ROOM))
		return XDP_ABORTED;
	data = (void *)(long)context->data;
	end = (void *)(long)context->data_end;
	if (data + DIRTY_ROOM > end)
		return XDP_ABORTED;
	__builtin_memset(data, 0xff, DIRTY_ROOM);
	if (bpf_xdp_adjust_head(context, DIRTY_ROOM))
		return XDP_ABORTED;
	bpf_tail_call_static(context, &bench_program, 0);
	return XDP_ABORTED;
}

SEC("xdp.frags")
int bench_pass(struct xdp_md *context)
{
	return XDP_PASS;
}

SEC("xdp.frags")
int bench_tx(struct xdp_md *context)
{
	return XDP_TX;
}

char _license[] SEC("license") = "GPL";
