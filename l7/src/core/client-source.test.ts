import { ipAddress } from '@l4d/kit/ip-address.ts';
import { ipPrefix } from '@l4d/kit/ip-prefix.ts';
import { expect, it } from 'vitest';
import { refuseSource } from './client-source.ts';

const backend = { address: ipAddress('10.77.0.21'), subnets: [ipPrefix('10.77.0.0/24')] };
const backend6 = { address: ipAddress('fd77::21'), subnets: [] };

it.each([
  ['198.51.100.7', backend, undefined],
  ['10.77.1.1', backend, undefined],
  ['2001:db8::7', backend6, undefined],
  ['2001:db8::7', backend, 'family'],
  ['198.51.100.7', backend6, 'family'],
  ['10.77.0.99', backend, 'subnet'],
  ['10.77.0.21', backend, 'address'],
  ['fd77::21', backend6, 'address'],
  ['127.0.0.1', backend, 'address'],
  ['0.0.0.0', backend, 'address'],
  ['169.254.1.1', backend, 'address'],
  ['224.0.0.5', backend, 'address'],
  ['255.255.255.255', backend, 'address'],
  ['::1', backend6, 'address'],
  ['fe80::1', backend6, 'address'],
  ['ff02::1', backend6, 'address'],
  ['::ffff:192.0.2.1', backend6, 'address'],
] as const)('a client %s', (client, one, refusal) => {
  expect(refuseSource(ipAddress(client), one)).toBe(refusal);
});
