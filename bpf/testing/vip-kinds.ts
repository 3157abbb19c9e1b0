import { ipAddress } from '@l4d/kit/ip-address.ts';
import { usualSelection } from '@l4d/l4d/core/forwarding/backend-selection.ts';
import type { WantedVip } from '@l4d/l4d/core/forwarding/forwarding-plan.ts';
import { type TestDataPlane, testEgress } from './data-plane.ts';
import { mac } from './packet.ts';
import { backend, type Family, tcpFrame, vipOf } from './world.ts';

/** VIPs of every kind, each with an address of its own, and what may become of a packet to that address. */

/** One kind of VIP. */
export interface VipKind {
  readonly name: string;
  /** Last part of its addresses. */
  readonly host: number;
  /** What its declarations differ in from a VIP with one backend on layer 2. */
  readonly changes: (family: Family) => Partial<WantedVip>;
  /** Reasons that its packets may have, beside those that every VIP's address has. */
  readonly reasons: readonly string[];
}

/** Of every address that has a VIP: other ports, ICMP that is none of ours, echo, packets that contradict themselves. */
export const reasonsOfAnyVip: readonly string[] = [
  'pass_not_vip',
  'pass_vip_icmp',
  'tx_echo',
  'drop_malformed',
  'drop_fragment',
];

const forwarded = ['tx_forward', 'tx_icmp_error', 'drop_ttl_expired'];
/** The interface behind which backends of one kind are. */
export const otherEgress = { number: 9, mac: '02:00:00:00:09:09', mtu: 1400 } as const;
const tunnelled = ['tx_tunnel', 'tx_icmp_error_tunnel', 'tx_too_big', 'drop_too_big', 'drop_ttl_expired'];

const natted = ['tx_nat', 'tx_nat_error', 'tx_nat_reset', 'drop_nat_stray', 'drop_ttl_expired'];

