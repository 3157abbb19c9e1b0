import { Seconds } from '@l4d/kit/duration.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { expect, test } from 'vitest';
import { type BackendFacts, drainDeadline, judgeBackend } from './backend-condition.ts';

const backend = { address: ipAddress('10.0.0.1'), weight: 1, drain: false };
const mac = Uint8Array.of(2, 0, 0, 0, 0, 1);
const facts: BackendFacts = {
  backend,
  verdict: 'up',
  verdictReason: 'connected',
  needsMac: true,
  unreachedReason: 'its MAC address is not resolved',
  mac,
  drainStartedAt: undefined,
  now: 100_000,
};

test.each([
  ['healthy', facts, { forwarding: 'up', shown: 'up', healthy: true }],
  ['failed', { ...facts, verdict: 'down' }, { forwarding: 'down', shown: 'down', healthy: false }],
  [
    'not asked yet',
    { ...facts, verdict: 'unknown' },
    { forwarding: 'down', shown: 'unknown', healthy: false },
  ],
  ['without a MAC', { ...facts, mac: undefined }, { forwarding: 'up', shown: 'down', healthy: false }],
  [
    'proxied, without a MAC',
    { ...facts, mac: undefined, needsMac: false },
    { forwarding: 'up', healthy: true },
  ],
  [
    'drained',
    { ...facts, backend: { ...backend, drain: true } },
    { forwarding: 'draining', shown: 'drained' },
  ],
  [
    'of weight 0',
    { ...facts, backend: { ...backend, weight: 0 } },
    { forwarding: 'draining', shown: 'drained' },
  ],
  [
    'drained and failed',
    { ...facts, verdict: 'down', backend: { ...backend, drain: true } },
    { forwarding: 'down', shown: 'drained', healthy: false },
  ],
] as const)('a backend that is %s', (_name, given, expected) => {
  expect(judgeBackend(given as BackendFacts)).toMatchObject(expected);
});

test('a drain with a time ends at its deadline, counted from when it began', () => {
  const draining = { ...backend, drain: true, drainTimeout: Seconds(30) };
  const at = (now: number) =>
    judgeBackend({ ...facts, backend: draining, drainStartedAt: 70_001, now }).forwarding;
  expect(drainDeadline(draining, 70_001)).toBe(100_001);
  expect(at(100_000)).toBe('draining');
  expect(at(100_001)).toBe('finished');
});

test('a drain without a time has no end', () => {
  const draining = { ...backend, drain: true };
  expect(judgeBackend({ ...facts, backend: draining, drainStartedAt: 0, now: 1e15 }).forwarding).toBe(
    'draining',
  );
});
