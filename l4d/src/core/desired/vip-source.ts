import { formatIpAddress, type IpAddress, type IpFamily, ipAddress } from '@l4d/kit/ip-address.ts';
import { type PathProblem, type PathSegment, problemAt } from '@l4d/kit/schema/problem.ts';
import { choice, ipAddressText, list } from '@l4d/kit/schema/scalars.ts';
import type { HostProxy } from './host-proxy.ts';
import { specialKind } from './special-address.ts';
import type { Vip } from './vip.ts';
import { isForwarded } from './vip-classes.ts';

/** Each is one more connection with every check. */
const maxProbes = 8;

/** Where an l7 VIP's connections to backends come from; fields of a VIP. */
export const vipSourceFields = {
  /** l7 only: connections to backends come from the client's own address, where answers to it come back by this host. */
  source: choice('a source', ['client']).exactOptional(),
  /** With source: addresses that are not this host's, from which it is proven that they do. */
  sourceProbes: list(ipAddressText, 'addresses')
    .min(1, { error: 'is empty (allowed: at least one address)' })
    .max(maxProbes, { error: `has too many addresses (allowed: at most ${maxProbes})` })
    .exactOptional(),
};

/**
 * Probed from when none is declared. Both are nobody's: 192.0.0.8 is the dummy address of RFC 7600, 100::/64 the discard
 * prefix of RFC 6666. What a backend sends there by another way is delivered to nobody.
 */
const defaultProbes = { 4: ipAddress('192.0.0.8'), 6: ipAddress('100::8') } as const;

const modes = ['http', 'tcp', 'tls-passthrough'];

/** Addresses from which it is proven that a backend of that family sends to clients by way of this host; none: it need not. */
export function sourceProbesOf(
  { source, sourceProbes = [] }: Pick<Vip, 'source' | 'sourceProbes'>,
  family: IpFamily,
): readonly IpAddress[] {
  if (source === undefined) return [];
  const declared = sourceProbes.filter((probe) => probe.family === family);
  return declared.length === 0 ? [defaultProbes[family]] : declared;
}

/** Rules over those fields of an l7 VIP. */
export function checkVipSource(vip: Vip, at: readonly PathSegment[]): PathProblem[] {
  if (vip.source === undefined) {
    if (vip.sourceProbes === undefined) return [];
    return [
      problemAt([...at, 'sourceProbes'], 'has no use without source', 'set source: client, or remove it'),
    ];
  }
  const { mode = 'http' } = vip;
  const problems: PathProblem[] = [];
  if (!modes.includes(mode))
    problems.push(problemAt([...at, 'source'], `is not for mode ${mode} (allowed: ${modes.join(', ')})`));
  if (vip.check.type === 'none')
    problems.push(
      problemAt(
        [...at, 'check', 'type'],
        'none cannot be with source: with each check it is proven that the backend answers clients by way of this host',
        'declare a check, such as check: { type: tcp }',
      ),
    );
  if (isForwarded(vip))
    problems.push(
      problemAt(
        [...at, 'source'],
        'cannot be while some clients have policy forward: backends answer those directly, and the others by this host (allowed: with l7 and drop alone)',
        'declare proxyProtocol in place of source',
      ),
    );
  return [...problems, ...checkBackends(vip, at), ...checkProbes(vip, at)];
}

function checkBackends(vip: Vip, at: readonly PathSegment[]): PathProblem[] {
  return vip.backends.flatMap(({ address }, index) => {
    const where = [...at, 'backends', index, 'address'];
    const text = formatIpAddress(address);
    if (specialKind(address) !== undefined)
      return [
        problemAt(
          where,
          `${text} is this host itself, where source: client cannot be: what it answers never comes back to the proxy`,
          'remove source, or name another machine',
        ),
      ];
    // A trusted proxy may tell of clients of either family: those that do not fit are counted one by one.
    if (address.family === vip.address.family || vip.acceptProxyProtocol === true) return [];
    return [
      problemAt(
        where,
        `${text} is IPv${address.family}, and clients of an IPv${vip.address.family} VIP have no such address to be spoken to from (allowed with source: the VIP's family)`,
        'declare a VIP of each family, or proxyProtocol in place of source',
      ),
    ];
  });
}

function checkProbes(vip: Vip, at: readonly PathSegment[]): PathProblem[] {
  return (vip.sourceProbes ?? []).flatMap((probe, index) => {
    const where = [...at, 'sourceProbes', index];
    const text = formatIpAddress(probe);
    const kind = specialKind(probe);
    if (kind !== undefined)
      return [problemAt(where, `${text} is ${kind} (allowed: an address that a client could have)`)];
    const isBackend = vip.backends.some(({ address }) => formatIpAddress(address) === text);
    if (!isBackend && formatIpAddress(vip.address) !== text) return [];
    return [
      problemAt(
        where,
        `${text} is ${isBackend ? 'a backend' : 'the VIP'} (allowed: an address that a client could have)`,
      ),
    ];
  });
}

/** Hosts that share connections cannot all be the one that a backend answers by. */
export function checkSharedSources({ hosts = [] }: HostProxy, vips: readonly Vip[]): PathProblem[] {
  if (hosts.length === 0) return [];
  return vips.flatMap(({ source }, index) =>
    source === undefined
      ? []
      : [
          problemAt(
            ['vips', index, 'source'],
            `cannot be while host.proxy.hosts share connections: a backend's answers come back by one host, and the others' connections would break`,
            'remove host.proxy.hosts, or declare proxyProtocol in place of source',
          ),
        ],
  );
}
