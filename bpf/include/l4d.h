/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The layouts that the kernel programs and the daemon share, and nothing else. The daemon reads
 * them from the object's BTF, so this header is their only description; a field typed __be16 or
 * __be32 is in network order, every other one in host order.
 */
#ifndef L4D_H
#define L4D_H

#include <linux/types.h>

/* A listener: IPv4 addresses are IPv4-mapped (::ffff:a.b.c.d). Key of l7_listeners. */
struct vip_key {
	__u8 address[16];
	__be16 port;
	__u8 protocol;
	__u8 pad;
};

/*
 * Key of vips4. The entry with protocol ICMP and port 0 stands for the address as a whole; port 0 with another
 * protocol is a VIP that has every port that no other VIP has.
 */
struct vip4_key {
	__be32 address;
	__be16 port;
	__u8 protocol;
	__u8 pad;
};

/* Key of vips6, alike with ICMPv6. */
struct vip6_key {
	__u32 address[4];
	__be16 port;
	__u8 protocol;
	__u8 pad;
};

/* Where the IPv6 half of virtual_macs begins. */
#define VIRTUAL_MAC_IPV6 256

/* An address of the hosts' own segment that is found by ARP or neighbour discovery: IPv4 as ::ffff:a.b.c.d. */
struct neighbour_key {
	__u32 address[4];
};

/* Hosts that share an address, each with a virtual router of its own, at most. */
#define MAX_NEIGHBOUR_VRIDS 32
struct neighbour {
	__u8 interface_mac[6]; /* of the interface whose segment it is */
	__u8 is_virtual; /* answers tell the virtual router's MAC address, not the interface's */
	__u8 count;
	__u8 vrids[MAX_NEIGHBOUR_VRIDS]; /* virtual routers that have it; each client belongs to one of them */
};

enum vip_flag {
	/* The connection needs policy: pass it to the stack, where sk_lookup hands it to the proxy. */
	VIP_L7 = 1 << 0,
	/* TCP flows of a backend that is down are reset. */
	VIP_RESET = 1 << 1,
	/* TCP flows of a backend that is down go to another backend. */
	VIP_REPICK = 1 << 2,
	/* An address entry: answer echo requests. */
	VIP_ECHO = 1 << 3,
	/* No flow table: the hash alone answers, and nothing is stored. */
	VIP_STATELESS = 1 << 4,
	/* The hash is of the first source_bits bits of the client's address, whatever the ports. */
	VIP_SOURCE = 1 << 5,
	/* A new flow takes the table's next slot in turn. */
	VIP_ROUND_ROBIN = 1 << 6,
	/* A new flow goes to the less loaded backend of two slots by chance. */
	VIP_LEAST_CONNECTIONS = 1 << 7,
	/* Packets with a QUIC connection id that names a server go to it. */
	VIP_QUIC = 1 << 8,
	/* Some backend is reached by NAT: its table is asked before the flow table. */
	VIP_NAT = 1 << 9,
	/* Clients have classes by their addresses: source_list is asked, and the flags are for those that it does not name. */
	VIP_CLASSED = 1 << 10,
	/* Of VIP_CLASSED: whom the list does not name is dropped. */
	VIP_DROP = 1 << 11,
	/* Of VIP_CLASSED: some class is the proxy's, so connections may live on this host. Of an address: of one of its VIPs. */
	VIP_PROXIED = 1 << 12,
};

/* What becomes of a client's packets; value of vip_sources. */
enum source_class {
	CLASS_FORWARD, /* to a backend */
	CLASS_L7, /* to the proxy */
	CLASS_DROP,
	SOURCE_CLASS_COUNT,
};

/* Key of vip_sources: of a list the prefixes of client addresses; of several that fit the longest counts. */
struct source_key {
	__u32 prefix_length; /* bits of what follows: 32 of the list, and those of the address */
	__u32 list; /* source_list of a VIP */
	__u32 address[4]; /* IPv4 as ::ffff:a.b.c.d */
};

/* Bits of source_key behind its prefix length. */
#define SOURCE_KEY_BITS 160

