import { formatIpPrefix, type IpPrefix } from '@l4d/kit/ip-prefix.ts';
import { type PathProblem, problemAt } from '@l4d/kit/schema/problem.ts';
import type { HostTunnel } from './tunnel.ts';

/** Outer sources are ranges of unicast addresses of their field's family. */
export function checkTunnel(tunnel: HostTunnel): PathProblem[] {
  return [
    ...checkSource('sourceIpv4', tunnel.sourceIpv4, 4, 8, '10.200.0.0/16'),
    ...checkSource('sourceIpv6', tunnel.sourceIpv6, 6, 16, 'fd00:0:0:200::/96'),
  ];
}

function checkSource(
  field: 'sourceIpv4' | 'sourceIpv6',
  prefix: IpPrefix | undefined,
  family: 4 | 6,
  shortest: number,
  example: string,
): PathProblem[] {
  if (prefix === undefined) return [];
  const at = ['host', 'tunnel', field];
  const allowed = `(allowed: an IPv${family} prefix of /${shortest} or longer, such as ${example})`;
  const text = formatIpPrefix(prefix);
  if (prefix.address.family !== family)
    return [problemAt(at, `${text} is IPv${prefix.address.family} ${allowed}`)];
  if (prefix.length < shortest) return [problemAt(at, `${text} is too wide ${allowed}`)];
  const first = prefix.address.bytes[0] ?? 0;
  const isUnicast = family === 4 ? first !== 0 && first !== 127 && first < 224 : first !== 0xff;
  return isUnicast ? [] : [problemAt(at, `${text} is no range of unicast addresses ${allowed}`)];
}
