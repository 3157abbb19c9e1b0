/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* By which interface a packet leaves: the one that it came in by, or another one. */
#ifndef L4D_EGRESS_H
#define L4D_EGRESS_H

#include "count.h"
#include "rewrite.h"

/*
 * The number of the interface that this copy of the program is attached to, where the flags of a backend have it.
 * What is reached by it, and without a tunnel, is told by one comparison of the flags.
 */
const volatile __u16 own_egress = 0;

static __always_inline __u32 egress_number(__u16 flags)
{
	return (flags & BACKEND_EGRESS) >> BACKEND_EGRESS_SHIFT;
}

static __always_inline int is_elsewhere(__u16 flags)
{
	return (flags & BACKEND_EGRESS) != own_egress;
}

/* NULL when the number is free. */
static __always_inline const struct egress *find_egress(__u16 flags)
{
	__u32 number = egress_number(flags);
	const struct egress *found = bpf_map_lookup_elem(&egress, &number);

	return found && found->index ? found : NULL;
}

/*
 * Sends the packet out of the interface of these flags; 0 when that is gone. Tags of a VLAN are those of the
 * interface that the packet came in by: the caller has taken them off when it leaves by another one.
 */
static __always_inline int leave(__u16 flags)
{
	if (!is_elsewhere(flags))
		return XDP_TX;
	if (bpf_redirect_map(&egress_devices, egress_number(flags), XDP_DROP) != XDP_REDIRECT)
		return 0;
	note(NOTE_OTHER_INTERFACE);
	return XDP_REDIRECT;
}

/* Writes the frame's header to its new beginning: the VLAN tags of before where it has room for them. */
static __always_inline void write_ethernet(void *data, __u32 network_offset, const __u8 *destination,
					   const __u8 *source, const __u32 *tags, __be16 protocol)
{
	copy_mac(data, destination);
	copy_mac(data + ETH_ALEN, source);
	if (network_offset == 14) {
		*(__be16 *)(data + 12) = protocol;
		return;
	}
	*(__u32 *)(data + 12) = tags[0];
	if (network_offset == 18) {
		*(__be16 *)(data + 16) = protocol;
		return;
	}
	*(__u32 *)(data + 16) = tags[1];
	*(__be16 *)(data + 20) = protocol;
}

#endif
