import { parseProxyDesired } from '@l4d/kit/proxy-api.ts';
import { expect, test } from 'vitest';
import { parseDesiredState } from './desired-state.ts';
import { proxyDesired } from './proxy-desired.ts';
import { wantedVip } from './wanted-vip.ts';

const parsed = parseDesiredState({
  version: 1,
  vips: [
    {
      name: 'app',
      address: '203.0.113.20',
      port: 80,
      policy: 'l7',
      access: { deny: ['198.51.100.9/32'] },
      routes: [{ host: 'a.example', pathPrefix: '/api', pool: 'api' }, { pool: 'default' }],
      backends: [
        { address: '10.0.0.1', port: 8080, pool: 'api', weight: 2 },
        { address: '10.0.0.2' },
        { address: '10.0.0.3' },
      ],
    },
  ],
});
if (!parsed.ok || parsed.value.vips[0] === undefined) throw new Error('bad test state');
const vip = parsed.value.vips[0];
const { proxy } = parsed.value.host;

test('the proxy gets the healthy backends of each pool, and accepts them', () => {
  const told = proxyDesired([{ vip, healthy: [true, false, true] }], proxy);
  expect(parseProxyDesired(told)).toMatchObject({ ok: true });
  expect(told.listeners[0]).toMatchObject({
    name: 'app',
    access: { allow: [], deny: ['198.51.100.9/32'] },
    pools: [
      { name: 'api', backends: [{ address: '10.0.0.1', port: 8080, weight: 2 }] },
      { name: 'default', backends: [{ address: '10.0.0.3', port: 80, weight: 1 }] },
    ],
  });
});

test('the proxy is told its workers when they are declared, and how long they may drain', () => {
  expect(proxyDesired([], proxy)).toEqual({ drainMs: 30_000, listeners: [] });
  const told = proxyDesired([], { ...proxy, workers: 3 });
  expect(parseProxyDesired(told)).toMatchObject({ ok: true, value: { workers: 3 } });
});

test('a pool without a healthy backend stays, empty: its routes still exist', () => {
  const told = proxyDesired([{ vip, healthy: [false, true, true] }], proxy);
  expect(told.listeners[0]?.pools?.[0]).toEqual({ name: 'api', backends: [] });
});

test('the data plane holds no backends of a VIP that goes to the proxy', () => {
  const way = { mac: Uint8Array.of(2, 0, 0, 0, 0, 1), egress: 0 };
  const condition = { forwarding: 'up', shown: 'up', reason: '', healthy: true, settled: true } as const;
  const wanted = wantedVip(vip, [condition, condition, condition], () => way);
  expect(wanted).toMatchObject({ policy: 'l7', backends: [] });
});

test('a backend whose drain is over is held no more', () => {
  const forwarded = { ...vip, policy: 'forward' as const };
  const up = { forwarding: 'up', shown: 'up', reason: '', healthy: true, settled: true } as const;
  const finished = { ...up, forwarding: 'finished' } as const;
  const wanted = wantedVip(forwarded, [up, finished, up], () => ({ mac: undefined, egress: 0 }));
  expect(wanted.backends.map(({ address }) => address.bytes.at(-1))).toEqual([1, 3]);
});
