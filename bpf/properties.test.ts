import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { arbitraryPacket } from './testing/arbitrary-packet.ts';
import { loadDataPlane, type Outcome, ownMac, type TestDataPlane, testNat } from './testing/data-plane.ts';
import { destinationAddress } from './testing/destination-address.ts';
import { mac } from './testing/packet.ts';
import { checksumStatuses, hasTshark } from './testing/tshark.ts';
import {
  addressOfKind,
  declareVipKinds,
  otherEgress,
  reasonsOfAnyVip,
  type VipKind,
  vipKinds,
} from './testing/vip-kinds.ts';
import { families } from './testing/world.ts';

/** What holds for every frame, with VIPs of every kind in the tables and ones in the room before the packet. */

let planes: readonly TestDataPlane[] = [];

beforeAll(() => {
  planes = [false, true].map((tableByCpu) => {
    const nat = { ...testNat, ports: { first: 20_000, last: 39_999 } };
    const plane = loadDataPlane({ dirtyHeadroom: true, vips: 128, natFlows: 16_384, nat, tableByCpu });
    declareVipKinds(plane, families);
    return plane;
  });
});

afterAll(() => {
  for (const plane of planes) plane.close();
});

/** One with a flow table for all CPUs, and one with more of each CPU. */
const planeOf = (isByCpu: boolean) => planes[isByCpu ? 1 : 0] as TestDataPlane;

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const kindByAddress = new Map<string, VipKind>(
  families.flatMap((family) => vipKinds.map((kind) => [addressOfKind(kind, family), kind] as const)),
);

/** Throws when the outcome is none of those that the frame's destination allows. */
function checkOutcome(bytes: Uint8Array, outcome: Outcome): void {
  const kind = kindByAddress.get(destinationAddress(bytes) ?? '');
  const isForUs = hex(bytes.subarray(0, 6)) === hex(mac(ownMac));
  expect(outcome.action).not.toBe('aborted');
  expect(outcome.reasons).toHaveLength(1);
  const [reason = ''] = outcome.reasons;
  const action = outcome.action === 'redirect' ? 'tx' : outcome.action;
  expect(reason.startsWith(`${action}_`), `${reason} with ${outcome.action}`).toBe(true);
  if (outcome.action === 'pass') expect(hex(outcome.packet)).toBe(hex(bytes));
  if (kind === undefined || !isForUs) {
    expect(outcome.action, reason).toBe('pass');
    return;
  }
  expect([...reasonsOfAnyVip, ...kind.reasons], kind.name).toContain(reason);
  const from = { tx: ownMac, redirect: otherEgress.mac }[outcome.action as string];
  if (from !== undefined) expect(hex(outcome.packet.subarray(6, 12))).toBe(hex(mac(from)));
}

describe('every frame', () => {
  it('has one reason, goes a way that its VIP allows, and is passed untouched when it has none', () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(arbitraryPacket, fc.boolean(), ({ bytes }, isByCpu) => {
        const outcome = planeOf(isByCpu).send(bytes);
        checkOutcome(bytes, outcome);
        for (const what of [outcome.action, ...outcome.reasons, ...outcome.notes]) seen.add(what);
      }),
      { numRuns: 4000 },
    );
    // The kinds are met as what they are.
    for (const what of [
      'redirect',
      'tx_forward',
      'tx_tunnel',
      'tx_nat',
      'tx_nat_reset',
      'note_flow_embryonic',
    ])
      expect(seen).toContain(what);
  });

  it.skipIf(!hasTshark())(
    'that is sound leaves with checksums that tshark finds right (skipped without tshark)',
    () => {
      const sent: Outcome[] = [];
      const sound = arbitraryPacket.filter(({ isSound }) => isSound);
      fc.assert(
        fc.property(sound, fc.boolean(), ({ bytes }, isByCpu) => {
          const outcome = planeOf(isByCpu).send(bytes);
          if (outcome.action === 'tx' || outcome.action === 'redirect') sent.push(outcome);
        }),
        { numRuns: 1200 },
      );
      const statuses = checksumStatuses(sent.map(({ packet }) => packet));
      expect(statuses).toHaveLength(sent.length);
      const summed = new Map<string, number>();
      for (const [index, seen] of statuses.entries()) {
        const outcome = sent[index];
        // What an ICMP message quotes may end before what its checksum covers.
        const quotes = /too_big|icmp_error|nat_error/.test(outcome?.reasons.join() ?? '');
        for (const [protocol, status] of Object.entries(seen)) {
          if (quotes && (protocol === 'tcp' || protocol === 'udp')) continue;
          const what = `${protocol} ${status} of ${outcome?.reasons.join()}: ${hex(outcome?.packet ?? new Uint8Array(0))}`;
          expect(status.split(','), what).not.toContain('0');
          if (status.includes('1')) summed.set(protocol, (summed.get(protocol) ?? 0) + 1);
        }
      }
      for (const protocol of ['ip', 'tcp', 'udp', 'icmp', 'icmpv6']) {
        expect(summed.get(protocol) ?? 0, protocol).toBeGreaterThan(10);
      }
    },
  );
});
