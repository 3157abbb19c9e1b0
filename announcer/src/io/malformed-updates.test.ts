import { Milliseconds, Seconds } from '@l4d/kit/duration.ts';
import { fromHex } from '@l4d/kit/hex.ts';
import type { Logger } from '@l4d/kit/logger.ts';
import { createManualClock } from '@l4d/kit/manual-clock.ts';
import { expect, it } from 'vitest';
import { decodeMessage } from '../core/codec/message.ts';
import { createMalformedUpdates } from './malformed-updates.ts';

/** An UPDATE of 192.0.2.0/24 with these attributes, in hexadecimal digits. */
function update(attributes: string) {
  const body = `0000${(attributes.length / 2).toString(16).padStart(4, '0')}${attributes}18c00002`;
  const length = (19 + body.length / 2).toString(16).padStart(4, '0');
  const bytes = fromHex(`${'ff'.repeat(16)}${length}02${body}`) ?? new Uint8Array(0);
  const decoded = decodeMessage(bytes, { fourOctetAs: true, internal: false });
  if (!decoded.ok || decoded.value.type !== 'update') throw new Error('not an UPDATE');
  return [decoded.value, bytes] as const;
}

it('logs prefixes and the whole message, once a minute, and counts each (RFC 7606 8)', async () => {
  const clock = createManualClock();
  const lines: [Record<string, unknown>, string][] = [];
  const logger = { warn: (...line: [Record<string, unknown>, string]) => lines.push(line) };
  const counted: unknown[] = [];
  const malformed = createMalformedUpdates(clock, logger as unknown as Logger, (error, isTold) =>
    counted.push([error.direction, error.code, error.subcode, isTold]),
  );
  const good = '40010100 400200 40030 40a000001'.replaceAll(' ', '');
  malformed.note(...update(good));
  expect([lines, counted]).toEqual([[], []]);
  // ORIGIN 9.
  const [bad, bytes] = update(good.replace('40010100', '40010109'));
  for (let i = 0; i < 3; i++) malformed.note(bad, bytes);
  const text =
    'malformed UPDATE: attribute 1 origin 9 is undefined; its routes count as withdrawn (RFC 7606)';
  expect(lines).toEqual([
    [{ updates: 1, prefixes: ['192.0.2.0/24'], of: 1, message: Buffer.from(bytes).toString('hex') }, text],
  ]);
  expect(counted).toEqual([true, false, false].map((isTold) => ['local', 3, 6, isTold]));
  await clock.advance(Milliseconds(Seconds(60)));
  // AGGREGATOR of five octets: the rest of the UPDATE stands.
  malformed.note(...update(`${good}c007050000fde801`));
  expect(lines.at(-1)?.[0]).toMatchObject({ updates: 3 });
  expect(lines.at(-1)?.[1]).toBe(
    'malformed UPDATE: attribute 7 length 5 is not allowed; it is left out (RFC 7606)',
  );
  expect(counted.at(-1)).toEqual(['local', 3, 5, true]);
});
