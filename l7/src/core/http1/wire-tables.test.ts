import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readRequests } from './testing/read-requests.ts';
import { requestRows, requestTables } from './testing/tables.ts';
import { nextRequest } from './testing/wire-row.ts';

/* Every row of the tables, whole and however it is split. The event loop and other proxies get the same rows. */

describe.each(requestTables)('$name', ({ rows }) => {
  test.each(rows)('RFC $rfc: $name', ({ bytes, expected, lasts }) => {
    const { outcome, partial } = readRequests(bytes + nextRequest);
    expect({ outcome, partial }).toEqual({
      outcome: lasts ? [...expected, 'GET /next'] : expected,
      partial: false,
    });
  });
});

test('rows have names of their own', () => {
  for (const { rows } of requestTables)
    expect(rows.map(({ name }) => name).sort()).toEqual([...new Set(rows.map(({ name }) => name))].sort());
});

test('what is forwarded has one framing, and is read again as the same', () => {
  for (const { bytes } of requestRows) {
    const { outcome, forwarded } = readRequests(bytes + nextRequest);
    for (const message of forwarded) {
      const head = message.slice(0, message.indexOf('\r\n\r\n') + 2);
      expect(head.match(/^(?:content-length|transfer-encoding):/gim)?.length ?? 0).toBeLessThan(2);
      expect(head).not.toMatch(/^content-length:\s*0\d/im);
      expect(head.match(/^host:/gim)).toHaveLength(1);
      expect(head).toMatch(/^(?:[^\r\n\0]+\r\n)+$/);
    }
    const again = readRequests(forwarded.join(''), [], undefined, 'server');
    expect(again.outcome).toEqual(outcome.filter((one) => typeof one === 'string'));
  }
});

/** All that a reading says, to be compared quickly. */
const key = (text: string, cuts: readonly number[] = []) => JSON.stringify(readRequests(text, cuts));
const places = (text: string) => Array.from({ length: text.length }, (_, i) => i);

test('every place where the bytes of a row can be cut in two gives the same, and a byte at a time', () => {
  for (const { name, bytes } of requestRows) {
    const text = bytes + nextRequest;
    const whole = key(text);
    // Of long ones the beginning, the end, and some places between: the other property reaches the rest.
    const wanted = places(text).filter((at) => at < 120 || text.length - at < 80 || at % 997 === 0);
    for (const cut of wanted) if (key(text, [cut]) !== whole) expect.fail(`${name}, cut at ${cut}`);
    if (text.length < 1000) expect(key(text, places(text))).toBe(whole);
  }
});

test('however the bytes of a row are cut, it gives the same', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...requestRows),
      fc.array(fc.nat(20_000), { maxLength: 30 }),
      ({ bytes }, cuts) => {
        const text = bytes + nextRequest;
        const order = cuts.map((cut) => cut % text.length).sort((a, b) => a - b);
        return key(text, order) === key(text);
      },
    ),
    { numRuns: 1000 },
  );
});
