import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { ipPrefix, prefixContains } from '@l4d/kit/ip-prefix.ts';
import { encodeStruct } from '@l4d/kit/struct-codec.ts';
import type { TunnelSettings } from '@l4d/l4d/core/forwarding/tunnel-settings.ts';
import { objectPath, objectTypes, structLayout } from '@l4d/l4d/io/forwarding/bpf-objects.ts';
import { pinnedMaps } from '@l4d/l4d/io/forwarding/forwarding-maps.ts';
import { createMapCodec } from '@l4d/l4d/io/forwarding/map-codec.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ownMac, testEgress, testTunnel } from './testing/data-plane.ts';
import { counting, join, mac } from './testing/packet.ts';
import { encapsulated, networkOf, readOuter } from './testing/tunnel-packets.ts';
import { backendMacs, families, four, tcpFrame, udpFrame } from './testing/world.ts';

/** TC_ACT_UNSPEC (-1) and TC_ACT_SHOT of linux/pkt_cls.h, as the test run tells them. */
const goesOn = 0xffffffff;
const dropped = 2;
/** TC_ACT_REDIRECT. */
const redirected = 7;
/** Size of struct __sk_buff and the offset of its mark (linux/bpf.h). */
const skbSize = 192;
const markOffset = 8;

/** Of the backend in its tenant's network. */
const tenantMac = '02:42:0a:00:00:15';

let object: libbpf.BpfObject;
let backends: number;
// Of l4d_xdp, which has all the types of the codec; the shared structs are the same.
const codec = createMapCodec(objectTypes('l4d_xdp'));

beforeAll(() => {
  object = libbpf.openObject(objectPath('check_steering'));
  for (const name of libbpf.mapNames(object)) {
    if (!['egress', 'egress_devices'].includes(name) && pinnedMaps.includes(name as 'backends'))
      libbpf.setMaxEntries(object, name, 8);
  }
  libbpf.loadObject(object, 'check_steering');
  backends = libbpf.mapFd(object, 'backends');
  settle({});
});

afterAll(() => libbpf.closeObject(object));

function write(index: number, mac: Uint8Array, vipId: number): void {
  const value = encodeStruct(structLayout(objectTypes('check_steering'), 'backend'), { mac, vip_id: vipId });
  libbpf.updateElement(backends, new Uint8Array(Uint32Array.of(index).buffer), value);
}

function writeTunnelled(index: number, address: string, forward: 'ipip' | 'gue' | 'vxlan'): void {
  if (forward === 'vxlan') {
    const end = codec.encodeVxlanEnd({ remote: ipAddress(address), vni: 42, mac: mac(tenantMac) });
    libbpf.updateElement(
      libbpf.mapFd(object, 'vxlan_ends'),
      new Uint8Array(Uint32Array.of(index).buffer),
      end,
    );
  }
  const record = { state: 'up', forward, generation: 0, vipId: 1, egress: 0, port: undefined } as const;
  const value = codec.encodeBackend({ ...record, mac: mac(backendMacs[0]), address: ipAddress(address) });
  libbpf.updateElement(backends, new Uint8Array(Uint32Array.of(index).buffer), value);
}

function settle(changes: Partial<TunnelSettings>): void {
  const value = codec.encodeEgress(testEgress({ ...testTunnel, ...changes }));
  libbpf.updateElement(libbpf.mapFd(object, 'egress'), new Uint8Array(4), value);
}

function send(mark: number, packet: Uint8Array = tcpFrame(four)) {
  const context = new Uint8Array(skbSize);
  new DataView(context.buffer).setUint32(markOffset, mark, true);
  return libbpf.testRun(libbpf.programFd(object, 'check_steering'), packet, 1, context);
}

describe('check_steering', () => {
  it('leaves packets without the mark alone', () => {
    for (const mark of [0, 3, 0x4b000003, 0x4d000003, 0xcc000003]) {
      const run = send(mark);
      expect(run.action).toBe(goesOn);
      expect(run.packet).toEqual(tcpFrame(four));
    }
  });

  it('sends a marked packet to the backend of its index, changing the destination MAC alone', () => {
    write(3, mac(backendMacs[0]), 1);
    write(4, mac(backendMacs[1]), 1);
    for (const [index, n] of [
      [3, 0],
      [4, 1],
    ] as const) {
      const expected = tcpFrame(four);
      expected.set(mac(backendMacs[n]), 0);
      const run = send(0x4c000000 | index);
      expect(run.action).toBe(goesOn);
      expect(run.packet).toEqual(expected);
    }
  });

  it('drops a marked packet whose backend is free, unresolved or outside the map', () => {
    write(5, mac(backendMacs[0]), 0);
    write(6, new Uint8Array(6), 1);
    for (const index of [5, 6, 7, 8, 0xffffff])
      expect(send(0x4c000000 | index).action, `index ${index}`).toBe(dropped);
  });
});

