import { ipAddress } from '@l4d/kit/ip-address.ts';
import { expect, test } from 'vitest';
import { createRouteBook } from './announced-routes.ts';
import { guardChange } from './change-guard.ts';
import { countedState, countedVip } from './counted-vips.fixture.ts';
import { changedVips } from './desired/vip-changes.ts';
import { type DesiredState, sameDesiredState } from './desired-state.ts';
import * as edit from './edit.ts';
import { flowSettings } from './forwarding/flow-settings.ts';
import { listOrigin } from './list-changes.ts';
import { decodeRecord, encodeRecord } from './stored-revision.ts';

/** What the daemon asks of every change before and after it is stored. */
function takeIn(before: DesiredState, after: DesiredState): void {
  expect(sameDesiredState(after, before)).toBe(false);
  expect(guardChange(before, after)).toEqual([]);
  const stored = { revision: 2, changedAt: '2026-01-01T00:00:00Z', state: after };
  const read = decodeRecord(encodeRecord(before, stored), {
    revision: 1,
    changedAt: stored.changedAt,
    state: before,
  });
  expect(read.ok).toBe(true);
  flowSettings(after.host, after.vips);
  changedVips(before.vips, after.vips);
}

/** Looks at VIPs that one change of each kind takes among `count`. */
function looksOfEdits(count: number): Record<string, number> {
  const counted = countedState(count);
  let { state } = counted;
  const looks: Record<string, number> = {};
  const step = (name: string, edited: (state: DesiredState) => edit.Edited) => {
    const from = counted.looks();
    const next = edited(state);
    if (!next.ok) throw new Error(JSON.stringify(next.error));
    takeIn(state, next.value);
    state = next.value;
    looks[name] = counted.looks() - from;
  };
  // What is made of a list as a whole is made once, with the first change.
  step('first', (from) => edit.addVip(from, countedVip(5000)));
  step('one more', (from) => edit.addVip(from, countedVip(5001)));
  step('one changed', (from) => edit.changeVip(from, 'vip-3', { onBackendDown: 'repick' }));
  step('one backend changed', (from) => edit.changeBackend(from, 'vip-5', '10.0.5.1', { weight: 3 }));
  step('one backend more', (from) => edit.addBackend(from, 'vip-6', { address: '10.200.0.1' }));
  step('one less', (from) => edit.removeVip(from, 'vip-7'));
  const { first: _, ...later } = looks;
  return later;
}

test('a change of one VIP looks at as many VIPs among ten as among a thousand', () => {
  const few = looksOfEdits(10);
  expect(looksOfEdits(1000)).toEqual(few);
  expect(few['one changed']).toBeGreaterThan(0);
});

test('a route that comes or goes says what it changes of the list', () => {
  const { state } = countedState(20);
  const book = createRouteBook();
  for (const [index, { address }] of state.vips.entries())
    book.claim(`vip-${index}`, { address, announce: undefined, state: 'announced' });
  const before = book.routes();
  book.claim('vip-4', undefined);
  const without = book.routes();
  expect(listOrigin(without)).toMatchObject({ before, changes: { removed: [{ prefix: '203.0.4.1/32' }] } });
  book.claim('vip-4', { address: ipAddress('203.0.4.1'), announce: undefined, state: 'leaving' });
  expect(listOrigin(book.routes())?.before).toBe(without);
});
