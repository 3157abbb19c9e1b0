/**
 * What the API answers about the running fabric, as plain JSON: addresses are text, times are
 * milliseconds since the epoch (`…AtMs`) or spans in milliseconds (`…Ms`).
 */

import type { PeerStatus } from '@l4d/announcer/core/api-status.ts';
import type { ErrorCount } from '@l4d/announcer/core/error-counts.ts';
import type { MessageCounters } from '@l4d/announcer/core/message-counts.ts';
import type { VirtualRouterStatus } from '@l4d/announcer/core/vrrp/status.ts';
import type { FlowTableCensus } from './forwarding/flow-census.ts';
import type { ForwardMode, VipPolicy } from './forwarding/forwarding-plan.ts';
import type { PathError } from './forwarding/tunnel-end.ts';
import type { VipTlsStatus } from './tls-view.ts';

/** Sums since the forwarding of the thing began. */
export interface CountersView {
  readonly packets: number;
  readonly bytes: number;
  /** New flows. */
  readonly flows: number;
}

/** What is known of a backend. `drained` is the operator's will; `unknown` is before the first verdict. */
export type BackendState = 'up' | 'down' | 'drained' | 'unknown';

/** One backend of a VIP. */
export interface BackendStatus {
  readonly address: string;
  /** Where it listens: l7, and nat where it is another port than the VIP's. */
  readonly port?: number;
  /** l7 only. */
  readonly pool?: string;
  /** How packets get to it; not for l7. */
  readonly forward?: ForwardMode;
  readonly weight: number;
  readonly state: BackendState;
  /** Tenths of its weight that it has now, while it starts slowly. */
  readonly slowStartTenths?: number;
  /** Of a VIP with least-connections: flows that are counted for it now. */
  readonly activeFlows?: number;
  /** Of a VIP with QUIC: the server id in its connection ids, hexadecimal. */
  readonly serverId?: string;
  /** Why it is in this state, such as `3 checks failed: connection refused`. */
  readonly reason: string;
  /** When it came into this state. */
  readonly sinceMs?: number;
  /** Link-layer address packets are sent to, once it is known: its own, or that of the next hop of a tunnel. */
  readonly mac?: string;
  /** The interface by which it is reached, when that is not host.interface. */
  readonly interface?: string;
  /** With `forward: vxlan`: where it is, and its MAC address there. */
  readonly vxlan?: { readonly vni: number; readonly remote: string; readonly mac: string };
  /** What routers have reported of the way to it, through a tunnel. */
  readonly path?: PathStatus;
  readonly counters?: CountersView;
  /** Why TLS between the proxy and it failed last. */
  readonly tlsProblem?: string;
}

/** Why a VIP is announced or is not. `code` is stable; `reason` is for people. */
export interface VerdictView {
  readonly code: VerdictCode;
  readonly reason: string;
}

/** `announced`, or the first condition that is not met. */
export type VerdictCode =
  | 'announced'
  | 'standby'
  | 'disabled'
  | 'host-draining'
  | 'stopping'
  | 'not-programmed'
  | 'settling'
  | 'too-few-healthy'
  | 'no-bgp'
  | 'announcer-down'
  | 'proxy-down'
  | 'detached'
  | 'withdrawn';

/** How a VIP leaves that this host is to announce no more, by intent. */
export interface EndingView {
  readonly cause: 'removed' | 'disabled' | 'host-draining' | 'stopping' | 'detached';
  readonly step: 'graceful-shutdown' | 'withdrawing' | 'withdrawn' | 'over';
  readonly sinceMs: number;
  /** For people. */
  readonly text: string;
  /** While withdrawn: packets that still came. */
  readonly packetsLastSecond?: number;
  /** While withdrawn: the bound of the wait. */
  readonly forwardsUntilMs?: number;
  /** When over: a counter that rested, the bound, or an announcer that never took the withdraw. */
  readonly endedBy?: 'quiet' | 'bound' | 'no-announcer';
}

/** A VIP that is not declared any more and is still forwarded. */
export interface LeavingVip {
  /** ADDRESS-PORT-PROTOCOL. */
  readonly key: string;
  /** Undefined when only the kernel knows of it. */
  readonly name?: string;
  readonly ending: EndingView;
}

/** One VIP. */
export interface VipStatus {
  readonly name: string;
  readonly address: string;
  readonly port: number | 'any';
  readonly protocol: 'tcp' | 'udp';
  readonly policy: VipPolicy;
  readonly enabled: boolean;
  /** Whether this host announces it, be it with GRACEFUL_SHUTDOWN, and routers have been told of its address. */
  readonly announced: boolean;
  /** Whether routers have been told of its address, for this VIP or another one of that address. */
  readonly addressAdvertised: boolean;
  readonly verdict: VerdictView;
  /** Set while the operator wants it not to be announced. */
  readonly ending?: EndingView;
  readonly tableSize: number;
  /** How new flows find their backend, such as `wrr` or `maglev, stateless`; not for l7. */
  readonly scheduler?: string;
  readonly backends: readonly BackendStatus[];
  readonly counters: CountersView;
  /** Of a VIP with classes: what XDP gave to the proxy (l7), and dropped. `flows` counts TCP SYNs. */
  readonly classCounters?: { readonly l7: CountersView; readonly drop: CountersView };
  /** Of an l7 VIP with `tls`, while the proxy answers. */
  readonly tls?: VipTlsStatus;
  /** Of an l7 VIP with `source`: times that a backend was passed over because it cannot be spoken to from a client's address. */
  readonly sourceRefused?: Readonly<Record<string, number>>;
}

