import { formatIpAddress, type IpAddress, ipAddress } from '@l4d/kit/ip-address.ts';
import { expect, it } from 'vitest';
import { returnEcho } from './echo.ts';

const peers = ['10.0.0.1', 'fd00::1'];
const own = ['10.0.0.2', 'fd00::2'];
const isPeer = (address: IpAddress) => peers.includes(formatIpAddress(address));
const isOwn = (address: IpAddress) => own.includes(formatIpAddress(address));

const ones = (bytes: Uint8Array, start: number, end: number, more = 0) => {
  let total = more;
  for (let at = start; at < end; at += 2)
    total += ((bytes[at] ?? 0) << 8) | (at + 1 < end ? (bytes[at + 1] ?? 0) : 0);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total;
};

const fields = { 4: { source: 12, size: 4, header: 20 }, 6: { source: 8, size: 16, header: 40 } } as const;

const pseudoSum = (bytes: Uint8Array, family: 4 | 6) => {
  const { source, size, header } = fields[family];
  return ones(bytes, source, source + 2 * size, 17 + bytes.length - header);
};

/** An echo packet with good checksums, or the one of UDP as a virtual link leaves it. */
function echo(source: string, destination: string, options: { ttl?: number; partial?: boolean } = {}) {
  const [from, to] = [ipAddress(source), ipAddress(destination)];
  const { header, source: at, size } = fields[from.family];
  const bytes = new Uint8Array(header + 8 + 5);
  const view = new DataView(bytes.buffer);
  bytes[0] = from.family === 4 ? 0x45 : 0x60;
  view.setUint16(from.family === 4 ? 2 : 4, from.family === 4 ? bytes.length : 13);
  bytes[from.family === 4 ? 8 : 7] = options.ttl ?? 255;
  bytes[from.family === 4 ? 9 : 6] = 17;
  bytes.set(from.bytes, at);
  bytes.set(to.bytes, at + size);
  view.setUint16(header, 49_200);
  view.setUint16(header + 2, 3785);
  view.setUint16(header + 4, 13);
  bytes.set([1, 2, 3, 4, 5], header + 8);
  const pseudo = pseudoSum(bytes, from.family);
  view.setUint16(header + 6, options.partial ? pseudo : ~ones(bytes, header, bytes.length, pseudo) & 0xffff);
  if (from.family === 4) view.setUint16(10, ~ones(bytes, 0, 20) & 0xffff);
  return bytes;
}

function expectGood(bytes: Uint8Array, family: 4 | 6): void {
  const { header } = fields[family];
  if (family === 4) expect(ones(bytes, 0, 20)).toBe(0xffff);
  expect(ones(bytes, header, bytes.length, pseudoSum(bytes, family))).toBe(0xffff);
}

it.each([
  ['10.0.0.1', 4],
  ['fd00::1', 6],
] as const)('forwards what %s sends to itself, with one less of TTL', (peer, family) => {
  for (const partial of [false, true]) {
    const sent = echo(peer, peer, { partial });
    const returned = returnEcho(sent, isPeer, isOwn);
    expect(formatIpAddress(returned?.peer ?? ipAddress('::'))).toBe(peer);
    const bytes = returned?.bytes ?? sent;
    expect(bytes[family === 4 ? 8 : 7]).toBe(254);
    expectGood(bytes, family);
    const { source, header } = fields[family];
    expect(bytes.subarray(source, header)).toEqual(sent.subarray(source, header));
    expect(bytes.subarray(header + 8)).toEqual(sent.subarray(header + 8));
  }
});

it.each([
  ['10.0.0.1', '10.0.0.2', 4],
  ['fd00::1', 'fd00::2', 6],
] as const)(
  'answers what %s sends to us with addresses and ports the other way round',
  (peer, us, family) => {
    const bytes = returnEcho(echo(peer, us, { partial: true }), isPeer, isOwn)?.bytes ?? new Uint8Array();
    const { source, size, header } = fields[family];
    expect(bytes.subarray(source, source + size)).toEqual(ipAddress(us).bytes);
    expect(bytes.subarray(source + size, source + 2 * size)).toEqual(ipAddress(peer).bytes);
    const view = new DataView(bytes.buffer);
    expect([view.getUint16(header), view.getUint16(header + 2)]).toEqual([3785, 49_200]);
    expectGood(bytes, family);
  },
);

it('leaves a broken checksum as it is: the sender shall see what broke', () => {
  const sent = echo('10.0.0.1', '10.0.0.1');
  sent[30] = 0xff;
  const { bytes } = returnEcho(sent, isPeer, isOwn) ?? {};
  expect(bytes?.subarray(20)).toEqual(sent.subarray(20));
});

it.each([
  ['of a stranger to us', echo('10.0.0.9', '10.0.0.2')],
  ['of a neighbour to somebody else', echo('10.0.0.1', '10.0.0.9')],
  ['that has passed a router', echo('10.0.0.1', '10.0.0.1', { ttl: 254 })],
  ['cut short', echo('10.0.0.1', '10.0.0.1').subarray(0, 30)],
  ['that is a fragment', echo('10.0.0.1', '10.0.0.1').with(6, 0x20)],
  ['of another protocol', echo('10.0.0.1', '10.0.0.1').with(9, 6)],
  ['with a header longer than itself', echo('10.0.0.1', '10.0.0.1').with(0, 0x4f)],
  ['of no IP version', new Uint8Array(60)],
])('takes no echo packet %s', (_, bytes) => {
  expect(returnEcho(bytes, isPeer, isOwn)).toBeUndefined();
});
