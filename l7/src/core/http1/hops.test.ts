import { expect, it } from 'vitest';
import { forwardsLeft, hasComeBy, reflectedRequest, viaField, viaName } from './hops.ts';

it.each([
  ['', ''],
  ['A: b\r\nMax-Forwards: 1\r\nC: d\r\n', 'A: b\r\nMax-Forwards: 0\r\nC: d\r\n'],
  ['max-forwards:\t010 \r\n', 'Max-Forwards: 9\r\n'],
  ['Max-Forwards: 99999999999999999999999\r\n', 'Max-Forwards: 255\r\n'],
  ['X-Max-Forwards: 0\r\n', 'X-Max-Forwards: 0\r\n'],
  ['X-Max-Forwards: 3\r\nMax-Forwards: 3\r\n', 'X-Max-Forwards: 3\r\nMax-Forwards: 2\r\n'],
])('forwards left: %j', (fields, next) => {
  expect(forwardsLeft(fields)).toEqual({ kind: 'forward', fields: next });
});

it.each([
  ['Max-Forwards: 0\r\n', 'answer'],
  ['MAX-FORWARDS:000\r\n', 'answer'],
  ['Max-Forwards: \r\n', 'invalid'],
  ['Max-Forwards: -1\r\n', 'invalid'],
  ['Max-Forwards: 1.0\r\n', 'invalid'],
  ['Max-Forwards: 1, 2\r\n', 'invalid'],
  ['Max-Forwards: 1\r\nA: b\r\nMax-Forwards: 1\r\n', 'invalid'],
])('not forwarded: %j', (fields, kind) => {
  expect(forwardsLeft(fields)).toEqual({ kind });
});

it('a reflected request has no secrets', () => {
  const fields = 'Cookie: a=b\r\nX: Cookie: y\r\nAUTHORIZATION: Basic x\r\nMax-Forwards: 0\r\n';
  expect(reflectedRequest('/p?q', 0, 'a', fields)).toBe(
    'TRACE /p?q HTTP/1.0\r\nHost: a\r\nX: Cookie: y\r\nMax-Forwards: 0\r\n\r\n',
  );
  expect(reflectedRequest('/', 1, undefined, '')).toBe('TRACE / HTTP/1.1\r\n\r\n');
});

const edge = viaName('edge-1.a');

it.each([
  'Via: 1.1 edge-1.a\r\n',
  'A: b\r\nvia: HTTP/1.0 other:80 (x, y), 1.1 EDGE-1.A (l4d)\r\n',
  'Via: 1.1 other\r\nVia:1.1\tedge-1.a , 1.0 third\r\n',
])('has come by: %j', (fields) => {
  expect(hasComeBy(edge, fields)).toBe(true);
});

it.each([
  '',
  'Via: 1.1 edge-1.ab\r\n',
  'Via: 1.1 my-edge-1.a\r\n',
  'Via: 1.1 edge-1xa\r\n',
  'Via: 1.1 edge-1.a:8080\r\n',
  'X-Via: 1.1 edge-1.a\r\n',
  'A: Via: 1.1 edge-1.a\r\n',
])('has not come by: %j', (fields) => {
  expect(hasComeBy(edge, fields)).toBe(false);
});

it('names itself with the version that it was spoken to in', () => {
  expect(viaField(edge, 0)).toBe('Via: 1.0 edge-1.a\r\n');
});

it('long fields are looked through in no time', () => {
  const fields = `Via: ${'1.1 a, '.repeat(2300)}\r\nVia: ${' ,'.repeat(4000)}${'x'.repeat(4000)}\r\n`;
  const start = performance.now();
  const spaces = '\t'.repeat(48_000);
  const forwards = `Max-Forwards:${spaces}x${spaces}x${spaces}\r\n`;
  for (let turn = 0; turn < 10; turn++) {
    expect(hasComeBy(edge, fields)).toBe(false);
    expect(forwardsLeft(forwards)).toEqual({ kind: 'invalid' });
  }
  expect(performance.now() - start).toBeLessThan(20_000);
});
