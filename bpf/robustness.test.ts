import { ipAddress } from '@l4d/kit/ip-address.ts';
import { usualSelection } from '@l4d/l4d/core/forwarding/backend-selection.ts';
import { flowSlot } from '@l4d/l4d/core/forwarding/flow-slot.ts';
import type { WantedBackend, WantedVip } from '@l4d/l4d/core/forwarding/forwarding-plan.ts';
import { tableOf } from '@l4d/l4d/core/forwarding/forwarding-plan.ts';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { echoFrame } from './fixtures/echo.ts';
import { icmpErrorFixtures } from './fixtures/icmp-errors.ts';
import { loadDataPlane, type Outcome, ownMac, type TestDataPlane } from './testing/data-plane.ts';
import { counting, etherType, mac, protocolNumber, tcpFlag } from './testing/packet.ts';
import { verifiedChecksums } from './testing/verify-checksums.ts';
import {
  backend,
  backendMacs,
  type Family,
  families,
  four,
  routerMac,
  six,
  tcpFrame,
  udpFrame,
  vipOf,
  vipPort,
} from './testing/world.ts';

/** What holds for every frame, whatever is in it. */

let plane: TestDataPlane;

beforeAll(() => {
  plane = loadDataPlane();
  for (const family of families) {
    plane.forwarding.apply(vipOf(family));
    plane.forwarding.apply(vipOf(family, { protocol: 'udp' }));
    // Flows on this VIP are answered with RSTs.
    const other = { address: ipAddress(family.otherVip), onBackendDown: 'reset' } as const;
    plane.forwarding.apply(vipOf(family, other));
    plane.send(tcpFrame(family, {}, undefined, { destination: family.otherVip }));
    plane.forwarding.apply(vipOf(family, { ...other, backends: [backend(family, 0, { state: 'down' })] }));
  }
});

afterAll(() => plane.close());

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/**
 * Checks that what is behind the MAC addresses is one hop further and else unchanged. A checksum that was
 * wrong is as wrong as before: its difference alone is looked at (RFC 1624), modulo 65535.
 */
function expectOneHop(before: Uint8Array, after: Uint8Array): void {
  const expected = Uint8Array.from(before);
  const view = new DataView(expected.buffer);
  let at = 0;
  while ([etherType.vlan, etherType.qinq].some((tag) => tag === view.getUint16(at))) at += 4;
  const isIpv6 = view.getUint16(at) === etherType.ipv6;
  const ttlAt = at + 2 + (isIpv6 ? 7 : 8);
  expected[ttlAt] = (before[ttlAt] ?? 0) - 1;
  if (!isIpv6) {
    const checksumAt = at + 12;
    const told = new DataView(after.buffer, after.byteOffset).getUint16(checksumAt);
    expect((told - view.getUint16(checksumAt) + 65_535) % 65_535).toBe(0x100);
    view.setUint16(checksumAt, told);
  }
  expect(hex(after)).toBe(hex(expected));
}

/** Checks that a frame's way is one of those that the data plane has. */
function checkOutcome(packet: Uint8Array, outcome: Outcome): void {
  expect(outcome.reasons).toHaveLength(1);
  const [reason = ''] = outcome.reasons;
  expect(reason.startsWith(`${outcome.action}_`), `${reason} with ${outcome.action}`).toBe(true);
  if (outcome.action === 'drop') return;
  if (outcome.action === 'pass') {
    expect(hex(outcome.packet)).toBe(hex(packet));
    return;
  }
  expect(hex(packet.subarray(0, 6))).toBe(hex(mac(ownMac)));
  expect(hex(outcome.packet.subarray(6, 12))).toBe(hex(mac(ownMac)));
  if (reason === 'tx_forward' || reason === 'tx_icmp_error') {
    expect(hex(outcome.packet.subarray(0, 6))).toBe(hex(mac(backendMacs[0])));
    expectOneHop(packet.subarray(12), outcome.packet.subarray(12));
    return;
  }
  // Answers go back where the packet came from, from the VIP that it was sent to.
  expect(hex(outcome.packet.subarray(0, 6))).toBe(hex(packet.subarray(6, 12)));
  if (reason === 'tx_echo') expect(outcome.packet).toHaveLength(packet.length);
  else {
    expect(reason).toBe('tx_reset');
    expect(outcome.packet.length).toBeLessThanOrEqual(packet.length);
    expect(verifiedChecksums(outcome.packet)).toBe(true);
  }
}

