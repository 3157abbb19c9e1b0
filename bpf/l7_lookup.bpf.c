/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Steers connections to policy VIPs to the proxy of this host (sk_lookup).
 *
 * Runs when the stack looks for a listening TCP socket (or an unconnected UDP one); established
 * connections never come here. Each worker of the proxy listens once per family on loopback and so
 * takes any number of VIPs and ports without binding one of them; it reads the VIP from the accepted
 * socket's own address and the true client from its peer address.
 *
 * Which worker: by a hash of the client's address and ports, one of STEERING_BUCKETS; what is in the
 * bucket is the worker's. The hash has a key of this host's own, so that no client can choose ports
 * that all lead to one worker. A bucket can be empty: a worker died while nobody was there to give its buckets
 * to others. Then further ones are looked at.
 *
 * Maps are pinned by name under the fabric's bpffs folder:
 *   l7_listeners     written by l4d: which {address, port, protocol} belong to the proxy; the entry with
 *                    port and protocol 0 stands for an address that has any such listener
 *   l7_sockets       written by the proxy's supervisor: listening sockets of its workers, two for each
 *                    bucket, first that of IPv4, then that of IPv6; see l7/src/core/steering.ts
 *   l7_steering_key  written by l4d when it is made: the key of the hash, which stays as long as the map
 *                    does, so that the answer to a SYN cookie finds its listener over restarts too
 *   l7_lookup_stats  read by whoever counts, one slot a reason
 *   l7_udp_sockets   as l7_sockets: where a UDP client without a session goes
 *   l7_udp_flows     written by workers: the sessions of UDP clients, and which worker has them
 *   l7_udp_workers   written by workers: a socket of each family for each number of that map
 *
 * A UDP session stays with its worker whatever happens to buckets: while workers come and go, and while one that
 * is replaced finishes. When a worker dies its sockets go, and its clients' next datagrams find another by bucket.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/stddef.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "l4d.h"
#include "siphash.h"
#include "udp_sessions.h"

/* From <sys/socket.h>, which does not compile for the bpf target. */
#define AF_INET 2
#define AF_INET6 10

/* Above the 10,000 VIPs a host is built for; without preallocation unused room costs no memory. */
#define MAX_LISTENERS 65536

/*
 * A power of two. With 64 workers, the most there can be, each has eight; with 48 the shares differ by a
 * tenth.
 */
#define STEERING_BUCKETS 512
#define SOCKETS_PER_BUCKET 2

/* Buckets looked at: enough to find a living worker unless nearly all died at once. */
#define STEERING_TRIES 32

/* The most workers there can be, with as many that drain, and again as many. */
#define MAX_UDP_WORKERS 256

enum lookup_reason {
	LOOKUP_NOT_OURS = 0,    /* no such listener: the kernel's own lookup goes on */
	LOOKUP_ASSIGNED,        /* given to the proxy */
	LOOKUP_NO_PROXY,        /* ours, but no worker of the proxy lives: refused */
	LOOKUP_ASSIGN_REFUSED,  /* ours, but the kernel would not take the socket: refused */
	LOOKUP_OTHER_PORT,      /* a VIP's address, but no listener of ours: refused */
	LOOKUP_REASONS,
};

/* Keeps the enum's names among the object's types, where user space reads them. */
const volatile enum lookup_reason lookup_reason_type = 0;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_LISTENERS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct vip_key);
	__type(value, __u32);
} l7_listeners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, STEERING_BUCKETS * SOCKETS_PER_BUCKET);
	__type(key, __u32);
	__type(value, __u64);
} l7_sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct siphash_key);
} l7_steering_key SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, STEERING_BUCKETS * SOCKETS_PER_BUCKET);
	__type(key, __u32);
	__type(value, __u64);
} l7_udp_sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, MAX_UDP_WORKERS * SOCKETS_PER_BUCKET);
	__type(key, __u32);
	__type(value, __u64);
} l7_udp_workers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LOOKUP_REASONS);
	__type(key, __u32);
	__type(value, __u64);
} l7_lookup_stats SEC(".maps");

