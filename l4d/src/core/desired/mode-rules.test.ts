import { parseProxyDesired } from '@l4d/kit/proxy-api.ts';
import { expect, it } from 'vitest';
import { encodeDesiredState, parseDesiredState } from '../desired-state.ts';
import { proxyDesired } from '../proxy-desired.ts';
import { judgeHealth } from '../vip-verdict.ts';

const certificates = [{ cert: '/a.pem' }];

function state(vip: object) {
  return parseDesiredState({
    version: 1,
    vips: [
      {
        name: 'mail',
        address: '203.0.113.1',
        port: 993,
        policy: 'l7',
        backends: [{ address: '10.0.0.1' }, { address: '10.0.0.2', pool: 'b' }],
        ...vip,
      },
    ],
  });
}

it.each([
  [
    { mode: 'sctp' },
    /mode: "sctp" is not a mode \(allowed: http, tcp, tls-passthrough, connect, socks, udp\)/,
  ],
  [{ mode: 'udp' }, /mode: udp is not a mode of protocol tcp/],
  [{ mode: 'tcp', protocol: 'udp' }, /mode: tcp is not a mode of protocol udp \(allowed: udp\)/],
  [{ mode: 'tcp', udp: {} }, /udp: is for mode udp: mode tcp has no datagrams/],
  [{ protocol: 'udp', tls: { certificates } }, /tls: is of connections: mode udp has none/],
  [{ protocol: 'udp', backendTls: {} }, /backendTls: is of connections/],
  [{ protocol: 'udp', proxyProtocol: 'v1' }, /proxyProtocol: v1 knows no datagrams/],
  [{ protocol: 'udp', udp: { proxyHeader: 'every' } }, /udp\.proxyHeader: has no use without proxyProtocol/],
  [{ protocol: 'udp', udp: { maxSessions: 0 } }, /udp\.maxSessions: 0 is not a number of sessions/],
  [
    { protocol: 'udp', routes: [{ host: 'a.example', pool: 'b' }] },
    /routes\[0\]\.host: is a name, which mode udp/,
  ],
  [{ policy: 'forward', mode: 'tcp' }, /mode: is allowed for policy l7 only/],
  [{ mode: 'tcp', redirectToHttps: 443 }, /redirectToHttps: is for mode http: mode tcp knows no requests/],
  [{ mode: 'tls-passthrough', tls: { certificates } }, /tls: is for modes http and tcp/],
  [{ mode: 'tls-passthrough', backendTls: {} }, /backendTls: is for modes http and tcp/],
  [
    { mode: 'tcp', routes: [{ pathPrefix: '/a', pool: 'b' }, { pool: 'default' }] },
    /routes\[0\]\.pathPrefix: is for/,
  ],
  [
    { mode: 'tcp', routes: [{ host: 'a.example', pool: 'b' }] },
    /routes\[0\]\.host: is a name, which mode tcp/,
  ],
  [{ destinations: [{}] }, /destinations: is for modes connect and socks: mode http has backends instead/],
  [{ mode: 'connect', backends: [] }, /destinations: has nothing that clients may reach/],
  [{ mode: 'socks', destinations: [{}] }, /backends: mode socks has destinations instead/],
  [
    { mode: 'socks', backends: [], destinations: [{ ports: ['80-79'] }] },
    /ports\[0\]: "80-79" is not a port or a range of ports/,
  ],
  [{ mode: 'tcp', backends: [] }, /backends: has no backends/],
])('refuses %j', (vip, expected) => {
  const parsed = state(vip);
  const problems = parsed.ok ? [] : parsed.error.map(({ path, message }) => `${path}: ${message}`);
  expect(problems.join('\n')).toMatch(expected);
});

it.each([
  [{ mode: 'tcp' }],
  [{ mode: 'tcp', tls: { certificates }, routes: [{ host: 'a.example', pool: 'b' }, { pool: 'default' }] }],
  [{ mode: 'tls-passthrough', routes: [{ host: '*.example', pool: 'b' }] }],
])('tells the proxy %j, and how long silence may last', (vip) => {
  const parsed = state({ ...vip, idleTimeout: '30m' });
  if (!parsed.ok || parsed.value.vips[0] === undefined) throw new Error(JSON.stringify(parsed));
  const told = proxyDesired([{ vip: parsed.value.vips[0], healthy: [true, true] }], parsed.value.host.proxy);
  expect(parseProxyDesired(told)).toMatchObject({
    ok: true,
    value: { listeners: [{ mode: vip.mode, timeouts: { idleMs: 1_800_000 } }] },
  });
});

it('tells the proxy what clients may reach, and a forward proxy is healthy by itself', () => {
  const destinations = [{ hosts: ['*.example'], ports: [443, '8000-8999'] }, { prefixes: ['10.0.0.0/8'] }];
  const parsed = state({ mode: 'connect', backends: [], destinations });
  if (!parsed.ok || parsed.value.vips[0] === undefined) throw new Error(JSON.stringify(parsed));
  const [vip] = parsed.value.vips;
  const told = proxyDesired([{ vip, healthy: [] }], parsed.value.host.proxy);
  expect(parseProxyDesired(told)).toMatchObject({
    ok: true,
    value: {
      listeners: [
        {
          mode: 'connect',
          destinations: [
            {
              hosts: ['*.example'],
              prefixes: [],
              ports: [
                [443, 443],
                [8000, 8999],
              ],
            },
            { hosts: [], prefixes: ['10.0.0.0/8'], ports: [] },
          ],
        },
      ],
    },
  });
  expect(judgeHealth(vip, [])).toMatchObject({ enough: true });
  expect(encodeDesiredState(parsed.value)).toMatchObject({ vips: [{ destinations }] });
});
