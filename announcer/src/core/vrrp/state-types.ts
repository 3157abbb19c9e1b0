import type { IpAddress } from '@l4d/kit/ip-address.ts';

/** States of RFC 9568 section 6.3; keepalived calls them FAULT or INIT, BACKUP, MASTER. */
export type VrrpPhase = 'Initialize' | 'Backup' | 'Active';

/** What a virtual router is told by its configuration. */
export interface VrrpSettings {
  /** 1 to 254; 255 for the owner of the addresses. */
  readonly priority: number;
  /** 10 to 40950, in whole centiseconds. */
  readonly intervalMs: number;
  /** Preempt_Mode: takes over from an Active Router of lower priority. */
  readonly preempt: boolean;
  /** How long an Active Router of lower priority is suffered first. */
  readonly preemptDelayMs: number;
  /** From the first advertisement as Active to the first word to clients: others that claim the same are heard. */
  readonly claimDelayMs: number;
  /** Rounds of gratuitous ARP or unsolicited neighbour advertisements after a take-over. */
  readonly announceRounds: number;
  /** Between two of these rounds. */
  readonly announceIntervalMs: number;
  /** One more round so often while Active; 0 for none. */
  readonly announceRefreshMs: number;
  /** Primary IPv4 address, or link-local IPv6 address, of the interface: decides between equal priorities. */
  readonly source: IpAddress;
}

/** Timers of a virtual router. */
export type VrrpTimer = 'active-down' | 'advertisement' | 'claim' | 'announce';

/** Why the state changed, for status and log. */
export type VrrpReason =
  | 'started'
  | 'stopped'
  | 'silence of the Active Router'
  | 'the Active Router left'
  | 'better than the Active Router'
  | 'a better router is Active'
  | 'this process stood still'
  | 'owns the addresses';

/** What happens to a virtual router. `now` is monotonic milliseconds. */
export type VrrpEvent = { readonly now: number } & (
  | { readonly kind: 'startup' }
  /** Leaves on purpose, or the interface is gone. */
  | { readonly kind: 'shutdown' }
  | { readonly kind: 'configure'; readonly settings: VrrpSettings }
  | {
      readonly kind: 'advertisement';
      readonly source: IpAddress;
      readonly priority: number;
      readonly intervalMs: number;
    }
  | { readonly kind: 'timer'; readonly timer: VrrpTimer }
  /** It stands for other addresses, or under another MAC address, than clients were told of. */
  | { readonly kind: 'readdressed' }
);

/** What the shell is to do. */
export type VrrpEffect =
  | { readonly kind: 'send'; readonly priority: number }
  | { readonly kind: 'set-timer'; readonly timer: VrrpTimer; readonly delayMs: number }
  | { readonly kind: 'clear-timer'; readonly timer: VrrpTimer }
  /** From now on this host answers for the addresses. */
  | { readonly kind: 'own' }
  /** From now on it does not. */
  | { readonly kind: 'release' }
  /** A round of gratuitous ARP or unsolicited neighbour advertisements. */
  | { readonly kind: 'announce' }
  | {
      readonly kind: 'changed';
      readonly from: VrrpPhase;
      readonly to: VrrpPhase;
      readonly reason: VrrpReason;
    };

/** All that is known of a virtual router. */
export interface VrrpState {
  readonly phase: VrrpPhase;
  /** Active, and the claim has stood: this host answers for the addresses. */
  readonly owning: boolean;
  readonly settings: VrrpSettings;
  /** Active_Adver_Interval: that of the Active Router, in milliseconds. */
  readonly activeIntervalMs: number;
  /** The last Active Router that was heard, with 0 when it has left; undefined before, and while this is it. */
  readonly heard: { readonly source: IpAddress; readonly priority: number } | undefined;
  /** When we last sent an advertisement. */
  readonly lastSentAt: number;
  /** Since when an Active Router of lower priority is suffered. */
  readonly preemptSince: number | undefined;
  /** The delay before preemption is over and Active_Down_Timer runs for it. */
  readonly isPreempting: boolean;
  /** Rounds of announcements still to go. */
  readonly roundsLeft: number;
  /** When the last of them began. */
  readonly lastAnnouncedAt: number;
}
