/** Tunnelled backends: a packet in, a packet within another out; and the ICMP errors about what does not fit. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { lookupElement, possibleCpus, updateElement } from '@l4d/kit/ffi/libbpf.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { prefixContains } from '@l4d/kit/ip-prefix.ts';
import { vipKeyText } from '@l4d/l4d/core/desired/vip.ts';
import type { TunnelSettings } from '@l4d/l4d/core/forwarding/tunnel-settings.ts';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { checksumHolds, internetChecksum } from './testing/checksum.ts';
import { loadDataPlane, ownMac, type TestDataPlane, testTunnel } from './testing/data-plane.ts';
import { frameSizes, tcpFrameOf, udpFrameOf } from './testing/frame-sizes.ts';
import {
  counting,
  etherType,
  icmp4,
  icmp6,
  join as joinBytes,
  long,
  mac,
  protocolNumber,
  tcpFlag,
  word,
} from './testing/packet.ts';
import { pcap } from './testing/pcap.ts';
import { encapsulated, networkOf, networkOffset, readOuter } from './testing/tunnel-packets.ts';
import {
  other,
  otherMtu,
  overheadOf,
  remote,
  tenant,
  useWay,
  type Way,
  ways,
} from './testing/tunnel-ways.ts';
import { verifiedChecksums } from './testing/verify-checksums.ts';
import {
  backendMacs,
  type Family,
  four,
  frame,
  ipHeaderWith,
  networkPacket,
  sentTo,
  six,
  tcpFrame,
  tcpSegment,
  udpFrame,
  vipOf,
} from './testing/world.ts';

let plane: TestDataPlane;

beforeAll(() => {
  plane = loadDataPlane({ dirtyHeadroom: true });
});

afterAll(() => plane.close());

function use(way: Way, changes: Partial<TunnelSettings> = {}, egress = 0): void {
  useWay(plane, way, changes, egress);
}

/** What must come out, given what the sender chose by the flow. */
function wrapped(
  way: Way,
  packet: Uint8Array,
  out: Uint8Array,
  hasChecksum = true,
  leaveBy?: { readonly mac: string },
): Uint8Array {
  const seen = readOuter(out);
  const sent = sentTo(backendMacs[0], packet);
  const at = networkOffset(sent);
  const within = sent.subarray(at);
  const length =
    way.inner === four
      ? new DataView(within.buffer, within.byteOffset).getUint16(2)
      : 40 + new DataView(within.buffer, within.byteOffset).getUint16(4);
  const trafficClass =
    way.inner === four ? (within[1] ?? 0) : (((within[0] ?? 0) & 15) << 4) | ((within[1] ?? 0) >> 4);
  const type = word(way.outer === 4 ? etherType.ipv4 : etherType.ipv6);
  // By another interface without the tags of this one.
  const header =
    leaveBy === undefined
      ? joinBytes(sent.slice(0, at - 2), type)
      : joinBytes(sent.slice(0, 6), mac(leaveBy.mac), type);
  const gue = {
    sourcePort: seen.sourcePort,
    variant: way.variant,
    hasChecksum: way.outer === 6 && hasChecksum,
  };
  const vxlan = {
    sourcePort: seen.sourcePort,
    vni: tenant.vni,
    destinationMac: tenant.mac,
    sourceMac: leaveBy?.mac ?? ownMac,
    hasChecksum: way.outer === 6 && hasChecksum,
  };
  const packetOut = encapsulated(
    {
      family: way.outer,
      source: seen.source,
      destination: remote[way.outer],
      trafficClass,
      flowLabel: seen.flowLabel,
      ...(way.forward === 'gue' ? { gue } : way.forward === 'vxlan' ? { vxlan } : {}),
    },
    within.slice(0, length),
  );
  return joinBytes(header, packetOut, within.slice(length));
}

function expectWrapped(way: Way, packet: Uint8Array, hasChecksum = true): Uint8Array {
  const outcome = plane.send(packet);
  expect({ action: outcome.action, reasons: outcome.reasons }).toEqual({
    action: 'tx',
    reasons: ['tx_tunnel'],
  });
  expect(hex(outcome.packet)).toBe(hex(wrapped(way, packet, outcome.packet, hasChecksum)));
  const { source, sourcePort } = readOuter(outcome.packet);
  const range = way.outer === 4 ? testTunnel.sources.ipv4 : testTunnel.sources.ipv6;
  expect(range !== undefined && prefixContains(range, ipAddress(source)), source).toBe(true);
  if (way.forward !== 'ipip') expect(sourcePort).toBeGreaterThanOrEqual(0xc000);
  return outcome.packet;
}