static __always_inline void count_lookup(__u32 reason)
{
	__u64 *counter = bpf_map_lookup_elem(&l7_lookup_stats, &reason);

	if (counter)
		*counter += 1;
}

/* Fills the key of the connection's local end; false for a family that has no VIPs. */
static __always_inline int local_vip(const struct bpf_sk_lookup *ctx, struct vip_key *key)
{
	/*
	 * Each field is read once, whatever the family (the other family's reads as 0): with the
	 * reads in branches clang merges them into one through a computed pointer, which the
	 * verifier refuses for a context. Volatile keeps them where they stand.
	 */
	const volatile struct bpf_sk_lookup *fields = ctx;
	__u32 ipv4 = fields->local_ip4;
	__u32 word[4] = { fields->local_ip6[0], fields->local_ip6[1],
			  fields->local_ip6[2], fields->local_ip6[3] };
	__u32 family = fields->family;

	if (family == AF_INET) {
		word[2] = bpf_htonl(0x0000ffff);
		word[3] = ipv4;
	} else if (family != AF_INET6) {
		return 0;
	}
	__builtin_memcpy(key->address, word, sizeof(key->address));
	/* local_port is the one port of this context that comes in host order. */
	key->port = bpf_htons((__u16)ctx->local_port);
	key->protocol = (__u8)ctx->protocol;
	key->pad = 0;
	return 1;
}

/* Whether the address of the key has listeners of ours, on whatever port. */
static __always_inline int is_vip_address(const struct vip_key *key)
{
	struct vip_key address = *key;

	address.port = 0;
	address.protocol = 0;
	return bpf_map_lookup_elem(&l7_listeners, &address) != NULL;
}

/* The same for every packet of a connection, so that the answer to a SYN cookie finds its listener too. */
static __always_inline __u32 steering_bucket(const struct bpf_sk_lookup *ctx)
{
	/* Read once each, as in local_vip. Of IPv4 the words of IPv6 read as 0, and the other way round. */
	const volatile struct bpf_sk_lookup *fields = ctx;
	__u32 zero = 0, word[4] = { fields->remote_ip6[0], fields->remote_ip6[1],
				    fields->remote_ip6[2], fields->remote_ip6[3] };
	const struct siphash_key *key = bpf_map_lookup_elem(&l7_steering_key, &zero);

	/* Never: an array's element is always there. */
	if (!key)
		return 0;
	word[0] ^= fields->remote_ip4;
	return siphash_3(key, (__u64)word[0] << 32 | word[1], (__u64)word[2] << 32 | word[3],
			 (__u64)(__u32)fields->remote_port << 32 | fields->local_port) %
	       STEERING_BUCKETS;
}

/* The place in its bucket of a socket that takes what comes by the context's family. */
static __always_inline __u32 family_slot(const struct bpf_sk_lookup *ctx)
{
	return ctx->family == AF_INET ? 0 : 1;
}

/*
 * The socket of a worker that lives, in whose bucket of the map the client falls; the caller must release it. NULL: after
 * all tries no bucket had one.
 */
static __always_inline struct bpf_sock *steered_socket(struct bpf_sk_lookup *ctx, void *sockets)
{
	/* Not within the loop: each reading would be two more ways for the verifier to follow, in all tries to come. */
	__u32 slot = family_slot(ctx);
	__u32 bucket = steering_bucket(ctx);
	struct bpf_sock *sk;
	__u32 key;
	int i;

	for (i = 0; i < STEERING_TRIES; i++) {
		/* Ever longer steps: whatever pattern a worker's buckets have, they leave it. */
		bucket = (bucket + i) % STEERING_BUCKETS;
		key = bucket * SOCKETS_PER_BUCKET + slot;
		sk = bpf_map_lookup_elem(sockets, &key);
		if (sk)
			return sk;
	}
	return NULL;
}

