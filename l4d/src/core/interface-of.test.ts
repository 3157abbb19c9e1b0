import { ipAddress } from '@l4d/kit/ip-address.ts';
import { ipPrefix } from '@l4d/kit/ip-prefix.ts';
import { expect, test } from 'vitest';
import { interfaceOf } from './interface-of.ts';

const main = { index: 2, up: true, subnets: [ipPrefix('10.0.0.0/8'), ipPrefix('fd00::/64')] };
const inside = { index: 3, up: true, subnets: [ipPrefix('10.81.2.0/24'), ipPrefix('fd00::/64')] };
const of = (address: string, ...all: readonly (typeof main)[]) =>
  interfaceOf(all, main.index, ipAddress(address));

test('the longest subnet wins, the main interface on a tie and for what is in none', () => {
  expect(of('10.81.2.21', main, inside)).toBe(3);
  expect(of('10.81.3.21', main, inside)).toBe(2);
  expect(of('fd00::21', inside, main)).toBe(2);
  expect(of('fd00::21', main, inside)).toBe(2);
  expect(of('192.0.2.1', main, inside)).toBe(2);
});

test('what is down has no say, but for the main interface', () => {
  expect(of('10.81.2.21', main, { ...inside, up: false })).toBe(2);
  expect(of('10.81.3.21', { ...main, up: false }, inside)).toBe(2);
});
