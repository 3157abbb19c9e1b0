import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import { formatIpPrefix, type IpPrefix } from '@l4d/kit/ip-prefix.ts';
import { formatMacAddress } from '@l4d/kit/mac-address.ts';
import { type PathProblem, type PathSegment, problemAt } from '@l4d/kit/schema/problem.ts';
import { isUnicastPrefix } from './address-kinds.ts';
import type { Backend } from './backend.ts';
import { specialKind } from './special-address.ts';
import { type HostTunnel, leastVxlanMtu } from './tunnel.ts';
import { forwardModeOf, type Vip, vxlanEndOf } from './vip.ts';
import { isForwarded } from './vip-classes.ts';

/** Outer sources are ranges of unicast addresses of their field's family, and IPv6's least must come through. */
export function checkTunnel(tunnel: HostTunnel, vips: readonly Vip[]): PathProblem[] {
  return [
    ...checkMtu(tunnel, vips),
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
  return isUnicastPrefix(prefix)
    ? []
    : [problemAt(at, `${text} is no range of unicast addresses ${allowed}`)];
}

function checkMtu({ mtu }: HostTunnel, vips: readonly Vip[]): PathProblem[] {
  if (mtu === undefined || mtu >= leastVxlanMtu) return [];
  const isUsed = vips.some(
    (vip) =>
      isForwarded(vip) && vip.backends.some((backend) => vxlanEndOf(vip, backend)?.remote.family === 6),
  );
  if (!isUsed) return [];
  return [
    problemAt(
      ['host', 'tunnel', 'mtu'],
      `${mtu} is too small for VXLAN over IPv6 (allowed: ${leastVxlanMtu} to 65535)`,
    ),
  ];
}

/** `vxlan` is there exactly with `forward: vxlan`, and its numbers are those of one machine. */
export function checkVxlan(vip: Vip, backend: Backend, at: readonly PathSegment[]): PathProblem[] {
  const place = [...at, 'vxlan'];
  const isUsed = isForwarded(vip) && forwardModeOf(vip, backend) === 'vxlan';
  const { vxlan } = backend;
  if (vxlan === undefined) {
    if (!isUsed) return [];
    return [
      problemAt(
        place,
        'is missing (needed with forward: vxlan: { vni, remote })',
        'such as vxlan: { vni: 42, remote: 192.0.2.21 }',
      ),
    ];
  }
  if (!isUsed) return [problemAt(place, 'is allowed with forward: vxlan only', 'set it, or remove this')];
  const problems: PathProblem[] = [];
  const kind = specialKind(vxlan.remote);
  if (kind !== undefined) {
    const text = formatIpAddress(vxlan.remote);
    problems.push(
      problemAt([...place, 'remote'], `${text} is ${kind} (allowed: the address of the tunnel's other end)`),
    );
  }
  const { mac } = vxlan;
  if (mac !== undefined && (((mac[0] ?? 0) & 1) !== 0 || mac.every((byte) => byte === 0))) {
    problems.push(
      problemAt(
        [...place, 'mac'],
        `${formatMacAddress(mac)} is no address of one machine (allowed: a unicast MAC address)`,
      ),
    );
  }
  return problems;
}
