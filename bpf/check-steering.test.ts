import * as libbpf from '@l4d/kit/ffi/libbpf.ts';
import { encodeStruct } from '@l4d/kit/struct-codec.ts';
import { objectPath, objectTypes, structLayout } from '@l4d/l4d/io/forwarding/bpf-objects.ts';
import { pinnedMaps } from '@l4d/l4d/io/forwarding/forwarding-maps.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mac } from './testing/packet.ts';
import { backendMacs, four, tcpFrame } from './testing/world.ts';

/** TC_ACT_UNSPEC (-1) and TC_ACT_SHOT of linux/pkt_cls.h, as the test run tells them. */
const goesOn = 0xffffffff;
const dropped = 2;
/** Size of struct __sk_buff and the offset of its mark (linux/bpf.h). */
const skbSize = 192;
const markOffset = 8;

let object: libbpf.BpfObject;
let backends: number;

beforeAll(() => {
  object = libbpf.openObject(objectPath('check_steering'));
  for (const name of libbpf.mapNames(object)) {
    if (pinnedMaps.includes(name as 'backends')) libbpf.setMaxEntries(object, name, 8);
  }
  libbpf.loadObject(object, 'check_steering');
  backends = libbpf.mapFd(object, 'backends');
});

afterAll(() => libbpf.closeObject(object));

function write(index: number, mac: Uint8Array, vipId: number): void {
  const value = encodeStruct(structLayout(objectTypes('check_steering'), 'backend'), { mac, vip_id: vipId });
  libbpf.updateElement(backends, new Uint8Array(Uint32Array.of(index).buffer), value);
}

function send(mark: number) {
  const context = new Uint8Array(skbSize);
  new DataView(context.buffer).setUint32(markOffset, mark, true);
  return libbpf.testRun(libbpf.programFd(object, 'check_steering'), tcpFrame(four), 1, context);
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
