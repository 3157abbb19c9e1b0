import { expect, it } from 'vitest';
import { chooseTicketKey, readTicketKeys } from './ticket-keys.ts';

const line = (fill: number) => Buffer.alloc(80, fill).toString('base64');

function read(text: string) {
  const keys = readTicketKeys(text, '/keys');
  if (!keys.ok) throw new Error(keys.error);
  return keys.value;
}

it('makes tickets with the first key and reads those of all', () => {
  const keys = read(`# newest first\n${line(1)}\n\n${line(2)}\n`);
  const name = (fill: number) => String.fromCharCode(fill).repeat(16);
  expect(chooseTicketKey(keys, name(1))).toEqual({ verdict: 'good', index: 0 });
  expect(chooseTicketKey(keys, name(2))).toEqual({ verdict: 'renew', index: 1 });
  expect(chooseTicketKey(keys, name(3))).toEqual({ verdict: 'unknown', index: -1 });
  expect(keys[0]?.macKey).toEqual(new Uint8Array(32).fill(1));
});

it.each([
  ['', /holds no key/],
  ['# nothing\n', /holds no key/],
  [`${line(1)}\nAAAA\n`, /^\/keys:2: not base64 of 80 bytes \(make one: openssl rand/],
  [`${line(1).slice(0, -4)}\n`, /^\/keys:1: not base64 of 80 bytes/],
  [`${line(1)}\n${line(1)}\n`, /^\/keys:2: the same key is there twice/],
  [
    Array.from({ length: 101 }, (_, fill) => line(fill)).join('\n'),
    /holds 101 keys \(allowed: at most 100\)/,
  ],
])('refuses %#', (text, expected) => {
  const keys = readTicketKeys(text, '/keys');
  expect(keys.ok ? '' : keys.error).toMatch(expected);
});