describe('check_steering of a tunnelled backend', () => {
  const remote = { 4: '10.80.2.21', 6: 'fd80:2::21' } as const;
  const source = { 4: '10.99.0.0/16', 6: 'fd99::/96' } as const;
  const kinds = families.flatMap((inner) =>
    ([4, 6] as const).flatMap((outer) =>
      (['ipip', 'gue', 'vxlan'] as const).map((forward) => ({ inner, outer, forward })),
    ),
  );

  it.each(kinds)('wraps $inner.name in IPv$outer by $forward, as XDP does', ({ inner, outer, forward }) => {
    settle({ sources: { ipv4: ipPrefix(source[4]), ipv6: ipPrefix(source[6]) } });
    writeTunnelled(6, remote[outer], forward);
    for (const packet of [
      tcpFrame(inner, { options: counting(20, 2) }, counting(31)),
      udpFrame(inner, counting(8)),
    ]) {
      const run = send(0x4c000006, packet);
      expect(run.action).toBe(goesOn);
      const seen = readOuter(run.packet);
      expect(prefixContains(ipPrefix(source[outer]), ipAddress(seen.source)), seen.source).toBe(true);
      const gue = { sourcePort: seen.sourcePort, variant: 1 as const, hasChecksum: outer === 6 };
      const vxlan = {
        sourcePort: seen.sourcePort,
        vni: 42,
        destinationMac: tenantMac,
        sourceMac: ownMac,
        hasChecksum: outer === 6,
      };
      const wrapped = encapsulated(
        {
          family: outer,
          source: seen.source,
          destination: remote[outer],
          trafficClass: 0,
          flowLabel: seen.flowLabel,
          ...(forward === 'gue' ? { gue } : forward === 'vxlan' ? { vxlan } : {}),
        },
        networkOf(packet),
      );
      const type = outer === 4 ? [0x08, 0x00] : [0x86, 0xdd];
      expect(run.packet).toEqual(
        join(mac(backendMacs[0]), packet.slice(6, 12), Uint8Array.from(type), wrapped),
      );
    }
  });

  it('leaves by the interface of the backend, from its address', () => {
    settle({});
    const elsewhere = codec.encodeEgress({
      ...testEgress(),
      interfaceIndex: 77,
      mac: mac('02:00:00:00:05:05'),
    });
    libbpf.updateElement(libbpf.mapFd(object, 'egress'), new Uint8Array(Uint32Array.of(9).buffer), elsewhere);
    const record = {
      state: 'up',
      forward: 'l2',
      generation: 0,
      vipId: 1,
      egress: 9,
      port: undefined,
    } as const;
    const value = codec.encodeBackend({ ...record, mac: mac(backendMacs[0]), address: ipAddress(remote[4]) });
    libbpf.updateElement(backends, new Uint8Array(Uint32Array.of(7).buffer), value);
    const run = send(0x4c000007, tcpFrame(four));
    expect(run.action).toBe(redirected);
    expect(run.packet.slice(0, 12)).toEqual(join(mac(backendMacs[0]), mac('02:00:00:00:05:05')));
  });

  it('drops a check that has no source to come from', () => {
    settle({ sources: {} });
    writeTunnelled(6, remote[4], 'ipip');
    expect(send(0x4c000006, tcpFrame(four)).action).toBe(dropped);
  });
});

describe('pass', () => {
  it('passes every frame untouched', () => {
    const pass = libbpf.openObject(objectPath('pass'));
    try {
      libbpf.loadObject(pass, 'pass');
      const run = libbpf.testRun(libbpf.programFd(pass, 'pass'), tcpFrame(four));
      expect(run.action).toBe(2);
      expect(run.packet).toEqual(tcpFrame(four));
    } finally {
      libbpf.closeObject(pass);
    }
  });
});
