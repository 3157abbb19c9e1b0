/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the decapsulating program and the command that attaches it share. */
#ifndef L4D_DECAP_H
#define L4D_DECAP_H

#include <linux/types.h>

/* Key of decap_sources: a range of addresses that balancers send from, IPv4 mapped into IPv6. */
struct decap_source {
	__u32 prefix_length;
	__u8 address[16];
};

/* Key of decap_addresses, in network order. */
struct decap_address {
	__u32 word[4];
};

/* Values of decap_addresses. */
enum decap_kind {
	DECAP_OWN = 1 << 0, /* outer destinations: addresses of this machine */
	DECAP_VIP = 1 << 1, /* destinations within */
};

/* Why a packet went the way it went; index in decap_reasons. */
enum decap_reason {
	PASS_NOT_TUNNELLED, /* neither IP in IP nor to the GUE port */
	PASS_OTHER_DESTINATION, /* tunnelled, to another address than this machine's */
	PASS_OTHER_SOURCE, /* tunnelled, from outside of the balancers' ranges */
	PASS_DECAPSULATED, /* taken out of its outer header */
	DROP_DECAP_MALFORMED, /* headers that end early, contradict each other or have a wrong checksum */
	DROP_DECAP_NOT_VIP, /* the packet within is not for a VIP of this machine */
	DROP_DECAP_CONGESTED, /* marked by a router as met with congestion, and its sender knows no marks (RFC 6040) */
	DECAP_REASON_COUNT,
};

#endif