/* What answers differently each time it is asked: the first answer of a flow has to be kept. */
#define VIP_SCHEDULED (VIP_ROUND_ROBIN | VIP_LEAST_CONNECTIONS)

/*
 * What the VIPs of this host use of that most do not: the word `features`. What is not set costs a packet one load
 * where it could have been used, and nothing elsewhere.
 */
enum feature {
	/* Some VIP has every port of its address and protocol: where no VIP has the port, port 0 is looked up. */
	FEATURE_ANY_PORT = 1 << 0,
	/* Some VIP is of this host's own subnet: ARP and neighbour discovery for it are answered by the program. */
	FEATURE_NEIGHBOURS = 1 << 1,
	/* Some backend is reached by NAT: what is no VIP's may be an answer to a client. */
	FEATURE_NAT = 1 << 2,
	/* Connections for the proxy are shared over the proxies of several hosts. */
	FEATURE_PROXY_HOSTS = 1 << 3,
	/* Some backend is reached through a tunnel: ICMP errors to this host may be about an outer packet. */
	FEATURE_TUNNELS = 1 << 4,
	/* Some of those hosts are in other subnets: UDP to this host may be what they hand over. */
	FEATURE_PROXY_FAR = 1 << 5,
};

/*
 * A VIP. Replaced in one step, so a packet sees the old table or the new one, whole:
 * slots [table_offset, table_offset + table_size) of maglev_slots; size 0 means no backend.
 * The kernel may give a replaced element to the next update while a program on another CPU still
 * reads it; what then belongs to another VIP is told by the backend's vip_id, and dropped.
 */
struct vip {
	__u32 id; /* index in vip_counters; never 0 */
	__u32 flags; /* enum vip_flag */
	__u32 table_offset;
	__u32 table_size;
	__u32 idle_ticks; /* a flow without a packet for so long is forgotten; see FLOW_TICK_SHIFT */
	__u8 source_bits; /* of VIP_SOURCE: 1 to 32 or 128 */
	__u8 quic_config; /* of VIP_QUIC: the config rotation bits of its connection ids, 0 to 6 */
	__u8 quic_id_length; /* of VIP_QUIC: bytes of a server id, 1 to 15 */
	__u8 pad;
	__u32 source_list; /* of VIP_CLASSED: which of the lists in vip_sources; another one with each change of it */
};

enum backend_flag {
	/* Checks failed: new flows stay away, existing TCP flows do as the VIP says. */
	BACKEND_DOWN = 1 << 0,
	/* No new flows, existing ones live on. */
	BACKEND_DRAINING = 1 << 1,
	/* Reached through a tunnel, IP in IP; its address is the outer destination, mac the next hop's. */
	BACKEND_IPIP = 1 << 2,
	/* Alike, IP in UDP. */
	BACKEND_GUE = 1 << 3,
	/* Alike, Ethernet in UDP, to the end that vxlan_ends has for it. */
	BACKEND_VXLAN = 1 << 4,
	/* By NAT: packets come from this host and go to its own address and port. None of these four: by its MAC address. */
	BACKEND_NAT = 1 << 5,
	/* These bits are the number of the interface by which it is reached: its index in `egress`. */
	BACKEND_EGRESS = 0x3f << 10,
};

#define BACKEND_EGRESS_SHIFT 10
#define BACKEND_UDP (BACKEND_GUE | BACKEND_VXLAN)
#define BACKEND_TUNNELLED (BACKEND_IPIP | BACKEND_UDP)

/* One backend of one VIP. A zero mac means that the neighbour is not resolved. */
struct backend {
	__u8 mac[6];
	__u16 flags; /* enum backend_flag */
	__u32 generation; /* rises when the index is freed, so that flows of before find nothing */
	__u32 vip_id; /* 0: the index is free */
	__u8 address[16]; /* as in vip_key; for adoption after a restart */
	__be16 port; /* with BACKEND_NAT; 0: that of the VIP */
	__u16 pad;
};