/** The frame with that DSCP and ECN. */
function withTrafficClass(packet: Uint8Array, value: number): Uint8Array {
  return joinBytes(packet.slice(0, networkOffset(packet)), ipHeaderWith(networkOf(packet), value));
}

describe.each(ways)('$name', (way) => {
  const { inner } = way;
  beforeEach(() => use(way));

  it('wraps whole packets, and keeps each flow at one source', () => {
    const syn = tcpFrame(inner, { flags: tcpFlag.syn, acknowledged: 0, options: counting(20, 2) });
    const first = expectWrapped(way, syn);
    const odd = tcpFrame(inner, {}, counting(333));
    expect(readOuter(expectWrapped(way, odd)).source).toBe(readOuter(first).source);
    expectWrapped(way, tcpFrame(inner, { flags: tcpFlag.rst }));
    expectWrapped(way, udpFrame(inner, counting(61)));
    expectWrapped(way, udpFrame(inner, new Uint8Array(0)));
    expectWrapped(way, joinBytes(syn, counting(18)));
    for (let flow = 0; flow < 40; flow++)
      expectWrapped(way, tcpFrame(inner, { sourcePort: 1024 + flow }, counting(flow)));
  });

  it('copies DSCP and ECN, takes one hop, leaves tags alone', () => {
    for (const value of [0x01, 0x02, 0x03, 0xb8, 0xff]) {
      expectWrapped(way, withTrafficClass(tcpFrame(inner), value));
    }
    for (const ttl of [2, 255]) expectWrapped(way, tcpFrame(inner, {}, undefined, { ttl, hopLimit: ttl }));
    const last = plane.send(tcpFrame(inner, {}, undefined, { ttl: 1, hopLimit: 1 }));
    expect(last.reasons).toEqual(['drop_ttl_expired']);
    const tag = [etherType.vlan, 77] as const;
    expectWrapped(way, tcpFrame(inner, {}, counting(9), { tags: [tag] }));
    expectWrapped(way, tcpFrame(inner, {}, counting(9), { tags: [[etherType.qinq, 5], tag] }));
  });

  it('needs a next hop, a source of its family, and a packet that is whole', () => {
    const lying = tcpFrame(inner, {}, undefined, { totalLength: 500, payloadLength: 500 });
    expect(plane.send(lying).reasons).toEqual(['drop_malformed']);
    use(way, { sources: way.outer === 4 ? { ipv6: sourceOf(6) } : { ipv4: sourceOf(4) } });
    expect(plane.send(tcpFrame(inner)).reasons).toEqual(['drop_no_tunnel_source']);
  });

  it('answers what does not fit with the size that does, and only that', () => {
    const header = inner === four ? 40 : 60;
    const room = 1500 - overheadOf(way) - header;
    for (const payload of [room - 1, room]) {
      expectWrapped(way, tcpFrame(inner, {}, new Uint8Array(payload).fill(7)));
    }
    for (const tags of [
      [],
      [[etherType.vlan, 3]],
      [
        [etherType.qinq, 5],
        [etherType.vlan, 3],
      ],
    ] as const) {
      const large = tcpFrame(inner, {}, counting(room + 1), { ttl: 9, hopLimit: 9, tags });
      const outcome = plane.send(large);
      expect(outcome.reasons).toEqual(['tx_too_big']);
      expect(verifiedChecksums(outcome.packet)).toBe(true);
      expect(hex(outcome.packet)).toBe(hex(tooBig(inner, large, 1500 - overheadOf(way))));
    }
  });

  it('takes frames of several buffers', () => {
    const jumbo = tcpFrame(inner, {}, counting(6000));
    expect(plane.send(jumbo).packet).toEqual(tooBig(inner, jumbo, 1500 - overheadOf(way)));
    use(way, { mtu: 9000 });
    expectWrapped(way, jumbo);
  });

  it('leaves by the interface of the backend, without the tags of its own', () => {
    use(way, {}, other.number);
    const tag = [etherType.vlan, 77] as const;
    for (const tags of [[], [tag], [[etherType.qinq, 5], tag]] as const) {
      const packet = tcpFrame(inner, {}, counting(9), { tags });
      const outcome = plane.send(packet);
      expect({ action: outcome.action, reasons: outcome.reasons, notes: outcome.notes }).toMatchObject({
        action: 'redirect',
        reasons: ['tx_tunnel'],
        notes: expect.arrayContaining(['note_other_interface']),
      });
      expect(hex(outcome.packet)).toBe(hex(wrapped(way, packet, outcome.packet, true, other)));
    }
    const large = tcpFrame(inner, {}, counting(1500 - overheadOf(way)), { ttl: 9, hopLimit: 9, tags: [tag] });
    const answer = plane.send(large);
    // The answer goes back to where the packet came from.
    expect(answer).toMatchObject({ action: 'tx', reasons: ['tx_too_big'] });
    expect(hex(answer.packet)).toBe(hex(tooBig(inner, large, otherMtu - overheadOf(way))));
    plane.maps.writeEgress(other.number, undefined);
    expect(plane.send(tcpFrame(inner)).reasons[0]).toBe('drop_no_egress');
  });

  it.each(frameSizes)('wraps frames of %i bytes', (size) => {
    use(way, { mtu: 9100 });
    expectWrapped(way, tcpFrameOf(inner, size));
    expectWrapped(way, udpFrameOf(inner, size));
  });

  it('sends ICMP errors about its flows the same way', () => {
    const answer = networkPacket(
      inner,
      protocolNumber.tcp,
      tcpSegment(inner, { sourcePort: 80, destinationPort: 40_000 }),
      {
        source: inner.vip,
        destination: inner.client,
      },
    );
    const router = inner === four ? '192.0.2.254' : '2001:db8::fe';
    const ends = { source: router, destination: inner.vip };
    const error =
      inner === four
        ? frame(inner, protocolNumber.icmp, icmp4(3, 4, long(1400), answer), { source: router })
        : frame(inner, protocolNumber.icmp6, icmp6(ends, 2, 0, long(1400), answer), { source: router });
    const outcome = plane.send(error);
    expect(outcome.reasons).toEqual(['tx_icmp_error_tunnel']);
    expect(hex(outcome.packet)).toBe(hex(wrapped(way, error, outcome.packet)));
    expect(readOuter(outcome.packet).source).toBe(readOuter(plane.send(tcpFrame(inner)).packet).source);
  });
});

