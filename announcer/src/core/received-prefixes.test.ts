import { ipAddress } from '@l4d/kit/ip-address.ts';
import { ipPrefix } from '@l4d/kit/ip-prefix.ts';
import { expect, test } from 'vitest';
import { pathAttribute } from './codec/attribute.ts';
import type { ReceivedUpdate } from './codec/update.ts';
import { endOfRibBound } from './end-of-rib-hold.ts';
import { countUpdate, emptyReceivedPrefixes, isOthersPath, pathOf } from './received-prefixes.ts';

const vip = ipPrefix('203.0.113.10/32');
const update = (fields: Partial<ReceivedUpdate>) =>
  ({ type: 'update', withdrawn: [], attributes: [], nlri: [], ...fields }) as unknown as ReceivedUpdate;

test('what a peer says of a prefix is kept until it takes it back', () => {
  const received = emptyReceivedPrefixes();
  const attributes = [
    pathAttribute({ kind: 'as-path', segments: [{ type: 2, asNumbers: [65000, 65012] }] }),
    pathAttribute({ kind: 'next-hop', address: ipAddress('10.77.0.12') }),
  ];
  countUpdate(received, update({ attributes, nlri: [vip] }));
  expect(pathOf(received, vip)).toEqual({ nextHop: '10.77.0.12', asPath: [65000, 65012] });
  expect(pathOf(received, ipPrefix('203.0.113.0/24'))).toBeUndefined();
  // RFC 7606: an UPDATE that is treated as a withdrawal takes it back as one does.
  countUpdate(received, update({ attributes, nlri: [vip], handling: 'treat-as-withdraw' }));
  expect(pathOf(received, vip)).toBeUndefined();
  countUpdate(received, update({ attributes, nlri: [vip] }));
  countUpdate(received, update({ withdrawn: [vip] }));
  expect([received.keys.size, received.paths.size]).toEqual([0, 0]);
});

test('our own path that a router sends back is not another speaker', () => {
  const ours = ['10.77.0.11', '10.77.0.1'];
  expect(isOthersPath({ nextHop: '10.77.0.11', asPath: [65000, 65011] }, 65011, ours)).toBe(false);
  expect(isOthersPath({ nextHop: '10.77.0.1', asPath: [65000, 65011] }, 65011, ours)).toBe(false);
  expect(isOthersPath({ nextHop: '10.77.0.1', asPath: [65000, 65012] }, 65011, ours)).toBe(true);
  // Hosts of one AS: the next hop tells them apart.
  expect(isOthersPath({ nextHop: '10.77.0.12', asPath: [65000, 65011] }, 65011, ours)).toBe(true);
});

test('End-of-RIB waits no longer than routers may be asked to', () => {
  expect([undefined, 30, 120, 4000].map(endOfRibBound)).toEqual([0, 15_000, 60_000, 60_000]);
});
