import fc from 'fast-check';
import { ownMac } from './data-plane.ts';
import { etherType, icmp4, icmp6, protocolNumber, tcp, udp, word } from './packet.ts';
import { addressOfKind, vipKinds } from './vip-kinds.ts';
import { clientPort, type Family, families, four, frame, networkPacket } from './world.ts';

/** Frames as a hostile network sends them: right ones, and wrong in every part that has a length or a type. */

/** A frame, and whether every part of it is right: then so must be whatever is made of it. */
export interface ArbitraryPacket {
  readonly bytes: Uint8Array;
  readonly isSound: boolean;
}

/** ESP, SCTP, some that nobody has taken: no number of a protocol that would be wrong about such a payload. */
const otherProtocols = [50, 132, 200, 253, 255];

const port = fc.oneof(
  { weight: 5, arbitrary: fc.constant(80) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 65_535 }) },
);
const ephemeralPort = fc.oneof(
  // Of the flows that the tables know.
  { weight: 1, arbitrary: fc.constant(clientPort) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 65_535 }) },
);
const payload = fc
  .oneof(
    { weight: 6, arbitrary: fc.integer({ min: 0, max: 100 }) },
    { weight: 2, arbitrary: fc.integer({ min: 1300, max: 1480 }) },
    // In several buffers.
    { weight: 1, arbitrary: fc.integer({ min: 3400, max: 8800 }) },
  )
  .map((length) => Uint8Array.from({ length }, (_, index) => index * 7));

const destination = (family: Family) =>
  fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom(...vipKinds.map((kind) => addressOfKind(kind, family))) },
    { weight: 1, arbitrary: fc.constant(family.host) },
    { weight: 1, arbitrary: fc.constant(family.client) },
  );

/** The transport message: protocol number and bytes, with right checksums. */
function message(family: Family, ends: { source: string; destination: string }) {
  const back = { source: ends.destination, destination: ends.source };
  const sent = fc.record({
    client: ephemeralPort,
    service: port,
    flags: fc.integer({ min: 0, max: 63 }),
    payload,
  });
  const segment = sent.map(({ client, service, flags, payload: content }) => ({
    protocol: protocolNumber.tcp,
    bytes: tcp(ends, { sourcePort: client, destinationPort: service, flags }, content),
  }));
  const datagram = sent.map(({ client, service, payload: content }) => ({
    protocol: protocolNumber.udp,
    bytes: udp(ends, client, service, content),
  }));
  const icmp = (type: number, code: number, rest: Uint8Array, content: Uint8Array) =>
    family === four
      ? { protocol: protocolNumber.icmp, bytes: icmp4(type, code, rest, content) }
      : { protocol: protocolNumber.icmp6, bytes: icmp6(ends, type, code, rest, content) };
  const echo = payload.map((content) => icmp(family === four ? 8 : 128, 0, word(0x0102), content));
  const anyIcmp = fc
    .record({ type: fc.integer({ min: 0, max: 255 }), code: fc.integer({ min: 0, max: 20 }), payload })
    .map(({ type, code, payload: content }) => icmp(type, code, word(0), content));
  const error = fc
    .record({
      type: family === four ? fc.constantFrom(3, 11, 12) : fc.constantFrom(1, 2, 3, 4),
      code: fc.integer({ min: 0, max: 5 }),
      service: port,
      client: ephemeralPort,
      isUdp: fc.boolean(),
      kept: fc.integer({ min: 0, max: 60 }),
    })
    .map(({ type, code, service, client, isUdp, kept }) => {
      const quoted = isUdp
        ? udp(back, service, client, new Uint8Array(40))
        : tcp(back, { sourcePort: service, destinationPort: client, flags: 16 }, new Uint8Array(40));
      const protocol = isUdp ? protocolNumber.udp : protocolNumber.tcp;
      const whole = networkPacket(family, protocol, quoted, back);
      return icmp(type, code, Uint8Array.of(0, 0, 5, 0), whole.slice(0, whole.length - kept));
    });
  const other = fc
    .record({ protocol: fc.constantFrom(...otherProtocols), payload })
    .map(({ protocol, payload: content }) => ({ protocol, bytes: content }));
  return fc.oneof(
    { weight: 6, arbitrary: segment },
    { weight: 4, arbitrary: datagram },
    { weight: 1, arbitrary: echo },
    { weight: 1, arbitrary: anyIcmp },
    { weight: 3, arbitrary: error },
    { weight: 1, arbitrary: other },
  );
}

