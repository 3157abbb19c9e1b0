/**
 * The RSTs by which both ends of a connection of NAT learn that it is over. Each has the very sequence number that its
 * receiver waits for, as RFC 5961 section 3.2 asks: what the receiver has acknowledged last.
 */
import type { IpAddress } from '@l4d/kit/ip-address.ts';
import type { MacAddress } from '@l4d/kit/mac-address.ts';

/** An end of a connection, as the other one sees it. */
export interface ConnectionEnd {
  readonly address: IpAddress;
  readonly port: number;
}

/** A connection that was idle for too long, as its entries were. */
export interface IdleConnection {
  readonly client: ConnectionEnd;
  readonly vip: ConnectionEnd;
  /** Of this host, as the backend's client. */
  readonly source: ConnectionEnd;
  readonly backend: ConnectionEnd;
  /** The sequence number that the client waits for; undefined when it has acknowledged nothing. */
  readonly clientExpects: number | undefined;
  /** Alike, the backend. */
  readonly backendExpects: number | undefined;
  /** The way back to the client. */
  readonly way: {
    readonly mac: MacAddress;
    /** VLAN tags as in the frame, 4 bytes each. */
    readonly tags: Uint8Array;
    /** Number of the interface. */
    readonly egress: number;
  };
  /** Index of the backend, and its generation at that time. */
  readonly backendIndex: number;
  readonly generation: number;
}

/** From where to where a frame goes on its link. */
export interface FrameStep {
  readonly destination: MacAddress;
  readonly source: MacAddress;
  readonly tags: Uint8Array;
}

/** The frame of the RST to the client; undefined when what it waits for is not known. */
export function resetToClient(connection: IdleConnection, step: FrameStep): Uint8Array | undefined {
  const { clientExpects, backendExpects, vip, client } = connection;
  return clientExpects === undefined
    ? undefined
    : resetFrame(step, vip, client, clientExpects, backendExpects);
}

/** The frame of the RST to the backend, alike. */
export function resetToBackend(connection: IdleConnection, step: FrameStep): Uint8Array | undefined {
  const { clientExpects, backendExpects, source, backend } = connection;
  return backendExpects === undefined
    ? undefined
    : resetFrame(step, source, backend, backendExpects, clientExpects);
}

const tcpLength = 20;
const flag = { rst: 0x04, ack: 0x10 } as const;
const tcp = 6;
const ttl = 64;

function resetFrame(
  { destination, source, tags }: FrameStep,
  from: ConnectionEnd,
  to: ConnectionEnd,
  sequence: number,
  acknowledged: number | undefined,
): Uint8Array {
  const { family } = to.address;
  const header = family === 4 ? 20 : 40;
  const network = 14 + tags.length;
  const frame = new Uint8Array(network + header + tcpLength);
  const view = new DataView(frame.buffer);
  frame.set(destination, 0);
  frame.set(source, 6);
  frame.set(tags, 12);
  view.setUint16(network - 2, family === 4 ? 0x0800 : 0x86dd);
  const segment = network + header;
  view.setUint16(segment, from.port);
  view.setUint16(segment + 2, to.port);
  view.setUint32(segment + 4, sequence);
  view.setUint32(segment + 8, acknowledged ?? 0);
  view.setUint8(segment + 12, (tcpLength / 4) << 4);
  view.setUint8(segment + 13, acknowledged === undefined ? flag.rst : flag.rst | flag.ack);
  const addresses = network + header - 2 * from.address.bytes.length;
  frame.set(from.address.bytes, addresses);
  frame.set(to.address.bytes, addresses + from.address.bytes.length);
  // Addresses and segment lie side by side; of the pseudo-header only protocol and length are left.
  view.setUint16(segment + 16, checksum(view, addresses, frame.length, tcp + tcpLength));
  if (family === 4) {
    view.setUint16(network, 0x4500);
    view.setUint16(network + 2, header + tcpLength);
    view.setUint16(network + 6, 0x4000);
    view.setUint8(network + 8, ttl);
    view.setUint8(network + 9, tcp);
    view.setUint16(network + 10, checksum(view, network, segment, 0));
  } else {
    view.setUint32(network, 0x60000000);
    view.setUint16(network + 4, tcpLength);
    view.setUint8(network + 6, tcp);
    view.setUint8(network + 7, ttl);
  }
  return frame;
}

/** The internet checksum (RFC 1071) of an even number of bytes, and of `sum`. */
function checksum(view: DataView, from: number, end: number, sum: number): number {
  let total = sum;
  for (let at = from; at < end; at += 2) total += view.getUint16(at);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return ~total & 0xffff;
}
