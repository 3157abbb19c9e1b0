/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Counting: every packet has one reason, every forwarded one its VIP and backend. */
#ifndef L4D_COUNT_H
#define L4D_COUNT_H

#include "maps.h"

static __always_inline void note(enum reason reason)
{
	__u32 key = reason;
	__u64 *count = bpf_map_lookup_elem(&reasons, &key);

	if (count)
		*count += 1;
}

/* Counts the reason and returns the action, so that no way out of the program stays uncounted. */
static __always_inline int finish(enum reason reason, int action)
{
	note(reason);
	return action;
}

static __always_inline void count_traffic(void *map, __u32 index, __u32 bytes, __u32 begun)
{
	struct traffic_counter *counter = bpf_map_lookup_elem(map, &index);

	if (!counter)
		return;
	counter->packets += 1;
	counter->bytes += bytes;
	counter->flows += begun;
}

#endif