describe('the outer header', () => {
  it('has no UDP checksum where that of the packet within is not known', () => {
    const [way] = ways.filter((one) => one.forward === 'gue' && one.outer === 6 && one.inner === four);
    if (way === undefined) throw new Error('no such way');
    use(way);
    const datagram = udpFrame(four, counting(20));
    const without = datagram.slice();
    without.fill(0, 14 + 20 + 6, 14 + 20 + 8);
    expectWrapped(way, datagram);
    expectWrapped(way, without, false);
    // Behind authentication.
    const header = joinBytes(Uint8Array.of(protocolNumber.tcp, 4, 0, 0), counting(20));
    const segment = joinBytes(header, tcpSegment(four));
    expectWrapped(way, frame(four, protocolNumber.authentication, segment), false);
    const overSix = ways.find((one) => one.forward === 'gue' && one.outer === 6 && one.inner === six);
    if (overSix === undefined) throw new Error('no such way');
    use(overSix);
    const extensions = [[protocolNumber.destinationOptions, new Uint8Array(6)]] as const;
    expectWrapped(overSix, tcpFrame(six, {}, counting(5), { extensions }), false);
  });

  it.each(['gue', 'vxlan'] as const)('of %s has a port by the flow', (forward) => {
    const way = ways.find((one) => one.forward === forward);
    if (way === undefined) throw new Error('no such way');
    use(way);
    const portOf = (flow: number) =>
      readOuter(plane.send(tcpFrame(way.inner, { sourcePort: 2000 + flow })).packet).sourcePort;
    const ports = Array.from({ length: 100 }, (_, flow) => portOf(flow));
    expect(new Set(ports).size).toBeGreaterThan(95);
    expect(ports.map((_, flow) => portOf(flow))).toEqual(ports);
  });

  it('of VXLAN needs the end of the tunnel', () => {
    const way = ways.find((one) => one.forward === 'vxlan');
    if (way === undefined) throw new Error('no such way');
    use(way);
    const [index] = [...plane.maps.readAllBackends().keys()];
    for (const key of plane.maps.readAllBackends().keys()) plane.maps.deleteVxlanEnd(key);
    expect(index).toBeDefined();
    expect(plane.send(tcpFrame(way.inner)).reasons).toEqual(['drop_unresolved']);
    // What is not there is found by the reading back, and mended.
    const wanted = vipOf(way.inner, {
      backends: [
        {
          address: ipAddress(way.inner.backends[0]),
          weight: 1,
          state: 'up',
          forward: 'vxlan',
          mac: mac(backendMacs[0]),
          egress: 0,
          vxlan: { remote: ipAddress(remote[way.outer]), vni: tenant.vni, mac: mac(tenant.mac) },
        },
      ],
    });
    expect(plane.forwarding.verify(wanted)).toMatch(/in another way/);
    plane.forwarding.refresh(vipKeyText(wanted));
    plane.forwarding.apply(wanted);
    expect(plane.forwarding.verify(wanted)).toBeUndefined();
    expectWrapped(way, tcpFrame(way.inner));
  });

  it('spreads over the whole range', () => {
    const [way] = ways;
    if (way === undefined) throw new Error('no such way');
    use(way);
    const sources = new Set<string>();
    for (let flow = 0; flow < 200; flow++) {
      sources.add(readOuter(plane.send(tcpFrame(four, { sourcePort: 2000 + flow })).packet).source);
    }
    expect(sources.size).toBeGreaterThan(190);
    use(way, { sources: { ipv4: { address: ipAddress('192.0.2.1'), length: 32 } } });
    expect(readOuter(plane.send(tcpFrame(four)).packet).source).toBe('192.0.2.1');
  });
});

