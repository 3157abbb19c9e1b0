/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Tells the daemon, which runs it by BPF_PROG_TEST_RUN, what time it is to the programs that date flows. */
#include "clock.h"

SEC("xdp")
int flow_tick(struct xdp_md *context)
{
	return current_tick();
}

char _license[] SEC("license") = "GPL";
