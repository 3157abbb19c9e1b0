import type { VrrpPhase, VrrpReason } from './state-types.ts';

/** One virtual router of one family in `GET /v1/status`. */
export interface VirtualRouterStatus {
  readonly group: string;
  readonly interface: string;
  readonly vrid: number;
  readonly family: 'ipv4' | 'ipv6';
  readonly state: VrrpPhase;
  /** Whether this host answers for the addresses. */
  readonly owning: boolean;
  readonly priority: number;
  /** MAC address that clients are told. */
  readonly mac?: string;
  /** The Active Router as far as it is known. */
  readonly activeRouter?: string;
  readonly activePriority?: number;
  /** Why it came into this state. */
  readonly reason?: VrrpReason;
  /** Unix milliseconds. */
  readonly since: number;
  /** How many addresses it stands for. */
  readonly addresses: number;
  readonly intervalMs: number;
  /** Active_Down_Interval: silence for so long means that the Active Router is gone. */
  readonly activeDownMs: number;
  readonly transitions: number;
  readonly packetsSent: number;
  readonly packetsReceived: number;
  /** ARP replies and solicited neighbour advertisements. */
  readonly answersSent: number;
  /** Gratuitous ARP and unsolicited neighbour advertisements. */
  readonly announcementsSent: number;
  /** Advertisements that named other addresses than ours: the hosts' configurations differ. */
  readonly addressMismatches: number;
  /** How the last of them differed, while its sender is heard and says so. */
  readonly addressConflict?: string;
  /** Advertisements dropped, by reason. */
  readonly dropped: Readonly<Record<string, number>>;
  /** Advertisements not sent, by error. */
  readonly sendErrors: Readonly<Record<string, number>>;
  /** Largest lateness of a timer in the last minute or two. */
  readonly timerLatenessMs: number;
  /** Why it takes no part. */
  readonly problem?: string;
}

/** The part `vrrp` of `GET /v1/status`. */
export interface VrrpStatus {
  readonly routers: readonly VirtualRouterStatus[];
  /** Advertisements that belong to no virtual router of this host, by reason. */
  readonly dropped: Readonly<Record<string, number>>;
  /** Why what was asked for cannot be done, such as the map of owned MAC addresses. */
  readonly problem?: string;
}