describe('answers to what is too big', () => {
  it('are limited in number, and never about an ICMP error', () => {
    const [way] = ways;
    if (way === undefined) throw new Error('no such way');
    use(way, { mtu: 600 });
    const large = tcpFrame(four, {}, counting(900));
    const key = new Uint8Array(4);
    const due = new BigUint64Array(possibleCpus());
    const bytes = new Uint8Array(due.buffer);
    const millisecond = 1_000_000n;
    // Fifty may go at once: so far ahead the next one may be due, and no further.
    updateElement(
      plane.tooBigDue,
      key,
      new Uint8Array(due.fill(process.hrtime.bigint() + 60_000n * millisecond).buffer),
    );
    expect(plane.send(large).reasons).toEqual(['drop_too_big']);
    updateElement(plane.tooBigDue, key, new Uint8Array(due.fill(0n).buffer));
    const before = process.hrtime.bigint();
    expect(plane.send(large).reasons).toEqual(['tx_too_big']);
    lookupElement(plane.tooBigDue, key, bytes);
    const [next = 0n] = due.filter((one) => one !== 0n);
    expect(next).toBeGreaterThanOrEqual(before + millisecond);
    expect(next).toBeLessThanOrEqual(process.hrtime.bigint() + millisecond);
    // One that is due in a while is answered and moves the next by a whole interval.
    const ahead = process.hrtime.bigint() + 40n * millisecond;
    updateElement(plane.tooBigDue, key, new Uint8Array(due.fill(ahead).buffer));
    expect(plane.send(large).reasons).toEqual(['tx_too_big']);
    lookupElement(plane.tooBigDue, key, bytes);
    expect(due.every((one) => one === ahead || one >= ahead + millisecond)).toBe(true);
    expect(due.some((one) => one !== ahead)).toBe(true);
    updateElement(plane.tooBigDue, key, new Uint8Array(due.fill(0n).buffer));
    const quoted = networkPacket(
      four,
      protocolNumber.tcp,
      tcpSegment(four, { sourcePort: 80, destinationPort: 40_000 }, counting(700)),
      { source: four.vip, destination: four.client },
    );
    const error = frame(four, protocolNumber.icmp, icmp4(3, 4, long(1400), quoted), {
      source: '192.0.2.254',
    });
    expect(plane.send(error).reasons).toEqual(['drop_too_big']);
  });
});

const hasTshark = spawnSync('tshark', ['--version']).status === 0;

