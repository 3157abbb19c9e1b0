import { formatIpPrefix, type IpPrefix } from '@l4d/kit/ip-prefix.ts';
import { formatPortRange } from '@l4d/kit/port-range.ts';
import { type PathProblem, problemAt } from '@l4d/kit/schema/problem.ts';
import { isUnicastPrefix } from './address-kinds.ts';
import type { HostNat } from './nat.ts';

/** Source addresses are at most 256 of their field's family; ports leave out those that services listen on. */
export function checkNat(nat: HostNat): PathProblem[] {
  return [
    ...checkSource('sourceIpv4', nat.sourceIpv4, 4, 24, '10.200.0.0/28'),
    ...checkSource('sourceIpv6', nat.sourceIpv6, 6, 120, 'fd00:0:0:200::/124'),
    ...checkPorts(nat),
  ];
}

/** Services of every kind listen below. */
const leastPort = 1024;

function checkPorts({ ports }: HostNat): PathProblem[] {
  if (ports === undefined || ports.first >= leastPort) return [];
  return [
    problemAt(
      ['host', 'nat', 'ports'],
      `${formatPortRange(ports)} begins below ${leastPort}, where services listen (allowed: ${leastPort} to 65535)`,
    ),
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
  const at = ['host', 'nat', field];
  const allowed = `(allowed: an IPv${family} address, or a prefix of /${shortest} or longer, such as ${example})`;
  const text = formatIpPrefix(prefix);
  if (prefix.address.family !== family)
    return [problemAt(at, `${text} is IPv${prefix.address.family} ${allowed}`)];
  if (prefix.length < shortest) return [problemAt(at, `${text} is too wide ${allowed}`)];
  return isUnicastPrefix(prefix)
    ? []
    : [problemAt(at, `${text} is no range of unicast addresses ${allowed}`)];
}
