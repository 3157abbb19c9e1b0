import { maxRelayBytes, minRelayBytes, relays } from '@l4d/kit/proxy-api.ts';
import { type PathProblem, type PathSegment, problemAt } from '@l4d/kit/schema/problem.ts';
import { choice, integer } from '@l4d/kit/schema/scalars.ts';

/** Who passes on the bytes of an l7 VIP's tunnels; fields of a VIP. */
export const vipRelayFields = {
  /** l7 only: `kernel` spares each packet the way through the proxy; there is no back-pressure then. */
  relay: choice('a relay', relays).exactOptional(),
  /** With `relay: kernel`: what may wait in each direction of a tunnel before it is reset; 4 MiB by default. */
  relayBytes: integer('a number of bytes', minRelayBytes, maxRelayBytes).exactOptional(),
};

/** Names of those fields. */
export const vipRelayFieldNames = ['relay', 'relayBytes'] as const;

/** Rules over those fields of an l7 VIP. */
export function checkVipRelay(
  vip: {
    readonly mode?: string;
    readonly relay?: string;
    readonly relayBytes?: number;
    readonly tls?: unknown;
    readonly backendTls?: unknown;
  },
  at: readonly PathSegment[],
): PathProblem[] {
  if (vip.relay !== 'kernel') {
    if (vip.relayBytes === undefined) return [];
    return [problemAt([...at, 'relayBytes'], 'bounds what waits in the kernel (allowed: with relay kernel)')];
  }
  const refuse = (why: string) => [
    problemAt([...at, 'relay'], `kernel is not allowed ${why}`, 'leave relay out: the proxy relays'),
  ];
  if (vip.mode === 'udp') return refuse('for mode udp: it has no connections');
  if (vip.tls !== undefined) return refuse('with tls: the proxy alone can read what clients send');
  if (vip.backendTls !== undefined)
    return refuse('with backendTls: the proxy alone can write what backends read');
  return [];
}
