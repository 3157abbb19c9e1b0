import type { VrrpInput } from '@l4d/announcer/core/vrrp/config.ts';
import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import { isDrained } from './desired/backend.ts';
import type { Vip } from './desired/vip.ts';
import type { DeclaredVrrpGroup } from './desired/vrrp.ts';
import type { DesiredState } from './desired-state.ts';

/** What is known of a VIP when its group's priority is chosen. */
export interface JudgedVip {
  readonly vip: Vip;
  /** Whether this host can serve it, and the operator wants it to. */
  readonly isServed: boolean;
  /** In the order of the VIP's backends. */
  readonly healthy: readonly boolean[];
}

/** Where the host takes part, and how its programs learn of virtual MAC addresses. */
export interface VrrpPlace {
  readonly interface: string;
  readonly ownedMacsPin: string;
}

/**
 * What the announcer is told of virtual routers; undefined when none are declared. A host takes part in a group's
 * election while it can serve any VIP of it. A group without VIPs is left out.
 */
export function vrrpInput(
  state: DesiredState,
  judged: readonly JudgedVip[],
  place: VrrpPlace,
): VrrpInput | undefined {
  const declared = state.host.vrrp?.groups;
  if (declared === undefined) return undefined;
  const groups = declared.flatMap((group) => {
    const members = judged.filter(({ vip }) => vip.vrrpGroup === group.id && vip.enabled);
    if (members.length === 0) return [];
    return [
      {
        id: group.id,
        interface: place.interface,
        vrid: group.vrid,
        addresses: [...new Set(members.map(({ vip }) => formatIpAddress(vip.address)))].sort(),
        priority: effectivePriority(group, members),
        enabled: members.some(({ isServed }) => isServed),
        preempt: group.preempt,
        preemptDelayMs: group.preemptDelay,
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

function missingShare({ vip, isServed, healthy }: JudgedVip): number {
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
