import { ipAddress } from '@l4d/kit/ip-address.ts';
import { expect, it } from 'vitest';
import { answersAt } from './listening.ts';

it.each([
  ['0.0.0.0', '192.0.2.1', true],
  ['192.0.2.1', '192.0.2.1', true],
  ['192.0.2.2', '192.0.2.1', false],
  ['::', '192.0.2.1', true],
  ['::', '2001:db8::1', true],
  ['0.0.0.0', '2001:db8::1', false],
  ['192.0.2.2', '127.0.0.1', true],
])('a socket on %s answers %s: %s', (listens, asked, answers) => {
  const listener = { address: ipAddress(listens), port: 80 };
  expect(answersAt(listener, ipAddress(asked), 80)).toBe(answers);
  expect(answersAt(listener, ipAddress(asked), 81)).toBe(false);
});