/** One BGP neighbour, as the announcer tells it. */
export interface BgpPeerView {
  readonly address: string;
  /** Of an unnumbered peer: who is there now, such as fe80::1%eth0. */
  readonly neighbour?: string;
  readonly as: PeerStatus['as'];
  readonly state: 'Idle' | 'Connect' | 'Active' | 'OpenSent' | 'OpenConfirm' | 'Established';
  /** How long it has been in this state. */
  readonly sinceMs: number;
  readonly remoteRouterId?: string;
  readonly holdTimeMs?: number;
  readonly messagesReceived: number;
  readonly messagesSent: number;
  readonly messages?: MessageCounters;
  readonly errors?: readonly ErrorCount[];
  /** Names of what both sides have agreed on, while Established. */
  readonly negotiated?: readonly string[];
  /** The connection, while Established. */
  readonly session?: PeerStatus['session'];
  readonly latency?: NonNullable<PeerStatus['latency']>;
  readonly prefixesReceived: number;
  readonly prefixesAdvertised: number;
  /** Times that the session left Established. */
  readonly flaps: number;
  readonly lastError?: {
    readonly atMs: number;
    readonly direction: string;
    readonly code: number;
    readonly subcode: number;
    readonly text: string;
  };
  /** There where BFD is declared. */
  readonly bfd?: BfdView;
}

/** BFD with a peer, as the announcer tells it. */
export interface BfdView {
  readonly state: string;
  readonly diagnostic: string;
  readonly remoteState: string;
  readonly localDiscriminator: number;
  readonly remoteDiscriminator: number;
  readonly txIntervalMs: number;
  readonly rxIntervalMs: number;
  readonly detectionTimeMs: number;
  readonly transitions: number;
  /** Times that it was lost. */
  readonly flaps?: number;
  readonly packetsSent: number;
  readonly packetsReceived: number;
  readonly dropped: Readonly<Record<string, number>>;
  /** Epoch milliseconds; there while Up. */
  readonly upSince?: number;
  readonly problem?: string;
}

/** The announcer's own status, passed on. */
export interface BgpView {
  readonly pid: number;
  /** Epoch milliseconds or ISO 8601 text. */
  readonly startedAt: number | string;
  readonly revision: number;
  readonly owner?: string | null;
  readonly lastHeardMs?: number | null;
  readonly local?: { readonly as: number; readonly routerId: string } | null;
  /** Connections of addresses that are no peer. */
  readonly connectionsRefused?: number;
  /** The process that has the BFD sessions; `precedence` none: it works at the common priority. */
  readonly bfdProcess?: { readonly pid: number; readonly precedence?: string };
  readonly peers: readonly BgpPeerView[];
  readonly prefixes: readonly {
    readonly prefix: string;
    readonly advertisedTo: readonly string[];
    /** Peers with a session that cannot be told, and why. */
    readonly notAdvertisedTo?: readonly { readonly peer: string; readonly reason: string }[];
  }[];
}

/** `GET /v1/bgp`: the announcer's answer, or why there is none. */
export interface BgpStatus {
  /** `off`: no host.bgp declared; `down`: the announcer does not answer. */
  readonly state: 'running' | 'down' | 'off';
  readonly reason?: string;
  readonly announcer?: BgpView;
}

/** `GET /v1/vrrp`: the virtual routers as their process tells them, or why there are none. */
export interface VrrpView {
  /** `off`: no host.vrrp declared; `down`: the announcer or its VRRP process does not answer. */
  readonly state: 'running' | 'down' | 'off';
  readonly reason?: string;
  readonly routers: readonly VirtualRouterStatus[];
  /** Advertisements that belong to no virtual router of this host, by reason. */
  readonly dropped: Readonly<Record<string, number>>;
}

/** The flow table. */
export interface FlowTableStatus {
  readonly kind: 'shared' | 'per-cpu';
  /** Entries that each address family has room for. */
  readonly capacity: number;
  /** Flows a second that may be stored; 0: as fast as they come. */
  readonly insertsPerSecond: number;
  /** Of both families, as the last pass found them; absent before the first pass is over. */
  readonly entries?: number;
  readonly census?: FlowTableCensus;
}

/** Connections of NAT from one of this host's addresses, as of the last look at the table. */
export interface NatSourceStatus {
  readonly address: string;
  /** Ports that it has towards each backend. */
  readonly ports: number;
  readonly connections: number;
  /** The backend towards which most ports are in use: address, port and protocol. */
  readonly busiest?: { readonly target: string; readonly used: number };
}

