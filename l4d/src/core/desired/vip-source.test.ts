import { formatIpAddress } from '@l4d/kit/ip-address.ts';
import { ipPrefix } from '@l4d/kit/ip-prefix.ts';
import { parseProxyDesired } from '@l4d/kit/proxy-api.ts';
import { expect, it } from 'vitest';
import { encodeDesiredState, parseDesiredState } from '../desired-state.ts';
import { proxyDesired } from '../proxy-desired.ts';
import { sourceProbesOf } from './vip-source.ts';

function state(vip: object, host: object = {}) {
  const backends = [{ address: '10.0.0.1' }];
  const base = { name: 'web', address: '203.0.113.1', port: 80, policy: 'l7', source: 'client', backends };
  return parseDesiredState({
    version: 1,
    host: { interface: 'eth0', ...host },
    vips: [{ ...base, ...vip }],
  });
}

const hosts = { proxy: { hosts: [{ address: '10.0.0.11' }, { address: '10.0.0.12' }] } };

it.each([
  [{ source: 'host' }, {}, /source: .*host.*allowed: client/],
  [{ policy: 'forward' }, {}, /source: is allowed for policy l7 only/],
  [
    { mode: 'socks', backends: [], destinations: [{}] },
    {},
    /source: is not for mode socks .allowed: http, tcp, tls-pass/,
  ],
  [{ mode: 'connect', backends: [], destinations: [{}] }, {}, /source: is not for mode connect/],
  [{ protocol: 'udp' }, {}, /source: is not for mode udp/],
  [{ check: { type: 'none' } }, {}, /check.type: none cannot be with source/],
  [
    { backends: [{ address: 'fd00::1' }] },
    {},
    /backends\[0\].address: fd00::1 is IPv6, and clients of an IPv4 VIP/,
  ],
  [{ backends: [{ address: '127.0.0.1' }] }, {}, /backends\[0\].address: 127.0.0.1 is this host itself/],
  [{ sourceProbes: [] }, {}, /sourceProbes: is empty/],
  [{ sourceProbes: ['127.0.0.1'] }, {}, /sourceProbes\[0\]: 127.0.0.1 is a loopback address/],
  [{ sourceProbes: ['10.0.0.1'] }, {}, /sourceProbes\[0\]: 10.0.0.1 is a backend/],
  [{ sourceProbes: ['203.0.113.1'] }, {}, /sourceProbes\[0\]: 203.0.113.1 is the VIP/],
  [{}, hosts, /vips\[0\].source: cannot be while host.proxy.hosts share connections/],
])('refused: %j %j', (vip, host, message) => {
  const parsed = state(vip, host);
  expect(parsed.ok ? '' : parsed.error.map((one) => `${one.path}: ${one.message}`).join('\n')).toMatch(
    message,
  );
});

it('sourceProbes alone are refused', () => {
  const parsed = parseDesiredState({
    version: 1,
    vips: [
      {
        address: '203.0.113.1',
        port: 80,
        policy: 'l7',
        sourceProbes: ['192.0.2.1'],
        backends: [{ address: '10.0.0.1' }],
      },
    ],
  });
  expect(parsed.ok ? '' : parsed.error[0]?.message).toMatch('has no use without source');
});

it('backends of the other family are for clients of whom a trusted proxy tells', () => {
  const backends = [{ address: '10.0.0.1' }, { address: 'fd00::1' }];
  expect(state({ backends, acceptProxyProtocol: true, trustedProxies: ['10.9.0.0/16'] }).ok).toBe(true);
});

it('the proxy is told of subnets where answers go past it, unless a probe is there', () => {
  const fields = { source: 'client', sourceProbes: ['10.1.0.99'] };
  const parsed = state(fields);
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  const [vip] = parsed.value.vips;
  if (vip === undefined) throw new Error('no VIP');
  expect((encodeDesiredState(parsed.value) as { vips: object[] }).vips[0]).toMatchObject(fields);
  const subnets = ['10.0.0.0/24', '10.1.0.0/24', 'fd00::/64', '10.0.0.0/24'].map(ipPrefix);
  const told = proxyDesired([{ vip, healthy: [true] }], parsed.value.host.proxy, undefined, subnets);
  const clientSource = { subnets: ['10.0.0.0/24', 'fd00::/64'] };
  expect(parseProxyDesired(told)).toMatchObject({ ok: true, value: { listeners: [{ clientSource }] } });
  expect(sourceProbesOf(vip, 4).map(formatIpAddress)).toEqual(['10.1.0.99']);
  expect(sourceProbesOf(vip, 6).map(formatIpAddress)).toEqual(['100::8']);
  expect(sourceProbesOf({}, 4)).toEqual([]);
});