/* Where a backend with BACKEND_VXLAN is; by its index in vxlan_ends. Replaced in one step. */
struct vxlan_end {
	__u32 remote[4]; /* the outer destination; as address of a vip_key */
	__be32 vni; /* of its network, as the header has it: 8 bits further up */
	__u8 mac[6]; /* its own in that network */
	__u8 pad[2];
};

/* Where tunnels end; key of tunnel_ends: IPv4 as ::ffff:a.b.c.d. */
struct tunnel_end_key {
	__u32 address[4];
};

/* Kinds of ICMP errors about outer packets. */
enum path_error {
	PATH_TOO_BIG,
	PATH_UNREACHABLE,
	PATH_TIME_EXCEEDED,
	PATH_OTHER, /* parameter problems, and "too big" that cannot be meant */
	PATH_ERROR_COUNT,
};

/* What routers on the way there have said of it. The daemon makes the element, the programs write all but `egress`. */
struct tunnel_end {
	__u32 egress; /* number of the interface by which it is reached */
	__u32 mtu; /* learned of the way; 0: nothing */
	__u32 mtu_tick; /* when */
	__u32 last_tick; /* of the last error */
	__u8 last_type; /* its ICMP type and code */
	__u8 last_code;
	__u8 pad[2];
	__u32 errors[PATH_ERROR_COUNT];
	__u32 reporter[4]; /* who has sent it; as the key's address */
};

/* What was learned of a way holds for so many ticks: 10 minutes, as in Linux (mtu_expires). */
#define PATH_MTU_TICKS 560

/* An interface by which packets leave, and how they are wrapped there; mac and below: read where they are. */
struct egress {
	__u8 name[16]; /* empty: the number is free. For adoption after a restart */
	__u32 index; /* of the interface, as the kernel counts them */
	__u8 mac[6];
	__u8 pad[2];
	__u32 mtu; /* bytes of IP in a frame */
	__be32 source4; /* outer source; 0: there is none, and backends of that family cannot be reached */
	__u32 spread4; /* bits of it that follow from the flow, network order */
	__u32 source6[4]; /* alike; all zero: none */
	__u32 spread6; /* bits of its last word */
	__be16 gue_port;
	__u16 gue_header; /* 4: variant 0, with a header; 0: variant 1, the packet follows UDP at once */
	__be16 vxlan_port;
	__u16 tunnel_mtu; /* of the ways to the backends; not larger than mtu */
};

/* As many as the number in the flags of a backend can tell. */
#define MAX_EGRESS 64

/*
 * What least-connections compares; index as in backends. The programs count flows up and down, the
 * daemon, which alone sees what was lost by idleness or eviction, corrects the sum now and then.
 */
struct backend_load {
	__u32 flows; /* signed: it may lie below zero for a moment */
	__u32 weight;
};

/* How fast flows may be stored that the table does not hold; the one element of flow_settings. */
struct flow_settings {
	__u64 insert_interval; /* nanoseconds a flow, of all CPUs together; 0: as fast as they come */
	__u64 insert_burst; /* nanoseconds that may be saved up */
};

/* Server ids are at most so long (draft-ietf-quic-load-balancers section 3). */
#define MAX_QUIC_SERVER_ID 15

/* Key of quic_servers: which backend a connection id names. */
struct quic_server_key {
	__u32 vip_id;
	__u8 server_id[16]; /* zero behind the VIP's quic_id_length */
};

/* Flow age is kept in ticks of 2^30 ns (1.07 s): a shift instead of a division per packet. */
#define FLOW_TICK_SHIFT 30

/*
 * Two slots of Maglev tables: backend indices. The kernel rounds an array's elements up to 8 bytes,
 * so pairs lie without gaps in the memory that the daemon maps, and slot n is its n-th word.
 */
#define SLOTS_PER_PAIR 2
struct slot_pair {
	__u32 slot[SLOTS_PER_PAIR];
};

struct flow4_key {
	__be32 client;
	__u32 vip_id;
	__be16 client_port;
	__be16 vip_port;
};