it.skipIf(!hasTshark)('tshark finds every checksum right (skipped without tshark)', () => {
  const frames = ways.flatMap((way) => {
    use(way);
    const sent = [
      tcpFrame(way.inner, {}, counting(71)),
      udpFrame(way.inner, counting(8)),
      tcpFrame(way.inner, {}, counting(1461)),
    ];
    return sent.map((packet) => ({ way, out: plane.send(packet) }));
  });
  const folder = mkdtempSync(join(tmpdir(), 'l4d-tunnels-'));
  try {
    const file = join(folder, 'tunnels.pcap');
    writeFileSync(file, pcap(frames.map(({ out }) => out.packet)));
    const checks = ['ip', 'tcp', 'udp'].flatMap((name) => ['-o', `${name}.check_checksum:TRUE`]);
    const names = ['ip', 'udp', 'tcp', 'icmp', 'icmpv6'];
    const fields = names.flatMap((name) => ['-e', `${name}.checksum.status`]);
    const text = execFileSync(
      'tshark',
      ['-r', file, ...checks, '-T', 'fields', ...fields, '-E', 'separator=;'],
      {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      },
    );
    const lines = text.trimEnd().split('\n');
    expect(lines).toHaveLength(frames.length);
    for (const [index, line] of lines.entries()) {
      const { way, out } = frames[index] ?? frames[0] ?? { way: ways[0], out: undefined };
      const seen = Object.fromEntries(line.split(';').map((statuses, at) => [names[at], statuses]));
      const what = `${way?.name} ${out?.reasons.join()}: ${line}`;
      // 1 is "good", 3 "not present": UDP over IPv4, which GUE leaves without. What is quoted ends too early to be summed.
      const isAnswer = out?.reasons[0] === 'tx_too_big';
      const summed = isAnswer ? ['ip', 'icmp', 'icmpv6'] : ['ip', 'udp', 'tcp'];
      for (const name of summed) expect(seen[name], `${name} of ${what}`).not.toMatch(/[02]/);
      if (way?.forward !== 'ipip' && out?.reasons[0] === 'tx_tunnel')
        expect(seen['udp']?.[0], what).toBe(way?.outer === 6 ? '1' : '3');
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

describe('arbitrary frames', () => {
  it('mutated packets for tunnels go a known way, and what is sent is as long as it says', () => {
    const known = /^(pass|drop|tx)_/;
    const mutation = fc.record({ at: fc.nat(90), value: fc.integer({ min: 0, max: 255 }) });
    fc.assert(
      fc.property(
        fc.constantFrom(...ways),
        fc.constantFrom('tcp', 'udp'),
        fc.array(mutation, { maxLength: 4 }),
        fc.option(fc.nat()),
        (way, transport, mutations, cut) => {
          use(way);
          const packet =
            transport === 'tcp' ? tcpFrame(way.inner, {}, counting(40)) : udpFrame(way.inner, counting(50));
          for (const { at, value } of mutations) packet[at % packet.length] = value;
          const sent = cut === null ? packet : packet.slice(0, Math.max(14, cut % packet.length));
          const outcome = plane.send(sent);
          expect(outcome.reasons).toHaveLength(1);
          expect(outcome.reasons[0]).toMatch(known);
          if (outcome.reasons[0] !== 'tx_tunnel') return;
          expect(outcome.packet.length).toBe(sent.length + overheadOf(way));
          const network = networkOf(outcome.packet);
          const view = new DataView(network.buffer, network.byteOffset);
          const length = way.outer === 4 ? view.getUint16(2) : 40 + view.getUint16(4);
          expect(length).toBeLessThanOrEqual(network.length);
          if (way.outer === 4) expect(checksumHolds(network.subarray(0, 20))).toBe(true);
        },
      ),
      { numRuns: 1500 },
    );
  });
});

function sourceOf(family: 4 | 6) {
  const range = family === 4 ? testTunnel.sources.ipv4 : testTunnel.sources.ipv6;
  if (range === undefined) throw new Error('no range');
  return range;
}

/** The ICMP error to the client (RFC 1191, RFC 4443). */
function tooBig(family: Family, packet: Uint8Array, mtu: number): Uint8Array {
  const at = networkOffset(packet);
  const header = joinBytes(packet.slice(6, 12), mac(ownMac), packet.slice(12, at));
  const ends = { source: family.vip, destination: family.client };
  if (family === six) {
    const message = icmp6(ends, 2, 0, long(mtu), networkOf(packet).slice(0, 1232));
    return joinBytes(header, networkPacket(six, protocolNumber.icmp6, message, { ...ends, hopLimit: 64 }));
  }
  const message = icmp4(3, 4, long(mtu), networkOf(packet).slice(0, 512));
  const answer = networkPacket(four, protocolNumber.icmp, message, { ...ends, ttl: 64 });
  // Class CS6, as routers give their errors (RFC 1812 section 4.3.2.5); no identification, no flags.
  answer.set([0xc0], 1);
  answer.fill(0, 4, 8);
  answer.fill(0, 10, 12);
  answer.set(word(internetChecksum(answer.subarray(0, 20))), 10);
  return joinBytes(header, answer);
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
