import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import { duplicates } from '@l4d/kit/schema/duplicates.ts';
import { didYouMean, type PathProblem, problemAt } from '@l4d/kit/schema/problem.ts';
import type { Host } from './host.ts';
import type { Vip } from './vip.ts';

/** The rules of VRRP that span fields. */
export function checkVrrp({
  host,
  vips,
}: {
  readonly host: Host;
  readonly vips: readonly Vip[];
}): PathProblem[] {
  const groups = host.vrrp?.groups ?? [];
  const at = ['host', 'vrrp', 'groups'] as const;
  const problems: PathProblem[] = duplicates(
    groups,
    ({ id }) => id,
    ({ id }, first) =>
      problemAt([...first.at, 'id'], `"${id}" is already the name of groups[${first.index}]`),
    'groups',
  ).map((problem) => ({ ...problem, segments: ['host', 'vrrp', ...problem.segments] }));
  const taken = new Map<number, string>();
  for (const [index, { id, vrid, share, useVmac }] of groups.entries()) {
    const where = [...at, index];
    for (const one of share?.vrids ?? [vrid]) {
      const other = taken.get(one);
      if (other !== undefined && other !== id) {
        const allowed = 'an identifier that no other group of the segment has';
        problems.push(
          problemAt([...where, 'vrid'], `${one} is that of group "${other}" (allowed: ${allowed})`),
        );
      }
      taken.set(one, id);
    }
    if (share === undefined) continue;
    const vrids = [...where, 'share', 'vrids'];
    if (!share.vrids.includes(vrid)) {
      problems.push(
        problemAt(vrids, `does not hold ${vrid}, the vrid of this host (allowed: a list that does)`),
      );
    }
    if (new Set(share.vrids).size !== share.vrids.length) problems.push(problemAt(vrids, 'holds one twice'));
    if (useVmac === false) {
      const why = 'with share the virtual MAC address is what moves: remove it, or set true';
      problems.push(problemAt([...where, 'useVmac'], 'false does not go with share (allowed: true)', why));
    }
  }
  return [
    ...problems,
    ...checkVips(
      vips,
      groups.map(({ id }) => id),
    ),
  ];
}

function checkVips(vips: readonly Vip[], names: readonly string[]): PathProblem[] {
  const problems: PathProblem[] = [];
  const first = new Map<string, number>();
  for (const [index, { address, vrrpGroup, announce }] of vips.entries()) {
    const where = ['vips', index, 'vrrpGroup'];
    const text = formatIpAddress(address);
    const other = first.get(text);
    if (other === undefined) first.set(text, index);
    else if (vips[other]?.vrrpGroup !== vrrpGroup) {
      const why = 'an address is announced in one way: say the same in both';
      problems.push(
        problemAt(where, `differs from that of vips[${other}], which has the same address ${text}`, why),
      );
    }
    if (vrrpGroup === undefined) continue;
    if (!names.includes(vrrpGroup)) {
      const allowed = names.length === 0 ? 'none: host.vrrp.groups is empty' : names.join(', ');
      problems.push(
        problemAt(where, `"${vrrpGroup}" is no group (allowed: ${allowed})`, didYouMean(vrrpGroup, names)),
      );
    }
    if (announce !== undefined) {
      const why = 'announce is for routers, which are not told of VIPs of a group: remove one of the two';
      problems.push(problemAt(['vips', index, 'announce'], 'does not go with vrrpGroup', why));
    }
  }
  return problems;
}
