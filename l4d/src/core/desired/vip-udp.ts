import { datagramHeaders, maxUdpSessions } from '@l4d/kit/proxy-api.ts';
import { type PathProblem, type PathSegment, problemAt } from '@l4d/kit/schema/problem.ts';
import { choice, integer } from '@l4d/kit/schema/scalars.ts';
import { z } from 'zod';
import type { Vip } from './vip.ts';

/** Bounds of the sessions of an l7 VIP of mode udp. */
export const vipUdpSchema = z.strictObject({
  /** Of each worker; a new one takes the place of one that rests, or is refused. */
  maxSessions: integer('a number of sessions', 1, maxUdpSessions).exactOptional(),
  /** Of one client address in each worker. */
  maxSessionsPerClient: integer('a number of sessions', 1, maxUdpSessions).exactOptional(),
  /** What a client may send in one session, each second. */
  datagramsPerSecond: integer('a number of datagrams', 1, 10_000_000).exactOptional(),
  /** A session ends when its backend has sent so many datagrams. */
  responses: integer('a number of datagrams', 1, 1_000_000).exactOptional(),
  /** Which datagrams to a backend begin with the PROXY header. */
  proxyHeader: choice('a choice', datagramHeaders).exactOptional(),
});

/** What an l7 VIP of protocol udp declares that is of connections, and the other way round. */
export function checkUdp(vip: Vip, at: readonly PathSegment[]): PathProblem[] {
  const mode = vip.mode ?? 'http';
  if (mode !== 'udp') {
    const problems = checkNotUdp(vip, mode, at);
    return vip.udp === undefined
      ? problems
      : [...problems, problemAt([...at, 'udp'], `is for mode udp: mode ${mode} has no datagrams`)];
  }
  const problems: PathProblem[] = [];
  if (vip.protocol !== 'udp')
    problems.push(
      problemAt(
        [...at, 'mode'],
        'udp is not a mode of protocol tcp (allowed: with protocol: udp)',
        'set protocol: udp',
      ),
    );
  for (const field of ['tls', 'backendTls', 'acceptProxyProtocol'] as const)
    if (vip[field] !== undefined && vip[field] !== false)
      problems.push(
        problemAt([...at, field], 'is of connections: mode udp has none (allowed: leave it out)'),
      );
  if (vip.proxyProtocol === 'v1')
    problems.push(
      problemAt(
        [...at, 'proxyProtocol'],
        'v1 knows no datagrams (allowed with mode udp: v2)',
        'set proxyProtocol: v2',
      ),
    );
  if (vip.udp?.proxyHeader !== undefined && vip.proxyProtocol === undefined)
    problems.push(
      problemAt([...at, 'udp', 'proxyHeader'], 'has no use without proxyProtocol', 'set proxyProtocol: v2'),
    );
  return problems;
}

function checkNotUdp(vip: Vip, mode: string, at: readonly PathSegment[]): PathProblem[] {
  if (vip.protocol === 'tcp') return [];
  return [
    problemAt(
      [...at, 'mode'],
      `${mode} is not a mode of protocol ${vip.protocol} (allowed: udp)`,
      'leave it out, set mode: udp, or set protocol: tcp',
    ),
  ];
}