struct flow6_key {
	__u32 client[4];
	__u32 vip_id;
	__be16 client_port;
	__be16 vip_port;
};

struct flow {
	__u32 backend; /* index in backends */
	__u32 generation; /* of that backend when the flow was made */
	__u32 last_tick; /* when its last packet came, within one tick */
	__u32 closed; /* its client has sent FIN or RST; kept where VIP_SCHEDULED alone */
};

/* Names the packet that fragments are of: IPv4 addresses in the first words. */
struct fragment_key {
	__u32 client[4];
	__u32 vip[4];
	__be32 id;
	__u8 protocol; /* IPv4 alone: identifications are of a protocol there */
	__u8 is_ipv6;
	__u8 pad[2];
};

/* What became of a packet's first fragment, and so becomes of the others. */
enum fragment_fate {
	FRAGMENT_FORWARD, /* went to a backend */
	FRAGMENT_PASS, /* is the stack's */
	FRAGMENT_NAT, /* went by NAT: the connection with these ports has the rest */
};

struct fragment {
	__u64 hash; /* of the flow */
	__u16 fate; /* enum fragment_fate */
	__u16 protocol; /* its transport's: of FRAGMENT_NAT, as all ports */
	__u32 backend;
	__u32 generation;
	__u32 vip_id;
	__u32 tick; /* when the first fragment came */
	__be16 sender_port;
	__be16 receiver_port;
};

/* A packet whose fragments take longer than so many ticks is given up, as by receivers (RFC 8200: 60 s; Linux: 30 s). */
#define FRAGMENT_TICKS 28

/* A host of the fabric, as seen from this one. */
struct fragment_host {
	__u8 mac[6];
	__u16 is_self;
};

/* Hosts that may get fragments of one packet each; the one element of fragment_hosts. None: each host keeps what it gets. */
#define MAX_FRAGMENT_HOSTS 32
struct fragment_hosts {
	__u32 count;
	__u32 pad;
	struct fragment_host host[MAX_FRAGMENT_HOSTS];
};

/* How a host of struct proxy_host is reached, and what it is asked. */
enum proxy_way {
	PROXY_IS_SELF = 1 << 0,
	/* In another subnet, by a tunnel: the last byte of its MAC address, which is made up, is its number in proxy_far. */
	PROXY_IS_FAR = 1 << 1,
	/* Of an alternate: it may have sessions of UDP from before, and is asked before the owner. */
	PROXY_ASKED_FIRST = 1 << 2,
};

/* A host whose proxy serves the same VIPs, as seen from this one. A zero mac: none. Written and read as one word. */
struct proxy_host {
	__u8 mac[6];
	__u16 way; /* enum proxy_way */
};

/*
 * The way to a host in another subnet. The last eight bytes but four are one word, so that a new next hop is never
 * taken with half of the old one.
 */
struct proxy_far {
	__u32 remote[4]; /* its address, as that of a vip_key: outer destination, and the only outer source that is taken for it */
	__u32 source[4]; /* this host's, alike the other way */
	__u8 mac[6]; /* of the next hop; all zero: not known */
	__u16 mtu; /* bytes of outer packets that the way carries */
	__be16 port; /* of UDP at both ends */
	__u8 pad[6];
};

/* What follows UDP in packets between hosts of different subnets: GUE's header with four bytes of private data. */
struct proxy_tunnel_header {
	__u8 length; /* version 0, and the words behind the first: PROXY_TUNNEL_LENGTH; PROXY_TUNNEL_CONTROL */
	__u8 type; /* what is within: protocol 4 or 41; of a control message enum proxy_probe */
	__be16 flags; /* none is known */
	__u8 mark; /* enum proxy_mark; of a control message 0 */
	__u8 pad[3];
};

#define PROXY_TUNNEL_LENGTH 1
#define PROXY_TUNNEL_CONTROL 0x20

/* Control messages, of the types that GUE leaves to users: whether a host's program runs, and what its way carries. */
enum proxy_probe {
	PROXY_PROBE = 0xe0,
	PROXY_PROBE_ANSWER = 0xe1,
};

