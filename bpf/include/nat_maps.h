/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The pinned maps of NAT. */
#ifndef L4D_NAT_MAPS_H
#define L4D_NAT_MAPS_H

#include "maps.h"
#include "nat_layout.h"

/* Clang writes a type into BTF only when a variable has it; the daemon reads these there. */
const volatile enum nat_state nat_state_type = 0;
const volatile enum nat_ticks nat_ticks_type = 0;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct nat_settings);
	__uint(max_entries, 1);
} nat_settings SEC(".maps");

/*
 * No LRU: a connection in use is never given up for another one. Memory is taken when an entry is made, so that hosts
 * without NAT have none of it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct flow4_key);
	__type(value, struct nat4_out);
	__uint(max_entries, MAX_NAT_FLOWS);
} nat4_out SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct nat4_tuple);
	__type(value, struct nat4_in);
	__uint(max_entries, MAX_NAT_FLOWS);
} nat4_in SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct flow6_key);
	__type(value, struct nat6_out);
	__uint(max_entries, MAX_NAT_FLOWS);
} nat6_out SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct nat6_tuple);
	__type(value, struct nat6_in);
	__uint(max_entries, MAX_NAT_FLOWS);
} nat6_in SEC(".maps");

#endif
