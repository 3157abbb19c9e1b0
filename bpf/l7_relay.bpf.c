/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Passes what comes on one connection to another one without waking a process (sk_skb, stream verdict).
 *
 * Each worker of the proxy loads it for itself when the first listener with `relay: kernel` has a tunnel, and nothing is
 * pinned: with the worker go its sockets, its maps and what they held.
 *
 * The kernel has no back-pressure here: what is redirected waits in the target's queue however long that becomes. So the
 * program counts what it has redirected against what the target's peer has acknowledged, and breaks the tunnel off above
 * the limit: from then on nothing is redirected, either way, whether or not the worker runs. The worker resets both ends
 * when it sees it.
 *
 * A tunnel has two ends, 2 n and 2 n + 1; what comes on one goes to the other.
 *   relay_targets  sockets that are redirected to; filled first
 *   relay_sources  the same sockets, and this program: what comes on them is redirected from then on
 *   relay_ends     which end a socket is, by its cookie
 *   relay_flows    counts of each end, mapped into the worker's memory
 *   relay_notice   how many tunnels were broken off, mapped likewise: one look tells of all
 */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

/* Tunnels of one worker; user space sets the sizes of the maps and knows this number by them. */
#define MAX_TUNNELS 8192
#define MAX_ENDS (2 * MAX_TUNNELS)

/*
 * What a packet costs beyond its bytes: its head and the rest of its page. A peer that sends single bytes is not to have
 * a thousand times the memory of one that sends full packets.
 */
#define PACKET_COST 1024

/* Of the kernel's struct, what is read; the loader finds where it is. */
struct tcp_sock {
	__u64 bytes_acked;
	__u32 snd_una;
	__u32 write_seq;
} __attribute__((preserve_access_index));

/* Counts of what came on one end; user space reads it, see l7/src/io/event-loop/kernel-relay.ts. */
struct relay_flow {
	/* Redirected to the other end. */
	__u64 bytes;
	/* The other end's acknowledged bytes when all that was written to it before will be. */
	__u64 base;
	/* CLOCK_MONOTONIC of the last packet, in ns. */
	__u64 last;
	/* The most that may wait, in bytes. */
	__u64 limit;
	/* `bytes` when the younger packets began. */
	__u64 mark;
	__u32 younger;
	/* Packets before the mark that may wait still. */
	__u32 older;
	__u32 begun;
	/* Set on both ends: nothing is redirected any more. */
	__u32 broken;
};

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, MAX_ENDS);
	__type(key, __u32);
	__type(value, __u64);
} relay_targets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, MAX_ENDS);
	__type(key, __u32);
	__type(value, __u64);
} relay_sources SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ENDS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u32);
} relay_ends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_ENDS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct relay_flow);
} relay_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
} relay_notice SEC(".maps");

static __always_inline void break_off(struct relay_flow *flow, struct relay_flow *back)
{
	__u32 zero = 0;
	__u64 *notice = bpf_map_lookup_elem(&relay_notice, &zero);

	flow->broken = 1;
	back->broken = 1;
	if (notice)
		__sync_fetch_and_add(notice, 1);
}

/* What the target's peer has acknowledged of all that was redirected. */
static __always_inline __u64 taken(struct relay_flow *flow, const struct tcp_sock *target)
{
	__u64 acknowledged = target->bytes_acked;

	if (!flow->begun) {
		/* Nothing was redirected before: all that the target has not sent is the proxy's own. */
		flow->base = acknowledged + (__u32)(target->write_seq - target->snd_una);
		flow->begun = 1;
	}
	return acknowledged > flow->base ? acknowledged - flow->base : 0;
}

/* Whether another packet of so many bytes may wait. */
static __always_inline int has_room(struct relay_flow *flow, __u64 taken_bytes, __u32 length)
{
	__u64 waiting = flow->bytes > taken_bytes ? flow->bytes - taken_bytes : 0;

	/* When the mark was taken all packets before it were, too. */
	if (taken_bytes >= flow->mark) {
		flow->older = flow->younger;
		flow->younger = 0;
		flow->mark = flow->bytes;
	}
	if (!waiting)
		flow->older = 0;
	return waiting + length + (__u64)(flow->older + flow->younger + 1) * PACKET_COST <= flow->limit;
}

SEC("sk_skb/stream_verdict")
int l7_relay(struct __sk_buff *skb)
{
	__u64 cookie = bpf_get_socket_cookie(skb);
	struct relay_flow *flow, *back;
	const struct tcp_sock *target;
	__u32 *end, other;
	struct bpf_sock *sk;
	__u64 taken_bytes;

	/* An end of stream: the worker is told of it by other ways and passes it on when all before has gone. */
	if (!skb->len)
		return SK_DROP;
	end = bpf_map_lookup_elem(&relay_ends, &cookie);
	if (!end)
		return SK_DROP;
	other = *end ^ 1;
	flow = bpf_map_lookup_elem(&relay_flows, end);
	back = bpf_map_lookup_elem(&relay_flows, &other);
	if (!flow || !back || flow->broken)
		return SK_DROP;
	sk = bpf_map_lookup_elem(&relay_targets, &other);
	if (!sk)
		return SK_DROP;
	target = bpf_skc_to_tcp_sock(sk);
	if (!target) {
		bpf_sk_release(sk);
		return SK_DROP;
	}
	taken_bytes = taken(flow, target);
	bpf_sk_release(sk);
	if (!has_room(flow, taken_bytes, skb->len)) {
		break_off(flow, back);
		return SK_DROP;
	}
	flow->younger += 1;
	flow->bytes += skb->len;
	flow->last = bpf_ktime_get_ns();
	return bpf_sk_redirect_map(skb, &relay_targets, other, 0);
}

char _license[] SEC("license") = "GPL";