/** What stands around the message. */
const remarkable = fc.record(
  {
    tags: fc.array(
      fc.tuple(fc.constantFrom(etherType.vlan, etherType.qinq), fc.integer({ min: 1, max: 4095 })),
      { maxLength: 3 },
    ),
    ttl: fc.constantFrom(0, 1, 2, 63, 255),
    options: fc.integer({ min: 1, max: 10 }).map((words) => new Uint8Array(words * 4).fill(1)),
    extensions: fc.array(
      fc.tuple(
        fc.constantFrom(
          protocolNumber.hopByHop,
          protocolNumber.routing,
          protocolNumber.destinationOptions,
          protocolNumber.fragment,
        ),
        fc.constantFrom(new Uint8Array(6), new Uint8Array(14)),
      ),
      { minLength: 1, maxLength: 6 },
    ),
  },
  { requiredKeys: [] },
);

type Around = typeof remarkable extends fc.Arbitrary<infer Parts> ? Parts : never;

/** Mostly nothing remarkable. */
const around = fc.oneof(
  { weight: 3, arbitrary: fc.constant({} as Partial<Around>) },
  { weight: 1, arbitrary: remarkable },
);

/** What is wrong about it, for those that are not sound. */
const damage = fc.record(
  {
    version: fc.integer({ min: 0, max: 15 }),
    headerWords: fc.integer({ min: 0, max: 15 }),
    length: fc.integer({ min: 0, max: 65_535 }),
    fragment: fc.constantFrom(0x2000, 0x2001, 0x0001, 0x1fff),
    destinationMac: fc.constantFrom('ff:ff:ff:ff:ff:ff', '02:00:00:00:00:77', '00:00:5e:00:01:07'),
    bytes: fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 4 }),
    cut: fc.nat(),
  },
  { requiredKeys: [] },
);

/** The shortest frame that the kernel's test run takes: an Ethernet header. */
const shortest = 14;

/** A frame for the data plane. */
export const arbitraryPacket: fc.Arbitrary<ArbitraryPacket> = fc
  .constantFrom(...families)
  .chain((family) => destination(family).map((to) => ({ family, to })))
  .chain(({ family, to }) => {
    const ends = { source: family.client, destination: to };
    return fc
      .record({ content: message(family, ends), around, damage: fc.option(damage, { freq: 1 }) })
      .map(({ content, around: { ttl, tags, options, extensions }, damage: broken }) => {
        const { version, headerWords, length, fragment, destinationMac, bytes, cut } = broken ?? {};
        const whole = frame(family, content.protocol, content.bytes, {
          ...ends,
          destinationMac: destinationMac ?? ownMac,
          ...(tags === undefined ? {} : { tags }),
          ...(ttl === undefined ? {} : { ttl, hopLimit: ttl }),
          ...(options === undefined ? {} : { options }),
          ...(extensions === undefined ? {} : { extensions }),
          ...(version === undefined ? {} : { version }),
          ...(headerWords === undefined ? {} : { headerWords }),
          ...(length === undefined ? {} : { totalLength: length, payloadLength: length }),
          ...(fragment === undefined ? {} : { fragment }),
        });
        for (const [at, value] of bytes ?? []) whole[at % whole.length] = value;
        const end = cut === undefined ? whole.length : Math.max(shortest, cut % whole.length);
        return { bytes: whole.slice(0, end), isSound: broken === null };
      });
  });
