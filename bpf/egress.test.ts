/** Backends by MAC address, and by NAT, behind another interface: redirected frames, and those that do not fit there. */
import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { objectTypes, structLayout } from '@l4d/l4d/io/forwarding/bpf-objects.ts';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { loadDataPlane, type TestDataPlane, testEgress } from './testing/data-plane.ts';
import { backendPort, endsOfConnection, frameOf, leg } from './testing/nat-packets.ts';
import { counting, etherType, join, mac, tcpFlag } from './testing/packet.ts';
import { networkOf } from './testing/tunnel-packets.ts';
import { verifiedChecksums } from './testing/verify-checksums.ts';
import {
  backend,
  backendMacs,
  families,
  routerMac,
  sentTo,
  tcpFrame,
  udpFrame,
  vipOf,
} from './testing/world.ts';

const types = objectTypes('l4d_xdp');
let plane: TestDataPlane;
/** Of the interface behind which the backend is; the kernel's own is the loopback. */
const other = { number: 63, mac: '02:00:00:00:05:05', mtu: 1400 } as const;

beforeAll(() => {
  plane = loadDataPlane({ dirtyHeadroom: true });
});

afterAll(() => plane.close());

const tagged = [
  [],
  [[etherType.vlan, 77]],
  [
    [etherType.qinq, 5],
    [etherType.vlan, 77],
  ],
] as const;

describe.each(families.map((family) => [family.name, family] as const))('%s', (_name, family) => {
  const type = family.name === 'ipv4' ? etherType.ipv4 : etherType.ipv6;

  beforeEach(() => {
    const { number, ...changes } = other;
    plane.maps.writeEgress(number, {
      ...testEgress(),
      name: 'other',
      mtu: changes.mtu,
      mac: mac(changes.mac),
    });
    for (const protocol of ['tcp', 'udp'] as const)
      plane.forwarding.apply(vipOf(family, { protocol, backends: [backend(family, 0, { egress: number })] }));
  });

  const moved = (packet: Uint8Array) =>
    join(
      mac(backendMacs[0]),
      mac(other.mac),
      Uint8Array.of(type >> 8, type & 0xff),
      networkOf(sentTo(backendMacs[0], packet)),
    );

  it.each(tagged.map((tags) => ({ tags })))(
    'leaves by it, without the tags of the other: $tags',
    ({ tags }) => {
      for (const packet of [
        tcpFrame(family, { flags: tcpFlag.syn }, undefined, { tags }),
        tcpFrame(family, {}, counting(333), { tags }),
        udpFrame(family, counting(9), { tags }),
      ]) {
        const outcome = plane.send(packet);
        expect(outcome).toMatchObject({ action: 'redirect', reasons: ['tx_forward'] });
        expect(outcome.notes).toContain('note_other_interface');
        expect(outcome.packet).toEqual(moved(packet));
        expect(verifiedChecksums(outcome.packet)).toBe(true);
      }
    },
  );

  it('answers what does not fit there, and takes what just does', () => {
    const header = family.name === 'ipv4' ? 40 : 60;
    const fits = tcpFrame(family, {}, counting(other.mtu - header));
    expect(plane.send(fits).packet).toEqual(moved(fits));
    const large = tcpFrame(family, {}, counting(other.mtu - header + 1));
    const outcome = plane.send(large);
    expect(outcome).toMatchObject({ action: 'tx', reasons: ['tx_too_big'] });
    expect(verifiedChecksums(outcome.packet)).toBe(true);
    const message = networkOf(outcome.packet).subarray(family.name === 'ipv4' ? 20 : 40);
    expect(new DataView(message.buffer, message.byteOffset).getUint16(6)).toBe(other.mtu);
  });

  it('drops what has no hop left, what lies, and what would leave by an interface that is gone', () => {
    expect(plane.send(tcpFrame(family, {}, undefined, { ttl: 1, hopLimit: 1 })).reasons).toEqual([
      'drop_ttl_expired',
    ]);
    plane.maps.writeEgress(other.number, undefined);
    expect(plane.send(tcpFrame(family)).reasons).toEqual(['drop_no_egress']);
  });

  it('NAT: to a backend behind it, and back to a client behind it', () => {
    plane.clear();
    const nat = backend(family, 0, { forward: 'nat', port: backendPort, egress: other.number });
    for (const protocol of ['tcp', 'udp'] as const)
      plane.forwarding.apply(vipOf(family, { protocol, backends: [nat] }));
    const { request, translatedRequest, answer, translatedAnswer } = endsOfConnection(family);
    const there = { from: other.mac, to: backendMacs[0], hops: 62 };
    const back = { from: other.mac, to: routerMac, hops: 62 };
    const redirected = (packet: Uint8Array, out: Uint8Array, reason: string) => {
      const outcome = plane.send(packet);
      expect(outcome).toMatchObject({ action: 'redirect', reasons: [reason] });
      expect(outcome.notes).toContain('note_other_interface');
      expect(Buffer.from(outcome.packet)).toEqual(Buffer.from(out));
    };
    // As if the client's packets had come in by the other interface, of which another program takes care.
    const comeInByOther = () => {
      for (const name of ['nat4_in', 'nat6_in'] as const) {
        const { keySize, valueSize } = libbpf.mapInfo(plane.fds[name]);
        const at = structLayout(types, 'nat_way').fields.get('egress')?.offset ?? 0;
        const wayAt = structLayout(types, 'nat_flow').fields.get('way')?.offset ?? 0;
        for (const key of libbpf.mapKeys(plane.fds[name], keySize)) {
          const value = new Uint8Array(valueSize);
          libbpf.lookupElement(plane.fds[name], key, value);
          new DataView(value.buffer).setUint16(wayAt + at, other.number << 10, true);
          libbpf.updateElement(plane.fds[name], key, value);
        }
      }
    };
    for (const content of [
      { kind: 'tcp', parts: { flags: tcpFlag.syn } },
      { kind: 'udp', payload: counting(33) },
    ] as const) {
      const asked = frameOf(leg.fromClient, request, content, { tags: [[etherType.vlan, 77]] });
      redirected(asked, frameOf(there, translatedRequest, content), 'tx_nat');
      comeInByOther();
      const tags = { tags: [[etherType.vlan, 77]] as const };
      redirected(
        frameOf(leg.fromBackend, answer, content),
        frameOf(back, translatedAnswer, content, tags),
        'tx_nat_return',
      );
    }
    const large = { kind: 'udp' as const, payload: counting(other.mtu - 20) };
    const either = (
      content: typeof large,
      expected: { readonly action: string; readonly reasons: string[] },
    ) => {
      expect(plane.send(frameOf(leg.fromClient, request, content))).toMatchObject(expected);
      comeInByOther();
      expect(plane.send(frameOf(leg.fromBackend, answer, content))).toMatchObject(expected);
    };
    either(large, { action: 'tx', reasons: ['tx_too_big'] });
    plane.maps.writeEgress(other.number, undefined);
    either({ kind: 'udp', payload: counting(5) }, { action: 'drop', reasons: ['drop_no_egress'] });
    plane.clear();
  });

  it('counts the traffic once', () => {
    const key =
      [...plane.forwarding.identities()].find((one) => one.startsWith(family.vip) && one.endsWith('-tcp')) ??
      '';
    const before = plane.forwarding.vipCounter(key)?.packets ?? 0;
    plane.send(tcpFrame(family));
    expect(plane.forwarding.vipCounter(key)?.packets).toBe(before + 1);
  });
});
