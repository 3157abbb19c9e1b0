import type { VrrpInput } from '@l4d/announcer/core/vrrp/config.ts';
import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import { isDrained } from './desired/backend.ts';
import type { Vip } from './desired/vip.ts';
import type { DeclaredVrrpGroup } from './desired/vrrp.ts';
import type { DesiredState } from './desired-state.ts';
import { type HeldPriority, heldPriority } from './priority-hold.ts';
import type { VerdictCode } from './status.ts';

/** What is known of a VIP when its group's priority is chosen. */
export interface JudgedVip {
  readonly vip: Vip;
  /** Whether this host can serve it, and the operator wants it to. */
  readonly isServed: boolean;
  /** Why not. */
  readonly code: VerdictCode;
  /** In the order of the VIP's backends. */
  readonly healthy: readonly boolean[];
}

/** Where the priority of a group stays when it falls: see `heldPriority`. */
export type PriorityHolds = Map<string, HeldPriority>;

/** Where the host takes part, and how its programs learn of virtual MAC addresses. */
export interface VrrpPlace {
  readonly interface: string;
  readonly ownedMacsPin: string;
}

/**
 * What the announcer is told of virtual routers; undefined when none are declared. A host takes part in a group's
 * election while it can serve any VIP of it. A group without VIPs is left out. `holds` is what is remembered from one
 * call to the next, `now` monotonic milliseconds.
 */
export function vrrpInput(
  state: DesiredState,
  judged: readonly JudgedVip[],
  place: VrrpPlace,
  holds: PriorityHolds = new Map(),
  now = 0,
): VrrpInput | undefined {
  const declared = state.host.vrrp?.groups;
  if (declared === undefined) return undefined;
  // Of a group that is gone, drained or declared otherwise nothing is remembered.
  const before = new Map(holds);
  holds.clear();
  const groups = declared.flatMap((group) => {
    const members = judged.filter(({ vip }) => vip.vrrpGroup === group.id && vip.enabled);
    if (members.length === 0) return [];
    return [
      {
        id: group.id,
        interface: place.interface,
        vrid: group.vrid,
        addresses: [...new Set(members.map(({ vip }) => formatIpAddress(vip.address)))].sort(),
        priority: toldPriority(group, members, before, holds, now),
        enabled: members.some(({ isServed }) => isServed),
        preempt: group.preempt,
        preemptDelayMs: group.preemptDelay ?? defaultPreemptDelay(group, members),
        advertiseIntervalMs: group.advertiseInterval,
        useVmac: group.useVmac ?? group.share !== undefined,
        checksum: group.checksum,
        garp: {
          repeat: group.garp.repeat,
          intervalMs: group.garp.interval,
          refreshMs: group.garp.refresh,
        },
        ...(group.share === undefined ? {} : { share: { ...group.share, vrids: [...group.share.vrids] } }),
      },
    ];
  });
  return { ownedMacsPin: place.ownedMacsPin, groups };
}

/**
 * How long an Active host of lower priority is suffered when nothing is said of it: hosts that look at the same backends
 * see one die or come back a check apart, and the group must not move for that. In milliseconds.
 */
export function defaultPreemptDelay(
  { healthWeight }: Pick<DeclaredVrrpGroup, 'healthWeight'>,
  members: readonly Pick<JudgedVip, 'vip'>[],
): number {
  if (healthWeight === 0) return 0;
  const slowest = members.reduce(
    (most, { vip: { check } }) =>
      check.type === 'none' ? most : Math.max(most, check.interval + check.timeout + marginMs),
    0,
  );
  return Math.min(3_600_000, slowest);
}

/** What two hosts may be apart beside their checks. */
const marginMs = 500;

function toldPriority(
  group: DeclaredVrrpGroup,
  members: readonly JudgedVip[],
  before: PriorityHolds,
  holds: PriorityHolds,
  now: number,
): number {
  // The last choice, but one: where it is detached everywhere, the group's other VIPs are still served.
  if (members.some(({ code }) => code === 'detached')) return 1;
  const wanted = effectivePriority(group, members);
  // What the operator has done is nothing to be careful with.
  if (!members.some(({ isServed, code }) => isServed || code === 'too-few-healthy')) return wanted;
  const key = `${group.id} ${group.priority} ${group.healthWeight}`;
  const held = heldPriority(before.get(key), wanted, now);
  holds.set(key, held);
  return held.told;
}

/**
 * The declared priority less a part of `healthWeight`: the mean over the VIPs of the share of weight whose backends are
 * not healthy, all of it for a VIP that this host cannot serve. At least 1: 0 would say that the host leaves.
 */
export function effectivePriority(
  { priority, healthWeight }: Pick<DeclaredVrrpGroup, 'priority' | 'healthWeight'>,
  members: readonly JudgedVip[],
): number {
  if (members.length === 0) return priority;
  const missing = members.reduce((sum, member) => sum + missingShare(member), 0) / members.length;
  return Math.max(1, priority - Math.round(healthWeight * missing));
}

function missingShare({ vip, isServed, code, healthy }: JudgedVip): number {
  // A VIP that is new is no reason to move the others.
  if (code === 'settling') return 0;
  if (!isServed) return 1;
  let whole = 0;
  let missing = 0;
  for (const [index, backend] of vip.backends.entries()) {
    if (isDrained(backend)) continue;
    whole += backend.weight;
    if (healthy[index] !== true) missing += backend.weight;
  }
  return whole === 0 ? 0 : missing / whole;
}
