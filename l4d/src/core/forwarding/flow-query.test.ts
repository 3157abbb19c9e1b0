import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import { expect, test } from 'vitest';
import { parseFlowQuery } from './flow-query.ts';

test('without anything: a hundred entries of everybody, no copies', () => {
  expect(parseFlowQuery({})).toEqual({ ok: true, value: { limit: 100, copies: false } });
});

test('all filters', () => {
  const parsed = parseFlowQuery({
    vip: 'web',
    client: '198.51.100.0/24',
    clientPort: '40000',
    backend: 'fd00::21',
    copies: 'true',
    limit: '10000',
  });
  expect(parsed).toMatchObject({
    ok: true,
    value: { vip: 'web', clientPort: 40_000, copies: true, limit: 10_000, client: { length: 24 } },
  });
  if (parsed.ok && parsed.value.backend) expect(formatIpAddress(parsed.value.backend)).toBe('fd00::21');
});

test.each([
  [{ limit: '0' }, 'limit', /"0" \(allowed: 1 to 10000\)/],
  [{ limit: '10001' }, 'limit', /allowed: 1 to 10000/],
  [{ limit: '1e3' }, 'limit', /allowed/],
  [{ clientPort: '65536' }, 'clientPort', /allowed: 0 to 65535/],
  [{ client: 'nobody' }, 'client', /"nobody".*allowed: an address or a prefix/],
  [{ client: '10.0.0.1/8' }, 'client', /host bits/],
  [{ backend: '10.0.0.0/8' }, 'backend', /allowed: an address/],
  [{ copies: 'yes' }, 'copies', /allowed: true, false/],
  [{ Vip: 'web' }, 'Vip', /is not known \(allowed: vip, client/],
] as const)('%j names the field', (query, path, message) => {
  expect(parseFlowQuery(query)).toMatchObject({
    ok: false,
    error: [{ path, message: expect.stringMatching(message) }],
  });
});