/** NAT on this host. */
export interface NatStatus {
  /** Why nothing can be sent; the VIPs that need it are not served then. */
  readonly problem?: string;
  /** FIRST-LAST; empty when there are none. */
  readonly ports: string;
  /** Most connections of each address family. */
  readonly capacity: number;
  readonly phases: {
    readonly opening: number;
    readonly established: number;
    readonly closing: number;
  };
  readonly sources: readonly NatSourceStatus[];
  /** Packets that found no port or no room for a new connection. */
  readonly refused: number;
  /** RSTs sent to ends of connections that were idle for too long, since the daemon began. */
  readonly idleResets: number;
}

/** What routers have reported by ICMP of the way to an end of tunnels. */
export interface PathStatus {
  /** The outer destination. */
  readonly destination: string;
  /** Largest outer packet in bytes, as learned within the last ten minutes. */
  readonly mtu?: number;
  /** Errors by their kind since a backend is reached there. */
  readonly errors: Readonly<Record<PathError, number>>;
  readonly last: {
    readonly type: number;
    readonly code: number;
    readonly reporter: string;
    readonly agoMs: number;
  };
}

/** The packet path as it is in the kernel. */
export interface DataplaneStatus {
  /** Name and tag of the attached program; absent when none is attached. */
  readonly program?: string;
  readonly mode: 'native' | 'generic' | 'none';
  /** Packets dropped or passed, by named reason. */
  readonly dropReasons: Readonly<Record<string, number>>;
  /**
   * What became of new connections to local addresses, by name: `assigned` to a worker of the proxy, refused because none
   * lives (`no_proxy`) or the port is none of the VIP's (`other_port`), `not_ours`. Undefined of a daemon before it counted.
   */
  readonly lookups?: Readonly<Record<string, number>>;
  /**
   * Packets of backends to their clients' own addresses, of VIPs with `source`: `delivered` to the proxy, ICMP errors alike
   * (`error_delivered`), for no socket of it (`no_socket`: they go their way). Undefined while no VIP has it.
   */
  readonly sourceReturns?: Readonly<Record<string, number>>;
  readonly flowTable: FlowTableStatus;
}

/** The whole of `GET /v1/status`. */
export interface FabricStatus {
  readonly version: string;
  readonly pid: number;
  readonly startedAtMs: number;
  /** Revision of the desired state. */
  readonly revision: number;
  readonly host: {
    readonly interface: string;
    /** Further interfaces that the program is attached to. */
    readonly interfaces?: ReadonlyArray<{ readonly name: string; readonly xdpMode: 'native' | 'generic' }>;
    /** The mode in use, whatever was asked for. */
    readonly xdpMode: 'native' | 'generic' | 'none';
    readonly draining: boolean;
    /** Things that the operator should know, such as `generic mode: the driver has no XDP`. */
    readonly warnings?: readonly string[];
  };
  readonly vips: readonly VipStatus[];
  /** VIPs that were removed and are still forwarded. */
  readonly leaving?: readonly LeavingVip[];
  /** There where host.proxy.hosts is declared. */
  readonly proxyHosts?: readonly ProxyHostView[];
  readonly bgp: BgpStatus;
  /** There where host.vrrp is declared. */
  readonly vrrp?: VrrpView;
  readonly dataplane: DataplaneStatus;
  /** There while a VIP has backends with `forward: nat`, or connections of such are left. */
  readonly nat?: NatStatus;
  /** The ways to ends of tunnels of which routers have reported something. */
  readonly paths?: readonly PathStatus[];
  /** Set when the operator has taken VIPs or everything out of the packet path. */
  readonly detached?: { readonly all: boolean; readonly vips: readonly string[] };
  /** Set when desired state and kernel differ: the last failure of the reconciler. */
  readonly lastError?: { readonly atMs: number; readonly message: string };
}

/** A host that shares connections of l7 VIPs, as seen from this one. */
export interface ProxyHostView {
  readonly address: string;
  readonly state: 'active' | 'joining' | 'draining';
  readonly isSelf: boolean;
  /** It answers: ARP or neighbour discovery, in another subnet its XDP program. */
  readonly isLive: boolean;
  /** Share of new connections, 0 to 1. */
  readonly share: number;
  /** Of a host in another subnet: bytes that packets through the tunnel to it may have, outer headers counted. */
  readonly tunnelMtu?: number;
}

/** One difference between two desired states. */
export interface ChangeView {
  readonly action: 'add' | 'remove' | 'change';
  /** What it is about: `vip web`, `backend 10.0.0.21 of web`, `peer 10.0.0.1`, `host`. */
  readonly subject: string;
  /** Field by field, such as `weight: 1 -> 3`; empty for additions and removals. */
  readonly fields: readonly string[];
}

/** `POST /v1/plan`: what would happen. */
export interface PlanView {
  readonly changes: readonly ChangeView[];
  /** What the reconciler would do, in order, for people. */
  readonly operations: readonly string[];
  /** What the operator should weigh, such as flows that a resize moves. */
  readonly warnings: readonly string[];
  /** Why this host refuses the change, such as an interface that is not there; absent when it does not. */
  readonly refused?: readonly string[];
  /** Why the guard refuses the change unless it is forced. */
  readonly guard: readonly string[];
}
