import { parseIpPrefix } from '@l4d/kit/ip-prefix.ts';
import { expect, test } from 'vitest';
import { checkNat } from './nat-rules.ts';

const prefix = (text: string) => {
  const parsed = parseIpPrefix(text);
  if (!parsed.ok) throw new Error(text);
  return parsed.value;
};
const messages = (nat: Parameters<typeof checkNat>[0]) =>
  checkNat(nat).map(({ path, message }) => `${path}: ${message}`);

test('one address, the widest ranges and the lowest port are allowed', () => {
  for (const sourceIpv4 of ['10.0.0.1/32', '10.0.0.0/24'])
    for (const sourceIpv6 of ['fd00::1/128', 'fd00::/120'])
      expect(
        messages({
          sourceIpv4: prefix(sourceIpv4),
          sourceIpv6: prefix(sourceIpv6),
          ports: { first: 1024, last: 65_535 },
        }),
      ).toEqual([]);
  expect(messages({})).toEqual([]);
});

test('each fault names its field, what it is and what is allowed', () => {
  expect(
    messages({
      sourceIpv4: prefix('fd00::1/128'),
      sourceIpv6: prefix('fd00::/119'),
      ports: { first: 1023, last: 2000 },
    }),
  ).toEqual([
    expect.stringMatching(/^host\.nat\.sourceIpv4: fd00::1.* is IPv6 \(allowed: an IPv4 address/),
    expect.stringMatching(/^host\.nat\.sourceIpv6: fd00::\/119 is too wide \(allowed: .*\/120 or longer/),
    'host.nat.ports: 1023-2000 begins below 1024, where services listen (allowed: 1024 to 65535)',
  ]);
  expect(messages({ sourceIpv4: prefix('10.0.0.0/23') })).toHaveLength(1);
  for (const text of ['224.0.0.1/32', '127.0.0.1/32'])
    expect(messages({ sourceIpv4: prefix(text) })).toEqual([
      expect.stringMatching(/is no range of unicast addresses/),
    ]);
});
