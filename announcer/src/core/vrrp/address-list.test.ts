import { ipAddress } from '@l4d/kit/ip-address.ts';
import { expect, it } from 'vitest';
import { compareAddressLists, describeDifference } from './address-list.ts';

const own = new Set(['10.0.0.50', '10.0.0.51']);
const text = (named: readonly string[], isCut = false) => {
  const difference = compareAddressLists(own, isCut, named.map(ipAddress));
  return difference === undefined ? undefined : describeDifference('10.0.0.9', 51, difference);
};

it('is content with the same addresses in any order, and with a part of more than fit', () => {
  expect(text(['10.0.0.51', '10.0.0.50'])).toBeUndefined();
  expect(text(['10.0.0.51'], true)).toBeUndefined();
});

it('tells a group that is configured differently from another group', () => {
  expect(text(['10.0.0.50'])).toBe('10.0.0.9 does not name 10.0.0.51: the hosts are configured differently');
  expect(text(['10.0.0.50', '10.0.0.51', '10.0.0.52'])).toBe(
    '10.0.0.9 names 10.0.0.52, which this host does not have: the hosts are configured differently',
  );
  expect(text(['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.4'], true)).toBe(
    '10.0.0.9 uses VRID 51 for other addresses (192.0.2.1, 192.0.2.2, 192.0.2.3 and 1 more): another group of this segment has it, take another vrid',
  );
});
