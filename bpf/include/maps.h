/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The pinned maps of the data plane. */
#ifndef L4D_MAPS_H
#define L4D_MAPS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "l4d.h"

/* Clang writes a type into BTF only when a variable has it; the daemon reads these enums there. */
const volatile enum vip_flag vip_flag_type = 0;
const volatile enum backend_flag backend_flag_type = 0;
const volatile enum reason reason_type = 0;
const volatile enum feature feature_type = 0;
const volatile enum proxy_mark proxy_mark_type = 0;
const volatile enum proxy_way proxy_way_type = 0;
const volatile enum proxy_probe proxy_probe_type = 0;
const volatile enum source_class source_class_type = 0;
const volatile enum path_error path_error_type = 0;

/*
 * Bits of enum feature, written by the daemon. A data section of its own is a map of one element, pinned as `features`,
 * that a program reads by one load, without a lookup.
 */
volatile __u32 features SEC(".data.features") = 0;

static __always_inline int has_feature(enum feature feature)
{
	return features & feature;
}

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct vip4_key);
	__type(value, struct vip);
	__uint(max_entries, MAX_VIPS);
} vips4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct vip6_key);
	__type(value, struct vip);
	__uint(max_entries, MAX_VIPS);
} vips6 SEC(".maps");

/*
 * Rises with every change of vips4 and vips6, and never falls: what a CPU remembers of a VIP holds for one value of
 * it. The daemon writes it through mmap.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} vip_epoch SEC(".maps");

/* The tables of all VIPs, side by side; the daemon writes it through mmap. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct slot_pair);
	__uint(max_entries, MAX_MAGLEV_SLOTS / SLOTS_PER_PAIR);
} maglev_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct backend);
	__uint(max_entries, MAX_BACKENDS);
} backends SEC(".maps");

/* Shared between CPUs: a sender that migrates makes one connection arrive on another CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct flow4_key);
	__type(value, struct flow);
	__uint(max_entries, MAX_FLOWS);
} flows4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct flow6_key);
	__type(value, struct flow);
	__uint(max_entries, MAX_FLOWS);
} flows6 SEC(".maps");

/*
 * Where the host keeps a table for each CPU: flows that this CPU has seen, before the shared table that has all.
 * The daemon puts the tables in; without one there is only the shared. Sizes, not types: Linux 6.1 takes only tables
 * that have types too when these have, and the daemon's have none.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, MAX_CPUS);
	__type(key, __u32);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_LRU_HASH);
		__uint(key_size, sizeof(struct flow4_key));
		__uint(value_size, sizeof(struct flow));
		__uint(max_entries, 1);
	});
} flows4_by_cpu SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, MAX_CPUS);
	__type(key, __u32);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_LRU_HASH);
		__uint(key_size, sizeof(struct flow6_key));
		__uint(value_size, sizeof(struct flow));
		__uint(max_entries, 1);
	});
} flows6_by_cpu SEC(".maps");

/* First packets of flows whose scheduler does not answer the same twice; floods of them evict one another alone. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct flow4_key);
	__type(value, struct flow);
	__uint(max_entries, MAX_EMBRYONIC_FLOWS);
} embryonic4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct flow6_key);
	__type(value, struct flow);
	__uint(max_entries, MAX_EMBRYONIC_FLOWS);
} embryonic6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct flow_settings);
	__uint(max_entries, 1);
} flow_settings SEC(".maps");

/* Whose turn it is, by VIP number: each CPU goes round by itself. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, MAX_VIPS);
} vip_turns SEC(".maps");

/* The daemon writes it through mmap, one member at a time. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct backend_load);
	__uint(max_entries, MAX_BACKENDS);
} backend_loads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct quic_server_key);
	__type(value, __u32);
	__uint(max_entries, MAX_BACKENDS);
} quic_servers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct traffic_counter);
	__uint(max_entries, MAX_VIPS);
} vip_counters SEC(".maps");

/* Classes of clients, of VIPs with VIP_CLASSED alone. Without elements it takes no room. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct source_key);
	__type(value, __u32);
	__uint(max_entries, MAX_SOURCES);
} vip_sources SEC(".maps");

/* What VIPs with VIP_CLASSED give to the proxy (index 2 * id) and drop by class (2 * id + 1); vip_counters has the rest. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct traffic_counter);
	__uint(max_entries, 2 * MAX_VIPS);
} class_counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct traffic_counter);
	__uint(max_entries, MAX_BACKENDS);
} backend_counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, REASON_COUNT);
} reasons SEC(".maps");

/*
 * Which virtual router MAC addresses (RFC 9568 section 7.3) this host takes frames for, by identifier: IPv4 from 0,
 * IPv6 from VIRTUAL_MAC_IPV6. Written by the process that takes part in the elections.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 2 * VIRTUAL_MAC_IPV6);
} virtual_macs SEC(".maps");

/*
 * Written by the same process: the addresses, and until when this host may speak for a virtual router, in nanoseconds
 * of the monotonic clock. It says so with each advertisement, so a host that stood still says nothing when it wakes up.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct neighbour_key);
	__type(value, struct neighbour);
	__uint(max_entries, 2 * MAX_VIPS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} neighbours SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 2 * VIRTUAL_MAC_IPV6);
} neighbour_owners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__type(key, struct fragment_key);
	__type(value, struct fragment);
	__uint(max_entries, MAX_FRAGMENTED_PACKETS);
} fragments SEC(".maps");

/* Read for fragments alone. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct fragment_hosts);
	__uint(max_entries, 1);
} fragment_hosts SEC(".maps");

/* Read for VIPs of the proxy alone, when FEATURE_PROXY_HOSTS is set. The daemon writes it through mmap, a host at once. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct proxy_slot);
	__uint(max_entries, PROXY_SLOTS);
} proxy_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct proxy_mark_key);
	__type(value, __u32);
	__uint(max_entries, 4 * MAX_PROXY_HOSTS);
} proxy_marks SEC(".maps");

/* Read for backends that are tunnelled, or reached by another interface than the packet's, alone. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct egress);
	__uint(max_entries, MAX_EGRESS);
} egress SEC(".maps");

/* The interfaces of `egress`, for redirection. The kernel takes out those that go. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, MAX_EGRESS);
} egress_devices SEC(".maps");

/* Ends of VXLAN by the index of their backend. Without elements it takes no room. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct vxlan_end);
	__uint(max_entries, MAX_BACKENDS);
} vxlan_ends SEC(".maps");

/* Ends of tunnels by their address: the outer destinations that this host has. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct tunnel_end_key);
	__type(value, struct tunnel_end);
	__uint(max_entries, MAX_BACKENDS);
} tunnel_ends SEC(".maps");

/*
 * When the MTU of a way was learned last, never 0 then: while it is 0 or long ago, no packet is looked up in tunnel_ends. A
 * section as `features`, pinned as `path_mtu_tick`, and written by the programs.
 */
volatile __u32 path_mtu_tick SEC(".data.path_mtu") = 0;

#endif