const samples: ReadonlyArray<readonly [string, Uint8Array]> = families.flatMap((family: Family) => {
  const errors = icmpErrorFixtures
    .filter((fixture) => fixture.name.startsWith(family.name))
    .flatMap((fixture) => fixture.steps)
    .find((step) => step.kind === 'send' && step.reason === 'tx_icmp_error');
  return [
    [`${family.name} TCP`, tcpFrame(family, { flags: tcpFlag.syn }, counting(10))],
    [
      `${family.name} TCP, tags`,
      tcpFrame(family, {}, undefined, {
        tags: [
          [etherType.qinq, 1],
          [etherType.vlan, 2],
        ],
      }),
    ],
    [`${family.name} UDP`, udpFrame(family, counting(10))],
    [`${family.name} echo`, echoFrame(family, 1, 2, counting(10))],
    [
      `${family.name} reset`,
      tcpFrame(family, { flags: tcpFlag.fin }, counting(10), { destination: family.otherVip }),
    ],
    ...(errors?.kind === 'send' ? [[`${family.name} ICMP error`, errors.packet] as const] : []),
    family === four
      ? [`${family.name} options`, tcpFrame(family, {}, undefined, { options: new Uint8Array(40).fill(1) })]
      : [
          `${family.name} extension headers`,
          tcpFrame(family, {}, undefined, {
            extensions: [
              [protocolNumber.hopByHop, new Uint8Array(6)],
              [protocolNumber.destinationOptions, new Uint8Array(14)],
            ],
          }),
        ],
  ] as const;
});

/** Shortest frame that the kernel's test run takes: an Ethernet header. */
const shortest = 14;

describe('truncation', () => {
  it.each(samples)(
    '%s: every prefix goes a known way and none is forwarded without its ports',
    (_name, packet) => {
      const whole = plane.send(packet);
      checkOutcome(packet, whole);
      expect(whole.action).toBe('tx');
      for (let length = shortest; length < packet.length; length++) {
        const prefix = packet.slice(0, length);
        const outcome = plane.send(prefix);
        checkOutcome(prefix, outcome);
        // Shorter than Ethernet, IPv4 and half a UDP header, nothing tells that it is a VIP's.
        if (length < 14 + 20 + 8) expect(outcome.action, `${length} bytes`).not.toBe('tx');
      }
    },
  );
});

describe('arbitrary frames', () => {
  it('random bytes behind a right Ethernet header go a known way', () => {
    const type = fc.constantFrom(...Object.values(etherType));
    fc.assert(
      fc.property(type, fc.uint8Array({ maxLength: 200 }), (ethernetType, bytes) => {
        const packet = Uint8Array.from([
          ...mac(ownMac),
          ...mac(routerMac),
          ethernetType >> 8,
          ethernetType & 0xff,
          ...bytes,
        ]);
        checkOutcome(packet, plane.send(packet));
      }),
      { numRuns: 2000 },
    );
  });

  it('mutated packets of VIPs go a known way', () => {
    const mutation = fc.record({ at: fc.nat(), value: fc.integer({ min: 0, max: 255 }) });
    fc.assert(
      fc.property(
        fc.constantFrom(...samples.map(([, packet]) => packet)),
        fc.array(mutation, { maxLength: 4 }),
        fc.option(fc.nat()),
        (sample, mutations, cut) => {
          const packet = Uint8Array.from(sample);
          for (const { at, value } of mutations) packet[at % packet.length] = value;
          const sent = cut === null ? packet : packet.slice(0, Math.max(shortest, cut % packet.length));
          checkOutcome(sent, plane.send(sent));
        },
      ),
      { numRuns: 5000 },
    );
  });
});

