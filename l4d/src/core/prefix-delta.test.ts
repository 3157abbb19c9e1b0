import type { DesiredInput } from '@l4d/announcer/core/api.ts';
import { expect, test } from 'vitest';
import { prefixDelta, toldAnnouncer } from './prefix-delta.ts';

const desired = (prefixes: DesiredInput['prefixes'], owner = 'l4d'): DesiredInput => ({
  owner,
  local: { as: 65001, routerId: '10.0.0.1' },
  peers: [],
  prefixes,
});
const delta = (before: DesiredInput | undefined, after: DesiredInput) =>
  prefixDelta(before === undefined ? undefined : toldAnnouncer(before), toldAnnouncer(after));

test('is what was added, changed and removed', () => {
  const before = desired([{ prefix: '10.0.0.1/32' }, { prefix: '10.0.0.2/32' }, { prefix: '10.0.0.3/32' }]);
  const after = desired([
    { prefix: '10.0.0.2/32', med: 1 },
    { prefix: '10.0.0.3/32' },
    { prefix: '10.0.0.4/32' },
  ]);
  expect(delta(before, after)).toEqual({
    add: [{ prefix: '10.0.0.2/32', med: 1 }, { prefix: '10.0.0.4/32' }],
    remove: ['10.0.0.1/32'],
  });
});

test('is nothing to go by without a before, with other peers, or for a long list', () => {
  const one = desired([{ prefix: '10.0.0.1/32' }]);
  expect(delta(undefined, one)).toBeUndefined();
  expect(delta(desired([], 'other'), one)).toBeUndefined();
  const many = desired(Array.from({ length: 1100 }, (_, i) => ({ prefix: `10.0.${i >> 8}.${i & 255}/32` })));
  expect(delta(one, many)).toBeUndefined();
});
