import { expect, it } from 'vitest';
import { decodeHealthResponse, encodeHealthRequest } from './grpc-health.ts';

const frame = (...message: readonly number[]) => Uint8Array.of(0, 0, 0, 0, message.length, ...message);

it('asks for the server as a whole, or for a service by name', () => {
  expect([...encodeHealthRequest('')]).toEqual([0, 0, 0, 0, 0]);
  expect([...encodeHealthRequest('ab')]).toEqual([0, 0, 0, 0, 4, 0x0a, 2, 0x61, 0x62]);
  expect(() => encodeHealthRequest('x'.repeat(128))).toThrow(RangeError);
});

it.each([
  [frame(0x08, 1), 'SERVING'],
  [frame(0x08, 2), 'NOT_SERVING'],
  [frame(0x08, 3), 'SERVICE_UNKNOWN'],
  [frame(), 'UNKNOWN'],
])('reads %o as %s', (bytes, status) => {
  expect(decodeHealthResponse(bytes)).toEqual({ ok: true, value: status });
});

it.each([
  ['shorter', Uint8Array.of(0, 0, 0)],
  ['cut off', Uint8Array.of(0, 0, 0, 0, 9, 8, 1)],
  ['compressed', Uint8Array.of(1, 0, 0, 0, 2, 8, 1)],
  ['no HealthCheckResponse', frame(0x08, 9)],
  ['no HealthCheckResponse', frame(0x10, 1)],
  ['no HealthCheckResponse', frame(0x08, 0x81, 1)],
])('says of wrong bytes that they are %s', (what, bytes) => {
  const answer = decodeHealthResponse(bytes);
  expect(answer.ok ? answer.value : answer.error).toContain(what);
});
