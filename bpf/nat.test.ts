import { afterEach, describe, it } from 'vitest';
import { natFixtures } from './fixtures/nat.ts';
import { natErrorFixtures } from './fixtures/nat-errors.ts';
import { loadDataPlane, type TestDataPlane } from './testing/data-plane.ts';
import type { Fixture } from './testing/fixture.ts';
import { runFixture } from './testing/run-fixture.ts';

let plane: TestDataPlane | undefined;

afterEach(() => {
  plane?.close();
  plane = undefined;
});

const groups: ReadonlyArray<readonly [string, readonly Fixture[]]> = [
  ['connections', natFixtures],
  ['errors', natErrorFixtures],
];

// What adds or takes a tag makes room before the packet: what was there must not matter.
describe.each(groups)('%s, dirty headroom', (_group, fixtures) => {
  it.each(fixtures.map((fixture) => [fixture.name, fixture] as const))('%s', (_name, fixture) => {
    plane = loadDataPlane({ dirtyHeadroom: true });
    runFixture(plane, fixture);
  });
});
