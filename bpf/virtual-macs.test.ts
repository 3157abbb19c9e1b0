/** Frames for the virtual router MAC addresses of RFC 9568 section 7.3: taken while they are this host's. */
import { updateElement } from '@l4d/kit/ffi/libbpf.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadDataPlane, ownMac, type TestDataPlane } from './testing/data-plane.ts';
import { mac } from './testing/packet.ts';
import { backendMacs, families, sentTo, tcpFrame, vipOf } from './testing/world.ts';

let plane: TestDataPlane;

beforeEach(() => {
  plane = loadDataPlane();
});

afterEach(() => plane.close());

const word = (value: number) => new Uint8Array(Uint32Array.of(value).buffer);

describe.each(families)('$name', (family) => {
  const offset = family.name === 'ipv4' ? 0 : 256;
  const prefix = family.name === 'ipv4' ? '00:00:5e:00:01' : '00:00:5e:00:02';
  const own = (vrid: number, isOwned: boolean) =>
    updateElement(plane.virtualMacs, word(offset + vrid), word(isOwned ? 1 : 0));
  const frameTo = (destinationMac: string) => tcpFrame(family, {}, undefined, { destinationMac });

  it('forwards what is for an owned one, as if it were for the interface', () => {
    plane.forwarding.apply(vipOf(family));
    own(51, true);
    const seen = plane.send(frameTo(`${prefix}:33`));
    const usual = plane.send(frameTo(ownMac));
    expect(seen).toMatchObject({ action: 'tx', reasons: ['tx_forward'] });
    expect(seen.packet).toEqual(usual.packet);
    expect(seen.packet).toEqual(sentTo(backendMacs[0], frameTo(ownMac)));
  });

  it('passes what is for another identifier, another family, or one that was lost', () => {
    plane.forwarding.apply(vipOf(family));
    own(51, true);
    const otherFamily = family.name === 'ipv4' ? '00:00:5e:00:02:33' : '00:00:5e:00:01:33';
    for (const destination of [
      `${prefix}:34`,
      otherFamily,
      '00:00:5e:00:00:33',
      '00:00:5e:00:03:33',
      '00:00:5e:01:01:33',
    ]) {
      const seen = plane.send(frameTo(destination));
      expect(seen, destination).toMatchObject({ action: 'pass', reasons: ['pass_other_host'] });
      expect(seen.packet).toEqual(frameTo(destination));
    }
    own(51, false);
    expect(plane.send(frameTo(`${prefix}:33`)).reasons).toEqual(['pass_other_host']);
  });

  it('gives the stack a frame for the interface', () => {
    own(51, true);
    const seen = plane.send(frameTo(`${prefix}:33`));
    expect(seen.reasons).toEqual(['pass_not_vip']);
    expect(seen.packet.subarray(0, 6)).toEqual(mac(ownMac));
  });
});
