import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { ipAddress } from '@l4d/kit/ip-address.ts';
import { expect, it } from 'vitest';
import { checkSchema } from './check.ts';
import { appendRecord, type CheckRecord } from './history.ts';
import { answerReason, errorReason, isOwnFault, statusReason, timeoutReason } from './reason.ts';
import { boundedTimeout, firstDelay, nextDelay } from './schedule.ts';
import { checkPort, compareTargets, type HealthTarget } from './target.ts';

it('a timeout is never longer than the interval', () => {
  expect(boundedTimeout(Seconds(5), Seconds(2))).toBe(2000);
  expect(boundedTimeout(Milliseconds(300), Seconds(2))).toBe(300);
});

it('the next check comes an interval after the start of the last, give or take a tenth', () => {
  expect(nextDelay(Seconds(2), 1000, 1400, 0.5)).toBe(1600);
  expect(nextDelay(Seconds(2), 1000, 1400, 0)).toBe(1400);
  expect(nextDelay(Seconds(2), 1000, 1400, 0.999)).toBeLessThan(1800);
  expect(nextDelay(Seconds(2), 1000, 5000, 0.5)).toBe(0);
});

it('first checks are spread: a second at most without a verdict, the interval with one', () => {
  expect(firstDelay(Seconds(10), false, 0.5)).toBe(500);
  expect(firstDelay(Milliseconds(200), false, 0.5)).toBe(100);
  expect(firstDelay(Seconds(10), true, 0.5)).toBe(5000);
});

it('the history keeps the last records, oldest first', () => {
  const record = (at: number): CheckRecord => ({ kind: 'good', reason: 'connected', at, durationMs: 1 });
  let history: readonly CheckRecord[] = [];
  for (let at = 1; at <= 5; at++) history = appendRecord(history, record(at), 3);
  expect(history.map(({ at }) => at)).toEqual([3, 4, 5]);
});

it('reasons are plain words', () => {
  expect(errorReason('connect', 'ECONNREFUSED')).toBe('connect: connection refused');
  expect(errorReason('connect', 'EWEIRD')).toBe('connect: EWEIRD');
  expect(timeoutReason('connect', Seconds(2))).toBe('connect: no answer within 2s');
  expect(
    statusReason(503, [
      { from: 200, to: 399 },
      { from: 404, to: 404 },
    ]),
  ).toBe('HTTP 503, wanted 200-399,404');
  expect(answerReason(Uint8Array.of(1, 0xff), new TextEncoder().encode('pong'))).toBe(
    'answered 0x01ff, wanted "pong"',
  );
});

it('faults of our own are told from those of the target', () => {
  expect(isOwnFault('EMFILE')).toBe(true);
  expect(isOwnFault('ECONNREFUSED')).toBe(false);
  expect(isOwnFault('EHOSTUNREACH')).toBe(false);
});

it('tells what a changed declaration means for the state', () => {
  const check = (interval: string) => checkSchema.decode({ type: 'http', interval });
  const target: HealthTarget = { key: 'a', address: ipAddress('10.0.0.1'), port: 80, check: check('2s') };
  expect(compareTargets(target, { ...target, check: check('2s'), adoptedVerdict: 'up' })).toBe('same');
  expect(compareTargets(target, { ...target, check: check('3s') })).toBe('asked-otherwise');
  expect(compareTargets(target, { ...target, mark: 7 })).toBe('asked-otherwise');
  expect(compareTargets(target, { ...target, port: 81 })).toBe('another');
  expect(compareTargets(target, { ...target, address: ipAddress('10.0.0.2') })).toBe('another');
});

it('asks the port of the check before that of the service', () => {
  const target = { key: 'a', address: ipAddress('10.0.0.1'), port: 80 };
  expect(checkPort({ ...target, check: checkSchema.decode({ type: 'tcp', port: 8080 }) })).toBe(8080);
  expect(checkPort({ ...target, check: checkSchema.decode({ type: 'tcp' }) })).toBe(80);
  expect(checkPort({ ...target, check: checkSchema.decode({ type: 'none' }) })).toBe(80);
});
