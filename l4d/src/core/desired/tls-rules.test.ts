import { expect, it } from 'vitest';
import { encodeDesiredState, parseDesiredState } from '../desired-state.ts';
import { proxyDesired } from '../proxy-desired.ts';

const certificates = [{ cert: '/a.pem' }];

function state(vip: object) {
  return parseDesiredState({
    version: 1,
    host: { interface: 'eth0' },
    vips: [
      {
        name: 'web',
        address: '203.0.113.1',
        port: 443,
        policy: 'l7',
        backends: [{ address: '10.0.0.1' }, { address: '10.0.0.2', pool: 'api' }],
        ...vip,
      },
    ],
  });
}

function problems(vip: object): string[] {
  const parsed = state(vip);
  return parsed.ok ? [] : parsed.error.map(({ path, message }) => `${path}: ${message}`);
}

it.each([
  [{ tls: { certificates: [] } }, /certificates: has no certificates/],
  [
    { tls: { certificates: [{ cert: 'a.pem' }] } },
    /cert: "a.pem" is not a file \(allowed: an absolute path\)/,
  ],
  [
    { tls: { certificates: [...certificates, ...certificates] } },
    /certificates\[1\]\.cert: is already certificates\[0\]/,
  ],
  [{ tls: { certificates, minVersion: '1.1' } }, /minVersion: 1.1 is older than policy intermediate allows/],
  [{ tls: { certificates, minVersion: 1.2, policy: 'modern' } }, /1.2 is older than policy modern allows/],
  [{ tls: { certificates, minVersion: 1.4 } }, /1.4 is not a version of TLS \(allowed: 1.0, 1.1, 1.2, 1.3\)/],
  [{ tls: { certificates, minVersion: 1.25 } }, /1.25 is not a version of TLS/],
  [
    { tls: { certificates, minVersion: '1.3', ciphers: ['AES128-SHA'] } },
    /ciphers: are of versions before 1.3/,
  ],
  [{ tls: { certificates, tickets: false, ticketKeys: '/k' } }, /ticketKeys: has no use with tickets: false/],
  [{ tls: { certificates, headers: ['client-certificate'] } }, /headers: client-certificate needs/],
  [{ tls: { certificates }, redirectToHttps: 443 }, /redirectToHttps: is for VIPs without tls/],
  [{ redirectToHttps: 443 }, /redirectToHttps: 443 is the port of this VIP/],
  [{ backendTls: { pools: ['apo'] } }, /"apo" is no pool of this VIP/],
  [{ backendTls: { key: '/k' } }, /key: is the key of no certificate/],
  [{ backendTls: { verify: false, ca: '/c' } }, /ca: has no use with verify: false/],
  [
    { policy: 'forward', tls: { certificates }, backends: [{ address: '10.0.0.1' }] },
    /tls: is allowed for policy l7 only/,
  ],
])('refuses %j', (vip, expected) => {
  expect(problems(vip).join('\n')).toMatch(expected);
});

it('hands on what it takes, and writes it as it was', () => {
  const tls = { certificates, minVersion: 1.0, policy: 'old', clientCertificates: { ca: '/ca.pem' } };
  const parsed = state({ tls, backendTls: { serverName: 'b.example', pools: ['api'] } });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  const [vip] = parsed.value.vips;
  if (vip === undefined) throw new Error('no VIP');
  const [listener] = proxyDesired([{ vip, healthy: [true, true] }], parsed.value.host.proxy).listeners;
  expect(listener?.tls).toEqual({
    certificates: [{ cert: '/a.pem', key: '/a.pem' }],
    minVersion: '1.0',
    policy: 'old',
    clientCertificates: { ca: '/ca.pem' },
  });
  expect(listener?.pools?.map(({ name, tls: towards }) => [name, towards])).toEqual([
    ['default', undefined],
    ['api', { serverName: 'b.example' }],
  ]);
  const again = parseDesiredState(JSON.parse(JSON.stringify(encodeDesiredState(parsed.value))));
  expect(again).toEqual(parsed);
});
