/** A peer that announces half a million routes, and a crowd at the port; `npm run soak -- bgp-flood` is the long one. */
import { expect, it } from 'vitest';
import { flood, problemOf } from '../../tools/soak/bgp-flood.ts';

it('stays small and quick for others while one peer floods it and strangers connect', async () => {
  const result = await flood(500_000, 600, () => undefined);
  expect(problemOf(result), JSON.stringify(result)).toBeUndefined();
  expect(result.counted).toEqual({ prefixes: 100_000, truncated: true });
});
