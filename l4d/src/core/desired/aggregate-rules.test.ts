import { expect, test } from 'vitest';
import { parseDesiredState } from '../desired-state.ts';

function refusals(...prefixes: string[]): string[] {
  const parsed = parseDesiredState({
    version: 1,
    host: {
      bgp: { as: 65001, routerId: '10.0.0.11', aggregates: prefixes.map((prefix) => ({ prefix })) },
      nextHops: { ipv4: '10.0.1.11' },
    },
    peers: [{ address: '10.0.2.254', as: 65000 }],
    vips: [{ name: 'web', address: '203.0.113.1', port: 80, backends: [{ address: '10.0.3.1' }] }],
  });
  return parsed.ok ? [] : parsed.error.map(({ path, message }) => `${path} ${message}`);
}

test('a range of VIPs alone is a covering prefix', () => {
  expect(refusals('203.0.113.0/24', '2001:db8:77::/64', '198.51.0.0/16')).toEqual([]);
});

test.each([
  ['203.0.0.0/15', /covers too much \(allowed: IPv4 \/16 to \/31\)/],
  ['2001::/16', /covers too much \(allowed: IPv6 \/32 to \/127\)/],
  ['0.0.0.0/0', /covers too much/],
  ['203.0.113.1/32', /is one address/],
  ['10.0.1.0/24', /covers 10\.0\.1\.11, a next hop/],
  ['10.0.2.0/24', /covers 10\.0\.2\.254, a peer/],
  ['10.0.3.0/24', /covers 10\.0\.3\.1, a backend of VIP "web"/],
])('%s is refused at its place', (prefix, message) => {
  const [problem = '', ...more] = refusals(prefix);
  expect(more).toEqual([]);
  expect(problem).toMatch(/^host\.bgp\.aggregates\[0\]\.prefix /);
  expect(problem).toMatch(message);
});

test('one within another, or twice, is refused once', () => {
  expect(refusals('203.0.113.0/24', '203.0.113.128/25')).toHaveLength(1);
  expect(refusals('203.0.113.0/24', '203.0.113.0/24')).toHaveLength(1);
});
