import { expect, test } from 'vitest';
import { parseDesiredState } from '../desired-state.ts';
import { tunnelSettings } from '../forwarding/tunnel-settings.ts';
import { forwardModeOf } from './vip.ts';

const vip = { name: 'web', address: '203.0.113.1', port: 80, backends: [{ address: '10.0.3.1' }] };

function parsed(tunnel: object, ...vips: object[]) {
  return parseDesiredState({ version: 1, host: { tunnel }, vips: vips.length > 0 ? vips : [vip] });
}

function refusals(tunnel: object, ...vips: object[]): string[] {
  const result = parsed(tunnel, ...vips);
  return result.ok ? [] : result.error.map(({ path, message }) => `${path} ${message}`);
}

test.each([
  [{ sourceIpv4: 'fd00::/96' }, /^host\.tunnel\.sourceIpv4 fd00::\/96 is IPv6 \(allowed: an IPv4 prefix/],
  [
    { sourceIpv6: '10.0.0.0/8' },
    /^host\.tunnel\.sourceIpv6 10\.0\.0\.0\/8 is IPv4 \(allowed: an IPv6 prefix/,
  ],
  [{ sourceIpv4: '10.0.0.0/7' }, /is too wide/],
  [{ sourceIpv4: '224.0.0.0/8' }, /is no range of unicast addresses/],
  [{ sourceIpv6: 'ff00::/16' }, /is no range of unicast addresses/],
  [{ mtu: 1331 }, /^host\.tunnel\.mtu 1331 is not an MTU/],
  [{ gueVariant: 2 }, /^host\.tunnel\.gueVariant/],
  [{ guePort: 0 }, /^host\.tunnel\.guePort/],
])('%j is refused at its place', (tunnel, message) => {
  const [problem = '', ...more] = refusals(tunnel);
  expect(more).toEqual([]);
  expect(problem).toMatch(message);
});

test('a tunnelled backend may be of another family, a bridged one may not', () => {
  const six = [{ address: 'fd00::1' }];
  expect(refusals({}, { ...vip, backends: six })).toHaveLength(1);
  expect(refusals({}, { ...vip, forward: 'ipip', backends: six })).toEqual([]);
  expect(refusals({}, { ...vip, backends: [{ address: 'fd00::1', forward: 'gue' }] })).toEqual([]);
  expect(
    refusals({}, { ...vip, forward: 'gue', backends: [{ address: 'fd00::1', forward: 'l2' }] }),
  ).toHaveLength(1);
});

test('l7 has no way of forwarding', () => {
  const l7 = { ...vip, policy: 'l7' };
  expect(refusals({}, { ...l7, forward: 'ipip' })).toEqual([
    'vips[0].forward is allowed for policy forward only',
  ]);
  expect(refusals({}, { ...l7, backends: [{ address: '10.0.3.1', forward: 'ipip' }] })).toEqual([
    'vips[0].backends[0].forward is allowed for policy forward only',
  ]);
});

test('a backend speaks for itself, then its VIP, then layer 2', () => {
  const result = parsed(
    {},
    { ...vip, forward: 'ipip', backends: [{ address: '10.0.3.1' }, { address: '10.0.3.2', forward: 'gue' }] },
  );
  const [web] = result.ok ? result.value.vips : [];
  if (web === undefined) throw new Error('refused');
  expect(web.backends.map((backend) => forwardModeOf(web, backend))).toEqual(['ipip', 'gue']);
});

test('what is not declared is what the interface has', () => {
  const on = { mtu: 9000, addresses: { ipv4: '10.0.0.1' } };
  const result = parsed({});
  if (!result.ok) throw new Error('refused');
  expect(tunnelSettings(result.value.host.tunnel, on)).toMatchObject({
    sources: { ipv4: { length: 32 } },
    guePort: 6080,
    gueVariant: 1,
    mtu: 9000,
  });
  expect(tunnelSettings(result.value.host.tunnel, on).sources.ipv6).toBeUndefined();
  const declared = parsed({ sourceIpv6: 'fd00::/96', mtu: 1500, gueVariant: 0 });
  if (!declared.ok) throw new Error('refused');
  expect(tunnelSettings(declared.value.host.tunnel, on)).toMatchObject({
    sources: { ipv4: { length: 32 }, ipv6: { length: 96 } },
    gueVariant: 0,
    mtu: 1500,
  });
  // What the interface cannot send is too big, whatever is declared.
  expect(tunnelSettings(declared.value.host.tunnel, { ...on, mtu: 1400 }).mtu).toBe(1400);
});
