import { ipAddress } from '@l4d/kit/ip-address.ts';
import { createManualClock } from '@l4d/kit/manual-clock.ts';
import type { ProxyStatus } from '@l4d/kit/proxy-api.ts';
import { expect, test } from 'vitest';
import type { Vip } from '../core/desired/vip.ts';
import type { ProxyFollower } from '../io/companions.ts';
import { createProxyHandoff } from './proxy-handoff.ts';

const place = { address: ipAddress('203.0.113.1'), port: 80, protocol: 'tcp' } as const;
const plain = { name: 'web', ...place } as Vip;
const withTls = {
  ...plain,
  tls: { certificates: [{ cert: '/a.pem' }] },
} as unknown as Vip;

function handoffUnderTest() {
  const clock = createManualClock();
  const state = {
    inSync: true,
    registered: true,
    refusal: undefined as string | undefined,
    live: true,
    listeners: [] as object[],
  };
  let looks = 0;
  const proxy: ProxyFollower = {
    follow: async () => true,
    tellAgain: () => undefined,
    status: () => ({ registered: state.registered, listeners: state.listeners }) as ProxyStatus,
    refusal: () => state.refusal,
    problem: () => undefined,
    inSync: () => state.inSync,
    stop: () => undefined,
  };
  const handoff = createProxyHandoff({
    proxy,
    clock,
    listeners: { replace: () => 0 },
    replaceRoutes: async () => undefined,
    interfaces: () => [],
    replaceSharedRoutes: async () => undefined,
    workersLive: () => state.live,
    settleSources: async () => undefined,
    subnets: () => [],
    onChange: () => {
      looks += 1;
    },
  });
  return { clock, state, handoff, looks: () => looks };
}

test('while the supervisor is away its workers serve on, for a while, and it is looked again and again', async () => {
  const { clock, state, handoff, looks } = handoffUnderTest();
  expect(handoff.problem(plain)).toBeUndefined();
  state.inSync = false;
  expect(handoff.problem(plain)).toBeUndefined();
  await clock.advance(500);
  expect(looks()).toBe(1);
  await clock.advance(28_000);
  expect(handoff.problem(plain)).toBeUndefined();
  await clock.advance(2000);
  expect(handoff.problem(plain)).toBe('it does not answer');
});

test('it is as well for a VIP that nobody has looked at for an hour', async () => {
  const { clock, state, handoff } = handoffUnderTest();
  expect(handoff.problem(plain)).toBeUndefined();
  await clock.advance(3_600_000);
  state.inSync = false;
  expect(handoff.problem(plain)).toBeUndefined();
  await clock.advance(30_500);
  expect(handoff.problem(plain)).toBe('it does not answer');
});

test('another VIP that leaves or comes while the supervisor is away changes nothing for one that stays', async () => {
  const { state, handoff } = handoffUnderTest();
  const other = { ...place, port: 81 };
  await handoff.sync({ vips: [], proxy: undefined }, [place, other], () => false, false);
  state.inSync = false;
  await handoff.sync({ vips: [], proxy: undefined }, [place], () => false, false);
  expect(handoff.problem(plain)).toBeUndefined();
  await handoff.sync({ vips: [], proxy: undefined }, [place, other], () => false, false);
  expect(handoff.problem(plain)).toBeUndefined();
  // It came while nobody could take it.
  expect(handoff.problem({ ...plain, ...other })).toBe('it does not answer');
});

test('without a worker nobody serves, from this moment on', () => {
  const { state, handoff } = handoffUnderTest();
  expect(handoff.problem(plain)).toBeUndefined();
  state.inSync = false;
  state.live = false;
  expect(handoff.problem(plain)).toBe('it does not answer');
  state.inSync = true;
  state.registered = false;
  expect(handoff.problem(plain)).toBe('no worker serves');
});

test('a proxy that never served is not waited for, and a refusal is one at once', () => {
  const { state, handoff } = handoffUnderTest();
  state.inSync = false;
  expect(handoff.problem(plain)).toBe('it does not answer');
  state.inSync = true;
  expect(handoff.problem(plain)).toBeUndefined();
  state.refusal = 'no';
  expect(handoff.problem(plain)).toMatch('refuses its configuration');
});

test('a VIP without a certificate to show is not served, and no other is concerned', () => {
  const { state, handoff } = handoffUnderTest();
  state.listeners = [{ name: 'web', tls: { serving: false, problem: '/a.pem does not exist' } }];
  expect(handoff.problem(withTls)).toBe('TLS: /a.pem does not exist');
  expect(handoff.problem(plain)).toBeUndefined();
  state.listeners = [{ name: 'web', tls: { serving: true } }];
  expect(handoff.problem(withTls)).toBeUndefined();
});
