/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The part of l4d.h that describes NAT. A connection has two entries: one by what the client sends (nat4_out,
 * nat6_out), one by what the backend sends (nat4_in, nat6_in). Each holds the key of the other.
 */
#ifndef L4D_NAT_LAYOUT_H
#define L4D_NAT_LAYOUT_H

/* How NAT is done; the one element of nat_settings. Written in one step, read for new connections. */
struct nat_settings {
	__be32 source4; /* first source address */
	__u32 sources4; /* how many, from it on; 0: none, and no IPv4 backend can be reached */
	__u32 source6[4];
	__u32 sources6;
	__u16 first_port; /* of the source ports */
	__u16 ports; /* how many */
};

/* What goes between the host and a backend; key of nat4_in. */
struct nat4_tuple {
	__be32 source; /* of the host */
	__be32 backend;
	__be16 source_port;
	__be16 backend_port;
	__u8 protocol;
	__u8 pad[3];
};

/* Key of nat6_in. */
struct nat6_tuple {
	__u32 source[4];
	__u32 backend[4];
	__be16 source_port;
	__be16 backend_port;
	__u8 protocol;
	__u8 pad[3];
};

enum nat_state {
	/* The backend has sent something. */
	NAT_ANSWERED = 1 << 0,
	/* Both have: of TCP, the client something after its SYN. */
	NAT_ESTABLISHED = 1 << 1,
	NAT_CLIENT_FIN = 1 << 2,
	NAT_BACKEND_FIN = 1 << 3,
	/* One side sent a RST, and neither anything else since. */
	NAT_RESET = 1 << 4,
};

/* The way back to the client: that of its last packet. */
struct nat_way {
	__u8 mac[6]; /* who sent it on */
	__u16 network_offset; /* 14, or 4 more for each VLAN tag */
	__u32 tags[2]; /* as in the frame, unused ones 0 */
	__u16 egress; /* of the interface that it came in by: its number, where the flags of a backend have it */
	__u16 pad;
};

/* What all entries begin with. Both of a connection hold the same, but for `acknowledged`, and `last_tick`, which may be one apart. */
struct nat_flow {
	__u32 state; /* enum nat_state */
	__u32 last_tick;
	__u32 idle_ticks; /* of the VIP */
	__u32 backend; /* index in backends */
	__u32 generation; /* of that backend */
	__be32 acknowledged; /* by the sender of what this entry is found by: TCP's next sequence number towards it; 0: nothing */
	struct nat_way way;
};

struct nat4_out {
	struct nat_flow flow;
	struct nat4_tuple tuple;
};

struct nat6_out {
	struct nat_flow flow;
	struct nat6_tuple tuple;
};

struct nat4_in {
	struct nat_flow flow;
	__be32 vip;
	struct flow4_key client;
};

struct nat6_in {
	struct nat_flow flow;
	__u32 vip[4];
	struct flow6_key client;
};

/*
 * After so many ticks without a packet a connection is forgotten, at the latest (a tick is 1.07 s): before both sides
 * have spoken, after one FIN, after both, after a RST. Otherwise, after the VIP's idle time. 60 s is what Linux keeps
 * TIME_WAIT for: before, a backend may still have the ports in use.
 */
enum nat_ticks {
	NAT_RESET_TICKS = 10,
	NAT_OPENING_TICKS = 28, /* 30 s */
	NAT_CLOSED_TICKS = 56, /* 60 s */
	NAT_CLOSING_TICKS = 112, /* 120 s */
};

/*
 * The frame by which the daemon asks nat_end.bpf.c to end a connection that has expired, and by which it is answered: offsets
 * of what is in it.
 */
enum nat_end_frame {
	NAT_END_IS_IPV6 = 14, /* a byte behind the Ethernet header */
	NAT_END_KEY = 16, /* of nat4_in or nat6_in */
	NAT_END_IN = 64, /* in the answer: the entries as they were */
	NAT_END_OUT = 160,
	NAT_END_LENGTH = 256,
};

/* What the program returns in place of an action. */
enum nat_end_result {
	NAT_END_LIVES, /* or another one has it: nothing was done */
	NAT_END_HALF, /* it is gone; it had no entry of what the client sends */
	NAT_END_WHOLE, /* both entries are gone */
};

/* Default of host.capacity.natFlows, for each family. */
#define MAX_NAT_FLOWS 131072

#endif
