/** Numbers of <linux/netlink.h>, rtnetlink.h, if_link.h, if_addr.h, neighbour.h and fib_rules.h. */

/** Message types of the netlink layer and of rtnetlink(7). */
export const messageType = {
  NOOP: 1,
  ERROR: 2,
  DONE: 3,
  OVERRUN: 4,
  NEWLINK: 16,
  DELLINK: 17,
  GETLINK: 18,
  NEWADDR: 20,
  DELADDR: 21,
  GETADDR: 22,
  NEWROUTE: 24,
  DELROUTE: 25,
  GETROUTE: 26,
  NEWNEIGH: 28,
  DELNEIGH: 29,
  GETNEIGH: 30,
  NEWRULE: 32,
  DELRULE: 33,
  GETRULE: 34,
} as const;

/** NLM_F_*: flags of a message header. The same bit means other things in GET, NEW and acknowledging messages. */
export const messageFlag = {
  REQUEST: 0x01,
  MULTI: 0x02,
  ACK: 0x04,
  /** A dump met a change half-way: what it says may be no state that ever was. */
  DUMP_INTERRUPTED: 0x10,
  /** GET: the whole table (NLM_F_ROOT | NLM_F_MATCH). */
  DUMP: 0x300,
  /** NEW: replace what is there. */
  REPLACE: 0x100,
  /** NEW: fail when it is there. */
  EXCLUSIVE: 0x200,
  /** NEW: create when it is not there. */
  CREATE: 0x400,
  /** Answer: attributes follow the error (NLM_F_ACK_TLVS). */
  ACK_ATTRIBUTES: 0x200,
  /** Answer: the request's payload is left out (NLM_F_CAPPED). */
  CAPPED: 0x100,
} as const;

/** RTNLGRP_*: multicast groups of events. */
export const eventGroup = {
  LINK: 1,
  NEIGHBOUR: 3,
  IPV4_ADDRESS: 5,
  IPV4_ROUTE: 7,
  IPV4_RULE: 8,
  IPV6_ADDRESS: 9,
  IPV6_ROUTE: 11,
  IPV6_RULE: 19,
} as const;

/** NUD_*: states of a neighbour (a bit each). */
export const neighbourState = {
  NONE: 0x00,
  INCOMPLETE: 0x01,
  REACHABLE: 0x02,
  STALE: 0x04,
  DELAY: 0x08,
  PROBE: 0x10,
  FAILED: 0x20,
  NOARP: 0x40,
  PERMANENT: 0x80,
} as const;

/** NTF_*: flags of a neighbour. */
export const neighbourFlag = { USE: 0x01, SELF: 0x02, MASTER: 0x04, PROXY: 0x08, ROUTER: 0x80 } as const;

/** RTN_*: what a route does; the ones named here are all that this code makes or tells apart. */
export const routeType = {
  unicast: 1,
  local: 2,
  broadcast: 3,
  anycast: 4,
  multicast: 5,
  blackhole: 6,
  unreachable: 7,
} as const;

/** RT_TABLE_*: the tables that every machine has. */
export const routeTable = { DEFAULT: 253, MAIN: 254, LOCAL: 255 } as const;

/** RT_SCOPE_*. */
export const routeScope = { UNIVERSE: 0, LINK: 253, HOST: 254 } as const;

/** RTPROT_*: who made a route. */
export const routeProtocol = { KERNEL: 2, BOOT: 3, STATIC: 4 } as const;

/** RTNH_F_ONLINK: the gateway is on the link, whatever the routes say. */
export const ROUTE_ONLINK = 4;

/** FR_ACT_TO_TBL: look up in a table. */
export const RULE_TO_TABLE = 1;

/** Header lengths in bytes. */
export const headerLength = {
  MESSAGE: 16,
  ATTRIBUTE: 4,
  LINK: 16,
  ADDRESS: 8,
  NEIGHBOUR: 12,
  ROUTE: 12,
  RULE: 12,
} as const;

/** AF_INET and AF_INET6, here again so that the codec needs no C library. */
export const addressFamily = { INET: 2, INET6: 10 } as const;