/* A worker's socket for the connection, which the caller must release; NULL: no worker lives. */
static __always_inline struct bpf_sock *worker_socket(struct bpf_sk_lookup *ctx)
{
	struct bpf_sock *sk = steered_socket(ctx, &l7_sockets);
	__u32 key = family_slot(ctx);

	if (sk)
		return sk;
	/* A proxy of one process, as those before this program were, fills the first bucket alone. */
	return bpf_map_lookup_elem(&l7_sockets, &key);
}

/* The socket of the worker that has the client's session, which the caller must release; NULL: there is none. */
static __always_inline struct bpf_sock *session_socket(struct bpf_sk_lookup *ctx, const struct vip_key *vip)
{
	/* Read once each, as in local_vip. */
	const volatile struct bpf_sk_lookup *fields = ctx;
	__u32 ipv4 = fields->remote_ip4;
	__u32 word[4] = { fields->remote_ip6[0], fields->remote_ip6[1],
			  fields->remote_ip6[2], fields->remote_ip6[3] };
	__u32 family = fields->family;
	struct udp_flow_key flow = {};
	__u32 *worker;
	__u32 key;

	if (family == AF_INET) {
		word[2] = bpf_htonl(0x0000ffff);
		word[3] = ipv4;
	}
	__builtin_memcpy(flow.client, word, sizeof(flow.client));
	__builtin_memcpy(flow.vip, vip->address, sizeof(flow.vip));
	flow.client_port = (__be16)fields->remote_port;
	flow.vip_port = vip->port;
	worker = bpf_map_lookup_elem(&l7_udp_flows, &flow);
	if (!worker)
		return NULL;
	key = *worker * SOCKETS_PER_BUCKET + family_slot(ctx);
	return bpf_map_lookup_elem(&l7_udp_workers, &key);
}

SEC("sk_lookup")
int l7_lookup(struct bpf_sk_lookup *ctx)
{
	struct vip_key key = {};
	struct bpf_sock *sk;
	long refused;

	if (!local_vip(ctx, &key)) {
		count_lookup(LOOKUP_NOT_OURS);
		return SK_PASS;
	}
	if (!bpf_map_lookup_elem(&l7_listeners, &key)) {
		if (!is_vip_address(&key)) {
			count_lookup(LOOKUP_NOT_OURS);
			return SK_PASS;
		}
		/*
		 * The VIP's address is local to this host, so all that listens on every address (sshd, a
		 * metrics server, a resolver) would answer the VIP's clients too. They get what a closed
		 * port gives: RST, or for UDP port unreachable.
		 */
		count_lookup(LOOKUP_OTHER_PORT);
		return SK_DROP;
	}

	if (ctx->protocol == IPPROTO_UDP) {
		sk = session_socket(ctx, &key);
		if (!sk)
			sk = steered_socket(ctx, &l7_udp_sockets);
	} else {
		sk = worker_socket(ctx);
	}
	if (!sk) {
		/*
		 * No worker is there. SK_PASS would let the lookup go on and hand the client to
		 * whatever else listens on this port (a wildcard sshd, a metrics server): it would
		 * pass the access list by and speak to the wrong service. SK_DROP ends the lookup
		 * with "no socket", for which TCP answers RST and UDP port unreachable: the client sees a
		 * refusal at once.
		 */
		count_lookup(LOOKUP_NO_PROXY);
		return SK_DROP;
	}

	refused = bpf_sk_assign(ctx, sk, BPF_SK_LOOKUP_F_NO_REUSEPORT);
	bpf_sk_release(sk);
	if (refused) {
		count_lookup(LOOKUP_ASSIGN_REFUSED);
		return SK_DROP;
	}
	count_lookup(LOOKUP_ASSIGNED);
	return SK_PASS;
}

char _license[] SEC("license") = "GPL";