/*
 * Of a part of all connections: the host that new ones go to, and the one that may have older ones. By the same hash as
 * slots of VIPs; index in proxy_slots.
 */
struct proxy_slot {
	struct proxy_host owner;
	struct proxy_host alternate;
};

/* Uneven by about a tenth with 32 hosts. */
#define PROXY_SLOTS 4096

/* Key of proxy_marks: source MAC addresses of packets that another host has handed over, and this host's own. */
struct proxy_mark_key {
	__u8 mac[6];
	__u16 pad;
};

/* Values of proxy_marks. */
enum proxy_mark {
	PROXY_HANDED = 1, /* may be handed over once more */
	PROXY_HANDED_LAST = 2, /* stays where it is, or is dropped */
	PROXY_SELF = 3, /* this host's own: the interface by which the others are reached */
};

/* The bit of a source MAC address that tells of the last hand-over: "locally administered", turned. */
#define PROXY_LAST_BIT 0x02

/* First four bytes of the MAC addresses that are made up for hosts in other subnets; two bytes of their number follow. */
#define PROXY_FAR_MAC 0x026c3464

/* Hosts that share connections for the proxy, at most. */
#define MAX_PROXY_HOSTS 32

/* Sessions of UDP clients that can be told apart from new ones; further ones are hashed anew while workers or hosts change. */
#define MAX_UDP_FLOWS 262144

/* A UDP client and what it speaks to; IPv4 addresses are IPv4-mapped, all in network order. See l7/src/io/datagrams/flow-table.ts. */
struct udp_flow_key {
	__u32 client[4];
	__u32 vip[4];
	__be16 client_port;
	__be16 vip_port;
};

/* Per CPU. */
struct traffic_counter {
	__u64 packets;
	__u64 bytes; /* frames without their Ethernet header's checksum */
	__u64 flows; /* flows begun: TCP SYNs, first packets of UDP flows */
};

/*
 * Why a packet went the way it went; index in `reasons` (per CPU, packets). The prefix tells the
 * action, and the daemon takes the names from here.
 */
