import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readResponse } from './testing/read-response.ts';
import { responseRows, responseTables } from './testing/response-rows.ts';

/* What backends answer, by the codec alone; ../../io/event-loop/wire-tables.test.ts has it from sockets. */

describe.each(responseTables)('$name', ({ rows }) => {
  test.each(rows)('RFC $rfc: $name', (row) => {
    const read = readResponse(row);
    // What only a connection knows: how many interim answers there may be, and who asked for a switch.
    if (/more than there may be|nobody asked/.test(row.name)) return;
    if (row.expected === 'broken') return void expect(read).toBe('broken');
    const [codes, , data, rest] = JSON.parse(read) as [number[], string, string, string];
    expect(row.expected.endsWith(` ${data}`)).toBe(true);
    expect(row.expected).toContain(`${codes.at(-1)} `);
    // With something left over the connection is not used again.
    if (rest !== '') expect(row.kept).toBe(false);
  });
});

const places = (text: string) => Array.from({ length: text.length }, (_, i) => i);

test('every place where an answer can be cut in two gives the same, and a byte at a time', () => {
  for (const row of responseRows) {
    const { bytes } = row;
    const whole = readResponse(row);
    const wanted = places(bytes).filter((at) => at < 120 || bytes.length - at < 80 || at % 4999 === 0);
    for (const cut of wanted)
      if (readResponse(row, [cut]) !== whole) expect.fail(`${row.name}, cut at ${cut}`);
    if (bytes.length < 1000) expect(readResponse(row, places(bytes))).toBe(whole);
  }
});

test('however an answer is cut, it gives the same', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...responseRows.filter(({ bytes }) => bytes !== '')),
      fc.array(fc.nat(100_000), { maxLength: 20 }),
      (row, cuts) => {
        const order = cuts.map((cut) => cut % row.bytes.length).sort((a, b) => a - b);
        return readResponse(row, order) === readResponse(row);
      },
    ),
    { numRuns: 500 },
  );
});
