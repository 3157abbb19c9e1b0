import { ipAddress } from '@l4d/kit/ip-address.ts';
import { usualSelection } from '@l4d/l4d/core/forwarding/backend-selection.ts';
import type { WantedBackend, WantedVip } from '@l4d/l4d/core/forwarding/forwarding-plan.ts';
import { internetChecksum } from './checksum.ts';
import { ownMac } from './data-plane.ts';
import {
  type Ends,
  ethernet,
  etherType,
  type Ipv4Parts,
  type Ipv6Parts,
  ipv4,
  ipv6,
  mac,
  protocolNumber,
  type TcpParts,
  tcp,
  tcpFlag,
  udp,
} from './packet.ts';

/** The addresses that the fixtures play with (documentation ranges, RFC 5737 and RFC 3849). */

/** One address family's side of the world. */
export interface Family {
  readonly name: 'ipv4' | 'ipv6';
  readonly client: string;
  readonly vip: string;
  readonly otherVip: string;
  /** No VIP. */
  readonly host: string;
  readonly backends: readonly [string, string];
}

export const four: Family = {
  name: 'ipv4',
  client: '198.51.100.7',
  vip: '203.0.113.10',
  otherVip: '203.0.113.11',
  host: '203.0.113.200',
  backends: ['10.0.0.21', '10.0.0.22'],
};

export const six: Family = {
  name: 'ipv6',
  client: '2001:db8:c::7',
  vip: '2001:db8:f::10',
  otherVip: '2001:db8:f::11',
  host: '2001:db8:f::200',
  backends: ['fd00::21', 'fd00::22'],
};

/** Both families, for cases that hold in each. */
export const families = [four, six] as const;

export const routerMac = '02:00:00:00:00:fe';
export const backendMacs = ['02:00:00:00:00:21', '02:00:00:00:00:22'] as const;
export const clientPort = 40_000;
export const vipPort = 80;

/** The idle time of fixture VIPs in ticks. */
export const idleTicks = 100;

/** The n-th backend (0 or 1) of a family. */
export function backend(family: Family, n: 0 | 1, changes: Partial<WantedBackend> = {}): WantedBackend {
  return {
    address: ipAddress(family.backends[n]),
    weight: 1,
    state: 'up',
    forward: 'l2',
    mac: mac(backendMacs[n]),
    egress: 0,
    ...changes,
  };
}

/** A VIP with the first backend alone. */
export function vipOf(family: Family, changes: Partial<WantedVip> = {}): WantedVip {
  return {
    address: ipAddress(family.vip),
    port: vipPort,
    protocol: 'tcp',
    policy: 'forward',
    onBackendDown: 'keep',
    idleTicks,
    selection: usualSelection,
    tableSize: 101,
    backends: [backend(family, 0)],
    ...changes,
  };
}

/** Changes of a network header, whatever the family. */
export type NetworkChanges = Partial<Ipv4Parts> & Partial<Ipv6Parts>;

/** What stands around the transport message. */
export interface FrameChanges extends NetworkChanges {
  readonly destinationMac?: string;
  readonly tags?: ReadonlyArray<readonly [type: number, id: number]>;
}

/** A network packet from client to VIP. */
export function networkPacket(
  family: Family,
  protocol: number,
  transport: Uint8Array,
  changes: NetworkChanges = {},
): Uint8Array {
  const ends = endsOf(family, changes);
  return family.name === 'ipv4'
    ? ipv4({ ...ends, protocol, ...changes }, transport)
    : ipv6({ ...ends, nextHeader: protocol, ...changes }, transport);
}

/** A frame from the router with a transport message from client to VIP. */
export function frame(
  family: Family,
  protocol: number,
  transport: Uint8Array,
  changes: FrameChanges = {},
): Uint8Array {
  const { destinationMac, tags, ...network } = changes;
  return ethernet(
    {
      destination: destinationMac ?? ownMac,
      source: routerMac,
      type: family.name === 'ipv4' ? etherType.ipv4 : etherType.ipv6,
      ...(tags === undefined ? {} : { tags }),
    },
    networkPacket(family, protocol, transport, network),
  );
}

/** A TCP segment's frame from client to VIP. An ACK in the middle of a connection by default. */
export function tcpFrame(
  family: Family,
  parts: Partial<TcpParts> = {},
  payload?: Uint8Array,
  changes: FrameChanges = {},
): Uint8Array {
  return frame(family, protocolNumber.tcp, tcpSegment(family, parts, payload, changes), changes);
}

/** The TCP segment of tcpFrame. */
export function tcpSegment(
  family: Family,
  parts: Partial<TcpParts> = {},
  payload?: Uint8Array,
  changes: NetworkChanges = {},
): Uint8Array {
  const given = {
    sourcePort: clientPort,
    destinationPort: vipPort,
    flags: tcpFlag.ack,
    acknowledged: 0x55667788,
  };
  return tcp(endsOf(family, changes), { ...given, ...parts }, payload);
}

/** A UDP datagram's frame from client to VIP. */
export function udpFrame(family: Family, payload: Uint8Array, changes: FrameChanges = {}): Uint8Array {
  return frame(
    family,
    protocolNumber.udp,
    udp(endsOf(family, changes), clientPort, vipPort, payload),
    changes,
  );
}

/** Source and destination of a packet: client and VIP when the changes do not say otherwise. */
export function endsOf(family: Family, changes: { source?: string; destination?: string } = {}): Ends {
  return { source: changes.source ?? family.client, destination: changes.destination ?? family.vip };
}

/** The frame as the data plane sends it on: to the MAC address, from its own, one hop further, else unchanged. */
export function sentTo(destinationMac: string, packet: Uint8Array): Uint8Array {
  const out = Uint8Array.from(packet);
  out.set(mac(destinationMac), 0);
  out.set(mac(ownMac), 6);
  const view = new DataView(out.buffer);
  let at = 12;
  while (view.getUint16(at) === etherType.vlan || view.getUint16(at) === etherType.qinq) at += 4;
  const header = at + 2;
  const ttlAt = header + (view.getUint16(at) === etherType.ipv6 ? 7 : 8);
  view.setUint8(ttlAt, view.getUint8(ttlAt) - 1);
  if (view.getUint16(at) === etherType.ipv4) {
    const length = (view.getUint8(header) & 15) * 4;
    view.setUint16(header + 10, 0);
    view.setUint16(header + 10, internetChecksum(out.subarray(header, header + length)));
  }
  return out;
}

/** The network packet with that traffic class (DSCP and ECN). */
export function ipHeaderWith(packet: Uint8Array, trafficClass: number): Uint8Array {
  const out = Uint8Array.from(packet);
  const first = out[0] ?? 0;
  if (first >> 4 === 6) {
    out[0] = 0x60 | (trafficClass >> 4);
    out[1] = ((out[1] ?? 0) & 15) | ((trafficClass & 15) << 4);
    return out;
  }
  out[1] = trafficClass;
  out.fill(0, 10, 12);
  new DataView(out.buffer).setUint16(10, internetChecksum(out.subarray(0, (first & 15) * 4)));
  return out;
}
