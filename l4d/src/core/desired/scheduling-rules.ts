import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import { type PathProblem, type PathSegment, problemAt } from '@l4d/kit/schema/problem.ts';
import { serverIdOf } from './scheduling.ts';
import { forwardModeOf, type Vip } from './vip.ts';
import { isForwarded } from './vip-classes.ts';

/** What of schedulers, flow table and QUIC goes together. */
export function checkScheduling(vip: Vip, at: readonly PathSegment[]): PathProblem[] {
  return [
    ...(isForwarded(vip) ? [] : checkProxied(vip, at)),
    ...checkSourcePrefix(vip, at),
    ...checkStateless(vip, at),
    ...checkQuic(vip, at),
    ...checkNatScheduler(vip, at),
  ];
}

function checkProxied(vip: Vip, at: readonly PathSegment[]): PathProblem[] {
  const declared = [
    ['scheduler', vip.scheduler !== 'maglev'],
    ['slowStart', vip.slowStart !== undefined],
    ['stateful', !vip.stateful],
    ['quic', vip.quic !== undefined],
  ] as const;
  return declared
    .filter(([, isDeclared]) => isDeclared)
    .map(([field]) =>
      problemAt([...at, field], `${field} is for policy forward (allowed with policy l7: leave it out)`),
    );
}

/** What NAT remembers is not in the flow table, whose entries tell how many flows a backend has. */
function checkNatScheduler(vip: Vip, at: readonly PathSegment[]): PathProblem[] {
  if (!isForwarded(vip) || vip.scheduler !== 'least-connections') return [];
  if (!vip.backends.some((backend) => forwardModeOf(vip, backend) === 'nat')) return [];
  return [
    problemAt(
      [...at, 'scheduler'],
      'least-connections does not know the connections of backends with forward: nat (allowed: maglev, wrr, source, source-prefix)',
    ),
  ];
}

function checkSourcePrefix(vip: Vip, at: readonly PathSegment[]): PathProblem[] {
  const { sourcePrefixLength: length } = vip;
  if (length === undefined) return [];
  const where = [...at, 'sourcePrefixLength'];
  if (vip.scheduler !== 'source-prefix') {
    return [problemAt(where, `sourcePrefixLength is for scheduler source-prefix, not ${vip.scheduler}`)];
  }
  const longest = vip.address.family === 4 ? 32 : 128;
  return length > longest
    ? [
        problemAt(
          where,
          `${length} is not a prefix length of IPv${vip.address.family} (allowed: 1 to ${longest})`,
        ),
      ]
    : [];
}

function checkStateless(vip: Vip, at: readonly PathSegment[]): PathProblem[] {
  if (vip.stateful || !isForwarded(vip)) return [];
  const problems: PathProblem[] = [];
  const where = [...at, 'stateful'];
  if (vip.scheduler === 'wrr' || vip.scheduler === 'least-connections') {
    problems.push(
      problemAt(
        where,
        `scheduler ${vip.scheduler} needs the flow table: it does not answer the same twice (allowed with stateful: false: maglev, source, source-prefix)`,
      ),
    );
  }
  if (vip.onBackendDown === 'reset') {
    problems.push(
      problemAt(
        [...at, 'onBackendDown'],
        'reset needs the flow table, which knows whose flow it was (allowed with stateful: false: leave it out)',
      ),
    );
  }
  return problems;
}

function checkQuic(vip: Vip, at: readonly PathSegment[]): PathProblem[] {
  const { quic } = vip;
  const problems: PathProblem[] = [];
  if (quic !== undefined && vip.protocol !== 'udp') {
    problems.push(problemAt([...at, 'quic'], `quic is for protocol udp, not ${vip.protocol}`));
  }
  const owners = new Map<string, string>();
  for (const [index, backend] of vip.backends.entries()) {
    const where = [...at, 'backends', index, 'serverId'];
    const address = formatIpAddress(backend.address);
    if (quic === undefined) {
      if (backend.serverId !== undefined) {
        problems.push(
          problemAt(where, 'serverId is for VIPs with quic', 'declare quic on the VIP, or remove it'),
        );
      }
      continue;
    }
    const id = serverIdOf(vip, backend) ?? '';
    if (id.length !== 2 * quic.serverIdLength) {
      problems.push(
        problemAt(
          where,
          `${id} has ${id.length / 2} bytes (allowed: ${quic.serverIdLength}, quic.serverIdLength)`,
        ),
      );
      continue;
    }
    const owner = owners.get(id);
    if (owner !== undefined) {
      const hint = 'declare serverId on one of the two, or a longer quic.serverIdLength';
      problems.push(problemAt(where, `server id ${id} of ${address} is also that of ${owner}`, hint));
    } else owners.set(id, address);
  }
  return problems;
}
