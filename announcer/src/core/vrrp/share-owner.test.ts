import { ipAddress, ipAddressFromBytes } from '@l4d/kit/ip-address.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { answerFor, answerTable } from './answer-table.ts';
import { shareOwner, sharePriority } from './share-owner.ts';

const clients = Array.from({ length: 3000 }, (_, index) =>
  ipAddressFromBytes(Uint8Array.of(10, 0, index >> 8, index & 255)),
);
const anyVrids = fc.uniqueArray(fc.integer({ min: 1, max: 255 }), { minLength: 2, maxLength: 32 });
const anyClient = fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => ipAddressFromBytes(bytes));

describe('share owner', () => {
  it('spreads clients within a tenth of an even share', () => {
    for (const vrids of [
      [61, 62],
      [61, 62, 63],
      [1, 2, 3, 4, 5, 6, 7, 8],
    ]) {
      for (const vrid of vrids) {
        const share = clients.filter((client) => shareOwner(client, vrids) === vrid).length;
        expect(Math.abs(share / (clients.length / vrids.length) - 1)).toBeLessThan(0.1);
      }
    }
  });

  it('does not depend on the order, and a removed identifier moves its own clients alone', () => {
    fc.assert(
      fc.property(anyVrids, anyClient, (vrids, client) => {
        const owner = shareOwner(client, vrids);
        expect(vrids).toContain(owner);
        expect(shareOwner(client, vrids.toReversed())).toBe(owner);
        const without = vrids.filter((vrid) => vrid !== vrids[0]);
        if (owner !== vrids[0]) expect(shareOwner(client, without)).toBe(owner);
      }),
    );
  });

  it('gives each virtual router another heir', () => {
    const priorityOf = (own: number, router: number) => sharePriority(200, 3, own, router, 5);
    for (const router of [0, 1, 2]) {
      const order = [0, 1, 2].toSorted((a, b) => priorityOf(b, router) - priorityOf(a, router));
      expect(order).toEqual([router, (router + 1) % 3, (router + 2) % 3]);
    }
    expect(sharePriority(3, 3, 0, 1, 5)).toBe(1);
  });
});

describe('who answers', () => {
  const target = ipAddress('10.0.0.50');
  const shared = answerTable([{ address: target, vrids: [61, 62, 63], mac: undefined }]);

  it('is the owner of the virtual router of the client, with its MAC address, and one alone', () => {
    for (const client of clients.slice(0, 50)) {
      const answers = [61, 62, 63].flatMap(
        (vrid) => answerFor(shared, target, client, (one) => one === vrid) ?? [],
      );
      expect(answers).toEqual([
        {
          vrid: shareOwner(client, [61, 62, 63]),
          mac: Uint8Array.of(0, 0, 0x5e, 0, 1, shareOwner(client, [61, 62, 63])),
          isShared: true,
        },
      ]);
    }
  });

  it('is nobody for another address, and nobody who is not the owner', () => {
    const client = ipAddress('10.0.0.7');
    expect(answerFor(shared, ipAddress('10.0.0.51'), client, () => true)).toBeUndefined();
    expect(answerFor(shared, target, client, () => false)).toBeUndefined();
  });
});