describe('flowSlot', () => {
  it.each(families.map((family) => [family.name, family] as const))(
    '%s: predicts the backend of every tuple',
    (_name, family) => {
      const many: WantedBackend[] = Array.from({ length: 20 }, (_, n) => ({
        address: ipAddress(family === four ? `10.1.0.${n + 1}` : `fd01::${(n + 1).toString(16)}`),
        weight: 1 + (n % 3),
        state: 'up',
        forward: 'l2',
        egress: 0,
        mac: Uint8Array.of(2, 0, 0, 1, 0, n),
      }));
      fc.assert(
        fc.property(
          fc.uint8Array({ minLength: family === four ? 4 : 16, maxLength: family === four ? 4 : 16 }),
          fc.integer({ min: 0, max: 65_535 }),
          fc.integer({ min: 1, max: 65_535 }),
          fc.constantFrom(2003, 101),
          (client, clientPort, port, tableSize) => {
            const vip: WantedVip = vipOf(family, {
              address: ipAddress(family.host),
              port,
              tableSize,
              backends: many,
            });
            plane.forwarding.apply(vip);
            const source = { family: family === four ? 4 : 6, bytes: client } as const;
            const text = family === four ? client.join('.') : hextets(client);
            const syn = { sourcePort: clientPort, destinationPort: port, flags: tcpFlag.syn };
            const outcome = plane.send(
              tcpFrame(family, syn, undefined, { source: text, destination: family.host }),
            );
            plane.forwarding.remove(`${family.host}-${port}-tcp`);
            const chosen =
              tableOf(many, { tableSize, selection: usualSelection })[
                flowSlot(source, clientPort, port, tableSize)
              ] ?? -1;
            expect(outcome.action).toBe('tx');
            expect(hex(outcome.packet.subarray(0, 6))).toBe(hex(many[chosen]?.mac ?? new Uint8Array(0)));
          },
        ),
        { numRuns: 300 },
      );
    },
  );

  it('spreads clients and ports over the slots', () => {
    const size = 101;
    const counts = new Array<number>(size).fill(0);
    const tuples = 101_000;
    for (let n = 0; n < tuples; n++) {
      const client = n % 2 === 0 ? ipAddress(`198.51.100.${n % 250}`) : ipAddress(six.client);
      const slot = flowSlot(client, 1024 + (n >> 1), vipPort, size);
      counts[slot] = (counts[slot] ?? 0) + 1;
    }
    // Chi-square with 100 degrees of freedom: above 149 with a probability of 0.1 %.
    const expected = tuples / size;
    const chiSquare = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
    expect(chiSquare).toBeLessThan(149);
  });
});

describe('counters', () => {
  it.each(families.map((family) => [family.name, family] as const))(
    '%s: count packets, bytes and flows',
    (_name, family) => {
      const vip = vipOf(family, { port: 4000 });
      plane.forwarding.apply(vip);
      const at = { destinationPort: 4000, sourcePort: 1 };
      const sent = [
        tcpFrame(family, { ...at, flags: tcpFlag.syn }),
        tcpFrame(family, at, counting(100)),
        tcpFrame(family, at, counting(6000)),
      ];
      for (const packet of sent) expect(plane.send(packet).action).toBe('tx');
      const bytes = sent.reduce((sum, packet) => sum + packet.length, 0);
      const expected = { packets: 3, bytes, flows: 1 };
      expect(plane.forwarding.vipCounter(`${family.vip}-4000-tcp`)).toEqual(expected);
      expect(plane.forwarding.backendCounter(`${family.vip}-4000-tcp`, backend(family, 0).address)).toEqual(
        expected,
      );
    },
  );
});

function hextets(bytes: Uint8Array): string {
  return Array.from({ length: 8 }, (_, i) =>
    (((bytes[i * 2] ?? 0) << 8) | (bytes[i * 2 + 1] ?? 0)).toString(16),
  ).join(':');
}
