/** The ways through tunnels: which packet within which, and backends that are reached so. */
import { possibleCpus, updateElement } from '@l4d/kit/ffi/libbpf.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import type { TunnelSettings } from '@l4d/l4d/core/forwarding/tunnel-settings.ts';
import { type TestDataPlane, testEgress, testTunnel } from './data-plane.ts';
import { mac } from './packet.ts';
import { backendMacs, type Family, families, vipOf } from './world.ts';

/** Outer destinations, by family. */
export const remote = { 4: '192.0.2.21', 6: '2001:db8:b::21' } as const;

/** One of them. */
export interface Way {
  readonly name: string;
  readonly inner: Family;
  readonly outer: 4 | 6;
  readonly forward: 'ipip' | 'gue' | 'vxlan';
  readonly variant: 0 | 1;
}

/** All of them. */
export const ways: readonly Way[] = families.flatMap((inner) =>
  ([4, 6] as const).flatMap((outer) => [
    {
      name: `${inner.name} in VXLAN over IPv${outer}`,
      inner,
      outer,
      forward: 'vxlan' as const,
      variant: 1 as const,
    },
    { name: `${inner.name} in IPv${outer}`, inner, outer, forward: 'ipip' as const, variant: 1 as const },
    ...([1, 0] as const).map((variant) => ({
      name: `${inner.name} in GUE variant ${variant} over IPv${outer}`,
      inner,
      outer,
      forward: 'gue' as const,
      variant,
    })),
  ]),
);

/** A backend of a tenant's network: its number has bits in each byte. */
export const tenant = { vni: 0xa1b2c3, mac: '02:42:0a:00:00:15' } as const;

/** Bytes of the outer headers. */
export const overheadOf = (way: Way) =>
  (way.outer === 4 ? 20 : 40) +
  (way.forward === 'gue' ? (way.variant === 0 ? 12 : 8) : way.forward === 'vxlan' ? 30 : 0);

/** Another interface than the one that packets come in by; the kernel's own is the loopback. */
export const other = { number: 5, mac: '02:00:00:00:05:05' } as const;
/** Its MTU. */
export const otherMtu = 1450;

/** Has the fixtures' VIPs of a family, with one backend that is reached that way. */
export function useWay(
  plane: TestDataPlane,
  way: Way,
  changes: Partial<TunnelSettings> = {},
  egress = 0,
): void {
  plane.maps.writeEgress(other.number, {
    ...testEgress({ ...testTunnel, gueVariant: way.variant, mtu: otherMtu }),
    name: 'other',
    mac: mac(other.mac),
    mtu: otherMtu,
  });
  plane.maps.writeEgress(0, testEgress({ ...testTunnel, gueVariant: way.variant, ...changes }));
  // Answers of another test are not held against this one.
  updateElement(plane.tooBigDue, new Uint8Array(4), new Uint8Array(8 * possibleCpus()));
  for (const protocol of ['tcp', 'udp'] as const) {
    const end = { remote: ipAddress(remote[way.outer]), vni: tenant.vni, mac: mac(tenant.mac) };
    const tunnelled = {
      ...(way.forward === 'vxlan' ? { vxlan: end } : {}),
      address: ipAddress(way.forward === 'vxlan' ? way.inner.backends[0] : remote[way.outer]),
      weight: 1,
      state: 'up' as const,
      forward: way.forward,
      mac: mac(backendMacs[0]),
      egress,
    };
    plane.forwarding.apply(vipOf(way.inner, { protocol, backends: [tunnelled] }));
  }
}
