import { afterAll, afterEach, beforeAll, describe, it } from 'vitest';
import { natFixtures } from './fixtures/nat.ts';
import { natErrorFixtures } from './fixtures/nat-errors.ts';
import { natFragmentFixtures } from './fixtures/nat-fragments.ts';
import { loadDataPlane, type TestDataPlane } from './testing/data-plane.ts';
import type { Fixture } from './testing/fixture.ts';
import { runFixture } from './testing/run-fixture.ts';

let plane: TestDataPlane;

// What adds or takes a tag makes room before the packet: what was there must not matter.
beforeAll(() => {
  plane = loadDataPlane({ dirtyHeadroom: true });
});

afterAll(() => plane.close());

afterEach(() => plane.clear());

const groups: ReadonlyArray<readonly [string, readonly Fixture[]]> = [
  ['connections', natFixtures],
  ['errors', natErrorFixtures],
  ['fragments', natFragmentFixtures],
];

describe.each(groups)('%s, dirty headroom', (_group, fixtures) => {
  it.each(fixtures.map((fixture) => [fixture.name, fixture] as const))('%s', (_name, fixture) => {
    runFixture(plane, fixture);
  });
});
