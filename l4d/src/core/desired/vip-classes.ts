import type { IpAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, type IpPrefix, prefixContains } from '@l4d/kit/ip-prefix.ts';
import { type PathProblem, type PathSegment, problemAt } from '@l4d/kit/schema/problem.ts';
import { choice, ipPrefixText, list } from '@l4d/kit/schema/scalars.ts';
import { z } from 'zod';
import { type VipPolicy, vipPolicies } from '../forwarding/forwarding-plan.ts';

/** Prefixes that one VIP may have a policy for. */
export const maxClasses = 1000;

/** Clients of a prefix and what becomes of their packets. */
export const classSchema = z.strictObject({
  prefix: ipPrefixText,
  policy: choice('a policy', vipPolicies),
});

/** Clients of a prefix and what becomes of their packets. */
export type VipSource = z.output<typeof classSchema>;

/** The list of them on a VIP. */
export const classesSchema = list(classSchema, 'prefixes with a policy').max(maxClasses, {
  error: `has too many prefixes (allowed: at most ${maxClasses})`,
});

/** What of a VIP says which policies there are. */
export interface ClassedVip {
  readonly policy: VipPolicy;
  readonly classes?: readonly { readonly policy: VipPolicy }[];
}

/** Whether some client of the VIP gets that policy. */
export function hasClass({ policy, classes = [] }: ClassedVip, wanted: VipPolicy): boolean {
  return policy === wanted || classes.some((source) => source.policy === wanted);
}

/** Whether some client's packets go to backends without the proxy. */
export function isForwarded(vip: ClassedVip): boolean {
  return hasClass(vip, 'forward');
}

/** Whether some client's connections go to the proxy. */
export function isProxied(vip: ClassedVip): boolean {
  return hasClass(vip, 'l7');
}

/** Whether both are so. */
export function isMixed(vip: ClassedVip): boolean {
  return isForwarded(vip) && isProxied(vip);
}

/** The policy for a client, and the prefix that says so: the longest that it is in; without one the VIP's own. */
export function classOf(
  { policy, classes = [] }: { readonly policy: VipPolicy; readonly classes?: readonly VipSource[] },
  client: IpAddress,
): { readonly policy: VipPolicy; readonly prefix?: IpPrefix } {
  let found: VipSource | undefined;
  for (const source of classes) {
    if (!prefixContains(source.prefix, client)) continue;
    if (found === undefined || source.prefix.length > found.prefix.length) found = source;
  }
  return found ?? { policy };
}

/** The rules over a VIP's list. */
export function checkClasses(
  vip: { readonly address: IpAddress; readonly policy: VipPolicy; readonly classes?: readonly VipSource[] },
  at: readonly PathSegment[],
): PathProblem[] {
  const { policy, classes } = vip;
  const where = [...at, 'classes'];
  const problems: PathProblem[] = [];
  if (policy === 'drop' && !isForwarded(vip) && !isProxied(vip)) {
    problems.push(
      problemAt(
        [...at, 'policy'],
        'is drop, and no prefix of classes has another one: nobody would be let in (allowed: with a source of policy forward or l7)',
        'such as classes: [{ prefix: 198.51.100.0/24, policy: forward }]; enabled: false withdraws the VIP',
      ),
    );
  }
  const first = new Map<string, number>();
  for (const [index, { prefix }] of (classes ?? []).entries()) {
    const text = formatIpPrefix(prefix);
    const other = first.get(text);
    if (other !== undefined)
      problems.push(
        problemAt([...where, index, 'prefix'], `${text} is already classes[${other}] of this VIP`),
      );
    else first.set(text, index);
    if (prefix.address.family !== vip.address.family) {
      problems.push(
        problemAt(
          [...where, index, 'prefix'],
          `${text} is IPv${prefix.address.family}, which clients of an IPv${vip.address.family} VIP are not (allowed: IPv${vip.address.family} prefixes)`,
        ),
      );
    }
  }
  return problems;
}
