import { expect, test } from 'vitest';
import { jsonParts } from './json-parts.ts';

async function collect(parts: AsyncIterable<string>): Promise<string[]> {
  const all: string[] = [];
  for await (const part of parts) all.push(part);
  return all;
}

test.each([
  [{}, {}],
  [{}, { vips: [] }],
  [{ revision: 3, missing: undefined, text: 'a "b"' }, { vips: [{ a: 1, b: undefined }, null] }],
  [{ revision: 3 }, { vips: Array.from({ length: 100 }, (_, id) => ({ id })), others: [1, 2] }],
  [{ host: { a: [1] } }, { vips: Array.from({ length: 1234 }, (_, id) => ({ id })) }],
])('%#: is the JSON of the whole', async (body, lists) => {
  const text = (await collect(jsonParts(body, lists))).join('');
  expect(text).toBe(JSON.stringify({ ...body, ...lists }));
});

test('a long list is made while it is taken, and others have their turn', async () => {
  let made = 0;
  let turns = 0;
  function* items() {
    for (; made < 1000; made++) yield { made };
  }
  const immediate = () => {
    turns += 1;
    if (made < 1000) setImmediate(immediate);
  };
  setImmediate(immediate);
  const parts = await collect(jsonParts({}, { items: items() }));
  expect(parts.length).toBeGreaterThan(9);
  expect(turns).toBeGreaterThan(5);
});
