/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The sessions of UDP clients that this host's workers have: bpf/l7_lookup.bpf.c steers by it, the forwarding program asks
 * whether there is one. Both have the same map, by its pin.
 */
#ifndef L4D_UDP_SESSIONS_H
#define L4D_UDP_SESSIONS_H

#include "l4d.h"

/* Written by workers: whose a session is. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_UDP_FLOWS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct udp_flow_key);
	__type(value, __u32);
} l7_udp_flows SEC(".maps");

#endif
