/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Tells the daemon the tick that the programs read: it returns it in place of an action, and is attached nowhere. */
#include "clock.h"

SEC("xdp")
int l4d_tick(struct xdp_md *context)
{
	return current_tick();
}

char _license[] SEC("license") = "GPL";
