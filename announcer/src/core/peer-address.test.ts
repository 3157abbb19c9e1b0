import { expect, it } from 'vitest';
import { formatScopedAddress, parseScopedAddress } from './peer-address.ts';

it.each([
  ['10.0.0.1', '10.0.0.1'],
  ['FD00:0::1', 'fd00::1'],
  ['fe80::1%eth0', 'fe80::1%eth0'],
  ['FE80:0::1%bond0.100', 'fe80::1%bond0.100'],
  ['febf::1%e', 'febf::1%e'],
])('takes %s', (text, canonical) => {
  const parsed = parseScopedAddress(text);
  expect(parsed.ok && formatScopedAddress(parsed.value)).toBe(canonical);
});

it.each([
  ['fe80::1', /needs its interface/],
  ['fe80::1%', /not the name of an interface/],
  ['fe80::1%a b', /not the name of an interface/],
  ['fe80::1%..', /not the name of an interface/],
  ['fe80::1%eth0%eth1', /not the name of an interface/],
  ['fe80::1%sixteen-letters-', /not the name of an interface/],
  ['fec0::1%eth0', /is not link-local/],
  ['10.0.0.1%eth0', /is not link-local/],
  ['%eth0', /not an IPv4 or IPv6 address/],
])('refuses %s', (text, why) => {
  const parsed = parseScopedAddress(text);
  expect(parsed.ok ? '' : parsed.error).toMatch(why);
});
