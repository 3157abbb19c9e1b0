import fc from 'fast-check';
import { expect, it } from 'vitest';
import { maxPrefixes, prefixListSchema } from './prefix-list.ts';
import { scanRequest } from './prefix-scan.ts';
import { attributeSetKey, keyAt, type PrefixTable } from './prefix-table.ts';

const bytesOf = (text: string) => new TextEncoder().encode(text);
const scan = (text: string) => scanRequest(bytesOf(text), 'prefixes', maxPrefixes);

function contents(table: PrefixTable): string[] {
  const lines: string[] = [];
  for (let slot = 0; slot < table.slots; slot++) {
    const set = table.attributes[slot];
    if (set !== undefined) lines.push(`${keyAt(table, slot)} ${attributeSetKey(set)}`);
  }
  return lines.sort();
}

const prefix = fc.oneof(
  fc.tuple(fc.nat(3), fc.nat(255)).map(([a, b]) => `10.0.${a}.${b}/32`),
  fc.constantFrom(
    '10.0.0.0/8',
    '0.0.0.0/0',
    '10.0.0.1',
    '2001:db8::1/128',
    '2001:DB8::2',
    '2001:db8::/32',
    '10.0.0.1/8',
    'x',
    '',
  ),
);
const item = fc.oneof(
  { weight: 3, arbitrary: fc.record({ prefix }) },
  fc.record(
    {
      prefix,
      med: fc.constantFrom(0, 1, -1),
      communities: fc.constantFrom(['65001:1'], ['"'], []),
      pathId: fc.constantFrom(1, 2),
      nextHop: fc.constantFrom('10.0.0.9', 'fd00::9'),
    },
    { requiredKeys: ['prefix'] },
  ),
  fc.record({ med: fc.nat(2), prefix }),
  fc.constantFrom(7, null, {}, 'x'),
);

it('reads what the schema reads, and nothing that it refuses', () => {
  let read = 0;
  fc.assert(
    fc.property(
      fc.array(item, { maxLength: 6 }),
      fc.constantFrom(0, 2),
      fc.string(),
      (prefixes, indent, owner) => {
        const request = { owner, local: { 'prefixes"': ['}', ']', '\\'] }, prefixes, peers: [1, { a: -2 }] };
        const scanned = scan(JSON.stringify(request, undefined, indent));
        const whole = prefixListSchema.safeParse(prefixes);
        if (scanned === undefined) return;
        read += 1;
        expect(whole.success).toBe(true);
        if (whole.success) expect(contents(scanned.prefixes)).toEqual(contents(whole.data));
        expect(JSON.parse(scanned.rest)).toEqual({ ...request, prefixes: [] });
      },
    ),
    { numRuns: 2000 },
  );
  expect(read).toBeGreaterThan(100);
});

it('reads plain lists, and lists with attributes', () => {
  const list = (...items: string[]) => scan(`{"prefixes":[${items.join(' ,\n')}]}`)?.prefixes;
  expect(list()?.size).toBe(0);
  expect(list('{"prefix":"10.0.0.1/32"}', '{ "prefix" : "2001:db8::1/128" }')?.size).toBe(2);
  const alike = list('{"prefix":"10.0.0.1/32","med":1}', '{"prefix":"10.0.0.2/32","med":1}');
  expect(alike?.attributes[0]).toBe(alike?.attributes[1]);
  expect(alike?.attributes[0]?.med).toBe(1);
});

it.each([
  ['the list twice', '{"prefixes":[],"prefixes":[]}'],
  ['a prefix twice', '{"prefixes":[{"prefix":"10.0.0.1/32"},{"prefix":"10.0.0.1/32"}]}'],
  ['two prefixes in one', '{"prefixes":[{"prefix":"10.0.0.1/32","prefix":"10.0.0.2/32"}]}'],
  ['an escaped name', '{"prefixes":[{"prefix":"10.0.0.1/32","pr\\u0065fix":"10.0.0.2/32"}]}'],
  ['a comma too many', '{"prefixes":[{"prefix":"10.0.0.1/32"},]}'],
  ['something behind the end', '{"prefixes":[]} x'],
  ['a list that does not end', '{"prefixes":[{"prefix":"10.0.0.1/32"}'],
  ['no object', '[]'],
  ['nothing', ''],
])('leaves %s to the schema', (_name, text) => {
  expect(scan(text)).toBeUndefined();
});

it('neither throws nor loops, whatever the octets', () => {
  const part = fc.constantFrom(
    '{',
    '}',
    '[',
    ']',
    '"',
    ',',
    ':',
    '\\',
    'prefixes',
    'prefix',
    '"prefix":"10.0.0.1/32"',
    ' ',
    '\u00e9',
  );
  fc.assert(
    fc.property(fc.array(part, { maxLength: 30 }), (parts) => {
      scan(parts.join(''));
    }),
    { numRuns: 3000 },
  );
});
