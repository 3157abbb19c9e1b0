import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { objectTypes } from '@l4d/l4d/io/forwarding/bpf-objects.ts';
import { createForwardingMaps } from '@l4d/l4d/io/forwarding/forwarding-maps.ts';
import { createMapCodec } from '@l4d/l4d/io/forwarding/map-codec.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadDataPlane, type TestDataPlane } from './testing/data-plane.ts';
import { counting, tcpFlag } from './testing/packet.ts';
import { backend, backendMacs, families, tcpFrame, udpFrame, vipOf } from './testing/world.ts';

/** What a CPU remembers of VIPs is never older than the last change. */

let plane: TestDataPlane;

beforeEach(() => {
  plane = loadDataPlane();
});

afterEach(() => plane.close());

const destinationMac = (packet: Uint8Array) => Buffer.from(packet.subarray(0, 6)).toString('hex');
const macText = (mac: string) => mac.replaceAll(':', '');

describe.each(families)('$name', (family) => {
  const syn = tcpFrame(family, { flags: tcpFlag.syn });

  it('a VIP that was none before is one with the next packet, and none again when it is removed', () => {
    for (let round = 0; round < 3; round++) {
      for (let again = 0; again < 2; again++) expect(plane.send(syn).reasons).toEqual(['pass_not_vip']);
      plane.forwarding.apply(vipOf(family));
      for (let again = 0; again < 2; again++) expect(plane.send(syn).reasons).toEqual(['tx_forward']);
      plane.forwarding.remove(`${family.vip}-80-tcp`);
    }
  });

  it('a changed VIP is another one with the next packet', () => {
    for (const n of [0, 1, 0] as const) {
      plane.forwarding.apply(vipOf(family, { backends: [backend(family, n)] }));
      expect(destinationMac(plane.send(syn).packet)).toBe(macText(backendMacs[n]));
    }
    plane.forwarding.apply(vipOf(family, { policy: 'l7', backends: [] }));
    expect(plane.send(syn).reasons).toEqual(['pass_l7']);
  });

  it('a VIP that has every port is found where there was none, and no more when it is removed', () => {
    const other = tcpFrame(family, { flags: tcpFlag.syn, destinationPort: 4321 });
    expect(plane.send(other).reasons).toEqual(['pass_not_vip']);
    plane.forwarding.apply(vipOf(family, { port: 0 }));
    expect(plane.send(other).reasons).toEqual(['tx_forward']);
    plane.forwarding.apply(vipOf(family, { port: 4321, backends: [backend(family, 1)] }));
    expect(destinationMac(plane.send(other).packet)).toBe(macText(backendMacs[1]));
    plane.forwarding.remove(`${family.vip}-4321-tcp`);
    expect(destinationMac(plane.send(other).packet)).toBe(macText(backendMacs[0]));
    plane.forwarding.remove(`${family.vip}-any-tcp`);
    expect(plane.send(other).reasons).toEqual(['pass_not_vip']);
  });

  it('another address, port or protocol is never taken for one that is remembered', () => {
    plane.forwarding.apply(vipOf(family));
    plane.forwarding.apply(vipOf(family, { protocol: 'udp', port: 81, backends: [backend(family, 1)] }));
    // More destinations than there are places, so that each place is taken from others.
    for (let port = 1; port <= 4000; port++) {
      const outcome = plane.send(tcpFrame(family, { flags: tcpFlag.syn, destinationPort: port }));
      expect(outcome.reasons, String(port)).toEqual([port === 80 ? 'tx_forward' : 'pass_not_vip']);
      if (port % 97 === 0) expect(plane.send(syn).reasons).toEqual(['tx_forward']);
    }
    const host = tcpFrame(family, { flags: tcpFlag.syn }, undefined, { destination: family.host });
    expect(plane.send(host).reasons).toEqual(['pass_not_vip']);
    expect(plane.send(udpFrame(family, counting(4))).reasons).toEqual(['pass_not_vip']);
    expect(plane.send(syn).reasons).toEqual(['tx_forward']);
  });

  it('does remember: a change that nobody tells of is not seen', () => {
    plane.forwarding.apply(vipOf(family));
    plane.send(syn);
    const map = family.name === 'ipv4' ? plane.fds.vips4 : plane.fds.vips6;
    for (const key of libbpf.mapKeys(map, family.name === 'ipv4' ? 8 : 20)) libbpf.deleteElement(map, key);
    expect(plane.send(syn).reasons).toEqual(['tx_forward']);
    // As after a daemon that was killed before it could tell.
    createForwardingMaps(plane.fds, createMapCodec(objectTypes('l4d_xdp')));
    expect(plane.send(syn).reasons).toEqual(['pass_not_vip']);
  });
});
