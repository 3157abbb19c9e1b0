import { ipAddress } from '@l4d/kit/ip-address.ts';
import { ipPrefix } from '@l4d/kit/ip-prefix.ts';
import { expect, test } from 'vitest';
import { mayConnect } from './access.ts';

const list = (allow: string[], deny: string[]) => ({ allow: allow.map(ipPrefix), deny: deny.map(ipPrefix) });

test.each([
  ['everyone may without lists', [], [], '192.0.2.1', true],
  ['a denied prefix may not', [], ['192.0.2.0/24'], '192.0.2.1', false],
  ['others than the denied may', [], ['192.0.2.0/24'], '192.0.3.1', true],
  ['an allowed prefix may', ['192.0.2.0/24'], [], '192.0.2.255', true],
  ['others than the allowed may not', ['192.0.2.0/24'], [], '192.0.3.0', false],
  ['deny wins over a narrower allow', ['192.0.2.7/32'], ['192.0.2.0/24'], '192.0.2.7', false],
  ['deny cuts a hole into allow', ['192.0.2.0/24'], ['192.0.2.7/32'], '192.0.2.7', false],
  ['IPv4 allow prefixes shut IPv6 out', ['0.0.0.0/0'], [], '2001:db8::1', false],
  ['IPv4 deny prefixes let IPv6 in', [], ['0.0.0.0/0'], '2001:db8::1', true],
  ['an IPv6 prefix', ['2001:db8::/32'], ['2001:db8:1::/48'], '2001:db8:1::1', false],
  ['another IPv6 prefix', ['2001:db8::/32'], ['2001:db8:1::/48'], '2001:db8:2::1', true],
])('%s', (_name, allow, deny, client, verdict) => {
  expect(mayConnect(list(allow, deny), ipAddress(client))).toBe(verdict);
});
