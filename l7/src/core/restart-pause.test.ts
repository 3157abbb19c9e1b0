import { expect, test } from 'vitest';
import { afterDeath, noDeaths } from './restart-pause.ts';

test('the first death costs no time, early ones in a row ever more, up to a bound', () => {
  const pauses: number[] = [];
  let deaths = noDeaths;
  for (let i = 0; i < 9; i++) {
    const next = afterDeath(deaths, 100);
    deaths = next.deaths;
    pauses.push(next.pauseMs);
  }
  expect(pauses).toEqual([0, 250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
});

test('a long life forgives', () => {
  const early = { early: 5 };
  expect(afterDeath(early, 9999).pauseMs).toBe(4000);
  expect(afterDeath(early, 10_000)).toEqual({ deaths: noDeaths, pauseMs: 0 });
});