enum reason {
	PASS_NOT_IP, /* ARP, LLDP, unknown ethertypes */
	PASS_OTHER_HOST, /* destination MAC is not this interface's */
	PASS_NOT_VIP, /* neither a VIP's address and port nor an ICMP message about one */
	PASS_L7, /* the VIP's policy sends it to the proxy */
	PASS_NO_STAGE, /* a part of the program is not loaded: to be seen never */
	PASS_TUNNEL_ERROR, /* ICMP error about an outer packet of a tunnel: noted, and the client need not or cannot be told */
	PASS_VIP_ICMP, /* ICMP to a VIP that is no echo request and quotes no flow of a VIP */
	DROP_MALFORMED, /* a VIP's packet whose headers end early or contradict each other */
	DROP_FRAGMENT, /* a fragment of a VIP's packet without ports, whose first one has not come, or has no connection of NAT */
	DROP_NO_BACKEND, /* no backend is up */
	DROP_UNRESOLVED, /* the backend's MAC address is not known */
	DROP_NO_TUNNEL_SOURCE, /* this host has no outer source address of the backend's family */
	DROP_TOO_BIG, /* too big for the way, and the sender cannot or need not be told once more */
	DROP_NO_EGRESS, /* the interface by which the backend is reached is gone */
	DROP_TTL_EXPIRED, /* its TTL or hop limit does not allow one more hop */
	DROP_RESET_OF_DEAD, /* a RST from the client on a flow whose backend is down */
	DROP_NO_NAT_SOURCE, /* this host has no source address or port for NAT to a backend of that family */
	DROP_NAT_FULL, /* all source ports that were tried, or the whole table of NAT, are in use */
	DROP_NAT_STRAY, /* a RST from the client on a connection that NAT does not know */
	DROP_PROXY_STRAY, /* handed over for the last time, and neither this host nor its view of the others knows the connection */
	DROP_PROXY_TUNNEL, /* from a host of another subnet, and neither a packet for an l7 VIP nor sound */
	DROP_SOURCE, /* the VIP drops clients of that address */
	DROP_NEIGHBOUR, /* who has a VIP: asked of all, and another host answers this client */
	TX_NEIGHBOUR, /* who has a VIP: this host */
	TX_FORWARD, /* to a backend */
	TX_FRAGMENT_HOST, /* a fragment to the host of the fabric that places all of its packet */
	TX_FRAGMENT_ROUND, /* a fragment whose first one has not come, once round by another host */
	TX_PROXY_HOST, /* for the proxy of another host */
	TX_PROXY_SECOND, /* alike, for the last time: the host that may have older connections */
	TX_PROXY_PROBE, /* to a host of another subnet that asked whether this one runs */
	TX_ECHO, /* echo reply to the client */
	TX_RESET, /* RST to the client: its backend is down and the VIP says reset */
	TX_TUNNEL, /* to a backend, through its tunnel */
	TX_TOO_BIG, /* ICMP error to the client: its packet is too big for the way */
	TX_TUNNEL_ERROR, /* ICMP error to the client: what it sent was too big on the way behind this host */
	TX_ICMP_ERROR, /* ICMP error to the backend of the flow that it quotes */
	TX_ICMP_ERROR_TUNNEL, /* alike, through its tunnel */
	TX_NAT, /* to a backend, by NAT */
	TX_NAT_RETURN, /* to a client, a packet that a backend has sent to this host */
	TX_NAT_ERROR, /* to a backend, an ICMP error about what a client was sent */
	TX_NAT_RETURN_ERROR, /* to a client, an ICMP error about what a backend was sent */
	TX_NAT_RESET, /* RST to the client: in the middle of a connection that NAT does not know */
	NOTE_OTHER_INTERFACE, /* it left by another interface than it came in by (beside its own reason, as all NOTE_) */
	NOTE_FLOW_NEW, /* a flow came into the table */
	NOTE_FLOW_REPICKED, /* a stored flow's backend was gone or down and another one was chosen */
	NOTE_FLOW_EXPIRED, /* a stored flow was idle for too long and chosen afresh */
	NOTE_NAT_NEW, /* a connection got a source port */
	NOTE_NAT_REUSED, /* that of a connection that was over, or idle for too long */
	NOTE_FLOW_NOT_STORED, /* the flow table refused the flow; Maglev alone answers */
	NOTE_FLOW_LIMITED, /* flows come faster than they may be stored; the hash answers, or the embryonic table */
	NOTE_FLOW_EMBRYONIC, /* a flow's first packet was kept in the embryonic table */
	NOTE_PROXY_UNKNOWN, /* no proxy that could have it has the connection: the stack answers with RST */
	NOTE_PROXY_WRAPPED, /* it was handed over within a tunnel, to a host of another subnet */
	NOTE_PROXY_UNWRAPPED, /* it came in such a one */
	NOTE_QUIC_BY_TUPLE, /* a QUIC packet without a connection id that names a server: as any UDP packet */
	REASON_COUNT,
};

/* Mark of a health check that must reach one backend: CHECK_MARK | index in backends. */
#define CHECK_MARK 0x4c000000u
#define CHECK_MARK_MASK 0xff000000u

/* Mark of what a backend answers to a client's own address and a socket of the proxy waits for. */
#define RETURN_MARK 0x4d000000u
#define RETURN_MARK_MASK 0xff000000u

/* Defaults of the maps; the daemon sets the sizes from its configuration before loading. */
#define MAX_VIPS 20480
#define MAX_BACKENDS 131072
#define MAX_MAGLEV_SLOTS 4194304
#define MAX_FLOWS 262144
#define MAX_EMBRYONIC_FLOWS 16384
/* The daemon sets it to the machine's. */
#define MAX_CPUS 8
/* Prefixes of all VIPs together, with room for a list that takes the place of another. */
#define MAX_SOURCES 65536
/* Packets in fragments under way at once; 100 bytes each. */
#define MAX_FRAGMENTED_PACKETS 16384

#endif
