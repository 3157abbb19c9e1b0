import { ipAddress } from '@l4d/kit/ip-address.ts';
import { describe, expect, it } from 'vitest';
import { type BfdPacket, encodePacket } from './packet.ts';
import { controlFilter, echoFilter, maxInstructions } from './packet-filter.ts';

/** Runs a program as the kernel does (<linux/filter.h>): whether the packet is kept. */
function keeps(program: Uint8Array, network: Uint8Array, transport: number, packetType = 0): boolean {
  const view = new DataView(program.buffer);
  const octet = (at: number) => {
    const value = network[at];
    if (value === undefined) throw new RangeError('beyond the packet');
    return value;
  };
  const load = (k: number, size: number) => {
    if (k === 0xffff_f004) return packetType;
    const at = k >= 0xfff0_0000 ? k - 0xfff0_0000 : k + transport;
    let value = 0;
    for (let index = 0; index < size; index++) value = value * 256 + octet(at + index);
    return value;
  };
  let a = 0;
  let x = 0;
  for (let pc = 0; ; pc++) {
    const code = view.getUint16(8 * pc, true);
    const [jt, jf, k] = [
      view.getUint8(8 * pc + 2),
      view.getUint8(8 * pc + 3),
      view.getUint32(8 * pc + 4, true),
    ];
    try {
      if (code === 0x20) a = load(k, 4);
      else if (code === 0x28) a = load(k, 2);
      else if (code === 0x30) a = load(k, 1);
      else if (code === 0x48) a = load(x + k, 2);
      else if (code === 0xb1) x = 4 * (load(k, 1) & 0xf);
      else if (code === 0x74) a >>>= k;
      else if (code === 0x05) pc += k;
      else if (code === 0x15) pc += a === k ? jt : jf;
      else if (code === 0x35) pc += a >= k ? jt : jf;
      else if (code === 0x45) pc += (a & k) !== 0 ? jt : jf;
      else if (code === 0x06) return k !== 0;
      else throw new TypeError(`opcode ${code}`);
    } catch (error) {
      // The kernel drops what a load goes beyond.
      if (error instanceof RangeError) return false;
      throw error;
    }
  }
}

const packet = (changes: Partial<BfdPacket> = {}) =>
  encodePacket({
    diagnostic: 0,
    state: 'Up',
    poll: false,
    final: false,
    controlPlaneIndependent: false,
    demand: false,
    multiplier: 3,
    myDiscriminator: 7,
    yourDiscriminator: 1001,
    desiredMinTx: 1,
    requiredMinRx: 1,
    requiredMinEchoRx: 0,
    ...changes,
  });

/** An IP packet with a UDP datagram. */
function datagram(source: string, destination: string, ttl: number, port: number, payload: Uint8Array) {
  const [from, to] = [ipAddress(source), ipAddress(destination)];
  const header = from.family === 4 ? 20 : 40;
  const bytes = new Uint8Array(header + 8 + payload.length);
  const view = new DataView(bytes.buffer);
  bytes[0] = from.family === 4 ? 0x45 : 0x60;
  if (from.family === 4) view.setUint16(2, bytes.length);
  else view.setUint16(4, 8 + payload.length);
  bytes[from.family === 4 ? 8 : 7] = ttl;
  bytes[from.family === 4 ? 9 : 6] = 17;
  bytes.set(from.bytes, from.family === 4 ? 12 : 8);
  bytes.set(to.bytes, from.family === 4 ? 16 : 24);
  view.setUint16(header, 50_000);
  view.setUint16(header + 2, port);
  view.setUint16(header + 4, 8 + payload.length);
  bytes.set(payload, header + 8);
  return { bytes, header };
}

describe.each([
  [4, '10.0.0.1', '10.0.0.9', '10.0.0.2'],
  [6, 'fe80::1', 'fe80::9', 'fe80::2'],
] as const)('control packets over IPv%i', (family, peer, stranger, us) => {
  const filter = controlFilter({
    family,
    minTtl: 255,
    discriminators: [1000, 1001, 1002],
    sources: [ipAddress(stranger.replace('9', '3')), ipAddress(peer)],
  });
  const passes = (source: string, ttl: number, payload: Uint8Array) => {
    const { bytes, header } = datagram(source, us, ttl, 3784, payload);
    return keeps(filter, bytes, header);
  };
  const down = packet({ state: 'Down', yourDiscriminator: 0 });

  it('keeps what a session may mean', () => {
    expect(passes(peer, 255, packet())).toBe(true);
    // By the discriminator alone, whatever the source.
    expect(passes(stranger, 255, packet())).toBe(true);
    expect(passes(peer, 255, down)).toBe(true);
  });

  it.each([
    ['a router passed', 254, packet()],
    ['a discriminator of nobody', 255, packet({ yourDiscriminator: 999 })],
    ['Up without a discriminator', 255, packet({ yourDiscriminator: 0 })],
    ['no discriminator of its own', 255, packet({ myDiscriminator: 0 })],
    ['a multiplier of 0', 255, packet({ multiplier: 0 })],
    ['another version', 255, packet().with(0, 0x40)],
    ['multipoint', 255, packet().with(1, 0xc1)],
    ['too short a Length', 255, packet().with(3, 23)],
    ['too few octets', 255, packet().subarray(0, 23)],
  ])('drops %s', (_, ttl, payload) => {
    expect(passes(peer, ttl, payload)).toBe(false);
  });

  it('drops who is none of the neighbours and has no discriminator', () => {
    expect(passes(stranger, 255, down)).toBe(false);
  });

  it('goes without its lists where they would not fit', () => {
    const many = Array.from({ length: maxInstructions }, (_, index) => index + 1);
    const short = controlFilter({ family, minTtl: 255, discriminators: many, sources: [] });
    const { bytes, header } = datagram(stranger, us, 255, 3784, down);
    expect(short.length / 8).toBeLessThanOrEqual(maxInstructions);
    expect(keeps(short, bytes, header)).toBe(true);
    expect(keeps(short, bytes.with(family === 4 ? 8 : 7, 254), header)).toBe(false);
  });
});

describe.each([
  [4, '10.0.0.1', '10.0.0.9', '10.0.0.2'],
  [6, 'fd00::1', 'fd00::9', 'fd00::2'],
] as const)('echo packets over IPv%i', (family, peer, stranger, us) => {
  const filter = echoFilter(family, [ipAddress(peer)]);
  const passes = (source: string, destination: string, ttl: number, port: number, packetType = 0) =>
    keeps(filter, datagram(source, destination, ttl, port, Uint8Array.of(1, 2, 3)).bytes, 0, packetType);

  it('keeps those of a neighbour, to itself or to us', () => {
    expect(passes(peer, peer, 255, 3785)).toBe(true);
    expect(passes(peer, us, 255, 3785)).toBe(true);
    expect(passes(stranger, peer, 255, 3785)).toBe(true);
  });

  it('drops all else', () => {
    expect(passes(peer, peer, 254, 3785)).toBe(false);
    expect(passes(peer, peer, 255, 3784)).toBe(false);
    expect(passes(stranger, us, 255, 3785)).toBe(false);
    // Sent to another host's link-layer address (PACKET_OTHERHOST), or by us (PACKET_OUTGOING).
    expect(passes(peer, peer, 255, 3785, 3)).toBe(false);
    expect(passes(peer, peer, 255, 3785, 4)).toBe(false);
  });
});
