import { ipAddress } from '@l4d/kit/ip-address.ts';
import { formatMacAddress } from '@l4d/kit/mac-address.ts';
import { expect, test } from 'vitest';
import { encodeDesiredState, parseDesiredState } from '../desired-state.ts';
import { tunnelSettings } from '../forwarding/tunnel-settings.ts';
import { forwardModeOf, routedAddress, vxlanEndOf } from './vip.ts';

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

const vxlan = { vni: 42, remote: '192.0.2.21' };
const tenant = (changes: object, address = '10.42.0.21') => ({
  ...vip,
  forward: 'vxlan',
  backends: [{ address, vxlan: { ...vxlan, ...changes } }],
});

test.each([
  [{ ...vip, forward: 'vxlan' }, /^vips\[0\]\.backends\[0\]\.vxlan is missing \(needed with forward: vxlan/],
  [
    { ...vip, backends: [{ address: '10.0.3.1', vxlan }] },
    /^vips\[0\]\.backends\[0\]\.vxlan is allowed with forward: vxlan only/,
  ],
  [tenant({ vni: 0 }), /\.vxlan\.vni 0 is not a VXLAN network number \(allowed: 1 to 16777215\)/],
  [tenant({ vni: 0x1000000 }), /\.vxlan\.vni/],
  [tenant({ remote: '224.0.0.1' }), /\.vxlan\.remote 224\.0\.0\.1 is a multicast or reserved address/],
  [tenant({ mac: '02:42' }), /\.vxlan\.mac "02:42" is not a MAC address/],
  [tenant({ mac: '01:00:5e:00:00:01' }), /\.vxlan\.mac 01:00:5e:00:00:01 is no address of one machine/],
  [tenant({ mac: '00:00:00:00:00:00' }), /\.vxlan\.mac/],
])('%j is refused at its place', (declared, message) => {
  const [problem = '', ...more] = refusals({}, declared);
  expect(more).toEqual([]);
  expect(problem).toMatch(message);
});

test('IPv6 must come through VXLAN over IPv6', () => {
  const overSix = tenant({ remote: 'fd00::21' });
  expect(refusals({ mtu: 1349 }, overSix)).toEqual([
    'host.tunnel.mtu 1349 is too small for VXLAN over IPv6 (allowed: 1350 to 65535)',
  ]);
  expect(refusals({ mtu: 1350 }, overSix)).toEqual([]);
  expect(refusals({ mtu: 1332 }, tenant({}))).toEqual([]);
});

test('a MAC address is declared, else that of EUI-64, else derived', () => {
  const endOf = (declared: object) => {
    const result = parsed({}, declared);
    if (!result.ok) throw new Error(JSON.stringify(result.error));
    const [web] = result.value.vips;
    const [backend] = web?.backends ?? [];
    if (web === undefined || backend === undefined) throw new Error('no backend');
    // What is stored is what was declared.
    expect(parseDesiredState(encodeDesiredState(result.value))).toEqual(result);
    const end = vxlanEndOf(web, backend);
    return { mac: formatMacAddress(end?.mac ?? new Uint8Array()), routed: routedAddress(web, backend) };
  };
  expect(endOf(tenant({}))).toEqual({ mac: '02:42:0a:2a:00:15', routed: ipAddress('192.0.2.21') });
  expect(endOf(tenant({ mac: '02:00:00:00:00:01' })).mac).toBe('02:00:00:00:00:01');
  expect(endOf(tenant({}, 'fd42::5054:ff:fe12:3456')).mac).toBe('52:54:00:12:34:56');
  expect(endOf(tenant({}, 'fd42::21')).mac).toBe('02:42:00:00:00:21');
});
