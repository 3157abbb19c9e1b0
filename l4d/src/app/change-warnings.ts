import type { OtherPath } from '@l4d/announcer/core/api-status.ts';
import type { IpPrefix } from '@l4d/kit/ip-prefix.ts';
import { drainWarnings } from '../core/change-guard.ts';
import type { Vip } from '../core/desired/vip.ts';
import { diffWarnings } from '../core/desired-diff.ts';
import type { DesiredState } from '../core/desired-state.ts';
import { natPlanWarnings } from '../core/nat-warnings.ts';
import { subnetWarnings } from '../core/outside-subnet.ts';

/** What is known of where this host stands. */
export interface Surroundings {
  readonly subnets: () => readonly IpPrefix[];
  readonly otherPaths: () => Promise<readonly OtherPath[]>;
}

/** What the operator should weigh of going from one state to another, with what holds of any VIP of the new one. */
export function planWarnings(
  before: DesiredState,
  after: DesiredState,
  surroundings: Surroundings,
): Promise<string[]> {
  return warnings(before, after, after.vips, surroundings);
}

/** As planWarnings, without what is said of VIPs that stay the same objects. */
export function changeWarnings(
  before: DesiredState,
  after: DesiredState,
  surroundings: Surroundings,
): Promise<string[]> {
  const known = new Set(before.vips);
  const touched = after.vips.filter((vip) => !known.has(vip));
  return warnings(before, after, touched, surroundings);
}

async function warnings(
  before: DesiredState,
  after: DesiredState,
  looked: readonly Vip[],
  { subnets, otherPaths }: Surroundings,
): Promise<string[]> {
  const beginsToDrain = after.host.draining && !before.host.draining;
  return [
    ...diffWarnings(before, after),
    ...subnetWarnings(looked, subnets()),
    ...natPlanWarnings(before.vips, after.vips),
    // The routers' view is asked for, so only when it is needed.
    ...(beginsToDrain ? drainWarnings(before, after, await otherPaths()) : []),
  ];
}
