import { afterAll, beforeAll, expect, it } from 'vitest';
import { createLab } from '../../../tools/lab/lab.ts';
import { twoTor } from '../../../tools/lab/topologies/two-tor.ts';
import { createFabric } from '../../../tools/scenarios/fabric.ts';
import {
  type Facts,
  type LabFabric,
  type Scenario,
  silentReport,
} from '../../../tools/scenarios/scenario.ts';

/** A lab of its own for a test file: up before its tests, down after them. */
export function fabricForTests(name: string): LabFabric {
  const lab = createLab(twoTor, { id: `${name}-${process.pid}` });
  const fabric = createFabric(lab);
  beforeAll(() => lab.up());
  afterAll(async () => {
    await lab.down();
  });
  return fabric;
}

/** Runs a scenario and expects every fact of it; gives the facts for more. */
export function itHolds(fabric: LabFabric, scenario: Scenario): void {
  it(scenario.title, async () => {
    const facts: Facts = await scenario.run(fabric, silentReport);
    expect(facts.filter(({ holds }) => !holds)).toEqual([]);
    expect(facts).toHaveLength(scenario.factCount);
  }, 120_000);
}
