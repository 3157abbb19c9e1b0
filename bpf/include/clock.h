/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* A coarse clock, as precise as the kernel's tick. */
#ifndef L4D_CLOCK_H
#define L4D_CLOCK_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "l4d.h"

/* Nanoseconds of a jiffy on this machine; 0 where the loader does not know. */
const volatile __u32 jiffy_nanoseconds = 0;

/* The verifier inlines the jiffies' read and drops the other branch; the helper's call costs 15 ns. */
static __always_inline __u64 coarse_nanoseconds(void)
{
	if (jiffy_nanoseconds)
		return bpf_jiffies64() * jiffy_nanoseconds;
	return bpf_ktime_get_coarse_ns();
}

static __always_inline __u32 current_tick(void)
{
	return coarse_nanoseconds() >> FLOW_TICK_SHIFT;
}

#endif