/** All kinds. */
export const vipKinds: readonly VipKind[] = [
  { name: 'layer 2', host: 0x20, changes: () => ({}), reasons: forwarded },
  {
    name: 'every port',
    host: 0x21,
    changes: () => ({ port: 0 }),
    reasons: forwarded,
  },
  {
    name: 'two backends',
    host: 0x22,
    changes: (family) => ({ backends: [backend(family, 0), backend(family, 1)] }),
    reasons: forwarded,
  },
  { name: 'policy', host: 0x23, changes: () => ({ policy: 'l7', backends: [] }), reasons: ['pass_l7'] },
  { name: 'no backend', host: 0x24, changes: () => ({ backends: [] }), reasons: ['drop_no_backend'] },
  {
    name: 'reset',
    host: 0x25,
    changes: (family) => ({ onBackendDown: 'reset', backends: [backend(family, 0, { state: 'down' })] }),
    reasons: ['tx_reset', 'drop_reset_of_dead', 'drop_no_backend'],
  },
  {
    name: 'keep',
    host: 0x26,
    changes: (family) => ({ backends: [backend(family, 0, { state: 'draining' })] }),
    reasons: [...forwarded, 'drop_no_backend'],
  },
  {
    name: 'unresolved',
    host: 0x27,
    changes: (family) => ({ backends: [backend(family, 0, { mac: undefined })] }),
    reasons: ['drop_no_backend', 'drop_unresolved'],
  },
  {
    name: 'IPIP',
    host: 0x28,
    changes: (family) => ({ backends: [backend(family, 0, { forward: 'ipip' })] }),
    reasons: tunnelled,
  },
  {
    name: 'IPIP over the other family',
    host: 0x29,
    changes: (family) => ({ backends: [backend(family, 0, { forward: 'ipip', ...overOther(family) })] }),
    reasons: tunnelled,
  },
  {
    name: 'GUE',
    host: 0x2a,
    changes: (family) => ({ backends: [backend(family, 0, { forward: 'gue' })] }),
    reasons: tunnelled,
  },
  {
    name: 'GUE over the other family',
    host: 0x2b,
    changes: (family) => ({ backends: [backend(family, 0, { forward: 'gue', ...overOther(family) })] }),
    reasons: tunnelled,
  },
  {
    name: 'VXLAN',
    host: 0x2c,
    changes: (family) => ({
      backends: [backend(family, 0, { forward: 'vxlan', vxlan: vxlanEnd('192.0.2.21') })],
    }),
    reasons: tunnelled,
  },
  {
    name: 'VXLAN over IPv6',
    host: 0x2d,
    changes: (family) => ({
      backends: [backend(family, 0, { forward: 'vxlan', vxlan: vxlanEnd('2001:db8:b::21') })],
    }),
    reasons: tunnelled,
  },
  {
    name: 'another interface',
    host: 0x2e,
    changes: (family) => ({ backends: [backend(family, 0, { egress: otherEgress.number })] }),
    reasons: [...forwarded, 'tx_too_big', 'drop_too_big'],
  },
  ...(['turn', 'load'] as const).map((by, position) => ({
    name: `by ${by}`,
    host: 0x2f + position,
    changes: (family: Family) => ({
      selection: { ...usualSelection, by },
      backends: [backend(family, 0), backend(family, 1)],
    }),
    reasons: forwarded,
  })),
  {
    name: 'by source',
    host: 0x31,
    changes: (family) => ({
      selection: { ...usualSelection, sourceBits: 24 },
      backends: [backend(family, 0), backend(family, 1)],
    }),
    reasons: forwarded,
  },
  {
    name: 'stateless',
    host: 0x32,
    changes: (family) => ({
      selection: { ...usualSelection, isStateless: true },
      backends: [backend(family, 0), backend(family, 1)],
    }),
    reasons: forwarded,
  },
  {
    name: 'QUIC',
    host: 0x33,
    changes: (family) => ({
      selection: { ...usualSelection, quic: { configId: 0, serverIdLength: 1 } },
      // What the payload of the packets begins with, and another.
      backends: [backend(family, 0, { serverId: '0e' }), backend(family, 1, { serverId: '07' })],
    }),
    reasons: forwarded,
  },
  {
    name: 'NAT',
    host: 0x34,
    changes: (family) => ({ backends: [backend(family, 0, { forward: 'nat', port: 8080 })] }),
    reasons: natted,
  },
  {
    name: 'NAT by another interface, beside layer 2',
    host: 0x35,
    changes: (family) => ({
      backends: [backend(family, 0, { forward: 'nat', egress: otherEgress.number }), backend(family, 1)],
    }),
    reasons: [...natted, ...forwarded, 'tx_too_big', 'drop_too_big'],
  },
];

/** The kind's address in a family. */
export function addressOfKind(kind: VipKind, family: Family): string {
  return family.name === 'ipv4' ? `203.0.113.${kind.host}` : `2001:db8:f::${kind.host.toString(16)}`;
}

/** Declares VIPs of every kind for TCP and UDP, with flows that remember what those with dead backends were. */
export function declareVipKinds(plane: TestDataPlane, families: readonly Family[]): void {
  const { number, ...other } = otherEgress;
  plane.maps.writeEgress(number, { ...testEgress(), name: 'other', mtu: other.mtu, mac: mac(other.mac) });
  for (const family of families) {
    for (const kind of vipKinds) {
      const address = addressOfKind(kind, family);
      const changes = { address: ipAddress(address), ...kind.changes(family) };
      if (kind.name === 'reset' || kind.name === 'keep') {
        plane.forwarding.apply(vipOf(family, { ...changes, backends: [backend(family, 0)] }));
        plane.send(tcpFrame(family, {}, undefined, { destination: address }));
      }
      plane.forwarding.apply(vipOf(family, changes));
      plane.forwarding.apply(vipOf(family, { ...changes, protocol: 'udp' }));
    }
  }
}

function vxlanEnd(remote: string) {
  return { remote: ipAddress(remote), vni: 4711, mac: mac('02:00:00:00:00:31') };
}

function overOther(family: Family) {
  return { address: ipAddress(family.name === 'ipv4' ? 'fd00::21' : '10.0.0.21') };
}
