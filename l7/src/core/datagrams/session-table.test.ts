import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { newRate, takeToken } from './rate.ts';
import { protectedMs, type SessionBounds, type SessionEntry, SessionTable } from './session-table.ts';

function entry(key: string, client = key): SessionEntry {
  return { key, client, older: undefined, newer: undefined, isProven: false, usedAt: 0 };
}

function tableOf(most: number, keys: readonly string[], mostOfClient?: number) {
  const table = new SessionTable<SessionEntry>({ most, mostOfClient });
  for (const key of keys) table.add(entry(key, key.slice(0, 1)), 0);
  return table;
}

function find(table: SessionTable<SessionEntry>, key: string): SessionEntry {
  const found = table.find(key);
  if (found === undefined) throw new Error(`no ${key}`);
  return found;
}

describe('a full table', () => {
  test('the one that is unused for longest goes, as long as its client has sent once', () => {
    const table = tableOf(3, ['a', 'b', 'c']);
    expect(table.admit('d', 1)).toMatchObject({ kind: 'evict', entry: { key: 'a' } });
    table.touch(find(table, 'a'), 1, false);
    expect(table.admit('d', 1)).toMatchObject({ kind: 'evict', entry: { key: 'b' } });
    table.remove(find(table, 'b'));
    expect(table.admit('d', 1)).toEqual({ kind: 'free' });
  });

  test('sessions of clients that have sent again stay: a flood from forged addresses ends its own', () => {
    const table = tableOf(4, ['real', 'x1', 'x2', 'x3']);
    table.touch(find(table, 'real'), 0, true);
    for (let i = 4; i < 100; i++) {
      const admission = table.admit('x', protectedMs * 2);
      if (admission.kind !== 'evict') throw new Error(admission.kind);
      expect(admission.entry.key).not.toBe('real');
      table.remove(admission.entry);
      table.add(entry(`x${i}`, 'x'), protectedMs * 2);
    }
    expect(table.find('real')).toBeDefined();
    expect(table.size).toBe(4);
  });

  test('of proven ones alone, only one that rests goes; else the new one is refused', () => {
    const table = tableOf(2, ['a', 'b']);
    table.touch(find(table, 'a'), 0, true);
    table.touch(find(table, 'b'), 500, true);
    expect(table.admit('c', protectedMs - 1)).toEqual({ kind: 'refuse', reason: 'full' });
    expect(table.admit('c', protectedMs)).toMatchObject({ kind: 'evict', entry: { key: 'a' } });
  });
});

test('a client has as many sessions as it may, and room again when one ends', () => {
  const table = tableOf(100, ['a1', 'a2', 'b1'], 2);
  expect(table.admit('a', 0)).toEqual({ kind: 'refuse', reason: 'client-limit' });
  expect(table.admit('b', 0)).toEqual({ kind: 'free' });
  table.remove(find(table, 'a1'));
  expect(table.admit('a', 0)).toEqual({ kind: 'free' });
});

test('removed twice it is removed once; another of its key is not', () => {
  const table = tableOf(2, ['a']);
  const old = find(table, 'a');
  table.remove(old);
  table.add(entry('a'), 0);
  table.remove(old);
  expect(table.size).toBe(1);
  expect(table.admit('a', 0)).toEqual({ kind: 'free' });
});

test('whatever happens: never more than the bounds, counts that fit, and an order of use', () => {
  const step = fc.record({
    action: fc.constantFrom('send', 'send', 'send', 'end'),
    key: fc.nat(12),
    later: fc.nat(3000),
  });
  const bounds: SessionBounds = { most: 4, mostOfClient: 2 };
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const table = new SessionTable<SessionEntry>(bounds);
      let now = 0;
      for (const { action, key, later } of steps) {
        now += later;
        const name = `${key % 3} ${key}`;
        const found = table.find(name);
        if (action === 'end') {
          if (found !== undefined) table.remove(found);
          continue;
        }
        if (found !== undefined) {
          table.touch(found, now, true);
          continue;
        }
        const client = name.slice(0, 1);
        const admission = table.admit(client, now);
        if (admission.kind === 'evict') {
          const { entry: out } = admission;
          const others = [...table.values()].filter((one) => one.isProven === out.isProven);
          for (const other of others) expect(other.usedAt).toBeGreaterThanOrEqual(out.usedAt);
          table.remove(out);
        }
        if (admission.kind !== 'refuse') table.add(entry(name, client), now);
      }
      const all = [...table.values()];
      expect(all.length).toBe(table.size);
      expect(all.length).toBeLessThanOrEqual(bounds.most);
      for (const client of ['0', '1', '2'])
        expect(all.filter((one) => one.client === client).length).toBeLessThanOrEqual(2);
    }),
  );
});

test('a rate lets a second of datagrams through at once and then as many a second', () => {
  const rate = newRate(10, 0);
  const taken = (now: number, tries: number) =>
    Array.from({ length: tries }, () => takeToken(rate, 10, now)).filter(Boolean).length;
  expect(taken(0, 50)).toBe(10);
  expect(taken(100, 50)).toBe(1);
  expect(taken(5000, 50)).toBe(10);
  expect(taken(4000, 50)).toBe(0);
});
